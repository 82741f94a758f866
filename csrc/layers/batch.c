#include "batch.h"

#include <string.h>

#include "../base/arena.h"
#include "../base/pool.h"
#include "pack.h"

#define IMAGES 16 /* of a conv chunk, at least */
#define CHUNKS 64 /* at most, to bound the memory of their partial gradients */
#define ROWS 48   /* of a dense chunk: a multiple of the gemm's rows and of AM_PANEL */

/* --- conv ------------------------------------------------------------------------------------ */

typedef struct conv_job {
    const am_conv2d *s;
    int64_t n, images; /* in all, and per chunk */
    float *y, *dx;
    const float *x, *b, *dy;
    float *packed, *scratch, *partials; /* scratch per thread; partials (chunks, |w| + |b|) */
    int64_t scratch_size, w_size;
    am_control *control;
} conv_job;

static int64_t
weights(const am_conv2d *s)
{
    return s->size * s->size * s->c * s->f;
}

static conv_job
make_conv_job(const am_conv2d *s, int64_t n, const float *x, am_control *control)
{
    const int64_t share = am_ceil_div(n, CHUNKS);
    return (conv_job){
        .s = s,
        .n = n,
        .images = share > IMAGES ? share : IMAGES,
        .x = x,
        .scratch_size = am_ceil_div(am_conv2d_scratch(s), AM_PANEL) * AM_PANEL,
        .w_size = weights(s),
        .control = control,
    };
}

static am_status
conv_forward_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const conv_job *job = arg;
    const am_conv2d *s = job->s;
    const int64_t end = am_min_i64(job->n, (chunk + 1) * job->images);
    for (int64_t i = chunk * job->images; i < end; i++) {
        AM_TRY(am_check(job->control, slot, err));
        am_conv2d_forward(job->y + i * s->out_h * s->out_w * s->f, job->x + i * s->h * s->w * s->c,
                          job->packed, job->b, s, job->scratch + slot * job->scratch_size);
    }
    return AM_OK;
}

static am_status
conv_backward_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const conv_job *job = arg;
    const am_conv2d *s = job->s;
    const int64_t end = am_min_i64(job->n, (chunk + 1) * job->images);
    float *dw = job->partials + chunk * (job->w_size + s->f);
    float *scratch = job->scratch + slot * job->scratch_size;
    for (int64_t i = chunk * job->images; i < end; i++) {
        AM_TRY(am_check(job->control, slot, err));
        const float *dy = job->dy + i * s->out_h * s->out_w * s->f;
        const float *x = job->x + i * s->h * s->w * s->c;
        am_conv2d_backward_weights(dw, dw + job->w_size, dy, x, s, scratch);
        am_conv2d_backward_data(job->dx + (x - job->x), dy, job->packed, s, scratch);
    }
    return AM_OK;
}

/* Carves (or measures) what the job needs. */
static void
plan_conv(am_arena *arena, conv_job *job, int64_t packed, int64_t chunks, int threads)
{
    job->packed = am_carve(arena, packed, sizeof(float));
    job->scratch = am_carve(arena, threads * job->scratch_size, sizeof(float));
    job->partials = am_carve(arena, chunks * (job->w_size + job->s->f), sizeof(float));
}

am_status
am_conv2d_forward_batch(float *y, const float *x, const float *w, const float *b, int64_t n,
                        const am_conv2d *s, int threads, am_control *control, am_error *err)
{
    conv_job job = make_conv_job(s, n, x, control);
    const int64_t chunks = am_ceil_div(n, job.images);
    threads = am_slots(threads, chunks);
    am_arena arena = {0};
    plan_conv(&arena, &job, am_conv2d_packed(s), 0, threads);
    AM_TRY(am_arena_reserve(&arena, err));
    plan_conv(&arena, &job, am_conv2d_packed(s), 0, threads);
    job.y = y;
    job.b = b;
    am_conv2d_pack(job.packed, w, s);
    am_status status = am_parallel_for(chunks, threads, conv_forward_chunk, &job, err);
    am_arena_free(&arena);
    return status;
}

am_status
am_conv2d_backward_batch(float *dx, float *dw, float *db, const float *dy, const float *x,
                         const float *w, int64_t n, const am_conv2d *s, int threads,
                         am_control *control, am_error *err)
{
    conv_job job = make_conv_job(s, n, x, control);
    const int64_t chunks = am_ceil_div(n, job.images);
    threads = am_slots(threads, chunks);
    am_arena arena = {0};
    plan_conv(&arena, &job, am_conv2d_packed_back(s), chunks, threads);
    AM_TRY(am_arena_reserve(&arena, err));
    plan_conv(&arena, &job, am_conv2d_packed_back(s), chunks, threads);
    job.dx = dx;
    job.dy = dy;
    am_conv2d_pack_back(job.packed, w, s);
    am_status status = am_parallel_for(chunks, threads, conv_backward_chunk, &job, err);
    memset(dw, 0, (size_t)job.w_size * sizeof(float));
    memset(db, 0, (size_t)s->f * sizeof(float));
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const float *part = job.partials + chunk * (job.w_size + s->f);
        am_get_kernels()->add(dw, part, job.w_size);
        am_get_kernels()->add(db, part + job.w_size, s->f);
    }
    am_arena_free(&arena);
    return status;
}

/* --- dense ----------------------------------------------------------------------------------- */

typedef struct dense_job {
    int64_t n, d, f;
    float *y, *dx, *dw;
    const float *x, *b, *dy;
    float *panels, *packed, *dy_packed;
    am_control *control;
} dense_job;

static am_status
dense_forward_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const dense_job *job = arg;
    AM_TRY(am_check(job->control, slot, err));
    const int64_t i = chunk * ROWS;
    am_dense_forward(job->y + i * job->f, job->x + i * job->d, job->panels, job->b,
                     am_min_i64(ROWS, job->n - i), job->d, job->f, 0);
    return AM_OK;
}

static am_status
dense_data_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const dense_job *job = arg;
    AM_TRY(am_check(job->control, slot, err));
    const int64_t i = chunk * ROWS;
    am_dense_backward_data(job->dx + i * job->d, job->dy + i * job->f, job->packed,
                           am_min_i64(ROWS, job->n - i), job->d, job->f, 0);
    return AM_OK;
}

static am_status
dense_weights_chunk(void *arg, int64_t chunk, int slot, am_error *err)
{
    const dense_job *job = arg;
    AM_TRY(am_check(job->control, slot, err));
    const int64_t i = chunk * ROWS;
    am_dense_backward_weights(job->dw + i * job->f, job->f, AM_PANEL, job->dy_packed, job->x,
                              job->n, job->d, job->f, i, am_min_i64(i + ROWS, job->d), 0);
    return AM_OK;
}

am_status
am_dense_forward_batch(float *y, const float *x, const float *w, const float *b, int64_t n,
                       int64_t d, int64_t f, int threads, am_control *control, am_error *err)
{
    if (f == 0) {
        return AM_OK; /* then n and d may be of any size */
    }
    dense_job job = {.n = n, .d = d, .f = f, .y = y, .x = x, .b = b, .control = control};
    am_arena arena = {0};
    am_carve(&arena, am_dense_size(d, f), sizeof(float));
    AM_TRY(am_arena_reserve(&arena, err));
    job.panels = am_carve(&arena, am_dense_size(d, f), sizeof(float));
    am_dense_pack(job.panels, w, d, f);
    am_status status =
        am_parallel_for(am_ceil_div(n, ROWS), threads, dense_forward_chunk, &job, err);
    am_arena_free(&arena);
    return status;
}

static void
plan_dense_backward(am_arena *arena, dense_job *job)
{
    job->panels = am_carve(arena, am_dense_size(job->d, job->f), sizeof(float));
    job->packed = am_carve(arena, am_packed_size(job->f, job->d), sizeof(float));
    job->dy_packed = am_carve(arena, am_packed_size(job->n, job->f), sizeof(float));
}

am_status
am_dense_backward_batch(float *dx, float *dw, float *db, const float *dy, const float *x,
                        const float *w, int64_t n, int64_t d, int64_t f, int threads,
                        am_control *control, am_error *err)
{
    if (f == 0) {
        memset(dx, 0, (size_t)(n * d) * sizeof(float));
        return AM_OK;
    }
    dense_job job = {
        .n = n, .d = d, .f = f, .dx = dx, .dw = dw, .x = x, .dy = dy, .control = control};
    am_arena arena = {0};
    plan_dense_backward(&arena, &job);
    AM_TRY(am_arena_reserve(&arena, err));
    plan_dense_backward(&arena, &job);
    am_dense_pack(job.panels, w, d, f);
    am_dense_pack_back(job.packed, job.panels, d, f, 0, d);
    am_pack_rows(job.dy_packed, dy, n, f, f, 0, n);
    am_status status = am_parallel_for(am_ceil_div(n, ROWS), threads, dense_data_chunk, &job, err);
    if (status == AM_OK) {
        status = am_parallel_for(am_ceil_div(d, ROWS), threads, dense_weights_chunk, &job, err);
    }
    am_dense_backward_bias(db, job.dy_packed, n, f);
    am_arena_free(&arena);
    return status;
}
