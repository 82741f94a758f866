"""Which given labels are wrong: confident learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore, _cleanlab
from ambigmnist._in_sample import explained
from ambigmnist._joint import Confident, confident, off_diagonal
from ambigmnist._names import suggest
from ambigmnist._tables import html_table, text_table
from ambigmnist.config import resolve_threads
from ambigmnist.definitions import Definition, check, find
from ambigmnist.errors import ArgumentError
from ambigmnist.evidence import Evidence, Indices
from ambigmnist.ranking import Ranking, rank

__all__ = ["ConfidentJoint", "confident_joint", "label_issues"]

Counts = NDArray[np.int64]
Matrix = NDArray[np.float64]

METHODS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning")
COMPAT = ("cleanlab",)
_SHOWN = 20  # classes that a table still has room for; of more the largest cells are listed


class ConfidentJoint:
    """Given labels against the classes that images are confidently seen as.

    Made by `confident_joint`. In every matrix rows are given labels and columns likely true ones,
    in the order of `classes`; what would be divided by zero is NaN.

    Attributes
    ----------
    counts : (k, k) int64
        How many images labelled i are confidently seen as j. An image that reaches no threshold is
        counted nowhere.
    thresholds : (k,) float64
        The mean p_j of the images labelled j; NaN where there are none (cleanlab: 2), and then no
        image is seen as j.
    label_counts : (k,) int64
        How many images are labelled i.
    calibrated : (k, k) float64
        `counts` with every row rescaled to its label count, so that all of it sums to n (cleanlab:
        rounded to integers, int64).
    joint : (k, k) float64
        The estimated joint distribution of given and true labels: `calibrated` / n. Sums to 1.
    noise_matrix : (k, k) float64
        The estimated probability of the label i given the true class j; columns sum to 1.
    inverse_noise_matrix : (k, k) float64
        The estimated probability of the true class j given the label i; rows sum to 1.
    counted_issues : int
        Images counted off the diagonal: those that
        ``label_issues(ev, method="confident_learning")`` lists.
    estimated_issues : int
        n times what `joint` has off its diagonal, rounded.
    classes : (k,)
    compat : str or None
    note : str
        What a reader should know, such as that the network was fitted to these images.
    """

    def __init__(
        self,
        classes: NDArray[Any],
        found: Confident,
        calibrated: Counts | Matrix,
        counted_issues: int,
        *,
        compat: str | None = None,
        note: str = "",
    ) -> None:
        self.classes = classes
        self.counts = found.counts
        self.thresholds = found.thresholds
        self.label_counts = found.label_counts
        self.calibrated = calibrated
        self.counted_issues = counted_issues
        self.compat = compat
        self.note = note
        for array in (self.counts, self.thresholds, self.label_counts, self.calibrated):
            array.flags.writeable = False

    @property
    def joint(self) -> Matrix:
        return _divided(self.calibrated, self.calibrated.sum())

    @property
    def noise_matrix(self) -> Matrix:
        return _divided(self.calibrated, self.calibrated.sum(axis=0))

    @property
    def inverse_noise_matrix(self) -> Matrix:
        return _divided(self.calibrated, self.calibrated.sum(axis=1)[:, np.newaxis])

    @property
    def estimated_issues(self) -> int:
        n = int(self.label_counts.sum())
        return int(np.rint((1.0 - self.joint.trace()) * n)) if n else 0

    def _title(self) -> str:
        rules = " by cleanlab's rules" if self.compat == "cleanlab" else ""
        text = (
            f"{self.label_counts.sum()} images, {len(self.classes)} classes{rules}; "
            f"label issues: {self.counted_issues} counted, {self.estimated_issues} estimated"
        )
        return text + (f" ({self.note})" if self.note else "")

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        names = [str(c) for c in self.classes]
        if len(names) > _SHOWN:
            return self._pairs(names)
        header = ("given", *names, "threshold")
        return header, [
            (name, *map(str, row), f"{threshold:.4f}")
            for name, row, threshold in zip(
                names, self.counts.tolist(), self.thresholds.tolist(), strict=True
            )
        ]

    def _pairs(self, names: list[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The largest cells off the diagonal, equal ones in the order of the matrix."""
        off = self.counts - np.diag(self.counts.diagonal())
        cells = np.argsort(-off, axis=None, kind="stable")[:_SHOWN]
        pairs = [divmod(int(cell), len(names)) for cell in cells]
        return ("given", "likely", "images"), [
            (names[i], names[j], str(off[i, j])) for i, j in pairs if off[i, j]
        ]

    def __repr__(self) -> str:
        return f"ConfidentJoint: {self._title()}\n{text_table(*self._table())}"

    def _repr_html_(self) -> str:
        return html_table(*self._table(), self._title())


def _divided(values: Counts | Matrix, by: Any) -> Matrix:
    by = np.asarray(by, np.float64)
    return values / np.where(by > 0, by, np.nan)


def confident_joint(ev: Evidence, *, compat: str | None = None) -> ConfidentJoint:
    """How many images labelled i are confidently seen as j: where labels and network disagree.

    The threshold of class j is the mean p_j of the images labelled j. An image is seen as the class
    with the largest probability among those whose threshold it reaches (the first of equals), if
    any. Computed from logits where they are known; sums are exact, so that no bit depends on
    threads or order.

    Probabilities of images that the network was fitted to agree too well with their labels. Use
    out-of-sample ones; where `ev.in_sample` says otherwise, the result does too.

    Parameters
    ----------
    ev : Evidence
        With labels. Classes that no image is labelled with are fine: nothing is seen as them.
    compat : None or "cleanlab"
        None: the paper. "cleanlab": the variant of that library, from the probabilities: counts and
        `calibrated` are its `compute_confident_joint`, `counted_issues` and `estimated_issues` its
        `num_label_issues` ("off_diagonal", "off_diagonal_calibrated"). There a threshold is at
        least 2e-6 and reached from 1e-6 below it, an image that reaches several is seen as its
        largest class of all, the diagonal is at least 1, and an image whose label comes within 1e-6
        of the largest probability is no issue.

    Returns
    -------
    ConfidentJoint

    Raises
    ------
    ArgumentError, DTypeError
        Evidence without labels, something else than evidence, an unknown `compat`.

    References
    ----------
    Northcutt, Jiang & Chuang 2021, Confident learning: estimating uncertainty in dataset labels,
    JAIR 70, section 3.1.

    Examples
    --------
    >>> import ambigmnist as am
    >>> probs = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
    >>> am.confident_joint(am.Evidence(probs, labels=[0, 0, 0, 1, 1]))
    ConfidentJoint: 5 images, 2 classes; label issues: 1 counted, 1 estimated
    given  0  1  threshold
    0      2  1  0.6000
    1      0  1  0.8000
    """
    check(ev, find("confident_learning"))
    _check_choice(compat, (None, *COMPAT), "compat")
    if compat == "cleanlab":
        found = _cleanlab.confident(ev)
        calibrated: Counts | Matrix = _cleanlab.calibrate(found.counts, found.label_counts)
    else:
        found = confident(ev)
        calibrated = _divided(
            found.counts * found.label_counts[:, np.newaxis],
            np.maximum(found.counts.sum(axis=1), 1)[:, np.newaxis],
        )
    issues = _off_diagonal(ev, found, compat)
    return ConfidentJoint(
        ev.classes, found, calibrated, int(issues.sum()), compat=compat, note=_in_sample_note(ev)
    )


def label_issues(
    ev: Evidence,
    *,
    method: str = "prune_by_noise_rate",
    compat: str | None = None,
    order: str | Callable[[Evidence], ArrayLike] | Definition = "normalized_margin",
) -> Ranking:
    """The images whose labels are likely wrong, by confident learning; worst first.

    Parameters
    ----------
    ev : Evidence
        With labels; out-of-sample probabilities, see `confident_joint`.
    method : str
        How images are chosen; Q is the confident joint's `joint`.

        - "confident_learning": all that are counted off its diagonal.
        - "prune_by_class": of the images labelled i the n sum_{j != i} Q_ij with the smallest p_i.
        - "prune_by_noise_rate": for each i != j, of the images labelled i the n Q_ij with the
          largest p_j - p_i.
        - "both": those that the last two agree on.

        The numbers are rounded to the nearest integer, halves up; equal values go by index.
    compat : None or "cleanlab"
        None: the paper. "cleanlab": the images of that library's `find_label_issues` with
        ``filter_by=method`` (from the probabilities; equal values as NumPy's sort leaves them).
    order : str, callable or Definition
        What the found images are ranked by: "normalized_margin", "self_confidence", or anything
        else that `rank` takes.

    Returns
    -------
    Ranking
        The issues alone, with their scores by `order`; `note` says how they were found.

    Raises
    ------
    ArgumentError, DTypeError
        Evidence without labels, an unknown `method`, `compat` or `order`.

    References
    ----------
    Northcutt, Jiang & Chuang 2021 (JAIR 70), section 3.2.

    Examples
    --------
    >>> import ambigmnist as am
    >>> probs = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
    >>> ev = am.Evidence(probs, labels=[0, 0, 0, 1, 1])
    >>> am.label_issues(ev).indices
    array([2])
    """
    check(ev, find("confident_learning"))
    _check_choice(method, METHODS, "method")
    _check_choice(compat, (None, *COMPAT), "compat")
    ranking = rank(ev, order, where=_find_issues(ev, method, compat))
    rules = ", cleanlab's rules" if compat == "cleanlab" else ""
    note = f"label issues by {method}{rules}"
    in_sample = _in_sample_note(ev)
    ranking.note = f"{note}; {in_sample}" if in_sample else note
    return ranking


def _find_issues(ev: Evidence, method: str, compat: str | None) -> NDArray[np.bool_]:
    """Which images are issues, (n,)."""
    is_cleanlab = compat == "cleanlab"
    found = _cleanlab.confident(ev) if is_cleanlab else confident(ev)
    if method == "confident_learning":
        return _off_diagonal(ev, found, compat)
    if is_cleanlab:
        numbers = _cleanlab.calibrate(found.counts, found.label_counts)
        by_class, by_noise_rate = _cleanlab.prune_by_class, _cleanlab.prune_by_noise_rate
    else:
        numbers = found.counts
        by_class, by_noise_rate = _prune_by_class, _prune_by_noise_rate
    ends = np.cumsum(found.label_counts)[:-1]
    classes = np.split(np.argsort(ev.given_index, kind="stable"), ends)
    if method == "prune_by_class":
        return by_class(ev, numbers, classes)
    if method == "prune_by_noise_rate":
        return by_noise_rate(ev, numbers, classes)
    return by_class(ev, numbers, classes) & by_noise_rate(ev, numbers, classes)


def _off_diagonal(ev: Evidence, found: Confident, compat: str | None) -> NDArray[np.bool_]:
    issues = off_diagonal(ev, found)
    return issues & ~_cleanlab.is_predicted(ev) if compat == "cleanlab" else issues


def _prune_by_class(ev: Evidence, counts: Counts, classes: Sequence[Indices]) -> NDArray[np.bool_]:
    doubt = _doubt(ev)
    issues = np.zeros(ev.n, np.bool_)
    for i, rows in enumerate(classes):
        number = _share(len(rows), counts[i].sum() - counts[i, i], counts[i].sum())
        issues[rows[_ambigcore.top_k(doubt[rows], number)]] = True
    return issues


def _prune_by_noise_rate(
    ev: Evidence, counts: Counts, classes: Sequence[Indices]
) -> NDArray[np.bool_]:
    doubt = _doubt(ev)
    issues = np.zeros(ev.n, np.bool_)
    for i, rows in enumerate(classes):
        others = [j for j in np.flatnonzero(counts[i]) if j != i]
        probs = _probabilities(ev, rows) if others else ev.probs[:0]
        for j in others:
            number = _share(len(rows), counts[i, j], counts[i].sum())
            margin = probs[:, j] + doubt[rows]
            issues[rows[_ambigcore.top_k(margin, number)]] = True
    return issues


def _doubt(ev: Evidence) -> Matrix:
    """-p_g of every image; of logits 1 - p_g, which still tells apart those near 1. (n,)"""
    if ev.logits is not None:
        return ev.score("self_confidence")
    return -ev.probs[np.arange(ev.n), ev.given_index].astype(np.float64)


def _share(n: int, part: int, whole: int) -> int:
    """n part / whole, rounded; halves up. In integers: n Q_ij where Q_ij = n_i C_ij / (n C_i)."""
    return (2 * n * int(part) + int(whole)) // (2 * int(whole)) if whole else 0


def _probabilities(ev: Evidence, rows: Indices) -> Matrix:
    values, is_logits = ev._source
    some = values[rows].astype(np.float64)
    return _ambigcore.probabilities(some, resolve_threads(None)) if is_logits else some


def _check_choice(value: Any, known: tuple[str | None, ...], name: str) -> None:
    if value not in known:
        names = [word for word in known if word is not None]
        or_none = " (or None)" if None in known else ""
        raise ArgumentError(f"{name}: unknown {value!r}{or_none}" + suggest(value, names))


def _in_sample_note(ev: Evidence) -> str:
    note = explained(ev)
    return note and f"{note}, so too few are found; use out-of-sample probabilities"
