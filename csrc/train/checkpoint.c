/* A trainer's state, out and in. What is not here follows from the configuration: the order of the
 * images and dropout are functions of seed, epoch and step. */
#include "trainer.h"

#include <string.h>

am_status
am_trainer_export(const am_trainer *t, am_train_state *state, am_error *err)
{
    const am_net *net = t->step.net;
    const am_optimizer_state *optimizer = &t->step.optimizer;
    if (t->torn) {
        return am_fail(err, AM_ERR_VALUE,
                       "a state is taken at the end of an epoch, but epoch %lld was interrupted",
                       (long long)t->epoch);
    }
    state->epoch = t->epoch;
    state->best_epoch = t->best_epoch;
    state->best_loss = t->best_loss;
    state->power1 = optimizer->power1;
    state->power2 = optimizer->power2;
    am_net_get_params(net, state->params);
    am_net_export(net, state->v, optimizer->v);
    if (optimizer->m == NULL) {
        state->m = NULL;
    }
    else {
        am_net_export(net, state->m, optimizer->m);
    }
    if (t->best_epoch == 0) {
        state->best = NULL;
    }
    else {
        memcpy(state->best, t->best, (size_t)net->n_params * sizeof(float));
    }
    return AM_OK;
}

static int
is_share(double x)
{
    return x >= 0.0 && x <= 1.0;
}

am_status
am_trainer_import(am_trainer *t, const am_train_state *state, am_error *err)
{
    am_net *net = t->step.net;
    am_optimizer_state *optimizer = &t->step.optimizer;
    if (state->epoch < 0 || state->epoch > t->config.epochs || state->best_epoch < 0 ||
        state->best_epoch > state->epoch || !is_share(state->power1) || !is_share(state->power2)) {
        return am_fail(
            err, AM_ERR_VALUE,
            "expected a state within %lld epochs, got epoch %lld, the best one %lld, and "
            "powers %g and %g",
            (long long)t->config.epochs, (long long)state->epoch, (long long)state->best_epoch,
            state->power1, state->power2);
    }
    if ((state->m == NULL) != (optimizer->m == NULL) ||
        (state->best == NULL) != (state->best_epoch == 0)) {
        return am_fail(err, AM_ERR_VALUE,
                       "expected a state of the same optimizer, with the best weights if there "
                       "were any");
    }
    am_net_set_params(net, state->params);
    am_step_prepare(&t->step); /* what is derived from the parameters */
    am_net_import(net, optimizer->v, state->v);
    if (optimizer->m != NULL) {
        am_net_import(net, optimizer->m, state->m);
    }
    if (state->best != NULL) {
        memcpy(t->best, state->best, (size_t)net->n_params * sizeof(float));
    }
    optimizer->power1 = state->power1;
    optimizer->power2 = state->power2;
    t->epoch = state->epoch;
    t->best_epoch = state->best_epoch;
    t->best_loss = state->best_loss;
    t->torn = 0;
    atomic_store(&t->done, state->epoch * am_ceil_div(t->n_train, t->step.batch));
    return AM_OK;
}
