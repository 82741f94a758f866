/* The backward pass of a chunk of images, from the gradient of the logits on. */
#include "step.h"

#include "../layers/pack.h"

/* Whether the gradient of layer l's input is asked for. */
static int
passes_on(const am_step *step, int l)
{
    return l > step->net->first_trainable || step->to_pixels;
}

void
am_backward_rows(const am_step *step, am_slot *slot, int64_t start, int64_t rows, int64_t n)
{
    const am_net *net = step->net;
    for (int l = net->n_layers - 1; l >= net->first_dense; l--) {
        const am_layer *layer = &net->layers[l];
        float *dy = slot->grad[layer->value_out];
        if (layer->spec.kind == AM_DENSE) {
            am_pack_rows(step->batch_dy[l], dy, n, layer->out_size, layer->out_size, start,
                         start + rows);
            if (layer->sampled && passes_on(step, l)) {
                am_dense_backward_data_sampled(
                    slot->grad[layer->value_in], dy, slot->ws.value[layer->value_in],
                    net->params + layer->w, rows, layer->in_size, layer->out_size);
            }
            else if (passes_on(step, l)) {
                am_dense_backward_data(slot->grad[layer->value_in], dy,
                                       step->packed_back + layer->packed_back, rows, layer->in_size,
                                       layer->out_size, l + 1 < net->n_layers);
            }
        }
        else if (layer->spec.kind == AM_RELU) {
            am_get_kernels()->relu_gradient(dy, dy, slot->ws.value[layer->value_out],
                                            rows * layer->out_size);
        }
        else if (layer->spec.kind == AM_DROPOUT && slot->ws.keep[l] != NULL) {
            am_dropout_apply(dy, dy, slot->ws.keep[l], layer->spec.rate, rows * layer->out_size);
        }
    }
}

float *
am_gradient_of(const am_step *step, const am_slot *slot, int v, int64_t i)
{
    const am_net *net = step->net;
    const int64_t place = v < net->layers[net->first_dense].value_in ? i % AM_GROUP : i;
    return slot->grad[v] + place * slot->grad_stride[v];
}

/* The block that starts at layer l backwards, on images first..first + n of the chunk. */
static void
backward_block(const am_step *step, am_slot *slot, float *conv_grads, int l, int64_t first,
               int64_t n)
{
    const am_net *net = step->net;
    const am_workspace *ws = &slot->ws;
    const am_layer *layer = &net->layers[l];
    const int pool = l + AM_BLOCK_LAYERS - 1;
    const int in = layer->value_in, out = net->layers[pool].value_out;
    const am_conv_pool_images images = {
        .n = n,
        .x = ws->value[in] + first * ws->value_stride[in],
        .x_image = ws->value_stride[in],
        .y = ws->value[out] + first * ws->value_stride[out],
        .y_image = ws->value_stride[out],
        .dy = am_gradient_of(step, slot, out, first),
        .dy_image = slot->grad_stride[out],
        .argmax = ws->argmax[pool] + first * ws->argmax_stride[pool],
        .argmax_image = ws->argmax_stride[pool],
    };
    float *dx = passes_on(step, l) ? am_gradient_of(step, slot, in, first) : NULL;
    am_conv_pool_backward(dx, slot->grad_stride[in], conv_grads + layer->w, conv_grads + layer->b,
                          &images, step->packed_back + layer->packed_back, &layer->fused,
                          ws->scratch);
}

/* Layer l backwards, on image i of the chunk. */
static void
backward_layer(const am_step *step, am_slot *slot, float *conv_grads, int l, int64_t i)
{
    const am_net *net = step->net;
    const am_workspace *ws = &slot->ws;
    const am_layer *layer = &net->layers[l];
    const int in = layer->value_in, out = layer->value_out;
    const float *x = ws->value[in] + i * ws->value_stride[in];
    const float *y = ws->value[out] + i * ws->value_stride[out];
    float *dx = am_gradient_of(step, slot, in, i);
    float *dy = am_gradient_of(step, slot, out, i);
    if (layer->spec.kind == AM_CONV2D) {
        if (conv_grads != NULL) {
            am_conv2d_backward_weights(conv_grads + layer->w, conv_grads + layer->b, dy, x,
                                       &layer->conv, ws->scratch);
        }
        if (passes_on(step, l)) {
            am_conv2d_backward_data(dx, dy, step->packed_back + layer->packed_back, &layer->conv,
                                    ws->scratch);
        }
    }
    else if (layer->spec.kind == AM_MAXPOOL2D) {
        const am_pool_shape shape = {layer->in_h, layer->in_w, layer->in_c};
        am_get_kernels()->maxpool_gradient(dx, dy, ws->argmax[l] + i * layer->out_size, &shape);
    }
    else if (layer->spec.kind == AM_RELU) {
        am_get_kernels()->relu_gradient(dy, dy, y, layer->out_size);
    }
    else if (layer->spec.kind == AM_DROPOUT && ws->keep[l] != NULL) {
        am_dropout_apply(dy, dy, ws->keep[l] + i * layer->out_size, layer->spec.rate,
                         layer->out_size);
    }
}

void
am_backward_images(const am_step *step, am_slot *slot, float *conv_grads, int64_t first, int64_t n)
{
    const am_net *net = step->net;
    const int lowest = step->to_pixels ? 0 : net->first_trainable;
    for (int l = net->first_dense - 1; l >= lowest; l--) {
        const int start = l - AM_BLOCK_LAYERS + 1;
        if (start >= 0 && net->layers[start].block) {
            backward_block(step, slot, conv_grads, start, first, n);
            l = start;
            continue;
        }
        for (int64_t i = first; i < first + n; i++) {
            backward_layer(step, slot, conv_grads, l, i);
        }
    }
}
