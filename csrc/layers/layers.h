/* Layers: a forward and a backward pass each, on plain arrays.
 *
 * Shapes in comments: n images, h x w pixels, c channels (NHWC), f filters or units, k window size
 * or number of classes. Weights are stored as HWIO, in "panels" (pack.h) where a product reads
 * them. The functions of one image or one row know nothing of batches or threads. Gradients of
 * weights accumulate, gradients of data overwrite. */
#ifndef AMBIG_LAYERS_LAYERS_H
#define AMBIG_LAYERS_LAYERS_H

#include "../base/rng.h"
#include "../kernels/kernels.h"

/* --- conv2d.c: stride 1, odd square window, zero padding ------------------------------------- */

#define AM_MAX_WINDOW 4095

typedef struct am_conv2d {
    int64_t h, w, c; /* input */
    int64_t f, size,
        pad; /* filters, window, zeros on each side: 0 "valid", (size - 1) / 2 "same" */
    int64_t out_h, out_w;
} am_conv2d;

am_status am_conv2d_init(am_conv2d *s, int64_t h, int64_t w, int64_t c, int64_t f, int64_t size,
                         int same, am_error *err);
int64_t am_conv2d_scratch(const am_conv2d *s);     /* floats that forward and backward need */
int64_t am_conv2d_packed(const am_conv2d *s);      /* floats of the packed weights */
int64_t am_conv2d_packed_back(const am_conv2d *s); /* and of those that backward_data reads */
void am_conv2d_pack(float *packed, const float *w, const am_conv2d *s);
void am_conv2d_pack_back(float *packed, const float *w, const am_conv2d *s);

/* y (out_h, out_w, f) = window sums of x (h, w, c) with w (size, size, c, f), plus b (f,) */
void am_conv2d_forward(float *y, const float *x, const float *packed, const float *b,
                       const am_conv2d *s, float *scratch);
void am_conv2d_backward_data(float *dx, const float *dy, const float *packed_back,
                             const am_conv2d *s, float *scratch);
/* dw (size, size, c, f) and db (f,) accumulate */
void am_conv2d_backward_weights(float *dw, float *db, const float *dy, const float *x,
                                const am_conv2d *s, float *scratch);

/* --- dense.c --------------------------------------------------------------------------------- */

/* y (n, f) = x (n, d) w (d, f) + b (f,) */
void am_dense_forward(float *y, const float *x, const float *packed, const float *b, int64_t n,
                      int64_t d, int64_t f);
/* dx (n, d) = dy (n, f) w' */
void am_dense_backward_data(float *dx, const float *dy, const float *packed_back, int64_t n,
                            int64_t d, int64_t f);
/* Rows first..last of dw (d, f) = x' dy, overwritten; dy packed as panels of n rows. */
void am_dense_backward_weights(float *dw, const float *dy_packed, const float *x, int64_t n,
                               int64_t d, int64_t f, int64_t first, int64_t last);
/* db (f,) = sum of the rows of dy, overwritten; dy packed as panels of n rows. */
void am_dense_backward_bias(float *db, const float *dy_packed, int64_t n, int64_t f);

/* --- dropout.c ------------------------------------------------------------------------------- */

/* keep[i] = 1 with probability 1 - rate: a function of (seed, step, layer, slot, i). */
void am_dropout_mask(uint8_t *keep, int64_t n, double rate, uint64_t seed, uint32_t step,
                     uint32_t layer, uint32_t slot);
/* y = keep ? x / (1 - rate) : 0. The backward pass is the same function of dy. */
void am_dropout_apply(float *y, const float *x, const uint8_t *keep, double rate, int64_t n);

/* --- loss.c: one image; z (k,) logits, y (k,) target probabilities --------------------------- */

typedef enum am_loss { AM_LOSS_SOFTMAX = 0, AM_LOSS_SIGMOID = 1 } am_loss;

/* p (k,) = softmax(z) */
void am_softmax(float *p, const float *z, int64_t k);
/* Returns the loss and writes p (k,): the softmax, or the k sigmoids. */
double am_loss_forward(am_loss loss, float *p, const float *z, const float *y, int64_t k);
/* dz (k,) = scale times the gradient of that loss */
void am_loss_backward(am_loss loss, float *dz, const float *p, const float *y, double scale,
                      int64_t k);

#endif
