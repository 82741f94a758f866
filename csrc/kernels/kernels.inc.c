/* Every kernel, once. A variant (baseline.c, avx2.c, ...) sets
 *
 *     AM_TABLE    the name of the table it defines
 *     AM_ISA      the name users see
 *     AM_LANES    floats in a vector register
 *     AM_FUSED    1: AM_FMA rounds once, 0: it multiplies, rounds, then adds
 *
 * and includes this file. Nothing here allocates, locks or depends on the number of threads. */
#include "kernels.h"
#include "simd.h"

/* A tile of outputs in registers: enough independent sums to hide the latency of a multiply-add,
 * and few enough for the registers. */
#define VECS (AM_LANES < AM_PANEL ? 2 : 1)
#define WIDTH (VECS * AM_LANES)
#define TILE_ROWS (12 / VECS)

/* `rows` x WIDTH outputs. `rows` and `row_is_1` are constants where this is inlined, so the loops
 * over them unroll and the address arithmetic folds. */
AM_INLINE void
gemm_tile(const am_gemm *g, const float *a, const float *b, float *c, const float *bias,
          const int rows, const int row_is_1)
{
    const int64_t row = row_is_1 ? 1 : g->row;
    const int64_t step = row_is_1 ? g->step : 1;
    vec sum[TILE_ROWS][VECS];
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < VECS; j++) {
            if (bias != NULL) {
                sum[r][j] = vec_load(bias + j * AM_LANES);
            }
            else if (g->accumulate) {
                sum[r][j] = vec_load(c + r * g->c_row + j * AM_LANES);
            }
            else {
                sum[r][j] = (vec){0};
            }
        }
    }
    for (int64_t s = 0; s < g->segments; s++) {
        const float *p = a + s * g->segment;
#pragma GCC unroll 2
        for (int64_t k = 0; k < g->steps; k++) {
            vec w[VECS];
            for (int j = 0; j < VECS; j++) {
                w[j] = vec_load(b + j * AM_LANES);
            }
            b += AM_PANEL;
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                const vec x = vec_splat(p[r * row]);
                for (int j = 0; j < VECS; j++) {
                    sum[r][j] = AM_FMA(x, w[j], sum[r][j]);
                }
            }
            p += step;
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < VECS; j++) {
            vec_store(c + r * g->c_row + j * AM_LANES, sum[r][j]);
        }
    }
}

/* All rows, in as few tiles as possible, all of nearly the same height: a low one would leave the
 * multipliers waiting. */
AM_INLINE void
gemm_rows(const am_gemm *g, const float *b, float *c, const float *bias, const int row_is_1)
{
    const int64_t row = row_is_1 ? 1 : g->row;
    const float *a = g->a;
    int64_t left = g->rows;
    for (int64_t tiles = am_ceil_div(left, TILE_ROWS); tiles > 0; tiles--) {
        const int64_t rows = am_ceil_div(left, tiles);
        switch (rows) {
#define TILE(n)                                   \
    case n:                                       \
        gemm_tile(g, a, b, c, bias, n, row_is_1); \
        break
            TILE(1);
            TILE(2);
            TILE(3);
            TILE(4);
            TILE(5);
            TILE(6);
#if AM_LANES == AM_PANEL
            TILE(7);
            TILE(8);
            TILE(9);
            TILE(10);
            TILE(11);
            TILE(12);
#endif
#undef TILE
        }
        a += rows * row;
        c += rows * g->c_row;
        left -= rows;
    }
}

/* A panel all of whose columns exist. */
static void
gemm_full(const am_gemm *g)
{
    for (int j = 0; j < AM_PANEL; j += WIDTH) {
        const float *bias = g->bias == NULL ? NULL : g->bias + j;
        if (g->row == 1 && g->step != 1) {
            gemm_rows(g, g->b + j, g->c + j, bias, 1);
        }
        else {
            gemm_rows(g, g->b + j, g->c + j, bias, 0);
        }
    }
}

/* The last panel of a matrix whose width is no multiple of AM_PANEL: a few rows at a time in a
 * full-width buffer. B is padded with zeros, the extra columns are thrown away. */
static void
gemm_narrow(const am_gemm *g)
{
    enum { ROWS = 4 * TILE_ROWS };
    float wide[ROWS * AM_PANEL] __attribute__((aligned(AM_ALIGNMENT)));
    float bias[AM_PANEL] __attribute__((aligned(AM_ALIGNMENT))) = {0};
    am_gemm part = *g;
    part.c = wide;
    part.c_row = AM_PANEL;
    part.lanes = AM_PANEL;
    if (g->bias != NULL) {
        for (int64_t j = 0; j < g->lanes; j++) {
            bias[j] = g->bias[j];
        }
        part.bias = bias;
    }
    for (int64_t r = 0; r < g->rows; r += ROWS) {
        part.rows = am_min_i64(ROWS, g->rows - r);
        part.a = g->a + r * g->row;
        for (int64_t i = 0; i < part.rows && g->accumulate; i++) {
            for (int64_t j = 0; j < AM_PANEL; j++) {
                wide[i * AM_PANEL + j] = j < g->lanes ? g->c[(r + i) * g->c_row + j] : 0.0f;
            }
        }
        gemm_full(&part);
        for (int64_t i = 0; i < part.rows; i++) {
            for (int64_t j = 0; j < g->lanes; j++) {
                g->c[(r + i) * g->c_row + j] = wide[i * AM_PANEL + j];
            }
        }
    }
}

static void
gemm(const am_gemm *g)
{
    if (g->lanes == AM_PANEL) {
        gemm_full(g);
    }
    else {
        gemm_narrow(g);
    }
}

static void
relu(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = x[i] < 0.0f ? 0.0f : x[i]; /* NaN stays NaN: a diverged network must show */
    }
}

static void
relu_gradient(float *dx, const float *dy, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
    }
}

/* argmax is 0..3, row-major within the window; the first of equal values wins. */
static void
maxpool(float *y, uint8_t *argmax, const float *x, const am_pool_shape *s)
{
    const int64_t line = s->w * s->c;
    for (int64_t oy = 0; oy < s->h / 2; oy++) {
        for (int64_t ox = 0; ox < s->w / 2; ox++) {
            const float *p = x + 2 * oy * line + 2 * ox * s->c;
            const float *corner[4] = {p, p + s->c, p + line, p + line + s->c};
            int64_t c = 0;
            for (; c + AM_LANES <= s->c; c += AM_LANES) {
                vec best = vec_load(corner[0] + c);
                veci where = {0};
                for (int i = 1; i < 4; i++) {
                    const vec v = vec_load(corner[i] + c);
                    const veci above = v > best;
                    best = vec_select(above, v, best);
                    where = (above & i) | (~above & where);
                }
                vec_store(y + c, best);
                *(vecb_any *)(argmax + c) = __builtin_convertvector(where, vecb);
            }
            for (; c < s->c; c++) {
                y[c] = corner[0][c];
                argmax[c] = 0;
                for (int i = 1; i < 4; i++) {
                    if (corner[i][c] > y[c]) {
                        y[c] = corner[i][c];
                        argmax[c] = (uint8_t)i;
                    }
                }
            }
            y += s->c;
            argmax += s->c;
        }
    }
}

static void
maxpool_gradient(float *dx, const float *dy, const uint8_t *argmax, const am_pool_shape *s)
{
    const int64_t line = s->w * s->c;
    if (s->h % 2 || s->w % 2) { /* the last row or column belongs to no window */
        for (int64_t i = 0; i < s->h * line; i++) {
            dx[i] = 0.0f;
        }
    }
    for (int64_t oy = 0; oy < s->h / 2; oy++) {
        for (int64_t ox = 0; ox < s->w / 2; ox++) {
            float *p = dx + 2 * oy * line + 2 * ox * s->c;
            float *corner[4] = {p, p + s->c, p + line, p + line + s->c};
            int64_t c = 0;
            for (; c + AM_LANES <= s->c; c += AM_LANES) {
                const vec v = vec_load(dy + c);
                const veci where =
                    __builtin_convertvector((vecb)(*(const vecb_any *)(argmax + c)), veci);
                for (int i = 0; i < 4; i++) {
                    vec_store(corner[i] + c, (vec)((where == i) & (veci)v));
                }
            }
            for (; c < s->c; c++) {
                for (int i = 0; i < 4; i++) {
                    corner[i][c] = argmax[c] == i ? dy[c] : 0.0f;
                }
            }
            dy += s->c;
            argmax += s->c;
        }
    }
}

static void
mask(float *y, const float *x, const uint8_t *keep, float scale, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = keep[i] ? scale * x[i] : 0.0f;
    }
}

static void
add(float *AM_RESTRICT sum, const float *AM_RESTRICT x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        sum[i] += x[i];
    }
}

static void
scale_u8(float *AM_RESTRICT y, const uint8_t *AM_RESTRICT x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)x[i] / 255.0f;
    }
}

/* v <- mu v - rate g;  w <- w + mu v - rate g   (Nesterov's momentum; plain descent for mu = 0) */
static void
sgd(float *AM_RESTRICT w, const float *AM_RESTRICT g, float *AM_RESTRICT v, int64_t n, float rate,
    float momentum)
{
    for (int64_t i = 0; i < n; i++) {
        const float push = rate * g[i];
        v[i] = momentum * v[i] - push;
        w[i] += momentum * v[i] - push;
    }
}

/* v <- rho v + (1 - rho) g^2;  w <- w - rate g / (sqrt(v) + eps) */
static void
rmsprop(float *AM_RESTRICT w, const float *AM_RESTRICT g, float *AM_RESTRICT v, int64_t n,
        float rate, float rho, float eps)
{
    const float rest = 1.0f - rho;
    for (int64_t i = 0; i < n; i++) {
        v[i] = rho * v[i] + rest * (g[i] * g[i]);
        w[i] -= rate * g[i] / (__builtin_sqrtf(v[i]) + eps);
    }
}

/* m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  w <- w - rate m / (sqrt(v correction) + eps),
 * where rate holds 1 / (1 - b1^t) already and correction is 1 / (1 - b2^t) */
static void
adam(float *AM_RESTRICT w, const float *AM_RESTRICT g, float *AM_RESTRICT m, float *AM_RESTRICT v,
     int64_t n, float rate, float beta1, float beta2, float correction, float eps)
{
    const float rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
    for (int64_t i = 0; i < n; i++) {
        m[i] = beta1 * m[i] + rest1 * g[i];
        v[i] = beta2 * v[i] + rest2 * (g[i] * g[i]);
        w[i] -= rate * m[i] / (__builtin_sqrtf(v[i] * correction) + eps);
    }
}

const am_kernels AM_TABLE = {
    .isa = AM_ISA,
    .gemm = gemm,
    .relu = relu,
    .relu_gradient = relu_gradient,
    .maxpool = maxpool,
    .maxpool_gradient = maxpool_gradient,
    .mask = mask,
    .add = add,
    .scale_u8 = scale_u8,
    .sgd = sgd,
    .rmsprop = rmsprop,
    .adam = adam,
};
