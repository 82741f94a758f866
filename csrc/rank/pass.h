/* One pass over rows that gives everything a ranking wants to know, at the speed of memory.
 *
 * Top lists need no array of scores: a row is looked at closely only where it could enter a list.
 * Every accumulator is exact (integers, exact sums, a total order), so parts of a data set can be
 * merged in any order, and neither threads nor chunks change a bit. */
#ifndef AMBIG_RANK_PASS_H
#define AMBIG_RANK_PASS_H

#include "exactsum.h"
#include "rows.h"
#include "scores.h"
#include "topk.h"

/* A probability of 1 in fixed point, and how many rows a sum can hold without overflow. */
#define AM_HEATMAP_ONE 4294967296.0
#define AM_HEATMAP_MAX_ROWS ((int64_t)1 << 30)
#define AM_HEATMAP_MAX_P 1.5

typedef struct am_top {
    am_score score;
    int wrong_only;   /* of confident_wrong: leave right predictions out */
    am_top_list list; /* in order when the pass is over */
} am_top;

/* What is wanted; NULL where not. */
typedef struct am_pass {
    const int64_t *labels; /* n columns; needed by some scores and by what follows them below */
    am_top *tops;
    int n_tops;
    am_score score; /* which one goes into `scores` */
    double *scores;
    int64_t *predicted; /* n columns of the first largest value */
    am_exact_sum *loss; /* the sum of -log p_label, +inf where p_label is 0 */
    int64_t *correct;   /* how many predictions equal the label */
    int64_t *sums;      /* (k, k) by label t and j: the sum of round(p_j * 2^32); 0 for j = t */
    int64_t *counts;    /* (k, k): how many images labelled t are predicted as j */
} am_pass;

/* AM_ERR_VALUE for a number that is not finite, a label outside 0..k-1, and, for `sums`, a
 * probability outside 0..AM_HEATMAP_MAX_P. */
am_status am_rank_pass(const am_rows *rows, const am_pass *pass, int threads, am_control *control,
                       am_error *err);

#endif
