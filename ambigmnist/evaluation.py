"""How well a score finds what was planted, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._estimate import Estimate, estimated, percent
from ambigmnist._in_sample import definition_note, explained
from ambigmnist._tables import html_table, text_table
from ambigmnist._validate import as_array, as_int, as_level
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.ranking import Ranking

__all__ = ["Difference", "Evaluation", "Evaluations", "as_scores", "evaluate"]

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

# In this order everywhere; a difference has no threshold.
MEASURES = ("average_precision", "auroc", "f1", "precision", "recall")
_THRESHOLD = len(MEASURES)


@dataclass(frozen=True)
class _Setting:
    """What two evaluations must share to be compared image by image."""

    truth: Bools
    k: int
    level: float
    resamples: int
    seed: int

    def differences(self, other: _Setting) -> list[str]:
        names = ("k", "level", "resamples", "seed")
        found = [name for name in names if getattr(self, name) != getattr(other, name)]
        return found if np.array_equal(self.truth, other.truth) else ["truth", *found]

    def describe(self) -> str:
        text = f"{int(self.truth.sum())} planted among {len(self.truth)} images"
        if self.resamples:
            text += f"; {percent(self.level)} intervals of {self.resamples} resamples"
        return text


def _name(measure: str, k: int) -> str:
    names = {"average_precision": "average precision", "auroc": "AUROC", "f1": "best F1"}
    return names.get(measure, f"{measure} at {k}")


@dataclass(frozen=True, eq=False, repr=False)
class _Measured:
    """The measures as a table."""

    average_precision: Estimate
    auroc: Estimate
    f1: Estimate
    precision: Estimate
    recall: Estimate
    note: str
    _setting: _Setting
    _draws: F64  # (measures, resamples)

    @property
    def n(self) -> int:
        """How many images."""
        return len(self._setting.truth)

    @property
    def planted(self) -> int:
        """How many of them are to be found."""
        return int(self._setting.truth.sum())

    @property
    def k(self) -> int:
        """How many images `precision` and `recall` look at."""
        return self._setting.k

    @property
    def level(self) -> float:
        """The level of the intervals, 0.95 say."""
        return self._setting.level

    def _table(self) -> tuple[list[str], list[list[str]]]:
        level = percent(self.level)
        rows = []
        for measure in MEASURES:
            estimate: Estimate = getattr(self, measure)
            name = _name(measure, self.k) + self._remark(measure)
            rows.append([name, f"{estimate.value:.4f}", estimate.interval()])
        if self._setting.resamples:
            return ["measure", "value", level], rows
        return ["measure", "value"], [row[:2] for row in rows]

    def _remark(self, measure: str) -> str:
        return ""

    def _title(self) -> str:
        return self._setting.describe() + (f" ({self.note})" if self.note else "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self._title()}\n{text_table(*self._table())}"

    def _repr_html_(self) -> str:
        return html_table(*self._table(), self._title())


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(_Measured):
    """How well a score finds what was planted; made by `evaluate`.

    Each measure is an estimate ``value, low, high``: with the bounds of its interval.

    Attributes
    ----------
    average_precision : Estimate
        The mean over the planted images of the precision of all images that score at least as
        high (non-interpolated; equal scores are one block).
    auroc : Estimate
        The share of pairs, one planted and one not, in which the planted one scores higher; equal
        scores count half.
    f1 : Estimate
        The largest 2 precision recall / (precision + recall) over all thresholds. It is chosen
        on these same images, so a little too good.
    threshold : Estimate
        The score from which on images are suspected for that F1; the largest of equally good ones.
    precision, recall : Estimate
        Of the first `k` images in the order of `rank`: the share of them that are planted, the
        share of the planted that are among them.
    n, planted, k : int
        How many images, how many to be found, how many `precision` and `recall` look at.
    level : float
    note : str
        What a reader should know, such as that the network was fitted to these images.
    """

    threshold: Estimate

    def _remark(self, measure: str) -> str:
        return f" (from {self.threshold.value:.6g} on)" if measure == "f1" else ""

    def minus(self, other: Evaluation) -> Difference:
        """By how much this score is better, with intervals: a paired bootstrap.

        Both were resampled by the same images, so that what makes a resample hard for both does
        not blur the difference. Where an interval lies above 0, this score is better by more than
        the choice of images explains.

        Raises
        ------
        ArgumentError
            An evaluation of another truth, or with another `k`, `level`, `resamples` or `seed`.

        Examples
        --------
        >>> import ambigmnist as am
        >>> truth = [True, True, False, False]
        >>> better = am.evaluate([0.9, 0.8, 0.2, 0.1], truth, resamples=0)
        >>> worse = am.evaluate([0.9, 0.1, 0.2, 0.8], truth, resamples=0)
        >>> better.minus(worse).average_precision.value
        0.25
        """
        if not isinstance(other, Evaluation):
            raise DTypeError(f"minus: expected an Evaluation, got {type(other).__name__}")
        differences = self._setting.differences(other._setting)
        if differences:
            raise ArgumentError(
                "minus: expected an evaluation of the same images in the same way, got another "
                f"{', '.join(differences)}: evaluate both with the same arguments"
            )
        draws = self._draws[:_THRESHOLD] - other._draws[:_THRESHOLD]
        values = [getattr(self, m).value - getattr(other, m).value for m in MEASURES]
        notes = dict.fromkeys(note for note in (self.note, other.note) if note)
        note = "; ".join(notes)
        estimates = _estimates(values, draws, self.level)
        return Difference(**_fields(estimates, draws, note, self._setting))


class Difference(_Measured):
    """One evaluation less another, of the same images; made by `Evaluation.minus`.

    `average_precision`, `auroc`, `f1`, `precision` and `recall` are estimates ``value, low, high``.
    """


class Evaluations(Mapping[str, Evaluation]):
    """Evaluations by name, the highest average precision first; made by `evaluate`.

    A mapping; prints as one table with the difference of each to the best.
    """

    def __init__(self, evaluations: Mapping[str, Evaluation]) -> None:
        order = sorted(evaluations, key=lambda name: -evaluations[name].average_precision.value)
        self._evaluations = {name: evaluations[name] for name in order}

    def __getitem__(self, name: str) -> Evaluation:
        return self._evaluations[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._evaluations)

    def __len__(self) -> int:
        return len(self._evaluations)

    @property
    def best(self) -> str:
        """The name of the score with the highest average precision, the first of equals."""
        return next(iter(self))

    def _table(self) -> tuple[list[str], list[list[str]]]:
        best = self[self.best]
        header = ["score", "average precision", "less the best"]
        header += [_name(measure, best.k) for measure in MEASURES[1:]]
        rows = []
        for name, found in self.items():
            behind = "" if found is best else found.minus(best).average_precision.describe("+.4f")
            rest = [f"{getattr(found, measure).value:.4f}" for measure in MEASURES[1:]]
            rows.append([name, found.average_precision.describe(), behind, *rest])
        return header, rows

    def _title(self) -> str:
        notes = dict.fromkeys(f"{name}: {e.note}" for name, e in self.items() if e.note)
        text = self[self.best]._setting.describe()
        return text + (f" ({'; '.join(notes)})" if notes else "")

    def __repr__(self) -> str:
        return f"Evaluations: {self._title()}\n{text_table(*self._table())}"

    def _repr_html_(self) -> str:
        return html_table(*self._table(), self._title())


@overload
def evaluate(
    scores: Mapping[str, ArrayLike | Ranking],
    truth: Any,
    *,
    k: int | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Evaluations: ...


@overload
def evaluate(
    scores: ArrayLike | Ranking,
    truth: Any,
    *,
    k: int | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Evaluation: ...


def evaluate(
    scores: ArrayLike | Ranking | Mapping[str, ArrayLike | Ranking],
    truth: Any,
    *,
    k: int | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Evaluation | Evaluations:
    """How well a score finds the images that are known to be wrong, or ambiguous.

    Average precision, the area under the ROC curve and the best F1 do not depend on the order of
    images with equal scores. Precision and recall at k do: they are those of the list that `rank`
    gives, where equal scores go by index.

    Intervals are percentiles of a stratified bootstrap: every resample draws as many planted and
    as many other images as there are, with replacement, each among its kind, since how many are
    planted was decided, not observed. All scores of one truth meet the same resamples.

    Parameters
    ----------
    scores : array_like (n,), Ranking, or a mapping of names to these
        Higher is more suspicious; infinite ones are fine. A ranking of all images, as `rank`
        gives it without `k`.
    truth : array_like (n,) of bool, or an object with a method mask() that returns it
        Which images are to be found: at least one, not all.
    k : int, optional
        How many images a person would look at, 1 to n; by default as many as are planted, and
        then precision and recall are equal.
    resamples : int
        0: no intervals.
    level : float
        Of the intervals, in (0, 1).
    seed : int
        Of the resampling.

    Returns
    -------
    Evaluation or Evaluations
        `.average_precision`, `.auroc`, `.f1`, `.threshold`, `.precision`, `.recall`, each
        ``value, low, high``; `.minus(other)` for the difference of two. Of a mapping: all of
        them, in one table.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Not one number and one truth per image, NaN, nothing or everything planted, a ranking of
        some images, a `k` beyond n.

    References
    ----------
    Davis & Goadrich 2006, The relationship between precision-recall and ROC curves, ICML;
    Efron & Tibshirani 1993, An introduction to the bootstrap.

    Examples
    --------
    >>> import ambigmnist as am
    >>> truth = [True, False, True, False, False]
    >>> am.evaluate([0.9, 0.8, 0.7, 0.2, 0.1], truth, resamples=0)
    Evaluation: 2 planted among 5 images
    measure                value
    average precision      0.8333
    AUROC                  0.8333
    best F1 (from 0.7 on)  0.8000
    precision at 2         0.5000
    recall at 2            0.5000
    >>> found = am.evaluate({"good": [5, 1, 4, 2, 3], "bad": [1, 5, 2, 4, 3]}, truth)
    >>> found.best, round(found["good"].minus(found["bad"]).average_precision.low, 3)
    ('good', 0.6)
    """
    is_many = isinstance(scores, Mapping)
    many: Mapping[str, ArrayLike | Ranking] = (
        scores if isinstance(scores, Mapping) else {"": scores}
    )
    if not many:
        raise ArgumentError("scores: expected at least one score, got an empty mapping")
    planted = _as_truth(truth)
    orders = {}
    for name, one in many.items():
        if not isinstance(name, str):
            raise DTypeError(f"scores: expected names of scores as keys, got {name!r}")
        what = f"scores[{name!r}]" if is_many else "scores"
        orders[name] = _Order(as_scores(one, len(planted), what), planted)
    setting = _Setting(
        planted,
        int(planted.sum()) if k is None else _as_k(k, len(planted)),
        as_level(level, "level"),
        as_int(resamples, "resamples", least=0),
        as_int(seed, "seed", least=0),
    )
    draws = _resampled(list(orders.values()), setting)
    once = np.ones(len(planted), np.int64)
    found = {
        name: _evaluation(order.measures(once, setting.k), drawn, _note(many[name]), setting)
        for (name, order), drawn in zip(orders.items(), draws, strict=True)
    }
    return Evaluations(found) if is_many else found[""]


def _evaluation(values: F64, draws: F64, note: str, setting: _Setting) -> Evaluation:
    *estimates, threshold = _estimates(values, draws, setting.level)
    return Evaluation(**_fields(estimates, draws, note, setting), threshold=threshold)


def _estimates(values: Iterable[float], draws: F64, level: float) -> list[Estimate]:
    return [estimated(value, drawn, level) for value, drawn in zip(values, draws, strict=True)]


def _fields(estimates: list[Estimate], draws: F64, note: str, setting: _Setting) -> dict[str, Any]:
    named = dict(zip(MEASURES, estimates, strict=True))
    return {**named, "note": note, "_setting": setting, "_draws": draws}


def _resampled(orders: list[_Order], setting: _Setting) -> list[F64]:
    """The measures of every score in every resample, (measures, resamples) each."""
    draws = np.empty((len(orders), setting.resamples, _THRESHOLD + 1))
    rng = np.random.Generator(np.random.PCG64(setting.seed))
    kinds = [np.flatnonzero(setting.truth), np.flatnonzero(~setting.truth)]
    times = np.empty(len(setting.truth), np.int64)  # how often each image is drawn
    for i in range(setting.resamples):
        for rows in kinds:
            drawn = rng.integers(len(rows), size=len(rows))
            times[rows] = np.bincount(drawn, minlength=len(rows))
        for order, found in zip(orders, draws, strict=True):
            found[i] = order.measures(times, setting.k)
    return [np.ascontiguousarray(found.T) for found in draws]


class _Order:
    """The images in the order of a score, sorted once for all resamples."""

    def __init__(self, scores: F64, truth: Bools) -> None:
        n = len(scores)
        self.order = _ambigcore.top_k(scores, n)
        ranked = scores[self.order]
        self.planted = truth[self.order]
        self.places = np.flatnonzero(self.planted)
        # Equal scores are a block. Between blocks with planted images no measure gets better, so
        # these few are all that is looked at: block b is [starts[b], ends[b]).
        bounds = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1], True])
        block = np.unique(np.searchsorted(bounds, self.places, side="right")) - 1
        self.starts, self.ends = bounds[block], bounds[block + 1]
        self.thresholds = ranked[self.starts]
        self.among = np.searchsorted(self.places, self.ends)  # planted ones before the end

    def measures(self, times: NDArray[np.int64], k: int) -> F64:
        """Each image counted `times` times; in the order of MEASURES, then the threshold."""
        times = times[self.order]
        seen = np.r_[0, np.cumsum(times)]  # images before each place
        hits = np.r_[0, np.cumsum(times[self.places])]  # planted ones among them
        total, others = int(hits[-1]), int(seen[-1] - hits[-1])
        found, looked = hits[self.among], seen[self.ends]
        new = np.diff(found, prepend=0)
        average_precision = new @ (found / np.maximum(looked, 1)) / total
        # Of the others, those before the block score higher, those in it the same.
        ahead = seen[self.starts] - (found - new)
        same = looked - found - ahead
        auroc = 1 - float(new @ (2 * ahead + same)) / (2 * total * others)
        f1 = 2 * found / (looked + total)
        best = int(np.argmax(f1))
        cut = int(np.searchsorted(seen, k)) - 1  # the place of the k-th image
        inside = hits[np.searchsorted(self.places, cut)] + (k - seen[cut]) * self.planted[cut]
        return np.array(
            [average_precision, auroc, f1[best], inside / k, inside / total, self.thresholds[best]]
        )


def _as_truth(truth: Any) -> Bools:
    mask = getattr(truth, "mask", None)
    if callable(mask) and not hasattr(truth, "__array__"):  # not an array's or a column's mask
        truth = mask()
    array = as_array(truth, "truth")
    if array.ndim != 1:
        raise ShapeError(f"truth: expected one boolean per image, shape (n,), got {array.shape}")
    if len(array) == 0:
        raise ArgumentError("truth: expected at least two images, got none")
    whole = array.dtype.kind in "iu"
    if array.dtype.kind != "b" and not (whole and ((array == 0) | (array == 1)).all()):
        what = "other integers than 0 and 1" if whole else f"dtype {array.dtype}"
        raise DTypeError(
            f"truth: expected booleans, True for the images to be found, got {what}: "
            "of indices make a mask, mask = np.zeros(n, bool); mask[indices] = True"
        )
    found = int(np.count_nonzero(array))
    if found in (0, len(array)):
        raise ArgumentError(
            f"truth: expected some images to be found and some others, got {found} of "
            f"{len(array)}: no score can tell them apart"
        )
    return array.astype(np.bool_)


def as_scores(scores: ArrayLike | Ranking, n: int, name: str) -> F64:
    """One number per image, (n,) float64, no NaN; of a Ranking of all images its scores."""
    if isinstance(scores, Ranking):
        scores = _all_scores(scores, name)
    array = as_array(scores, name)
    if array.dtype.kind not in "buif":
        raise DTypeError(f"{name}: expected one number per image, got dtype {array.dtype}")
    if array.shape != (n,):
        raise ShapeError(f"{name}: expected one number per image, shape ({n},), got {array.shape}")
    values = np.array(array, np.float64, order="C")
    bad = np.isnan(values)
    if bad.any():
        raise ArgumentError(
            f"{name}: expected numbers, got NaN for {int(bad.sum())} images, the first at index "
            f"{int(np.argmax(bad))}: give them a score, -inf for the least suspicious"
        )
    return values


def _all_scores(ranking: Ranking, name: str) -> F64:
    n = ranking.evidence.n
    if len(ranking) != n:
        raise ArgumentError(
            f"{name}: expected a ranking of all {n} images, got {len(ranking)} of them: call rank "
            "without k and where"
        )
    scores = np.empty(n)
    scores[ranking.indices] = ranking.scores
    return scores


def _as_k(k: int, n: int) -> int:
    number = as_int(k, "k", least=1)
    if number > n:
        raise ArgumentError(f"k: expected at most {n}, one per image, got {number}")
    return number


def _note(scores: Any) -> str:
    if not isinstance(scores, Ranking):
        return ""
    return (explained(scores.evidence) + definition_note(scores.definition)).strip()
