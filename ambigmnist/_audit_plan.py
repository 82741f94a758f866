"""What an audit does, decided before it begins: folds, runs, seeds, and who takes part in which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._network import LayerLike, Recipe, number, parse_layers
from ambigmnist.errors import ArgumentError
from ambigmnist.evidence import Indices
from ambigmnist.model import CNN

__all__ = ["Plan", "Run", "assign_folds", "plan_audit"]

MC_DROPOUT = ("dropout", 0.25)  # what presets without dropout get where draws are asked for

# What random numbers are for; each has a stream of its own.
_TRAINING, _VALIDATION, _DRAWS, _VIEWS = range(4)


class Run(NamedTuple):
    """One network: it never sees the images of `fold`."""

    fold: int
    member: int

    @property
    def name(self) -> str:
        return f"fold-{self.fold}-member-{self.member}"


@dataclass(frozen=True)
class Plan:
    """The same for every run of an audit; can be pickled.

    Attributes
    ----------
    recipe : Recipe
        With the number of epochs, and dropout where `mc` needs it.
    folds, members, mc, augment, seed : int
    history : {"none", "statistics", "full"}
    fold : (n,) intp
        Where each image is held out.
    columns : (n,) int32
        The label of each.
    classes : (k,)
    """

    recipe: Recipe
    folds: int
    members: int
    mc: int
    augment: int
    history: str
    seed: int
    fold: Indices
    columns: NDArray[np.int32]
    classes: NDArray[Any]

    @property
    def runs(self) -> list[Run]:
        """In the order in which their results are put together."""
        return [Run(f, m) for f in range(self.folds) for m in range(self.members)]

    def training_seed(self, run: Run) -> int:
        return self._seed(_TRAINING, run.fold, run.member)

    def draws_seed(self, run: Run) -> int:
        return self._seed(_DRAWS, run.fold, run.member)

    @property
    def views_seed(self) -> int:
        """The same for all runs: every network sees an image changed in the same ways."""
        return self._seed(_VIEWS, 0, 0)

    def _seed(self, purpose: int, fold: int, member: int) -> int:
        low, high, *_ = _ambigcore.philox4x32(
            (fold, member, purpose, 0), (self.seed & 0xFFFFFFFF, self.seed >> 32)
        )
        return low | (high & 0x7FFFFFFF) << 32

    def parts(self, run: Run) -> tuple[Indices, Indices, Indices]:
        """Images to train on, for validation (early stopping), and held out, in rising order.

        Validation images are drawn by class from the folds that follow the one held out, so that
        every image is trained on in some other fold where there are at least three.
        """
        held = np.flatnonzero(self.fold == run.fold)
        train = np.flatnonzero(self.fold != run.fold)
        share = number(self.recipe.validation_split, "validation_split")
        if share == 0:
            return train, np.empty(0, np.intp), held
        lenders = math.ceil(share * (self.folds - 1))
        turn = (self.fold - run.fold) % self.folds  # 0: held out
        lent = np.flatnonzero((turn > 0) & (turn <= lenders))
        fraction = min(share * len(train) / len(lent), 1 - 2**-20)
        _, taken, _, count = _ambigcore.stratified_split(
            self.columns[lent],
            len(self.classes),
            fraction,
            self._seed(_VALIDATION, run.fold, run.member),
        )
        validation = lent[taken[:count]]
        return np.setdiff1d(train, validation, assume_unique=True), validation, held


def assign_folds(columns: NDArray[np.int32], folds: int, seed: int) -> Indices:
    """The fold of every image: each class dealt out in turn, in an order drawn with the seed.

    The sizes of the folds differ by at most one, and so do the numbers of a class in them.
    """
    order = _ambigcore.shuffle(len(columns), seed, 0)
    dealt = order[np.argsort(columns[order], kind="stable")]
    fold = np.empty(len(columns), np.intp)
    fold[dealt] = np.arange(len(columns)) % folds
    return fold


def plan_audit(
    model: CNN,
    columns: NDArray[np.int32],
    classes: NDArray[Any],
    *,
    folds: int,
    members: int,
    mc: int,
    augment: int,
    history: str,
    epochs: int | None,
    seed: int,
    may_add_dropout: bool,
) -> Plan:
    """The plan of checked arguments; `model` says how the networks are built and trained.

    Raises
    ------
    ArgumentError
        Folds that the images do not fill, a class with a single image, draws from a network
        without dropout.
    """
    _check_folds(columns, classes, folds)
    recipe = model._recipe(epochs=epochs)
    share = number(recipe.validation_split, "validation_split")
    if not 0 <= share < 1:
        raise ArgumentError(f"validation_split: expected at least 0 and below 1, got {share:g}")
    if mc > 0:
        recipe = _with_dropout(recipe, len(classes), may_add_dropout)
    plan = Plan(
        recipe, folds, members, mc, augment, history, seed,
        assign_folds(columns, folds, seed), columns, classes,
    )  # fmt: skip
    smallest = min(len(plan.parts(Run(fold, 0))[0]) for fold in range(folds))
    return replace(plan, recipe=replace(recipe, epochs=CNN._count_epochs(recipe, smallest)))


def _check_folds(columns: NDArray[np.int32], classes: NDArray[Any], folds: int) -> None:
    counts = np.bincount(columns, minlength=len(classes))
    if counts.min() < 2:
        alone = classes[counts.argmin()]
        raise ArgumentError(
            f"labels: expected at least two images of each class, got one of {alone!s}: no network "
            "could learn it without that image; leave it out"
        )
    if folds > len(columns):
        raise ArgumentError(f"folds: expected at most {len(columns)}, one per image, got {folds}")


def _with_dropout(recipe: Recipe, classes: int, may_add: bool) -> Recipe:
    if any(layer.kind == "dropout" for layer in parse_layers(recipe.layers, classes)):
        return recipe
    if not may_add:
        raise ArgumentError(
            f"mc: expected a model with dropout, got one without: add {MC_DROPOUT} to its layers"
        )
    return replace(recipe, layers=_before_first_dense(recipe.layers))


def _before_first_dense(layers: Sequence[LayerLike]) -> list[LayerLike]:
    for i, layer in enumerate(layers):
        if layer[0] == "dense":
            return [*layers[:i], MC_DROPOUT, *layers[i:]]
    return [*layers, MC_DROPOUT]
