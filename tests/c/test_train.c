/* Networks and training: shapes, prediction, gradients, the same bits for any number of threads. */
#include "am_test.h"

#include <math.h>

#include "../../csrc/ambig.h"
#include "am_fixture.h"

static const int thread_counts[] = {1, 2, 3, 7};

/* --- networks -------------------------------------------------------------------------------- */

AM_TEST(shapes_and_parameter_counts)
{
    static const struct {
        am_layer_spec layers[7];
        int n;
        int64_t h, w, c, out, params;
    } cases[] = {
        {{FLAT, DENSE(10)}, 2, 28, 28, 1, 10, 7850},
        {{CONV(32, 3, 0), RELU, POOL, CONV(64, 3, 0), RELU, POOL, FLAT}, 7, 28, 28, 1, 1600, 18816},
        {{CONV(2, 5, 1), POOL, POOL}, 3, 9, 7, 3, 4, 152},
        {{CONV(7, 1, 0)}, 1, 1, 1, 4, 7, 35},
        {{FLAT, DROP(0.5), DENSE(3), RELU, DENSE(2)}, 5, 1, 5, 2, 2, 41},
        {{RELU}, 1, 2, 3, 4, 24, 0},
        {{FLAT, FLAT, RELU, RELU, DROP(0), DENSE(1)}, 6, 2, 2, 1, 1, 5},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        am_net *net = NULL;
        AM_CHECK_OK(am_net_create(&net, cases[i].layers, cases[i].n, cases[i].h, cases[i].w,
                                  cases[i].c, 1, &err));
        if (net != NULL) {
            AM_CHECK_INT(net->layers[net->n_layers - 1].out_size, cases[i].out);
            AM_CHECK_INT(net->n_params, cases[i].params);
        }
        am_net_free(net);
    }
    am_net_free(NULL);
}

AM_TEST(impossible_networks_are_refused)
{
    static const struct {
        am_layer_spec layers[3];
        int n;
        int64_t h, w, c;
        am_status status;
        const char *message;
    } cases[] = {
        {{FLAT}, 0, 2, 2, 1, AM_ERR_VALUE, "1 to 64 layers, got 0"},
        {{FLAT}, -1, 2, 2, 1, AM_ERR_VALUE, "1 to 64 layers"},
        {{FLAT}, 65, 2, 2, 1, AM_ERR_VALUE, "1 to 64 layers"},
        {{FLAT}, 1, 0, 2, 1, AM_ERR_SHAPE, "at least one pixel, got 0 x 2 x 1"},
        {{FLAT}, 1, 2, -2, 1, AM_ERR_SHAPE, "at least one pixel"},
        {{FLAT}, 1, 2, 2, 0, AM_ERR_SHAPE, "at least one pixel"},
        {{FLAT, CONV(2, 3, 1)}, 2, 9, 9, 1, AM_ERR_SHAPE, "layer 1: conv needs an image"},
        {{FLAT, POOL}, 2, 9, 9, 1, AM_ERR_SHAPE, "layer 1: maxpool needs an image"},
        {{CONV(2, 3, 0), CONV(2, 3, 0)},
         2,
         4,
         9,
         1,
         AM_ERR_SHAPE,
         "does not fit an image of 2 x 7"},
        {{CONV(2, 4, 0)}, 1, 9, 9, 1, AM_ERR_VALUE, "odd window"},
        {{CONV(0, 3, 0)}, 1, 9, 9, 1, AM_ERR_VALUE, "at least 1 filter"},
        {{POOL, POOL}, 2, 3, 9, 1, AM_ERR_SHAPE, "layer 1: maxpool needs at least 2 x 2 pixels"},
        {{DENSE(3)}, 1, 3, 3, 1, AM_ERR_SHAPE, "put \"flatten\" before it"},
        {{FLAT, DENSE(0)}, 2, 3, 3, 1, AM_ERR_VALUE, "at least 1 unit"},
        {{DROP(1)}, 1, 3, 3, 1, AM_ERR_VALUE, "rate of at least 0 and below 1"},
        {{DROP(-.1)}, 1, 3, 3, 1, AM_ERR_VALUE, "rate of at least 0 and below 1"},
        {{DROP(NAN)}, 1, 3, 3, 1, AM_ERR_VALUE, "rate of at least 0 and below 1"},
        {{{(am_layer_kind)9, 0, 0, 0, 0}}, 1, 3, 3, 1, AM_ERR_VALUE, "unknown kind 9"},
        {{FLAT}, 1, 1 << 20, 1 << 20, 1, AM_ERR_SHAPE, "larger than the 2^31"},
        {{FLAT}, 1, INT64_MAX, 1, 1, AM_ERR_SHAPE, "larger than the 2^31"},
        {{FLAT}, 1, 1, 1, INT64_MAX, AM_ERR_SHAPE, "larger than the 2^31"},
        {{FLAT, DENSE(INT64_MAX)}, 2, 3, 3, 1, AM_ERR_SHAPE, "larger than the 2^31"},
        {{CONV(INT64_MAX, 1, 0)}, 1, 3, 3, 1, AM_ERR_SHAPE, "is too large"},
    };
    am_alloc_stats before, after;
    am_get_alloc_stats(&before);
    for (int64_t i = 0; i < COUNT(cases); i++) {
        am_net *net = (am_net *)&before;
        am_error err = {AM_OK, ""};
        AM_CHECK_INT(am_net_create(&net, cases[i].layers, cases[i].n, cases[i].h, cases[i].w,
                                   cases[i].c, 1, &err),
                     cases[i].status);
        AM_CHECK(net == NULL);
        if (strstr(err.message, cases[i].message) == NULL) {
            AM_FAILED("case %d: got \"%s\"", (int)i, err.message);
        }
    }
    am_get_alloc_stats(&after);
    AM_CHECK_INT(after.live_blocks, before.live_blocks);
}

AM_TEST(initial_weights_are_glorot_uniform)
{
    am_net *net = am_make_net(5), *again = am_make_net(5), *other = am_make_net(6);
    float *params = am_copy_params(net), *others = am_copy_params(other);
    const float *p = params; /* of the layer */
    AM_CHECK(am_same_params(again, params));
    AM_CHECK(!am_same_params(net, others));
    for (int l = 0; l < net->n_layers; l++) {
        const am_layer *layer = &net->layers[l];
        const double taps = layer->spec.kind == AM_CONV2D ? 9 : 1;
        const double limit = sqrt(6.0 / (taps * (double)(layer->in_c + layer->out_c)));
        double largest = 0, sum = 0;
        for (int64_t i = 0; i < layer->w_size; i++) {
            largest = fmax(largest, fabs(p[i]));
            sum += p[i];
        }
        if (layer->w_size > 0) {
            AM_CHECK(largest <= limit * (1 + 1e-6) && largest > 0.8 * limit);
            AM_CHECK_NEAR(sum, 0.0, 4.0 * limit * sqrt((double)layer->w_size / 3));
        }
        for (int64_t i = 0; i < layer->b_size; i++) {
            AM_CHECK(p[layer->w_size + i] == 0.0f);
        }
        p += layer->w_size + layer->b_size;
    }
    AM_CHECK_INT(p - params, net->n_params);
    free(params);
    free(others);
    am_net_free(net);
    am_net_free(again);
    am_net_free(other);
}

/* --- prediction ------------------------------------------------------------------------------ */

AM_TEST(predictions_do_not_depend_on_threads_or_splits)
{
    am_fixture *f = am_make_fixture();
    am_net *net = am_make_net(1);
    float *as_float = am_floats(IMAGES * PIXELS);
    for (int i = 0; i < IMAGES * PIXELS; i++) {
        as_float[i] = (float)f->pixels[i] / 255.0f;
    }
    const am_images floats = {as_float, 0, IMAGES, SIDE, SIDE, 1, NULL};
    int64_t backwards[IMAGES];
    for (int64_t i = 0; i < IMAGES; i++) {
        backwards[i] = IMAGES - 1 - i;
    }
    for (int last = 0; last <= net->n_layers; last++) {
        const int64_t size = last == 0 ? PIXELS : net->layers[last - 1].out_size;
        const size_t bytes = (size_t)(IMAGES * size) * sizeof(float);
        float *whole = am_nan_floats(IMAGES * size), *again = am_nan_floats(IMAGES * size);
        AM_CHECK_OK(am_net_forward(net, &f->images, NULL, IMAGES, last, 1, NULL, whole, &err));
        for (int64_t t = 0; t < COUNT(thread_counts); t++) {
            memset(again, 0xff, bytes);
            AM_CHECK_OK(am_net_forward(net, &floats, NULL, IMAGES, last, thread_counts[t], NULL,
                                       again, &err));
            AM_CHECK(memcmp(whole, again, bytes) == 0);
        }
        for (int64_t part = 1; part < 40; part += part < 3 ? 1 : 14) {
            memset(again, 0xff, bytes);
            for (int64_t i = 0; i < IMAGES; i += part) {
                AM_CHECK_OK(am_net_forward(net, &f->images, f->index + i,
                                           am_min_i64(part, IMAGES - i), last, 2, NULL,
                                           again + i * size, &err));
            }
            AM_CHECK(memcmp(whole, again, bytes) == 0);
        }
        AM_CHECK_OK(am_net_forward(net, &f->images, backwards, IMAGES, last, 3, NULL, again, &err));
        for (int64_t i = 0; i < IMAGES; i++) {
            AM_CHECK(memcmp(whole + i * size, again + (IMAGES - 1 - i) * size,
                            (size_t)size * sizeof(float)) == 0);
        }
        AM_CHECK_OK(am_net_forward(net, &f->images, NULL, 0, last, 3, NULL, NULL, &err));
        free(whole);
        free(again);
    }
    const am_images turned = {f->pixels, 1, 1, 1, SIDE, SIDE, NULL};
    float out[CLASSES];
    AM_CHECK_INT(am_net_forward(net, &turned, NULL, 1, 1, 1, NULL, out, NULL), AM_ERR_SHAPE);
    AM_CHECK_INT(am_net_forward(net, &floats, NULL, 1, 12, 1, NULL, out, NULL), AM_ERR_VALUE);
    AM_CHECK_INT(am_net_forward(net, &floats, NULL, 1, -1, 1, NULL, out, NULL), AM_ERR_VALUE);
    am_net_free(net);
    free(as_float);
}

/* --- the gradient ---------------------------------------------------------------------------- */

/* Plain descent with rate 1 moves the weights by the gradient. It is held against central
 * differences of the mean loss. */
static void
check_gradient(am_loss loss, const float *soft)
{
    static const am_layer_spec layers[] = {CONV(3, 3, 1), RELU,     POOL, CONV(2, 3, 0),
                                           FLAT,          DENSE(6), RELU, DENSE(CLASSES)};
    am_fixture *f = am_make_fixture();
    am_net *net;
    am_trainer *trainer;
    am_epoch_report report;
    const am_train_config config = {
        .loss = loss, .optimizer = AM_SGD, .learning_rate = 1, .batch_size = IMAGES, .epochs = 1};
    am_examples all = am_some_examples(f, 0, IMAGES);
    if (soft != NULL) {
        all.labels = NULL;
        all.soft = soft;
    }
    AM_CHECK_OK(am_net_create(&net, layers, (int)COUNT(layers), SIDE, SIDE, 1, 1, &err));
    am_net_init(net, 3);
    float *start = am_copy_params(net);
    AM_CHECK_OK(am_trainer_create(&trainer, net, &config, IMAGES, 3, &err));
    AM_CHECK_OK(am_trainer_epoch(trainer, &all, NULL, NULL, &report, &err));
    float *gradient = am_copy_params(net);         /* so far where it led to */
    double size = 0.0, off = 0.0, value, accuracy; /* sums of squares */
    for (int64_t i = 0; i < net->n_params; i++) {
        gradient[i] = start[i] - gradient[i];
        size += gradient[i] * gradient[i];
    }
    for (int64_t i = 0; i < net->n_params; i++) {
        double around[2];
        for (int side = 0; side < 2; side++) {
            const float kept = start[i];
            start[i] += side == 0 ? 0x1p-13f : -0x1p-13f;
            am_net_set_params(net, start);
            start[i] = kept;
            AM_CHECK_OK(am_evaluate(net, &all, loss, 1, NULL, &around[side], &accuracy, &err));
        }
        const double difference = (around[0] - around[1]) / 0x1p-12 - gradient[i];
        off += difference * difference;
    }
    AM_CHECK(size > 1e-3);
    AM_CHECK_NEAR(sqrt(off / size), 0.0,
                  6e-3);           /* a step crosses the kink of a ReLU here and there */
    am_net_set_params(net, start); /* the loss of the epoch's only batch was that of the start */
    AM_CHECK_OK(am_evaluate(net, &all, loss, 2, NULL, &value, &accuracy, &err));
    AM_CHECK_NEAR(report.loss, value, 1e-12);
    AM_CHECK_NEAR(report.accuracy, accuracy, 0.0);
    AM_CHECK(isnan(report.val_loss) && isnan(report.val_accuracy) && !report.improved);
    am_trainer_free(trainer);
    am_net_free(net);
    free(start);
    free(gradient);
}

AM_TEST(steps_follow_the_gradient)
{
    float *soft = am_random_floats(IMAGES * CLASSES, 4);
    for (int i = 0; i < IMAGES * CLASSES; i++) {
        soft[i] = fabsf(soft[i]); /* sums other than 1 count too */
    }
    check_gradient(AM_LOSS_SOFTMAX, NULL);
    check_gradient(AM_LOSS_SIGMOID, NULL);
    check_gradient(AM_LOSS_SOFTMAX, soft);
    check_gradient(AM_LOSS_SIGMOID, soft);
    free(soft);
}

/* --- epochs ---------------------------------------------------------------------------------- */

/* Trains for `epochs` epochs; the parameters, to be freed, and the last epoch's report. */
static float *
train(const am_train_config *config, const am_examples *examples, const am_examples *held,
      int epochs, int threads, am_epoch_report *report)
{
    am_net *net = am_make_net(config->seed);
    am_trainer *trainer;
    AM_CHECK_OK(am_trainer_create(&trainer, net, config, examples->n, threads, &err));
    for (int e = 0; e < epochs; e++) {
        AM_CHECK_OK(am_trainer_epoch(trainer, examples, held, NULL, report, &err));
        AM_CHECK_INT(report->epoch, e + 1);
    }
    float *params = am_copy_params(net);
    am_trainer_free(trainer);
    am_net_free(net);
    return params;
}

static const int64_t all_params = 3 * 3 * 5 + 5 + 3 * 3 * 5 * 4 + 4 + 16 * 20 + 20 + 20 * 3 + 3;

AM_TEST(training_gives_the_same_bits_for_any_number_of_threads)
{
    static const int64_t batches[] = {1, 16, 35, IMAGES, 1000};
    am_fixture *f = am_make_fixture();
    am_examples examples = am_some_examples(f, 0, 65), held = am_some_examples(f, 65, 10);
    float weights[IMAGES];
    am_randomize(weights, IMAGES, 8);
    for (int i = 0; i < COUNT(batches) * 3; i++) {
        am_train_config config = am_adam;
        config.batch_size = batches[i % COUNT(batches)];
        config.optimizer = (am_optimizer)(i / COUNT(batches));
        config.loss = i % 2 ? AM_LOSS_SIGMOID : AM_LOSS_SOFTMAX;
        examples.weights = i % 2 ? weights : NULL;
        float *first = NULL;
        am_epoch_report one, many;
        for (int64_t t = 0; t < COUNT(thread_counts); t++) {
            float *params = train(&config, &examples, &held, 2, thread_counts[t], &many);
            AM_CHECK(first == NULL || memcmp(first, params, (size_t)all_params * 4) == 0);
            AM_CHECK(first == NULL || memcmp(&one.loss, &many.loss, 5 * sizeof(double)) == 0);
            if (first == NULL) {
                first = params;
                one = many;
                AM_CHECK(isfinite(many.loss) && isfinite(many.val_loss));
            }
            else {
                free(params);
            }
        }
        free(first);
    }
}

/* A batch of more than 64 chunks of 16 is cut into larger ones. */
AM_TEST(a_very_large_batch)
{
    enum { N = 1100 };
    am_fixture *f = am_make_fixture();
    int64_t index[N];
    for (int64_t i = 0; i < N; i++) {
        index[i] = i * 11 % IMAGES;
    }
    am_train_config config = am_adam;
    am_examples examples = am_some_examples(f, 0, IMAGES);
    am_epoch_report report;
    examples.index = index;
    examples.n = config.batch_size = N;
    float *one = train(&config, &examples, NULL, 1, 1, &report);
    float *many = train(&config, &examples, NULL, 1, 3, &report);
    AM_CHECK(memcmp(one, many, (size_t)all_params * 4) == 0);
    free(one);
    free(many);
}

AM_TEST(training_learns_and_seeds_differ)
{
    am_fixture *f = am_make_fixture();
    am_examples examples = am_some_examples(f, 0, 65), held = am_some_examples(f, 65, 10);
    am_train_config config = am_adam;
    am_epoch_report report;
    config.epochs = 12;
    config.batch_size = 8;
    float *params = train(&config, &examples, &held, 12, 2, &report);
    AM_CHECK(report.val_accuracy >= 0.9 && report.val_loss < 0.3);
    config.seed++;
    float *others = train(&config, &examples, &held, 12, 2, &report);
    AM_CHECK(memcmp(params, others, (size_t)all_params * 4) != 0);
    free(params);
    free(others);
}

/* An epoch is nothing but steps 0, 1, ... on the shuffled examples, the short last batch included.
 * So dropout and shuffling depend on the seed, the step and the epoch alone: whoever knows the
 * numbers can go on where another stopped. */
AM_TEST(an_epoch_is_its_steps)
{
    am_fixture *f = am_make_fixture();
    const am_examples examples = am_some_examples(f, 2, 65);
    am_epoch_report report;
    am_stepper s;
    float *params = train(&am_adam, &examples, NULL, 3, 2, &report);
    am_make_stepper(&s, &am_adam, 35, 3);
    for (uint32_t number = 0; number < 6; number++) {
        int64_t order[65];
        memcpy(order, examples.index, sizeof order);
        am_shuffle(order, 65, am_adam.seed, AM_STREAM_SHUFFLE, number / 2 + 1);
        const double rate = am_learning_rate(&am_adam, number, 6);
        AM_CHECK_OK(am_step_run(&s.step, &examples, order + number % 2 * 35, number % 2 ? 30 : 35,
                                number, rate, NULL, &err));
        AM_CHECK(number < 5 || report.learning_rate == rate);
    }
    AM_CHECK(am_same_params(s.net, params));
    free(params);
    am_free_stepper(&s);
}

/* A weight of 2 counts like the image twice. */
AM_TEST(weights_count_like_copies)
{
    am_fixture *f = am_make_fixture();
    am_train_config config = {.optimizer = AM_SGD, .learning_rate = 0.5, .batch_size = 8};
    float weights[IMAGES];
    static const int64_t twice[] = {0, 1, 2, 3, 0, 1, 2, 3}, once[] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int i = 0; i < IMAGES; i++) {
        weights[i] = i < 4 ? 2.0f : 0.0f;
    }
    am_stepper a, b;
    am_make_stepper(&a, &config, 8, 1);
    am_make_stepper(&b, &config, 8, 1);
    for (int l = 0; l < a.net->n_layers; l++) { /* the mask of a copy would be another one */
        a.net->layers[l].spec.rate = b.net->layers[l].spec.rate = 0;
    }
    am_examples weighted = am_some_examples(f, 0, IMAGES);
    const am_examples plain = weighted;
    weighted.weights = weights;
    AM_CHECK_OK(am_step_run(&a.step, &weighted, once, 8, 0, 0.5, NULL, &err));
    AM_CHECK_OK(am_step_run(&b.step, &plain, twice, 8, 0, 0.5, NULL, &err));
    double largest = 0;
    float *params = am_copy_params(a.net), *others = am_copy_params(b.net);
    for (int64_t i = 0; i < all_params; i++) {
        AM_CHECK_NEAR(params[i], others[i], 1e-6);
        largest = fmax(largest, fabs(a.step.losses[i % 8]));
    }
    AM_CHECK_NEAR(a.step.losses[2], b.step.losses[2] + b.step.losses[6], 1e-12);
    AM_CHECK(a.step.losses[5] == 0 && largest > 0.1);
    free(params);
    free(others);
    am_free_stepper(&a);
    am_free_stepper(&b);
}

AM_TEST(early_stopping_and_the_best_weights)
{
    am_fixture *f = am_make_fixture();
    int32_t labels[IMAGES];
    memcpy(labels, f->labels, sizeof labels);
    for (int i = 40; i < IMAGES; i++) {
        labels[i] = i % 4 == 0 ? (labels[i] + 1) % CLASSES : labels[i]; /* it must get worse */
    }
    am_examples examples = am_some_examples(f, 0, 40), held = am_some_examples(f, 40, 35);
    am_train_config config = am_adam;
    examples.labels = held.labels = labels;
    config.schedule = AM_CONSTANT;
    config.epochs = 60;
    config.batch_size = 8;
    config.patience = 4;
    am_net *net = am_make_net(2);
    am_trainer *trainer;
    am_epoch_report report = {0};
    AM_CHECK_OK(am_trainer_create(&trainer, net, &config, 40, 2, &err));
    AM_CHECK_INT(am_trainer_restore_best(trainer), 0);
    float best[1000];
    double best_loss = INFINITY, loss, accuracy;
    int64_t best_epoch = 0, done, total;
    while (!report.stop && report.epoch < 60) {
        AM_CHECK_OK(am_trainer_epoch(trainer, &examples, &held, NULL, &report, &err));
        AM_CHECK_INT(report.improved, report.val_loss < best_loss);
        AM_CHECK_NEAR(report.learning_rate, 0.01, 0);
        if (report.val_loss < best_loss) {
            best_loss = report.val_loss;
            best_epoch = report.epoch;
            am_net_get_params(net, best);
        }
        AM_CHECK_INT(report.stop, report.epoch == best_epoch + 4);
        am_trainer_progress(trainer, &done, &total);
        AM_CHECK(done == 5 * report.epoch && total == 300);
    }
    AM_CHECK(report.stop && best_epoch > 1 && !am_same_params(net, best));
    AM_CHECK_INT(am_trainer_restore_best(trainer), 1);
    AM_CHECK(am_same_params(net, best));
    AM_CHECK_OK(am_evaluate(net, &held, config.loss, 3, NULL, &loss, &accuracy, &err));
    AM_CHECK(loss == best_loss); /* the packed weights are back too */
    am_trainer_free(trainer);
    am_net_free(net);
}

/* Five steps of each optimizer, as its paper writes them; moments start at weight `first`. */
AM_TEST(optimizers_over_several_steps)
{
    for (int which = AM_SGD; which <= AM_ADAM; which++) {
        const am_train_config config = {
            .optimizer = (am_optimizer)which, .momentum = 0.9, .decay = 0.95, .epsilon = 1e-3};
        float w[2] = {0.5f, -1.0f}, moments[2][5] = {{0}};
        am_optimizer_state state = {moments[0], moments[1], 1.0, 1.0};
        double exact[2] = {0.5, -1.0}, m[2] = {0}, v[2] = {0};
        for (int step = 1; step <= 5; step++) {
            const float g[2] = {0.3f * (float)step, -0.1f};
            am_optimizer_next_step(&state, &config);
            am_optimizer_apply(&state, &config, 0.01, w, g, 3, 2);
            for (int i = 0; i < 2; i++) {
                const double d = g[i];
                if (which == AM_SGD) {
                    v[i] = 0.9 * v[i] - 0.01 * d;
                    exact[i] += 0.9 * v[i] - 0.01 * d;
                    continue;
                }
                m[i] = 0.9 * m[i] + 0.1 * d;
                v[i] = 0.95 * v[i] + 0.05 * d * d;
                exact[i] -= which == AM_RMSPROP ? 0.01 * d / (sqrt(v[i]) + 1e-3)
                                                : 0.01 * m[i] / (1 - pow(0.9, step)) /
                                                      (sqrt(v[i] / (1 - pow(0.95, step))) + 1e-3);
                AM_CHECK_NEAR(w[i], exact[i], 1e-6);
            }
        }
        AM_CHECK_NEAR(w[0], exact[0], 1e-6);
        AM_CHECK_NEAR(w[1], exact[1], 1e-6);
        AM_CHECK(moments[1][2] == 0 && moments[1][3] != 0);
    }
}

AM_TEST(learning_rates)
{
    am_train_config config = {.learning_rate = 2.0, .schedule = AM_CONSTANT};
    AM_CHECK_NEAR(am_learning_rate(&config, 0, 100), 2.0, 0);
    AM_CHECK_NEAR(am_learning_rate(&config, 99, 100), 2.0, 0);
    config.schedule = AM_ONE_CYCLE;
    for (int64_t step = 0; step <= 400; step++) {
        const double t = (double)step / 400, x = t < 0.25 ? 4 * t : (t - 0.25) / 0.75;
        const double from = t < 0.25 ? 0.2 : 2.0, to = t < 0.25 ? 2.0 : 0.002;
        AM_CHECK_NEAR(am_learning_rate(&config, step, 401),
                      from + (to - from) * (1 - cos(M_PI * x)) / 2, 1e-14);
    }
    AM_CHECK_NEAR(am_learning_rate(&config, 500, 401), 0.002, 1e-15);
    AM_CHECK_NEAR(am_learning_rate(&config, 0, 1), 2.0, 0);
}

AM_TEST(stratified_split)
{
    enum { N = 1000 };
    static int32_t labels[N];
    static int64_t kept[N], held[N], again[N];
    static const double fractions[] = {0, 0.1, 0.2, 0.5, 0.99};
    static const int sizes[] = {600, 299, 100, 1}; /* of the classes; the fifth has no image */
    for (int i = 0; i < N; i++) {
        const int64_t place = i * 7 % N; /* mixed */
        labels[place] = i < 600 ? 0 : i < 899 ? 1 : i < 999 ? 2 : 3;
    }
    for (int64_t f = 0; f < COUNT(fractions); f++) {
        int64_t n_kept, n_held, n_again, found[5] = {0}, seen[N] = {0};
        AM_CHECK_OK(
            am_stratified_split(labels, N, 5, fractions[f], 3, kept, &n_kept, held, &n_held, &err));
        AM_CHECK_INT(n_kept + n_held, N);
        for (int64_t i = 0; i < N; i++) {
            seen[i < n_held ? held[i] : kept[i - n_held]]++;
            AM_CHECK(
                i == 0 || i == n_held ||
                (i < n_held ? held[i] > held[i - 1] : kept[i - n_held] > kept[i - n_held - 1]));
            found[i < n_held ? labels[held[i]] : 4]++;
        }
        for (int64_t i = 0; i < N; i++) {
            AM_CHECK_INT(seen[i], 1);
        }
        for (int c = 0; c < 4; c++) {
            const double wanted = floor(fractions[f] * sizes[c] + 0.5);
            AM_CHECK_INT(found[c], fmin(wanted, sizes[c] - 1)); /* one stays behind */
        }
        AM_CHECK_OK(am_stratified_split(labels, N, 5, fractions[f], 3, kept, &n_kept, again,
                                        &n_again, &err));
        AM_CHECK(n_again == n_held && memcmp(held, again, (size_t)n_held * 8) == 0);
        AM_CHECK_OK(am_stratified_split(labels, N, 5, fractions[f], 4, kept, &n_kept, again,
                                        &n_again, &err));
        AM_CHECK(n_again == n_held);
        AM_CHECK(n_held == 0 || memcmp(held, again, (size_t)n_held * 8) != 0);
    }
}

AM_TEST(bad_settings_and_examples_are_refused)
{
    am_fixture *f = am_make_fixture();
    am_net *net = am_make_net(1);
    am_trainer *trainer;
    am_epoch_report report;
    am_error err;
    int64_t n[2], rows[4];
    for (int i = 0; i < 12; i++) {
        am_train_config bad = am_adam;
        *(i == 0 ? &bad.batch_size : i == 1 ? &bad.epochs : &bad.patience) -= i < 3 ? 36 : 0;
        bad.learning_rate = i == 3 ? 0 : i == 4 ? NAN : i == 5 ? INFINITY : 0.01;
        bad.momentum = i == 6 ? 1 : i == 7 ? NAN : 0.9;
        bad.decay = i == 8 ? -0.1 : i == 9 ? 1 : 0.9;
        bad.epsilon = i == 10 ? -1 : 1e-8;
        AM_CHECK_INT(am_trainer_create(&trainer, net, &bad, i == 11 ? 0 : 60, 2, &err),
                     AM_ERR_VALUE);
        AM_CHECK(trainer == NULL && err.code == AM_ERR_VALUE);
    }
    AM_CHECK_OK(am_trainer_create(&trainer, net, &am_adam, 60, 2, &err));
    float start[1000], soft[1] = {0};
    am_net_get_params(net, start);
    for (int i = 0; i < 7; i++) {
        int64_t index[60];
        int32_t labels[IMAGES];
        memcpy(index, f->index, sizeof index);
        memcpy(labels, f->labels, sizeof labels);
        am_examples e = {.images = f->images, .labels = labels, .index = index, .n = 60};
        labels[59] = i == 0 ? CLASSES : i == 1 ? -1 : 0;
        index[58] = i == 2 ? IMAGES : i == 3 ? -1 : 0;
        e.n = i == 4 ? 59 : 60;
        e.soft = i == 5 ? soft : NULL;
        e.labels = i == 6 ? NULL : labels;
        AM_CHECK_INT(am_trainer_epoch(trainer, &e, NULL, NULL, &report, &err), AM_ERR_VALUE);
    }
    AM_CHECK(am_same_params(net, start));
    AM_CHECK_INT(am_stratified_split(f->labels, 4, 1, 0.5, 1, rows, n, rows, n + 1, &err),
                 AM_ERR_VALUE);
    AM_CHECK_INT(am_stratified_split(f->labels, 4, 3, 1.0, 1, rows, n, rows, n + 1, &err),
                 AM_ERR_VALUE);
    AM_CHECK_INT(am_stratified_split(f->labels, 4, 3, NAN, 1, rows, n, rows, n + 1, &err),
                 AM_ERR_VALUE);
    am_trainer_free(trainer);
    am_net_free(net);
    static const am_layer_spec headless[] = {CONV(3, 3, 1)};
    AM_CHECK_OK(am_net_create(&net, headless, 1, SIDE, SIDE, 1, 1, &err));
    AM_CHECK_INT(am_trainer_create(&trainer, net, &am_adam, 60, 2, &err), AM_ERR_VALUE);
    am_net_free(net);
}
