#include "scores.h"

#include <string.h>

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

/* entropy / p_g is the sum of (p_j / p_g) (-log p_j). For logits the term of the top, whose log p
 * may have no digits left, is spread over the others: log(total) = sum of w_j (log(total) / rest).
 * So no number underflows before it is divided. */
static double
confidence_weighted_entropy(const am_row *row, int64_t k, int64_t label)
{
    double sum = 0.0;
    if (k == 1) {
        return 0.0;
    }
    if (row->gap == NULL) {
        if (row->w[label] <= 0) {
            return __builtin_inf();
        }
        for (int64_t j = 0; j < k; j++) {
            if (row->w[j] > 0 && row->w[j] < 1) { /* a row may sum to a little more than 1 */
                sum += row->w[j] / row->w[label] * -am_log(row->w[j]);
            }
        }
        return sum / am_log((double)k);
    }
    const double log_total = am_log1p(row->rest);
    const double share = row->rest > 0 ? log_total / row->rest : 1.0;
    for (int64_t j = 0; j < k; j++) {
        const double ratio = j == label ? 1.0 : am_exp(row->gap[label] - row->gap[j]);
        if (j != row->top && ratio > 0) {
            sum += ratio * (row->gap[j] + log_total + share);
        }
    }
    return sum / am_log((double)k);
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
    [AM_SCORE_CONFIDENCE_WEIGHTED_ENTROPY] = {"confidence_weighted_entropy",
                                              confidence_weighted_entropy, 1},
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

int
am_score_needs_labels(am_score score)
{
    return score_table[score].needs_labels;
}

double
am_score_row(am_score score, const am_row *row, int64_t k, int64_t label)
{
    return score_table[score].fn(row, k, label);
}
