"""Verdicts: per image clean, mislabelled, ambiguous, model_weak or unreadable, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist._files import PathLike
from ambigmnist._in_sample import explained, legend, mark
from ambigmnist._names import suggest
from ambigmnist._tables import Listing, few
from ambigmnist._thumbnails import of_evidence
from ambigmnist._validate import as_int
from ambigmnist._verdict_features import features, groups_of, names_of, readings_of
from ambigmnist._verdict_reasons import Facts, reason
from ambigmnist.definitions import Definition
from ambigmnist.errors import ArgumentError
from ambigmnist.evidence import Evidence, Indices, as_evidence
from ambigmnist.ranking import Ranking, data_frame, rank, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["VERDICTS", "Verdict", "Verdicts", "verdicts"]

Floats = NDArray[np.float64]

VERDICTS = ("clean", "mislabelled", "ambiguous", "model_weak", "unreadable")

_FITTED = Path(__file__).with_name("data") / "verdicts.json"
_NUMBERS = ("low", "high", "middle", "spread", "weights", "bias")
_STEPS, _CHANGE = 1000, 1e-9  # of the shares' estimation
# What is known of the shares beforehand, as counts of images: enough to settle the case of a few.
_BEFOREHAND = 10 * np.array([0.96, 0.01, 0.01, 0.01, 0.01])
_MORE = {
    "members": "audit(members=3) tells more",
    "dynamics": "audit(history=True) tells more",
    "space": "embeddings= tell more",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of one image.

    Attributes
    ----------
    index : int
    verdict : str
    p : float
        The probability of it.
    probs : dict
        That of each verdict.
    given, suggested : class values
        The label, and the reading that would replace it.
    readings : (2,) class values
        The two likeliest readings, likeliest first.
    reason : str
    """

    index: int
    verdict: str
    p: float
    probs: dict[str, float]
    given: Any
    suggested: Any
    readings: tuple[Any, Any]
    reason: str


class Verdicts(Listing):
    """What is thought of every image; made by `verdicts`. ``v[i]`` is that of image i.

    Attributes
    ----------
    verdict : (n,) str
        The likeliest of "clean", "mislabelled", "ambiguous", "model_weak", "unreadable".
    probs : (n, 5) float64
        The probability of each, in this order.
    shares : (5,) float64
        The share of each among these images, as estimated (or given).
    given : (n,)
        The labels.
    suggested : (n,)
        What the networks read; for a mislabelled image, the label to give it.
    readings : (n, 2)
        The two likeliest readings, likeliest first.
    based_on : tuple of str
        What the evidence had to offer: "probs", "members", "dynamics", "space".
    evidence : Evidence
    note : str
        What a reader should know.
    """

    def __init__(
        self, evidence: Evidence, probs: Floats, shares: Floats, based_on: tuple[str, ...]
    ) -> None:
        self.evidence = evidence
        self.probs = probs
        self.shares = shares
        self.based_on = based_on
        self.verdict: NDArray[np.str_] = np.array(VERDICTS)[probs.argmax(axis=1)]
        self.given: NDArray[Any] = evidence.given
        self.readings: NDArray[Any] = evidence.classes[readings_of(evidence)]
        self.suggested: NDArray[Any] = self.readings[:, 0]
        self.note = _note(evidence, based_on)
        self._facts = Facts(evidence)
        for array in (probs, shares, self.verdict, self.readings):
            array.flags.writeable = False

    def p(self, verdict: str) -> Floats:
        """The probability that it is `verdict`, of every image, (n,)."""
        return self.probs[:, _column(verdict)]

    def counts(self) -> dict[str, int]:
        """How many images have each verdict."""
        return {name: int((self.verdict == name).sum()) for name in VERDICTS}

    def reason(self, index: int) -> str:
        """Why image `index` has its verdict, in words."""
        index = as_int(index, "index")
        if not 0 <= index < len(self):
            raise ArgumentError(f"index: expected 0..{len(self) - 1}, got {index}")
        return reason(self._facts, index, str(self.verdict[index]))

    def rank(self, verdict: str, k: int | None = None) -> Ranking:
        """The images by the probability of a verdict, likeliest first; see `ambigmnist.rank`."""
        column = _column(verdict)
        record = Definition(
            f"p_{verdict}",
            f"probability of {verdict}",
            "[0, 1]",
            ("labels",),
            "verdicts",
            partial(_scores, self.probs[:, column]),
        )
        return rank(self.evidence, record, k)

    def gallery(self, verdict: str, rows: int | None = None, cols: int | None = None) -> Figure:
        """The pictures that are likeliest to be `verdict`; see `ambigmnist.gallery`."""
        count = max(int((self.verdict == verdict).sum()), 1)
        return self.rank(verdict, min(count, 48)).gallery(rows, cols)

    def __len__(self) -> int:
        return len(self.verdict)

    def __getitem__(self, index: int) -> Verdict:
        why = self.reason(index)
        probs = dict(zip(VERDICTS, self.probs[index].tolist(), strict=True))
        name = str(self.verdict[index])
        first, second = self.readings[index].tolist()
        return Verdict(
            int(index), name, probs[name], probs, self.given[index].item(), first,
            (first, second), why,
        )  # fmt: skip

    def _columns(self) -> dict[str, NDArray[Any]]:
        ev = self.evidence
        columns: dict[str, NDArray[Any]] = {"index": np.arange(len(self))}
        if ev.split is not None:
            columns["split"] = ev.split
        columns |= {"given": self.given, "verdict": self.verdict}
        columns |= {f"p_{name}": self.p(name) for name in VERDICTS}
        columns |= {"suggested": self.suggested, "second_reading": self.readings[:, 1]}
        if ev.in_sample is not None:
            columns["in_sample"] = ev.in_sample
        columns["reason"] = np.array([self.reason(i) for i in range(len(self))], np.str_)
        return columns

    def to_frame(self) -> Any:
        """A pandas DataFrame, a row per image: index, split, given, verdict, the probability of
        each, suggested, second_reading, in_sample, reason. Needs ``ambigmnist[pandas]``.
        """
        return data_frame(self._columns())

    def to_csv(self, path: PathLike) -> None:
        """Writes the columns of `to_frame`, complete or not at all; see `Ranking.to_csv`."""
        write_csv(path, self._columns())

    def _worth_a_look(self) -> Indices:
        """Those that are not clean, surest first."""
        rows = np.flatnonzero(self.verdict != "clean")
        return rows[np.argsort(-self.probs[rows].max(axis=1), kind="stable")]

    def _title(self) -> str:
        listed = ", ".join(f"{count:,} {name}" for name, count in self.counts().items())
        return f"{len(self):,} images: {listed}" + (f" ({self.note})" if self.note else "")

    def _pictures(self) -> list[str] | None:
        rows = self._worth_a_look()
        return of_evidence(self.evidence, rows[: few(len(rows))].tolist())

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        rows = self._worth_a_look()
        return (" index", "verdict", "p", "why"), [
            (
                f"{i:>6}{mark(self.evidence, i)}",
                str(self.verdict[i]),
                f"{self.probs[i].max():.2f}",
                self.reason(i),
            )
            for i in rows[: few(len(rows))].tolist()
        ]

    def _more(self) -> str:
        count = len(self._worth_a_look())
        left = count - few(count)
        return f"... {left} more that are not clean" if left else ""

    def _legend(self) -> str:
        rows = self._worth_a_look()
        return legend(self.evidence, rows[: few(len(rows))])


def verdicts(ev: Evidence, *, shares: NDArray[Any] | None = None) -> Verdicts:
    """Judges every image: is the label wrong, the image ambiguous, the network weak, or neither?

    - clean: the image reads as it is labelled. What the networks read as something else is not.
    - mislabelled: it reads well, as something else.
    - ambiguous: a person could read it two ways.
    - model_weak: the label is right and can be read; it is the network that errs.
    - unreadable: nobody could tell.

    Parameters
    ----------
    ev : Evidence
        With labels, out of sample: from `audit`, best with ``members=3``. Embeddings, training
        dynamics and members are made use of where they are there; without embeddings, ambiguous
        and unreadable images are hard to tell apart.
    shares : array_like (5,), optional
        How frequent each verdict is among these images. By default this is estimated from the
        images themselves, so judge all of them at once.

    Returns
    -------
    Verdicts

    Raises
    ------
    ArgumentError, DTypeError
        Evidence without labels; something else than evidence; shares that make no sense.

    Notes
    -----
    A multinomial logistic regression looks at up to 20 numbers per image: the margin of the label
    and of the two readings, what they leave, and how often such labels are read so; the
    disagreement of the networks; what training saw; labels and distances of the ten nearest images,
    and the Mahalanobis distance of the embedding. Its coefficients (``data/verdicts.json``, a set
    for each kind of evidence) are of maximum likelihood on planted MNIST: flipped labels of every
    kind, blends, occlusion, and images that weaker networks misread where strong ones agreed on the
    label; of images that nothing was done to and that strong networks doubt, it is only known that
    they are clean, ambiguous or model_weak. The probabilities are carried over to other data by the
    shares that maximise the likelihood (Saerens, Latinne & Decaestecker 2002, Neural Computation
    14), beforehand 96 % clean and 1 % of each other, with the weight of ten images. The verdict is
    the likeliest one; there is no other threshold. What is unlike anything planted is not known to
    the model: look at `outliers`, too.

    Examples
    --------
    >>> import ambigmnist as am
    >>> train, test = am.load_digits()
    >>> planted, truth = am.plant(test, flips=9, seed=1)
    >>> v = am.verdicts(am.audit(*planted, members=2, folds=3))
    >>> bool((v.verdict[truth.mask("flip")] == "mislabelled").mean() > 0.5)
    True
    """
    as_evidence(ev)
    ev.given_index  # noqa: B018  there must be labels
    groups = groups_of(ev)
    model = _fitted()[",".join(groups)]
    assert model.features == names_of(groups)
    known = None if shares is None else _as_shares(shares)
    if ev.n == 0:
        return Verdicts(ev, np.zeros((0, 5)), np.full(5, 0.2) if known is None else known, groups)
    scores = model.scores(features(ev, groups))
    scores[ev.predicted_index != ev.given_index, VERDICTS.index("clean")] = -np.inf
    balanced = _softmax(scores)
    found = _likeliest_shares(balanced) if known is None else known
    return Verdicts(ev, _times(balanced, found), found, groups)


@dataclass(frozen=True)
class _Model:
    """Logistic regression on features (f,), standardised by `middle` and `spread`.

    What lies beyond `low` and `high`, where there were no planted images, counts as these.
    `weights` (f, 5) and `bias` (5,) are as if all verdicts were equally frequent.
    """

    features: tuple[str, ...]
    low: Floats
    high: Floats
    middle: Floats
    spread: Floats
    weights: Floats
    bias: Floats

    def scores(self, x: Floats) -> Floats:
        """Log odds of the verdicts, up to a constant per image, (n, 5)."""
        z = (x.clip(self.low, self.high) - self.middle) / self.spread
        scores: Floats = z @ self.weights + self.bias
        return scores


@cache
def _fitted() -> dict[str, _Model]:
    stored = json.loads(_FITTED.read_text())
    return {
        key: _Model(
            tuple(m["features"]),
            *(np.array(m[name]) for name in _NUMBERS),
        )
        for key, m in stored["models"].items()
    }


def _softmax(scores: Floats) -> Floats:
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = scores / scores.sum(axis=1, keepdims=True)
    return result


def _likeliest_shares(balanced: Floats) -> Floats:
    """Shares (5,) that probabilities for equal shares make likeliest: expectation maximisation."""
    n, k = balanced.shape
    shares = np.full(k, 1 / k)
    for _ in range(_STEPS):
        before = shares
        counts = _times(balanced, shares).sum(axis=0)
        shares = (counts + _BEFOREHAND) / (n + _BEFOREHAND.sum())
        if np.abs(shares - before).max() < _CHANGE:
            break
    return shares


def _times(balanced: Floats, shares: Floats) -> Floats:
    """Probabilities for equal shares, for these shares instead."""
    probs = balanced * shares
    result: Floats = probs / probs.sum(axis=1, keepdims=True)
    return result


def _as_shares(shares: Any) -> Floats:
    values = np.asarray(shares)
    if values.shape != (len(VERDICTS),) or values.dtype.kind not in "iuf":
        raise ArgumentError(
            f"shares: expected {len(VERDICTS)} numbers, of {', '.join(VERDICTS)}, got {shares!r}"
        )
    values = values.astype(np.float64)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ArgumentError(f"shares: expected numbers above 0, got {shares!r}")
    result: Floats = values / values.sum()
    return result


def _scores(p: Floats, ev: Evidence) -> Floats:
    return p


def _column(verdict: str) -> int:
    if verdict not in VERDICTS:
        raise ArgumentError(f"verdict: unknown {verdict!r}" + suggest(verdict, VERDICTS))
    return VERDICTS.index(verdict)


def _note(ev: Evidence, based_on: tuple[str, ...]) -> str:
    notes = [explained(ev) and f"{explained(ev)}, so little will seem wrong"]
    notes += [f"without {group}: {hint}" for group, hint in _MORE.items() if group not in based_on]
    return "; ".join(note for note in notes if note)
