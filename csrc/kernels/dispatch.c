#include "kernels.h"

#include <stdatomic.h>
#include <string.h>

#include "../base/cpu.h"

extern const am_kernels am_kernels_baseline;
#if defined(AM_HAVE_X86_VARIANTS)
extern const am_kernels am_kernels_avx2, am_kernels_avx2_strict;
extern const am_kernels am_kernels_avx512, am_kernels_avx512_strict;
#endif
#if defined(__aarch64__)
extern const am_kernels am_kernels_neon;
#endif

/* An instruction set in its two arithmetics, and whether this CPU has it. Best last. */
typedef struct variant {
    const char *name;
    const am_kernels *fused, *strict;
    int available;
} variant;

#define MAX_VARIANTS 4

static int
list_variants(variant list[MAX_VARIANTS])
{
    am_cpu cpu = am_cpu_detect();
    int n = 0;
    list[n++] = (variant){"baseline", &am_kernels_baseline, &am_kernels_baseline, 1};
#if defined(AM_HAVE_X86_VARIANTS)
    list[n++] = (variant){"avx2", &am_kernels_avx2, &am_kernels_avx2_strict, cpu.avx2_fma};
    list[n++] = (variant){"avx512", &am_kernels_avx512, &am_kernels_avx512_strict, cpu.avx512};
#endif
#if defined(__aarch64__)
    list[n++] = (variant){"neon", &am_kernels_neon, &am_kernels_baseline, cpu.neon};
#endif
    (void)cpu;
    return n;
}

static atomic_int chosen = -1; /* index into the list; -1: nobody asked yet */
static atomic_int strict_mode;
static _Atomic(const am_kernels *) table = &am_kernels_baseline;

/* The table first: whoever sees `chosen` must find the table that goes with it. */
static void
adopt(const variant *list, int index)
{
    const variant *v = &list[index];
    atomic_store(&table, atomic_load(&strict_mode) ? v->strict : v->fused);
    atomic_store(&chosen, index);
}

static void
choose_best(void)
{
    variant list[MAX_VARIANTS];
    int best = list_variants(list) - 1;
    while (!list[best].available) {
        best--;
    }
    adopt(list, best);
}

const am_kernels *
am_get_kernels(void)
{
    if (atomic_load_explicit(&chosen, memory_order_acquire) < 0) {
        choose_best();
    }
    return atomic_load_explicit(&table, memory_order_acquire);
}

am_status
am_select_isa(const char *name, am_error *err)
{
    if (name == NULL || name[0] == '\0') {
        choose_best();
        return AM_OK;
    }
    variant list[MAX_VARIANTS];
    int n = list_variants(list);
    for (int i = 0; i < n; i++) {
        if (strcmp(name, list[i].name) == 0 && list[i].available) {
            adopt(list, i);
            return AM_OK;
        }
    }
    char have[64] = "";
    for (int i = 0; i < n; i++) {
        if (list[i].available) {
            strncat(have, i > 0 ? ", " : "", sizeof have - strlen(have) - 1);
            strncat(have, list[i].name, sizeof have - strlen(have) - 1);
        }
    }
    return am_fail(err, AM_ERR_VALUE,
                   "instruction set '%.32s' is not to be had here: this build and CPU have %s",
                   name, have);
}

const char *
am_isa_name(void)
{
    return am_get_kernels()->isa;
}

int
am_isa_available(const char *names[8])
{
    variant list[MAX_VARIANTS];
    int n = list_variants(list), found = 0;
    for (int i = 0; i < n; i++) {
        if (list[i].available) {
            names[found++] = list[i].name;
        }
    }
    return found;
}

void
am_set_strict(int strict)
{
    am_get_kernels();
    variant list[MAX_VARIANTS];
    list_variants(list);
    atomic_store(&strict_mode, strict != 0);
    adopt(list, atomic_load(&chosen));
}

int
am_get_strict(void)
{
    return atomic_load(&strict_mode);
}
