/* The module ambigmnist._ambigcore: slots only; what it does lives in the py_*.c files. */
#define AM_IMPORTS_ARRAY_API
#include "convert.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    am_status status;
    const char *name;
} exception_names[] = {
    {AM_ERR_VALUE, "ArgumentError"},     {AM_ERR_SHAPE, "ShapeError"}, {AM_ERR_FORMAT, "DataError"},
    {AM_ERR_MEMORY, "OutOfMemoryError"}, {AM_ERR_BUSY, "BusyError"},
};

/* The exceptions are Python classes, so that they document themselves; the core maps codes to them.
 */
static int
load_exceptions(core_state *state)
{
    PyObject *errors = PyImport_ImportModule("ambigmnist.errors");
    if (errors == NULL) {
        return -1;
    }
    int result = 0;
    for (size_t i = 0; i < sizeof exception_names / sizeof exception_names[0]; i++) {
        PyObject *class = PyObject_GetAttrString(errors, exception_names[i].name);
        state->exceptions[exception_names[i].status] = class;
        result = class == NULL ? -1 : result;
    }
    state->dtype_error = PyObject_GetAttrString(errors, "DTypeError");
    result = state->dtype_error == NULL ? -1 : result;
    Py_DECREF(errors);
    return result;
}

static int
core_exec(PyObject *module)
{
    /* Not import_array(): inside an exec slot its `return NULL` would mean success. */
    if (PyArray_ImportNumPyAPI() < 0) {
        return -1;
    }
    core_state *state = PyModule_GetState(module);
    PyMethodDef *methods[] = {am_base_methods,  am_data_methods,       am_layer_methods,
                              am_rank_methods,  am_label_methods,      am_train_methods,
                              am_draws_methods, am_calibration_methods};
    if (load_exceptions(state) < 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (PyModule_AddFunctions(module, methods[i]) < 0) {
            return -1;
        }
    }
    /* Before anything computes: a wrong name must not surface in the middle of a run. */
    am_error error;
    am_status status = am_select_isa(getenv("AMBIGMNIST_ISA"), &error);
    if (status != AM_OK) {
        PyErr_Format(state->exceptions[status], "AMBIGMNIST_ISA: %s", error.message);
        return -1;
    }
    const char *strict = getenv("AMBIGMNIST_STRICT");
    am_set_strict(strict != NULL && strict[0] != '\0' && strcmp(strict, "0") != 0);
    return am_add_network_type(module, state);
}

static int
core_traverse(PyObject *module, visitproc visit, void *arg)
{
    core_state *state = PyModule_GetState(module);
    for (int i = 0; i < AM_N_STATUS; i++) {
        Py_VISIT(state->exceptions[i]);
    }
    Py_VISIT(state->dtype_error);
    Py_VISIT(state->network_type);
    return 0;
}

static int
core_clear(PyObject *module)
{
    core_state *state = PyModule_GetState(module);
    for (int i = 0; i < AM_N_STATUS; i++) {
        Py_CLEAR(state->exceptions[i]);
    }
    Py_CLEAR(state->dtype_error);
    Py_CLEAR(state->network_type);
    return 0;
}

static void
core_free(void *module)
{
    core_clear(module);
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if defined(Py_mod_multiple_interpreters)
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if defined(Py_mod_gil)
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ambigmnist._ambigcore",
    .m_doc = "The C core of ambigmnist: use the names in ambigmnist instead.",
    .m_size = sizeof(core_state),
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC
PyInit__ambigcore(void)
{
    return PyModuleDef_Init(&core_module);
}
