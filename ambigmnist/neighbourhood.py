"""What lies around an image: its neighbours' labels; images far from all others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist._in_sample import legend, mark
from ambigmnist._tables import Listing, few
from ambigmnist._validate import as_array, as_int
from ambigmnist.definitions import Definition
from ambigmnist.errors import ArgumentError, ShapeError
from ambigmnist.evidence import Evidence, Indices
from ambigmnist.ranking import Ranking, chosen_rows, rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["NeighbourLabels", "neighbour_labels", "outliers"]


def _mean_distance(neighbours: int, ev: Evidence) -> NDArray[np.float64]:
    far: NDArray[np.float64] = ev.nearest_others(neighbours)["distance"]
    total = np.zeros(ev.n)
    for column in far.T:  # in this order on every machine
        total += column
    mean: NDArray[np.float64] = total / max(far.shape[1], 1)
    return mean


def outliers(ev: Evidence, k: int | None = None, *, neighbours: int = 10) -> Ranking:
    """The images that are farthest from their nearest others: unlike anything else.

    The score is the mean Euclidean distance of the embedding to those of the nearest other images
    (Angiulli & Pizzuti 2002, PKDD, after the distance to the k-th nearest of Ramaswamy, Rastogi &
    Shim 2000, SIGMOD). It knows nothing of labels.

    Parameters
    ----------
    ev : Evidence
        With `embeddings`, or `nearest`.
    k : int, optional
        Only the first k; by default all images are ranked.
    neighbours : int
        How many others the mean goes over, at least 1; where there are fewer, all of them. More
        tell also a small group that lies apart, of at most as many images.

    Returns
    -------
    Ranking
        Scores in the unit of the embeddings, 0 and more; 0 for an image without others.

    Raises
    ------
    ArgumentError
        Neither embeddings nor nearest images are known.

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence(np.ones((4, 1)), embeddings=[[0.0], [1.0], [2.0], [9.0]])
    >>> am.outliers(ev, k=1, neighbours=2)
    Ranking: 1 of 4 images by outlier = mean distance to the 2 nearest images
    rank   index  score    guess
       1       3  7.50000  0
    """
    neighbours = as_int(neighbours, "neighbours", least=1)
    record = Definition(
        "outlier",
        f"mean distance to the {neighbours} nearest images",
        "[0, inf)",
        ("nearest",),
        "Angiulli & Pizzuti 2002 (PKDD), Ramaswamy et al. 2000 (SIGMOD)",
        partial(_mean_distance, neighbours),  # not a closure: a Ranking can be pickled
    )
    return rank(ev, record, k)


class NeighbourLabels(Listing):
    """Images and the labels of their nearest others; made by `neighbour_labels`.

    Attributes
    ----------
    images : (m,) intp
        Which images.
    given, predicted : (m,)
        Their labels and predictions: class values.
    indices : (m, k) intp
        The nearest others of each, nearest first.
    distances : (m, k) float64
    labels : (m, k)
        Their given labels: class values.
    disagreement : (m,) float64
        The share of these labels that are not the image's own.
    evidence : Evidence
    """

    def __init__(self, evidence: Evidence, images: Indices, nearest: NDArray[np.void]) -> None:
        self.evidence = evidence
        self.images = images
        self.given: NDArray[Any] = evidence.given[images]
        self.predicted: NDArray[Any] = evidence.classes[evidence._predicted_at(images)]
        self.indices: Indices = nearest["index"]
        self.distances: NDArray[np.float64] = nearest["distance"]
        self.labels: NDArray[Any] = evidence.classes[nearest["label"]]
        other = self.labels != self.given[:, np.newaxis]
        self.disagreement = other.sum(axis=1) / max(other.shape[1], 1)

    def __len__(self) -> int:
        return len(self.images)

    def text(self, position: int) -> str:
        """The labels around the image at `position` of this list: ``"9 9 4 9 9"``."""
        return " ".join(map(str, self.labels[position].tolist()))

    def _title(self) -> str:
        return f"the {self.labels.shape[1]} nearest of {len(self)} images"

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        shown = range(few(len(self)))
        return (" index", "given", "guess", "labels of the nearest"), [
            (
                f"{self.images[i]:>6}{mark(self.evidence, self.images[i])}",
                str(self.given[i]),
                str(self.predicted[i]),
                self.text(i),
            )
            for i in shown
        ]

    def _legend(self) -> str:
        return legend(self.evidence, self.images[: few(len(self))])

    def gallery(self, rows: int | None = None, *, ax: Axes | None = None) -> Figure:
        """Every image in a row with its neighbours, nearest first; see `ambigmnist.gallery`.

        ArgumentError where the neighbours come from an evidence's `nearest`, which may lie outside
        of it.
        """
        from ambigmnist.plot import gallery

        if self.evidence.nearest is not None:
            raise ArgumentError(
                "gallery: expected neighbours among the images of this evidence, got those of the "
                "audit that it is from: pass embeddings= to an Evidence without nearest="
            )
        rows = min(6, max(len(self), 1)) if rows is None else as_int(rows, "rows", least=1)
        shown = np.concatenate([self.images[:rows, np.newaxis], self.indices[:rows]], axis=1)
        flat = shown.ravel()
        return gallery(
            self.evidence[flat], rows, shown.shape[1], names=[str(i) for i in flat], ax=ax
        )


def neighbour_labels(
    ev: Evidence, where: Ranking | ArrayLike | None = None, k: int = 10
) -> NeighbourLabels:
    """For images that are in doubt, the labels of the nearest others: ``"9 9 4 9 9"``.

    Where most of the others say something else, the label is doubtful; where they disagree among
    themselves, the image lies between two classes.

    Parameters
    ----------
    ev : Evidence
        With labels and `embeddings`, or `nearest`.
    where : Ranking, mask (n,), indices (m,) or int, optional
        Which images, in this order; only these are compared with the others. By default all.
    k : int
        How many neighbours; where there are fewer others, all of them.

    Returns
    -------
    NeighbourLabels

    Raises
    ------
    ArgumentError
        No labels, neither embeddings nor nearest images, an index out of range.
    ShapeError, DTypeError
        What `where` cannot be.

    Examples
    --------
    >>> import ambigmnist as am
    >>> points = [[0.0], [1.0], [2.0], [3.0], [9.0]]
    >>> ev = am.Evidence(np.eye(2)[[0, 0, 0, 1, 1]], [0, 1, 0, 0, 1], embeddings=points)
    >>> am.neighbour_labels(ev, where=[1, 4], k=3)
    NeighbourLabels: the 3 nearest of 2 images
     index  given  guess  labels of the nearest
         1  1      0      0 0 0
         4  1      1      0 0 1
    """
    ev.given_index  # noqa: B018  before the neighbours are looked for: there must be labels
    if where is None:
        return NeighbourLabels(ev, np.arange(ev.n), ev.nearest_others(k))
    rows = _chosen(where, ev.n)
    return NeighbourLabels(ev, rows, ev.nearest_others(k, rows))


def _chosen(where: Ranking | ArrayLike, n: int) -> Indices:
    """The images that `where` names, in its order."""
    if isinstance(where, Ranking):
        if where.evidence.n != n:
            raise ShapeError(
                f"where: expected a ranking of these {n} images, got one of {where.evidence.n}"
            )
        return where.indices
    return chosen_rows(np.atleast_1d(as_array(where, "where")), n)
