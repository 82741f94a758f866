#include "history.h"

#include <string.h>

#include "../base/alloc.h"
#include "../base/elementary.h"
#include "../base/pool.h"

typedef struct history_loop {
    const am_stack *history;
    const int64_t *labels;
    double *out;
    double *scratch; /* per slot: a block of doubles, then an am_dynamics per row of a block */
    int64_t slot_size;
    int64_t block_rows;
    am_control *control;
} history_loop;

static void
add_epoch(am_dynamics *d, const am_row *row, int64_t k, int64_t label, double least, int64_t early)
{
    const int right = row->top == label;
    const int64_t rival = right ? row->second : row->top;
    const double p = row->w[label], other = rival < 0 ? 0.0 : row->w[rival];
    double squares = (1.0 - p) * (1.0 - p);
    for (int64_t j = 0; j < k; j++) {
        squares += j == label ? 0.0 : row->w[j] * row->w[j];
    }
    const double margin = am_log(p > least ? p : least) - am_log(other > least ? other : least);
    am_dynamics_add(d, margin, p, right, __builtin_sqrt(squares), early);
}

static am_status
history_block(void *arg, int64_t chunk, int slot, am_error *err)
{
    const history_loop *loop = arg;
    const int64_t k = loop->history->first.k, size = loop->block_rows * k;
    const int64_t first = chunk * loop->block_rows;
    const int64_t count = am_min_i64(loop->block_rows, loop->history->first.n - first);
    const int64_t early = am_early_epoch(loop->history->count);
    const double least = loop->history->first.is_double ? 0x1p-1074 : 0x1p-149;
    double *copy = loop->scratch + slot * loop->slot_size;
    double *row_scratch = copy + size;
    am_dynamics *seen = (am_dynamics *)(row_scratch + 2 * k);
    AM_TRY(am_check(loop->control, slot, err));
    AM_TRY(am_check_labels(loop->labels, first, count, k, err));
    memset(seen, 0, (size_t)count * sizeof *seen);
    for (int64_t epoch = 0; epoch < loop->history->count; epoch++) {
        const am_rows rows = am_stack_rows(loop->history, epoch);
        const void *values = am_read_rows(&rows, first, count, copy);
        for (int64_t i = 0; i < count; i++) {
            const am_row row = am_load_row(&rows, values, i, row_scratch);
            add_epoch(&seen[i], &row, k, loop->labels[first + i], least, early);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        am_dynamics_finish(&seen[i], loop->out + (first + i) * AM_N_DYNAMICS);
    }
    return AM_OK;
}

am_status
am_history_dynamics(const am_stack *history, const int64_t *labels, double *out, int threads,
                    am_control *control, am_error *err)
{
    const int64_t k = history->first.k;
    if (history->count < 1) {
        return am_fail(err, AM_ERR_SHAPE, "expected at least one epoch, got none");
    }
    history_loop loop = {history, labels, out, NULL, 0, am_block_rows(k), control};
    const int64_t chunks = am_ceil_div(history->first.n, loop.block_rows);
    void *scratch;
    AM_TRY(am_mul_size(&loop.slot_size, loop.block_rows + 2, k, err));
    loop.slot_size += loop.block_rows * AM_DYNAMICS_SIZE;
    AM_TRY(am_alloc(&scratch, am_slots(threads, chunks) * (int64_t)sizeof(double), loop.slot_size,
                    err));
    loop.scratch = scratch;
    am_status status = am_parallel_for(chunks, threads, history_block, &loop, err);
    am_free(scratch);
    return status;
}
