/* The only way to Python and NumPy: every file of this folder includes this first. */
#ifndef AMBIG_PYTHON_NPY_H
#define AMBIG_PYTHON_NPY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define PY_ARRAY_UNIQUE_SYMBOL ambigmnist_ARRAY_API
#ifndef AM_IMPORTS_ARRAY_API
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#endif
