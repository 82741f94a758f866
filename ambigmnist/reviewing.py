"""How many images a person has to look at to find the wrong labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._estimate import percent
from ambigmnist._in_sample import definition_note, explained
from ambigmnist._tables import html_table, text_table
from ambigmnist._validate import as_array, as_level, as_number
from ambigmnist._wrong_labels import wrong_label_probabilities
from ambigmnist.definitions import Definition
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.evaluation import as_scores
from ambigmnist.evidence import Evidence, Indices
from ambigmnist.ranking import Ranking, rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ReviewCurve", "review_curve"]

F64 = NDArray[np.float64]
Order = str | Callable[[Evidence], ArrayLike] | Definition | Ranking | ArrayLike

_SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True, eq=False, repr=False)
class ReviewCurve:
    """Wrong labels found against images looked at; made by `review_curve`.

    Attributes
    ----------
    looked : (m + 1,) int64
        0 to m images, in the order of the ranking, which lists m.
    found : (m + 1,) float64
        The expected number of wrong labels among them.
    std : (m + 1,) float64
        The standard deviation of that number, labels being wrong independently of each other.
    hours : (m + 1,) float64
        How long looking takes.
    expected_errors : float
        The expected number of wrong labels among all n images.
    n : int
    seconds : float
        Per image.
    level : float
        Of the intervals of what is printed and drawn.
    order : str
        What the images are ordered by.
    note : str
        What a reader should know, such as that the network was fitted to the images.
    """

    found: F64
    std: F64
    expected_errors: float
    n: int
    seconds: float
    level: float
    order: str
    note: str

    @property
    def looked(self) -> NDArray[np.int64]:
        return np.arange(len(self.found))

    @property
    def hours(self) -> F64:
        return np.asarray(self.looked * (self.seconds / 3600), np.float64)

    def images_for(self, share: float) -> int:
        """How many images to look at to find this share of the expected wrong labels.

        Raises
        ------
        ArgumentError
            A share outside 0..1, or beyond what the images of the ranking have.
        """
        share = as_number(share, "share")
        if not 0 <= share <= 1:
            raise ArgumentError(f"share: expected a share of the errors, 0 to 1, got {share}")
        # Sums in another order differ in their last bits.
        target = share * self.expected_errors * (1 - 1e-12)
        if target > self.found[-1]:
            reached = self.found[-1] / self.expected_errors
            raise ArgumentError(
                f"share: expected at most {reached:.4f}, what the {len(self.found) - 1} images of "
                f"this ranking have, got {share}: rank all images"
            )
        return int(np.searchsorted(self.found, target))

    def interval(self) -> tuple[F64, F64]:
        """Bounds of the number found, (m + 1,) each, by the normal approximation."""
        half = NormalDist().inv_cdf((1 + self.level) / 2) * self.std
        return np.maximum(self.found - half, 0), np.minimum(self.found + half, self.looked)

    def plot(self, ax: Axes | None = None) -> Figure:
        """The curve with its interval, beside looking in any order; returns the figure."""
        from ambigmnist._plot_health import draw_review_curve

        return draw_review_curve(self, ax)

    def _title(self) -> str:
        text = (
            f"about {self.expected_errors:.1f} wrong labels expected in {self.n} images, "
            f"ordered by {self.order}; all of them take {self.n * self.seconds / 3600:.1f} hours, "
            f"{self.seconds:g} s each"
        )
        return text + (f" ({self.note})" if self.note else "")

    def _table(self) -> tuple[list[str], list[list[str]]]:
        header = ["of the errors", "images", "of all", "hours", "found", percent(self.level)]
        low, high = self.interval()
        rows = []
        for share in _SHARES:
            if not 0 < share * self.expected_errors <= self.found[-1]:
                continue
            m = self.images_for(share)
            rows.append(
                [
                    percent(share),
                    f"{m}",
                    f"{100 * m / self.n:.2f} %",
                    f"{self.hours[m]:.2f}",
                    f"{self.found[m]:.1f}",
                    f"[{low[m]:.1f}, {high[m]:.1f}]",
                ]
            )
        return header, rows

    def __repr__(self) -> str:
        return f"ReviewCurve: {self._title()}\n{text_table(*self._table())}"

    def _repr_html_(self) -> str:
        return html_table(*self._table(), self._title())


def review_curve(
    ev_or_probabilities: Evidence | ArrayLike,
    by: Order | None = None,
    *,
    p_wrong: ArrayLike | None = None,
    seconds: float = 5.0,
    level: float = 0.95,
) -> ReviewCurve:
    """How many wrong labels are found by looking at images in some order, and how long it takes.

    Parameters
    ----------
    ev_or_probabilities : Evidence or array_like (n,)
        Evidence with labels, out of sample; or the probability of each label to be wrong.
    by : str, callable, Definition, Ranking or array_like (n,), optional
        The order of looking: whatever `rank` takes, a ranking (also one of some images, as
        `label_issues` gives it), or a score per image, higher first, equal ones by index. By
        default the probability that the label is wrong. A name or callable needs evidence.
    p_wrong : array_like (n,), optional
        With evidence: the probability of each label to be wrong. By default it is estimated: the
        calibrated probabilities, `calibrate`, and how each class is mislabelled according to
        `confident_joint` give it by Bayes' rule, with odds that make it sum to the number of
        wrong labels of `class_health`. It is no better than these.
    seconds : float
        That looking at one image takes.
    level : float
        Of the interval, in (0, 1).

    Returns
    -------
    ReviewCurve
        `.looked`, `.found`, `.hours`, `.images_for(0.9)`; prints as a table, `.plot()` draws it.
        The interval is that of a sum of independent coins of known probabilities (the
        Poisson-binomial distribution): it does not know how far these are off.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Probabilities outside 0..1 or NaN, evidence without labels, orders of other images.

    References
    ----------
    Northcutt, Jiang & Chuang 2021, Confident learning: estimating uncertainty in dataset labels,
    JAIR 70; Guo et al. 2017, On calibration of modern neural networks, ICML.

    Examples
    --------
    >>> import ambigmnist as am
    >>> curve = am.review_curve([0.0, 0.9, 0.1, 0.5, 0.0], seconds=720)
    >>> curve
    ReviewCurve: about 1.5 wrong labels expected in 5 images, ordered by probability of a wrong \
label; all of them take 1.0 hours, 720 s each
    of the errors  images  of all   hours  found  95 %
    50 %           1       20.00 %  0.20   0.9    [0.3, 1.0]
    80 %           2       40.00 %  0.40   1.4    [0.3, 2.0]
    90 %           2       40.00 %  0.40   1.4    [0.3, 2.0]
    95 %           3       60.00 %  0.60   1.5    [0.2, 2.8]
    99 %           3       60.00 %  0.60   1.5    [0.2, 2.8]
    >>> curve.images_for(0.9)
    2
    """
    ev = ev_or_probabilities if isinstance(ev_or_probabilities, Evidence) else None
    if ev is None:
        if p_wrong is not None:
            raise ArgumentError("p_wrong: expected it with an Evidence alone, got it twice")
        p = _as_probabilities(ev_or_probabilities, None, "probabilities")
    elif p_wrong is None:
        p = wrong_label_probabilities(ev)
    else:
        p = _as_probabilities(p_wrong, ev.n, "p_wrong")
    seconds = as_number(seconds, "seconds")
    if not 0 < seconds < math.inf:
        raise ArgumentError(f"seconds: expected a time above 0, got {seconds}")
    rows, order, note = _ordered(by, ev, p)
    if ev is not None:
        note = f"{explained(ev)}{note}".strip()
    return ReviewCurve(
        found=np.r_[0, np.cumsum(p[rows])],
        std=np.sqrt(np.r_[0, np.cumsum(p[rows] * (1 - p[rows]))]),
        expected_errors=math.fsum(p),
        n=len(p),
        seconds=seconds,
        level=as_level(level, "level"),
        order=order,
        note=note,
    )


def _ordered(by: Any, ev: Evidence | None, p: F64) -> tuple[Indices, str, str]:
    """Which images, most suspicious first; what they are ordered by; what to know about that."""
    if by is None:
        return _ambigcore.top_k(p, len(p)), "probability of a wrong label", ""
    if isinstance(by, str) or callable(by):
        if ev is None:
            raise ArgumentError(
                "by: a definition needs an Evidence, got probabilities alone: pass the evidence, "
                "and the probabilities as p_wrong="
            )
        by = rank(ev, by)
    if isinstance(by, Ranking):
        if by.evidence.n != len(p):
            raise ShapeError(f"by: expected a ranking of {len(p)} images, got {by.evidence.n}")
        rows = by.indices
        if len(np.unique(rows)) < len(rows):
            raise ArgumentError("by: expected every image once, got some twice")
        return rows, by.definition.name, definition_note(by.definition)
    return _ambigcore.top_k(as_scores(by, len(p), "by"), len(p)), "the scores given", ""


def _as_probabilities(values: Any, n: int | None, name: str) -> F64:
    array = as_array(values, name)
    if array.ndim != 1 or n not in (None, len(array)):
        expected = "(n,)" if n is None else f"({n},)"
        raise ShapeError(
            f"{name}: expected a probability per image that its label is wrong, shape {expected}, "
            f"got {array.shape}" + (": wrap those of classes in am.Evidence" * (array.ndim == 2))
        )
    if array.dtype.kind not in "buif":
        raise DTypeError(f"{name}: expected probabilities, got dtype {array.dtype}")
    p = np.array(array, np.float64, order="C")
    bad = ~((p >= 0) & (p <= 1))
    if bad.any():
        i = int(np.argmax(bad))
        raise ArgumentError(
            f"{name}: expected probabilities, 0 to 1, got {p[i]} at index {i} "
            f"({int(bad.sum())} such values)"
        )
    return p
