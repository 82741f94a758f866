/* The one allocator: 64-byte aligned, sizes checked for overflow, every block counted.
 *
 * Two hooks exist for tests: live counters (a leak is a number that does not return to what it
 * was) and a countdown that makes the n-th call fail. */
#ifndef AMBIG_BASE_ALLOC_H
#define AMBIG_BASE_ALLOC_H

#include "status.h"

/* *out receives `count` * `size` bytes, uninitialised; NULL for a product of 0. */
am_status am_alloc(void **out, int64_t count, int64_t size, am_error *err);
void am_free(void *block);

/* *out = a * b, or AM_ERR_MEMORY when a factor is negative or the product overflows. */
am_status am_mul_size(int64_t *out, int64_t a, int64_t b, am_error *err);

typedef struct am_alloc_stats {
    int64_t live_blocks;
    int64_t live_bytes;
    int64_t total_calls; /* since the process started */
} am_alloc_stats;

void am_get_alloc_stats(am_alloc_stats *stats);

/* The n-th call from now (1 = the next) fails, and when `persistent` every later one too;
 * 0 switches the hook off. */
void am_fail_alloc_at(int64_t n, int persistent);

#endif
