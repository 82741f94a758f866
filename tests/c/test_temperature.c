/* Temperature scaling, without Python. */
#include "am_test.h"

#include <math.h>

#include "../../csrc/base/alloc.h"
#include "../../csrc/rank/temperature.h"

#define N 9001
#define K 5

static double logits[N * K], probs[N * K], inverses[N];
static int64_t labels[N];

static void
fill(void)
{
    uint32_t state = 4321;
    for (int64_t i = 0; i < N * K; i++) {
        state = state * 1664525u + 1013904223u;
        logits[i] = (double)(state >> 8) * 0x1p-21 - 4.0;
    }
    for (int64_t i = 0; i < N; i++) {
        labels[i] = (i * 7) % K;
        inverses[i] = 0.7;
    }
}

AM_TEST(sums_follow_the_definition)
{
    double loss = 0.0, slope = 0.0, curvature = 0.0;
    fill();
    const am_rows rows = am_dense_rows(logits, N, K, 1, 1);
    AM_CHECK_OK(am_tempered(&rows, inverses, probs, 2, NULL, &err));
    for (int64_t i = 0; i < N; i++) {
        const double *z = logits + i * K;
        double total = 0.0, mean = 0.0, square = 0.0;
        for (int j = 0; j < K; j++) {
            total += exp(0.7 * z[j]);
        }
        for (int j = 0; j < K; j++) {
            const double p = exp(0.7 * z[j]) / total;
            AM_CHECK_NEAR(probs[i * K + j], p, 1e-15);
            mean += p * z[j];
            square += p * z[j] * z[j];
        }
        loss += log(total) - 0.7 * z[labels[i]];
        slope += mean - z[labels[i]];
        curvature += square - mean * mean;
    }
    am_temperature_sums one, more;
    AM_CHECK_OK(am_temperature_pass(&rows, labels, NULL, 0.7, &one, 1, NULL, &err));
    AM_CHECK_NEAR(am_exact_value(&one.loss), loss, 1e-8);
    AM_CHECK_NEAR(am_exact_value(&one.slope), slope, 1e-8);
    AM_CHECK_NEAR(am_exact_value(&one.curvature), curvature, 1e-8);
    for (int threads = 2; threads < 6; threads++) {
        AM_CHECK_OK(am_temperature_pass(&rows, labels, NULL, 0.7, &more, threads, NULL, &err));
        AM_CHECK(am_exact_value(&one.loss) == am_exact_value(&more.loss));
        AM_CHECK(am_exact_value(&one.slope) == am_exact_value(&more.slope));
        AM_CHECK(am_exact_value(&one.curvature) == am_exact_value(&more.curvature));
    }
}

static int
stop_at_once(void *arg)
{
    return ++*(int *)arg > 1;
}

AM_TEST(what_goes_wrong_is_an_error)
{
    am_temperature_sums sums;
    am_alloc_stats before, after;
    am_error err;
    fill();
    const am_rows rows = am_dense_rows(logits, N, K, 1, 1);
    am_get_alloc_stats(&before);
    for (int n = 1; n <= 3; n++) {
        const int fails = n <= 2;
        am_fail_alloc_at(n, 0);
        AM_CHECK_INT(am_temperature_pass(&rows, labels, NULL, 1.0, &sums, 2, NULL, &err),
                     fails ? AM_ERR_MEMORY : AM_OK);
        am_fail_alloc_at(n, 0);
        AM_CHECK_INT(am_tempered(&rows, inverses, probs, 2, NULL, &err),
                     n == 1 ? AM_ERR_MEMORY : AM_OK);
        am_fail_alloc_at(0, 0);
    }
    for (int call = 0; call < 2; call++) {
        int polls = 0;
        am_control control = {.poll = stop_at_once, .arg = &polls};
        const am_status status =
            call == 0 ? am_temperature_pass(&rows, labels, NULL, 1.0, &sums, 1, &control, &err)
                      : am_tempered(&rows, inverses, probs, 1, &control, &err);
        AM_CHECK_INT(status, AM_ERR_CANCELLED);
        AM_CHECK_INT(polls, 2);
    }
    AM_CHECK_INT(am_temperature_pass(&rows, labels, NULL, -1.0, &sums, 1, NULL, &err),
                 AM_ERR_VALUE);
    inverses[N - 1] = NAN;
    AM_CHECK_INT(am_tempered(&rows, inverses, probs, 1, NULL, &err), AM_ERR_VALUE);
    labels[N - 1] = K;
    AM_CHECK_INT(am_temperature_pass(&rows, labels, NULL, 1.0, &sums, 2, NULL, &err), AM_ERR_VALUE);
    logits[5] = INFINITY;
    AM_CHECK_INT(am_temperature_pass(&rows, labels, NULL, 1.0, &sums, 2, NULL, &err), AM_ERR_VALUE);
    am_get_alloc_stats(&after);
    AM_CHECK_INT(after.live_blocks, before.live_blocks);
}
