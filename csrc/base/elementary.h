/* exp, log, sin and cos in double precision, the same bits on every machine.
 *
 * The C library picks another variant per CPU, so a seed would not give the same network twice;
 * these use only + - * / and are compiled without contraction. Measured against 60 digits
 * (tests/test_base.py): below 1 unit in the last place for all five; sin and cos up to
 * |x| = 2^20, beyond which the reduction loses bits, NaN from 2^52. */
#ifndef AMBIG_BASE_ELEMENTARY_H
#define AMBIG_BASE_ELEMENTARY_H

#include "compiler.h"

double am_exp(double x);   /* 0 below -745.2, +inf above 709.79 */
double am_log(double x);   /* -inf at 0, NaN below */
double am_log1p(double x); /* log(1 + x), exact for small x */
double am_sin(double x);
double am_cos(double x);

#endif
