/* Scores from several opinions on every image: networks, passes with dropout, changed views. */
#ifndef AMBIG_RANK_DRAWS_H
#define AMBIG_RANK_DRAWS_H

#include "rows.h"

/* p_tj: the probability of class j in draw t of T; m_j: its mean over the draws. */
typedef enum am_draws_score {
    AM_DRAWS_EXPECTED_ENTROPY, /* mean_t -sum_j p_tj log p_tj, in [0, log k] */
    AM_DRAWS_BALD,             /* mean_t sum_j p_tj log(p_tj / m_j), in [0, log min(T, k)] */
    AM_DRAWS_VARIATION_RATIO,  /* 1 - (votes of the most voted class) / T, in [0, 1) */
} am_draws_score;

/* Finds a score by its identifier ("bald", ...); AM_ERR_VALUE for an unknown one. */
am_status am_draws_score_by_name(am_draws_score *out, const char *name, am_error *err);

/* out[i]: the score of image i of at least one draw of probabilities; it does not depend on the
 * other images. */
am_status am_score_draws(am_draws_score score, const am_stack *draws, double *out, int threads,
                         am_control *control, am_error *err);

#endif
