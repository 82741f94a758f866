#include "hash.h"

#include <string.h>

#include "../base/pool.h"

#define LANES 4                  /* a multiplication waits for the last one of its lane alone */
#define CHUNK ((int64_t)1 << 20) /* bytes, about */

/* The golden ratio's fraction, and the first digits of e and pi, made odd. */
#define GOLDEN 0x9e3779b97f4a7c15u
#define EULER 0xadf85458a2bb4a9bu
#define CIRCLE 0x243f6a8885a308d3u

static uint64_t
rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* The first multiplication moves no bit down, and the highest nowhere; the second spreads what the
 * rotation put below, so that no small change of the lane's next word undoes one of this. */
static uint64_t
step(uint64_t h, uint64_t word)
{
    return rotate((h ^ word) * GOLDEN, 29) * EULER;
}

/* Every bit of x moves about half of all bits. */
static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 32) * EULER;
    x = (x ^ x >> 29) * CIRCLE;
    return x ^ x >> 32;
}

static uint64_t
word_at(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

uint64_t
am_hash_bytes(const uint8_t *bytes, int64_t size)
{
    uint64_t lanes[LANES] = {GOLDEN, EULER, CIRCLE, GOLDEN ^ CIRCLE};
    int64_t at = 0;
    for (; at + 8 * LANES <= size; at += 8 * LANES) {
        for (int lane = 0; lane < LANES; lane++) {
            lanes[lane] = step(lanes[lane], word_at(bytes + at + 8 * lane));
        }
    }
    uint8_t rest[8 * LANES] = {0};
    if (at < size) {
        memcpy(rest, bytes + at, (size_t)(size - at));
        for (int lane = 0; lane < LANES; lane++) {
            lanes[lane] = step(lanes[lane], word_at(rest + 8 * lane));
        }
    }
    uint64_t h = (uint64_t)size;
    for (int lane = 0; lane < LANES; lane++) {
        h = mix(h ^ lanes[lane]);
    }
    return h;
}

typedef struct hashing {
    const uint8_t *images;
    int64_t n, size, per_chunk;
    uint64_t *hashes;
    am_control *control;
} hashing;

static am_status
hash_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const hashing *h = arg;
    const int64_t stop = am_min_i64((chunk + 1) * h->per_chunk, h->n);
    AM_TRY(am_check(h->control, slot, err));
    for (int64_t i = chunk * h->per_chunk; i < stop; i++) {
        h->hashes[i] = am_hash_bytes(h->images + i * h->size, h->size);
    }
    return AM_OK;
}

am_status
am_image_hashes(const uint8_t *images, int64_t n, int64_t size, uint64_t *hashes, int threads,
                am_control *control, am_error *err)
{
    hashing h = {images, n, size, am_ceil_div(CHUNK, size + 1), hashes, control};
    return am_parallel_for(am_ceil_div(n, h.per_chunk), threads, hash_chunk, &h, err);
}
