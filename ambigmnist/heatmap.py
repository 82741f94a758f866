"""Heatmaps: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._tables import html_table, text_table
from ambigmnist._validate import as_int
from ambigmnist.config import resolve_threads
from ambigmnist.definitions import Definition, find
from ambigmnist.definitions import scores as scores_of
from ambigmnist.errors import ArgumentError
from ambigmnist.evidence import Evidence, Indices
from ambigmnist.ranking import Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Heatmap", "heatmap"]

_ONE = 2.0**32  # a probability of 1 in the core's sums


class Heatmap:
    """A (k, k) table of classes, rows the given label, columns the prediction; made by `heatmap`.

    Attributes
    ----------
    matrix : (k, k) float64
        What is drawn: each row divided by its sum (a row of zeros stays zeros), unless
        ``normalize=False``.
    counts : (k, k)
        The raw numbers: int64 images for "count", float64 sums of probabilities for
        "probability".
    kind : str
    classes : (k,)
        The class values, in the order of rows and columns.
    among : int
        How many images were looked at.
    normalized : bool
    definition : Definition
    """

    def __init__(
        self,
        evidence: Evidence,
        kind: str,
        definition: Definition,
        all_scores: NDArray[np.float64],
        rows: Indices,
        counts: NDArray[Any],
        normalize: bool,
    ) -> None:
        self.kind = kind
        self.classes = evidence.classes
        self.among = len(rows)
        self.normalized = normalize
        self.counts = counts
        self.matrix: NDArray[np.float64] = counts.astype(np.float64)
        if normalize:
            sums = self.matrix.sum(axis=1, keepdims=True)
            np.divide(self.matrix, sums, out=self.matrix, where=sums > 0)
        self.definition = definition
        self._evidence = evidence
        self._all_scores = all_scores
        self._rows = rows

    def cell(self, given: Any, predicted: Any) -> Ranking:
        """The images labelled `given` and predicted `predicted`, most ambiguous first.

        Both are class values. Only images that the heatmap looked at are listed.
        """
        ev, rows = self._evidence, self._rows
        t, j = self._column(given, "given"), self._column(predicted, "predicted")
        inside = (ev.given_index[rows] == t) & (ev.predicted_index[rows] == j)
        return Ranking(ev, self.definition, self._all_scores, rows[inside])

    def _column(self, value: Any, name: str) -> int:
        if np.ndim(value) == 0:
            columns = np.flatnonzero(self.classes == value)
            if len(columns):
                return int(columns[0])
        shown = ", ".join(str(c) for c in self.classes[:12])
        raise ArgumentError(f"{name}: expected one of the classes {shown}, got {value!r}")

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draws it; returns the figure, never shows it."""
        from ambigmnist.plot import draw_heatmap

        return draw_heatmap(self, ax=ax)

    def _title(self) -> str:
        if self.kind == "count":
            return f"the {self.among} most ambiguous images by {self.definition.name}"
        return f"probability of the wrong classes over {self.among} images"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        names = [str(c) for c in self.classes]
        whole = self.kind == "count" and not self.normalized
        cells = [[f"{v:.0f}" if whole else f"{v:.3f}" for v in row] for row in self.matrix]
        return ["given", *names], [[name, *row] for name, row in zip(names, cells, strict=True)]

    def __repr__(self) -> str:
        title = f"Heatmap: {self._title()}, rows given, columns predicted"
        if len(self.classes) > 12:
            return f"{title}\n{len(self.classes)} x {len(self.classes)} classes: see .matrix"
        return f"{title}\n{text_table(*self._table())}"

    def _repr_html_(self) -> str:
        return html_table(*self._table(), self._title())


def heatmap(
    ev: Evidence,
    kind: Literal["probability", "count"] = "probability",
    *,
    by: str | Callable[[Evidence], ArrayLike] = "least_confident",
    among: int | None = None,
    normalize: bool = True,
) -> Heatmap:
    """Which classes are taken for which.

    "probability": for each given label t, the sum over its images of p_j for every other class
    j. "count": among the most ambiguous images, how many labelled t are predicted as j. Sums
    are of integers (a probability counts in units of 2^-32), so that parts of a data set, added
    in any order, give the same bits.

    Parameters
    ----------
    ev : Evidence
        With labels.
    kind : {"probability", "count"}
    by : str or callable
        What "most ambiguous" means: for `among`, and for the order of images in a cell.
    among : int, optional
        Look at this many most ambiguous images only. By default all for "probability", and for
        "count" n // 20, at most 100 and at least 1.
    normalize : bool
        Divide each row by its sum.

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.9, 0.1], [0.4, 0.6], [0.25, 0.75]], labels=[0, 0, 1])
    >>> am.heatmap(ev, "count", among=3).counts
    array([[1, 1],
           [0, 1]])
    >>> am.heatmap(ev, "probability", normalize=False).matrix.round(2)
    array([[0.  , 0.7 ],
           [0.25, 0.  ]])
    """
    if kind not in ("probability", "count"):
        raise ArgumentError(f"kind: expected 'probability' or 'count', got {kind!r}")
    record = find(by)
    scores = scores_of(ev, record)
    given = ev.given_index
    if among is None:
        among = ev.n if kind == "probability" else max(1, min(100, ev.n // 20))
    else:
        among = as_int(among, "among")
        if among < 0:
            raise ArgumentError(f"among: expected 0 or more, got {among}")
    rows = _ambigcore.top_k(scores, min(among, ev.n))
    counts: NDArray[Any]
    if kind == "count":
        counts = _ambigcore.heatmap_count(given[rows], ev.predicted_index[rows], ev.k)
    else:
        values, is_logits = ev._source
        if len(rows) < ev.n:
            values, given = values[rows], given[rows]
        sums = _ambigcore.heatmap_probability(values, is_logits, given, resolve_threads(None))
        counts = sums / _ONE
    return Heatmap(ev, kind, record, scores, rows, counts, bool(normalize))
