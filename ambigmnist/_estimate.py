"""A number and its interval, by resampling."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "estimated", "percent"]


class Estimate(NamedTuple):
    """A value and its interval: ``value, low, high = estimate``, or by these names.

    `low` and `high` are NaN where nothing was resampled.
    """

    value: float
    low: float
    high: float

    def __float__(self) -> float:
        return self.value

    def describe(self, form: str = ".4f") -> str:
        """As text, ``0.9123 [0.8800, 0.9400]`` say; `form` is that of each number."""
        text = format(self.value, form)
        return text if math.isnan(self.low) else f"{text} {self.interval(form)}"

    def interval(self, form: str = ".4f") -> str:
        """The interval alone, as text; nothing where there is none."""
        if math.isnan(self.low):
            return ""
        return f"[{format(self.low, form)}, {format(self.high, form)}]"


def estimated(value: float, draws: NDArray[np.float64], level: float) -> Estimate:
    """With the percentile interval of its resampled values, (resamples,)."""
    if len(draws) == 0:
        return Estimate(float(value), math.nan, math.nan)
    tail = (1 - level) / 2
    # Without interpolation: a draw may be infinite.
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return Estimate(float(value), float(low), float(high))


def percent(level: float) -> str:
    """0.95 as "95 %"."""
    return f"{100 * level:.4g} %"
