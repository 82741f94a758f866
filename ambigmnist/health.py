"""How good the labels of every class are, and which classes are taken for each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ambigmnist._estimate import Estimate, estimated, percent
from ambigmnist._files import PathLike
from ambigmnist._names import suggest
from ambigmnist._tables import few, html_table, text_table
from ambigmnist._validate import as_int, as_level
from ambigmnist.calibration import wilson_interval
from ambigmnist.errors import ArgumentError
from ambigmnist.evidence import Evidence, Indices, as_evidence
from ambigmnist.labels import ConfidentJoint, confident_joint
from ambigmnist.ranking import data_frame, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ClassHealth", "Confusion", "Overlap", "Shares", "class_health"]

F64 = NDArray[np.float64]
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

_PAIRS = 5  # pairs of classes that are printed
_CLASSES = 20  # classes that are printed


class Shares(NamedTuple):
    """A share per class and its interval, (k,) each; NaN where it is a share of nothing."""

    value: F64
    low: F64
    high: F64


class Confusion(NamedTuple):
    """Images that carry one label and likely belong to another class."""

    given: Any
    likely: Any
    images: float  # estimated
    share: float  # of the images with that label


class Overlap(NamedTuple):
    """Two classes, and the images that carry the label of one and likely belong to the other."""

    first: Any
    second: Any
    images: float  # estimated
    probability: float  # that any image is one of them


@dataclass(frozen=True, eq=False, repr=False)
class ClassHealth:
    """How good the labels of every class are; made by `class_health`.

    Attributes
    ----------
    classes : (k,)
    images : (k,) int64
        How many images carry each label.
    self_confidence : (k,) float64
        The mean probability that these images have their label; NaN where there are none.
    accuracy : (k,) float64
        The share of these images that are predicted as labelled.
    wrong : Shares
        Of the images labelled i, the estimated share that really is something else: i is on
        images that it should not be on. 1 - `wrong` is the label quality.
    lost : Shares
        Of the images that really are i, the estimated share that is labelled something else.
    errors : Estimate
        The estimated number of wrong labels in all, ``value, low, high``.
    score : Estimate
        The overall health: the estimated share of labels that are right, ``value, low, high``.
    confused : list of Confusion
        ``given, likely, images, share``: in one direction, most images first.
    overlapping : list of Overlap
        ``first, second, images, probability``: both directions together, most images first;
        classes that may be one, or need a clearer line between them.
    joint : ConfidentJoint
        What all of it is counted in.
    level : float
        Of the intervals.
    note : str
        What a reader should know, such as that the network was fitted to the images.
    """

    classes: NDArray[Any]
    images: NDArray[np.int64]
    self_confidence: F64
    accuracy: F64
    wrong: Shares
    lost: Shares
    errors: Estimate
    score: Estimate
    confused: list[Confusion]
    overlapping: list[Overlap]
    joint: ConfidentJoint
    level: float
    note: str

    @property
    def order(self) -> Indices:
        """The classes, those with the largest share of wrong labels first, (k,)."""
        return np.argsort(-self.wrong.value, kind="stable")  # NaN last

    def to_frame(self, table: str = "classes") -> Any:
        """A pandas DataFrame of one table, in the order in which it is printed.

        Parameters
        ----------
        table : {"classes", "confused", "overlapping"}
            "classes": class, images, self_confidence, accuracy, quality, wrong_images, wrong,
            wrong_low, wrong_high, lost_images, lost, lost_low, lost_high. The others as the
            attributes of that name.
        """
        return data_frame(self._columns(table))

    def to_csv(self, path: PathLike, table: str = "classes") -> None:
        """Writes the columns of `to_frame` to `path`: complete, or not at all."""
        write_csv(path, self._columns(table))

    def plot(self, ax: Axes | None = None) -> Figure:
        """Both shares of every class with their intervals; returns the figure, never shows it."""
        from ambigmnist._plot_health import draw_class_health

        return draw_class_health(self, ax)

    def _columns(self, table: str) -> dict[str, NDArray[Any]]:
        if table == "classes":
            calibrated = self.joint.calibrated
            right = calibrated.diagonal()
            columns: dict[str, NDArray[Any]] = {
                "class": self.classes,
                "images": self.images,
                "self_confidence": self.self_confidence,
                "accuracy": self.accuracy,
                "quality": 1 - self.wrong.value,
                "wrong_images": calibrated.sum(axis=1) - right,
                "wrong": self.wrong.value,
                "wrong_low": self.wrong.low,
                "wrong_high": self.wrong.high,
                "lost_images": calibrated.sum(axis=0) - right,
                "lost": self.lost.value,
                "lost_low": self.lost.low,
                "lost_high": self.lost.high,
            }
            return {name: column[self.order] for name, column in columns.items()}
        names = ("classes", "confused", "overlapping")
        if table not in names:
            raise ArgumentError(f"table: unknown {table!r}" + suggest(table, names))
        fields = Confusion._fields if table == "confused" else Overlap._fields
        rows: list[Any] = getattr(self, table)
        kinds: tuple[Any, ...] = (self.classes.dtype, self.classes.dtype, np.float64, np.float64)
        cells = zip(*rows, strict=True) if rows else [()] * len(fields)
        return {
            name: np.array(list(column), kind)
            for name, column, kind in zip(fields, cells, kinds, strict=True)
        }

    def _title(self) -> str:
        text = (
            f"{int(self.images.sum())} images, {len(self.classes)} classes; "
            f"wrong labels: about {self.errors.describe('.0f')}; "
            f"health: {self.score.describe()} ({percent(self.level)} intervals)"
        )
        return text + (f" ({self.note})" if self.note else "")

    def _tables(self) -> list[Table]:
        """The classes, the most confused pairs, the overlapping ones; empty ones are left out."""
        columns = self._columns("classes")
        names = ("wrong", "lost")
        header: tuple[str, ...] = (
            "class",
            "images",
            "confidence",
            "accuracy",
            "wrong labels",
            "labelled as others",
        )
        shown = few(len(self.classes), _CLASSES)
        rows = [
            (
                str(columns["class"][i]),
                str(columns["images"][i]),
                _number(columns["self_confidence"][i]),
                _number(columns["accuracy"][i]),
                *(
                    _shares(*(columns[f"{n}{end}"][i] for end in ("", "_low", "_high")))
                    for n in names
                ),
            )
            for i in range(shown)
        ]
        tables: list[Table] = [(header, rows)]
        left = len(self.classes) - shown
        if left:
            rows.append((f"... {left} more", *[""] * (len(header) - 1)))
        if self.confused:
            header = ("labelled", "likely", "images", "of the label")
            tables.append((header, [_pair(*c) for c in self.confused[:_PAIRS]]))
            header = ("overlapping", "with", "images", "of all")
            tables.append((header, [_pair(*o) for o in self.overlapping[:_PAIRS]]))
        return tables

    def __repr__(self) -> str:
        tables = "\n\n".join(text_table(*table) for table in self._tables())
        return f"ClassHealth: {self._title()}\n{tables}"

    def _repr_html_(self) -> str:
        first, *others = self._tables()
        return html_table(*first, self._title()) + "".join(html_table(*table) for table in others)


def _pair(one: Any, other: Any, images: float, share: float) -> tuple[str, ...]:
    return f"{one}", f"{other}", f"{images:.1f}", f"{100 * share:.2f} %"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def _shares(value: float, low: float, high: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def class_health(
    ev: Evidence, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> ClassHealth:
    """How good the labels of every class are, and which classes are taken for each other.

    Everything is counted in the confident joint, `confident_joint`: of the images labelled i that
    are confidently seen as anything, those seen as j, scaled up to all images labelled i. So it is
    an estimate, and biased: what the network confidently takes for another class counts as a wrong
    label even where the label is right (of clean but hard data too many), and a wrong label that
    it believes, or doubts too little to see another class, does not count (too few). The
    intervals do not know of this: they tell how much the numbers depend on which images there
    happen to be.

    Parameters
    ----------
    ev : Evidence
        With labels; out-of-sample probabilities, see `confident_joint`.
    resamples : int
        Of the intervals of `errors` and `score`: images are drawn with replacement, while the
        joint's thresholds stay, which makes them narrower by about a tenth. 0: no intervals.
    level : float
        Of all intervals, in (0, 1).
    seed : int
        Of the resampling.

    Returns
    -------
    ClassHealth
        Prints as tables, classes with the worst labels first. Intervals of shares are Wilson's,
        of the images that were counted; they say something where no wrong label was found, too.

    Raises
    ------
    ArgumentError, DTypeError
        Evidence without labels, something else than evidence, bad options.

    References
    ----------
    Northcutt, Jiang & Chuang 2021, Confident learning: estimating uncertainty in dataset labels,
    JAIR 70; Wilson 1927, Probable inference, JASA 22.

    Examples
    --------
    >>> import ambigmnist as am
    >>> probs = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
    >>> ev = am.Evidence(probs, ["cat", "cat", "cat", "dog", "dog"], classes=["cat", "dog"])
    >>> health = am.class_health(ev, resamples=0)
    >>> health.confused
    [Confusion(given='cat', likely='dog', images=1.0, share=0.3333333333333333)]
    >>> health.score.value, health.lost.value
    (0.8, array([0.        , 0.33333333]))
    """
    joint = confident_joint(as_evidence(ev, "class_health"))
    level = as_level(level, "level")
    resamples = as_int(resamples, "resamples", least=0)
    rng = np.random.Generator(np.random.PCG64(as_int(seed, "seed", least=0)))
    errors = _errors(joint, level, resamples, rng)
    right = np.bincount(ev.given_index[ev.predicted_index == ev.given_index], minlength=ev.k)
    return ClassHealth(
        classes=joint.classes,
        images=joint.label_counts,
        self_confidence=joint.thresholds,
        accuracy=_divided(right, joint.label_counts),
        wrong=_shares_off(joint, 1, level),
        lost=_shares_off(joint, 0, level),
        errors=errors,
        score=Estimate(*(_share_right(e, ev.n) for e in (errors.value, errors.high, errors.low))),
        confused=_confused(joint),
        overlapping=_overlapping(joint),
        joint=joint,
        level=level,
        note=joint.note,
    )


def _share_right(errors: float, n: int) -> float:
    return 1 - errors / n if n else np.nan


def _divided(values: NDArray[Any], by: NDArray[Any]) -> F64:
    shares = np.full(len(by), np.nan)
    np.divide(values, by, out=shares, where=by > 0)
    return shares


def _shares_off(joint: ConfidentJoint, axis: int, level: float) -> Shares:
    """What lies off the diagonal, of every row (1) or column (0)."""
    totals = joint.calibrated.sum(axis=axis)
    share = _divided(totals - joint.calibrated.diagonal(), totals)
    # In a row exactly what was counted; in a column each image weighs a little differently.
    counted = joint.counts.sum(axis=axis)
    low, high = wilson_interval(share * counted, counted, level)
    empty = np.isnan(share)
    return Shares(share, np.where(empty, np.nan, low), np.where(empty, np.nan, high))


def _errors(
    joint: ConfidentJoint, level: float, resamples: int, rng: np.random.Generator
) -> Estimate:
    """The wrong labels of all, by a bootstrap over images.

    Of each class only three numbers matter: images seen as labelled, as another, as nothing.
    """
    seen = joint.counts.sum(axis=1)
    same = joint.counts.diagonal()
    cells = np.stack([same, seen - same, joint.label_counts - seen], axis=1)
    n = int(cells.sum())
    value = float(_estimated_errors(cells))
    if n == 0 or resamples == 0:
        return estimated(value, np.empty(0), level)
    drawn = rng.multinomial(n, cells.ravel() / n, resamples).reshape(resamples, -1, 3)
    _, low, high = estimated(value, _estimated_errors(drawn), level)
    if value == 0:  # no resample has what was never seen
        high = n * float(wilson_interval([0], [seen.sum()], level)[1][0])
    return Estimate(value, low, high)


def _estimated_errors(cells: NDArray[np.int64]) -> F64:
    """sum over the classes of images x others / (same + others), (..., k, 3) -> (...)."""
    same, others = cells[..., 0], cells[..., 1]
    errors: F64 = cells.sum(axis=-1) * others / np.maximum(same + others, 1)
    return np.asarray(errors.sum(axis=-1))


def _largest(matrix: NDArray[Any]) -> list[tuple[int, int, float]]:
    """(row, column, value) of what is not 0, the largest first, equal ones in their order."""
    rows, columns = np.nonzero(matrix)
    values = matrix[rows, columns]
    order = np.argsort(-values, kind="stable")
    return list(
        zip(rows[order].tolist(), columns[order].tolist(), values[order].tolist(), strict=True)
    )


def _confused(joint: ConfidentJoint) -> list[Confusion]:
    names, images = joint.classes.tolist(), joint.label_counts.tolist()
    off = joint.calibrated * ~np.eye(len(names), dtype=bool)
    return [Confusion(names[i], names[j], v, v / images[i]) for i, j, v in _largest(off)]


def _overlapping(joint: ConfidentJoint) -> list[Overlap]:
    names, n = joint.classes.tolist(), int(joint.label_counts.sum())
    both = np.triu(joint.calibrated + joint.calibrated.T, 1)
    return [Overlap(names[i], names[j], v, v / n) for i, j, v in _largest(both)]
