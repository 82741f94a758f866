/* Convolution as neural networks mean it (no flip of the window), stride 1:
 *
 *     y[oy][ox][o] = b[o] + sum over kh, kw, i of x[oy + kh - pad][ox + kw - pad][i]
 * w[kh][kw][i][o]
 *
 * For a fixed kh the window of an output pixel is one contiguous run of size * c floats, so a row
 * of outputs is a matrix product whose reduction has `size` segments. Padding on the left and
 * right is copied in as zeros; window rows above and below the image are skipped. */
#include "layers.h"

#include <string.h>

#include "pack.h"

/* An empty batch may claim any size: what is computed from it must not overflow. */
static int
fits(int64_t a, int64_t b, int64_t c)
{
    int64_t product;
    return !__builtin_mul_overflow(a, b, &product) &&
           !__builtin_mul_overflow(product, c, &product) && product < INT64_C(1) << 48;
}

am_status
am_conv2d_init(am_conv2d *s, int64_t h, int64_t w, int64_t c, int64_t f, int64_t size, int same,
               am_error *err)
{
    if (size < 1 || size % 2 == 0 || size > AM_MAX_WINDOW) {
        return am_fail(err, AM_ERR_VALUE, "conv: expected an odd window size up to %d, got %lld",
                       AM_MAX_WINDOW, (long long)size);
    }
    if (f < 1) {
        return am_fail(err, AM_ERR_VALUE, "conv: expected at least 1 filter, got %lld",
                       (long long)f);
    }
    const int64_t pad = same ? (size - 1) / 2 : 0;
    *s = (am_conv2d){h, w, c, f, size, pad, h + 2 * pad - size + 1, w + 2 * pad - size + 1};
    if (s->out_h < 1 || s->out_w < 1) {
        return am_fail(err, AM_ERR_SHAPE,
                       "conv: a %lld x %lld window does not fit an image of %lld x %lld; use "
                       "padding=\"same\" or a smaller window",
                       (long long)size, (long long)size, (long long)h, (long long)w);
    }
    if (!fits(h + 2 * size, w + 2 * size, c > f ? c : f) || !fits(size * size, c, f)) {
        return am_fail(err, AM_ERR_SHAPE,
                       "conv: an image of %lld x %lld x %lld with %lld filters is too large",
                       (long long)h, (long long)w, (long long)c, (long long)f);
    }
    return AM_OK;
}

/* Zeros that the backward pass needs around dy, on each side. */
static int64_t
back_pad(const am_conv2d *s)
{
    return s->size - 1 - s->pad;
}

/* Floats of the padded input, rounded up so that what follows stays aligned. */
static int64_t
padded_input(const am_conv2d *s)
{
    return am_ceil_div(s->h * (s->w + 2 * s->pad) * s->c, AM_PANEL) * AM_PANEL;
}

int64_t
am_conv2d_scratch(const am_conv2d *s)
{
    const int64_t padded_x = padded_input(s);
    const int64_t padded_dy = s->out_h * (s->out_w + 2 * back_pad(s)) * s->f;
    const int64_t packed_dy = am_packed_size(s->out_h * s->out_w, s->f);
    const int64_t weights = padded_x + packed_dy;
    return weights > padded_dy ? weights : padded_dy;
}

int64_t
am_conv2d_packed(const am_conv2d *s)
{
    return am_packed_size(s->size * s->size * s->c, s->f);
}

int64_t
am_conv2d_packed_back(const am_conv2d *s)
{
    return am_packed_size(s->size * s->size * s->f, s->c);
}

void
am_conv2d_pack(float *packed, const float *w, const am_conv2d *s)
{
    const int64_t rows = s->size * s->size * s->c;
    am_pack_rows(packed, w, rows, s->f, s->f, 0, rows);
}

/* The weights of backward_data: turned by 180 degrees, input and output channels swapped. */
void
am_conv2d_pack_back(float *packed, const float *w, const am_conv2d *s)
{
    const int64_t taps = s->size * s->size;
    for (int64_t i0 = 0; i0 < s->c; i0 += AM_PANEL) {
        float *p = packed + i0 * am_panel_rows(taps * s->f);
        for (int64_t tap = taps - 1; tap >= 0; tap--) {
            for (int64_t o = 0; o < s->f; o++) {
                for (int64_t j = 0; j < AM_PANEL; j++) {
                    *p++ = i0 + j < s->c ? w[(tap * s->c + i0 + j) * s->f + o] : 0.0f;
                }
            }
        }
    }
}

/* Copies x (h, w, c) between `pad` zero pixels on the left and right of each row. */
static const float *
pad_rows(float *padded, const float *x, int64_t h, int64_t w, int64_t c, int64_t pad)
{
    if (pad == 0) {
        return x;
    }
    const size_t margin = (size_t)(pad * c) * sizeof(float);
    const size_t line = (size_t)(w * c) * sizeof(float);
    float *p = padded;
    for (int64_t y = 0; y < h; y++) {
        memset(p, 0, margin);
        p += pad * c;
        memcpy(p, x + y * w * c, line);
        p += w * c;
        memset(p, 0, margin);
        p += pad * c;
    }
    return padded;
}

/* The window sums of an image whose rows are padded already: forward and backward_data. */
typedef struct correlation {
    const float *x; /* (h, line / c, c) */
    int64_t h, line, c;
    int64_t size, pad; /* window; rows of zeros above and below */
    const float *packed, *bias;
    float *y; /* (out_h, out_w, f) */
    int64_t out_h, out_w, f;
} correlation;

static void
correlate(const correlation *t)
{
    const am_kernels *kernels = am_get_kernels();
    const int64_t run = t->size * t->c;
    for (int64_t oy = 0; oy < t->out_h; oy++) {
        const int64_t top = oy - t->pad; /* row of x under the first row of the window */
        const int64_t first = top < 0 ? -top : 0;
        const int64_t last = am_min_i64(t->size, t->h - top);
        am_gemm g = {
            .rows = t->out_w,
            .cols = t->f,
            .segments = last - first,
            .steps = run,
            .a = t->x + (top + first) * t->line,
            .row = t->c,
            .segment = t->line,
            .step = 1,
            .b = t->packed + first * run * AM_PANEL,
            .b_panel = am_panel_rows(t->size * run) * AM_PANEL,
            .c = t->y + oy * t->out_w * t->f,
            .c_row = t->f,
            .c_panel = AM_PANEL,
            .bias = t->bias,
        };
        kernels->gemm(&g);
    }
}

void
am_conv2d_forward(float *y, const float *x, const float *packed, const float *b, const am_conv2d *s,
                  float *scratch)
{
    correlation t = {
        .x = pad_rows(scratch, x, s->h, s->w, s->c, s->pad),
        .h = s->h,
        .line = (s->w + 2 * s->pad) * s->c,
        .c = s->c,
        .size = s->size,
        .pad = s->pad,
        .packed = packed,
        .bias = b,
        .y = y,
        .out_h = s->out_h,
        .out_w = s->out_w,
        .f = s->f,
    };
    correlate(&t);
}

void
am_conv2d_backward_data(float *dx, const float *dy, const float *packed_back, const am_conv2d *s,
                        float *scratch)
{
    /* forward: y[oy] += x[oy + kh - pad] w[kh], so dx[iy] += dy[iy - kh + pad] w[kh]: window sums
     * of dy with the turned window, under size - 1 - pad zeros. */
    const int64_t pad = back_pad(s);
    correlation t = {
        .x = pad_rows(scratch, dy, s->out_h, s->out_w, s->f, pad),
        .h = s->out_h,
        .line = (s->out_w + 2 * pad) * s->f,
        .c = s->f,
        .size = s->size,
        .pad = pad,
        .packed = packed_back,
        .bias = NULL,
        .y = dx,
        .out_h = s->h,
        .out_w = s->w,
        .f = s->c,
    };
    correlate(&t);
}

void
am_conv2d_backward_weights(float *dw, float *db, const float *dy, const float *x,
                           const am_conv2d *s, float *scratch)
{
    /* forward: y[oy][ox][o] += x[oy + kh - pad][ox + kw - pad][i] w[kh][kw][i][o], so
     * dw[kh][kw][i][o] += x[oy + kh - pad][ox + kw - pad][i] dy[oy][ox][o]: for each kh a product
     * with size * c rows, reduced over the output rows (segments) and columns (steps). */
    const am_kernels *kernels = am_get_kernels();
    const int64_t pixels = s->out_h * s->out_w;
    const int64_t line = (s->w + 2 * s->pad) * s->c;
    const int64_t run = s->size * s->c;
    const float *padded = pad_rows(scratch, x, s->h, s->w, s->c, s->pad);
    float *packed = scratch + padded_input(s);
    am_pack_rows(packed, dy, pixels, s->f, s->f, 0, pixels);
    for (int64_t kh = 0; kh < s->size; kh++) {
        const int64_t first = kh < s->pad ? s->pad - kh : 0; /* output rows with an x below kh */
        const int64_t last = am_min_i64(s->out_h, s->h - kh + s->pad);
        if (last <= first) {
            continue;
        }
        am_gemm g = {
            .rows = run,
            .cols = s->f,
            .segments = last - first,
            .steps = s->out_w,
            .a = padded + (first + kh - s->pad) * line,
            .row = 1,
            .segment = line,
            .step = s->c,
            .b = packed + first * s->out_w * AM_PANEL,
            .b_panel = am_panel_rows(pixels) * AM_PANEL,
            .c = dw + kh * run * s->f,
            .c_row = s->f,
            .c_panel = AM_PANEL,
            .accumulate = 1,
        };
        kernels->gemm(&g);
    }
    for (int64_t i = 0; i < pixels; i++) {
        kernels->add(db, dy + i * s->f, s->f);
    }
}
