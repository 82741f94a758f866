/* Confident learning: which class the given label of an image is confidently seen as.
 *
 * Northcutt, Jiang & Chuang 2021 (JAIR 70), section 3.1. A class is confident of an image whose
 * p_j is not below the mean p_j of the images labelled j. */
#ifndef AMBIG_RANK_JOINT_H
#define AMBIG_RANK_JOINT_H

#include "exactsum.h"
#include "rows.h"

/* For each class j: how many images are labelled j, and the sum of their p_j, whose am_exact_mean
 * is the class's threshold. Both can be added up over parts of a data set. */
am_status am_self_confidence(const am_rows *rows, const int64_t *labels, am_exact_sum *sums,
                             int64_t *counts, int threads, am_control *control, am_error *err);

/* columns[i]: of the classes j with p_j >= cutoffs[j] the one with the largest p_j, the first of
 * equals; -1 where there is none. A NaN is never reached. counts (k, k): how many images labelled i
 * got the column j. With `among_all` (which is cleanlab's rule, not the paper's) an image that
 * several classes are confident of gets its largest of all columns. */
am_status am_confident_joint(const am_rows *rows, const int64_t *labels, const double *cutoffs,
                             int among_all, int64_t *counts, int64_t *columns, int threads,
                             am_control *control, am_error *err);

#endif
