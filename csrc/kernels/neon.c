/* AArch64: NEON with fused multiply-add. */
#if defined(__aarch64__)
#define AM_TABLE am_kernels_neon
#define AM_ISA "neon"
#define AM_LANES 4
#define AM_FUSED 1
#include "kernels.inc.c"
#else
typedef int am_no_neon_here; /* an empty file is not C */
#endif
