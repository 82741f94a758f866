#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

typedef struct job {
    am_chunk_fn fn;
    void *arg;
    int64_t chunks;
    int threads; /* slots 0..threads-1 take part */
    atomic_llong next;
    pthread_mutex_t error_lock;
    int64_t failed_chunk; /* lowest so far; `chunks` while none has failed */
    am_error error;
} job;

static pthread_mutex_t submit_lock = PTHREAD_MUTEX_INITIALIZER; /* held during a whole loop */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;        /* guards what follows */
static pthread_cond_t work_posted = PTHREAD_COND_INITIALIZER;
static pthread_cond_t work_done = PTHREAD_COND_INITIALIZER;
static job *current;
static uint64_t generation; /* counts loops, so that a worker sees each one once */
static int workers;         /* threads that exist besides the caller */
static int pending;         /* workers that have not finished the current loop */
static unsigned forks;      /* how often this process is a child: the workers did not come along */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_int process_threads;

static void
before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void
after_fork_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void
after_fork_child(void)
{
    pthread_mutex_init(&submit_lock, NULL);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&work_posted, NULL);
    pthread_cond_init(&work_done, NULL);
    current = NULL;
    workers = 0;
    pending = 0;
    forks++;
}

static void
register_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* Claims chunks in rising order until none is left or a lower one has failed. */
static void
run_chunks(job *j, int slot)
{
    for (;;) {
        int64_t chunk = atomic_fetch_add(&j->next, 1);
        if (chunk >= j->chunks) {
            return;
        }
        am_error error = {AM_OK, ""};
        if (j->fn(j->arg, chunk, slot, &error) != AM_OK) {
            pthread_mutex_lock(&j->error_lock);
            if (chunk < j->failed_chunk) {
                j->failed_chunk = chunk;
                j->error = error;
            }
            pthread_mutex_unlock(&j->error_lock);
            /* Lower chunks are all claimed already; nobody starts a higher one. */
            atomic_store(&j->next, j->chunks);
            return;
        }
    }
}

static void *
worker_main(void *arg)
{
    const int slot = (int)(intptr_t)arg;
    pthread_mutex_lock(&lock);
    uint64_t seen = 0;
    for (;;) {
        while (current == NULL || generation == seen) {
            pthread_cond_wait(&work_posted, &lock);
        }
        seen = generation;
        job *j = current;
        if (slot >= j->threads) {
            continue;
        }
        pthread_mutex_unlock(&lock);
        run_chunks(j, slot);
        pthread_mutex_lock(&lock);
        if (--pending == 0) {
            pthread_cond_signal(&work_done);
        }
    }
    return NULL;
}

/* Grows the pool to `wanted` workers, or to as many as the system gives. Called with `lock` held. */
static void
ensure_workers(int wanted)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited: signals stay with the caller */
    while (workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker_main, (void *)(intptr_t)(workers + 1)) != 0) {
            break;
        }
        pthread_setname_np(thread, "ambigmnist");
        pthread_detach(thread);
        workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

am_status
am_parallel_for(int64_t chunks, int threads, am_chunk_fn fn, void *arg, am_error *err)
{
    job j = {.fn = fn, .arg = arg, .chunks = chunks, .failed_chunk = chunks};
    j.error_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    threads = threads < AM_MAX_THREADS ? threads : AM_MAX_THREADS;
    threads = (int)am_min_i64(threads, chunks);
    pthread_once(&once, register_fork_handlers);

    if (threads <= 1 || pthread_mutex_trylock(&submit_lock) != 0) {
        run_chunks(&j, 0);
    }
    else {
        pthread_mutex_lock(&lock);
        const unsigned forks_before = forks;
        ensure_workers(threads - 1);
        j.threads = workers + 1 < threads ? workers + 1 : threads;
        pending = j.threads - 1;
        current = &j;
        generation++;
        pthread_cond_broadcast(&work_posted);
        pthread_mutex_unlock(&lock);

        run_chunks(&j, 0);

        pthread_mutex_lock(&lock);
        if (forks != forks_before) { /* a callback forked, and this is the child */
            pthread_mutex_unlock(&lock);
            return am_fail(err, AM_ERR_CANCELLED, "the process was forked inside a parallel call");
        }
        while (pending > 0) {
            pthread_cond_wait(&work_done, &lock);
        }
        current = NULL;
        pthread_mutex_unlock(&lock);
        pthread_mutex_unlock(&submit_lock);
    }
    if (j.failed_chunk < chunks) {
        if (err != NULL) {
            *err = j.error;
        }
        return j.error.code;
    }
    return AM_OK;
}

void
am_set_num_threads(int threads)
{
    atomic_store(&process_threads, threads);
}

int
am_get_num_threads(void)
{
    return atomic_load(&process_threads);
}
