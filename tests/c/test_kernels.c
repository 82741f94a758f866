/* The kernels of the table in force against plain loops in double precision; the fused blocks and
 * the sampled product have files of their own. */
#include "am_test.h"

#include <math.h>

#include "am_buffers.h"
#include "am_modes.h"

/* --- gemm ------------------------------------------------------------------------------------ */

/* How a product starts, how A lies in memory, and whether C is cut into panels. */
enum start { FROM_ZERO, FROM_BIAS, FROM_C };
#define VARIANTS 12
static const int64_t lengths[] = {0, 1, 2, 3, 7};
static const int64_t wide[] = {16, 17, 31, 32, 33, 48, 75, 128};

typedef struct product {
    am_gemm g;
    am_guarded a, b, c, bias; /* b: zeros right of the columns, NaN between the panels */
    float *c_old;             /* as it was before */
} product;

static product
make_product(int64_t rows, int64_t segments, int64_t steps, int64_t cols, int variant,
             uint32_t seed)
{
    product p;
    const enum start start = (enum start)(variant % 3);
    const int by_rows = variant / 3 % 2, cut = variant / 6;
    const int64_t row = by_rows ? 1 : steps + 2; /* windows overlap, gaps are left */
    const int64_t step = by_rows ? rows + 3 : 1;
    const int64_t segment = by_rows ? steps * step + 1 : 5;
    const int64_t c_row = (cut ? AM_PANEL : cols) + (seed % 3);
    const int64_t c_panel = cut ? rows * c_row + 5 : AM_PANEL;
    const int64_t depth = segments * steps, b_panel = (depth + seed % 2) * AM_PANEL;
    const int64_t last = (rows - 1) * row + (segments - 1) * segment + (steps - 1) * step;
    const int64_t a_size = rows * depth == 0 ? 0 : last + 1;
    const int64_t j = cols - 1; /* the last column */
    const int64_t c_size = (rows - 1) * c_row + j / AM_PANEL * c_panel + j % AM_PANEL + 1;
    p.a = am_make_guarded(a_size, 0, seed);
    p.c = am_make_guarded(rows == 0 ? 0 : c_size, AM_GUARD, seed + 1);
    p.bias = am_make_guarded(cols, 0, seed + 2);
    p.c_old = am_floats(p.c.n);
    memcpy(p.c_old, p.c.x, (size_t)p.c.n * sizeof(float));
    p.b = am_make_aligned(j / AM_PANEL * b_panel + depth * AM_PANEL, 0);
    uint32_t state = seed + 3;
    for (int64_t i = 0; i < p.b.n; i++) {
        if (i % b_panel < depth * AM_PANEL) {
            p.b.x[i] = i / b_panel * AM_PANEL + i % AM_PANEL < cols ? am_next(&state) : 0.0f;
        }
    }
    p.g = (am_gemm){
        .rows = rows,
        .cols = cols,
        .segments = segments,
        .steps = steps,
        .a = p.a.x,
        .row = row,
        .segment = segment,
        .step = step,
        .b = p.b.x,
        .b_panel = b_panel,
        .c = p.c.x,
        .c_row = c_row,
        .c_panel = c_panel,
        .bias = start == FROM_BIAS ? p.bias.x : NULL,
        .accumulate = start == FROM_C,
    };
    return p;
}

static void
free_product(product *p)
{
    free(p->a.block);
    free(p->b.block);
    free(p->c.block);
    free(p->bias.block);
    free(p->c_old);
}

/* Places in C and in the rows of B. */
static int64_t
place_in_c(const am_gemm *g, int64_t r, int64_t j)
{
    return r * g->c_row + j / AM_PANEL * g->c_panel + j % AM_PANEL;
}

static int64_t
place_in_b(const am_gemm *g, int64_t j)
{
    return j / AM_PANEL * g->b_panel + j % AM_PANEL;
}

/* Whether C[r][j] is the sum of its terms; NaN where one of them is. */
static int
is_right(const product *p, int64_t r, int64_t j)
{
    const am_gemm *g = &p->g;
    const float got = g->c[place_in_c(g, r, j)], old = p->c_old[place_in_c(g, r, j)];
    const float *b = g->b + place_in_b(g, j);
    double exact = g->bias != NULL ? g->bias[j] : g->accumulate ? old : 0.0;
    double size = fabs(exact);
    for (int64_t s = 0; s < g->segments; s++) {
        for (int64_t k = 0; k < g->steps; k++, b += AM_PANEL) {
            const double a = g->a[r * g->row + s * g->segment + k * g->step], term = a * *b;
            exact += term;
            size += fabs(term);
        }
    }
    return isnan(exact) ? isnan(got) : am_sum_is_right(got, exact, size, g->segments * g->steps);
}

/* How many outputs are wrong, numbers between the rows of C that changed among them. */
static int
count_wrong(const product *p)
{
    const am_gemm *g = &p->g;
    int wrong = 0;
    char *is_output = calloc(1, (size_t)p->c.n + 1);
    for (int64_t i = 0; i < g->rows * g->cols; i++) {
        is_output[place_in_c(g, i / g->cols, i % g->cols)] = 1;
        wrong += !is_right(p, i / g->cols, i % g->cols);
    }
    for (int64_t i = 0; i < p->c.n; i++) {
        wrong += !is_output[i] && !am_same_bits(p->c.x[i], p->c_old[i]);
    }
    free(is_output);
    return wrong + !am_guards_hold(&p->c);
}

static void
check_gemm(int64_t rows, int64_t segments, int64_t steps, int64_t cols)
{
    for (int i = 0; i < VARIANTS; i++) {
        product p = make_product(rows, segments, steps, cols, i,
                                 (uint32_t)(rows * 977 + segments * 31 + steps * 7 + cols + i));
        am_get_kernels()->gemm(&p.g);
        const int wrong = count_wrong(&p);
        if (wrong > 0) {
            AM_FAILED("gemm: %d wrong: rows %d, segments %d, steps %d, cols %d, variant %d", wrong,
                      (int)rows, (int)segments, (int)steps, (int)cols, i);
        }
        free_product(&p);
    }
}

AM_TEST(gemm_of_all_sizes_around_a_tile)
{
    for (int64_t rows = 1; rows <= 13; rows++) {
        for (int64_t cols = 1; cols <= AM_PANEL; cols++) {
            for (int64_t s = 0; s < COUNT(lengths); s++) {
                for (int64_t k = 0; k < COUNT(lengths); k++) {
                    check_gemm(rows, lengths[s], lengths[k], cols);
                }
            }
        }
    }
}

AM_TEST(gemm_of_several_panels)
{
    for (int64_t rows = 0; rows <= 27; rows++) {
        for (int64_t j = 0; j < COUNT(wide); j++) {
            check_gemm(rows, 1, 3, wide[j]);
            check_gemm(rows, 3, 2, wide[j]);
        }
    }
}

AM_TEST(gemm_of_many_rows_and_of_long_sums)
{
    static const int64_t rows[] = {0, 23, 24, 25, 48, 49, 75};
    for (int64_t i = 0; i < COUNT(rows); i++) {
        for (int64_t cols = 13; cols <= AM_PANEL + 1; cols++) {
            check_gemm(rows[i], 2, 5, cols);
            check_gemm(rows[i], 1, 300, cols);
        }
    }
}

/* Replaces `zeros` of a hundred numbers of A by 0, now and then -0. */
static void
add_zeros(product *p, int zeros, uint32_t seed)
{
    uint32_t state = seed;
    for (int64_t i = 0; i < p->a.n; i++) {
        if (50 * (am_next(&state) + 1) < (float)zeros) {
            p->a.x[i] = i % 7 == 0 ? -0.0f : 0.0f;
        }
    }
}

/* Terms with a zero are left out, and nobody can tell. */
static void
check_sparse(int64_t rows, int64_t steps, int64_t cols, int zeros, int variant, int nan)
{
    product p = make_product(rows, 1, steps, cols, variant, (uint32_t)(rows + steps + zeros));
    add_zeros(&p, zeros, (uint32_t)(rows * steps + cols));
    if (nan && p.a.n > 0) {
        p.a.x[p.a.n / 2] = p.a.x[p.a.n - 1] = NAN;
    }
    float *dense = am_floats(p.c.n);
    am_get_kernels()->gemm(&p.g);
    memcpy(dense, p.c.x, (size_t)p.c.n * sizeof(float));
    memcpy(p.c.x, p.c_old, (size_t)p.c.n * sizeof(float));
    p.g.sparse = 1;
    am_get_kernels()->gemm(&p.g);
    const int same = am_same_floats(dense, p.c.x, p.c.n), wrong = count_wrong(&p);
    if (!same || wrong > 0) {
        AM_FAILED(
            "sparse: %d wrong, same bits %d: rows %d, steps %d, cols %d, zeros %d, "
            "variant %d, nan %d",
            wrong, same, (int)rows, (int)steps, (int)cols, zeros, variant, nan);
    }
    free(dense);
    free_product(&p);
}

static const int shares[] = {0, 30, 60, 75, 95, 100};

AM_TEST(sparse_gemm_gives_the_bits_of_the_dense_one)
{
    static const int64_t rows[] = {0, 1, 3, 4, 15, 16, 33}, steps[] = {0, 1, 15, 16, 63, 64};
    for (int64_t i = 0; i < COUNT(rows) * COUNT(steps) * COUNT(shares) * COUNT(wide); i++) {
        const int64_t r = i % COUNT(rows), k = i / COUNT(rows) % COUNT(steps);
        const int64_t s = i / COUNT(rows) / COUNT(steps) % COUNT(shares);
        const int64_t j = i / COUNT(rows) / COUNT(steps) / COUNT(shares);
        check_sparse(rows[r], steps[k], wide[j], shares[s], (int)(i * 5 % VARIANTS), i % 4 == 0);
    }
}

/* More rows and steps than one block holds. */
AM_TEST(sparse_gemm_of_several_blocks)
{
    static const int64_t sizes[][2] = {{64, 65}, {65, 64}, {130, 200}, {67, 129}, {2, 500}};
    for (int i = 0; i < COUNT(sizes) * COUNT(shares) * VARIANTS; i++) {
        const int64_t *size = sizes[i % COUNT(sizes)];
        const int share = shares[i / COUNT(sizes) % COUNT(shares)];
        check_sparse(size[0], size[1], 48, share, i / COUNT(sizes) / COUNT(shares), i % 4 == 0);
    }
}

static void
sparse_product(void *out, const void *zeros)
{
    product p = make_product(67, 1, 130, 80, FROM_BIAS, 3);
    add_zeros(&p, *(const int *)zeros, 8);
    p.g.sparse = 1;
    am_get_kernels()->gemm(&p.g);
    memcpy(out, p.c.x, (size_t)p.c.n * sizeof(float));
    free_product(&p);
}

AM_TEST(sparse_gemm_gives_the_same_bits_on_all_instruction_sets)
{
    product p = make_product(67, 1, 130, 80, FROM_BIAS, 3);
    for (int64_t i = 0; i < COUNT(shares); i++) {
        am_check_same_bits("sparse gemm", sparse_product, &shares[i],
                           p.c.n * (int64_t)sizeof(float));
    }
    free_product(&p);
}

/* Every number rounded as the definition says: one accumulator that walks its terms in order. */
AM_TEST(strict_gives_the_bits_of_the_definition_on_every_instruction_set)
{
    am_mode modes[AM_MODES];
    const am_mode before = am_mode_in_force();
    for (int m = 0, n = am_list_modes(modes); m < n; m++) {
        if (!modes[m].strict) {
            continue;
        }
        am_enter_mode(&modes[m]);
        for (int64_t i = 0; i < (AM_PANEL + COUNT(wide)) * 27; i++) {
            const int64_t rows = i % 27 + 1, number = i / 27;
            const int64_t cols = number < AM_PANEL ? number + 1 : wide[number - AM_PANEL];
            product p = make_product(rows, 3, 7, cols, (int)((rows + cols) % VARIANTS),
                                     (uint32_t)(rows * 100 + cols));
            const am_gemm *g = &p.g;
            am_get_kernels()->gemm(g);
            int wrong = 0;
            for (int64_t o = 0; o < rows * cols; o++) {
                const int64_t r = o / cols, j = o % cols;
                const float *a = g->a + r * g->row, *b = g->b + place_in_b(g, j);
                float sum = g->bias != NULL ? g->bias[j]
                            : g->accumulate ? p.c_old[place_in_c(g, r, j)]
                                            : 0.0f;
                for (int64_t t = 0; t < 21; t++) {
                    const float term = a[t / 7 * g->segment + t % 7 * g->step] * b[t * AM_PANEL];
                    sum += term;
                }
                wrong += !am_same_bits(sum, g->c[place_in_c(g, r, j)]);
            }
            if (wrong > 0) {
                AM_FAILED("%s: %d of %d x %d differ", modes[m].isa, wrong, (int)rows, (int)cols);
            }
            free_product(&p);
        }
    }
    am_enter_mode(&before);
}

/* (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 where the product is not rounded first, and 0 where it is.
 */
AM_TEST(strict_decides_about_fused_multiply_add)
{
    const int strict = am_get_strict();
    const int can_fuse = strcmp(am_isa_name(), "baseline") != 0;
    for (int mode = 0; mode < 2; mode++) {
        product p = make_product(6, 1, 1, AM_PANEL, FROM_BIAS, 1);
        am_set_strict(mode);
        for (int j = 0; j < AM_PANEL; j++) {
            p.b.x[j] = 1.0f + 0x1p-12f;
            p.bias.x[j] = -1.0f - 0x1p-11f;
        }
        for (int64_t i = 0; i < p.a.n; i++) {
            p.a.x[i] = 1.0f + 0x1p-12f;
        }
        am_get_kernels()->gemm(&p.g);
        for (int64_t i = 0; i < 6 * AM_PANEL; i++) {
            AM_CHECK_NEAR(p.g.c[i / AM_PANEL * p.g.c_row + i % AM_PANEL],
                          can_fuse && !mode ? 0x1p-24 : 0.0, 0.0);
        }
        free_product(&p);
    }
    am_set_strict(strict);
}

/* --- one number at a time -------------------------------------------------------------------- */

/* Replaces some numbers by those that comparisons treat in a special way. */
static void
add_special(float *x, int64_t n)
{
    static const float special[] = {0.0f, -0.0f, NAN, INFINITY, -INFINITY, 1e-40f, -1e-40f};
    for (int64_t i = 0; i < n; i += 3) {
        x[i] = special[(i / 3) % COUNT(special)];
    }
}

AM_TEST(relu_keeps_nan)
{
    for (int64_t n = 0; n < 70; n++) {
        am_guarded x = am_make_guarded(n, 0, (uint32_t)n), y = am_make_guarded(n, AM_GUARD, 1);
        am_guarded in_place = am_make_guarded(n, AM_GUARD, (uint32_t)n);
        add_special(x.x, n);
        add_special(in_place.x, n);
        am_get_kernels()->relu(y.x, x.x, n);
        am_get_kernels()->relu(in_place.x, in_place.x, n);
        for (int64_t i = 0; i < n; i++) {
            const float v = x.x[i];
            AM_CHECK(v != v ? y.x[i] != y.x[i] : y.x[i] == (v > 0 ? v : 0.0f));
            AM_CHECK(am_same_bits(y.x[i], in_place.x[i]));
        }
        AM_CHECK(am_guards_hold(&y) && am_guards_hold(&in_place));
        free(x.block);
        free(y.block);
        free(in_place.block);
    }
}

AM_TEST(relu_gradient)
{
    for (int64_t n = 0; n < 70; n++) {
        am_guarded dy = am_make_guarded(n, 0, 3), y = am_make_guarded(n, 0, 4),
                   dx = am_make_guarded(n, AM_GUARD, 5);
        add_special(y.x, n);
        am_get_kernels()->relu_gradient(dx.x, dy.x, y.x, n);
        for (int64_t i = 0; i < n; i++) {
            AM_CHECK(dx.x[i] == (y.x[i] > 0 ? dy.x[i] : 0.0f));
        }
        AM_CHECK(am_guards_hold(&dx));
        memcpy(dx.x, dy.x, (size_t)n * sizeof(float));
        am_get_kernels()->relu_gradient(dy.x, dy.x, y.x, n); /* in place */
        for (int64_t i = 0; i < n; i++) {
            AM_CHECK(dy.x[i] == (y.x[i] > 0 ? dx.x[i] : 0.0f));
        }
        free(dy.block);
        free(y.block);
        free(dx.block);
    }
}

AM_TEST(mask)
{
    for (int64_t n = 0; n < 70; n++) {
        am_guarded x = am_make_guarded(n, 0, 3), y = am_make_guarded(n, AM_GUARD, 5);
        uint8_t *keep = am_bytes(n);
        for (int64_t i = 0; i < n; i++) {
            keep[i] = (i * i + n) % 3 > 0;
            x.x[i] = keep[i] ? x.x[i] : NAN; /* dropped is 0, not 0 * x */
        }
        am_get_kernels()->mask(y.x, x.x, keep, 1.25f, n);
        for (int64_t i = 0; i < n; i++) {
            AM_CHECK(y.x[i] == (keep[i] ? 1.25f * x.x[i] : 0.0f));
        }
        AM_CHECK(am_guards_hold(&y));
        am_get_kernels()->mask(x.x, x.x, keep, 1.25f, n); /* in place */
        AM_CHECK(memcmp(x.x, y.x, (size_t)n * sizeof(float)) == 0);
        free(x.block);
        free(y.block);
        free(keep);
    }
}

AM_TEST(add)
{
    for (int64_t n = 0; n < 70; n++) {
        am_guarded x = am_make_guarded(n, 0, 3), sum = am_make_guarded(n, AM_GUARD, 5);
        float *old = am_random_floats(n, 5);
        am_get_kernels()->add(sum.x, x.x, n);
        for (int64_t i = 0; i < n; i++) {
            AM_CHECK(sum.x[i] == old[i] + x.x[i]);
        }
        AM_CHECK(am_guards_hold(&sum));
        free(x.block);
        free(sum.block);
        free(old);
    }
}

AM_TEST(scale_u8_rounds_every_byte_correctly)
{
    uint8_t all[256 + 3];
    for (int i = 0; i < 259; i++) {
        all[i] = (uint8_t)i;
    }
    for (int64_t n = 0; n <= 256; n = n < 40 ? n + 1 : n + 24) {
        for (int shift = 0; shift < 3; shift++) {
            am_guarded y = am_make_guarded(n, AM_GUARD, 5);
            uint8_t *x = am_bytes(n + shift);
            memcpy(x + shift, all, (size_t)n);
            am_get_kernels()->scale_u8(y.x, x + shift, n);
            for (int64_t i = 0; i < n; i++) {
                AM_CHECK(y.x[i] == (float)((double)i / 255.0));
            }
            AM_CHECK(am_guards_hold(&y));
            free(x);
            free(y.block);
        }
    }
    float y[256];
    am_get_kernels()->scale_u8(y, all, 256);
    AM_CHECK(y[0] == 0.0f && y[255] == 1.0f && y[254] < 1.0f);
}

/* --- max-pool -------------------------------------------------------------------------------- */

static int64_t
corner(const am_pool_shape *s, int64_t oy, int64_t ox, int64_t c, int i)
{
    return ((2 * oy + i / 2) * s->w + 2 * ox + i % 2) * s->c + c;
}

static void
check_maxpool(const am_pool_shape *s, int tied, uint32_t seed)
{
    const int64_t n = s->h * s->w * s->c, out_h = s->h / 2, out_w = s->w / 2,
                  m = out_h * out_w * s->c;
    am_guarded x = am_make_guarded(n, 0, seed), y = am_make_guarded(m, AM_GUARD, 1),
               dx = am_make_guarded(n, AM_GUARD, 2);
    am_guarded dy = am_make_guarded(m, 0, seed + 1);
    uint8_t *argmax = am_bytes(m + 1), *exact = am_bytes(m);
    float *expected = am_floats(n);
    memset(argmax, 0xa5, (size_t)m + 1);
    memset(expected, 0, (size_t)n * sizeof(float));
    for (int64_t i = 0; i < n && tied; i++) {
        x.x[i] = floorf(x.x[i] * 1.5f); /* -2 .. 1: most windows have equals */
    }
    am_get_kernels()->maxpool(y.x, argmax, x.x, s);
    int wrong = argmax[m] != 0xa5;
    for (int64_t o = 0; o < m; o++) {
        const int64_t oy = o / s->c / out_w, ox = o / s->c % out_w, c = o % s->c;
        int best = 0;
        for (int i = 1; i < 4; i++) {
            best = x.x[corner(s, oy, ox, c, i)] > x.x[corner(s, oy, ox, c, best)] ? i : best;
        }
        wrong += argmax[o] != best || y.x[o] != x.x[corner(s, oy, ox, c, best)];
        exact[o] = (uint8_t)best;
        expected[corner(s, oy, ox, c, best)] = dy.x[o];
    }
    am_get_kernels()->maxpool_gradient(dx.x, dy.x, exact, s);
    for (int64_t i = 0; i < n; i++) {
        wrong += !(dx.x[i] == expected[i]);
    }
    wrong += !am_guards_hold(&y) + !am_guards_hold(&dx);
    if (wrong > 0) {
        AM_FAILED("maxpool: %d wrong: %d x %d x %d, tied %d", wrong, (int)s->h, (int)s->w,
                  (int)s->c, tied);
    }
    free(x.block);
    free(y.block);
    free(dx.block);
    free(dy.block);
    free(argmax);
    free(exact);
    free(expected);
}

AM_TEST(maxpool_of_odd_and_even_sizes_takes_the_first_of_equals)
{
    for (int64_t h = 1; h <= 5; h++) {
        for (int64_t w = 1; w <= 5; w++) {
            for (int64_t c = 1; c <= 35; c++) {
                const am_pool_shape shape = {h, w, c};
                check_maxpool(&shape, 0, (uint32_t)(h * 100 + w * 40 + c));
                check_maxpool(&shape, 1, (uint32_t)(h * 100 + w * 40 + c));
            }
        }
    }
}

/* --- optimizers ------------------------------------------------------------------------------ */

enum { W, G, M, V, PARTS };
#define NEAR(got, expected) AM_CHECK_NEAR(got, expected, 1e-6 * (1 + fabs(expected)))

AM_TEST(optimizer_steps_follow_their_formulas)
{
    const am_kernels *kernels = am_get_kernels();
    for (int64_t n = 0; n < 40; n++) {
        for (int which = 0; which < 3; which++) {
            am_guarded part[PARTS];
            float *old[PARTS];
            for (int i = 0; i < PARTS; i++) {
                part[i] = am_make_guarded(n, i == G ? 0 : AM_GUARD, (uint32_t)(n * 4 + i));
                old[i] = am_floats(n);
                for (int64_t j = 0; j < n && i == V && which > 0; j++) {
                    part[i].x[j] *= part[i].x[j]; /* a mean of squares */
                }
                memcpy(old[i], part[i].x, (size_t)n * sizeof(float));
            }
            float *w = part[W].x, *g = part[G].x, *m = part[M].x, *v = part[V].x;
            if (which == 0) {
                kernels->sgd(w, g, v, n, 0.125f, 0.75f);
            }
            else if (which == 1) {
                kernels->rmsprop(w, g, v, n, 0.125f, 0.75f, 0x1p-10f);
            }
            else {
                kernels->adam(w, g, m, v, n, 0.125f, 0.75f, 0.875f, 2.0f, 0x1p-10f);
            }
            for (int64_t i = 0; i < n; i++) {
                const double w0 = old[W][i], g0 = old[G][i], m0 = old[M][i], v0 = old[V][i];
                if (which == 0) {
                    const double speed = 0.75 * v0 - 0.125 * g0;
                    NEAR(v[i], speed);
                    NEAR(w[i], w0 + 0.75 * speed - 0.125 * g0);
                }
                else if (which == 1) {
                    const double mean = 0.75 * v0 + 0.25 * g0 * g0;
                    NEAR(v[i], mean);
                    NEAR(w[i], w0 - 0.125 * g0 / (sqrt(mean) + 0x1p-10));
                }
                else {
                    const double mean = 0.75 * m0 + 0.25 * g0,
                                 square = 0.875 * v0 + 0.125 * g0 * g0;
                    NEAR(m[i], mean);
                    NEAR(v[i], square);
                    NEAR(w[i], w0 - 0.125 * mean / (sqrt(2 * square) + 0x1p-10));
                }
                AM_CHECK(am_same_bits(g[i], old[G][i]));
                AM_CHECK(which == 2 || am_same_bits(m[i], old[M][i]));
            }
            for (int i = 0; i < PARTS; i++) {
                AM_CHECK(am_guards_hold(&part[i]));
                free(part[i].block);
                free(old[i]);
            }
        }
    }
}
