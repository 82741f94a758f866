"""How tables and pictures say that a network was fitted to the images they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ambigmnist.definitions import Definition
    from ambigmnist.evidence import Evidence, Indices

__all__ = [
    "LEGEND",
    "MARK",
    "SOME",
    "WHILE_TRAINED",
    "definition_note",
    "explained",
    "legend",
    "mark",
    "share",
]

MARK = "*"
LEGEND = f"{MARK} in sample: the network was fitted to this image"
SOME = "in sample: network fitted to some of these images"
WHILE_TRAINED = "in sample: of images while the network was trained on them"


def mark(ev: Evidence, index: int) -> str:
    """`MARK` for an image that the network was fitted to, nothing where it was not or who knows."""
    return MARK if ev.in_sample is not None and ev.in_sample[index] else ""


def legend(ev: Evidence, shown: Indices) -> str:
    """What `mark` means, where it is at any of the images shown."""
    return LEGEND if any(mark(ev, index) for index in shown.tolist()) else ""


def share(ev: Evidence, rows: Indices | None = None) -> str:
    """How many of all images, or of some, the network was fitted to; nothing where to none."""
    if ev.in_sample is None:
        return ""
    shown = ev.in_sample if rows is None else ev.in_sample[rows]
    number = int(shown.sum())
    return f"in sample: {number:,} of {len(shown):,} images" if number else ""


def explained(ev: Evidence, rows: Indices | None = None) -> str:
    """`share`, and what it means."""
    text = share(ev, rows)
    return f"{text} (the network was fitted to them)" if text else ""


def definition_note(definition: Definition) -> str:
    """For titles: whether scores by it are always in sample."""
    return f" ({WHILE_TRAINED})" if definition.in_sample else ""
