#include "pack.h"

void
am_pack_rows(float *packed, const float *b, int64_t rows, int64_t cols, int64_t ld, int64_t first,
             int64_t last)
{
    for (int64_t row = first; row < last; row++, b += ld) {
        for (int64_t j0 = 0; j0 < cols; j0 += AM_PANEL) {
            float *p = packed + j0 * rows + row * AM_PANEL;
            const int64_t lanes = am_min_i64(AM_PANEL, cols - j0);
            if (lanes == AM_PANEL) { /* a constant length: one copy of a cache line */
                __builtin_memcpy(p, b + j0, AM_PANEL * sizeof(float));
                continue;
            }
            for (int64_t j = 0; j < AM_PANEL; j++) {
                p[j] = j < lanes ? b[j0 + j] : 0.0f;
            }
        }
    }
}

void
am_pack_transposed(float *packed, const float *a, int64_t cols, int64_t ld, int64_t first,
                   int64_t last)
{
    for (int64_t i0 = first; i0 < last; i0 += AM_PANEL) {
        const int64_t lanes = am_min_i64(AM_PANEL, last - i0);
        float *panel = packed + i0 * cols;
        for (int64_t col = 0; col < cols; col++) {
            for (int64_t j = 0; j < AM_PANEL; j++) {
                panel[col * AM_PANEL + j] = j < lanes ? a[(i0 - first + j) * ld + col] : 0.0f;
            }
        }
    }
}
