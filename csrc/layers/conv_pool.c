/* Which kernels a fused block takes, and the memory they need. */
#include "layers.h"

#include "pack.h"

int
am_conv_pool_fits(am_conv_pool *s, const am_conv2d *conv, int first)
{
    *s = (am_conv_pool){
        .h = conv->h,
        .w = conv->w,
        .c = conv->c,
        .f = conv->f,
        .ph = conv->out_h / 2,
        .pw = conv->out_w / 2,
    };
    const int inputs = conv->c % AM_PANEL == 0 || (first && conv->c <= AM_NARROW_MAX);
    /* The terms of the backward pass count floats in 32 bits. */
    const int small = conv->h * conv->w < INT32_MAX / (AM_PANEL * AM_GROUP) &&
                      conv->f < INT32_MAX / (9 * AM_PANEL);
    return conv->size == 3 && conv->pad == 0 && conv->f % AM_PANEL == 0 && inputs && small &&
           s->ph > 0 && s->pw > 0;
}

int
am_conv_pool_is_narrow(const am_conv_pool *s)
{
    return s->c % AM_PANEL != 0;
}

int64_t
am_conv_pool_packed(const am_conv_pool *s)
{
    return am_conv_pool_is_narrow(s) ? 0 : 16 * s->c * s->f;
}

int64_t
am_conv_pool_packed_back(const am_conv_pool *s)
{
    return am_conv_pool_is_narrow(s) ? 0 : 9 * s->c * s->f;
}

int64_t
am_conv_pool_scratch(const am_conv_pool *s)
{
    if (am_conv_pool_is_narrow(s)) {
        return 0;
    }
    return AM_WINOGRAD_PRODUCTS + 16 * am_winograd_rows(s) * s->pw * s->c;
}

int64_t
am_conv_pool_scratch_back(const am_conv_pool *s)
{
    if (am_conv_pool_is_narrow(s)) {
        return 4 * s->h * s->w;
    }
    /* Two slices, the terms and their counts, which take two floats each. */
    const int64_t slices = 2 * AM_GROUP * s->h * s->w * AM_PANEL;
    return slices + 2 * AM_GROUP * s->ph * s->pw * s->f + 2 * s->f;
}

void
am_conv_pool_pack(float *packed, const float *w, const am_conv_pool *s)
{
    if (!am_conv_pool_is_narrow(s)) {
        am_get_kernels()->conv_pool.winograd_pack(packed, w, s);
    }
}

void
am_conv_pool_pack_back(float *packed, const float *w, const am_conv_pool *s)
{
    if (!am_conv_pool_is_narrow(s)) {
        am_get_kernels()->conv_pool.sparse_pack(packed, w, s);
    }
}

void
am_conv_pool_forward(float *y, uint8_t *argmax, const float *x, const float *w, const float *packed,
                     const float *b, const am_conv_pool *s, float *scratch)
{
    const am_conv_pool_kernels *kernels = &am_get_kernels()->conv_pool;
    if (am_conv_pool_is_narrow(s)) {
        kernels->narrow(y, argmax, x, w, b, s);
    }
    else {
        kernels->winograd(y, argmax, x, packed, b, s, scratch);
    }
}

void
am_conv_pool_backward(float *dx, int64_t dx_image, float *dw, float *db,
                      const am_conv_pool_images *images, const float *packed_back,
                      const am_conv_pool *s, float *scratch)
{
    const am_conv_pool_kernels *kernels = &am_get_kernels()->conv_pool;
    if (am_conv_pool_is_narrow(s)) {
        kernels->narrow_weights(dw, db, images, s, scratch);
    }
    else {
        kernels->sparse(dx, dx_image, dw, db, images, packed_back, s, scratch);
    }
}

void
am_conv_pool_unpack_gradient(float *dw, const float *packed, const am_conv_pool *s)
{
    am_get_kernels()->conv_pool.sparse_unpack(dw, packed, s);
}
