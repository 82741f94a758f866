#include "rows.h"

#include <string.h>

#include "../base/alloc.h"
#include "../base/elementary.h"
#include "../base/pool.h"
#include "../kernels/rowkernels.h"

static void
copy_number(char *to, const char *from, int is_double, int is_swapped)
{
    uint64_t wide;
    uint32_t narrow;
    if (is_double) {
        memcpy(&wide, from, sizeof wide);
        wide = is_swapped ? __builtin_bswap64(wide) : wide;
        memcpy(to, &wide, sizeof wide);
    }
    else {
        memcpy(&narrow, from, sizeof narrow);
        narrow = is_swapped ? __builtin_bswap32(narrow) : narrow;
        memcpy(to, &narrow, sizeof narrow);
    }
}

const void *
am_read_rows(const am_rows *rows, int64_t first, int64_t count, void *scratch)
{
    const int64_t k = rows->k, size = rows->is_double ? 8 : 4;
    const char *from = (const char *)rows->values + first * rows->row_step;
    if (!rows->is_swapped && (rows->col_step == size || k == 1) && rows->row_step == k * size &&
        (uintptr_t)from % (uintptr_t)size == 0) {
        return from;
    }
    /* Column by column: where columns are the dense direction, as in Fortran order, this reads in
     * the order of memory; elsewhere the block is in the cache after its first column. */
    char *to = scratch;
    for (int64_t j = 0; j < k; j++) {
        const char *column = from + j * rows->col_step;
        for (int64_t i = 0; i < count; i++) {
            copy_number(to + (i * k + j) * size, column + i * rows->row_step, rows->is_double,
                        rows->is_swapped);
        }
    }
    return scratch;
}

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

am_row
am_load_row(const am_rows *rows, const void *values, int64_t i, double *scratch)
{
    const int64_t k = rows->k;
    double *w = scratch, *gap = scratch + k;
    am_row row = {.w = w, .total = 1.0};
    for (int64_t j = 0; j < k; j++) {
        w[j] = am_number_at(values, rows->is_double, i * k + j);
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

am_status
am_check_finite(const am_rows *rows, const void *values, int64_t first, int64_t count,
                am_error *err)
{
    for (int64_t i = 0; i < count * rows->k; i++) {
        const double x = am_number_at(values, rows->is_double, i);
        if (x - x != 0) {
            return am_fail(err, AM_ERR_VALUE, "expected finite numbers, got %s at [%lld, %lld]",
                           x != x  ? "nan"
                           : x > 0 ? "inf"
                                   : "-inf",
                           (long long)(first + i / rows->k), (long long)(i % rows->k));
        }
    }
    return AM_OK;
}

am_status
am_check_labels(const int64_t *labels, int64_t first, int64_t count, int64_t k, am_error *err)
{
    int64_t bad = 0;
    for (int64_t i = first; i < first + count; i++) {
        bad |= labels[i] | (k - 1 - (labels[i] & INT64_MAX)); /* negative where outside */
    }
    if (bad >= 0) {
        return AM_OK;
    }
    for (int64_t i = first; i < first + count; i++) {
        if (labels[i] < 0 || labels[i] >= k) {
            return am_fail(err, AM_ERR_VALUE,
                           "labels: expected columns 0..%lld, got %lld at index %lld",
                           (long long)(k - 1), (long long)labels[i], (long long)i);
        }
    }
    return AM_OK;
}

/* A loop over blocks with scratch of its own for every slot. */
typedef struct block_loop {
    const am_rows *rows;
    am_control *control;
    char *scratch; /* per slot: a block of doubles, then 2 k doubles, then one double per row */
    int64_t slot_size;
    void *out;
    double tolerance;
} block_loop;

static am_status
probabilities_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const block_loop *loop = arg;
    const am_rows *rows = loop->rows;
    const int64_t k = rows->k, block = am_block_rows(k), size = am_chunk_rows(k);
    const int64_t stop = am_min_i64((chunk + 1) * size, rows->n);
    double *copy = (double *)(loop->scratch + slot * loop->slot_size);
    AM_TRY(am_check(loop->control, slot, err));
    for (int64_t first = chunk * size; first < stop; first += block) {
        const int64_t count = am_min_i64(block, stop - first);
        const void *values = am_read_rows(rows, first, count, copy);
        for (int64_t i = 0; i < count; i++) {
            const am_row row = am_load_row(rows, values, i, copy + block * k);
            for (int64_t j = 0; j < k; j++) {
                const int64_t at = (first + i) * k + j;
                if (rows->is_double) {
                    ((double *)loop->out)[at] = am_row_p(&row, j);
                }
                else {
                    ((float *)loop->out)[at] = (float)am_row_p(&row, j);
                }
            }
        }
    }
    return AM_OK;
}

static am_status
check_row(const block_loop *loop, const void *values, int64_t i, int64_t number, am_error *err)
{
    const int64_t k = loop->rows->k;
    double sum = 0.0;
    for (int64_t j = 0; j < k; j++) {
        const double p = am_number_at(values, loop->rows->is_double, i * k + j);
        if (p - p != 0) {
            const char *row = (const char *)values + i * k * (loop->rows->is_double ? 8 : 4);
            return am_check_finite(loop->rows, row, number, 1, err);
        }
        if (p < 0) {
            return am_fail(err, AM_ERR_VALUE, "expected probabilities, got %g at [%lld, %lld]", p,
                           (long long)number, (long long)j);
        }
        sum += p;
    }
    if (sum - 1.0 > loop->tolerance || 1.0 - sum > loop->tolerance) {
        return am_fail(
            err, AM_ERR_VALUE,
            "expected rows that sum to 1 within %g, got a sum of %g in row [%lld]: divide "
            "each row by its sum",
            loop->tolerance, sum, (long long)number);
    }
    return AM_OK;
}

/* Sums of the row's own precision decide all but the rows near the border. */
static am_status
check_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const block_loop *loop = arg;
    const am_rows *rows = loop->rows;
    const am_row_kernels *kernels = am_get_row_kernels();
    const int64_t k = rows->k, block = am_block_rows(k), size = am_chunk_rows(k);
    const int64_t stop = am_min_i64((chunk + 1) * size, rows->n);
    double *copy = (double *)(loop->scratch + slot * loop->slot_size);
    double *sums = copy + (block + 2) * k;
    const double near = loop->tolerance - 2e-7 * (double)(k + 2);
    AM_TRY(am_check(loop->control, slot, err));
    for (int64_t first = chunk * size; first < stop; first += block) {
        const int64_t count = am_min_i64(block, stop - first);
        const void *values = am_read_rows(rows, first, count, copy);
        if (rows->is_logits) {
            if (!kernels->largest[rows->is_double](sums, values, count, k)) {
                AM_TRY(am_check_finite(rows, values, first, count, err));
            }
            continue;
        }
        const int positive = kernels->sums[rows->is_double](sums, values, count, k);
        for (int64_t i = 0; i < count; i++) {
            if (!positive || !(sums[i] - 1.0 <= near && 1.0 - sums[i] <= near)) {
                AM_TRY(check_row(loop, values, i, first + i, err));
            }
        }
    }
    return AM_OK;
}

static am_status
for_each_chunk(block_loop *loop, am_chunk_fn fn, int threads, am_error *err)
{
    const int64_t k = loop->rows->k, chunks = am_ceil_div(loop->rows->n, am_chunk_rows(k));
    int64_t doubles;
    void *scratch;
    AM_TRY(am_mul_size(&doubles, am_block_rows(k) + 2, k, err));
    loop->slot_size = (doubles + am_block_rows(k)) * (int64_t)sizeof(double);
    AM_TRY(am_alloc(&scratch, am_slots(threads, chunks), loop->slot_size, err));
    loop->scratch = scratch;
    am_status status = am_parallel_for(chunks, threads, fn, loop, err);
    am_free(scratch);
    return status;
}

am_status
am_probabilities(const am_rows *rows, void *out, int threads, am_control *control, am_error *err)
{
    block_loop loop = {.rows = rows, .control = control, .out = out};
    return for_each_chunk(&loop, probabilities_chunk, threads, err);
}

am_status
am_check_rows(const am_rows *rows, double tolerance, int threads, am_control *control,
              am_error *err)
{
    block_loop loop = {.rows = rows, .control = control, .tolerance = tolerance};
    return for_each_chunk(&loop, check_chunk, threads, err);
}
