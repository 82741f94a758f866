/* Several tables on the same images: draws, networks, and epochs of a training. */
#include "rank_args.h"

/* `values` (t, n, k) float32 or float64, however it lies in memory. */
static int
to_stack(PyObject *module, PyObject *values, am_stack *stack)
{
    core_state *state = PyModule_GetState(module);
    PyArrayObject *array = to_floats(module, values);
    if (array == NULL) {
        return -1;
    }
    if (PyArray_NDIM(array) != 3 || PyArray_DIM(array, 2) < 1) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE],
                     "values: expected 3 dimensions and at least one class, got %d dimensions",
                     PyArray_NDIM(array));
        return -1;
    }
    const am_rows first = {
        PyArray_DATA(array),          PyArray_DIM(array, 1),
        PyArray_DIM(array, 2),        PyArray_STRIDE(array, 1),
        PyArray_STRIDE(array, 2),     PyArray_TYPE(array) == NPY_FLOAT64,
        PyArray_ISBYTESWAPPED(array), 0,
    };
    *stack = (am_stack){first, PyArray_DIM(array, 0), PyArray_STRIDE(array, 0)};
    return 0;
}

PyDoc_STRVAR(draws_score_doc,
             "draws_score($module, values, name, threads, /)\n--\n\n"
             "The score `name` of every image of a stack of probabilities (t, n, k): float64 "
             "(n,).");

static PyObject *
py_draws_score(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_stack draws;
    am_draws_score score;
    am_error error = {AM_OK, ""};
    int threads;
    if (am_arity("draws_score", nargs, 3) < 0 || to_stack(module, args[0], &draws) < 0 ||
        to_threads(module, args[2], &threads) < 0) {
        return NULL;
    }
    const char *name = PyUnicode_AsUTF8AndSize(args[1], NULL);
    if (name == NULL) {
        return NULL;
    }
    am_status status = am_draws_score_by_name(&score, name, &error);
    if (status != AM_OK) {
        return am_raise(module, status, &error);
    }
    const npy_intp shape[1] = {draws.first.n};
    PyObject *out = am_new_array(1, shape, NPY_FLOAT64);
    if (out == NULL) {
        return NULL;
    }
    double *data = data_of(out);
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    status = am_score_draws(score, &draws, data, threads, &control, &error);
    am_poll_end(&poll);
    return am_finish(module, status, &error, out);
}

PyDoc_STRVAR(mean_logits_doc,
             "mean_logits($module, logits, threads, /)\n--\n\n"
             "The log of the mean over the networks of the softmax of their logits (t, n, k): "
             "float32 (n, k).");

static PyObject *
py_mean_logits(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_stack logits;
    am_error error = {AM_OK, ""};
    int threads;
    if (am_arity("mean_logits", nargs, 2) < 0 || to_stack(module, args[0], &logits) < 0 ||
        to_threads(module, args[1], &threads) < 0) {
        return NULL;
    }
    logits.first.is_logits = 1;
    const npy_intp shape[2] = {logits.first.n, logits.first.k};
    PyObject *out = am_new_array(2, shape, NPY_FLOAT32);
    if (out == NULL) {
        return NULL;
    }
    float *data = data_of(out);
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_mean_logits(&logits, data, threads, &control, &error);
    am_poll_end(&poll);
    return am_finish(module, status, &error, out);
}

PyDoc_STRVAR(history_dynamics_doc,
             "history_dynamics($module, values, labels, threads, /)\n--\n\n"
             "The training dynamics of every image from the probabilities (epochs, n, k) after "
             "each epoch: float64 (n, 10), the fields of ambigmnist.evidence.DYNAMICS.");

static PyObject *
py_history_dynamics(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_stack history;
    am_error error = {AM_OK, ""};
    const int64_t *labels;
    int threads;
    if (am_arity("history_dynamics", nargs, 3) < 0 || to_stack(module, args[0], &history) < 0 ||
        to_given(module, args[1], history.first.n, &labels) < 0 ||
        to_threads(module, args[2], &threads) < 0) {
        return NULL;
    }
    const npy_intp shape[2] = {history.first.n, AM_N_DYNAMICS};
    PyObject *out = am_new_array(2, shape, NPY_FLOAT64);
    if (out == NULL) {
        return NULL;
    }
    double *data = data_of(out);
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_history_dynamics(&history, labels, data, threads, &control, &error);
    am_poll_end(&poll);
    return am_finish(module, status, &error, out);
}

PyMethodDef am_draws_methods[] = {
    AM_METHOD(draws_score),
    AM_METHOD(mean_logits),
    AM_METHOD(history_dynamics),
    {NULL, NULL, 0, NULL},
};
