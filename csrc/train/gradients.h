/* Gradients of single images: how much one of them pulls at the weights, and what in its pixels
 * speaks for its label. Without dropout. */
#ifndef AMBIG_TRAIN_GRADIENTS_H
#define AMBIG_TRAIN_GRADIENTS_H

#include "train.h"

/* out (examples->n,) = the Euclidean norm of the gradient of an image's loss by all parameters
 * (Paul, Ganguli, Dziugaite: Deep learning on a data diet, 2021: GraNd). */
am_status am_gradient_norms(am_net *net, const am_examples *examples, am_loss loss, int threads,
                            am_control *control, double *out, am_error *err);

/* out (examples->n, h * w * c) = the gradient of the label's logit by the pixels, these as floats
 * from 0 to 1. The net must be one without fused blocks. */
am_status am_pixel_gradients(am_net *net, const am_examples *examples, int threads,
                             am_control *control, float *out, am_error *err);

/* out (n,): x (t, n, d) holds d numbers of each of n images at t times; the standard deviation over
 * the times, averaged over the numbers (Agarwal, D'souza, Hooker: Estimating example difficulty
 * using variance of gradients, 2022: VoG before it is normalised by class). */
am_status am_mean_deviation(const float *x, int64_t t, int64_t n, int64_t d, int threads,
                            am_control *control, double *out, am_error *err);

#endif
