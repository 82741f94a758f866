#include "gradients.h"

#include <string.h>

#include "step.h"

typedef struct gradient_job {
    am_step step;
    const am_examples *examples;
    am_loss loss;
    am_control *control;
    int64_t first, n; /* of the examples: those in work together */
    double *norms;    /* (examples->n,), or NULL: */
    float *pixels;    /* (examples->n, size of an image) */
} gradient_job;

static double
squared_norm(const float *x, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sum;
}

/* The gradient of the logits of image i of the chunk: of its loss, or of the label's logit. */
static void
start_gradient(const gradient_job *job, am_slot *slot, int64_t example, int64_t i)
{
    const am_net *net = job->step.net;
    const am_layer *output = &net->layers[net->n_layers - 1];
    const int64_t k = output->out_size;
    const float *y = am_target(job->examples, example, k, slot->onehot);
    float *dz = slot->grad[output->value_out] + i * k;
    if (job->norms == NULL) {
        memcpy(dz, y, (size_t)k * sizeof(float));
        return;
    }
    am_loss_forward(job->loss, slot->p, slot->ws.value[output->value_out] + i * k, y, k);
    am_loss_backward(job->loss, dz, slot->p, y, 1.0, k);
}

/* A dense layer's gradient by its weights is x dy', by its bias dy: |x|^2 |dy|^2 + |dy|^2. */
static double
dense_norm(const am_step *step, const am_slot *slot, int64_t i)
{
    const am_net *net = step->net;
    double sum = 0.0;
    for (int l = net->first_dense; l < net->n_layers; l++) {
        const am_layer *layer = &net->layers[l];
        if (layer->spec.kind == AM_DENSE) {
            const float *x = slot->ws.value[layer->value_in] + i * layer->in_size;
            const float *dy = slot->grad[layer->value_out] + i * layer->out_size;
            sum += (squared_norm(x, layer->in_size) + 1.0) * squared_norm(dy, layer->out_size);
        }
    }
    return sum;
}

static am_status
gradient_chunk(void *arg, int64_t chunk, int slot_number, am_error *err)
{
    const gradient_job *job = arg;
    const am_step *step = &job->step;
    const am_net *net = step->net;
    am_slot *slot = &step->slots[slot_number];
    const int64_t start = chunk * step->rows, rows = am_min_i64(step->rows, job->n - start);
    const int64_t *order = job->examples->index + job->first;
    float *conv_grads = step->conv_grads + chunk * step->conv_params;
    AM_TRY(
        am_step_forward(step, slot_number, job->examples, order, start, rows, job->control, err));
    for (int64_t i = 0; i < rows; i++) {
        start_gradient(job, slot, order[start + i], i);
    }
    am_backward_rows(step, slot, start, rows, job->n);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t place = job->first + start + i;
        AM_TRY(am_check(job->control, slot_number, err));
        if (job->norms == NULL) {
            const int64_t size = net->value_size[0];
            am_backward_images(step, slot, NULL, i, 1);
            memcpy(job->pixels + place * size, am_gradient_of(step, slot, 0, i),
                   (size_t)size * sizeof(float));
            continue;
        }
        memset(conv_grads, 0, (size_t)step->conv_params * sizeof(float));
        am_backward_images(step, slot, conv_grads, i, 1);
        job->norms[place] =
            __builtin_sqrt(dense_norm(step, slot, i) + squared_norm(conv_grads, step->conv_params));
    }
    return AM_OK;
}

static am_status
run_all(gradient_job *job, int threads, am_error *err)
{
    am_step *step = &job->step;
    const am_examples *examples = job->examples;
    if (step->net->first_dense == step->net->n_layers) {
        return am_fail(err, AM_ERR_VALUE, "gradients need a dense output layer");
    }
    AM_TRY(am_check_examples(step->net, examples, err));
    if (examples->n == 0) {
        return AM_OK;
    }
    step->rows = AM_CHUNK;
    step->threads = am_slots(threads, am_ceil_div(examples->n, AM_CHUNK));
    step->batch = AM_CHUNK * 4 * step->threads; /* so many in work: no bit depends on it */
    am_arena arena = {0};
    am_step_plan(&arena, step);
    AM_TRY(am_arena_reserve(&arena, err));
    am_step_plan(&arena, step);
    am_step_prepare(step);
    am_status status = AM_OK;
    for (; job->first < examples->n && status == AM_OK; job->first += step->batch) {
        job->n = am_min_i64(step->batch, examples->n - job->first);
        status = am_parallel_for(am_ceil_div(job->n, step->rows), step->threads, gradient_chunk,
                                 job, err);
    }
    am_arena_free(&arena);
    return status;
}

am_status
am_gradient_norms(am_net *net, const am_examples *examples, am_loss loss, int threads,
                  am_control *control, double *out, am_error *err)
{
    gradient_job job = {
        .step = {.net = net}, .examples = examples, .loss = loss, .control = control, .norms = out};
    return run_all(&job, threads, err);
}

am_status
am_pixel_gradients(am_net *net, const am_examples *examples, int threads, am_control *control,
                   float *out, am_error *err)
{
    for (int l = 0; l < net->n_layers; l++) {
        if (net->layers[l].block) {
            return am_fail(err, AM_ERR_VALUE,
                           "the gradient by the pixels needs a network without fused blocks");
        }
    }
    gradient_job job = {.step = {.net = net, .to_pixels = 1},
                        .examples = examples,
                        .control = control,
                        .pixels = out};
    return run_all(&job, threads, err);
}

/* --- their spread over time ------------------------------------------------------------------- */

#define DEVIATION_ROWS 16

typedef struct deviation_job {
    const float *x;
    int64_t t, n, d;
    am_control *control;
    double *out;
} deviation_job;

static am_status
deviation_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const deviation_job *job = arg;
    const int64_t stop = am_min_i64((chunk + 1) * DEVIATION_ROWS, job->n);
    AM_TRY(am_check(job->control, slot, err));
    for (int64_t i = chunk * DEVIATION_ROWS; i < stop; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < job->d; j++) {
            const float *x = job->x + i * job->d + j;
            double mean = 0.0, squares = 0.0; /* Welford's */
            for (int64_t t = 0; t < job->t; t++) {
                const double value = (double)x[t * job->n * job->d], before = value - mean;
                mean += before / (double)(t + 1);
                squares += before * (value - mean);
            }
            sum += __builtin_sqrt(squares / (double)job->t);
        }
        job->out[i] = sum / (double)job->d;
    }
    return AM_OK;
}

am_status
am_mean_deviation(const float *x, int64_t t, int64_t n, int64_t d, int threads, am_control *control,
                  double *out, am_error *err)
{
    if (t < 1 || d < 1) {
        return am_fail(err, AM_ERR_VALUE,
                       "expected at least one time and one number, got %lld, %lld", (long long)t,
                       (long long)d);
    }
    deviation_job job = {x, t, n, d, control, out};
    return am_parallel_for(am_ceil_div(n, DEVIATION_ROWS), threads, deviation_chunk, &job, err);
}
