/* The IDX parser on generated buffers, each a heap copy of its exact size, so that the address
 * sanitizer sees every byte read beyond the end. The oracle is the format's definition, written
 * anew with 128-bit integers. */
#include "am_test.h"

#include "../../csrc/data/idx.h"

static int refused;
static int accepted;

static int64_t
item_size_of(int type)
{
    static const int sizes[] = {1, 1, 0, 2, 4, 4, 8};
    return type >= 0x08 && type <= 0x0E ? sizes[type - 0x08] : 0;
}

/* Returns 1 for a header that the definition allows; *items is then the bytes of the items. */
static int
header_is_sound(const uint8_t *bytes, int64_t size, __int128 *items)
{
    if (size < 4 || bytes[0] != 0 || bytes[1] != 0 || item_size_of(bytes[2]) == 0 || bytes[3] < 1 ||
        bytes[3] > AM_IDX_MAX_RANK || size < 4 + 4 * (int64_t)bytes[3]) {
        return 0;
    }
    __int128 limit = (__int128)INT64_MAX - 4 - 4 * bytes[3];
    __int128 product = item_size_of(bytes[2]);
    int zero = 0;
    for (int i = 0; i < bytes[3]; i++) {
        __int128 dim = 0;
        for (int k = 0; k < 4; k++) {
            dim = 256 * dim + bytes[4 + 4 * i + k];
        }
        zero = zero || dim == 0;
        product *= dim == 0 ? 1 : dim;
        if (product > limit) {
            return 0;
        }
    }
    *items = zero ? 0 : product;
    return 1;
}

/* Parses a copy of bytes[0..size) and compares with the definition. */
static void
try_buffer(const uint8_t *bytes, int64_t size)
{
    uint8_t *copy = malloc((size_t)size);
    if (copy == NULL && size > 0) {
        AM_FAILED("out of memory");
        return;
    }
    if (size > 0) {
        memcpy(copy, bytes, (size_t)size);
    }
    __int128 items = 0;
    int header_ok = header_is_sound(bytes, size, &items);
    int file_ok = header_ok && items == (__int128)size - 4 - 4 * bytes[3];
    am_error err = {AM_OK, ""};
    am_idx idx;
    memset(&idx, 0x5A, sizeof idx);
    am_idx untouched = idx;

    am_status status = am_idx_header(copy, size, &idx, &err);
    AM_CHECK_INT(status, header_ok ? AM_OK : AM_ERR_FORMAT);
    if (status == AM_OK) {
        AM_CHECK_INT(idx.type, bytes[2]);
        AM_CHECK_INT(idx.rank, bytes[3]);
        AM_CHECK_INT(idx.item_size, item_size_of(bytes[2]));
        AM_CHECK_INT(idx.data_offset, 4 + 4 * bytes[3]);
        AM_CHECK(idx.data_size == items);
    }
    else {
        AM_CHECK(strncmp(err.message, "byte ", 5) == 0);
        AM_CHECK(memcmp(&idx, &untouched, sizeof idx) == 0);
    }
    err.message[0] = '\0';
    status = am_idx_parse(copy, size, &idx, &err);
    AM_CHECK_INT(status, file_ok ? AM_OK : AM_ERR_FORMAT);
    AM_CHECK(file_ok || strncmp(err.message, "byte ", 5) == 0);
    AM_CHECK_INT(am_idx_parse(copy, size, &idx, NULL), status);
    *(file_ok ? &accepted : &refused) += 1;
    free(copy);
}

/* Writes a header and returns its length. */
static int64_t
put_header(uint8_t *out, int type, int rank, const uint32_t *dims)
{
    out[0] = out[1] = 0;
    out[2] = (uint8_t)type;
    out[3] = (uint8_t)rank;
    for (int i = 0; i < rank; i++) {
        for (int k = 0; k < 4; k++) {
            out[4 + 4 * i + k] = (uint8_t)(dims[i] >> (24 - 8 * k));
        }
    }
    return 4 + 4 * rank;
}

static const uint32_t small_dims[AM_IDX_MAX_RANK] = {3, 2, 2, 1, 1, 2, 1, 1};
static const int types[] = {0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E};

AM_TEST(every_prefix_and_every_overhang)
{
    uint8_t file[512] = {0};
    for (int t = 0; t < 6; t++) {
        for (int rank = 1; rank <= AM_IDX_MAX_RANK; rank++) {
            int64_t items = item_size_of(types[t]);
            for (int i = 0; i < rank; i++) {
                items *= small_dims[i];
            }
            int64_t size = put_header(file, types[t], rank, small_dims) + items;
            int before = accepted;
            for (int64_t n = 0; n <= size + 9; n++) {
                try_buffer(file, n);
            }
            AM_CHECK_INT(accepted - before, 1); /* the whole file and nothing else */
        }
    }
}

AM_TEST(every_value_of_every_header_byte)
{
    uint32_t dims[] = {2, 3};
    uint8_t file[18] = {0};
    AM_CHECK_INT(put_header(file, 0x08, 2, dims) + 6, 18);
    for (int i = 0; i < 12; i++) {
        uint8_t kept = file[i];
        for (int value = 0; value < 256; value++) {
            file[i] = (uint8_t)value;
            try_buffer(file, sizeof file);
        }
        file[i] = kept;
    }
}

AM_TEST(every_rank_with_room_for_its_sizes)
{
    uint8_t file[4 + 4 * 255 + 1] = {0, 0, 0x08};
    for (int rank = 0; rank < 256; rank++) {
        file[3] = (uint8_t)rank; /* all sizes are 0 */
        try_buffer(file, 4 + 4 * rank);
        try_buffer(file, sizeof file);
    }
}

AM_TEST(sizes_at_the_corners)
{
    static const uint32_t corners[] = {0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    uint8_t file[4 + 4 * AM_IDX_MAX_RANK + 16] = {0};
    for (int t = 0; t < 6; t++) {
        for (int rank = 1; rank <= 4; rank++) {
            int combinations = 1;
            for (int i = 0; i < rank; i++) {
                combinations *= 6;
            }
            for (int c = 0; c < combinations; c++) {
                uint32_t dims[4];
                for (int i = 0, rest = c; i < rank; i++, rest /= 6) {
                    dims[i] = corners[rest % 6];
                }
                int64_t offset = put_header(file, types[t], rank, dims);
                try_buffer(file, offset);
                try_buffer(file, offset + item_size_of(types[t]));
                try_buffer(file, offset + 16);
            }
        }
    }
    /* The product is 2^63 - 1: it fits, but not with the header before it. */
    static const uint32_t factors[] = {3577, 127, 337, 92737, 649657};
    try_buffer(file, put_header(file, 0x08, 5, factors));
    uint32_t huge[AM_IDX_MAX_RANK];
    memset(huge, 0xFF, sizeof huge);
    for (int rank = 1; rank <= AM_IDX_MAX_RANK; rank++) {
        try_buffer(file, put_header(file, 0x0E, rank, huge));
    }
}

AM_TEST(values_are_read_big_endian)
{
    uint32_t dims[] = {0x01020304, 0, 7};
    uint8_t file[16];
    am_idx idx;
    AM_CHECK_OK(am_idx_parse(file, put_header(file, 0x0D, 3, dims), &idx, &err));
    AM_CHECK_INT(idx.shape[0], 0x01020304);
    AM_CHECK_INT(idx.shape[1], 0);
    AM_CHECK_INT(idx.shape[2], 7);
    AM_CHECK_INT(idx.data_size, 0);
}

AM_TEST(messages_say_where_what_and_what_came)
{
    am_error err;
    am_idx idx;
    uint8_t bytes[] = {0, 0, 8, 1, 0, 0, 0, 2, 5};
    AM_CHECK_INT(am_idx_parse(bytes, 9, &idx, &err), AM_ERR_FORMAT);
    AM_CHECK_STR(
        err.message,
        "byte 9: expected 2 bytes of items, as the header says, got 1: the file is cut off");
    bytes[7] = 0;
    AM_CHECK_INT(am_idx_parse(bytes, 9, &idx, &err), AM_ERR_FORMAT);
    AM_CHECK_STR(err.message,
                 "byte 8: expected 0 bytes of items, as the header says, got 1: "
                 "something follows the items");
    bytes[2] = 0x0A;
    AM_CHECK_INT(am_idx_parse(bytes, 9, &idx, &err), AM_ERR_FORMAT);
    AM_CHECK_STR(err.message, "byte 2: expected an IDX type (one of 08 09 0B 0C 0D 0E), got 0A");
}

AM_TEST(zz_enough_were_tried)
{
    AM_CHECK(refused >= 200 && accepted >= 48);
    printf("IDX buffers: %d refused, %d accepted\n", refused, accepted);
}
