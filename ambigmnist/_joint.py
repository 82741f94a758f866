"""The confident joint of an evidence: thresholds, and what each image is confidently seen as."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist.config import resolve_threads
from ambigmnist.evidence import Evidence, Indices

__all__ = ["Confident", "confident", "confident_learning", "off_diagonal"]


class Confident(NamedTuple):
    """What confident learning counts; k classes, n images."""

    thresholds: NDArray[np.float64]  # (k,)
    label_counts: NDArray[np.int64]  # (k,)
    counts: NDArray[np.int64]  # (k, k): labelled i, confidently seen as j
    columns: Indices  # (n,): j, or -1 for an image that reaches no threshold


def confident(ev: Evidence) -> Confident:
    """Thresholds and counts of Northcutt et al. 2021 (JAIR 70), section 3.1.

    The threshold of a class without labelled images is NaN, and no image reaches it. It is compared
    with exactly, so the surest image of a class always reaches its own.
    """
    threads = resolve_threads(None)
    sums, label_counts = _ambigcore.self_confidence(*ev._source, ev.given_index, threads)
    thresholds = _ambigcore.exact_means(sums, label_counts)
    found = _ambigcore.confident_joint(*ev._source, ev.given_index, thresholds, False, threads)
    return Confident(thresholds, label_counts, *found)


def off_diagonal(ev: Evidence, found: Confident) -> NDArray[np.bool_]:
    """Which images are confidently seen as another class than labelled, (n,)."""
    issues: NDArray[np.bool_] = (found.columns >= 0) & (found.columns != ev.given_index)
    return issues


def confident_learning(ev: Evidence) -> NDArray[np.float64]:
    """The normalised margin of the images off the diagonal of the joint; 1 less of all others."""
    margin = ev.score("normalized_margin")
    return np.where(off_diagonal(ev, confident(ev)), margin, margin - 1)
