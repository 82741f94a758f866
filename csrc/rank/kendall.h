/* Kendall's tau-b: how far two scores put the same things in the same order. */
#ifndef AMBIG_RANK_KENDALL_H
#define AMBIG_RANK_KENDALL_H

#include "../base/control.h"

/* (C - D) / sqrt((P - X) (P - Y)) of the P = n (n - 1) / 2 pairs, of which C are in the same order
 * by x and by y, D in opposite ones, X tied in x and Y tied in y. Counted in integers, so exact but
 * for the last division; 1 and -1 are exact. NaN where all of x or all of y are equal, or n < 2. A
 * NaN among them is AM_ERR_VALUE. O(n log n): Knight 1966, JASA 61. */
am_status am_kendall_tau(const double *x, const double *y, int64_t n, double *tau,
                         am_control *control, am_error *err);

#endif
