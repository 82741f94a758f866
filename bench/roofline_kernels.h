/* The table of roofline.c: the kernels of the article's network, at its shapes. Included once. */

#define IMAGES 32 /* a block of images, as in training */
#define BATCH (8 * IMAGES)
#define FLAT 1600
#define HIDDEN 256
#define PARAMS 431242
#define ALIVE (434.0 / FLAT) /* of what reaches the dense layer, with dropout, on MNIST */

typedef struct kernel {
    const char *name;
    void (*prepare)(void *arg); /* once */
    void (*call)(void *arg);
    double (*error)(void *arg); /* of one call; NULL where tests/c alone compares it */
    void *arg;
    int64_t images;      /* that one call works on; all else is per image */
    double flops, dense; /* computed; and as the definition counts them, zeros and all */
    double bytes;        /* read and written, where that is what limits it, otherwise 0 */
} kernel;

/* Aligned, random in [-1, 1), never freed: the process is short. */
static float *
block(int64_t n)
{
    float *x = aligned_alloc(AM_ALIGNMENT, (size_t)am_ceil_div(n * 4, AM_ALIGNMENT) * AM_ALIGNMENT);
    if (x == NULL) {
        die("out of memory");
    }
    am_randomize(x, n, (uint32_t)n);
    return x;
}

static double *
zeros(int64_t n)
{
    double *x = calloc((size_t)n, sizeof *x);
    if (x == NULL) {
        die("out of memory");
    }
    return x;
}

/* max |got - want| / max |want|; frees `want` */
static double
gap(const float *got, double *want, int64_t n)
{
    double error = 0.0, largest = 0.0;
    for (int64_t i = 0; i < n; i++) {
        error = fmax(error, fabs((double)got[i] - want[i]));
        largest = fmax(largest, fabs(want[i]));
    }
    free(want);
    return error / largest;
}

/* Zeros in all but ALIVE of the places, the others positive: what ReLU and dropout leave. */
static void
thin_out(float *x, int64_t n)
{
    uint32_t state = 7;
    for (int64_t i = 0; i < n; i++) {
        x[i] = 0.5f * (am_next(&state) + 1.0f) < (float)ALIVE ? fabsf(x[i]) + 0.1f : 0.0f;
    }
}

#include "roofline_conv.h"
#include "roofline_dense.h"

/* --- what goes over memory once: the sizes are in the table below */

static float *w, *g, *m, *v;
static uint8_t *bytes;

static void
prepare_memory(void *arg)
{
    (void)arg;
    w = block(PARAMS);
    g = block(PARAMS);
    m = block(PARAMS);
    v = block(PARAMS);
    for (int64_t i = 0; i < PARAMS; i++) {
        v[i] *= v[i];
    }
    bytes = (uint8_t *)block(PARAMS / 4);
}

static void
maxpool1(void *arg)
{
    am_get_kernels()->maxpool(w, bytes, g, arg);
}

static void
relu1(void *arg)
{
    (void)arg;
    am_get_kernels()->relu(w, g, 26 * 26 * 32);
}

static void
scale_image(void *arg)
{
    (void)arg;
    am_get_kernels()->scale_u8(w, bytes, 28 * 28);
}

static void
rmsprop(void *arg)
{
    (void)arg;
    am_get_kernels()->rmsprop(w, g, v, PARAMS, 1e-4f, 0.9f, 1e-7f);
}

static void
adam(void *arg)
{
    (void)arg;
    am_get_kernels()->adam(w, g, m, v, PARAMS, 1e-4f, 0.9f, 0.999f, 1.0f, 1e-8f);
}

#define CONV1 (2.0 * 26 * 26 * 9 * 32)
#define CONV2 (2.0 * 11 * 11 * 9 * 32 * 64)
#define WINOGRAD2 (2.0 * 5 * 5 * 16 * 32 * 64) /* its products; transforms are additions */
#define FC1 (2.0 * FLAT * HIDDEN)
#define POOL1 (26 * 26 * 32 * 4 + 13 * 13 * 32 * 5)

static am_pool_shape pool1 = {26, 26, 32};

/* clang-format off */
static const kernel kernels[] = {
    /* name, prepare, call, error, argument, images a call; per image: flops computed, by the
     * definition, bytes */
    {"conv1 + ReLU + pool", prepare_fused, fused_forward, fused_forward_error, &block1, 1, CONV1, CONV1, 0},
    {"conv1 weights, by argmax", prepare_fused, fused_backward, fused_backward_error, &block1, AM_GROUP, CONV1 / 4, CONV1, 0},
    {"conv2 + ReLU + pool", prepare_fused, fused_forward, fused_forward_error, &block2, 1, WINOGRAD2, CONV2, 0},
    {"conv2 data + weights, sparse", prepare_fused, fused_backward, fused_backward_error, &block2, AM_GROUP, 2 * ALIVE * FLAT * 9 * 32 * 2, 2 * CONV2, 0},
    {"fc1 forward, sparse", prepare_dense, dense_forward, dense_forward_error, &fc1_sparse, IMAGES, ALIVE * FC1, FC1, 0},
    {"fc1 data, sampled", prepare_dense, dense_data, dense_data_error, &fc1_sparse, IMAGES, ALIVE * FC1, FC1, 0},
    {"fc1 weights, sparse", prepare_dense, dense_weights, dense_weights_error, &fc1_sparse, BATCH, ALIVE * FC1, FC1, 0},
    {"fc1 forward, dense", prepare_dense, dense_forward, dense_forward_error, &fc1, IMAGES, FC1, FC1, 0},
    {"fc1 data, dense", prepare_dense, dense_data, dense_data_error, &fc1, IMAGES, FC1, FC1, 0},
    {"fc1 weights, dense", prepare_dense, dense_weights, dense_weights_error, &fc1, BATCH, FC1, FC1, 0},
    {"conv1 forward, direct", prepare_conv, conv_forward, conv_forward_error, &conv1, 1, CONV1, CONV1, 0},
    {"conv1 weights, dense", prepare_conv, conv_weights, conv_weights_error, &conv1, 1, CONV1, CONV1, 0},
    {"conv2 forward, direct", prepare_conv, conv_forward, conv_forward_error, &conv2, 1, CONV2, CONV2, 0},
    {"conv2 data, dense", prepare_conv, conv_data, conv_data_error, &conv2, 1, CONV2, CONV2, 0},
    {"conv2 weights, dense", prepare_conv, conv_weights, conv_weights_error, &conv2, 1, CONV2, CONV2, 0},
    {"max-pool 26x26x32", prepare_memory, maxpool1, NULL, &pool1, 1, 0, 0, POOL1},
    {"ReLU 26x26x32", prepare_memory, relu1, NULL, NULL, 1, 0, 0, 26 * 26 * 32 * 8},
    {"uint8 to float, 28x28", prepare_memory, scale_image, NULL, NULL, 1, 0, 0, 28 * 28 * 5},
    {"RMSprop, a step of 256", prepare_memory, rmsprop, NULL, NULL, BATCH, 0, 0, PARAMS * 20.0 / BATCH},
    {"Adam, a step of 256", prepare_memory, adam, NULL, NULL, BATCH, 0, 0, PARAMS * 28.0 / BATCH},
};
/* clang-format on */
