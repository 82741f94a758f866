/* The type Network: creation, parameters, prediction. */
#include "network.h"

PyObject *
am_network_module(network *self)
{
    return PyType_GetModule(Py_TYPE((PyObject *)self));
}

static int
busy(network *self)
{
    core_state *state = PyModule_GetState(am_network_module(self));
    PyErr_SetString(state->exceptions[AM_ERR_BUSY],
                    "the network is in use by another thread; wait for that call to end");
    return -1;
}

/* In the child of a fork the threads that used the network are gone, all but this one. */
static void
forget_lost_users(network *self)
{
    const unsigned forks = am_fork_count();
    if (atomic_load(&self->forks) == forks) {
        return;
    }
    const int mine =
        atomic_load(&self->users) < 0 && atomic_load(&self->writer) == PyThread_get_thread_ident();
    if (!mine) {
        atomic_store(&self->users, 0);
    }
    atomic_store(&self->forks, forks);
}

int
am_network_begin_read(network *self)
{
    forget_lost_users(self);
    int users = atomic_load(&self->users);
    while (users >= 0) {
        if (atomic_compare_exchange_weak(&self->users, &users, users + 1)) {
            return 0;
        }
    }
    return busy(self);
}

void
am_network_end_read(network *self)
{
    int users = atomic_load(&self->users);
    while (users > 0 && !atomic_compare_exchange_weak(&self->users, &users, users - 1)) {
    } /* 0: forgotten after a fork */
}

int
am_network_begin_write(network *self)
{
    int nobody = 0;
    forget_lost_users(self);
    if (!atomic_compare_exchange_strong(&self->users, &nobody, -1)) {
        return busy(self);
    }
    atomic_store(&self->writer, PyThread_get_thread_ident());
    return 0;
}

void
am_network_end_write(network *self)
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
    int fuse = 1;
    if (!PyArg_ParseTuple(args, "OLLL|p", &sequence, &h, &w, &c, &fuse) ||
        to_specs(sequence, specs, &n) < 0) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    network *self = (network *)allocate(type, 0);
    if (self == NULL) {
        return NULL;
    }
    atomic_init(&self->users, 0);
    atomic_init(&self->looking, 0);
    atomic_init(&self->trainer, NULL);
    atomic_init(&self->forks, am_fork_count());
    am_error error;
    am_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = am_net_create(&self->net, specs, n, h, w, c, fuse, &error);
    Py_END_ALLOW_THREADS;
    if (status != AM_OK) {
        PyObject *module = am_network_module(self);
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
            Py_BuildValue("(iLLLLLs)", (int)l->spec.kind, (long long)l->out_h, (long long)l->out_w,
                          (long long)l->out_c, (long long)l->w_size, (long long)l->b_size,
                          am_net_path(self->net, i));
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
    uint64_t value;
    if (am_to_seed(seed, "seed", &value) < 0 || am_network_begin_write(self) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    am_net_init(self->net, value);
    Py_END_ALLOW_THREADS;
    am_network_end_write(self);
    Py_RETURN_NONE;
}

static PyObject *
network_get_params(network *self, PyObject *unused)
{
    (void)unused;
    PyObject *params = am_new_array(1, (npy_intp[]){self->net->n_params}, NPY_FLOAT32);
    if (params == NULL || am_network_begin_read(self) < 0) {
        Py_XDECREF(params);
        return NULL;
    }
    float *out = PyArray_DATA((PyArrayObject *)params);
    Py_BEGIN_ALLOW_THREADS;
    am_net_get_params(self->net, out);
    Py_END_ALLOW_THREADS;
    am_network_end_read(self);
    return params;
}

PyArrayObject *
am_to_params(network *self, PyObject *object, const char *name)
{
    core_state *state = PyModule_GetState(am_network_module(self));
    PyArrayObject *params = am_to_array(am_network_module(self), object, name, NPY_FLOAT32, 1, 0);
    if (params != NULL && PyArray_DIM(params, 0) != self->net->n_params) {
        PyErr_Format(state->exceptions[AM_ERR_SHAPE], "%s: expected %lld numbers, got %zd", name,
                     (long long)self->net->n_params, (Py_ssize_t)PyArray_DIM(params, 0));
        return NULL;
    }
    return params;
}

static PyObject *
network_set_params(network *self, PyObject *object)
{
    PyArrayObject *params = am_to_params(self, object, "params");
    if (params == NULL || am_network_begin_write(self) < 0) {
        return NULL;
    }
    const float *values = PyArray_DATA(params);
    Py_BEGIN_ALLOW_THREADS;
    am_net_set_params(self->net, values);
    Py_END_ALLOW_THREADS;
    am_network_end_write(self);
    Py_RETURN_NONE;
}

/* --- prediction ------------------------------------------------------------------------------ */

int
am_to_images(PyObject *module, PyObject *object, am_images *images)
{
    const int is_u8 = PyArray_Check(object) && PyArray_TYPE((PyArrayObject *)object) == NPY_UINT8;
    PyArrayObject *array =
        am_to_array(module, object, "images", is_u8 ? NPY_UINT8 : NPY_FLOAT32, 4, 0);
    if (array == NULL) {
        return -1;
    }
    const npy_intp *d = PyArray_DIMS(array);
    *images = (am_images){PyArray_DATA(array), is_u8, d[0], d[1], d[2], d[3], NULL};
    return 0;
}

/* Which images: intp; None, and *index = NULL: all of them. */
static int
to_index(network *self, PyObject *object, const am_images *images, const int64_t **index,
         int64_t *n)
{
    PyArrayObject *array;
    if (am_to_optional_array(am_network_module(self), object, "index", NPY_INTP, 1, &array) < 0) {
        return -1;
    }
    *index = array == NULL ? NULL : PyArray_DATA(array);
    *n = array == NULL ? images->n : PyArray_DIM(array, 0);
    return 0;
}

/* The output of layer last - 1 for images, (n, numbers), or with `softmax` that of each row. */
static PyObject *
run_forward(network *self, const am_images *images, const int64_t *index, int64_t n, int last,
            int threads, int softmax)
{
    const npy_intp shape[] = {n, self->net->layers[last - 1].out_size};
    PyObject *out = am_new_array(2, shape, NPY_FLOAT32);
    if (out == NULL || am_network_begin_read(self) < 0) {
        Py_XDECREF(out);
        return NULL;
    }
    float *values = PyArray_DATA((PyArrayObject *)out);
    am_error error;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status =
        am_net_forward(self->net, images, index, n, last, threads, &control, values, &error);
    if (status == AM_OK && softmax) {
        status = am_softmax_rows(values, values, shape[0], shape[1], threads, &error);
    }
    am_poll_end(&poll);
    am_network_end_read(self);
    return am_finish(am_network_module(self), status, &error, out);
}

static int
to_last(network *self, PyObject *object, int *last)
{
    core_state *state = PyModule_GetState(am_network_module(self));
    if (am_to_int(object, "last", last) < 0) {
        return -1;
    }
    if (*last < 1 || *last > self->net->n_layers) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE], "layer: expected 1 to %d, got %d",
                     self->net->n_layers, *last);
        return -1;
    }
    return 0;
}

static PyObject *
network_forward(network *self, PyObject *const *args, Py_ssize_t nargs)
{
    am_images images;
    int last, threads;
    if (am_arity("forward", nargs, 3) < 0 ||
        am_to_images(am_network_module(self), args[0], &images) < 0 ||
        to_last(self, args[1], &last) < 0 || am_to_int(args[2], "threads", &threads) < 0) {
        return NULL;
    }
    return run_forward(self, &images, NULL, images.n, last, threads, 0);
}

/* (seed, number, shift, angle), or None */
static int
to_view(network *self, PyObject *object, am_view *view, am_images *images)
{
    core_state *state = PyModule_GetState(am_network_module(self));
    PyObject *seed;
    long long number;
    if (object == Py_None) {
        return 0;
    }
    if (!PyTuple_Check(object)) {
        PyErr_Format(PyExc_TypeError, "view: expected a tuple or None, got %R",
                     (PyObject *)Py_TYPE(object));
        return -1;
    }
    if (!PyArg_ParseTuple(object, "OLdd", &seed, &number, &view->shift, &view->angle) ||
        am_to_seed(seed, "seed", &view->seed) < 0) {
        return -1;
    }
    if (number < 0 || number > UINT32_MAX) {
        PyErr_Format(state->exceptions[AM_ERR_VALUE],
                     "view: expected a number of 0 to 2**32 - 1, got %lld", number);
        return -1;
    }
    if (!(view->shift >= 0 && view->shift < 1e6 && view->angle >= 0 && view->angle < 1e3)) {
        PyErr_SetString(state->exceptions[AM_ERR_VALUE],
                        "view: expected a shift of 0 to 1e6 pixels and an angle of 0 to 1e3");
        return -1;
    }
    view->number = (uint32_t)number;
    images->view = view;
    return 0;
}

static PyObject *
network_forward_some(network *self, PyObject *const *args, Py_ssize_t nargs)
{
    am_images images;
    am_view view;
    const int64_t *index;
    int64_t n;
    int last, threads;
    if (am_arity("forward_some", nargs, 5) < 0 ||
        am_to_images(am_network_module(self), args[0], &images) < 0 ||
        to_index(self, args[1], &images, &index, &n) < 0 || to_last(self, args[2], &last) < 0 ||
        to_view(self, args[3], &view, &images) < 0 || am_to_int(args[4], "threads", &threads) < 0) {
        return NULL;
    }
    return run_forward(self, &images, index, n, last, threads, 0);
}

static PyObject *
network_draws(network *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *module = am_network_module(self);
    am_images images;
    const int64_t *index;
    int64_t n;
    uint64_t seed;
    int draws, threads;
    if (am_arity("draws", nargs, 5) < 0 || am_to_images(module, args[0], &images) < 0 ||
        to_index(self, args[1], &images, &index, &n) < 0 ||
        am_to_seed(args[2], "seed", &seed) < 0 || am_to_int(args[3], "draws", &draws) < 0 ||
        am_to_int(args[4], "threads", &threads) < 0) {
        return NULL;
    }
    const npy_intp shape[] = {draws < 0 ? 0 : draws, n,
                              self->net->layers[self->net->n_layers - 1].out_size};
    PyObject *out = am_new_array(3, shape, NPY_FLOAT32);
    if (out == NULL || am_network_begin_read(self) < 0) {
        Py_XDECREF(out);
        return NULL;
    }
    float *values = PyArray_DATA((PyArrayObject *)out);
    am_error error;
    am_control control;
    am_py_poll poll;
    am_poll_begin(&poll, Py_None, &control);
    am_status status =
        am_net_draws(self->net, &images, index, n, seed, draws, threads, &control, values, &error);
    am_poll_end(&poll);
    am_network_end_read(self);
    return am_finish(module, status, &error, out);
}

static PyObject *
network_probabilities(network *self, PyObject *const *args, Py_ssize_t nargs)
{
    am_images images;
    int threads;
    if (am_arity("probabilities", nargs, 2) < 0 ||
        am_to_images(am_network_module(self), args[0], &images) < 0 ||
        am_to_int(args[1], "threads", &threads) < 0) {
        return NULL;
    }
    return run_forward(self, &images, NULL, images.n, self->net->n_layers, threads, 1);
}

/* --- the type -------------------------------------------------------------------------------- */

static PyMethodDef network_methods[] = {
    {"layers", (PyCFunction)(void (*)(void))network_layers, METH_NOARGS,
     "layers($self, /)\n--\n\n[(kind, height, width, channels, weights, biases, path)]: "
     "shapes of the outputs, and how they are computed."},
    {"init", (PyCFunction)(void (*)(void))network_init, METH_O,
     "init($self, seed, /)\n--\n\nGlorot uniform weights, zero biases."},
    {"get_params", (PyCFunction)(void (*)(void))network_get_params, METH_NOARGS,
     "get_params($self, /)\n--\n\nA copy: layer by layer, weights then bias."},
    {"set_params", (PyCFunction)(void (*)(void))network_set_params, METH_O,
     "set_params($self, params, /)\n--\n\nThe inverse of get_params."},
    {"forward", (PyCFunction)(void (*)(void))network_forward, METH_FASTCALL,
     "forward($self, images, last, threads, /)\n--\n\nOutput of layer last - 1, (n, numbers)."},
    {"forward_some", (PyCFunction)(void (*)(void))network_forward_some, METH_FASTCALL,
     "forward_some($self, images, index, last, view, threads, /)\n--\n\n"
     "The same of the images `index` (None: all), looked at as `view` says: None, or (seed, "
     "number, shift in pixels, angle in radians)."},
    {"draws", (PyCFunction)(void (*)(void))network_draws, METH_FASTCALL,
     "draws($self, images, index, seed, draws, threads, /)\n--\n\n"
     "Logits with dropout on, (draws, n, k)."},
    {"gradient_norms", (PyCFunction)(void (*)(void))am_network_gradient_norms, METH_FASTCALL,
     "gradient_norms($self, examples, loss, threads, /)\n--\n\n"
     "The norm of the gradient of each example's loss by all parameters, float64 (n,)."},
    {"pixel_gradients", (PyCFunction)(void (*)(void))am_network_pixel_gradients, METH_FASTCALL,
     "pixel_gradients($self, examples, threads, /)\n--\n\n"
     "The gradient of each example's label's logit by the pixels, (n, h, w, c)."},
    {"probabilities", (PyCFunction)(void (*)(void))network_probabilities, METH_FASTCALL,
     "probabilities($self, images, threads, /)\n--\n\nSoftmax of the last layer's output, (n, k)."},
    {"train_begin", (PyCFunction)(void (*)(void))am_network_train_begin, METH_VARARGS,
     "train_begin($self, loss, optimizer, momentum, decay, epsilon, schedule, learning_rate, "
     "batch_size, epochs, patience, seed, n_train, threads, /)\n--\n\nCreates the trainer."},
    {"train_epoch", (PyCFunction)(void (*)(void))am_network_train_epoch, METH_FASTCALL,
     "train_epoch($self, train, held, callback, /)\n--\n\n"
     "(epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, improved, stop)"},
    {"train_progress", (PyCFunction)(void (*)(void))am_network_train_progress, METH_NOARGS,
     "train_progress($self, /)\n--\n\n(steps done, steps in all)"},
    {"train_export", (PyCFunction)(void (*)(void))am_network_train_export, METH_NOARGS,
     "train_export($self, /)\n--\n\nThe state after an epoch: (epoch, best_epoch, best_loss, "
     "power1, power2, params, v, m | None, best | None)."},
    {"train_import", (PyCFunction)(void (*)(void))am_network_train_import, METH_O,
     "train_import($self, state, /)\n--\n\nGoes on from a state, after train_begin."},
    {"train_end", (PyCFunction)(void (*)(void))am_network_train_end, METH_O,
     "train_end($self, restore, /)\n--\n\nWhether the best weights were put back."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot network_slots[] = {
    {Py_tp_doc,
     "Network(layers, height, width, channels, fuse=True, /)\n--\n\n"
     "A network in the C core; fuse: conv, ReLU and max-pool in one where that fits."},
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
