/* One number per image: how ambiguous, or how suspicious its label. Higher is always more. */
#ifndef AMBIG_RANK_SCORES_H
#define AMBIG_RANK_SCORES_H

#include "rows.h"

/* p1 >= p2: the two largest probabilities; g: the label; m: the largest p_j with j != g. Where k =
 * 1 the missing p2 and m are 0. */
typedef enum am_score {
    AM_SCORE_LEAST_CONFIDENT,   /* 1 - p1, in [0, 1 - 1/k] */
    AM_SCORE_MARGIN,            /* 1 - p1 + p2, in [0, 1] */
    AM_SCORE_ENTROPY,           /* -sum p log p, in [0, log k] */
    AM_SCORE_GINI,              /* sum p (1 - p) = 1 - sum p^2, in [0, 1 - 1/k] */
    AM_SCORE_CONFIDENT_WRONG,   /* p1 where it is not the label, in [1/k, 1]; else p2 - 1, in [-1,
                                   -1/2] */
    AM_SCORE_SELF_CONFIDENCE,   /* 1 - p_g, in [0, 1] */
    AM_SCORE_NORMALIZED_MARGIN, /* (1 - p_g + m) / 2, in [0, 1] */
    AM_SCORE_CONFIDENCE_WEIGHTED_ENTROPY, /* entropy / (p_g log k), in [0, inf]; inf where p_g is 0,
                                             0 where k = 1 */
} am_score;

/* Finds a score by its identifier ("least_confident", ...); AM_ERR_VALUE for an unknown one. */
am_status am_score_by_name(am_score *out, const char *name, am_error *err);

int am_score_needs_labels(am_score score);

/* The definition, of one row; `label` is not read where it is not needed. What am_rank_pass does
 * faster has these bits. */
double am_score_row(am_score score, const am_row *row, int64_t k, int64_t label);

#endif
