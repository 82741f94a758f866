"""Comparison: what differs between two rankings of the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._files import PathLike
from ambigmnist._opinions import check_same_images
from ambigmnist._tables import Listing, few
from ambigmnist._validate import as_int, check_kind
from ambigmnist.errors import DTypeError
from ambigmnist.evidence import Evidence, Indices
from ambigmnist.ranking import Ranking, data_frame, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Comparison", "compare_rankings"]


class Comparison(Listing):
    """What differs between two rankings; made by `compare_rankings`, biggest movers first.

    Attributes
    ----------
    a, b : Ranking
    k : int
        How many of each the lists of `entered` and `left` look at.
    indices : (m,) intp
        The images that both rankings list: first those whose ranks have the largest ratio, equal
        ones by the better of their ranks.
    rank_a, rank_b : (m,) intp
        Their ranks.
    tau : float
        Kendall's tau-b of their scores: 1 for the same order, -1 for the opposite one; NaN where
        one of them gives all the same score.
    overlap : float
        The share of the first k that is in both lists; NaN of no images.
    entered, left : intp
        Images among the first k of b and not of a, in b's order; of a and not of b, in a's order.
    relabelled : (r,) intp
        Images whose given labels differ, of all that the evidences hold.
    """

    def __init__(self, a: Ranking, b: Ranking, k: int) -> None:
        self.a, self.b, self.k = a, b, k
        common, at_a, at_b = np.intersect1d(a.indices, b.indices, return_indices=True)
        rank_a, rank_b = a.ranks[at_a], b.ranks[at_b]
        better, worse = np.minimum(rank_a, rank_b), np.maximum(rank_a, rank_b)
        order = np.lexsort((common, better, -(worse / better)))
        self.indices: Indices = common[order]
        self.rank_a, self.rank_b = rank_a[order], rank_b[order]
        self._scores = a.scores[at_a][order], b.scores[at_b][order]
        self.tau = _ambigcore.kendall_tau(*self._scores)
        first_a, first_b = a.indices[:k], b.indices[:k]
        self.entered: Indices = first_b[~np.isin(first_b, first_a)]
        self.left: Indices = first_a[~np.isin(first_a, first_b)]
        self._shared = len(first_a) - len(self.left)
        self.overlap = self._shared / len(first_a) if len(first_a) else float("nan")
        self.relabelled: Indices = _relabelled(a.evidence, b.evidence)

    def __len__(self) -> int:
        return len(self.indices)

    def _columns(self) -> dict[str, NDArray[Any]]:
        rows = self.indices
        columns: dict[str, NDArray[Any]] = {
            "index": rows,
            "rank_a": self.rank_a,
            "rank_b": self.rank_b,
            "score_a": self._scores[0],
            "score_b": self._scores[1],
        }
        for name, ranking in (("given_a", self.a), ("given_b", self.b)):
            if ranking.evidence.labels is not None:
                columns[name] = ranking.evidence.labels[rows]
        columns["entered"] = np.isin(rows, self.entered)
        columns["left"] = np.isin(rows, self.left)
        return columns

    def to_frame(self) -> Any:
        """A pandas DataFrame of the images in both rankings: index, rank_a, rank_b, score_a,
        score_b, given_a, given_b (where there are labels), entered, left.

        Needs pandas: ``pip install ambigmnist[pandas]``.
        """
        return data_frame(self._columns())

    def to_csv(self, path: PathLike) -> None:
        """Writes the columns of `to_frame` to `path`: complete, or not at all."""
        write_csv(path, self._columns())

    def plot(self, ax: Axes | None = None) -> Figure:
        """Rank against rank on logarithmic axes; returns the figure, never shows it."""
        from ambigmnist._plot_ranks import draw_comparison

        return draw_comparison(self, ax)

    def _title(self) -> str:
        names = [self.a.definition.name, self.b.definition.name]
        what = f"{names[0]}, two audits" if names[0] == names[1] else " against ".join(names)
        changed = f", {len(self.relabelled)} relabelled" if len(self.relabelled) else ""
        return (
            f"{what}: {self._shared} of the first {self.k} in both, "
            f"tau {self.tau:.3f} over {len(self)} images{changed}"
        )

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        shown = range(few(len(self)))
        header: tuple[str, ...] = (" index", "rank a", "rank b", f"top {self.k}")
        entered, left = set(self.entered.tolist()), set(self.left.tolist())
        rows: list[tuple[str, ...]] = [
            (
                f"{index:>6}",
                f"{self.rank_a[i]:>6}",
                f"{self.rank_b[i]:>6}",
                "entered" if index in entered else "left" if index in left else "",
            )
            for i, index in zip(shown, self.indices.tolist(), strict=False)
        ]
        if len(self.relabelled) == 0:
            return header, rows
        changed = set(self.relabelled.tolist())
        labels = [
            f"{self.a.evidence.given[i]}->{self.b.evidence.given[i]}" if i in changed else ""
            for i in self.indices[: len(rows)].tolist()
        ]
        return (*header, "label"), [(*row, label) for row, label in zip(rows, labels, strict=True)]


def compare_rankings(a: Ranking, b: Ranking, k: int | None = None) -> Comparison:
    """What differs between two rankings: by two definitions, or of two audits.

    The images are matched by their index, so the two evidences must be of the same images in the
    same order; labels may have been changed between them.

    Parameters
    ----------
    a, b : Ranking
        Of one evidence by two definitions, or of two audits, before and after relabelling say.
    k : int, optional
        How many of each to compare as lists. By default as many as the shorter one has where one
        of them is a list of a few, 12 where both rank all images.

    Returns
    -------
    Comparison
        `.tau`, `.overlap`, `.entered`, `.left`, `.relabelled`, and the images by how far they
        moved; prints as a table, `.to_frame()`, `.to_csv(path)`, `.plot()`.

    Raises
    ------
    ArgumentError, DTypeError
        Not two rankings; evidence of other images; labels of one that are integers and of the
        other strings; a negative `k`.

    References
    ----------
    M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945 (tau-b).

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.4, 0.3, 0.3], [0.5, 0.5, 0.0], [0.9, 0.1, 0.0]])
    >>> am.compare_rankings(am.rank(ev, "margin"), am.rank(ev, "least_confident"), k=1)
    Comparison: margin against least_confident: 0 of the first 1 in both, tau 0.333 over 3 images
     index  rank a  rank b  top 1
         0       2       1  entered
         1       1       2  left
         2       3       3
    """
    for name, ranking in (("a", a), ("b", b)):
        if not isinstance(ranking, Ranking):
            raise DTypeError(
                f"{name}: expected a Ranking, as am.rank gives, got {type(ranking).__name__}"
            )
    check_same_images(a.evidence, b.evidence, "compare_rankings")
    shorter = min(len(a), len(b))
    if k is None:
        k = shorter if shorter < a.evidence.n else min(12, shorter)
    return Comparison(a, b, as_int(k, "k", least=0))


def _relabelled(a: Evidence, b: Evidence) -> Indices:
    if a.labels is None or b.labels is None:
        return np.empty(0, np.intp)
    check_kind(b.labels, a.labels, "labels of b")
    return np.flatnonzero(a.labels != b.labels)
