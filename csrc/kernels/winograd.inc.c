/* The fused block of conv_pool.h for many input channels, forwards: Winograd's minimal filtering
 * F(2 x 2, 3 x 3) (Lavin, Gray: Fast algorithms for convolutional neural networks, CVPR 2016).
 *
 *     Y = A' [(G g G') * (B' d B)] A
 *
 * gives the 2 x 2 outputs of a window from its 4 x 4 inputs d with 16 multiplications instead of
 * 36. Summed over channels they are 16 matrix products (tiles x channels) (channels x filters). */

/* Columns of the products that are made at once, and tiles: their 16 parts stay in the first-level
 * cache until they are put together. */
#define WINO_COLS (VECS * AM_LANES)
#define WINO_TILES (AM_LANES == AM_PANEL ? TILE_ROWS : 5 * TILE_ROWS)

/* u[16][panel][c][AM_PANEL] = G g G', with G = (1, 0, 0; 1/2, 1/2, 1/2; 1/2, -1/2, 1/2; 0, 0, 1) */
static void
winograd_pack(float *u, const float *w, const am_conv_pool *s)
{
    const int64_t part = s->c * s->f;
    for (int64_t i = 0; i < s->c; i++) {
        for (int64_t o = 0; o < s->f; o += AM_LANES) {
            const float *g = w + i * s->f + o;
            vec rows[4][3];
            for (int kw = 0; kw < 3; kw++) {
                const vec g0 = vec_load(g + kw * part), g1 = vec_load(g + (3 + kw) * part);
                const vec g2 = vec_load(g + (6 + kw) * part);
                rows[0][kw] = g0;
                rows[1][kw] = 0.5f * (g0 + g2 + g1);
                rows[2][kw] = 0.5f * (g0 + g2 - g1);
                rows[3][kw] = g2;
            }
            float *to = u + o / AM_PANEL * s->c * AM_PANEL + i * AM_PANEL + o % AM_PANEL;
            for (int r = 0; r < 4; r++) {
                const vec g0 = rows[r][0], g1 = rows[r][1], g2 = rows[r][2];
                vec_store(to + (4 * r) * part, g0);
                vec_store(to + (4 * r + 1) * part, 0.5f * (g0 + g2 + g1));
                vec_store(to + (4 * r + 2) * part, 0.5f * (g0 + g2 - g1));
                vec_store(to + (4 * r + 3) * part, g2);
            }
        }
    }
}

/* v[16][tile][c] of one row of tiles = B' d B, with B' = (1, 0, -1, 0; 0, 1, 1, 0; 0, -1, 1, 0; 0,
 * 1, 0, -1). x: its four rows of pixels. */
static void
winograd_input(float *v, int64_t part, const float *x, const am_conv_pool *s)
{
    const int64_t line = s->w * s->c;
    for (int64_t i = 0; i < s->c; i += AM_LANES) {
        vec left[2][4]; /* the columns that this tile shares with the one before */
        for (int64_t t = 0; t <= s->pw; t++) {
            vec right[2][4];
            for (int col = 0; col < 2; col++) {
                const float *p = x + (2 * t + col) * s->c + i;
                const vec d0 = vec_load(p), d1 = vec_load(p + line);
                const vec d2 = vec_load(p + 2 * line), d3 = vec_load(p + 3 * line);
                right[col][0] = d0 - d2;
                right[col][1] = d1 + d2;
                right[col][2] = d2 - d1;
                right[col][3] = d1 - d3;
            }
            float *to = v + (t - 1) * s->c + i;
            for (int r = 0; r < 4; r++) {
                if (t > 0) {
                    vec_store(to + (4 * r) * part, left[0][r] - right[0][r]);
                    vec_store(to + (4 * r + 1) * part, left[1][r] + right[0][r]);
                    vec_store(to + (4 * r + 2) * part, right[0][r] - left[1][r]);
                    vec_store(to + (4 * r + 3) * part, left[1][r] - right[1][r]);
                }
                left[0][r] = right[0][r];
                left[1][r] = right[1][r];
            }
        }
    }
}

/* y = A' m A, with A' = (1, 1, 1, 0; 0, 1, -1, -1); then the largest, the bias, ReLU. */
AM_INLINE void
winograd_output(float *y, uint8_t *argmax, const float *m, int64_t part, const float *b)
{
    vec top[4], bottom[4];
    for (int j = 0; j < 4; j++) {
        const vec m0 = vec_load(m + j * part), m1 = vec_load(m + (4 + j) * part);
        const vec m2 = vec_load(m + (8 + j) * part), m3 = vec_load(m + (12 + j) * part);
        top[j] = m0 + m1 + m2;
        bottom[j] = m1 - m2 - m3;
    }
    const vec corner[4] = {
        top[0] + top[1] + top[2],
        top[1] - top[2] - top[3],
        bottom[0] + bottom[1] + bottom[2],
        bottom[1] - bottom[2] - bottom[3],
    };
    pool_store(y, argmax, corner, vec_load(b));
}

/* Filters o..o + cols of `tiles` tiles. */
AM_INLINE void
winograd_block(float *y, uint8_t *argmax, const float *v, int64_t v_part, const float *u,
               const float *b, int64_t tiles, const am_conv_pool *s, const int cols, float *m)
{
    const int vecs = cols / AM_LANES;
    const int64_t m_part = tiles * cols;
    am_gemm g = {
        .rows = tiles,
        .segments = 1,
        .steps = s->c,
        .row = s->c,
        .step = 1,
        .b_panel = s->c * AM_PANEL,
        .c_row = cols,
        .c_panel = AM_PANEL,
    };
    for (int xi = 0; xi < 16; xi++) {
        g.a = v + xi * v_part;
        gemm_rows(&g, u + xi * s->c * s->f, m + xi * m_part, NULL, vecs, 0);
    }
    for (int64_t t = 0; t < tiles; t++) {
        for (int j = 0; j < vecs; j++) {
            winograd_output(y + t * s->f + j * AM_LANES, argmax + t * s->f + j * AM_LANES,
                            m + t * cols + j * AM_LANES, m_part, b + j * AM_LANES);
        }
    }
}

static void
winograd(float *y, uint8_t *argmax, const float *x, const float *u, const float *b,
         const am_conv_pool *s, float *scratch)
{
    const int64_t strip = am_winograd_rows(s);
    float *m = scratch, *v = scratch + AM_WINOGRAD_PRODUCTS;
    for (int64_t py = 0; py < s->ph; py += strip) {
        const int64_t rows = am_min_i64(strip, s->ph - py), tiles = rows * s->pw;
        const int64_t part = tiles * s->c;
        for (int64_t r = 0; r < rows; r++) {
            winograd_input(v + r * s->pw * s->c, part, x + 2 * (py + r) * s->w * s->c, s);
        }
        int64_t left = tiles, t = 0;
        for (int64_t blocks = am_ceil_div(tiles, WINO_TILES); blocks > 0; blocks--) {
            const int64_t n = am_ceil_div(left, blocks);
            const int64_t at = (py * s->pw + t) * s->f;
            for (int64_t o = 0; o < s->f; o += WINO_COLS) {
                const float *panel = u + o / AM_PANEL * s->c * AM_PANEL + o % AM_PANEL;
                if (s->f - o >= WINO_COLS) {
                    winograd_block(y + at + o, argmax + at + o, v + t * s->c, part, panel, b + o, n,
                                   s, WINO_COLS, m);
                }
                else {
                    winograd_block(y + at + o, argmax + at + o, v + t * s->c, part, panel, b + o, n,
                                   s, AM_PANEL < WINO_COLS ? AM_PANEL : WINO_COLS, m);
                }
            }
            t += n;
            left -= n;
        }
    }
}
