/* x86-64 with AVX-512 F, DQ, BW and VL. */
#define AM_TABLE am_kernels_avx512
#define AM_ISA "avx512"
#define AM_LANES 16
#define AM_FUSED 1
#include "kernels.inc.c"
