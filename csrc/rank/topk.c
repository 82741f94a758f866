#include "topk.h"

static int
before(const double *scores, int64_t a, int64_t b)
{
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
}

/* Restores the heap below `root`: a parent is never `before` its children, so that the root is the
 * one to lose its place first. */
static void
sift_down(const double *scores, int64_t *heap, int64_t size, int64_t root)
{
    const int64_t moving = heap[root];
    for (;;) {
        int64_t child = 2 * root + 1;
        if (child >= size) {
            break;
        }
        if (child + 1 < size && before(scores, heap[child], heap[child + 1])) {
            child++;
        }
        if (!before(scores, moving, heap[child])) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = moving;
}

am_status
am_top_k(const double *scores, int64_t n, int64_t k, int64_t *indices, am_error *err)
{
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
    if (k == 0) {
        return AM_OK;
    }
    for (int64_t i = 0; i < k; i++) {
        indices[i] = i;
    }
    for (int64_t root = k / 2 - 1; root >= 0; root--) {
        sift_down(scores, indices, k, root);
    }
    for (int64_t i = k; i < n; i++) {
        if (before(scores, i, indices[0])) {
            indices[0] = i;
            sift_down(scores, indices, k, 0);
        }
    }
    for (int64_t size = k - 1; size > 0; size--) {
        int64_t worst = indices[0];
        indices[0] = indices[size];
        indices[size] = worst;
        sift_down(scores, indices, size, 0);
    }
    return AM_OK;
}
