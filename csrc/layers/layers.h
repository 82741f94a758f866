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

/* --- conv_pool.c: conv 3 x 3, ReLU and max-pool 2 x 2 in one (kernels/conv_pool.h) ------------ */

/* Whether the convolution can be the first part of such a block; `first`: its input needs no
 * gradient. Fills in the shape. */
int am_conv_pool_fits(am_conv_pool *s, const am_conv2d *conv, int first);
int am_conv_pool_is_narrow(const am_conv_pool *s);       /* otherwise Winograd */
int64_t am_conv_pool_packed(const am_conv_pool *s);      /* floats of the packed weights */
int64_t am_conv_pool_packed_back(const am_conv_pool *s); /* and of those of the backward pass */
int64_t am_conv_pool_scratch(const am_conv_pool *s);     /* floats of one image's forward pass */
int64_t am_conv_pool_scratch_back(const am_conv_pool *s);
void am_conv_pool_pack(float *packed, const float *w, const am_conv_pool *s);
void am_conv_pool_pack_back(float *packed, const float *w, const am_conv_pool *s);
/* y, argmax (ph, pw, f) of x (h, w, c) */
void am_conv_pool_forward(float *y, uint8_t *argmax, const float *x, const float *w,
                          const float *packed, const float *b, const am_conv_pool *s,
                          float *scratch);
/* Up to AM_GROUP images backwards. dw accumulates in the order of the packed_back weights (of a
 * narrow block: as HWIO), db too; dx, which may be NULL, is overwritten. A narrow block has none.
 */
void am_conv_pool_backward(float *dx, int64_t dx_image, float *dw, float *db,
                           const am_conv_pool_images *images, const float *packed_back,
                           const am_conv_pool *s, float *scratch);
void am_conv_pool_unpack_gradient(float *dw, const float *packed, const am_conv_pool *s);

/* --- dense.c: weights in panels of d rows ----------------------------------------------------- */

int64_t am_dense_size(int64_t d, int64_t f);             /* floats of the panels */
int64_t am_dense_place(int64_t d, int64_t i, int64_t j); /* of w[i][j] among them */
void am_dense_pack(float *panels, const float *w, int64_t d, int64_t f);
void am_dense_unpack(float *w, const float *panels, int64_t d, int64_t f);

/* y (n, f) = x (n, d) w (d, f) + b (f,). sparse: x holds many zeros. */
void am_dense_forward(float *y, const float *x, const float *w, const float *b, int64_t n,
                      int64_t d, int64_t f, int sparse);
/* Rows first..last of w, transposed, for backward_data: (f, d) in panels of f rows. */
void am_dense_pack_back(float *packed, const float *w, int64_t d, int64_t f, int64_t first,
                        int64_t last);
/* dx (n, d) = dy (n, f) w'. sparse: dy holds many zeros. */
void am_dense_backward_data(float *dx, const float *dy, const float *packed_back, int64_t n,
                            int64_t d, int64_t f, int sparse);
/* dx (n, d) = dy (n, f) w' where x (n, d) is not 0, otherwise 0: the gradient of what a ReLU or
 * dropout made. w in panels; f a multiple of AM_PANEL. */
void am_dense_backward_data_sampled(float *dx, const float *dy, const float *x, const float *w,
                                    int64_t n, int64_t d, int64_t f);
/* Rows first..last of dw (d, f) = x' dy, overwritten; rows lie dw_row floats apart, panels of
 * AM_PANEL columns dw_panel. dy packed as panels of n rows. */
void am_dense_backward_weights(float *dw, int64_t dw_row, int64_t dw_panel, const float *dy_packed,
                               const float *x, int64_t n, int64_t d, int64_t f, int64_t first,
                               int64_t last, int sparse);
/* db (f,) = sum of the rows of dy, overwritten; dy packed as panels of n rows. */
void am_dense_backward_bias(float *db, const float *dy_packed, int64_t n, int64_t f);

/* --- dropout.c ------------------------------------------------------------------------------- */

/* keep[i] = 1 with probability 1 - rate, which is rounded to a multiple of 2^-16: a function of
 * (seed, step, layer, slot, i). */
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
