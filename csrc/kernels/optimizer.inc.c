/* Optimizer steps: elementwise as well, with divisions and square roots. */

/* v <- mu v - rate g;  w <- w + mu v - rate g   (Nesterov's momentum; plain descent for mu = 0) */
static void
sgd(float *AM_RESTRICT w, const float *AM_RESTRICT g, float *AM_RESTRICT v, int64_t n, float rate,
    float momentum)
{
    for (int64_t i = 0; i < n; i++) {
        const float push = rate * g[i];
        v[i] = momentum * v[i] - push;
        w[i] += momentum * v[i] - push;
    }
}

/* v <- rho v + (1 - rho) g^2;  w <- w - rate g / (sqrt(v) + eps) */
static void
rmsprop(float *AM_RESTRICT w, const float *AM_RESTRICT g, float *AM_RESTRICT v, int64_t n,
        float rate, float rho, float eps)
{
    const float rest = 1.0f - rho;
    for (int64_t i = 0; i < n; i++) {
        v[i] = rho * v[i] + rest * (g[i] * g[i]);
        w[i] -= rate * g[i] / (__builtin_sqrtf(v[i]) + eps);
    }
}

/* m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  w <- w - rate m / (sqrt(v correction) + eps),
 * where rate holds 1 / (1 - b1^t) already and correction is 1 / (1 - b2^t) */
static void
adam(float *AM_RESTRICT w, const float *AM_RESTRICT g, float *AM_RESTRICT m, float *AM_RESTRICT v,
     int64_t n, float rate, float beta1, float beta2, float correction, float eps)
{
    const float rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
    for (int64_t i = 0; i < n; i++) {
        m[i] = beta1 * m[i] + rest1 * g[i];
        v[i] = beta2 * v[i] + rest2 * (g[i] * g[i]);
        w[i] -= rate * m[i] / (__builtin_sqrtf(v[i] * correction) + eps);
    }
}
