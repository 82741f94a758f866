/* A network: a sequence of layers over images of one size, its parameters, and one pass through it.
 *
 * Layers before the first dense one work image by image, so that an image's activations stay in
 * the cache from layer to layer; dense layers work on a chunk of images at once. Layers that can
 * work in place (ReLU, dropout, flatten) share the value of the layer before them: value 0 is the
 * image, and each conv, max-pool and dense layer makes a new one. */
#ifndef AMBIG_NET_NET_H
#define AMBIG_NET_NET_H

#include "../base/arena.h"
#include "../base/control.h"
#include "../base/pool.h"
#include "../layers/layers.h"
#include "view.h"

#define AM_MAX_LAYERS 64
#define AM_CHUNK 16 /* images that one task of a loop takes */

typedef enum am_layer_kind {
    AM_CONV2D = 0,
    AM_MAXPOOL2D = 1, /* 2 x 2, stride 2 */
    AM_FLATTEN = 2,
    AM_DENSE = 3,
    AM_RELU = 4,
    AM_DROPOUT = 5,
} am_layer_kind;

typedef struct am_layer_spec {
    am_layer_kind kind;
    int64_t units; /* filters of a conv, units of a dense layer */
    int64_t size;  /* window of a conv */
    int same;      /* padding of a conv */
    double rate;   /* share that dropout sets to 0 */
} am_layer_spec;

typedef struct am_layer {
    am_layer_spec spec;
    int64_t in_h, in_w, in_c, out_h, out_w, out_c;
    int64_t in_size, out_size; /* floats of one image */
    int value_in, value_out;
    int64_t w_size, b_size; /* floats of the parameters */
    int64_t w, b;           /* their places in am_net.params, b last */
    int64_t end;            /* of both */
    int64_t packed;         /* place of a conv layer's weights as the forward pass reads them */
    int64_t packed_back;    /* and as backward_data does */
    am_conv2d conv;
    int block; /* a conv layer that computes the ReLU and the max-pool after it as well */
    am_conv_pool fused;
    int rectified; /* a zero of the input passes no gradient on: a ReLU made it, or dropout */
    int sampled;   /* a dense layer whose backward_data leaves those zeros out */
} am_layer;

#define AM_BLOCK_LAYERS 3

typedef struct am_net {
    int64_t h, w, c; /* of an image */
    int n_layers, n_values;
    int first_dense;     /* index of the first dense layer, or n_layers */
    int first_trainable; /* index of the first layer with parameters, or n_layers */
    am_layer layers[AM_MAX_LAYERS];
    int64_t value_size[AM_MAX_LAYERS + 1]; /* floats of one image */
    int64_t n_params; /* as the world sees them: layer by layer, weights (HWIO, or inputs x units),
                         then bias */
    int64_t n_stored, n_packed, n_packed_back, scratch_size, scratch_back_size;
    am_arena arena;
    float *params; /* (n_stored,) the same, dense weights in panels, each tensor on a cache line */
    float *packed;
    int finite; /* all parameters were, when last looked at: then 0 times a weight is 0 */
} am_net;

/* --- net.c --- */
/* `fuse`: conv, ReLU and max-pool in one where am_conv_pool_fits; without it every layer takes the
 * general path, which the tests hold the fused one against. */
am_status am_net_create(am_net **out, const am_layer_spec *specs, int n_specs, int64_t h, int64_t w,
                        int64_t c, int fuse, am_error *err);
void am_net_free(am_net *net);
/* How layer l is computed, in a few words; "" where there is nothing to say. */
const char *am_net_path(const am_net *net, int l);
/* Glorot uniform weights, zero biases: a function of the seed. */
void am_net_init(am_net *net, uint64_t seed);
/* Numbers as many as parameters (weights, moments), between the order that callers know (see
 * params) and the one in which the net keeps them. */
void am_net_export(const am_net *net, float *out, const float *kept);
void am_net_import(const am_net *net, float *kept, const float *given);
void am_net_get_params(const am_net *net, float *params);
void am_net_set_params(am_net *net, const float *params);
/* Rebuilds the packed weights of one layer, or of all, after parameters changed. */
void am_net_pack_layer(am_net *net, const am_layer *layer);
void am_net_pack(am_net *net);
/* Looks whether all parameters are finite: after all of them changed, and after an epoch. */
void am_net_check_finite(am_net *net);

/* --- forward.c --- */
typedef struct am_images {
    const void *data; /* (n, h, w, c), uint8 0..255 or float */
    int is_u8;
    int64_t n, h, w, c;
    const am_view *view; /* how they are looked at; NULL: as they are */
} am_images;

/* One image, or its view, as floats; uint8 is divided by 255. */
void am_load_image(float *dst, const am_images *images, int64_t index);
/* Starts to fetch it: shuffled images come from far away. */
void am_prefetch_image(const am_images *images, int64_t index);
am_status am_check_images(const am_net *net, const am_images *images, am_error *err);
/* AM_ERR_VALUE for one of index[0..n) that is not an image; names the first. */
am_status am_check_index(const am_images *images, const int64_t *index, int64_t n, am_error *err);

/* What one thread needs to push images through the net. value[i] holds the images of a chunk,
 * value_stride[i] floats apart, or just the current image (stride 0). */
typedef struct am_workspace {
    float *value[AM_MAX_LAYERS + 1];
    int64_t value_stride[AM_MAX_LAYERS + 1];
    uint8_t *argmax[AM_MAX_LAYERS]; /* of max-pool layers */
    int64_t argmax_stride[AM_MAX_LAYERS];
    uint8_t *keep[AM_MAX_LAYERS]; /* of dropout layers in training; NULL: they do nothing */
    uint64_t seed;                /* of dropout, with the step and the number of the image: */
    uint32_t step;
    int64_t first_slot;   /* place in the batch of image 0 of the chunk */
    const int64_t *index; /* numbers of the chunk's images; NULL: their places in the batch */
    float *scratch;       /* of conv layers */
    const float *cut;     /* packed weights of a conv layer whose block is not run to its end */
} am_workspace;

/* Layers first..last-1 on image i of the chunk (all of them before the first dense layer). */
void am_forward_image(const am_net *net, const am_workspace *ws, int first, int last, int64_t i);
/* One layer at or after the first dense layer, on `rows` images. */
void am_forward_rows(const am_net *net, const am_workspace *ws, const am_layer *layer,
                     int64_t rows);

/* out (n, size of that layer's output) = the output of layer `last` - 1 for the images index[0..n),
 * or 0..n-1 when index is NULL; dropout does nothing. last = n_layers gives the logits. */
am_status am_net_forward(const am_net *net, const am_images *images, const int64_t *index,
                         int64_t n, int last, int threads, am_control *control, float *out,
                         am_error *err);
/* out (draws, n, k) = the logits of the images index[0..n) with dropout on, as many times: what is
 * dropped is a function of the seed, the draw and the image's own number, whoever else is asked for
 * (Gal, Ghahramani: Dropout as a Bayesian approximation, 2016). What comes before the first dropout
 * is computed once. */
am_status am_net_draws(const am_net *net, const am_images *images, const int64_t *index, int64_t n,
                       uint64_t seed, int draws, int threads, am_control *control, float *out,
                       am_error *err);
/* p (n, k) = softmax of the rows of z; p may be z */
am_status am_softmax_rows(float *p, const float *z, int64_t n, int64_t k, int threads,
                          am_error *err);

#endif
