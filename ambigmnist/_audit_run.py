"""One run of an audit: train a network without the images of a fold, then ask it about them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._audit_plan import Plan, Run
from ambigmnist._network import LOSSES, build
from ambigmnist._progress import Quiet
from ambigmnist._training_data import TrainingData
from ambigmnist.config import resolve_threads
from ambigmnist.evidence import DYNAMICS, NEIGHBOURS
from ambigmnist.model import CNN

__all__ = ["RunResult", "Tell", "perform"]

Floats = NDArray[np.float32]
Tell = Callable[[str, float], None]  # what is being done, and how much of the run is done

SNAPSHOTS = 10  # epochs whose weights vog looks at, at most
GRADIENT_BYTES = 64 << 20  # of pixel gradients at a time
SHIFT = 1 / 14  # of a view, in widths of the image: 2 pixels of 28
ANGLE = math.radians(15)
_SEEN = 9  # numbers that the core keeps per image while it trains
_TRAINED = 0.9  # of a run's time


class RunResult(NamedTuple):
    """What a run found out.

    `tables`: logits (h, k) float32 of the h images held out; mc (mc, h, k), views (augment, h, k)
    float32, probabilities; dynamics (t, 10) float64 of the t images trained on; of the first member
    nearest_index and nearest_distance (h, q); of the very first run embeddings (n, d) float32 of
    all images. `facts`: numbers about the training.
    """

    tables: dict[str, NDArray[Any]]
    facts: dict[str, float]


def perform(
    plan: Plan, images: NDArray[Any], run: Run, threads: int | None, tell: Tell | None = None
) -> RunResult:
    """The result depends on the plan, the images and the run, to the bit, and on nothing else."""
    tell = tell or (lambda phase, share: None)
    threads = resolve_threads(threads)
    train, validation, held = plan.parts(run)
    data = TrainingData.of_parts(images, plan.columns, plan.classes, train, validation)
    watch = _Watch(plan, data, threads, tell)
    model = CNN(seed=plan.training_seed(run), threads=threads)
    model._train(plan.recipe, data, watch.begin)
    tell("predicting", _TRAINED)
    network, last = model._network, len(model._layers)
    logits = network.forward_some(images, held, last, None, threads)
    tables: dict[str, NDArray[Any]] = {"logits": logits}
    if plan.history != "none":
        tables["dynamics"] = watch.dynamics(model)
    if plan.mc:
        drawn = network.draws(images, held, plan.draws_seed(run), plan.mc, threads)
        tables["mc"] = _probabilities(drawn, threads)
    if plan.augment:
        shift = SHIFT * max(data.image_shape[:2])
        views = [
            network.forward_some(images, held, last, (plan.views_seed, v, shift, ANGLE), threads)
            for v in range(plan.augment)
        ]
        tables["views"] = _probabilities(np.stack(views), threads)
    if run.member == 0 and last > 1:
        tell("looking for neighbours", 0.95)
        embeddings = network.forward_some(images, None, last - 1, None, threads)
        count = min(NEIGHBOURS, len(images) - 1)
        index, distance = _ambigcore.neighbours(embeddings, held, count, threads)
        tables |= {"nearest_index": index, "nearest_distance": distance}
        if run.fold == 0:
            tables["embeddings"] = embeddings
    tell("done", 1.0)
    right = int((logits.argmax(axis=1) == plan.columns[held]).sum())
    history = model.history
    return RunResult(
        tables,
        {
            "epochs": len(history["loss"]),
            "training loss": float(history["loss"][-1]),
            "training accuracy": float(history["accuracy"][-1]),
            "accuracy": right / len(held) if len(held) else math.nan,
        },
    )


def _probabilities(logits: Floats, threads: int) -> Floats:
    """Of logits (t, n, k)."""
    rows = logits.reshape(-1, logits.shape[2])
    return _ambigcore.softmax(rows, threads).reshape(logits.shape)


class _Watch(Quiet):
    """Sees a training from epoch to epoch: what it makes of each image, and its weights."""

    def __init__(self, plan: Plan, data: TrainingData, threads: int, tell: Tell) -> None:
        self._plan = plan
        self._data = data
        self._threads = threads
        self._tell = tell
        self._grand: NDArray[np.float64] | None = None
        self._weights: list[Floats] = []
        self._kept: set[int] = set()
        if plan.history != "none":
            self.seen = np.zeros((len(plan.columns), _SEEN))

    @contextmanager
    def begin(self, epochs: int, network: _ambigcore.Network) -> Iterator[Quiet]:
        self._network = network
        self.early = early_epoch(epochs, self._plan.recipe.patience)
        self.tick = self._tick
        if self._plan.history == "full":
            count = min(SNAPSHOTS, epochs)
            self._kept = {math.ceil((i + 1) * epochs / count) for i in range(count)}
        yield self

    def _tick(self) -> None:
        done, total = self._network.train_progress()
        self._tell("training", _TRAINED * done / total)

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        self._tick()
        if self._plan.history == "full" and epoch == self.early:
            loss = LOSSES.index(self._plan.recipe.loss)
            self._grand = self._network.gradient_norms(self._data.train, loss, self._threads)
        if epoch in self._kept:
            self._weights.append(self._network.get_params())

    def dynamics(self, model: CNN) -> NDArray[np.float64]:
        """Of the images trained on, (t, 10): the fields of `DYNAMICS`."""
        assert self.seen is not None
        table = _ambigcore.finish_dynamics(self.seen[self._data.train_index])
        if self._grand is not None:
            table[:, _column("grand")] = self._grand
            table[:, _column("vog")] = self._vog(model)
        return table

    def _vog(self, model: CNN) -> NDArray[np.float64]:
        """Block by block of images, for the gradients of all would not fit."""
        network = build(model._layers, self._data.image_shape, fuse=False)
        index = self._data.train_index
        size = len(self._weights) * math.prod(self._data.image_shape) * 4
        block = max(1, GRADIENT_BYTES // size)
        result = np.empty(len(index))
        for start in range(0, len(index), block):
            part = slice(start, start + block)
            examples = (*self._data.train[:4], index[part])
            gradients = []
            for weights in self._weights:
                network.set_params(weights)
                gradients.append(network.pixel_gradients(examples, self._threads))
            stack = np.stack(gradients).reshape(len(gradients), len(examples[4]), -1)
            result[part] = _ambigcore.mean_deviation(stack, self._threads)
            self._tell("gradients", _TRAINED + 0.05 * start / len(index))
        return result


def early_epoch(epochs: int, patience: int) -> int:
    """The epoch of el2n and grand: a tenth of the way, not the first, and one that is reached."""
    early = min(max(2, math.ceil(epochs / 10)), epochs)
    return min(early, patience + 1) if patience > 0 else early


def _column(field: str) -> int:
    return (DYNAMICS.names or ()).index(field)
