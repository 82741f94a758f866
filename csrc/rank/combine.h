/* One opinion out of several networks'. */
#ifndef AMBIG_RANK_COMBINE_H
#define AMBIG_RANK_COMBINE_H

#include "rows.h"

/* out (n, k) = log of the mean over the networks of softmax(z), z: their logits, at least one
 * table. So the result are logits of the mean probabilities, which tell images apart that all
 * networks are sure of. */
am_status am_mean_logits(const am_stack *logits, float *out, int threads, am_control *control,
                         am_error *err);

#endif
