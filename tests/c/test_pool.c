/* The thread pool: every chunk once, errors, nesting, concurrent callers, fork, cancel. */
#include "am_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "../../csrc/base/control.h"
#include "../../csrc/base/pool.h"

static const int thread_counts[] = {1, 2, 3, 7, 17};
#define N_COUNTS (sizeof thread_counts / sizeof thread_counts[0])
#define MAX_CHUNKS 1000

typedef struct record {
    atomic_int runs[MAX_CHUNKS];
    atomic_int busy[AM_MAX_THREADS]; /* a slot belongs to one thread at a time */
    atomic_int bad;
    int threads;
    pthread_t caller;
} record;

static am_status
note(void *arg, int64_t chunk, int slot, am_error *err)
{
    record *r = arg;
    (void)err;
    if (slot < 0 || slot >= r->threads || atomic_fetch_add(&r->busy[slot], 1) != 0) {
        atomic_fetch_add(&r->bad, 1);
    }
    if ((slot == 0) != pthread_equal(pthread_self(), r->caller)) {
        atomic_fetch_add(&r->bad, 1);
    }
    atomic_fetch_add(&r->runs[chunk], 1);
    atomic_fetch_sub(&r->busy[slot], 1);
    return AM_OK;
}

AM_TEST(every_chunk_runs_once)
{
    static const int64_t chunk_counts[] = {0, 1, 2, 5, 16, MAX_CHUNKS};
    for (size_t t = 0; t < N_COUNTS; t++) {
        for (size_t c = 0; c < sizeof chunk_counts / sizeof chunk_counts[0]; c++) {
            for (int repeat = 0; repeat < 20; repeat++) {
                record r = {.threads = thread_counts[t], .caller = pthread_self()};
                AM_CHECK_OK(am_parallel_for(chunk_counts[c], thread_counts[t], note, &r, &err));
                for (int i = 0; i < MAX_CHUNKS; i++) {
                    AM_CHECK(atomic_load(&r.runs[i]) == (i < chunk_counts[c]));
                }
                AM_CHECK_INT(atomic_load(&r.bad), 0);
            }
        }
    }
}

AM_TEST(odd_thread_and_chunk_counts)
{
    record r = {.threads = 1, .caller = pthread_self()};
    AM_CHECK_OK(am_parallel_for(3, 0, note, &r, &err));
    AM_CHECK_OK(am_parallel_for(3, -5, note, &r, &err));
    AM_CHECK_OK(am_parallel_for(-3, 4, note, &r, &err));
    AM_CHECK_INT(atomic_load(&r.runs[2]), 2);
    r.threads = AM_MAX_THREADS;
    AM_CHECK_OK(am_parallel_for(20, 2000000000, note, &r, &err));
    AM_CHECK_INT(atomic_load(&r.bad), 0);
}

/* Chunks 11 and up fail; the lowest of them late, or all the others. */
static am_status
fail_from_11(void *arg, int64_t chunk, int slot, am_error *err)
{
    const int *late = arg;
    (void)slot;
    if ((chunk == 11) == *late) {
        usleep(chunk < 11 ? 0 : 300);
    }
    return chunk < 11 ? AM_OK : am_fail(err, AM_ERR_FORMAT, "chunk %lld", (long long)chunk);
}

AM_TEST(lowest_failing_chunk_wins)
{
    for (size_t t = 0; t < N_COUNTS; t++) {
        for (int repeat = 0; repeat < 50; repeat++) {
            am_error err = {AM_OK, ""};
            int late = repeat % 2;
            AM_CHECK_INT(am_parallel_for(200, thread_counts[t], fail_from_11, &late, &err),
                         AM_ERR_FORMAT);
            AM_CHECK_INT(err.code, AM_ERR_FORMAT);
            AM_CHECK_STR(err.message, "chunk 11");
        }
    }
    int late = 0;
    AM_CHECK_INT(am_parallel_for(200, 4, fail_from_11, &late, NULL), AM_ERR_FORMAT);
}

static am_status
fail_silently(void *arg, int64_t chunk, int slot, am_error *err)
{
    (void)arg;
    (void)chunk;
    (void)slot;
    (void)err;
    return AM_ERR_MEMORY;
}

AM_TEST(a_failure_without_a_message_is_a_failure)
{
    am_error err = {AM_OK, ""};
    AM_CHECK_INT(am_parallel_for(9, 1, fail_silently, NULL, &err), AM_ERR_MEMORY);
    AM_CHECK_INT(am_parallel_for(9, 3, fail_silently, NULL, &err), AM_ERR_MEMORY);
    AM_CHECK_INT(err.code, AM_ERR_MEMORY);
}

AM_TEST(an_error_does_not_stick)
{
    record r = {.threads = 7, .caller = pthread_self()};
    int late = 0;
    AM_CHECK_INT(am_parallel_for(200, 7, fail_from_11, &late, NULL), AM_ERR_FORMAT);
    AM_CHECK_OK(am_parallel_for(20, 7, note, &r, &err));
    AM_CHECK_INT(atomic_load(&r.runs[19]), 1);
}

typedef struct inner_check {
    pthread_t thread;
    atomic_llong runs;
    atomic_int strayed;
} inner_check;

static am_status
inner(void *arg, int64_t chunk, int slot, am_error *err)
{
    inner_check *check = arg;
    (void)chunk;
    (void)err;
    if (slot != 0 || !pthread_equal(pthread_self(), check->thread)) {
        atomic_fetch_add(&check->strayed, 1);
    }
    atomic_fetch_add(&check->runs, 1);
    return AM_OK;
}

static am_status
outer(void *arg, int64_t chunk, int slot, am_error *err)
{
    atomic_llong *total = arg;
    inner_check check = {.thread = pthread_self()};
    (void)chunk;
    (void)slot;
    AM_TRY(am_parallel_for(10, 4, inner, &check, err));
    if (atomic_load(&check.strayed) > 0) {
        return am_fail(err, AM_ERR_VALUE, "a nested loop left its thread");
    }
    atomic_fetch_add(total, atomic_load(&check.runs));
    return AM_OK;
}

AM_TEST(nested_loops_run_serially)
{
    for (int repeat = 0; repeat < 20; repeat++) {
        atomic_llong total = 0;
        AM_CHECK_OK(am_parallel_for(8, 4, outer, &total, &err));
        AM_CHECK_INT(atomic_load(&total), 80);
    }
}

static am_status
add(void *arg, int64_t chunk, int slot, am_error *err)
{
    (void)slot;
    (void)err;
    atomic_fetch_add((atomic_llong *)arg, chunk);
    return AM_OK;
}

static void *
submit_many(void *arg)
{
    for (int i = 0; i < 300; i++) {
        atomic_llong sum = 0;
        if (am_parallel_for(40, 3, add, &sum, NULL) != AM_OK || atomic_load(&sum) != 780) {
            atomic_fetch_add((atomic_int *)arg, 1);
        }
    }
    return NULL;
}

AM_TEST(concurrent_callers)
{
    pthread_t threads[6];
    atomic_int wrong = 0;
    for (int i = 0; i < 6; i++) {
        AM_CHECK_INT(pthread_create(&threads[i], NULL, submit_many, &wrong), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
    }
    AM_CHECK_INT(atomic_load(&wrong), 0);
}

/* The exit status of a child, or -1 when it had to be killed. */
static int
wait_for(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        return -1;
    }
    return WEXITSTATUS(status);
}

/* The thread sanitizer cannot start threads in a child: "dup thread with used id". */
#if defined(__SANITIZE_THREAD__)
#define CHILD_THREADS 1
#else
#define CHILD_THREADS 3
#endif

/* Every chunk waits for all of them, which takes as many threads. */
static am_status
meet(void *arg, int64_t chunk, int slot, am_error *err)
{
    atomic_int *arrived = arg;
    (void)chunk;
    (void)slot;
    atomic_fetch_add(arrived, 1);
    for (int i = 0; atomic_load(arrived) < 3; i++) {
        if (i == 5000) {
            return am_fail(err, AM_ERR_BUSY, "nobody came");
        }
        usleep(1000);
    }
    return AM_OK;
}

AM_TEST(threads_run_at_the_same_time)
{
    atomic_int arrived = 0;
    AM_CHECK_OK(am_parallel_for(3, 3, meet, &arrived, &err));
}

/* In a child: the exit status says whether the pool works. */
static int
pool_works(int threads)
{
    atomic_llong sum = 0;
    if (am_parallel_for(40, threads, add, &sum, NULL) != AM_OK || atomic_load(&sum) != 780) {
        return 1;
    }
    atomic_int arrived = 0;
    return threads > 1 && am_parallel_for(3, 3, meet, &arrived, NULL) != AM_OK;
}

AM_TEST(fork_while_idle)
{
    AM_CHECK_INT(pool_works(3), 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            _exit(pool_works(CHILD_THREADS));
        }
        AM_CHECK_INT(wait_for(child), 0);
        AM_CHECK_INT(pool_works(3), 0);
    }
}

static atomic_int stop_submitting;

static void *
submit_until_told(void *arg)
{
    while (!atomic_load(&stop_submitting)) {
        submit_many(arg);
    }
    return NULL;
}

AM_TEST(fork_while_another_thread_is_in_a_loop)
{
    pthread_t thread;
    atomic_int wrong = 0;
    atomic_store(&stop_submitting, 0);
    AM_CHECK_INT(pthread_create(&thread, NULL, submit_until_told, &wrong), 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            _exit(pool_works(CHILD_THREADS));
        }
        AM_CHECK_INT(wait_for(child), 0);
    }
    atomic_store(&stop_submitting, 1);
    pthread_join(thread, NULL);
    AM_CHECK_INT(atomic_load(&wrong), 0);
}

typedef struct forking {
    int slot_0_only;
    atomic_int forked;
    atomic_int child; /* process id */
    pid_t parent;
} forking;

/* Before the leak check, which would look for threads that the child does not have. */
static void
leave_at_once(void)
{
    _exit(0);
}

/* The first chunk that may, forks, and both sides go on as if nothing had happened. */
static am_status
fork_once(void *arg, int64_t chunk, int slot, am_error *err)
{
    forking *f = arg;
    (void)chunk;
    (void)err;
    usleep(200);
    if ((slot == 0) == f->slot_0_only && atomic_exchange(&f->forked, 1) == 0) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            atexit(leave_at_once);
        }
        else {
            atomic_store(&f->child, child);
        }
    }
    return AM_OK;
}

AM_TEST(fork_inside_a_chunk_of_the_caller)
{
    for (int i = 0; i < 10; i++) {
        forking f = {.slot_0_only = 1, .parent = getpid()};
        am_error err = {AM_OK, ""};
        am_status status = am_parallel_for(60, 3, fork_once, &f, &err);
        if (getpid() != f.parent) {
            _exit(status == AM_ERR_CANCELLED && err.code == status ? pool_works(CHILD_THREADS) : 2);
        }
        AM_CHECK_INT(status, AM_OK);
        AM_CHECK(atomic_load(&f.forked));
        AM_CHECK_INT(wait_for(atomic_load(&f.child)), 0);
    }
}

AM_TEST(fork_inside_a_chunk_of_a_worker)
{
    for (int i = 0; i < 10; i++) {
        forking f = {.slot_0_only = 0, .parent = getpid()};
        AM_CHECK_OK(am_parallel_for(200, 3, fork_once, &f, &err));
        if (atomic_load(&f.forked)) { /* the child's only thread ends, and with it the child */
            AM_CHECK_INT(wait_for(atomic_load(&f.child)), 0);
        }
    }
}

AM_TEST(fork_inside_a_serial_loop_goes_on)
{
    forking f = {.slot_0_only = 1, .parent = getpid()};
    am_status status = am_parallel_for(5, 1, fork_once, &f, NULL);
    if (getpid() != f.parent) {
        _exit(status == AM_OK ? 0 : 1);
    }
    AM_CHECK_INT(status, AM_OK);
    AM_CHECK_INT(wait_for(atomic_load(&f.child)), 0);
}

typedef struct cancelling {
    am_control control;
    int polls;
    atomic_llong runs;
} cancelling;

static int
stop_at_third_poll(void *arg)
{
    return ++((cancelling *)arg)->polls == 3;
}

static am_status
work_until_cancelled(void *arg, int64_t chunk, int slot, am_error *err)
{
    cancelling *c = arg;
    (void)chunk;
    AM_TRY(am_check(&c->control, slot, err));
    atomic_fetch_add(&c->runs, 1);
    usleep(10);
    return AM_OK;
}

AM_TEST(cancel_stops_all_threads)
{
    for (size_t t = 0; t < N_COUNTS; t++) {
        cancelling c = {.control = {.poll = stop_at_third_poll}};
        am_error err = {AM_OK, ""};
        c.control.arg = &c;
        am_status status =
            am_parallel_for(10000000, thread_counts[t], work_until_cancelled, &c, &err);
        AM_CHECK_INT(status, AM_ERR_CANCELLED);
        AM_CHECK_INT(err.code, AM_ERR_CANCELLED);
        AM_CHECK_INT(c.polls, 3);
        AM_CHECK(atomic_load(&c.runs) < 1000000);
    }
}

static am_status
look_at_signals(void *arg, int64_t chunk, int slot, am_error *err)
{
    sigset_t mask;
    (void)chunk;
    (void)err;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (sigismember(&mask, SIGINT) != (slot != 0)) {
        atomic_fetch_add((atomic_int *)arg, 1);
    }
    usleep(100);
    return AM_OK;
}

AM_TEST(signals_stay_with_the_caller)
{
    atomic_int wrong = 0;
    AM_CHECK_OK(am_parallel_for(100, 4, look_at_signals, &wrong, &err));
    AM_CHECK_INT(atomic_load(&wrong), 0);
}

AM_TEST(process_wide_number)
{
    AM_CHECK_INT(am_get_num_threads(), 0);
    am_set_num_threads(3);
    AM_CHECK_INT(am_get_num_threads(), 3);
    am_set_num_threads(-1);
    AM_CHECK_INT(am_get_num_threads(), 0);
}
