/* Every kernel of the table in force against plain loops in double precision. */
#include "am_test.h"

#include <math.h>

#include "am_buffers.h"

/* A float array off by 4 from any vector's alignment, between two guards. Its end is the end of the
 * heap block where `tail` is 0, so that the address sanitizer sees a read beyond it. */
#define GUARD 21

typedef struct guarded {
    float *block, *x;
    int64_t n, tail;
} guarded;

static guarded
make_guarded(int64_t n, int64_t tail, uint32_t seed)
{
    guarded g = {.block = am_nan_floats(GUARD + n + tail), .n = n, .tail = tail};
    g.x = g.block + GUARD;
    am_randomize(g.x, n, seed);
    return g;
}

static int
guards_hold(const guarded *g)
{
    const unsigned char *bytes = (const unsigned char *)g->block;
    const int64_t end = (GUARD + g->n + g->tail) * 4;
    int wrong = 0;
    for (int64_t i = 0; i < end; i++) {
        wrong += (i < GUARD * 4 || i >= (GUARD + g->n) * 4) && bytes[i] != 0xff;
    }
    return wrong == 0;
}

static int
same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* --- gemm ------------------------------------------------------------------------------------ */

enum start { FROM_ZERO, FROM_BIAS, FROM_C };
static const int64_t lengths[] = {0, 1, 2, 3, 7};

typedef struct product {
    am_gemm g;
    guarded a, c, bias;
    float *b;     /* aligned, zeros right of the lanes */
    float *c_old; /* as it was before */
} product;

static product
make_product(int64_t rows, int64_t segments, int64_t steps, int64_t lanes, int by_rows,
             enum start start, uint32_t seed)
{
    product p;
    const int64_t row = by_rows ? 1 : steps + 2; /* windows overlap, gaps are left */
    const int64_t step = by_rows ? rows + 3 : 1;
    const int64_t segment = by_rows ? steps * step + 1 : 5;
    const int64_t c_row = lanes + (seed % 3);
    const int64_t depth = segments * steps;
    const int64_t last = (rows - 1) * row + (segments - 1) * segment + (steps - 1) * step;
    const int64_t a_size = rows * depth == 0 ? 0 : last + 1;
    p.a = make_guarded(a_size, 0, seed);
    p.c = make_guarded(rows == 0 ? 0 : (rows - 1) * c_row + lanes, GUARD, seed + 1);
    p.bias = make_guarded(lanes, 0, seed + 2);
    p.c_old = am_floats(p.c.n);
    memcpy(p.c_old, p.c.x, (size_t)p.c.n * sizeof(float));
    p.b = aligned_alloc(AM_ALIGNMENT, (size_t)(depth > 0 ? depth : 1) * AM_PANEL * sizeof(float));
    uint32_t state = seed + 3;
    for (int64_t i = 0; i < depth * AM_PANEL; i++) {
        p.b[i] = i % AM_PANEL < lanes ? am_next(&state) : 0.0f;
    }
    p.g = (am_gemm){
        .rows = rows,
        .segments = segments,
        .steps = steps,
        .a = p.a.x,
        .row = row,
        .segment = segment,
        .step = step,
        .b = p.b,
        .c = p.c.x,
        .c_row = c_row,
        .lanes = lanes,
        .bias = start == FROM_BIAS ? p.bias.x : NULL,
        .accumulate = start == FROM_C,
    };
    return p;
}

static void
free_product(product *p)
{
    free(p->a.block);
    free(p->c.block);
    free(p->bias.block);
    free(p->b);
    free(p->c_old);
}

/* How many outputs are wrong, numbers between the rows of C that changed among them. */
static int
count_wrong(const product *p)
{
    const am_gemm *g = &p->g;
    int wrong = 0;
    for (int64_t r = 0; r < g->rows; r++) {
        for (int64_t j = 0; j < g->c_row && r * g->c_row + j < p->c.n; j++) {
            const float got = g->c[r * g->c_row + j], old = p->c_old[r * g->c_row + j];
            if (j >= g->lanes) {
                wrong += !same_bits(got, old);
                continue;
            }
            double exact = g->bias != NULL ? g->bias[j] : g->accumulate ? old : 0.0;
            double size = fabs(exact);
            for (int64_t s = 0; s < g->segments; s++) {
                for (int64_t k = 0; k < g->steps; k++) {
                    const double term = (double)g->a[r * g->row + s * g->segment + k * g->step] *
                                        g->b[(s * g->steps + k) * AM_PANEL + j];
                    exact += term;
                    size += fabs(term);
                }
            }
            wrong += !am_sum_is_right(got, exact, size, g->segments * g->steps);
        }
    }
    return wrong + !guards_hold(&p->c);
}

static void
check_gemm(int64_t rows, int64_t segments, int64_t steps, int64_t lanes)
{
    for (int i = 0; i < 6; i++) {
        product p = make_product(rows, segments, steps, lanes, i / 3, (enum start)(i % 3),
                                 (uint32_t)(rows * 977 + segments * 31 + steps * 7 + lanes + i));
        am_get_kernels()->gemm(&p.g);
        const int wrong = count_wrong(&p);
        if (wrong > 0) {
            AM_FAILED("gemm: %d wrong: rows %d, segments %d, steps %d, lanes %d, variant %d", wrong,
                      (int)rows, (int)segments, (int)steps, (int)lanes, i);
        }
        free_product(&p);
    }
}

AM_TEST(gemm_of_all_sizes_around_a_tile)
{
    for (int64_t rows = 1; rows <= 13; rows++) {
        for (int64_t lanes = 1; lanes <= AM_PANEL; lanes++) {
            for (int64_t s = 0; s < COUNT(lengths); s++) {
                for (int64_t k = 0; k < COUNT(lengths); k++) {
                    check_gemm(rows, lengths[s], lengths[k], lanes);
                }
            }
        }
    }
}

AM_TEST(gemm_of_many_rows_and_of_long_sums)
{
    static const int64_t rows[] = {0, 23, 24, 25, 48, 49, 75};
    for (int64_t i = 0; i < COUNT(rows); i++) {
        for (int64_t lanes = 13; lanes <= AM_PANEL; lanes++) {
            check_gemm(rows[i], 2, 5, lanes);
            check_gemm(rows[i], 1, 300, lanes);
        }
    }
}

/* Every number rounded as the definition says: one accumulator that walks its terms in order. */
AM_TEST(strict_gives_the_bits_of_the_definition_on_every_instruction_set)
{
    const char *isa = am_isa_name(), *names[8];
    const int strict = am_get_strict(), n_names = am_isa_available(names);
    am_set_strict(1);
    for (int n = 0; n < n_names; n++) {
        AM_CHECK_OK(am_select_isa(names[n], &err));
        for (int64_t lanes = 1; lanes <= AM_PANEL; lanes++) {
            for (int64_t rows = 1; rows <= 27; rows++) {
                product p = make_product(rows, 3, 7, lanes, (int)(rows + lanes) % 2,
                                         (enum start)(rows % 3), (uint32_t)(rows * 100 + lanes));
                const am_gemm *g = &p.g;
                am_get_kernels()->gemm(g);
                int wrong = 0;
                for (int64_t i = 0; i < rows * lanes; i++) {
                    const int64_t r = i / lanes, j = i % lanes;
                    const float *a = g->a + r * g->row, *b = g->b + j;
                    float sum = g->bias != NULL ? g->bias[j]
                                : g->accumulate ? p.c_old[r * g->c_row + j]
                                                : 0.0f;
                    for (int64_t t = 0; t < 21; t++) {
                        const float term =
                            a[t / 7 * g->segment + t % 7 * g->step] * b[t * AM_PANEL];
                        sum += term;
                    }
                    wrong += !same_bits(sum, g->c[r * g->c_row + j]);
                }
                if (wrong > 0) {
                    AM_FAILED("%s: %d of %d x %d differ", names[n], wrong, (int)rows, (int)lanes);
                }
                free_product(&p);
            }
        }
    }
    AM_CHECK_OK(am_select_isa(isa, &err));
    am_set_strict(strict);
}

/* (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 where the product is not rounded first, and 0 where it is.
 */
AM_TEST(strict_decides_about_fused_multiply_add)
{
    const int strict = am_get_strict();
    const int can_fuse = strcmp(am_isa_name(), "baseline") != 0;
    for (int mode = 0; mode < 2; mode++) {
        product p = make_product(6, 1, 1, AM_PANEL, 0, FROM_BIAS, 1);
        am_set_strict(mode);
        for (int j = 0; j < AM_PANEL; j++) {
            p.b[j] = 1.0f + 0x1p-12f;
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
        guarded x = make_guarded(n, 0, (uint32_t)n), y = make_guarded(n, GUARD, 1);
        guarded in_place = make_guarded(n, GUARD, (uint32_t)n);
        add_special(x.x, n);
        add_special(in_place.x, n);
        am_get_kernels()->relu(y.x, x.x, n);
        am_get_kernels()->relu(in_place.x, in_place.x, n);
        for (int64_t i = 0; i < n; i++) {
            const float v = x.x[i];
            AM_CHECK(v != v ? y.x[i] != y.x[i] : y.x[i] == (v > 0 ? v : 0.0f));
            AM_CHECK(same_bits(y.x[i], in_place.x[i]));
        }
        AM_CHECK(guards_hold(&y) && guards_hold(&in_place));
        free(x.block);
        free(y.block);
        free(in_place.block);
    }
}

AM_TEST(relu_gradient)
{
    for (int64_t n = 0; n < 70; n++) {
        guarded dy = make_guarded(n, 0, 3), y = make_guarded(n, 0, 4),
                dx = make_guarded(n, GUARD, 5);
        add_special(y.x, n);
        am_get_kernels()->relu_gradient(dx.x, dy.x, y.x, n);
        for (int64_t i = 0; i < n; i++) {
            AM_CHECK(dx.x[i] == (y.x[i] > 0 ? dy.x[i] : 0.0f));
        }
        AM_CHECK(guards_hold(&dx));
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
        guarded x = make_guarded(n, 0, 3), y = make_guarded(n, GUARD, 5);
        uint8_t *keep = am_bytes(n);
        for (int64_t i = 0; i < n; i++) {
            keep[i] = (i * i + n) % 3 > 0;
            x.x[i] = keep[i] ? x.x[i] : NAN; /* dropped is 0, not 0 * x */
        }
        am_get_kernels()->mask(y.x, x.x, keep, 1.25f, n);
        for (int64_t i = 0; i < n; i++) {
            AM_CHECK(y.x[i] == (keep[i] ? 1.25f * x.x[i] : 0.0f));
        }
        AM_CHECK(guards_hold(&y));
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
        guarded x = make_guarded(n, 0, 3), sum = make_guarded(n, GUARD, 5);
        float *old = am_random_floats(n, 5);
        am_get_kernels()->add(sum.x, x.x, n);
        for (int64_t i = 0; i < n; i++) {
            AM_CHECK(sum.x[i] == old[i] + x.x[i]);
        }
        AM_CHECK(guards_hold(&sum));
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
            guarded y = make_guarded(n, GUARD, 5);
            uint8_t *x = am_bytes(n + shift);
            memcpy(x + shift, all, (size_t)n);
            am_get_kernels()->scale_u8(y.x, x + shift, n);
            for (int64_t i = 0; i < n; i++) {
                AM_CHECK(y.x[i] == (float)((double)i / 255.0));
            }
            AM_CHECK(guards_hold(&y));
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
    guarded x = make_guarded(n, 0, seed), y = make_guarded(m, GUARD, 1),
            dx = make_guarded(n, GUARD, 2);
    guarded dy = make_guarded(m, 0, seed + 1);
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
    wrong += !guards_hold(&y) + !guards_hold(&dx);
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
            guarded part[PARTS];
            float *old[PARTS];
            for (int i = 0; i < PARTS; i++) {
                part[i] = make_guarded(n, i == G ? 0 : GUARD, (uint32_t)(n * 4 + i));
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
                AM_CHECK(same_bits(g[i], old[G][i]));
                AM_CHECK(which == 2 || same_bits(m[i], old[M][i]));
            }
            for (int i = 0; i < PARTS; i++) {
                AM_CHECK(guards_hold(&part[i]));
                free(part[i].block);
                free(old[i]);
            }
        }
    }
}
