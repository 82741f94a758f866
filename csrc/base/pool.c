#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

typedef struct job {
    am_chunk_fn fn;
    void *arg;
    int64_t chunks;
    int threads; /* slots 0..threads-1 may take part; 1: the caller alone */
    atomic_llong next;
    int64_t failed_chunk; /* lowest so far; `chunks` while none has failed. Guarded by `lock` */
    am_error error;
} job;

static pthread_mutex_t submit_lock = PTHREAD_MUTEX_INITIALIZER; /* held during a whole loop */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;        /* guards what follows */
static pthread_cond_t work_posted = PTHREAD_COND_INITIALIZER;
static pthread_cond_t work_done = PTHREAD_COND_INITIALIZER;
static job *current;        /* the loop that workers may join */
static uint64_t generation; /* counts loops, so that a worker joins each one once */
static int workers;         /* threads that exist besides the caller */
static int active;          /* workers inside the current loop */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int fork_safe;     /* the handlers below are in place */
static atomic_uint forks; /* how often this process is a child: the workers did not come along */
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
    active = 0;
    atomic_fetch_add(&forks, 1);
}

static void
register_fork_handlers(void)
{
    fork_safe = pthread_atfork(before_fork, after_fork_parent, after_fork_child) == 0;
}

/* Claims chunks in rising order until none is left or a lower one has failed. Returns 0 when a
 * chunk forked and this is the child: chunks that other threads held are lost, and `j` may be too.
 */
static int
run_chunks(job *j, int slot)
{
    const int shared = j->threads > 1;
    const unsigned forks_before = atomic_load(&forks);
    for (;;) {
        int64_t chunk = atomic_fetch_add(&j->next, 1);
        if (chunk >= j->chunks) {
            return 1;
        }
        am_error error = {AM_OK, ""};
        am_status status = j->fn(j->arg, chunk, slot, &error);
        if (shared && atomic_load(&forks) != forks_before) {
            return 0;
        }
        if (status != AM_OK) {
            pthread_mutex_lock(&lock);
            if (chunk < j->failed_chunk) {
                j->failed_chunk = chunk;
                j->error = error;
                j->error.code = status; /* also where the chunk left no message */
            }
            pthread_mutex_unlock(&lock);
            /* Lower chunks are all claimed already; nobody starts a higher one. */
            atomic_store(&j->next, j->chunks);
            return 1;
        }
    }
}

static void *
worker_main(void *arg)
{
    const int slot = (int)(intptr_t)arg;
    uint64_t seen = 0;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (current == NULL || generation == seen) {
            pthread_cond_wait(&work_posted, &lock);
        }
        seen = generation;
        job *j = current;
        if (slot >= j->threads) {
            continue;
        }
        active++;
        pthread_mutex_unlock(&lock);
        if (!run_chunks(j, slot)) {
            return NULL; /* the child's pool knows nothing of this thread */
        }
        pthread_mutex_lock(&lock);
        if (--active == 0) {
            pthread_cond_signal(&work_done);
        }
    }
}

/* Grows the pool to `wanted` workers, or to as many as the system gives. Called with `lock` held.
 */
static void
ensure_workers(int wanted)
{
    if (workers >= wanted) {
        return;
    }
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

/* The loop on several threads; `submit_lock` is held. Returns 0 in the child of a fork. */
static int
run_shared(job *j)
{
    pthread_mutex_lock(&lock);
    ensure_workers(j->threads - 1);
    current = j;
    generation++;
    pthread_cond_broadcast(&work_posted);
    pthread_mutex_unlock(&lock);

    if (!run_chunks(j, 0)) {
        return 0;
    }
    pthread_mutex_lock(&lock);
    current = NULL; /* a worker that wakes up only now has nothing to do any more */
    while (active > 0) {
        pthread_cond_wait(&work_done, &lock);
    }
    pthread_mutex_unlock(&lock);
    return 1;
}

am_status
am_parallel_for(int64_t chunks, int threads, am_chunk_fn fn, void *arg, am_error *err)
{
    pthread_once(&once, register_fork_handlers);
    threads = threads < AM_MAX_THREADS ? threads : AM_MAX_THREADS;
    threads = (int)am_min_i64(threads, chunks);
    job j = {.fn = fn, .arg = arg, .chunks = chunks, .threads = 1, .failed_chunk = chunks};

    if (threads > 1 && fork_safe && pthread_mutex_trylock(&submit_lock) == 0) {
        j.threads = threads;
        if (!run_shared(&j)) {
            return am_fail(err, AM_ERR_CANCELLED, "the process was forked inside a parallel call");
        }
        pthread_mutex_unlock(&submit_lock);
    }
    else {
        run_chunks(&j, 0);
    }
    if (j.failed_chunk < chunks) {
        if (err != NULL) {
            *err = j.error;
        }
        return j.error.code;
    }
    return AM_OK;
}

unsigned
am_fork_count(void)
{
    pthread_once(&once, register_fork_handlers);
    return atomic_load(&forks);
}

void
am_set_num_threads(int threads)
{
    atomic_store(&process_threads, threads > 0 ? threads : 0);
}

int
am_get_num_threads(void)
{
    return atomic_load(&process_threads);
}
