/* Temperature scaling: p_j(T) = softmax(z / T)_j with one number T for all images.
 *
 * Where only probabilities are known, z_j = log p_j, so that p_j(1) = p_j; what is smaller than the
 * smallest normal number of its type, a 0 above all, counts as that number. Then no label is
 * impossible, and T can be fitted however a softmax underflowed.
 *
 * In terms of b = 1/T the loss of an image, log sum_j exp(b z_j) - b z_g, is convex. Sums over
 * images are exact, so that their bits depend neither on threads nor on the order of images. */
#ifndef AMBIG_RANK_TEMPERATURE_H
#define AMBIG_RANK_TEMPERATURE_H

#include "exactsum.h"
#include "rows.h"

/* Sums over images; E and Var by p(T). */
typedef struct am_temperature_sums {
    am_exact_sum loss;      /* -log p_g(T) */
    am_exact_sum slope;     /* its derivative by 1/T: E[z] - z_g */
    am_exact_sum curvature; /* its second derivative by 1/T: Var[z] */
} am_temperature_sums;

/* The sums at 1/T = `inverse` >= 0, finite. `keep` (n): 0 for images to leave out; NULL: none.
 * AM_ERR_VALUE for a number that is not finite and a label outside 0..k-1, in any row. */
am_status am_temperature_pass(const am_rows *rows, const int64_t *labels, const uint8_t *keep,
                              double inverse, am_temperature_sums *sums, int threads,
                              am_control *control, am_error *err);

/* out[i, j] = p_j(T) of image i, (n, k) without gaps, with 1/T = inverse[i] >= 0, finite. */
am_status am_tempered(const am_rows *rows, const double *inverse, double *out, int threads,
                      am_control *control, am_error *err);

#endif
