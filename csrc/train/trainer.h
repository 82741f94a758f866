/* What a trainer holds: for trainer.c and checkpoint.c. */
#ifndef AMBIG_TRAIN_TRAINER_H
#define AMBIG_TRAIN_TRAINER_H

#include <stdatomic.h>

#include "step.h"

struct am_trainer {
    am_train_config config;
    am_step step;
    am_arena arena;
    int64_t n_train;
    int64_t *order; /* (n_train,) the epoch's examples, shuffled */
    float *best;    /* parameters of the best validation loss, as callers know them */
    double best_loss;
    int64_t epoch, best_epoch; /* 0: none so far */
    int torn;                  /* the last epoch was not finished */
    atomic_llong done, total;  /* steps */
};

#endif
