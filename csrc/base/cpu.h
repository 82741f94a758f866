/* What this CPU, and the operating system on it, can run. */
#ifndef AMBIG_BASE_CPU_H
#define AMBIG_BASE_CPU_H

#include "compiler.h"

/* The raw answers that decide; a pure decoder on top, so that recorded machines can be tested. */
typedef struct am_cpuid {
    uint32_t max_leaf;  /* leaf 0, eax */
    uint32_t leaf1_ecx; /* fma 12, osxsave 27, avx 28 */
    uint32_t leaf7_ebx; /* bmi1 3, avx2 5, bmi2 8, avx512 f 16, dq 17, bw 30, vl 31 */
    uint64_t xcr0;      /* 0 where osxsave is off: xgetbv would fault */
} am_cpuid;

typedef struct am_cpu {
    int avx2_fma; /* AVX2, FMA, BMI1, BMI2, and the OS saves the upper halves of the registers */
    int avx512;   /* all of that, AVX-512 F, DQ, BW and VL, and the OS saves their registers too */
    int neon;     /* always there on AArch64 */
} am_cpu;

am_cpu am_cpu_decode(const am_cpuid *raw);
am_cpu am_cpu_detect(void);

#endif
