/* ambig.h: the C core of ambigmnist.
 *
 * The core trains small convolutional networks, runs them, and ranks what they say. It knows
 * neither Python nor files. Read the parts below from top to bottom.
 *
 * Errors.    A function that can fail returns an am_status and takes an am_error last, which it
 *            fills in with a message for people. Nothing is thread-local.
 * Memory.    The caller owns all arrays. The core keeps no pointer to them after it returns. What a
 *            handle (am_net, am_trainer) owns lives in one arena, freed with the handle.
 * Threads.   Work is cut into chunks whose results do not depend on who runs them: the same seed
 *            gives the same bits for any number of threads.
 *
 * Stopping.  Long calls take an am_control whose poll runs on the calling thread. */
#ifndef AMBIG_AMBIG_H
#define AMBIG_AMBIG_H

/* Status codes and errors; allocator counters; the pool; random numbers; exp, log, sin, cos; CPU;
 * the training history of one image.
 */
#include "base/status.h"
#include "base/alloc.h"
#include "base/control.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/elementary.h"
#include "base/cpu.h"
#include "base/dynamics.h"

/* The instruction set in force. */
#include "kernels/kernels.h"

/* Single layers, forward and backward, on one image and on batches. */
#include "layers/layers.h"
#include "layers/batch.h"

/* Networks: am_net_create, am_net_init, am_net_set_params, am_net_forward. */
#include "net/net.h"

/* Training: am_trainer_create, am_trainer_epoch, am_trainer_export; splits; schedules; gradients of
 * single images. */
#include "train/train.h"
#include "train/gradients.h"

/* Files, as buffers. */
#include "data/idx.h"

/* Images: numbers for their content. */
#include "data/hash.h"

/* Scores of one or several opinions, training dynamics, top lists, heatmaps, nearest neighbours,
 * confident learning, temperature scaling, agreement of two rankings. */
#include "rank/rows.h"
#include "rank/scores.h"
#include "rank/combine.h"
#include "rank/draws.h"
#include "rank/history.h"
#include "rank/topk.h"
#include "rank/pass.h"
#include "rank/neighbours.h"
#include "rank/joint.h"
#include "rank/temperature.h"
#include "rank/kendall.h"

#endif
