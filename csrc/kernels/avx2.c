/* x86-64 with AVX2 and FMA; built with -mavx2 -mfma -mbmi -mbmi2. */
#define AM_TABLE am_kernels_avx2
#define AM_ISA "avx2"
#define AM_LANES 8
#define AM_FUSED 1
#include "kernels.inc.c"
