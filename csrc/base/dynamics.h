/* What training sees of one image, epoch after epoch, in constant memory.
 *
 * z: logits, p: their softmax, g: the given label, j: any class.
 * AUM: Pleiss et al. 2020. Data maps: Swayamdipta et al. 2020. Forgetting, first learned: Toneva et
 * al. 2019. EL2N: Paul et al. 2021. */
#ifndef AMBIG_BASE_DYNAMICS_H
#define AMBIG_BASE_DYNAMICS_H

#include "compiler.h"

/* All 0: nothing seen yet. */
typedef struct am_dynamics {
    double epochs;
    double margin_sum;    /* of z_g - max_{j != g} z_j */
    double p_mean, p_m2;  /* of p_g, by Welford: the mean, and the sum of squared deviations */
    double right;         /* epochs that predict g */
    double forgotten;     /* epochs that predict it and are followed by one that does not */
    double first_learned; /* the first that predicts it, from 1; 0: none yet */
    double was_right;     /* whether the last one did */
    double el2n;          /* |p - onehot(g)| in epoch `early`, or the last one before it */
} am_dynamics;

#define AM_DYNAMICS_SIZE ((int)(sizeof(am_dynamics) / sizeof(double)))

/* The numbers of a finished history, in this order. */
enum {
    AM_DYNAMICS_RUNS, /* 1; 0: nothing was seen, the others are NaN */
    AM_DYNAMICS_AUM,
    AM_DYNAMICS_CONFIDENCE,
    AM_DYNAMICS_VARIABILITY,
    AM_DYNAMICS_CORRECTNESS,
    AM_DYNAMICS_FORGETTING,
    AM_DYNAMICS_FIRST_LEARNED, /* epochs + 1: never */
    AM_DYNAMICS_EL2N,
    AM_DYNAMICS_GRAND, /* NaN: these two take gradients */
    AM_DYNAMICS_VOG,
    AM_N_DYNAMICS
};

/* One epoch: margin, p_g, whether g is predicted, |p - onehot(g)|. */
void am_dynamics_add(am_dynamics *d, double margin, double p, int right, double error,
                     int64_t early);

/* One epoch's logits z (k,), k >= 2; label g. */
void am_dynamics_add_logits(am_dynamics *d, const float *z, int64_t k, int64_t label,
                            int64_t early);

void am_dynamics_finish(const am_dynamics *d, double out[AM_N_DYNAMICS]);

#endif
