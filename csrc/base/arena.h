/* One block, carved from the front: all memory of a handle or of a call.
 *
 * Sizes are asked for first and the block is allocated once, so that the work itself cannot
 * run out of memory. The same plan function runs twice: on an arena without a block, where
 * am_carve only adds up sizes, then on the real one. */
#ifndef AMBIG_BASE_ARENA_H
#define AMBIG_BASE_ARENA_H

#include "status.h"

typedef struct am_arena {
    char *block;      /* NULL while measuring */
    int64_t capacity; /* bytes */
    int64_t used;
    int overflow; /* a size did not fit; am_arena_reserve reports it */
} am_arena;

/* `count` items of `size` bytes, zeroed, aligned to a cache line; NULL while measuring. */
void *am_carve(am_arena *arena, int64_t count, int64_t size);

/* Allocates what was measured and starts carving anew. */
am_status am_arena_reserve(am_arena *arena, am_error *err);
void am_arena_free(am_arena *arena);

#endif
