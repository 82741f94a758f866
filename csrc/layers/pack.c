#include "pack.h"

void
am_pack_rows(float *packed, const float *b, int64_t rows, int64_t cols, int64_t ld, int64_t first,
             int64_t last)
{
    for (int64_t row = first; row < last; row++, b += ld) {
        for (int64_t j0 = 0; j0 < cols; j0 += AM_PANEL) {
            float *p = packed + j0 * am_panel_rows(rows) + row * AM_PANEL;
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
