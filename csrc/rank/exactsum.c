#include "exactsum.h"

#include <string.h>

enum {
    PLUS_INFINITY = AM_EXACT_LIMBS,
    MINUS_INFINITY,
    NOT_A_NUMBER,
    ADDITIONS,
};

/* Leaves 0..2^32-1 in every limb but the last, which has the sign. */
static void
settle(am_exact_sum *sum)
{
    int64_t carry = 0;
    for (int i = 0; i < AM_EXACT_LIMBS - 1; i++) {
        const int64_t v = sum->limb[i] + carry;
        sum->limb[i] = v & 0xffffffff;
        carry = (v - sum->limb[i]) / 4294967296;
    }
    sum->limb[AM_EXACT_LIMBS - 1] += carry;
    sum->limb[ADDITIONS] = 0;
}

void
am_exact_add(am_exact_sum *sum, double x)
{
    const uint64_t bits = am_bits_of(x);
    const int exponent = (int)(bits >> 52 & 0x7ff);
    const int64_t sign = bits >> 63 ? -1 : 1;
    uint64_t mantissa = bits & 0xfffffffffffff;
    if (exponent == 0x7ff) {
        sum->limb[mantissa != 0 ? NOT_A_NUMBER : sign > 0 ? PLUS_INFINITY : MINUS_INFINITY]++;
        return;
    }
    mantissa |= (uint64_t)(exponent != 0) << 52;
    const int shift = exponent == 0 ? 0 : exponent - 1; /* in units of 2^-1074 */
    int64_t *limb = sum->limb + shift / 32;
    const uint64_t low = (mantissa & 0xffffffff) << shift % 32;
    const uint64_t high = (mantissa >> 32) << shift % 32; /* below 2^52 */
    limb[0] += sign * (int64_t)(low & 0xffffffff);
    limb[1] += sign * (int64_t)((low >> 32) + (high & 0xffffffff));
    limb[2] += sign * (int64_t)(high >> 32);
    if (++sum->limb[ADDITIONS] >= (int64_t)1 << 29) {
        settle(sum);
    }
}

void
am_exact_merge(am_exact_sum *sum, const am_exact_sum *part)
{
    am_exact_sum settled = *part;
    settle(&settled);
    settle(sum);
    for (int i = 0; i < AM_EXACT_SIZE; i++) {
        sum->limb[i] += settled.limb[i];
    }
    settle(sum);
}

/* 2^e for -1074 <= e <= 1023 */
static double
power_of_two(int e)
{
    return am_of_bits(e < -1022 ? (uint64_t)1 << (e + 1074) : (uint64_t)(e + 1023) << 52);
}

double
am_exact_value(const am_exact_sum *sum)
{
    am_exact_sum s = *sum;
    if (s.limb[NOT_A_NUMBER] != 0 || (s.limb[PLUS_INFINITY] != 0 && s.limb[MINUS_INFINITY] != 0)) {
        return __builtin_nan("");
    }
    if (s.limb[PLUS_INFINITY] != 0 || s.limb[MINUS_INFINITY] != 0) {
        return s.limb[PLUS_INFINITY] != 0 ? __builtin_inf() : -__builtin_inf();
    }
    settle(&s);
    const int negative = s.limb[AM_EXACT_LIMBS - 1] < 0;
    if (negative) {
        for (int i = 0; i < AM_EXACT_LIMBS; i++) {
            s.limb[i] = -s.limb[i];
        }
        settle(&s);
    }
    int top = AM_EXACT_LIMBS - 1;
    while (top > 0 && s.limb[top] == 0) {
        top--;
    }
    /* Three limbs hold at least 65 bits from the first that is set, or all there are. */
    double value = 0.0;
    for (int i = top; i >= 0 && i > top - 3; i--) {
        const int e = 32 * i - 1074;
        value += e > 991 ? (double)s.limb[i] * power_of_two(991) * power_of_two(e - 991)
                         : (double)s.limb[i] * power_of_two(e);
    }
    return negative ? -value : value;
}

/* Whether sum > count * x. The product is taken in pieces that need no rounding. */
static int
exceeds(const am_exact_sum *sum, int64_t count, double x)
{
    am_exact_sum difference = *sum;
    const double high = am_of_bits(am_bits_of(x) & ~(uint64_t)0x7ffffff), low = x - high;
    for (int shift = 0; shift < 63; shift += 24) {
        const double piece = (double)(count >> shift & 0xffffff) * power_of_two(shift);
        am_exact_add(&difference, -(high * piece));
        am_exact_add(&difference, -(low * piece));
    }
    return am_exact_value(&difference) > 0;
}

double
am_exact_mean(const am_exact_sum *sum, int64_t count)
{
    double mean = am_exact_value(sum) / (double)count;
    if (mean - mean != 0) {
        return mean;
    }
    while (exceeds(sum, count, mean)) { /* neighbours: division is off by a few units at most */
        mean = am_of_bits(am_bits_of(mean) + 1);
    }
    while (mean > 0 && !exceeds(sum, count, am_of_bits(am_bits_of(mean) - 1))) {
        mean = am_of_bits(am_bits_of(mean) - 1);
    }
    return mean;
}
