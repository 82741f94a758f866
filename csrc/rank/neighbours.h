/* Exact nearest neighbours by Euclidean distance.
 *
 * A matrix product in float32 gives every distance roughly: |a - b|^2 = |a|^2 + |b|^2 - 2 a b. Only
 * pairs that could, by a bound on its rounding, be among the nearest are measured in float64 from
 * the numbers as given: sum_t (a_t - b_t)^2, t rising. So the result is that of measuring all
 * pairs.
 *
 * All numbers are first multiplied by one power of two, so that neither large nor small ones leave
 * the range of float64 when they are squared. What is left of it: differences below 1e-301 of the
 * largest |number| lose digits, below 1e-305 they count as 0, and a distance above the largest
 * float64 is +inf, in its right place. */
#ifndef AMBIG_RANK_NEIGHBOURS_H
#define AMBIG_RANK_NEIGHBOURS_H

#include "rows.h"

/* For some rows (finite numbers) the k nearest of all others, nearest first, equal distances by
 * index: indices and distances (n_queries, k). 0 <= k < n. `queries`: which rows, in any order,
 * also twice; NULL: all of them, and n_queries is n. The cost is that of n_queries * n distances,
 * and a row's neighbours are the same, to the bit, whatever else is asked for. */
am_status am_neighbours(const am_rows *rows, const int64_t *queries, int64_t n_queries, int64_t k,
                        int64_t *indices, double *distances, int threads, am_control *control,
                        am_error *err);

#endif
