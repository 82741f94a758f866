#define AM_ROW_TABLE am_row_kernels_avx2
#define AM_ROW_ISA "avx2"
#include "rowkernels.inc.c"
