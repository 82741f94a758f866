/* The row kernels for one type of number; rowkernels.inc.c includes this once for each. */

typedef AM_REAL AM_NAME(vec) __attribute__((vector_size(16)));
typedef AM_REAL AM_NAME(vec_any)
    __attribute__((vector_size(16), aligned(sizeof(AM_REAL)), may_alias));
typedef AM_MASK AM_NAME(mask) __attribute__((vector_size(16)));

#define V AM_NAME(vec)
#define M AM_NAME(mask)

AM_INLINE V
AM_NAME(load)(const AM_REAL *p)
{
    return *(const AM_NAME(vec_any) *)p;
}

AM_INLINE V
AM_NAME(splat)(AM_REAL x)
{
    return x - (V){0};
}

AM_INLINE V
AM_NAME(pick)(M mask, V a, V b)
{
    return (V)((mask & (M)a) | (~mask & (M)b));
}

/* Intrinsics, because the compiler does not see a maximum in the general form. */
AM_INLINE V
AM_NAME(max)(V a, V b)
{
#if defined(__SSE2__)
    return (V)AM_MAX_SSE((AM_SSE)a, (AM_SSE)b);
#else
    return AM_NAME(pick)(a > b, a, b);
#endif
}

AM_INLINE V
AM_NAME(min)(V a, V b)
{
#if defined(__SSE2__)
    return (V)AM_MIN_SSE((AM_SSE)a, (AM_SSE)b);
#else
    return AM_NAME(pick)(a < b, a, b);
#endif
}

/* One half of every group of lanes, those of `a` in front of those of `b`. */
AM_INLINE V
AM_NAME(halves)(V a, V b, int group, int high)
{
#if AM_WIDTH == 2
    (void)group;
    return high ? AM_SHUFFLE(a, b, M, 1, 3) : AM_SHUFFLE(a, b, M, 0, 2);
#else
    if (group == 4) {
        return high ? AM_SHUFFLE(a, b, M, 2, 3, 6, 7) : AM_SHUFFLE(a, b, M, 0, 1, 4, 5);
    }
    return high ? AM_SHUFFLE(a, b, M, 1, 5, 3, 7) : AM_SHUFFLE(a, b, M, 0, 4, 2, 6);
#endif
}

/* What is known of some numbers: `a` their largest or sum, `b` the second largest. */
typedef struct AM_NAME(known) {
    V a, b;
} AM_NAME(known);

AM_INLINE
AM_NAME(known) AM_NAME(join)(AM_NAME(known) x, AM_NAME(known) y, fold_kind kind)
{
    if (kind == SUM) {
        return (AM_NAME(known)){x.a + y.a, x.b};
    }
    if (kind == TWO_LARGEST) {
        x.b = AM_NAME(max)(AM_NAME(min)(x.a, y.a), AM_NAME(max)(x.b, y.b));
    }
    x.a = AM_NAME(max)(x.a, y.a);
    return x;
}

/* What no number of a block may show: for a sum the sign, otherwise a bit of x - x, which is NaN
 * where x is not finite. */
AM_INLINE M
AM_NAME(oddity)(V x, fold_kind kind)
{
    return kind == SUM ? (M)x : (M)(x - x);
}

/* One row, lane by lane. The last piece of a row ends with the row, or, in a row shorter than a
 * vector, starts with it; lanes outside `fresh` were read before, or are not of this row. */
AM_INLINE
AM_NAME(known) AM_NAME(read_row)(const AM_REAL *row, int64_t k, M fresh, M *odd, fold_kind kind)
{
    const V lowest = AM_NAME(splat)(-(AM_REAL)__builtin_inf());
    AM_NAME(known) sofar = {lowest, lowest};
    const int64_t whole = k / AM_WIDTH * AM_WIDTH;
    for (int64_t c = 0; c < whole; c += AM_WIDTH) {
        const AM_NAME(known) piece = {AM_NAME(load)(row + c), lowest};
        *odd |= AM_NAME(oddity)(piece.a, kind);
        sofar = c == 0 ? piece : AM_NAME(join)(sofar, piece, kind);
    }
    if (whole < k) {
        AM_NAME(known) piece = {AM_NAME(load)(row + (k < AM_WIDTH ? 0 : k - AM_WIDTH)), lowest};
        *odd |= AM_NAME(oddity)(piece.a, kind);
        if (kind != LARGEST || k < AM_WIDTH) {
            piece.a = AM_NAME(pick)(fresh, piece.a, kind == SUM ? (V){0} : lowest);
        }
        sofar = whole == 0 ? piece : AM_NAME(join)(sofar, piece, kind);
    }
    return sofar;
}

AM_INLINE int
AM_NAME(fold)(double *first, double *second, const AM_REAL *rows, int64_t n, int64_t k,
              fold_kind kind)
{
    /* A short row is read beyond its end: another one must follow. */
    const int64_t readable = k >= AM_WIDTH ? n : n - AM_WIDTH / k;
    const int64_t whole = readable < AM_WIDTH ? 0 : readable / AM_WIDTH * AM_WIDTH;
    M fresh, odd = {0};
    for (int lane = 0; lane < AM_WIDTH; lane++) {
        fresh[lane] = -(k < AM_WIDTH ? lane < k : lane >= AM_WIDTH - k % AM_WIDTH);
    }
    for (int64_t i = 0; i < whole; i += AM_WIDTH) {
        AM_NAME(known) v[AM_WIDTH];
        for (int r = 0; r < AM_WIDTH; r++) {
            v[r] = AM_NAME(read_row)(rows + (i + r) * k, k, fresh, &odd, kind);
        }
        for (int group = AM_WIDTH; group > 1; group /= 2) {
            for (int r = 0; r < group / 2; r++) {
                const AM_NAME(known) x = v[r], y = v[r + group / 2];
                const AM_NAME(known) low = {AM_NAME(halves)(x.a, y.a, group, 0),
                                            AM_NAME(halves)(x.b, y.b, group, 0)};
                const AM_NAME(known) high = {AM_NAME(halves)(x.a, y.a, group, 1),
                                             AM_NAME(halves)(x.b, y.b, group, 1)};
                v[r] = AM_NAME(join)(low, high, kind);
            }
        }
        for (int lane = 0; lane < AM_WIDTH; lane++) {
            first[i + lane] = v[0].a[lane];
            if (kind == TWO_LARGEST) {
                second[i + lane] = v[0].b[lane];
            }
        }
    }
    AM_REAL zero = 0;
    for (int64_t i = whole; i < n; i++) {
        const AM_REAL *row = rows + i * k;
        AM_REAL a = row[0], b = -(AM_REAL)__builtin_inf();
        zero += kind == SUM ? a < 0 : a - a;
        for (int64_t j = 1; j < k; j++) {
            const AM_REAL x = row[j];
            zero += kind == SUM ? x < 0 : x - x;
            if (kind == SUM) {
                a += x;
                continue;
            }
            b = x > a ? a : x > b ? x : b;
            a = x > a ? x : a;
        }
        first[i] = a;
        if (kind == TWO_LARGEST) {
            second[i] = b;
        }
    }
    AM_MASK strange = 0;
    for (int lane = 0; lane < AM_WIDTH; lane++) {
        strange |= odd[lane];
    }
    return (kind == SUM ? strange >= 0 : strange == 0) && zero == 0;
}

/* Ten classes are so common that they get a text of their own, without loops over a row. */
static int
AM_NAME(largest)(double *first, const void *rows, int64_t n, int64_t k)
{
    return k == 10 ? AM_NAME(fold)(first, NULL, rows, n, 10, LARGEST)
                   : AM_NAME(fold)(first, NULL, rows, n, k, LARGEST);
}

static int
AM_NAME(two_largest)(double *first, double *second, const void *rows, int64_t n, int64_t k)
{
    return k == 10 ? AM_NAME(fold)(first, second, rows, n, 10, TWO_LARGEST)
                   : AM_NAME(fold)(first, second, rows, n, k, TWO_LARGEST);
}

static int
AM_NAME(sums)(double *sum, const void *rows, int64_t n, int64_t k)
{
    return k == 10 ? AM_NAME(fold)(sum, NULL, rows, n, 10, SUM)
                   : AM_NAME(fold)(sum, NULL, rows, n, k, SUM);
}

static double
AM_NAME(lowest)(const void *values, int64_t count)
{
    const AM_REAL *x = values;
    AM_REAL low = (AM_REAL)__builtin_inf();
    V lows[4];
    for (int i = 0; i < 4; i++) {
        lows[i] = AM_NAME(splat)(low);
    }
    int64_t c = 0;
    for (; c + 4 * AM_WIDTH <= count; c += 4 * AM_WIDTH) {
        for (int i = 0; i < 4; i++) {
            lows[i] = AM_NAME(min)(AM_NAME(load)(x + c + i * AM_WIDTH), lows[i]);
        }
    }
    for (; c < count; c++) {
        low = x[c] < low ? x[c] : low;
    }
    for (int i = 0; i < 4 * AM_WIDTH; i++) {
        const AM_REAL lane = lows[i / AM_WIDTH][i % AM_WIDTH];
        low = lane < low ? lane : low;
    }
    return (double)low;
}

#undef V
#undef M
#undef AM_REAL
#undef AM_MASK
#undef AM_WIDTH
#undef AM_NAME
#undef AM_MAX_SSE
#undef AM_MIN_SSE
#undef AM_SSE
