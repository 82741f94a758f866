#include "temperature.h"

#include <string.h>

#include "../base/alloc.h"
#include "../base/elementary.h"
#include "../base/pool.h"

/* One of two loops over rows: sums, or `out`. */
typedef struct tempering {
    const am_rows *rows;
    am_control *control;
    const int64_t *labels;
    const uint8_t *keep;
    double inverse;
    const double *inverses; /* of every row, for `out` */
    double *out;
    am_temperature_sums *sums; /* per slot */
    char *scratch;             /* per slot: a block of rows, then k gaps, then k weights */
    int64_t slot_size;
} tempering;

/* z_j, as the header defines it. */
static double
logit_at(const am_rows *rows, const void *values, int64_t i)
{
    const double x = am_number_at(values, rows->is_double, i);
    if (rows->is_logits) {
        return x;
    }
    const double least = rows->is_double ? 0x1p-1022 : 0x1p-126;
    return am_log(x > least ? x : least);
}

/* gap[j] = z_max - z_j, which overflows where float64 does; returns the column of z_max. */
static int64_t
load_gaps(const am_rows *rows, const void *values, int64_t i, double *gap)
{
    int64_t top = 0;
    for (int64_t j = 0; j < rows->k; j++) {
        gap[j] = logit_at(rows, values, i * rows->k + j);
        top = gap[j] > gap[top] ? j : top;
    }
    const double largest = gap[top];
    for (int64_t j = 0; j < rows->k; j++) {
        const double difference = largest - gap[j];
        gap[j] = difference < 0x1p1023 ? difference : 0x1p1023;
    }
    return top;
}

/* w[j] = p_j(T) / p_top(T); returns the sum of all but the top's 1. */
static double
weigh(const double *gap, int64_t k, int64_t top, double inverse, double *w)
{
    double rest = 0.0;
    for (int64_t j = 0; j < k; j++) {
        w[j] = am_exp(-(inverse * gap[j]));
        rest += j == top ? 0.0 : w[j];
    }
    return rest;
}

static void
add_row(am_temperature_sums *sums, const double *gap, const double *w, double rest, int64_t k,
        int64_t label, double inverse)
{
    const double total = 1.0 + rest;
    double mean = 0.0, variance = 0.0;
    for (int64_t j = 0; j < k; j++) {
        mean += w[j] / total * gap[j];
    }
    for (int64_t j = 0; j < k; j++) {
        variance += w[j] / total * (gap[j] - mean) * (gap[j] - mean);
    }
    am_exact_add(&sums->loss, inverse * gap[label] + am_log1p(rest));
    am_exact_add(&sums->slope, gap[label] - mean);
    am_exact_add(&sums->curvature, variance);
}

static am_status
temper_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const tempering *t = arg;
    const am_rows *rows = t->rows;
    const int64_t k = rows->k, block = am_block_rows(k), size = am_chunk_rows(k);
    const int64_t stop = am_min_i64((chunk + 1) * size, rows->n);
    double *copy = (double *)(t->scratch + slot * t->slot_size);
    double *gap = copy + block * k, *w = gap + k;
    AM_TRY(am_check(t->control, slot, err));
    for (int64_t first = chunk * size; first < stop; first += block) {
        const int64_t count = am_min_i64(block, stop - first);
        const void *values = am_read_rows(rows, first, count, copy);
        AM_TRY(am_check_finite(rows, values, first, count, err));
        if (t->labels != NULL) {
            AM_TRY(am_check_labels(t->labels, first, count, k, err));
        }
        for (int64_t i = first; i < first + count; i++) {
            if (t->keep != NULL && !t->keep[i]) {
                continue;
            }
            const double inverse = t->out != NULL ? t->inverses[i] : t->inverse;
            const int64_t top = load_gaps(rows, values, i - first, gap);
            const double rest = weigh(gap, k, top, inverse, w);
            if (t->out == NULL) {
                add_row(&t->sums[slot], gap, w, rest, k, t->labels[i], inverse);
                continue;
            }
            for (int64_t j = 0; j < k; j++) {
                t->out[i * k + j] = w[j] / (1.0 + rest);
            }
        }
    }
    return AM_OK;
}

static am_status
run(tempering *t, int slots, int threads, am_error *err)
{
    const int64_t k = t->rows->k, chunks = am_ceil_div(t->rows->n, am_chunk_rows(k));
    int64_t doubles;
    void *scratch;
    AM_TRY(am_mul_size(&doubles, am_block_rows(k) + 2, k, err));
    AM_TRY(am_mul_size(&t->slot_size, doubles, sizeof(double), err));
    AM_TRY(am_alloc(&scratch, slots, t->slot_size, err));
    t->scratch = scratch;
    am_status status = am_parallel_for(chunks, threads, temper_chunk, t, err);
    am_free(scratch);
    return status;
}

static am_status
check_inverse(double inverse, am_error *err)
{
    return inverse >= 0 && inverse - inverse == 0
               ? AM_OK
               : am_fail(err, AM_ERR_VALUE, "1/T: expected a finite number >= 0, got %g", inverse);
}

am_status
am_temperature_pass(const am_rows *rows, const int64_t *labels, const uint8_t *keep, double inverse,
                    am_temperature_sums *sums, int threads, am_control *control, am_error *err)
{
    const int slots = am_slots(threads, am_ceil_div(rows->n, am_chunk_rows(rows->k)));
    void *parts;
    memset(sums, 0, sizeof *sums);
    AM_TRY(check_inverse(inverse, err));
    AM_TRY(am_alloc(&parts, slots, sizeof(am_temperature_sums), err));
    memset(parts, 0, (size_t)slots * sizeof(am_temperature_sums));
    tempering t = {.rows = rows,
                   .control = control,
                   .labels = labels,
                   .keep = keep,
                   .inverse = inverse,
                   .sums = parts};
    am_status status = run(&t, slots, threads, err);
    for (int s = 0; s < slots; s++) {
        am_exact_merge(&sums->loss, &t.sums[s].loss);
        am_exact_merge(&sums->slope, &t.sums[s].slope);
        am_exact_merge(&sums->curvature, &t.sums[s].curvature);
    }
    am_free(parts);
    return status;
}

am_status
am_tempered(const am_rows *rows, const double *inverse, double *out, int threads,
            am_control *control, am_error *err)
{
    const int slots = am_slots(threads, am_ceil_div(rows->n, am_chunk_rows(rows->k)));
    for (int64_t i = 0; i < rows->n; i++) {
        AM_TRY(check_inverse(inverse[i], err));
    }
    tempering t = {.rows = rows, .control = control, .inverses = inverse, .out = out};
    return run(&t, slots, threads, err);
}
