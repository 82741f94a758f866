#include "neighbours.h"

#include <string.h>

#include "../base/alloc.h"
#include "../base/pool.h"
#include "../kernels/kernels.h"
#include "../kernels/rowkernels.h"
#include "topk.h"

#define SAMPLE 1024 /* rows whose mean is subtracted: shorter vectors have smaller errors */
#define QUERIES 64  /* of a chunk, or as many rows */
#define BLOCK 1024  /* rows that all chunks are compared with before the next such block */
#define GROUP 4     /* rows measured together */
#define UNIT 0x1p-24
#define TOP 0x1p490 /* of the numbers: 2^40 squares of their differences add up within float64 */

#define ROW_BYTES ((1 + GROUP) * 8)

typedef struct search {
    const am_rows *rows;
    const int64_t *queries; /* NULL: query i is row i */
    int64_t n_queries;
    am_control *control;
    const am_kernels *kernels;
    const am_row_kernels *row_kernels;
    am_top_list *lists; /* n_queries of them; the score is minus the squared distance */
    /* All numbers are taken times this power of two, which brings the largest near TOP: it costs
     * no bit, and of what is small compared with it as little as can be is lost. */
    double lift;
    double *norms; /* n: |a - mean|^2 */
    double *mean;  /* d */
    float *packed; /* the block: panels of AM_PANEL rows, transposed */
    float *reach;  /* the block: |b|^2 less its error, +inf behind the last row */
    char *scratch; /* per slot: 1 + GROUP rows of doubles, QUERIES rows of floats, a tile */
    int64_t slot_size;
    int64_t start; /* of the block */
    /* The product is of scale (a - mean), the longest of which is about 1. */
    double scale;
    double error; /* of its squared distances, relative to |a|^2 + |b|^2, */
    double floor; /* and absolute */
} search;

/* sqrt without errno is an instruction. */
static double
root(double x)
{
    return __builtin_sqrt(x);
}

/* The row of query i. */
static int64_t
row_of(const search *s, int64_t i)
{
    return s->queries == NULL ? i : s->queries[i];
}

static double
lifted(const search *s, const void *row, int64_t t)
{
    return am_number_at(row, s->rows->is_double, t) * s->lift;
}

/* The largest |x| of n numbers. */
static double
largest_of(const double *x, int64_t n)
{
    double largest = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double size = x[i] < 0 ? -x[i] : x[i];
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* The squared distances of GROUP rows at once: each is a sum that waits for its last term. */
static void
measure_group(const search *s, const void *query, const void *const rows[GROUP],
              double squares[GROUP])
{
    double sums[GROUP] = {0};
    for (int64_t t = 0; t < s->rows->k; t++) {
        const double x = lifted(s, query, t);
        for (int g = 0; g < GROUP; g++) {
            const double difference = x - lifted(s, rows[g], t);
            sums[g] += difference * difference;
        }
    }
    memcpy(squares, sums, sizeof sums);
}

/* Candidates that wait until a group is full. */
typedef struct waiting {
    int64_t index[GROUP];
    int count;
} waiting;

/* Measures them and offers them to query i. */
static void
measure(const search *s, int64_t i, const void *query, waiting *w, double *scratch)
{
    const am_rows *rows = s->rows;
    double squares[GROUP];
    const void *group[GROUP];
    for (int g = 0; g < GROUP && w->count > 0; g++) {
        group[g] =
            g < w->count ? am_read_rows(rows, w->index[g], 1, scratch + g * rows->k) : group[0];
    }
    if (w->count > 0) {
        measure_group(s, query, group, squares);
    }
    for (int g = 0; g < w->count; g++) {
        am_top_offer(&s->lists[i], (am_ranked){-squares[g], w->index[g]});
    }
    w->count = 0;
}

static float
scaled(const search *s, const void *row, int64_t t)
{
    return (float)((lifted(s, row, t) - s->mean[t]) * s->scale);
}

static double
squared(const search *s, double norm)
{
    return norm * s->scale * s->scale;
}

static void *
slot_memory(const search *s, int slot)
{
    return s->scratch + slot * s->slot_size;
}

/* What no |x| of some rows exceeds, to their norms for now. */
static am_status
sizes_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    search *s = arg;
    const am_rows *rows = s->rows;
    const int is_double = rows->is_double;
    const int64_t stop = am_min_i64((chunk + 1) * QUERIES, rows->n);
    AM_TRY(am_check(s->control, slot, err));
    for (int64_t i = chunk * QUERIES; i < stop; i += GROUP) {
        const int64_t count = am_min_i64(GROUP, stop - i);
        const void *values = am_read_rows(rows, i, count, slot_memory(s, slot));
        if (!s->row_kernels->largest[is_double](s->norms + i, values, count, rows->k)) {
            AM_TRY(am_check_finite(rows, values, i, count, err));
        }
        const double lowest = s->row_kernels->lowest[is_double](values, count * rows->k);
        s->norms[i] = -lowest > s->norms[i] ? -lowest : s->norms[i];
    }
    return AM_OK;
}

static am_status
norms_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    search *s = arg;
    const int64_t stop = am_min_i64((chunk + 1) * QUERIES, s->rows->n);
    AM_TRY(am_check(s->control, slot, err));
    for (int64_t i = chunk * QUERIES; i < stop; i++) {
        const void *row = am_read_rows(s->rows, i, 1, slot_memory(s, slot));
        double sum = 0.0;
        for (int64_t t = 0; t < s->rows->k; t++) {
            const double x = lifted(s, row, t) - s->mean[t];
            sum += x * x;
        }
        s->norms[i] = sum;
    }
    return AM_OK;
}

/* One panel of the block. */
static am_status
pack_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    search *s = arg;
    const int64_t d = s->rows->k;
    float *panel = s->packed + chunk * AM_PANEL * d;
    AM_TRY(am_check(s->control, slot, err));
    for (int64_t lane = 0; lane < AM_PANEL; lane++) {
        const int64_t j = s->start + chunk * AM_PANEL + lane;
        if (j >= s->rows->n) {
            s->reach[chunk * AM_PANEL + lane] = (float)__builtin_inf();
            for (int64_t t = 0; t < d; t++) {
                panel[t * AM_PANEL + lane] = 0;
            }
            continue;
        }
        const void *row = am_read_rows(s->rows, j, 1, slot_memory(s, slot));
        s->reach[chunk * AM_PANEL + lane] = (float)(squared(s, s->norms[j]) * (1.0 - s->error));
        for (int64_t t = 0; t < d; t++) {
            panel[t * AM_PANEL + lane] = scaled(s, row, t);
        }
    }
    return AM_OK;
}

/* |b|^2 - 2 a b above this: b is not among the nearest of query i. Rows come by rising index, so
 * none enters a list of equal ones any more. */
static float
limit_of(const search *s, int64_t i)
{
    const am_top_list *list = &s->lists[i];
    if (list->count < list->k) {
        return (float)__builtin_inf();
    }
    if (list->best[0].score == 0) {
        return -(float)__builtin_inf();
    }
    const double farthest = squared(s, -list->best[0].score);
    const double norm = squared(s, s->norms[row_of(s, i)]);
    return (float)(farthest + s->floor - norm + s->error * (norm + farthest));
}

static void
try_panel(const search *s, int64_t i, const void *query, int64_t panel, const float *products,
          float *limit, waiting *w, double *scratch)
{
    const float *reach = s->reach + panel * AM_PANEL;
    const int64_t self = row_of(s, i);
    if (!s->row_kernels->any_within(reach, products, AM_PANEL, *limit)) {
        return;
    }
    for (int lane = 0; lane < AM_PANEL; lane++) {
        const int64_t j = s->start + panel * AM_PANEL + lane;
        if (j != self && j < s->rows->n && !(reach[lane] - 2 * products[lane] > *limit)) {
            w->index[w->count++] = j;
            if (w->count == GROUP) {
                measure(s, i, query, w, scratch);
                *limit = limit_of(s, i);
            }
        }
    }
}

/* QUERIES queries against the block. */
static am_status
search_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const search *s = arg;
    const am_rows *rows = s->rows;
    const int64_t d = rows->k, first = chunk * QUERIES;
    const int64_t count = am_min_i64(QUERIES, s->n_queries - first);
    const int64_t panels = am_ceil_div(am_min_i64(BLOCK, rows->n - s->start), AM_PANEL);
    double *one = slot_memory(s, slot), *others = one + d;
    float *tile = (float *)(others + GROUP * d), *queries = tile + QUERIES * AM_PANEL,
          limits[QUERIES];
    waiting wait[QUERIES];
    AM_TRY(am_check(s->control, slot, err));
    for (int64_t i = 0; i < count; i++) {
        const void *row = am_read_rows(rows, row_of(s, first + i), 1, one);
        wait[i].count = 0;
        for (int64_t t = 0; t < d; t++) {
            queries[i * d + t] = scaled(s, row, t);
        }
        limits[i] = limit_of(s, first + i);
    }
    for (int64_t panel = 0; panel < panels; panel++) {
        const am_gemm product = {
            .rows = count,
            .cols = AM_PANEL,
            .segments = 1,
            .steps = d,
            .a = queries,
            .row = d,
            .step = 1,
            .b = s->packed + panel * AM_PANEL * d,
            .c = tile,
            .c_row = AM_PANEL,
            .c_panel = AM_PANEL,
        };
        s->kernels->gemm(&product);
        for (int64_t i = 0; i < count; i++) {
            const void *query = am_read_rows(rows, row_of(s, first + i), 1, one);
            try_panel(s, first + i, query, panel, tile + i * AM_PANEL, &limits[i], &wait[i],
                      others);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        measure(s, first + i, am_read_rows(rows, row_of(s, first + i), 1, one), &wait[i], others);
    }
    return AM_OK;
}

static void
find_lift(search *s)
{
    const double largest = largest_of(s->norms, s->rows->n);
    for (s->lift = 0x1p1000; largest * s->lift > TOP; s->lift /= 2) {
    }
}

static void
find_mean(search *s)
{
    const int64_t sample = am_min_i64(SAMPLE, s->rows->n), d = s->rows->k;
    for (int64_t t = 0; t < d; t++) {
        s->mean[t] = 0.0;
    }
    for (int64_t i = 0; i < sample; i++) {
        const int64_t at = i * (s->rows->n / sample);
        const void *row = am_read_rows(s->rows, at, 1, slot_memory(s, 0));
        for (int64_t t = 0; t < d; t++) {
            s->mean[t] += lifted(s, row, t) / (double)sample;
        }
    }
}

/* Rounding of the matrix product: of its d products and sums, of both factors to float32, and of
 * the comparison, each at most a UNIT of |a| |b| <= (|a|^2 + |b|^2) / 2, twice. Where the numbers
 * are large and their differences small, subtracting the mean in float64 errs too; where
 * they are so small that squares lose bits, `shift` is so large that every pair is measured. */
static void
bound_errors(search *s)
{
    const double d = (double)s->rows->k;
    const double largest = largest_of(s->mean, s->rows->k);
    const double longest = root(largest_of(s->norms, s->rows->n));
    for (s->scale = 1.0; longest * s->scale > 1.0; s->scale /= 2) {
    }
    for (; longest > 0 && longest * s->scale < 0.5; s->scale *= 2) {
    }
    const double shift = 0x1p-51 * (largest + longest) * root(d) * s->scale;
    s->error = (d + 20.0) * UNIT * 1.01;
    s->floor = 8.0 * shift * (1.0 + shift) + d * 0x1p-120;
}

static am_status
search_all(search *s, int threads, am_error *err)
{
    const int64_t n = s->rows->n, chunks = am_ceil_div(s->n_queries, QUERIES);
    AM_TRY(am_parallel_for(am_ceil_div(n, QUERIES), threads, sizes_chunk, s, err));
    find_lift(s);
    find_mean(s);
    AM_TRY(am_parallel_for(am_ceil_div(n, QUERIES), threads, norms_chunk, s, err));
    bound_errors(s);
    for (s->start = 0; s->start < n; s->start += BLOCK) {
        const int64_t panels = am_ceil_div(am_min_i64(BLOCK, n - s->start), AM_PANEL);
        AM_TRY(am_parallel_for(panels, threads, pack_chunk, s, err));
        AM_TRY(am_parallel_for(chunks, threads, search_chunk, s, err));
    }
    return AM_OK;
}

static am_status
check_queries(const int64_t *queries, int64_t n_queries, int64_t n, am_error *err)
{
    for (int64_t i = 0; queries != NULL && i < n_queries; i++) {
        if (queries[i] < 0 || queries[i] >= n) {
            return am_fail(err, AM_ERR_VALUE, "queries: expected rows 0..%lld, got %lld at [%lld]",
                           (long long)(n - 1), (long long)queries[i], (long long)i);
        }
    }
    return AM_OK;
}

am_status
am_neighbours(const am_rows *rows, const int64_t *queries, int64_t n_queries, int64_t k,
              int64_t *indices, double *distances, int threads, am_control *control, am_error *err)
{
    const int64_t n = rows->n, d = rows->k;
    const int slots = am_slots(threads, am_ceil_div(n, AM_PANEL));
    int64_t size, lists, best;
    void *memory;
    if (k < 0 || k >= n) {
        return n == 0 && k == 0
                   ? AM_OK
                   : am_fail(err, AM_ERR_VALUE,
                             "k: expected 0..%lld, one less than there are rows, got %lld",
                             (long long)(n - 1), (long long)k);
    }
    AM_TRY(check_queries(queries, n_queries, n, err));
    if (k == 0 || n_queries == 0) {
        return AM_OK;
    }
    search s = {.rows = rows,
                .queries = queries,
                .n_queries = n_queries,
                .control = control,
                .kernels = am_get_kernels(),
                .row_kernels = am_get_row_kernels()};
    AM_TRY(am_mul_size(&size, d, (ROW_BYTES + QUERIES * 4) * AM_MAX_THREADS + BLOCK * 4, err));
    s.slot_size = d * (ROW_BYTES + QUERIES * 4) + QUERIES * AM_PANEL * 4;
    s.slot_size = am_ceil_div(s.slot_size, AM_ALIGNMENT) * AM_ALIGNMENT;
    AM_TRY(am_mul_size(&best, n_queries, k, err));
    AM_TRY(am_mul_size(&best, best, sizeof(am_ranked), err));
    AM_TRY(am_mul_size(&lists, n_queries, sizeof(am_top_list), err));
    AM_TRY(am_mul_size(&size, n, sizeof(double), err));
    /* Everything in one block, what must be aligned first. */
    const int64_t packed = BLOCK * d * 4, fixed = packed + slots * s.slot_size + BLOCK * 4 + d * 8;
    if (lists > INT64_MAX - size - fixed || best > INT64_MAX - lists - size - fixed) {
        return am_fail(err, AM_ERR_MEMORY, "could not allocate lists of %lld neighbours each",
                       (long long)k);
    }
    AM_TRY(am_alloc(&memory, 1, fixed + size + lists + best, err));
    char *at = memory;
    s.packed = (float *)at;
    s.scratch = at += packed;
    s.reach = (float *)(at += slots * s.slot_size);
    s.mean = (double *)(at += BLOCK * 4);
    s.norms = (double *)(at += d * 8);
    s.lists = (am_top_list *)(at += n * 8);
    am_ranked *room = (am_ranked *)(at + lists);
    for (int64_t i = 0; i < n_queries; i++) {
        s.lists[i] = (am_top_list){room + i * k, k, 0};
    }
    am_status status = search_all(&s, threads, err);
    for (int64_t i = 0; i < n_queries && status == AM_OK; i++) {
        am_top_sort(&s.lists[i]);
        for (int64_t j = 0; j < k; j++) {
            indices[i * k + j] = s.lists[i].best[j].index;
            distances[i * k + j] = root(-s.lists[i].best[j].score) / s.lift;
        }
    }
    am_free(memory);
    return status;
}
