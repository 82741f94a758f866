/* Any 64-bit CPU: SSE2 on x86-64, plain NEON on AArch64. No fused multiply-add, so this is also
 * what strict mode means. */
#define AM_TABLE am_kernels_baseline
#define AM_ISA "baseline"
#define AM_LANES 4
#define AM_FUSED 0
#include "kernels.inc.c"
