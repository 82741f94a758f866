"""The built-in definitions: name, formula, range, needs, source, and how each is computed.

Higher is always more ambiguous, or more suspicious. p1 >= p2: the two largest probabilities; g: the
given label; j: any class. z: logits; an epoch is right where it predicts g.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._joint import confident_learning
from ambigmnist._validate import Floats
from ambigmnist.config import resolve_threads
from ambigmnist.errors import ArgumentError
from ambigmnist.evidence import NEIGHBOURS, Evidence

__all__ = ["BUILT_IN", "BuiltIn"]

Scores = NDArray[np.float64]


class BuiltIn(NamedTuple):
    """`needs`: fields of the evidence; `function`: None where the core scores row by row.

    `in_sample`: of what training saw, so of images that the network was fitted to.
    """

    name: str
    formula: str
    range: str
    needs: str
    source: str
    function: Callable[[Evidence], Scores] | None = None
    in_sample: bool = False


def _of_stack(score: str, stack: Floats | None, name: str, what: str, how: str) -> Scores:
    if stack is None or len(stack) < 2:
        raise ArgumentError(
            f"definition {name!r} needs at least 2 {what}, this evidence has "
            f"{0 if stack is None else len(stack)}: {how}"
        )
    return _ambigcore.draws_score(stack, score, resolve_threads(None))


def _of_draws(name: str, ev: Evidence) -> Scores:
    return _of_stack(name, ev.draws, name, "draws", "audit(mc=20) or audit(members=3) takes more")


def _of_views(name: str, ev: Evidence) -> Scores:
    """The Jensen-Shannon divergence of the views has the formula of "bald"."""
    return _of_stack("bald", ev.augmented, name, "views", "audit(augment=8) takes more")


_GRADIENTS = ("grand", "vog")


def _recorded(name: str, field: str, ev: Evidence) -> Scores:
    """A field of the dynamics; ArgumentError where it is not known of every image."""
    assert ev.dynamics is not None  # in `needs`
    values: Scores = ev.dynamics[field]
    missing = np.isnan(values)
    if not missing.any():
        return values
    if field in _GRADIENTS:
        hint = f"needs gradients: audit(history='full') records {field}"
    else:
        hint = f"needs {field} in dynamics: audit(history=True) records it"
    raise ArgumentError(
        f"definition {name!r} {hint}; here it is NaN for {int(missing.sum())} of {ev.n} images"
    )


def _aum(ev: Evidence) -> Scores:
    return -_recorded("aum", "aum", ev)


def _data_map_confidence(ev: Evidence) -> Scores:
    return 1.0 - _recorded("data_map_confidence", "confidence", ev)


def _forgetting(ev: Evidence) -> Scores:
    """An image that was never right counts as forgotten in every epoch: twice what is possible.

    A right epoch stands before every wrong one that counts, so that at most half of them do.
    """
    counts = _recorded("forgetting", "forgetting", ev)
    never = _recorded("forgetting", "correctness", ev) == 0
    epochs = _recorded("forgetting", "first_learned", ev) - 1  # where it was never learned
    return np.where(never, epochs, counts)


def _dynamics_row(
    name: str, formula: str, range: str, source: str, function: Callable[[Evidence], Scores] | str
) -> BuiltIn:
    """`function`: or the field that is the score."""
    if isinstance(function, str):
        function = partial(_recorded, name, function)
    return BuiltIn(name, formula, range, "dynamics", source, function, in_sample=True)


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
    BuiltIn(
        "confidence_weighted_entropy",
        "entropy / (p_g log k)",
        "[0, inf]",
        "probs labels",
        "Kuan & Mueller 2022, label quality scoring",
    ),
    BuiltIn(  # thresholds are those of all images of the evidence at hand
        "confident_learning",
        "normalized_margin if off the confident joint's diagonal, else that - 1",
        "[0, 1], [-1, 0]",
        "probs labels",
        _NORTHCUTT,
        confident_learning,
    ),
    # Of several opinions: T passes with dropout, or T networks.
    BuiltIn(
        "variation_ratio",
        "1 - votes of the most voted class / T",
        "[0, 1 - 1/min(T, k)]",
        "draws",
        "Freeman 1965; Gal et al. 2017 (ICML)",
        partial(_of_draws, "variation_ratio"),
    ),
    BuiltIn(
        "bald",
        "entropy(mean p) - mean entropy(p)",
        "[0, log min(T, k)]",
        "draws",
        "Houlsby et al. 2011; Gal et al. 2017 (ICML)",
        partial(_of_draws, "bald"),
    ),
    BuiltIn(
        "expected_entropy",
        "mean over draws of entropy(p)",
        "[0, log k]",
        "draws",
        "Depeweg et al. 2018 (ICML): data uncertainty",
        partial(_of_draws, "expected_entropy"),
    ),
    BuiltIn(
        "augmentation_disagreement",
        "Jensen-Shannon divergence of the views' p",
        "[0, log min(views, k)]",
        "augmented",
        "Lin 1991 (IEEE Trans. Inf. Theory)",
        partial(_of_views, "augmentation_disagreement"),
    ),
    # Of what training saw.
    _dynamics_row(
        "aum",
        "-mean over epochs of (z_g - max_j!=g z_j)",
        "(-inf, inf)",
        "Pleiss et al. 2020 (NeurIPS)",
        _aum,
    ),
    _dynamics_row(
        "forgetting",
        "how often right turned wrong; never right: epochs",
        "[0, epochs]",
        "Toneva et al. 2019 (ICLR)",
        _forgetting,
    ),
    _dynamics_row(
        "el2n",
        "|p - onehot(g)| in an early epoch",
        "[0, sqrt 2]",
        "Paul et al. 2021 (NeurIPS)",
        "el2n",
    ),
    _dynamics_row(
        "grand",
        "|d loss / d weights| after an early epoch",
        "[0, inf)",
        "Paul et al. 2021 (NeurIPS)",
        "grand",
    ),
    _dynamics_row(
        "data_map_confidence",
        "1 - mean over epochs of p_g",
        "[0, 1]",
        "Swayamdipta et al. 2020 (EMNLP)",
        _data_map_confidence,
    ),
    _dynamics_row(
        "data_map_variability",
        "standard deviation over epochs of p_g",
        "[0, 1/2]",
        "Swayamdipta et al. 2020 (EMNLP)",
        "variability",
    ),
    _dynamics_row(
        "first_learned",
        "the first epoch that is right; never: epochs + 1",
        "[1, epochs + 1]",
        "Toneva et al. 2019 (ICLR)",
        "first_learned",
    ),
    _dynamics_row(
        "vog",
        "spread over epochs of d z_g / d pixels, standardised in its class",
        "(-inf, inf)",
        "Agarwal et al. 2022 (CVPR)",
        "vog",
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
