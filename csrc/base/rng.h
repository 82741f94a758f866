/* Philox4x32-10: random numbers as a function of a key and a counter, without state.
 *
 * Whoever draws number i of stream s gets the same bits, in any order and on any thread.
 * Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC'11). The tests hold
 * it against the known-answer vectors published with that paper. */
#ifndef AMBIG_BASE_RNG_H
#define AMBIG_BASE_RNG_H

#include "compiler.h"

/* What the numbers are for: part of the counter, so that no two uses share a stream. */
typedef enum am_stream {
    AM_STREAM_INIT = 1,
    AM_STREAM_SHUFFLE = 2,
    AM_STREAM_DROPOUT = 3,
    AM_STREAM_SPLIT = 4,
    AM_STREAM_VIEW = 5,
} am_stream;

/* Four words from a counter and a key. */
void am_philox4x32(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/* Four words of stream `stream`, for the pair (a, b), block `block`. */
void am_random4(uint32_t out[4], uint64_t seed, am_stream stream, uint32_t a, uint32_t b,
                uint32_t block);

/* Uniform in [0, 1), 24 bits, from one word. */
static inline float
am_uniform(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

/* A random permutation of items[0..n): a function of (seed, stream, epoch) and the order given. */
void am_shuffle(int64_t *items, int64_t n, uint64_t seed, am_stream stream, uint32_t epoch);

#endif
