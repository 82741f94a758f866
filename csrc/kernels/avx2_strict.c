/* AVX2 without fused multiply-add: strict mode at full width, the bits of the baseline. */
#define AM_TABLE am_kernels_avx2_strict
#define AM_ISA "avx2"
#define AM_LANES 8
#define AM_FUSED 0
#include "kernels.inc.c"
