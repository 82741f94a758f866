/* The row kernels; a variant sets AM_ROW_TABLE and AM_ROW_ISA and includes this.
 *
 * Vectors have 16 bytes on every instruction set: a row of ten floats is two loads and one that
 * overlaps, four rows are turned into one vector of results by three pairs of shuffles, and memory
 * is slower than that. Wider vectors need more shuffles for such rows; what the wider sets bring
 * are the plain loops over doubles, which the compiler widens. */
#include "rowkernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define AM_SHUFFLE(a, b, type, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define AM_SHUFFLE(a, b, type, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

typedef enum fold_kind {
    LARGEST,
    TWO_LARGEST,
    SUM,
} fold_kind;

#define AM_REAL float
#define AM_MASK int32_t
#define AM_WIDTH 4
#define AM_NAME(name) name##_float
#define AM_MAX_SSE _mm_max_ps
#define AM_MIN_SSE _mm_min_ps
#define AM_SSE __m128
#include "rowtype.inc.c"

#define AM_REAL double
#define AM_MASK int64_t
#define AM_WIDTH 2
#define AM_NAME(name) name##_double
#define AM_MAX_SSE _mm_max_pd
#define AM_MIN_SSE _mm_min_pd
#define AM_SSE __m128d
#include "rowtype.inc.c"

static void
rest(double *AM_RESTRICT out, const double *AM_RESTRICT p, const double *AM_RESTRICT q, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        out[i] = q == NULL ? 1.0 - p[i] : 1.0 - p[i] + q[i];
    }
}

static int
any_above(const double *x, int64_t n, double limit)
{
    int64_t any = 0;
    for (int64_t i = 0; i < n; i++) {
        any |= -(int64_t)(x[i] > limit);
    }
    return any != 0;
}

static int
any_within(const float *a, const float *b, int64_t n, float limit)
{
    int any = 0;
    for (int64_t i = 0; i < n; i += 16) {
        for (int lane = 0; lane < 16; lane++) {
            any |= !(a[i + lane] - 2 * b[i + lane] > limit);
        }
    }
    return any;
}

/* Adding 2^52 leaves an integer in the low bits of a double, rounded to nearest: one too many where
 * that is above x. A conversion of vectors to int64_t exists on few instruction sets. */
static void
add_fixed(int64_t *AM_RESTRICT sums, const double *AM_RESTRICT p, int64_t k)
{
    for (int64_t j = 0; j < k; j++) {
        const double x = p[j] * 0x1p32 + 0.5;
        const union {
            double value;
            int64_t bits;
        } nearest = {x + 0x1p52};
        sums[j] += (nearest.bits & 0xfffffffffffff) - (nearest.value - 0x1p52 > x);
    }
}

extern const am_row_kernels AM_ROW_TABLE;
const am_row_kernels AM_ROW_TABLE = {
    .isa = AM_ROW_ISA,
    .largest = {largest_float, largest_double},
    .two_largest = {two_largest_float, two_largest_double},
    .sums = {sums_float, sums_double},
    .lowest = {lowest_float, lowest_double},
    .rest = rest,
    .any_above = any_above,
    .any_within = any_within,
    .add_fixed = add_fixed,
};
