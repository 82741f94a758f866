/* AVX-512 without fused multiply-add: strict mode at full width, the bits of the baseline. */
#define AM_TABLE am_kernels_avx512_strict
#define AM_ISA "avx512"
#define AM_LANES 16
#define AM_FUSED 0
#include "kernels.inc.c"
