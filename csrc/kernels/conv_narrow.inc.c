/* The fused block of conv_pool.h for few input channels: every multiply-add reads one pixel, which
 * is broadcast, and a vector of filters. */

/* Vectors of filters at once: the nine weights of a channel stay in registers. */
#if AM_LANES == 16
#define NARROW_VECS 2 /* of 32 registers: 18 weights, 8 sums, 1 pixel */
#else
#define NARROW_VECS 1 /* of 16 registers: 9 weights, 4 sums, 1 pixel */
#endif

/* The largest of the four outputs of a window, rectified, and which it was; the first of equals. A
 * NaN in any of them stays, and passes no gradient on. */
AM_INLINE void
pool_store(float *y, uint8_t *argmax, const vec corner[4], vec bias)
{
    const vec top = vec_larger(corner[1], corner[0]), bottom = vec_larger(corner[3], corner[2]);
    vec best = vec_larger(bottom, top);
    const veci first = corner[0] == best, second = corner[1] == best, third = corner[2] == best;
    const veci later = (second & 1) | (~second & (3 + third)); /* -1 is true */
    vec_store_bytes(argmax, ~first & later);
    const veci nan = vec_unordered(corner[0], corner[1]) | vec_unordered(corner[2], corner[3]);
    best = (vec)((veci)best | nan) + bias;
    vec_store(y, vec_larger((vec){0}, best));
}

/* Whether a window's 4 x 4 pixels are all 0. Only looked for where there is one channel. */
AM_INLINE int
is_blank(const float *x, int64_t w, const int c)
{
    if (c != 1) {
        return 0;
    }
    quad any = {0};
    for (int iy = 0; iy < 4; iy++) {
        any |= *(const quad *)(x + iy * w); /* bits: a negative zero counts as a number */
    }
    return (any[0] | any[1]) == 0;
}

/* One row of windows, `vecs` vectors of filters. x: the first of its four rows of pixels. */
AM_INLINE void
narrow_row(float *y, uint8_t *argmax, const float *x, const float *w, const float *b,
           const am_conv_pool *s, const int c, const int vecs)
{
    vec bias[NARROW_VECS];
    for (int v = 0; v < vecs; v++) {
        bias[v] = vec_load(b + v * AM_LANES);
    }
    for (int64_t px = 0; px < s->pw; px++, x += 2 * c, y += s->f, argmax += s->f) {
        if (is_blank(x, s->w, c)) { /* most of a digit's picture is */
            for (int v = 0; v < vecs; v++) {
                const vec corner[4] = {bias[v], bias[v], bias[v], bias[v]};
                pool_store(y + v * AM_LANES, argmax + v * AM_LANES, corner, (vec){0});
            }
            continue;
        }
        vec sum[NARROW_VECS][4];
        for (int v = 0; v < vecs; v++) {
            for (int i = 0; i < 4; i++) {
                sum[v][i] = bias[v];
            }
        }
        /* By pixel of the window's 4 x 4, so each is broadcast once. Seen from one output its taps
         * still come in the order kh, kw, i. */
#pragma GCC unroll 4
        for (int iy = 0; iy < 4; iy++) {
#pragma GCC unroll 4
            for (int ix = 0; ix < 4; ix++) {
                for (int i = 0; i < c; i++) {
                    const vec pixel = vec_splat(x[(iy * s->w + ix) * c + i]);
#pragma GCC unroll 4
                    for (int out = 0; out < 4; out++) {
                        const int kh = iy - out / 2, kw = ix - out % 2;
                        if (kh < 0 || kh > 2 || kw < 0 || kw > 2) {
                            continue;
                        }
                        const float *tap = w + ((kh * 3 + kw) * c + i) * s->f;
                        for (int v = 0; v < vecs; v++) {
                            sum[v][out] = AM_FMA(pixel, vec_load(tap + v * AM_LANES), sum[v][out]);
                        }
                    }
                }
            }
        }
        for (int v = 0; v < vecs; v++) {
            pool_store(y + v * AM_LANES, argmax + v * AM_LANES, sum[v], (vec){0});
        }
    }
}

AM_INLINE void
narrow_rows(float *y, uint8_t *argmax, const float *x, const float *w, const float *b,
            const am_conv_pool *s, const int c)
{
    const int64_t line = s->pw * s->f;
    for (int64_t o = 0; o < s->f;) {
        const int vecs = s->f - o >= NARROW_VECS * AM_LANES ? NARROW_VECS : 1;
        for (int64_t py = 0; py < s->ph; py++) {
            const float *rows = x + 2 * py * s->w * c;
            if (vecs == NARROW_VECS) {
                narrow_row(y + py * line + o, argmax + py * line + o, rows, w + o, b + o, s, c,
                           NARROW_VECS);
            }
            else {
                narrow_row(y + py * line + o, argmax + py * line + o, rows, w + o, b + o, s, c, 1);
            }
        }
        o += vecs * AM_LANES;
    }
}

static void
conv_narrow(float *y, uint8_t *argmax, const float *x, const float *w, const float *b,
            const am_conv_pool *s)
{
    switch (s->c) {
        case 1:
            narrow_rows(y, argmax, x, w, b, s, 1);
            break;
        case 3:
            narrow_rows(y, argmax, x, w, b, s, 3);
            break;
        default:
            narrow_rows(y, argmax, x, w, b, s, (int)s->c);
    }
}

/* quads[y][x] = the pixels (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1) of one channel: which of
 * them meets a tap depends on which output of the window won. */
static void
make_quads(float *quads, const float *x, const am_conv_pool *s)
{
    const int64_t line = s->w * s->c;
    for (int64_t iy = 0; iy < s->h - 1; iy++, x += line) {
        for (int64_t ix = 0; ix < s->w - 1; ix++, quads += 4) {
            const float *p = x + ix * s->c;
            quads[0] = p[0];
            quads[1] = p[s->c];
            quads[2] = p[line];
            quads[3] = p[line + s->c];
        }
    }
}

/* forward: y = x[winner + tap] w[tap] + b where positive, so dw[tap] += x[winner + tap] dy and db
 * += dy there. `vecs` vectors of filters of one channel. */
AM_INLINE void
narrow_gradient(float *dw, float *db, const float *x, const float *quads, const float *y,
                const float *dy, const uint8_t *argmax, const am_conv_pool *s, const int vecs)
{
    const int64_t quad_line = (s->w - 1) * 4;
    const int64_t tap_w = s->c * s->f;
    vec sum[9][NARROW_VECS], bias[NARROW_VECS];
    for (int v = 0; v < vecs; v++) {
        bias[v] = (vec){0};
#pragma GCC unroll 9
        for (int t = 0; t < 9; t++) {
            sum[t][v] = vec_load(dw + t * tap_w + v * AM_LANES);
        }
    }
    for (int64_t py = 0; py < s->ph; py++) {
        const float *q = quads + 2 * py * quad_line;
        const float *rows = x + 2 * py * s->w * s->c;
        for (int64_t px = 0; px < s->pw; px++, q += 8) {
            const int blank = is_blank(rows + px * 2 * s->c, s->w, (int)s->c);
            for (int v = 0; v < vecs; v++) {
                const veci alive = vec_load(y + v * AM_LANES) > 0.0f;
                const vec g = (vec)(alive & (veci)vec_load(dy + v * AM_LANES));
                const veci winner = vec_load_bytes(argmax + v * AM_LANES);
                bias[v] += g;
                if (blank) {
                    continue;
                }
#pragma GCC unroll 9
                for (int t = 0; t < 9; t++) {
                    const vec pixel = vec_pick(q + t / 3 * quad_line + t % 3 * 4, winner);
                    sum[t][v] = AM_FMA(pixel, g, sum[t][v]);
                }
            }
            y += s->f;
            dy += s->f;
            argmax += s->f;
        }
    }
    for (int v = 0; v < vecs; v++) {
        if (db != NULL) {
            vec_store(db + v * AM_LANES, vec_load(db + v * AM_LANES) + bias[v]);
        }
#pragma GCC unroll 9
        for (int t = 0; t < 9; t++) {
            vec_store(dw + t * tap_w + v * AM_LANES, sum[t][v]);
        }
    }
}

static void
conv_narrow_weights(float *dw, float *db, const am_conv_pool_images *images, const am_conv_pool *s,
                    float *scratch)
{
    for (int64_t n = 0; n < images->n; n++) {
        const float *y = images->y + n * images->y_image;
        const float *dy = images->dy + n * images->dy_image;
        const uint8_t *argmax = images->argmax + n * images->argmax_image;
        const float *x = images->x + n * images->x_image;
        for (int64_t i = 0; i < s->c; i++) {
            make_quads(scratch, x + i, s);
            for (int64_t o = 0; o < s->f;) {
                const int vecs = s->f - o >= NARROW_VECS * AM_LANES ? NARROW_VECS : 1;
                float *to = dw + i * s->f + o, *bias = i == 0 ? db + o : NULL;
                if (vecs == NARROW_VECS) {
                    narrow_gradient(to, bias, x, scratch, y + o, dy + o, argmax + o, s,
                                    NARROW_VECS);
                }
                else {
                    narrow_gradient(to, bias, x, scratch, y + o, dy + o, argmax + o, s, 1);
                }
                o += vecs * AM_LANES;
            }
        }
    }
}
