/* A plain read: what memory gives when nothing but loading and adding is done. rank.py compiles it.
 */
#include <pthread.h>
#include <stdint.h>

typedef float vec __attribute__((vector_size(32), aligned(4), may_alias));

typedef struct part {
    const float *values;
    int64_t count;
    float sum;
} part;

static void *
read_part(void *arg)
{
    part *p = arg;
    vec sums[8] = {{0}};
    int64_t i = 0;
    for (; i + 64 <= p->count; i += 64) {
        for (int j = 0; j < 8; j++) {
            sums[j] += *(const vec *)(p->values + i + 8 * j);
        }
    }
    for (; i < p->count; i++) {
        p->sum += p->values[i];
    }
    for (int j = 0; j < 64; j++) {
        p->sum += sums[j / 8][j % 8];
    }
    return 0;
}

float
plain_read(const float *values, int64_t count, int threads)
{
    pthread_t thread[64];
    part parts[64];
    float sum = 0;
    threads = threads > 64 ? 64 : threads;
    for (int t = 0; t < threads; t++) {
        const int64_t start = count / threads * t;
        parts[t] = (part){values + start, t + 1 < threads ? count / threads : count - start, 0};
        if (t > 0) {
            pthread_create(&thread[t], 0, read_part, &parts[t]);
        }
    }
    read_part(&parts[0]);
    for (int t = 0; t < threads; t++) {
        if (t > 0) {
            pthread_join(thread[t], 0);
        }
        sum += parts[t].sum;
    }
    return sum;
}
