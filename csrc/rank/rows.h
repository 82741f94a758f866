/* What is known about n images and k classes, one row each.
 *
 * A row is either probabilities or logits. Most probabilities of a good network round to exactly 1
 * in float32, and 1 - p is then 0 for all of them; logits still tell these images apart. So a row
 * is loaded as weights w_j with p_j = w_j / total, and 1 - p is never formed where logits are
 * known. */
#ifndef AMBIG_RANK_ROWS_H
#define AMBIG_RANK_ROWS_H

#include "../base/control.h"

typedef struct am_rows {
    const void *values;
    int64_t n;
    int64_t k;        /* >= 1 */
    int64_t row_step; /* bytes from row to row and from column to column; of any sign, so that */
    int64_t col_step; /* whatever an array looks like, it is read where it lies */
    int is_double;    /* float64, otherwise float32 */
    int is_swapped;   /* of the other byte order */
    int is_logits;    /* finite logits z, otherwise probabilities that sum to 1 */
} am_rows;

/* Rows without gaps. */
static inline am_rows
am_dense_rows(const void *values, int64_t n, int64_t k, int is_double, int is_logits)
{
    const int64_t size = is_double ? 8 : 4; /* an absurd k is refused where memory is asked for */
    return (am_rows){values, n,         k, (int64_t)((uint64_t)k * (uint64_t)size),
                     size,   is_double, 0, is_logits};
}

/* t such tables of one shape, one behind the other: number s is `first`, s times `step` bytes
 * further. */
typedef struct am_stack {
    am_rows first;
    int64_t count;
    int64_t step; /* of any sign */
} am_stack;

static inline am_rows
am_stack_rows(const am_stack *stack, int64_t s)
{
    am_rows rows = stack->first;
    rows.values = (const char *)rows.values + s * stack->step;
    return rows;
}

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

/* Rows are worked on in blocks that stay in the fastest cache; a chunk is some blocks, and what
 * one thread does without asking whether to go on (a million logits take about 10 ms). */
static inline int64_t
am_block_rows(int64_t k)
{
    return k <= 16 ? 256 : k >= 2048 ? 2 : 4096 / k;
}

static inline int64_t
am_chunk_rows(int64_t k)
{
    const int64_t block = am_block_rows(k);
    return k >= 1 << 20 ? block : block * am_min_i64(16, am_ceil_div(1 << 20, block * k));
}

/* Rows first..first+count as C-contiguous numbers of this machine: where they lie, or copied to
 * `scratch`, which has room for a block. */
const void *am_read_rows(const am_rows *rows, int64_t first, int64_t count, void *scratch);

/* Number i of what am_read_rows returns. */
static inline double
am_number_at(const void *values, int is_double, int64_t i)
{
    return is_double ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

/* Row i of `values` as am_read_rows returns them. `scratch`: 2 k doubles, which the row points
 * to. */
am_row am_load_row(const am_rows *rows, const void *values, int64_t i, double *scratch);

/* AM_ERR_VALUE for NaN or an infinity in these rows of `values`; names the first. */
am_status am_check_finite(const am_rows *rows, const void *values, int64_t first, int64_t count,
                          am_error *err);

/* AM_ERR_VALUE for a label outside 0..k-1 among labels[first..first+count); names the first. */
am_status am_check_labels(const int64_t *labels, int64_t first, int64_t count, int64_t k,
                          am_error *err);

/* out[i, j] = p_j, (n, k) without gaps, of the type of the rows. */
am_status am_probabilities(const am_rows *rows, void *out, int threads, am_control *control,
                           am_error *err);

/* AM_ERR_VALUE, naming the first bad place, unless every number is finite and, for probabilities,
 * at least 0, every row summing to 1 within `tolerance`. */
am_status am_check_rows(const am_rows *rows, double tolerance, int threads, am_control *control,
                        am_error *err);

#endif
