#include "rows.h"

#include "../base/alloc.h"
#include "../base/elementary.h"
#include "../base/pool.h"

typedef struct row_loop {
    const am_rows *rows;
    am_row_fn fn;
    void *arg;
    double *scratch; /* 2 k doubles per slot */
} row_loop;

static void
find_two_largest(const double *v, int64_t k, am_row *row)
{
    row->top = 0;
    row->second = -1;
    for (int64_t j = 1; j < k; j++) {
        if (v[j] > v[row->top]) {
            row->second = row->top;
            row->top = j;
        }
        else if (row->second < 0 || v[j] > v[row->second]) {
            row->second = j;
        }
    }
}

static am_row
load_row(const am_rows *rows, int64_t i, double *w, double *gap)
{
    const int64_t k = rows->k;
    am_row row = {.w = w, .total = 1.0};
    for (int64_t j = 0; j < k; j++) {
        w[j] = rows->is_double ? ((const double *)rows->values)[i * k + j]
                               : ((const float *)rows->values)[i * k + j];
    }
    find_two_largest(w, k, &row);
    if (!rows->is_logits) {
        row.rest = 1.0 - w[row.top];
        return row;
    }
    const double largest = w[row.top];
    for (int64_t j = 0; j < k; j++) {
        gap[j] = largest - w[j];
        w[j] = am_exp(-gap[j]);
        row.rest += j == row.top ? 0.0 : w[j];
    }
    row.gap = gap;
    row.total = 1.0 + row.rest;
    return row;
}

static am_status
run_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    (void)err;
    const row_loop *loop = arg;
    const am_rows *rows = loop->rows;
    double *w = loop->scratch + 2 * rows->k * slot;
    const int64_t start = chunk * AM_ROWS_PER_CHUNK;
    const int64_t stop = am_min_i64(start + AM_ROWS_PER_CHUNK, rows->n);
    for (int64_t i = start; i < stop; i++) {
        am_row row = load_row(rows, i, w, w + rows->k);
        loop->fn(loop->arg, i, slot, &row);
    }
    return AM_OK;
}

am_status
am_for_each_row(const am_rows *rows, int threads, am_row_fn fn, void *arg, am_error *err)
{
    row_loop loop = {.rows = rows, .fn = fn, .arg = arg};
    const int64_t chunks = am_ceil_div(rows->n, AM_ROWS_PER_CHUNK);
    void *scratch;
    if (chunks == 0) {
        return AM_OK;
    }
    AM_TRY(am_alloc(&scratch, threads, 2 * rows->k * (int64_t)sizeof(double), err));
    loop.scratch = scratch;
    am_status status = am_parallel_for(chunks, threads, run_chunk, &loop, err);
    am_free(scratch);
    return status;
}

am_status
am_check_labels(const int64_t *labels, int64_t n, int64_t k, am_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        if (labels[i] < 0 || labels[i] >= k) {
            return am_fail(err, AM_ERR_VALUE,
                           "labels: expected columns 0..%lld, got %lld at index %lld",
                           (long long)(k - 1), (long long)labels[i], (long long)i);
        }
    }
    return AM_OK;
}
