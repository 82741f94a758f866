#include "joint.h"

#include <string.h>

#include "../base/alloc.h"
#include "../base/pool.h"

/* What one slot works with. */
typedef struct worker {
    double *values;     /* a block, where it had to be copied */
    double *row;        /* 2 k: am_load_row's */
    am_exact_sum *sums; /* k */
    int64_t *counts;    /* k */
} worker;

typedef struct joint_loop joint_loop;
typedef void (*visit_fn)(const joint_loop *loop, worker *w, const am_row *row, int64_t index);

struct joint_loop {
    const am_rows *rows;
    const int64_t *labels;
    am_control *control;
    visit_fn visit;
    char *scratch;
    int64_t slot_size;
    const double *cutoffs;
    int among_all;
    int64_t *columns;
};

static worker
worker_of(const joint_loop *loop, int slot)
{
    const int64_t k = loop->rows->k;
    worker w;
    w.values = (double *)(loop->scratch + slot * loop->slot_size);
    w.row = w.values + am_block_rows(k) * k;
    w.sums = (am_exact_sum *)(w.row + 2 * k);
    w.counts = (int64_t *)(w.sums + k);
    return w;
}

static am_status
run_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const joint_loop *loop = arg;
    const am_rows *rows = loop->rows;
    const int64_t block = am_block_rows(rows->k), size = am_chunk_rows(rows->k);
    const int64_t stop = am_min_i64((chunk + 1) * size, rows->n);
    worker w = worker_of(loop, slot);
    AM_TRY(am_check(loop->control, slot, err));
    for (int64_t first = chunk * size; first < stop; first += block) {
        const int64_t count = am_min_i64(block, stop - first);
        const void *values = am_read_rows(rows, first, count, w.values);
        AM_TRY(am_check_finite(rows, values, first, count, err));
        AM_TRY(am_check_labels(loop->labels, first, count, rows->k, err));
        for (int64_t i = 0; i < count; i++) {
            const am_row row = am_load_row(rows, values, i, w.row);
            loop->visit(loop, &w, &row, first + i);
        }
    }
    return AM_OK;
}

/* The loop with zeroed scratch, which the caller frees when this succeeds. */
static am_status
run_loop(joint_loop *loop, int threads, am_error *err)
{
    const int64_t k = loop->rows->k, chunks = am_ceil_div(loop->rows->n, am_chunk_rows(k));
    const int64_t per_column = am_block_rows(k) + 2 + AM_EXACT_SIZE + 1;
    const int slots = am_slots(threads, chunks);
    void *scratch;
    AM_TRY(am_mul_size(&loop->slot_size, k, per_column * (int64_t)sizeof(double), err));
    AM_TRY(am_alloc(&scratch, slots, loop->slot_size, err));
    memset(scratch, 0, (size_t)(slots * loop->slot_size));
    loop->scratch = scratch;
    am_status status = am_parallel_for(chunks, threads, run_chunk, loop, err);
    if (status != AM_OK) {
        am_free(scratch);
    }
    return status;
}

static void
add_self_confidence(const joint_loop *loop, worker *w, const am_row *row, int64_t index)
{
    const int64_t label = loop->labels[index];
    am_exact_add(&w->sums[label], am_row_p(row, label));
    w->counts[label]++;
}

am_status
am_self_confidence(const am_rows *rows, const int64_t *labels, am_exact_sum *sums, int64_t *counts,
                   int threads, am_control *control, am_error *err)
{
    const int64_t k = rows->k;
    const int slots = am_slots(threads, am_ceil_div(rows->n, am_chunk_rows(k)));
    joint_loop loop = {
        .rows = rows, .labels = labels, .control = control, .visit = add_self_confidence};
    AM_TRY(run_loop(&loop, threads, err));
    for (int64_t j = 0; j < k; j++) {
        sums[j] = (am_exact_sum){{0}};
        counts[j] = 0;
        for (int s = 0; s < slots; s++) {
            const worker w = worker_of(&loop, s);
            am_exact_merge(&sums[j], &w.sums[j]);
            counts[j] += w.counts[j];
        }
    }
    am_free(loop.scratch);
    return AM_OK;
}

static void
find_column(const joint_loop *loop, worker *w, const am_row *row, int64_t index)
{
    (void)w;
    int64_t best = -1, reached = 0;
    for (int64_t j = 0; j < loop->rows->k; j++) {
        if (am_row_p(row, j) >= loop->cutoffs[j]) {
            reached++;
            if (best < 0 || row->w[j] > row->w[best]) {
                best = j;
            }
        }
    }
    loop->columns[index] = loop->among_all && reached > 1 ? row->top : best;
}

am_status
am_confident_joint(const am_rows *rows, const int64_t *labels, const double *cutoffs, int among_all,
                   int64_t *counts, int64_t *columns, int threads, am_control *control,
                   am_error *err)
{
    const int64_t k = rows->k;
    joint_loop loop = {.rows = rows,
                       .labels = labels,
                       .control = control,
                       .visit = find_column,
                       .cutoffs = cutoffs,
                       .among_all = among_all,
                       .columns = columns};
    AM_TRY(run_loop(&loop, threads, err));
    am_free(loop.scratch);
    for (int64_t i = 0; i < k * k; i++) {
        counts[i] = 0;
    }
    for (int64_t i = 0; i < rows->n; i++) {
        if (columns[i] >= 0) {
            counts[labels[i] * k + columns[i]]++;
        }
    }
    return AM_OK;
}
