/* The fused block backwards, for one image and for a group, against plain loops in double
 * precision. Which output of a window won and whether it was positive is given. */
#include "am_test.h"

#include <math.h>

#include "am_block.h"
#include "am_modes.h"

/* Up to AM_GROUP images, gaps of NaN between them; sums that hold something already. */
typedef struct backward {
    am_conv_pool_images images;
    am_guarded x, y, dy, dx, dw, db, scratch;
    uint8_t *argmax;
    float *dw_old, *db_old; /* before; dw in the order of the weights */
} backward;

/* `zeros` of a hundred are 0, in y and once more in dy. */
static backward
make_backward(const am_block *t, int64_t n, int zeros, uint32_t seed)
{
    const int64_t x_image = t->x_size + 3, y_image = t->y_size + 5, dy_image = t->y_size + 2;
    const int64_t argmax_image = t->y_size + 7, last = n - 1;
    const int narrow = am_conv_pool_is_narrow(&t->s);
    uint32_t state = seed;
    backward d = {
        .x = am_make_empty(last * x_image + t->x_size, 0),
        .y = am_make_empty(last * y_image + t->y_size, 0),
        .dy = am_make_empty(last * dy_image + t->y_size, 0),
        .dx = am_make_empty(last * (t->x_size + 4) + t->x_size, AM_GUARD),
        .dw = am_make_empty(t->w_size, AM_GUARD),
        .db = am_make_guarded(t->s.f, AM_GUARD, seed + 1),
        .scratch = am_make_aligned(am_conv_pool_scratch_back(&t->s), AM_GUARD),
        .argmax = am_bytes(last * argmax_image + t->y_size),
        .dw_old = am_random_floats(t->w_size, seed + 2),
        .db_old = am_random_floats(t->s.f, seed + 1),
    };
    memset(d.argmax, 0xff, (size_t)(last * argmax_image + t->y_size));
    for (int64_t i = 0; i < n * t->y_size; i++) {
        const int64_t image = i / t->y_size, at = i % t->y_size;
        float *y = d.y.x + image * y_image + at, *dy = d.dy.x + image * dy_image + at;
        *y = 50 * (am_next(&state) + 1) < (float)zeros ? 0.0f : am_next(&state) + 1.0f;
        *dy = 50 * (am_next(&state) + 1) < (float)zeros ? 0.0f : am_next(&state);
        d.argmax[image * argmax_image + at] = (uint8_t)(2 * (am_next(&state) + 1));
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(d.x.x + i * x_image, t->x + i * t->x_size, (size_t)t->x_size * sizeof(float));
    }
    if (narrow) {
        memcpy(d.dw.x, d.dw_old, (size_t)t->w_size * sizeof(float));
    }
    else {
        am_conv_pool_pack_back(d.dw.x, d.dw_old, &t->s);
    }
    d.images = (am_conv_pool_images){n,       d.x.x,    x_image,  d.y.x,       d.dy.x,
                                     y_image, dy_image, d.argmax, argmax_image};
    return d;
}

static void
free_backward(backward *d)
{
    am_guarded all[] = {d->x, d->y, d->dy, d->dx, d->dw, d->db, d->scratch};
    for (int64_t i = 0; i < COUNT(all); i++) {
        free(all[i].block);
    }
    free(d->argmax);
    free(d->dw_old);
    free(d->db_old);
}

/* Runs it, without dx where that is NULL; dw, to be freed, in the order of the weights. */
static float *
run_backward(backward *d, const am_block *t, float *dx)
{
    float *dw = am_nan_floats(t->w_size);
    am_conv_pool_backward(dx, t->x_size + 4, d->dw.x, d->db.x, &d->images, t->packed_back.x, &t->s,
                          d->scratch.x);
    AM_CHECK(am_guards_hold(&d->dx) && am_guards_hold(&d->dw) && am_guards_hold(&d->db));
    AM_CHECK(am_guards_hold(&d->scratch));
    if (am_conv_pool_is_narrow(&t->s)) {
        memcpy(dw, d->dw.x, (size_t)t->w_size * sizeof(float));
    }
    else {
        am_conv_pool_unpack_gradient(dw, d->dw.x, &t->s);
    }
    return dw;
}

/* Gradients of sum(dy * y), where y is the output of each window that won, if it is positive. */
static void
naive_backward(const backward *d, const am_block *t, am_sums *dx, am_sums *dw, am_sums *db)
{
    const am_conv_pool *s = &t->s;
    const am_conv_pool_images *images = &d->images;
    for (int64_t i = 0; i < t->w_size; i++) {
        am_add_term(dw, i, d->dw_old[i]);
    }
    for (int64_t o = 0; o < s->f; o++) {
        am_add_term(db, o, d->db_old[o]);
    }
    for (int64_t p = 0; p < images->n * t->y_size; p++) {
        const int64_t image = p / t->y_size, at = p % t->y_size, o = at % s->f;
        const int64_t px = at / s->f % s->pw, py = at / s->f / s->pw;
        const int won = images->argmax[image * images->argmax_image + at];
        const double g = images->dy[image * images->dy_image + at];
        if (!(images->y[image * images->y_image + at] > 0)) {
            continue;
        }
        am_add_term(db, o, g);
        for (int64_t tap = 0; tap < 9 * s->c; tap++) {
            const int64_t i = tap % s->c, kw = tap / s->c % 3, kh = tap / s->c / 3;
            const int64_t iy = 2 * py + won / 2 + kh, ix = 2 * px + won % 2 + kw;
            const int64_t pixel = (iy * s->w + ix) * s->c + i;
            am_add_term(dw, tap * s->f + o, g * images->x[image * images->x_image + pixel]);
            am_add_term(dx, image * t->x_size + pixel, g * t->w[tap * s->f + o]);
        }
    }
}

static void
check_backward(const am_block_case *c, int64_t n, int zeros, uint32_t seed)
{
    am_block t = am_make_block(c, seed);
    backward d = make_backward(&t, n, zeros, seed + 9),
             without = make_backward(&t, n, zeros, seed + 9);
    am_sums dx = am_make_sums(n * t.x_size), dw = am_make_sums(t.w_size), db = am_make_sums(c->f);
    const int narrow = am_conv_pool_is_narrow(&t.s);
    const int64_t windows = n * t.s.ph * t.s.pw;
    naive_backward(&d, &t, &dx, &dw, &db);
    float *got = run_backward(&d, &t, narrow ? NULL : d.dx.x);
    int wrong = am_count_wrong(got, &dw, windows + 1) + am_count_wrong(d.db.x, &db, windows + 1);
    for (int64_t i = 0; i < d.dx.n; i++) {
        const int64_t image = i / (t.x_size + 4), at = i % (t.x_size + 4);
        const int64_t j = image * t.x_size + at;
        if (narrow || at >= t.x_size) {
            const float nothing = without.dx.x[i];
            wrong += !am_same_bits(d.dx.x[i], nothing);
        }
        else {
            wrong += !am_sum_is_right(d.dx.x[i], dx.exact[j], dx.size[j], 9 * c->f);
        }
    }
    if (wrong > 0) {
        AM_FAILED("%s, %d images, %d%% zeros", am_block_path(&t), (int)n, zeros);
        am_block_failed("backwards", wrong, &t);
    }
    if (!narrow) { /* nobody asks for the gradient of the input: the others keep their bits */
        float *again = run_backward(&without, &t, NULL);
        AM_CHECK(am_same_floats(got, again, t.w_size));
        AM_CHECK(am_same_floats(d.db.x, without.db.x, c->f));
        free(again);
    }
    free(got);
    am_free_sums(&dx);
    am_free_sums(&dw);
    am_free_sums(&db);
    free_backward(&d);
    free_backward(&without);
    am_free_block(&t);
}

static const int zero_shares[] = {50, 0, 90, 100};

AM_TEST(backward_of_few_channels)
{
    for (int64_t i = 0; i < 2 * AM_NARROW_BLOCKS; i++) {
        const am_block_case c = am_any_block(i / 2);
        check_backward(&c, i % 2 + 1, zero_shares[i / 2 % 4], (uint32_t)i);
    }
}

AM_TEST(backward_of_many_channels)
{
    for (int64_t i = 2 * AM_NARROW_BLOCKS; i < 2 * (AM_NARROW_BLOCKS + AM_WINOGRAD_BLOCKS); i++) {
        const am_block_case c = am_any_block(i / 2);
        check_backward(&c, i % 2 + 1, zero_shares[i / 2 % 4], (uint32_t)i);
    }
}

AM_TEST(backward_of_large_images)
{
    for (int64_t i = 0; i < 2 * COUNT(am_large_blocks); i++) {
        check_backward(&am_large_blocks[i / 2], i % 2 + 1, zero_shares[i / 2 % 4], (uint32_t)i);
    }
}

/* Nothing to add leaves the sums as they were, to the bit: where the image is blank those of the
 * weights, and where no gradient passes all of them. */
AM_TEST(backward_of_nothing)
{
    for (int64_t i = 0; i < 2 * (AM_NARROW_BLOCKS + AM_WINOGRAD_BLOCKS); i++) {
        am_block_case c = am_any_block(i / 2);
        const int blank = i % 2;
        c.image = blank ? AM_BLANK : AM_NOISE;
        am_block t = am_make_block(&c, (uint32_t)i);
        backward d = make_backward(&t, AM_GROUP, blank ? 50 : 100, (uint32_t)i);
        float *dw = run_backward(&d, &t, am_conv_pool_is_narrow(&t.s) ? NULL : d.dx.x);
        AM_CHECK(am_same_floats(dw, d.dw_old, t.w_size));
        AM_CHECK(am_same_floats(d.db.x, d.db_old, c.f) == !blank);
        for (int64_t j = 0; j < t.x_size && !blank && !am_conv_pool_is_narrow(&t.s); j++) {
            AM_CHECK(d.dx.x[j] == 0 && d.dx.x[j + t.x_size + 4] == 0);
        }
        free(dw);
        free_backward(&d);
        am_free_block(&t);
    }
}

AM_TEST(weights_by_filter_and_back)
{
    for (int64_t i = AM_NARROW_BLOCKS; i < AM_NARROW_BLOCKS + 9; i++) {
        const am_block_case c = am_any_block(i);
        am_block t = am_make_block(&c, (uint32_t)i);
        am_guarded w = am_make_empty(t.w_size, AM_GUARD);
        am_conv_pool_unpack_gradient(w.x, t.packed_back.x, &t.s);
        AM_CHECK(am_same_floats(w.x, t.w, t.w_size) && am_guards_hold(&w));
        free(w.block);
        am_free_block(&t);
    }
}

/* dw, db and, where there is one, dx */
static void
run_anywhere(void *to, const void *arg)
{
    am_block t = am_make_block(arg, 3);
    backward d = make_backward(&t, AM_GROUP, 50, 4);
    const int narrow = am_conv_pool_is_narrow(&t.s);
    float *dw = run_backward(&d, &t, narrow ? NULL : d.dx.x), *out = to;
    memcpy(out, dw, (size_t)t.w_size * sizeof(float));
    memcpy(out + t.w_size, d.db.x, (size_t)t.s.f * sizeof(float));
    memcpy(out + t.w_size + t.s.f, d.dx.x, (size_t)d.dx.n * sizeof(float));
    free(dw);
    free_backward(&d);
    am_free_block(&t);
}

AM_TEST(backward_gives_the_same_bits_on_all_instruction_sets)
{
    for (int64_t i = 0; i < AM_ALL_BLOCKS; i++) {
        const am_block_case c = am_any_block(i);
        const int64_t x_size = c.h * c.w * c.c;
        const int64_t floats = 9 * c.c * c.f + c.f + AM_GROUP * x_size + 4;
        am_check_same_bits("fused backwards", run_anywhere, &c, floats * (int64_t)sizeof(float));
    }
}
