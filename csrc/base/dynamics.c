#include "dynamics.h"

#include "elementary.h"

void
am_dynamics_add(am_dynamics *d, double margin, double p, int right, double error, int64_t early)
{
    d->epochs += 1.0;
    d->margin_sum += margin;
    const double before = p - d->p_mean;
    d->p_mean += before / d->epochs;
    d->p_m2 += before * (p - d->p_mean);
    d->right += right;
    d->forgotten += d->was_right != 0 && !right;
    if (right && d->first_learned == 0) {
        d->first_learned = d->epochs;
    }
    d->was_right = right;
    if (d->epochs <= (double)early) {
        d->el2n = error;
    }
}

void
am_dynamics_add_logits(am_dynamics *d, const float *z, int64_t k, int64_t label, int64_t early)
{
    int64_t top = 0, rival = label == 0; /* the first largest of all, and of the others */
    for (int64_t j = 1; j < k; j++) {
        top = z[j] > z[top] ? j : top;
        rival = j != label && z[j] > z[rival] ? j : rival;
    }
    /* Of the other classes, relative to the largest: so that 1 - p_g keeps its digits. */
    double sum = 0.0, squares = 0.0;
    for (int64_t j = 0; j < k; j++) {
        const double e = j == label ? 0.0 : am_exp((double)z[j] - (double)z[top]);
        sum += e;
        squares += e * e;
    }
    const double own = am_exp((double)z[label] - (double)z[top]), total = own + sum;
    am_dynamics_add(d, (double)z[label] - (double)z[rival], own / total, top == label,
                    __builtin_sqrt(sum * sum + squares) / total, early);
}

void
am_dynamics_finish(const am_dynamics *d, double out[AM_N_DYNAMICS])
{
    const double n = d->epochs, nan = __builtin_nan("");
    if (n == 0) {
        out[AM_DYNAMICS_RUNS] = 0.0;
        for (int i = AM_DYNAMICS_RUNS + 1; i < AM_N_DYNAMICS; i++) {
            out[i] = nan;
        }
        return;
    }
    out[AM_DYNAMICS_RUNS] = 1.0;
    out[AM_DYNAMICS_AUM] = d->margin_sum / n;
    out[AM_DYNAMICS_CONFIDENCE] = d->p_mean;
    out[AM_DYNAMICS_VARIABILITY] = __builtin_sqrt(d->p_m2 / n);
    out[AM_DYNAMICS_CORRECTNESS] = d->right / n;
    out[AM_DYNAMICS_FORGETTING] = d->forgotten;
    out[AM_DYNAMICS_FIRST_LEARNED] = d->first_learned == 0 ? n + 1.0 : d->first_learned;
    out[AM_DYNAMICS_EL2N] = d->el2n;
    out[AM_DYNAMICS_GRAND] = out[AM_DYNAMICS_VOG] = nan;
}
