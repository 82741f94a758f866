/* Two tables of (given label, other class). Both are sums of integers, so that parts can be added
 * in any order: any chunking, merging and number of threads gives the same bits. */
#ifndef AMBIG_RANK_HEATMAPS_H
#define AMBIG_RANK_HEATMAPS_H

#include "rows.h"

/* A probability of 1 in fixed point, and how many rows a sum can hold without overflow. */
#define AM_HEATMAP_ONE 4294967296.0
#define AM_HEATMAP_MAX_ROWS ((int64_t)1 << 30)

/* sums[t, j] = the sum of round(p_j * 2^32) over the rows labelled t, for j != t; 0 for j = t. */
am_status am_heatmap_probability(const am_rows *rows, const int64_t *labels, int64_t *sums,
                                 int threads, am_error *err);

/* counts[t, j] = how many images labelled t are predicted as j. */
am_status am_heatmap_count(const int64_t *labels, const int64_t *predicted, int64_t n, int64_t k,
                           int64_t *counts, am_error *err);

#endif
