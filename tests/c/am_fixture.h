/* A small data set and a small network with every kind of layer. */
#ifndef AMBIG_TEST_FIXTURE_H
#define AMBIG_TEST_FIXTURE_H

#include "../../csrc/train/step.h"
#include "am_buffers.h"

#define IMAGES 75
#define SIDE 8
#define PIXELS (SIDE * SIDE)
#define CLASSES 3

#define CONV(f, k, same) {AM_CONV2D, f, k, same, 0}
#define POOL {AM_MAXPOOL2D, 0, 0, 0, 0}
#define FLAT {AM_FLATTEN, 0, 0, 0, 0}
#define DENSE(n) {AM_DENSE, n, 0, 0, 0}
#define RELU {AM_RELU, 0, 0, 0, 0}
#define DROP(rate) {AM_DROPOUT, 0, 0, 0, rate}

static const am_layer_spec am_all_layers[] = {
    {AM_CONV2D, 5, 3, 1, 0},   {AM_RELU, 0, 0, 0, 0},        {AM_MAXPOOL2D, 0, 0, 0, 0},
    {AM_DROPOUT, 0, 0, 0, .2}, {AM_CONV2D, 4, 3, 0, 0},      {AM_RELU, 0, 0, 0, 0},
    {AM_FLATTEN, 0, 0, 0, 0},  {AM_DENSE, 20, 0, 0, 0},      {AM_RELU, 0, 0, 0, 0},
    {AM_DROPOUT, 0, 0, 0, .5}, {AM_DENSE, CLASSES, 0, 0, 0},
};

static const am_train_config am_adam = {
    .loss = AM_LOSS_SOFTMAX,
    .optimizer = AM_ADAM,
    .momentum = 0.9,
    .decay = 0.999,
    .epsilon = 1e-8,
    .schedule = AM_ONE_CYCLE,
    .learning_rate = 0.01,
    .batch_size = 35,
    .epochs = 3,
    .seed = 11,
};

typedef struct am_fixture {
    uint8_t pixels[IMAGES * PIXELS];
    int32_t labels[IMAGES];
    int64_t index[IMAGES]; /* all of them */
    am_images images;
} am_fixture;

/* Noise, and a bright stripe whose place is the class. Static, so that it needs no memory. */
static inline am_fixture *
am_make_fixture(void)
{
    static am_fixture f;
    uint32_t state = 99;
    for (int i = 0; i < IMAGES; i++) {
        f.index[i] = i;
        f.labels[i] = i * 7 % CLASSES;
        for (int j = 0; j < PIXELS; j++) {
            const int bright = j / SIDE / 3 == f.labels[i];
            f.pixels[i * PIXELS + j] = (uint8_t)(60 + 90 * bright + 50 * am_next(&state));
        }
    }
    f.images = (am_images){f.pixels, 1, IMAGES, SIDE, SIDE, 1, NULL};
    return &f;
}

/* Examples first..first+n of the fixture. */
static inline am_examples
am_some_examples(const am_fixture *f, int64_t first, int64_t n)
{
    return (am_examples){
        .images = f->images, .labels = f->labels, .index = f->index + first, .n = n};
}

static inline am_net *
am_make_net(uint64_t seed)
{
    am_net *net = NULL;
    AM_CHECK_OK(
        am_net_create(&net, am_all_layers, (int)COUNT(am_all_layers), SIDE, SIDE, 1, 1, &err));
    am_net_init(net, seed);
    return net;
}

/* The parameters in the order that callers know, to be freed. */
static inline float *
am_copy_params(const am_net *net)
{
    float *params = am_nan_floats(net->n_params);
    am_net_get_params(net, params);
    return params;
}

static inline int
am_same_params(const am_net *net, const float *params)
{
    float *own = am_copy_params(net);
    const int same = memcmp(own, params, (size_t)net->n_params * sizeof(float)) == 0;
    free(own);
    return same;
}

/* The optimizer steps by themselves: what an epoch must amount to. */
typedef struct am_stepper {
    am_net *net;
    am_step step;
    am_arena arena;
    am_train_config config;
} am_stepper;

static inline void
am_make_stepper(am_stepper *s, const am_train_config *config, int64_t batch, int threads)
{
    *s = (am_stepper){.net = am_make_net(config->seed), .config = *config};
    s->step = (am_step){.net = s->net,
                        .config = &s->config,
                        .threads = threads,
                        .batch = batch,
                        .rows = batch < AM_CHUNK ? batch : AM_CHUNK};
    am_step_plan(&s->arena, &s->step);
    AM_CHECK_OK(am_arena_reserve(&s->arena, &err));
    am_step_plan(&s->arena, &s->step);
    am_step_prepare(&s->step);
}

static inline void
am_free_stepper(am_stepper *s)
{
    am_arena_free(&s->arena);
    am_net_free(s->net);
}

#endif
