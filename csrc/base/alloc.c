#include "alloc.h"

#include <stdatomic.h>
#include <stdlib.h>

/* A header in front of each block remembers its size for the counters. It is one alignment
 * unit long, so the block behind it stays aligned. */
typedef struct header {
    int64_t bytes;
} header;

static atomic_llong live_blocks, live_bytes, total_calls;
static atomic_llong fail_countdown; /* 0: off; 1: the next call fails */
static atomic_int fail_persistent;

static int
must_fail(void)
{
    long long n = atomic_load(&fail_countdown);
    while (n > 0) {
        long long next = n - 1;
        if (n == 1 && atomic_load(&fail_persistent)) {
            return 1;
        }
        if (atomic_compare_exchange_weak(&fail_countdown, &n, next)) {
            return n == 1;
        }
    }
    return 0;
}

am_status
am_mul_size(int64_t *out, int64_t a, int64_t b, am_error *err)
{
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, out)) {
        return am_fail(err, AM_ERR_MEMORY, "a size of %lld x %lld bytes does not fit in memory",
                       (long long)a, (long long)b);
    }
    return AM_OK;
}

am_status
am_alloc(void **out, int64_t count, int64_t size, am_error *err)
{
    *out = NULL;
    int64_t bytes, padded;
    AM_TRY(am_mul_size(&bytes, count, size, err));
    if (bytes == 0) {
        return AM_OK;
    }
    atomic_fetch_add(&total_calls, 1);
    if (__builtin_add_overflow(bytes, 2 * AM_ALIGNMENT - 1, &padded) || must_fail()) {
        return am_fail(err, AM_ERR_MEMORY, "could not allocate %lld bytes", (long long)bytes);
    }
    padded -= padded % AM_ALIGNMENT; /* aligned_alloc wants a multiple of the alignment */
    char *raw = aligned_alloc(AM_ALIGNMENT, (size_t)padded);
    if (raw == NULL) {
        return am_fail(err, AM_ERR_MEMORY, "could not allocate %lld bytes", (long long)bytes);
    }
    ((header *)raw)->bytes = bytes;
    atomic_fetch_add(&live_blocks, 1);
    atomic_fetch_add(&live_bytes, bytes);
    *out = raw + AM_ALIGNMENT;
    return AM_OK;
}

void
am_free(void *block)
{
    if (block == NULL) {
        return;
    }
    char *raw = (char *)block - AM_ALIGNMENT;
    atomic_fetch_sub(&live_blocks, 1);
    atomic_fetch_sub(&live_bytes, ((header *)raw)->bytes);
    free(raw);
}

void
am_get_alloc_stats(am_alloc_stats *stats)
{
    stats->live_blocks = atomic_load(&live_blocks);
    stats->live_bytes = atomic_load(&live_bytes);
    stats->total_calls = atomic_load(&total_calls);
}

void
am_fail_alloc_at(int64_t n, int persistent)
{
    atomic_store(&fail_persistent, persistent);
    atomic_store(&fail_countdown, n);
}
