/* The few things that differ between compilers, and the limits every file may rely on. */
#ifndef AMBIG_BASE_COMPILER_H
#define AMBIG_BASE_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#if !defined(__GNUC__)
#error "ambigmnist's core is written on GCC vector extensions: build it with gcc or clang"
#endif

#define AM_RESTRICT __restrict__
#define AM_INLINE static inline __attribute__((always_inline))
#define AM_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define AM_EXPORT __attribute__((visibility("default")))

/* Every buffer that a vector kernel touches starts on a cache line. */
#define AM_ALIGNMENT 64

_Static_assert(sizeof(float) == 4 && sizeof(double) == 8, "IEEE 754 single and double expected");
_Static_assert(sizeof(size_t) == 8, "a 64-bit platform expected");

/* A double as its bits, and back. */
static inline uint64_t
am_bits_of(double x)
{
    uint64_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double
am_of_bits(uint64_t bits)
{
    double x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int64_t
am_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t
am_ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

#endif
