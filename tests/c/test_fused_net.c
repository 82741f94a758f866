/* Whole networks with fused blocks and sampled gradients, against the same networks layer by layer.
 */
#include "am_test.h"

#include <math.h>

#include "../../csrc/ambig.h"
#include "am_fixture.h"
#include "am_modes.h"

#define N 35 /* images: two chunks of 16, and one of an odd number */
#define STEP_RATE 0.25

typedef struct net_case {
    int64_t h, w, c;
    int n_layers;
    int blocks, sampled; /* how many layers take those paths */
    am_layer_spec layers[14];
} net_case;

/* Blocks that begin with the image, behind dropout, behind a general conv layer and before one. */
static const net_case cases[] = {
    {14,
     12,
     1,
     12,
     2,
     1,
     {CONV(16, 3, 0), RELU, POOL, CONV(32, 3, 0), RELU, POOL, DROP(.25), FLAT, DENSE(48), RELU,
      DROP(.5), DENSE(CLASSES)}},
    {9,
     10,
     3,
     8,
     1,
     0,
     {CONV(48, 3, 0), RELU, POOL, DROP(.3), FLAT, DENSE(17), RELU, DENSE(CLASSES)}},
    {8, 9, 16, 5, 1, 0, {CONV(32, 3, 0), RELU, POOL, FLAT, DENSE(CLASSES)}},
    {10,
     11,
     2,
     11,
     1,
     1,
     {CONV(16, 3, 1), RELU, CONV(48, 3, 0), RELU, POOL, CONV(5, 3, 0), RELU, FLAT, DENSE(32), RELU,
      DENSE(CLASSES)}},
    {13,
     12,
     4,
     10,
     2,
     0,
     {DROP(.2), CONV(32, 3, 0), RELU, POOL, DROP(.2), CONV(16, 3, 0), RELU, POOL, FLAT,
      DENSE(CLASSES)}},
    {5,
     4,
     1,
     9,
     0,
     2,
     {CONV(7, 3, 0), RELU, FLAT, DENSE(64), RELU, DENSE(16), RELU, DROP(.5), DENSE(CLASSES)}},
    /* no ReLU: the zeros of a margin pass their gradient on */
    {6,
     7,
     1,
     7,
     0,
     0,
     {CONV(16, 3, 0), POOL, FLAT, DENSE(16), DROP(.5), DENSE(32), DENSE(CLASSES)}},
};

typedef struct data {
    float *x;
    int32_t labels[N];
    int64_t index[N];
    am_examples examples;
} data;

/* Noise, a brighter corner whose place is the class, and a margin of zeros. */
static void
make_data(data *d, const net_case *c)
{
    const int64_t size = c->h * c->w * c->c;
    uint32_t state = 5;
    d->x = am_floats(N * size);
    for (int64_t i = 0; i < N; i++) {
        d->index[i] = i;
        d->labels[i] = (int32_t)(i * 7 % CLASSES);
        for (int64_t j = 0; j < size; j++) {
            const int64_t x = j / c->c % c->w, y = j / c->c / c->w;
            const int bright = y / 2 == d->labels[i];
            const float value = 0.3f + 0.4f * (float)bright + 0.3f * am_next(&state);
            d->x[i * size + j] = x >= c->w / 2 + 1 ? 0.0f : value;
        }
    }
    d->examples = (am_examples){
        .images = {d->x, 0, N, c->h, c->w, c->c}, .labels = d->labels, .index = d->index, .n = N};
}

static am_net *
make_net(const net_case *c, int fuse)
{
    am_net *net = NULL;
    AM_CHECK_OK(am_net_create(&net, c->layers, c->n_layers, c->h, c->w, c->c, fuse, &err));
    am_net_init(net, 4);
    return net;
}

static float *
forward(const am_net *net, const data *d, int last, int threads)
{
    const int64_t size = last == 0 ? net->value_size[0] : net->layers[last - 1].out_size;
    float *out = am_nan_floats(N * size);
    AM_CHECK_OK(am_net_forward(net, &d->examples.images, NULL, N, last, threads, NULL, out, &err));
    return out;
}

/* The largest difference, NaN if there is one. */
static double
largest_difference(const float *a, const float *b, int64_t n)
{
    double off = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double difference = fabs((double)a[i] - b[i]);
        off = difference <= off ? off : difference;
    }
    return off;
}

AM_TEST(fused_networks_take_the_paths_that_they_say)
{
    for (int64_t i = 0; i < COUNT(cases); i++) {
        am_net *fused = make_net(&cases[i], 1), *plain = make_net(&cases[i], 0);
        int blocks = 0, sampled = 0;
        for (int l = 0; l < cases[i].n_layers; l++) {
            blocks += fused->layers[l].block;
            sampled += fused->layers[l].sampled;
            AM_CHECK(!plain->layers[l].block && !plain->layers[l].sampled);
            AM_CHECK(strstr(am_net_path(plain, l), "fused") == NULL);
        }
        AM_CHECK_INT(blocks, cases[i].blocks);
        AM_CHECK_INT(sampled, cases[i].sampled);
        AM_CHECK_INT(fused->n_params, plain->n_params);
        am_net_free(fused);
        am_net_free(plain);
    }
    am_net *net = make_net(&cases[0], 1);
    AM_CHECK_STR(am_net_path(net, 0), "direct, fused");
    AM_CHECK_STR(am_net_path(net, 2), "fused with conv");
    AM_CHECK_STR(am_net_path(net, 3), "Winograd, fused");
    AM_CHECK_STR(am_net_path(net, 8), "product, skips zeros");
    am_net_free(net);
}

/* The output of every layer; inside a block the general path makes it. */
AM_TEST(fused_networks_predict_the_same)
{
    for (int64_t i = 0; i < COUNT(cases); i++) {
        data d;
        make_data(&d, &cases[i]);
        am_net *fused = make_net(&cases[i], 1), *plain = make_net(&cases[i], 0);
        float *params = am_copy_params(plain);
        AM_CHECK(am_same_params(fused, params));
        for (int last = 0; last <= cases[i].n_layers; last++) {
            float *a = forward(fused, &d, last, 1), *b = forward(plain, &d, last, 1);
            float *again = forward(fused, &d, last, 3);
            const int64_t size =
                last == 0 ? fused->value_size[0] : fused->layers[last - 1].out_size;
            AM_CHECK_NEAR(largest_difference(a, b, N * size), 0.0, 1e-5);
            AM_CHECK(am_same_floats(a, again, N * size));
            free(a);
            free(b);
            free(again);
        }
        free(params);
        free(d.x);
        am_net_free(fused);
        am_net_free(plain);
    }
}

/* Trains on batches of `batch` for some epochs. */
static void
train(am_net *net, const data *d, const am_train_config *config, int epochs, int threads)
{
    am_trainer *trainer;
    am_epoch_report report;
    AM_CHECK_OK(am_trainer_create(&trainer, net, config, N, threads, &err));
    for (int i = 0; i < epochs; i++) {
        AM_CHECK_OK(am_trainer_epoch(trainer, &d->examples, NULL, NULL, &report, &err));
    }
    AM_CHECK(isfinite(report.loss));
    am_trainer_free(trainer);
}

/* One step of plain descent: what moves is the gradient. */
AM_TEST(fused_networks_train_the_same)
{
    for (int64_t i = 0; i < COUNT(cases) * 2; i++) {
        const net_case *c = &cases[i / 2];
        const am_train_config config = {.loss = i % 2 ? AM_LOSS_SIGMOID : AM_LOSS_SOFTMAX,
                                        .optimizer = AM_SGD,
                                        .learning_rate = STEP_RATE,
                                        .batch_size = N,
                                        .epochs = 1,
                                        .seed = 3};
        data d;
        make_data(&d, c);
        am_net *fused = make_net(c, 1), *plain = make_net(c, 0);
        float *start = am_copy_params(plain);
        train(fused, &d, &config, 1, 2);
        train(plain, &d, &config, 1, 1);
        float *a = am_copy_params(fused), *b = am_copy_params(plain), *p = a, *q = start;
        AM_CHECK_NEAR(largest_difference(a, b, plain->n_params), 0.0, 1e-5);
        for (int l = 0; l < plain->n_layers; l++) { /* every layer has moved, weights and biases */
            const am_layer *layer = &plain->layers[l];
            const int64_t sizes[] = {layer->w_size, layer->b_size};
            for (int k = 0; k < 2; k++) {
                AM_CHECK(sizes[k] == 0 || largest_difference(p, q, sizes[k]) > 1e-3 * STEP_RATE);
                p += sizes[k];
                q += sizes[k];
            }
        }
        float *z = forward(fused, &d, plain->n_layers, 1),
              *y = forward(plain, &d, plain->n_layers, 1);
        AM_CHECK_NEAR(largest_difference(z, y, N * CLASSES), 0.0,
                      1e-4); /* new weights are packed */
        float *buffers[] = {start, a, b, z, y, d.x};
        for (int64_t j = 0; j < COUNT(buffers); j++) {
            free(buffers[j]);
        }
        am_net_free(fused);
        am_net_free(plain);
    }
}

AM_TEST(fused_networks_train_to_the_same_bits_for_any_number_of_threads)
{
    static const int threads[] = {1, 2, 3, 7};
    for (int64_t i = 0; i < COUNT(cases); i++) {
        am_train_config config = am_adam;
        config.batch_size = 19;
        data d;
        make_data(&d, &cases[i]);
        float *first = NULL;
        for (int64_t t = 0; t < COUNT(threads); t++) {
            am_net *net = make_net(&cases[i], 1);
            train(net, &d, &config, 2, threads[t]);
            float *params = am_copy_params(net);
            AM_CHECK(first == NULL || am_same_floats(first, params, net->n_params));
            am_net_free(net);
            if (first == NULL) {
                first = params;
                continue;
            }
            free(params);
        }
        free(first);
        free(d.x);
    }
}

/* Parameters after an epoch of steps, then logits */
static void
train_anywhere(void *out, const void *arg)
{
    const net_case *c = arg;
    am_train_config config = am_adam;
    config.batch_size = 19;
    data d;
    make_data(&d, c);
    am_net *net = make_net(c, 1);
    train(net, &d, &config, 1, 2);
    am_net_get_params(net, out);
    float *z = forward(net, &d, net->n_layers, 2);
    memcpy((float *)out + net->n_params, z, N * CLASSES * sizeof(float));
    free(z);
    free(d.x);
    am_net_free(net);
}

AM_TEST(fused_networks_train_to_the_same_bits_on_all_instruction_sets)
{
    for (int64_t i = 0; i < COUNT(cases); i++) {
        am_net *net = make_net(&cases[i], 1);
        const int64_t floats = net->n_params + N * CLASSES;
        am_net_free(net);
        am_check_same_bits("training", train_anywhere, &cases[i], floats * (int64_t)sizeof(float));
    }
}

/* A weight of the dense layer behind the blocks whose input is 0 for one of the last images: they
 * are so few that zeros are left out there, whatever their share. */
static int64_t
weight_of_a_zero(const am_net *net, const data *d, int l)
{
    const int64_t size = net->layers[l].in_size;
    float *x = forward(net, d, l, 1);
    int64_t input = 0, before = 0;
    while (input < size && x[(N - 2) * size + input] != 0) {
        input++;
    }
    free(x);
    AM_CHECK(input < size);
    for (int i = 0; i < l; i++) {
        before += net->layers[i].w_size + net->layers[i].b_size;
    }
    return before + input * net->layers[l].out_size;
}

/* Zeros are left out only while every weight is finite: 0 times NaN is NaN. */
AM_TEST(a_weight_that_is_not_finite_stays_visible)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    const net_case *c = &cases[0];
    data d;
    make_data(&d, c);
    am_net *fused = make_net(c, 1), *plain = make_net(c, 0);
    float *params = am_copy_params(plain);
    const int64_t place = weight_of_a_zero(plain, &d, 8);
    for (int i = 0; i < COUNT(bad); i++) {
        params[place] = bad[i];
        am_net_set_params(fused, params);
        am_net_set_params(plain, params);
        float *z = forward(fused, &d, c->n_layers, 1), *y = forward(plain, &d, c->n_layers, 1);
        for (int64_t j = 0; j < N * CLASSES; j++) {
            AM_CHECK(isnan(z[j]) == isnan(y[j]) && isinf(z[j]) == isinf(y[j]));
            AM_CHECK(i > 0 || isnan(z[j]));
            AM_CHECK(j / CLASSES != N - 2 || isnan(z[j])); /* infinite too: 0 times it */
        }
        free(z);
        free(y);
    }
    free(params);
    free(d.x);
    am_net_free(fused);
    am_net_free(plain);
}
