"""What some of the networks behind an evidence would have said: scores by a part of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._validate import Floats
from ambigmnist.definitions import Definition, check, scores
from ambigmnist.errors import ArgumentError, DTypeError
from ambigmnist.evidence import AXES, Evidence, as_evidence

__all__ = ["Opinions", "as_audits"]

F64 = NDArray[np.float64]

_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)  # stands for a probability of 0
_OF_NETWORKS = {"probs", "logits", "members", "mc", "draws"}
_OF_SEVERAL = {"members", "mc", "draws"}


class Opinions:
    """The networks of an evidence, or its passes with dropout where the networks are not known.

    Attributes
    ----------
    count : int
    unit : {"networks", "passes"}
    fewest : int
        How many a score can be of: definitions of several opinions need two.
    """

    def __init__(self, ev: Evidence, record: Definition, what: str, *, halves: bool) -> None:
        """`halves`: scores are asked for of halves of them, not only of all but one."""
        check(ev, record)
        needs = set(record.needs)
        if needs and not needs & _OF_NETWORKS:
            raise ArgumentError(
                f"{what}: expected a definition of what each network says, got {record.name!r}, "
                f"of {', '.join(record.needs)}, which is not kept network by network: "
                "pass several audits of other seeds instead"
            )
        self.fewest = 2 if needs & _OF_SEVERAL else 1
        least = 2 * self.fewest if halves else self.fewest + 1
        members = 0 if ev.members is None else len(ev.members)
        passes = 0 if ev.mc is None else len(ev.mc)
        if max(members, passes) < least:
            raise ArgumentError(
                f"{what}: expected at least {least} networks, or passes with dropout, for "
                f"{record.name!r}, got {members} and {passes}: "
                f"take audit(members={max(3, least)}), or pass several audits of other seeds"
            )
        self._ev, self._record = ev, record
        # Passes that are not equally many of each network cannot be told apart by network.
        by_network = members >= least and passes % members == 0
        self.unit = "networks" if by_network or passes < least else "passes"
        self.count = members if self.unit == "networks" else passes

    def scores(self, which: Sequence[int]) -> F64:
        """By these of them alone, (n,)."""
        return scores(self._evidence(which), self._record)

    def _evidence(self, which: Sequence[int]) -> Evidence:
        ev, by_network = self._ev, self.unit == "networks"
        stack = ev.members if by_network else ev.mc
        assert stack is not None
        total = np.zeros(stack.shape[1:])
        for one in which:
            total += stack[one]
        part = object.__new__(Evidence)
        for name in (*AXES, "classes", "provenance"):
            setattr(part, name, getattr(ev, name))
        part.probs = total / len(which)
        # From 1 - p nothing would be left of the scores of images that all networks are sure of.
        part.logits = _ambigcore.elementary("log", np.maximum(part.probs, _SMALLEST))
        if set(self._record.needs) & _OF_SEVERAL or not self._record.needs:
            part.members = _taken(ev.members, which) if by_network else ev.members
            part.mc = _taken(ev.mc, _passes_of(which, self.count, ev.mc))
        part._freeze()
        return part


def _taken(stack: Floats | None, which: Sequence[int]) -> Floats | None:
    return None if stack is None else stack[list(which)]


def _passes_of(which: Sequence[int], count: int, mc: Floats | None) -> list[int]:
    """Of these networks; an audit keeps as many passes of each, one network after the other."""
    each = (0 if mc is None else len(mc)) // count
    return [one * each + i for one in which for i in range(each)]


def as_audits(audits: Any, what: str, first: Evidence | None = None) -> list[Evidence]:
    """Several evidences of the same images, `first` in front; an error where they are not."""
    if isinstance(audits, Evidence | str) or not isinstance(audits, Sequence):
        raise DTypeError(
            f"{what}: expected a list of Evidence, of audits with other seeds, "
            f"got {type(audits).__name__}"
        )
    found = [] if first is None else [first]
    found += [as_evidence(ev, f"{what}[{i}]") for i, ev in enumerate(audits)]
    if len(found) < 2:
        raise ArgumentError(
            f"{what}: expected at least {2 - (first is not None)} audits, got {len(audits)}: "
            "take audit(seed=1)"
        )
    for other in found[1:]:
        check_same_images(found[0], other, what)
    return found


def check_same_images(a: Evidence, b: Evidence, what: str) -> None:
    """ArgumentError where two evidences cannot be of the same images in the same order."""
    if a.n != b.n:
        raise ArgumentError(
            f"{what}: expected evidence of the same images, got {a.n} and {b.n}: "
            "take the same images in the same order"
        )
    if a.images is None or b.images is None or a.images is b.images:
        return
    if a.images.shape != b.images.shape or not np.array_equal(a.images, b.images):
        raise ArgumentError(
            f"{what}: expected evidence of the same images, got other pixels: "
            "take the same images in the same order"
        )
