"""How sure each rank of a ranking is: 90 % intervals over networks, or over audits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._opinions import Opinions, as_audits
from ambigmnist.definitions import Definition, scores
from ambigmnist.errors import DTypeError
from ambigmnist.evidence import Evidence, Indices

__all__ = ["check_intervals", "rank_bounds", "student"]

F64 = NDArray[np.float64]


def rank_bounds(
    ev: Evidence,
    record: Definition,
    rows: Indices,
    places: Indices,
    intervals: bool | Sequence[Evidence],
) -> tuple[Indices, Indices]:
    """The lowest and the highest rank of images, of 1..n among the images `rows`.

    Of networks: the delete-one jackknife. Without network j the image has rank r_j of n, on the
    scale x = log((r - 1/2) / (n + 1/2 - r)); the standard error of x is the root of
    (m - 1) / m sum_j (x_j - x)^2, which does not understate few networks as their bootstrap does
    by sqrt(m / (m - 1)), and the interval is x +- t of it, Student's with m - 1 degrees of freedom.

    Of audits: mean +- t sd sqrt(1 + 1 / a) of x over a audits: where another one may put it.

    Parameters
    ----------
    places : (m,) intp
        The images listed, as places in `rows`.
    """
    listed = _ranks(scores(ev, record)[rows])[places]
    n = len(rows)
    if isinstance(intervals, bool | np.bool_):
        opinions = Opinions(ev, record, "intervals", halves=False)
        m = opinions.count
        every = range(m)
        squares = np.zeros(len(listed))
        center = _to_line(listed, n)
        for left_out in every:
            without = opinions.scores([j for j in every if j != left_out])
            squares += (_to_line(_ranks(without[rows])[places], n) - center) ** 2
        half = student(m - 1) * np.sqrt((m - 1) / m * squares)
    else:
        audits = as_audits(intervals, "intervals", ev)
        a = len(audits)
        lines = np.stack([_to_line(_ranks(scores(one, record)[rows])[places], n) for one in audits])
        center = lines.mean(axis=0)
        half = student(a - 1) * lines.std(axis=0, ddof=1) * math.sqrt(1 + 1 / a)
    low = np.minimum(listed, np.ceil(_from_line(center - half, n) - _SLACK))
    high = np.maximum(listed, np.floor(_from_line(center + half, n) + _SLACK))
    return low.astype(np.intp), high.astype(np.intp)


_SLACK = 1e-6  # so that a rank that is met to rounding counts as met


def _ranks(values: F64) -> Indices:
    """1 for the highest score, equal ones by index."""
    ranks = np.empty(len(values), np.intp)
    ranks[_ambigcore.top_k(values, len(values))] = np.arange(1, len(values) + 1)
    return ranks


def _to_line(ranks: Indices, n: int) -> F64:
    line: F64 = np.log((ranks - 0.5) / (n + 0.5 - ranks))
    return line


def _from_line(line: F64, n: int) -> F64:
    """In [1/2, n + 1/2]; what an infinite interval says, too."""
    with np.errstate(over="ignore"):
        rank: F64 = 0.5 + n / (1 + np.exp(-line))
    return np.clip(rank, 1, n) if n else rank


def student(freedom: int) -> float:
    """The 95th percentile of Student's t: closed forms, and from 3 on Cornish & Fisher's series."""
    if freedom == 1:
        return math.tan(math.pi * 0.45)
    if freedom == 2:
        return 0.9 / math.sqrt(2 * 0.95 * 0.05)
    z, v = 1.6448536269514722, freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def check_intervals(intervals: object) -> None:
    """DTypeError for what is neither yes, no nor a list."""
    if not isinstance(intervals, bool | np.bool_ | Sequence) or isinstance(intervals, str):
        raise DTypeError(
            "intervals: expected True, False or a list of other audits of the same images, "
            f"got {type(intervals).__name__}"
        )
