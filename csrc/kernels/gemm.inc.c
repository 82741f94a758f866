/* The matrix product: dense tiles, and rows that skip the zeros of A. */

/* A tile of outputs in registers: enough independent sums to hide the latency of a multiply-add,
 * and few enough for the registers. Two vectors wide, so that every broadcast of A is used twice: a
 * panel, or two of them where one vector holds a panel. */
#define VECS 2
#if AM_LANES == AM_PANEL
#define TILE_ROWS 13 /* of 32 registers: 26 sums, 2 of B, 1 of A */
#else
#define TILE_ROWS 6 /* of 16 registers: 12 sums, 2 of B, 1 of A */
#endif

/* `rows` x `vecs` vectors of outputs. The constants `rows`, `vecs` and `row_is_1` are known where
 * this is inlined, so the loops over them unroll and the address arithmetic folds. */
AM_INLINE void
gemm_tile(const am_gemm *g, const float *a, const float *b, float *c, const float *bias,
          const int rows, const int vecs, const int row_is_1)
{
    const int64_t row = row_is_1 ? 1 : g->row;
    const int64_t step = row_is_1 ? g->step : 1;
    const int64_t b_vec = AM_LANES == AM_PANEL ? g->b_panel : AM_LANES;
    const int64_t c_vec = AM_LANES == AM_PANEL ? g->c_panel : AM_LANES;
    vec sum[TILE_ROWS][VECS];
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < vecs; j++) {
            if (bias != NULL) {
                sum[r][j] = vec_load(bias + j * AM_LANES);
            }
            else if (g->accumulate) {
                sum[r][j] = vec_load(c + r * g->c_row + j * c_vec);
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
            for (int j = 0; j < vecs; j++) {
                w[j] = vec_load(b + j * b_vec);
            }
            b += AM_PANEL;
#pragma GCC unroll 13
            for (int r = 0; r < rows; r++) {
                const vec x = vec_splat(p[r * row]);
                for (int j = 0; j < vecs; j++) {
                    sum[r][j] = AM_FMA(x, w[j], sum[r][j]);
                }
            }
            p += step;
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < vecs; j++) {
            vec_store(c + r * g->c_row + j * c_vec, sum[r][j]);
        }
    }
}

/* All rows, in as few tiles as possible, all of nearly the same height: a low one would leave the
 * multipliers waiting. */
AM_INLINE void
gemm_rows(const am_gemm *g, const float *b, float *c, const float *bias, const int vecs,
          const int row_is_1)
{
    const int64_t row = row_is_1 ? 1 : g->row;
    const float *a = g->a;
    int64_t left = g->rows;
    for (int64_t tiles = am_ceil_div(left, TILE_ROWS); tiles > 0; tiles--) {
        const int64_t rows = am_ceil_div(left, tiles);
        switch (rows) {
#define TILE(n)                                         \
    case n:                                             \
        gemm_tile(g, a, b, c, bias, n, vecs, row_is_1); \
        break
            TILE(1);
            TILE(2);
            TILE(3);
            TILE(4);
            TILE(5);
            TILE(6);
#if TILE_ROWS > 6
            TILE(7);
            TILE(8);
            TILE(9);
            TILE(10);
            TILE(11);
            TILE(12);
            TILE(13);
#endif
#undef TILE
        }
        a += rows * row;
        c += rows * g->c_row;
        left -= rows;
    }
}

/* `panels` panels from number `first` on, all of whose columns exist. */
AM_INLINE void
gemm_panels(const am_gemm *g, int64_t first, int64_t panels, const int row_is_1)
{
    const int64_t at_once = AM_LANES == AM_PANEL ? VECS : 1;
    for (int64_t p = first; p < first + panels; p += at_once) {
        const float *b = g->b + p * g->b_panel;
        float *c = g->c + p * g->c_panel;
        const float *bias = g->bias == NULL ? NULL : g->bias + p * AM_PANEL;
#if AM_LANES < AM_PANEL / 2
        for (int j = 0; j < AM_PANEL; j += VECS * AM_LANES) {
            gemm_rows(g, b + j, c + j, bias == NULL ? NULL : bias + j, VECS, row_is_1);
        }
#else
        if (p + at_once > first + panels) {
            gemm_rows(g, b, c, bias, 1, row_is_1);
        }
        else {
            gemm_rows(g, b, c, bias, VECS, row_is_1);
        }
#endif
    }
}

static void
gemm_full(const am_gemm *g, int64_t first, int64_t panels)
{
    if (g->row == 1 && g->step != 1) {
        gemm_panels(g, first, panels, 1);
    }
    else {
        gemm_panels(g, first, panels, 0);
    }
}

/* The last panel of a matrix whose width is no multiple of AM_PANEL: a few rows at a time in a
 * full-width buffer. B is padded with zeros, the extra columns are thrown away. */
static void
gemm_narrow(const am_gemm *g, int64_t panel, int64_t lanes)
{
    enum { ROWS = 4 * TILE_ROWS };
    float wide[ROWS * AM_PANEL] __attribute__((aligned(AM_ALIGNMENT)));
    float bias[AM_PANEL] __attribute__((aligned(AM_ALIGNMENT))) = {0};
    float *c = g->c + panel * g->c_panel;
    am_gemm part = *g;
    part.b = g->b + panel * g->b_panel;
    part.c = wide;
    part.c_row = AM_PANEL;
    if (g->bias != NULL) {
        for (int64_t j = 0; j < lanes; j++) {
            bias[j] = g->bias[panel * AM_PANEL + j];
        }
        part.bias = bias;
    }
    for (int64_t r = 0; r < g->rows; r += ROWS) {
        part.rows = am_min_i64(ROWS, g->rows - r);
        part.a = g->a + r * g->row;
        for (int64_t i = 0; i < part.rows && g->accumulate; i++) {
            for (int64_t j = 0; j < AM_PANEL; j++) {
                wide[i * AM_PANEL + j] = j < lanes ? c[(r + i) * g->c_row + j] : 0.0f;
            }
        }
        gemm_full(&part, 0, 1);
        for (int64_t i = 0; i < part.rows; i++) {
            for (int64_t j = 0; j < lanes; j++) {
                c[(r + i) * g->c_row + j] = wide[i * AM_PANEL + j];
            }
        }
    }
}

static void
gemm_dense(const am_gemm *g)
{
    const int64_t whole = g->cols / AM_PANEL;
    gemm_full(g, 0, whole);
    if (whole * AM_PANEL < g->cols) {
        gemm_narrow(g, whole, g->cols - whole * AM_PANEL);
    }
}

/* --- skipping zeros -------------------------------------------------------------------------- */

/* Steps per block: the part of B that a block of rows reads, 8 panels wide, then fits the
 * first-level cache. Rows per block bound the lists. */
#define SPARSE_STEPS 64
#define SPARSE_ROWS 64
/* Up to which share of non-zeros it pays, measured: their rows of B are loaded for each row of A.
 */
#define SPARSE_SHARE 0.5
#define SPARSE_VECS 8 /* sums per row: 128 outputs with AVX-512, 64 with AVX2 */

/* The elements of a block of A that are not 0, row by row, steps rising: the places of their rows
 * of B in a panel, and their values. Writing may run over a list by a vector. */
typedef struct nonzeros {
    int64_t count[SPARSE_ROWS];
    int32_t at[SPARSE_ROWS][SPARSE_STEPS + AM_LANES];
    float value[SPARSE_ROWS][SPARSE_STEPS + AM_LANES];
} nonzeros;

/* The block of A in rows of SPARSE_STEPS floats, however it lies in memory. */
static void
copy_columns(float *rows, const am_gemm *g)
{
    for (int64_t k = 0; k < g->steps; k += AM_LANES) {
        const float *a = g->a + k * g->step;
        int64_t r = 0;
        for (; r + AM_LANES <= g->rows && k + AM_LANES <= g->steps; r += AM_LANES) {
            transpose(rows + r * SPARSE_STEPS + k, SPARSE_STEPS, a + r, g->step);
        }
        for (; r < g->rows; r++) {
            for (int64_t i = k; i < am_min_i64(k + AM_LANES, g->steps); i++) {
                rows[r * SPARSE_STEPS + i] = g->a[i * g->step + r];
            }
        }
    }
}

/* Returns how many there are. */
static int64_t
find_nonzeros(nonzeros *found, const am_gemm *g)
{
    float rows[SPARSE_ROWS * SPARSE_STEPS] __attribute__((aligned(AM_ALIGNMENT)));
    const float *a = g->a;
    int64_t row = g->row, total = 0;
    if (g->step != 1) {
        copy_columns(rows, g);
        a = rows;
        row = SPARSE_STEPS;
    }
    for (int64_t r = 0; r < g->rows; r++, a += row) {
        const int64_t count = compress(found->at[r], found->value[r], a, g->steps);
        found->count[r] = count;
        total += count;
    }
    return total;
}

/* `vecs` vectors of outputs of every row of the block, from column `col` on. */
AM_INLINE void
sparse_columns(const am_gemm *g, const nonzeros *found, int64_t col, const int vecs)
{
    enum { PARTS = AM_PANEL / AM_LANES }; /* vectors of a panel */
    const int64_t b_panel = g->b_panel, c_panel = g->c_panel;
    const float *b = g->b + col / AM_PANEL * b_panel;
    float *c = g->c + col / AM_PANEL * c_panel;
    for (int64_t r = 0; r < g->rows; r++) {
        vec sum[SPARSE_VECS];
        for (int j = 0; j < vecs; j++) {
            if (g->bias != NULL) {
                sum[j] = vec_load(g->bias + col + j * AM_LANES);
            }
            else if (g->accumulate) {
                sum[j] = vec_load(c + j / PARTS * c_panel + j % PARTS * AM_LANES);
            }
            else {
                sum[j] = (vec){0};
            }
        }
        for (int64_t e = 0; e < found->count[r]; e++) {
            const vec x = vec_splat(found->value[r][e]);
            const float *row = b + found->at[r][e];
#pragma GCC unroll 8
            for (int j = 0; j < vecs; j++) {
                const float *part = row + j / PARTS * b_panel + j % PARTS * AM_LANES;
                sum[j] = AM_FMA(x, vec_load(part), sum[j]);
            }
        }
        for (int j = 0; j < vecs; j++) {
            vec_store(c + j / PARTS * c_panel + j % PARTS * AM_LANES, sum[j]);
        }
        c += g->c_row;
    }
}

static void
gemm(const am_gemm *whole)
{
    if (!whole->sparse || whole->segments != 1 || whole->cols % AM_PANEL != 0) {
        gemm_dense(whole);
        return;
    }
    nonzeros found;
    am_gemm g = *whole;
    for (int64_t k = 0; k == 0 || k < whole->steps; k += SPARSE_STEPS) {
        g.steps = am_min_i64(SPARSE_STEPS, whole->steps - k);
        g.b = whole->b + k * AM_PANEL;
        for (int64_t r = 0; r < whole->rows; r += SPARSE_ROWS) {
            g.rows = am_min_i64(SPARSE_ROWS, whole->rows - r);
            g.a = whole->a + r * whole->row + k * whole->step;
            g.c = whole->c + r * whole->c_row;
            /* A dense tile of few rows would wait for its own sums. */
            const double share = g.rows < 4 ? 1.0 : SPARSE_SHARE;
            if (find_nonzeros(&found, &g) > share * (double)(g.rows * g.steps)) {
                gemm_dense(&g);
                continue;
            }
            int64_t col = 0;
            for (; col + SPARSE_VECS * AM_LANES <= g.cols; col += SPARSE_VECS * AM_LANES) {
                sparse_columns(&g, &found, col, SPARSE_VECS);
            }
            for (; col < g.cols; col += AM_PANEL) {
                sparse_columns(&g, &found, col, AM_PANEL / AM_LANES);
            }
        }
        g.bias = NULL; /* the next block goes on from here */
        g.accumulate = 1;
    }
}
