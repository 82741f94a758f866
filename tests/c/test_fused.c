/* The fused block, conv 3 x 3, bias, ReLU and max-pool 2 x 2 in one, forwards, against plain loops
 * in double precision. */
#include "am_test.h"

#include <math.h>

#include "am_block.h"
#include "am_modes.h"

/* Rounding errors relative to the largest output. Winograd's transforms add some. */
#define NARROW_ERROR 5e-7
#define WINOGRAD_ERROR 1e-6
#define CLEAR 1e-5 /* the largest of a window is beyond doubt */

AM_TEST(which_convolutions_fit)
{
    static const struct {
        int64_t h, w, c, f, size;
        int same, first, fits, narrow;
    } cases[] = {
        {4, 4, 1, 16, 3, 0, 1, 1, 1},  {28, 28, 1, 32, 3, 0, 1, 1, 1},
        {9, 7, 4, 48, 3, 0, 1, 1, 1},  {9, 7, 4, 48, 3, 0, 0, 0, 0},
        {9, 7, 5, 48, 3, 0, 1, 0, 0},  {9, 7, 1, 40, 3, 0, 1, 0, 0},
        {9, 7, 16, 48, 3, 0, 0, 1, 0}, {9, 7, 16, 48, 3, 0, 1, 1, 0},
        {9, 7, 24, 48, 3, 0, 1, 0, 0}, {9, 7, 16, 8, 3, 0, 0, 0, 0},
        {9, 7, 16, 48, 3, 1, 0, 0, 0}, {9, 7, 16, 48, 5, 0, 0, 0, 0},
        {9, 7, 16, 48, 1, 0, 0, 0, 0}, {3, 7, 16, 48, 3, 0, 0, 0, 0},
        {9, 3, 1, 16, 3, 0, 1, 0, 0},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        am_conv2d conv;
        am_conv_pool s;
        AM_CHECK_OK(am_conv2d_init(&conv, cases[i].h, cases[i].w, cases[i].c, cases[i].f,
                                   cases[i].size, cases[i].same, &err));
        AM_CHECK_INT(am_conv_pool_fits(&s, &conv, cases[i].first), cases[i].fits);
        if (cases[i].fits) {
            AM_CHECK_INT(am_conv_pool_is_narrow(&s), cases[i].narrow);
            AM_CHECK(s.h == cases[i].h && s.w == cases[i].w && s.c == cases[i].c);
            AM_CHECK(s.f == cases[i].f && s.ph == (s.h - 2) / 2 && s.pw == (s.w - 2) / 2);
        }
    }
}

/* --- forwards -------------------------------------------------------------------------------- */

/* What the forward pass writes, all between guards. */
typedef struct output {
    am_guarded y, scratch;
    uint8_t *bytes, *argmax;
    int64_t n;
} output;

static output
make_output(const am_block *t)
{
    output out = {.y = am_make_empty(t->y_size, AM_GUARD),
                  .scratch = am_make_aligned(am_conv_pool_scratch(&t->s), AM_GUARD),
                  .bytes = am_bytes(t->y_size + 2 * AM_GUARD),
                  .n = t->y_size};
    memset(out.bytes, 0xff, (size_t)(t->y_size + 2 * AM_GUARD));
    out.argmax = out.bytes + AM_GUARD;
    return out;
}

static void
run_forward(output *out, const am_block *t, const float *x)
{
    am_conv_pool_forward(out->y.x, out->argmax, x, t->w, t->packed.x, t->b, &t->s, out->scratch.x);
    int wrong = !am_guards_hold(&out->y) + !am_guards_hold(&out->scratch);
    for (int64_t i = 0; i < out->n + 2 * AM_GUARD; i++) {
        const int inside = i >= AM_GUARD && i < AM_GUARD + out->n;
        wrong += inside ? out->bytes[i] > 3 : out->bytes[i] != 0xff;
    }
    AM_CHECK_INT(wrong, 0);
}

static void
free_output(output *out)
{
    free(out->y.block);
    free(out->scratch.block);
    free(out->bytes);
}

/* Output (py, px, o) of the convolution's window `corner`: 0 and 1 above, 2 and 3 below. */
static double
naive_conv(const am_block *t, const float *x, int64_t output, int corner)
{
    const am_conv_pool *s = &t->s;
    const int64_t o = output % s->f, px = output / s->f % s->pw, py = output / s->f / s->pw;
    const int64_t oy = 2 * py + corner / 2, ox = 2 * px + corner % 2;
    double sum = t->b[o];
    for (int64_t tap = 0; tap < 9 * s->c; tap++) {
        const int64_t i = tap % s->c, kw = tap / s->c % 3, kh = tap / s->c / 3;
        sum += (double)x[((oy + kh) * s->w + ox + kw) * s->c + i] * t->w[tap * s->f + o];
    }
    return sum;
}

static void
check_forward(const am_block_case *c, uint32_t seed)
{
    am_block t = am_make_block(c, seed);
    const float *x = am_last_image(&t);
    output out = make_output(&t);
    const double allowed = am_conv_pool_is_narrow(&t.s) ? NARROW_ERROR : WINOGRAD_ERROR;
    double largest = 0.0, off = 0.0, *first = am_bytes(t.y_size * 8), *gap = am_bytes(t.y_size * 8);
    int *winner = am_bytes(t.y_size * (int64_t)sizeof(int)), wrong = 0;
    run_forward(&out, &t, x);
    for (int64_t i = 0; i < t.y_size; i++) {
        first[i] = naive_conv(&t, x, i, 0);
        gap[i] = INFINITY; /* to the second */
        winner[i] = 0;
        for (int corner = 1; corner < 4; corner++) {
            const double value = naive_conv(&t, x, i, corner);
            if (value > first[i]) {
                gap[i] = value - first[i];
                first[i] = value;
                winner[i] = corner;
            }
            else {
                gap[i] = fmin(gap[i], first[i] - value);
            }
        }
        const double exact = fmax(first[i], 0.0), error = fabs(out.y.x[i] - exact);
        largest = fmax(largest, exact);
        off = error <= off ? off : error; /* NaN too */
    }
    int64_t clear = 0, positive = 0;
    for (int64_t i = 0; i < t.y_size; i++) {
        if (first[i] > CLEAR * largest) {
            positive++;
            clear += gap[i] > CLEAR * largest;
            wrong += gap[i] > CLEAR * largest && out.argmax[i] != winner[i];
        }
    }
    if (wrong > 0) {
        am_block_failed("argmax", wrong, &t);
    }
    if (!(off <= allowed * largest)) {
        AM_FAILED("%s: off by %g of %g: image %d x %d x %d, %d filters", am_block_path(&t), off,
                  largest, (int)c->h, (int)c->w, (int)c->c, (int)c->f);
    }
    AM_CHECK(c->image != AM_NOISE || (positive > 0 && clear > positive * 9 / 10));
    free(first);
    free(gap);
    free(winner);
    free_output(&out);
    am_free_block(&t);
}

AM_TEST(forward_of_few_channels)
{
    for (int64_t i = 0; i < AM_NARROW_BLOCKS; i++) {
        const am_block_case c = am_any_block(i);
        check_forward(&c, (uint32_t)i);
    }
}

AM_TEST(forward_of_many_channels)
{
    for (int64_t i = AM_NARROW_BLOCKS; i < AM_NARROW_BLOCKS + AM_WINOGRAD_BLOCKS; i++) {
        const am_block_case c = am_any_block(i);
        check_forward(&c, (uint32_t)i);
    }
}

AM_TEST(forward_of_large_images)
{
    for (int64_t i = 0; i < COUNT(am_large_blocks); i++) {
        check_forward(&am_large_blocks[i], (uint32_t)i);
    }
}

/* Zeros everywhere: the bias is all there is, and all four of a window are equal. */
AM_TEST(a_blank_image_gives_the_bias)
{
    for (int64_t i = 0; i < AM_NARROW_BLOCKS + AM_WINOGRAD_BLOCKS; i++) {
        am_block_case c = am_any_block(i);
        c.image = AM_BLANK;
        am_block t = am_make_block(&c, (uint32_t)i);
        output out = make_output(&t);
        run_forward(&out, &t, am_last_image(&t));
        int wrong = 0;
        for (int64_t j = 0; j < t.y_size; j++) {
            const float bias = t.b[j % c.f];
            wrong += out.argmax[j] != 0 || out.y.x[j] != (bias > 0 ? bias : 0.0f);
        }
        if (wrong > 0) {
            am_block_failed("blank image", wrong, &t);
        }
        free_output(&out);
        am_free_block(&t);
    }
}

/* A NaN reaches the outputs whose windows hold it, and no other changes. */
static void
check_nan(const am_block_case *c)
{
    am_block t = am_make_block(c, 7);
    float *x = am_last_image(&t);
    output before = make_output(&t);
    run_forward(&before, &t, x);
    int wrong = 0;
    for (int64_t pixel = 0; pixel < c->h * c->w; pixel++) {
        const int64_t at = pixel * c->c + pixel % c->c, iy = pixel / c->w, ix = pixel % c->w;
        const float kept = x[at];
        output after = make_output(&t);
        x[at] = pixel % 2 ? NAN : -NAN;
        run_forward(&after, &t, x);
        x[at] = kept;
        for (int64_t i = 0; i < t.y_size; i++) {
            const int64_t px = i / c->f % t.s.pw, py = i / c->f / t.s.pw;
            const int inside = iy >= 2 * py && iy < 2 * py + 4 && ix >= 2 * px && ix < 2 * px + 4;
            wrong += inside ? !isnan(after.y.x[i])
                            : !am_same_bits(after.y.x[i], before.y.x[i]) ||
                                  after.argmax[i] != before.argmax[i];
        }
        free_output(&after);
    }
    if (wrong > 0) {
        am_block_failed("NaN", wrong, &t);
    }
    free_output(&before);
    am_free_block(&t);
}

AM_TEST(nan_in_the_input_stays_visible)
{
    static const am_block_case cases[] = {
        {5, 8, 1, 16, AM_NOISE},  {7, 6, 1, 48, AM_BLANK},  {6, 7, 2, 16, AM_NOISE},
        {8, 5, 3, 32, AM_NOISE},  {6, 6, 4, 16, AM_NOISE},  {5, 8, 16, 16, AM_NOISE},
        {8, 7, 32, 48, AM_NOISE}, {6, 7, 48, 64, AM_BLANK},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        check_nan(&cases[i]);
    }
}

/* y, then argmax */
static void
run_anywhere(void *to, const void *arg)
{
    am_block t = am_make_block(arg, 3);
    output out = make_output(&t);
    run_forward(&out, &t, am_last_image(&t));
    memcpy(to, out.y.x, (size_t)t.y_size * sizeof(float));
    memcpy((float *)to + t.y_size, out.argmax, (size_t)t.y_size);
    free_output(&out);
    am_free_block(&t);
}

AM_TEST(forward_gives_the_same_bits_on_all_instruction_sets)
{
    for (int64_t i = 0; i < AM_ALL_BLOCKS; i++) {
        const am_block_case c = am_any_block(i);
        const int64_t outputs = (c.h - 2) / 2 * ((c.w - 2) / 2) * c.f;
        am_check_same_bits("fused forwards", run_anywhere, &c, 5 * outputs);
    }
}
