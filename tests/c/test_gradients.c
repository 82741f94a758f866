/* Moved images, draws with dropout, gradients of single images, and what training sees of them. */
#include "am_test.h"

#include <math.h>

#include "../../csrc/ambig.h"
#include "../../csrc/train/gradients.h"
#include "am_failures.h"
#include "am_fixture.h"

/* The fixture's pixels as images that a fused block fits into twice. */
#define WIDE 12
#define WIDE_IMAGES (IMAGES * PIXELS / (WIDE * WIDE))

static const am_layer_spec blocks[] = {CONV(16, 3, 0), RELU,      POOL, CONV(32, 3, 0), RELU, POOL,
                                       FLAT,           DENSE(16), RELU, DENSE(CLASSES)};
static const am_layer_spec single[] = {CONV(5, 3, 1), RELU,      POOL, CONV(4, 3, 0), RELU,
                                       FLAT,          DENSE(20), RELU, DENSE(CLASSES)};

static am_net *
make(const am_layer_spec *specs, int64_t n, int64_t side, int fuse)
{
    am_net *made = NULL;
    AM_CHECK_OK(am_net_create(&made, specs, (int)n, side, side, 1, fuse, &err));
    am_net_init(made, 3);
    return made;
}

static am_images
wide_images(const am_fixture *f)
{
    return (am_images){f->pixels, 1, WIDE_IMAGES, WIDE, WIDE, 1, NULL};
}

/* --- views ----------------------------------------------------------------------------------- */

/* Memory of exactly the image's size on both sides: nothing beyond it is read or written. */
AM_TEST(views_stay_inside_the_image)
{
    static const int64_t sides[][3] = {{1, 1, 1}, {1, 5, 2}, {4, 1, 1}, {3, 3, 3}, {7, 4, 1}};
    for (int64_t s = 0; s < COUNT(sides); s++) {
        const int64_t h = sides[s][0], w = sides[s][1], c = sides[s][2], n = h * w * c;
        float *x = am_random_floats(n, (uint32_t)s);
        uint8_t *bytes = am_bytes(n);
        for (int64_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)(127.5f * (x[i] + 1.0f));
        }
        for (int64_t index = 0; index < 50; index++) {
            const double far = index % 5 == 0 ? 1e5 : 2.0;
            const am_view view = {7, (uint32_t)index % 3, far, index % 2 ? 3.0 : 0.1};
            for (int is_u8 = 0; is_u8 < 2; is_u8++) {
                am_guarded y = am_make_empty(n, AM_GUARD);
                am_view_image(y.x, is_u8 ? (const void *)bytes : x, is_u8, h, w, c, &view, index);
                AM_CHECK(am_guards_hold(&y));
                for (int64_t i = 0; i < n; i++) {
                    AM_CHECK(y.x[i] >= (is_u8 ? 0.0f : -1.0f) && y.x[i] <= 1.0f);
                }
                free(y.block);
            }
        }
        free(x);
        free(bytes);
    }
}

/* Also beyond what 32 bits count. */
AM_TEST(every_image_has_its_own_view)
{
    static const int64_t indices[] = {0, 1, INT64_C(1) << 32, (INT64_C(1) << 32) + 1,
                                      INT64_C(1) << 40};
    const am_view view = {5, 0, 1.0, 0.2};
    float x[PIXELS], y[COUNT(indices)][PIXELS];
    am_randomize(x, PIXELS, 1);
    for (int64_t i = 0; i < COUNT(indices); i++) {
        am_view_image(y[i], x, 0, SIDE, SIDE, 1, &view, indices[i]);
        for (int64_t j = 0; j < i; j++) {
            AM_CHECK(!am_same_floats(y[i], y[j], PIXELS));
        }
    }
}

/* --- draws ----------------------------------------------------------------------------------- */

/* Draw d is what step d of training sees, as long as the weights stay. */
AM_TEST(draws_are_what_training_sees)
{
    enum { N = 35, DRAWS = 3 };
    am_fixture *f = am_make_fixture();
    const am_examples examples = am_some_examples(f, 0, N);
    am_stepper s;
    am_make_stepper(&s, &am_adam, N, 2);
    am_guarded z = am_make_empty(DRAWS * N * CLASSES, AM_GUARD);
    AM_CHECK_OK(
        am_net_draws(s.net, &f->images, f->index, N, am_adam.seed, DRAWS, 2, NULL, z.x, &err));
    AM_CHECK(am_guards_hold(&z));
    for (int d = 0; d < DRAWS; d++) {
        AM_CHECK_OK(am_step_run(&s.step, &examples, f->index, N, (uint32_t)d, 0.0, NULL, &err));
        for (int i = 0; i < N; i++) {
            float p[CLASSES], y[CLASSES] = {0};
            y[f->labels[i]] = 1.0f;
            const float *row = z.x + (d * N + i) * CLASSES;
            AM_CHECK(s.step.losses[i] == am_loss_forward(AM_LOSS_SOFTMAX, p, row, y, CLASSES));
        }
    }
    free(z.block);
    am_free_stepper(&s);
}

/* --- gradients ------------------------------------------------------------------------------- */

/* The norm of what one step of plain descent on one image takes away, over its rate. */
static double
norm_of_step(const am_layer_spec *specs, int64_t n, int64_t side, const am_examples *one,
             am_loss loss)
{
    const am_train_config config = {
        .loss = loss, .optimizer = AM_SGD, .learning_rate = 4096, .batch_size = 1, .epochs = 1};
    am_net *net = make(specs, n, side, 1);
    am_trainer *trainer;
    am_epoch_report report;
    float *before = am_copy_params(net);
    AM_CHECK_OK(am_trainer_create(&trainer, net, &config, 1, 1, &err));
    AM_CHECK_OK(am_trainer_epoch(trainer, one, NULL, NULL, &report, &err));
    float *after = am_copy_params(net);
    double sum = 0.0;
    for (int64_t i = 0; i < net->n_params; i++) {
        const double g = ((double)before[i] - after[i]) / config.learning_rate;
        sum += g * g;
    }
    free(before);
    free(after);
    am_trainer_free(trainer);
    am_net_free(net);
    return sqrt(sum);
}

static void
check_norms(const am_layer_spec *specs, int64_t n_specs, int64_t side, const am_examples *examples)
{
    am_net *net = make(specs, n_specs, side, 1);
    double norms[IMAGES], again[IMAGES];
    for (int loss = 0; loss < 2; loss++) {
        AM_CHECK_OK(am_gradient_norms(net, examples, (am_loss)loss, 1, NULL, norms, &err));
        for (int threads = 2; threads < 5; threads++) {
            AM_CHECK_OK(
                am_gradient_norms(net, examples, (am_loss)loss, threads, NULL, again, &err));
            AM_CHECK(memcmp(norms, again, (size_t)examples->n * sizeof *norms) == 0);
        }
        for (int64_t i = 0; i < examples->n; i += 7) {
            am_examples one = *examples;
            one.index += i;
            one.n = 1;
            const double expected = norm_of_step(specs, n_specs, side, &one, (am_loss)loss);
            AM_CHECK_NEAR(norms[i], expected, 1e-5 * expected);
        }
    }
    am_net_free(net);
}

AM_TEST(norms_are_those_of_steps)
{
    am_fixture *f = am_make_fixture();
    am_examples examples = am_some_examples(f, 0, IMAGES);
    check_norms(single, COUNT(single), SIDE, &examples);
    examples.images = wide_images(f);
    examples.n = WIDE_IMAGES;
    check_norms(blocks, COUNT(blocks), WIDE, &examples);
}

/* The logits are linear in the pixels as long as no ReLU or maximum changes its mind. */
AM_TEST(pixel_gradients_are_differences)
{
    enum { N = 20 };
    const float step = 0x1p-10f;
    am_fixture *f = am_make_fixture();
    am_net *net = make(single, COUNT(single), SIDE, 0);
    float *x = am_floats(N * PIXELS), z[2][N * CLASSES];
    for (int i = 0; i < N * PIXELS; i++) {
        x[i] = (float)f->pixels[i] / 255.0f;
    }
    am_examples examples = am_some_examples(f, 0, N);
    examples.images = (am_images){x, 0, N, SIDE, SIDE, 1, NULL};
    am_guarded g = am_make_empty(N * PIXELS, AM_GUARD), again = am_make_empty(N * PIXELS, 0);
    AM_CHECK_OK(am_pixel_gradients(net, &examples, 1, NULL, g.x, &err));
    AM_CHECK_OK(am_pixel_gradients(net, &examples, 3, NULL, again.x, &err));
    AM_CHECK(am_guards_hold(&g) && am_same_floats(g.x, again.x, N * PIXELS));
    int wrong = 0;
    for (int j = 0; j < PIXELS; j++) { /* the same pixel of all images */
        for (int side = 0; side < 2; side++) {
            for (int i = 0; i < N; i++) {
                x[i * PIXELS + j] += side == 0 ? step : -2 * step;
            }
            AM_CHECK_OK(am_net_forward(net, &examples.images, NULL, N, net->n_layers, 1, NULL,
                                       z[side], &err));
        }
        for (int i = 0; i < N; i++) {
            const int at = i * CLASSES + f->labels[i];
            const double slope = ((double)z[0][at] - z[1][at]) / (2 * step);
            wrong += !(fabs(g.x[i * PIXELS + j] - slope) <= 2e-3);
            x[i * PIXELS + j] += step;
        }
    }
    AM_CHECK(wrong <= N * PIXELS / 50); /* where one did */
    AM_CHECK(fabs(g.x[0]) > 0);
    free(g.block);
    free(again.block);
    free(x);
    am_net_free(net);
}

/* --- dynamics -------------------------------------------------------------------------------- */

AM_TEST(dynamics_follow_the_definition)
{
    enum { EPOCHS = 7, K = 4, EARLY = 3 };
    for (uint32_t seed = 0; seed < 40; seed++) {
        const int64_t label = seed % K;
        float z[EPOCHS * K];
        am_dynamics d = {0};
        double margins = 0, mean = 0, squares = 0, out[AM_N_DYNAMICS], el2n = 0;
        int right = 0, forgotten = 0, was = 0, first = EPOCHS + 1;
        am_randomize(z, EPOCHS * K, seed);
        for (int e = 0; e < EPOCHS; e++) {
            const float *row = z + e * K;
            double total = 0, rival = -INFINITY, error = 0;
            for (int j = 0; j < K; j++) {
                total += exp(row[j]);
                rival = j != label && row[j] > rival ? row[j] : rival;
            }
            for (int j = 0; j < K; j++) {
                error += pow(exp(row[j]) / total - (j == label), 2);
            }
            const double p = exp(row[label]) / total;
            const int now = row[label] > rival;
            margins += row[label] - rival;
            mean += p / EPOCHS;
            squares += p * p / EPOCHS;
            right += now;
            forgotten += was && !now;
            first = now && first > EPOCHS ? e + 1 : first;
            was = now;
            el2n = e + 1 == EARLY ? sqrt(error) : el2n;
            am_dynamics_add_logits(&d, row, K, label, EARLY);
        }
        am_dynamics_finish(&d, out);
        const double expected[] = {1,
                                   margins / EPOCHS,
                                   mean,
                                   sqrt(squares - mean * mean),
                                   right / (double)EPOCHS,
                                   forgotten,
                                   first,
                                   el2n};
        for (int64_t i = 0; i < COUNT(expected); i++) {
            AM_CHECK_NEAR(out[i], expected[i], 1e-9);
        }
        AM_CHECK(isnan(out[AM_DYNAMICS_GRAND]) && isnan(out[AM_DYNAMICS_VOG]));
    }
}

AM_TEST(recording_leaves_the_weights_alone)
{
    am_fixture *f = am_make_fixture();
    am_dynamics seen[2][IMAGES];
    float *params = NULL;
    for (int i = 0; i < 3; i++) {
        am_stepper s;
        am_examples examples = am_some_examples(f, 0, IMAGES);
        if (i > 0) {
            memset(seen[i - 1], 0, sizeof seen[i - 1]);
            examples.dynamics = seen[i - 1];
            examples.early = 1;
        }
        am_make_stepper(&s, &am_adam, IMAGES, 1 + 2 * i / 2);
        for (uint32_t step = 0; step < 3; step++) {
            AM_CHECK_OK(
                am_step_run(&s.step, &examples, f->index, IMAGES - 5, step, 0.01, NULL, &err));
        }
        if (i == 0) {
            params = am_copy_params(s.net);
        }
        AM_CHECK(am_same_params(s.net, params));
        am_free_stepper(&s);
    }
    AM_CHECK(memcmp(seen[0], seen[1], sizeof seen[0]) == 0);
    for (int i = 0; i < IMAGES; i++) {
        AM_CHECK(seen[0][i].epochs == (i < IMAGES - 5 ? 3 : 0));
    }
    free(params);
}

AM_TEST(dynamics_of_nothing_and_of_one_class)
{
    static const am_layer_spec layers[] = {FLAT, DENSE(1)};
    static const int32_t labels[IMAGES];
    am_fixture *f = am_make_fixture();
    am_dynamics seen[IMAGES] = {0};
    double out[AM_N_DYNAMICS];
    am_dynamics_finish(seen, out);
    AM_CHECK(out[AM_DYNAMICS_RUNS] == 0);
    for (int i = 1; i < AM_N_DYNAMICS; i++) {
        AM_CHECK(isnan(out[i]));
    }
    am_net *net = make(layers, COUNT(layers), SIDE, 1);
    am_trainer *trainer;
    am_epoch_report report;
    am_examples examples = am_some_examples(f, 0, IMAGES);
    examples.labels = labels;
    examples.dynamics = seen;
    examples.early = 1;
    AM_CHECK_OK(am_trainer_create(&trainer, net, &am_adam, IMAGES, 1, &err));
    AM_CHECK_INT(am_trainer_epoch(trainer, &examples, NULL, NULL, &report, NULL), AM_ERR_VALUE);
    examples.dynamics = NULL;
    AM_CHECK_OK(am_trainer_epoch(trainer, &examples, NULL, NULL, &report, &err));
    am_trainer_free(trainer);
    am_net_free(net);
}

/* --- stopping, and memory -------------------------------------------------------------------- */

#define TIMES 3

/* What the passes work on; made before anything fails. */
static am_fixture *fixture;
static am_net *net;
static am_control *control;
static int threads;
static float logits[2 * IMAGES * CLASSES], pixels[IMAGES * PIXELS], expected[IMAGES * PIXELS];
static double numbers[IMAGES];

static am_status
view_pass(am_error *err)
{
    static const am_view view = {1, 2, 1.5, 0.1};
    am_images images = fixture->images;
    images.view = &view;
    return am_net_forward(net, &images, fixture->index, IMAGES, net->n_layers, threads, control,
                          logits, err);
}

static am_status
draws_pass(am_error *err)
{
    return am_net_draws(net, &fixture->images, NULL, IMAGES, 1, 2, threads, control, logits, err);
}

static am_status
norms_pass(am_error *err)
{
    const am_examples all = am_some_examples(fixture, 0, IMAGES);
    return am_gradient_norms(net, &all, AM_LOSS_SOFTMAX, threads, control, numbers, err);
}

static am_status
pixels_pass(am_error *err)
{
    const am_examples all = am_some_examples(fixture, 0, IMAGES);
    const am_status status = am_pixel_gradients(net, &all, threads, control, pixels, err);
    AM_CHECK(status != AM_OK || am_same_floats(pixels, expected, IMAGES * PIXELS));
    return status;
}

static am_status
deviation_pass(am_error *err)
{
    return am_mean_deviation(expected, TIMES, IMAGES, PIXELS / TIMES, threads, control, numbers,
                             err);
}

static const struct {
    const char *name;
    am_attempt run;
    int64_t calls; /* allocations */
    int polls;     /* at least */
} passes[] = {
    {"view", view_pass, 1, IMAGES},      {"draws", draws_pass, 1, 3 * IMAGES},
    {"norms", norms_pass, 1, IMAGES},    {"pixels", pixels_pass, 1, IMAGES},
    {"deviation", deviation_pass, 0, 5},
};

static void
begin_passes(void)
{
    const am_examples all = am_some_examples(fixture = am_make_fixture(), 0, IMAGES);
    net = make(am_all_layers, COUNT(am_all_layers), SIDE, 0);
    control = NULL;
    threads = 3;
    AM_CHECK_OK(am_pixel_gradients(net, &all, 1, NULL, expected, &err));
}

AM_TEST(passes_stop_at_any_poll)
{
    const am_alloc_stats before = am_stats();
    begin_passes();
    for (int64_t i = 0; i < 2 * COUNT(passes); i++) {
        int finished = 0;
        threads = i % 2 ? 3 : 1;
        for (int k = 1; k < 1000 && !finished; k++) {
            am_countdown c;
            am_start_countdown(&c, k);
            control = &c.control;
            const am_status status = passes[i / 2].run(NULL);
            finished = c.polls < k;
            AM_CHECK_INT(status, finished ? AM_OK : AM_ERR_CANCELLED);
            if (finished && threads == 1 && c.polls < passes[i / 2].polls) {
                AM_FAILED("%s: %d polls", passes[i / 2].name, c.polls);
            }
        }
        AM_CHECK(finished);
    }
    am_net_free(net);
    AM_CHECK_INT(am_stats().live_blocks, before.live_blocks);
}

AM_TEST(every_allocation_of_the_passes_may_fail)
{
    const am_alloc_stats before = am_stats();
    begin_passes();
    for (int64_t i = 0; i < COUNT(passes); i++) {
        am_check_memory(passes[i].name, passes[i].run, passes[i].calls);
    }
    am_net_free(net);
    AM_CHECK_INT(am_stats().live_blocks, before.live_blocks);
    AM_CHECK_INT(am_stats().live_bytes, before.live_bytes);
}

AM_TEST(what_makes_no_sense_is_an_error)
{
    static const int64_t far[] = {0, IMAGES};
    begin_passes();
    am_examples all = am_some_examples(fixture, 0, IMAGES);
    am_net *fused = make(blocks, COUNT(blocks), WIDE, 1);
    am_net *headless = make(single, 2, SIDE, 1);
    AM_CHECK_INT(am_net_draws(net, &fixture->images, far, 2, 1, 2, 1, NULL, logits, NULL),
                 AM_ERR_VALUE);
    AM_CHECK_INT(am_net_draws(net, &fixture->images, NULL, 2, 1, 0, 1, NULL, logits, NULL),
                 AM_ERR_VALUE);
    AM_CHECK_INT(am_net_draws(fused, &fixture->images, NULL, 2, 1, 2, 1, NULL, logits, NULL),
                 AM_ERR_VALUE); /* no dropout */
    AM_CHECK_INT(am_gradient_norms(headless, &all, AM_LOSS_SOFTMAX, 1, NULL, numbers, NULL),
                 AM_ERR_VALUE);
    AM_CHECK_INT(am_gradient_norms(fused, &all, AM_LOSS_SOFTMAX, 1, NULL, numbers, NULL),
                 AM_ERR_SHAPE);
    all.images = wide_images(fixture);
    all.n = WIDE_IMAGES;
    AM_CHECK_INT(am_pixel_gradients(fused, &all, 1, NULL, pixels, NULL), AM_ERR_VALUE);
    AM_CHECK_INT(am_mean_deviation(expected, 0, 1, 1, 1, NULL, numbers, NULL), AM_ERR_VALUE);
    AM_CHECK_INT(am_mean_deviation(expected, 1, 1, 0, 1, NULL, numbers, NULL), AM_ERR_VALUE);
    AM_CHECK_OK(am_mean_deviation(NULL, 1, 0, 1, 1, NULL, NULL, &err));
    am_net_free(fused);
    am_net_free(headless);
    am_net_free(net);
}
