/* Confident learning: the binding of csrc/rank/joint.h. */
#include "rank_args.h"

#include "../rank/joint.h"

PyDoc_STRVAR(self_confidence_doc,
             "self_confidence($module, values, is_logits, labels, threads, /)\n--\n\n"
             "For each class j the exact sum of p_j over the rows labelled j, int64 (k, limbs), "
             "and how many these are, int64 (k,). Both can be added up over parts.");

static PyObject *
py_self_confidence(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_error error = {AM_OK, ""};
    const int64_t *labels;
    int threads;
    if (am_arity("self_confidence", nargs, 4) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        to_given(module, args[2], rows.n, &labels) < 0 ||
        to_threads(module, args[3], &threads) < 0) {
        return NULL;
    }
    const npy_intp shape[2] = {rows.k, AM_EXACT_SIZE};
    PyObject *sums = am_new_array(2, shape, NPY_INT64);
    PyObject *counts = am_new_array(1, shape, NPY_INT64);
    PyObject *result = NULL;
    if (sums != NULL && counts != NULL) {
        am_exact_sum *sum = data_of(sums);
        int64_t *count = data_of(counts);
        am_control control;
        am_py_poll poll;
        am_poll_begin(&poll, Py_None, &control);
        am_status status = am_self_confidence(&rows, labels, sum, count, threads, &control, &error);
        am_poll_end(&poll);
        result = status == AM_OK ? PyTuple_Pack(2, sums, counts) : am_raise(module, status, &error);
    }
    Py_XDECREF(sums);
    Py_XDECREF(counts);
    return result;
}

PyDoc_STRVAR(exact_means_doc,
             "exact_means($module, sums, counts, /)\n--\n\n"
             "For each class the smallest double that is not below sum / count: float64 (k,), NaN "
             "where the count is 0.");

static PyObject *
py_exact_means(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    if (am_arity("exact_means", nargs, 2) < 0) {
        return NULL;
    }
    PyArrayObject *sums = am_to_array(module, args[0], "sums", NPY_INT64, 2, 0);
    PyArrayObject *counts =
        sums == NULL ? NULL : am_to_array(module, args[1], "counts", NPY_INT64, 1, 0);
    if (counts == NULL) {
        return NULL;
    }
    const npy_intp shape[1] = {PyArray_DIM(sums, 0)};
    if (PyArray_DIM(sums, 1) != AM_EXACT_SIZE || PyArray_DIM(counts, 0) != shape[0]) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE],
                     "sums: expected (k, %d) and counts (k,), got (%zd, %zd) and (%zd,)",
                     AM_EXACT_SIZE, (Py_ssize_t)shape[0], (Py_ssize_t)PyArray_DIM(sums, 1),
                     (Py_ssize_t)PyArray_DIM(counts, 0));
        return NULL;
    }
    PyObject *out = am_new_array(1, shape, NPY_FLOAT64);
    const am_exact_sum *sum = PyArray_DATA(sums);
    const int64_t *count = PyArray_DATA(counts);
    for (npy_intp j = 0; out != NULL && j < shape[0]; j++) {
        ((double *)data_of(out))[j] =
            count[j] > 0 ? am_exact_mean(&sum[j], count[j]) : __builtin_nan("");
    }
    return out;
}

PyDoc_STRVAR(confident_joint_doc,
             "confident_joint($module, values, is_logits, labels, cutoffs, among_all, threads, /)"
             "\n--\n\n"
             "(counts int64 (k, k) by label and column, columns intp (n,)): the column of the "
             "largest p_j with p_j >= cutoffs[j], or -1; with `among_all` of all columns where "
             "several reach theirs.");

static PyObject *
py_confident_joint(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    am_rows rows;
    am_error error = {AM_OK, ""};
    const int64_t *labels;
    int threads;
    if (am_arity("confident_joint", nargs, 6) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        to_given(module, args[2], rows.n, &labels) < 0 ||
        to_threads(module, args[5], &threads) < 0) {
        return NULL;
    }
    PyArrayObject *cutoffs = am_to_array(module, args[3], "cutoffs", NPY_FLOAT64, 1, 0);
    const int among_all = PyObject_IsTrue(args[4]);
    if (cutoffs == NULL || among_all < 0) {
        return NULL;
    }
    if (PyArray_DIM(cutoffs, 0) != rows.k) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "cutoffs: expected %lld, got %zd",
                     (long long)rows.k, (Py_ssize_t)PyArray_DIM(cutoffs, 0));
        return NULL;
    }
    const npy_intp cells[2] = {rows.k, rows.k}, shape[1] = {rows.n};
    PyObject *counts = am_new_array(2, cells, NPY_INT64);
    PyObject *columns = am_new_array(1, shape, NPY_INTP);
    PyObject *result = NULL;
    if (counts != NULL && columns != NULL) {
        const double *cutoff = PyArray_DATA(cutoffs);
        int64_t *count = data_of(counts), *column = data_of(columns);
        am_control control;
        am_py_poll poll;
        am_poll_begin(&poll, Py_None, &control);
        am_status status = am_confident_joint(&rows, labels, cutoff, among_all, count, column,
                                              threads, &control, &error);
        am_poll_end(&poll);
        result =
            status == AM_OK ? PyTuple_Pack(2, counts, columns) : am_raise(module, status, &error);
    }
    Py_XDECREF(counts);
    Py_XDECREF(columns);
    return result;
}

PyMethodDef am_label_methods[] = {
    AM_METHOD(self_confidence),
    AM_METHOD(exact_means),
    AM_METHOD(confident_joint),
    {NULL, NULL, 0, NULL},
};
