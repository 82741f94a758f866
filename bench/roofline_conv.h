/* Convolutions 3x3 for roofline.c: by themselves, one image a call, and fused with ReLU and
 * max-pooling, backwards for a group of images. Included once, after roofline_kernels.h's helpers.
 */

typedef struct conv {
    int64_t side, c, f;
    am_conv2d s;
    float *x, *y, *w, *b, *packed, *packed_back, *dx, *dw, *db, *scratch;
} conv;

static conv conv1 = {.side = 28, .c = 1, .f = 32}, conv2 = {.side = 13, .c = 32, .f = 64};

static void
prepare_conv(void *arg)
{
    conv *t = arg;
    am_error err;
    if (am_conv2d_init(&t->s, t->side, t->side, t->c, t->f, 3, 0, &err) != AM_OK) {
        die(err.message);
    }
    t->x = block(t->side * t->side * t->c);
    t->dx = block(t->side * t->side * t->c);
    t->y = block(t->s.out_h * t->s.out_w * t->f);
    t->w = block(9 * t->c * t->f);
    t->dw = block(9 * t->c * t->f);
    t->b = block(t->f);
    t->db = block(t->f);
    t->packed = block(am_conv2d_packed(&t->s));
    t->packed_back = block(am_conv2d_packed_back(&t->s));
    t->scratch = block(am_conv2d_scratch(&t->s));
    am_conv2d_pack(t->packed, t->w, &t->s);
    am_conv2d_pack_back(t->packed_back, t->w, &t->s);
}

static void
conv_forward(void *arg)
{
    const conv *t = arg;
    am_conv2d_forward(t->y, t->x, t->packed, t->b, &t->s, t->scratch);
}

static void
conv_data(void *arg)
{
    const conv *t = arg;
    am_conv2d_backward_data(t->dx, t->y, t->packed_back, &t->s, t->scratch);
}

static void
conv_weights(void *arg)
{
    const conv *t = arg;
    am_conv2d_backward_weights(t->dw, t->db, t->y, t->x, &t->s, t->scratch);
}

/* Adds the products of the definition to y, dx or dw, whichever is not NULL. */
static void
define_conv(const conv *t, double *y, double *dx, double *dw)
{
    for (int64_t out = 0; out < t->s.out_h * t->s.out_w; out++) {
        for (int64_t k = 0; k < 9 * t->c; k++) {
            const int64_t row = out / t->s.out_w + k / (3 * t->c);
            const int64_t col = out % t->s.out_w + k / t->c % 3;
            const int64_t in = (row * t->side + col) * t->c + k % t->c;
            for (int64_t o = 0; o < t->f; o++) {
                const double a = t->x[in], w = t->w[k * t->f + o];
                if (y != NULL) {
                    y[out * t->f + o] += a * w;
                }
                if (dx != NULL) {
                    dx[in] += t->y[out * t->f + o] * w;
                }
                if (dw != NULL) {
                    dw[k * t->f + o] += a * t->y[out * t->f + o];
                }
            }
        }
    }
}

static double
conv_forward_error(void *arg)
{
    const conv *t = arg;
    const int64_t n = t->s.out_h * t->s.out_w * t->f;
    double *want = zeros(n);
    for (int64_t i = 0; i < n; i++) {
        want[i] = t->b[i % t->f];
    }
    define_conv(t, want, NULL, NULL);
    conv_forward(arg);
    return gap(t->y, want, n);
}

static double
conv_data_error(void *arg)
{
    const conv *t = arg;
    double *want = zeros(t->side * t->side * t->c);
    define_conv(t, NULL, want, NULL);
    conv_data(arg);
    return gap(t->dx, want, t->side * t->side * t->c);
}

static double
conv_weights_error(void *arg)
{
    const conv *t = arg;
    double *want = zeros(9 * t->c * t->f);
    define_conv(t, NULL, NULL, want);
    memset(t->dw, 0, (size_t)(9 * t->c * t->f) * sizeof(float));
    conv_weights(arg);
    return gap(t->dw, want, 9 * t->c * t->f);
}

/* --- fused with bias, ReLU and max-pooling */

typedef struct fused {
    conv *conv;
    am_conv_pool s;
    float *y, *dy, *packed, *packed_back, *dw, *dx, *scratch;
    uint8_t *argmax;
    am_conv_pool_images images;
} fused;

static fused block1 = {.conv = &conv1}, block2 = {.conv = &conv2};

static void
prepare_fused(void *arg)
{
    fused *t = arg;
    conv *c = t->conv;
    prepare_conv(c);
    if (!am_conv_pool_fits(&t->s, &c->s, c->c == 1)) {
        die("the article's convolutions fit no fused block");
    }
    const int64_t n = t->s.ph * t->s.pw * c->f, pixels = c->side * c->side * c->c;
    const int64_t scratch = am_conv_pool_scratch(&t->s), back = am_conv_pool_scratch_back(&t->s);
    c->x = block(AM_GROUP * pixels);
    c->dx = block(AM_GROUP * pixels);
    t->y = block(AM_GROUP * n);
    t->dy = block(AM_GROUP * n);
    t->argmax = (uint8_t *)block(AM_GROUP * n / 4);
    t->packed = block(am_conv_pool_packed(&t->s));
    t->packed_back = block(am_conv_pool_packed_back(&t->s));
    t->dw = block(9 * c->c * c->f);
    t->scratch = block(scratch > back ? scratch : back);
    am_conv_pool_pack(t->packed, c->w, &t->s);
    am_conv_pool_pack_back(t->packed_back, c->w, &t->s);
    for (int64_t i = 0; i < AM_GROUP; i++) {
        am_conv_pool_forward(t->y + i * n, t->argmax + i * n, c->x + i * pixels, c->w, t->packed,
                             c->b, &t->s, t->scratch);
    }
    thin_out(t->y, AM_GROUP * n);
    t->images = (am_conv_pool_images){AM_GROUP, c->x, pixels, t->y, t->dy, n, n, t->argmax, n};
}

static void
fused_forward(void *arg)
{
    const fused *t = arg;
    am_conv_pool_forward(t->y, t->argmax, t->conv->x, t->conv->w, t->packed, t->conv->b, &t->s,
                         t->scratch);
}

/* Of the weights, and of the data where the block's input has a gradient. */
static void
fused_backward(void *arg)
{
    const fused *t = arg;
    float *dx = am_conv_pool_is_narrow(&t->s) ? NULL : t->conv->dx;
    am_conv_pool_backward(dx, t->images.x_image, t->dw, t->conv->db, &t->images, t->packed_back,
                          &t->s, t->scratch);
}

/* Place in the convolution's output of the pooled value i's winner. */
static int64_t
winner(const fused *t, int64_t i, int where)
{
    const int64_t f = t->s.f, o = i % f, px = i / f % t->s.pw, py = i / f / t->s.pw;
    return ((2 * py + where / 2) * t->conv->s.out_w + 2 * px + where % 2) * f + o;
}

static double
fused_forward_error(void *arg)
{
    const fused *t = arg;
    const conv *c = t->conv;
    const int64_t n = t->s.ph * t->s.pw * t->s.f;
    double *all = zeros(c->s.out_h * c->s.out_w * c->f), *want = zeros(n);
    define_conv(c, all, NULL, NULL);
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < 4; k++) {
            want[i] = fmax(want[i], all[winner(t, i, k)] + c->b[i % c->f]);
        }
    }
    free(all);
    fused_forward(arg);
    return gap(t->y, want, n);
}

/* The gradient of image `i` as it reaches the convolution: where it was largest, and positive. */
static void
spread_gradient(const fused *t, int64_t i)
{
    const conv *c = t->conv;
    const int64_t n = t->images.y_image;
    memset(c->y, 0, (size_t)(c->s.out_h * c->s.out_w * c->f) * sizeof(float));
    for (int64_t j = i * n; j < (i + 1) * n; j++) {
        if (t->y[j] > 0.0f) {
            c->y[winner(t, j - i * n, t->argmax[j])] = t->dy[j];
        }
    }
}

static double
fused_backward_error(void *arg)
{
    fused *t = arg;
    conv first = *t->conv; /* moves on from image to image */
    const int64_t n = 9 * first.c * first.f, pixels = t->images.x_image;
    const int narrow = am_conv_pool_is_narrow(&t->s);
    double *want = zeros(n), *want_dx = zeros(pixels);
    memset(t->dw, 0, (size_t)n * sizeof(float));
    fused_backward(arg);
    spread_gradient(t, 0);
    define_conv(t->conv, NULL, want_dx, NULL);
    const double error = narrow ? 0.0 : gap(t->conv->dx, want_dx, pixels);
    for (int64_t i = 0; i < AM_GROUP; i++, first.x += pixels) {
        spread_gradient(t, i);
        define_conv(&first, NULL, NULL, want);
    }
    float *dw = t->dw;
    if (!narrow) {
        dw = block(n);
        am_conv_pool_unpack_gradient(dw, t->dw, &t->s);
    }
    return fmax(error, gap(dw, want, n));
}
