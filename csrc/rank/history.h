/* Training dynamics from a kept history: the probabilities of n images after every epoch. */
#ifndef AMBIG_RANK_HISTORY_H
#define AMBIG_RANK_HISTORY_H

#include "../base/dynamics.h"
#include "rows.h"

/* The epoch, from 1, whose |p - onehot(g)| is kept: a tenth of the way, but not the first. */
static inline int64_t
am_early_epoch(int64_t epochs)
{
    const int64_t tenth = am_ceil_div(epochs, 10);
    return am_min_i64(tenth > 2 ? tenth : 2, epochs);
}

/* out (n, AM_N_DYNAMICS): of every image what am_dynamics_finish tells. `history`: probabilities
 * of at least one epoch; `labels` (n,): columns.
 *
 * The margin of the logits is log p_g - max_{j != g} log p_j, where a probability of 0, or the one
 * of a class that is not there (k = 1), counts as the smallest positive number of its type. */
am_status am_history_dynamics(const am_stack *history, const int64_t *labels, double *out,
                              int threads, am_control *control, am_error *err);

#endif
