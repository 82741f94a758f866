/* Losses of one image in double precision; the batch divides by its size through `scale`. */
#include "layers.h"

#include "../base/elementary.h"

/* log(sum_j exp(z_j)), and its shift max_j z_j */
static double
log_sum_exp(const float *z, int64_t k)
{
    double top = z[0], sum = 0.0;
    for (int64_t j = 1; j < k; j++) {
        top = z[j] > top ? z[j] : top;
    }
    for (int64_t j = 0; j < k; j++) {
        sum += am_exp(z[j] - top);
    }
    return top + am_log(sum);
}

/* p = softmax(z); returns log(sum_j exp(z_j)) */
static double
softmax(float *p, const float *z, int64_t k)
{
    const double total = log_sum_exp(z, k);
    for (int64_t j = 0; j < k; j++) {
        p[j] = (float)am_exp(z[j] - total);
    }
    return total;
}

void
am_softmax(float *p, const float *z, int64_t k)
{
    softmax(p, z, k);
}

/* L = sum_j y_j (log sum_i exp(z_i) - z_j) */
static double
softmax_forward(float *p, const float *z, const float *y, int64_t k)
{
    const double total = softmax(p, z, k);
    double loss = 0.0;
    for (int64_t j = 0; j < k; j++) {
        if (y[j] != 0.0f) {
            loss += y[j] * (total - z[j]);
        }
    }
    return loss;
}

/* dL/dz_j = p_j sum_i y_i - y_j */
static void
softmax_backward(float *dz, const float *p, const float *y, double scale, int64_t k)
{
    double sum = 0.0;
    for (int64_t j = 0; j < k; j++) {
        sum += y[j];
    }
    for (int64_t j = 0; j < k; j++) {
        dz[j] = (float)(scale * (p[j] * sum - y[j]));
    }
}

/* L = (1/k) sum_j max(z_j, 0) - z_j y_j + log(1 + exp(-|z_j|)) */
static double
sigmoid_forward(float *p, const float *z, const float *y, int64_t k)
{
    double loss = 0.0;
    for (int64_t j = 0; j < k; j++) {
        const double u = am_exp(z[j] < 0.0f ? z[j] : -z[j]); /* exp(-|z|) */
        p[j] = (float)((z[j] < 0.0f ? u : 1.0) / (1.0 + u));
        loss += (z[j] > 0.0f ? z[j] : 0.0) - (double)z[j] * y[j] + am_log1p(u);
    }
    return loss / (double)k;
}

/* dL/dz_j = (sigmoid(z_j) - y_j) / k */
static void
sigmoid_backward(float *dz, const float *p, const float *y, double scale, int64_t k)
{
    for (int64_t j = 0; j < k; j++) {
        dz[j] = (float)(scale / (double)k * ((double)p[j] - y[j]));
    }
}

double
am_loss_forward(am_loss loss, float *p, const float *z, const float *y, int64_t k)
{
    return loss == AM_LOSS_SOFTMAX ? softmax_forward(p, z, y, k) : sigmoid_forward(p, z, y, k);
}

void
am_loss_backward(am_loss loss, float *dz, const float *p, const float *y, double scale, int64_t k)
{
    if (loss == AM_LOSS_SOFTMAX) {
        softmax_backward(dz, p, y, scale, k);
    }
    else {
        sigmoid_backward(dz, p, y, scale, k);
    }
}
