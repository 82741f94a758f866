#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

am_cpu
am_cpu_decode(const am_cpuid *raw)
{
    am_cpu cpu = {0};
    const uint32_t need1 = 1u << 12 | 1u << 27 | 1u << 28;
    const uint32_t need7 = 1u << 3 | 1u << 5 | 1u << 8;
    const uint32_t need7_512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    const uint64_t ymm_state = 0x06; /* SSE and AVX registers are saved on a task switch */
    const uint64_t zmm_state = 0xe6; /* and mask registers and both parts of the large ones */
    cpu.avx2_fma = raw->max_leaf >= 7 && (raw->leaf1_ecx & need1) == need1 &&
                   (raw->leaf7_ebx & need7) == need7 && (raw->xcr0 & ymm_state) == ymm_state;
    cpu.avx512 = cpu.avx2_fma && (raw->leaf7_ebx & need7_512) == need7_512 &&
                 (raw->xcr0 & zmm_state) == zmm_state;
    return cpu;
}

am_cpu
am_cpu_detect(void)
{
#if defined(__x86_64__)
    am_cpuid raw = {0, 0, 0, 0};
    uint32_t a, b, c, d;
    raw.max_leaf = __get_cpuid_max(0, NULL);
    if (raw.max_leaf >= 1) {
        __cpuid(1, a, b, c, d);
        raw.leaf1_ecx = c;
        if (c >> 27 & 1) {
            uint32_t low, high;
            __asm__ volatile("xgetbv" /* volatile: must not be moved before the test */
                             : "=a"(low), "=d"(high)
                             : "c"(0));
            raw.xcr0 = (uint64_t)high << 32 | low;
        }
    }
    if (raw.max_leaf >= 7) {
        __cpuid_count(7, 0, a, b, c, d);
        raw.leaf7_ebx = b;
    }
    return am_cpu_decode(&raw);
#elif defined(__aarch64__)
    return (am_cpu){.neon = 1};
#else
    return (am_cpu){0};
#endif
}
