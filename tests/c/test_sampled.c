/* The sampled product and the transposition of a panel against their definitions. */
#include "am_test.h"

#include <math.h>

#include "am_buffers.h"
#include "am_modes.h"

/* --- sampled --------------------------------------------------------------------------------- */

enum fill { NO_ZEROS, ALL_ZEROS, SOME_ZEROS, SPECIAL };
#define FILLS 4

typedef struct sampled_case {
    int64_t rows, cols, steps;
    enum fill fill;
} sampled_case;

typedef struct sampled_data {
    am_sampled s;
    am_guarded dy, w, x, dx;
} sampled_data;

static void
fill_x(float *x, int64_t n, enum fill fill, uint32_t seed)
{
    static const float special[] = {NAN, -0.0f, 1e-40f, INFINITY, 0.0f};
    uint32_t state = seed;
    for (int64_t i = 0; i < n; i++) {
        const int zero = am_next(&state) < 0.2f;
        x[i] = fill == ALL_ZEROS || (fill >= SOME_ZEROS && zero) ? 0.0f
               : fill == SPECIAL && i % 3 == 0                   ? special[i / 3 % COUNT(special)]
                                                                 : x[i];
    }
}

/* Panels of weights one or two rows longer than they are read, NaN behind their ends. */
static sampled_data
make_sampled(const sampled_case *c, uint32_t seed)
{
    sampled_data d = {.dy = am_make_guarded(c->rows * c->steps, 0, seed),
                      .x = am_make_guarded(c->rows * c->cols, 0, seed + 1),
                      .dx = am_make_empty(c->rows * c->cols, AM_GUARD)};
    const int64_t w_panel = (c->cols + 1 + seed % 2) * AM_PANEL, panels = c->steps / AM_PANEL;
    d.w = am_make_aligned((panels - 1) * w_panel + c->cols * AM_PANEL, 0);
    for (int64_t p = 0; p < panels; p++) {
        am_randomize(d.w.x + p * w_panel, c->cols * AM_PANEL, seed + 2 + (uint32_t)p);
    }
    fill_x(d.x.x, d.x.n, c->fill, seed);
    d.s = (am_sampled){.rows = c->rows,
                       .cols = c->cols,
                       .steps = c->steps,
                       .dy = d.dy.x,
                       .w = d.w.x,
                       .w_panel = w_panel,
                       .x = d.x.x,
                       .dx = d.dx.x};
    return d;
}

static void
free_sampled(sampled_data *d)
{
    free(d->dy.block);
    free(d->w.block);
    free(d->x.block);
    free(d->dx.block);
}

static void
check_sampled(const sampled_case *c, uint32_t seed)
{
    sampled_data d = make_sampled(c, seed);
    const am_sampled *s = &d.s;
    am_get_kernels()->sampled(s);
    int wrong = 0;
    for (int64_t i = 0; i < s->rows * s->cols; i++) {
        const int64_t r = i / s->cols, k = i % s->cols;
        double exact = 0.0, size = 0.0;
        for (int64_t j = 0; j < s->steps; j++) {
            const float *panel = s->w + j / AM_PANEL * s->w_panel;
            const double term =
                (double)s->dy[r * s->steps + j] * panel[k * AM_PANEL + j % AM_PANEL];
            exact += term;
            size += fabs(term);
        }
        wrong += s->x[i] != 0 ? !am_sum_is_right(s->dx[i], exact, size, s->steps)
                              : !am_same_bits(s->dx[i], 0.0f);
    }
    wrong += !am_guards_hold(&d.dx);
    if (wrong > 0) {
        AM_FAILED("sampled: %d wrong: rows %d, cols %d, steps %d, fill %d", wrong, (int)c->rows,
                  (int)c->cols, (int)c->steps, (int)c->fill);
    }
    free_sampled(&d);
}

AM_TEST(sampled_of_all_sizes)
{
    static const int64_t rows[] = {0, 1, 2, 3, 4, 5, 15, 16, 17, 35};
    static const int64_t cols[] = {1, 2, 15, 16, 17, 31, 32, 50};
    static const int64_t steps[] = {16, 32, 48, 128};
    for (int64_t r = 0; r < COUNT(rows); r++) {
        for (int64_t k = 0; k < COUNT(cols); k++) {
            for (int64_t j = 0; j < COUNT(steps) * FILLS; j++) {
                const sampled_case c = {rows[r], cols[k], steps[j / FILLS], (enum fill)(j % FILLS)};
                check_sampled(&c, (uint32_t)(r * 100 + k * 10 + j));
            }
        }
    }
}

/* Without steps there is nothing to add up. */
AM_TEST(sampled_of_no_steps)
{
    float x[3] = {1, 0, NAN}, dx[3] = {5, 5, 5};
    const am_sampled s = {.rows = 1, .cols = 3, .steps = 0, .dy = x, .w = x, .x = x, .dx = dx};
    am_get_kernels()->sampled(&s);
    AM_CHECK(dx[0] == 0 && dx[1] == 0 && dx[2] == 0);
}

/* A gradient that is not finite reaches those that ask for it, and nobody else. */
AM_TEST(sampled_lets_nan_through_where_x_asks)
{
    const sampled_case c = {19, 37, 48, SOME_ZEROS};
    sampled_data d = make_sampled(&c, 4);
    d.dy.x[7 * c.steps + 33] = NAN;
    am_get_kernels()->sampled(&d.s);
    for (int64_t i = 0; i < d.dx.n; i++) {
        AM_CHECK(isnan(d.dx.x[i]) == (i / c.cols == 7 && d.x.x[i] != 0));
    }
    free_sampled(&d);
}

static void
run_sampled(void *out, const void *arg)
{
    const sampled_case *c = arg;
    sampled_data d = make_sampled(c, 5);
    am_get_kernels()->sampled(&d.s);
    memcpy(out, d.dx.x, (size_t)d.dx.n * sizeof(float));
    free_sampled(&d);
}

AM_TEST(sampled_gives_the_same_bits_on_all_instruction_sets)
{
    static const sampled_case cases[] = {{35, 50, 128, SOME_ZEROS},
                                         {16, 32, 16, NO_ZEROS},
                                         {7, 33, 80, SPECIAL},
                                         {1, 17, 48, SOME_ZEROS}};
    for (int64_t i = 0; i < COUNT(cases); i++) {
        am_check_same_bits("sampled", run_sampled, &cases[i],
                           cases[i].rows * cases[i].cols * (int64_t)sizeof(float));
    }
}

/* --- transposition --------------------------------------------------------------------------- */

AM_TEST(transpose_panel)
{
    for (int64_t from_row = AM_PANEL; from_row <= 3 * AM_PANEL; from_row += 7) {
        for (int64_t to_row = AM_PANEL; to_row <= 9 * AM_PANEL; to_row += 25) {
            am_guarded from = am_make_guarded((AM_PANEL - 1) * from_row + AM_PANEL, 0, 1);
            am_guarded to = am_make_empty((AM_PANEL - 1) * to_row + AM_PANEL, AM_GUARD);
            from.x[0] = -0.0f; /* bits are moved, whatever they mean */
            from.x[1] = 1e-40f;
            from.x[from_row] = INFINITY;
            const float nothing = to.x[0];
            am_get_kernels()->transpose_panel(to.x, to_row, from.x, from_row);
            int wrong = !am_guards_hold(&to);
            for (int64_t i = 0; i < to.n; i++) {
                const int64_t j = i / to_row, k = i % to_row;
                wrong += !am_same_bits(to.x[i], k < AM_PANEL ? from.x[k * from_row + j] : nothing);
            }
            if (wrong > 0) {
                AM_FAILED("transpose_panel: %d wrong: from rows of %d to rows of %d", wrong,
                          (int)from_row, (int)to_row);
            }
            free(from.block);
            free(to.block);
        }
    }
}
