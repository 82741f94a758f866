#include <string.h>

#include "../base/alloc.h"
#include "train.h"

#define ROWS 1024 /* of logits between two looks at the control */

const float *
am_target(const am_examples *examples, int64_t i, int64_t k, float *onehot)
{
    if (examples->soft != NULL) {
        return examples->soft + i * k;
    }
    memset(onehot, 0, (size_t)k * sizeof *onehot);
    const int32_t label = examples->labels[i]; /* checked, but the caller may have written since */
    if (label >= 0 && label < k) {
        onehot[label] = 1.0f;
    }
    return onehot;
}

int64_t
am_argmax(const float *x, int64_t k)
{
    int64_t best = 0;
    for (int64_t j = 1; j < k; j++) {
        if (x[j] > x[best]) {
            best = j;
        }
    }
    return best;
}

am_status
am_check_examples(const am_net *net, const am_examples *e, am_error *err)
{
    const int64_t k = net->layers[net->n_layers - 1].out_size;
    AM_TRY(am_check_images(net, &e->images, err));
    if ((e->labels == NULL) == (e->soft == NULL)) {
        return am_fail(err, AM_ERR_VALUE, "expected labels or soft labels, one of them");
    }
    AM_TRY(am_check_index(&e->images, e->index, e->n, err));
    for (int64_t i = 0; e->labels != NULL && i < e->n; i++) {
        AM_TRY(am_check_label(e->labels, e->index[i], k, err));
    }
    return AM_OK;
}

/* Sum of the losses and number of right answers, from the logits (n, k); `row` holds 2 k numbers.
 */
static am_status
sum_losses(const am_examples *examples, const float *logits, int64_t k, am_loss loss, float *row,
           am_control *control, double *sum, int64_t *right, am_error *err)
{
    *sum = 0.0;
    *right = 0;
    for (int64_t i = 0; i < examples->n; i++) {
        if (i % ROWS == 0) {
            AM_TRY(am_check(control, 0, err));
        }
        const float *z = logits + i * k;
        const float *y = am_target(examples, examples->index[i], k, row + k);
        *sum += am_loss_forward(loss, row, z, y, k);
        *right += am_argmax(z, k) == am_argmax(y, k);
    }
    return AM_OK;
}

am_status
am_evaluate(const am_net *net, const am_examples *examples, am_loss loss, int threads,
            am_control *control, double *mean_loss, double *accuracy, am_error *err)
{
    AM_TRY(am_check_examples(net, examples, err));
    const int64_t k = net->layers[net->n_layers - 1].out_size;
    float *logits, *row;
    double sum;
    int64_t right;
    AM_TRY(am_alloc((void **)&logits, examples->n * k, sizeof *logits, err));
    am_status status = am_alloc((void **)&row, 2 * k, sizeof *row, err);
    if (status == AM_OK) {
        status = am_net_forward(net, &examples->images, examples->index, examples->n, net->n_layers,
                                threads, control, logits, err);
    }
    if (status == AM_OK) {
        status = sum_losses(examples, logits, k, loss, row, control, &sum, &right, err);
    }
    if (status == AM_OK) {
        *mean_loss = sum / (double)examples->n;
        *accuracy = (double)right / (double)examples->n;
    }
    am_free(row);
    am_free(logits);
    return status;
}
