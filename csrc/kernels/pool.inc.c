/* Max-pooling 2 x 2 and its gradient. */

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
                    const veci above = (v > best) | (v != v); /* a NaN stays */
                    best = vec_select(above, v, best);
                    where = (above & i) | (~above & where);
                }
                vec_store(y + c, best);
                vec_store_bytes(argmax + c, where);
            }
            for (; c < s->c; c++) {
                y[c] = corner[0][c];
                argmax[c] = 0;
                for (int i = 1; i < 4; i++) {
                    if (corner[i][c] > y[c] || corner[i][c] != corner[i][c]) {
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
                const veci where = vec_load_bytes(argmax + c);
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
