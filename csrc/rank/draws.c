#include "draws.h"

#include <string.h>

#include "../base/alloc.h"
#include "../base/elementary.h"
#include "../base/pool.h"

/* A block of at most am_block_rows(k) images, all draws of it, and room that each score uses as it
 * likes. */
typedef struct block {
    const am_stack *draws;
    int64_t first, count;
    void *copy;    /* of one draw, where it does not lie in one piece */
    double *start; /* (count, k) */
    double *mean;  /* (count, k) */
    double *out;   /* (count,) */
} block;

static const void *
read_draw(const block *b, int64_t t)
{
    const am_rows rows = am_stack_rows(b->draws, t);
    return am_read_rows(&rows, b->first, b->count, b->copy);
}

static void
expected_entropy(const block *b)
{
    const int64_t k = b->draws->first.k;
    const int is_double = b->draws->first.is_double;
    memset(b->out, 0, (size_t)b->count * sizeof(double));
    for (int64_t t = 0; t < b->draws->count; t++) {
        const void *values = read_draw(b, t);
        for (int64_t i = 0; i < b->count; i++) {
            for (int64_t j = 0; j < k; j++) {
                const double p = am_number_at(values, is_double, i * k + j);
                b->out[i] -= p > 0 ? p * am_log(p) : 0.0;
            }
        }
    }
    for (int64_t i = 0; i < b->count; i++) {
        b->out[i] /= (double)b->draws->count;
    }
}

/* p log(p / m) - (p - m) for p = m + off: at least 0, and 0 only where off is. Near 0 it is off^2 /
 * 2m, which the formula would lose to cancellation: there as a series in off / m. */
static double
divergence(double p, double m, double off)
{
    static const double c[] = {
        1.0 / 2,  -1.0 / 6,   1.0 / 12,  -1.0 / 20,  1.0 / 30,  -1.0 / 42,  1.0 / 56,  -1.0 / 72,
        1.0 / 90, -1.0 / 110, 1.0 / 132, -1.0 / 156, 1.0 / 182, -1.0 / 210, 1.0 / 240, -1.0 / 272,
    };
    if (m < 0x1p-1000) { /* could be 0 by rounding; nothing of this size counts */
        return 0.0;
    }
    const double u = off / m;
    if (u > 0.125 || u < -0.125) {
        return p > 0 ? p * am_log(p / m) - off : -off;
    }
    double sum = c[15];
    for (int i = 14; i >= 0; i--) {
        sum = sum * u + c[i];
    }
    return off * u * sum;
}

/* The mean over the draws of their divergence from the mean draw. Of every class, the terms p - m
 * sum to 0 over the draws; with them each term is at least 0 by itself. Means are taken relative
 * to the first draw, so that equal draws differ from theirs by exactly 0. */
static void
bald(const block *b)
{
    const int64_t k = b->draws->first.k, size = b->count * k, n_draws = b->draws->count;
    const int is_double = b->draws->first.is_double;
    const void *values = read_draw(b, 0);
    for (int64_t at = 0; at < size; at++) {
        b->start[at] = am_number_at(values, is_double, at);
        b->mean[at] = 0.0;
    }
    for (int64_t t = 1; t < n_draws; t++) {
        values = read_draw(b, t);
        for (int64_t at = 0; at < size; at++) {
            b->mean[at] += am_number_at(values, is_double, at) - b->start[at];
        }
    }
    for (int64_t at = 0; at < size; at++) {
        b->mean[at] /= (double)n_draws;
    }
    memset(b->out, 0, (size_t)b->count * sizeof(double));
    for (int64_t t = 0; t < n_draws; t++) {
        values = read_draw(b, t);
        for (int64_t i = 0; i < b->count; i++) {
            for (int64_t at = i * k; at < (i + 1) * k; at++) {
                const double p = am_number_at(values, is_double, at);
                const double off = p - b->start[at] - b->mean[at];
                b->out[i] += off == 0 ? 0.0 : divergence(p, b->start[at] + b->mean[at], off);
            }
        }
    }
    for (int64_t i = 0; i < b->count; i++) {
        b->out[i] /= (double)n_draws;
    }
}

static void
variation_ratio(const block *b)
{
    const int64_t k = b->draws->first.k, n_draws = b->draws->count;
    const int is_double = b->draws->first.is_double;
    double *votes = b->mean;
    memset(votes, 0, (size_t)(b->count * k) * sizeof(double));
    for (int64_t t = 0; t < n_draws; t++) {
        const void *values = read_draw(b, t);
        for (int64_t i = 0; i < b->count; i++) {
            int64_t top = 0;
            for (int64_t j = 1; j < k; j++) {
                top = am_number_at(values, is_double, i * k + j) >
                              am_number_at(values, is_double, i * k + top)
                          ? j
                          : top;
            }
            votes[i * k + top] += 1.0;
        }
    }
    for (int64_t i = 0; i < b->count; i++) {
        double most = 0.0;
        for (int64_t j = 0; j < k; j++) {
            most = votes[i * k + j] > most ? votes[i * k + j] : most;
        }
        b->out[i] = ((double)n_draws - most) / (double)n_draws;
    }
}

static const struct {
    const char *name;
    void (*fn)(const block *b);
} score_table[] = {
    [AM_DRAWS_EXPECTED_ENTROPY] = {"expected_entropy", expected_entropy},
    [AM_DRAWS_BALD] = {"bald", bald},
    [AM_DRAWS_VARIATION_RATIO] = {"variation_ratio", variation_ratio},
};

am_status
am_draws_score_by_name(am_draws_score *out, const char *name, am_error *err)
{
    for (size_t i = 0; i < sizeof score_table / sizeof score_table[0]; i++) {
        if (strcmp(name, score_table[i].name) == 0) {
            *out = (am_draws_score)i;
            return AM_OK;
        }
    }
    return am_fail(err, AM_ERR_VALUE, "score: expected one of several draws, got '%.100s'", name);
}

typedef struct draws_loop {
    am_draws_score score;
    const am_stack *draws;
    double *out;
    double *scratch; /* per slot: three blocks of doubles */
    int64_t slot_size;
    int64_t block_rows;
    am_control *control;
} draws_loop;

static am_status
score_block(void *arg, int64_t chunk, int slot, am_error *err)
{
    const draws_loop *loop = arg;
    const am_rows *rows = &loop->draws->first;
    const int64_t first = chunk * loop->block_rows, size = loop->block_rows * rows->k;
    double *scratch = loop->scratch + slot * loop->slot_size;
    AM_TRY(am_check(loop->control, slot, err));
    const block b = {
        .draws = loop->draws,
        .first = first,
        .count = am_min_i64(loop->block_rows, rows->n - first),
        .copy = scratch,
        .start = scratch + size,
        .mean = scratch + 2 * size,
        .out = loop->out + first,
    };
    score_table[loop->score].fn(&b);
    return AM_OK;
}

am_status
am_score_draws(am_draws_score score, const am_stack *draws, double *out, int threads,
               am_control *control, am_error *err)
{
    const int64_t k = draws->first.k;
    if (draws->count < 1) {
        return am_fail(err, AM_ERR_SHAPE, "expected at least one draw, got none");
    }
    draws_loop loop = {score, draws, out, NULL, 0, am_block_rows(k), control};
    const int64_t chunks = am_ceil_div(draws->first.n, loop.block_rows);
    void *scratch;
    AM_TRY(am_mul_size(&loop.slot_size, 3 * loop.block_rows, k, err));
    AM_TRY(am_alloc(&scratch, am_slots(threads, chunks) * (int64_t)sizeof(double), loop.slot_size,
                    err));
    loop.scratch = scratch;
    am_status status = am_parallel_for(chunks, threads, score_block, &loop, err);
    am_free(scratch);
    return status;
}
