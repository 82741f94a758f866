#include "scores.h"

#include <string.h>

#include "../base/alloc.h"
#include "../base/elementary.h"

typedef double (*score_fn)(const am_row *row, int64_t k, int64_t label);

static double
second_p(const am_row *row)
{
    return row->second < 0 ? 0.0 : am_row_p(row, row->second);
}

static double
least_confident(const am_row *row, int64_t k, int64_t label)
{
    (void)k;
    (void)label;
    return am_row_rest(row, row->top);
}

static double
margin(const am_row *row, int64_t k, int64_t label)
{
    (void)k;
    (void)label;
    return am_row_rest(row, row->top) + second_p(row);
}

static double
entropy(const am_row *row, int64_t k, int64_t label)
{
    (void)label;
    /* -log p_j is gap_j + log(total) for logits, and the p_j sum to 1. */
    double sum = row->gap == NULL ? 0.0 : am_log1p(row->rest);
    for (int64_t j = 0; j < k; j++) {
        if (row->w[j] > 0) {
            sum += am_row_p(row, j) * (row->gap == NULL ? -am_log(row->w[j]) : row->gap[j]);
        }
    }
    return sum;
}

static double
gini(const am_row *row, int64_t k, int64_t label)
{
    (void)label;
    double sum = 0.0;
    for (int64_t j = 0; j < k; j++) {
        sum += am_row_p(row, j) * am_row_rest(row, j);
    }
    return sum;
}

static double
confident_wrong(const am_row *row, int64_t k, int64_t label)
{
    (void)k;
    return row->top != label ? am_row_p(row, row->top) : second_p(row) - 1.0;
}

static double
self_confidence(const am_row *row, int64_t k, int64_t label)
{
    (void)k;
    return am_row_rest(row, label);
}

static double
normalized_margin(const am_row *row, int64_t k, int64_t label)
{
    (void)k;
    double rival = row->top != label ? am_row_p(row, row->top) : second_p(row);
    return (am_row_rest(row, label) + rival) / 2;
}

static const struct {
    const char *name;
    score_fn fn;
    int needs_labels;
} score_table[] = {
    [AM_SCORE_LEAST_CONFIDENT] = {"least_confident", least_confident, 0},
    [AM_SCORE_MARGIN] = {"margin", margin, 0},
    [AM_SCORE_ENTROPY] = {"entropy", entropy, 0},
    [AM_SCORE_GINI] = {"gini", gini, 0},
    [AM_SCORE_CONFIDENT_WRONG] = {"confident_wrong", confident_wrong, 1},
    [AM_SCORE_SELF_CONFIDENCE] = {"self_confidence", self_confidence, 1},
    [AM_SCORE_NORMALIZED_MARGIN] = {"normalized_margin", normalized_margin, 1},
};

am_status
am_score_by_name(am_score *out, const char *name, am_error *err)
{
    for (size_t i = 0; i < sizeof score_table / sizeof score_table[0]; i++) {
        if (strcmp(name, score_table[i].name) == 0) {
            *out = (am_score)i;
            return AM_OK;
        }
    }
    return am_fail(err, AM_ERR_VALUE, "score: expected a built-in one, got '%.100s'", name);
}

typedef struct scores_args {
    score_fn fn;
    int64_t k;
    const int64_t *labels;
    double *out;
} scores_args;

static void
score_row(void *arg, int64_t i, int slot, const am_row *row)
{
    (void)slot;
    const scores_args *a = arg;
    a->out[i] = a->fn(row, a->k, a->labels == NULL ? -1 : a->labels[i]);
}

am_status
am_scores(const am_rows *rows, am_score score, const int64_t *labels, double *out, int threads,
          am_error *err)
{
    scores_args args = {score_table[score].fn, rows->k, labels, out};
    if (labels != NULL) {
        AM_TRY(am_check_labels(labels, rows->n, rows->k, err));
    }
    else if (score_table[score].needs_labels) {
        return am_fail(err, AM_ERR_VALUE, "labels: expected for the score '%s', got none",
                       score_table[score].name);
    }
    return am_for_each_row(rows, threads, score_row, &args, err);
}

static void
predict_row(void *arg, int64_t i, int slot, const am_row *row)
{
    (void)slot;
    ((int64_t *)arg)[i] = row->top;
}

am_status
am_predictions(const am_rows *rows, int64_t *out, int threads, am_error *err)
{
    am_rows raw = *rows;
    raw.is_logits = 0; /* the largest logit is the largest probability: no exp needed */
    return am_for_each_row(&raw, threads, predict_row, out, err);
}

typedef struct probabilities_args {
    const am_rows *rows;
    void *out;
} probabilities_args;

static void
probabilities_row(void *arg, int64_t i, int slot, const am_row *row)
{
    (void)slot;
    const probabilities_args *a = arg;
    const int64_t k = a->rows->k;
    for (int64_t j = 0; j < k; j++) {
        if (a->rows->is_double) {
            ((double *)a->out)[i * k + j] = am_row_p(row, j);
        }
        else {
            ((float *)a->out)[i * k + j] = (float)am_row_p(row, j);
        }
    }
}

am_status
am_probabilities(const am_rows *rows, void *out, int threads, am_error *err)
{
    probabilities_args args = {rows, out};
    return am_for_each_row(rows, threads, probabilities_row, &args, err);
}

/* One per chunk of rows: sums of doubles depend on their order, so chunks are added in order. */
typedef struct tally {
    double loss;
    int64_t correct;
} tally;

typedef struct loss_args {
    const int64_t *labels;
    tally *tallies;
} loss_args;

static void
loss_row(void *arg, int64_t i, int slot, const am_row *row)
{
    (void)slot;
    const loss_args *a = arg;
    const int64_t label = a->labels[i];
    tally *t = &a->tallies[i / AM_ROWS_PER_CHUNK];
    t->loss += row->gap == NULL ? -am_log(row->w[label]) : row->gap[label] + am_log1p(row->rest);
    t->correct += row->top == label;
}

am_status
am_log_loss(const am_rows *rows, const int64_t *labels, double *loss, int64_t *correct, int threads,
            am_error *err)
{
    const int64_t chunks = am_ceil_div(rows->n, AM_ROWS_PER_CHUNK);
    void *block;
    AM_TRY(am_check_labels(labels, rows->n, rows->k, err));
    AM_TRY(am_alloc(&block, chunks, sizeof(tally), err));
    loss_args args = {labels, block};
    for (int64_t c = 0; c < chunks; c++) {
        args.tallies[c] = (tally){0.0, 0};
    }
    am_status status = am_for_each_row(rows, threads, loss_row, &args, err);
    double sum = 0.0;
    *correct = 0;
    for (int64_t c = 0; c < chunks; c++) {
        sum += args.tallies[c].loss;
        *correct += args.tallies[c].correct;
    }
    *loss = rows->n == 0 ? __builtin_nan("") : sum / (double)rows->n;
    am_free(block);
    return status;
}
