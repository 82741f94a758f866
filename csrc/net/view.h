/* An image as it would look moved a little: shifted and turned, by chance.
 *
 * How is a function of (seed, number of the view, index of the image), so that neither threads nor
 * the split into calls change a bit. */
#ifndef AMBIG_NET_VIEW_H
#define AMBIG_NET_VIEW_H

#include "../base/rng.h"

typedef struct am_view {
    uint64_t seed;
    uint32_t number;
    double shift; /* at most so many pixels along each axis */
    double angle; /* at most so many radians to either side */
} am_view;

/* dst (h, w, c) = the view of image `index`, whose pixels lie at `data`, uint8 0..255 or float. A
 * pixel is interpolated from the four around the place that it comes from; beyond the border the
 * border goes on. */
void am_view_image(float *dst, const void *data, int is_u8, int64_t h, int64_t w, int64_t c,
                   const am_view *view, int64_t index);

#endif
