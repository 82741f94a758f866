/* Sums of doubles without rounding: one fixed-point number wide enough for every double.
 *
 * So the order of adding and merging does not matter, and a mean over parts of a data set, added on
 * any number of threads, has the same bits as over the whole. A double is cut into three limbs of
 * 32 bits; a limb is an int64_t, whose upper half takes the carries of 2^30 additions. */
#ifndef AMBIG_RANK_EXACTSUM_H
#define AMBIG_RANK_EXACTSUM_H

#include "../base/compiler.h"

/* Limb i counts units of 2^(32 i - 1074). Behind them: how many +inf, -inf and NaN were added, and
 * how many additions since carries were settled. */
#define AM_EXACT_LIMBS 68
#define AM_EXACT_SIZE (AM_EXACT_LIMBS + 4)

typedef struct am_exact_sum {
    int64_t limb[AM_EXACT_SIZE]; /* all 0: the empty sum */
} am_exact_sum;

void am_exact_add(am_exact_sum *sum, double x);
void am_exact_merge(am_exact_sum *sum, const am_exact_sum *part);

/* The sum as a double, wrong by less than a unit in the last place, and a function of the exact
 * value alone. */
double am_exact_value(const am_exact_sum *sum);

/* The smallest double that is not below sum / count, for finite numbers >= 0 and count > 0: so x >=
 * it exactly where x is not below the mean, and the largest number never is. */
double am_exact_mean(const am_exact_sum *sum, int64_t count);

#endif
