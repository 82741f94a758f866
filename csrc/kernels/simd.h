/* Vectors of AM_LANES floats on GCC's extensions, and AM_FMA.
 *
 * Included by kernels.inc.c only, after a variant has set AM_LANES and AM_FUSED. */
#ifndef AMBIG_KERNELS_SIMD_H
#define AMBIG_KERNELS_SIMD_H

#include "../base/compiler.h"

#if AM_FUSED && defined(__FMA__)
#include <immintrin.h>
#elif AM_FUSED && defined(__aarch64__)
#include <arm_neon.h>
#endif

typedef float vec __attribute__((vector_size(4 * AM_LANES)));
typedef float vec_any __attribute__((vector_size(4 * AM_LANES), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(4 * AM_LANES)));
typedef uint8_t vecb __attribute__((vector_size(AM_LANES)));
typedef uint8_t vecb_any __attribute__((vector_size(AM_LANES), aligned(1), may_alias));

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

/* mask ? a : b, per lane; mask lanes are 0 or -1 */
AM_INLINE vec
vec_select(veci mask, vec a, vec b)
{
    return (vec)((mask & (veci)a) | (~mask & (veci)b));
}

#endif
