/* Arguments that the functions over rows share: values, labels, threads; and how they end. */
#ifndef AMBIG_PYTHON_RANK_ARGS_H
#define AMBIG_PYTHON_RANK_ARGS_H

#include "convert.h"

#include "../rank/rows.h"

/* `values` as an array of float32 or float64, however it lies in memory; NULL: raised. */
static inline PyArrayObject *
to_floats(PyObject *module, PyObject *values)
{
    core_state *state = PyModule_GetState(module);
    PyArrayObject *array = (PyArrayObject *)values;
    const int type = PyArray_Check(values) ? PyArray_TYPE(array) : NPY_NOTYPE;
    if (type != NPY_FLOAT32 && type != NPY_FLOAT64) {
        PyErr_Format(
            state->dtype_error, "values: expected an array of float32 or float64, got %S",
            type == NPY_NOTYPE ? (PyObject *)Py_TYPE(values) : (PyObject *)PyArray_DESCR(array));
        return NULL;
    }
    return array;
}

/* `values` (n, k) float32 or float64, however it lies in memory, and whether they are logits. */
static inline int
to_rows(PyObject *module, PyObject *values, PyObject *is_logits, am_rows *rows)
{
    core_state *state = PyModule_GetState(module);
    PyArrayObject *array = to_floats(module, values);
    if (array == NULL) {
        return -1;
    }
    if (PyArray_NDIM(array) != 2) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "values: expected 2 dimensions, got %d",
                     PyArray_NDIM(array));
        return -1;
    }
    *rows = (am_rows){PyArray_DATA(array),          PyArray_DIM(array, 0),
                      PyArray_DIM(array, 1),        PyArray_STRIDE(array, 0),
                      PyArray_STRIDE(array, 1),     PyArray_TYPE(array) == NPY_FLOAT64,
                      PyArray_ISBYTESWAPPED(array), PyObject_IsTrue(is_logits)};
    if (rows->k < 1) {
        PyErr_SetString(state->exceptions[AM_ERR_SHAPE],
                        "values: expected at least one class, got 0");
        return -1;
    }
    return rows->is_logits < 0 ? -1 : 0;
}

/* *labels receives the (n,) columns of `object`, or NULL where it is None. */
static inline int
to_labels(PyObject *module, PyObject *object, const char *name, int64_t n, const int64_t **labels)
{
    core_state *state = PyModule_GetState(module);
    PyArrayObject *array;
    if (am_to_optional_array(module, object, name, NPY_INTP, 1, &array) < 0) {
        return -1;
    }
    *labels = array == NULL ? NULL : PyArray_DATA(array);
    if (array != NULL && PyArray_DIM(array, 0) != n) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "%s: expected %lld entries, got %zd", name,
                     (long long)n, (Py_ssize_t)PyArray_DIM(array, 0));
        return -1;
    }
    return 0;
}

/* The same, where there must be labels. */
static inline int
to_given(PyObject *module, PyObject *object, int64_t n, const int64_t **labels)
{
    core_state *state = PyModule_GetState(module);
    if (to_labels(module, object, "labels", n, labels) < 0) {
        return -1;
    }
    if (*labels == NULL) {
        PyErr_SetString(state->dtype_error, "labels: expected an array of int64, got None");
        return -1;
    }
    return 0;
}

static inline int
to_threads(PyObject *module, PyObject *object, int *threads)
{
    core_state *state = PyModule_GetState(module);
    if (am_to_int(object, "threads", threads) < 0) {
        return -1;
    }
    if (*threads < 1 || *threads > AM_MAX_THREADS) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE], "threads: expected 1..%d, got %d",
                     AM_MAX_THREADS, *threads);
        return -1;
    }
    return 0;
}

static inline void *
data_of(PyObject *array)
{
    return PyArray_DATA((PyArrayObject *)array);
}

/* The row of a table of methods, of py_name with its name_doc. */
#define AM_METHOD(name) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, name##_doc}

#endif
