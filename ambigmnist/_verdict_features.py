"""What a verdict looks at: a few numbers per image, none of which knows the unit of anything.

lp: log p of the mean of the networks; g: the given label; r: the most likely other class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._joint import confident
from ambigmnist.config import resolve_threads
from ambigmnist.evidence import Evidence

__all__ = ["GROUPS", "features", "groups_of", "names_of", "readings_of"]

Floats = NDArray[np.float64]

LIMIT = 15.0  # of log odds: beyond it, networks are as sure as they can be
TINY = 1e-9
SHRINKAGE = 1e-3  # of the covariance towards a multiple of the identity

# What evidence may have, and what is made of it.
GROUPS: dict[str, tuple[str, ...]] = {
    "probs": ("label margin", "margin", "rest", "so confused", "confused back"),
    "members": ("disagreement", "worst label margin"),
    "dynamics": (
        "aum",
        "trained confidence",
        "trained variability",
        "trained correctness",
        "forgetting",
        "el2n",
    ),
    "space": (
        "given around",
        "first around",
        "first two around",
        "other around",
        "other distance",
        "distance",
        "novelty",
    ),
}


def groups_of(ev: Evidence) -> tuple[str, ...]:
    """The groups that the evidence has all fields for."""
    several = ev.members is not None and len(ev.members) > 1
    recorded = ev.dynamics is not None and not np.isnan(ev.dynamics["aum"]).any()
    space = ev.embeddings is not None and ev.n > 1
    has = {"probs": True, "members": several, "dynamics": recorded, "space": space}
    return tuple(group for group in GROUPS if has[group])


def names_of(groups: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for group in groups for name in GROUPS[group])


def features(ev: Evidence, groups: tuple[str, ...]) -> Floats:
    """(n, f) float64, the columns that `names_of` lists, each within -15..15."""
    makers: dict[str, Callable[[Evidence, Floats], list[Floats]]] = {
        "probs": _of_probs, "members": _of_members, "dynamics": _of_dynamics, "space": _of_space,
    }  # fmt: skip
    log_p = _log_probs(ev)
    columns = [column for group in groups for column in makers[group](ev, log_p)]
    return np.clip(np.stack(columns, axis=1), -LIMIT, LIMIT)


def readings_of(ev: Evidence) -> NDArray[np.intp]:
    """The columns of the two largest probabilities, the first of equals first, (n, 2).

    Of a single class the same twice.
    """
    values = ev._source[0]
    first = ev.predicted_index
    if ev.k == 1:
        return np.stack([first, first], axis=1)
    others = np.array(values, np.float64)
    others[np.arange(ev.n), first] = -np.inf
    return np.stack([first, others.argmax(axis=1)], axis=1)


def _log_probs(ev: Evidence) -> Floats:
    """(n, k); a probability of 0 counts as 1e-9."""
    if ev.logits is None:
        return np.log(np.maximum(ev.probs.astype(np.float64), TINY))
    z = ev.logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    log_p: Floats = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return log_p


def _label_margin(log_p: Floats, given: NDArray[np.intp]) -> Floats:
    """lp_g - lp_r."""
    rows = np.arange(len(log_p))
    others = log_p.copy()
    others[rows, given] = -np.inf
    return log_p[rows, given] - (others.max(axis=1) if log_p.shape[1] > 1 else -LIMIT)


def _other_reading(ev: Evidence) -> NDArray[np.intp]:
    """The likeliest class that is not the label, (n,); of a single class that one."""
    first, second = readings_of(ev).T
    other: NDArray[np.intp] = np.where(first == ev.given_index, second, first)
    return other


def _of_probs(ev: Evidence, log_p: Floats) -> list[Floats]:
    """lp_g - lp_r; lp of the first two apart; log of what the first two leave; log of the share of
    the images labelled g that are confidently seen as r, and of those labelled r seen as g."""
    rows = np.arange(ev.n)
    first, second = readings_of(ev).T
    rest = np.exp(log_p)
    rest[rows, first] = rest[rows, second] = 0.0
    margin = log_p[rows, first] - log_p[rows, second]
    joint = confident(ev)
    share = np.log((joint.counts + 0.5) / (joint.label_counts[:, np.newaxis] + 1.0))
    given, other = ev.given_index, _other_reading(ev)
    label_margin = _label_margin(log_p, given)
    left = np.log(rest.sum(axis=1) + TINY)
    return [label_margin, margin, left, share[given, other], share[other, given]]


def _of_members(ev: Evidence, log_p: Floats) -> list[Floats]:
    """log of their mutual information (BALD); the smallest of their lp_g - lp_r."""
    assert ev.members is not None
    bald = _ambigcore.draws_score(ev.members, "bald", resolve_threads(None))
    worst = np.full(ev.n, LIMIT)
    for member in ev.members:
        log_m = np.log(np.maximum(member.astype(np.float64), TINY))
        worst = np.minimum(worst, _label_margin(log_m, ev.given_index))
    return [np.log(np.maximum(bald, 0) + 1e-6), worst]


def _of_dynamics(ev: Evidence, log_p: Floats) -> list[Floats]:
    """Of training on the given label: mean margin of the logits, mean and spread of p_g, share of
    epochs that were right, how often it was forgotten, the error in an early epoch."""
    assert ev.dynamics is not None
    fields = ("aum", "confidence", "variability", "correctness", "forgetting", "el2n")
    return [ev.dynamics[field] for field in fields]


def _of_space(ev: Evidence, log_p: Floats) -> list[Floats]:
    """Shares of the ten nearest with the label, the first, the first two readings, r; how much
    farther the nearest r is than the nearest g (log); how far all ten are (log, over the median of
    the fold); how unlike all images this one is (log Mahalanobis)."""
    nearest = ev.nearest_others(10)
    labels = nearest["label"]
    first, second = readings_of(ev).T[:, :, np.newaxis]
    given, other = ev.given_index[:, np.newaxis], _other_reading(ev)[:, np.newaxis]
    distance = nearest["distance"].mean(axis=1)
    typical = np.ones(ev.n)
    fold = np.zeros(ev.n, np.intp) if ev.fold is None else ev.fold
    for which in np.unique(fold):  # each is of a network of its own
        rows = fold == which
        typical[rows] = np.median(distance[rows])
    return [
        (labels == given).mean(axis=1),
        (labels == first).mean(axis=1),
        ((labels == first) | (labels == second)).mean(axis=1),
        (labels == other).mean(axis=1),
        np.log(_nearest_of(nearest, other) / _nearest_of(nearest, given)),
        np.log((distance + TINY) / (typical + TINY)),
        _novelty(ev),
    ]


def _nearest_of(nearest: NDArray[np.void], column: NDArray[np.intp]) -> Floats:
    """The distance of the nearest with a label; where none of the ten has it, twice the last's."""
    far = 2 * nearest["distance"][:, -1:] + TINY
    found = np.where(nearest["label"] == column, nearest["distance"] + TINY, far)
    result: Floats = found.min(axis=1)
    return result


def _novelty(ev: Evidence) -> Floats:
    """log of the mean squared distance per dimension, in units of the spread of all images.

    Mahalanobis' distance of the embedding from the mean (Lee et al. 2018, NeurIPS, with one class);
    dimensions that no image uses do not count.
    """
    assert ev.embeddings is not None
    x = ev.embeddings.astype(np.float64)
    x -= x.mean(axis=0)
    covariance = x.T @ x / len(x)
    total = covariance.trace()
    if not total > 0:
        return np.zeros(ev.n)
    covariance += SHRINKAGE * total / len(covariance) * np.eye(len(covariance))
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), x.T)
    novelty: Floats = np.log((whitened**2).mean(axis=0) + TINY)
    return novelty
