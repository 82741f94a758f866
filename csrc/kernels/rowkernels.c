/* The row kernels for any CPU, and the choice among the tables. */
#define AM_ROW_TABLE am_row_kernels_baseline
#define AM_ROW_ISA "baseline"
#include "rowkernels.inc.c"

#include <string.h>

#include "kernels.h"

#if defined(AM_HAVE_X86_VARIANTS)
extern const am_row_kernels am_row_kernels_avx2, am_row_kernels_avx512;
#endif

const am_row_kernels *
am_get_row_kernels(void)
{
#if defined(AM_HAVE_X86_VARIANTS)
    const char *isa = am_isa_name();
    if (strcmp(isa, am_row_kernels_avx512.isa) == 0) {
        return &am_row_kernels_avx512;
    }
    if (strcmp(isa, am_row_kernels_avx2.isa) == 0) {
        return &am_row_kernels_avx2;
    }
#endif
    return &am_row_kernels_baseline;
}
