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
} am_score;

/* Finds a score by its identifier ("least_confident", ...); AM_ERR_VALUE for an unknown one. */
am_status am_score_by_name(am_score *out, const char *name, am_error *err);

/* out[i], n of them. `labels` are columns; NULL is allowed for the first four scores. */
am_status am_scores(const am_rows *rows, am_score score, const int64_t *labels, double *out,
                    int threads, am_error *err);

/* out[i] = the column of the first largest value. */
am_status am_predictions(const am_rows *rows, int64_t *out, int threads, am_error *err);

/* out[i, j] = p_j, (n, k) of the same type as the rows. */
am_status am_probabilities(const am_rows *rows, void *out, int threads, am_error *err);

/* *loss = the mean of -log p_label, +inf where a label has probability 0; *correct = how many
 * predictions equal the label. NaN and 0 for no rows. */
am_status am_log_loss(const am_rows *rows, const int64_t *labels, double *loss, int64_t *correct,
                      int threads, am_error *err);

#endif
