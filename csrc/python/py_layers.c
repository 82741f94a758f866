/* ambigmnist.layers: single layers on float32 arrays. */
#include "convert.h"

static PyArrayObject *
floats(PyObject *module, PyObject *object, const char *name, int ndim)
{
    return am_to_array(module, object, name, NPY_FLOAT32, ndim, 0);
}

static float *
data(PyArrayObject *array)
{
    return PyArray_DATA(array);
}

/* How many images or rows to visit: none of an empty array, whose other sizes may be endless. */
static npy_intp
rows(PyArrayObject *array)
{
    return PyArray_SIZE(array) > 0 ? PyArray_DIM(array, 0) : 0;
}

/* `name`: expected the shape `shape`. */
static int
check_shape(PyObject *module, PyArrayObject *array, const char *name, const npy_intp *shape)
{
    core_state *state = PyModule_GetState(module);
    for (int i = 0; i < PyArray_NDIM(array); i++) {
        if (PyArray_DIM(array, i) != shape[i]) {
            PyErr_Format(state->exceptions[AM_ERR_SHAPE],
                         "%s: expected length %zd along axis %d, got %zd", name,
                         (Py_ssize_t)shape[i], i, (Py_ssize_t)PyArray_DIM(array, i));
            return -1;
        }
    }
    return 0;
}

/* Packs up to three new arrays, or releases them all when one is missing. */
static PyObject *
results(int n, PyObject *const *arrays)
{
    PyObject *tuple = PyTuple_New(n);
    int missing = tuple == NULL;
    for (int i = 0; i < n; i++) {
        missing |= arrays[i] == NULL;
        if (tuple == NULL) {
            Py_XDECREF(arrays[i]);
        }
        else if (arrays[i] != NULL) {
            PyTuple_SetItem(tuple, i, arrays[i]); /* steals */
        }
    }
    if (missing) {
        Py_XDECREF(tuple);
        return NULL;
    }
    return tuple;
}

/* Releases unfinished results after a failure and raises it. */
static PyObject *
fail(PyObject *module, am_status status, const am_error *error, int n, PyObject *const *arrays)
{
    for (int i = 0; i < n; i++) {
        Py_XDECREF(arrays[i]);
    }
    return am_raise(module, status, error);
}

/* --- conv2d ---------------------------------------------------------------------------------- */

/* The shape that x (n, h, w, c) and w (size, size, c, f) agree on. */
static int
conv_shape(PyObject *module, PyArrayObject *x, PyArrayObject *w, PyObject *same, am_conv2d *s)
{
    core_state *state = PyModule_GetState(module);
    const int is_same = PyObject_IsTrue(same);
    if (is_same < 0) {
        return -1;
    }
    if (PyArray_DIM(w, 0) != PyArray_DIM(w, 1) || PyArray_DIM(w, 2) != PyArray_DIM(x, 3)) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE],
                     "w: expected a shape of (k, k, %zd, f), got (%zd, %zd, %zd, %zd)",
                     (Py_ssize_t)PyArray_DIM(x, 3), (Py_ssize_t)PyArray_DIM(w, 0),
                     (Py_ssize_t)PyArray_DIM(w, 1), (Py_ssize_t)PyArray_DIM(w, 2),
                     (Py_ssize_t)PyArray_DIM(w, 3));
        return -1;
    }
    am_error error;
    am_status status = am_conv2d_init(s, PyArray_DIM(x, 1), PyArray_DIM(x, 2), PyArray_DIM(x, 3),
                                      PyArray_DIM(w, 3), PyArray_DIM(w, 0), is_same, &error);
    if (status != AM_OK) {
        am_raise(module, status, &error);
        return -1;
    }
    return 0;
}

/* What both passes take. */
typedef struct conv_call {
    PyArrayObject *x, *w;
    npy_intp n;
    am_conv2d s;
    int threads;
} conv_call;

/* x, w, .. same, threads */
static int
to_conv(PyObject *module, PyObject *x, PyObject *w, PyObject *const *same_threads, conv_call *c)
{
    if (!(c->x = floats(module, x, "x", 4)) || !(c->w = floats(module, w, "w", 4)) ||
        conv_shape(module, c->x, c->w, same_threads[0], &c->s) < 0 ||
        am_to_int(same_threads[1], "threads", &c->threads) < 0) {
        return -1;
    }
    c->n = PyArray_DIM(c->x, 0);
    return 0;
}

/* Uninitialised dx like x, dw like w, db (f,). */
static int
new_gradients(PyArrayObject *x, PyArrayObject *w, PyObject *out[3])
{
    const npy_intp f = PyArray_DIM(w, PyArray_NDIM(w) - 1);
    out[0] = am_new_array(PyArray_NDIM(x), PyArray_DIMS(x), NPY_FLOAT32);
    out[1] = am_new_array(PyArray_NDIM(w), PyArray_DIMS(w), NPY_FLOAT32);
    out[2] = am_new_array(1, &f, NPY_FLOAT32);
    return out[0] == NULL || out[1] == NULL || out[2] == NULL ? -1 : 0;
}

static PyObject *
conv2d_forward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    conv_call c;
    PyArrayObject *b;
    if (am_arity("conv2d_forward", nargs, 5) < 0 ||
        to_conv(module, args[0], args[1], args + 3, &c) < 0 ||
        !(b = floats(module, args[2], "b", 1)) ||
        check_shape(module, b, "b", (npy_intp[]){c.s.f}) < 0) {
        return NULL;
    }
    PyObject *y = am_new_array(4, (npy_intp[]){c.n, c.s.out_h, c.s.out_w, c.s.f}, NPY_FLOAT32);
    if (y == NULL) {
        return NULL;
    }
    float *out = data((PyArrayObject *)y);
    am_error error;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_conv2d_forward_batch(out, data(c.x), data(c.w), data(b), c.n, &c.s,
                                               c.threads, &control, &error);
    am_poll_end(&poll);
    return status == AM_OK ? y : fail(module, status, &error, 1, &y);
}

static PyObject *
conv2d_backward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    conv_call c;
    PyArrayObject *dy;
    PyObject *out[3];
    if (am_arity("conv2d_backward", nargs, 5) < 0 || !(dy = floats(module, args[0], "dy", 4)) ||
        to_conv(module, args[1], args[2], args + 3, &c) < 0 ||
        check_shape(module, dy, "dy", (npy_intp[]){c.n, c.s.out_h, c.s.out_w, c.s.f}) < 0) {
        return NULL;
    }
    if (new_gradients(c.x, c.w, out) < 0) {
        return results(3, out);
    }
    float *dx = data((PyArrayObject *)out[0]), *dw = data((PyArrayObject *)out[1]);
    float *db = data((PyArrayObject *)out[2]);
    am_error error;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_conv2d_backward_batch(dx, dw, db, data(dy), data(c.x), data(c.w), c.n,
                                                &c.s, c.threads, &control, &error);
    am_poll_end(&poll);
    return status == AM_OK ? results(3, out) : fail(module, status, &error, 3, out);
}

/* --- max-pool -------------------------------------------------------------------------------- */

static PyObject *
maxpool2d_forward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    PyArrayObject *x;
    if (am_arity("maxpool2d_forward", nargs, 1) < 0 || !(x = floats(module, args[0], "x", 4))) {
        return NULL;
    }
    const npy_intp *d = PyArray_DIMS(x);
    if (d[1] < 2 || d[2] < 2) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE],
                     "x: expected images of at least 2 x 2 pixels, got %zd x %zd", (Py_ssize_t)d[1],
                     (Py_ssize_t)d[2]);
        return NULL;
    }
    const npy_intp shape[] = {d[0], d[1] / 2, d[2] / 2, d[3]};
    PyObject *out[2] = {am_new_array(4, shape, NPY_FLOAT32), am_new_array(4, shape, NPY_UINT8)};
    if (out[0] == NULL || out[1] == NULL) {
        return results(2, out);
    }
    const am_pool_shape s = {d[1], d[2], d[3]};
    const npy_intp in = d[1] * d[2] * d[3], size = shape[1] * shape[2] * shape[3], n = rows(x);
    const float *px = data(x);
    float *y = data((PyArrayObject *)out[0]);
    uint8_t *argmax = PyArray_DATA((PyArrayObject *)out[1]);
    Py_BEGIN_ALLOW_THREADS;
    for (npy_intp i = 0; i < n; i++) {
        am_get_kernels()->maxpool(y + i * size, argmax + i * size, px + i * in, &s);
    }
    Py_END_ALLOW_THREADS;
    return results(2, out);
}

static PyObject *
maxpool2d_backward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyArrayObject *dy, *argmax;
    int64_t h, w;
    if (am_arity("maxpool2d_backward", nargs, 4) < 0 || !(dy = floats(module, args[0], "dy", 4)) ||
        !(argmax = am_to_array(module, args[1], "argmax", NPY_UINT8, 4, 0)) ||
        am_to_int64(args[2], "h", &h) < 0 || am_to_int64(args[3], "w", &w) < 0) {
        return NULL;
    }
    const npy_intp *d = PyArray_DIMS(dy);
    if (check_shape(module, argmax, "argmax", d) < 0 ||
        check_shape(module, dy, "dy", (npy_intp[]){d[0], h / 2, w / 2, d[3]}) < 0) {
        return NULL;
    }
    PyObject *dx = am_new_array(4, (npy_intp[]){d[0], h, w, d[3]}, NPY_FLOAT32);
    if (dx == NULL) {
        return NULL;
    }
    const am_pool_shape s = {h, w, d[3]};
    const npy_intp in = h * w * d[3], size = d[1] * d[2] * d[3], n = rows((PyArrayObject *)dx);
    const float *pdy = data(dy);
    const uint8_t *where = PyArray_DATA(argmax);
    float *out = data((PyArrayObject *)dx);
    Py_BEGIN_ALLOW_THREADS;
    for (npy_intp i = 0; i < n; i++) {
        am_get_kernels()->maxpool_gradient(out + i * in, pdy + i * size, where + i * size, &s);
    }
    Py_END_ALLOW_THREADS;
    return dx;
}

/* --- dense ----------------------------------------------------------------------------------- */

/* What both passes take: x (n, d), w (d, f). */
typedef struct dense_call {
    PyArrayObject *x, *w;
    npy_intp n, d, f;
    int threads;
} dense_call;

static int
to_dense(PyObject *module, PyObject *x, PyObject *w, PyObject *threads, dense_call *c)
{
    if (!(c->x = floats(module, x, "x", 2)) || !(c->w = floats(module, w, "w", 2)) ||
        am_to_int(threads, "threads", &c->threads) < 0) {
        return -1;
    }
    c->n = PyArray_DIM(c->x, 0);
    c->d = PyArray_DIM(c->x, 1);
    c->f = PyArray_DIM(c->w, 1);
    return check_shape(module, c->w, "w", (npy_intp[]){c->d, c->f});
}

static PyObject *
dense_forward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    dense_call c;
    PyArrayObject *b;
    if (am_arity("dense_forward", nargs, 4) < 0 ||
        to_dense(module, args[0], args[1], args[3], &c) < 0 ||
        !(b = floats(module, args[2], "b", 1)) || check_shape(module, b, "b", &c.f) < 0) {
        return NULL;
    }
    PyObject *y = am_new_array(2, (npy_intp[]){c.n, c.f}, NPY_FLOAT32);
    if (y == NULL) {
        return NULL;
    }
    float *out = data((PyArrayObject *)y);
    am_error error;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_dense_forward_batch(out, data(c.x), data(c.w), data(b), c.n, c.d, c.f,
                                              c.threads, &control, &error);
    am_poll_end(&poll);
    return status == AM_OK ? y : fail(module, status, &error, 1, &y);
}

static PyObject *
dense_backward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    dense_call c;
    PyArrayObject *dy;
    PyObject *out[3];
    if (am_arity("dense_backward", nargs, 4) < 0 || !(dy = floats(module, args[0], "dy", 2)) ||
        to_dense(module, args[1], args[2], args[3], &c) < 0 ||
        check_shape(module, dy, "dy", (npy_intp[]){c.n, c.f}) < 0) {
        return NULL;
    }
    if (new_gradients(c.x, c.w, out) < 0) {
        return results(3, out);
    }
    float *dx = data((PyArrayObject *)out[0]), *dw = data((PyArrayObject *)out[1]);
    float *db = data((PyArrayObject *)out[2]);
    am_error error;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_dense_backward_batch(dx, dw, db, data(dy), data(c.x), data(c.w), c.n, c.d,
                                               c.f, c.threads, &control, &error);
    am_poll_end(&poll);
    return status == AM_OK ? results(3, out) : fail(module, status, &error, 3, out);
}

/* --- elementwise ----------------------------------------------------------------------------- */

static PyObject *
relu_forward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyArrayObject *x;
    if (am_arity("relu_forward", nargs, 1) < 0 || !(x = floats(module, args[0], "x", -1))) {
        return NULL;
    }
    PyObject *y = am_new_array(PyArray_NDIM(x), PyArray_DIMS(x), NPY_FLOAT32);
    if (y != NULL) {
        float *out = data((PyArrayObject *)y);
        const npy_intp n = PyArray_SIZE(x);
        Py_BEGIN_ALLOW_THREADS;
        am_get_kernels()->relu(out, data(x), n);
        Py_END_ALLOW_THREADS;
    }
    return y;
}

static PyObject *
relu_backward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyArrayObject *dy, *x;
    if (am_arity("relu_backward", nargs, 2) < 0 || !(dy = floats(module, args[0], "dy", -1)) ||
        !(x = floats(module, args[1], "x", PyArray_NDIM(dy))) ||
        check_shape(module, x, "x", PyArray_DIMS(dy)) < 0) {
        return NULL;
    }
    PyObject *dx = am_new_array(PyArray_NDIM(x), PyArray_DIMS(x), NPY_FLOAT32);
    if (dx != NULL) {
        float *out = data((PyArrayObject *)dx);
        const npy_intp n = PyArray_SIZE(x);
        Py_BEGIN_ALLOW_THREADS;
        am_get_kernels()->relu_gradient(out, data(dy), data(x), n);
        Py_END_ALLOW_THREADS;
    }
    return dx;
}

static int
check_rate(PyObject *module, double rate)
{
    core_state *state = PyModule_GetState(module);
    if (rate >= 0 && rate < 1) {
        return 0;
    }
    PyObject *number = PyFloat_FromDouble(rate); /* PyErr_Format knows no floats */
    if (number != NULL) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE],
                     "rate: expected at least 0 and below 1, got %R", number);
        Py_DECREF(number);
    }
    return -1;
}

static PyObject *
dropout_mask(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    int64_t n, size, step;
    uint64_t seed;
    double rate;
    if (am_arity("dropout_mask", nargs, 5) < 0 || am_to_int64(args[0], "rows", &n) < 0 ||
        am_to_int64(args[1], "size", &size) < 0 || am_to_double(args[2], "rate", &rate) < 0 ||
        am_to_seed(args[3], "seed", &seed) < 0 || am_to_int64(args[4], "step", &step) < 0 ||
        check_rate(module, rate) < 0) {
        return NULL;
    }
    if (step < 0 || step > UINT32_MAX) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE], "step: expected 0 to 2**32 - 1, got %lld",
                     (long long)step);
        return NULL;
    }
    PyObject *keep = am_new_array(2, (npy_intp[]){n, size}, NPY_BOOL);
    if (keep == NULL) {
        return NULL;
    }
    uint8_t *out = PyArray_DATA((PyArrayObject *)keep);
    n = rows((PyArrayObject *)keep);
    Py_BEGIN_ALLOW_THREADS;
    for (int64_t i = 0; i < n; i++) {
        am_dropout_mask(out + i * size, size, rate, seed, (uint32_t)step, 0, (uint32_t)i);
    }
    Py_END_ALLOW_THREADS;
    return keep;
}

static PyObject *
dropout_apply(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyArrayObject *x, *keep;
    double rate;
    if (am_arity("dropout_apply", nargs, 3) < 0 || !(x = floats(module, args[0], "x", -1)) ||
        !(keep = am_to_array(module, args[1], "mask", NPY_BOOL, PyArray_NDIM(x), 0)) ||
        check_shape(module, keep, "mask", PyArray_DIMS(x)) < 0 ||
        am_to_double(args[2], "rate", &rate) < 0 || check_rate(module, rate) < 0) {
        return NULL;
    }
    PyObject *y = am_new_array(PyArray_NDIM(x), PyArray_DIMS(x), NPY_FLOAT32);
    if (y != NULL) {
        float *out = data((PyArrayObject *)y);
        const uint8_t *mask = PyArray_DATA(keep);
        const npy_intp n = PyArray_SIZE(x);
        Py_BEGIN_ALLOW_THREADS;
        am_dropout_apply(out, data(x), mask, rate, n);
        Py_END_ALLOW_THREADS;
    }
    return y;
}

/* --- losses ---------------------------------------------------------------------------------- */

static int
at_least_one_class(PyObject *module, PyArrayObject *z)
{
    core_state *state = PyModule_GetState(module);
    if (PyArray_DIM(z, 1) < 1) {
        PyErr_SetString(state->exceptions[AM_ERR_SHAPE], "z: expected at least one class, got 0");
        return -1;
    }
    return 0;
}

typedef struct loss_call {
    am_loss loss;
    npy_intp n, k;
    const float *z, *y;   /* (n, k) */
    const double *weight; /* (n,) */
    PyObject *out;        /* a new array (n, k) */
} loss_call;

/* loss, z, y, sample_weight */
static int
to_loss(PyObject *module, PyObject *const *args, loss_call *c)
{
    core_state *state = PyModule_GetState(module);
    PyArrayObject *z, *y, *weight;
    int loss;
    if (am_to_int(args[0], "loss", &loss) < 0 || !(z = floats(module, args[1], "z", 2)) ||
        !(y = floats(module, args[2], "y", 2)) ||
        !(weight = am_to_array(module, args[3], "sample_weight", NPY_FLOAT64, 1, 0)) ||
        check_shape(module, y, "y", PyArray_DIMS(z)) < 0 ||
        check_shape(module, weight, "sample_weight", PyArray_DIMS(z)) < 0 ||
        at_least_one_class(module, z) < 0) {
        return -1;
    }
    if (loss != AM_LOSS_SOFTMAX && loss != AM_LOSS_SIGMOID) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE],
                     "loss: expected 0 (softmax) or 1 (sigmoid), got %d", loss);
        return -1;
    }
    *c = (loss_call){.loss = (am_loss)loss,
                     .n = PyArray_DIM(z, 0),
                     .k = PyArray_DIM(z, 1),
                     .z = data(z),
                     .y = data(y),
                     .weight = PyArray_DATA(weight),
                     .out = am_new_array(2, PyArray_DIMS(z), NPY_FLOAT32)};
    return c->out == NULL ? -1 : 0;
}

static PyObject *
loss_forward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    loss_call c;
    if (am_arity("loss_forward", nargs, 4) < 0 || to_loss(module, args, &c) < 0) {
        return NULL;
    }
    float *p = data((PyArrayObject *)c.out);
    double sum = 0.0;
    Py_BEGIN_ALLOW_THREADS;
    for (npy_intp i = 0; i < c.n; i++) {
        const npy_intp row = i * c.k;
        sum += c.weight[i] * am_loss_forward(c.loss, p + row, c.z + row, c.y + row, c.k);
    }
    Py_END_ALLOW_THREADS;
    return Py_BuildValue("dN", c.n > 0 ? sum / (double)c.n : 0.0, c.out);
}

static PyObject *
loss_backward(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    loss_call c;
    if (am_arity("loss_backward", nargs, 4) < 0 || to_loss(module, args, &c) < 0) {
        return NULL;
    }
    float *dz = data((PyArrayObject *)c.out);
    Py_BEGIN_ALLOW_THREADS;
    for (npy_intp i = 0; i < c.n; i++) {
        const npy_intp row = i * c.k;
        am_loss_backward(c.loss, dz + row, c.z + row, c.y + row, c.weight[i] / (double)c.n, c.k);
    }
    Py_END_ALLOW_THREADS;
    return c.out;
}

static PyObject *
softmax(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyArrayObject *z;
    int threads;
    if (am_arity("softmax", nargs, 2) < 0 || !(z = floats(module, args[0], "z", 2)) ||
        at_least_one_class(module, z) < 0 || am_to_int(args[1], "threads", &threads) < 0) {
        return NULL;
    }
    PyObject *p = am_new_array(2, PyArray_DIMS(z), NPY_FLOAT32);
    if (p == NULL) {
        return NULL;
    }
    const npy_intp n = PyArray_DIM(z, 0), k = PyArray_DIM(z, 1);
    float *out = data((PyArrayObject *)p);
    const float *in = data(z);
    am_error error;
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = am_softmax_rows(out, in, n, k, threads, &error);
    Py_END_ALLOW_THREADS;
    return status == AM_OK ? p : fail(module, status, &error, 1, &p);
}

#define FUNCTION(name, signature, doc)                        \
    {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, \
     #name "($module, " signature ", /)\n--\n\n" doc}

PyMethodDef am_layer_methods[] = {
    FUNCTION(conv2d_forward, "x, w, b, same, threads", "y (n, oh, ow, f)"),
    FUNCTION(conv2d_backward, "dy, x, w, same, threads", "(dx, dw, db)"),
    FUNCTION(maxpool2d_forward, "x", "(y, argmax)"),
    FUNCTION(maxpool2d_backward, "dy, argmax, h, w", "dx"),
    FUNCTION(dense_forward, "x, w, b, threads", "y (n, f)"),
    FUNCTION(dense_backward, "dy, x, w, threads", "(dx, dw, db)"),
    FUNCTION(relu_forward, "x", "max(x, 0)"),
    FUNCTION(relu_backward, "dy, x", "dy where x > 0"),
    FUNCTION(dropout_mask, "rows, size, rate, seed, step", "bool (rows, size)"),
    FUNCTION(dropout_apply, "x, mask, rate", "x / (1 - rate) where mask"),
    FUNCTION(loss_forward, "loss, z, y, sample_weight", "(mean loss, p)"),
    FUNCTION(loss_backward, "loss, p, y, sample_weight", "dz"),
    FUNCTION(softmax, "z, threads", "p (n, k)"),
    {NULL, NULL, 0, NULL},
};
