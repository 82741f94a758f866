/* What is known about n images and k classes, one row each, and a loop over the rows.
 *
 * A row is either probabilities or logits. Most probabilities of a good network round to exactly 1
 * in float32, and 1 - p is then 0 for all of them; logits still tell these images apart. So a row
 * is loaded as weights w_j with p_j = w_j / total, and 1 - p is never formed where logits are
 * known. */
#ifndef AMBIG_RANK_ROWS_H
#define AMBIG_RANK_ROWS_H

#include "../base/status.h"

typedef struct am_rows {
    const void *values; /* (n, k), C order */
    int64_t n;
    int64_t k;     /* >= 1 */
    int is_double; /* float64, otherwise float32 */
    int is_logits; /* finite logits z, otherwise probabilities that sum to 1 */
} am_rows;

typedef struct am_row {
    const double *w;   /* p_j, or exp(z_j - z_max) */
    const double *gap; /* z_max - z_j; NULL for probabilities */
    double total;      /* 1, or the sum of all w */
    double rest;       /* total - w[top], for logits as the sum of the others */
    int64_t top;       /* the first largest */
    int64_t second;    /* the first largest of the others; -1 where k = 1 */
} am_row;

static inline double
am_row_p(const am_row *row, int64_t j)
{
    return row->w[j] / row->total;
}

/* 1 - p_j. No digits are lost: w_j is at most half of the total where j is not the top. */
static inline double
am_row_rest(const am_row *row, int64_t j)
{
    return (j == row->top ? row->rest : row->total - row->w[j]) / row->total;
}

/* Rows i, i + 1, ... of a chunk of this size come one after the other, on one thread. */
#define AM_ROWS_PER_CHUNK 4096

typedef void (*am_row_fn)(void *arg, int64_t i, int slot, const am_row *row);

/* fn(arg, 0..n-1, ...); `slot` < threads as in am_parallel_for. */
am_status am_for_each_row(const am_rows *rows, int threads, am_row_fn fn, void *arg, am_error *err);

/* AM_ERR_VALUE for a label outside 0..k-1; the message names the first. */
am_status am_check_labels(const int64_t *labels, int64_t n, int64_t k, am_error *err);

#endif
