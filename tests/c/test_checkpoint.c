/* A trainer's state out and in: the same bits as without a stop. */
#include "am_test.h"

#include <math.h>

#include "../../csrc/ambig.h"
#include "am_fixture.h"

static am_train_state
make_state(int64_t n_params)
{
    return (am_train_state){.params = am_floats(n_params),
                            .v = am_floats(n_params),
                            .m = am_floats(n_params),
                            .best = am_floats(n_params)};
}

static void
free_state(const am_train_state *made)
{
    free(made->params);
    free(made->v);
    free(made->m);
    free(made->best);
}

/* Epochs first..last of a fresh trainer that goes on from `from` (if not NULL); the state at the
 * end, and the report of the last epoch. The weights that a network starts from do not matter then.
 */
static void
train_part(const am_train_config *config, const am_train_state *from, int first, int last,
           int threads, am_train_state *to, am_epoch_report *report)
{
    am_fixture *f = am_make_fixture();
    am_examples examples = am_some_examples(f, 0, 65), held = am_some_examples(f, 65, 10);
    am_net *net = am_make_net(from == NULL ? config->seed : 1000);
    am_trainer *trainer;
    int64_t done, total;
    AM_CHECK_OK(am_trainer_create(&trainer, net, config, examples.n, threads, &err));
    if (from != NULL) {
        AM_CHECK_OK(am_trainer_import(trainer, from, &err));
        am_trainer_progress(trainer, &done, &total);
        AM_CHECK_INT(done, 2 * (first - 1));
    }
    for (int epoch = first; epoch <= last; epoch++) {
        AM_CHECK_OK(am_trainer_epoch(trainer, &examples, config->patience ? &held : NULL, NULL,
                                     report, &err));
        AM_CHECK_INT(report->epoch, epoch);
    }
    AM_CHECK_OK(am_trainer_export(trainer, to, &err));
    am_trainer_free(trainer);
    am_net_free(net);
}

AM_TEST(going_on_gives_the_same_bits)
{
    static const int threads[] = {1, 2, 3, 7};
    am_net *net = am_make_net(0);
    const size_t size = (size_t)net->n_params * sizeof(float);
    for (int i = 0; i < 3 * 2 * 4; i++) {
        am_train_config config = am_adam;
        config.optimizer = (am_optimizer)(i % 3);
        config.patience = i / 3 % 2;
        const int stop = i / 6; /* 0: before the first epoch; 3: after the last */
        am_train_state whole = make_state(net->n_params), made = whole;
        am_train_state part = make_state(net->n_params), part_made = part;
        am_train_state joined = make_state(net->n_params), joined_made = joined;
        am_epoch_report one = {0}, two = {0};
        train_part(&config, NULL, 1, 3, threads[i % 4], &whole, &one);
        train_part(&config, NULL, 1, stop, threads[(i + 1) % 4], &part, &two);
        train_part(&config, &part, stop + 1, 3, threads[(i + 2) % 4], &joined, &two);
        AM_CHECK(memcmp(whole.params, joined.params, size) == 0);
        AM_CHECK(memcmp(whole.v, joined.v, size) == 0);
        AM_CHECK((whole.m != NULL) == (config.optimizer == AM_ADAM));
        AM_CHECK((whole.m == NULL) == (joined.m == NULL));
        AM_CHECK(whole.m == NULL || memcmp(whole.m, joined.m, size) == 0);
        AM_CHECK((whole.best != NULL) == (config.patience > 0));
        AM_CHECK((whole.best == NULL) == (joined.best == NULL));
        AM_CHECK(whole.best == NULL || memcmp(whole.best, joined.best, size) == 0);
        AM_CHECK(whole.power1 == joined.power1 && whole.power2 == joined.power2);
        AM_CHECK(whole.best_loss == joined.best_loss);
        AM_CHECK_INT(whole.best_epoch, joined.best_epoch);
        AM_CHECK_INT(whole.epoch, 3);
        AM_CHECK_INT(joined.epoch, 3);
        if (stop < 3) {
            AM_CHECK(memcmp(&one.loss, &two.loss, 5 * sizeof(double)) == 0);
        }
        free_state(&made);
        free_state(&part_made);
        free_state(&joined_made);
    }
    am_net_free(net);
}

static int
stop_at_once(void *arg)
{
    (void)arg;
    return 1;
}

AM_TEST(states_that_make_no_sense)
{
    am_fixture *f = am_make_fixture();
    am_examples examples = am_some_examples(f, 0, 65);
    am_net *net = am_make_net(1);
    am_trainer *trainer;
    am_epoch_report report;
    am_error err = {AM_OK, ""};
    am_train_state made = make_state(net->n_params), state = made;
    AM_CHECK_OK(am_trainer_create(&trainer, net, &am_adam, 65, 1, &err)); /* 1: it surely polls */
    AM_CHECK_OK(am_trainer_export(trainer, &state, &err));
    AM_CHECK(state.best == NULL && state.m != NULL);
    for (int i = 0; i < 9; i++) {
        am_train_state bad = state;
        switch (i) {
            case 0:
                bad.epoch = -1;
                break;
            case 1:
                bad.epoch = 4; /* of 3 */
                break;
            case 2:
                bad.best_epoch = 1; /* of 0 done */
                break;
            case 3:
                bad.best_epoch = -1;
                break;
            case 4:
                bad.power1 = NAN;
                break;
            case 5:
                bad.power2 = 1.5;
                break;
            case 6:
                bad.m = NULL;
                break;
            case 7:
                bad.best = made.best; /* without a best epoch */
                break;
            default:
                bad.epoch = bad.best_epoch = 1; /* without its weights */
                break;
        }
        made.params[0] = net->params[0] + 1;
        const float before = net->params[0];
        AM_CHECK_INT(am_trainer_import(trainer, &bad, &err), AM_ERR_VALUE);
        AM_CHECK(net->params[0] == before);
    }
    am_control control = {.poll = stop_at_once};
    made.params[0] -= 1;
    AM_CHECK_INT(am_trainer_epoch(trainer, &examples, NULL, &control, &report, &err),
                 AM_ERR_CANCELLED);
    AM_CHECK_INT(am_trainer_export(trainer, &state, &err), AM_ERR_VALUE);
    AM_CHECK(strstr(err.message, "epoch 1 was interrupted") != NULL);
    AM_CHECK_OK(am_trainer_import(trainer, &state, &err)); /* back to the state before */
    AM_CHECK_OK(am_trainer_epoch(trainer, &examples, NULL, NULL, &report, &err));
    AM_CHECK_INT(report.epoch, 1);
    am_trainer_free(trainer);
    free_state(&made);
    am_net_free(net);
}
