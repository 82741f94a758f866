/* The methods of Network that train it, and the split. */
#include "network.h"

#include "../train/gradients.h"

/* Frees the trainer before, which train_progress may be looking at for a moment. */
static void
set_trainer(network *self, am_trainer *trainer)
{
    am_trainer *before = atomic_exchange(&self->trainer, trainer);
    while (before != NULL && atomic_load(&self->looking) > 0) {
    }
    am_trainer_free(before);
}

/* train_begin(loss, optimizer, momentum, decay, epsilon, schedule, learning_rate, batch_size,
 *             epochs, patience, seed, n_train, threads) */
PyObject *
am_network_train_begin(network *self, PyObject *args)
{
    int loss, optimizer, schedule, threads;
    long long batch_size, epochs, patience, n_train;
    PyObject *seed;
    am_train_config config = {0};
    if (!PyArg_ParseTuple(args, "iidddidLLLOLi", &loss, &optimizer, &config.momentum, &config.decay,
                          &config.epsilon, &schedule, &config.learning_rate, &batch_size, &epochs,
                          &patience, &seed, &n_train, &threads) ||
        am_to_seed(seed, "seed", &config.seed) < 0 || am_network_begin_write(self) < 0) {
        return NULL;
    }
    config.loss = (am_loss)loss;
    config.optimizer = (am_optimizer)optimizer;
    config.schedule = (am_schedule)schedule;
    config.batch_size = batch_size;
    config.epochs = epochs;
    config.patience = patience;
    am_trainer *trainer;
    am_error error;
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    set_trainer(self, NULL); /* first, so that there is memory for one only */
    status = am_trainer_create(&trainer, self->net, &config, n_train, threads, &error);
    set_trainer(self, trainer);
    Py_END_ALLOW_THREADS;
    am_network_end_write(self);
    if (status != AM_OK) {
        return am_raise(am_network_module(self), status, &error);
    }
    Py_RETURN_NONE;
}

/* begin_write, where there must be a trainer. */
static int
begin_trainer(network *self, const char *caller)
{
    core_state *state = PyModule_GetState(am_network_module(self));
    if (am_network_begin_write(self) < 0) {
        return -1;
    }
    if (self->trainer == NULL) {
        am_network_end_write(self);
        PyErr_Format(state->exceptions[AM_ERR_VALUE], "train_begin comes before %s", caller);
        return -1;
    }
    return 0;
}

/* (images, labels | None, soft | None, weights | None, index[, dynamics, early]): labels int32
 * (n,), soft float32 (n, k), weights float32 (n,), index intp; dynamics float64 (n,
 * AM_DYNAMICS_SIZE), written to, early: the number of the epoch for el2n. */
static int
to_examples(network *self, PyObject *tuple, am_examples *examples)
{
    PyObject *module = am_network_module(self);
    core_state *state = PyModule_GetState(module);
    PyObject *images, *labels, *soft, *weights, *index;
    PyObject *dynamics = Py_None;
    long long early = 1;
    PyArrayObject *a_labels, *a_soft, *a_weights, *a_index, *a_dynamics = NULL;
    if (!PyTuple_Check(tuple)) {
        PyErr_Format(PyExc_TypeError, "examples: expected a tuple, got %R",
                     (PyObject *)Py_TYPE(tuple));
        return -1;
    }
    if (!PyArg_ParseTuple(tuple, "OOOOO|OL", &images, &labels, &soft, &weights, &index, &dynamics,
                          &early) ||
        am_to_images(module, images, &examples->images) < 0 ||
        am_to_optional_array(module, labels, "labels", NPY_INT32, 1, &a_labels) < 0 ||
        am_to_optional_array(module, soft, "labels", NPY_FLOAT32, 2, &a_soft) < 0 ||
        am_to_optional_array(module, weights, "sample_weight", NPY_FLOAT32, 1, &a_weights) < 0 ||
        !(a_index = am_to_array(module, index, "index", NPY_INTP, 1, 0)) ||
        (dynamics != Py_None &&
         !(a_dynamics = am_to_array(module, dynamics, "dynamics", NPY_FLOAT64, 2, 1)))) {
        return -1;
    }
    const npy_intp n = examples->images.n;
    const am_net *net = self->net;
    if ((a_labels != NULL && PyArray_DIM(a_labels, 0) != n) ||
        (a_weights != NULL && PyArray_DIM(a_weights, 0) != n) ||
        (a_soft != NULL && (PyArray_DIM(a_soft, 0) != n ||
                            PyArray_DIM(a_soft, 1) != net->layers[net->n_layers - 1].out_size))) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE],
                     "expected one label and one weight for each of the %zd images", (Py_ssize_t)n);
        return -1;
    }
    if (a_dynamics != NULL &&
        (PyArray_DIM(a_dynamics, 0) != n || PyArray_DIM(a_dynamics, 1) != AM_DYNAMICS_SIZE)) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "dynamics: expected (%zd, %d)", (Py_ssize_t)n,
                     AM_DYNAMICS_SIZE);
        return -1;
    }
    examples->dynamics = a_dynamics == NULL ? NULL : PyArray_DATA(a_dynamics);
    examples->early = early;
    examples->labels = a_labels == NULL ? NULL : PyArray_DATA(a_labels);
    examples->soft = a_soft == NULL ? NULL : PyArray_DATA(a_soft);
    examples->weights = a_weights == NULL ? NULL : PyArray_DATA(a_weights);
    examples->index = PyArray_DATA(a_index);
    examples->n = PyArray_DIM(a_index, 0);
    return 0;
}

/* train_epoch(train, held | None, callback): examples as above; callback() runs about 20 times a
 * second. Returns (epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, improved, stop).
 */
PyObject *
am_network_train_epoch(network *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *module = am_network_module(self);
    am_examples train = {0}, held = {0};
    if (am_arity("train_epoch", nargs, 3) < 0 || to_examples(self, args[0], &train) < 0 ||
        (args[1] != Py_None && to_examples(self, args[1], &held) < 0) ||
        begin_trainer(self, "train_epoch") < 0) {
        return NULL;
    }
    am_error error;
    am_control control;
    am_py_poll poll;
    am_epoch_report r;
    am_poll_begin(&poll, args[2], &control);
    am_status status = am_trainer_epoch(self->trainer, &train, &held, &control, &r, &error);
    am_poll_end(&poll);
    am_network_end_write(self);
    if (status != AM_OK) {
        return am_raise(module, status, &error);
    }
    return Py_BuildValue("(Ldddddii)", (long long)r.epoch, r.loss, r.accuracy, r.val_loss,
                         r.val_accuracy, r.learning_rate, r.improved, r.stop);
}

PyObject *
am_network_train_progress(network *self, PyObject *unused)
{
    (void)unused;
    int64_t done = 0, total = 0;
    atomic_fetch_add(&self->looking, 1);
    am_trainer *trainer = atomic_load(&self->trainer);
    if (trainer != NULL) {
        am_trainer_progress(trainer, &done, &total);
    }
    atomic_fetch_sub(&self->looking, 1);
    return Py_BuildValue("(LL)", (long long)done, (long long)total);
}

/* A state as a tuple: (epoch, best_epoch, best_loss, power1, power2, params, v, m | None,
 * best | None). */
PyObject *
am_network_train_export(network *self, PyObject *unused)
{
    (void)unused;
    PyObject *arrays[4];
    float *data[4];
    int missing = 0;
    for (int i = 0; i < 4; i++) {
        arrays[i] = am_new_array(1, (npy_intp[]){self->net->n_params}, NPY_FLOAT32);
        missing |= arrays[i] == NULL;
        data[i] = arrays[i] == NULL ? NULL : PyArray_DATA((PyArrayObject *)arrays[i]);
    }
    PyObject *result = NULL;
    if (!missing && begin_trainer(self, "train_export") == 0) {
        am_train_state s = {.params = data[0], .v = data[1], .m = data[2], .best = data[3]};
        am_error error;
        am_status status;
        Py_BEGIN_ALLOW_THREADS;
        status = am_trainer_export(self->trainer, &s, &error);
        Py_END_ALLOW_THREADS;
        am_network_end_write(self);
        result = status != AM_OK
                     ? am_raise(am_network_module(self), status, &error)
                     : Py_BuildValue("(LLdddOOOO)", (long long)s.epoch, (long long)s.best_epoch,
                                     s.best_loss, s.power1, s.power2, arrays[0], arrays[1],
                                     s.m == NULL ? Py_None : arrays[2],
                                     s.best == NULL ? Py_None : arrays[3]);
    }
    for (int i = 0; i < 4; i++) {
        Py_XDECREF(arrays[i]);
    }
    return result;
}

PyObject *
am_network_train_import(network *self, PyObject *tuple)
{
    static const char *const names[] = {"params", "v", "m", "best"};
    PyObject *module = am_network_module(self);
    long long epoch, best_epoch;
    PyObject *objects[4];
    float *data[4];
    am_train_state s = {0};
    if (!PyTuple_Check(tuple)) {
        PyErr_Format(PyExc_TypeError, "state: expected a tuple, got %R",
                     (PyObject *)Py_TYPE(tuple));
        return NULL;
    }
    if (!PyArg_ParseTuple(tuple, "LLdddOOOO", &epoch, &best_epoch, &s.best_loss, &s.power1,
                          &s.power2, &objects[0], &objects[1], &objects[2], &objects[3])) {
        return NULL;
    }
    for (int i = 0; i < 4; i++) {
        PyArrayObject *array = NULL;
        if ((i < 2 || objects[i] != Py_None) &&
            (array = am_to_params(self, objects[i], names[i])) == NULL) {
            return NULL;
        }
        data[i] = array == NULL ? NULL : PyArray_DATA(array);
    }
    s.epoch = epoch;
    s.best_epoch = best_epoch;
    s.params = data[0];
    s.v = data[1];
    s.m = data[2];
    s.best = data[3];
    if (begin_trainer(self, "train_import") < 0) {
        return NULL;
    }
    am_error error;
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = am_trainer_import(self->trainer, &s, &error);
    Py_END_ALLOW_THREADS;
    am_network_end_write(self);
    if (status != AM_OK) {
        return am_raise(module, status, &error);
    }
    Py_RETURN_NONE;
}

/* train_end(restore): frees the trainer, after putting the best weights back if asked to. */
PyObject *
am_network_train_end(network *self, PyObject *restore)
{
    const int wanted = PyObject_IsTrue(restore);
    if (wanted < 0 || am_network_begin_write(self) < 0) {
        return NULL;
    }
    int restored = 0;
    Py_BEGIN_ALLOW_THREADS;
    am_trainer *trainer = atomic_load(&self->trainer);
    restored = wanted && trainer != NULL && am_trainer_restore_best(trainer);
    set_trainer(self, NULL);
    Py_END_ALLOW_THREADS;
    am_network_end_write(self);
    return PyBool_FromLong(restored);
}

/* --- gradients of single images ----------------------------------------------------------------
 */

/* With loss < 0 the gradients by the pixels, otherwise the norms of those of that loss. */
static PyObject *
run_gradients(network *self, PyObject *tuple, int loss, PyObject *threads_object)
{
    PyObject *module = am_network_module(self);
    am_examples examples = {0};
    int threads;
    if (to_examples(self, tuple, &examples) < 0 ||
        am_to_int(threads_object, "threads", &threads) < 0) {
        return NULL;
    }
    const am_net *net = self->net;
    const npy_intp shape[] = {examples.n, net->h, net->w, net->c};
    PyObject *out =
        loss < 0 ? am_new_array(4, shape, NPY_FLOAT32) : am_new_array(1, shape, NPY_FLOAT64);
    if (out == NULL || am_network_begin_read(self) < 0) {
        Py_XDECREF(out);
        return NULL;
    }
    void *data = PyArray_DATA((PyArrayObject *)out);
    am_error error;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status =
        loss < 0 ? am_pixel_gradients(self->net, &examples, threads, &control, data, &error)
                 : am_gradient_norms(self->net, &examples, (am_loss)loss, threads, &control, data,
                                     &error);
    am_poll_end(&poll);
    am_network_end_read(self);
    return am_finish(module, status, &error, out);
}

PyObject *
am_network_gradient_norms(network *self, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(am_network_module(self));
    int loss;
    if (am_arity("gradient_norms", nargs, 3) < 0 || am_to_int(args[1], "loss", &loss) < 0) {
        return NULL;
    }
    if (loss != AM_LOSS_SOFTMAX && loss != AM_LOSS_SIGMOID) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE], "loss: expected 0 or 1, got %d", loss);
        return NULL;
    }
    return run_gradients(self, args[0], loss, args[2]);
}

PyObject *
am_network_pixel_gradients(network *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (am_arity("pixel_gradients", nargs, 2) < 0) {
        return NULL;
    }
    return run_gradients(self, args[0], -1, args[1]);
}

static PyObject *
finish_dynamics(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    core_state *state = PyModule_GetState(module);
    PyArrayObject *seen;
    if (am_arity("finish_dynamics", nargs, 1) < 0 ||
        !(seen = am_to_array(module, args[0], "seen", NPY_FLOAT64, 2, 0))) {
        return NULL;
    }
    const npy_intp shape[] = {PyArray_DIM(seen, 0), AM_N_DYNAMICS};
    if (PyArray_DIM(seen, 1) != AM_DYNAMICS_SIZE) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "seen: expected (n, %d), got (n, %zd)",
                     AM_DYNAMICS_SIZE, (Py_ssize_t)PyArray_DIM(seen, 1));
        return NULL;
    }
    PyObject *out = am_new_array(2, shape, NPY_FLOAT64);
    for (npy_intp i = 0; out != NULL && i < shape[0]; i++) {
        am_dynamics_finish((const am_dynamics *)PyArray_DATA(seen) + i,
                           (double *)PyArray_DATA((PyArrayObject *)out) + i * AM_N_DYNAMICS);
    }
    return out;
}

static PyObject *
mean_deviation(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyArrayObject *x;
    int threads;
    if (am_arity("mean_deviation", nargs, 2) < 0 ||
        !(x = am_to_array(module, args[0], "x", NPY_FLOAT32, 3, 0)) ||
        am_to_int(args[1], "threads", &threads) < 0) {
        return NULL;
    }
    const npy_intp *d = PyArray_DIMS(x);
    PyObject *out = am_new_array(1, &d[1], NPY_FLOAT64);
    if (out == NULL) {
        return NULL;
    }
    const float *values = PyArray_DATA(x);
    double *data = PyArray_DATA((PyArrayObject *)out);
    am_error error;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_mean_deviation(values, d[0], d[1], d[2], threads, &control, data, &error);
    am_poll_end(&poll);
    return am_finish(module, status, &error, out);
}

/* --- splits ---------------------------------------------------------------------------------- */

static PyObject *
stratified_split(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyArrayObject *labels;
    int64_t classes, n_train, n_held;
    uint64_t seed;
    double fraction;
    if (am_arity("stratified_split", nargs, 4) < 0 ||
        !(labels = am_to_array(module, args[0], "labels", NPY_INT32, 1, 0)) ||
        am_to_int64(args[1], "classes", &classes) < 0 ||
        am_to_double(args[2], "fraction", &fraction) < 0 ||
        am_to_seed(args[3], "seed", &seed) < 0) {
        return NULL;
    }
    const npy_intp n = PyArray_DIM(labels, 0);
    PyObject *train = am_new_array(1, &n, NPY_INTP), *held = am_new_array(1, &n, NPY_INTP);
    PyObject *result = NULL;
    if (train != NULL && held != NULL) {
        const int32_t *given = PyArray_DATA(labels);
        int64_t *kept = PyArray_DATA((PyArrayObject *)train);
        int64_t *taken = PyArray_DATA((PyArrayObject *)held);
        am_error error;
        am_status status;
        Py_BEGIN_ALLOW_THREADS;
        status = am_stratified_split(given, n, classes, fraction, seed, kept, &n_train, taken,
                                     &n_held, &error);
        Py_END_ALLOW_THREADS;
        result = status == AM_OK
                     ? Py_BuildValue("(OOLL)", train, held, (long long)n_train, (long long)n_held)
                     : am_raise(module, status, &error);
    }
    Py_XDECREF(train);
    Py_XDECREF(held);
    return result;
}

PyMethodDef am_train_methods[] = {
    {"finish_dynamics", (PyCFunction)(void (*)(void))finish_dynamics, METH_FASTCALL,
     "finish_dynamics($module, seen, /)\n--\n\n"
     "The numbers of finished training histories, float64 (n, 10)."},
    {"mean_deviation", (PyCFunction)(void (*)(void))mean_deviation, METH_FASTCALL,
     "mean_deviation($module, x, threads, /)\n--\n\n"
     "x (t, n, d): the standard deviation over t, averaged over d, float64 (n,)."},
    {"stratified_split", (PyCFunction)(void (*)(void))stratified_split, METH_FASTCALL,
     "stratified_split($module, labels, classes, fraction, seed, /)\n--\n\n"
     "(train, held, n_train, n_held): index arrays whose first entries count."},
    {NULL, NULL, 0, NULL},
};
