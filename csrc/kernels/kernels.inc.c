/* Every kernel, once. A variant (baseline.c, avx2.c, ...) sets
 *
 *     AM_TABLE    the name of the table it defines
 *     AM_ISA      the name users see
 *     AM_LANES    floats in a vector register
 *     AM_FUSED    1: AM_FMA rounds once, 0: it multiplies, rounds, then adds
 *
 * and includes this file. Nothing here allocates, locks or depends on the number of threads. */
#include "kernels.h"
#include "simd.h"

/* In this order: each may use what stands before it. */
#include "elementwise.inc.c"
#include "optimizer.inc.c"
#include "pool.inc.c"
#include "gemm.inc.c"
#include "sampled.inc.c"
#include "conv_narrow.inc.c"
#include "winograd.inc.c"
#include "conv_sparse.inc.c"

const am_kernels AM_TABLE = {
    .isa = AM_ISA,
    .gemm = gemm,
    .sampled = sampled,
    .relu = relu,
    .relu_gradient = relu_gradient,
    .maxpool = maxpool,
    .maxpool_gradient = maxpool_gradient,
    .mask = mask,
    .add = add,
    .scale_u8 = scale_u8,
    .sgd = sgd,
    .rmsprop = rmsprop,
    .adam = adam,
    .transpose_panel = transpose_panel,
    .conv_pool =
        {
            .narrow = conv_narrow,
            .narrow_weights = conv_narrow_weights,
            .winograd_pack = winograd_pack,
            .winograd = winograd,
            .sparse_pack = sparse_pack,
            .sparse_unpack = sparse_unpack,
            .sparse = conv_sparse,
        },
};
