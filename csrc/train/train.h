/* Training: optimizers, schedules, splits, the step, and the epoch loop with early stopping. */
#ifndef AMBIG_TRAIN_TRAIN_H
#define AMBIG_TRAIN_TRAIN_H

#include "../base/dynamics.h"
#include "../net/net.h"

typedef enum am_optimizer { AM_SGD = 0, AM_RMSPROP = 1, AM_ADAM = 2 } am_optimizer;
typedef enum am_schedule { AM_CONSTANT = 0, AM_ONE_CYCLE = 1 } am_schedule;

typedef struct am_train_config {
    am_loss loss;
    am_optimizer optimizer;
    double momentum; /* sgd: of the velocity; adam: beta1 */
    double decay;    /* rmsprop: rho; adam: beta2 */
    double epsilon;
    am_schedule schedule;
    double learning_rate; /* the constant, or the peak of the cycle */
    int64_t batch_size;
    int64_t epochs;   /* the cycle ends with them */
    int64_t patience; /* epochs without a better validation loss before it stops; 0: never */
    uint64_t seed;    /* of shuffling and dropout */
} am_train_config;

/* --- schedule.c --- */
/* The rate of a step, 0..steps-1. One cycle: by cosine from a tenth of the peak to the peak over
 * the first quarter of the steps, then by cosine to a thousandth (Smith, Topin: Super-convergence,
 * 2018). */
double am_learning_rate(const am_train_config *config, int64_t step, int64_t steps);

/* --- split.c --- */
/* labels[i] is a class number, 0..classes-1. */
am_status am_check_label(const int32_t *labels, int64_t i, int64_t classes, am_error *err);
/* Takes `fraction` of each class (rounded, at least one image stays behind) for validation, drawn
 * with the seed. Both lists rise; n_train + n_held = n. */
am_status am_stratified_split(const int32_t *labels, int64_t n, int64_t classes, double fraction,
                              uint64_t seed, int64_t *train, int64_t *n_train, int64_t *held,
                              int64_t *n_held, am_error *err);

/* --- optimizer.c --- */
typedef struct am_optimizer_state {
    float *m, *v;          /* moments, as many as parameters; m only for adam */
    double power1, power2; /* beta1^t, beta2^t, as running products */
} am_optimizer_state;

void am_optimizer_next_step(am_optimizer_state *state, const am_train_config *config);
/* Updates n parameters w from their gradient g; `first` is the place of w[0] in the moments. */
void am_optimizer_apply(const am_optimizer_state *state, const am_train_config *config, double rate,
                        float *w, const float *g, int64_t first, int64_t n);

/* --- evaluate.c --- */
typedef struct am_examples {
    am_images images;
    const int32_t *labels; /* (images.n,) class numbers, or NULL */
    const float *soft;     /* (images.n, k) target probabilities, or NULL */
    const float *weights;  /* (images.n,) or NULL */
    const int64_t *index;  /* which of them to use */
    int64_t n;
    am_dynamics *dynamics; /* (images.n,) gets what training sees of each, or NULL; then no image
                              is twice in `index` */
    int64_t early;         /* the epoch that am_dynamics_add takes el2n in */
} am_examples;

/* The target row of example i: the soft label, or a one-hot row written to `onehot`. */
const float *am_target(const am_examples *examples, int64_t i, int64_t k, float *onehot);
/* The largest of k numbers; the first of equals. */
int64_t am_argmax(const float *x, int64_t k);

/* Images of the net's size, labels or soft labels, both index and labels in range. */
am_status am_check_examples(const am_net *net, const am_examples *examples, am_error *err);

/* Mean loss and accuracy without dropout; weights play no part. */
am_status am_evaluate(const am_net *net, const am_examples *examples, am_loss loss, int threads,
                      am_control *control, double *mean_loss, double *accuracy, am_error *err);

/* --- trainer.c --- */
typedef struct am_trainer am_trainer;

typedef struct am_epoch_report {
    int64_t epoch;                 /* 1 for the first */
    double loss, accuracy;         /* over the epoch's own batches, with dropout */
    double val_loss, val_accuracy; /* NaN without validation examples */
    double learning_rate;          /* of the last step */
    int improved;                  /* the validation loss is the best so far */
    int stop;                      /* patience is used up */
} am_epoch_report;

/* Trains `net` in place, on n_train examples an epoch; the trainer keeps no pointer to data between
 * calls. */
am_status am_trainer_create(am_trainer **out, am_net *net, const am_train_config *config,
                            int64_t n_train, int threads, am_error *err);
void am_trainer_free(am_trainer *trainer);
/* One pass over the shuffled examples, then validation. When cancelled, the network is that of the
 * last complete step. */
am_status am_trainer_epoch(am_trainer *trainer, const am_examples *train, const am_examples *held,
                           am_control *control, am_epoch_report *report, am_error *err);
/* Puts the best weights back, if validation examples chose any; returns whether it did. */
int am_trainer_restore_best(am_trainer *trainer);
/* Steps done and to be done; may be called while another thread trains. */
void am_trainer_progress(am_trainer *trainer, int64_t *done, int64_t *total);

/* --- checkpoint.c --- */

/* All that training needs to go on after an epoch, the same for any instruction set and number of
 * threads. The arrays are the caller's, as many numbers as the net has parameters, in that order.
 */
typedef struct am_train_state {
    int64_t epoch, best_epoch; /* epochs done; 0: none was the best so far */
    double best_loss;
    double power1, power2;
    float *params, *v;
    float *m;    /* only for adam */
    float *best; /* only once best_epoch > 0 */
} am_train_state;

/* Fills all arrays; sets to NULL those that there are not. Fails when an epoch was cancelled. */
am_status am_trainer_export(const am_trainer *trainer, am_train_state *state, am_error *err);
/* Goes on from there, to the same bits: `trainer` made with the same configuration for the same
 * network and examples. On failure nothing changes. */
am_status am_trainer_import(am_trainer *trainer, const am_train_state *state, am_error *err);

#endif
