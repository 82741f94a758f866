/* Heap arrays of exactly the size asked for, so that the address sanitizer sees one item too many;
 * and the same random numbers on every machine. */
#ifndef AMBIG_TEST_BUFFERS_H
#define AMBIG_TEST_BUFFERS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof(array)[0]))

static inline void *
am_bytes(int64_t size)
{
    void *block = malloc((size_t)size);
    if (block == NULL) {
        abort();
    }
    return block;
}

static inline float *
am_floats(int64_t n)
{
    return am_bytes(n * (int64_t)sizeof(float));
}

/* In [-1, 1), 24 bits; `state` goes on. */
static inline float
am_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) * 0x1p-23f - 1.0f;
}

static inline void
am_randomize(float *x, int64_t n, uint32_t seed)
{
    uint32_t state = seed * 2654435761u + 12345u;
    for (int64_t i = 0; i < n; i++) {
        x[i] = am_next(&state);
    }
}

static inline float *
am_random_floats(int64_t n, uint32_t seed)
{
    float *x = am_floats(n);
    am_randomize(x, n, seed);
    return x;
}

/* What is left in memory nobody wrote to: any use of it shows. */
static inline float *
am_nan_floats(int64_t n)
{
    float *x = am_floats(n);
    memset(x, 0xff, (size_t)n * sizeof(float));
    return x;
}

/* `got` against sums of `terms` products, computed as `exact`, whose absolute values sum to
 * `size`: within the rounding errors of single precision, whatever the order. */
static inline int
am_sum_is_right(float got, double exact, double size, int64_t terms)
{
    const double off = (double)got - exact;
    const double bound = (double)(terms + 2) * 0x1p-24 * size + 1e-37;
    return off <= bound && off >= -bound; /* false for NaN */
}

#endif
