/* A 64-bit number for the content of an image, to find equal ones.
 *
 * The bytes are read as little-endian words of 8, the last one filled up with zeros; word i goes
 * into lane i mod 4, h <- rotate((h xor word) * odd, 29) * odd. A step is a bijection of the lane
 * and of the word, and so is what joins the four lanes: images that differ in one word never share
 * a number, others do with a chance of about 2^-64. Whoever must be sure compares the bytes of
 * images with the same number. It is no defence against somebody who makes images collide on
 * purpose. */
#ifndef AMBIG_DATA_HASH_H
#define AMBIG_DATA_HASH_H

#include "../base/control.h"

/* The same on every machine. */
uint64_t am_hash_bytes(const uint8_t *bytes, int64_t size);

/* hashes[i] of the `size` bytes of image i; the n images have no gaps. */
am_status am_image_hashes(const uint8_t *images, int64_t n, int64_t size, uint64_t *hashes,
                          int threads, am_control *control, am_error *err);

#endif
