/* Kendall's tau-b, without Python. */
#include "am_test.h"

#include <math.h>

#include "../../csrc/rank/kendall.h"
#include "am_failures.h"

#define N 300

static double x[N], y[N];

/* Numbers 0..values-1, the same on every machine. */
static void
fill(double *out, uint32_t state, uint32_t values)
{
    for (int64_t i = 0; i < N; i++) {
        state = state * 1664525u + 1013904223u;
        out[i] = (double)((state >> 8) % values);
    }
}

static int
sign(double v)
{
    return (v > 0) - (v < 0);
}

static double
naive_tau(int64_t n)
{
    int64_t sum = 0, by_x = 0, by_y = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            const int a = sign(x[i] - x[j]), b = sign(y[i] - y[j]);
            sum += a * b;
            by_x += a != 0;
            by_y += b != 0;
        }
    }
    return (double)sum / sqrt((double)by_x * (double)by_y);
}

AM_TEST(as_every_pair_says)
{
    static const uint32_t values[] = {2, 3, 17, 1u << 20};
    for (int a = 0; a < 4; a++) {
        for (int b = 0; b < 4; b++) {
            double tau;
            fill(x, 1u + (uint32_t)a, values[a]);
            fill(y, 11u + (uint32_t)b, values[b]);
            for (int64_t n = 2; n <= N; n += n < 20 ? 1 : 35) {
                AM_CHECK_OK(am_kendall_tau(x, y, n, &tau, NULL, &err));
                const double expected = naive_tau(n);
                AM_CHECK(tau == expected || (tau != tau && expected != expected));
            }
        }
    }
}

AM_TEST(hand_made)
{
    static const double up[] = {1, 2, 3, 4}, swapped[] = {1, 2, 4, 3},
                        down[] = {4, 3, 2, -INFINITY};
    static const double flat[] = {0.0, -0.0, 0.0, 0.0}, halves[] = {1, 1, 2, 2};
    double tau;
    AM_CHECK_OK(am_kendall_tau(up, up, 4, &tau, NULL, &err));
    AM_CHECK(tau == 1.0);
    AM_CHECK_OK(am_kendall_tau(up, down, 4, &tau, NULL, &err));
    AM_CHECK(tau == -1.0);
    AM_CHECK_OK(am_kendall_tau(up, swapped, 4, &tau, NULL, &err));
    AM_CHECK_NEAR(tau, 4.0 / 6, 1e-15);
    AM_CHECK_OK(am_kendall_tau(up, halves, 4, &tau, NULL, &err));
    AM_CHECK_NEAR(tau, 4 / sqrt(6 * 4), 1e-15);
    AM_CHECK_OK(am_kendall_tau(up, flat, 4, &tau, NULL, &err));
    AM_CHECK(tau != tau);
    AM_CHECK_OK(am_kendall_tau(NULL, NULL, 0, &tau, NULL, &err));
    AM_CHECK(tau != tau);
}

AM_TEST(what_goes_wrong_is_an_error)
{
    double tau, bad[] = {1, 2, NAN};
    am_error err = {AM_OK, ""};
    am_countdown c;
    AM_CHECK_INT(am_kendall_tau(x, bad, 3, &tau, NULL, &err), AM_ERR_VALUE);
    AM_CHECK(strstr(err.message, "y: expected numbers, got NaN at index 2") != NULL);
    err = (am_error){AM_OK, ""};
    AM_CHECK_INT(am_kendall_tau(NULL, NULL, ((int64_t)1 << 32) + 1, &tau, NULL, &err),
                 AM_ERR_VALUE);
    err = (am_error){AM_OK, ""};
    const am_alloc_stats before = am_stats();
    am_start_countdown(&c, 1);
    AM_CHECK_INT(am_kendall_tau(x, y, N, &tau, &c.control, &err), AM_ERR_CANCELLED);
    AM_CHECK_INT(am_stats().live_blocks, before.live_blocks);
}

static am_status
tau_of_all(am_error *err)
{
    double tau;
    return am_kendall_tau(x, y, N, &tau, NULL, err);
}

AM_TEST(memory_may_run_out)
{
    am_check_memory("kendall", tau_of_all, 1);
}
