"""Why an image has its verdict, in words."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ambigmnist.evidence import NEIGHBOURS, Evidence

__all__ = ["Facts", "reason"]

SHOWN = 5  # neighbours whose labels are told
FAR = 0.9  # of the images are nearer to their nearest: worth a word


class Facts:
    """What reasons are made of, of every image of an evidence; looked up when asked for."""

    def __init__(self, ev: Evidence) -> None:
        self._ev = ev

    @cached_property
    def _nearest(self) -> NDArray[np.void] | None:
        ev = self._ev
        if ev.n < 2 or not ev.has("nearest"):
            return None
        known = NEIGHBOURS if ev.nearest is None else ev.nearest.shape[1]
        return ev.nearest_others(min(known, NEIGHBOURS))

    @cached_property
    def _far(self) -> NDArray[np.float64]:
        """The share of the other images that are nearer to their nearest, (n,)."""
        assert self._nearest is not None
        distance = self._nearest["distance"].mean(axis=1)
        nearer: NDArray[np.intp] = np.searchsorted(np.sort(distance), distance)
        share: NDArray[np.float64] = nearer / (self._ev.n - 1)
        return share

    def label(self, i: int) -> str:
        return str(self._ev.given[i])

    def reading(self, i: int) -> tuple[str, float]:
        """What it reads as, and with which probability."""
        column = self._ev.predicted_index[i]
        return str(self._ev.classes[column]), float(self._ev.probs[i, column])

    def second(self, i: int) -> tuple[str, float]:
        row = np.array(self._ev.probs[i], np.float64)
        row[self._ev.predicted_index[i]] = -1.0
        column = int(row.argmax())
        return str(self._ev.classes[column]), float(max(row[column], 0.0))

    def p_label(self, i: int) -> float:
        return float(self._ev.probs[i, self._ev.given_index[i]])

    def networks(self, i: int) -> str:
        """Which readings the networks vote for: ``"3 of 3 networks agree"``."""
        members = self._ev.members
        if members is None or len(members) < 2:
            return ""
        votes = members[:, i].argmax(axis=1)
        first = self._ev.predicted_index[i]
        agree = int((votes == first).sum())
        if agree == len(votes):
            return f"{agree} of {agree} networks agree"
        others = " ".join(str(self._ev.classes[v]) for v in votes if v != first)
        return f"{agree} of {len(votes)} networks agree (others: {others})"

    def neighbours(self, i: int) -> str:
        if self._nearest is None or self._nearest.shape[1] == 0:
            return ""
        labels = self._ev.classes[self._nearest["label"][i, :SHOWN]]
        return "nearest neighbours " + " ".join(map(str, labels.tolist()))

    def unlike(self, i: int) -> str:
        if self._nearest is None or self._nearest.shape[1] == 0 or self._far[i] < FAR:
            return ""
        return f"farther from its nearest than {self._far[i] * 100:.1f} % of the images"


def reason(facts: Facts, i: int, verdict: str) -> str:
    """One line: first what speaks for the verdict most."""
    label = facts.label(i)
    reading, p = facts.reading(i)
    other, q = facts.second(i)
    reads = f"reads {reading} at {_p(p)}"
    match verdict:
        case "mislabelled":
            parts = [f"labelled {label}", reads, facts.networks(i), facts.neighbours(i)]
        case "ambiguous":
            parts = [
                f"{reading} or {other}: {reads}, {other} at {_p(q)}",
                f"labelled {label}",
                facts.networks(i),
                facts.neighbours(i),
            ]
        case "model_weak":
            rival, r = (other, q) if reading == label else (label, facts.p_label(i))
            parts = [
                f"labelled {label}",
                f"{reads}, {rival} at {_p(r)}",
                facts.networks(i),
                facts.neighbours(i),
            ]
        case "unreadable":
            parts = [
                f"{reads}, {other} at {_p(q)}, others at {_p(max(1 - p - q, 0.0))}",
                f"labelled {label}",
                facts.networks(i),
                facts.neighbours(i),
                facts.unlike(i),
            ]
        case _:
            parts = [f"labelled {label}", reads, facts.networks(i), facts.neighbours(i)]
    return ", ".join(part for part in parts if part)


def _p(p: float) -> str:
    """Three digits, and never 1.000 for what is not certain."""
    return f"{min(p, 0.999):.3f}" if p < 1 else "1"
