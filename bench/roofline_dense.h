/* The first dense layer for roofline.c: a block of images a call, the gradient of its weights a
 * batch. Included once, after roofline_kernels.h's helpers. */

#define ROWS 48 /* of the weights, in a block of a step's update */

typedef struct dense {
    int sparse; /* x as it comes from ReLU and dropout */
    float *x, *y, *w, *b, *panels, *packed_back, *dy_packed, *dx, *dw;
} dense;

static dense fc1, fc1_sparse = {.sparse = 1};

static void
prepare_dense(void *arg)
{
    dense *t = arg;
    t->x = block(BATCH * FLAT);
    t->dx = block(IMAGES * FLAT);
    t->y = block(BATCH * HIDDEN);
    t->w = block(FLAT * HIDDEN);
    t->dw = block(ROWS * HIDDEN);
    t->b = block(HIDDEN);
    t->panels = block(am_dense_size(FLAT, HIDDEN));
    t->packed_back = block(am_packed_size(HIDDEN, FLAT));
    t->dy_packed = block(am_packed_size(BATCH, HIDDEN));
    am_dense_pack(t->panels, t->w, FLAT, HIDDEN);
    am_dense_pack_back(t->packed_back, t->panels, FLAT, HIDDEN, 0, FLAT);
    am_pack_rows(t->dy_packed, t->y, BATCH, HIDDEN, HIDDEN, 0, BATCH);
    if (t->sparse) {
        thin_out(t->x, BATCH * FLAT);
    }
}

static void
dense_forward(void *arg)
{
    const dense *t = arg;
    am_dense_forward(t->y, t->x, t->panels, t->b, IMAGES, FLAT, HIDDEN, t->sparse);
}

static void
dense_data(void *arg)
{
    const dense *t = arg;
    if (t->sparse) {
        am_dense_backward_data_sampled(t->dx, t->y, t->x, t->panels, IMAGES, FLAT, HIDDEN);
    }
    else {
        am_dense_backward_data(t->dx, t->y, t->packed_back, IMAGES, FLAT, HIDDEN, 0);
    }
}

/* By blocks of ROWS rows, each where the one before was, as a step does it. */
static void
dense_weights_block(const dense *t, int64_t first)
{
    am_dense_backward_weights(t->dw, AM_PANEL, ROWS * AM_PANEL, t->dy_packed, t->x, BATCH, FLAT,
                              HIDDEN, first, am_min_i64(first + ROWS, FLAT), t->sparse);
}

static void
dense_weights(void *arg)
{
    for (int64_t i = 0; i < FLAT; i += ROWS) {
        dense_weights_block(arg, i);
    }
}

/* The first rows of a (rows, steps) times b (steps, columns), each with its strides. */
static double *
product(const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_step,
        int64_t b_col, int64_t rows, int64_t steps, int64_t columns)
{
    double *c = zeros(rows * columns);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < steps; k++) {
            for (int64_t j = 0; j < columns; j++) {
                c[r * columns + j] += (double)a[r * a_row + k * a_step] * b[k * b_step + j * b_col];
            }
        }
    }
    return c;
}

static double
dense_forward_error(void *arg)
{
    const dense *t = arg;
    double *want = product(t->x, FLAT, 1, t->w, HIDDEN, 1, IMAGES, FLAT, HIDDEN);
    for (int64_t i = 0; i < IMAGES * HIDDEN; i++) {
        want[i] += t->b[i % HIDDEN];
    }
    dense_forward(arg);
    return gap(t->y, want, IMAGES * HIDDEN);
}

static double
dense_data_error(void *arg)
{
    const dense *t = arg;
    double *want = product(t->y, HIDDEN, 1, t->w, 1, HIDDEN, IMAGES, HIDDEN, FLAT);
    for (int64_t i = 0; i < IMAGES * FLAT && t->sparse; i++) {
        want[i] *= t->x[i] != 0.0f;
    }
    dense_data(arg);
    return gap(t->dx, want, IMAGES * FLAT);
}

static double
dense_weights_error(void *arg)
{
    const dense *t = arg;
    double *want = product(t->x, 1, FLAT, t->y, HIDDEN, 1, ROWS, BATCH, HIDDEN);
    float *got = block(ROWS * HIDDEN);
    dense_weights_block(t, 0);
    for (int64_t i = 0; i < ROWS * HIDDEN; i++) {
        const int64_t column = i % HIDDEN;
        got[i] = t->dw[(column / AM_PANEL * ROWS + i / HIDDEN) * AM_PANEL + column % AM_PANEL];
    }
    return gap(got, want, ROWS * HIDDEN);
}
