/* The type Network: a network and, while it trains, its trainer.
 *
 * One call at a time may change it; any number may read it. `users` counts readers and is -1 while
 * a call changes it. */
#include "convert.h"

#include <stdatomic.h>
#include <string.h>

typedef struct network {
    PyObject_HEAD am_net *net;
    am_trainer *trainer; /* NULL when not training */
    atomic_int users;
} network;

static PyObject *
module_of(network *self)
{
    return PyType_GetModule(Py_TYPE((PyObject *)self));
}

static int
busy(network *self)
{
    core_state *state = PyModule_GetState(module_of(self));
    PyErr_SetString(state->exceptions[AM_ERR_BUSY],
                    "the network is in use by another thread; wait for that call to end");
    return -1;
}

static int
begin_read(network *self)
{
    int users = atomic_load(&self->users);
    while (users >= 0) {
        if (atomic_compare_exchange_weak(&self->users, &users, users + 1)) {
            return 0;
        }
    }
    return busy(self);
}

static void
end_read(network *self)
{
    atomic_fetch_sub(&self->users, 1);
}

static int
begin_write(network *self)
{
    int nobody = 0;
    return atomic_compare_exchange_strong(&self->users, &nobody, -1) ? 0 : busy(self);
}

static void
end_write(network *self)
{
    atomic_store(&self->users, 0);
}

/* --- creation -------------------------------------------------------------------------------- */

/* A sequence of (kind, units, size, same, rate) tuples. */
static int
to_specs(PyObject *sequence, am_layer_spec *specs, int *n)
{
    Py_ssize_t length = PySequence_Size(sequence);
    if (length < 0) {
        return -1;
    }
    *n = length > AM_MAX_LAYERS ? AM_MAX_LAYERS + 1 : (int)length; /* the core refuses too many */
    for (int i = 0; i < *n && i < AM_MAX_LAYERS; i++) {
        PyObject *item = PySequence_GetItem(sequence, i);
        if (item == NULL) {
            return -1;
        }
        long long units, size;
        int kind;
        am_layer_spec *spec = &specs[i];
        const int parsed = PyTuple_Check(item) && PyArg_ParseTuple(item, "iLLid", &kind, &units,
                                                                   &size, &spec->same, &spec->rate);
        Py_DECREF(item);
        if (!parsed) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_TypeError, "layers: expected a sequence of tuples");
            }
            return -1;
        }
        spec->kind = (am_layer_kind)kind;
        spec->units = units;
        spec->size = size;
    }
    return 0;
}

static PyObject *
network_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *sequence;
    long long h, w, c;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Network takes no keyword arguments");
        return NULL;
    }
    am_layer_spec specs[AM_MAX_LAYERS];
    int n;
    if (!PyArg_ParseTuple(args, "OLLL", &sequence, &h, &w, &c) ||
        to_specs(sequence, specs, &n) < 0) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    network *self = (network *)allocate(type, 0);
    if (self == NULL) {
        return NULL;
    }
    atomic_init(&self->users, 0);
    am_error error;
    am_status status = am_net_create(&self->net, specs, n, h, w, c, &error);
    if (status != AM_OK) {
        PyObject *module = module_of(self);
        am_raise(module, status, &error);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void
network_dealloc(PyObject *object)
{
    network *self = (network *)object;
    PyTypeObject *type = Py_TYPE(object);
    am_trainer_free(self->trainer);
    am_net_free(self->net);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* --- description and parameters -------------------------------------------------------------- */

static PyObject *
network_layers(network *self, PyObject *unused)
{
    (void)unused;
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < self->net->n_layers; i++) {
        const am_layer *l = &self->net->layers[i];
        PyObject *item =
            Py_BuildValue("(iLLLLL)", (int)l->spec.kind, (long long)l->out_h, (long long)l->out_w,
                          (long long)l->out_c, (long long)l->w_size, (long long)l->b_size);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *
network_init(network *self, PyObject *seed)
{
    unsigned long long value = PyLong_AsUnsignedLongLong(seed);
    if (PyErr_Occurred() || begin_write(self) < 0) {
        return NULL;
    }
    am_net_init(self->net, value);
    end_write(self);
    Py_RETURN_NONE;
}

static PyObject *
network_get_params(network *self, PyObject *unused)
{
    (void)unused;
    PyObject *params = am_new_array(1, (npy_intp[]){self->net->n_params}, NPY_FLOAT32);
    if (params == NULL || begin_read(self) < 0) {
        Py_XDECREF(params);
        return NULL;
    }
    memcpy(PyArray_DATA((PyArrayObject *)params), self->net->params,
           (size_t)self->net->n_params * sizeof(float));
    end_read(self);
    return params;
}

static PyObject *
network_set_params(network *self, PyObject *object)
{
    core_state *state = PyModule_GetState(module_of(self));
    PyArrayObject *params = am_to_array(module_of(self), object, "params", NPY_FLOAT32, 1, 0);
    if (params == NULL) {
        return NULL;
    }
    if (PyArray_DIM(params, 0) != self->net->n_params) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "params: expected %lld numbers, got %zd",
                     (long long)self->net->n_params, (Py_ssize_t)PyArray_DIM(params, 0));
        return NULL;
    }
    if (begin_write(self) < 0) {
        return NULL;
    }
    am_net_set_params(self->net, PyArray_DATA(params));
    end_write(self);
    Py_RETURN_NONE;
}

/* --- prediction ------------------------------------------------------------------------------ */

/* (n, h, w, c) of uint8 or float32 */
static int
to_images(PyObject *module, PyObject *object, am_images *images)
{
    const int is_u8 = PyArray_Check(object) && PyArray_TYPE((PyArrayObject *)object) == NPY_UINT8;
    PyArrayObject *array =
        am_to_array(module, object, "images", is_u8 ? NPY_UINT8 : NPY_FLOAT32, 4, 0);
    if (array == NULL) {
        return -1;
    }
    const npy_intp *d = PyArray_DIMS(array);
    *images = (am_images){PyArray_DATA(array), is_u8, d[0], d[1], d[2], d[3]};
    return 0;
}

/* forward(images, last, threads): the output of layer last - 1, as (n, numbers). */
static PyObject *
network_forward(network *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *module = module_of(self);
    core_state *state = PyModule_GetState(module);
    am_images images;
    int last, threads;
    if (am_arity("forward", nargs, 3) < 0 || to_images(module, args[0], &images) < 0 ||
        am_to_int(args[1], "last", &last) < 0 || am_to_int(args[2], "threads", &threads) < 0) {
        return NULL;
    }
    if (last < 1 || last > self->net->n_layers) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE], "layer: expected 1 to %d, got %d",
                     self->net->n_layers, last);
        return NULL;
    }
    const npy_intp shape[] = {images.n, self->net->layers[last - 1].out_size};
    PyObject *out = am_new_array(2, shape, NPY_FLOAT32);
    if (out == NULL || begin_read(self) < 0) {
        Py_XDECREF(out);
        return NULL;
    }
    am_error error;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status = am_net_forward(self->net, &images, NULL, images.n, last, threads, &control,
                                      PyArray_DATA((PyArrayObject *)out), &error);
    am_poll_end(&poll);
    end_read(self);
    if (status != AM_OK) {
        Py_DECREF(out);
        return am_raise(module, status, &error);
    }
    return out;
}

/* --- training -------------------------------------------------------------------------------- */

/* train_begin(loss, optimizer, momentum, decay, epsilon, schedule, learning_rate, batch_size,
 *             epochs, patience, seed, n_train, threads) */
static PyObject *
network_train_begin(network *self, PyObject *args)
{
    int loss, optimizer, schedule, threads;
    long long batch_size, epochs, patience, n_train;
    unsigned long long seed;
    am_train_config config = {0};
    if (!PyArg_ParseTuple(args, "iidddidLLLKLi", &loss, &optimizer, &config.momentum, &config.decay,
                          &config.epsilon, &schedule, &config.learning_rate, &batch_size, &epochs,
                          &patience, &seed, &n_train, &threads) ||
        begin_write(self) < 0) {
        return NULL;
    }
    config.loss = (am_loss)loss;
    config.optimizer = (am_optimizer)optimizer;
    config.schedule = (am_schedule)schedule;
    config.batch_size = batch_size;
    config.epochs = epochs;
    config.patience = patience;
    config.seed = seed;
    am_trainer_free(self->trainer);
    am_error error;
    am_status status =
        am_trainer_create(&self->trainer, self->net, &config, n_train, threads, &error);
    end_write(self);
    if (status != AM_OK) {
        return am_raise(module_of(self), status, &error);
    }
    Py_RETURN_NONE;
}

/* (images, labels | None, soft | None, weights | None, index): labels int32 (n,), soft float32
 * (n, k), weights float32 (n,), index intp. */
static int
to_examples(network *self, PyObject *tuple, am_examples *examples)
{
    PyObject *module = module_of(self);
    core_state *state = PyModule_GetState(module);
    PyObject *images, *labels, *soft, *weights, *index;
    PyArrayObject *a_labels, *a_soft, *a_weights, *a_index;
    if (!PyArg_ParseTuple(tuple, "OOOOO", &images, &labels, &soft, &weights, &index) ||
        to_images(module, images, &examples->images) < 0 ||
        am_to_optional_array(module, labels, "labels", NPY_INT32, 1, &a_labels) < 0 ||
        am_to_optional_array(module, soft, "labels", NPY_FLOAT32, 2, &a_soft) < 0 ||
        am_to_optional_array(module, weights, "sample_weight", NPY_FLOAT32, 1, &a_weights) < 0 ||
        !(a_index = am_to_array(module, index, "index", NPY_INTP, 1, 0))) {
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
static PyObject *
network_train_epoch(network *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *module = module_of(self);
    core_state *state = PyModule_GetState(module);
    am_examples train = {0}, held = {0};
    if (am_arity("train_epoch", nargs, 3) < 0 || to_examples(self, args[0], &train) < 0 ||
        (args[1] != Py_None && to_examples(self, args[1], &held) < 0) || begin_write(self) < 0) {
        return NULL;
    }
    if (self->trainer == NULL) {
        end_write(self);
        PyErr_SetString(state->exceptions[AM_ERR_VALUE], "train_begin comes before train_epoch");
        return NULL;
    }
    am_error error;
    am_control control;
    am_py_poll poll;
    am_epoch_report r;
    am_poll_begin(&poll, args[2], &control);
    am_status status = am_trainer_epoch(self->trainer, &train, &held, &control, &r, &error);
    am_poll_end(&poll);
    end_write(self);
    if (status != AM_OK) {
        return am_raise(module, status, &error);
    }
    return Py_BuildValue("(Ldddddii)", (long long)r.epoch, r.loss, r.accuracy, r.val_loss,
                         r.val_accuracy, r.learning_rate, r.improved, r.stop);
}

static PyObject *
network_train_progress(network *self, PyObject *unused)
{
    (void)unused;
    int64_t done = 0, total = 0;
    if (self->trainer != NULL) {
        am_trainer_progress(self->trainer, &done, &total);
    }
    return Py_BuildValue("(LL)", (long long)done, (long long)total);
}

/* train_end(restore): frees the trainer, after putting the best weights back if asked to. */
static PyObject *
network_train_end(network *self, PyObject *restore)
{
    const int wanted = PyObject_IsTrue(restore);
    if (wanted < 0 || begin_write(self) < 0) {
        return NULL;
    }
    const int restored = wanted && self->trainer != NULL && am_trainer_restore_best(self->trainer);
    am_trainer_free(self->trainer);
    self->trainer = NULL;
    end_write(self);
    return PyBool_FromLong(restored);
}

/* --- the type -------------------------------------------------------------------------------- */

static PyMethodDef network_methods[] = {
    {"layers", (PyCFunction)(void (*)(void))network_layers, METH_NOARGS,
     "layers($self, /)\n--\n\n[(kind, height, width, channels, weights, biases)] of the outputs."},
    {"init", (PyCFunction)(void (*)(void))network_init, METH_O,
     "init($self, seed, /)\n--\n\nGlorot uniform weights, zero biases."},
    {"get_params", (PyCFunction)(void (*)(void))network_get_params, METH_NOARGS,
     "get_params($self, /)\n--\n\nA copy: layer by layer, weights then bias."},
    {"set_params", (PyCFunction)(void (*)(void))network_set_params, METH_O,
     "set_params($self, params, /)\n--\n\nThe inverse of get_params."},
    {"forward", (PyCFunction)(void (*)(void))network_forward, METH_FASTCALL,
     "forward($self, images, last, threads, /)\n--\n\nOutput of layer last - 1, (n, numbers)."},
    {"train_begin", (PyCFunction)(void (*)(void))network_train_begin, METH_VARARGS,
     "train_begin($self, loss, optimizer, momentum, decay, epsilon, schedule, learning_rate, "
     "batch_size, epochs, patience, seed, n_train, threads, /)\n--\n\nCreates the trainer."},
    {"train_epoch", (PyCFunction)(void (*)(void))network_train_epoch, METH_FASTCALL,
     "train_epoch($self, train, held, callback, /)\n--\n\n"
     "(epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, improved, stop)"},
    {"train_progress", (PyCFunction)(void (*)(void))network_train_progress, METH_NOARGS,
     "train_progress($self, /)\n--\n\n(steps done, steps in all)"},
    {"train_end", (PyCFunction)(void (*)(void))network_train_end, METH_O,
     "train_end($self, restore, /)\n--\n\nWhether the best weights were put back."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot network_slots[] = {
    {Py_tp_doc, "Network(layers, height, width, channels, /)\n--\n\nA network in the C core."},
    {Py_tp_new, network_new},
    {Py_tp_dealloc, network_dealloc},
    {Py_tp_methods, network_methods},
    {0, NULL},
};

static PyType_Spec network_spec = {
    .name = "ambigmnist._ambigcore.Network",
    .basicsize = sizeof(network),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = network_slots,
};

int
am_add_network_type(PyObject *module, core_state *state)
{
    state->network_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &network_spec, NULL);
    if (state->network_type == NULL) {
        return -1;
    }
    return PyModule_AddType(module, state->network_type);
}

static PyObject *
stratified_split(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyArrayObject *labels;
    int64_t classes, seed, n_train, n_held;
    double fraction;
    if (am_arity("stratified_split", nargs, 4) < 0 ||
        !(labels = am_to_array(module, args[0], "labels", NPY_INT32, 1, 0)) ||
        am_to_int64(args[1], "classes", &classes) < 0 ||
        am_to_double(args[2], "fraction", &fraction) < 0 ||
        am_to_int64(args[3], "seed", &seed) < 0) {
        return NULL;
    }
    const npy_intp n = PyArray_DIM(labels, 0);
    PyObject *train = am_new_array(1, &n, NPY_INTP), *held = am_new_array(1, &n, NPY_INTP);
    PyObject *result = NULL;
    if (train != NULL && held != NULL) {
        am_error error;
        am_status status =
            am_stratified_split(PyArray_DATA(labels), n, classes, fraction, (uint64_t)seed,
                                PyArray_DATA((PyArrayObject *)train), &n_train,
                                PyArray_DATA((PyArrayObject *)held), &n_held, &error);
        result = status == AM_OK
                     ? Py_BuildValue("(OOLL)", train, held, (long long)n_train, (long long)n_held)
                     : am_raise(module, status, &error);
    }
    Py_XDECREF(train);
    Py_XDECREF(held);
    return result;
}

PyMethodDef am_train_methods[] = {
    {"stratified_split", (PyCFunction)(void (*)(void))stratified_split, METH_FASTCALL,
     "stratified_split($module, labels, classes, fraction, seed, /)\n--\n\n"
     "(train, held, n_train, n_held): index arrays whose first entries count."},
    {NULL, NULL, 0, NULL},
};
