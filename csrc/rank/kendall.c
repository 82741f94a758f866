#include "kendall.h"

#include <math.h>

#include "../base/alloc.h"

typedef struct pair {
    double x, y;
} pair;

typedef int (*pair_order)(pair a, pair b);

static int
before_by_both(pair a, pair b)
{
    return a.x < b.x || (a.x == b.x && a.y < b.y);
}

static int
before_by_y(pair a, pair b)
{
    return a.y < b.y;
}

static int
same_x(const pair *a, const pair *b)
{
    return a->x == b->x;
}

static int
same_y(const pair *a, const pair *b)
{
    return a->y == b->y;
}

static int
same_both(const pair *a, const pair *b)
{
    return a->x == b->x && a->y == b->y;
}

/* Merges from[start..middle) and from[middle..end), both in order. *exchanges += the pairs that
 * were strictly out of order. */
static am_status
merge(const pair *from, pair *to, int64_t start, int64_t middle, int64_t end, pair_order before,
      int64_t *exchanges, am_control *control, am_error *err)
{
    int64_t left = start, right = middle;
    for (int64_t at = start; at < end; at++) {
        if ((at & 0xffff) == 0) {
            AM_TRY(am_check(control, 0, err));
        }
        if (left < middle && (right == end || !before(from[right], from[left]))) {
            to[at] = from[left++];
        }
        else {
            *exchanges += middle - left;
            to[at] = from[right++];
        }
    }
    return AM_OK;
}

/* Stable, bottom up; *pairs and *spare change places as often as there are passes. */
static am_status
merge_sort(pair **pairs, pair **spare, int64_t n, pair_order before, int64_t *exchanges,
           am_control *control, am_error *err)
{
    *exchanges = 0;
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t start = 0; start < n; start += 2 * width) {
            const int64_t middle = am_min_i64(start + width, n);
            AM_TRY(merge(*pairs, *spare, start, middle, am_min_i64(middle + width, n), before,
                         exchanges, control, err));
        }
        pair *sorted = *spare;
        *spare = *pairs;
        *pairs = sorted;
    }
    return AM_OK;
}

static int64_t
pairs_among(int64_t n)
{
    return n % 2 == 0 ? n / 2 * (n - 1) : (n - 1) / 2 * n;
}

/* How many pairs are equal, of those in an order that puts equal ones beside each other. */
static int64_t
tied_pairs(const pair *sorted, int64_t n, int (*same)(const pair *, const pair *))
{
    int64_t ties = 0, run = 1;
    for (int64_t i = 1; i < n; i++) {
        run = same(&sorted[i - 1], &sorted[i]) ? run + 1 : 1;
        ties += run - 1;
    }
    return ties;
}

static am_status
count(pair *pairs, pair *spare, int64_t n, double *tau, am_control *control, am_error *err)
{
    int64_t discordant, unused;
    AM_TRY(merge_sort(&pairs, &spare, n, before_by_both, &unused, control, err));
    const int64_t in_x = tied_pairs(pairs, n, same_x), in_both = tied_pairs(pairs, n, same_both);
    AM_TRY(merge_sort(&pairs, &spare, n, before_by_y, &discordant, control, err));
    const int64_t in_y = tied_pairs(pairs, n, same_y), all = pairs_among(n);
    if (in_x == all || in_y == all) { /* also of none */
        *tau = __builtin_nan("");
        return AM_OK;
    }
    const int64_t ordered = (all - in_x) - (in_y - in_both); /* tied in neither */
    *tau = (double)(ordered - 2 * discordant) / sqrt((double)(all - in_x) * (double)(all - in_y));
    return AM_OK;
}

static am_status
check_numbers(const double *values, const char *name, int64_t n, am_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        if (values[i] != values[i]) {
            return am_fail(err, AM_ERR_VALUE, "%s: expected numbers, got NaN at index %lld", name,
                           (long long)i);
        }
    }
    return AM_OK;
}

am_status
am_kendall_tau(const double *x, const double *y, int64_t n, double *tau, am_control *control,
               am_error *err)
{
    void *memory;
    int64_t size;
    if (n > (int64_t)1 << 32) { /* the pairs would not fit 64 bits */
        return am_fail(err, AM_ERR_VALUE, "expected at most 2^32 numbers, got %lld", (long long)n);
    }
    AM_TRY(check_numbers(x, "x", n, err));
    AM_TRY(check_numbers(y, "y", n, err));
    AM_TRY(am_mul_size(&size, n, sizeof(pair), err));
    AM_TRY(am_alloc(&memory, 2, size, err));
    pair *pairs = memory;
    for (int64_t i = 0; i < n; i++) {
        pairs[i] = (pair){x[i], y[i]};
    }
    am_status status = count(pairs, pairs + n, n, tau, control, err);
    am_free(memory);
    return status;
}
