/* y = x w + b. The weights w (d, f) lie in panels of AM_PANEL columns (pack.h): every pass reads
 * them there, and the optimizer changes them there. */
#include "layers.h"

#include "pack.h"

/* Inputs per block: 16 rows of x and two panels of w of this length share the first-level cache. */
#define BLOCK 256

int64_t
am_dense_size(int64_t d, int64_t f)
{
    return am_packed_size(d, f);
}

int64_t
am_dense_place(int64_t d, int64_t i, int64_t j)
{
    return (j / AM_PANEL * am_panel_rows(d) + i) * AM_PANEL + j % AM_PANEL;
}

void
am_dense_pack(float *panels, const float *w, int64_t d, int64_t f)
{
    am_pack_rows(panels, w, d, f, f, 0, d);
}

void
am_dense_unpack(float *w, const float *panels, int64_t d, int64_t f)
{
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j < f; j++) {
            w[i * f + j] = panels[am_dense_place(d, i, j)];
        }
    }
}

void
am_dense_forward(float *y, const float *x, const float *w, const float *b, int64_t n, int64_t d,
                 int64_t f, int sparse)
{
    const int64_t block = sparse ? d : BLOCK;          /* sparse products make their own blocks */
    for (int64_t i = 0; i == 0 || i < d; i += block) { /* once for d = 0: y = b */
        am_gemm g = {
            .rows = n,
            .cols = f,
            .segments = 1,
            .steps = am_min_i64(block, d - i),
            .a = x + i,
            .row = d,
            .step = 1,
            .b = w + i * AM_PANEL,
            .b_panel = am_panel_rows(d) * AM_PANEL,
            .c = y,
            .c_row = f,
            .c_panel = AM_PANEL,
            .bias = i == 0 ? b : NULL,
            .accumulate = i > 0,
            .sparse = sparse,
        };
        am_get_kernels()->gemm(&g);
    }
}

void
am_dense_pack_back(float *packed, const float *w, int64_t d, int64_t f, int64_t first, int64_t last)
{
    for (int64_t i0 = first; i0 < last; i0 += AM_PANEL) {
        float *panel = packed + i0 * am_panel_rows(f);
        const int64_t lanes = am_min_i64(AM_PANEL, last - i0);
        int64_t o = 0;
        for (; o + AM_PANEL <= f && lanes == AM_PANEL; o += AM_PANEL) {
            am_get_kernels()->transpose_panel(panel + o * AM_PANEL, AM_PANEL,
                                              w + am_dense_place(d, i0, o), AM_PANEL);
        }
        for (; o < f; o++) {
            const float *from = w + am_dense_place(d, i0, o);
            for (int64_t j = 0; j < AM_PANEL; j++) {
                panel[o * AM_PANEL + j] = j < lanes ? from[j * AM_PANEL] : 0.0f;
            }
        }
    }
}

void
am_dense_backward_data(float *dx, const float *dy, const float *packed_back, int64_t n, int64_t d,
                       int64_t f, int sparse)
{
    /* forward: y = x w + b, so dx = dy w' */
    am_gemm g = {
        .rows = n,
        .cols = d,
        .segments = 1,
        .steps = f,
        .a = dy,
        .row = f,
        .step = 1,
        .b = packed_back,
        .b_panel = am_panel_rows(f) * AM_PANEL,
        .c = dx,
        .c_row = d,
        .c_panel = AM_PANEL,
        .sparse = sparse,
    };
    am_get_kernels()->gemm(&g);
}

void
am_dense_backward_data_sampled(float *dx, const float *dy, const float *x, const float *w,
                               int64_t n, int64_t d, int64_t f)
{
    /* forward: y = x w + b, so dx = dy w', here where x is not 0 */
    const am_sampled s = {
        .rows = n,
        .cols = d,
        .steps = f,
        .dy = dy,
        .w = w,
        .w_panel = am_panel_rows(d) * AM_PANEL,
        .x = x,
        .dx = dx,
    };
    am_get_kernels()->sampled(&s);
}

void
am_dense_backward_weights(float *dw, int64_t dw_row, int64_t dw_panel, const float *dy_packed,
                          const float *x, int64_t n, int64_t d, int64_t f, int64_t first,
                          int64_t last, int sparse)
{
    /* forward: y = x w + b, so dw = x' dy */
    am_gemm g = {
        .rows = last - first,
        .cols = f,
        .segments = 1,
        .steps = n,
        .a = x + first,
        .row = 1,
        .step = d,
        .b = dy_packed,
        .b_panel = am_panel_rows(n) * AM_PANEL,
        .c = dw,
        .c_row = dw_row,
        .c_panel = dw_panel,
        .sparse = sparse,
    };
    am_get_kernels()->gemm(&g);
}

void
am_dense_backward_bias(float *db, const float *dy_packed, int64_t n, int64_t f)
{
    const float one = 1.0f;
    am_gemm g = {
        .rows = 1,
        .cols = f,
        .segments = 1,
        .steps = n,
        .a = &one,
        .row = 1,
        .step = 0, /* the same 1 for every row of dy */
        .b = dy_packed,
        .b_panel = am_panel_rows(n) * AM_PANEL,
        .c = db,
        .c_row = f,
        .c_panel = AM_PANEL,
    };
    am_get_kernels()->gemm(&g);
}
