/* Vectors of AM_LANES floats on GCC's extensions, and AM_FMA.
 *
 * Included by kernels.inc.c only, after a variant has set AM_LANES and AM_FUSED. */
#ifndef AMBIG_KERNELS_SIMD_H
#define AMBIG_KERNELS_SIMD_H

#include "../base/compiler.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif AM_FUSED && defined(__aarch64__)
#include <arm_neon.h>
#elif AM_FUSED
#error "a fused variant needs the compiler flags of its instruction set, see setup.py"
#endif

typedef float vec __attribute__((vector_size(4 * AM_LANES)));
typedef float vec_any __attribute__((vector_size(4 * AM_LANES), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(4 * AM_LANES)));
typedef uint8_t vecb __attribute__((vector_size(AM_LANES)));
typedef uint8_t vecb_any __attribute__((vector_size(AM_LANES), aligned(1), may_alias));

/* The bits of four floats */
typedef int64_t quad __attribute__((vector_size(16), aligned(4), may_alias));

/* a * b + c: rounded once in the fused variants, twice in the others. */
AM_INLINE vec
AM_FMA(vec a, vec b, vec c)
{
#if AM_FUSED && defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif AM_FUSED && defined(__FMA__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif AM_FUSED && defined(__aarch64__)
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

AM_INLINE vec
vec_load(const float *p)
{
    return *(const vec_any *)p;
}

AM_INLINE void
vec_store(float *p, vec v)
{
    *(vec_any *)p = v;
}

AM_INLINE vec
vec_splat(float x)
{
    return x - (vec){0}; /* folds to a broadcast; {0} + x would not, because of -0 */
}

/* One byte per lane. The compiler's own conversions take the bytes one at a time. */
AM_INLINE veci
vec_load_bytes(const uint8_t *p)
{
#if AM_LANES == 16
    return (veci)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif AM_LANES == 8
    return (veci)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
    return __builtin_convertvector((vecb)(*(const vecb_any *)p), veci);
#endif
}

/* v is 0..255 */
AM_INLINE void
vec_store_bytes(uint8_t *p, veci v)
{
#if AM_LANES == 16
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)v));
#elif AM_LANES == 8
    const __m256i w = (__m256i)v;
    const __m128i pairs =
        _mm_packs_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(pairs, pairs));
#else
    *(vecb_any *)p = __builtin_convertvector(v, vecb);
#endif
}

/* One bit per lane: is it different from 0? NaN is. */
AM_INLINE uint32_t
vec_nonzero(vec v)
{
#if AM_LANES == 16
    return _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
#elif AM_LANES == 8
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_setzero_ps(), _CMP_NEQ_UQ));
#else
    uint32_t bits = 0;
    for (int i = 0; i < AM_LANES; i++) {
        bits |= (uint32_t)(v[i] != 0.0f) << i;
    }
    return bits;
#endif
}

/* The non-zeros of x[0..n) in order: their values, and AM_PANEL times their indices. Writes up to
 * a vector more than the count that it returns. */
AM_INLINE int64_t
compress(int32_t *at, float *value, const float *x, int64_t n)
{
    int64_t count = 0, i = 0;
#if AM_LANES == 16
    const __m512i lanes = _mm512_slli_epi32(
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), 4);
    for (; i + 16 <= n; i += 16) {
        const __m512 v = (__m512)vec_load(x + i);
        const __mmask16 keep = (__mmask16)vec_nonzero((vec)v);
        const __m512i place = _mm512_add_epi32(lanes, _mm512_set1_epi32((int)i * AM_PANEL));
        _mm512_storeu_ps(value + count, _mm512_maskz_compress_ps(keep, v));
        _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(keep, place));
        /* Converted by hand: gcc 12 may store 16 bits of a mask and count 32 of what lies there. */
        count += __builtin_popcount(_cvtmask16_u32(keep));
    }
#endif
    for (; i < n; i += 64) {
        uint64_t mask = 0;
        int64_t j = 0;
        for (; j + AM_LANES <= am_min_i64(64, n - i); j += AM_LANES) {
            mask |= (uint64_t)vec_nonzero(vec_load(x + i + j)) << j;
        }
        for (; j < am_min_i64(64, n - i); j++) {
            mask |= (uint64_t)(x[i + j] != 0.0f) << j;
        }
        for (; mask != 0; mask &= mask - 1, count++) {
            const int64_t found = i + __builtin_ctzll(mask);
            at[count] = (int32_t)found * AM_PANEL;
            value[count] = x[found];
        }
    }
    return count;
}

/* to[j][i] = from[i][j], AM_LANES x AM_LANES: in each round vectors i and i + AM_LANES / 2 are
 * interleaved, which moves one bit of the place from the row to the lane. */
AM_INLINE void
transpose(float *to, int64_t to_row, const float *from, int64_t from_row)
{
    enum { HALF = AM_LANES / 2 };
#if AM_LANES == 16
    const veci low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
    const int rounds = 4;
#elif AM_LANES == 8
    const veci low = {0, 8, 1, 9, 2, 10, 3, 11};
    const int rounds = 3;
#else
    const veci low = {0, 4, 1, 5};
    const int rounds = 2;
#endif
    vec v[2][AM_LANES];
#pragma GCC unroll 16
    for (int i = 0; i < AM_LANES; i++) {
        v[0][i] = vec_load(from + i * from_row);
    }
#pragma GCC unroll 4
    for (int r = 0; r < rounds; r++) {
#pragma GCC unroll 8
        for (int i = 0; i < HALF; i++) {
            const vec a = v[r % 2][i], b = v[r % 2][i + HALF];
            v[1 - r % 2][2 * i] = __builtin_shuffle(a, b, low);
            v[1 - r % 2][2 * i + 1] = __builtin_shuffle(a, b, low + HALF);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < AM_LANES; i++) {
        vec_store(to + i * to_row, v[rounds % 2][i]);
    }
}

/* quad[which[lane]] in every lane; which is 0..3 */
AM_INLINE vec
vec_pick(const float *quad, veci which)
{
#if AM_LANES == 16
    return (vec)_mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(quad)), (__m512i)which);
#elif AM_LANES == 8
    return (vec)_mm256_permutevar_ps(_mm256_broadcast_ps((const __m128 *)quad), (__m256i)which);
#else
    vec v;
    for (int i = 0; i < AM_LANES; i++) {
        v[i] = quad[which[i]];
    }
    return v;
#endif
}

/* a > b ? a : b, per lane: b where they are equal, or one of them is NaN */
AM_INLINE vec
vec_larger(vec a, vec b)
{
#if AM_LANES == 16
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif AM_LANES == 8
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return (vec)(((a > b) & (veci)a) | (~(a > b) & (veci)b));
#endif
}

/* -1 in lanes where a or b is NaN, otherwise 0 */
AM_INLINE veci
vec_unordered(vec a, vec b)
{
#if AM_LANES == 16
    return (veci)_mm512_movm_epi32(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_UNORD_Q));
#elif AM_LANES == 8
    return (veci)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_UNORD_Q);
#else
    return (a != a) | (b != b);
#endif
}

/* mask ? a : b, per lane; mask lanes are 0 or -1 */
AM_INLINE vec
vec_select(veci mask, vec a, vec b)
{
    return (vec)((mask & (veci)a) | (~mask & (veci)b));
}

#endif
