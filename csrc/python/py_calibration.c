/* Temperature scaling: the binding of csrc/rank/temperature.c. */
#include "rank_args.h"

#include "../rank/temperature.h"

PyDoc_STRVAR(temperature_doc,
             "temperature($module, values, is_logits, labels, keep, inverse, threads, /)\n--\n\n"
             "Sums over the rows that `keep` (bool (n,), None: all) marks, at 1/T = `inverse`: the "
             "log loss, and its first and second derivative by 1/T.");

static PyObject *
py_temperature(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    am_rows rows;
    am_temperature_sums sums;
    am_error error = {AM_OK, ""};
    const int64_t *labels;
    PyArrayObject *mask;
    double inverse;
    int threads;
    if (am_arity("temperature", nargs, 6) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        to_given(module, args[2], rows.n, &labels) < 0 ||
        am_to_optional_array(module, args[3], "keep", NPY_BOOL, 1, &mask) < 0 ||
        am_to_double(args[4], "inverse", &inverse) < 0 ||
        to_threads(module, args[5], &threads) < 0) {
        return NULL;
    }
    if (mask != NULL && PyArray_DIM(mask, 0) != rows.n) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "keep: expected %lld entries, got %zd",
                     (long long)rows.n, (Py_ssize_t)PyArray_DIM(mask, 0));
        return NULL;
    }
    const uint8_t *keep = mask == NULL ? NULL : PyArray_DATA(mask);
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status =
        am_temperature_pass(&rows, labels, keep, inverse, &sums, threads, &control, &error);
    am_poll_end(&poll);
    if (status != AM_OK) {
        return am_raise(module, status, &error);
    }
    return Py_BuildValue("ddd", am_exact_value(&sums.loss), am_exact_value(&sums.slope),
                         am_exact_value(&sums.curvature));
}

PyDoc_STRVAR(tempered_doc,
             "tempered($module, values, is_logits, inverse, threads, /)\n--\n\n"
             "softmax(z / T), float64 (n, k), with 1/T = `inverse` float64 (n,).");

static PyObject *
py_tempered(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    am_rows rows;
    am_error error = {AM_OK, ""};
    int threads;
    if (am_arity("tempered", nargs, 4) < 0 || to_rows(module, args[0], args[1], &rows) < 0 ||
        to_threads(module, args[3], &threads) < 0) {
        return NULL;
    }
    PyArrayObject *inverse = am_to_array(module, args[2], "inverse", NPY_FLOAT64, 1, 0);
    if (inverse == NULL) {
        return NULL;
    }
    if (PyArray_DIM(inverse, 0) != rows.n) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "inverse: expected %lld entries, got %zd",
                     (long long)rows.n, (Py_ssize_t)PyArray_DIM(inverse, 0));
        return NULL;
    }
    const npy_intp shape[2] = {rows.n, rows.k};
    PyObject *out = am_new_array(2, shape, NPY_FLOAT64);
    if (out == NULL) {
        return NULL;
    }
    const double *per_row = PyArray_DATA(inverse);
    double *data = data_of(out);
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_tempered(&rows, per_row, data, threads, &control, &error);
    am_poll_end(&poll);
    return am_finish(module, status, &error, out);
}

PyMethodDef am_calibration_methods[] = {
    AM_METHOD(temperature),
    AM_METHOD(tempered),
    {NULL, NULL, 0, NULL},
};
