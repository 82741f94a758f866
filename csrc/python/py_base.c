/* The base of the core for Python: numbers that tests and the configuration need. */
#include "convert.h"

#include <string.h>

static PyObject *
py_alloc_stats(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    am_alloc_stats stats;
    am_get_alloc_stats(&stats);
    return Py_BuildValue("LLL", (long long)stats.live_blocks, (long long)stats.live_bytes,
                         (long long)stats.total_calls);
}

static PyObject *
py_fail_alloc_at(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n_args)
{
    int64_t n;
    int persistent;
    if (am_arity("fail_alloc_at", n_args, 2) < 0 || am_to_int64(args[0], "n", &n) < 0 ||
        (persistent = PyObject_IsTrue(args[1])) < 0) {
        return NULL;
    }
    am_fail_alloc_at(n, persistent);
    Py_RETURN_NONE;
}

static PyObject *
py_set_num_threads(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n_args)
{
    int threads;
    if (am_arity("set_num_threads", n_args, 1) < 0 || am_to_int(args[0], "threads", &threads) < 0) {
        return NULL;
    }
    am_set_num_threads(threads);
    Py_RETURN_NONE;
}

static PyObject *
py_get_num_threads(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyLong_FromLong(am_get_num_threads());
}

static PyObject *
py_cpu_features(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    am_cpu cpu = am_cpu_detect();
    return Py_BuildValue("{s:O,s:O,s:O}", "avx2_fma", cpu.avx2_fma ? Py_True : Py_False, "avx512",
                         cpu.avx512 ? Py_True : Py_False, "neon", cpu.neon ? Py_True : Py_False);
}

static PyObject *
py_isa_name(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyUnicode_FromString(am_isa_name());
}

static PyObject *
py_isa_available(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    const char *names[8];
    int n = am_isa_available(names);
    PyObject *tuple = PyTuple_New(n);
    for (int i = 0; tuple != NULL && i < n; i++) {
        PyObject *name = PyUnicode_FromString(names[i]);
        if (name == NULL || PyTuple_SetItem(tuple, i, name) < 0) {
            Py_CLEAR(tuple);
        }
    }
    return tuple;
}

static PyObject *
py_select_isa(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    if (am_arity("select_isa", n_args, 1) < 0) {
        return NULL;
    }
    PyObject *bytes = PyUnicode_AsUTF8String(args[0]);
    char *name;
    if (bytes == NULL || PyBytes_AsStringAndSize(bytes, &name, NULL) < 0) {
        Py_XDECREF(bytes);
        return NULL;
    }
    am_error error;
    am_status status = am_select_isa(name, &error);
    Py_DECREF(bytes);
    if (status != AM_OK) {
        return am_raise(module, status, &error);
    }
    Py_RETURN_NONE;
}

static PyObject *
py_set_strict(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n_args)
{
    int strict;
    if (am_arity("set_strict", n_args, 1) < 0 || (strict = PyObject_IsTrue(args[0])) < 0) {
        return NULL;
    }
    am_set_strict(strict);
    Py_RETURN_NONE;
}

static PyObject *
py_get_strict(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(am_get_strict());
}

/* `n` words of 32 bits from a tuple. */
static int
to_words(PyObject *object, const char *name, uint32_t *out, Py_ssize_t n)
{
    if (!PyTuple_Check(object) || PyTuple_Size(object) != n) {
        PyErr_Format(PyExc_TypeError, "%s: expected a tuple of %zd words, got %R", name, n, object);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        int64_t word;
        if (am_to_int64(PyTuple_GetItem(object, i), name, &word) < 0) {
            return -1;
        }
        if (word < 0 || word > UINT32_MAX) {
            PyErr_Format(PyExc_OverflowError, "%s: expected 32-bit words, got %R", name, object);
            return -1;
        }
        out[i] = (uint32_t)word;
    }
    return 0;
}

static PyObject *
py_philox4x32(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n_args)
{
    uint32_t counter[4], key[2], out[4];
    if (am_arity("philox4x32", n_args, 2) < 0 || to_words(args[0], "counter", counter, 4) < 0 ||
        to_words(args[1], "key", key, 2) < 0) {
        return NULL;
    }
    am_philox4x32(out, counter, key);
    return Py_BuildValue("IIII", out[0], out[1], out[2], out[3]);
}

static PyObject *
py_shuffle(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    int64_t n, epoch;
    uint64_t seed;
    if (am_arity("shuffle", n_args, 3) < 0 || am_to_int64(args[0], "n", &n) < 0 ||
        am_to_seed(args[1], "seed", &seed) < 0 || am_to_int64(args[2], "epoch", &epoch) < 0) {
        return NULL;
    }
    if (n < 0 || epoch < 0 || epoch > UINT32_MAX) {
        am_error error;
        return am_raise(
            module,
            am_fail(&error, AM_ERR_VALUE,
                    "shuffle: expected n >= 0 and an epoch of 32 bits, got %lld and %lld",
                    (long long)n, (long long)epoch),
            &error);
    }
    npy_intp shape[1] = {(npy_intp)n};
    PyObject *order = am_new_array(1, shape, NPY_INT64);
    if (order == NULL) {
        return NULL;
    }
    int64_t *items = PyArray_DATA((PyArrayObject *)order);
    Py_BEGIN_ALLOW_THREADS for (int64_t i = 0; i < n; i++)
    {
        items[i] = i;
    }
    am_shuffle(items, n, seed, AM_STREAM_SHUFFLE, (uint32_t)epoch);
    Py_END_ALLOW_THREADS return order;
}

static const struct {
    const char *name;
    double (*function)(double);
} elementary[] = {
    {"exp", am_exp}, {"log", am_log}, {"log1p", am_log1p}, {"sin", am_sin}, {"cos", am_cos},
};

static PyObject *
py_elementary(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    if (am_arity("elementary", n_args, 2) < 0) {
        return NULL;
    }
    double (*function)(double) = NULL;
    for (size_t i = 0; i < sizeof elementary / sizeof elementary[0]; i++) {
        if (PyUnicode_Check(args[0]) &&
            PyUnicode_CompareWithASCIIString(args[0], elementary[i].name) == 0) {
            function = elementary[i].function;
        }
    }
    if (function == NULL) {
        PyErr_Format(PyExc_ValueError, "elementary: expected exp, log, log1p, sin or cos, got %R",
                     args[0]);
        return NULL;
    }
    PyArrayObject *x = am_to_array(module, args[1], "x", NPY_DOUBLE, -1, 0);
    if (x == NULL) {
        return NULL;
    }
    PyObject *y = am_new_array(PyArray_NDIM(x), PyArray_DIMS(x), NPY_DOUBLE);
    if (y == NULL) {
        return NULL;
    }
    const double *in = PyArray_DATA(x);
    double *out = PyArray_DATA((PyArrayObject *)y);
    npy_intp n = PyArray_SIZE(x);
    Py_BEGIN_ALLOW_THREADS for (npy_intp i = 0; i < n; i++)
    {
        out[i] = function(in[i]);
    }
    Py_END_ALLOW_THREADS return y;
}

static am_status
probe_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    int64_t fail_chunk = *(const int64_t *)arg;
    (void)slot;
    if (fail_chunk >= 0 && chunk >= fail_chunk) {
        return am_fail(err, AM_ERR_VALUE, "chunk %lld failed, as it was told to", (long long)chunk);
    }
    return AM_OK;
}

static PyObject *
py_parallel_probe(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    int64_t chunks, fail_chunk;
    int threads;
    if (am_arity("parallel_probe", n_args, 3) < 0 || am_to_int64(args[0], "chunks", &chunks) < 0 ||
        am_to_int(args[1], "threads", &threads) < 0 ||
        am_to_int64(args[2], "fail_chunk", &fail_chunk) < 0) {
        return NULL;
    }
    am_error error = {AM_OK, ""};
    am_status status;
    Py_BEGIN_ALLOW_THREADS status =
        am_parallel_for(chunks, threads, probe_chunk, &fail_chunk, &error);
    Py_END_ALLOW_THREADS if (status != AM_OK)
    {
        return am_raise(module, status, &error);
    }
    Py_RETURN_NONE;
}

static PyObject *
py_build_info(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
#if defined(__clang__)
    const char *compiler = __VERSION__; /* names clang itself */
#else
    const char *compiler = "GCC " __VERSION__;
#endif
#if defined(__SANITIZE_ADDRESS__)
    const char *sanitizer = "address";
#elif defined(__SANITIZE_THREAD__)
    const char *sanitizer = "thread";
#else
    const char *sanitizer = "none";
#endif
#if defined(Py_LIMITED_API)
    PyObject *abi3 = Py_True;
#else
    PyObject *abi3 = Py_False;
#endif
#if defined(__FAST_MATH__)
    PyObject *fast_math = Py_True;
#else
    PyObject *fast_math = Py_False;
#endif
    return Py_BuildValue("{s:s,s:s,s:s,s:O,s:O}", "version", AM_VERSION, "compiler", compiler,
                         "sanitizer", sanitizer, "abi3", abi3, "fast_math", fast_math);
}

PyMethodDef am_base_methods[] = {
    {"alloc_stats", py_alloc_stats, METH_NOARGS,
     "alloc_stats($module, /)\n--\n\n"
     "Blocks alive, bytes alive, allocations since the process started."},
    {"fail_alloc_at", (PyCFunction)(void (*)(void))py_fail_alloc_at, METH_FASTCALL,
     "fail_alloc_at($module, n, persistent, /)\n--\n\n"
     "Make the n-th allocation from now fail, and every later one if persistent; 0: none."},
    {"set_num_threads", (PyCFunction)(void (*)(void))py_set_num_threads, METH_FASTCALL,
     "set_num_threads($module, threads, /)\n--\n\n"
     "Set the number of threads of this process; 0 takes it back."},
    {"get_num_threads", py_get_num_threads, METH_NOARGS,
     "get_num_threads($module, /)\n--\n\n"
     "The number that was set, or 0."},
    {"cpu_features", py_cpu_features, METH_NOARGS,
     "cpu_features($module, /)\n--\n\n"
     "What the CPU and the operating system can run, by name."},
    {"isa_name", py_isa_name, METH_NOARGS,
     "isa_name($module, /)\n--\n\n"
     "The instruction set in use."},
    {"isa_available", py_isa_available, METH_NOARGS,
     "isa_available($module, /)\n--\n\n"
     "The instruction sets that this build and this CPU have, best last."},
    {"select_isa", (PyCFunction)(void (*)(void))py_select_isa, METH_FASTCALL,
     "select_isa($module, name, /)\n--\n\n"
     "Use the instruction set of that name; an empty name means the best."},
    {"set_strict", (PyCFunction)(void (*)(void))py_set_strict, METH_FASTCALL,
     "set_strict($module, strict, /)\n--\n\n"
     "No fused multiply-add: the same bits on every instruction set."},
    {"get_strict", py_get_strict, METH_NOARGS,
     "get_strict($module, /)\n--\n\n"
     "Whether strict arithmetic is on."},
    {"philox4x32", (PyCFunction)(void (*)(void))py_philox4x32, METH_FASTCALL,
     "philox4x32($module, counter, key, /)\n--\n\n"
     "Four random words from a counter of four and a key of two (Philox4x32-10)."},
    {"shuffle", (PyCFunction)(void (*)(void))py_shuffle, METH_FASTCALL,
     "shuffle($module, n, seed, epoch, /)\n--\n\n"
     "The order in which an epoch visits n images: a permutation, int64."},
    {"elementary", (PyCFunction)(void (*)(void))py_elementary, METH_FASTCALL,
     "elementary($module, name, x, /)\n--\n\n"
     "The core's own exp, log, log1p, sin or cos of a float64 array."},
    {"parallel_probe", (PyCFunction)(void (*)(void))py_parallel_probe, METH_FASTCALL,
     "parallel_probe($module, chunks, threads, fail_chunk, /)\n--\n\n"
     "Run empty chunks on the pool; those from fail_chunk on fail (-1: none)."},
    {"build_info", py_build_info, METH_NOARGS,
     "build_info($module, /)\n--\n\n"
     "Version, compiler, sanitizer, abi3 and fast_math of this build."},
    {NULL, NULL, 0, NULL},
};
