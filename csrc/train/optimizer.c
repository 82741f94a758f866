#include "train.h"

void
am_optimizer_next_step(am_optimizer_state *state, const am_train_config *config)
{
    state->power1 *= config->momentum;
    state->power2 *= config->decay;
}

void
am_optimizer_apply(const am_optimizer_state *state, const am_train_config *config, double rate,
                   float *w, const float *g, int64_t first, int64_t n)
{
    const am_kernels *kernels = am_get_kernels();
    float *v = state->v + first;
    switch (config->optimizer) {
        case AM_SGD:
            kernels->sgd(w, g, v, n, (float)rate, (float)config->momentum);
            break;
        case AM_RMSPROP:
            kernels->rmsprop(w, g, v, n, (float)rate, (float)config->decay, (float)config->epsilon);
            break;
        case AM_ADAM:
            kernels->adam(w, g, state->m + first, v, n, (float)(rate / (1.0 - state->power1)),
                          (float)config->momentum, (float)config->decay,
                          (float)(1.0 / (1.0 - state->power2)), (float)config->epsilon);
            break;
    }
}
