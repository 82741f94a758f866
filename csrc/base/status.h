/* Status codes and the error a failing call fills in.
 *
 * Every fallible function of the core returns an am_status and takes an am_error last. The
 * error belongs to the caller: nothing is thread-local, so a message written by a worker
 * thread reaches the caller unchanged. */
#ifndef AMBIG_BASE_STATUS_H
#define AMBIG_BASE_STATUS_H

#include "compiler.h"

typedef enum am_status {
    AM_OK = 0,
    AM_ERR_VALUE = 1,     /* an argument is outside what the function accepts */
    AM_ERR_SHAPE = 2,     /* sizes that do not fit each other */
    AM_ERR_FORMAT = 3,    /* a file's bytes are not what its format says */
    AM_ERR_MEMORY = 4,    /* an allocation failed, or a size overflowed */
    AM_ERR_CANCELLED = 5, /* the caller's poll asked to stop */
    AM_ERR_BUSY = 6,      /* the handle is in use by another call */
} am_status;

typedef struct am_error {
    am_status code;
    char message[256];
} am_error;

/* Writes the message (always terminated, cut at the end, other than ASCII as '?') and returns
 * `code`. `err` may be NULL. */
am_status am_fail(am_error *err, am_status code, const char *format, ...) AM_PRINTF(3, 4);

/* "value error", "shape error", ...: for logs and tests. */
const char *am_status_name(am_status code);

/* Forwards a failure to the caller; only where nothing must be released first. */
#define AM_TRY(call)                \
    do {                            \
        am_status am_try_ = (call); \
        if (am_try_ != AM_OK) {     \
            return am_try_;         \
        }                           \
    } while (0)

#endif
