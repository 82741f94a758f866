#include "elementary.h"

#define LN2_HI 0x1.62e42fee00000p-1 /* 32 bits, so that k * LN2_HI is exact */
#define LN2_LO 0x1.a39ef35793c76p-33
#define LOG2_E 0x1.71547652b82fep+0

static int64_t
nearest(double x)
{
    return (int64_t)(x < 0 ? x - 0.5 : x + 0.5);
}

/* c[0] + x (c[1] + x (c[2] + ...)) */
static double
horner(double x, const double *c, int n)
{
    double sum = c[n - 1];
    for (int i = n - 2; i >= 0; i--) {
        sum = sum * x + c[i];
    }
    return sum;
}

double
am_exp(double x)
{
    /* e^r = 1 + r + r^2 (1/2! + r/3! + ...) for |r| <= ln(2) / 2; the first dropped term is 4e-18.
     */
    static const double c[] = {1.0 / 2,          1.0 / 6,         1.0 / 24,
                               1.0 / 120,        1.0 / 720,       1.0 / 5040,
                               1.0 / 40320,      1.0 / 362880,    1.0 / 3628800.0,
                               1.0 / 39916800.0, 1.0 / 479001600, 1.0 / 6227020800.0};
    if (x != x) {
        return x;
    }
    if (x > 709.79) {
        return __builtin_inf();
    }
    if (x < -745.2) {
        return 0.0;
    }
    int64_t k = nearest(x * LOG2_E);
    double hi = x - (double)k * LN2_HI;
    double lo = (double)k * LN2_LO;
    double r = hi - lo;
    double tail = (hi - r) - lo; /* what r lost by rounding */
    double y = 1.0 + (r + (tail + r * r * horner(r, c, 12)));
    /* In two factors, because 2^k itself may be subnormal or overflow. */
    int64_t half = k / 2;
    return y * am_of_bits((uint64_t)(half + 1023) << 52) *
           am_of_bits((uint64_t)(k - half + 1023) << 52);
}

/* x = m 2^k with m - 1 = *f in [sqrt(1/2) - 1, sqrt(2) - 1]; x positive and finite. */
static int64_t
split(double x, double *f)
{
    int64_t k = 0;
    if (x < 0x1p-1022) { /* subnormal */
        x *= 0x1p54;
        k = -54;
    }
    uint64_t bits = am_bits_of(x);
    k += (int64_t)(bits >> 52) - 1023;
    double m = am_of_bits((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        k += 1;
    }
    *f = m - 1.0;
    return k;
}

/* log((1 + f) 2^k) + c = k ln 2 + f - f^2/2 + s (f^2/2 + R) + c with s = f / (2 + f) and
 * R = 2 (s^2/3 + s^4/5 + ...). */
static double
log_sum(double f, int64_t k, double c)
{
    static const double series[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13,
                                    2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23};
    double s = f / (2.0 + f);
    double s2 = s * s;
    double half = 0.5 * f * f;
    double r = s2 * horner(s2, series, 11);
    return (double)k * LN2_HI - ((half - (s * (half + r) + ((double)k * LN2_LO + c))) - f);
}

double
am_log(double x)
{
    if (x != x || x < 0) {
        return __builtin_nan("");
    }
    if (x == 0) {
        return -__builtin_inf();
    }
    if (x == __builtin_inf()) {
        return x;
    }
    double f;
    int64_t k = split(x, &f);
    return log_sum(f, k, 0.0);
}

double
am_log1p(double x)
{
    double u = 1.0 + x;
    if (u == 1.0 || u == __builtin_inf()) {
        return x; /* also a negative zero and a subnormal */
    }
    if (!(u > 0)) {
        return am_log(u);
    }
    if (x > -0.29 && x < 0.41) {
        return log_sum(x, 0, 0.0);
    }
    /* What 1 + x lost by rounding, put back to first order. */
    double lost = u >= 2 ? 1.0 - (u - x) : x - (u - 1.0);
    double f;
    int64_t k = split(u, &f);
    return log_sum(f, k, lost / u);
}

/* sin and cos of |r| <= pi/4, by their Taylor series. */
static double
sin_core(double r, double tail)
{
    static const double c[] = {
        -1.0 / 6,          1.0 / 120,          -1.0 / 5040,         1.0 / 362880,
        -1.0 / 39916800.0, 1.0 / 6227020800.0, -1.0 / 1307674368e3, 1.0 / 355687428096e3};
    double r2 = r * r;
    return r + (r * r2 * horner(r2, c, 8) + tail);
}

static double
cos_core(double r, double tail)
{
    static const double c[] = {1.0 / 24,           -1.0 / 720,        1.0 / 40320,
                               -1.0 / 3628800.0,   1.0 / 479001600.0, -1.0 / 87178291200.0,
                               1.0 / 20922789888e3};
    double r2 = r * r;
    double w = 1.0 - 0.5 * r2;
    return w + (((1.0 - w) - 0.5 * r2) + (r2 * r2 * horner(r2, c, 7) - r * tail));
}

/* r + tail = x - k pi/2 with pi/2 in three parts of 33, 33 and 53 bits. */
static int64_t
reduce(double x, double *r, double *tail)
{
    const double part1 = 0x1.921fb54400000p+0;
    const double part2 = 0x1.0b4611a600000p-34;
    const double part3 = 0x1.3198a2e037073p-69;
    int64_t k = nearest(x * 0x1.45f306dc9c883p-1);
    double a = x - (double)k * part1;
    double b = (double)k * part2;
    double hi = a - b;
    double lo = ((a - hi) - b) - (double)k * part3;
    *r = hi + lo;
    *tail = (hi - *r) + lo;
    return k & 3;
}

static double
sin_shifted(double x, int64_t quarter)
{
    if (!(x > -0x1p52 && x < 0x1p52)) {
        return __builtin_nan(""); /* infinite, NaN, or no bit of the angle is left */
    }
    double r, tail;
    switch ((reduce(x, &r, &tail) + quarter) & 3) {
        case 0:
            return sin_core(r, tail);
        case 1:
            return cos_core(r, tail);
        case 2:
            return -sin_core(r, tail);
        default:
            return -cos_core(r, tail);
    }
}

double
am_sin(double x)
{
    if (x == 0) {
        return x; /* the sign of zero */
    }
    return sin_shifted(x, 0);
}

double
am_cos(double x)
{
    return sin_shifted(x, 1);
}
