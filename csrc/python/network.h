/* The type Network: a network and, while it trains, its trainer.
 *
 * One call at a time may change it; any number may read it. `users` counts readers and is -1 while
 * a call changes it. Only train_progress may be called at any time. */
#ifndef AMBIG_PYTHON_NETWORK_H
#define AMBIG_PYTHON_NETWORK_H

#include <stdatomic.h>

#include "convert.h"

typedef struct network {
    PyObject_HEAD am_net *net;
    _Atomic(am_trainer *) trainer; /* NULL when not training */
    atomic_int looking;            /* calls of train_progress that may hold the trainer */
    atomic_int users;
    atomic_ulong writer; /* the thread behind -1 */
    atomic_uint forks;   /* am_fork_count() as of the last look at it */
} network;

/* --- py_network.c --- */
PyObject *am_network_module(network *self);
/* Takes the network for this call alone; BusyError and -1 when it is in use. */
int am_network_begin_write(network *self);
void am_network_end_write(network *self);
/* Takes the network for reading, with others; BusyError and -1 while a call changes it. */
int am_network_begin_read(network *self);
void am_network_end_read(network *self);
/* (n, h, w, c) of uint8 or float32 */
int am_to_images(PyObject *module, PyObject *object, am_images *images);
/* float32, as many as there are parameters */
PyArrayObject *am_to_params(network *self, PyObject *object, const char *name);

/* --- py_train.c: the methods that train --- */
PyObject *am_network_train_begin(network *self, PyObject *args);
PyObject *am_network_train_epoch(network *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *am_network_train_progress(network *self, PyObject *unused);
PyObject *am_network_train_export(network *self, PyObject *unused);
PyObject *am_network_train_import(network *self, PyObject *tuple);
PyObject *am_network_train_end(network *self, PyObject *restore);
PyObject *am_network_gradient_norms(network *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *am_network_pixel_gradients(network *self, PyObject *const *args, Py_ssize_t nargs);

#endif
