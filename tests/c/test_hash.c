/* Hashes of images: what they are made of, and what must never be equal. */
#include "am_test.h"

#include <string.h>

#include "../../csrc/data/hash.h"

enum { SIZE = 75 }; /* two rounds of all lanes, and a rest */

AM_TEST(one_changed_byte_changes_the_hash)
{
    uint8_t bytes[SIZE];
    for (int i = 0; i < SIZE; i++) {
        bytes[i] = (uint8_t)(i * 37);
    }
    for (int64_t size = 0; size <= SIZE; size++) {
        const uint64_t hash = am_hash_bytes(bytes, size);
        for (int64_t i = 0; i < size; i++) {
            for (int change = 1; change < 256; change++) {
                bytes[i] ^= (uint8_t)change;
                AM_CHECK(am_hash_bytes(bytes, size) != hash);
                bytes[i] ^= (uint8_t)change;
            }
        }
        AM_CHECK(am_hash_bytes(bytes, size) == hash);
        AM_CHECK(size == 0 || am_hash_bytes(bytes, size - 1) != hash);
    }
}

AM_TEST(images_are_hashed_one_by_one_wherever_they_lie)
{
    enum { IMAGES = 40000 }; /* several chunks */
    static uint8_t images[1 + IMAGES * SIZE];
    static uint64_t hashes[IMAGES];
    for (int i = 0; i < IMAGES * SIZE; i++) {
        images[1 + i] = (uint8_t)((uint32_t)i * 2654435761u >> 24);
    }
    for (int threads = 1; threads < 4; threads++) {
        memset(hashes, 0, sizeof hashes);
        AM_CHECK_OK(am_image_hashes(images + 1, IMAGES, SIZE, hashes, threads, NULL, &err));
        for (int i = 0; i < IMAGES; i++) {
            uint8_t alone[SIZE];
            memcpy(alone, images + 1 + (int64_t)i * SIZE, SIZE);
            AM_CHECK(hashes[i] == am_hash_bytes(alone, SIZE));
        }
    }
    AM_CHECK_OK(am_image_hashes(NULL, 0, SIZE, NULL, 3, NULL, &err));
    AM_CHECK_OK(am_image_hashes(images, 2, 0, hashes, 3, NULL, &err));
    AM_CHECK(hashes[0] == hashes[1]);
}
