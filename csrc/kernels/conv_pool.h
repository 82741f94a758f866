/* A fused block: convolution 3 x 3 without padding, bias, ReLU, max-pooling 2 x 2.
 *
 * The convolution's output exists in registers only. Backwards, of the four outputs of a window
 * only the largest passes its gradient on, and only if it is positive: all the others are exact
 * zeros, and nothing is computed for them. */
#ifndef AMBIG_KERNELS_CONV_POOL_H
#define AMBIG_KERNELS_CONV_POOL_H

#include "../base/status.h"

#define AM_NARROW_MAX 4 /* input channels of a block whose input needs no gradient */
#define AM_GROUP 2      /* images that the backward pass takes at once */

typedef struct am_conv_pool {
    int64_t h, w, c; /* input */
    int64_t f;       /* filters, a multiple of AM_PANEL */
    int64_t ph, pw;  /* output: (h - 2) / 2, (w - 2) / 2 */
} am_conv_pool;

/* Up to AM_GROUP images of a block, `*_image` floats apart: what the backward pass reads. */
typedef struct am_conv_pool_images {
    int64_t n;
    const float *x; /* (h, w, c) */
    int64_t x_image;
    const float *y, *dy; /* (ph, pw, f) */
    int64_t y_image, dy_image;
    const uint8_t *argmax; /* (ph, pw, f) */
    int64_t argmax_image;
} am_conv_pool_images;

/* Rows of windows whose transformed inputs are in memory at once: about 64 windows. */
static inline int64_t
am_winograd_rows(const am_conv_pool *s)
{
    const int64_t rows = 64 / s->pw;
    return am_min_i64(rows > 1 ? rows : 1, s->ph);
}

#define AM_WINOGRAD_PRODUCTS (16 * 32 * 32) /* floats of the largest block of products */

typedef struct am_conv_pool_kernels {
    /* Few input channels (c <= AM_NARROW_MAX): w as HWIO. */
    void (*narrow)(float *y, uint8_t *argmax, const float *x, const float *w, const float *b,
                   const am_conv_pool *s);
    /* dw (3, 3, c, f) and db (f,) accumulate */
    void (*narrow_weights)(float *dw, float *db, const am_conv_pool_images *images,
                           const am_conv_pool *s, float *scratch);

    /* Many input channels (a multiple of AM_PANEL): Winograd's F(2 x 2, 3 x 3), whose output tile
     * is the pooling window. `u` holds the weights transformed. */
    void (*winograd_pack)(float *u, const float *w, const am_conv_pool *s);
    void (*winograd)(float *y, uint8_t *argmax, const float *x, const float *u, const float *b,
                     const am_conv_pool *s, float *scratch);
    /* Backwards term by term. `packed` holds the weights by filter; dw is laid out like it. dw and
     * db accumulate, dx is overwritten; dx may be NULL. */
    void (*sparse_pack)(float *packed, const float *w, const am_conv_pool *s);
    void (*sparse_unpack)(float *w, const float *packed, const am_conv_pool *s);
    void (*sparse)(float *dx, int64_t dx_image, float *dw, float *db,
                   const am_conv_pool_images *images, const float *packed, const am_conv_pool *s,
                   float *scratch);
} am_conv_pool_kernels;

#endif
