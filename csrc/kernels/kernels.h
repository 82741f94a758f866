/* The table of kernels: what the layers call, whatever the instruction set.
 *
 * One source text, kernels.inc.c, is compiled once per variant. The portable variant fills the
 * whole table; better ones replace it at run time. Lanes run over outputs only and every output
 * has one accumulator that walks its terms in a fixed order, so variants with the same
 * arithmetic (fused or not) give the same bits at any vector width and tile size. */
#ifndef AMBIG_KERNELS_KERNELS_H
#define AMBIG_KERNELS_KERNELS_H

#include "../base/status.h"
#include "conv_pool.h"

#define AM_PANEL 16 /* columns of one packed panel of B */

/* A matrix product with a reduction in two levels:
 *
 *     C[r][j] = start + sum_s sum_k A[r row + s segment + k step] * B[s steps + k][j],  j < cols
 *
 * start is bias[j], or C[r][j] itself when bias is NULL and accumulate is set, or 0. All strides
 * count floats. One of `row` and `step` is 1: the product of a layer has step 1, that of a weight
 * gradient row 1. A convolution's segments are the rows of its window.
 *
 * B comes in panels of AM_PANEL columns, padded with zeros; C may be cut in the same way. `sparse`
 * says that A holds many zeros (and B only finite numbers): terms with a zero are then left out,
 * block by block where that pays. The sums are the same. */
typedef struct am_gemm {
    int64_t rows, cols, segments, steps;
    const float *a;
    int64_t row, segment, step;
    const float *b; /* segments * steps rows of AM_PANEL floats, aligned */
    int64_t b_panel;
    float *c;
    int64_t c_row, c_panel; /* c_panel: AM_PANEL where C is not cut */
    const float *bias;
    int accumulate;
    int sparse;
} am_gemm;

/* The gradient of a product's left side, sampled:
 *
 *     dx[r][k] = x[r][k] != 0 ? sum_j dy[r][j] * w[k][j] : 0,  k < cols, j < steps
 *
 * w comes in panels of AM_PANEL columns; steps is a multiple of AM_PANEL. Columns j, j + AM_PANEL,
 * ... have a sum each; these are added at the end, always in the same order. */
typedef struct am_sampled {
    int64_t rows, cols, steps;
    const float *dy; /* (rows, steps) */
    const float *w;
    int64_t w_panel;
    const float *x; /* (rows, cols) */
    float *dx;      /* (rows, cols) */
} am_sampled;

typedef struct am_pool_shape {
    int64_t h, w, c; /* of the input; the output is h/2, w/2, c, rounded down */
} am_pool_shape;

typedef struct am_kernels {
    const char *isa;
    void (*gemm)(const am_gemm *g);
    void (*sampled)(const am_sampled *s);
    void (*relu)(float *y, const float *x, int64_t n); /* y = max(x, 0) */
    void (*relu_gradient)(float *dx, const float *dy, const float *y, int64_t n);
    void (*maxpool)(float *y, uint8_t *argmax, const float *x, const am_pool_shape *shape);
    void (*maxpool_gradient)(float *dx, const float *dy, const uint8_t *argmax,
                             const am_pool_shape *shape);
    /* y = mask ? scale * x : 0 */
    void (*mask)(float *y, const float *x, const uint8_t *mask, float scale, int64_t n);
    void (*add)(float *sum, const float *x, int64_t n);      /* sum += x */
    void (*scale_u8)(float *y, const uint8_t *x, int64_t n); /* y = x / 255 */
    /* Optimizer steps on n weights; `v` and `m` are the running moments. */
    void (*sgd)(float *w, const float *g, float *v, int64_t n, float rate, float momentum);
    void (*rmsprop)(float *w, const float *g, float *v, int64_t n, float rate, float rho,
                    float eps);
    void (*adam)(float *w, const float *g, float *m, float *v, int64_t n, float rate, float beta1,
                 float beta2, float correction, float eps);
    /* to[j][i] = from[i][j], i and j below AM_PANEL; rows lie to_row and from_row floats apart */
    void (*transpose_panel)(float *to, int64_t to_row, const float *from, int64_t from_row);
    am_conv_pool_kernels conv_pool;
} am_kernels;

/* The table in force. */
const am_kernels *am_get_kernels(void);

/* "baseline", "avx2", "avx512" or "neon"; NULL or "" picks the best that this CPU has. */
am_status am_select_isa(const char *name, am_error *err);
const char *am_isa_name(void);
int am_isa_available(const char *names[8]); /* how many names it wrote, best last */

/* Strict: no fused multiply-add, so the same bits on every instruction set. */
void am_set_strict(int strict);
int am_get_strict(void);

#endif
