#include "convert.h"

#include <time.h>

int
am_arity(const char *function, Py_ssize_t got, Py_ssize_t expected)
{
    if (got == expected) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s expected %zd arguments, got %zd", function, expected, got);
    return -1;
}

int
am_to_int64(PyObject *object, const char *name, int64_t *out)
{
    long long value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError, "%s: expected an integer, got %R", name, object);
        }
        return -1;
    }
    *out = value;
    return 0;
}

int
am_to_int(PyObject *object, const char *name, int *out)
{
    int64_t value;
    if (am_to_int64(object, name, &value) < 0) {
        return -1;
    }
    if (value < INT32_MIN || value > INT32_MAX) {
        PyErr_Format(PyExc_OverflowError, "%s: %R does not fit in 32 bits", name, object);
        return -1;
    }
    *out = (int)value;
    return 0;
}

int
am_to_seed(PyObject *object, const char *name, uint64_t *out)
{
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: expected an integer, got %R", name, object);
        return -1;
    }
    unsigned long long value = PyLong_AsUnsignedLongLong(object);
    if (value == (unsigned long long)-1 && PyErr_Occurred()) {
        PyErr_Format(PyExc_OverflowError, "%s: expected 0 to 2**64 - 1, got %R", name, object);
        return -1;
    }
    *out = value;
    return 0;
}

int
am_to_double(PyObject *object, const char *name, double *out)
{
    *out = PyFloat_AsDouble(object);
    if (*out == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError, "%s: expected a number, got %R", name, object);
        }
        return -1;
    }
    return 0;
}

PyArrayObject *
am_to_array(PyObject *module, PyObject *object, const char *name, int typenum, int ndim,
            int writeable)
{
    core_state *state = PyModule_GetState(module);
    PyArray_Descr *expected = PyArray_DescrFromType(typenum);
    if (expected == NULL) {
        return NULL;
    }
    PyArrayObject *array = NULL;
    if (!PyArray_Check(object)) {
        PyErr_Format(state->dtype_error, "%s: expected an array of %S, got %R", name, expected,
                     (PyObject *)Py_TYPE(object));
    }
    else if (!PyArray_EquivTypenums(PyArray_TYPE((PyArrayObject *)object), typenum)) {
        PyErr_Format(state->dtype_error, "%s: expected an array of %S, got %S", name, expected,
                     (PyObject *)PyArray_DESCR((PyArrayObject *)object));
    }
    else if (ndim >= 0 && PyArray_NDIM((PyArrayObject *)object) != ndim) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "%s: expected %d dimensions, got %d", name,
                     ndim, PyArray_NDIM((PyArrayObject *)object));
    }
    else if (!PyArray_CHKFLAGS((PyArrayObject *)object,
                               writeable ? NPY_ARRAY_CARRAY : NPY_ARRAY_CARRAY_RO) ||
             !PyArray_ISNOTSWAPPED((PyArrayObject *)object)) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE],
                     "%s: expected a C-contiguous, aligned%s array in native byte order", name,
                     writeable ? ", writeable" : "");
    }
    else {
        array = (PyArrayObject *)object;
    }
    Py_DECREF(expected);
    return array;
}

int
am_to_optional_array(PyObject *module, PyObject *object, const char *name, int typenum, int ndim,
                     PyArrayObject **out)
{
    *out = NULL;
    if (object == Py_None) {
        return 0;
    }
    *out = am_to_array(module, object, name, typenum, ndim, 0);
    return *out == NULL ? -1 : 0;
}

PyObject *
am_new_array(int ndim, const npy_intp *shape, int typenum)
{
    return PyArray_SimpleNew(ndim, (npy_intp *)shape, typenum);
}

PyObject *
am_raise(PyObject *module, am_status status, const am_error *error)
{
    core_state *state = PyModule_GetState(module);
    if (status == AM_ERR_CANCELLED) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_KeyboardInterrupt, error->message);
        }
        return NULL;
    }
    PyErr_SetString(state->exceptions[status], error->message);
    return NULL;
}

PyObject *
am_finish(PyObject *module, am_status status, const am_error *error, PyObject *result)
{
    if (status != AM_OK) {
        Py_DECREF(result);
        return am_raise(module, status, error);
    }
    return result;
}

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int
poll_python(void *arg)
{
    am_py_poll *poll = arg;
    double t = now();
    if (t < poll->next) {
        return 0;
    }
    poll->next = t + 0.05;
    PyEval_RestoreThread(poll->thread);
    int stop = PyErr_CheckSignals() < 0;
    if (!stop && poll->callback != NULL) {
        PyObject *result = PyObject_CallNoArgs(poll->callback);
        stop = result == NULL;
        Py_XDECREF(result);
    }
    poll->thread = PyEval_SaveThread();
    return stop;
}

void
am_poll_begin(am_py_poll *poll, PyObject *callback, am_control *control)
{
    poll->callback = callback == Py_None ? NULL : callback;
    poll->next = now() + 0.02;
    control->poll = poll_python;
    control->arg = poll;
    atomic_init(&control->cancelled, 0);
    poll->thread = PyEval_SaveThread();
}

void
am_poll_end(am_py_poll *poll)
{
    PyEval_RestoreThread(poll->thread);
}
