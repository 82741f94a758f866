/* IDX, the format of MNIST, read strictly from a buffer in memory.
 *
 * Two zero bytes, a type code, the number of dimensions, then one big-endian 32-bit unsigned size
 * per dimension, then the items in C order, big-endian, and nothing after them. */
#ifndef AMBIG_DATA_IDX_H
#define AMBIG_DATA_IDX_H

#include "../base/status.h"

#define AM_IDX_MAX_RANK 8 /* the format allows 255; nothing real has more than 4 */

typedef enum am_idx_type {
    AM_IDX_UINT8 = 0x08,
    AM_IDX_INT8 = 0x09,
    AM_IDX_INT16 = 0x0B,
    AM_IDX_INT32 = 0x0C,
    AM_IDX_FLOAT32 = 0x0D,
    AM_IDX_FLOAT64 = 0x0E,
} am_idx_type;

typedef struct am_idx {
    am_idx_type type;
    int rank; /* 1..AM_IDX_MAX_RANK */
    int64_t shape[AM_IDX_MAX_RANK];
    int64_t item_size;   /* bytes */
    int64_t data_offset; /* where the items start: 4 + 4 * rank */
    int64_t data_size;   /* bytes; data_offset + data_size fits in an int64_t */
} am_idx;

/* Reads the header; bytes after it are neither looked at nor counted. AM_ERR_FORMAT on anything
 * else than a complete and possible header. Sizes of 0 are possible, but the other sizes must
 * not overflow either: an array of such a shape could not be made. */
am_status am_idx_header(const uint8_t *bytes, int64_t size, am_idx *out, am_error *err);

/* The same, and the items must fill the rest of the buffer exactly. */
am_status am_idx_parse(const uint8_t *bytes, int64_t size, am_idx *out, am_error *err);

#endif
