"""Rankings: images in the order of a score, most ambiguous first."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._files import PathLike, atomic_write
from ambigmnist._in_sample import definition_note, legend, mark
from ambigmnist._rank_intervals import check_intervals, rank_bounds
from ambigmnist._tables import Listing, few
from ambigmnist._thumbnails import of_evidence
from ambigmnist._validate import as_array, as_int
from ambigmnist.definitions import Definition, find, is_row_score, top
from ambigmnist.definitions import scores as scores_of
from ambigmnist.errors import (
    ArgumentError,
    DTypeError,
    MissingDependencyError,
    OutOfRangeError,
    ShapeError,
)
from ambigmnist.evidence import Evidence, Indices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Ranked", "Ranking", "chosen_rows", "data_frame", "rank", "top_ranking", "write_csv"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One image of a ranking; `given` is None where there are no labels, `rank_low` and
    `rank_high` where no intervals were asked for."""

    rank: int
    index: int
    score: float
    given: Any
    predicted: Any
    rank_low: int | None = None
    rank_high: int | None = None


class Ranking(Listing):
    """Images in the order of a score, most ambiguous first; made by `rank`.

    Attributes
    ----------
    indices : (m,) intp
        Which images, in rank order.
    scores : (m,) float64
        Their scores, in rank order.
    given, predicted : (m,)
        Their labels (None without labels) and predictions: class values, in rank order.
    ranks : (m,) intp
        1 for the most ambiguous image; a slice keeps the ranks of the whole.
    rank_low, rank_high : (m,) intp or None
        The 90 % interval of each rank; None where `rank` was not asked for `intervals`.
    definition : Definition
    evidence : Evidence
    note : str
        What a reader should know, such as that there are fewer images than asked for.
    """

    def __init__(
        self,
        evidence: Evidence,
        definition: Definition,
        indices: Indices,
        scores: NDArray[np.float64],
        *,
        all_scores: NDArray[np.float64] | None = None,  # None: the core computes any when asked
        ranks: Indices | None = None,
        rank_bounds: tuple[Indices, Indices] | None = None,
        note: str = "",
    ) -> None:
        self.evidence = evidence
        self.definition = definition
        self.indices = indices
        self.ranks = np.arange(1, len(indices) + 1) if ranks is None else ranks
        self.rank_low: Indices | None = None
        self.rank_high: Indices | None = None
        if rank_bounds is not None:
            self.rank_low, self.rank_high = rank_bounds
        self.scores = scores
        self.predicted: NDArray[Any] = evidence.classes[evidence._predicted_at(indices)]
        self.given: NDArray[Any] | None = (
            None if evidence.labels is None else evidence.labels[indices]
        )
        self.note = note
        self._all_scores = all_scores
        for array in (self.indices, self.ranks, self.scores, *(rank_bounds or ())):
            array.flags.writeable = False  # score_of and slices must go on telling the same

    def score_of(self, index: int) -> float:
        """The score of image `index` of the evidence, whether it is listed here or not."""
        index = self._checked(index)
        if self._all_scores is None:
            return float(scores_of(self.evidence[index : index + 1], self.definition)[0])
        return float(self._all_scores[index])

    def rank_of(self, index: int) -> int:
        """The rank of image `index`, from 1; ArgumentError where it is not listed."""
        found = np.flatnonzero(self.indices == self._checked(index))
        if len(found) == 0:
            raise ArgumentError(
                f"index: image {index} is not among the {len(self)} of this ranking"
            )
        return int(self.ranks[found[0]])

    def _checked(self, index: int) -> int:
        index = as_int(index, "index")
        if not 0 <= index < self.evidence.n:
            raise ArgumentError(f"index: expected 0..{self.evidence.n - 1}, got {index}")
        return index

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, key: int) -> Ranked: ...

    @overload
    def __getitem__(self, key: slice) -> Ranking: ...

    def __getitem__(self, key: int | slice) -> Ranked | Ranking:
        if isinstance(key, slice):
            return self._part(key)
        key = as_int(key, "position")
        if not -len(self) <= key < len(self):
            raise OutOfRangeError(f"position: expected -{len(self)} to {len(self) - 1}, got {key}")
        return Ranked(
            int(self.ranks[key]),
            int(self.indices[key]),
            float(self.scores[key]),
            None if self.given is None else self.given[key].item(),
            self.predicted[key].item(),
            None if self.rank_low is None else int(self.rank_low[key]),
            None if self.rank_high is None else int(self.rank_high[key]),
        )

    def __iter__(self) -> Iterator[Ranked]:
        return (self[i] for i in range(len(self)))

    def gallery(
        self, rows: int | None = None, cols: int | None = None, *, ax: Axes | None = None
    ) -> Figure:
        """The pictures, most ambiguous first; see `ambigmnist.gallery`."""
        from ambigmnist.plot import gallery

        return gallery(self, rows, cols, ax=ax)

    def top(self) -> Ranking:
        """What a top list shows: for `confident_wrong` the wrong predictions alone."""
        if not self.definition.wrong_only or self.given is None:
            return self
        wrong = self.given != self.predicted
        if wrong.all():
            return self
        return self._part(wrong, _wrong_note(int(wrong.sum())))

    def _part(
        self, key: slice | NDArray[np.bool_], note: str = "", *, keep_ranks: bool = True
    ) -> Ranking:
        bounds = None
        if keep_ranks and self.rank_low is not None and self.rank_high is not None:
            bounds = self.rank_low[key], self.rank_high[key]
        return Ranking(
            self.evidence,
            self.definition,
            self.indices[key],
            self.scores[key],
            all_scores=self._all_scores,
            ranks=self.ranks[key] if keep_ranks else None,
            rank_bounds=bounds,
            note=note,
        )

    def _columns(self) -> dict[str, NDArray[Any]]:
        ev, rows = self.evidence, self.indices
        columns: dict[str, NDArray[Any]] = {"rank": self.ranks}
        if self.rank_low is not None and self.rank_high is not None:
            columns |= {"rank_low": self.rank_low, "rank_high": self.rank_high}
        columns["index"] = rows
        if ev.split is not None:
            columns["split"] = ev.split[rows]
        if self.given is not None:
            columns["given"] = self.given
        columns["predicted"] = self.predicted
        if self.given is not None:
            columns["p_given"] = ev.probs[rows, ev.given_index[rows]]
        columns["p_predicted"] = ev.probs[rows, ev._predicted_at(rows)]
        if ev.in_sample is not None:
            columns["in_sample"] = ev.in_sample[rows]
        columns["score"] = self.scores
        return columns

    def to_frame(self) -> Any:
        """A pandas DataFrame: rank, rank_low, rank_high, index, split, given, predicted, p_given,
        p_predicted, in_sample, score.

        Columns that are not known (rank_low, rank_high, split, given, p_given, in_sample) are left
        out. Needs pandas: ``pip install ambigmnist[pandas]``.
        """
        return data_frame(self._columns())

    def to_csv(self, path: PathLike) -> None:
        """Writes the columns of `to_frame` to `path`: complete, or not at all.

        Numbers are written so that they read back exactly. A class or split name that a
        spreadsheet would run as a formula gets an apostrophe in front.
        """
        write_csv(path, self._columns())

    def _title(self) -> str:
        d = self.definition
        formula = f" = {d.formula}" if d.formula else ""
        note = f" ({self.note})" if self.note else ""
        always = definition_note(d)
        return f"{len(self)} of {self.evidence.n} images by {d.name}{formula}{note}{always}"

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        rank = "rank" if self.rank_low is None else "rank (90 %)"
        header = (rank, " index", "score", "guess" if self.given is None else "guess->truth")
        shown = self[: few(len(self))]
        return header, [
            (
                f"{r.rank:>4}{mark(self.evidence, r.index)}{_interval(r)}",
                f"{r.index:>6}",
                f"{r.score:#.6g}",
                _reading(r),
            )
            for r in shown
        ]

    def _pictures(self) -> list[str] | None:
        return of_evidence(self.evidence, self.indices[: few(len(self))].tolist())

    def _legend(self) -> str:
        return legend(self.evidence, self.indices[: few(len(self))])


def _reading(item: Ranked) -> str:
    return f"{item.predicted}" if item.given is None else f"{item.predicted}->{item.given}"


def _interval(item: Ranked) -> str:
    return "" if item.rank_low is None else f" ({item.rank_low}-{item.rank_high})"


def data_frame(columns: Mapping[str, NDArray[Any]]) -> Any:
    """The columns as a pandas DataFrame; MissingDependencyError where there is no pandas."""
    try:
        import pandas
    except ImportError as error:
        raise MissingDependencyError(
            "to_frame: expected pandas, which is not installed: "
            "pip install 'ambigmnist[pandas]', or use to_csv"
        ) from error
    return pandas.DataFrame(dict(columns))


def write_csv(path: PathLike, columns: Mapping[str, NDArray[Any]]) -> None:
    """The columns under their names, complete or not at all; see `Ranking.to_csv`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        zip(*([_csv_cell(v) for v in c.tolist()] for c in columns.values()), strict=True)
    )
    atomic_write(path, text.getvalue().encode())


def _csv_cell(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    if isinstance(value, str) and value.lstrip(" ")[:1] in tuple("=+-@\t\r\n"):
        return "'" + value
    return value


def _wrong_note(wrong: int) -> str:
    return f"wrong predictions only: there are {wrong}"


def _few_note(wrong: int, k: int) -> str:
    return _wrong_note(wrong) + f", {k} were asked for" if wrong < k else ""


def _as_rows(where: ArrayLike | Callable[[Evidence], ArrayLike], ev: Evidence) -> Indices:
    """The images that `where` chooses, in rising order."""
    if callable(where):
        return _rows_of_function(where, ev)
    where = as_array(where, "where")
    rows = chosen_rows(where, ev.n)
    return rows if where.dtype.kind == "b" else np.unique(rows)


def chosen_rows(where: NDArray[Any], n: int) -> Indices:
    """The images that a mask (n,) or indices (m,) choose, in its order."""
    if where.ndim != 1:
        raise ShapeError(f"where: expected a mask ({n},) or indices (m,), got shape {where.shape}")
    if where.dtype.kind == "b":
        if len(where) != n:
            raise ShapeError(f"where: expected a mask of {n}, one per image, got {len(where)}")
        return np.flatnonzero(where)
    if len(where) == 0:
        return np.empty(0, np.intp)
    if where.dtype.kind not in "iu":
        raise DTypeError(f"where: expected a mask or indices, got dtype {where.dtype}")
    bad = (where < 0) | (where >= n)
    if bad.any():
        raise ArgumentError(f"where: expected indices 0..{n - 1}, got {where[bad][0]}")
    return where.astype(np.intp)


def _rows_of_function(where: Callable[[Evidence], ArrayLike], ev: Evidence) -> Indices:
    try:
        mask = np.asarray(where(ev))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ArgumentError(f"where: the function raised {what}") from error
    if mask.dtype.kind != "b":
        raise DTypeError(
            f"where: expected the function to return a mask of booleans, got dtype {mask.dtype}: "
            "compare its numbers with a limit"
        )
    if mask.shape != (ev.n,):
        raise ShapeError(
            f"where: expected the function to return a mask ({ev.n},), one per image, "
            f"got {mask.shape}"
        )
    return np.flatnonzero(mask)


def top_ranking(
    ev: Evidence, record: Definition, indices: Indices, scores: NDArray[np.float64], k: int
) -> Ranking:
    """The first k by a built-in definition, as the core found them."""
    note = _few_note(len(indices), k) if record.wrong_only else ""
    return Ranking(ev, record, indices, scores, note=note)


def rank(
    ev: Evidence,
    by: str | Callable[[Evidence], ArrayLike] | Definition = "least_confident",
    k: int | None = None,
    *,
    where: ArrayLike | Callable[[Evidence], ArrayLike] | None = None,
    intervals: bool | Sequence[Evidence] = False,
) -> Ranking:
    """The images in the order of a score, most ambiguous first, equal scores by index.

    Parameters
    ----------
    ev : Evidence
    by : str, callable or Definition
        A name or record that `definitions()` lists, or any function Evidence -> (n,) scores.
    k : int, optional
        Only the first k (fewer if there are fewer images). A top list of "confident_wrong"
        shows wrong predictions only, and says so where there are fewer than k. By default all
        images are ranked. By a built-in definition this is one pass at the speed of memory that
        keeps no scores: mapped files of any size will do.
    where : array_like or callable, optional
        Only these images: a mask (n,), indices, or a function Evidence -> mask (n,) of booleans,
        such as ``lambda ev: ev.predicted != ev.given``. Scores are still computed for all.
    intervals : bool or sequence of Evidence
        How sure the ranks are: `Ranking.rank_low` and `rank_high`, in 9 cases of 10. True: where
        very many networks on the same folds would put the image, by leaving out each of
        `Evidence.members` once (of each pass, where only `mc` is known, and then of what dropout
        does alone), each time scoring and ranking all images anew. A list of other audits of the
        same images, with other seeds: where yet another audit would put it, other folds included.
        With two networks or audits the intervals are very wide; three are much better.

    Returns
    -------
    Ranking

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        An unknown name (the nearest is suggested), a definition that lacks what it needs, raises,
        or does not return one number per image, a negative `k`; intervals for a single network, or
        of a definition that does not look at what each network says.

    References
    ----------
    Of the intervals: J. W. Tukey, "Bias and confidence in not-quite large samples", Annals of
    Mathematical Statistics 29, 1958: the jackknife with Student's t, which does not understate few
    networks as their bootstrap does. Measured on 10,000 digits (bench/README.md): from 3 networks
    the rank by 12 others is inside for 86 % of all images and 80 to 99 % of the first 100, but for
    73 % of the first 12 of "confident_wrong"; from 6 for 75 % of all; over audits for 87 to 100 %.

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]], labels=[0, 0, 1])
    >>> am.rank(ev, k=2)
    Ranking: 2 of 3 images by least_confident = 1 - p1
    rank   index  score     guess->truth
       1       2  0.500000  0->1
       2       1  0.400000  1->0

    >>> members = np.array([[0.9, 0.5, 0.6], [0.9, 0.8, 0.6], [0.8, 0.6, 0.8]])  # p of class 0
    >>> members = np.stack([members, 1 - members], axis=2)
    >>> am.rank(am.Evidence(members.mean(axis=0), members=members), intervals=True)
    Ranking: 3 of 3 images by least_confident = 1 - p1
    rank (90 %)   index  score     guess
       1 (1-3)        1  0.366667  0
       2 (1-3)        2  0.333333  0
       3 (3-3)        0  0.133333  0
    """
    record = find(by)
    check_intervals(intervals)
    sure = isinstance(intervals, Sequence) or bool(intervals)
    if k is not None:
        k = as_int(k, "k", least=0)
        if where is None and is_row_score(record) and not sure:
            return top_ranking(ev, record, *top(ev, record, k, wrong_only=record.wrong_only), k)
    scores = scores_of(ev, record)
    rows = every = np.arange(ev.n) if where is None else _as_rows(where, ev)
    note = ""
    if k is not None:
        if record.wrong_only:
            rows = rows[ev.given_index[rows] != ev.predicted_index[rows]]
            note = _few_note(len(rows), k)
    count = len(rows) if k is None else min(k, len(rows))
    chosen = rows[_ambigcore.top_k(scores[rows], count)]
    bounds = None
    if sure:
        bounds = rank_bounds(ev, record, every, np.searchsorted(every, chosen), intervals)
    return Ranking(
        ev, record, chosen, scores[chosen], all_scores=scores, rank_bounds=bounds, note=note
    )
