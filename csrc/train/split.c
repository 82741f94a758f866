#include <string.h>

#include "../base/alloc.h"
#include "train.h"

am_status
am_stratified_split(const int32_t *labels, int64_t n, int64_t classes, double fraction,
                    uint64_t seed, int64_t *train, int64_t *n_train, int64_t *held, int64_t *n_held,
                    am_error *err)
{
    if (!(fraction >= 0 && fraction < 1)) {
        return am_fail(err, AM_ERR_VALUE,
                       "validation_split: expected at least 0 and below 1, got %g", fraction);
    }
    for (int64_t i = 0; i < n; i++) {
        if (labels[i] < 0 || labels[i] >= classes) {
            return am_fail(err, AM_ERR_VALUE, "labels[%lld]: expected 0 to %lld, got %d",
                           (long long)i, (long long)classes - 1, (int)labels[i]);
        }
    }
    int64_t *members;
    uint8_t *is_held;
    AM_TRY(am_alloc((void **)&members, n, sizeof *members, err));
    am_status status = am_alloc((void **)&is_held, n, 1, err);
    if (status != AM_OK) {
        am_free(members);
        return status;
    }
    if (n > 0) {
        memset(is_held, 0, (size_t)n);
    }
    for (int64_t c = 0; c < classes; c++) {
        int64_t size = 0;
        for (int64_t i = 0; i < n; i++) {
            if (labels[i] == c) {
                members[size++] = i;
            }
        }
        am_shuffle(members, size, seed, AM_STREAM_SPLIT, (uint32_t)c);
        const int64_t wanted = (int64_t)(fraction * (double)size + 0.5);
        for (int64_t i = 0; i < am_min_i64(wanted, size - 1); i++) {
            is_held[members[i]] = 1;
        }
    }
    *n_train = *n_held = 0;
    for (int64_t i = 0; i < n; i++) {
        if (is_held[i]) {
            held[(*n_held)++] = i;
        }
        else {
            train[(*n_train)++] = i;
        }
    }
    am_free(is_held);
    am_free(members);
    return AM_OK;
}
