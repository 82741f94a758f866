"""Calibration: does a probability of 0.9 mean right nine times in ten? And how to make it so."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._in_sample import SOME
from ambigmnist._tables import html_table, text_table
from ambigmnist._validate import as_int, as_level
from ambigmnist.config import resolve_threads
from ambigmnist.errors import ArgumentError
from ambigmnist.evidence import AXES, Evidence, as_evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Calibration",
    "Measures",
    "Reliability",
    "calibrate",
    "expected_calibration_error",
    "wilson_interval",
]

F64 = NDArray[np.float64]
Scheme = Literal["uniform", "quantile"]


# --- how well calibrated ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Reliability:
    """The expected calibration error and its bins; made by `expected_calibration_error`.

    Attributes
    ----------
    value : float
        The error: the mean over images of |accuracy - confidence| of their bin; NaN for no images.
    low, high : float
        Its bootstrap interval; NaN without resamples.
    debiased : float
        `value` less its bias as the bootstrap estimates it, in [0, value]; NaN without resamples.
    interval : float
        The level of the interval, 0.95 say.
    scheme : {"uniform", "quantile"}
    n : int
        How many images.
    edges : (bins + 1,) float64
        Bin b holds the confidences in (edges[b], edges[b + 1]]; the first also edges[0].
    counts : (bins,) int64
        Images per bin.
    confidence, accuracy : (bins,) float64
        Means over the images of a bin; NaN where it is empty.
    in_sample : bool
        Whether the network was fitted to any of the images: then all this is too good.
    """

    value: float
    low: float
    high: float
    debiased: float
    interval: float
    scheme: Scheme
    n: int
    edges: F64
    counts: NDArray[np.int64]
    confidence: F64
    accuracy: F64
    in_sample: bool

    def __float__(self) -> float:
        return self.value

    def plot(self, ax: Axes | None = None) -> Figure:
        """The reliability diagram of these bins; returns the figure, never shows it."""
        from ambigmnist.plot import reliability_diagram

        return reliability_diagram(self, ax=ax)

    def describe(self) -> str:
        """The value and its interval, as text."""
        if math.isnan(self.low):
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def _title(self) -> str:
        return (
            f"expected calibration error {self.describe()} of {self.n} images, "
            f"{len(self.counts)} {self.scheme} bins{_caution(self.in_sample)}"
        )

    _HEADER = ("confidence", "images", "mean confidence", "accuracy", "gap")

    def _rows(self) -> list[list[str]]:
        return [
            [
                f"{'[' if b == 0 else '('}{self.edges[b]:.4g}, {self.edges[b + 1]:.4g}]",
                f"{count}",
                f"{self.confidence[b]:.4f}",
                f"{self.accuracy[b]:.4f}",
                f"{self.accuracy[b] - self.confidence[b]:+.4f}",
            ]
            for b, count in enumerate(self.counts.tolist())
            if count
        ]

    def __repr__(self) -> str:
        return f"Reliability: {self._title()}\n{text_table(self._HEADER, self._rows())}"

    def _repr_html_(self) -> str:
        return html_table(self._HEADER, self._rows(), self._title())


def expected_calibration_error(
    ev: Evidence,
    *,
    bins: int = 15,
    scheme: Scheme = "uniform",
    interval: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Reliability:
    """How far the confidence of the predictions is from their accuracy, with an interval.

    The expected calibration error of the top label (Naeini et al. 2015, AAAI; Guo et al. 2017,
    ICML): images are put into bins by their largest probability, and |accuracy - mean confidence|
    is averaged over the bins, weighted by their images. 0 is perfect.

    The interval is the basic (reversed percentile) bootstrap, 2 value - quantiles, over images
    drawn with replacement, bins fixed: the absolute value biases the error upwards, once more in
    every resample, and this takes the bias off, where plain percentiles would add it again. It
    starts at 0 where perfect probabilities would show so large an error by chance (consistency
    resampling, Bröcker & Smith 2007, Weather and Forecasting 22), and always holds `value`.

    Parameters
    ----------
    ev : Evidence
        With labels.
    bins : int
        How many, at least 1.
    scheme : {"uniform", "quantile"}
        Bins of equal width in [0, 1], or of equally many images. Quantiles that coincide, where
        many confidences are equal, are merged: there are fewer bins then.
    interval : float
        The level, in (0, 1).
    resamples : int
        0: no interval.
    seed : int
        Of the resampling: the same seed, the same interval, whatever the order of the images.

    Returns
    -------
    Reliability
        `.value`, `.low`, `.high`, `.debiased`, and the bins; prints as a table, `.plot()` draws it.

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]], labels=[0, 1, 1, 1])
    >>> error = am.expected_calibration_error(ev, bins=2, resamples=0)
    >>> error
    Reliability: expected calibration error 0.0250 of 4 images, 2 uniform bins
    confidence  images  mean confidence  accuracy  gap
    (0.5, 1]    4       0.7250           0.7500    +0.0250
    """
    options = _Options.checked(bins, scheme, interval, resamples, seed)
    return _reliability(as_evidence(ev, "expected_calibration_error"), options)


@dataclass(frozen=True)
class _Options:
    bins: int
    scheme: Scheme
    interval: float
    resamples: int
    seed: int

    @classmethod
    def checked(cls, bins: Any, scheme: Any, interval: Any, resamples: Any, seed: Any) -> _Options:
        if scheme not in ("uniform", "quantile"):
            raise ArgumentError(f"scheme: expected 'uniform' or 'quantile', got {scheme!r}")
        return cls(
            as_int(bins, "bins", least=1),
            scheme,
            as_level(interval, "interval"),
            as_int(resamples, "resamples", least=0),
            as_int(seed, "seed", least=0),
        )


def _reliability(ev: Evidence, options: _Options) -> Reliability:
    right = (ev.predicted_index == ev.given_index).astype(np.float64)
    confidence = 1.0 - ev.score("least_confident")
    edges = _edges(confidence, options)
    which = np.searchsorted(edges[1:-1], confidence, side="left")
    # In one order, whatever the order of the images.
    order = np.lexsort((right, confidence))
    which, confidence, right = which[order], confidence[order], right[order]
    starts = np.searchsorted(which, np.arange(len(edges)))
    counts = np.diff(starts)

    def means(values: F64) -> F64:
        sums = [math.fsum(values[a:b]) for a, b in itertools.pairwise(starts)]
        out = np.full(len(counts), np.nan)
        np.divide(sums, counts, out=out, where=counts > 0)
        return out

    mean_confidence, accuracy = means(confidence), means(right)
    gaps = np.abs(accuracy - mean_confidence)[counts > 0]
    value = math.fsum(counts[counts > 0] * gaps) / ev.n if ev.n else math.nan
    low, high, debiased = math.nan, math.nan, math.nan
    if options.resamples and ev.n:
        rng = np.random.Generator(np.random.PCG64(options.seed))
        low, high, debiased = _bootstrap(value, which, right - confidence, options, rng)
        if value <= _by_chance(counts, mean_confidence, options, rng):
            low = 0.0
    return Reliability(
        value=value,
        low=low,
        high=high,
        debiased=debiased,
        interval=options.interval,
        scheme=options.scheme,
        n=ev.n,
        edges=edges,
        counts=counts,
        confidence=mean_confidence,
        accuracy=accuracy,
        in_sample=ev._is_in_sample,
    )


def _edges(confidence: F64, options: _Options) -> F64:
    shares = np.arange(options.bins + 1) / options.bins
    if options.scheme == "uniform" or len(confidence) == 0:
        return shares
    # Edges that are confidences: with bins closed above, equal ones stay together.
    edges = np.unique(np.quantile(confidence, shares, method="inverted_cdf"))
    return edges if len(edges) > 1 else np.repeat(edges, 2)


def _bootstrap(
    value: float,
    which: NDArray[np.intp],
    residuals: F64,
    options: _Options,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """(low, high, debiased): a resample's error is sum_b |sum of its residuals in b| / n."""
    n = len(which)
    errors = np.empty(options.resamples)
    for i in range(options.resamples):
        drawn = rng.integers(n, size=n)
        errors[i] = np.abs(np.bincount(which[drawn], residuals[drawn])).sum() / n
    tail = (1 - options.interval) / 2
    lower, upper = np.quantile(errors, [tail, 1 - tail])
    low = min(max(2 * value - float(upper), 0.0), value)
    high = max(min(2 * value - float(lower), 1.0), value)
    return low, high, min(max(2 * value - float(errors.mean()), 0.0), value)


def _by_chance(
    counts: NDArray[np.int64], confidence: F64, options: _Options, rng: np.random.Generator
) -> float:
    """What the error of perfectly calibrated bins stays below, with the level of the interval."""
    n, p = counts[counts > 0], np.clip(confidence[counts > 0], 0, 1)
    right = rng.binomial(n, p, (options.resamples, len(n)))
    errors = np.abs(right - n * p).sum(axis=1) / n.sum()
    return float(np.quantile(errors, options.interval))


def wilson_interval(right: Any, n: Any, level: float = 0.95) -> tuple[F64, F64]:
    """The interval of a proportion, right of n (Wilson 1927, JASA 22); [0, 1] where n = 0."""
    from statistics import NormalDist  # which imports a lot

    right, n = np.asarray(right, np.float64), np.asarray(n, np.float64)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = np.divide(right, n, out=np.full(np.shape(n), 0.5), where=n > 0)
    middle = (share * n + z * z / 2) / (n + z * z)
    half = z * np.sqrt(share * (1 - share) * n + z * z / 4) / (n + z * z)
    empty = n == 0
    return np.where(empty, 0.0, middle - half), np.where(empty, 1.0, middle + half)


# --- temperature scaling ------------------------------------------------------------------------


@dataclass(frozen=True)
class Measures:
    """How good probabilities are; lower is better.

    Attributes
    ----------
    ece : Reliability
        The expected calibration error, with its interval and bins.
    log_loss : float
        The mean of -log p_label; infinite where a label has probability 0.
    brier : float
        The mean of sum_j (p_j - [j is the label])^2, in [0, 2] (Brier 1950, Mon. Weather Rev. 78).
    """

    ece: Reliability
    log_loss: float
    brier: float


@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """A temperature, and the evidence with it; made by `calibrate`.

    Attributes
    ----------
    temperature : float
        T fitted to all images. Above 1: the network was too confident.
    temperatures : dict of int to float
        By fold: T fitted to the images of the other folds; empty where not fitted by folds.
    evidence : Evidence
        With calibrated `probs`, and `logits` where they were known (float64); the rest as before,
        `members`, `mc`, `augmented` and `history` too. Each image by the T of its fold.
    before, after : Measures
        Calibration error, log loss and Brier score of the evidence given, and of `evidence`.
    note : str
        What could not be fitted, and why; usually empty.
    """

    temperature: float
    temperatures: dict[int, float]
    evidence: Evidence
    before: Measures
    after: Measures
    note: str

    def apply(self, ev: Evidence) -> Evidence:
        """Other evidence from the same network, calibrated with `temperature`.

        Where there are no folds: fit T to images that the network was not trained on, and apply
        it to the ones to be ranked.
        """
        ev = as_evidence(ev, "apply")
        return _tempered(ev, np.full(ev.n, 1 / self.temperature), {"temperature": self.temperature})

    def plot(self, ax: Axes | None = None) -> Figure:
        """The reliability diagram, before and after; returns the figure, never shows it."""
        from ambigmnist.plot import reliability_diagram

        return reliability_diagram(self, ax=ax)

    _HEADER = ("", "before", "after")

    def _title(self) -> str:
        by = "all images"
        if self.temperatures:
            values = self.temperatures.values()
            by = f"by fold {min(values):.4g} to {max(values):.4g}, fitted to the other folds"
        else:
            by = "fitted to these same images"
        text = f"temperature {self.temperature:.4g} ({by}){_caution(self.before.ece.in_sample)}"
        return f"{text}; {self.note}" if self.note else text

    def _rows(self) -> list[list[str]]:
        def row(name: str, text: Callable[[Measures], str]) -> list[str]:
            return [name, text(self.before), text(self.after)]

        return [
            row("calibration error", lambda m: m.ece.describe()),
            row("log loss", lambda m: f"{m.log_loss:.5f}"),
            row("Brier score", lambda m: f"{m.brier:.5f}"),
        ]

    def __repr__(self) -> str:
        return f"Calibration: {self._title()}\n{text_table(self._HEADER, self._rows())}"

    def _repr_html_(self) -> str:
        return html_table(self._HEADER, self._rows(), self._title())


def calibrate(
    ev: Evidence,
    *,
    cross_fit: bool | None = None,
    bins: int = 15,
    scheme: Scheme = "uniform",
    interval: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Calibration:
    """Temperature scaling: one number that makes confidences as high as the accuracy warrants.

    The probabilities become softmax(logits / T), with the T > 0 that minimises the mean of
    -log p_label (Guo et al. 2017, ICML). Every image keeps its prediction, but for logits that
    differ in their last bit. Where only probabilities are known, their logarithms are the logits:
    p becomes p^(1/T), divided by the sum of its row; what is below the smallest normal number of
    its type (1e-38 in float32, 2e-308 in float64), 0 above all, counts as that number.

    The loss is convex in 1/T, so that its minimum is the zero of a rising function, found by
    Newton's steps inside an interval that holds it. Its sums over images are exact: T has the
    same bits for any number of threads and any order of the images.

    Parameters
    ----------
    ev : Evidence
        With labels, at least one image, of images that the network was not fitted to: of others
        T says only how well the network knows them by heart, and the result is marked so.
    cross_fit : bool, optional
        Calibrate the images of every fold by a T fitted to the other folds, so that what was
        out-of-sample stays it. By default where `ev.fold` names at least two.
    bins, scheme, interval, resamples, seed
        Of the calibration errors before and after; see `expected_calibration_error`.

    Returns
    -------
    Calibration
        `.temperature`, `.evidence`, `.before`, `.after`; prints as a table, `.plot()` draws it.
        Where no finite T > 0 is best, T stays 1 and `.note` tells why: every label has the
        largest probability (T would go to 0), or labels have on average no higher logits than
        other classes (T would go to infinity). For one class T is 1.

    Raises
    ------
    ArgumentError
        No labels, no images; `cross_fit=True` without two folds.

    Examples
    --------
    Three of four predictions are right, each with a confidence of 0.95:

    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.95, 0.05]] * 4, labels=[0, 0, 0, 1])
    >>> found = am.calibrate(ev)
    >>> round(found.temperature, 3), found.evidence.probs[0].round(3)
    (2.68, array([0.75, 0.25]))
    """
    ev = as_evidence(ev, "calibrate")
    options = _Options.checked(bins, scheme, interval, resamples, seed)
    given = ev.given_index  # raises where there are none
    if ev.n == 0:
        raise ArgumentError("calibrate: expected at least one image, got none")
    folds = [] if ev.fold is None else np.unique(ev.fold).tolist()
    if cross_fit and len(folds) < 2:
        raise ArgumentError(
            f"cross_fit: expected evidence with at least two folds, got {len(folds)}: pass fold= "
            "to Evidence, or leave cross_fit out"
        )
    if cross_fit is False or len(folds) < 2:
        folds = []

    notes = []
    values = ev._source[0]
    missed = values[np.arange(ev.n), given] < values.max(axis=1)
    temperature, problem = _fit(ev, given, missed, None)
    if problem:
        notes.append(f"T stays 1: {problem}")
    inverses = np.full(ev.n, 1 / temperature)
    temperatures = {}
    for fold in folds:
        inside = ev.fold == fold
        temperatures[fold], problem = _fit(ev, given, missed, ~inside)
        inverses[inside] = 1 / temperatures[fold]
        if problem:
            notes.append(f"T stays 1 for fold {fold}: outside it {problem}")
    provenance: dict[str, Any] = {"temperature": temperature}
    if temperatures:
        provenance["by_fold"] = {str(fold): t for fold, t in temperatures.items()}
    calibrated = _tempered(ev, inverses, provenance)
    return Calibration(
        temperature=temperature,
        temperatures=temperatures,
        evidence=calibrated,
        before=_measures(ev, options),
        after=_measures(calibrated, options),
        note="; ".join(notes),
    )


def _fit(
    ev: Evidence,
    given: NDArray[np.intp],
    missed: NDArray[np.bool_],
    keep: NDArray[np.bool_] | None,
) -> tuple[float, str]:
    """T of the images that `keep` marks; 1 and the reason where there is no best one.

    `missed`: whether another class is more probable than the label.
    """
    if ev.k == 1:
        return 1.0, ""
    if not (missed if keep is None else missed & keep).any():
        return 1.0, "every label has the largest probability, the loss only falls as T goes to 0"
    sums = partial(_ambigcore.temperature, *ev._source, given, keep)
    threads = resolve_threads(None)
    if sums(0.0, threads)[1] >= 0:
        return 1.0, "labels are no more probable than other classes, T would go to infinity"
    return 1 / _root(lambda inverse: sums(inverse, threads)[1:]), ""


def _root(slope: Callable[[float], tuple[float, float]]) -> float:
    """The zero x > 0 of a rising function, negative at 0 and positive far out.

    `slope` returns its value and its derivative. Newton's steps, inside an interval that holds the
    zero; one that leaves it, or goes too far to be trusted, is replaced by halving or doubling.
    """
    low, high, x = 0.0, math.inf, 1.0
    for _ in range(2000):  # enough to double from the least to the largest float64
        value, derivative = slope(x)
        step = value / derivative if 0 < derivative < math.inf else math.inf
        if value == 0 or abs(step) <= 1e-13 * x:
            return x
        low, high = (x, high) if value < 0 else (low, x)
        new = x - step
        if not max(low, x / 4) < new < min(high, 4 * x):
            new = min(2 * x, (x + high) / 2) if value < 0 else max(x / 2, (low + x) / 2)
        if new in (low, high):  # neighbouring numbers
            return new
        x = new
    return x


def _tempered(ev: Evidence, inverses: F64, provenance: dict[str, Any]) -> Evidence:
    """The evidence with T = 1 / inverses[i] for image i."""
    fields = {name: getattr(ev, name) for name in AXES}
    if ev.logits is None:
        fields["probs"] = _ambigcore.tempered(ev.probs, False, inverses, resolve_threads(None))
    else:
        # In float32 close logits might become equal; what overflows float64 is cut.
        largest = np.finfo(np.float64).max
        with np.errstate(over="ignore"):
            scaled = ev.logits.astype(np.float64) * inverses[:, np.newaxis]
        fields |= {"logits": np.clip(scaled, -largest, largest), "probs": None}
    return Evidence(
        **fields, classes=ev.classes, provenance={**ev.provenance, "calibration": provenance}
    )


def _measures(ev: Evidence, options: _Options) -> Measures:
    # sum_j (p_j - y_j)^2 = 2 (1 - p_g) - (1 - sum_j p_j^2)
    brier = 2 * ev.score("self_confidence") - ev.score("gini")
    return Measures(_reliability(ev, options), ev.log_loss, max(math.fsum(brier) / ev.n, 0.0))


def _caution(in_sample: bool) -> str:
    return f"; {SOME}" if in_sample else ""
