/* One number in, one number out: what the compiler vectorises by itself. */

static void
relu(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = x[i] < 0.0f ? 0.0f : x[i]; /* NaN stays NaN: a diverged network must show */
    }
}

static void
relu_gradient(float *dx, const float *dy, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
    }
}

static void
mask(float *y, const float *x, const uint8_t *keep, float scale, int64_t n)
{
    int64_t i = 0;
    for (; i + AM_LANES <= n; i += AM_LANES) {
        const veci kept = vec_load_bytes(keep + i) != 0;
        vec_store(y + i, (vec)(kept & (veci)(scale * vec_load(x + i))));
    }
    for (; i < n; i++) {
        y[i] = keep[i] ? scale * x[i] : 0.0f;
    }
}

static void
add(float *AM_RESTRICT sum, const float *AM_RESTRICT x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        sum[i] += x[i];
    }
}

static void
scale_u8(float *AM_RESTRICT y, const uint8_t *AM_RESTRICT x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)x[i] / 255.0f;
    }
}

static void
transpose_panel(float *to, int64_t to_row, const float *from, int64_t from_row)
{
    for (int i = 0; i < AM_PANEL; i += AM_LANES) {
        for (int j = 0; j < AM_PANEL; j += AM_LANES) {
            transpose(to + j * to_row + i, to_row, from + i * from_row + j, from_row);
        }
    }
}
