#include "layers.h"

/* 8 bits as 8 bytes of 0 or 1 */
static uint64_t
spread(uint64_t byte)
{
    const uint64_t one_each = byte * 0x0101010101010101u & 0x8040201008040201u;
    return (one_each + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
}

/* 128 bits, each 1 with probability digits / 2^16. Taken from the last binary digit to the first:
 * `and` with a random bit halves the probability, `or` halves its distance from 1. Digits that are
 * 0 at the end cost nothing: a rate of 1/2 takes one bit per bit. */
static void
draw_bits(uint32_t bits[4], uint32_t digits, uint64_t seed, am_stream stream, uint32_t step,
          uint32_t slot, uint32_t number)
{
    bits[0] = bits[1] = bits[2] = bits[3] = 0;
    for (int d = __builtin_ctz(digits); d < 16; d++) {
        uint32_t word[4];
        am_random4(word, seed, stream, step, slot, number * 16 + (uint32_t)d);
        for (int i = 0; i < 4; i++) {
            bits[i] = digits >> d & 1 ? bits[i] | word[i] : bits[i] & word[i];
        }
    }
}

void
am_dropout_mask(uint8_t *keep, int64_t n, double rate, uint64_t seed, uint32_t step, uint32_t layer,
                uint32_t slot)
{
    const am_stream stream = (am_stream)(AM_STREAM_DROPOUT | layer << 8);
    const uint32_t rounded = (uint32_t)(rate * 65536.0 + 0.5);
    const uint32_t digits = rounded < 65535 ? rounded : 65535;
    if (digits == 0) {
        __builtin_memset(keep, 1, (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i += 128) {
        uint32_t drop[4];
        draw_bits(drop, digits, seed, stream, step, slot, (uint32_t)(i / 128));
        for (int64_t j = 0; j < am_min_i64(128, n - i); j += 8) {
            const uint64_t kept = spread(~drop[j / 32] >> j % 32 & 0xff);
            __builtin_memcpy(keep + i + j, &kept, (size_t)am_min_i64(8, n - i - j));
        }
    }
}

void
am_dropout_apply(float *y, const float *x, const uint8_t *keep, double rate, int64_t n)
{
    am_get_kernels()->mask(y, x, keep, (float)(1.0 / (1.0 - rate)), n);
}
