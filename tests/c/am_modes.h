/* The instruction sets of this machine, each fused and strict, for tests that walk through them. */
#ifndef AMBIG_TEST_MODES_H
#define AMBIG_TEST_MODES_H

#include "am_buffers.h"
#include "am_test.h"

#define AM_MODES 16

typedef struct am_mode {
    const char *isa;
    int strict;
} am_mode;

static inline am_mode
am_mode_in_force(void)
{
    return (am_mode){am_isa_name(), am_get_strict()};
}

static inline void
am_enter_mode(const am_mode *mode)
{
    am_set_strict(mode->strict);
    AM_CHECK_OK(am_select_isa(mode->isa, &err));
}

static inline int
am_list_modes(am_mode modes[AM_MODES])
{
    const char *names[8];
    const int n = am_isa_available(names);
    for (int i = 0; i < 2 * n; i++) {
        modes[i] = (am_mode){names[i / 2], i % 2};
    }
    return 2 * n;
}

/* The baseline multiplies and adds, strict or not. */
static inline int
am_mode_is_fused(const am_mode *mode)
{
    return !mode->strict && strcmp(mode->isa, "baseline") != 0;
}

/* `run` writes `size` bytes: the same in all modes that round alike. */
static inline void
am_check_same_bits(const char *what, void (*run)(void *out, const void *arg), const void *arg,
                   int64_t size)
{
    am_mode modes[AM_MODES];
    const am_mode before = am_mode_in_force();
    const char *first_isa[2];
    void *first[2] = {NULL, NULL}; /* of the strict modes, of the fused ones */
    for (int m = 0, n = am_list_modes(modes); m < n; m++) {
        const int fused = am_mode_is_fused(&modes[m]);
        void *out = am_bytes(size);
        memset(out, 0xff, (size_t)size);
        am_enter_mode(&modes[m]);
        run(out, arg);
        if (first[fused] == NULL) {
            first[fused] = out;
            first_isa[fused] = modes[m].isa;
            continue;
        }
        if (memcmp(out, first[fused], (size_t)size) != 0) {
            AM_FAILED("%s: %s and %s differ, %s", what, first_isa[fused], modes[m].isa,
                      fused ? "fused" : "strict");
        }
        free(out);
    }
    free(first[0]);
    free(first[1]);
    am_enter_mode(&before);
}

#endif
