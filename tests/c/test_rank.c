/* Scores, top lists and heatmaps, without Python. */
#include "am_test.h"

#include "../../csrc/base/alloc.h"
#include "../../csrc/base/elementary.h"
#include "../../csrc/rank/neighbours.h"
#include "../../csrc/rank/pass.h"

#define N 9001
#define K 5

static float logits[N * K];
static float probs[N * K];
static int64_t labels[N];

static am_status
scores_of(const am_rows *rows, am_score score, const int64_t *given, double *out, int threads,
          am_error *err)
{
    const am_pass pass = {.labels = given, .score = score, .scores = out};
    return am_rank_pass(rows, &pass, threads, NULL, err);
}

static am_status
log_loss(const am_rows *rows, const int64_t *given, double *loss, int64_t *correct, int threads,
         am_error *err)
{
    am_exact_sum sum;
    const am_pass pass = {.labels = given, .loss = &sum, .correct = correct};
    AM_TRY(am_rank_pass(rows, &pass, threads, NULL, err));
    *loss = am_exact_value(&sum);
    return AM_OK;
}

static am_status
heatmap(const am_rows *rows, const int64_t *given, int64_t *sums, int threads, am_error *err)
{
    const am_pass pass = {.labels = given, .sums = sums};
    return am_rank_pass(rows, &pass, threads, NULL, err);
}

/* A few thousand different rows, the same on every machine. */
static void
fill(void)
{
    uint32_t state = 12345;
    for (int64_t i = 0; i < N * K; i++) {
        state = state * 1664525u + 1013904223u;
        logits[i] = (float)(state >> 8) * 0x1p-21f - 4.0f;
    }
    for (int64_t i = 0; i < N; i++) {
        labels[i] = (i * 7) % K;
    }
    am_rows rows = am_dense_rows(logits, N, K, 0, 1);
    AM_CHECK_OK(am_probabilities(&rows, probs, 2, NULL, &err));
}

AM_TEST(scores_follow_their_definitions)
{
    static const double p[] = {0.5, 0.3, 0.2, 0.0, 1.0, 0.0};
    static const int64_t given[] = {1, 1};
    static const struct {
        const char *name;
        double expected[2];
    } cases[] = {
        {"least_confident", {0.5, 0.0}},        {"margin", {0.8, 0.0}},
        {"entropy", {1.0296530140645737, 0.0}}, {"gini", {0.62, 0.0}},
        {"confident_wrong", {0.5, -1.0}},       {"self_confidence", {0.7, 0.0}},
        {"normalized_margin", {0.6, 0.0}},
    };
    am_rows rows = am_dense_rows(p, 2, 3, 1, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        am_score score;
        double out[2];
        AM_CHECK_OK(am_score_by_name(&score, cases[i].name, &err));
        AM_CHECK_OK(scores_of(&rows, score, given, out, 1, &err));
        AM_CHECK_NEAR(out[0], cases[i].expected[0], 1e-15);
        AM_CHECK_NEAR(out[1], cases[i].expected[1], 1e-15);
    }
}

AM_TEST(logits_keep_what_probabilities_round_away)
{
    static const float z[] = {50, 0, 60, 0};
    double out[2];
    am_rows rows = am_dense_rows(z, 2, 2, 0, 1);
    AM_CHECK_OK(scores_of(&rows, AM_SCORE_LEAST_CONFIDENT, NULL, out, 1, &err));
    AM_CHECK_NEAR(out[0] / am_exp(-50), 1.0, 1e-15);
    AM_CHECK_NEAR(out[1] / am_exp(-60), 1.0, 1e-15);
}

AM_TEST(threads_do_not_matter)
{
    static double one[N], many[N];
    int64_t sums_one[K * K], sums_many[K * K], correct_one, correct_many;
    double loss_one = 0, loss_many = 1;
    fill();
    for (int is_logits = 0; is_logits < 2; is_logits++) {
        am_rows rows = am_dense_rows(is_logits ? logits : probs, N, K, 0, is_logits);
        AM_CHECK_OK(log_loss(&rows, labels, &loss_one, &correct_one, 1, &err));
        AM_CHECK_OK(heatmap(&rows, labels, sums_one, 1, &err));
        for (int threads = 2; threads < 8; threads++) {
            for (int s = AM_SCORE_LEAST_CONFIDENT; s <= AM_SCORE_NORMALIZED_MARGIN; s++) {
                AM_CHECK_OK(scores_of(&rows, (am_score)s, labels, one, 1, &err));
                AM_CHECK_OK(scores_of(&rows, (am_score)s, labels, many, threads, &err));
                AM_CHECK(memcmp(one, many, sizeof one) == 0);
            }
            AM_CHECK_OK(log_loss(&rows, labels, &loss_many, &correct_many, threads, &err));
            AM_CHECK(memcmp(&loss_one, &loss_many, sizeof loss_one) == 0);
            AM_CHECK_INT(correct_many, correct_one);
            AM_CHECK_OK(heatmap(&rows, labels, sums_many, threads, &err));
            AM_CHECK(memcmp(sums_one, sums_many, sizeof sums_one) == 0);
        }
    }
}

AM_TEST(heatmap_parts_add_up)
{
    int64_t whole[K * K], part[K * K], sum[K * K] = {0};
    static const int64_t cuts[] = {0, 1, 4000, 4096, N};
    fill();
    am_rows rows = am_dense_rows(probs, N, K, 0, 0);
    AM_CHECK_OK(heatmap(&rows, labels, whole, 3, &err));
    for (int c = 0; c < 4; c++) {
        am_rows piece = am_dense_rows(probs + cuts[c] * K, cuts[c + 1] - cuts[c], K, 0, 0);
        AM_CHECK_OK(heatmap(&piece, labels + cuts[c], part, 2, &err));
        for (int i = 0; i < K * K; i++) {
            sum[i] += part[i];
        }
    }
    AM_CHECK(memcmp(whole, sum, sizeof whole) == 0);
    for (int i = 0; i < K; i++) {
        AM_CHECK_INT(whole[i * K + i], 0);
    }
}

AM_TEST(top_k_is_stable_for_every_k)
{
    static const double scores[] = {1, 3, 2, 3, 0, -0.0, 2, 3, -1, 0};
    static const int64_t sorted[] = {1, 3, 7, 2, 6, 0, 4, 5, 9, 8};
    for (int64_t k = 0; k <= 10; k++) {
        int64_t got[10];
        AM_CHECK_OK(am_top_k(scores, 10, k, got, &err));
        AM_CHECK(memcmp(got, sorted, (size_t)k * sizeof got[0]) == 0);
    }
}

AM_TEST(bad_arguments_are_refused)
{
    static const double nan_scores[] = {0, __builtin_nan("")};
    static const double p[] = {1, 0};
    static const int64_t outside[] = {2}, inside[] = {1};
    int64_t out[4], correct;
    double values[2];
    am_score score;
    am_error err;
    am_rows rows = am_dense_rows(p, 1, 2, 1, 0);
    AM_CHECK_INT(am_top_k(nan_scores, 2, 1, out, &err), AM_ERR_VALUE);
    AM_CHECK_INT(am_top_k(nan_scores, 1, 2, out, &err), AM_ERR_VALUE);
    AM_CHECK_INT(am_score_by_name(&score, "marginal", &err), AM_ERR_VALUE);
    AM_CHECK_INT(scores_of(&rows, AM_SCORE_SELF_CONFIDENCE, NULL, values, 1, &err), AM_ERR_VALUE);
    AM_CHECK_INT(scores_of(&rows, AM_SCORE_GINI, outside, values, 1, &err), AM_ERR_VALUE);
    AM_CHECK_STR(err.message, "labels: expected columns 0..1, got 2 at index 0");
    AM_CHECK_INT(heatmap(&rows, outside, out, 1, &err), AM_ERR_VALUE);
    AM_CHECK_INT(log_loss(&rows, outside, values, &correct, 1, &err), AM_ERR_VALUE);
    AM_CHECK_OK(log_loss(&rows, inside, values, &correct, 1, &err));
    AM_CHECK(values[0] > 1e308); /* -log 0 */
}

AM_TEST(the_first_of_equals_is_predicted)
{
    static const float z[] = {1, 3, 3, 2, 2, 2};
    int64_t out[2];
    am_rows rows = am_dense_rows(z, 2, 3, 0, 1);
    const am_pass pass = {.predicted = out};
    AM_CHECK_OK(am_rank_pass(&rows, &pass, 1, NULL, &err));
    AM_CHECK_INT(out[0], 1);
    AM_CHECK_INT(out[1], 0);
}

AM_TEST(heatmap_sums_are_rounded)
{
    static const double p[] = {2.0 / 3, 1.0 / 3, 1.0 / 3, 2.0 / 3};
    static const int64_t given[] = {0, 0};
    int64_t sums[4];
    am_rows rows = am_dense_rows(p, 2, 2, 1, 0);
    AM_CHECK_OK(heatmap(&rows, given, sums, 1, &err));
    AM_CHECK_INT(sums[1],
                 1431655765LL + 2863311531LL); /* 2^32 / 3 = ...765.33, doubled ...530.67 */
}

AM_TEST(nothing_gives_nothing)
{
    int64_t sums[4] = {1, 1, 1, 1}, correct = 7;
    double loss = 0;
    am_rows rows = am_dense_rows(NULL, 0, 2, 0, 0);
    AM_CHECK_OK(heatmap(&rows, NULL, sums, 4, &err));
    AM_CHECK_INT(sums[0] + sums[1] + sums[2] + sums[3], 0);
    AM_CHECK_OK(log_loss(&rows, NULL, &loss, &correct, 4, &err));
    AM_CHECK(loss == 0);
    AM_CHECK_INT(correct, 0);
    AM_CHECK_OK(am_top_k(NULL, 0, 0, NULL, &err));
}

AM_TEST(every_allocation_may_fail)
{
    am_alloc_stats before, after;
    int64_t sums[K * K], correct;
    double loss;
    int failures = 0;
    fill();
    am_rows rows = am_dense_rows(logits, N, K, 0, 1);
    am_get_alloc_stats(&before);
    for (int n = 1; n <= 4; n++) {
        am_fail_alloc_at(n, 1);
        am_status first = heatmap(&rows, labels, sums, 2, NULL);
        am_fail_alloc_at(n, 1);
        am_status second = log_loss(&rows, labels, &loss, &correct, 2, NULL);
        am_fail_alloc_at(0, 0);
        AM_CHECK(first == AM_OK || first == AM_ERR_MEMORY);
        AM_CHECK(second == AM_OK || second == AM_ERR_MEMORY);
        failures += (first == AM_ERR_MEMORY) + (second == AM_ERR_MEMORY);
    }
    am_get_alloc_stats(&after);
    AM_CHECK_INT(failures, 4); /* two allocations each */
    AM_CHECK_INT(after.live_blocks, before.live_blocks);
}

/* --- the fast paths against the definition of one row --------------------------------------------
 */

#define MANY 1500

static uint32_t state = 1;

static double
random_number(void)
{
    state = state * 1664525u + 1013904223u;
    return (double)(state >> 8) * 0x1p-24;
}

/* Rows with ties: of 16 values, and half of the rows with their largest twice. */
static void
fill_rows(double *wide, float *narrow, int64_t *given, int64_t k)
{
    for (int64_t i = 0; i < MANY; i++) {
        double sum = 0;
        for (int64_t j = 0; j < k; j++) {
            wide[i * k + j] = 1 + (int)(random_number() * 16);
            sum += wide[i * k + j];
        }
        for (int64_t j = 0; j < k; j++) {
            wide[i * k + j] = i % 3 == 0 ? random_number() / (double)k : wide[i * k + j] / sum;
            narrow[i * k + j] = (float)wide[i * k + j];
        }
        given[i] = (int64_t)(random_number() * (double)k);
    }
}

static void
check_pass(const am_rows *rows, const int64_t *given, int threads)
{
    static double expected[MANY], scores[MANY], scratch[2 * 200], copy[4096 * 2];
    static int64_t columns[MANY], order[MANY];
    am_ranked best[3][40];
    for (int s = AM_SCORE_LEAST_CONFIDENT; s <= AM_SCORE_NORMALIZED_MARGIN; s++) {
        am_top tops[3] = {
            {(am_score)s, 0, {best[0], 1, 0}},
            {(am_score)s, 0, {best[1], 40, 0}},
            {(am_score)s, 0, {best[2], 0, 0}},
        };
        for (int64_t i = 0; i < MANY; i++) {
            const void *row = am_read_rows(rows, i, 1, copy);
            const am_row loaded = am_load_row(rows, row, 0, scratch);
            expected[i] = am_score_row((am_score)s, &loaded, rows->k, given[i]);
            columns[i] = loaded.top;
        }
        int64_t predicted[MANY];
        const am_pass pass = {.labels = given,
                              .tops = tops,
                              .n_tops = 3,
                              .score = (am_score)s,
                              .scores = scores,
                              .predicted = predicted};
        AM_CHECK_OK(am_rank_pass(rows, &pass, threads, NULL, &err));
        AM_CHECK(memcmp(scores, expected, sizeof scores) == 0);
        AM_CHECK(memcmp(predicted, columns, sizeof columns) == 0);
        AM_CHECK_OK(am_top_k(expected, MANY, 40, order, &err));
        /* Also without the array of scores, where rows may be passed over. */
        for (int with = 1; with >= 0; with--) {
            AM_CHECK_INT(tops[0].list.count, 1);
            AM_CHECK_INT(tops[1].list.count, 40);
            AM_CHECK_INT(tops[2].list.count, 0);
            AM_CHECK_INT(best[0][0].index, order[0]);
            for (int i = 0; i < 40; i++) {
                AM_CHECK_INT(best[1][i].index, order[i]);
                AM_CHECK(memcmp(&best[1][i].score, &expected[order[i]], sizeof(double)) == 0);
            }
            const am_pass lists = {.labels = given, .tops = tops, .n_tops = 3};
            AM_CHECK_OK(am_rank_pass(rows, &lists, threads, NULL, &err));
        }
    }
}

AM_TEST(a_pass_follows_the_definitions_of_one_row)
{
    static double wide[MANY * 200];
    static float narrow[MANY * 200];
    static int64_t given[MANY];
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 10, 11, 16, 17, 33, 100, 200};
    for (size_t c = 0; c < sizeof sizes / sizeof sizes[0]; c++) {
        const int64_t k = sizes[c];
        fill_rows(wide, narrow, given, k);
        for (int is_logits = 0; is_logits < 2; is_logits++) {
            const am_rows doubles = am_dense_rows(wide, MANY, k, 1, is_logits);
            const am_rows floats = am_dense_rows(narrow, MANY, k, 0, is_logits);
            check_pass(&doubles, given, 1);
            check_pass(&floats, given, 3);
        }
        for (int64_t i = 0; i < MANY * k; i++) {
            wide[i] *= 60; /* logits of a sure network: most rows are passed over */
        }
        const am_rows sure = am_dense_rows(wide, MANY, k, 1, 1);
        check_pass(&sure, given, 2);
    }
}

AM_TEST(rows_are_read_where_they_lie)
{
    enum { ROWS = 700, COLUMNS = 6 };
    static float dense[ROWS * COLUMNS], turned[ROWS * COLUMNS], swapped[ROWS * COLUMNS];
    static char odd[ROWS * COLUMNS * 4 + 1];
    static double one[ROWS], other[ROWS];
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        uint32_t bits;
        dense[i] = (float)random_number();
        turned[i % COLUMNS * ROWS + i / COLUMNS] = dense[i];
        memcpy(&bits, &dense[i], sizeof bits);
        bits = __builtin_bswap32(bits);
        memcpy(&swapped[i], &bits, sizeof bits);
    }
    memcpy(odd + 1, dense, sizeof dense);
    const am_rows plain = am_dense_rows(dense, ROWS, COLUMNS, 0, 0);
    const am_rows ways[] = {
        {turned, ROWS, COLUMNS, 4, 4 * ROWS, 0, 0, 0},
        {swapped, ROWS, COLUMNS, 4 * COLUMNS, 4, 0, 1, 0},
        {odd + 1, ROWS, COLUMNS, 4 * COLUMNS, 4, 0, 0, 0},
    };
    AM_CHECK_OK(scores_of(&plain, AM_SCORE_MARGIN, NULL, one, 2, &err));
    for (int w = 0; w < 3; w++) {
        AM_CHECK_OK(scores_of(&ways[w], AM_SCORE_MARGIN, NULL, other, 2, &err));
        AM_CHECK(memcmp(one, other, sizeof one) == 0);
    }
    const am_rows backwards = {
        dense + ROWS * COLUMNS - 1, ROWS, COLUMNS, -4 * COLUMNS, -4, 0, 0, 0};
    AM_CHECK_OK(scores_of(&backwards, AM_SCORE_MARGIN, NULL, other, 2, &err));
    for (int i = 0; i < ROWS; i++) {
        AM_CHECK(one[i] == other[ROWS - 1 - i]);
    }
}

AM_TEST(what_is_not_finite_is_named)
{
    static float p[3000 * 3];
    double sums[3000];
    int64_t cells[9];
    int64_t given[3000] = {0};
    am_error err;
    const am_rows rows = am_dense_rows(p, 3000, 3, 0, 0);
    for (int i = 0; i < 9000; i++) {
        p[i] = 1.0f / 3;
    }
    AM_CHECK_OK(am_check_rows(&rows, 1e-3, 2, NULL, &err));
    static const float bad[] = {__builtin_inff(), -__builtin_inff(), __builtin_nanf(""), -1, 2};
    for (int b = 0; b < 5; b++) {
        for (int at = 0; at < 9000; at += b < 3 ? 1 : 997) {
            p[at] = bad[b];
            if (b < 3) {
                AM_CHECK_INT(scores_of(&rows, AM_SCORE_MARGIN, NULL, sums, 2, &err), AM_ERR_VALUE);
            }
            AM_CHECK_INT(am_check_rows(&rows, 1e-3, 2, NULL, &err), AM_ERR_VALUE);
            AM_CHECK_INT(heatmap(&rows, given, cells, 2, &err), AM_ERR_VALUE);
            p[at] = 1.0f / 3;
        }
    }
    p[4000 * 2] = __builtin_nanf("");
    AM_CHECK_INT(am_check_rows(&rows, 1e-3, 2, NULL, &err), AM_ERR_VALUE);
    AM_CHECK_STR(err.message, "expected finite numbers, got nan at [2666, 2]");
}

AM_TEST(exact_sums_do_not_depend_on_the_order)
{
    static const double x[] = {1e300, 1, -1e300, 0x1p-1074, 1e-300, -0.1, 3.5e-310, 1e16, 1, 0.1};
    am_exact_sum forward = {{0}}, backward = {{0}}, parts[2] = {{{0}}, {{0}}}, infinite = {{0}};
    for (int i = 0; i < 10; i++) {
        am_exact_add(&forward, x[i]);
        am_exact_add(&backward, x[9 - i]);
        am_exact_add(&parts[i % 2], x[i]);
    }
    am_exact_merge(&parts[0], &parts[1]);
    AM_CHECK(am_exact_value(&forward) == 10000000000000002.0);
    AM_CHECK(am_exact_value(&backward) == am_exact_value(&forward));
    AM_CHECK(am_exact_value(&parts[0]) == am_exact_value(&forward));
    am_exact_add(&parts[0], -1e16);
    am_exact_add(&parts[0], -2);
    AM_CHECK(am_exact_value(&parts[0]) == 1e-300 + 3.5e-310);
    am_exact_add(&parts[0], -1);
    AM_CHECK(am_exact_value(&parts[0]) == -1);
    am_exact_add(&infinite, __builtin_inf());
    AM_CHECK(am_exact_value(&infinite) > 1e308);
    am_exact_add(&infinite, -__builtin_inf());
    AM_CHECK(am_exact_value(&infinite) != am_exact_value(&infinite));
    AM_CHECK(am_exact_value(&(am_exact_sum){{0}}) == 0);
    double largest = 1.7976931348623157e308;
    am_exact_sum huge = {{0}};
    am_exact_add(&huge, largest);
    AM_CHECK(am_exact_value(&huge) == largest);
}

AM_TEST(neighbours_are_those_of_all_pairs)
{
    enum { ROWS = 1100, COLUMNS = 5, NEAREST = 4, QUERIES = 150 };
    static float x[ROWS * COLUMNS];
    static int64_t found[ROWS * NEAREST], order[NEAREST];
    static double distances[ROWS * NEAREST], minus[ROWS];
    am_error err;
    const am_rows rows = am_dense_rows(x, ROWS, COLUMNS, 0, 1);
    for (int threads = 1; threads < 4; threads++) {
        for (int i = 0; i < ROWS * COLUMNS; i++) { /* many equal distances, and many close ones */
            const double value = random_number() * 8;
            x[i] = threads == 2 ? (float)(int)value + 1000 : (float)value;
        }
        AM_CHECK_OK(
            am_neighbours(&rows, NULL, ROWS, NEAREST, found, distances, threads, NULL, &err));
        for (int i = 0; i < ROWS; i++) {
            for (int j = 0; j < ROWS; j++) {
                minus[j] = j == i ? -__builtin_inf() : 0;
                for (int t = 0; t < COLUMNS; t++) {
                    const double d = (double)x[i * COLUMNS + t] - (double)x[j * COLUMNS + t];
                    minus[j] -= d * d;
                }
            }
            AM_CHECK_OK(am_top_k(minus, ROWS, NEAREST, order, &err));
            AM_CHECK(memcmp(order, found + i * NEAREST, sizeof order) == 0);
            AM_CHECK(distances[i * NEAREST] * distances[i * NEAREST] - -minus[order[0]] < 1e-9);
        }
        static int64_t some[QUERIES * NEAREST];
        static double far[QUERIES * NEAREST];
        int64_t queries[QUERIES];
        for (int i = 0; i < QUERIES; i++) { /* in no order, the last one twice */
            queries[i] = (int64_t)i * 7919 % ROWS;
        }
        queries[0] = queries[QUERIES - 1];
        AM_CHECK_OK(
            am_neighbours(&rows, queries, QUERIES, NEAREST, some, far, threads, NULL, &err));
        for (int i = 0; i < QUERIES; i++) {
            const int64_t at = queries[i] * NEAREST;
            AM_CHECK(memcmp(some + i * NEAREST, found + at, sizeof order) == 0);
            AM_CHECK(memcmp(far + i * NEAREST, distances + at, sizeof minus[0] * NEAREST) == 0);
        }
        queries[70] = ROWS;
        AM_CHECK_INT(
            am_neighbours(&rows, queries, QUERIES, NEAREST, some, far, threads, NULL, &err),
            AM_ERR_VALUE);
        AM_CHECK(strstr(err.message, "got 1100 at [70]") != NULL);
    }
    am_fail_alloc_at(1, 1);
    AM_CHECK_INT(am_neighbours(&rows, NULL, ROWS, 1, found, distances, 1, NULL, &err),
                 AM_ERR_MEMORY);
    am_fail_alloc_at(0, 0);
}

static int
stop_at_once(void *arg)
{
    return ++*(int *)arg > 1;
}

AM_TEST(long_calls_can_be_stopped)
{
    static float x[9000 * 4];
    static double out[9000];
    static int64_t found[9000];
    am_error err;
    const am_rows rows = am_dense_rows(x, 9000, 4, 0, 1);
    for (int call = 0; call < 4; call++) {
        int polls = 0;
        am_control control = {.poll = stop_at_once, .arg = &polls};
        const am_pass pass = {.scores = out};
        am_status status = call == 0 ? am_rank_pass(&rows, &pass, 1, &control, &err)
                           : call == 1
                               ? am_neighbours(&rows, NULL, 9000, 1, found, out, 1, &control, &err)
                           : call == 2 ? am_check_rows(&rows, 1e-3, 1, &control, &err)
                                       : am_probabilities(&rows, x, 1, &control, &err);
        AM_CHECK_INT(status, AM_ERR_CANCELLED);
        AM_CHECK_INT(polls, 2);
    }
}
