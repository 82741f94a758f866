/* Status, allocator, arena, random numbers, elementary functions, CPU detection. */
#include "am_test.h"

#include <math.h>

#include "../../csrc/base/alloc.h"
#include "../../csrc/base/arena.h"
#include "../../csrc/base/control.h"
#include "../../csrc/base/cpu.h"
#include "../../csrc/base/elementary.h"
#include "../../csrc/base/rng.h"

AM_TEST(fail_formats_the_message)
{
    am_error err;
    AM_CHECK_INT(am_fail(&err, AM_ERR_SHAPE, "expected %d, got %s", 3, "4"), AM_ERR_SHAPE);
    AM_CHECK_INT(err.code, AM_ERR_SHAPE);
    AM_CHECK_STR(err.message, "expected 3, got 4");
    AM_CHECK_INT(am_fail(NULL, AM_ERR_VALUE, "nobody listens"), AM_ERR_VALUE);
}

AM_TEST(fail_cuts_long_messages)
{
    am_error err;
    char text[1000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    am_fail(&err, AM_ERR_VALUE, "%s", text);
    AM_CHECK_INT(strlen(err.message), sizeof err.message - 1);
}

AM_TEST(fail_keeps_to_ascii)
{
    am_error err;
    am_fail(&err, AM_ERR_VALUE, "%s", "\xc3\xa9t\xff\n");
    AM_CHECK_STR(err.message, "??t??");
}

AM_TEST(every_status_has_a_name)
{
    for (int i = AM_OK; i <= AM_ERR_BUSY; i++) {
        AM_CHECK(strcmp(am_status_name((am_status)i), "unknown status") != 0);
        for (int j = AM_OK; j < i; j++) {
            AM_CHECK(strcmp(am_status_name((am_status)i), am_status_name((am_status)j)) != 0);
        }
    }
    AM_CHECK_STR(am_status_name((am_status)99), "unknown status");
}

AM_TEST(alloc_counts_and_aligns)
{
    am_alloc_stats before, during, after;
    void *block[40];
    am_get_alloc_stats(&before);
    int64_t bytes = 0;
    for (int i = 0; i < 40; i++) {
        int64_t size = 1 + 37 * i;
        AM_CHECK_OK(am_alloc(&block[i], size, 3, &err));
        AM_CHECK((uintptr_t)block[i] % AM_ALIGNMENT == 0);
        memset(block[i], 0xa5, (size_t)(3 * size)); /* the sanitizer watches the ends */
        bytes += 3 * size;
    }
    am_get_alloc_stats(&during);
    AM_CHECK_INT(during.live_blocks - before.live_blocks, 40);
    AM_CHECK_INT(during.live_bytes - before.live_bytes, bytes);
    AM_CHECK_INT(during.total_calls - before.total_calls, 40);
    for (int i = 0; i < 40; i++) {
        am_free(block[i]);
    }
    am_free(NULL);
    am_get_alloc_stats(&after);
    AM_CHECK_INT(after.live_blocks, before.live_blocks);
    AM_CHECK_INT(after.live_bytes, before.live_bytes);
}

AM_TEST(alloc_of_nothing_is_null)
{
    void *block = &block;
    AM_CHECK_OK(am_alloc(&block, 0, 8, &err));
    AM_CHECK(block == NULL);
}

AM_TEST(alloc_refuses_sizes_that_overflow)
{
    static const int64_t sizes[][2] = {
        {INT64_MAX, 2}, {INT64_MAX, 1}, {INT64_MAX - 64, 1}, {1ll << 40, 1ll << 40}, {-1, 8},
        {8, -1},        {-1, -1},       {INT64_MIN, 1},
    };
    am_alloc_stats before, after;
    am_get_alloc_stats(&before);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = &block;
        am_error err = {AM_OK, ""};
        AM_CHECK_INT(am_alloc(&block, sizes[i][0], sizes[i][1], &err), AM_ERR_MEMORY);
        AM_CHECK(block == NULL);
        AM_CHECK_INT(err.code, AM_ERR_MEMORY);
        AM_CHECK(err.message[0] != '\0');
    }
    am_get_alloc_stats(&after);
    AM_CHECK_INT(after.live_blocks, before.live_blocks);
}

/* Which of five allocations fail under the hook, as bits. */
static int
failing_calls(int64_t n, int persistent)
{
    int bits = 0;
    am_fail_alloc_at(n, persistent);
    for (int i = 0; i < 5; i++) {
        void *block;
        if (am_alloc(&block, 1, 1, NULL) != AM_OK) {
            bits |= 1 << i;
        }
        am_free(block);
    }
    am_fail_alloc_at(0, 0);
    return bits;
}

AM_TEST(alloc_hook_fails_the_nth_call)
{
    AM_CHECK_INT(failing_calls(0, 0), 0);
    AM_CHECK_INT(failing_calls(1, 0), 1);
    AM_CHECK_INT(failing_calls(3, 0), 4);
    AM_CHECK_INT(failing_calls(3, 1), 4 + 8 + 16);
    AM_CHECK_INT(failing_calls(6, 1), 0);
}

AM_TEST(mul_size)
{
    int64_t out;
    AM_CHECK_INT(am_mul_size(&out, 1ll << 31, 1ll << 31, NULL), AM_OK);
    AM_CHECK_INT(out, 1ll << 62);
    AM_CHECK_INT(am_mul_size(&out, 1ll << 32, 1ll << 31, NULL), AM_ERR_MEMORY);
    AM_CHECK_INT(am_mul_size(&out, -1, 1, NULL), AM_ERR_MEMORY);
}

/* The plan of a handle: run once to measure, once for real. */
static void
plan(am_arena *arena, float **a, char **b, double **c)
{
    *a = am_carve(arena, 33, sizeof **a);
    *b = am_carve(arena, 1, 1);
    *c = am_carve(arena, 0, sizeof **c);
}

AM_TEST(arena_carves_what_it_measured)
{
    am_arena arena = {0};
    float *a;
    char *b;
    double *c;
    plan(&arena, &a, &b, &c);
    AM_CHECK(a == NULL && b == NULL && c == NULL);
    AM_CHECK_OK(am_arena_reserve(&arena, &err));
    AM_CHECK_INT(arena.capacity, 3 * AM_ALIGNMENT + AM_ALIGNMENT);
    memset(arena.block, 0xff, (size_t)arena.capacity);
    plan(&arena, &a, &b, &c);
    AM_CHECK(!arena.overflow);
    AM_CHECK((uintptr_t)a % AM_ALIGNMENT == 0 && (uintptr_t)b % AM_ALIGNMENT == 0);
    AM_CHECK(a[0] == 0 && a[32] == 0 && *b == 0);
    AM_CHECK(b >= (char *)(a + 33));
    AM_CHECK(am_carve(&arena, 1, 1) == NULL);
    AM_CHECK(arena.overflow);
    am_arena_free(&arena);
    AM_CHECK(arena.block == NULL && arena.used == 0);
    am_arena_free(&arena);
}

AM_TEST(arena_reports_overflow)
{
    static const int64_t sizes[][2] = {{INT64_MAX, 4}, {INT64_MAX, 1}, {-1, 1}, {1, -1}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        am_arena arena = {0};
        am_carve(&arena, sizes[i][0], sizes[i][1]);
        am_carve(&arena, 1, 1);
        AM_CHECK_INT(am_arena_reserve(&arena, NULL), AM_ERR_MEMORY);
        AM_CHECK(arena.block == NULL);
    }
    am_arena sum = {0};
    am_carve(&sum, INT64_MAX - 64, 1);
    am_carve(&sum, INT64_MAX - 64, 1);
    AM_CHECK_INT(am_arena_reserve(&sum, NULL), AM_ERR_MEMORY);
}

AM_TEST(arena_survives_a_failed_allocation)
{
    am_arena arena = {0};
    am_carve(&arena, 100, 1);
    am_fail_alloc_at(1, 0);
    AM_CHECK_INT(am_arena_reserve(&arena, NULL), AM_ERR_MEMORY);
    am_fail_alloc_at(0, 0);
    AM_CHECK(arena.block == NULL);
    am_arena_free(&arena);
}

AM_TEST(philox_known_answers)
{
    /* kat_vectors of Random123, philox4x32 with 10 rounds: counter, key, result. */
    static const uint32_t kat[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
         0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    for (size_t i = 0; i < sizeof kat / sizeof kat[0]; i++) {
        uint32_t out[4];
        am_philox4x32(out, kat[i], kat[i] + 4);
        AM_CHECK(memcmp(out, kat[i] + 6, sizeof out) == 0);
    }
}

AM_TEST(random4_uses_every_part_of_its_address)
{
    uint32_t base[4], other[4];
    am_random4(base, 1, AM_STREAM_INIT, 2, 3, 4);
    am_random4(other, 2, AM_STREAM_INIT, 2, 3, 4);
    AM_CHECK(memcmp(base, other, sizeof base) != 0);
    am_random4(other, 1 + (1ull << 32), AM_STREAM_INIT, 2, 3, 4);
    AM_CHECK(memcmp(base, other, sizeof base) != 0);
    am_random4(other, 1, AM_STREAM_DROPOUT, 2, 3, 4);
    AM_CHECK(memcmp(base, other, sizeof base) != 0);
    am_random4(other, 1, AM_STREAM_INIT, 3, 2, 4);
    AM_CHECK(memcmp(base, other, sizeof base) != 0);
    am_random4(other, 1, AM_STREAM_INIT, 2, 3, 5);
    AM_CHECK(memcmp(base, other, sizeof base) != 0);
    am_random4(other, 1, AM_STREAM_INIT, 2, 3, 4);
    AM_CHECK(memcmp(base, other, sizeof base) == 0);
}

AM_TEST(uniform_stays_below_one)
{
    AM_CHECK(am_uniform(0) == 0.0f);
    AM_CHECK(am_uniform(0xffffffff) < 1.0f);
    AM_CHECK(am_uniform(0x80000000) == 0.5f);
}

AM_TEST(shuffle_is_a_permutation)
{
    enum { N = 1000 };
    int64_t items[N], again[N];
    int seen[N] = {0}, moved = 0;
    for (int i = 0; i < N; i++) {
        items[i] = again[i] = i;
    }
    am_shuffle(items, N, 7, AM_STREAM_SHUFFLE, 3);
    am_shuffle(again, N, 7, AM_STREAM_SHUFFLE, 3);
    AM_CHECK(memcmp(items, again, sizeof items) == 0);
    for (int i = 0; i < N; i++) {
        AM_CHECK(items[i] >= 0 && items[i] < N && !seen[items[i]]);
        seen[items[i]] = 1;
        moved += items[i] != i;
    }
    AM_CHECK(moved > N - 20);
    am_shuffle(again, N, 7, AM_STREAM_SHUFFLE, 4);
    AM_CHECK(memcmp(items, again, sizeof items) != 0);
    am_shuffle(items, 0, 7, AM_STREAM_SHUFFLE, 0);
    am_shuffle(items, 1, 7, AM_STREAM_SHUFFLE, 0);
}

AM_TEST(shuffle_is_fair)
{
    /* All 24 orders of four items over 24,000 seeds: chi squared with 23 degrees of freedom. */
    int counts[256] = {0};
    double chi = 0;
    for (uint64_t seed = 0; seed < 24000; seed++) {
        int64_t items[4] = {0, 1, 2, 3};
        am_shuffle(items, 4, seed, AM_STREAM_SHUFFLE, 0);
        counts[items[0] << 6 | items[1] << 4 | items[2] << 2 | items[3]]++;
    }
    for (int i = 0; i < 256; i++) {
        if (counts[i] > 0) {
            chi += (counts[i] - 1000.0) * (counts[i] - 1000.0) / 1000.0;
        }
    }
    AM_CHECK(chi < 49.7); /* exceeded by chance once in a thousand; the seeds are fixed */
}

/* |got - exact| in units in the last place of the exact value. */
static double
ulps(double got, long double exact)
{
    double size = fabs((double)exact);
    return (double)(fabsl(got - exact) / (nextafter(size, INFINITY) - size));
}

/* A number in [low, high), number i of a sequence. */
static double
sample(uint32_t i, double low, double high)
{
    uint32_t word[4];
    am_random4(word, 11, AM_STREAM_INIT, 0, 0, i);
    return low + (high - low) * (((double)word[0] * 0x1p-32) + (double)word[1] * 0x1p-64);
}

static void
check_elementary(const char *name, double (*f)(double), long double (*exact)(long double),
                 double low, double high)
{
    double worst = 0, at = low;
    for (uint32_t i = 0; i < 20000; i++) {
        double x = sample(i, low, high);
        double off = ulps(f(x), exact(x));
        if (!(off <= worst)) {
            worst = off;
            at = x;
        }
    }
    if (!(worst < 1.0)) {
        AM_FAILED("%s(%.17g) is %.17g, off by %.3f ulp", name, at, f(at), worst);
    }
}

AM_TEST(elementary_functions_are_within_one_ulp)
{
    check_elementary("exp", am_exp, expl, -1, 1);
    check_elementary("exp", am_exp, expl, -708, 709);
    check_elementary("log", am_log, logl, 0.5, 2);
    check_elementary("log", am_log, logl, 1e-3, 1e6);
    check_elementary("log1p", am_log1p, log1pl, -0.999, 1);
    check_elementary("log1p", am_log1p, log1pl, -1e-9, 1e-9);
    check_elementary("log1p", am_log1p, log1pl, 0, 1e5);
    check_elementary("sin", am_sin, sinl, -7, 7);
    check_elementary("cos", am_cos, cosl, -7, 7);
    check_elementary("sin", am_sin, sinl, -0x1p20, 0x1p20);
    check_elementary("cos", am_cos, cosl, -0x1p20, 0x1p20);
}

AM_TEST(elementary_functions_at_the_edges)
{
    AM_CHECK(am_exp(0) == 1 && am_exp(-INFINITY) == 0 && isinf(am_exp(INFINITY)));
    AM_CHECK(isinf(am_exp(710)) && am_exp(-746) == 0 && am_exp(709.78) > 1e308);
    AM_CHECK(am_exp(-745) == 0x1p-1074 && isnan(am_exp(NAN)));
    AM_CHECK(am_log(1) == 0 && isinf(am_log(0)) && am_log(0) < 0 && isnan(am_log(-1)));
    AM_CHECK(isinf(am_log(INFINITY)) && isnan(am_log(NAN)) && isnan(am_log(-INFINITY)));
    AM_CHECK_NEAR(am_log(0x1p-1074), -744.4400719213812, 0);
    AM_CHECK(am_log1p(0) == 0 && signbit(am_log1p(-0.0)) && am_log1p(1e-300) == 1e-300);
    AM_CHECK(isinf(am_log1p(-1)) && isnan(am_log1p(-1.5)) && isnan(am_log1p(NAN)));
    AM_CHECK(isinf(am_log1p(INFINITY)) && isnan(am_log1p(-INFINITY)));
    AM_CHECK(am_sin(0) == 0 && signbit(am_sin(-0.0)) && am_cos(0) == 1);
    AM_CHECK(isnan(am_sin(INFINITY)) && isnan(am_cos(NAN)) && isnan(am_sin(0x1p52)));
}

AM_TEST(cpu_decoder)
{
    /* highest leaf, leaf 1 ecx, leaf 7 ebx, xcr0 -> AVX2 usable, AVX-512 usable */
    static const struct {
        const char *machine;
        am_cpuid raw;
        int avx2, avx512;
    } cases[] = {
        {"Nehalem: no AVX, no osxsave", {0x0b, 0x0098e3bd, 0, 0}, 0, 0},
        {"Sandy Bridge: AVX, no FMA", {0x0d, 0x1fbae3ff, 0, 7}, 0, 0},
        {"Piledriver: FMA, no AVX2", {0x0d, 0x3e98320b, 0x00000008, 7}, 0, 0},
        {"Haswell", {0x0d, 0x7fdafbbf, 0x000027ab, 7}, 1, 0},
        {"Zen", {0x0d, 0x7ed8320b, 0x209c01a9, 7}, 1, 0},
        {"Haswell, osxsave off", {0x0d, 0x77dafbbf, 0x000027ab, 0}, 0, 0},
        {"Haswell, xcr0 without ymm", {0x0d, 0x7fdafbbf, 0x000027ab, 3}, 0, 0},
        {"Haswell, xcr0 without sse", {0x0d, 0x7fdafbbf, 0x000027ab, 5}, 0, 0},
        {"Haswell, AVX2 masked", {0x0d, 0x7fdafbbf, 0x0000278b, 7}, 0, 0},
        {"Haswell, FMA masked", {0x0d, 0x7fdaebbf, 0x000027ab, 7}, 0, 0},
        {"Haswell, BMI2 masked", {0x0d, 0x7fdafbbf, 0x000026ab, 7}, 0, 0},
        {"Haswell, leaves limited to 3", {0x03, 0x7fdafbbf, 0x000027ab, 7}, 0, 0},
        {"Skylake-SP", {0x16, 0x7ffefbbf, 0xd39ffffb, 0xe7}, 1, 1},
        {"Skylake-SP, xcr0 without zmm", {0x16, 0x7ffefbbf, 0xd39ffffb, 7}, 1, 0},
        {"Skylake-SP, xcr0 without mask registers", {0x16, 0x7ffefbbf, 0xd39ffffb, 0xc7}, 1, 0},
        {"Skylake-SP, FMA masked", {0x16, 0x7ffeebbf, 0xd39ffffb, 0xe7}, 0, 0},
        {"Knights Landing: F, but not DQ, BW, VL", {0x0d, 0x7ff8f3bf, 0x1c0d23ab, 0xe7}, 1, 0},
        {"nothing at all", {0, 0, 0, 0}, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const am_cpu cpu = am_cpu_decode(&cases[i].raw);
        if (cpu.avx2_fma != cases[i].avx2 || cpu.avx512 != cases[i].avx512) {
            AM_FAILED("%s: expected %d %d", cases[i].machine, cases[i].avx2, cases[i].avx512);
        }
    }
#if defined(__x86_64__)
    int known = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    AM_CHECK_INT(am_cpu_detect().avx2_fma, known);
    known = known && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    AM_CHECK_INT(am_cpu_detect().avx512, known);
#endif
}

static int
stop_at_once(void *arg)
{
    ++*(int *)arg;
    return 1;
}

AM_TEST(control_polls_on_slot_0_only)
{
    int polls = 0;
    am_control control = {.poll = stop_at_once, .arg = &polls};
    AM_CHECK_INT(am_check(NULL, 0, NULL), AM_OK);
    AM_CHECK_INT(am_check(&control, 1, NULL), AM_OK);
    AM_CHECK_INT(polls, 0);
    AM_CHECK_INT(am_check(&control, 0, NULL), AM_ERR_CANCELLED);
    AM_CHECK_INT(am_check(&control, 1, NULL), AM_ERR_CANCELLED);
    AM_CHECK_INT(am_check(&control, 0, NULL), AM_ERR_CANCELLED);
    AM_CHECK_INT(polls, 1);
}

AM_TEST(ceil_div)
{
    AM_CHECK_INT(am_ceil_div(0, 4), 0);
    AM_CHECK_INT(am_ceil_div(1, 4), 1);
    AM_CHECK_INT(am_ceil_div(4, 4), 1);
    AM_CHECK_INT(am_ceil_div(5, 4), 2);
    AM_CHECK_INT(am_ceil_div(INT64_MAX, 2), INT64_MAX / 2 + 1);
}
