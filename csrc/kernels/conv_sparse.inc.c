/* The fused block of conv_pool.h for many input channels, backwards: for each output that passes
 * its gradient on, nine vector multiply-adds per AM_LANES input channels for the weights, and as
 * many for the data. Channels are taken in slices of AM_LANES: a filter's nine weights and their
 * nine gradients then stay in registers, the slices of the images in the first-level cache. */

/* A gradient, and the first pixel of the window that it belongs to: floats into a slice. */
typedef struct term {
    int32_t at;
    float g;
} term;

/* packed[panel of c][f][9][AM_PANEL] = w[9][c][f]: the same for every width of vectors */
static void
sparse_pack(float *packed, const float *w, const am_conv_pool *s)
{
    for (int64_t i = 0; i < s->c; i += AM_PANEL) {
        for (int64_t t = 0; t < 9; t++) {
            for (int64_t o = 0; o < s->f; o += AM_PANEL) {
                transpose_panel(packed + (i * s->f + o * AM_PANEL) * 9 + t * AM_PANEL, 9 * AM_PANEL,
                                w + (t * s->c + i) * s->f + o, s->f);
            }
        }
    }
}

static void
sparse_unpack(float *w, const float *packed, const am_conv_pool *s)
{
    for (int64_t i = 0; i < s->c; i += AM_PANEL) {
        for (int64_t t = 0; t < 9; t++) {
            for (int64_t o = 0; o < s->f; o += AM_PANEL) {
                transpose_panel(w + (t * s->c + i) * s->f + o, s->f,
                                packed + (i * s->f + o * AM_PANEL) * 9 + t * AM_PANEL,
                                9 * AM_PANEL);
            }
        }
    }
}

/* dy where y is positive */
AM_INLINE vec
rectified(const float *dy, const float *y)
{
    return (vec)((vec_load(y) > 0.0f) & (veci)vec_load(dy));
}

/* One bit for each of n <= 64 gradients that pass; n is a multiple of AM_PANEL. */
AM_INLINE uint64_t
alive_mask(const float *dy, const float *y, int64_t n)
{
    uint64_t mask = 0;
    for (int64_t i = 0; i < n; i += AM_LANES) {
        mask |= (uint64_t)vec_nonzero(rectified(dy + i, y + i)) << i;
    }
    return mask;
}

/* Appends the terms of one window of one image to the lists of their filters; db += their
 * gradients. corner: the window's first pixel, in floats. */
AM_INLINE void
list_window(term *lists, int64_t *count, int64_t capacity, float *db, const float *y,
            const float *dy, const uint8_t *argmax, int64_t corner, const am_conv_pool *s)
{
    const int64_t winner[4] = {0, AM_LANES, s->w * AM_LANES, (s->w + 1) * AM_LANES};
    for (int64_t o = 0; o < s->f; o += 64) {
        uint64_t mask = alive_mask(dy + o, y + o, am_min_i64(64, s->f - o));
        for (; mask != 0; mask &= mask - 1) {
            const int64_t j = o + __builtin_ctzll(mask);
            const int32_t at = (int32_t)(corner + winner[argmax[j]]);
            lists[j * capacity + count[j]++] = (term){at, dy[j]};
        }
    }
    for (int64_t o = 0; o < s->f; o += AM_LANES) {
        vec_store(db + o, vec_load(db + o) + rectified(dy + o, y + o));
    }
}

/* lists[o][0..count[o]) = the terms of filter o. Every other window of every other row first, and
 * image by image within a window: terms that add to the same pixels are then never neighbours, so
 * that no addition waits for the one before it to be stored. */
static void
list_terms(term *lists, int64_t *count, float *db, const am_conv_pool_images *images,
           const am_conv_pool *s)
{
    const int64_t capacity = images->n * s->ph * s->pw;
    for (int64_t o = 0; o < s->f; o++) {
        count[o] = 0;
    }
    for (int parity = 0; parity < 4; parity++) {
        for (int64_t py = parity / 2; py < s->ph; py += 2) {
            for (int64_t px = parity % 2; px < s->pw; px += 2) {
                const int64_t at = (py * s->pw + px) * s->f;
                for (int64_t n = 0; n < images->n; n++) {
                    const int64_t corner = ((n * s->h + 2 * py) * s->w + 2 * px) * AM_LANES;
                    list_window(lists, count, capacity, db, images->y + n * images->y_image + at,
                                images->dy + n * images->dy_image + at,
                                images->argmax + n * images->argmax_image + at, corner, s);
                }
            }
        }
    }
}

/* slice[image][pixel][AM_LANES] = x[image][pixel][i..] */
static void
copy_slice(float *slice, const float *x, const am_conv_pool_images *images, const am_conv_pool *s)
{
    for (int64_t n = 0; n < images->n; n++) {
        for (int64_t p = 0; p < s->h * s->w; p++, slice += AM_LANES) {
            vec_store(slice, vec_load(x + n * images->x_image + p * s->c));
        }
    }
}

/* forward: y[o] = sum over taps of x[winner + tap] w[tap][o], so for each term of filter o
 *
 *     dw[tap] += g x[winner + tap]   and   dx[winner + tap] += g w[tap]
 *
 * in slices; `line`: floats of a row of pixels. */
AM_INLINE void
load9(vec v[9], const float *p)
{
#pragma GCC unroll 9
    for (int t = 0; t < 9; t++) {
        v[t] = vec_load(p + t * AM_PANEL);
    }
}

AM_INLINE void
store9(float *p, const vec v[9])
{
#pragma GCC unroll 9
    for (int t = 0; t < 9; t++) {
        vec_store(p + t * AM_PANEL, v[t]);
    }
}

/* sum[tap] += g x[tap] */
AM_INLINE void
add_term(vec sum[9], const float *x, int64_t line, vec g)
{
#pragma GCC unroll 3
    for (int kh = 0; kh < 3; kh++, x += line) {
#pragma GCC unroll 3
        for (int kw = 0; kw < 3; kw++) {
            const int t = 3 * kh + kw;
            sum[t] = AM_FMA(g, vec_load(x + kw * AM_LANES), sum[t]);
        }
    }
}

/* dx[tap] += g weight[tap] */
AM_INLINE void
spread_term(float *dx, const vec weight[9], int64_t line, vec g)
{
#pragma GCC unroll 3
    for (int kh = 0; kh < 3; kh++, dx += line) {
#pragma GCC unroll 3
        for (int kw = 0; kw < 3; kw++) {
            float *pixel = dx + kw * AM_LANES;
            vec_store(pixel, AM_FMA(g, weight[3 * kh + kw], vec_load(pixel)));
        }
    }
}

AM_INLINE void
filter_weights(float *dw, const float *x, const term *e, const term *end, int64_t line)
{
    vec sum[9];
    load9(sum, dw);
    for (; e < end; e++) {
        add_term(sum, x + e->at, line, vec_splat(e->g));
    }
    store9(dw, sum);
}

AM_INLINE void
filter_data(float *dx, const float *w, const term *e, const term *end, int64_t line)
{
    vec weight[9];
    load9(weight, w);
    for (; e < end; e++) {
        spread_term(dx + e->at, weight, line, vec_splat(e->g));
    }
}

/* Both in one loop: worth it where the registers hold 18 vectors and more. */
AM_INLINE void
filter_both(float *dw, float *dx, const float *x, const float *w, const term *e, const term *end,
            int64_t line)
{
    vec sum[9], weight[9];
    load9(sum, dw);
    load9(weight, w);
    for (; e < end; e++) {
        const vec g = vec_splat(e->g);
        add_term(sum, x + e->at, line, g);
        spread_term(dx + e->at, weight, line, g);
    }
    store9(dw, sum);
}

/* The caller's next group of images lies behind this one: each of the filters of each slice fetches
 * a share of it. */
AM_INLINE void
prefetch_share(const am_conv_pool_images *images, int64_t number, const am_conv_pool *s)
{
    const int64_t shares = s->c / AM_LANES * s->f, size = images->n * images->x_image;
    const int64_t share = am_ceil_div(am_ceil_div(size, shares), AM_PANEL) * AM_PANEL;
    const float *next = images->x + size + number * share;
    for (int64_t i = 0; i < share; i += AM_PANEL) {
        __builtin_prefetch(next + i);
    }
}

static void
conv_sparse(float *dx, int64_t dx_image, float *dw, float *db, const am_conv_pool_images *images,
            const float *packed, const am_conv_pool *s, float *scratch)
{
    const int64_t pixels = s->h * s->w, size = images->n * pixels * AM_LANES;
    const int64_t capacity = images->n * s->ph * s->pw, line = s->w * AM_LANES;
    float *x_slice = scratch, *dx_slice = x_slice + size;
    term *lists = (term *)(dx_slice + size);
    int64_t *count = (int64_t *)(lists + capacity * s->f);
    list_terms(lists, count, db, images, s);
    for (int64_t i = 0; i < s->c; i += AM_LANES) {
        const int64_t slice = i / AM_PANEL * AM_PANEL * s->f * 9 + i % AM_PANEL;
        copy_slice(x_slice, images->x + i, images, s);
        if (dx != NULL) {
            __builtin_memset(dx_slice, 0, (size_t)size * sizeof(float));
        }
        for (int64_t o = 0; o < s->f; o++) {
            const int64_t at = slice + o * 9 * AM_PANEL;
            const term *first = lists + o * capacity, *end = first + count[o];
            prefetch_share(images, i / AM_LANES * s->f + o, s);
            if (dx == NULL) {
                filter_weights(dw + at, x_slice, first, end, line);
            }
            else if (AM_LANES == 16) {
                filter_both(dw + at, dx_slice, x_slice, packed + at, first, end, line);
            }
            else {
                filter_weights(dw + at, x_slice, first, end, line);
                filter_data(dx_slice, packed + at, first, end, line);
            }
        }
        for (int64_t n = 0; n < images->n && dx != NULL; n++) {
            const float *from = dx_slice + n * pixels * AM_LANES;
            for (int64_t p = 0; p < pixels; p++) {
                vec_store(dx + n * dx_image + p * s->c + i, vec_load(from + p * AM_LANES));
            }
        }
    }
}
