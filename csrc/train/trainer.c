#include "trainer.h"

#include <string.h>

#include "../base/alloc.h"

#define MAX_CHUNKS 64 /* of a batch: bounds the memory of their gradients */

static am_status
check_config(const am_net *net, const am_train_config *c, int64_t n_train, am_error *err)
{
    if (net->first_dense == net->n_layers) {
        return am_fail(err, AM_ERR_VALUE, "a network that is trained needs a dense output layer");
    }
    if ((unsigned)c->loss > AM_LOSS_SIGMOID || (unsigned)c->optimizer > AM_ADAM ||
        (unsigned)c->schedule > AM_ONE_CYCLE) {
        return am_fail(err, AM_ERR_VALUE, "unknown loss %d, optimizer %d or schedule %d",
                       (int)c->loss, (int)c->optimizer, (int)c->schedule);
    }
    if (n_train < 1) {
        return am_fail(err, AM_ERR_VALUE, "there are no images to train on");
    }
    if (c->batch_size < 1 || c->epochs < 0 || c->patience < 0) {
        return am_fail(err, AM_ERR_VALUE,
                       "expected batch_size >= 1, epochs >= 0 and patience >= 0, got %lld, %lld "
                       "and %lld",
                       (long long)c->batch_size, (long long)c->epochs, (long long)c->patience);
    }
    int64_t steps;
    if (__builtin_mul_overflow(c->epochs, am_ceil_div(n_train, c->batch_size), &steps)) {
        return am_fail(err, AM_ERR_VALUE, "epochs: %lld of %lld images are too many steps to count",
                       (long long)c->epochs, (long long)n_train);
    }
    if (!(c->learning_rate > 0 && c->learning_rate < 1e30)) {
        return am_fail(err, AM_ERR_VALUE,
                       "learning_rate: expected a positive number below 1e30, got %g",
                       c->learning_rate);
    }
    if (!(c->momentum >= 0 && c->momentum < 1 && c->decay >= 0 && c->decay < 1 &&
          c->epsilon >= 0)) {
        return am_fail(err, AM_ERR_VALUE,
                       "optimizer: expected momentum and decay in [0, 1) and epsilon >= 0, got %g, "
                       "%g and %g",
                       c->momentum, c->decay, c->epsilon);
    }
    return AM_OK;
}

static void
plan(am_trainer *t)
{
    am_step_plan(&t->arena, &t->step);
    t->order = am_carve(&t->arena, t->n_train, sizeof *t->order);
    t->best = am_carve(&t->arena, t->step.net->n_params, sizeof(float));
}

am_status
am_trainer_create(am_trainer **out, am_net *net, const am_train_config *config, int64_t n_train,
                  int threads, am_error *err)
{
    *out = NULL;
    AM_TRY(check_config(net, config, n_train, err));
    am_trainer *t;
    AM_TRY(am_alloc((void **)&t, 1, sizeof *t, err));
    memset(t, 0, sizeof *t);
    t->config = *config;
    t->n_train = n_train;
    t->step.net = net;
    t->step.config = &t->config;
    t->step.batch = am_min_i64(config->batch_size, n_train);
    const int64_t rows = am_ceil_div(t->step.batch, MAX_CHUNKS);
    t->step.rows = am_min_i64(rows > AM_CHUNK ? rows : AM_CHUNK, t->step.batch);
    const int64_t chunks = am_ceil_div(t->step.batch, t->step.rows);
    t->step.threads = am_slots(threads, chunks);
    plan(t);
    am_status status = am_arena_reserve(&t->arena, err);
    if (status != AM_OK) {
        am_trainer_free(t);
        return status;
    }
    plan(t);
    am_step_prepare(&t->step);
    atomic_store(&t->total, config->epochs * am_ceil_div(n_train, t->step.batch));
    *out = t;
    return AM_OK;
}

void
am_trainer_free(am_trainer *t)
{
    if (t != NULL) {
        am_arena_free(&t->arena);
        am_free(t);
    }
}

/* Validation loss, and whether patience lasts. */
static am_status
validate(am_trainer *t, const am_examples *held, am_control *control, am_epoch_report *report,
         am_error *err)
{
    const am_net *net = t->step.net;
    report->val_loss = report->val_accuracy = __builtin_nan("");
    if (held == NULL || held->n == 0) {
        return AM_OK;
    }
    AM_TRY(am_evaluate(net, held, t->config.loss, t->step.threads, control, &report->val_loss,
                       &report->val_accuracy, err));
    if (t->best_epoch == 0 || report->val_loss < t->best_loss) {
        t->best_loss = report->val_loss;
        t->best_epoch = t->epoch;
        am_net_get_params(net, t->best);
        report->improved = 1;
    }
    report->stop = t->config.patience > 0 && t->epoch - t->best_epoch >= t->config.patience;
    return AM_OK;
}

/* A margin needs a second class. */
static am_status
check_recording(const am_net *net, const am_examples *train, am_error *err)
{
    const int64_t k = net->layers[net->n_layers - 1].out_size;
    if (train->dynamics != NULL && (k < 2 || train->early < 1)) {
        return am_fail(err, AM_ERR_VALUE,
                       "dynamics: expected at least 2 classes, got %lld, and an early epoch of at "
                       "least 1, got %lld",
                       (long long)k, (long long)train->early);
    }
    return AM_OK;
}

/* One pass over the examples, in the order t->order. */
static am_status
run_steps(am_trainer *t, const am_examples *train, am_control *control, am_epoch_report *report,
          am_error *err)
{
    const int64_t n = t->n_train, batch = t->step.batch;
    double loss = 0.0;
    int64_t right = 0;
    for (int64_t start = 0; start < n; start += batch) {
        const int64_t size = am_min_i64(batch, n - start);
        const int64_t number = atomic_load(&t->done);
        report->learning_rate = am_learning_rate(&t->config, number, atomic_load(&t->total));
        AM_TRY(am_step_run(&t->step, train, t->order + start, size, (uint32_t)number,
                           report->learning_rate, control, err));
        for (int64_t i = 0; i < size; i++) {
            loss += t->step.losses[i];
            right += t->step.right[i];
        }
        atomic_fetch_add(&t->done, 1);
    }
    report->loss = loss / (double)n;
    report->accuracy = (double)right / (double)n;
    return AM_OK;
}

am_status
am_trainer_epoch(am_trainer *t, const am_examples *train, const am_examples *held,
                 am_control *control, am_epoch_report *report, am_error *err)
{
    if (train->n != t->n_train) {
        return am_fail(err, AM_ERR_VALUE, "expected %lld training examples, got %lld",
                       (long long)t->n_train, (long long)train->n);
    }
    AM_TRY(am_check_examples(t->step.net, train, err));
    AM_TRY(check_recording(t->step.net, train, err));
    if (held != NULL && held->n > 0) {
        AM_TRY(am_check_examples(t->step.net, held, err));
    }
    *report = (am_epoch_report){.epoch = ++t->epoch};
    t->torn = 1;
    memcpy(t->order, train->index, (size_t)t->n_train * sizeof *t->order);
    am_shuffle(t->order, t->n_train, t->config.seed, AM_STREAM_SHUFFLE, (uint32_t)t->epoch);
    const am_status status = run_steps(t, train, control, report, err);
    am_net_check_finite(t->step.net);
    AM_TRY(status);
    AM_TRY(validate(t, held, control, report, err));
    t->torn = 0;
    return AM_OK;
}

int
am_trainer_restore_best(am_trainer *t)
{
    if (t->best_epoch == 0) {
        return 0;
    }
    am_net_set_params(t->step.net, t->best);
    return 1;
}

void
am_trainer_progress(am_trainer *t, int64_t *done, int64_t *total)
{
    *done = atomic_load(&t->done);
    *total = atomic_load(&t->total);
}
