"""Planted truth: wrong labels, two-way and unreadable images, made on purpose and written down."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _morph
from ambigmnist._files import PathLike, as_path, read_bytes
from ambigmnist._names import suggest
from ambigmnist._tables import Listing, few
from ambigmnist._validate import as_array, as_int
from ambigmnist.datasets import Dataset
from ambigmnist.errors import ArgumentError, DataError, DTypeError, ShapeError
from ambigmnist.evidence import Indices

__all__ = ["KINDS", "Truth", "plant"]

Floats = NDArray[np.float64]

KINDS = ("none", "flip", "blend", "occlusion", "noise")
FLIPS = ("uniform", "pairs", "instance")
MORPHS = {
    "pixel": _morph.pixel_blend,
    "elastic": _morph.elastic_blend,
    "sharp": _morph.sharp_blend,
}
WEAK_EPOCHS = 10
_BLOCK = 512  # images that are morphed at a time


class Truth(Listing):
    """What was done to which image; made by `plant`.

    Attributes
    ----------
    kind : (n,) str
        "none", "flip", "blend", "occlusion" or "noise".
    labels : (n,)
        The labels as they are now.
    original : (n,)
        The labels before; other ones where `kind` is "flip".
    partner : (n,) intp
        The image that was blended in; -1 where none was.
    weight : (n,) float64
        How much of the image itself is in a blend; NaN elsewhere.
    morph : (n,) str
        "pixel", "elastic" or "sharp" of a blend, "" elsewhere.
    """

    def __init__(
        self,
        kind: NDArray[np.str_],
        labels: NDArray[Any],
        original: NDArray[Any],
        partner: Indices,
        weight: Floats,
        morph: NDArray[np.str_],
    ) -> None:
        self.kind = kind
        self.labels = labels
        self.original = original
        self.partner = partner
        self.weight = weight
        self.morph = morph
        for array in self._columns().values():
            array.flags.writeable = False

    def _columns(self) -> dict[str, NDArray[Any]]:
        names = ("kind", "labels", "original", "partner", "weight", "morph")
        return {name: getattr(self, name) for name in names}

    def __len__(self) -> int:
        return len(self.kind)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """`mask()`: whether anything was done to an image."""
        return np.asarray(self.mask(), dtype)

    def mask(self, *kinds: str) -> NDArray[np.bool_]:
        """Which images have one of the kinds, (n,); without any: those that are not "none"."""
        for kind in kinds:
            if kind not in KINDS:
                raise ArgumentError(f"kind: unknown {kind!r}" + suggest(kind, KINDS))
        return np.isin(self.kind, kinds) if kinds else self.kind != "none"

    @property
    def other(self) -> NDArray[Any]:
        """Of a blend the second reading, of a flip the label before; else the label itself."""
        other = self.original.copy()
        blended = self.partner >= 0
        other[blended] = self.original[self.partner[blended]]
        return other

    def to_csv(self, path: PathLike) -> None:
        """Writes a row per image: complete, or not at all. `Truth.from_csv` reads it."""
        from ambigmnist.ranking import write_csv

        write_csv(path, {"index": np.arange(len(self)), **self._columns()})

    @classmethod
    def from_csv(cls, path: PathLike) -> Truth:
        """Reads what `to_csv` wrote.

        Raises
        ------
        DataNotFoundError, FileError, DataError
            No such file; it cannot be read; not a table of this kind (the line is named).
        """
        return _read(path)

    def _title(self) -> str:
        counts = {kind: int((self.kind == kind).sum()) for kind in KINDS[1:]}
        listed = ", ".join(f"{kind} {count}" for kind, count in counts.items() if count)
        return f"{len(self)} images, planted: {listed or 'nothing'}"

    def _planted(self) -> Indices:
        return np.flatnonzero(self.mask())

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        planted = self._planted()
        return (" index", "planted", "label", "what was done"), [
            (f"{i:>6}", self.kind[i], str(self.labels[i]), self._what(i))
            for i in planted[: few(len(planted))]
        ]

    def _more(self) -> str:
        left = len(self._planted()) - few(len(self._planted()))
        return f"... {left} more" if left else ""

    def _what(self, i: int) -> str:
        if self.kind[i] == "flip":
            return f"was {self.original[i]}"
        if self.kind[i] == "blend":
            return f"{self.weight[i]:.2f} of it, with {self.other[i]} ({self.morph[i]})"
        return ""


def plant(
    dataset: Dataset,
    *,
    flips: float = 0.0,
    flip: str | ArrayLike = "uniform",
    blends: float = 0.0,
    weights: tuple[float, float] = (0.35, 0.65),
    morph: str = "both",
    occlusions: float = 0.0,
    noises: float = 0.0,
    seed: int = 0,
    threads: int | None = None,
) -> tuple[Dataset, Truth]:
    """Makes some labels wrong and some images unclear, and tells which, to test against.

    At most one thing is done to an image; which images, is drawn with the seed.

    Parameters
    ----------
    dataset : Dataset
        With labels, of at least two classes.
    flips, blends, occlusions, noises : int or float
        How many: a number of images, or a share of all below 1.
    flip : str or array_like (k, k)
        How labels are flipped.

        - "uniform": every other class is as likely.
        - "pairs": to the next class, the last to the first.
        - "instance": as a person might err. A weak network, trained on 1 % of the images (10 per
          class to 1,000 in all), draws a label for each of the others from its probabilities; of
          those that it got wrong in this way as many as are asked for are taken. Images that are
          hard to read are flipped more often, to what they look like.
        - an array: row i has the likelihoods of a flip from class i to each class, in the order of
          the classes; the diagonal is not looked at. Images of rows with larger sums are flipped
          more often.
    weights : (float, float)
        Between these lies the share of the image itself in a blend, uniformly.
    morph : {"both", "pixel", "elastic", "sharp"}
        How an image of another class is blended in: "pixel" lays one over the other, "elastic"
        bends the strokes of both to a shape between them, "both" takes turns with these. "sharp"
        is elastic in the ink of both, without grey: hardest to tell from an image that was drawn
        so. The label stays.
    occlusions : int or float
        A bar hides 60 to 80 % of the ink.
    noises : int or float
        70 to 90 % of the pixels change places.
    seed : int
    threads : int, optional
        Of the weak network; results do not depend on it.

    Returns
    -------
    dataset : Dataset
    truth : Truth

    Raises
    ------
    ArgumentError, DTypeError, ShapeError
        No labels, a single class, more than there are images, rates and names that make no sense.

    References
    ----------
    Uniform and pair flips: Han et al. 2018 (NeurIPS), Co-teaching. Instance-dependent: Gu et al.
    2021, arXiv:2106.15853. Demons: Thirion 1998.

    Examples
    --------
    >>> import ambigmnist as am
    >>> train, test = am.load_digits()
    >>> planted, truth = am.plant(test, flips=0.01, blends=4, seed=1)
    >>> truth.mask("flip").sum(), truth.mask("blend").sum()
    (np.int64(9), np.int64(4))
    >>> bool((planted.labels != test.labels).sum() == 9)
    True
    """
    columns, classes = _labelled(dataset)
    n = len(columns)
    counts = {
        name: _count(value, n, name)
        for name, value in {
            "flips": flips, "blends": blends, "occlusions": occlusions, "noises": noises,
        }.items()
    }  # fmt: skip
    if sum(counts.values()) > n:
        raise ArgumentError(
            f"plant: expected at most {n} images in all, one thing each, "
            f"got {sum(counts.values())}: {counts}"
        )
    low, high = _weights(weights)
    if morph not in ("both", *MORPHS):
        raise ArgumentError(f"morph: unknown {morph!r}" + suggest(morph, ("both", *MORPHS)))
    # A stream of numbers for each thing, so that more of one changes no other.
    streams = np.random.SeedSequence(as_int(seed, "seed", least=0)).spawn(5)
    random = [np.random.Generator(np.random.Philox(stream)) for stream in streams]
    likelihood = _likelihoods(flip, dataset, columns, len(classes), seed, threads)
    flipped, new = _flip(likelihood, columns, counts["flips"], random[0])
    order = np.argsort(random[1].random(n))
    rest = order[~np.isin(order, flipped)]
    ends = np.cumsum([counts["blends"], counts["occlusions"], counts["noises"]])
    blended, hidden, scattered, _ = np.split(rest, ends)

    kind = np.full(n, "none", "U9")
    for rows, name in zip((flipped, blended, hidden, scattered), KINDS[1:], strict=True):
        kind[rows] = name
    labels = np.array(dataset.labels)
    labels[flipped] = classes[new]
    partner, weight, morphs = _partners(columns, blended, (low, high), morph, random[2])
    images = np.array(dataset.images)
    _change(images, blended, partner, weight, morphs, dataset.images)
    _make_unreadable(images, hidden, _morph.hide, random[3])
    _make_unreadable(images, scattered, _morph.scatter, random[4])
    planted = Dataset(images, labels, classes=classes, name=dataset.name, split=dataset.split)
    assert dataset.labels is not None
    return planted, Truth(kind, labels, np.array(dataset.labels), partner, weight, morphs)


def _labelled(dataset: Dataset) -> tuple[Indices, NDArray[Any]]:
    """The column of every label, and the classes."""
    if not isinstance(dataset, Dataset):
        raise DTypeError(
            f"dataset: expected a Dataset, got {type(dataset).__name__}: "
            "wrap arrays as am.Dataset(images, labels)"
        )
    if dataset.labels is None or dataset.classes is None:
        raise ArgumentError("dataset: expected labels, this has none")
    if len(dataset.classes) < 2:
        raise ArgumentError(f"dataset: expected at least two classes, got {len(dataset.classes)}")
    order = np.argsort(dataset.classes)
    at = np.searchsorted(dataset.classes, dataset.labels, sorter=order)
    return order[at], dataset.classes


def _count(value: Any, n: int, name: str) -> int:
    if isinstance(value, float | np.floating):
        if not 0 <= value < 1:
            raise ArgumentError(
                f"{name}: expected a share of at least 0 and below 1, or a number of images, "
                f"got {value:g}"
            )
        return int(np.floor(value * n + 0.5))
    return as_int(value, name, least=0)


def _weights(weights: Any) -> tuple[float, float]:
    pair = as_array(weights, "weights")
    if pair.shape != (2,) or pair.dtype.kind not in "iuf":
        raise ShapeError(f"weights: expected two numbers, got {weights!r}")
    low, high = map(float, pair)
    if not 0 <= low <= high <= 1:
        raise ArgumentError(f"weights: expected 0 <= low <= high <= 1, got {low:g} and {high:g}")
    return low, high


def _likelihoods(
    flip: Any,
    dataset: Dataset,
    columns: Indices,
    k: int,
    seed: int,
    threads: int | None,
) -> Floats:
    """(n, k), how likely each image is to be flipped to each class; its own: 0."""
    if isinstance(flip, str):
        if flip not in FLIPS:
            raise ArgumentError(f"flip: unknown {flip!r}" + suggest(flip, FLIPS))
        if flip == "instance":
            likelihood = _weak_opinions(dataset, columns, k, seed, threads)
        else:
            matrix = np.ones((k, k)) if flip == "uniform" else np.roll(np.eye(k), 1, axis=1)
            likelihood = matrix[columns]
    else:
        matrix = as_array(flip, "flip")
        if matrix.shape != (k, k):
            raise ShapeError(f"flip: expected a matrix ({k}, {k}), got shape {matrix.shape}")
        if matrix.dtype.kind not in "buif" or not (np.isfinite(matrix) & (matrix >= 0)).all():
            raise ArgumentError("flip: expected a matrix of finite numbers, none below 0")
        likelihood = matrix.astype(np.float64)[columns]
    likelihood[np.arange(len(columns)), columns] = 0.0
    return likelihood


def _weak_opinions(
    dataset: Dataset, columns: Indices, k: int, seed: int, threads: int | None
) -> Floats:
    """What a weak network makes of the images that it was not trained on, (n, k); of those: 0."""
    from ambigmnist.model import CNN

    assert dataset.labels is not None
    n = len(columns)
    few_images = min(max(10 * k, n // 100), 1000, n // 2)
    # Its own stream of random numbers: no network of an audit with this seed is like it.
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 1])))
    taught = np.argsort(random.random(n))[:few_images]
    likelihood = np.zeros((n, k))
    present = np.unique(columns[taught])
    if len(present) < 2:
        raise ArgumentError(
            f"flip: expected images of at least two classes among {few_images} drawn for the weak "
            "network, got one: take another seed or flip='uniform'"
        )
    weak = CNN(epochs=WEAK_EPOCHS, seed=int(random.integers(2**62)), threads=threads)
    weak.fit(dataset.images[taught], columns[taught], verbose=0)
    likelihood[:, present] = weak.predict_proba(dataset.images)
    likelihood[taught] = 0.0
    return likelihood


def _flip(
    likelihood: Floats, columns: Indices, count: int, random: np.random.Generator
) -> tuple[Indices, Indices]:
    """Which images are flipped, in rising order, and the new column of each."""
    n, k = likelihood.shape
    total = likelihood.sum(axis=1)
    possible = int((total > 0).sum())
    if count > possible:
        raise ArgumentError(f"flips: expected at most {possible} that flip= allows, got {count}")
    # Weighted sampling without replacement (Efraimidis & Spirakis 2006, IPL 97): the largest
    # u^(1/weight).
    with np.errstate(divide="ignore"):
        keys = np.log(random.random(n)) / total
    keys[total == 0] = -np.inf
    flipped = np.sort(np.argsort(-keys, kind="stable")[:count])
    reach = np.cumsum(likelihood[flipped], axis=1)
    point = random.random(count) * reach[:, -1]
    new = np.minimum((reach <= point[:, np.newaxis]).sum(axis=1), k - 1)
    return flipped, new


def _partners(
    columns: Indices,
    blended: Indices,
    weights: tuple[float, float],
    morph: str,
    random: np.random.Generator,
) -> tuple[Indices, Floats, NDArray[np.str_]]:
    """Of every image: what is blended in, how much of itself stays, and how."""
    n = len(columns)
    partner = np.full(n, -1)
    weight = np.full(n, np.nan)
    morphs = np.full(n, "", "U7")
    point = random.random(len(blended))
    weight[blended] = weights[0] + (weights[1] - weights[0]) * random.random(len(blended))
    for i, u in zip(blended.tolist(), point.tolist(), strict=True):
        others = np.flatnonzero(columns != columns[i])
        if len(others) == 0:
            raise ArgumentError("blends: expected images of another class, got one class only")
        partner[i] = others[int(u * len(others))]
    if morph == "both":
        morphs[blended[::2]], morphs[blended[1::2]] = "pixel", "elastic"
    else:
        morphs[blended] = morph
    return partner, weight, morphs


def _change(
    images: NDArray[Any],
    blended: Indices,
    partner: Indices,
    weight: Floats,
    morphs: NDArray[np.str_],
    originals: NDArray[Any],
) -> None:
    for name, blend in MORPHS.items():
        chosen = blended[morphs[blended] == name]
        for start in range(0, len(chosen), _BLOCK):
            rows = chosen[start : start + _BLOCK]
            a, b = _as_units(originals[rows]), _as_units(originals[partner[rows]])
            _put(images, rows, blend(a, b, weight[rows]))


def _make_unreadable(
    images: NDArray[Any],
    rows: Indices,
    change: Callable[[Floats, np.random.Generator], Floats],
    random: np.random.Generator,
) -> None:
    if len(rows):
        _put(images, rows, change(_as_units(images[rows]), random))


def _as_units(images: NDArray[Any]) -> Floats:
    """(m, h, w, c) float64 in 0..1."""
    images = images[..., np.newaxis] if images.ndim == 3 else images
    return images.astype(np.float64) / (255 if images.dtype == np.uint8 else 1)


def _put(images: NDArray[Any], rows: Indices, units: Floats) -> None:
    units = units.reshape(len(rows), *images.shape[1:])
    if images.dtype == np.uint8:
        images[rows] = np.floor(units * 255 + 0.5).astype(np.uint8)
    else:
        images[rows] = np.clip(units, 0, 1)


_HEADER = ("index", "kind", "labels", "original", "partner", "weight", "morph")


def _read(path: PathLike) -> Truth:
    path = as_path(path)
    try:
        rows = list(csv.reader(io.StringIO(read_bytes(path).decode(), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a table written by Truth.to_csv: {error}") from None
    if not rows or tuple(rows[0]) != _HEADER:
        raise DataError(f"{path}: line 1: expected the columns {', '.join(_HEADER)}")
    n = len(rows) - 1
    columns: list[list[str]] = [[] for _ in _HEADER]
    for i, row in enumerate(rows[1:]):
        try:
            index, kind, _, _, partner, weight, morph = row
            sound = int(index) == i and kind in KINDS and -1 <= int(partner) < n
            sound = sound and morph in ("", *MORPHS) and (int(partner) >= 0) == bool(morph)
            float(weight)
        except ValueError:
            sound = False
        if not sound:
            raise DataError(
                f"{path}: line {i + 2}: expected index {i}, a kind, two labels, a partner, "
                f"a weight and a morph, got {','.join(row)[:80]!r}"
            )
        for column, cell in zip(columns, row, strict=True):
            column.append(cell)
    _, kinds, label, original, partners, weights, morphs = columns
    labels, originals = _class_values(label, original)
    return Truth(
        np.array(kinds, "U9"),
        labels,
        originals,
        np.array(partners, np.intp),
        np.array(weights, np.float64),
        np.array(morphs, "U7"),
    )


def _class_values(*columns: list[str]) -> list[NDArray[Any]]:
    """Integers where all are, as every writer of labels writes them; strings otherwise."""
    try:
        return [np.array([int(v) for v in column], np.int64) for column in columns]
    except ValueError:
        return [np.array([v.removeprefix("'") for v in column], np.str_) for column in columns]
