/* Data: idx_header and idx_parse over any bytes-like object, and hashes of images. */
#include "rank_args.h"

#include "../data/hash.h"
#include "../data/idx.h"

typedef am_status (*idx_reader)(const uint8_t *, int64_t, am_idx *, am_error *);

static PyObject *
idx_result(const am_idx *idx)
{
    PyObject *shape = PyTuple_New(idx->rank);
    if (shape == NULL) {
        return NULL;
    }
    for (int i = 0; i < idx->rank; i++) {
        PyObject *size = PyLong_FromLongLong(idx->shape[i]);
        if (size == NULL || PyTuple_SetItem(shape, i, size) < 0) { /* takes `size` either way */
            Py_DECREF(shape);
            return NULL;
        }
    }
    return Py_BuildValue("iNL", (int)idx->type, shape, (long long)idx->data_offset);
}

static PyObject *
read_idx(PyObject *module, const char *function, PyObject *const *args, Py_ssize_t nargs,
         idx_reader reader)
{
    if (am_arity(function, nargs, 1) < 0) {
        return NULL;
    }
    core_state *state = PyModule_GetState(module);
    Py_buffer view;
    if (!PyObject_CheckBuffer(args[0])) {
        return PyErr_Format(state->dtype_error, "%s: expected a bytes-like object, got %R",
                            function, (PyObject *)Py_TYPE(args[0]));
    }
    if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0) {
        /* BufferError or ValueError, depending on who exports it. */
        if (!PyErr_ExceptionMatches(PyExc_MemoryError)) {
            PyErr_Format(state->exceptions[AM_ERR_VALUE], "%s: expected a contiguous buffer",
                         function);
        }
        return NULL;
    }
    am_idx idx;
    am_error error;
    am_status status = reader(view.buf, view.len, &idx, &error);
    PyBuffer_Release(&view);
    return status == AM_OK ? idx_result(&idx) : am_raise(module, status, &error);
}

static PyObject *
idx_header(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    return read_idx(module, "idx_header", args, nargs, am_idx_header);
}

static PyObject *
idx_parse(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    return read_idx(module, "idx_parse", args, nargs, am_idx_parse);
}

static PyObject *
image_hashes(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    am_error error = {AM_OK, ""};
    int threads;
    if (am_arity("image_hashes", nargs, 2) < 0 || to_threads(module, args[1], &threads) < 0) {
        return NULL;
    }
    PyArrayObject *images = am_to_array(module, args[0], "images", NPY_UINT8, 2, 0);
    if (images == NULL) {
        return NULL;
    }
    const npy_intp shape[1] = {PyArray_DIM(images, 0)};
    PyObject *out = am_new_array(1, shape, NPY_UINT64);
    if (out == NULL) {
        return NULL;
    }
    const uint8_t *bytes = PyArray_DATA(images);
    const int64_t size = PyArray_DIM(images, 1);
    uint64_t *hashes = data_of(out);
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_image_hashes(bytes, shape[0], size, hashes, threads, &control, &error);
    am_poll_end(&poll);
    return am_finish(module, status, &error, out);
}

PyMethodDef am_data_methods[] = {
    {"idx_header", (PyCFunction)(void (*)(void))idx_header, METH_FASTCALL,
     "idx_header($module, buffer, /)\n--\n\n"
     "(type code, shape, data offset) of the IDX header that `buffer` starts with."},
    {"idx_parse", (PyCFunction)(void (*)(void))idx_parse, METH_FASTCALL,
     "idx_parse($module, buffer, /)\n--\n\n"
     "(type code, shape, data offset) of an IDX file whose items fill the rest of `buffer` "
     "exactly."},
    {"image_hashes", (PyCFunction)(void (*)(void))image_hashes, METH_FASTCALL,
     "image_hashes($module, images, threads, /)\n--\n\n"
     "A number for the bytes of every row of `images` (n, size) uint8: uint64 (n,)."},
    {NULL, NULL, 0, NULL},
};
