"""What a report is made of, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
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
from ambigmnist.verdict import Verdicts, verdicts

if TYPE_CHECKING:
    from ambigmnist.model import CNN

__all__ = ["Findings", "Order", "title_of"]

# What a report is ordered by where nothing else is asked for, as far as the evidence has it.
USUAL = (
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
_FROM_VERDICTS = ("mislabelled", "ambiguous", "unreadable")
_SHOWN_AS = {"aum": "AUM", "bald": "BALD", "el2n": "EL2N", "grand": "GraNd", "vog": "VoG"}
_SOME = 0.005  # of a row of the heatmap of probabilities: a square with a colour


def title_of(name: str) -> str:
    return _SHOWN_AS.get(name, name.replace("_", " ").capitalize())


@dataclass(frozen=True)
class Order:
    """One way to order all images."""

    record: Definition
    scores: NDArray[np.float64]
    indices: Indices
    ranks: NDArray[np.intp]

    @property
    def title(self) -> str:
        return title_of(self.record.name)


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
            records = [find(name) for name in USUAL if self._can(find(name))]
            records += [self.verdicts.rank(name, 0).definition for name in _FROM_VERDICTS]
        else:
            records = [find(one) for one in by]
            for record in records:
                check(self.ev, record)
        if not records:
            raise ArgumentError("by: expected at least one definition, got none")
        orders = []
        for record in {record.name: record for record in records}.values():
            values = scores(self.ev, record)
            indices = _ambigcore.top_k(values, self.ev.n)
            ranks = np.empty(self.ev.n, np.intp)
            ranks[indices] = np.arange(1, self.ev.n + 1)
            orders.append(Order(record, values, indices, ranks))
        return orders

    def _can(self, record: Definition) -> bool:
        """Whether the evidence has all that a definition looks at."""
        try:
            scores(self.ev, record)
        except ArgumentError:
            return False
        return True

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
