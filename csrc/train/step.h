/* One optimization step: the inside of the trainer.
 *
 * Two loops with a barrier between them. The first runs over chunks of the batch: forward, loss,
 * backward; each chunk sums the conv gradients of its own images. The second runs over blocks of
 * parameters: a block collects its gradient from the whole batch, in a fixed order, and updates its
 * weights while that gradient is in the cache. */
#ifndef AMBIG_TRAIN_STEP_H
#define AMBIG_TRAIN_STEP_H

#include "train.h"

/* Parameters that one task of the update owns: a conv layer, or some rows of a dense layer. */
typedef struct am_update_block {
    int layer;
    int64_t first, last;
} am_update_block;

/* What one thread works with. */
typedef struct am_slot {
    am_workspace ws;
    float
        *grad[AM_MAX_LAYERS + 1]; /* gradient of each value: of a chunk, or of the current image */
    int64_t grad_stride[AM_MAX_LAYERS + 1];
    float *block_gradient;
    float *onehot, *p; /* (k,) */
} am_slot;

typedef struct am_step {
    am_net *net;
    const am_train_config *config; /* NULL: gradients only, without dropout, nothing is updated */
    int to_pixels;                 /* whether the gradient of the image is asked for */
    int threads;
    int64_t batch, rows; /* images of a step and of a chunk; rows follows from batch alone */
    int64_t conv_params; /* the conv layers' parameters come first */
    int n_blocks;
    am_update_block *blocks;
    float *packed_back;                /* weights as backward_data reads them */
    float *conv_grads;                 /* (chunks, conv_params) */
    float *batch_x[AM_MAX_LAYERS + 1]; /* (batch, size): the values that dense layers read */
    float *batch_dy[AM_MAX_LAYERS];    /* gradients of dense layers' outputs, packed */
    double *losses;                    /* (batch,) */
    uint8_t *right;                    /* (batch,) */
    am_slot *slots;                    /* (threads,) */
    am_optimizer_state optimizer;
} am_step;

/* Carves (or measures) everything after the first six members. */
void am_step_plan(am_arena *arena, am_step *step);
/* Lists the update blocks and packs the weights for the backward pass. */
void am_step_prepare(am_step *step);
/* A chunk: the images order[start..start + rows) through the net, at that place of the batch. */
am_status am_step_forward(const am_step *step, int slot, const am_examples *examples,
                          const int64_t *order, int64_t start, int64_t rows, am_control *control,
                          am_error *err);
/* The dense part of a chunk backwards, from the gradient of the logits in slot->grad; n: images of
 * the whole batch. */
void am_backward_rows(const am_step *step, am_slot *slot, int64_t start, int64_t rows, int64_t n);
/* What is before it, on the images first..first + n of the chunk, n <= AM_GROUP. conv_grads
 * accumulates; NULL, in a net without fused blocks: no gradient of weights. */
void am_backward_images(const am_step *step, am_slot *slot, float *conv_grads, int64_t first,
                        int64_t n);
/* The gradient of value v for image i of the chunk: of all its images where a dense layer reads the
 * value, else of the group in work. */
float *am_gradient_of(const am_step *step, const am_slot *slot, int v, int64_t i);
/* Forward, backward and update on the examples order[0..n), n <= batch. `number` counts all steps.
 * Afterwards losses and right hold the n results. */
am_status am_step_run(am_step *step, const am_examples *examples, const int64_t *order, int64_t n,
                      uint32_t number, double rate, am_control *control, am_error *err);

#endif
