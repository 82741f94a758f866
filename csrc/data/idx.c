#include "idx.h"

enum { AM_IDX_MAGIC = 4, AM_IDX_SIZE = 4 }; /* bytes */

/* 0 for a code that the format does not know. */
static int64_t
item_size(uint8_t type)
{
    switch (type) {
        case AM_IDX_UINT8:
        case AM_IDX_INT8:
            return 1;
        case AM_IDX_INT16:
            return 2;
        case AM_IDX_INT32:
        case AM_IDX_FLOAT32:
            return 4;
        case AM_IDX_FLOAT64:
            return 8;
        default:
            return 0;
    }
}

static int64_t
big_endian_32(const uint8_t *p)
{
    return (int64_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
}

/* *bytes = the product of the sizes and of the item; false when the sizes other than 0 overflow. */
static int
payload_size(const am_idx *idx, int64_t *bytes)
{
    int64_t product = idx->item_size;
    int empty = 0;
    for (int i = 0; i < idx->rank; i++) {
        if (idx->shape[i] == 0) {
            empty = 1;
        }
        else if (__builtin_mul_overflow(product, idx->shape[i], &product)) {
            return 0;
        }
    }
    *bytes = empty ? 0 : product;
    return product <= INT64_MAX - idx->data_offset;
}

am_status
am_idx_header(const uint8_t *bytes, int64_t size, am_idx *out, am_error *err)
{
    if (size < AM_IDX_MAGIC) {
        return am_fail(
            err, AM_ERR_FORMAT,
            "byte %lld: expected the 4 bytes that start an IDX file, got an end after %lld",
            (long long)size, (long long)size);
    }
    if (bytes[0] != 0 || bytes[1] != 0) {
        return am_fail(err, AM_ERR_FORMAT,
                       "byte 0: expected the two zero bytes that start an IDX file, got %02X %02X",
                       bytes[0], bytes[1]);
    }
    am_idx idx = {.type = (am_idx_type)bytes[2],
                  .rank = bytes[3],
                  .item_size = item_size(bytes[2]),
                  .data_offset = AM_IDX_MAGIC + AM_IDX_SIZE * (int64_t)bytes[3]};
    if (idx.item_size == 0) {
        return am_fail(err, AM_ERR_FORMAT,
                       "byte 2: expected an IDX type (one of 08 09 0B 0C 0D 0E), got %02X",
                       bytes[2]);
    }
    if (idx.rank < 1 || idx.rank > AM_IDX_MAX_RANK) {
        return am_fail(err, AM_ERR_FORMAT, "byte 3: expected 1 to %d dimensions, got %d",
                       AM_IDX_MAX_RANK, idx.rank);
    }
    if (size < idx.data_offset) {
        return am_fail(
            err, AM_ERR_FORMAT,
            "byte %lld: expected a header of %lld bytes (%d dimensions), got an end after %lld",
            (long long)size, (long long)idx.data_offset, idx.rank, (long long)size);
    }
    for (int i = 0; i < idx.rank; i++) {
        idx.shape[i] = big_endian_32(bytes + AM_IDX_MAGIC + AM_IDX_SIZE * i);
    }
    if (!payload_size(&idx, &idx.data_size)) {
        return am_fail(err, AM_ERR_FORMAT,
                       "byte %d: expected sizes whose product fits in 63 bits, got %d that do not",
                       AM_IDX_MAGIC, idx.rank);
    }
    *out = idx;
    return AM_OK;
}

am_status
am_idx_parse(const uint8_t *bytes, int64_t size, am_idx *out, am_error *err)
{
    am_idx idx;
    AM_TRY(am_idx_header(bytes, size, &idx, err));
    int64_t got = size - idx.data_offset;
    if (got != idx.data_size) {
        return am_fail(err, AM_ERR_FORMAT,
                       "byte %lld: expected %lld bytes of items, as the header says, got %lld: %s",
                       (long long)(idx.data_offset + am_min_i64(got, idx.data_size)),
                       (long long)idx.data_size, (long long)got,
                       got < idx.data_size ? "the file is cut off" : "something follows the items");
    }
    *out = idx;
    return AM_OK;
}
