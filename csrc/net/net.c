#include "net.h"

#include <string.h>

#include "../base/alloc.h"
#include "../layers/pack.h"

static am_status
multiply(int64_t *product, int64_t a, int64_t b, am_error *err)
{
    if (a > 0 && b > INT32_MAX / a) {
        return am_fail(err, AM_ERR_SHAPE,
                       "a layer of %lld x %lld numbers is larger than the 2^31 that are supported",
                       (long long)a, (long long)b);
    }
    *product = a * b;
    return AM_OK;
}

/* Output shape and parameter counts of one layer whose input shape is filled in. */
static am_status
infer_layer(am_layer *layer, int position, am_error *err)
{
    const am_layer_spec *spec = &layer->spec;
    const int flat = layer->in_h == 0; /* a vector, after flatten or dense */
    layer->out_h = layer->in_h;
    layer->out_w = layer->in_w;
    layer->out_c = layer->in_c;
    if (flat && (spec->kind == AM_CONV2D || spec->kind == AM_MAXPOOL2D)) {
        return am_fail(err, AM_ERR_SHAPE,
                       "layer %d: %s needs an image, but its input is a vector of %lld numbers; "
                       "move it before flatten and dense",
                       position, spec->kind == AM_CONV2D ? "conv" : "maxpool",
                       (long long)layer->in_c);
    }
    switch (spec->kind) {
        case AM_CONV2D:
            AM_TRY(am_conv2d_init(&layer->conv, layer->in_h, layer->in_w, layer->in_c, spec->units,
                                  spec->size, spec->same, err));
            layer->out_h = layer->conv.out_h;
            layer->out_w = layer->conv.out_w;
            layer->out_c = spec->units;
            AM_TRY(multiply(&layer->w_size, spec->size, spec->size, err));
            AM_TRY(multiply(&layer->w_size, layer->w_size, layer->in_c, err));
            AM_TRY(multiply(&layer->w_size, layer->w_size, spec->units, err));
            layer->b_size = spec->units;
            break;
        case AM_MAXPOOL2D:
            if (layer->in_h < 2 || layer->in_w < 2) {
                return am_fail(err, AM_ERR_SHAPE,
                               "layer %d: maxpool needs at least 2 x 2 pixels, got %lld x %lld",
                               position, (long long)layer->in_h, (long long)layer->in_w);
            }
            layer->out_h = layer->in_h / 2;
            layer->out_w = layer->in_w / 2;
            break;
        case AM_DENSE:
            if (!flat) {
                return am_fail(err, AM_ERR_SHAPE,
                               "layer %d: dense needs a vector, but its input is an image of "
                               "%lld x %lld x %lld; put \"flatten\" before it",
                               position, (long long)layer->in_h, (long long)layer->in_w,
                               (long long)layer->in_c);
            }
            if (spec->units < 1) {
                return am_fail(err, AM_ERR_VALUE, "layer %d: dense needs at least 1 unit, got %lld",
                               position, (long long)spec->units);
            }
            AM_TRY(multiply(&layer->w_size, layer->in_c, spec->units, err));
            layer->b_size = spec->units;
            layer->out_c = spec->units;
            break;
        case AM_FLATTEN:
            layer->out_h = layer->out_w = 0;
            layer->out_c = layer->in_size;
            break;
        case AM_DROPOUT:
            if (!(spec->rate >= 0 && spec->rate < 1)) {
                return am_fail(err, AM_ERR_VALUE,
                               "layer %d: dropout needs a rate of at least 0 and below 1, got %g",
                               position, spec->rate);
            }
            break;
        case AM_RELU:
            break;
        default:
            return am_fail(err, AM_ERR_VALUE, "layer %d: unknown kind %d", position,
                           (int)spec->kind);
    }
    if (layer->out_h == 0) {
        layer->out_size = layer->out_c;
        return AM_OK;
    }
    AM_TRY(multiply(&layer->out_size, layer->out_h, layer->out_w, err));
    return multiply(&layer->out_size, layer->out_size, layer->out_c, err);
}

/* Shapes, values, and the places of the parameters. */
static am_status
infer(am_net *net, const am_layer_spec *specs, am_error *err)
{
    int64_t h = net->h, w = net->w, c = net->c, size = 0;
    AM_TRY(multiply(&size, h, w, err));
    AM_TRY(multiply(&size, size, c, err));
    net->first_dense = net->first_trainable = net->n_layers;
    net->value_size[0] = size;
    net->n_values = 1;
    for (int i = 0; i < net->n_layers; i++) {
        am_layer *layer = &net->layers[i];
        *layer = (am_layer){.spec = specs[i], .in_h = h, .in_w = w, .in_c = c, .in_size = size};
        AM_TRY(infer_layer(layer, i, err));
        h = layer->out_h;
        w = layer->out_w;
        c = layer->out_c;
        size = layer->out_size;

        const am_layer_kind kind = layer->spec.kind;
        layer->value_in = layer->value_out = net->n_values - 1;
        if (kind == AM_CONV2D || kind == AM_MAXPOOL2D || kind == AM_DENSE) {
            layer->value_out = net->n_values++;
            net->value_size[layer->value_out] = size;
        }
        if (kind == AM_DENSE && net->first_dense == net->n_layers) {
            net->first_dense = i;
        }
        if (layer->w_size > 0 && net->first_trainable == net->n_layers) {
            net->first_trainable = i;
        }
    }
    return AM_OK;
}

/* Conv layers that take the ReLU and the max-pool after them along. */
static void
fuse_blocks(am_net *net)
{
    for (int i = 0; i + AM_BLOCK_LAYERS <= net->n_layers; i++) {
        am_layer *layer = &net->layers[i];
        layer->block = layer->spec.kind == AM_CONV2D && layer[1].spec.kind == AM_RELU &&
                       layer[2].spec.kind == AM_MAXPOOL2D &&
                       am_conv_pool_fits(&layer->fused, &layer->conv, i == net->first_trainable);
    }
}

/* Where zeros come from: behind a ReLU they pass no gradient on. Max-pool, flatten and dropout
 * leave that as it is. */
static void
mark_rectified(am_net *net)
{
    int rectified = 0;
    for (int i = 0; i < net->n_layers; i++) {
        const am_layer_kind kind = net->layers[i].spec.kind;
        net->layers[i].rectified = rectified;
        net->layers[i].sampled =
            kind == AM_DENSE && rectified && net->layers[i].out_size % AM_PANEL == 0;
        rectified = kind == AM_RELU || (rectified && kind != AM_CONV2D && kind != AM_DENSE);
    }
}

static int64_t
max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Takes `size` floats from the end of what is counted in *used, on a cache line. */
static int64_t
place(int64_t *used, int64_t size)
{
    const int64_t at = *used;
    *used += am_ceil_div(size, AM_PANEL) * AM_PANEL;
    return at;
}

/* The places of all weights, as they are stored and as the passes read them. */
static void
lay_out(am_net *net)
{
    for (int i = 0; i < net->n_layers; i++) {
        am_layer *layer = &net->layers[i];
        net->n_params += layer->w_size + layer->b_size;
        if (layer->spec.kind == AM_CONV2D) {
            const am_conv_pool *s = &layer->fused;
            const int64_t scratch = am_conv2d_scratch(&layer->conv);
            net->scratch_size = max_i64(net->scratch_size, scratch); /* blocks may be cut */
            net->scratch_back_size = max_i64(net->scratch_back_size, scratch);
            layer->w = place(&net->n_stored, layer->w_size);
            if (layer->block) {
                net->scratch_size = max_i64(net->scratch_size, am_conv_pool_scratch(s));
                net->scratch_back_size =
                    max_i64(net->scratch_back_size, am_conv_pool_scratch_back(s));
                layer->packed = place(&net->n_packed, am_conv_pool_packed(s));
                layer->packed_back = place(&net->n_packed_back, am_conv_pool_packed_back(s));
            }
            else {
                layer->packed = place(&net->n_packed, am_conv2d_packed(&layer->conv));
                layer->packed_back =
                    place(&net->n_packed_back, am_conv2d_packed_back(&layer->conv));
            }
        }
        else if (layer->spec.kind == AM_DENSE) {
            layer->w = place(&net->n_stored, am_dense_size(layer->in_size, layer->out_size));
            layer->packed_back = net->n_packed_back;
            if (!layer->sampled) {
                place(&net->n_packed_back, am_packed_size(layer->out_size, layer->in_size));
            }
        }
        else {
            layer->w = net->n_stored;
        }
        layer->b = place(&net->n_stored, layer->b_size);
        layer->end = net->n_stored;
    }
    net->scratch_back_size = max_i64(net->scratch_back_size, net->scratch_size);
}

static void
plan(am_net *net)
{
    net->params = am_carve(&net->arena, net->n_stored, sizeof(float));
    net->packed = am_carve(&net->arena, net->n_packed, sizeof(float));
}

am_status
am_net_create(am_net **out, const am_layer_spec *specs, int n_specs, int64_t h, int64_t w,
              int64_t c, int fuse, am_error *err)
{
    *out = NULL;
    if (n_specs < 1 || n_specs > AM_MAX_LAYERS) {
        return am_fail(err, AM_ERR_VALUE, "a network has 1 to %d layers, got %d", AM_MAX_LAYERS,
                       n_specs);
    }
    if (h < 1 || w < 1 || c < 1) {
        return am_fail(err, AM_ERR_SHAPE, "images need at least one pixel, got %lld x %lld x %lld",
                       (long long)h, (long long)w, (long long)c);
    }
    am_net *net;
    AM_TRY(am_alloc((void **)&net, 1, sizeof *net, err));
    memset(net, 0, sizeof *net);
    net->h = h;
    net->w = w;
    net->c = c;
    net->n_layers = n_specs;
    am_status status = infer(net, specs, err);
    if (status == AM_OK) {
        if (fuse) {
            fuse_blocks(net);
            mark_rectified(net);
        }
        lay_out(net);
        plan(net);
        status = am_arena_reserve(&net->arena, err);
    }
    if (status != AM_OK) {
        am_net_free(net);
        return status;
    }
    plan(net);
    *out = net;
    return AM_OK;
}

void
am_net_free(am_net *net)
{
    if (net != NULL) {
        am_arena_free(&net->arena);
        am_free(net);
    }
}

const char *
am_net_path(const am_net *net, int l)
{
    const am_layer *layer = &net->layers[l];
    for (int start = l - 1; start >= 0 && start > l - AM_BLOCK_LAYERS; start--) {
        if (net->layers[start].block) {
            return "fused with conv";
        }
    }
    switch (layer->spec.kind) {
        case AM_CONV2D:
            if (layer->block) {
                return am_conv_pool_is_narrow(&layer->fused) ? "direct, fused" : "Winograd, fused";
            }
            return "direct";
        case AM_DENSE:
            return layer->rectified ? "product, skips zeros" : "product";
        default:
            return "";
    }
}

void
am_net_pack_layer(am_net *net, const am_layer *layer)
{
    float *packed = net->packed + layer->packed;
    const float *w = net->params + layer->w;
    if (layer->block) {
        am_conv_pool_pack(packed, w, &layer->fused);
    }
    else if (layer->spec.kind == AM_CONV2D) {
        am_conv2d_pack(packed, w, &layer->conv);
    }
}

void
am_net_pack(am_net *net)
{
    for (int i = 0; i < net->n_layers; i++) {
        am_net_pack_layer(net, &net->layers[i]);
    }
    am_net_check_finite(net);
}

void
am_net_check_finite(am_net *net)
{
    net->finite = 1;
    for (int64_t i = 0; i < net->n_stored && net->finite; i++) {
        net->finite = __builtin_isfinite(net->params[i]);
    }
}

void
am_net_import(const am_net *net, float *kept, const float *given)
{
    for (int i = 0; i < net->n_layers; i++) {
        const am_layer *layer = &net->layers[i];
        if (layer->spec.kind == AM_DENSE) {
            am_dense_pack(kept + layer->w, given, layer->in_size, layer->out_size);
        }
        else if (layer->w_size > 0) {
            memcpy(kept + layer->w, given, (size_t)layer->w_size * sizeof(float));
        }
        given += layer->w_size;
        memcpy(kept + layer->b, given, (size_t)layer->b_size * sizeof(float));
        given += layer->b_size;
    }
}

void
am_net_export(const am_net *net, float *out, const float *kept)
{
    for (int i = 0; i < net->n_layers; i++) {
        const am_layer *layer = &net->layers[i];
        if (layer->spec.kind == AM_DENSE) {
            am_dense_unpack(out, kept + layer->w, layer->in_size, layer->out_size);
        }
        else if (layer->w_size > 0) {
            memcpy(out, kept + layer->w, (size_t)layer->w_size * sizeof(float));
        }
        out += layer->w_size;
        memcpy(out, kept + layer->b, (size_t)layer->b_size * sizeof(float));
        out += layer->b_size;
    }
}

void
am_net_get_params(const am_net *net, float *params)
{
    am_net_export(net, params, net->params);
}

void
am_net_set_params(am_net *net, const float *params)
{
    am_net_import(net, net->params, params);
    am_net_pack(net);
}

/* Uniform in +-sqrt(6 / (fan_in + fan_out)): Glorot and Bengio, AISTATS 2010. */
static void
init_weights(float *w, const am_layer *layer, int position, uint64_t seed)
{
    const int64_t taps = layer->spec.kind == AM_CONV2D ? layer->spec.size * layer->spec.size : 1;
    const double fans = (double)(taps * (layer->in_c + layer->out_c));
    const float limit = (float)__builtin_sqrt(6.0 / fans);
    const int64_t d = layer->in_size, f = layer->out_c;
    for (int64_t i = 0; i < layer->w_size; i += 4) {
        uint32_t word[4];
        am_random4(word, seed, AM_STREAM_INIT, (uint32_t)position, 0, (uint32_t)(i / 4));
        for (int64_t j = i; j < am_min_i64(i + 4, layer->w_size); j++) {
            const int dense = layer->spec.kind == AM_DENSE;
            w[dense ? am_dense_place(d, j / f, j % f) : j] =
                limit * (2.0f * am_uniform(word[j - i]) - 1.0f);
        }
    }
}

void
am_net_init(am_net *net, uint64_t seed)
{
    memset(net->params, 0, (size_t)net->n_stored * sizeof(float));
    for (int i = 0; i < net->n_layers; i++) {
        init_weights(net->params + net->layers[i].w, &net->layers[i], i, seed);
    }
    am_net_pack(net);
}
