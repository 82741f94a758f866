/* The k highest of n scores, or, with k = n, all of them in order. */
#ifndef AMBIG_RANK_TOPK_H
#define AMBIG_RANK_TOPK_H

#include "../base/status.h"

/* indices[0..k) of the highest scores: score descending, equal scores by rising index. k <= n;
 * a NaN is AM_ERR_VALUE. O(n log k), no memory of its own.
 *
 * Mergeable: split the scores into consecutive parts, lay their top lists one after the other, and
 * their top k is the top k of the whole. */
am_status am_top_k(const double *scores, int64_t n, int64_t k, int64_t *indices, am_error *err);

#endif
