#include "view.h"

#include "../base/elementary.h"

/* Uniform in [-limit, limit). */
static double
around_zero(uint32_t word, double limit)
{
    return limit * (2.0 * (double)am_uniform(word) - 1.0);
}

static double
pixel(const void *data, int is_u8, int64_t i)
{
    return is_u8 ? ((const uint8_t *)data)[i] / 255.0 : (double)((const float *)data)[i];
}

/* A place along an axis of n pixels: between which two, and how far from the first. */
typedef struct place {
    int64_t before, after;
    double part;
} place;

static place
place_of(double x, int64_t n)
{
    const double last = (double)(n - 1);
    x = x < 0 ? 0 : x > last ? last : x;
    const int64_t before = (int64_t)x;
    return (place){before, before + (before < n - 1), x - (double)before};
}

void
am_view_image(float *dst, const void *data, int is_u8, int64_t h, int64_t w, int64_t c,
              const am_view *view, int64_t index)
{
    uint32_t word[4];
    am_random4(word, view->seed, AM_STREAM_VIEW, view->number, (uint32_t)((uint64_t)index >> 32),
               (uint32_t)index);
    const double down = around_zero(word[0], view->shift);
    const double right = around_zero(word[1], view->shift);
    const double angle = around_zero(word[2], view->angle);
    const double cosine = am_cos(angle), sine = am_sin(angle);
    const double middle_y = (double)(h - 1) / 2, middle_x = (double)(w - 1) / 2;
    for (int64_t row = 0; row < h; row++) {
        for (int64_t col = 0; col < w; col++) {
            /* Shifting back, then turning back about the middle. */
            const double y = (double)row - middle_y - down, x = (double)col - middle_x - right;
            const place v = place_of(middle_y + cosine * y - sine * x, h);
            const place u = place_of(middle_x + sine * y + cosine * x, w);
            for (int64_t k = 0; k < c; k++) {
                const double a = pixel(data, is_u8, (v.before * w + u.before) * c + k);
                const double b = pixel(data, is_u8, (v.before * w + u.after) * c + k);
                const double e = pixel(data, is_u8, (v.after * w + u.before) * c + k);
                const double f = pixel(data, is_u8, (v.after * w + u.after) * c + k);
                const double above = a + u.part * (b - a), below = e + u.part * (f - e);
                *dst++ = (float)(above + v.part * (below - above));
            }
        }
    }
}
