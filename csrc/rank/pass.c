#include "pass.h"

#include <string.h>

#include "../base/alloc.h"
#include "../base/elementary.h"
#include "../base/pool.h"
#include "../kernels/rowkernels.h"

/* What one slot works with. */
typedef struct worker {
    void *values;                   /* a block, where it had to be copied */
    double *first, *second, *given; /* per row of a block: p or z of two columns and of the label */
    double *scores;                 /* per row of a block */
    double *row;                    /* 3 k: am_load_row's, and probabilities */
    am_top_list *lists;             /* one per top */
    double *enter;                  /* per list: a score must be above this to enter */
    double *gaps;                   /* per list: see gap_limit */
    int64_t *sums, *counts, correct; /* k x k */
    am_exact_sum loss;
} worker;

typedef struct pass_loop {
    const am_rows *rows;
    const am_pass *pass;
    am_control *control;
    worker *workers;
    const am_row_kernels *kernels;
    int second; /* whether the second largest is looked for */
} pass_loop;

/* --- scores that follow from the two largest and the given one ------------------------------- */

static int
is_quick(const am_rows *rows, am_score score)
{
    const int by_few = score == AM_SCORE_LEAST_CONFIDENT || score == AM_SCORE_MARGIN ||
                       score == AM_SCORE_CONFIDENT_WRONG || score == AM_SCORE_SELF_CONFIDENCE ||
                       score == AM_SCORE_NORMALIZED_MARGIN;
    return !rows->is_logits && by_few;
}

static int
reads_second(am_score score)
{
    return score != AM_SCORE_LEAST_CONFIDENT && score != AM_SCORE_SELF_CONFIDENCE;
}

/* The column of the first largest value of row i. */
static int64_t
top_column(const pass_loop *loop, const worker *w, const void *values, const int64_t *labels,
           int64_t i)
{
    const int64_t k = loop->rows->k;
    int64_t j = 0;
    if (loop->second && labels != NULL && w->given[i] == w->first[i] &&
        w->second[i] < w->first[i]) {
        return labels[i];
    }
    if (loop->rows->is_double) {
        for (const double *row = (const double *)values + i * k; row[j] != w->first[i]; j++) {
        }
    }
    else {
        for (const float *row = (const float *)values + i * k; row[j] != w->first[i]; j++) {
        }
    }
    return j;
}

/* As am_score_row of a block's rows of probabilities, bit for bit. */
static void
quick_scores(const pass_loop *loop, const worker *w, am_score score, const void *values,
             const int64_t *labels, int64_t count, double *out)
{
    switch (score) {
        case AM_SCORE_LEAST_CONFIDENT:
            loop->kernels->rest(out, w->first, NULL, count);
            break;
        case AM_SCORE_MARGIN:
            loop->kernels->rest(out, w->first, w->second, count);
            break;
        case AM_SCORE_SELF_CONFIDENCE:
            loop->kernels->rest(out, w->given, NULL, count);
            break;
        case AM_SCORE_NORMALIZED_MARGIN:
            for (int64_t i = 0; i < count; i++) {
                const double rival = w->given[i] < w->first[i] ? w->first[i] : w->second[i];
                out[i] = (1.0 - w->given[i] + rival) / 2;
            }
            break;
        default: /* AM_SCORE_CONFIDENT_WRONG */
            for (int64_t i = 0; i < count; i++) {
                const int right = w->given[i] == w->first[i] &&
                                  top_column(loop, w, values, labels, i) == labels[i];
                out[i] = right ? w->second[i] - 1.0 : w->first[i];
            }
    }
}

/* --- logits: which rows need no exponentials ------------------------------------------------- */

/* Whether a row of k logits, whose largest is `gap` above the others and belongs to the label, may
 * have a score above `enter`. The other k - 1 weights are at most exp(-gap) each, and every score
 * rises with them; 1e-9 is far more than rounding. */
static int
may_enter(am_score score, int64_t k, double gap, double enter)
{
    const double e = am_exp(-gap), rest = (double)(k - 1) * e, u = rest / (1.0 + rest);
    const double slack = 1.0 + 1e-9;
    switch (score) {
        case AM_SCORE_MARGIN:
            return (rest + e) / (1.0 + rest) * slack > enter;
        case AM_SCORE_NORMALIZED_MARGIN:
            return (rest + e) / (1.0 + rest) / 2 * slack > enter;
        case AM_SCORE_ENTROPY:
            return (am_log1p(rest) + u * gap) * slack > enter;
        case AM_SCORE_GINI: /* u <= (k - 1) / k, so the last factor is not 0 / 0 where it counts */
            return (k == 1 ? 0.0 : u * (1.0 - u) + u * (1.0 - u / (double)(k - 1))) * slack > enter;
        case AM_SCORE_CONFIDENT_WRONG:
            return e / (1.0 + e) * slack - 1.0 > enter;
        case AM_SCORE_CONFIDENCE_WEIGHTED_ENTROPY: /* w (gap + c) falls with the gap, as c >= 1 */
            return (k == 1 ? 0.0
                           : ((1.0 + rest) * am_log1p(rest) + rest * gap) / am_log((double)k)) *
                       slack >
                   enter;
        case AM_SCORE_LEAST_CONFIDENT:
        case AM_SCORE_SELF_CONFIDENCE:
            return u * slack > enter;
        default:
            return 1;
    }
}

/* A gap from which on no row enters (of labelled scores: no row that is predicted as labelled). */
static double
gap_limit(am_score score, int64_t k, double enter)
{
    double low = 0.0, high = 800.0; /* exp(-800) is 0 */
    if (may_enter(score, k, high, enter)) {
        return __builtin_inf();
    }
    for (int i = 0; i < 16; i++) {
        const double middle = (low + high) / 2;
        if (may_enter(score, k, middle, enter)) {
            low = middle;
        }
        else {
            high = middle;
        }
    }
    return high;
}

static int
is_hopeless(const pass_loop *loop, const worker *w, int t, int64_t i)
{
    return w->first[i] - w->second[i] >= w->gaps[t] &&
           (!am_score_needs_labels(loop->pass->tops[t].score) || w->given[i] == w->first[i]);
}

/* --- one block ------------------------------------------------------------------------------- */

static void
offer(const pass_loop *loop, worker *w, int t, double score, int64_t index)
{
    am_top_list *list = &w->lists[t];
    if (score > w->enter[t]) {
        am_top_offer(list, (am_ranked){score, index});
        if (list->count == list->k) {
            w->enter[t] = list->best[0].score; /* later rows have higher indices: ties lose */
            if (loop->rows->is_logits) {
                w->gaps[t] = gap_limit(loop->pass->tops[t].score, loop->rows->k, w->enter[t]);
            }
        }
    }
}

/* What needs the whole row: everything about logits, and the entropy and gini of probabilities. */
static void
close_look(const pass_loop *loop, worker *w, const void *values, const int64_t *labels, int64_t i,
           int64_t index)
{
    const am_rows *rows = loop->rows;
    const am_pass *pass = loop->pass;
    const int64_t k = rows->k, label = labels == NULL ? -1 : labels[i];
    const am_row row = am_load_row(rows, values, i, w->row);
    for (int t = 0; t < pass->n_tops; t++) {
        if (!is_quick(rows, pass->tops[t].score)) {
            offer(loop, w, t, am_score_row(pass->tops[t].score, &row, k, label), index);
        }
    }
    if (pass->scores != NULL && !is_quick(rows, pass->score)) {
        pass->scores[index] = am_score_row(pass->score, &row, k, label);
    }
    if (pass->loss != NULL && rows->is_logits) {
        am_exact_add(&w->loss, row.gap[label] + am_log1p(row.rest));
    }
    if (pass->sums != NULL && rows->is_logits) {
        double *p = w->row + 2 * k;
        for (int64_t j = 0; j < k; j++) {
            p[j] = am_row_p(&row, j);
        }
        loop->kernels->add_fixed(w->sums + label * k, p, k);
    }
}

/* The log loss and the sums of probabilities. */
static void
tally(const pass_loop *loop, worker *w, const void *values, const int64_t *labels, int64_t count)
{
    const int64_t k = loop->rows->k;
    double *p = w->row;
    for (int64_t i = 0; loop->pass->loss != NULL && i < count; i++) {
        am_exact_add(&w->loss, -am_log(w->given[i]));
    }
    for (int64_t i = 0; loop->pass->sums != NULL && i < count; i++) {
        for (int64_t j = 0; j < k; j++) {
            p[j] = loop->rows->is_double ? ((const double *)values)[i * k + j]
                                         : (double)((const float *)values)[i * k + j];
        }
        loop->kernels->add_fixed(w->sums + labels[i] * k, p, k);
    }
}

static am_status
check_heatmap_range(const pass_loop *loop, const worker *w, const void *values, int64_t first,
                    int64_t count, am_error *err)
{
    int64_t bad = 0;
    for (int64_t i = 0; i < count; i++) {
        bad += w->first[i] > AM_HEATMAP_MAX_P;
    }
    if (bad > 0 ||
        loop->kernels->lowest[loop->rows->is_double](values, count * loop->rows->k) < 0) {
        return am_fail(
            err, AM_ERR_VALUE,
            "values: expected probabilities from 0 to 1, got others in rows %lld to %lld",
            (long long)first, (long long)(first + count - 1));
    }
    return AM_OK;
}

/* Fills first, second and given; an error for what no score can be made of. */
static am_status
look_over(const pass_loop *loop, worker *w, const void *values, const int64_t *labels,
          int64_t first, int64_t count, am_error *err)
{
    const am_rows *rows = loop->rows;
    const int64_t k = rows->k;
    const int finite =
        loop->second
            ? loop->kernels->two_largest[rows->is_double](w->first, w->second, values, count, k)
            : loop->kernels->largest[rows->is_double](w->first, values, count, k);
    if (!finite) {
        return am_check_finite(rows, values, first, count, err);
    }
    for (int64_t i = 0; k == 1 && i < count; i++) {
        w->second[i] = rows->is_logits ? w->first[i] : 0.0;
    }
    if (labels == NULL) {
        return AM_OK;
    }
    AM_TRY(am_check_labels(loop->pass->labels, first, count, k, err));
    for (int64_t i = 0; i < count; i++) {
        w->given[i] = rows->is_double ? ((const double *)values)[i * k + labels[i]]
                                      : (double)((const float *)values)[i * k + labels[i]];
    }
    return loop->pass->sums == NULL || rows->is_logits
               ? AM_OK
               : check_heatmap_range(loop, w, values, first, count, err);
}

static am_status
run_block(const pass_loop *loop, worker *w, int64_t first, int64_t count, am_error *err)
{
    const am_rows *rows = loop->rows;
    const am_pass *pass = loop->pass;
    const int64_t *labels = pass->labels == NULL ? NULL : pass->labels + first;
    const void *values = am_read_rows(rows, first, count, w->values);
    const int sums_up = pass->loss != NULL || pass->sums != NULL;
    int close_tops = 0, every_row = sums_up && rows->is_logits;
    AM_TRY(look_over(loop, w, values, labels, first, count, err));
    if (sums_up && !rows->is_logits) {
        tally(loop, w, values, labels, count);
    }

    for (int t = 0; t < pass->n_tops; t++) {
        if (!is_quick(rows, pass->tops[t].score)) {
            close_tops = 1;
            every_row |= !rows->is_logits;
            continue;
        }
        quick_scores(loop, w, pass->tops[t].score, values, labels, count, w->scores);
        if (loop->kernels->any_above(w->scores, count, w->enter[t])) {
            for (int64_t i = 0; i < count; i++) {
                offer(loop, w, t, w->scores[i], first + i);
            }
        }
    }
    if (pass->scores != NULL) {
        if (is_quick(rows, pass->score)) {
            quick_scores(loop, w, pass->score, values, labels, count, pass->scores + first);
        }
        else {
            every_row = 1;
        }
    }
    for (int64_t i = 0; (close_tops || every_row) && i < count; i++) {
        int look = every_row;
        for (int t = 0; t < pass->n_tops && !look; t++) {
            look = !is_hopeless(loop, w, t, i);
        }
        if (look) {
            close_look(loop, w, values, labels, i, first + i);
        }
    }
    const int columns = pass->predicted != NULL || pass->correct != NULL || pass->counts != NULL;
    for (int64_t i = 0; columns && i < count; i++) {
        const int64_t top = top_column(loop, w, values, labels, i);
        if (pass->predicted != NULL) {
            pass->predicted[first + i] = top;
        }
        if (labels != NULL) {
            w->correct += top == labels[i];
        }
        if (pass->counts != NULL) {
            w->counts[labels[i] * rows->k + top]++;
        }
    }
    return AM_OK;
}

static am_status
run_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const pass_loop *loop = arg;
    const int64_t block = am_block_rows(loop->rows->k), size = am_chunk_rows(loop->rows->k);
    const int64_t stop = am_min_i64((chunk + 1) * size, loop->rows->n);
    AM_TRY(am_check(loop->control, slot, err));
    for (int64_t first = chunk * size; first < stop; first += block) {
        AM_TRY(run_block(loop, &loop->workers[slot], first, am_min_i64(block, stop - first), err));
    }
    return AM_OK;
}

/* --- the whole ------------------------------------------------------------------------------- */

static am_status
check_pass(const am_rows *rows, const am_pass *pass, am_error *err)
{
    int labels = pass->loss != NULL || pass->correct != NULL || pass->sums != NULL ||
                 pass->counts != NULL ||
                 (pass->scores != NULL && am_score_needs_labels(pass->score));
    for (int t = 0; t < pass->n_tops; t++) {
        labels |= am_score_needs_labels(pass->tops[t].score);
    }
    if (labels && pass->labels == NULL && rows->n > 0) {
        return am_fail(err, AM_ERR_VALUE, "labels: expected for what was asked for, got none");
    }
    if (pass->sums != NULL && rows->n > AM_HEATMAP_MAX_ROWS) {
        return am_fail(err, AM_ERR_VALUE, "heatmap: expected at most %lld rows at once, got %lld",
                       (long long)AM_HEATMAP_MAX_ROWS, (long long)rows->n);
    }
    return AM_OK;
}

/* Cuts `count` numbers of 8 bytes off a block; only adds up where there is no block yet. */
static void *
take(char *block, int64_t *used, int64_t count)
{
    void *at = block == NULL ? NULL : block + *used;
    *used += count * 8;
    return at;
}

/* The worker's memory in one block, whose size is returned. */
static int64_t
lay_out(worker *w, const am_rows *rows, const am_pass *pass, char *block)
{
    const int64_t k = rows->k, n = am_block_rows(k);
    int64_t used = 0;
    w->values = take(block, &used, n * k);
    w->first = take(block, &used, n);
    w->second = take(block, &used, n);
    w->given = take(block, &used, n);
    w->scores = take(block, &used, n);
    w->row = take(block, &used, 3 * k);
    w->enter = take(block, &used, pass->n_tops);
    w->gaps = take(block, &used, pass->n_tops);
    w->sums = take(block, &used, pass->sums == NULL ? 0 : k * k);
    w->counts = take(block, &used, pass->counts == NULL ? 0 : k * k);
    w->lists = take(block, &used, pass->n_tops * (int64_t)(sizeof(am_top_list) / 8));
    for (int t = 0; t < pass->n_tops; t++) {
        const am_top *top = &pass->tops[t];
        const int64_t room = am_min_i64(top->list.k, rows->n);
        am_ranked *best = take(block, &used, 2 * room);
        if (block != NULL) {
            w->lists[t] = (am_top_list){best, room, 0};
            w->enter[t] = room == 0 ? __builtin_inf() : top->wrong_only ? 0.0 : -__builtin_inf();
            w->gaps[t] = gap_limit(top->score, k, w->enter[t]);
        }
    }
    if (block != NULL) {
        memset(&w->loss, 0, sizeof w->loss);
        memset(w->sums, 0, (size_t)(pass->sums == NULL ? 0 : k * k) * sizeof *w->sums);
        memset(w->counts, 0, (size_t)(pass->counts == NULL ? 0 : k * k) * sizeof *w->counts);
        w->correct = 0;
    }
    return (used + AM_ALIGNMENT - 1) / AM_ALIGNMENT * AM_ALIGNMENT;
}

static void
merge(const am_rows *rows, const am_pass *pass, const worker *w)
{
    const int64_t k = rows->k;
    for (int t = 0; t < pass->n_tops; t++) {
        for (int64_t i = 0; i < w->lists[t].count; i++) {
            am_top_offer(&pass->tops[t].list, w->lists[t].best[i]);
        }
    }
    if (pass->loss != NULL) {
        am_exact_merge(pass->loss, &w->loss);
    }
    if (pass->correct != NULL) {
        *pass->correct += w->correct;
    }
    for (int64_t i = 0; pass->sums != NULL && i < k * k; i++) {
        pass->sums[i] += i % (k + 1) == 0 ? 0 : w->sums[i]; /* the label's own p is left out */
    }
    for (int64_t i = 0; pass->counts != NULL && i < k * k; i++) {
        pass->counts[i] += w->counts[i];
    }
}

static void
clear(int64_t k, const am_pass *pass)
{
    for (int t = 0; t < pass->n_tops; t++) {
        pass->tops[t].list.count = 0;
    }
    if (pass->loss != NULL) {
        *pass->loss = (am_exact_sum){{0}};
    }
    if (pass->correct != NULL) {
        *pass->correct = 0;
    }
    for (int64_t i = 0; pass->sums != NULL && i < k * k; i++) {
        pass->sums[i] = 0;
    }
    for (int64_t i = 0; pass->counts != NULL && i < k * k; i++) {
        pass->counts[i] = 0;
    }
}

am_status
am_rank_pass(const am_rows *rows, const am_pass *pass, int threads, am_control *control,
             am_error *err)
{
    worker measured;
    void *workers, *memory;
    int64_t cells;
    const int64_t chunks = am_ceil_div(rows->n, am_chunk_rows(rows->k));
    const int slots = am_slots(threads, chunks);
    AM_TRY(check_pass(rows, pass, err));
    AM_TRY(am_mul_size(&cells, rows->k, rows->k, err));
    AM_TRY(am_mul_size(&cells, cells, 4 * 8, err)); /* lay_out's sum cannot overflow then */
    clear(rows->k, pass);
    const int64_t each = lay_out(&measured, rows, pass, NULL);
    AM_TRY(am_alloc(&workers, slots, sizeof(worker), err));
    am_status status = am_alloc(&memory, slots, each, err);
    if (status != AM_OK) {
        am_free(workers);
        return status;
    }
    pass_loop loop = {rows, pass, control, workers, am_get_row_kernels(), 0};
    /* A label is told from an equally probable class by the second largest. */
    loop.second = rows->is_logits || pass->correct != NULL || pass->counts != NULL ||
                  (pass->scores != NULL && reads_second(pass->score));
    for (int t = 0; t < pass->n_tops; t++) {
        loop.second |= reads_second(pass->tops[t].score);
    }
    for (int s = 0; s < slots; s++) {
        lay_out(&loop.workers[s], rows, pass, (char *)memory + s * each);
    }
    status = am_parallel_for(chunks, threads, run_chunk, &loop, err);
    for (int s = 0; s < slots; s++) {
        merge(rows, pass, &loop.workers[s]);
    }
    for (int t = 0; t < pass->n_tops; t++) {
        am_top_sort(&pass->tops[t].list);
    }
    am_free(memory);
    am_free(workers);
    return status;
}
