"""Definitions made of others: weighted sums of scores, and the fusion of rankings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist.definitions import Definition, find, scores
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.evidence import Evidence

__all__ = ["borda", "weighted_sum"]

By = str | Callable[[Evidence], ArrayLike] | Definition
Scale = Literal["rank", "unit"] | None
Scores = NDArray[np.float64]

_BORDA = "Borda 1781; Aslam & Montague 2001 (SIGIR)"


def weighted_sum(parts: Mapping[By, float], *, scale: Scale = None) -> Definition:
    """The definition sum_i w_i score_i.

    Parameters
    ----------
    parts : mapping
        A weight, any finite number, for each definition: a name, a function Evidence -> (n,), or a
        record, also one made by `weighted_sum` or `borda`. A negative weight turns a score around;
        a part of weight 0 is left out.
    scale : {None, "rank", "unit"}
        What is summed: the scores as they are; their normalised ranks, in [0, 1] as in `borda`; or
        (score - least) / (greatest - least) over the images, in [0, 1], 1/2 where all are equal.
        The latter two depend on which images the evidence holds.

    Returns
    -------
    Definition
        For ``by=`` everywhere; callable; `definition` gives it a name of its own. It needs what
        its parts need.

    Raises
    ------
    ArgumentError, DTypeError
        No parts, an unknown name, a weight or scale that makes no sense. When it is computed: a
        part that returns NaN; with scale=None infinite scores that cancel, with scale="unit" any.

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]], labels=[0, 0, 1])
    >>> by = am.weighted_sum({"self_confidence": 2.0, "least_confident": -1.0})
    >>> by.formula
    '2 self_confidence - 1 least_confident'
    >>> by(ev).round(3)
    array([0.1, 0.8, 0.5])
    """
    if not isinstance(parts, Mapping):
        raise DTypeError(
            "weighted_sum: expected a mapping such as {'entropy': 0.5, 'gini': 1.0}, "
            f"got {type(parts).__name__}"
        )
    if scale not in (None, "rank", "unit"):
        raise ArgumentError(f"scale: expected None, 'rank' or 'unit', got {scale!r}")
    weights = _as_weights(parts.values())
    kept = {part: w for part, w in zip(parts, weights, strict=True) if w != 0}
    if not kept:
        raise ArgumentError(
            "weighted_sum: expected at least one definition of a weight other than 0, "
            f"got {len(parts)} of weight 0"
        )
    records, weights = tuple(find(part) for part in kept), tuple(kept.values())
    low, high = sum(w for w in weights if w < 0), sum(w for w in weights if w > 0)
    return _record(
        "weighted_sum",
        records,
        _formula(records, weights, scale),
        f"[{low:g}, {high:g}]" if scale else "",
        "",
        _Combination(records, weights, scale),
    )


def borda(*parts: By, weights: Sequence[float] | None = None) -> Definition:
    """The definition that fuses rankings: the weighted mean of the normalised ranks.

    The normalised rank of an image is the share of the other images that a definition scores
    lower, those that it scores equal counting half: 0 for the least ambiguous, 1 for the most.
    How scores are scaled, and whether some are infinite, makes no difference.

    Parameters
    ----------
    *parts : str, callable or Definition
        Names, functions Evidence -> (n,), or records, also made by `weighted_sum` or `borda`.
    weights : sequence of float, optional
        One per part, at least 0 and not all 0; equal by default.

    Returns
    -------
    Definition
        In [0, 1], for ``by=`` everywhere; callable; `definition` gives it a name of its own. It
        needs what its parts need. A score depends on which images the evidence holds.

    References
    ----------
    J. C. de Borda, 1781; J. Aslam and M. Montague, "Models for metasearch", SIGIR 2001.

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]], labels=[0, 0, 1])
    >>> am.borda("entropy", "self_confidence")(ev)
    array([0.  , 0.75, 0.75])
    >>> mine = am.definition(name="mine")(am.borda("entropy", "self_confidence", weights=[1, 2]))
    >>> am.rank(ev, by="mine").indices
    array([1, 2, 0])
    """
    if not parts:
        raise ArgumentError("borda: expected at least one definition, got none")
    records = tuple(find(part) for part in parts)
    numbers = _as_weights([1.0] * len(parts) if weights is None else weights)
    if len(numbers) != len(parts):
        raise ShapeError(f"weights: expected {len(parts)}, one per definition, got {len(numbers)}")
    if min(numbers) < 0 or not 0 < sum(numbers) < math.inf:
        raise ArgumentError(f"weights: expected numbers >= 0, not all 0, got {list(numbers)}")
    if weights is None:
        terms = " + ".join(f"rank({record.name})" for record in records)
    else:
        terms = _formula(records, numbers, "rank")
    total = f"({terms}) / {sum(numbers):g}" if len(parts) > 1 else f"rank({records[0].name})"
    function = _Combination(records, numbers, "rank", is_mean=True)
    return _record("borda", records, total, "[0, 1]", _BORDA, function)


@dataclass(frozen=True, slots=True)
class _Combination:
    """Evidence -> (n,) scores; not a closure, so that a Ranking can be pickled."""

    parts: tuple[Definition, ...]
    weights: tuple[float, ...]
    scale: Scale
    is_mean: bool = False

    def __call__(self, ev: Evidence) -> Scores:
        total, all_weights = np.zeros(ev.n), 0.0
        for part, weight in zip(self.parts, self.weights, strict=True):
            all_weights += weight  # rounded as `total` is, unlike sum() since Python 3.12
            with np.errstate(invalid="ignore", over="ignore"):
                total += weight * self._scaled(scores(ev, part), part.name)
        if np.isnan(total).any():
            raise ArgumentError(
                "infinite scores of opposite signs have no sum, at index "
                f"{int(np.argmax(np.isnan(total)))}: use scale='rank', or borda"
            )
        return total / all_weights if self.is_mean else total

    def _scaled(self, values: Scores, name: str) -> Scores:
        if self.scale == "rank":
            return _normalised_ranks(values)
        if self.scale == "unit":
            return _to_unit(values, name)
        return values


def _normalised_ranks(values: Scores) -> Scores:
    """The share of the others that are lower, equal ones counting half; 1/2 without others."""
    n = len(values)
    if n < 2:
        return np.full(n, 0.5)
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    lower = np.cumsum(sizes) - sizes
    ranks: Scores = ((lower + (sizes - 1) / 2) / (n - 1))[group]
    return ranks


def _to_unit(values: Scores, name: str) -> Scores:
    if len(values) == 0:
        return values
    bad = np.isinf(values)
    if bad.any():
        raise ArgumentError(
            f"scale='unit' takes finite scores, {name!r} has {values[bad][0]} at index "
            f"{int(np.argmax(bad))}: use scale='rank'"
        )
    low, high = values.min(), values.max()
    if low == high:
        return np.full(len(values), 0.5)
    with np.errstate(over="ignore"):
        if np.isinf(high - low):  # the difference of two finite numbers, but not of their halves
            values, low, high = values / 2, low / 2, high / 2
    unit: Scores = (values - low) / (high - low)
    return unit


def _as_weights(values: Any) -> tuple[float, ...]:
    weights = []
    for value in values:
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            raise DTypeError(f"weights: expected numbers, got {value!r}")
        weights.append(float(value))
        if not math.isfinite(weights[-1]):
            raise ArgumentError(f"weights: expected finite numbers, got {value!r}")
    return tuple(weights)


def _formula(records: Sequence[Definition], weights: Sequence[float], scale: Scale) -> str:
    """As "0.5 entropy - 2 rank(aum)"."""
    text = ""
    for record, weight in zip(records, weights, strict=True):
        sign = ("-" if weight < 0 else "+") if text else ("-" if weight < 0 else "")
        term = f"{abs(weight):g} " + (f"{scale}({record.name})" if scale else record.name)
        text += f" {sign} {term}" if text else sign + term
    return text


def _record(
    kind: str,
    parts: Sequence[Definition],
    formula: str,
    range: str,
    source: str,
    function: _Combination,
) -> Definition:
    return Definition(
        name=f"{kind}({', '.join(part.name for part in parts)})",
        formula=formula,
        range=range,
        needs=tuple(dict.fromkeys(need for part in parts for need in part.needs)),
        source=source,
        function=function,
        in_sample=any(part.in_sample for part in parts),
    )
