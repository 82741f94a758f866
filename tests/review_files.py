"""Review files, good and bad: one table for `load_review` and for the page's import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NOTE = 'a "note" <script>alert(1)</script> =1+1 \u202eright to left 🦓'


def sound(dataset: dict[str, Any], given: list[int]) -> dict[str, Any]:
    """A review of the first images, of every verdict; `given`: the labels of all images."""
    at = "2026-01-31T12:00:00.000Z"
    k = len(dataset["classes"])

    def decision(index: int, verdict: str, labels: list[int], **more: Any) -> dict[str, Any]:
        return {
            "index": index, "given": given[index], "verdict": verdict, "labels": labels,
            "note": "", "blind": True, "control": False, "ms": 900, "at": at, **more,
        }  # fmt: skip

    other = [(label + 1) % k for label in given]
    return {
        "schema": "ambigmnist.review",
        "version": 1,
        "created": at,
        "updated": at,
        "dataset": dataset,
        "reviewer": "somebody",
        "decisions": [
            decision(0, "keep", [given[0]], note=NOTE),
            decision(1, "relabel", [other[1]]),
            decision(2, "ambiguous", [given[2], other[2]], weights=[0.75, 0.25]),
            decision(3, "unreadable", [], ms=None),
            decision(4, "skip", []),
        ],
        "history": [decision(1, "keep", [given[1]], undone=True)],
        "of a later version": {"kept": True},
    }


def _changed(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets the field at `path` ("decisions.0.note"); None removes it."""
    *parents, last = path.split(".")

    def change(review: Any) -> None:
        for key in parents:
            review = review[int(key) if key.isdigit() else key]
        if value is None:
            del review[last]
        else:
            review[last] = value

    return change


# What is changed, what `load_review` says, what the page says; either may say more.
BAD: list[tuple[str, Callable[[dict[str, Any]], None], str, str]] = [
    ("schema", _changed("schema", "something"), "schema", "not a review file"),
    ("no schema", _changed("schema", None), "schema", "not a review file"),
    ("newer", _changed("version", 2), "update ambigmnist", "it has version 2"),
    ("version 0", _changed("version", 0), "version", "version is 0"),
    ("version text", _changed("version", "1"), "version", "version is 1"),
    ("no reviewer", _changed("reviewer", None), "reviewer", "who reviewed"),
    ("long reviewer", _changed("reviewer", "x" * 201), "reviewer", "who reviewed"),
    ("no decisions", _changed("decisions", None), "decisions", "no decisions"),
    ("decisions", _changed("decisions", {"0": 1}), "decisions", "no decisions"),
    ("decision", _changed("decisions", [3]), "decisions[0]", "not valid"),
    ("twice", _changed("decisions.1.index", 0), "decisions[1]", "image 0 twice"),
    ("beyond", _changed("decisions.1.index", 10**6), "index", "image 1000000 is not valid"),
    ("negative", _changed("decisions.1.index", -1), "index", "image -1 is not valid"),
    ("half", _changed("decisions.1.index", 1.5), "index", "image 1.5 is not valid"),
    ("no label", _changed("decisions.1.labels", []), "labels", "not valid"),
    ("kept other", _changed("decisions.0.labels", [99]), "labels", "not valid"),
    ("one reading", _changed("decisions.2.labels", [1]), "labels", "not valid"),
    ("verdict", _changed("decisions.0.verdict", "wrong"), "verdict", "not valid"),
    ("label of skip", _changed("decisions.4.labels", [1]), "labels", "not valid"),
    ("weights", _changed("decisions.2.weights", [0.5, 0.6]), "weights", "not valid"),
    ("weight", _changed("decisions.2.weights", [1.0]), "weights", "not valid"),
    ("weights of keep", _changed("decisions.0.weights", [1.0]), "weights", "not valid"),
    ("long note", _changed("decisions.0.note", "x" * 2001), "note", "not valid"),
    ("note", _changed("decisions.0.note", 7), "note", "not valid"),
    ("blind", _changed("decisions.0.blind", "yes"), "blind", "not valid"),
    ("ms", _changed("decisions.0.ms", -3), "ms", "not valid"),
    ("time", _changed("decisions.0.at", "yesterday"), "at", "not valid"),
    ("no time", _changed("decisions.0.at", None), "at", "not valid"),
    ("no zone", _changed("decisions.0.at", "2026-01-31T12:00:00"), "at", "not valid"),
    ("history", _changed("history", [{"index": 0}]), "history", "history is not valid"),
]
# Files that are no review of anything.
BROKEN = [b"", b"{", b"[]", b"null", b'"x"', b'{"schema": NaN}']
