#include "heatmaps.h"

#include <string.h>

#include "../base/alloc.h"

typedef struct heatmap_args {
    int64_t k;
    const int64_t *labels;
    int64_t *partial; /* k x k per slot: integers, so it does not matter which thread added what */
} heatmap_args;

static void
add_row(void *arg, int64_t i, int slot, const am_row *row)
{
    const heatmap_args *a = arg;
    const int64_t k = a->k;
    const int64_t label = a->labels[i];
    int64_t *sums = a->partial + (slot * k + label) * k;
    for (int64_t j = 0; j < k; j++) {
        sums[j] += j == label ? 0 : (int64_t)(am_row_p(row, j) * AM_HEATMAP_ONE + 0.5);
    }
}

am_status
am_heatmap_probability(const am_rows *rows, const int64_t *labels, int64_t *sums, int threads,
                       am_error *err)
{
    int64_t cells;
    void *block;
    if (rows->n > AM_HEATMAP_MAX_ROWS) {
        return am_fail(err, AM_ERR_VALUE, "heatmap: expected at most %lld rows at once, got %lld",
                       (long long)AM_HEATMAP_MAX_ROWS, (long long)rows->n);
    }
    AM_TRY(am_check_labels(labels, rows->n, rows->k, err));
    AM_TRY(am_mul_size(&cells, rows->k, rows->k, err));
    threads = (int)am_min_i64(threads, am_ceil_div(rows->n, AM_ROWS_PER_CHUNK));
    memset(sums, 0, (size_t)cells * sizeof *sums);
    if (threads == 0) {
        return AM_OK;
    }
    AM_TRY(am_mul_size(&cells, cells, threads, err));
    AM_TRY(am_alloc(&block, cells, sizeof(int64_t), err));
    heatmap_args args = {rows->k, labels, block};
    memset(block, 0, (size_t)cells * sizeof(int64_t));
    am_status status = am_for_each_row(rows, threads, add_row, &args, err);
    for (int64_t i = 0; i < cells; i++) {
        sums[i % (rows->k * rows->k)] += args.partial[i];
    }
    am_free(block);
    return status;
}

am_status
am_heatmap_count(const int64_t *labels, const int64_t *predicted, int64_t n, int64_t k,
                 int64_t *counts, am_error *err)
{
    int64_t cells;
    AM_TRY(am_check_labels(labels, n, k, err));
    AM_TRY(am_check_labels(predicted, n, k, err));
    AM_TRY(am_mul_size(&cells, k, k, err));
    memset(counts, 0, (size_t)cells * sizeof *counts);
    for (int64_t i = 0; i < n; i++) {
        counts[labels[i] * k + predicted[i]]++;
    }
    return AM_OK;
}
