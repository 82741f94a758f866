#include "../base/elementary.h"
#include "train.h"

#define PI 3.14159265358979323846

/* From `start` to `end` as x goes from 0 to 1, level at both ends. */
static double
cosine(double start, double end, double x)
{
    return end + 0.5 * (start - end) * (1.0 + am_cos(PI * x));
}

double
am_learning_rate(const am_train_config *config, int64_t step, int64_t steps)
{
    const double peak = config->learning_rate;
    if (config->schedule == AM_CONSTANT || steps < 2) {
        return peak;
    }
    const double last = (double)(steps - 1);
    const double warm = 0.25 * last;
    const double t = (double)step < last ? (double)step : last;
    if (t < warm) {
        return cosine(peak / 10, peak, t / warm);
    }
    return cosine(peak, peak / 1000, (t - warm) / (last - warm));
}
