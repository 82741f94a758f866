#include "combine.h"

#include <float.h>

#include "../base/alloc.h"
#include "../base/elementary.h"
#include "../base/pool.h"

typedef struct combine_loop {
    const am_stack *logits;
    float *out;
    double *scratch; /* per slot: a block as read, two more of results, and a row */
    int64_t slot_size;
    int64_t block_rows;
    am_control *control;
} combine_loop;

/* Adds log p of one network: best = the largest log p so far, sum = sum of exp(log p - best). */
static void
add_log(double *best, double *sum, double log_p)
{
    if (log_p > *best) {
        *sum = *sum * am_exp(*best - log_p) + 1.0;
        *best = log_p;
    }
    else {
        *sum += am_exp(log_p - *best);
    }
}

static am_status
combine_block(void *arg, int64_t chunk, int slot, am_error *err)
{
    const combine_loop *loop = arg;
    const int64_t k = loop->logits->first.k, first = chunk * loop->block_rows;
    const int64_t count = am_min_i64(loop->block_rows, loop->logits->first.n - first);
    double *copy = loop->scratch + slot * loop->slot_size;
    double *best = copy + loop->block_rows * k, *sum = best + loop->block_rows * k;
    double *row_scratch = sum + loop->block_rows * k;
    AM_TRY(am_check(loop->control, slot, err));
    for (int64_t at = 0; at < count * k; at++) {
        best[at] = -__builtin_inf();
        sum[at] = 0.0;
    }
    for (int64_t t = 0; t < loop->logits->count; t++) {
        const am_rows rows = am_stack_rows(loop->logits, t);
        const void *values = am_read_rows(&rows, first, count, copy);
        AM_TRY(am_check_finite(&rows, values, first, count, err));
        for (int64_t i = 0; i < count; i++) {
            const am_row row = am_load_row(&rows, values, i, row_scratch);
            const double log_total = am_log(row.total);
            for (int64_t j = 0; j < k; j++) {
                add_log(&best[i * k + j], &sum[i * k + j], -row.gap[j] - log_total);
            }
        }
    }
    const double log_count = am_log((double)loop->logits->count);
    for (int64_t at = 0; at < count * k; at++) {
        const double log_mean = best[at] + (am_log(sum[at]) - log_count);
        loop->out[first * k + at] = log_mean < -FLT_MAX ? -FLT_MAX : (float)log_mean;
    }
    return AM_OK;
}

am_status
am_mean_logits(const am_stack *logits, float *out, int threads, am_control *control, am_error *err)
{
    const int64_t k = logits->first.k;
    if (logits->count < 1) {
        return am_fail(err, AM_ERR_SHAPE, "expected at least one network, got none");
    }
    combine_loop loop = {logits, out, NULL, 0, am_block_rows(k), control};
    const int64_t chunks = am_ceil_div(logits->first.n, loop.block_rows);
    void *scratch;
    AM_TRY(am_mul_size(&loop.slot_size, 3 * loop.block_rows + 2, k, err));
    AM_TRY(am_alloc(&scratch, am_slots(threads, chunks) * (int64_t)sizeof(double), loop.slot_size,
                    err));
    loop.scratch = scratch;
    am_status status = am_parallel_for(chunks, threads, combine_block, &loop, err);
    am_free(scratch);
    return status;
}
