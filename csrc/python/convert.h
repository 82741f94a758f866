/* Between Python and the core: arguments in, errors out. */
#ifndef AMBIG_PYTHON_CONVERT_H
#define AMBIG_PYTHON_CONVERT_H

#include "state.h"

/* Exact arity: keywords and defaults belong to the Python wrapper. */
int am_arity(const char *function, Py_ssize_t got, Py_ssize_t expected);

int am_to_int64(PyObject *object, const char *name, int64_t *out);
int am_to_int(PyObject *object, const char *name, int *out);
int am_to_seed(PyObject *object, const char *name, uint64_t *out); /* 64 bits, not negative */
int am_to_double(PyObject *object, const char *name, double *out);

/* Borrowed view of an array argument that the core may read (or, with `writeable`, write):
 * C-contiguous, aligned, native byte order, of type `typenum` and rank `ndim` (-1: any). Raises
 * and returns NULL otherwise; the message names the argument. */
PyArrayObject *am_to_array(PyObject *module, PyObject *object, const char *name, int typenum,
                           int ndim, int writeable);

/* The same, but None gives *out = NULL. Returns 0 on success, -1 with an exception set. */
int am_to_optional_array(PyObject *module, PyObject *object, const char *name, int typenum,
                         int ndim, PyArrayObject **out);

/* A new C-contiguous array, uninitialised. */
PyObject *am_new_array(int ndim, const npy_intp *shape, int typenum);

/* Raises what `status` means and returns NULL. For AM_ERR_CANCELLED an exception is set already
 * (by the poll), or KeyboardInterrupt is raised. */
PyObject *am_raise(PyObject *module, am_status status, const am_error *error);

/* What a function returns: `result`, or the exception of a failed call, which releases it. */
PyObject *am_finish(PyObject *module, am_status status, const am_error *error, PyObject *result);

/* A poll for am_control: at most every 50 ms it takes the GIL, runs signal handlers and calls
 * `callback` (or nothing, when NULL) with no arguments. Stops on an exception, which stays set.
 * Fill it while holding the GIL, use it while the GIL is released through
 * am_poll_begin/am_poll_end. */
typedef struct am_py_poll {
    PyObject *callback; /* borrowed */
    PyThreadState *thread;
    double next; /* monotonic seconds */
} am_py_poll;

void am_poll_begin(am_py_poll *poll, PyObject *callback,
                   am_control *control); /* releases the GIL */
void am_poll_end(am_py_poll *poll);      /* takes it again */

#endif
