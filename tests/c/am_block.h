/* Fused blocks of all shapes that the two paths take: weights, packed, and images. */
#ifndef AMBIG_TEST_BLOCK_H
#define AMBIG_TEST_BLOCK_H

#include "../../csrc/layers/layers.h"
#include "am_buffers.h"
#include "am_test.h"

typedef enum am_image { AM_NOISE, AM_CORNER_BLANK, AM_BLANK } am_image; /* blank: zeros */

typedef struct am_block_case {
    int64_t h, w, c, f;
    am_image image;
} am_block_case;

typedef struct am_block {
    am_conv_pool s;
    int64_t x_size, y_size, w_size; /* x and y of one image */
    float *x, *w, *b;               /* x: AM_GROUP images */
    am_guarded packed, packed_back; /* aligned, exactly as long as the header says */
} am_block;

/* The weights as one of the passes reads them: written between guards, then with nothing behind. */
static inline am_guarded
am_packed_block(const am_block *t, void (*pack)(float *, const float *, const am_conv_pool *),
                int64_t size)
{
    am_guarded guarded = am_make_aligned(size, AM_GUARD), exact = am_make_aligned(size, 0);
    pack(guarded.x, t->w, &t->s);
    AM_CHECK(am_guards_hold(&guarded));
    memcpy(exact.x, guarded.x, (size_t)size * sizeof(float));
    free(guarded.block);
    return exact;
}

static inline am_block
am_make_block(const am_block_case *c, uint32_t seed)
{
    am_block t = {.x_size = c->h * c->w * c->c, .w_size = 9 * c->c * c->f};
    am_conv2d conv;
    AM_CHECK_OK(am_conv2d_init(&conv, c->h, c->w, c->c, c->f, 3, 0, &err));
    AM_CHECK(am_conv_pool_fits(&t.s, &conv, 1));
    t.y_size = t.s.ph * t.s.pw * c->f;
    t.x = am_random_floats(AM_GROUP * t.x_size, seed);
    t.w = am_random_floats(t.w_size, seed + 1);
    t.b = am_random_floats(c->f, seed + 2);
    for (int64_t i = 0; i < AM_GROUP * t.x_size; i++) {
        const int64_t column = i / c->c % c->w, row = i / c->c / c->w % c->h;
        const int corner = column < (c->w + 3) / 2 && row < (c->h + 3) / 2;
        if (c->image == AM_BLANK || (c->image == AM_CORNER_BLANK && corner)) {
            t.x[i] = 0.0f;
        }
    }
    t.packed = am_packed_block(&t, am_conv_pool_pack, am_conv_pool_packed(&t.s));
    t.packed_back = am_packed_block(&t, am_conv_pool_pack_back, am_conv_pool_packed_back(&t.s));
    return t;
}

/* Nothing lies behind it. */
static inline float *
am_last_image(const am_block *t)
{
    return t->x + (AM_GROUP - 1) * t->x_size;
}

static inline void
am_free_block(am_block *t)
{
    free(t->x);
    free(t->w);
    free(t->b);
    free(t->packed.block);
    free(t->packed_back.block);
}

static inline const char *
am_block_path(const am_block *t)
{
    return am_conv_pool_is_narrow(&t->s) ? "narrow" : "Winograd";
}

static inline void
am_block_failed(const char *what, int wrong, const am_block *t)
{
    const am_conv_pool *s = &t->s;
    AM_FAILED("%s: %d wrong: image %d x %d x %d, %d filters", what, wrong, (int)s->h, (int)s->w,
              (int)s->c, (int)s->f);
}

static const int64_t am_block_sizes[][2] = {{4, 4}, {4, 5}, {5, 4},  {7, 4},
                                            {6, 9}, {9, 6}, {11, 8}, {8, 13}};

/* Wide and large images, whose windows are taken in several strips and blocks; channels and filters
 * that fill whole vectors, or more than a list of 64. */
static const am_block_case am_large_blocks[] = {
    {28, 28, 1, 32, AM_CORNER_BLANK}, {21, 26, 3, 16, AM_NOISE},  {5, 150, 4, 48, AM_NOISE},
    {13, 13, 32, 64, AM_NOISE},       {22, 25, 16, 32, AM_NOISE}, {4, 151, 16, 16, AM_NOISE},
    {9, 40, 32, 80, AM_CORNER_BLANK}, {8, 6, 80, 144, AM_NOISE},
};

/* Number i of the shapes that the two paths take, then of the large ones; every fifth image of the
 * former has a blank corner. */
#define AM_NARROW_BLOCKS (4 * 3 * COUNT(am_block_sizes))
#define AM_WINOGRAD_BLOCKS (3 * 3 * COUNT(am_block_sizes))
#define AM_ALL_BLOCKS (AM_NARROW_BLOCKS + AM_WINOGRAD_BLOCKS + COUNT(am_large_blocks))

static inline am_block_case
am_any_block(int64_t i)
{
    static const int64_t few[] = {1, 2, 3, 4}, many[] = {16, 32, 48};
    static const int64_t filters[] = {16, 32, 48}, more_filters[] = {16, 48, 64};
    const am_image image = i % 5 == 4 ? AM_CORNER_BLANK : AM_NOISE;
    if (i < AM_NARROW_BLOCKS) {
        const int64_t *size = am_block_sizes[i / 12];
        return (am_block_case){size[0], size[1], few[i % 4], filters[i / 4 % 3], image};
    }
    i -= AM_NARROW_BLOCKS;
    if (i >= AM_WINOGRAD_BLOCKS) {
        return am_large_blocks[i - AM_WINOGRAD_BLOCKS];
    }
    const int64_t *size = am_block_sizes[i / 9];
    return (am_block_case){size[0], size[1], many[i % 3], more_filters[i / 3 % 3], image};
}

#endif
