/* What this machine can do, and how much of it each kernel of the core gets. One thread runs the
 * kernels; the least of many short repeats counts. Prints tab-separated lines for roofline.py:
 *
 *     machine  name  value  unit
 *     kernel   name  ns  flops computed  flops as the definition counts them  bytes    per image
 *
 * To add a kernel, see roofline_kernels.h: a function that prepares its arguments, one that calls
 * it, one that compares it with the definition, and a line in `kernels`. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../csrc/layers/pack.h"
#include "../csrc/ambig.h"
#include "../tests/c/am_buffers.h"

static double window = 0.2; /* seconds that a measurement may take */

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void
die(const char *message)
{
    fprintf(stderr, "roofline: %s\n", message);
    exit(1);
}

/* --- the machine ------------------------------------------------------------------------------ */

/* A chain of additions, one per cycle. */
static int64_t
clock_loop(void *arg)
{
    (void)arg;
    uint64_t x = 1;
    enum { TURNS = 20000 };
    for (int i = 0; i < TURNS; i++) {
#if defined(__x86_64__)
#define ADD "add $1, %0\n\t"
#elif defined(__aarch64__)
#define ADD "add %0, %0, #1\n\t"
#endif
        __asm__ volatile(ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD : "+r"(x));
    }
    return 10 * TURNS;
}

/* Independent multiply-adds, as many as hide their latency and fit the registers; and reads of
 * `n` bytes. This file alone is compiled with contraction, so that both are what the target has. */
typedef struct span {
    const char *p;
    int64_t n;
} span;

#define MACHINE(NAME, TARGET, BYTES, SUMS)                                                      \
    typedef float NAME##_vec __attribute__((vector_size(BYTES)));                               \
    typedef uint64_t NAME##_bits __attribute__((vector_size(BYTES)));                           \
    TARGET static int64_t NAME##_flops(void *arg)                                               \
    {                                                                                           \
        (void)arg;                                                                              \
        enum { TURNS = 4000 };                                                                  \
        NAME##_vec sum[SUMS] = {{0}}, a = {0}, b = {0};                                         \
        __asm__ volatile("" : REGISTER(a), REGISTER(b));                                        \
        for (int i = 0; i < TURNS; i++) {                                                       \
            _Pragma("GCC unroll 16") for (int j = 0; j < SUMS; j++)                             \
            {                                                                                   \
                sum[j] = sum[j] * a + b;                                                        \
                __asm__ volatile("" : REGISTER(sum[j]));                                        \
            }                                                                                   \
        }                                                                                       \
        return (int64_t)TURNS * SUMS * 2 * (BYTES) / 4;                                         \
    }                                                                                           \
    TARGET static int64_t NAME##_read(void *arg)                                                \
    {                                                                                           \
        const span *s = arg;                                                                    \
        NAME##_bits sum[8] = {{0}};                                                             \
        for (int64_t i = 0; i < s->n; i += 8 * (BYTES)) {                                       \
            _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++)                                 \
            {                                                                                   \
                sum[j] |= *(const NAME##_bits *)(s->p + i + j * (BYTES));                       \
            }                                                                                   \
        }                                                                                       \
        __asm__ volatile("" ::REGISTER_IN(sum[0] | sum[1] | sum[2] | sum[3] | sum[4] | sum[5] | \
                                          sum[6] | sum[7]));                                    \
        return s->n;                                                                            \
    }

typedef int64_t (*loop)(void *arg); /* returns how much it did */

#if defined(__x86_64__)
#define REGISTER(x) "+v"(x)
#define REGISTER_IN(x) "v"(x)
#define TARGET_AVX2 __attribute__((target("avx2,fma")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma")))
MACHINE(baseline, , 16, 14)
MACHINE(avx2, TARGET_AVX2, 32, 12)
MACHINE(avx512, TARGET_AVX512, 64, 12)
#elif defined(__aarch64__)
#define REGISTER(x) "+w"(x)
#define REGISTER_IN(x) "w"(x)
MACHINE(neon, , 16, 16)
#else
#error "an instruction set that roofline.c does not know yet"
#endif

static void
pick_machine(const char *isa, loop *flops, loop *read)
{
#if defined(__x86_64__)
    const int wide = strcmp(isa, "avx512") == 0, avx2 = strcmp(isa, "avx2") == 0;
    *flops = wide ? avx512_flops : avx2 ? avx2_flops : baseline_flops;
    *read = wide ? avx512_read : avx2 ? avx2_read : baseline_read;
#else
    (void)isa;
    *flops = neon_flops;
    *read = neon_read;
#endif
}

/* The best rate of one thread, per second. */
static double
rate(loop run, void *arg)
{
    double best = 0.0;
    const double end = now() + window;
    do {
        const double start = now();
        int64_t done = 0;
        double seconds;
        do {
            done += run(arg);
            seconds = now() - start;
        } while (seconds < 5e-4);
        best = (double)done / seconds > best ? (double)done / seconds : best;
    } while (now() < end);
    return best;
}

typedef struct worker {
    loop run;
    void *arg;
    pthread_barrier_t *barrier;
    double rate;
} worker;

static void *
work(void *arg)
{
    worker *w = arg;
    pthread_barrier_wait(w->barrier);
    const double start = now();
    double seconds;
    int64_t done = 0;
    do {
        done += w->run(w->arg);
        seconds = now() - start;
    } while (seconds < 0.02);
    w->rate = (double)done / seconds;
    return NULL;
}

/* The best sum of what `threads` threads do at the same time, of a few tries. */
static double
rate_of_all(loop run, void **args, int threads)
{
    enum { MOST = 256 };
    worker workers[MOST];
    pthread_t ids[MOST];
    pthread_barrier_t barrier;
    double best = 0.0;
    threads = threads < MOST ? threads : MOST;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    const double end = now() + window;
    do {
        double sum = 0.0;
        for (int i = 0; i < threads; i++) {
            workers[i] = (worker){run, args == NULL ? NULL : args[i], &barrier, 0.0};
            if (pthread_create(&ids[i], NULL, work, &workers[i]) != 0) {
                die("no thread");
            }
        }
        for (int i = 0; i < threads; i++) {
            pthread_join(ids[i], NULL);
            sum += workers[i].rate;
        }
        best = sum > best ? sum : best;
    } while (now() < end);
    pthread_barrier_destroy(&barrier);
    return best;
}

static void
print_machine(const char *name, double value, const char *unit)
{
    printf("machine\t%s\t%.6g\t%s\n", name, value, unit);
}

/* What a cache of this size gives, read twice over so that it fits; and memory. */
static void
measure_reads(loop read, int threads)
{
    const long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const struct {
        const char *name;
        int64_t size;
    } levels[] = {
        {"L1", l1 > 0 ? l1 / 2 : 16 << 10},
        {"L2", l2 > 0 ? l2 / 2 : 128 << 10},
        {"L3", l3 > 0 ? l3 / 4 / threads : 2 << 20},
        {"memory", l3 > 0 && l3 < 64 << 20 ? 4 * l3 : 256 << 20},
    };
    for (int64_t i = 0; i < COUNT(levels); i++) {
        const int64_t size = levels[i].size / 4096 * 4096;
        span spans[256];
        void *args[256];
        char *block = aligned_alloc(4096, (size_t)(size * threads));
        if (block == NULL) {
            die("out of memory");
        }
        memset(block, 1, (size_t)(size * threads));
        for (int t = 0; t < threads; t++) {
            spans[t] = (span){block + t * size, size};
            args[t] = &spans[t];
        }
        char name[64];
        snprintf(name, sizeof name, "read %s, 1 thread", levels[i].name);
        print_machine(name, rate(read, args[0]) * 1e-9, "GB/s");
        snprintf(name, sizeof name, "read %s, %d threads", levels[i].name, threads);
        print_machine(name, rate_of_all(read, args, threads) * 1e-9, "GB/s");
        free(block);
    }
}

/* --- the kernels ------------------------------------------------------------------------------ */

#include "roofline_kernels.h"

#define TOLERANCE 1e-5 /* of a kernel's results, over the largest of them */

static int64_t
call_kernel(void *arg)
{
    const kernel *k = arg;
    k->call(k->arg);
    return k->images;
}

static void
measure_kernels(void)
{
    for (int64_t i = 0; i < COUNT(kernels); i++) {
        const kernel *k = &kernels[i];
        k->prepare(k->arg);
        const double error = k->error == NULL ? 0.0 : k->error(k->arg);
        if (!(error <= TOLERANCE)) {
            fprintf(stderr, "roofline: %s: off by %.1e, nothing was timed\n", k->name, error);
            exit(1);
        }
        printf("kernel\t%s\t%.6g\t%.6g\t%.6g\t%.6g\n", k->name, 1e9 / rate(call_kernel, (void *)k),
               k->flops, k->dense, k->bytes);
        fflush(stdout);
    }
}

int
main(int argc, char **argv)
{
    am_error err = {0};
    const int threads = argc > 1 ? atoi(argv[1]) : 2;
    const char *isa = argc > 2 ? argv[2] : NULL;
    window = argc > 3 ? atof(argv[3]) : window;
    if (threads < 1 || threads > 256 || am_select_isa(isa, &err) != AM_OK) {
        die(threads < 1 || threads > 256 ? "expected 1 to 256 threads" : err.message);
    }
    loop flops, read;
    pick_machine(am_isa_name(), &flops, &read);
    print_machine("clock", rate(clock_loop, NULL) * 1e-9, "GHz");
    print_machine("FMA, 1 thread", rate(flops, NULL) * 1e-9, "GFLOP/s");
    char name[64];
    snprintf(name, sizeof name, "FMA, %d threads", threads);
    print_machine(name, rate_of_all(flops, NULL, threads) * 1e-9, "GFLOP/s");
    measure_reads(read, threads);
    measure_kernels();
    /* Once more: a machine that slows down meanwhile would flatter nobody. */
    print_machine("FMA, 1 thread, afterwards", rate(flops, NULL) * 1e-9, "GFLOP/s");
    snprintf(name, sizeof name, "FMA, %d threads, afterwards", threads);
    print_machine(name, rate_of_all(flops, NULL, threads) * 1e-9, "GFLOP/s");
    return 0;
}
