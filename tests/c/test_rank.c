/* Scores, top lists and heatmaps, without Python. */
#include "am_test.h"

#include "../../csrc/base/alloc.h"
#include "../../csrc/base/elementary.h"
#include "../../csrc/rank/heatmaps.h"
#include "../../csrc/rank/scores.h"
#include "../../csrc/rank/topk.h"

#define N 9001
#define K 5

static float logits[N * K];
static float probs[N * K];
static int64_t labels[N];

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
    am_rows rows = {logits, N, K, 0, 1};
    AM_CHECK_OK(am_probabilities(&rows, probs, 2, &err));
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
    am_rows rows = {p, 2, 3, 1, 0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        am_score score;
        double out[2];
        AM_CHECK_OK(am_score_by_name(&score, cases[i].name, &err));
        AM_CHECK_OK(am_scores(&rows, score, given, out, 1, &err));
        AM_CHECK_NEAR(out[0], cases[i].expected[0], 1e-15);
        AM_CHECK_NEAR(out[1], cases[i].expected[1], 1e-15);
    }
}

AM_TEST(logits_keep_what_probabilities_round_away)
{
    static const float z[] = {50, 0, 60, 0};
    double out[2];
    am_rows rows = {z, 2, 2, 0, 1};
    AM_CHECK_OK(am_scores(&rows, AM_SCORE_LEAST_CONFIDENT, NULL, out, 1, &err));
    AM_CHECK_NEAR(out[0] / am_exp(-50), 1.0, 1e-15);
    AM_CHECK_NEAR(out[1] / am_exp(-60), 1.0, 1e-15);
}

AM_TEST(threads_do_not_matter)
{
    static double one[N], many[N];
    int64_t sums_one[K * K], sums_many[K * K], correct_one, correct_many;
    double loss_one, loss_many;
    fill();
    for (int is_logits = 0; is_logits < 2; is_logits++) {
        am_rows rows = {is_logits ? logits : probs, N, K, 0, is_logits};
        AM_CHECK_OK(am_log_loss(&rows, labels, &loss_one, &correct_one, 1, &err));
        AM_CHECK_OK(am_heatmap_probability(&rows, labels, sums_one, 1, &err));
        for (int threads = 2; threads < 8; threads++) {
            for (int s = AM_SCORE_LEAST_CONFIDENT; s <= AM_SCORE_NORMALIZED_MARGIN; s++) {
                AM_CHECK_OK(am_scores(&rows, (am_score)s, labels, one, 1, &err));
                AM_CHECK_OK(am_scores(&rows, (am_score)s, labels, many, threads, &err));
                AM_CHECK(memcmp(one, many, sizeof one) == 0);
            }
            AM_CHECK_OK(am_log_loss(&rows, labels, &loss_many, &correct_many, threads, &err));
            AM_CHECK(memcmp(&loss_one, &loss_many, sizeof loss_one) == 0);
            AM_CHECK_INT(correct_many, correct_one);
            AM_CHECK_OK(am_heatmap_probability(&rows, labels, sums_many, threads, &err));
            AM_CHECK(memcmp(sums_one, sums_many, sizeof sums_one) == 0);
        }
    }
}

AM_TEST(heatmap_parts_add_up)
{
    int64_t whole[K * K], part[K * K], sum[K * K] = {0};
    static const int64_t cuts[] = {0, 1, 4000, 4096, N};
    fill();
    am_rows rows = {probs, N, K, 0, 0};
    AM_CHECK_OK(am_heatmap_probability(&rows, labels, whole, 3, &err));
    for (int c = 0; c < 4; c++) {
        am_rows piece = {probs + cuts[c] * K, cuts[c + 1] - cuts[c], K, 0, 0};
        AM_CHECK_OK(am_heatmap_probability(&piece, labels + cuts[c], part, 2, &err));
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
    am_rows rows = {p, 1, 2, 1, 0};
    AM_CHECK_INT(am_top_k(nan_scores, 2, 1, out, &err), AM_ERR_VALUE);
    AM_CHECK_INT(am_top_k(nan_scores, 1, 2, out, &err), AM_ERR_VALUE);
    AM_CHECK_INT(am_score_by_name(&score, "marginal", &err), AM_ERR_VALUE);
    AM_CHECK_INT(am_scores(&rows, AM_SCORE_SELF_CONFIDENCE, NULL, values, 1, &err), AM_ERR_VALUE);
    AM_CHECK_INT(am_scores(&rows, AM_SCORE_GINI, outside, values, 1, &err), AM_ERR_VALUE);
    AM_CHECK_STR(err.message, "labels: expected columns 0..1, got 2 at index 0");
    AM_CHECK_INT(am_heatmap_probability(&rows, outside, out, 1, &err), AM_ERR_VALUE);
    AM_CHECK_INT(am_heatmap_count(inside, outside, 1, 2, out, &err), AM_ERR_VALUE);
    AM_CHECK_INT(am_log_loss(&rows, outside, values, &correct, 1, &err), AM_ERR_VALUE);
    AM_CHECK_OK(am_log_loss(&rows, inside, values, &correct, 1, &err));
    AM_CHECK(values[0] > 1e308); /* -log 0 */
}

AM_TEST(the_first_of_equals_is_predicted)
{
    static const float z[] = {1, 3, 3, 2, 2, 2};
    int64_t out[2];
    am_rows rows = {z, 2, 3, 0, 1};
    AM_CHECK_OK(am_predictions(&rows, out, 1, &err));
    AM_CHECK_INT(out[0], 1);
    AM_CHECK_INT(out[1], 0);
}

AM_TEST(heatmap_sums_are_rounded)
{
    static const double p[] = {2.0 / 3, 1.0 / 3, 1.0 / 3, 2.0 / 3};
    static const int64_t given[] = {0, 0};
    int64_t sums[4];
    am_rows rows = {p, 2, 2, 1, 0};
    AM_CHECK_OK(am_heatmap_probability(&rows, given, sums, 1, &err));
    AM_CHECK_INT(sums[1],
                 1431655765LL + 2863311531LL); /* 2^32 / 3 = ...765.33, doubled ...530.67 */
}

AM_TEST(nothing_gives_nothing)
{
    int64_t sums[4] = {1, 1, 1, 1}, correct = 7;
    double loss = 0;
    am_rows rows = {NULL, 0, 2, 0, 0};
    AM_CHECK_OK(am_heatmap_probability(&rows, NULL, sums, 4, &err));
    AM_CHECK_INT(sums[0] + sums[1] + sums[2] + sums[3], 0);
    AM_CHECK_OK(am_log_loss(&rows, NULL, &loss, &correct, 4, &err));
    AM_CHECK(loss != loss);
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
    am_rows rows = {logits, N, K, 0, 1};
    am_get_alloc_stats(&before);
    for (int n = 1; n <= 4; n++) {
        am_fail_alloc_at(n, 1);
        am_status first = am_heatmap_probability(&rows, labels, sums, 2, NULL);
        am_fail_alloc_at(n, 1);
        am_status second = am_log_loss(&rows, labels, &loss, &correct, 2, NULL);
        am_fail_alloc_at(0, 0);
        AM_CHECK(first == AM_OK || first == AM_ERR_MEMORY);
        AM_CHECK(second == AM_OK || second == AM_ERR_MEMORY);
        failures += (first == AM_ERR_MEMORY) + (second == AM_ERR_MEMORY);
    }
    am_get_alloc_stats(&after);
    AM_CHECK_INT(failures, 4); /* two allocations each */
    AM_CHECK_INT(after.live_blocks, before.live_blocks);
}
