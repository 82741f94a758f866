"""Heatmaps: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._colours import shade
from ambigmnist._in_sample import WHILE_TRAINED, explained, share
from ambigmnist._tables import text_table
from ambigmnist._validate import as_int
from ambigmnist.config import resolve_threads
from ambigmnist.definitions import Definition, check, find, is_row_score, top
from ambigmnist.errors import ArgumentError
from ambigmnist.evidence import Evidence
from ambigmnist.ranking import Ranking, rank, top_ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Heatmap", "Summary", "heatmap", "summarise"]

_EXAMPLES = 8  # cells of which a notebook shows an image
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
        chosen: Ranking | None,  # the images looked at; None: all of them
        counts: NDArray[Any],
        normalize: bool,
    ) -> None:
        self.kind = kind
        self.classes = evidence.classes
        self.among = evidence.n if chosen is None else len(chosen)
        self.normalized = normalize
        self.counts = counts
        self.matrix: NDArray[np.float64] = counts.astype(np.float64)
        if normalize:
            sums = self.matrix.sum(axis=1, keepdims=True)
            np.divide(self.matrix, sums, out=self.matrix, where=sums > 0)
        self.definition = definition
        self._evidence = evidence
        self._chosen = chosen

    def cell(self, given: Any, predicted: Any) -> Ranking:
        """The images labelled `given` and predicted `predicted`, most ambiguous first.

        Both are class values. Only images that the heatmap looked at are listed.
        """
        ev, chosen = self._evidence, self._chosen
        t, j = self._column(given, "given"), self._column(predicted, "predicted")
        if chosen is None:
            return rank(
                ev, self.definition, where=(ev.given_index == t) & (ev.predicted_index == j)
            )
        rows = chosen.indices
        inside = (ev.given_index[rows] == t) & (ev._predicted_at(rows) == j)
        return chosen._part(inside, keep_ranks=False)

    def _column(self, value: Any, name: str) -> int:
        if np.ndim(value) == 0:
            columns = np.flatnonzero(self.classes == value)
            if len(columns):
                return int(columns[0])
        shown = ", ".join(str(c) for c in self.classes[:12])
        raise ArgumentError(f"{name}: expected one of the classes {shown}, got {value!r}")

    def plot(self, ax: Axes | None = None, *, cmap: Any = None, colorbar: bool = True) -> Figure:
        """Draws it; returns the figure, never shows it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        cmap : str or matplotlib Colormap, optional
            By default that of the report: perceptually uniform, light for little.
        colorbar : bool
        """
        from ambigmnist.plot import draw_heatmap

        return draw_heatmap(self, ax=ax, cmap=cmap, colorbar=colorbar)

    def _title(self) -> str:
        notes = self._in_sample_notes()
        note = f" ({'; '.join(notes)})" if notes else ""
        if self.kind == "count":
            return f"the {self.among} most ambiguous images by {self.definition.name}{note}"
        return f"probability of the wrong classes over {self.among} images{note}"

    def _in_sample_notes(self) -> list[str]:
        always = WHILE_TRAINED if self.kind == "count" and self.definition.in_sample else ""
        rows = None if self._chosen is None else self._chosen.indices
        return [note for note in (always, share(self._evidence, rows)) if note]

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
        """The table, shaded, and the first image of each of the largest cells off the diagonal."""
        from html import escape

        header, rows = self._table()
        top = float(self.matrix.max(initial=0)) or 1.0
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        lines = []
        for row, values in zip(rows, self.matrix.tolist(), strict=True):
            cells = "".join(
                f'<td style="{shade(value / top)}">{escape(cell)}</td>'
                for cell, value in zip(row[1:], values, strict=True)
            )
            lines.append(f"<tr><th>{escape(row[0])}</th>{cells}</tr>")
        return (
            f"<table><caption>{escape(self._title())}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table>{self._examples()}"
        )

    def _examples(self) -> str:
        """Of each of the largest cells off the diagonal the first image."""
        from ambigmnist._thumbnails import of_evidence, strip

        beside = self.matrix * ~np.eye(len(self.matrix), dtype=bool)
        order = np.argsort(-beside, axis=None, kind="stable")[:_EXAMPLES]
        first, titles = [], []
        for cell in order.tolist():
            t, j = divmod(cell, len(self.classes))
            found = self.cell(self.classes[t], self.classes[j]) if beside[t, j] > 0 else ()
            if len(found):
                first.append(int(found.indices[0]))  # type: ignore[union-attr]
                titles.append(f"{self.classes[t]} → {self.classes[j]}")
        pictures = of_evidence(self._evidence, first)
        return f"<p>label → prediction:</p>{strip(pictures, titles)}" if pictures else ""


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
    check(ev, record)
    if among is not None:
        among = as_int(among, "among", least=0)
    if kind == "count":
        head = _head(ev, record, _default_among(ev.n) if among is None else among)
        return _count(ev, record, head, bool(normalize))
    given, (values, is_logits) = ev.given_index, ev._source
    chosen: Ranking | None = None
    if among is not None or not is_row_score(record):
        chosen = _head(ev, record, ev.n if among is None else among)
    if chosen is not None and len(chosen) < ev.n:
        values, given = values[chosen.indices], given[chosen.indices]
    threads = resolve_threads(None)
    sums = _ambigcore.summary(values, is_logits, given, (), True, threads)[3]
    return Heatmap(ev, kind, record, chosen, sums / _ONE, bool(normalize))


def _default_among(n: int) -> int:
    """How many images a "count" looks at: the article's 100 for 10,000."""
    return max(1, min(100, n // 20))


def _head(ev: Evidence, record: Definition, among: int) -> Ranking:
    """The `among` most ambiguous images, right predictions too."""
    if is_row_score(record):
        return Ranking(ev, record, *top(ev, record, among))
    return rank(ev, record, among)


def _count(ev: Evidence, record: Definition, chosen: Ranking, normalize: bool) -> Heatmap:
    cells = ev.given_index[chosen.indices] * ev.k + ev._predicted_at(chosen.indices)
    counts = np.bincount(cells, minlength=ev.k**2).reshape(ev.k, ev.k)
    return Heatmap(ev, "count", record, chosen, counts, normalize)


@dataclass(frozen=True, slots=True)
class Summary:
    """What one pass over the evidence found; made by `Evidence.summary`.

    Attributes
    ----------
    n : int
    accuracy, log_loss : float
        NaN for no images.
    rankings : dict of str to Ranking
    probability, count : Heatmap
    confusion : (k, k) int64
        How many images of each (label, prediction).
    """

    n: int
    accuracy: float
    log_loss: float
    rankings: dict[str, Ranking]
    probability: Heatmap
    count: Heatmap
    confusion: NDArray[np.int64]

    def __repr__(self) -> str:
        head = f"Summary: {self.n} images, accuracy {self.accuracy:.4f}, "
        note = explained(self.probability._evidence)
        head += f"log loss {self.log_loss:.4g}" + (f"\n  {note}" if note else "")
        return "\n\n".join([head, *(repr(r) for r in self.rankings.values())])


def summarise(
    ev: Evidence,
    by: Sequence[str | Callable[[Evidence], ArrayLike]],
    k: int,
    among: int | None,
) -> Summary:
    """`Evidence.summary`, where it is described."""
    k = as_int(k, "k", least=0)
    among = min(_default_among(ev.n) if among is None else as_int(among, "among", least=0), ev.n)
    records = [find(name) for name in ([by] if isinstance(by, str) or callable(by) else by)]
    if not records:
        raise ArgumentError("by: expected at least one definition, got none")
    for record in records:
        check(ev, record)
    quick = [record for record in records if is_row_score(record)]
    tops = [(record.name, min(k, ev.n), record.wrong_only) for record in quick]
    if records[0] in quick:
        tops.append((records[0].name, among, False))
    lists, loss, right, sums, counts = _ambigcore.summary(
        *ev._source, ev.given_index, tuple(tops), True, resolve_threads(None)
    )
    rankings = {
        record.name: top_ranking(ev, record, *found, k)
        for record, found in zip(quick, lists, strict=False)
    }
    first = records[0]
    head = Ranking(ev, first, *lists[-1]) if first in quick else _head(ev, first, among)
    return Summary(
        ev.n,
        right / ev.n if ev.n else float("nan"),
        _ambigcore.exact_sum(loss[np.newaxis]) / ev.n if ev.n else float("nan"),
        {r.name: rankings.get(r.name) or rank(ev, r, k) for r in records},
        Heatmap(ev, "probability", records[0], None, sums / _ONE, True),
        _count(ev, records[0], head, True),
        counts,
    )
