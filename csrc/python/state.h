/* What one instance of the module owns; there are no static Python objects. */
#ifndef AMBIG_PYTHON_STATE_H
#define AMBIG_PYTHON_STATE_H

#include "npy.h"

#include "../ambig.h"

#define AM_N_STATUS (AM_ERR_BUSY + 1)

typedef struct core_state {
    PyObject *exceptions[AM_N_STATUS]; /* by am_status; NULL for AM_OK and AM_ERR_CANCELLED */
    PyObject *dtype_error;
    PyTypeObject *network_type;
} core_state;

/* Each file adds its functions; the arrays end with {NULL}. */
extern PyMethodDef am_base_methods[];
extern PyMethodDef am_calibration_methods[];
extern PyMethodDef am_data_methods[];
extern PyMethodDef am_draws_methods[];
extern PyMethodDef am_layer_methods[];
extern PyMethodDef am_rank_methods[];
extern PyMethodDef am_label_methods[];
extern PyMethodDef am_train_methods[];

/* Creates the heap type Network and adds it to the module. */
int am_add_network_type(PyObject *module, core_state *state);

#endif
