"""The review file: decisions about the images of one data set, as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist._files import PathLike, as_path, atomic_write, read_bytes
from ambigmnist._idx import idx_bytes
from ambigmnist._tables import Listing, few
from ambigmnist._validate import as_images
from ambigmnist.datasets import Dataset
from ambigmnist.errors import ArgumentError, DataError, DTypeError
from ambigmnist.evidence import Evidence

__all__ = ["VERDICTS", "Decision", "Pin", "Review", "load_review"]

SCHEMA, VERSION = "ambigmnist.review", 1
VERDICTS = ("keep", "relabel", "ambiguous", "unreadable", "skip")
LONGEST_NOTE, LONGEST_NAME = 2000, 200
_SUM = 1e-6  # by which weights may miss 1


@dataclass(frozen=True)
class Pin:
    """Which data the decisions are about.

    Attributes
    ----------
    name : str
    n : int
    shape : tuple of int
        Of one image.
    classes : tuple of str
        Names, in the order that the numbers of labels mean.
    images_sha256, labels_sha256 : str
        Of the images, and of the labels as numbers of classes, written as IDX files.
    """

    name: str
    n: int
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    images_sha256: str
    labels_sha256: str

    def to_json(self) -> dict[str, Any]:
        """The object of the file."""
        return {
            "name": self.name,
            "n": self.n,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "images_sha256": self.images_sha256,
            "labels_sha256": self.labels_sha256,
        }

    @staticmethod
    def of(dataset: Dataset) -> Pin:
        """The pin of a data set with labels."""
        if not isinstance(dataset, Dataset):
            raise DTypeError(
                f"dataset: expected a Dataset, got {type(dataset).__name__}: "
                "wrap arrays as am.Dataset(images, labels)"
            )
        if dataset.labels is None or dataset.classes is None:
            raise ArgumentError("dataset: expected labels, got none: pass labels= to Dataset")
        return _pin(dataset.name, dataset.images, dataset.classes, label_numbers(dataset))

    @staticmethod
    def of_evidence(ev: Evidence, name: str = "") -> Pin:
        """The pin of the data set that an evidence with images and labels is about."""
        if ev.images is None:
            raise ArgumentError("images: expected an evidence with them: pass images= to Evidence")
        return _pin(name, ev.images, ev.classes, ev.given_index)


def _pin(name: str, images: NDArray[Any], classes: NDArray[Any], labels: NDArray[Any]) -> Pin:
    """The same for grey images with and without an axis of channels."""
    images = as_images(images)
    images = images[..., 0] if images.shape[3] == 1 else images
    return Pin(
        name,
        len(images),
        images.shape[1:],
        tuple(map(str, classes.tolist())),
        hashlib.sha256(idx_bytes(images)).hexdigest(),
        labels_sha256(labels),
    )


def label_numbers(dataset: Dataset) -> NDArray[np.int64]:
    """The labels as places in `classes`, (n,)."""
    assert dataset.labels is not None
    assert dataset.classes is not None
    order = np.argsort(dataset.classes, kind="stable")
    numbers: NDArray[np.int64] = order[np.searchsorted(dataset.classes[order], dataset.labels)]
    return numbers


def labels_sha256(numbers: NDArray[np.int64]) -> str:
    return hashlib.sha256(idx_bytes(numbers)).hexdigest()


@dataclass(frozen=True)
class Decision:
    """What one person decided about one image.

    Attributes
    ----------
    index : int
        Of the image.
    given : int
        The label when it was judged, as a place in the classes.
    verdict : str
        "keep", "relabel", "ambiguous", "unreadable" or "skip".
    labels : tuple of int
        keep: the label; relabel: the new one; ambiguous: the readings, likelier first; else none.
    weights : tuple of float, optional
        Of the readings of an ambiguous image, summing to 1; without them all weigh the same.
    note : str
    blind : bool
        Whether the prediction was hidden until then.
    control : bool
        Whether it is a plain image that was mixed in.
    ms : int, optional
        Time from shown to judged.
    at : str
        When, RFC 3339.
    more : dict
        Fields of the file that are not known here; they are written back.
    """

    index: int
    given: int
    verdict: str
    labels: tuple[int, ...] = ()
    weights: tuple[float, ...] | None = None
    note: str = ""
    blind: bool = False
    control: bool = False
    ms: int | None = None
    at: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> int:
        """The label after the decision: the new one of "relabel", otherwise the given one."""
        return self.labels[0] if self.verdict == "relabel" else self.given

    def to_json(self) -> dict[str, Any]:
        """The object of the file."""
        fields: dict[str, Any] = {
            "index": self.index,
            "given": self.given,
            "verdict": self.verdict,
            "labels": list(self.labels),
        }
        if self.weights is not None:
            fields["weights"] = list(self.weights)
        fields |= {
            "note": self.note,
            "blind": self.blind,
            "control": self.control,
            "ms": self.ms,
            "at": self.at,
        }
        return fields | self.more


@dataclass(frozen=True, repr=False)
class Review(Listing):
    """Decisions of one person about the images of one data set; made by `load_review`.

    Attributes
    ----------
    dataset : Pin
        Which data they are about.
    reviewer : str
    decisions : tuple of Decision
        By index, at most one of an image.
    history : tuple of dict
        Superseded and repeated judgements, as in the file.
    more : dict
        The other fields of the file; they are written back.
    """

    dataset: Pin
    reviewer: str
    decisions: tuple[Decision, ...]
    history: tuple[dict[str, Any], ...] = ()
    more: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.decisions)

    def counts(self) -> dict[str, int]:
        """How many images have each verdict."""
        return {name: sum(d.verdict == name for d in self.decisions) for name in VERDICTS}

    def to_json(self) -> dict[str, Any]:
        """The object of the file."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "dataset": self.dataset.to_json(),
            "reviewer": self.reviewer,
            "decisions": [decision.to_json() for decision in self.decisions],
            "history": list(self.history),
        } | self.more

    def save(self, path: PathLike) -> None:
        """Writes the file, complete or not at all; the same review gives the same bytes.

        Raises
        ------
        FileError
        """
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1, allow_nan=False)
        atomic_write(as_path(path), text.encode() + b"\n")

    def to_frame(self) -> Any:
        """A pandas DataFrame of the decisions, see `ambigmnist.interop.review_columns`."""
        from ambigmnist.interop.tables import review_columns
        from ambigmnist.ranking import data_frame

        return data_frame(review_columns(self))

    def to_csv(self, path: PathLike) -> None:
        """Writes the columns of `to_frame`, complete or not at all; see `Ranking.to_csv`."""
        from ambigmnist.interop.tables import review_columns
        from ambigmnist.ranking import write_csv

        write_csv(path, review_columns(self))

    def _title(self) -> str:
        listed = ", ".join(f"{count} {name}" for name, count in self.counts().items() if count)
        by = f" by {self.reviewer}" if self.reviewer else ""
        return f"{len(self)} of {self.dataset.n} images{by}" + (f": {listed}" if listed else "")

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        names = self.dataset.classes
        return ("index", "label", "verdict", "labels", "note"), [
            (
                f"{d.index:>5}",
                names[d.given],
                d.verdict,
                " ".join(names[label] for label in d.labels),
                d.note.replace("\n", " ")[:60],
            )
            for d in self.decisions[: few(len(self))]
        ]


def load_review(path: PathLike) -> Review:
    """Reads a review file, as the page exports it; all of it is checked.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    Review

    Raises
    ------
    DataNotFoundError, FileError
        No such file; it cannot be read.
    DataError
        Not a review file, truncated, of a newer version, or a field makes no sense: the message
        names it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import ambigmnist as am
    >>> from ambigmnist.review import Decision, Pin, Review
    >>> train, test = am.load_digits()
    >>> given = int(test.labels[7])
    >>> judged = (Decision(7, given, "relabel", (3,), at="2026-01-01T00:00:00Z"),)
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "review.json"
    >>> Review(Pin.of(test), "me", judged).save(path)
    >>> am.load_review(path).counts()["relabel"]
    1
    >>> folder.cleanup()
    """
    path = as_path(path)
    try:
        raw = json.loads(read_bytes(path).decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start}: expected UTF-8 text, got something else"
        ) from None
    except RecursionError:
        raise DataError(f"{path}: expected a review file, got JSON nested too deep") from None
    except ValueError as error:
        raise DataError(f"{path}: expected a complete JSON file, got: {error}") from None
    return _Reader(str(path)).review(raw)


def _no_constant(word: str) -> None:
    raise ValueError(f"{word}, which JSON does not know")


class _Reader:
    """Checks every field and says where one is wrong."""

    def __init__(self, name: str) -> None:
        self._name = name

    def review(self, raw: Any) -> Review:
        if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
            got = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
            raise self._error("schema", f"{SCHEMA!r}, a review file", got)
        version = self._get(raw, "version", _is_int, "a whole number")
        if version > VERSION:
            raise self._error("version", f"at most {VERSION}: update ambigmnist", version)
        if version < 1:
            raise self._error("version", "at least 1", version)
        pin = self._pin(self._get(raw, "dataset", _is_dict, "an object"))
        reviewer = self._get(raw, "reviewer", _is_text(LONGEST_NAME), f"{LONGEST_NAME} characters")
        listed = self._get(raw, "decisions", _is_list, "a list")
        decisions = [self._decision(d, f"decisions[{i}]", pin) for i, d in enumerate(listed)]
        seen: dict[int, int] = {}
        for i, decision in enumerate(decisions):
            first = seen.setdefault(decision.index, i)
            if first != i:
                raise self._error(
                    f"decisions[{i}].index",
                    f"another image than decisions[{first}], one decision per image",
                    decision.index,
                )
        history = self._get(raw, "history", _is_list, "a list", [])
        for i, past in enumerate(history):
            self._decision(past, f"history[{i}]", pin)
        known = {"schema", "version", "dataset", "reviewer", "decisions", "history"}
        return Review(
            pin,
            reviewer,
            tuple(sorted(decisions, key=lambda d: d.index)),
            tuple(history),
            {key: value for key, value in raw.items() if key not in known},
        )

    def _pin(self, raw: dict[str, Any]) -> Pin:
        n = self._get(raw, "n", _is_int, "a whole number", at="dataset.")
        shape = self._get(raw, "shape", _is_list, "a list", at="dataset.")
        classes = self._get(raw, "classes", _is_list, "a list", at="dataset.")
        if n < 0:
            raise self._error("dataset.n", "at least 0", n)
        if not all(_is_int(side) and side >= 0 for side in shape):
            raise self._error("dataset.shape", "whole numbers", shape)
        if not all(isinstance(name, str) for name in classes) or len(set(classes)) != len(classes):
            raise self._error("dataset.classes", "names, each once", classes)
        hashes = [
            self._get(raw, key, _is_digest, "64 hexadecimal digits", at="dataset.")
            for key in ("images_sha256", "labels_sha256")
        ]
        name = self._get(raw, "name", _is_text(LONGEST_NAME), "a name", "", at="dataset.")
        return Pin(name, n, tuple(shape), tuple(classes), *hashes)

    def _decision(self, raw: Any, at: str, pin: Pin) -> Decision:
        if not isinstance(raw, dict):
            raise self._error(at, "an object", raw)
        at += "."
        k = len(pin.classes)
        index = self._get(raw, "index", _is_int, "a whole number", at=at)
        if not 0 <= index < pin.n:
            raise self._error(at + "index", f"0..{pin.n - 1}", index)
        given = self._get(raw, "given", _is_int, "a whole number", at=at)
        verdict = self._get(raw, "verdict", VERDICTS.__contains__, ", ".join(VERDICTS), at=at)
        labels = self._get(raw, "labels", _is_list, "a list", at=at)
        for label in (given, *labels):
            if not (_is_int(label) and 0 <= label < k):
                raise self._error(at + "labels", f"places in the {k} classes", label)
        fits, expected = {
            "keep": (labels == [given], f"[{given}], the label that is kept"),
            "relabel": (len(labels) == 1 and labels != [given], f"one label other than {given}"),
            "ambiguous": (len(labels) >= 2 and len(set(labels)) == len(labels), "two or more"),
            "unreadable": (labels == [], "none"),
            "skip": (labels == [], "none"),
        }[verdict]
        if not fits:
            raise self._error(at + "labels", f"{expected} (verdict {verdict})", labels)
        decision = Decision(
            index,
            given,
            verdict,
            tuple(labels),
            self._weights(raw, at, verdict, len(labels)),
            self._get(raw, "note", _is_text(LONGEST_NOTE), f"{LONGEST_NOTE} characters", "", at=at),
            self._get(raw, "blind", _is_bool, "true or false", False, at=at),
            self._get(raw, "control", _is_bool, "true or false", False, at=at),
            self._get(
                raw, "ms", _is_count_or_none, "a number of milliseconds or null", None, at=at
            ),
            self._get(raw, "at", _is_time, "a time as 2026-01-31T12:00:00Z", at=at),
        )
        known = {*decision.to_json(), "weights"}
        decision.more.update((key, value) for key, value in raw.items() if key not in known)
        return decision

    def _weights(
        self, raw: dict[str, Any], at: str, verdict: str, count: int
    ) -> tuple[float, ...] | None:
        weights = self._get(
            raw, "weights", lambda w: w is None or _is_list(w), "a list", None, at=at
        )
        if weights is None:
            return None
        sound = verdict == "ambiguous" and len(weights) == count
        sound = sound and all(_is_number(w) and 0 <= w <= 1 for w in weights)
        if not sound or abs(sum(weights) - 1) > _SUM:
            raise self._error(
                at + "weights", "one per reading of an ambiguous image, summing to 1", weights
            )
        return tuple(map(float, weights))

    def _get(
        self,
        raw: dict[str, Any],
        key: str,
        fits: Callable[[Any], bool],
        expected: str,
        default: Any = ...,
        *,
        at: str = "",
    ) -> Any:
        value = raw.get(key, default)
        if value is ...:
            raise self._error(at + key, expected, "nothing", literal=True)
        if not (key not in raw or fits(value)):
            raise self._error(at + key, expected, value)
        return value

    def _error(self, where: str, expected: str, got: Any, *, literal: bool = False) -> DataError:
        shown = got if literal else repr(got)
        if len(shown) > 80:
            shown = shown[:79] + "…"
        return DataError(f"{self._name}: {where}: expected {expected}, got {shown}")


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_count_or_none(value: Any) -> bool:
    return value is None or (_is_int(value) and value >= 0)


def _is_text(longest: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and len(value) <= longest


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False
