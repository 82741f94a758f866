#include "rng.h"

void
am_philox4x32(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)c0 * 0xD2511F53u;
        uint64_t q = (uint64_t)c2 * 0xCD9E8D57u;
        c0 = (uint32_t)(q >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)q;
        c3 = (uint32_t)p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void
am_random4(uint32_t out[4], uint64_t seed, am_stream stream, uint32_t a, uint32_t b, uint32_t block)
{
    uint32_t counter[4] = {block, b, a, (uint32_t)stream};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    am_philox4x32(out, counter, key);
}

void
am_shuffle(int64_t *items, int64_t n, uint64_t seed, am_stream stream, uint32_t epoch)
{
    /* Fisher-Yates from the end. The high half of a 64 x 64-bit product maps a word to [0, i]
     * with a bias below i / 2^64. */
    for (int64_t i = n - 1; i > 0; i--) {
        uint32_t word[4];
        am_random4(word, seed, stream, epoch, (uint32_t)((uint64_t)i >> 32), (uint32_t)i);
        uint64_t bits = (uint64_t)word[0] << 32 | word[1];
        int64_t j = (int64_t)(((__uint128_t)bits * (uint64_t)(i + 1)) >> 64);
        int64_t kept = items[i];
        items[i] = items[j];
        items[j] = kept;
    }
}
