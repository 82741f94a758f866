/* Scores, rankings and heatmaps: the binding of csrc/rank. */
#include "rank_args.h"

#include "../rank/kendall.h"
#include "../rank/neighbours.h"
#include "../rank/pass.h"

/* A pass without the GIL, that Ctrl-C can stop. */
static am_status
run_pass(const am_rows *rows, const am_pass *pass, int threads, am_error *error)
{
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_rank_pass(rows, pass, threads, &control, error);
    am_poll_end(&poll);
    return status;
}

static int
to_score(PyObject *module, PyObject *name, am_score *score)
{
    am_error error = {AM_OK, ""};
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    if (text == NULL) {
        return -1;
    }
    am_status status = am_score_by_name(score, text, &error);
    if (status != AM_OK) {
        am_raise(module, status, &error);
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(scores_doc,
             "scores($module, values, is_logits, name, labels, threads, /)\n--\n\n"
             "The built-in score `name` of every row of `values` (n, k): float64 (n,).");

static PyObject *
py_scores(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_pass pass = {0};
    am_error error = {AM_OK, ""};
    int threads;
    if (am_arity("scores", nargs, 5) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        to_labels(module, args[3], "labels", rows.n, &pass.labels) < 0 ||
        to_threads(module, args[4], &threads) < 0 || to_score(module, args[2], &pass.score) < 0) {
        return NULL;
    }
    const npy_intp shape[1] = {rows.n};
    PyObject *out = am_new_array(1, shape, NPY_FLOAT64);
    if (out == NULL) {
        return NULL;
    }
    pass.scores = data_of(out);
    return am_finish(module, run_pass(&rows, &pass, threads, &error), &error, out);
}

PyDoc_STRVAR(predictions_doc,
             "predictions($module, values, threads, /)\n--\n\n"
             "The column of the first largest value of every row: intp (n,).");

static PyObject *
py_predictions(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_pass pass = {0};
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
    pass.predicted = data_of(out);
    return am_finish(module, run_pass(&rows, &pass, threads, &error), &error, out);
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
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_probabilities(&rows, data, threads, &control, &error);
    am_poll_end(&poll);
    return am_finish(module, status, &error, out);
}

PyDoc_STRVAR(check_rows_doc,
             "check_rows($module, values, is_logits, tolerance, threads, /)\n--\n\n"
             "Raises unless all numbers are finite and, without `is_logits`, every row is a "
             "distribution.");

static PyObject *
py_check_rows(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_error error = {AM_OK, ""};
    double tolerance;
    int threads;
    if (am_arity("check_rows", nargs, 4) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        am_to_double(args[2], "tolerance", &tolerance) < 0 ||
        to_threads(module, args[3], &threads) < 0) {
        return NULL;
    }
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_check_rows(&rows, tolerance, threads, &control, &error);
    am_poll_end(&poll);
    return status == AM_OK ? Py_NewRef(Py_None) : am_raise(module, status, &error);
}

/* --- several results of one pass ---------------------------------------------------------------
 */

/* `tops`, a sequence of (name, k, wrong_only), without memory for the lists yet. */
static int
to_tops(PyObject *module, PyObject *object, int64_t n, am_pass *pass)
{
    core_state *state = PyModule_GetState(module);
    const Py_ssize_t count = PyTuple_Check(object) ? PyTuple_Size(object) : -1;
    if (count < 0 || count > 1000) {
        PyErr_SetString(state->exceptions[AM_ERR_VALUE],
                        "tops: expected a tuple of at most 1000 (name, k, wrong_only)");
        return -1;
    }
    pass->tops = PyMem_Calloc((size_t)count + 1, sizeof(am_top));
    if (pass->tops == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t t = 0; t < count; t++) {
        PyObject *name;
        am_top *top = &pass->tops[t];
        long long k;
        if (!PyArg_ParseTuple(PyTuple_GetItem(object, t), "ULp", &name, &k, &top->wrong_only) ||
            to_score(module, name, &top->score) < 0) {
            return -1;
        }
        if (k < 0 || k > n) {
            PyErr_Format(state->exceptions[AM_ERR_VALUE], "k: expected 0..%lld, got %lld",
                         (long long)n, k);
            return -1;
        }
        top->list.k = k;
        top->list.best = PyMem_Calloc((size_t)k + 1, sizeof(am_ranked));
        pass->n_tops = (int)t + 1;
        if (top->list.best == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

static void
free_tops(am_pass *pass)
{
    for (int t = 0; t < pass->n_tops; t++) {
        PyMem_Free(pass->tops[t].list.best);
    }
    PyMem_Free(pass->tops);
}

/* A tuple of (indices intp, scores float64), one for each list. */
static PyObject *
lists_of(const am_pass *pass)
{
    PyObject *lists = PyTuple_New(pass->n_tops);
    for (int t = 0; lists != NULL && t < pass->n_tops; t++) {
        const am_top_list *list = &pass->tops[t].list;
        const npy_intp shape[1] = {list->count};
        PyObject *indices = am_new_array(1, shape, NPY_INTP);
        PyObject *scores = am_new_array(1, shape, NPY_FLOAT64);
        for (int64_t i = 0; indices != NULL && scores != NULL && i < list->count; i++) {
            ((int64_t *)data_of(indices))[i] = list->best[i].index;
            ((double *)data_of(scores))[i] = list->best[i].score;
        }
        PyObject *pair =
            indices != NULL && scores != NULL ? PyTuple_Pack(2, indices, scores) : NULL;
        Py_XDECREF(indices);
        Py_XDECREF(scores);
        if (pair == NULL || PyTuple_SetItem(lists, t, pair) < 0) {
            Py_CLEAR(lists);
        }
    }
    return lists;
}

PyDoc_STRVAR(top_lists_doc,
             "top_lists($module, values, is_logits, labels, tops, threads, /)\n--\n\n"
             "For each (name, k, wrong_only) of `tops` the k highest scores: (indices, scores).");

static PyObject *
py_top_lists(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_pass pass = {0};
    am_error error = {AM_OK, ""};
    int threads;
    PyObject *lists = NULL;
    if (am_arity("top_lists", nargs, 5) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        to_labels(module, args[2], "labels", rows.n, &pass.labels) < 0 ||
        to_threads(module, args[4], &threads) < 0) {
        return NULL;
    }
    if (to_tops(module, args[3], rows.n, &pass) == 0) {
        am_status status = run_pass(&rows, &pass, threads, &error);
        lists = status == AM_OK ? lists_of(&pass) : am_raise(module, status, &error);
    }
    free_tops(&pass);
    return lists;
}

PyDoc_STRVAR(summary_doc,
             "summary($module, values, is_logits, labels, tops, tables, threads, /)\n--\n\n"
             "One pass: (top lists, loss as an exact sum, number of right predictions, sums of "
             "p_j * 2**32 by (label, j), counts by (label, prediction)); without `tables` None for "
             "the last two. All of it can be added up over parts.");

static PyObject *
py_summary(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_pass pass = {0};
    am_error error = {AM_OK, ""};
    int threads;
    int64_t correct;
    if (am_arity("summary", nargs, 6) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        to_given(module, args[2], rows.n, &pass.labels) < 0 ||
        to_threads(module, args[5], &threads) < 0) {
        return NULL;
    }
    const int tables = PyObject_IsTrue(args[4]);
    const npy_intp limbs[1] = {AM_EXACT_SIZE}, cells[2] = {rows.k, rows.k};
    PyObject *result = NULL, *lists = NULL, *loss = am_new_array(1, limbs, NPY_INT64);
    PyObject *sums = tables ? am_new_array(2, cells, NPY_INT64) : Py_NewRef(Py_None);
    PyObject *counts = tables ? am_new_array(2, cells, NPY_INT64) : Py_NewRef(Py_None);
    if (tables < 0 || loss == NULL || sums == NULL || counts == NULL ||
        to_tops(module, args[3], rows.n, &pass) < 0) {
        goto end;
    }
    pass.loss = data_of(loss);
    pass.correct = &correct;
    pass.sums = tables ? data_of(sums) : NULL;
    pass.counts = tables ? data_of(counts) : NULL;
    am_status status = run_pass(&rows, &pass, threads, &error);
    lists = status == AM_OK ? lists_of(&pass) : am_raise(module, status, &error);
    if (lists != NULL) {
        result = Py_BuildValue("OOLOO", lists, loss, (long long)correct, sums, counts);
    }
end:
    free_tops(&pass);
    Py_XDECREF(lists);
    Py_XDECREF(loss);
    Py_XDECREF(sums);
    Py_XDECREF(counts);
    return result;
}

PyDoc_STRVAR(exact_sum_doc,
             "exact_sum($module, parts, /)\n--\n\n"
             "The value of exact sums (m, limbs), such as the losses of m parts, added up.");

static PyObject *
py_exact_sum(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    if (am_arity("exact_sum", nargs, 1) < 0) {
        return NULL;
    }
    PyArrayObject *parts = am_to_array(module, args[0], "parts", NPY_INT64, 2, 0);
    if (parts == NULL) {
        return NULL;
    }
    if (PyArray_DIM(parts, 1) != AM_EXACT_SIZE) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "parts: expected (m, %d), got (m, %zd)",
                     AM_EXACT_SIZE, (Py_ssize_t)PyArray_DIM(parts, 1));
        return NULL;
    }
    am_exact_sum sum = {{0}};
    const am_exact_sum *part = PyArray_DATA(parts);
    for (npy_intp i = 0; i < PyArray_DIM(parts, 0); i++) {
        am_exact_merge(&sum, &part[i]);
    }
    return PyFloat_FromDouble(am_exact_value(&sum));
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
    return am_finish(module, status, &error, out);
}

PyDoc_STRVAR(kendall_tau_doc,
             "kendall_tau($module, x, y, /)\n--\n\n"
             "Kendall's tau-b of two scores (n,) of the same things; NaN where all of x or all of "
             "y are equal.");

static PyObject *
py_kendall_tau(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    am_error error = {AM_OK, ""};
    if (am_arity("kendall_tau", nargs, 2) < 0) {
        return NULL;
    }
    PyArrayObject *x = am_to_array(module, args[0], "x", NPY_FLOAT64, 1, 0);
    PyArrayObject *y = x == NULL ? NULL : am_to_array(module, args[1], "y", NPY_FLOAT64, 1, 0);
    if (y == NULL) {
        return NULL;
    }
    const int64_t n = PyArray_DIM(x, 0);
    if (PyArray_DIM(y, 0) != n) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "y: expected %lld numbers like x, got %zd",
                     (long long)n, (Py_ssize_t)PyArray_DIM(y, 0));
        return NULL;
    }
    const double *first = PyArray_DATA(x), *second = PyArray_DATA(y);
    double tau;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_kendall_tau(first, second, n, &tau, &control, &error);
    am_poll_end(&poll);
    return status == AM_OK ? PyFloat_FromDouble(tau) : am_raise(module, status, &error);
}

PyDoc_STRVAR(neighbours_doc,
             "neighbours($module, values, queries, k, threads, /)\n--\n\n"
             "(indices, distances) of the k nearest other rows of every row, or of the rows "
             "`queries` (m,) intp: (n, k) or (m, k) each.");

static PyObject *
py_neighbours(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_rows rows;
    am_error error = {AM_OK, ""};
    PyArrayObject *queries;
    int64_t k;
    int threads;
    if (am_arity("neighbours", nargs, 4) < 0 || to_rows(module, args[0], Py_True, &rows) < 0 ||
        am_to_optional_array(module, args[1], "queries", NPY_INTP, 1, &queries) < 0 ||
        am_to_int64(args[2], "k", &k) < 0 || to_threads(module, args[3], &threads) < 0) {
        return NULL;
    }
    const int64_t *which = queries == NULL ? NULL : PyArray_DATA(queries);
    const int64_t count = queries == NULL ? rows.n : PyArray_DIM(queries, 0);
    const npy_intp shape[2] = {count, k < 0 || k > rows.n ? 0 : k}; /* the core refuses such a k */
    PyObject *indices = am_new_array(2, shape, NPY_INTP);
    PyObject *distances = am_new_array(2, shape, NPY_FLOAT64);
    PyObject *result = NULL;
    if (indices != NULL && distances != NULL) {
        int64_t *found = data_of(indices);
        double *far = data_of(distances);
        am_control control;
        am_py_poll poll;
        am_poll_begin(&poll, Py_None, &control);
        am_status status =
            am_neighbours(&rows, which, count, k, found, far, threads, &control, &error);
        am_poll_end(&poll);
        result = status == AM_OK ? PyTuple_Pack(2, indices, distances)
                                 : am_raise(module, status, &error);
    }
    Py_XDECREF(indices);
    Py_XDECREF(distances);
    return result;
}

PyMethodDef am_rank_methods[] = {
    AM_METHOD(scores),     AM_METHOD(predictions), AM_METHOD(probabilities), AM_METHOD(check_rows),
    AM_METHOD(top_lists),  AM_METHOD(summary),     AM_METHOD(exact_sum),     AM_METHOD(top_k),
    AM_METHOD(neighbours), AM_METHOD(kendall_tau), {NULL, NULL, 0, NULL},
};
