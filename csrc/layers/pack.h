/* Panels: a matrix B (rows, cols) cut into strips of AM_PANEL columns, each stored row by row and
 * padded with zeros on the right. A product streams one panel from front to back. */
#ifndef AMBIG_LAYERS_PACK_H
#define AMBIG_LAYERS_PACK_H

#include "../kernels/kernels.h"

static inline int64_t
am_panels(int64_t cols)
{
    return am_ceil_div(cols, AM_PANEL);
}

/* Rows that a panel has room for: an odd number, so that the same rows of neighbouring panels do
 * not compete for the same places of a cache. */
static inline int64_t
am_panel_rows(int64_t rows)
{
    return rows | 1;
}

static inline int64_t
am_packed_size(int64_t rows, int64_t cols)
{
    return am_panel_rows(rows) * am_panels(cols) * AM_PANEL;
}

/* Rows first..last of B, given as b[row * ld + col] for row 0 = first, into the panels of a matrix
 * of `rows` rows. */
void am_pack_rows(float *packed, const float *b, int64_t rows, int64_t cols, int64_t ld,
                  int64_t first, int64_t last);

#endif
