"""Where cleanlab (as of 2.9.0) departs from the paper, so that its numbers can be had.

It works on the probabilities, in their own precision. A threshold is at least 2e-6, is reached from
1e-6 below it, and is 2 for a class without labelled images. An image that reaches several gets its
largest class of all. Every diagonal cell counts at least 1. Calibrated counts are integers; pruning
leaves one image of each class; and no image is an issue whose label is within 1e-6 of the largest
probability. Equal values fall as `numpy.argsort` lets them fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._joint import Confident
from ambigmnist.config import resolve_threads
from ambigmnist.evidence import Evidence, Indices

__all__ = ["calibrate", "confident", "is_predicted", "prune_by_class", "prune_by_noise_rate"]

Counts = NDArray[np.int64]

_NEAR = 1e-6
_TINY = 1e-100  # instead of a zero to divide by
_UNREACHABLE = 2
_BLOCK = 65_536  # rows copied together


def confident(ev: Evidence) -> Confident:
    """Thresholds and counts by cleanlab's rules."""
    given, probs = ev.given_index, ev.probs
    label_counts = np.bincount(given, minlength=ev.k).astype(np.int64)
    means = [probs[given == j, j].mean() if label_counts[j] else _UNREACHABLE for j in range(ev.k)]
    thresholds = np.maximum(np.array(means), 2 * _NEAR)
    counts, columns = _ambigcore.confident_joint(
        probs,
        False,
        given,
        (thresholds - _NEAR).astype(np.float64),
        True,
        resolve_threads(None),
    )
    np.fill_diagonal(counts, np.maximum(counts.diagonal(), 1))
    return Confident(thresholds.astype(np.float64), label_counts, counts, columns)


def is_predicted(ev: Evidence) -> NDArray[np.bool_]:
    """Which images are predicted as labelled, or would be with 1e-6 more for the label: (n,)."""
    result = np.empty(ev.n, np.bool_)
    for start in range(0, ev.n, _BLOCK):
        part = slice(start, start + _BLOCK)
        given = ev.given_index[part]
        probs = np.array(ev.probs[part])
        probs[np.arange(len(probs)), given] += _NEAR
        result[part] = probs.argmax(axis=1) == given
    return result


def calibrate(counts: Counts, label_counts: Counts) -> Counts:
    """Rows rescaled to the numbers of labels, and rounded so that their sums stay."""
    # By (column, label), as rounding depends on the order of the sum below.
    scaled = np.ascontiguousarray(counts.T) / np.maximum(counts.sum(axis=1), _TINY) * label_counts
    scaled = scaled / max(float(scaled.sum()), _TINY) * int(label_counts.sum())
    rows = np.ascontiguousarray(scaled.T)
    whole = rows.round()
    for row, rounded in zip(rows, whole, strict=True):
        _settle(row, rounded)
    return whole.astype(np.int64)


def _settle(exact: NDArray[np.float64], rounded: NDArray[np.float64]) -> None:
    """Adds or takes 1 where rounding took or added most, until the sums agree."""
    while missing := int(exact.sum().round() - rounded.sum()):
        order = np.argsort(exact - rounded)
        if missing > 0:
            order = order[::-1]
        rounded[order[: abs(missing)]] += np.sign(missing)


def _prune_counts(calibrated: Counts) -> Counts:
    """How many to prune for each pair: where no image would stay, one does."""
    kept = np.maximum(calibrated.diagonal(), 1)
    shares = np.maximum(np.count_nonzero(calibrated, axis=1) - 1, 1)
    taken = (kept - calibrated.diagonal()) / shares
    numbers: Counts = np.maximum(calibrated - taken[:, np.newaxis], 0).astype(np.int64)
    np.fill_diagonal(numbers, kept)
    return numbers


def prune_by_class(ev: Evidence, counts: Counts, classes: Sequence[Indices]) -> NDArray[np.bool_]:
    """The images of each class with the smallest p_g, by calibrated counts; `classes`: the
    images by label."""
    numbers = _prune_counts(counts)
    found = np.zeros(ev.n, np.bool_)
    for i, rows in enumerate(classes):
        number = len(rows) - int(numbers[i, i])
        if len(rows) > 1 and number > 0:
            found[rows[np.argsort(ev.probs[rows, i])[:number]]] = True
    return found & ~is_predicted(ev)


def prune_by_noise_rate(
    ev: Evidence, counts: Counts, classes: Sequence[Indices]
) -> NDArray[np.bool_]:
    """For each pair the images with the largest p_j - p_g."""
    numbers = _prune_counts(counts)
    found = np.zeros(ev.n, np.bool_)
    for i, rows in enumerate(classes):
        probs: NDArray[Any] = ev.probs[rows]
        for j in np.flatnonzero(numbers[i]) if len(rows) > 1 else ():
            if j != i:
                margin = probs[:, j] - probs[:, i]
                found[rows[np.argsort(-margin)[: numbers[i, j]]]] = True
    return found & ~is_predicted(ev)
