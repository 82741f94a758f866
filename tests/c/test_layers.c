/* Layers, forward and backward, against their definitions in double precision. */
#include "am_test.h"

#include <math.h>

#include "../../csrc/layers/batch.h"
#include "../../csrc/layers/pack.h"
#include "am_buffers.h"

static const int thread_counts[] = {1, 2, 3, 7};

/* --- conv ------------------------------------------------------------------------------------ */

typedef struct conv_case {
    int64_t h, w, c, f, size;
    int same;
} conv_case;

static const conv_case conv_cases[] = {
    {1, 1, 1, 1, 1, 0},  {1, 1, 3, 5, 3, 1},   {1, 1, 1, 16, 7, 1}, {1, 9, 1, 4, 1, 0},
    {1, 9, 2, 17, 3, 1}, {9, 1, 5, 3, 5, 1},   {5, 7, 3, 5, 3, 0},  {5, 7, 3, 5, 3, 1},
    {6, 4, 2, 17, 3, 0}, {7, 7, 1, 33, 7, 0},  {3, 3, 9, 8, 7, 1},  {2, 5, 5, 16, 5, 1},
    {8, 6, 17, 3, 5, 0}, {4, 4, 16, 16, 1, 0}, {3, 5, 1, 15, 1, 1}, {11, 13, 1, 32, 3, 0},
    {4, 9, 31, 1, 3, 1}, {7, 8, 4, 24, 7, 0},  {9, 20, 1, 7, 7, 1}, {13, 3, 8, 9, 3, 0},
};

typedef struct conv_data {
    am_conv2d s;
    int64_t n, w_size, x_size, y_size; /* the last two of one image */
    float *x, *w, *b, *dy;
    am_sums y, dx, dw, db; /* of all n images; dx and y image by image */
} conv_data;

static conv_data
make_conv(const conv_case *c, int64_t n, uint32_t seed)
{
    conv_data d = {.n = n};
    AM_CHECK_OK(am_conv2d_init(&d.s, c->h, c->w, c->c, c->f, c->size, c->same, &err));
    const am_conv2d *s = &d.s;
    d.w_size = s->size * s->size * s->c * s->f;
    d.x_size = s->h * s->w * s->c;
    d.y_size = s->out_h * s->out_w * s->f;
    d.x = am_random_floats(n * d.x_size, seed);
    d.w = am_random_floats(d.w_size, seed + 1);
    d.b = am_random_floats(s->f, seed + 2);
    d.dy = am_random_floats(n * d.y_size, seed + 3);
    d.y = am_make_sums(n * d.y_size);
    d.dx = am_make_sums(n * d.x_size);
    d.dw = am_make_sums(d.w_size);
    d.db = am_make_sums(s->f);
    for (int64_t p = 0; p < n * d.y_size; p++) {
        const int64_t o = p % s->f, ox = p / s->f % s->out_w, oy = p / s->f / s->out_w % s->out_h;
        const int64_t image = p / d.y_size;
        am_add_term(&d.y, p, d.b[o]);
        am_add_term(&d.db, o, d.dy[p]);
        for (int64_t t = 0; t < d.w_size / s->f; t++) {
            const int64_t i = t % s->c, kw = t / s->c % s->size, kh = t / s->c / s->size;
            const int64_t iy = oy + kh - s->pad, ix = ox + kw - s->pad;
            if (iy < 0 || iy >= s->h || ix < 0 || ix >= s->w) {
                continue;
            }
            const int64_t at = image * d.x_size + (iy * s->w + ix) * s->c + i, tap = t * s->f + o;
            am_add_term(&d.y, p, (double)d.x[at] * d.w[tap]);
            am_add_term(&d.dx, at, (double)d.dy[p] * d.w[tap]);
            am_add_term(&d.dw, tap, (double)d.dy[p] * d.x[at]);
        }
    }
    return d;
}

static void
free_conv(conv_data *d)
{
    free(d->x);
    free(d->w);
    free(d->b);
    free(d->dy);
    am_free_sums(&d->y);
    am_free_sums(&d->dx);
    am_free_sums(&d->dw);
    am_free_sums(&d->db);
}

/* Terms of the longest sum of one image. */
static int64_t
conv_terms(const am_conv2d *s)
{
    return s->size * s->size * (s->c + s->f) + s->out_h * s->out_w;
}

AM_TEST(conv_output_shapes)
{
    for (int64_t i = 0; i < COUNT(conv_cases); i++) {
        const conv_case *c = &conv_cases[i];
        am_conv2d s;
        AM_CHECK_OK(am_conv2d_init(&s, c->h, c->w, c->c, c->f, c->size, c->same, &err));
        AM_CHECK_INT(s.out_h, c->same ? c->h : c->h - c->size + 1);
        AM_CHECK_INT(s.out_w, c->same ? c->w : c->w - c->size + 1);
    }
}

AM_TEST(conv_refuses_windows_that_do_not_fit)
{
    static const struct {
        conv_case c;
        am_status status;
        const char *message;
    } cases[] = {
        {{5, 5, 1, 4, 2, 0}, AM_ERR_VALUE, "odd window size"},
        {{5, 5, 1, 4, 0, 0}, AM_ERR_VALUE, "odd window size"},
        {{5, 5, 1, 4, -3, 0}, AM_ERR_VALUE, "odd window size"},
        {{5, 5, 1, 4, AM_MAX_WINDOW + 2, 1}, AM_ERR_VALUE, "odd window size"},
        {{5, 5, 1, 0, 3, 0}, AM_ERR_VALUE, "at least 1 filter"},
        {{2, 5, 1, 4, 3, 0}, AM_ERR_SHAPE, "does not fit an image of 2 x 5"},
        {{5, 2, 1, 4, 3, 0}, AM_ERR_SHAPE, "does not fit an image of 5 x 2"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const conv_case *c = &cases[i].c;
        am_conv2d s;
        am_error err = {AM_OK, ""};
        AM_CHECK_INT(am_conv2d_init(&s, c->h, c->w, c->c, c->f, c->size, c->same, &err),
                     cases[i].status);
        AM_CHECK(strstr(err.message, cases[i].message) != NULL);
    }
}

/* One image, buffers of exactly the sizes that the header names; scratch memory holds garbage. */
AM_TEST(conv_of_one_image)
{
    for (int64_t i = 0; i < COUNT(conv_cases); i++) {
        conv_data d = make_conv(&conv_cases[i], 1, (uint32_t)i);
        const am_conv2d *s = &d.s;
        const int64_t terms = conv_terms(s);
        float *packed = am_nan_floats(am_conv2d_packed(s));
        float *packed_back = am_nan_floats(am_conv2d_packed_back(s));
        float *scratch = am_nan_floats(am_conv2d_scratch(s));
        float *y = am_nan_floats(d.y_size), *dx = am_nan_floats(d.x_size);
        float *dw = am_random_floats(d.w_size, 77), *db = am_random_floats(s->f, 78);
        am_conv2d_pack(packed, d.w, s);
        am_conv2d_pack_back(packed_back, d.w, s);
        am_conv2d_forward(y, d.x, packed, d.b, s, scratch);
        am_conv2d_backward_data(dx, d.dy, packed_back, s, scratch);
        for (int64_t j = 0; j < d.w_size; j++) { /* gradients of weights accumulate */
            am_add_term(&d.dw, j, dw[j]);
        }
        for (int64_t j = 0; j < s->f; j++) {
            am_add_term(&d.db, j, db[j]);
        }
        am_conv2d_backward_weights(dw, db, d.dy, d.x, s, scratch);
        const int wrong[] = {am_count_wrong(y, &d.y, terms), am_count_wrong(dx, &d.dx, terms),
                             am_count_wrong(dw, &d.dw, terms), am_count_wrong(db, &d.db, terms)};
        if (wrong[0] + wrong[1] + wrong[2] + wrong[3] > 0) {
            AM_FAILED("conv case %d: wrong in y %d, dx %d, dw %d, db %d", (int)i, wrong[0],
                      wrong[1], wrong[2], wrong[3]);
        }
        float *buffers[] = {packed, packed_back, scratch, y, dx, dw, db};
        for (int64_t j = 0; j < COUNT(buffers); j++) {
            free(buffers[j]);
        }
        free_conv(&d);
    }
}

static void
check_conv_batch(const conv_case *c, int64_t n)
{
    conv_data d = make_conv(c, n, 5);
    const am_conv2d *s = &d.s;
    const int64_t gradients = n * d.x_size + d.w_size + s->f;
    float *first = NULL;
    for (int64_t t = 0; t < COUNT(thread_counts); t++) {
        float *out = am_nan_floats(gradients); /* dx, dw and db, one after the other */
        float *y = am_nan_floats(n * d.y_size), *dw = out + n * d.x_size, *db = dw + d.w_size;
        AM_CHECK_OK(am_conv2d_forward_batch(y, d.x, d.w, d.b, n, s, thread_counts[t], NULL, &err));
        AM_CHECK_OK(am_conv2d_backward_batch(out, dw, db, d.dy, d.x, d.w, n, s, thread_counts[t],
                                             NULL, &err));
        AM_CHECK_INT(am_count_wrong(y, &d.y, conv_terms(s)), 0);
        AM_CHECK_INT(am_count_wrong(out, &d.dx, conv_terms(s)), 0);
        AM_CHECK_INT(am_count_wrong(dw, &d.dw, n * s->out_h * s->out_w), 0);
        AM_CHECK_INT(am_count_wrong(db, &d.db, n * s->out_h * s->out_w), 0);
        free(y);
        if (first == NULL) {
            first = out;
            continue;
        }
        AM_CHECK(memcmp(out, first, (size_t)gradients * sizeof(float)) == 0);
        free(out);
    }
    free(first);
    free_conv(&d);
}

AM_TEST(conv_of_batches_for_any_number_of_threads)
{
    static const int64_t sizes[] = {0, 1, 16, 17, 35};
    for (int64_t i = 0; i < COUNT(sizes); i++) {
        check_conv_batch(&conv_cases[7], sizes[i]);
        check_conv_batch(&conv_cases[8], sizes[i]);
    }
    check_conv_batch(&conv_cases[1], 1100); /* more than 64 chunks of 16 */
}

/* --- dense ----------------------------------------------------------------------------------- */

static const int64_t dense_cases[][3] = {
    /* n, inputs, units */
    {1, 1, 1},   {1, 17, 10},  {2, 16, 16}, {5, 15, 3},    {6, 33, 17},    {7, 47, 1},
    {13, 49, 9}, {48, 5, 15},  {49, 96, 4}, {100, 97, 33}, {3, 320, 7},    {4, 321, 20},
    {9, 700, 2}, {1, 641, 48}, {0, 3, 4},   {35, 256, 32}, {17, 257, 128},
};

typedef struct dense_data {
    int64_t n, d, f;
    float *x, *w, *b, *dy;
    am_sums y, dx, dw, db;
} dense_data;

static dense_data
make_dense(int64_t n, int64_t d, int64_t f, int zeros)
{
    dense_data t = {n,
                    d,
                    f,
                    .x = am_random_floats(n * d, 1),
                    .w = am_random_floats(d * f, 2),
                    .b = am_random_floats(f, 3),
                    .dy = am_random_floats(n * f, 4),
                    .y = am_make_sums(n * f),
                    .dx = am_make_sums(n * d),
                    .dw = am_make_sums(d * f),
                    .db = am_make_sums(f)};
    for (int64_t i = 0; i < n * d && zeros; i++) {
        t.x[i] = i * i % 11 < 7 ? 0.0f : t.x[i];
    }
    for (int64_t i = 0; i < n * f && zeros; i++) {
        t.dy[i] = i * i % 7 < 4 ? 0.0f : t.dy[i];
    }
    for (int64_t r = 0; r < n; r++) {
        for (int64_t o = 0; o < f; o++) {
            am_add_term(&t.y, r * f + o, t.b[o]);
            am_add_term(&t.db, o, t.dy[r * f + o]);
            for (int64_t i = 0; i < d; i++) {
                am_add_term(&t.y, r * f + o, (double)t.x[r * d + i] * t.w[i * f + o]);
                am_add_term(&t.dx, r * d + i, (double)t.dy[r * f + o] * t.w[i * f + o]);
                am_add_term(&t.dw, i * f + o, (double)t.dy[r * f + o] * t.x[r * d + i]);
            }
        }
    }
    return t;
}

static void
free_dense(dense_data *t)
{
    free(t->x);
    free(t->w);
    free(t->b);
    free(t->dy);
    am_free_sums(&t->y);
    am_free_sums(&t->dx);
    am_free_sums(&t->dw);
    am_free_sums(&t->db);
}

/* dw in its panels, as the update of a training step makes it: into rows of AM_PANEL floats, two
 * blocks one after the other. */
static int
count_wrong_in_panels(const dense_data *t, const float *packed_dy, int sparse)
{
    const int64_t d = t->d, panels = am_panels(t->f), middle = d / 3;
    float *blocks = am_nan_floats(d * panels * AM_PANEL), *dw = am_floats(d * t->f);
    for (int part = 0; part < 2; part++) {
        const int64_t first = part == 0 ? 0 : middle, rows = (part == 0 ? middle : d) - first;
        float *block = blocks + first * panels * AM_PANEL;
        am_dense_backward_weights(block, AM_PANEL, rows * AM_PANEL, packed_dy, t->x, t->n, d,
                                  panels * AM_PANEL, first, first + rows, sparse);
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < t->f; j++) {
                dw[(first + i) * t->f + j] =
                    block[(j / AM_PANEL * rows + i) * AM_PANEL + j % AM_PANEL];
            }
        }
    }
    const int wrong = am_count_wrong(dw, &t->dw, t->n);
    free(blocks);
    free(dw);
    return wrong;
}

/* The gradient of the data where x is not 0, by the kernel that reads the weights as they are. */
static int
count_wrong_sampled(const dense_data *t, const float *panels)
{
    const int64_t size = t->n * t->d;
    float *dx = am_nan_floats(size);
    am_dense_backward_data_sampled(dx, t->dy, t->x, panels, t->n, t->d, t->f);
    int wrong = 0;
    for (int64_t i = 0; i < size; i++) {
        wrong += t->x[i] != 0 ? !am_sum_is_right(dx[i], t->dx.exact[i], t->dx.size[i], t->f)
                              : dx[i] != 0;
    }
    free(dx);
    return wrong;
}

/* As they come, and with many zeros: every function with and without leaving them out. */
static void
check_dense(const int64_t sizes[3], int zeros, int sparse)
{
    dense_data t = make_dense(sizes[0], sizes[1], sizes[2], zeros);
    const int64_t n = t.n, d = t.d, f = t.f, middle = d / 3;
    float *panels = am_nan_floats(am_dense_size(d, f));
    float *packed_back = am_nan_floats(am_packed_size(f, d));
    float *packed_dy = am_nan_floats(am_packed_size(n, f));
    float *y = am_nan_floats(n * f), *dx = am_nan_floats(n * d);
    float *dw = am_nan_floats(d * f), *db = am_nan_floats(f);
    am_dense_pack(panels, t.w, d, f);
    am_dense_pack_back(packed_back, panels, d, f, 0, d);
    am_pack_rows(packed_dy, t.dy, n, f, f, 0, n / 2); /* in two parts */
    am_pack_rows(packed_dy, t.dy + n / 2 * f, n, f, f, n / 2, n);
    am_dense_forward(y, t.x, panels, t.b, n, d, f, sparse);
    am_dense_backward_data(dx, t.dy, packed_back, n, d, f, sparse);
    am_dense_backward_weights(dw, f, AM_PANEL, packed_dy, t.x, n, d, f, 0, middle,
                              sparse); /* also in two */
    am_dense_backward_weights(dw + middle * f, f, AM_PANEL, packed_dy, t.x, n, d, f, middle, d,
                              sparse);
    am_dense_backward_bias(db, packed_dy, n, f);
    const int wrong[] = {am_count_wrong(y, &t.y, d),
                         am_count_wrong(dx, &t.dx, f),
                         am_count_wrong(dw, &t.dw, n),
                         am_count_wrong(db, &t.db, n),
                         count_wrong_in_panels(&t, packed_dy, sparse),
                         f % AM_PANEL == 0 ? count_wrong_sampled(&t, panels) : 0};
    for (int64_t j = 0; j < COUNT(wrong); j++) {
        if (wrong[j] > 0) {
            AM_FAILED("dense %d x %d x %d, zeros %d, sparse %d: %d wrong in %s", (int)n, (int)d,
                      (int)f, zeros, sparse, wrong[j],
                      ((const char *[]){"y", "dx", "dw", "db", "dw in panels", "dx, sampled"})[j]);
        }
    }
    float *buffers[] = {panels, packed_back, packed_dy, y, dx, dw, db};
    for (int64_t j = 0; j < COUNT(buffers); j++) {
        free(buffers[j]);
    }
    free_dense(&t);
}

AM_TEST(dense_of_some_rows)
{
    for (int64_t c = 0; c < COUNT(dense_cases) * 4; c++) {
        check_dense(dense_cases[c / 4], c % 2, c / 2 % 2);
    }
}

AM_TEST(dense_of_batches_for_any_number_of_threads)
{
    for (int64_t c = 0; c < COUNT(dense_cases); c++) {
        dense_data t = make_dense(dense_cases[c][0], dense_cases[c][1], dense_cases[c][2], 0);
        const int64_t n = t.n, d = t.d, f = t.f;
        float *first = NULL;
        const int64_t size = n * f + n * d + d * f + f;
        for (int64_t k = 0; k < COUNT(thread_counts); k++) {
            float *y = am_nan_floats(size), *dx = y + n * f, *dw = dx + n * d, *db = dw + d * f;
            AM_CHECK_OK(
                am_dense_forward_batch(y, t.x, t.w, t.b, n, d, f, thread_counts[k], NULL, &err));
            AM_CHECK_OK(am_dense_backward_batch(dx, dw, db, t.dy, t.x, t.w, n, d, f,
                                                thread_counts[k], NULL, &err));
            AM_CHECK_INT(am_count_wrong(y, &t.y, d), 0);
            AM_CHECK_INT(am_count_wrong(dx, &t.dx, f), 0);
            AM_CHECK_INT(am_count_wrong(dw, &t.dw, n), 0);
            AM_CHECK_INT(am_count_wrong(db, &t.db, n), 0);
            if (first == NULL) {
                first = y;
                continue;
            }
            AM_CHECK(memcmp(first, y, (size_t)size * sizeof(float)) == 0);
            free(y);
        }
        free(first);
        free_dense(&t);
    }
}

/* A block of rows that is packed anew leaves the other blocks alone, and the gap after a panel. */
AM_TEST(packing_some_rows_touches_no_others)
{
    static const int64_t shapes[][2] = {{53, 37}, {54, 38}, {64, 32}, {61, 16}};
    for (int64_t s = 0; s < COUNT(shapes); s++) {
        const int64_t rows = shapes[s][0], cols = shapes[s][1];
        float *a = am_random_floats(rows * cols, 1), *b = am_random_floats(rows * cols, 2);
        const int64_t size = am_packed_size(rows, cols), turned = am_packed_size(cols, rows);
        float *packed = am_nan_floats(size), *back = am_nan_floats(turned);
        am_pack_rows(packed, a, rows, cols, cols, 0, rows);
        am_dense_pack_back(back, packed, rows, cols, 0, rows);
        am_pack_rows(packed, b + 48 * cols, rows, cols, cols, 48, rows);
        am_dense_pack_back(back, packed, rows, cols, 48, rows);
        for (int64_t i = 0; i < size; i++) {
            const int64_t row = i / AM_PANEL % am_panel_rows(rows);
            const int64_t col = i / (AM_PANEL * am_panel_rows(rows)) * AM_PANEL + i % AM_PANEL;
            const float *from = row < 48 ? a : b;
            AM_CHECK(row == rows ? isnan(packed[i])
                                 : packed[i] == (col < cols ? from[row * cols + col] : 0.0f));
        }
        for (int64_t i = 0; i < turned; i++) {
            const int64_t col = i / AM_PANEL % am_panel_rows(cols);
            const int64_t row = i / (AM_PANEL * am_panel_rows(cols)) * AM_PANEL + i % AM_PANEL;
            const float *from = row < 48 ? a : b;
            AM_CHECK(col == cols ? isnan(back[i])
                                 : back[i] == (row < rows ? from[row * cols + col] : 0.0f));
        }
        free(a);
        free(b);
        free(packed);
        free(back);
    }
}

AM_TEST(dense_weights_in_panels_and_back)
{
    for (int64_t c = 0; c < COUNT(dense_cases); c++) {
        const int64_t d = dense_cases[c][1], f = dense_cases[c][2], size = am_dense_size(d, f);
        float *w = am_random_floats(d * f, 1), *again = am_nan_floats(d * f);
        float *panels = am_nan_floats(size);
        am_dense_pack(panels, w, d, f);
        for (int64_t i = 0; i < d * f; i++) {
            const int64_t place = am_dense_place(d, i / f, i % f);
            AM_CHECK(place >= 0 && place < size && panels[place] == w[i]);
        }
        am_dense_unpack(again, panels, d, f);
        AM_CHECK(memcmp(w, again, (size_t)(d * f) * sizeof(float)) == 0);
        free(w);
        free(again);
        free(panels);
    }
}

/* --- losses ---------------------------------------------------------------------------------- */

static double
naive_loss(am_loss loss, const double *z, const float *y, int64_t k)
{
    double top = z[0], total = 0.0, sum = 0.0;
    for (int64_t j = 1; j < k; j++) {
        top = fmax(top, z[j]);
    }
    for (int64_t j = 0; j < k; j++) {
        total += exp(z[j] - top);
    }
    for (int64_t j = 0; j < k; j++) {
        if (loss == AM_LOSS_SOFTMAX) {
            sum += y[j] == 0 ? 0.0 : y[j] * (top + log(total) - z[j]);
        }
        else {
            sum += (fmax(z[j], 0) - z[j] * y[j] + log1p(exp(-fabs(z[j])))) / (double)k;
        }
    }
    return sum;
}

static void
check_loss(am_loss loss, const float *z, const float *y, int64_t k)
{
    double *exact_z = am_bytes(k * 8);
    float *p = am_nan_floats(k), *dz = am_nan_floats(k), *softmax = am_nan_floats(k);
    for (int64_t j = 0; j < k; j++) {
        exact_z[j] = z[j];
    }
    const double got = am_loss_forward(loss, p, z, y, k);
    const double exact = naive_loss(loss, exact_z, y, k);
    AM_CHECK_NEAR(got, exact, 1e-13 * (1 + fabs(exact)));
    am_loss_backward(loss, dz, p, y, 3.0, k);
    am_softmax(softmax, z, k);
    double total = 0.0;
    for (int64_t j = 0; j < k; j++) {
        const double h = 1e-5;
        exact_z[j] = z[j] + h;
        const double above = naive_loss(loss, exact_z, y, k);
        exact_z[j] = z[j] - h;
        const double below = naive_loss(loss, exact_z, y, k);
        exact_z[j] = z[j];
        AM_CHECK_NEAR(dz[j], 3.0 * (above - below) / (2 * h), 1e-6 * (1 + fabs(exact)));
        AM_CHECK(p[j] >= 0 && p[j] <= 1);
        AM_CHECK(loss == AM_LOSS_SIGMOID || p[j] == softmax[j]);
        if (loss == AM_LOSS_SIGMOID) {
            AM_CHECK_NEAR(p[j], 1 / (1 + exp(-(double)z[j])), 1e-7);
        }
        total += softmax[j];
    }
    AM_CHECK_NEAR(total, 1.0, 1e-6);
    free(exact_z);
    free(p);
    free(dz);
    free(softmax);
}

AM_TEST(losses_follow_their_definitions)
{
    static const float scales[] = {0.01f, 1, 8, 80, 2000};
    static const int64_t classes[] = {1, 2, 3, 10, 17};
    for (int64_t i = 0; i < COUNT(classes) * COUNT(scales) * 4; i++) {
        const int64_t k = classes[i % COUNT(classes)];
        const float scale = scales[i / COUNT(classes) % COUNT(scales)];
        float *z = am_random_floats(k, (uint32_t)i), *y = am_floats(k);
        for (int64_t j = 0; j < k; j++) {
            z[j] *= scale;
        }
        for (int64_t hot = 0; hot <= k; hot++) {
            for (int64_t j = 0; j < k; j++) { /* one-hot, then soft and not summing to 1 */
                y[j] = hot < k ? (float)(j == hot) : 0.25f * (float)((i + j) % 4);
            }
            check_loss(AM_LOSS_SOFTMAX, z, y, k);
            check_loss(AM_LOSS_SIGMOID, z, y, k);
        }
        free(z);
        free(y);
    }
}

AM_TEST(losses_of_nan_are_nan)
{
    const float z[] = {1, NAN, 0}, y[] = {1, 0, 0};
    float p[3];
    AM_CHECK(isnan(am_loss_forward(AM_LOSS_SOFTMAX, p, z, y, 3)));
    AM_CHECK(isnan(am_loss_forward(AM_LOSS_SIGMOID, p, z, y, 3)));
}

/* --- dropout --------------------------------------------------------------------------------- */

/* How many of the n kept places two masks share. */
static int64_t
overlap(const uint8_t *a, const uint8_t *b, int64_t n)
{
    int64_t both = 0;
    for (int64_t i = 0; i < n; i++) {
        both += a[i] & b[i];
    }
    return both;
}

AM_TEST(dropout_masks_are_independent_draws)
{
    enum { N = 40000, MASKS = 6 };
    static const double rates[] = {0.25, 0.5, 0.9};
    uint8_t *mask[MASKS];
    for (int64_t r = 0; r < COUNT(rates); r++) {
        const double keep = 1 - rates[r];
        for (int m = 0; m < MASKS;
             m++) { /* one of seed, its high half, step, layer, slot differs */
            mask[m] = am_bytes(N);
            am_dropout_mask(mask[m], N, rates[r], 7 + (m == 1) + ((uint64_t)(m == 2) << 32),
                            3 + (m == 3), 2 + (m == 4), 5 + (m == 5));
        }
        for (int a = 0; a < MASKS; a++) {
            for (int b = 0; b <= a; b++) { /* a mask with itself: how many are kept */
                const double p = a == b ? keep : keep * keep;
                AM_CHECK_NEAR(overlap(mask[a], mask[b], N), N * p, 4.5 * sqrt(N * p * (1 - p)));
            }
            const double next = keep * keep; /* neighbours within a mask */
            AM_CHECK_NEAR(overlap(mask[a], mask[a] + 1, N - 1), N * next,
                          6 * sqrt(N * next * (1 - next)));
        }
        for (int m = 0; m < MASKS; m++) {
            free(mask[m]);
        }
    }
}

AM_TEST(dropout_mask_does_not_depend_on_the_length)
{
    uint8_t whole[100];
    am_dropout_mask(whole, 100, 0.5, 1, 2, 3, 4);
    for (int64_t n = 0; n < 100; n++) {
        uint8_t *part = am_bytes(n);
        am_dropout_mask(part, n, 0.5, 1, 2, 3, 4);
        AM_CHECK(memcmp(part, whole, (size_t)n) == 0);
        free(part);
    }
}

AM_TEST(dropout_keeps_the_mean)
{
    enum { N = 37 };
    uint8_t keep[N];
    float x[N], y[N];
    am_randomize(x, N, 1);
    am_dropout_mask(keep, N, 0.0, 1, 2, 3, 4);
    am_dropout_apply(y, x, keep, 0.0, N);
    AM_CHECK(memcmp(x, y, sizeof x) == 0);
    am_dropout_mask(keep, N, 0.2, 1, 2, 3, 4);
    am_dropout_apply(y, x, keep, 0.2, N);
    for (int64_t i = 0; i < N; i++) {
        AM_CHECK(keep[i] <= 1);
        AM_CHECK_NEAR(y[i], keep[i] ? x[i] / 0.8 : 0.0, 1e-7);
    }
}
