#include <string.h>

#include "../base/arena.h"
#include "train.h"

am_status
am_check_label(const int32_t *labels, int64_t i, int64_t classes, am_error *err)
{
    if (labels[i] >= 0 && labels[i] < classes) {
        return AM_OK;
    }
    return am_fail(err, AM_ERR_VALUE, "labels[%lld]: expected 0 to %lld, got %d", (long long)i,
                   (long long)classes - 1, (int)labels[i]);
}

typedef struct split_memory {
    int64_t *members; /* (n,) the examples, class by class */
    int64_t *first;   /* (classes + 1,) places of the classes in members */
    uint8_t *is_held; /* (n,) */
} split_memory;

static void
plan(am_arena *arena, split_memory *memory, int64_t n, int64_t classes)
{
    memory->members = am_carve(arena, n, sizeof(int64_t));
    memory->first = am_carve(arena, classes + 1, sizeof(int64_t));
    memory->is_held = am_carve(arena, n, 1);
}

/* Counting sort: the examples of a class in rising order. */
static void
sort_by_class(split_memory *memory, const int32_t *labels, int64_t n, int64_t classes)
{
    int64_t *first = memory->first;
    for (int64_t i = 0; i < n; i++) {
        first[labels[i] + 1]++;
    }
    for (int64_t c = 0; c < classes; c++) {
        first[c + 1] += first[c];
    }
    for (int64_t i = 0; i < n; i++) {
        memory->members[first[labels[i]]++] = i;
    }
    /* Each place has moved on to where the next class begins. */
    memmove(first + 1, first, (size_t)classes * sizeof *first);
    first[0] = 0;
}

am_status
am_stratified_split(const int32_t *labels, int64_t n, int64_t classes, double fraction,
                    uint64_t seed, int64_t *train, int64_t *n_train, int64_t *held, int64_t *n_held,
                    am_error *err)
{
    if (!(fraction >= 0 && fraction < 1)) {
        return am_fail(err, AM_ERR_VALUE,
                       "validation_split: expected at least 0 and below 1, got %g", fraction);
    }
    if (classes < 0 || classes > INT32_MAX) {
        return am_fail(err, AM_ERR_VALUE, "classes: expected 0 to 2^31 - 1, got %lld",
                       (long long)classes);
    }
    for (int64_t i = 0; i < n; i++) {
        AM_TRY(am_check_label(labels, i, classes, err));
    }
    am_arena arena = {0};
    split_memory memory;
    plan(&arena, &memory, n, classes);
    AM_TRY(am_arena_reserve(&arena, err));
    plan(&arena, &memory, n, classes);
    sort_by_class(&memory, labels, n, classes);
    for (int64_t c = 0; c < classes; c++) {
        int64_t *members = memory.members + memory.first[c];
        const int64_t size = memory.first[c + 1] - memory.first[c];
        am_shuffle(members, size, seed, AM_STREAM_SPLIT, (uint32_t)c);
        const int64_t wanted = (int64_t)(fraction * (double)size + 0.5);
        for (int64_t i = 0; i < am_min_i64(wanted, size - 1); i++) {
            memory.is_held[members[i]] = 1;
        }
    }
    *n_train = *n_held = 0;
    for (int64_t i = 0; i < n; i++) {
        if (memory.is_held[i]) {
            held[(*n_held)++] = i;
        }
        else {
            train[(*n_train)++] = i;
        }
    }
    am_arena_free(&arena);
    return AM_OK;
}
