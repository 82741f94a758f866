/* Whole batches through one layer, weights given as they are stored (not packed), threaded over
 * fixed chunks of images. What the Python functions of ambigmnist.layers call. */
#ifndef AMBIG_LAYERS_BATCH_H
#define AMBIG_LAYERS_BATCH_H

#include "../base/control.h"
#include "layers.h"

/* y (n, out_h, out_w, f) from x (n, h, w, c), w (size, size, c, f), b (f,) */
am_status am_conv2d_forward_batch(float *y, const float *x, const float *w, const float *b,
                                  int64_t n, const am_conv2d *s, int threads, am_control *control,
                                  am_error *err);
/* dx like x, dw like w, db like b, all overwritten */
am_status am_conv2d_backward_batch(float *dx, float *dw, float *db, const float *dy, const float *x,
                                   const float *w, int64_t n, const am_conv2d *s, int threads,
                                   am_control *control, am_error *err);
/* y (n, f) from x (n, d), w (d, f), b (f,) */
am_status am_dense_forward_batch(float *y, const float *x, const float *w, const float *b,
                                 int64_t n, int64_t d, int64_t f, int threads, am_control *control,
                                 am_error *err);
am_status am_dense_backward_batch(float *dx, float *dw, float *db, const float *dy, const float *x,
                                  const float *w, int64_t n, int64_t d, int64_t f, int threads,
                                  am_control *control, am_error *err);

#endif
