/* The k highest of n scores, or, with k = n, all of them in order: score descending, equal scores
 * by rising index. A list is a heap while it grows, so it costs O(log k) per score that enters it.
 */
#ifndef AMBIG_RANK_TOPK_H
#define AMBIG_RANK_TOPK_H

#include "../base/status.h"

typedef struct am_ranked {
    double score;
    int64_t index;
} am_ranked;

typedef struct am_top_list {
    am_ranked *best; /* room for `k`; the one to leave first is best[0] once there are k */
    int64_t k, count;
} am_top_list;

/* Takes the candidate unless k better ones are known. Lists over parts merge by offering what one
 * holds to the other; order does not matter. */
void am_top_offer(am_top_list *list, am_ranked candidate);

/* Puts the list in order; nothing can be offered afterwards. */
void am_top_sort(am_top_list *list);

/* indices[0..k) of the highest scores. k <= n; a NaN is AM_ERR_VALUE. */
am_status am_top_k(const double *scores, int64_t n, int64_t k, int64_t *indices, am_error *err);

#endif
