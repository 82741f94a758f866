#include "layers.h"

#include "pack.h"

/* Inputs per block: 16 rows of x and one panel of w of this length share the first-level cache. */
#define BLOCK 320

void
am_dense_forward(float *y, const float *x, const float *packed, const float *b, int64_t n,
                 int64_t d, int64_t f)
{
    const am_kernels *kernels = am_get_kernels();
    for (int64_t i = 0; i == 0 || i < d; i += BLOCK) { /* once for d = 0: y = b */
        for (int64_t o = 0; o < f; o += AM_PANEL) {
            am_gemm g = {
                .rows = n,
                .segments = 1,
                .steps = am_min_i64(BLOCK, d - i),
                .a = x + i,
                .row = d,
                .step = 1,
                .b = packed + o * d + i * AM_PANEL,
                .c = y + o,
                .c_row = f,
                .lanes = am_min_i64(AM_PANEL, f - o),
                .bias = i == 0 ? b + o : NULL,
                .accumulate = i > 0,
            };
            kernels->gemm(&g);
        }
    }
}

void
am_dense_backward_data(float *dx, const float *dy, const float *packed_back, int64_t n, int64_t d,
                       int64_t f)
{
    /* forward: y = x w + b, so dx = dy w' */
    const am_kernels *kernels = am_get_kernels();
    for (int64_t i = 0; i < d; i += AM_PANEL) {
        am_gemm g = {
            .rows = n,
            .segments = 1,
            .steps = f,
            .a = dy,
            .row = f,
            .step = 1,
            .b = packed_back + i * f,
            .c = dx + i,
            .c_row = d,
            .lanes = am_min_i64(AM_PANEL, d - i),
        };
        kernels->gemm(&g);
    }
}

void
am_dense_backward_weights(float *dw, const float *dy_packed, const float *x, int64_t n, int64_t d,
                          int64_t f, int64_t first, int64_t last)
{
    /* forward: y = x w + b, so dw = x' dy */
    const am_kernels *kernels = am_get_kernels();
    for (int64_t o = 0; o < f; o += AM_PANEL) {
        am_gemm g = {
            .rows = last - first,
            .segments = 1,
            .steps = n,
            .a = x + first,
            .row = 1,
            .step = d,
            .b = dy_packed + o * n,
            .c = dw + o,
            .c_row = f,
            .lanes = am_min_i64(AM_PANEL, f - o),
        };
        kernels->gemm(&g);
    }
}

void
am_dense_backward_bias(float *db, const float *dy_packed, int64_t n, int64_t f)
{
    for (int64_t o = 0; o < f; o++) {
        const float *p = dy_packed + o / AM_PANEL * AM_PANEL * n + o % AM_PANEL;
        db[o] = 0.0f;
        for (int64_t i = 0; i < n; i++) {
            db[o] += p[i * AM_PANEL];
        }
    }
}
