/* Stopping a call at a poll of its control, and running out of memory at every allocation. */
#ifndef AMBIG_TEST_FAILURES_H
#define AMBIG_TEST_FAILURES_H

#include "../../csrc/base/alloc.h"
#include "../../csrc/base/control.h"
#include "am_test.h"

static inline am_alloc_stats
am_stats(void)
{
    am_alloc_stats s;
    am_get_alloc_stats(&s);
    return s;
}

typedef struct am_countdown {
    am_control control;
    int polls, stop_at; /* 0: never */
} am_countdown;

static inline int
am_poll(void *arg)
{
    am_countdown *c = arg;
    return ++c->polls == c->stop_at;
}

static inline void
am_start_countdown(am_countdown *c, int stop_at)
{
    *c = (am_countdown){.control = {.poll = am_poll}, .stop_at = stop_at};
    c->control.arg = c;
}

typedef am_status (*am_attempt)(am_error *err);

/* `run` needs `calls` allocations. Each of them fails once, alone and with all after it. */
static inline void
am_check_memory(const char *name, am_attempt run, int64_t calls)
{
    am_error err = {AM_OK, ""};
    const am_alloc_stats before = am_stats();
    AM_CHECK_INT(run(&err), AM_OK);
    if (am_stats().total_calls - before.total_calls != calls) {
        AM_FAILED("%s: %lld allocations, expected %lld", name,
                  (long long)(am_stats().total_calls - before.total_calls), (long long)calls);
    }
    for (int persistent = 0; persistent < 2; persistent++) {
        for (int64_t n = 1; n <= calls + 1; n++) {
            err = (am_error){AM_OK, ""};
            am_fail_alloc_at(n, persistent);
            const am_status status = run(&err);
            am_fail_alloc_at(0, 0);
            const am_alloc_stats after = am_stats();
            const int right = n > calls ? status == AM_OK
                                        : status == AM_ERR_MEMORY && err.code == AM_ERR_MEMORY &&
                                              strstr(err.message, "could not allocate") != NULL;
            if (!right || after.live_blocks != before.live_blocks ||
                after.live_bytes != before.live_bytes) {
                AM_FAILED("%s: allocation %d%s: %s: \"%s\", %lld blocks left", name, (int)n,
                          persistent ? " and later" : "", am_status_name(status), err.message,
                          (long long)(after.live_blocks - before.live_blocks));
            }
        }
        AM_CHECK_INT(run(&err), AM_OK);
    }
}

#endif
