/* Stopping at every poll and running out of memory at every allocation: an error, no leak, and
 * everything usable afterwards. */
#include "am_test.h"

#include "../../csrc/ambig.h"
#include "am_failures.h"
#include "am_fixture.h"

/* --- stopping -------------------------------------------------------------------------------- */

#define TRAIN 65
#define STEPS 3 /* of an epoch: 24 + 24 + 17 */

/* params[s]: the network after s steps of the first epoch, done one by one. */
static void
record_steps(float *params[STEPS + 1], const am_train_config *config, const am_examples *examples)
{
    am_stepper s;
    int64_t order[TRAIN];
    am_make_stepper(&s, config, 24, 2);
    memcpy(order, examples->index, sizeof order);
    am_shuffle(order, TRAIN, config->seed, AM_STREAM_SHUFFLE, 1);
    for (uint32_t i = 0; i <= STEPS; i++) {
        params[i] = am_copy_params(s.net);
        if (i < STEPS) {
            AM_CHECK_OK(am_step_run(&s.step, examples, order + 24 * i, i < 2 ? 24 : 17, i,
                                    am_learning_rate(config, i, 9), NULL, &err));
        }
    }
    am_free_stepper(&s);
}

/* Whenever an epoch is stopped, the network is that of the last complete step. */
AM_TEST(a_stopped_epoch_leaves_whole_steps)
{
    const am_alloc_stats before = am_stats();
    am_fixture *f = am_make_fixture();
    const am_examples examples = am_some_examples(f, 0, TRAIN), held = am_some_examples(f, 65, 10);
    am_train_config config = am_adam;
    config.batch_size = 24;
    float *params[STEPS + 1];
    record_steps(params, &config, &examples);
    for (int threads = 1; threads <= 3; threads++) {
        int64_t stopped_after[STEPS + 1] = {0};
        int finished = 0;
        for (int k = 1; k < 400 && !finished; k++) {
            am_net *net = am_make_net(config.seed);
            am_trainer *trainer;
            am_epoch_report report;
            am_error err = {AM_OK, ""};
            am_countdown c;
            int64_t done, total;
            AM_CHECK_OK(am_trainer_create(&trainer, net, &config, TRAIN, threads, &err));
            am_start_countdown(&c, k);
            const am_status status =
                am_trainer_epoch(trainer, &examples, &held, &c.control, &report, &err);
            am_trainer_progress(trainer, &done, &total);
            finished = c.polls < k;
            AM_CHECK_INT(status, finished ? AM_OK : AM_ERR_CANCELLED);
            AM_CHECK_INT(err.code, status);
            AM_CHECK(finished || strlen(err.message) > 0);
            AM_CHECK(am_same_params(net, params[done]));
            if (threads == 1 && !finished) { /* a poll an image, and one a group backwards */
                AM_CHECK_INT(done, k <= 36 ? 0 : k <= 72 ? 1 : k <= 98 ? 2 : 3);
            }
            stopped_after[done] += !finished;
            /* The next epoch is whole. */
            am_start_countdown(&c, 0);
            AM_CHECK_OK(am_trainer_epoch(trainer, &examples, &held, &c.control, &report, &err));
            AM_CHECK_INT(report.epoch, 2);
            am_trainer_free(trainer);
            am_net_free(net);
        }
        AM_CHECK(finished);
        for (int s = 0; s <= STEPS && threads == 1; s++) {
            AM_CHECK(stopped_after[s] > 0); /* 3: during validation */
        }
    }
    for (int i = 0; i <= STEPS; i++) {
        AM_CHECK(memcmp(params[i], params[(i + 1) % (STEPS + 1)], 400) != 0);
    }
    for (int i = 0; i <= STEPS; i++) {
        free(params[i]);
    }
    AM_CHECK_INT(am_stats().live_blocks, before.live_blocks);
    AM_CHECK_INT(am_stats().live_bytes, before.live_bytes);
}

/* A stopped step that is run again is the step that was not stopped: no moment, mask or partial sum
 * of it is left behind. */
AM_TEST(a_stopped_step_leaves_nothing_behind)
{
    am_fixture *f = am_make_fixture();
    const am_examples examples = am_some_examples(f, 0, IMAGES);
    for (int k = 1; k <= 35 + 18; k++) { /* every poll of a step: images, groups of two */
        am_stepper whole, stopped;
        am_countdown c;
        am_make_stepper(&whole, &am_adam, 35, 1);
        am_make_stepper(&stopped, &am_adam, 35, 1);
        for (uint32_t i = 0; i < 2; i++) {
            const int64_t *order = f->index + 35 * i;
            AM_CHECK_OK(am_step_run(&whole.step, &examples, order, 35, i, 0.01, NULL, &err));
            am_start_countdown(&c, k);
            AM_CHECK_INT(
                am_step_run(&stopped.step, &examples, order, 35, i, 0.01, &c.control, NULL),
                AM_ERR_CANCELLED);
            AM_CHECK_OK(am_step_run(&stopped.step, &examples, order, 35, i, 0.01, NULL, &err));
            float *params = am_copy_params(stopped.net);
            AM_CHECK(am_same_params(whole.net, params));
            free(params);
        }
        am_free_stepper(&whole);
        am_free_stepper(&stopped);
    }
}

AM_TEST(prediction_stops_at_any_poll)
{
    const am_alloc_stats before = am_stats();
    am_fixture *f = am_make_fixture();
    am_net *net = am_make_net(1);
    float out[IMAGES * CLASSES];
    const am_examples all = am_some_examples(f, 0, IMAGES);
    for (int threads = 1; threads <= 3; threads += 2) {
        int finished = 0;
        for (int k = 1; k < 400 && !finished; k++) {
            am_countdown c;
            double loss = -1, accuracy = -1;
            am_start_countdown(&c, k);
            am_status status = am_net_forward(net, &f->images, NULL, IMAGES, net->n_layers, threads,
                                              &c.control, out, NULL);
            finished = c.polls < k;
            AM_CHECK_INT(status, finished ? AM_OK : AM_ERR_CANCELLED);
            am_start_countdown(&c, k);
            status = am_evaluate(net, &all, AM_LOSS_SOFTMAX, threads, &c.control, &loss, &accuracy,
                                 NULL);
            AM_CHECK_INT(status, c.polls < k ? AM_OK : AM_ERR_CANCELLED);
            AM_CHECK((status == AM_OK) == (loss >= 0) && (status == AM_OK) == (accuracy >= 0));
        }
        AM_CHECK(finished);
    }
    am_net_free(net);
    AM_CHECK_INT(am_stats().live_blocks, before.live_blocks);
}

/* --- memory ---------------------------------------------------------------------------------- */

/* What the attempts work on; made before anything fails. */
static am_fixture *fixture;
static am_net *net;
static am_trainer *trainer;
static float expected[IMAGES * CLASSES];
static float x[20 * 25], y[20 * 25 * 2], w[25 * 9], b[25], dx[20 * 25], dw[25 * 9], db[25];

static am_status
create_net(am_error *err)
{
    am_net *made = (am_net *)err;
    const am_status status =
        am_net_create(&made, am_all_layers, (int)COUNT(am_all_layers), SIDE, SIDE, 1, 1, err);
    AM_CHECK((made == NULL) == (status != AM_OK));
    am_net_free(made);
    return status;
}

static am_status
create_trainer(am_error *err)
{
    am_trainer *made = (am_trainer *)err;
    const am_status status = am_trainer_create(&made, net, &am_adam, 65, 3, err);
    AM_CHECK((made == NULL) == (status != AM_OK));
    am_trainer_free(made);
    return status;
}

static am_status
run_epoch(am_error *err)
{
    const am_examples examples = am_some_examples(fixture, 0, 65);
    const am_examples held = am_some_examples(fixture, 65, 10);
    am_epoch_report report;
    int64_t done, after, total;
    am_trainer_progress(trainer, &done, &total);
    const am_status status = am_trainer_epoch(trainer, &examples, &held, NULL, &report, err);
    am_trainer_progress(trainer, &after, &total);
    AM_CHECK_INT(after, done + 2); /* only validation needs memory */
    return status;
}

static am_status
evaluate(am_error *err)
{
    const am_examples all = am_some_examples(fixture, 0, IMAGES);
    double loss = -1, accuracy;
    const am_status status =
        am_evaluate(net, &all, AM_LOSS_SIGMOID, 3, NULL, &loss, &accuracy, err);
    AM_CHECK((loss >= 0) == (status == AM_OK));
    return status;
}

static am_status
forward(am_error *err)
{
    float out[IMAGES * CLASSES];
    const am_status status =
        am_net_forward(net, &fixture->images, NULL, IMAGES, net->n_layers, 3, NULL, out, err);
    AM_CHECK(status != AM_OK || memcmp(out, expected, sizeof out) == 0);
    return status;
}

static am_status
softmax(am_error *err)
{
    float p[IMAGES * CLASSES];
    return am_softmax_rows(p, expected, IMAGES, CLASSES, 3, err);
}

static am_status
split(am_error *err)
{
    int64_t kept[IMAGES], held[IMAGES], n_kept, n_held;
    return am_stratified_split(fixture->labels, IMAGES, CLASSES, 0.2, 1, kept, &n_kept, held,
                               &n_held, err);
}

static am_status
conv_forward(am_error *err)
{
    am_conv2d s;
    AM_TRY(am_conv2d_init(&s, 5, 5, 1, 2, 3, 1, err));
    return am_conv2d_forward_batch(y, x, w, b, 20, &s, 2, NULL, err);
}

static am_status
conv_backward(am_error *err)
{
    am_conv2d s;
    AM_TRY(am_conv2d_init(&s, 5, 5, 1, 2, 3, 1, err));
    return am_conv2d_backward_batch(dx, dw, db, y, x, w, 20, &s, 2, NULL, err);
}

static am_status
dense_forward(am_error *err)
{
    return am_dense_forward_batch(y, x, w, b, 20, 25, 9, 2, NULL, err);
}

static am_status
dense_backward(am_error *err)
{
    return am_dense_backward_batch(dx, dw, db, y, x, w, 20, 25, 9, 2, NULL, err);
}

static int64_t class_numbers[IMAGES], cells[CLASSES * CLASSES];
static double scores[IMAGES];

static am_rows
logit_rows(void)
{
    return am_dense_rows(expected, IMAGES, CLASSES, 0, 1);
}

static am_status
rank_pass(am_error *err)
{
    static int64_t counts[CLASSES * CLASSES];
    const am_rows rows = logit_rows();
    am_exact_sum loss;
    am_ranked best[12];
    am_top top = {AM_SCORE_CONFIDENT_WRONG, 1, {best, 12, 0}};
    const am_pass pass = {.labels = class_numbers,
                          .tops = &top,
                          .n_tops = 1,
                          .scores = scores,
                          .loss = &loss,
                          .sums = cells,
                          .counts = counts};
    return am_rank_pass(&rows, &pass, 3, NULL, err);
}

static am_status
self_confidence(am_error *err)
{
    static am_exact_sum sums[CLASSES];
    const am_rows rows = logit_rows();
    return am_self_confidence(&rows, class_numbers, sums, cells, 3, NULL, err);
}

static am_status
confident_joint(am_error *err)
{
    static const double cutoffs[CLASSES];
    static int64_t columns[IMAGES];
    const am_rows rows = logit_rows();
    return am_confident_joint(&rows, class_numbers, cutoffs, 0, cells, columns, 3, NULL, err);
}

static am_status
check_rows(am_error *err)
{
    const am_rows rows = logit_rows();
    return am_check_rows(&rows, 1e-3, 3, NULL, err);
}

static am_status
probabilities(am_error *err)
{
    const am_rows rows = logit_rows();
    float out[IMAGES * CLASSES];
    return am_probabilities(&rows, out, 3, NULL, err);
}

static am_status
neighbours(am_error *err)
{
    const am_rows rows = logit_rows();
    int64_t found[IMAGES];
    return am_neighbours(&rows, NULL, IMAGES, 1, found, scores, 3, NULL, err);
}

static am_status
some_neighbours(am_error *err)
{
    static const int64_t queries[] = {3, 0};
    const am_rows rows = logit_rows();
    int64_t found[2];
    return am_neighbours(&rows, queries, 2, 1, found, scores, 3, NULL, err);
}

static am_status
hash_images(am_error *err)
{
    uint64_t hashes[2];
    return am_image_hashes((const uint8_t *)scores, 2, 8, hashes, 3, NULL, err);
}

static am_status
top_k(am_error *err)
{
    int64_t indices[IMAGES];
    return am_top_k(scores, IMAGES, 12, indices, err);
}

static am_status
parse_idx(am_error *err)
{
    static const uint8_t file[] = {0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9};
    am_idx idx;
    return am_idx_parse(file, sizeof file, &idx, err);
}

AM_TEST(every_allocation_may_fail)
{
    const am_alloc_stats before = am_stats();
    fixture = am_make_fixture();
    net = am_make_net(1);
    AM_CHECK_OK(am_trainer_create(&trainer, net, &am_adam, 65, 3, &err));
    am_check_memory("epoch", run_epoch, 3);
    am_trainer_free(trainer);
    am_randomize(x, COUNT(x), 1);
    am_randomize(w, COUNT(w), 2);
    am_randomize(b, COUNT(b), 3);
    for (int i = 0; i < IMAGES; i++) {
        class_numbers[i] = fixture->labels[i];
    }
    AM_CHECK_OK(am_net_forward(net, &fixture->images, NULL, IMAGES, net->n_layers, 1, NULL,
                               expected, &err));
    am_check_memory("network", create_net, 2);
    am_check_memory("trainer", create_trainer, 2);
    am_check_memory("evaluate", evaluate, 3);
    am_check_memory("forward", forward, 1);
    am_check_memory("softmax", softmax, 0);
    am_check_memory("split", split, 1);
    am_check_memory("conv forward", conv_forward, 1);
    am_check_memory("conv backward", conv_backward, 1);
    am_check_memory("dense forward", dense_forward, 1);
    am_check_memory("dense backward", dense_backward, 1);
    am_check_memory("rank pass", rank_pass, 2);
    am_check_memory("self confidence", self_confidence, 1);
    am_check_memory("confident joint", confident_joint, 1);
    am_check_memory("check rows", check_rows, 1);
    am_check_memory("probabilities", probabilities, 1);
    am_check_memory("neighbours", neighbours, 1);
    am_check_memory("some neighbours", some_neighbours, 1);
    am_check_memory("hashes", hash_images, 0);
    am_check_memory("top k", top_k, 1);
    am_check_memory("idx", parse_idx, 0);
    am_net_free(net);
    AM_CHECK_INT(am_stats().live_blocks, before.live_blocks);
    AM_CHECK_INT(am_stats().live_bytes, before.live_bytes);
}

/* Sizes whose products do not fit in 64 bits end like memory that is not there. */
AM_TEST(sizes_that_overflow_are_refused)
{
    static const int64_t sizes[] = {(int64_t)1 << 50, (int64_t)1 << 62, INT64_MAX};
    static const am_layer_spec layers[] = {
        {AM_CONV2D, 1, 1, 0, 0}, {AM_FLATTEN, 0, 0, 0, 0}, {AM_DENSE, 1 << 11, 0, 0, 0}};
    const am_alloc_stats before = am_stats();
    am_net *wide = NULL;
    AM_CHECK_OK(am_net_create(&wide, layers, 3, 1, 1 << 12, 1, 1, &err));
    for (int64_t i = 0; i < COUNT(sizes); i++) {
        am_train_config config = am_adam;
        am_trainer *made;
        am_error err = {AM_OK, ""};
        config.batch_size = sizes[i];
        AM_CHECK_INT(am_trainer_create(&made, wide, &config, sizes[i], 3, &err), AM_ERR_MEMORY);
        AM_CHECK(made == NULL && strlen(err.message) > 0);
    }
    am_train_config endless = am_adam;
    am_trainer *made;
    endless.epochs = INT64_MAX;
    AM_CHECK_INT(am_trainer_create(&made, wide, &endless, 65, 3, NULL), AM_ERR_VALUE);
    endless.batch_size = 65; /* one step an epoch */
    AM_CHECK_OK(am_trainer_create(&made, wide, &endless, 65, 3, &err));
    am_trainer_free(made);
    am_net_free(wide);
    for (int64_t i = 1; i < COUNT(sizes); i++) {
        const am_rows rows = am_dense_rows(NULL, sizes[i], sizes[i], 0, 1);
        const am_pass pass = {.predicted = NULL};
        am_error err = {AM_OK, ""};
        AM_CHECK_INT(am_rank_pass(&rows, &pass, 3, NULL, &err), AM_ERR_MEMORY);
        AM_CHECK_INT(am_check_rows(&rows, 1, 3, NULL, &err), AM_ERR_MEMORY);
        AM_CHECK_INT(am_neighbours(&rows, NULL, sizes[i], 1, NULL, NULL, 3, NULL, &err),
                     AM_ERR_MEMORY);
    }
    AM_CHECK_INT(am_stats().live_blocks, before.live_blocks);
}

/* --- every long loop looks at the control ----------------------------------------------------- */

AM_TEST(evaluation_polls_after_the_forward_pass_too)
{
    am_fixture *f = am_make_fixture();
    am_net *net = am_make_net(1);
    enum { N = 3000 };
    int64_t *index = malloc(N * sizeof *index);
    float *logits = am_floats(N * CLASSES);
    for (int i = 0; i < N; i++) {
        index[i] = i % IMAGES;
    }
    am_examples all = am_some_examples(f, 0, IMAGES);
    all.index = index;
    all.n = N;
    am_countdown c, later;
    am_start_countdown(&c, 0);
    double loss, accuracy;
    AM_CHECK_OK(
        am_net_forward(net, &f->images, index, N, net->n_layers, 1, &c.control, logits, &err));
    for (int i = 1; i <= 3; i++) { /* N / 1024, rounded up */
        am_start_countdown(&later, c.polls + i);
        am_error err = {AM_OK, ""};
        AM_CHECK_INT(
            am_evaluate(net, &all, AM_LOSS_SOFTMAX, 1, &later.control, &loss, &accuracy, &err),
            AM_ERR_CANCELLED);
    }
    free(index);
    free(logits);
    am_net_free(net);
}

AM_TEST(batches_of_one_layer_can_be_stopped)
{
    float *x = am_floats(4000), *w = am_floats(4000), *y = am_floats(4000), *b = am_floats(100);
    float *dw = am_floats(4000);
    am_conv2d s;
    AM_CHECK_OK(am_conv2d_init(&s, 6, 6, 2, 3, 3, 1, &err));
    am_alloc_stats before, after;
    am_get_alloc_stats(&before);
    for (int i = 0; i < 4 * 6; i++) {
        am_countdown c;
        am_start_countdown(&c, 1 + i / 4 % 2);
        am_control *control = &c.control;
        const int threads = 1 + i / 8;
        am_error err = {AM_OK, ""};
        am_status status = AM_OK;
        switch (i % 4) {
            case 0:
                status = am_conv2d_forward_batch(y, x, w, b, 32, &s, threads, control, &err);
                break;
            case 1:
                status =
                    am_conv2d_backward_batch(y, dw, b, x, y, w, 32, &s, threads, control, &err);
                break;
            case 2:
                status = am_dense_forward_batch(y, x, w, b, 150, 20, 10, threads, control, &err);
                break;
            default:
                status = am_dense_backward_batch(y, dw, b, x, w, dw, 150, 20, 10, threads, control,
                                                 &err);
                break;
        }
        /* With several threads the caller may find no work left for its second look. */
        AM_CHECK(status == AM_ERR_CANCELLED || (threads > 1 && c.polls < c.stop_at));
    }
    am_get_alloc_stats(&after);
    AM_CHECK_INT(after.live_blocks, before.live_blocks);
    free(x);
    free(w);
    free(y);
    free(b);
    free(dw);
}

AM_TEST(numbers_that_stand_for_nothing)
{
    am_net *net = am_make_net(1);
    am_trainer *trainer;
    for (int i = 0; i < 6; i++) {
        am_train_config bad = am_adam;
        const int value = i % 2 ? -1 : 3;
        switch (i / 2) {
            case 0:
                bad.loss = (am_loss)value;
                break;
            case 1:
                bad.optimizer = (am_optimizer)value;
                break;
            default:
                bad.schedule = (am_schedule)value;
                break;
        }
        am_error err = {AM_OK, ""};
        AM_CHECK_INT(am_trainer_create(&trainer, net, &bad, 10, 1, &err), AM_ERR_VALUE);
        AM_CHECK(trainer == NULL && strstr(err.message, "unknown loss") != NULL);
    }
    am_net_free(net);
    static const int64_t huge[][4] = {
        {INT64_C(1) << 60, 3, 1, 1},
        {INT64_C(1) << 30, INT64_C(1) << 30, 1, INT64_C(1) << 20},
        {3, 3, INT64_C(1) << 30, INT64_C(1) << 30},
        {INT64_MAX - 8000, 3, 1, 1},
    };
    for (int64_t i = 0; i < COUNT(huge); i++) {
        am_conv2d s;
        am_error err = {AM_OK, ""};
        AM_CHECK_INT(am_conv2d_init(&s, huge[i][0], huge[i][1], huge[i][2], huge[i][3], 3, 1, &err),
                     AM_ERR_SHAPE);
    }
}
