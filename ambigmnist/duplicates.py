"""Images that are there twice, equal to the pixel or nearly so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._files import PathLike
from ambigmnist._fitted import image_hashes
from ambigmnist._names import suggest
from ambigmnist._tables import Listing, few
from ambigmnist._validate import as_int
from ambigmnist.config import resolve_threads
from ambigmnist.errors import ArgumentError, DTypeError, OutOfRangeError
from ambigmnist.evidence import NEIGHBOURS, Evidence, Indices
from ambigmnist.ranking import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Duplicates", "duplicates"]

_BLOCK = 4096  # images compared together

# What makes two images near duplicates. On MNIST, nearly all copies that were compressed (JPEG 50),
# dimmed by a tenth or made noisy (sigma 5 of 255) differ by less than 0.15 of the contrast, and
# most of them by less than half of the typical distance; of the pairs of different images five do,
# plain strokes that look the same. By the embeddings alone, closer than 0.15 of the typical
# distance are eleven such pairs, the noisy copies and most that were compressed less (JPEG 75),
# but none that were dimmed.
PIXELS = 0.15
NEAR = 0.5  # where pixels decide in the end
NEAR_ALONE = 0.15  # where there are embeddings only


class Duplicates(Listing):
    """Groups of images that are the same, or nearly; made by `duplicates`.

    Exact ones first, then by distance, then by the first image.

    Attributes
    ----------
    groups : list of (m,) intp
        The images of each group, in rising order.
    kind : (g,) str
        "exact": all pixels are equal; or "near".
    distance : (g,) float64
        The largest distance of the pairs that hold a group together, in the unit of the
        embeddings; 0 for exact ones.
    disagree : (g,) bool, or None without labels
        Whether not all labels of a group are the same.
    threshold : float or None
        Up to which distance pairs were looked at; None where only equal images were looked for.
    evidence : Evidence
    """

    def __init__(
        self,
        evidence: Evidence,
        groups: list[Indices],
        distance: NDArray[np.float64],
        first_equal: Indices,
        threshold: float | None,
    ) -> None:
        exact = np.array([(first_equal[g] == first_equal[g[0]]).all() for g in groups], bool)
        distance = np.where(exact, 0.0, distance)
        starts = np.array([g[0] for g in groups], np.intp)
        order = np.lexsort((starts, distance, ~exact))
        self.evidence = evidence
        self.groups = [groups[i] for i in order]
        self.kind: NDArray[np.str_] = np.where(exact, "exact", "near")[order]
        self.distance: NDArray[np.float64] = distance[order]
        self.threshold = threshold
        self.disagree: NDArray[np.bool_] | None = None
        if evidence.labels is not None:
            given = evidence.labels
            self.disagree = np.array([(given[g] != given[g[0]]).any() for g in self.groups], bool)
        self._first_equal = first_equal

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Indices]:
        return iter(self.groups)

    @overload
    def __getitem__(self, key: int) -> Indices: ...

    @overload
    def __getitem__(self, key: slice | NDArray[Any] | list[Any]) -> Duplicates: ...

    def __getitem__(self, key: Any) -> Indices | Duplicates:
        """One group, or some of the groups: ``found[found.disagree]``."""
        try:
            rows: Any = np.arange(len(self))[key]
        except IndexError as error:
            raise OutOfRangeError(f"{len(self)} groups: {error}") from None
        if np.ndim(rows) == 0:
            group: Indices = self.groups[int(rows)]
            return group
        return self._some([self.groups[i] for i in rows], self.distance[rows])

    def _some(self, groups: list[Indices], distance: NDArray[np.float64]) -> Duplicates:
        return Duplicates(self.evidence, groups, distance, self._first_equal, self.threshold)

    def across(self, a: str = "train", b: str = "test") -> Duplicates:
        """The groups with images of both splits: training images that sit in the test set.

        Parameters
        ----------
        a, b : str
            Names of splits; images of other splits are left out of the groups.

        Raises
        ------
        ArgumentError
            The evidence has no `split`, or none of that name, or `a` is `b`.
        """
        split = self.evidence.split
        if split is None:
            raise ArgumentError("split: this needs it, and this evidence has none: pass split=")
        known = np.unique(split).tolist()
        for name in (a, b):
            if name not in known:
                raise ArgumentError(f"across: there is no split {name!r}" + suggest(name, known))
        if a == b:
            raise ArgumentError(f"across: expected two splits, got {a!r} twice")
        in_a, in_b = split == a, split == b
        chosen = [i for i, g in enumerate(self.groups) if in_a[g].any() and in_b[g].any()]
        groups = [g[in_a[g] | in_b[g]] for g in (self.groups[i] for i in chosen)]
        return self._some(groups, self.distance[chosen])

    def gallery(
        self, rows: int | None = None, cols: int | None = None, *, ax: Axes | None = None
    ) -> Figure:
        """Pairs side by side, one of each group; see `ambigmnist.gallery`.

        A pair is the first image and the first with another label, or else the second.

        Parameters
        ----------
        rows, cols : int, optional
            `cols`: pairs in a row, 4 by default; at most 6 rows by default.
        """
        from ambigmnist.plot import gallery

        cols = min(4, max(len(self), 1)) if cols is None else as_int(cols, "cols", least=1)
        needed = max(1, min(6, math.ceil(len(self) / cols)))
        rows = needed if rows is None else as_int(rows, "rows", least=1)
        pairs = [self._pair(g) for g in self.groups[: rows * cols]]
        flat = np.array(pairs, np.intp).ravel()
        return gallery(self.evidence[flat], rows, 2 * cols, names=[str(i) for i in flat], ax=ax)

    def _pair(self, group: Indices) -> tuple[int, int]:
        second = 1
        if self.evidence.labels is not None:
            labels = self.evidence.labels[group]
            second = int(np.argmax(labels != labels[0])) or 1
        return int(group[0]), int(group[second])

    def to_csv(self, path: PathLike) -> None:
        """Writes one row per image: group, kind, distance, index, split, given, predicted.

        Columns that are not known are left out. As `Ranking.to_csv`: complete, or not at all;
        what a spreadsheet would run as a formula gets an apostrophe in front.
        """
        ev = self.evidence
        sizes = [len(g) for g in self.groups]
        rows = np.concatenate([np.empty(0, np.intp), *self.groups])
        columns: dict[str, NDArray[Any]] = {
            "group": np.repeat(np.arange(1, len(self) + 1), sizes),
            "kind": np.repeat(self.kind, sizes),
            "distance": np.repeat(self.distance, sizes),
            "index": rows,
        }
        if ev.split is not None:
            columns["split"] = ev.split[rows]
        if ev.labels is not None:
            columns["given"] = ev.labels[rows]
        columns["predicted"] = ev.classes[ev._predicted_at(rows)]
        write_csv(path, columns)

    def _title(self) -> str:
        exact = int((self.kind == "exact").sum())
        near = "near ones not looked for" if self.threshold is None else f"{len(self) - exact} near"
        groups = "1 group" if len(self) == 1 else f"{len(self)} groups"
        text = f"{groups} of {self.evidence.n} images: {exact} exact, {near}"
        if self.disagree is not None:
            text += f"; {int(self.disagree.sum())} with several labels"
        return text

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        ev = self.evidence
        header = ("kind", "distance", "images", *(["labels"] if ev.labels is not None else []))
        shown = range(few(len(self)))
        return header, [
            (
                str(self.kind[i]),
                f"{self.distance[i]:.4g}",
                _first_few(self.groups[i]),
                *([_first_few(ev.labels[self.groups[i]])] if ev.labels is not None else []),
            )
            for i in shown
        ]

    def __repr__(self) -> str:
        return super().__repr__() if len(self) else f"Duplicates: {self._title()}"


def _first_few(values: NDArray[Any]) -> str:
    shown = " ".join(map(str, values[:6].tolist()))
    return shown if len(values) <= 6 else f"{shown} ... {len(values) - 6} more"


def duplicates(ev: Evidence, *, near: float | None = None) -> Duplicates:
    """Images that are there twice, and images that nearly are.

    Equal images are found by a hash of their pixels, and then compared. Near duplicates are pairs
    whose embeddings are closer than a share `near` of the typical distance, the median over all
    images of that to the tenth nearest other image (to the farthest, of fewer), so that the unit
    of the embeddings does not matter, nor that every image may be there a few times. Where
    the images are known they must be alike to the eye as well: ``|a - b|``, the root of the sum
    over pixels of the squared difference, is at most 0.15 of the contrast, the larger of
    ``|a - mean a|`` and ``|b - mean b|``. That is a copy compressed, dimmed or made noisy; one that
    was moved by a pixel is not found. Of each image the ten nearest are looked at, whatever is
    linked is a group, and time is that of all distances, once.

    Embeddings may be of any magnitude; differences below 1e-305 of the largest number count as 0.

    Parameters
    ----------
    ev : Evidence
        With images, with embeddings, or with both. Without embeddings only equal images are
        found; without images nothing is "exact", and equal embeddings are near at distance 0.
    near : float, optional
        The share of the typical distance, 0 or more; 0: equal images alone. By default 0.5, or
        0.15 where there are no images and embeddings have to decide alone.

    Returns
    -------
    Duplicates

    Raises
    ------
    ArgumentError
        Neither images nor embeddings are known, a negative share, or embeddings whose typical
        distance is beyond float64.

    Examples
    --------
    >>> import ambigmnist as am
    >>> images = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    >>> images[3] = images[1]
    >>> am.duplicates(am.Evidence(np.eye(2)[[0, 0, 0, 1, 1]], [0, 0, 0, 1, 1], images=images))
    Duplicates: 1 group of 5 images: 1 exact, near ones not looked for; 1 with several labels
    kind   distance  images  labels
    exact  0         1 3     0 1
    """
    if not isinstance(ev, Evidence):
        raise DTypeError(f"duplicates: expected an Evidence, got {type(ev).__name__}")
    if ev.images is None and ev.embeddings is None:
        raise ArgumentError(
            "duplicates: expected an evidence with images or embeddings, got neither: "
            "pass images= to Evidence"
        )
    near = _as_share(near, NEAR_ALONE if ev.images is None else NEAR)
    first_equal = np.arange(ev.n) if ev.images is None else _first_equal(ev.images)
    links = [
        (int(i), int(first_equal[i]), 0.0) for i in np.flatnonzero(first_equal < np.arange(ev.n))
    ]
    threshold = None
    if ev.embeddings is not None and (near > 0 or ev.images is None):
        rows = np.flatnonzero(first_equal == np.arange(ev.n))
        a, b, distance, threshold = _close_pairs(ev, rows, near)
        if ev.images is not None:
            alike = _alike(ev.images, a, b)
            a, b, distance = a[alike], b[alike], distance[alike]
        links += zip(a.tolist(), b.tolist(), distance.tolist(), strict=True)
    return Duplicates(ev, *_linked(ev.n, links), first_equal, threshold)


def _as_share(near: float | None, default: float) -> float:
    if near is None:
        return default
    if isinstance(near, bool) or not isinstance(near, int | float | np.number):
        raise DTypeError(f"near: expected a number, got {near!r}")
    if not 0 <= near < math.inf:
        raise ArgumentError(f"near: expected a share of the typical distance, got {near}")
    return float(near)


def _first_equal(images: NDArray[Any]) -> Indices:
    """For each image the first that is equal to it, maybe itself."""
    hashes = image_hashes(images)
    first, left = np.arange(len(images)), np.arange(len(images))
    while len(left):  # once, but for different images with the same hash
        _, start, run = np.unique(hashes[left], return_index=True, return_inverse=True)
        leader = left[start[run]]
        equal = _equal(images, left, leader)
        first[left[equal]] = leader[equal]
        left = left[~equal]
    return first


def _equal(images: NDArray[Any], a: Indices, b: Indices) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = a == b
    rest = np.flatnonzero(~equal)
    for start in range(0, len(rest), _BLOCK):
        part = rest[start : start + _BLOCK]
        equal[part] = (images[a[part]] == images[b[part]]).all(axis=(1, 2, 3))
    return equal


def _close_pairs(
    ev: Evidence, rows: Indices, near: float
) -> tuple[Indices, Indices, NDArray[np.float64], float]:
    """(a, b, distance) of pairs of `rows` up to a threshold, and this; a < b, each once."""
    if len(rows) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0), 0.0
    if len(rows) == ev.n:
        indices, distances = ev._ten_nearest["index"], ev._ten_nearest["distance"]
    else:  # without the copies, which would be the nearest of each other
        assert ev.embeddings is not None
        k = min(NEIGHBOURS, len(rows) - 1)
        indices, distances = _ambigcore.neighbours(
            ev.embeddings[rows], None, k, resolve_threads(None)
        )
    typical = float(np.median(distances[:, -1]))
    if typical == math.inf:
        raise ArgumentError("embeddings: their distances are beyond float64: divide them by 4")
    threshold = near * typical
    at, rank_of = np.nonzero(distances <= threshold)
    a, b, distance = rows[at], rows[indices[at, rank_of]], distances[at, rank_of]
    pairs, once = np.unique(np.minimum(a, b) * ev.n + np.maximum(a, b), return_index=True)
    return pairs // ev.n, pairs % ev.n, distance[once], threshold


def _alike(images: NDArray[Any], a: Indices, b: Indices) -> NDArray[np.bool_]:
    """Whether two images differ by at most a share PIXELS of the contrast."""
    alike = np.empty(len(a), bool)
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        x, y = (images[i[part]].reshape(len(i[part]), -1).astype(np.float64) for i in (a, b))
        contrast = np.maximum(x.var(axis=1), y.var(axis=1))
        alike[part] = ((x - y) ** 2).mean(axis=1) <= PIXELS**2 * contrast
    return alike


def _linked(
    n: int, links: list[tuple[int, int, float]]
) -> tuple[list[Indices], NDArray[np.float64]]:
    """Groups of what is linked, directly or not, and the largest distance of the links of each."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j, _ in links:
        i, j = root(i), root(j)
        parent[max(i, j)] = min(i, j)  # the root is the first image of its group
    roots = np.array([root(i) for i in range(n)], np.intp)
    farthest = np.zeros(n)
    for i, _, distance in links:
        farthest[roots[i]] = max(farthest[roots[i]], distance)
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
    groups = [g for g in np.split(order, starts[1:]) if len(g) > 1]
    return groups, farthest[[g[0] for g in groups]]
