#include "arena.h"

#include <string.h>

#include "alloc.h"

void *
am_carve(am_arena *arena, int64_t count, int64_t size)
{
    int64_t bytes, end;
    if (count < 0 || size < 0 || __builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, AM_ALIGNMENT - 1, &bytes)) {
        arena->overflow = 1;
        return NULL;
    }
    bytes -= bytes % AM_ALIGNMENT;
    if (__builtin_add_overflow(arena->used, bytes, &end) ||
        (arena->block != NULL && end > arena->capacity)) {
        arena->overflow = 1;
        return NULL;
    }
    void *piece = NULL;
    if (arena->block != NULL) {
        piece = arena->block + arena->used;
        memset(piece, 0, (size_t)bytes);
    }
    arena->used = end;
    return piece;
}

am_status
am_arena_reserve(am_arena *arena, am_error *err)
{
    if (arena->overflow) {
        return am_fail(err, AM_ERR_MEMORY, "the sizes asked for do not fit in memory");
    }
    /* At least one byte: a block of NULL would mean "measuring". */
    arena->capacity = arena->used > 0 ? arena->used : AM_ALIGNMENT;
    arena->used = 0;
    void *block;
    AM_TRY(am_alloc(&block, arena->capacity, 1, err));
    arena->block = block;
    return AM_OK;
}

void
am_arena_free(am_arena *arena)
{
    am_free(arena->block);
    memset(arena, 0, sizeof *arena);
}
