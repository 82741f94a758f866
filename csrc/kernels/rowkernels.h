/* Kernels over rows of k numbers: what a ranking reads off every row before it looks closer.
 *
 * One source text, rowkernels.inc.c, compiled once per instruction set. Nothing is fused and
 * maxima are exact, so that all of them give the same bits; only the sums may differ in the last
 * digits, because lanes add in another order. `rows` are n rows of k numbers without gaps. */
#ifndef AMBIG_KERNELS_ROWKERNELS_H
#define AMBIG_KERNELS_ROWKERNELS_H

#include "../base/compiler.h"

typedef struct am_row_kernels {
    const char *isa;
    /* Pairs: for float rows and for double rows. The largest return whether every number is
     * finite; where one is not, the results mean nothing. The second largest of a row of one is
     * -inf. */
    int (*largest[2])(double *first, const void *rows, int64_t n, int64_t k);
    int (*two_largest[2])(double *first, double *second, const void *rows, int64_t n, int64_t k);
    /* In the precision of the row's type; returns 0 where a number is negative (or maybe -0). */
    int (*sums[2])(double *sum, const void *rows, int64_t n, int64_t k);
    double (*lowest[2])(const void *values, int64_t count); /* of finite ones; +inf for none */
    /* out = 1 - p, or 1 - p + q where q is not NULL */
    void (*rest)(double *out, const double *p, const double *q, int64_t n);
    int (*any_above)(const double *x, int64_t n, double limit);
    /* whether any a - 2 b <= limit, or is NaN; for n a multiple of 16 */
    int (*any_within)(const float *a, const float *b, int64_t n, float limit);
    /* sums += floor(p * 2^32 + 1/2), for 0 <= p < 2^19 */
    void (*add_fixed)(int64_t *sums, const double *p, int64_t k);
} am_row_kernels;

/* The table for the instruction set in force. */
const am_row_kernels *am_get_row_kernels(void);

#endif
