#include "net.h"

#include <string.h>

void
am_load_image(float *dst, const am_images *images, int64_t index)
{
    const int64_t size = images->h * images->w * images->c;
    if (images->view != NULL) {
        const char *pixels = (const char *)images->data + index * size * (images->is_u8 ? 1 : 4);
        am_view_image(dst, pixels, images->is_u8, images->h, images->w, images->c, images->view,
                      index);
    }
    else if (images->is_u8) {
        am_get_kernels()->scale_u8(dst, (const uint8_t *)images->data + index * size, size);
    }
    else {
        memcpy(dst, (const float *)images->data + index * size, (size_t)size * sizeof(float));
    }
}

void
am_prefetch_image(const am_images *images, int64_t index)
{
    const int64_t size = images->h * images->w * images->c * (images->is_u8 ? 1 : 4);
    const char *image = (const char *)images->data + index * size;
    for (int64_t i = 0; i < size; i += AM_ALIGNMENT) {
        __builtin_prefetch(image + i);
    }
}

am_status
am_check_images(const am_net *net, const am_images *images, am_error *err)
{
    if (images->h == net->h && images->w == net->w && images->c == net->c) {
        return AM_OK;
    }
    return am_fail(err, AM_ERR_SHAPE,
                   "this network takes images of %lld x %lld x %lld (height, width, channels), got "
                   "%lld x %lld x %lld",
                   (long long)net->h, (long long)net->w, (long long)net->c, (long long)images->h,
                   (long long)images->w, (long long)images->c);
}

am_status
am_check_index(const am_images *images, const int64_t *index, int64_t n, am_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] >= images->n) {
            return am_fail(err, AM_ERR_VALUE, "index[%lld]: expected 0 to %lld, got %lld",
                           (long long)i, (long long)images->n - 1, (long long)index[i]);
        }
    }
    return AM_OK;
}

/* Draws the mask of image i of the chunk and applies it to y, in place. */
static void
drop(const am_workspace *ws, const am_layer *layer, int position, float *y, int64_t i)
{
    uint8_t *keep = ws->keep[position];
    if (keep == NULL) {
        return;
    }
    const int64_t number = ws->index == NULL ? ws->first_slot + i : ws->index[i];
    keep += i * layer->out_size;
    am_dropout_mask(keep, layer->out_size, layer->spec.rate, ws->seed, ws->step, (uint32_t)position,
                    (uint32_t)number);
    am_dropout_apply(y, y, keep, layer->spec.rate, layer->out_size);
}

/* Whether the whole block that starts at layer l lies before layer `last`. */
static int
runs_block(const am_net *net, int l, int last)
{
    return net->layers[l].block && l + AM_BLOCK_LAYERS <= last;
}

void
am_forward_image(const am_net *net, const am_workspace *ws, int first, int last, int64_t i)
{
    const am_kernels *kernels = am_get_kernels();
    for (int l = first; l < last; l++) {
        const am_layer *layer = &net->layers[l];
        const int block = runs_block(net, l, last);
        const int end = block ? l + AM_BLOCK_LAYERS - 1 : l; /* the layer whose output is made */
        const int out = net->layers[end].value_out;
        const float *x = ws->value[layer->value_in] + i * ws->value_stride[layer->value_in];
        float *y = ws->value[out] + i * ws->value_stride[out];
        uint8_t *argmax = ws->argmax[end] + i * ws->argmax_stride[end];
        if (block) {
            am_conv_pool_forward(y, argmax, x, net->params + layer->w, net->packed + layer->packed,
                                 net->params + layer->b, &layer->fused, ws->scratch);
        }
        else if (layer->spec.kind == AM_CONV2D) {
            const float *packed = layer->block ? ws->cut : net->packed + layer->packed;
            am_conv2d_forward(y, x, packed, net->params + layer->b, &layer->conv, ws->scratch);
        }
        else if (layer->spec.kind == AM_MAXPOOL2D) {
            const am_pool_shape shape = {layer->in_h, layer->in_w, layer->in_c};
            kernels->maxpool(y, argmax, x, &shape);
        }
        else if (layer->spec.kind == AM_RELU) {
            kernels->relu(y, y, layer->out_size);
        }
        else if (layer->spec.kind == AM_DROPOUT) {
            drop(ws, layer, l, y, i);
        } /* flatten: the same numbers */
        l = end;
    }
}

void
am_forward_rows(const am_net *net, const am_workspace *ws, const am_layer *layer, int64_t rows)
{
    const float *x = ws->value[layer->value_in];
    float *y = ws->value[layer->value_out];
    if (layer->spec.kind == AM_DENSE) {
        am_dense_forward(y, x, net->params + layer->w, net->params + layer->b, rows, layer->in_size,
                         layer->out_size, layer->rectified && net->finite);
    }
    else if (layer->spec.kind == AM_RELU) {
        am_get_kernels()->relu(y, y, rows * layer->out_size);
    }
    else if (layer->spec.kind == AM_DROPOUT) {
        for (int64_t i = 0; i < rows; i++) {
            drop(ws, layer, (int)(layer - net->layers), y + i * layer->out_size, i);
        }
    }
}

/* --- prediction ------------------------------------------------------------------------------ */

typedef struct forward_job {
    const am_net *net;
    const am_images *images;
    const int64_t *index;
    int64_t n, rows; /* images in all, and per chunk */
    int last;
    am_control *control;
    float *out;
    int64_t out_size;
    float *cut; /* see am_workspace */
    am_workspace *slots;
    /* With dropout on: */
    int draws;         /* 0: it does nothing */
    int first_dropout; /* index of that layer */
    uint64_t seed;
    float **before; /* per slot: the chunk's values that the first dropout works on */
} forward_job;

/* Before the first dense layer one image at a time is kept; its input and what follows hold a
 * chunk. */
static void
plan_slot(am_arena *arena, const forward_job *job, am_workspace *ws, float **before)
{
    const am_net *net = job->net;
    const int dense_in =
        net->first_dense < job->last ? net->layers[net->first_dense].value_in : AM_MAX_LAYERS;
    for (int v = 0; v < net->n_values; v++) {
        const int keeps_chunk = v >= dense_in;
        ws->value[v] =
            am_carve(arena, net->value_size[v] * (keeps_chunk ? job->rows : 1), sizeof(float));
        ws->value_stride[v] = keeps_chunk ? net->value_size[v] : 0;
    }
    for (int l = 0; l < net->n_layers; l++) {
        if (net->layers[l].spec.kind == AM_MAXPOOL2D) {
            ws->argmax[l] = am_carve(arena, net->layers[l].out_size, 1);
        }
        if (net->layers[l].spec.kind == AM_DROPOUT && job->draws > 0) {
            ws->keep[l] = am_carve(arena, job->rows, net->layers[l].out_size);
        }
    }
    ws->scratch = am_carve(arena, net->scratch_size, sizeof(float));
    ws->cut = job->cut;
    ws->seed = job->seed;
    if (job->draws > 0) {
        *before = am_carve(arena, job->rows * net->layers[job->first_dropout].in_size,
                           (int64_t)sizeof(float));
    }
}

/* The conv layer whose block starts before layer `last` and does not end before it, or NULL: its
 * weights are needed as the general path reads them. */
static const am_layer *
cut_layer(const am_net *net, int last)
{
    for (int l = last - 1; l >= 0 && l > last - AM_BLOCK_LAYERS; l--) {
        if (net->layers[l].block) {
            return &net->layers[l];
        }
    }
    return NULL;
}

/* Loads image i of the chunk, and takes it through the layers before `last`. */
static void
forward_loaded(const forward_job *job, const am_workspace *ws, int64_t start, int last, int64_t i)
{
    const int64_t index = job->index == NULL ? start + i : job->index[start + i];
    am_load_image(ws->value[0] + i * ws->value_stride[0], job->images, index);
    am_forward_image(job->net, ws, 0, last, i);
}

static am_status
forward_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    forward_job *job = arg;
    const am_net *net = job->net;
    const am_workspace *ws = &job->slots[slot];
    const int64_t start = chunk * job->rows;
    const int64_t rows = am_min_i64(job->rows, job->n - start);
    const int spatial = net->first_dense < job->last ? net->first_dense : job->last;
    const int final = job->last > 0 ? net->layers[job->last - 1].value_out : 0;
    for (int64_t i = 0; i < rows; i++) {
        AM_TRY(am_check(job->control, slot, err));
        forward_loaded(job, ws, start, spatial, i);
        if (spatial == job->last) {
            memcpy(job->out + (start + i) * job->out_size,
                   ws->value[final] + i * ws->value_stride[final],
                   (size_t)job->out_size * sizeof(float));
        }
    }
    for (int l = spatial; l < job->last; l++) {
        AM_TRY(am_check(job->control, slot, err));
        am_forward_rows(net, ws, &net->layers[l], rows);
    }
    if (spatial < job->last) {
        memcpy(job->out + start * job->out_size, ws->value[final],
               (size_t)(rows * job->out_size) * sizeof(float));
    }
    return AM_OK;
}

/* The layers from the first dropout on, on the whole chunk. */
static am_status
forward_draw(const forward_job *job, am_workspace *ws, int slot, int64_t rows, am_error *err)
{
    const am_net *net = job->net;
    const am_layer *dropout = &net->layers[job->first_dropout];
    const int v = dropout->value_in;
    const int spatial =
        job->first_dropout < net->first_dense ? net->first_dense : job->first_dropout;
    for (int64_t i = 0; i < rows; i++) {
        AM_TRY(am_check(job->control, slot, err));
        memcpy(ws->value[v] + i * ws->value_stride[v], job->before[slot] + i * dropout->in_size,
               (size_t)dropout->in_size * sizeof(float));
        if (job->first_dropout < spatial) {
            am_forward_image(net, ws, job->first_dropout, spatial, i);
        }
    }
    for (int l = spatial; l < net->n_layers; l++) {
        am_forward_rows(net, ws, &net->layers[l], rows);
    }
    return AM_OK;
}

static am_status
draws_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    forward_job *job = arg;
    const am_net *net = job->net;
    am_workspace *ws = &job->slots[slot];
    const int64_t start = chunk * job->rows;
    const int64_t rows = am_min_i64(job->rows, job->n - start);
    const int first = job->first_dropout;
    const int spatial = first < net->first_dense ? first : net->first_dense;
    const am_layer *dropout = &net->layers[first];
    const float *logits = ws->value[net->layers[net->n_layers - 1].value_out];
    ws->first_slot = start;
    ws->index = job->index == NULL ? NULL : job->index + start;
    for (int64_t i = 0; i < rows; i++) {
        AM_TRY(am_check(job->control, slot, err));
        forward_loaded(job, ws, start, spatial, i);
        if (spatial == first) {
            memcpy(job->before[slot] + i * dropout->in_size,
                   ws->value[dropout->value_in] + i * ws->value_stride[dropout->value_in],
                   (size_t)dropout->in_size * sizeof(float));
        }
    }
    for (int l = spatial; l < first; l++) {
        am_forward_rows(net, ws, &net->layers[l], rows);
    }
    if (spatial < first) {
        memcpy(job->before[slot], ws->value[dropout->value_in],
               (size_t)(rows * dropout->in_size) * sizeof(float));
    }
    for (int draw = 0; draw < job->draws; draw++) {
        ws->step = (uint32_t)draw;
        AM_TRY(forward_draw(job, ws, slot, rows, err));
        memcpy(job->out + (draw * job->n + start) * job->out_size, logits,
               (size_t)(rows * job->out_size) * sizeof(float));
    }
    return AM_OK;
}

/* The slots' descriptions and their buffers in one arena. */
static void
plan_forward(am_arena *arena, forward_job *job, int threads)
{
    const am_layer *cut = cut_layer(job->net, job->last);
    job->cut = cut == NULL ? NULL : am_carve(arena, am_conv2d_packed(&cut->conv), sizeof(float));
    job->slots = am_carve(arena, threads, sizeof(am_workspace));
    job->before = am_carve(arena, threads, sizeof(float *));
    for (int i = 0; i < threads; i++) {
        am_workspace measured = {0};
        float *before;
        const int planned = job->slots != NULL;
        plan_slot(arena, job, planned ? &job->slots[i] : &measured,
                  planned ? &job->before[i] : &before);
    }
}

static am_status
run_forward(forward_job *job, int threads, am_error *err)
{
    const am_net *net = job->net;
    AM_TRY(am_check_images(net, job->images, err));
    AM_TRY(am_check_index(job->images, job->index, job->index == NULL ? 0 : job->n, err));
    if (job->n == 0) {
        return AM_OK;
    }
    job->rows = am_min_i64(AM_CHUNK, job->n);
    job->out_size = job->last > 0 ? net->layers[job->last - 1].out_size : net->value_size[0];
    const int64_t chunks = am_ceil_div(job->n, job->rows);
    threads = am_slots(threads, chunks);
    am_arena arena = {0};
    plan_forward(&arena, job, threads);
    AM_TRY(am_arena_reserve(&arena, err));
    plan_forward(&arena, job, threads);
    if (job->cut != NULL) {
        const am_layer *layer = cut_layer(net, job->last);
        am_conv2d_pack(job->cut, net->params + layer->w, &layer->conv);
    }
    am_chunk_fn run = job->draws > 0 ? draws_chunk : forward_chunk;
    am_status status = am_parallel_for(chunks, threads, run, job, err);
    am_arena_free(&arena);
    return status;
}

am_status
am_net_forward(const am_net *net, const am_images *images, const int64_t *index, int64_t n,
               int last, int threads, am_control *control, float *out, am_error *err)
{
    if (last < 0 || last > net->n_layers) {
        return am_fail(err, AM_ERR_VALUE, "layer: expected 0 to %d, got %d", net->n_layers, last);
    }
    forward_job job = {
        .net = net,
        .images = images,
        .index = index,
        .n = n,
        .last = last,
        .control = control,
        .out = out,
    };
    return run_forward(&job, threads, err);
}

am_status
am_net_draws(const am_net *net, const am_images *images, const int64_t *index, int64_t n,
             uint64_t seed, int draws, int threads, am_control *control, float *out, am_error *err)
{
    int first = 0;
    while (first < net->n_layers && net->layers[first].spec.kind != AM_DROPOUT) {
        first++;
    }
    if (first == net->n_layers) {
        return am_fail(err, AM_ERR_VALUE, "draws need a dropout layer, this network has none");
    }
    if (net->first_dense == net->n_layers || draws < 1) {
        return am_fail(err, AM_ERR_VALUE,
                       "expected a dense output layer and at least 1 draw, got %d draws", draws);
    }
    forward_job job = {
        .net = net,
        .images = images,
        .index = index,
        .n = n,
        .last = net->n_layers,
        .control = control,
        .out = out,
        .draws = draws,
        .first_dropout = first,
        .seed = seed,
    };
    return run_forward(&job, threads, err);
}

/* --- softmax --------------------------------------------------------------------------------- */

#define SOFTMAX_ROWS 1024

typedef struct softmax_job {
    float *p;
    const float *z;
    int64_t n, k;
} softmax_job;

static am_status
softmax_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    (void)slot;
    (void)err;
    const softmax_job *job = arg;
    const int64_t end = am_min_i64(job->n, (chunk + 1) * SOFTMAX_ROWS);
    for (int64_t i = chunk * SOFTMAX_ROWS; i < end; i++) {
        am_softmax(job->p + i * job->k, job->z + i * job->k, job->k);
    }
    return AM_OK;
}

am_status
am_softmax_rows(float *p, const float *z, int64_t n, int64_t k, int threads, am_error *err)
{
    softmax_job job = {p, z, n, k};
    return am_parallel_for(am_ceil_div(n, SOFTMAX_ROWS), threads, softmax_chunk, &job, err);
}
