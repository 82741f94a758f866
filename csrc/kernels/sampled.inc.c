/* The sampled product of kernels.h. A column's weights are read once for up to SAMPLED_GROUP rows
 * that ask for it, and the rows of dy stay in the first-level cache. */

#define SAMPLED_ROWS 16
#define SAMPLED_GROUP 4

typedef float vec4 __attribute__((vector_size(16)));

/* The sum of AM_PANEL sums, halves first: with any vector width the same additions. */
AM_INLINE float
add_lanes(const vec sum[AM_PANEL / AM_LANES])
{
    vec4 quarter[4];
    __builtin_memcpy(quarter, sum, sizeof quarter);
    const vec4 four = (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
    return (four[0] + four[2]) + (four[1] + four[3]);
}

/* out[i] = sum over panels of dy[i] times the column whose weights start at w; the constant n is
 * known where this is inlined. */
AM_INLINE void
sampled_column(float *const out[], const float *const dy[], const float *w, const am_sampled *s,
               const int n)
{
    enum { PARTS = AM_PANEL / AM_LANES }; /* vectors of a panel */
    vec sum[SAMPLED_GROUP][PARTS];
    for (int i = 0; i < n; i++) {
        for (int part = 0; part < PARTS; part++) {
            sum[i][part] = (vec){0};
        }
    }
    for (int64_t j = 0; j < s->steps; j += AM_PANEL, w += s->w_panel) {
        for (int part = 0; part < PARTS; part++) {
            const vec weight = vec_load(w + part * AM_LANES);
            for (int i = 0; i < n; i++) {
                sum[i][part] = AM_FMA(vec_load(dy[i] + j + part * AM_LANES), weight, sum[i][part]);
            }
        }
    }
    for (int i = 0; i < n; i++) {
        *out[i] = add_lanes(sum[i]);
    }
}

/* One bit for each of `rows` rows that ask for column k + i: those where x is not 0. */
AM_INLINE void
find_asking(int32_t asking[AM_PANEL], const float *x, int64_t rows, int64_t cols, int64_t k)
{
    if (k + AM_PANEL <= cols) {
        veci bits[AM_PANEL / AM_LANES] = {{0}};
        for (int64_t r = 0; r < rows; r++) {
            for (int part = 0; part < AM_PANEL / AM_LANES; part++) {
                const vec v = vec_load(x + r * cols + k + part * AM_LANES);
                bits[part] |= (v != 0.0f) & (1 << r);
            }
        }
        __builtin_memcpy(asking, bits, sizeof bits);
        return;
    }
    for (int64_t i = 0; i < AM_PANEL; i++) {
        asking[i] = 0;
        for (int64_t r = 0; r < rows && k + i < cols; r++) {
            asking[i] |= (x[r * cols + k + i] != 0.0f) << r;
        }
    }
}

static void
sampled(const am_sampled *s)
{
    __builtin_memset(s->dx, 0, (size_t)(s->rows * s->cols) * sizeof(float));
    for (int64_t first = 0; first < s->rows; first += SAMPLED_ROWS) {
        const int64_t rows = am_min_i64(SAMPLED_ROWS, s->rows - first);
        int32_t asking[AM_PANEL];
        for (int64_t k = 0; k < s->cols; k++) {
            if (k % AM_PANEL == 0) {
                find_asking(asking, s->x + first * s->cols, rows, s->cols, k);
            }
            for (int32_t left = asking[k % AM_PANEL]; left != 0;) {
                const float *dy[SAMPLED_GROUP];
                float *out[SAMPLED_GROUP];
                int n = 0;
                for (; left != 0 && n < SAMPLED_GROUP; left &= left - 1, n++) {
                    const int64_t r = first + __builtin_ctz((uint32_t)left);
                    dy[n] = s->dy + r * s->steps;
                    out[n] = s->dx + r * s->cols + k;
                }
                const float *w = s->w + k * AM_PANEL;
                switch (n) {
                    case 1:
                        sampled_column(out, dy, w, s, 1);
                        break;
                    case 2:
                        sampled_column(out, dy, w, s, 2);
                        break;
                    case 3:
                        sampled_column(out, dy, w, s, 3);
                        break;
                    default:
                        sampled_column(out, dy, w, s, 4);
                }
            }
        }
    }
}
