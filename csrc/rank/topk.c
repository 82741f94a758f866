#include "topk.h"

#include "../base/alloc.h"

static int
before(am_ranked a, am_ranked b)
{
    return a.score > b.score || (a.score == b.score && a.index < b.index);
}

/* Restores the heap below `root`: a parent is never `before` its children, so that the root is the
 * one to lose its place first. */
static void
sift_down(am_ranked *heap, int64_t size, int64_t root)
{
    const am_ranked moving = heap[root];
    for (;;) {
        int64_t child = 2 * root + 1;
        if (child >= size) {
            break;
        }
        if (child + 1 < size && before(heap[child], heap[child + 1])) {
            child++;
        }
        if (!before(moving, heap[child])) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = moving;
}

void
am_top_offer(am_top_list *list, am_ranked candidate)
{
    if (list->count < list->k) {
        list->best[list->count++] = candidate;
        if (list->count == list->k) {
            for (int64_t root = list->k / 2 - 1; root >= 0; root--) {
                sift_down(list->best, list->k, root);
            }
        }
    }
    else if (list->k > 0 && before(candidate, list->best[0])) {
        list->best[0] = candidate;
        sift_down(list->best, list->k, 0);
    }
}

void
am_top_sort(am_top_list *list)
{
    if (list->count < list->k) {
        for (int64_t root = list->count / 2 - 1; root >= 0; root--) {
            sift_down(list->best, list->count, root);
        }
    }
    for (int64_t size = list->count - 1; size > 0; size--) {
        const am_ranked worst = list->best[0];
        list->best[0] = list->best[size];
        list->best[size] = worst;
        sift_down(list->best, size, 0);
    }
}

am_status
am_top_k(const double *scores, int64_t n, int64_t k, int64_t *indices, am_error *err)
{
    void *best;
    if (k < 0 || k > n) {
        return am_fail(err, AM_ERR_VALUE, "k: expected 0..%lld, got %lld", (long long)n,
                       (long long)k);
    }
    for (int64_t i = 0; i < n; i++) {
        if (scores[i] != scores[i]) {
            return am_fail(err, AM_ERR_VALUE, "scores: expected numbers, got NaN at index %lld",
                           (long long)i);
        }
    }
    AM_TRY(am_alloc(&best, k, sizeof(am_ranked), err));
    am_top_list list = {best, k, 0};
    for (int64_t i = 0; i < n; i++) {
        am_top_offer(&list, (am_ranked){scores[i], i});
    }
    am_top_sort(&list);
    for (int64_t i = 0; i < k; i++) {
        indices[i] = list.best[i].index;
    }
    am_free(best);
    return AM_OK;
}
