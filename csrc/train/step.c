#include "step.h"

#include <string.h>

#include "../layers/pack.h"

#define BLOCK_ROWS \
    48 /* of a dense layer's weights: a multiple of AM_PANEL and of the gemm's rows */

static int
is_kind(const am_net *net, int l, am_layer_kind kind)
{
    return net->layers[l].spec.kind == kind;
}

/* Whether value v is the input of a dense layer: then it is kept for the whole batch. */
static int
feeds_dense(const am_net *net, int v)
{
    for (int l = net->first_dense; l < net->n_layers; l++) {
        if (is_kind(net, l, AM_DENSE) && net->layers[l].value_in == v) {
            return 1;
        }
    }
    return 0;
}

/* Whether value v is the output of a fused block's convolution, which nobody sees. */
static int
inside_block(const am_net *net, int v)
{
    for (int l = 0; l < net->n_layers; l++) {
        if (net->layers[l].block && net->layers[l].value_out == v) {
            return 1;
        }
    }
    return 0;
}

/* --- memory ---------------------------------------------------------------------------------- */

/* `size` is bounded by am_net_create, `rows` by nothing: the arena watches over their product. */
static float *
carve_floats(am_arena *arena, int64_t rows, int64_t size)
{
    return am_carve(arena, rows, size * (int64_t)sizeof(float));
}

static void
plan_slot(am_arena *arena, const am_step *step, am_slot *slot)
{
    const am_net *net = step->net;
    am_workspace *ws = &slot->ws;
    const int dense_in = net->layers[net->first_dense].value_in;
    const int64_t rows = step->rows;
    for (int v = 0; v < net->n_values; v++) {
        const int64_t size = net->value_size[v];
        ws->value_stride[v] = slot->grad_stride[v] = size;
        if (inside_block(net, v)) {
            continue;
        }
        ws->value[v] = feeds_dense(net, v) ? NULL : carve_floats(arena, rows, size);
        slot->grad[v] = carve_floats(arena, v < dense_in ? AM_GROUP : rows, size);
    }
    int64_t block = 0;
    for (int l = 0; l < net->n_layers; l++) {
        const int64_t size = net->layers[l].out_size;
        if (is_kind(net, l, AM_MAXPOOL2D)) {
            ws->argmax[l] = am_carve(arena, rows, size);
            ws->argmax_stride[l] = size;
        }
        if (is_kind(net, l, AM_CONV2D) && net->layers[l].w_size > block) {
            block = net->layers[l].w_size;
        }
        if (is_kind(net, l, AM_DROPOUT) && step->config != NULL) {
            ws->keep[l] = am_carve(arena, rows, size);
        }
        if (is_kind(net, l, AM_DENSE) && am_packed_size(BLOCK_ROWS, size) > block) {
            block = am_packed_size(BLOCK_ROWS, size);
        }
    }
    const int64_t k = net->layers[net->n_layers - 1].out_size;
    ws->seed = step->config == NULL ? 0 : step->config->seed;
    ws->scratch = am_carve(arena, net->scratch_back_size, sizeof(float));
    slot->block_gradient = am_carve(arena, block, sizeof(float));
    slot->onehot = am_carve(arena, k, sizeof(float));
    slot->p = am_carve(arena, k, sizeof(float));
}

static int
count_blocks(const am_net *net)
{
    int64_t n = 0;
    for (int l = 0; l < net->n_layers; l++) {
        n += is_kind(net, l, AM_CONV2D);
        if (is_kind(net, l, AM_DENSE)) {
            n += am_ceil_div(net->layers[l].in_size, BLOCK_ROWS);
        }
    }
    return (int)n;
}

void
am_step_plan(am_arena *arena, am_step *step)
{
    const am_net *net = step->net;
    const int64_t chunks = am_ceil_div(step->batch, step->rows);
    step->conv_params = net->layers[net->first_dense].w;
    step->n_blocks = count_blocks(net);
    step->blocks = am_carve(arena, step->n_blocks, sizeof *step->blocks);
    step->packed_back = am_carve(arena, net->n_packed_back, sizeof(float));
    step->conv_grads = carve_floats(arena, chunks, step->conv_params);
    for (int l = net->first_dense; l < net->n_layers; l++) {
        if (is_kind(net, l, AM_DENSE)) {
            const am_layer *layer = &net->layers[l];
            step->batch_x[layer->value_in] = carve_floats(arena, step->batch, layer->in_size);
            step->batch_dy[l] = carve_floats(arena, am_panel_rows(step->batch),
                                             am_panels(layer->out_size) * AM_PANEL);
        }
    }
    if (step->config != NULL) {
        step->losses = am_carve(arena, step->batch, sizeof(double));
        step->right = am_carve(arena, step->batch, 1);
        step->optimizer.v = am_carve(arena, net->n_stored, sizeof(float));
        if (step->config->optimizer == AM_ADAM) {
            step->optimizer.m = am_carve(arena, net->n_stored, sizeof(float));
        }
    }
    step->slots = am_carve(arena, step->threads, sizeof *step->slots);
    for (int i = 0; i < step->threads; i++) {
        am_slot measured = {0};
        plan_slot(arena, step, step->slots == NULL ? &measured : &step->slots[i]);
    }
}

static void
pack_back(am_step *step, const am_layer *layer, int64_t first, int64_t last)
{
    const am_net *net = step->net;
    float *packed = step->packed_back + layer->packed_back;
    const float *w = net->params + layer->w;
    if (layer == &net->layers[net->first_trainable] && !step->to_pixels) {
        return; /* nobody asks for the gradient of its input */
    }
    if (layer->sampled) {
        return; /* made of the weights as they are */
    }
    if (layer->block) {
        am_conv_pool_pack_back(packed, w, &layer->fused);
    }
    else if (layer->spec.kind == AM_CONV2D) {
        am_conv2d_pack_back(packed, w, &layer->conv);
    }
    else {
        am_dense_pack_back(packed, w, layer->in_size, layer->out_size, first, last);
    }
}

void
am_step_prepare(am_step *step)
{
    const am_net *net = step->net;
    am_update_block *block = step->blocks;
    for (int l = 0; l < net->n_layers; l++) {
        const am_layer *layer = &net->layers[l];
        if (is_kind(net, l, AM_CONV2D)) {
            *block++ = (am_update_block){l, 0, 0};
            pack_back(step, layer, 0, 0);
        }
        else if (is_kind(net, l, AM_DENSE)) {
            for (int64_t i = 0; i < layer->in_size; i += BLOCK_ROWS) {
                *block++ = (am_update_block){l, i, am_min_i64(i + BLOCK_ROWS, layer->in_size)};
            }
            pack_back(step, layer, 0, layer->in_size);
        }
    }
    step->optimizer.power1 = step->optimizer.power2 = 1.0;
}

/* --- first loop: chunks of the batch ---------------------------------------------------------- */

typedef struct step_job {
    am_step *step;
    const am_examples *examples;
    const int64_t *order;
    int64_t n;
    uint32_t number;
    double rate;
    am_control *control;
} step_job;

/* Loss of each image of the chunk, and its gradient with respect to the logits. */
static void
chunk_loss(const step_job *job, am_slot *slot, int64_t start, int64_t rows)
{
    const am_step *step = job->step;
    const am_net *net = step->net;
    const am_layer *output = &net->layers[net->n_layers - 1];
    const int64_t k = output->out_size;
    const am_loss loss = step->config->loss;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t example = job->order[start + i];
        const float *z = slot->ws.value[output->value_out] + i * k;
        const float *y = am_target(job->examples, example, k, slot->onehot);
        const float *weights = job->examples->weights;
        const double weight = weights == NULL ? 1.0 : weights[example];
        step->losses[start + i] = weight * am_loss_forward(loss, slot->p, z, y, k);
        step->right[start + i] = am_argmax(z, k) == am_argmax(y, k);
        if (job->examples->dynamics != NULL) {
            am_dynamics_add_logits(&job->examples->dynamics[example], z, k, am_argmax(y, k),
                                   job->examples->early);
        }
        am_loss_backward(loss, slot->grad[output->value_out] + i * k, slot->p, y,
                         weight / (double)job->n, k);
    }
}

am_status
am_step_forward(const am_step *step, int slot, const am_examples *examples, const int64_t *order,
                int64_t start, int64_t rows, am_control *control, am_error *err)
{
    const am_net *net = step->net;
    am_workspace *ws = &step->slots[slot].ws;
    ws->first_slot = start;
    for (int v = 0; v < net->n_values; v++) {
        if (step->batch_x[v] != NULL) {
            ws->value[v] = step->batch_x[v] + start * net->value_size[v];
        }
    }
    for (int64_t i = 0; i < rows; i++) {
        AM_TRY(am_check(control, slot, err));
        am_load_image(ws->value[0] + i * ws->value_stride[0], &examples->images, order[start + i]);
        if (i + 1 < rows) {
            am_prefetch_image(&examples->images, order[start + i + 1]);
        }
        am_forward_image(net, ws, 0, net->first_dense, i);
    }
    for (int l = net->first_dense; l < net->n_layers; l++) {
        am_forward_rows(net, ws, &net->layers[l], rows);
    }
    return AM_OK;
}

static am_status
run_chunk(void *arg, int64_t chunk, int slot_number, am_error *err)
{
    const step_job *job = arg;
    const am_step *step = job->step;
    am_slot *slot = &step->slots[slot_number];
    const int64_t start = chunk * step->rows;
    const int64_t rows = am_min_i64(step->rows, job->n - start);
    float *conv_grads = step->conv_grads + chunk * step->conv_params;
    memset(conv_grads, 0, (size_t)step->conv_params * sizeof(float));
    slot->ws.step = job->number;
    AM_TRY(am_step_forward(step, slot_number, job->examples, job->order, start, rows, job->control,
                           err));
    chunk_loss(job, slot, start, rows);
    am_backward_rows(step, slot, start, rows, job->n);
    for (int64_t i = 0; i < rows; i += AM_GROUP) {
        AM_TRY(am_check(job->control, slot_number, err));
        am_backward_images(step, slot, conv_grads, i, am_min_i64(AM_GROUP, rows - i));
    }
    return AM_OK;
}

/* --- second loop: blocks of parameters -------------------------------------------------------- */

static void
update_conv(const step_job *job, const am_layer *layer, float *unpacked)
{
    am_step *step = job->step;
    am_net *net = step->net;
    const int64_t chunks = am_ceil_div(job->n, step->rows);
    float *sum = step->conv_grads + layer->w; /* chunk 0, then the others in order */
    for (int64_t chunk = 1; chunk < chunks; chunk++) {
        am_get_kernels()->add(sum, sum + chunk * step->conv_params, layer->end - layer->w);
    }
    if (layer->block && !am_conv_pool_is_narrow(&layer->fused)) {
        am_conv_pool_unpack_gradient(unpacked, sum, &layer->fused);
        memcpy(sum, unpacked, (size_t)layer->w_size * sizeof(float));
    }
    am_optimizer_apply(&step->optimizer, step->config, job->rate, net->params + layer->w, sum,
                       layer->w, layer->end - layer->w);
    am_net_pack_layer(net, layer);
    pack_back(step, layer, 0, 0);
}

static void
update_dense(const step_job *job, const am_update_block *block, float *gradient)
{
    am_step *step = job->step;
    am_net *net = step->net;
    const am_layer *layer = &net->layers[block->layer];
    const int64_t f = layer->out_size, rows = block->last - block->first;
    const float *dy = step->batch_dy[block->layer];
    am_dense_backward_weights(gradient, AM_PANEL, rows * AM_PANEL, dy,
                              step->batch_x[layer->value_in], job->n, layer->in_size,
                              am_panels(f) * AM_PANEL, block->first, block->last, layer->rectified);
    for (int64_t panel = 0; panel < am_panels(f); panel++) {
        const int64_t place =
            layer->w + am_dense_place(layer->in_size, block->first, panel * AM_PANEL);
        am_optimizer_apply(&step->optimizer, step->config, job->rate, net->params + place,
                           gradient + panel * rows * AM_PANEL, place, rows * AM_PANEL);
    }
    pack_back(step, layer, block->first, block->last);
    if (block->first == 0) {
        am_dense_backward_bias(gradient, dy, job->n, f);
        am_optimizer_apply(&step->optimizer, step->config, job->rate, net->params + layer->b,
                           gradient, layer->b, f);
    }
}

static am_status
run_block(void *arg, int64_t number, int slot, am_error *err)
{
    (void)err;
    const step_job *job = arg;
    const am_update_block *block = &job->step->blocks[number];
    const am_layer *layer = &job->step->net->layers[block->layer];
    float *gradient = job->step->slots[slot].block_gradient;
    if (layer->spec.kind == AM_CONV2D) {
        update_conv(job, layer, gradient);
    }
    else {
        update_dense(job, block, gradient);
    }
    return AM_OK;
}

am_status
am_step_run(am_step *step, const am_examples *examples, const int64_t *order, int64_t n,
            uint32_t number, double rate, am_control *control, am_error *err)
{
    step_job job = {step, examples, order, n, number, rate, control};
    AM_TRY(am_parallel_for(am_ceil_div(n, step->rows), step->threads, run_chunk, &job, err));
    /* From here on nothing can fail or be cancelled: the network changes as a whole. */
    am_optimizer_next_step(&step->optimizer, step->config);
    return am_parallel_for(step->n_blocks, step->threads, run_block, &job, err);
}
