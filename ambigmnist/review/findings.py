"""What a report is made of, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._in_sample import WHILE_TRAINED
from ambigmnist._rank_intervals import rank_bounds
from ambigmnist.calibration import Reliability, expected_calibration_error
from ambigmnist.definitions import Definition, check, find, scores
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.evidence import Evidence, Indices
from ambigmnist.health import ClassHealth, class_health
from ambigmnist.heatmap import Heatmap, heatmap
from ambigmnist.review.choosing import chosen_images
from ambigmnist.review.columns import readings_of
from ambigmnist.review.file import LONGEST_NAME, Pin
from ambigmnist.reviewing import ReviewCurve, review_curve
from ambigmnist.verdict import VERDICTS, Verdicts, verdicts

if TYPE_CHECKING:
    from ambigmnist.model import CNN

__all__ = ["Findings", "Order", "title_of", "usual"]

_USUAL = (
    "least_confident",
    "confident_wrong",
    "margin",
    "entropy",
    "confident_learning",
    "aum",
    "bald",
    "neighbour_disagreement",
    "data_map_variability",
)
# What to look for in an order, for those who do not read formulas.
MEANS = {
    "least_confident": "The model gives even its favourite reading little weight: it can see two "
    "things in them, or nothing.",
    "confident_wrong": "The model is sure and disagrees with the label: wrong labels, and what the "
    "model has not learned.",
    "margin": "Two readings are almost equally likely.",
    "entropy": "The probability is spread over many readings.",
    "confident_learning": "Networks that never saw the image read something else than its label, "
    "and more surely than is usual for what they read: wrong labels come first.",
    "aum": "Networks that were trained on the image with its label still preferred another reading "
    "on average: wrong labels, and images like no other of their class.",
    "bald": "Several networks are sure, and not of the same.",
    "neighbour_disagreement": "The ten images that look most alike to a network have other labels.",
    "data_map_variability": "Training changed its mind about the label again and again.",
    "p_mislabelled": "It shows something else than its label.",
    "p_ambiguous": "Two readings are possible.",
    "p_unreadable": "Nothing can be read in it.",
}
_FROM_VERDICTS = ("mislabelled", "ambiguous", "unreadable")
_SHOWN_AS = {"aum": "AUM", "bald": "BALD", "el2n": "EL2N", "grand": "GraNd", "vog": "VoG"}
_SOME = 0.005  # of a row of the heatmap of probabilities: a square with a colour


def usual(ev: Evidence) -> list[str]:
    """What a report orders by where nothing is asked for, as far as the evidence can tell it."""
    names = [name for name in _USUAL if _can(ev, find(name))]
    return names + [f"p_{name}" for name in _FROM_VERDICTS]


def _can(ev: Evidence, record: Definition) -> bool:
    try:
        scores(ev, record)
    except ArgumentError:
        return False
    return True


def title_of(name: str) -> str:
    text = f"likely {name[2:]}" if name.startswith("p_") else name
    return _SHOWN_AS.get(name, text.replace("_", " ").capitalize())


@dataclass(frozen=True)
class Order:
    """One way to order all images."""

    record: Definition
    scores: NDArray[np.float64]
    indices: Indices
    ranks: NDArray[np.intp]

    @property
    def title(self) -> str:
        text = title_of(self.record.name)
        return f"{text}, in sample" if self.record.in_sample else text

    @property
    def means(self) -> str:
        text = MEANS.get(self.record.name, "")
        note = f"{WHILE_TRAINED[0].upper()}{WHILE_TRAINED[1:]}." if self.record.in_sample else ""
        return f"{text} {note}".strip()


class Findings:
    """Of an evidence with images and labels, the candidates of which are to be shown."""

    def __init__(
        self,
        ev: Evidence,
        candidates: Indices,
        top: int,
        by: Sequence[str | Callable[[Evidence], ArrayLike]] | None,
        judged: Verdicts | None,
        name: str,
        model: CNN | None,
    ) -> None:
        self.ev, self.candidates, self.name, self.model = ev, candidates, name[:LONGEST_NAME], model
        if judged is not None and not isinstance(judged, Verdicts):
            raise DTypeError(f"verdicts: expected Verdicts, got {type(judged).__name__}")
        if judged is not None and len(judged) != ev.n:
            raise ShapeError(
                f"verdicts: expected those of this evidence, {ev.n} images, got {len(judged)}"
            )
        self.verdicts = verdicts(ev) if judged is None else judged
        self.orders = self._orders(by)
        # Before anything slow: whether the images are ones that a review can be pinned to.
        self.pin = Pin.of_evidence(ev, self.name)
        self.probability = heatmap(ev, "probability")
        self.count = self._count()
        self.coloured = (self.probability.matrix >= _SOME) & ~np.eye(ev.k, dtype=bool)
        assert self.count._chosen is not None
        self.shown = chosen_images(
            ev,
            candidates,
            [order.indices for order in self.orders],
            self.count._chosen.indices,
            self.coloured,
            top,
        )

    def _orders(self, by: Sequence[str | Callable[[Evidence], ArrayLike]] | None) -> list[Order]:
        if by is None:
            by = usual(self.ev)
        records = [self._of_verdicts(one) or find(one) for one in by]
        for record in records:
            check(self.ev, record)
        if not records:
            raise ArgumentError("by: expected at least one definition, got none")
        named = {record.name: record for record in records}
        for record in records:
            if named[record.name].function is not record.function:
                raise ArgumentError(
                    f"by: expected definitions of different names, got two called {record.name!r}"
                )
        orders = []
        for record in named.values():
            values = scores(self.ev, record)
            indices = _ambigcore.top_k(values, self.ev.n)
            ranks = np.empty(self.ev.n, np.intp)
            ranks[indices] = np.arange(1, self.ev.n + 1)
            orders.append(Order(record, values, indices, ranks))
        return orders

    def _of_verdicts(self, by: object) -> Definition | None:
        """The definition that "p_ambiguous", say, names."""
        name = by.removeprefix("p_") if isinstance(by, str) and by.startswith("p_") else ""
        return self.verdicts.rank(name, 0).definition if name in VERDICTS else None

    def _count(self) -> Heatmap:
        return heatmap(self.ev, "count", by=self.orders[0].record)

    def bounds(self, order: Order) -> tuple[Indices, Indices] | None:
        """The 90 % intervals of the ranks of the shown images, where there are several networks."""
        rows = np.arange(self.ev.n)
        try:
            return rank_bounds(self.ev, order.record, rows, self.shown, True)
        except ArgumentError:
            return None

    @cached_property
    def carried(self) -> NDArray[np.float64]:
        """Of each square of the heatmap of probabilities: the share that is in shown images."""
        inside = heatmap(self.ev[self.shown], "probability", normalize=False).matrix
        whole = self.probability.counts
        share = np.zeros_like(inside)
        np.divide(inside, whole, out=share, where=whole > 0)
        return share

    @cached_property
    def second(self) -> Indices:
        """The second reading of the shown images."""
        if self.ev.k == 1:
            return np.zeros(len(self.shown), np.intp)
        order = readings_of(self.ev.probs[self.shown])
        first = self.ev.predicted_index[self.shown]
        return np.where(order[:, 0] == first, order[:, 1], order[:, 0])

    @cached_property
    def health(self) -> ClassHealth | None:
        try:
            return class_health(self.ev, resamples=200)
        except ArgumentError:
            return None

    @cached_property
    def reliability(self) -> Reliability:
        return expected_calibration_error(self.ev, resamples=200)

    @cached_property
    def curve(self) -> ReviewCurve | None:
        """How many images hold the wrong labels, looked at by the probability of one."""
        try:
            return review_curve(self.ev)
        except ArgumentError:
            return None
