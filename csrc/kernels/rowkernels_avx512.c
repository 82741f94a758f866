#define AM_ROW_TABLE am_row_kernels_avx512
#define AM_ROW_ISA "avx512"
#include "rowkernels.inc.c"
