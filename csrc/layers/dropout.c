#include "layers.h"

void
am_dropout_mask(uint8_t *keep, int64_t n, double rate, uint64_t seed, uint32_t step, uint32_t layer,
                uint32_t slot)
{
    const uint64_t threshold = (uint64_t)(rate * 0x1p32); /* drop below it */
    const am_stream stream = (am_stream)(AM_STREAM_DROPOUT | layer << 8);
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t word[4];
        am_random4(word, seed, stream, step, slot, (uint32_t)(i / 4));
        for (int64_t j = 0; j < am_min_i64(4, n - i); j++) {
            keep[i + j] = word[j] >= threshold;
        }
    }
}

void
am_dropout_apply(float *y, const float *x, const uint8_t *keep, double rate, int64_t n)
{
    am_get_kernels()->mask(y, x, keep, (float)(1.0 / (1.0 - rate)), n);
}
