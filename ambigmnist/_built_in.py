"""The built-in definitions: name, formula, range, needs, source, and how each is computed.

Higher is always more ambiguous, or more suspicious. p1 >= p2: the two largest probabilities; g: the
given label; j: any class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ambigmnist.evidence import NEIGHBOURS, Evidence

__all__ = ["BUILT_IN", "BuiltIn"]

Scores = NDArray[np.float64]


class BuiltIn(NamedTuple):
    """`needs`: fields of the evidence; `function`: None where the core scores row by row."""

    name: str
    formula: str
    range: str
    needs: str
    source: str
    function: Callable[[Evidence], Scores] | None = None


def _neighbour_disagreement(ev: Evidence) -> Scores:
    nearest = ev.nearest_others(NEIGHBOURS)
    if nearest.shape[1] == 0:
        return np.zeros(ev.n)
    share: Scores = np.mean(nearest["label"] != ev.given_index[:, np.newaxis], axis=1)
    return share


_NORTHCUTT = "Northcutt et al. 2021 (JAIR 70), confident learning"

BUILT_IN = (
    # Of one distribution over the classes.
    BuiltIn("least_confident", "1 - p1", "[0, 1 - 1/k]", "probs", "Lewis & Gale 1994 (SIGIR)"),
    BuiltIn("margin", "1 - (p1 - p2)", "[0, 1]", "probs", "Scheffer et al. 2001 (IDA)"),
    BuiltIn("entropy", "-sum p_j log p_j", "[0, log k]", "probs", "Shannon 1948"),
    BuiltIn("gini", "1 - sum p_j^2", "[0, 1 - 1/k]", "probs", "Breiman et al. 1984 (CART)"),
    # Of the distribution and the given label.
    BuiltIn(
        "confident_wrong",
        "p1 if wrong, else p2 - 1",
        "[1/k, 1], [-1, -1/2]",
        "probs labels",
        "this project: confident but wrong",
    ),
    BuiltIn("self_confidence", "1 - p_g", "[0, 1]", "probs labels", _NORTHCUTT),
    BuiltIn(
        "normalized_margin", "(1 - p_g + max_j!=g p_j) / 2", "[0, 1]", "probs labels", _NORTHCUTT
    ),
    # Of the images around.
    BuiltIn(
        "neighbour_disagreement",
        "share of the 10 nearest images with another label",
        "[0, 1]",
        "nearest labels",
        "Smith et al. 2014 (Machine Learning 95), k-disagreeing neighbours",
        _neighbour_disagreement,
    ),
)
