"""What each part of an audit costs, beside the training of the network that it is about.

    python bench/audit.py [--quick] [--threads 2]

One network of the preset "fast" with a dropout of 0.25, trained on four fifths of the images, asked
about the others. Needs no peers: the ratios are to its own training.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import _common
import numpy as np


def main() -> None:
    options = _common.arguments(__doc__.splitlines()[0])
    machine = _common.setup(options.threads)
    images, labels = _common.load_data(7_000 if options.quick else 70_000)
    results = [history(options, images, labels), parts(options, images, labels)]
    _common.write(options, "audit", machine, results)


def plan_of(labels: np.ndarray) -> Any:
    import ambigmnist as am
    from ambigmnist._audit_plan import plan_audit

    classes, columns = np.unique(labels, return_inverse=True)
    return plan_audit(
        am.CNN(), columns.astype(np.int32), classes, folds=5, members=1, mc=2, augment=0,
        history="none", epochs=None, seed=0, may_add_dropout=True,
    )  # fmt: skip


class Training:
    """One training after the other, with or without its history."""

    def __init__(self, plan: Any, images: np.ndarray, history: str, threads: int) -> None:
        from ambigmnist._audit_plan import Run
        from ambigmnist._training_data import TrainingData

        self.plan = replace(plan, history=history)
        self.run, self.threads = Run(0, 0), threads
        train, validation, self.held = plan.parts(self.run)
        self.data = TrainingData.of_parts(images, plan.columns, plan.classes, train, validation)

    def __call__(self) -> None:
        import ambigmnist as am
        from ambigmnist._audit_run import _Watch

        self.watch = _Watch(self.plan, self.data, self.threads, lambda phase, share: None)
        self.model = am.CNN(seed=self.plan.training_seed(self.run), threads=self.threads)
        self.model._train(self.plan.recipe, self.data, self.watch.begin)


def history(options: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """aum, forgetting, el2n and the data map together: recorded while it trains."""
    plan, images = plan_of(labels), images[..., np.newaxis]
    trainings = {
        name: Training(plan, images, kind, options.threads)
        for name, kind in (("with history", "statistics"), ("without", "none"))
    }
    for training in trainings.values():
        training()
    weights = [t.model._network.get_params() for t in trainings.values()]
    _common.check_equal("weights", *weights, 0.0)

    def with_dynamics() -> None:
        trainings["with history"]()
        trainings["with history"].watch.dynamics(trainings["with history"].model)

    calls = {"with history": with_dynamics, "without": trainings["without"]}
    n = len(trainings["without"].data.train_index) * plan.recipe.epochs
    seconds = _common.alternate(
        {name: _common.repeated(call) for name, call in calls.items()}, options.rounds
    )
    result = _common.summarise("training with and without its history", n, seconds)
    print(f"  the history costs {100 * (1 / result['ratio']['without'] - 1):.1f} % of the training")
    return result


def parts(options: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Everything else, each by itself."""
    from ambigmnist import _ambigcore
    from ambigmnist._audit_run import ANGLE, SNAPSHOTS

    plan, images, threads = plan_of(labels), images[..., np.newaxis], options.threads
    training = Training(plan, images, "full", threads)
    training()
    network, held = training.model._network, training.held
    last = len(training.model._layers)
    embeddings = network.forward_some(images, None, last - 1, None, threads)
    calls = {
        "training": Training(plan, images, "none", threads),
        "prediction": lambda: network.forward_some(images, held, last, None, threads),
        "10 draws": lambda: network.draws(images, held, 1, 10, threads),
        "10 views": lambda: [
            network.forward_some(images, held, last, (1, v, 2.0, ANGLE), threads) for v in range(10)
        ],
        "embeddings": lambda: network.forward_some(images, None, last - 1, None, threads),
        "neighbours": lambda: _ambigcore.neighbours(embeddings, held, 10, threads),
        "GraNd": lambda: network.gradient_norms(training.data.train, 0, threads),
        "VoG": partial(training.watch._vog, training.model),
    }
    epochs = plan.recipe.epochs
    seconds = _common.alternate(
        {name: _common.repeated(call) for name, call in calls.items()}, min(options.rounds, 3)
    )
    training_seconds = np.array(seconds["training"])
    shares = {
        name: float(np.median(np.array(times) / training_seconds))
        for name, times in seconds.items()
        if name != "training"
    }
    case = (
        f"parts of an audit, beside {epochs} epochs of training on "
        f"{len(labels) - len(held):,} images; VoG of {min(epochs, SNAPSHOTS)} epochs"
    )
    print(case)
    for name, share in shares.items():
        print(f"  {name:12s} {100 * share:6.1f} % of the training")
    return {"case": case, "seconds": seconds, "share of the training": shares}


if __name__ == "__main__":
    main()
