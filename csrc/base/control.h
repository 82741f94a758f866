/* How a long call asks whether it should go on.
 *
 * The calling thread (slot 0 of the pool) runs `poll` now and then; the other workers only look
 * at the flag that it sets. `poll` decides itself how often it does real work. */
#ifndef AMBIG_BASE_CONTROL_H
#define AMBIG_BASE_CONTROL_H

#include <stdatomic.h>

#include "status.h"

typedef struct am_control {
    int (*poll)(void *arg); /* nonzero: stop. NULL: never */
    void *arg;
    atomic_int cancelled;
} am_control;

/* AM_ERR_CANCELLED once the caller wants to stop. `control` may be NULL. */
static inline am_status
am_check(am_control *control, int slot, am_error *err)
{
    if (control == NULL) {
        return AM_OK;
    }
    if (slot == 0 && control->poll != NULL &&
        !atomic_load_explicit(&control->cancelled, memory_order_relaxed) &&
        control->poll(control->arg)) {
        atomic_store_explicit(&control->cancelled, 1, memory_order_relaxed);
    }
    if (atomic_load_explicit(&control->cancelled, memory_order_relaxed)) {
        return am_fail(err, AM_ERR_CANCELLED, "the call was interrupted");
    }
    return AM_OK;
}

#endif
