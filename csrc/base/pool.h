/* A small thread pool: one loop over fixed chunks at a time.
 *
 * Which thread runs a chunk is left to chance; what a chunk computes must depend on its index
 * alone. Then results are the same for any number of threads. Threads are created on first use,
 * sleep on a condition variable, leave all signals to the caller and are forgotten after fork. */
#ifndef AMBIG_BASE_POOL_H
#define AMBIG_BASE_POOL_H

#include "status.h"

#define AM_MAX_THREADS 256

/* `slot` < threads tells which scratch memory is free; slot 0 is always the calling thread. */
typedef am_status (*am_chunk_fn)(void *arg, int64_t chunk, int slot, am_error *err);

/* How many slots a loop can use, at least 1: as many scratch buffers are enough. */
static inline int
am_slots(int threads, int64_t chunks)
{
    const int64_t most = am_min_i64(chunks, AM_MAX_THREADS);
    return threads < 1 || most < 1 ? 1 : (int)am_min_i64(threads, most);
}

/* fn(arg, 0..chunks-1, ...) on at most `threads` threads. The lowest failing chunk gives the status
 * and the message, whatever the number of threads. A call from inside another, or beside one,
 * runs on the calling thread alone; its slot 0 is then that of the inner call, so an inner call
 * needs scratch memory of its own and must not poll (am_check with its control).
 *
 * A process may fork at any time. The child starts with no threads; where a chunk itself forks,
 * the child's loop ends with AM_ERR_CANCELLED, because chunks that other threads held are lost. */
am_status am_parallel_for(int64_t chunks, int threads, am_chunk_fn fn, void *arg, am_error *err);

/* How often this process is the child of a fork, counted from the first call of this or of
 * am_parallel_for: who holds something across a fork can tell. */
unsigned am_fork_count(void);

/* The process-wide number; 0: nobody set one, or it was taken back. threadpoolctl calls these by
 * name. */
AM_EXPORT void am_set_num_threads(int threads);
AM_EXPORT int am_get_num_threads(void);

#endif
