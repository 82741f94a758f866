/* Scores, rankings and heatmaps: the binding of csrc/rank. */
#include "convert.h"

#include "../rank/heatmaps.h"
#include "../rank/scores.h"
#include "../rank/topk.h"

/* `values` (n, k) float32 or float64, and whether they are logits. */
static int
to_rows(PyObject *module, PyObject *values, PyObject *is_logits, am_rows *rows)
{
    core_state *state = PyModule_GetState(module);
    const int is_double =
        PyArray_Check(values) && PyArray_TYPE((PyArrayObject *)values) == NPY_FLOAT64;
    PyArrayObject *array =
        am_to_array(module, values, "values", is_double ? NPY_FLOAT64 : NPY_FLOAT32, 2, 0);
    if (array == NULL) {
        return -1;
    }
    *rows = (am_rows){PyArray_DATA(array), PyArray_DIM(array, 0), PyArray_DIM(array, 1), is_double,
                      PyObject_IsTrue(is_logits)};
    if (rows->k < 1) {
        PyErr_SetString(state->exceptions[AM_ERR_SHAPE],
                        "values: expected at least one class, got 0");
        return -1;
    }
    return rows->is_logits < 0 ? -1 : 0;
}

/* *labels receives the (n,) columns of `object`, or NULL where it is None. */
static int
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

static int
require_labels(PyObject *module, const int64_t *labels)
{
    core_state *state = PyModule_GetState(module);
    if (labels == NULL) {
        PyErr_SetString(state->dtype_error, "labels: expected an array of int64, got None");
        return -1;
    }
    return 0;
}

static int
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

static void *
data_of(PyObject *array)
{
    return PyArray_DATA((PyArrayObject *)array);
}

/* What a function returns: `result`, or the exception of a failed call. */
static PyObject *
finish(PyObject *module, am_status status, const am_error *error, PyObject *result)
{
    if (status != AM_OK) {
        Py_DECREF(result);
        return am_raise(module, status, error);
    }
    return result;
}

PyDoc_STRVAR(scores_doc,
             "scores($module, values, is_logits, name, labels, threads, /)\n--\n\n"
             "The built-in score `name` of every row of `values` (n, k): float64 (n,).");

static PyObject *
py_scores(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_score score;
    am_error error = {AM_OK, ""};
    const int64_t *labels;
    int threads;
    if (am_arity("scores", nargs, 5) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        to_labels(module, args[3], "labels", rows.n, &labels) < 0 ||
        to_threads(module, args[4], &threads) < 0) {
        return NULL;
    }
    const char *name = PyUnicode_AsUTF8AndSize(args[2], NULL);
    if (name == NULL) {
        return NULL;
    }
    am_status status = am_score_by_name(&score, name, &error);
    if (status != AM_OK) {
        return am_raise(module, status, &error);
    }
    const npy_intp shape[1] = {rows.n};
    PyObject *out = am_new_array(1, shape, NPY_FLOAT64);
    if (out == NULL) {
        return NULL;
    }
    double *data = data_of(out);
    Py_BEGIN_ALLOW_THREADS;
    status = am_scores(&rows, score, labels, data, threads, &error);
    Py_END_ALLOW_THREADS;
    return finish(module, status, &error, out);
}

PyDoc_STRVAR(predictions_doc,
             "predictions($module, values, threads, /)\n--\n\n"
             "The column of the first largest value of every row: intp (n,).");

static PyObject *
py_predictions(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_error error = {AM_OK, ""};
    int threads;
    if (am_arity("predictions", nargs, 2) < 0 || to_rows(module, args[0], Py_False, &rows) < 0 ||
        to_threads(module, args[1], &threads) < 0) {
        return NULL;
    }
    const npy_intp shape[1] = {rows.n};
    PyObject *out = am_new_array(1, shape, NPY_INTP);
    if (out == NULL) {
        return NULL;
    }
    int64_t *data = data_of(out);
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = am_predictions(&rows, data, threads, &error);
    Py_END_ALLOW_THREADS;
    return finish(module, status, &error, out);
}

PyDoc_STRVAR(probabilities_doc,
             "probabilities($module, logits, threads, /)\n--\n\n"
             "The softmax of every row, of the same type.");

static PyObject *
py_probabilities(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_error error = {AM_OK, ""};
    int threads;
    if (am_arity("probabilities", nargs, 2) < 0 || to_rows(module, args[0], Py_True, &rows) < 0 ||
        to_threads(module, args[1], &threads) < 0) {
        return NULL;
    }
    const npy_intp shape[2] = {rows.n, rows.k};
    PyObject *out = am_new_array(2, shape, rows.is_double ? NPY_FLOAT64 : NPY_FLOAT32);
    if (out == NULL) {
        return NULL;
    }
    void *data = data_of(out);
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = am_probabilities(&rows, data, threads, &error);
    Py_END_ALLOW_THREADS;
    return finish(module, status, &error, out);
}

PyDoc_STRVAR(log_loss_doc,
             "log_loss($module, values, is_logits, labels, threads, /)\n--\n\n"
             "(mean of -log p_label, number of right predictions).");

static PyObject *
py_log_loss(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_error error = {AM_OK, ""};
    const int64_t *labels;
    int threads;
    if (am_arity("log_loss", nargs, 4) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        to_labels(module, args[2], "labels", rows.n, &labels) < 0 ||
        require_labels(module, labels) < 0 || to_threads(module, args[3], &threads) < 0) {
        return NULL;
    }
    double loss;
    int64_t correct;
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = am_log_loss(&rows, labels, &loss, &correct, threads, &error);
    Py_END_ALLOW_THREADS;
    if (status != AM_OK) {
        return am_raise(module, status, &error);
    }
    return Py_BuildValue("dL", loss, (long long)correct);
}

PyDoc_STRVAR(top_k_doc,
             "top_k($module, scores, k, /)\n--\n\n"
             "The indices of the k highest scores, highest first, ties by index: intp (k,).");

static PyObject *
py_top_k(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_error error = {AM_OK, ""};
    int64_t k;
    if (am_arity("top_k", nargs, 2) < 0) {
        return NULL;
    }
    PyArrayObject *scores = am_to_array(module, args[0], "scores", NPY_FLOAT64, 1, 0);
    if (scores == NULL || am_to_int64(args[1], "k", &k) < 0) {
        return NULL;
    }
    const int64_t n = PyArray_DIM(scores, 0);
    const npy_intp shape[1] = {k < 0 || k > n ? 0 : k}; /* the core refuses such a k */
    PyObject *out = am_new_array(1, shape, NPY_INTP);
    if (out == NULL) {
        return NULL;
    }
    const double *values = PyArray_DATA(scores);
    int64_t *data = data_of(out);
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = am_top_k(values, n, k, data, &error);
    Py_END_ALLOW_THREADS;
    return finish(module, status, &error, out);
}

PyDoc_STRVAR(heatmap_probability_doc,
             "heatmap_probability($module, values, is_logits, labels, threads, /)\n--\n\n"
             "Sums of p_j * 2**32 by (label, j), the label's own p left out: int64 (k, k).");

static PyObject *
py_heatmap_probability(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_error error = {AM_OK, ""};
    const int64_t *labels;
    int threads;
    if (am_arity("heatmap_probability", nargs, 4) < 0 ||
        to_rows(module, args[0], args[1], &rows) < 0 ||
        to_labels(module, args[2], "labels", rows.n, &labels) < 0 ||
        require_labels(module, labels) < 0 || to_threads(module, args[3], &threads) < 0) {
        return NULL;
    }
    const npy_intp shape[2] = {rows.k, rows.k};
    PyObject *out = am_new_array(2, shape, NPY_INT64);
    if (out == NULL) {
        return NULL;
    }
    int64_t *data = data_of(out);
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = am_heatmap_probability(&rows, labels, data, threads, &error);
    Py_END_ALLOW_THREADS;
    return finish(module, status, &error, out);
}

PyDoc_STRVAR(heatmap_count_doc,
             "heatmap_count($module, labels, predicted, k, /)\n--\n\n"
             "How many images of each (label, prediction): int64 (k, k).");

static PyObject *
py_heatmap_count(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    am_error error = {AM_OK, ""};
    const int64_t *predicted;
    int64_t k;
    if (am_arity("heatmap_count", nargs, 3) < 0) {
        return NULL;
    }
    PyArrayObject *given = am_to_array(module, args[0], "labels", NPY_INTP, 1, 0);
    if (given == NULL ||
        to_labels(module, args[1], "predicted", PyArray_DIM(given, 0), &predicted) < 0 ||
        require_labels(module, predicted) < 0 || am_to_int64(args[2], "k", &k) < 0) {
        return NULL;
    }
    if (k < 1) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE], "k: expected at least 1, got %lld",
                     (long long)k);
        return NULL;
    }
    const npy_intp shape[2] = {k, k};
    PyObject *out = am_new_array(2, shape, NPY_INT64);
    if (out == NULL) {
        return NULL;
    }
    const int64_t n = PyArray_DIM(given, 0);
    const int64_t *labels = PyArray_DATA(given);
    int64_t *data = data_of(out);
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = am_heatmap_count(labels, predicted, n, k, data, &error);
    Py_END_ALLOW_THREADS;
    return finish(module, status, &error, out);
}

#define AM_METHOD(name) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, name##_doc}

PyMethodDef am_rank_methods[] = {
    AM_METHOD(scores),        AM_METHOD(predictions), AM_METHOD(probabilities),
    AM_METHOD(log_loss),      AM_METHOD(top_k),       AM_METHOD(heatmap_probability),
    AM_METHOD(heatmap_count), {NULL, NULL, 0, NULL},
};
