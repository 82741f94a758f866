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
        layer->w = net->n_params;
        layer->b = layer->w + layer->w_size;
        net->n_params = layer->b + layer->b_size;
        layer->packed = net->n_packed;
        layer->packed_back = net->n_packed_back;
        if (kind == AM_CONV2D) {
            const int64_t scratch = am_conv2d_scratch(&layer->conv);
            net->scratch_size = scratch > net->scratch_size ? scratch : net->scratch_size;
            layer->packed_size = am_conv2d_packed(&layer->conv);
            net->n_packed_back += am_conv2d_packed_back(&layer->conv);
        }
        else if (kind == AM_DENSE) {
            layer->packed_size = am_packed_size(layer->in_size, layer->out_size);
            net->n_packed_back += am_packed_size(layer->out_size, layer->in_size);
        }
        net->n_packed += layer->packed_size;
    }
    return AM_OK;
}

static void
plan(am_net *net)
{
    net->params = am_carve(&net->arena, net->n_params, sizeof(float));
    net->packed = am_carve(&net->arena, net->n_packed, sizeof(float));
}

am_status
am_net_create(am_net **out, const am_layer_spec *specs, int n_specs, int64_t h, int64_t w,
              int64_t c, am_error *err)
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

void
am_net_pack_layer(am_net *net, const am_layer *layer)
{
    float *packed = net->packed + layer->packed;
    const float *w = net->params + layer->w;
    if (layer->spec.kind == AM_CONV2D) {
        am_conv2d_pack(packed, w, &layer->conv);
    }
    else if (layer->spec.kind == AM_DENSE) {
        am_pack_rows(packed, w, layer->in_size, layer->out_size, layer->out_size, 0,
                     layer->in_size);
    }
}

static void
pack_all(am_net *net)
{
    for (int i = 0; i < net->n_layers; i++) {
        am_net_pack_layer(net, &net->layers[i]);
    }
}

void
am_net_set_params(am_net *net, const float *params)
{
    memcpy(net->params, params, (size_t)net->n_params * sizeof(float));
    pack_all(net);
}

/* Uniform in +-sqrt(6 / (fan_in + fan_out)): Glorot and Bengio, AISTATS 2010. */
static void
init_weights(float *w, const am_layer *layer, int position, uint64_t seed)
{
    const int64_t taps = layer->spec.kind == AM_CONV2D ? layer->spec.size * layer->spec.size : 1;
    const double fans = (double)(taps * (layer->in_c + layer->out_c));
    const float limit = (float)__builtin_sqrt(6.0 / fans);
    for (int64_t i = 0; i < layer->w_size; i += 4) {
        uint32_t word[4];
        am_random4(word, seed, AM_STREAM_INIT, (uint32_t)position, 0, (uint32_t)(i / 4));
        for (int64_t j = 0; j < am_min_i64(4, layer->w_size - i); j++) {
            w[i + j] = limit * (2.0f * am_uniform(word[j]) - 1.0f);
        }
    }
}

void
am_net_init(am_net *net, uint64_t seed)
{
    memset(net->params, 0, (size_t)net->n_params * sizeof(float));
    for (int i = 0; i < net->n_layers; i++) {
        init_weights(net->params + net->layers[i].w, &net->layers[i], i, seed);
    }
    pack_all(net);
}
