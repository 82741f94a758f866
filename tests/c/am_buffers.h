/* Heap arrays of exactly the size asked for, so that the address sanitizer sees one item too many;
 * and the same random numbers on every machine. */
#ifndef AMBIG_TEST_BUFFERS_H
#define AMBIG_TEST_BUFFERS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/base/compiler.h"

#define COUNT(array) ((int64_t)(sizeof(array) / sizeof(array)[0]))

static inline void *
am_bytes(int64_t size)
{
    void *block = size < 0 ? NULL : malloc((size_t)size);
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

/* Exact sums, and the sums of the absolute values of their terms: the scale of rounding errors. */
typedef struct am_sums {
    double *exact, *size;
    int64_t n;
} am_sums;

static inline am_sums
am_make_sums(int64_t n)
{
    return (am_sums){calloc((size_t)n, sizeof(double)), calloc((size_t)n, sizeof(double)), n};
}

static inline void
am_free_sums(am_sums *s)
{
    free(s->exact);
    free(s->size);
}

static inline void
am_add_term(am_sums *s, int64_t i, double term)
{
    s->exact[i] += term;
    s->size[i] += fabs(term);
}

static inline int
am_count_wrong(const float *got, const am_sums *s, int64_t terms)
{
    int wrong = 0;
    for (int64_t i = 0; i < s->n; i++) {
        wrong += !am_sum_is_right(got[i], s->exact[i], s->size[i], terms);
    }
    return wrong;
}

static inline int
am_same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static inline int
am_same_floats(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof(float)) == 0;
}

/* A float array between two guards. Its end is the end of the heap block where `tail` is 0, so that
 * the address sanitizer sees a read beyond it. */
#define AM_GUARD 21

typedef struct am_guarded {
    float *block, *x;
    int64_t head, n, tail;
} am_guarded;

/* Random numbers, off by 4 bytes from any vector's alignment. */
static inline am_guarded
am_make_guarded(int64_t n, int64_t tail, uint32_t seed)
{
    am_guarded g = {
        .block = am_nan_floats(AM_GUARD + n + tail), .head = AM_GUARD, .n = n, .tail = tail};
    g.x = g.block + AM_GUARD;
    am_randomize(g.x, n, seed);
    return g;
}

/* The same full of NaN: for an output, or an input with gaps. */
static inline am_guarded
am_make_empty(int64_t n, int64_t tail)
{
    am_guarded g = am_make_guarded(n, tail, 0);
    memset(g.x, 0xff, (size_t)n * sizeof(float));
    return g;
}

/* And for scratch memory and packed weights, which start on a cache line. */
static inline am_guarded
am_make_aligned(int64_t n, int64_t tail)
{
    enum { HEAD = 2 * AM_ALIGNMENT / sizeof(float) };
    void *block;
    if (posix_memalign(&block, AM_ALIGNMENT, (size_t)(HEAD + n + tail) * sizeof(float)) != 0) {
        abort();
    }
    memset(block, 0xff, (size_t)(HEAD + n + tail) * sizeof(float));
    return (am_guarded){block, (float *)block + HEAD, HEAD, n, tail};
}

static inline int
am_guards_hold(const am_guarded *g)
{
    const unsigned char *bytes = (const unsigned char *)g->block;
    const int64_t end = (g->head + g->n + g->tail) * 4;
    int wrong = 0;
    for (int64_t i = 0; i < end; i++) {
        wrong += (i < g->head * 4 || i >= (g->head + g->n) * 4) && bytes[i] != 0xff;
    }
    return wrong == 0;
}

#endif
