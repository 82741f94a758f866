"""Evidence: everything known about every image, in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._evidence_fields import (
    AXES,
    DYNAMICS,
    NEAREST,
    as_flags,
    as_nearest,
    as_records,
)
from ambigmnist._files import PathLike
from ambigmnist._in_sample import explained
from ambigmnist._tables import shortened
from ambigmnist._validate import (
    TOLERANCE,
    Floats,
    as_classes,
    as_floats,
    as_images,
    as_int,
    as_labels,
    as_probs,
    check_labels_in,
)
from ambigmnist.config import resolve_threads
from ambigmnist.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError

if TYPE_CHECKING:
    from ambigmnist.heatmap import Summary

__all__ = ["AXES", "DYNAMICS", "NEAREST", "Evidence", "as_evidence"]

Indices = NDArray[np.intp]
A = TypeVar("A", bound=NDArray[Any])

_BLOCK = 65_536  # rows looked at together where NumPy needs temporary arrays
NEIGHBOURS = 10  # other images that the definitions look at


class Evidence:
    """What is known about n images and k classes: from our network, or from anybody's.

    Parameters
    ----------
    probs : array_like (n, k) or None
        Probabilities, one row per image; float32 and float64 are kept as they come and where they
        lie, ``np.load(path, mmap_mode="r")`` say. None where `logits` are given: then their
        softmax.
    labels : array_like (n,), optional
        The given labels: class values.
    classes : array_like (k,), optional
        The class values in the order of the columns; 0..k-1 by default.
    images : array_like, optional
        The images themselves, (n, h, w) or (n, h, w, c): for galleries.
    logits : array_like (n, k), optional
        What the softmax was taken of. Where they are known, scores are computed from them: they
        tell images apart whose probabilities all round to 1.
    members, mc : array_like (m, n, k), optional
        Probabilities of m networks, or of m passes with dropout on.
    augmented : array_like (a, n, k), optional
        Probabilities of a changed versions of each image: shifted, rotated.
    history : array_like (epochs, n, k), optional
        Probabilities after each epoch of one training.
    dynamics : structured array (n,), optional
        Statistics of the training history, as `audit` records them; computed from `history` and
        `labels` where these are given instead. Fields: runs, aum, confidence, variability,
        correctness, forgetting, first_learned, el2n, grand, vog; float64, NaN where not recorded.
        Of a history, aum is log p_g - max_{j != g} log p_j, which equals the margin of the logits,
        with the smallest positive number of its type in place of a probability of 0; el2n is of
        epoch max(2, ceil(epochs / 10)), counted from 1; grand and vog are not recorded.
    embeddings : array_like (n, d), optional
        A vector per image, from the last hidden layer say.
    nearest : structured array (n, q), optional
        The q nearest other images of each, nearest first, as `audit` finds them: fields index (in
        the numbering of the whole audit, also after slicing), distance, label (a column). Where
        it is not given, what needs it is computed from `embeddings`.
    fold : array_like (n,), optional
        Which fold an image was held out in.
    split : str or array_like (n,), optional
        Which part of the data an image comes from: "train", "test", ...
    in_sample : bool or array_like (n,), optional
        Whether the network that `probs` are of was fitted to the image. None: nobody knows.
    provenance : dict, optional
        How all this was got, of what JSON can hold: versions, seeds, hashes of the data.

    Attributes
    ----------
    probs, labels, classes, images, logits, members, mc, augmented, history, dynamics
    embeddings, nearest, fold, split, in_sample, provenance
        As above, read-only; None where not given (provenance: empty). Images are (n, h, w, c).

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Sizes that do not fit each other, types that make no sense, probabilities that are
        negative, NaN or do not sum to 1 within 1e-3, labels that are not among the classes.

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]], labels=[0, 0, 1])
    >>> ev.predicted
    array([0, 1, 0])
    >>> ev.score("least_confident").round(3)
    array([0.1, 0.4, 0.5])
    >>> ev[ev.predicted != ev.labels].n
    2
    """

    probs: Floats
    labels: NDArray[Any] | None
    classes: NDArray[Any]
    images: NDArray[Any] | None
    logits: Floats | None
    members: Floats | None
    mc: Floats | None
    augmented: Floats | None
    history: Floats | None
    dynamics: NDArray[np.void] | None
    embeddings: Floats | None
    nearest: NDArray[np.void] | None
    fold: NDArray[np.int64] | None
    split: NDArray[np.str_] | None
    in_sample: NDArray[np.bool_] | None
    provenance: dict[str, Any]

    def __init__(
        self,
        probs: ArrayLike | None,
        labels: ArrayLike | None = None,
        *,
        classes: ArrayLike | None = None,
        images: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        members: ArrayLike | None = None,
        mc: ArrayLike | None = None,
        augmented: ArrayLike | None = None,
        history: ArrayLike | None = None,
        dynamics: NDArray[np.void] | None = None,
        embeddings: ArrayLike | None = None,
        nearest: NDArray[np.void] | None = None,
        fold: ArrayLike | None = None,
        split: ArrayLike | None = None,
        in_sample: ArrayLike | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.logits = None if logits is None else as_floats(logits, "logits", (None, None))
        if probs is not None:
            self.probs = as_probs(probs, "probs", (None, None), or_else="; logits go into logits=")
        elif self.logits is not None:
            self.probs = _ambigcore.probabilities(self.logits, resolve_threads(None))
        else:
            raise ArgumentError("probs: expected probabilities (n, k), got None and no logits")
        n, k = self.probs.shape
        if self.logits is not None and probs is not None:
            self._check_logits(self.logits)

        self.classes = np.arange(k) if classes is None else as_classes(classes)
        if len(self.classes) != k:
            raise ShapeError(f"classes: expected {k}, one per column, got {len(self.classes)}")
        self.labels = None
        if labels is not None:
            self.labels = as_labels(labels, n)
            if n == 0:  # an empty list does not say what it is empty of
                self.labels = self.labels.astype(self.classes.dtype)
            check_labels_in(self.labels, self.classes)

        self.images = None
        if images is not None:
            self.images = as_images(images)
            if len(self.images) != n:
                raise ShapeError(f"images: expected {n}, one per row, got {len(self.images)}")
        self.members = None if members is None else as_probs(members, "members", (None, n, k))
        self.mc = None if mc is None else as_probs(mc, "mc", (None, n, k))
        self.augmented = (
            None if augmented is None else as_probs(augmented, "augmented", (None, n, k))
        )
        self.history = None if history is None else as_probs(history, "history", (None, n, k))
        self.dynamics = (
            None if dynamics is None else as_records(dynamics, DYNAMICS, (n,), "dynamics")
        )
        self.nearest = None if nearest is None else as_nearest(nearest, n, k)
        self.embeddings = (
            None if embeddings is None else as_floats(embeddings, "embeddings", (n, None))
        )
        self.fold = None
        if fold is not None:
            self.fold = as_labels(fold, n, "fold")
            if self.fold.dtype.kind != "i":
                raise DTypeError("fold: expected integers, got strings")
        self.split = None
        if split is not None:
            self.split = as_labels([split] * n if isinstance(split, str) else split, n, "split")
            if n == 0:
                self.split = self.split.astype(np.str_)
            if self.split.dtype.kind != "U":
                raise DTypeError("split: expected strings such as 'train', got integers")
        self.in_sample = None if in_sample is None else as_flags(in_sample, n, "in_sample")
        self.provenance = dict(provenance or {})
        self._freeze()
        if dynamics is None:
            self.dynamics = self._dynamics_of_history()

    def _check_logits(self, logits: Floats) -> None:
        if logits.shape != self.probs.shape:
            raise ShapeError(f"logits: expected shape {self.probs.shape}, got {logits.shape}")
        for start in range(0, len(logits), _BLOCK):
            part = slice(start, start + _BLOCK)
            softmax = _ambigcore.probabilities(logits[part], resolve_threads(None))
            off = (np.abs(softmax - self.probs[part]) > TOLERANCE).any(axis=1)
            if off.any():
                raise ArgumentError(
                    "logits: expected softmax(logits) to be probs, got another row "
                    f"{start + int(np.argmax(off))}: leave out what does not belong together"
                )

    def _freeze(self) -> None:
        """Read-only views: results computed from them stay true."""
        for name in (*AXES, "classes"):
            array = getattr(self, name)
            if array is not None:
                setattr(self, name, _read_only(array.view()))

    def _dynamics_of_history(self) -> NDArray[np.void] | None:
        if self.history is None or self.labels is None or len(self.history) == 0:
            return None
        threads = resolve_threads(None)
        table = _ambigcore.history_dynamics(self.history, self.given_index, threads)
        return _read_only(table.view(DYNAMICS)[:, 0])

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.probs)

    @property
    def k(self) -> int:
        """How many classes."""
        return int(self.probs.shape[1])

    @cached_property
    def predicted_index(self) -> Indices:
        """The column of the largest probability of every image (the first of equals), (n,)."""
        return _read_only(_ambigcore.predictions(self._source[0], resolve_threads(None)))

    @cached_property
    def given_index(self) -> Indices:
        """The column of every given label, (n,). ArgumentError where there are no labels."""
        labels = self._require_labels()
        if labels.dtype.kind == "i" and np.array_equal(self.classes, np.arange(self.k)):
            return labels
        order = np.argsort(self.classes)
        return _read_only(order[np.searchsorted(self.classes, labels, sorter=order)])

    def _predicted_at(self, rows: Indices) -> Indices:
        """`predicted_index` of some images, without computing all for a few."""
        if "predicted_index" in self.__dict__ or len(rows) > self.n // 8:
            return self.predicted_index[rows]
        return _ambigcore.predictions(self._source[0][rows], resolve_threads(None))

    @property
    def predicted(self) -> NDArray[Any]:
        """The predicted class value of every image, (n,)."""
        predicted: NDArray[Any] = self.classes[self.predicted_index]
        return predicted

    @property
    def given(self) -> NDArray[Any]:
        """The given labels, (n,). ArgumentError where there are none."""
        return self._require_labels()

    @property
    def accuracy(self) -> float:
        """The share of images that are predicted as labelled; NaN for no images."""
        return self._evaluated[1] / self.n if self.n else float("nan")

    @property
    def log_loss(self) -> float:
        """The mean of -log p_label; infinite where a label has probability 0, NaN for no images."""
        return self._evaluated[0]

    @cached_property
    def _evaluated(self) -> tuple[float, int]:
        threads = resolve_threads(None)
        _, loss, right, _, _ = _ambigcore.summary(
            *self._source, self.given_index, (), False, threads
        )
        return _ambigcore.exact_sum(loss[np.newaxis]) / self.n if self.n else np.nan, right

    @property
    def _source(self) -> tuple[Floats, bool]:
        """What scores are computed from, and whether these are logits."""
        return (self.probs, False) if self.logits is None else (self.logits, True)

    @property
    def draws(self) -> Floats | None:
        """Several opinions on every image, (t, n, k): `mc` where it is known, else `members`."""
        return self.members if self.mc is None else self.mc

    @property
    def _is_in_sample(self) -> bool:
        """Whether the network was fitted to any of the images, as far as that is known."""
        return self.in_sample is not None and bool(self.in_sample.any())

    def _require_labels(self) -> NDArray[Any]:
        if self.labels is None:
            raise ArgumentError("labels: this needs them, and this evidence has none")
        return self.labels

    def has(self, name: str) -> bool:
        """Whether the field `name` ("labels", "logits", ...) is known.

        "nearest" is also where it follows from the embeddings.
        """
        if name == "nearest" and self.nearest is None:
            name = "embeddings"
        return getattr(self, name) is not None

    def score(self, by: str | Callable[[Evidence], ArrayLike]) -> NDArray[np.float64]:
        """The scores of a definition, (n,) float64: higher is always more ambiguous.

        Parameters
        ----------
        by : str or callable
            A name that `definitions()` lists, or any function Evidence -> (n,).
        """
        from ambigmnist.definitions import find, scores

        return scores(self, find(by))

    def summary(
        self,
        by: Sequence[str | Callable[[Evidence], ArrayLike]] = (
            "least_confident",
            "confident_wrong",
        ),
        k: int = 12,
        *,
        among: int | None = None,
    ) -> Summary:
        """Top lists, both heatmaps, log loss and accuracy in one pass over the probabilities.

        The same numbers as `rank`, `heatmap`, `log_loss` and `accuracy` give one by one, with
        the same bits; memory does not grow with the number of images, so that `probs` may be a
        mapped file of any size.

        Parameters
        ----------
        by : sequence of str or callable
            Definitions to rank by. Those that are not built in take a pass of their own.
        k : int
            How many images each ranking lists.
        among : int, optional
            How many images the heatmap of kind "count" looks at, by the first of `by`; by
            default as in `heatmap`.

        Returns
        -------
        Summary
            With `accuracy`, `log_loss`, `rankings` (a dict by name), `probability` and `count`
            (Heatmap), and `confusion`, (k, k) int64: all images by label and prediction.

        Examples
        --------
        >>> import ambigmnist as am
        >>> ev = am.Evidence([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]], labels=[0, 0, 1])
        >>> found = ev.summary(k=2)
        >>> found.rankings["least_confident"].indices
        array([2, 1])
        >>> found.confusion
        array([[1, 1],
               [1, 0]])
        """
        from ambigmnist.heatmap import summarise

        return summarise(self, by, k, among)

    def neighbours(self, k: int = 10) -> tuple[Indices, NDArray[np.float64]]:
        """The k nearest other images of every image, by their embeddings.

        Exact: the Euclidean distance sqrt(sum_t (a_t - b_t)^2) in float64, nearest first, equal
        distances by index. A matrix product in float32 rules out the pairs that cannot be among
        the nearest by a bound on its rounding, so that this runs at the speed of such products.

        Parameters
        ----------
        k : int
            How many; at most n - 1, for an image is not its own neighbour.

        Returns
        -------
        indices : (n, k) intp
        distances : (n, k) float64

        Examples
        --------
        >>> import ambigmnist as am
        >>> ev = am.Evidence([[1.0], [1.0], [1.0]], embeddings=[[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
        >>> indices, distances = ev.neighbours(1)
        >>> indices.ravel(), distances.ravel()
        (array([2, 2, 0]), array([1.        , 4.24264069, 1.        ]))
        """
        if self.embeddings is None:
            raise ArgumentError("embeddings: this needs them, and this evidence has none")
        k = as_int(k, "k", least=0)
        return _ambigcore.neighbours(self.embeddings, None, k, resolve_threads(None))

    def nearest_others(self, k: int = 10, rows: Indices | None = None) -> NDArray[np.void]:
        """The k nearest other images, of all images or of some: `nearest`, or by the embeddings.

        Parameters
        ----------
        k : int
            How many; where there are fewer others, all of them.
        rows : array (m,) of intp, optional
            Of which images, in any order; the cost is that of these. By default of all.

        Returns
        -------
        structured array (m, min(k, n - 1))
            Nearest first: fields index, distance, label (a column, -1 without labels). Where
            `nearest` was given, a slice still has the neighbours among all images.

        Raises
        ------
        ArgumentError
            Neither `nearest` nor `embeddings` is known, or `nearest` has fewer than k of more
            others and there are no embeddings to find the rest with.

        Examples
        --------
        >>> import ambigmnist as am
        >>> ev = am.Evidence([[1.0], [1.0], [1.0]], [0, 0, 0], embeddings=[[0.0], [3.0], [5.0]])
        >>> ev.nearest_others(1)["index"].ravel()
        array([1, 2, 1])
        """
        k = as_int(k, "k", least=0)
        others = max(self.n - 1, 0)
        every = slice(None) if rows is None else rows
        known = -1 if self.nearest is None else self.nearest.shape[1]
        if self.nearest is not None and known >= min(k, others):  # a slice has those of the whole
            return self.nearest[every, :k]
        if self.embeddings is None:
            raise ArgumentError(
                "embeddings: this needs them, and this evidence has none"
                if known < 0
                else f"k: expected at most {known}, as many as `nearest` has, got {k}: "
                "pass embeddings= to Evidence"
            )
        k = min(k, others)
        if k <= NEIGHBOURS and (rows is None or "_ten_nearest" in self.__dict__):
            return self._ten_nearest[every, :k]
        return self._nearest_by_embeddings(k, rows)

    @cached_property
    def _ten_nearest(self) -> NDArray[np.void]:
        """As many as the definitions look at, found once."""
        return _read_only(self._nearest_by_embeddings(min(NEIGHBOURS, max(self.n - 1, 0)), None))

    def _nearest_by_embeddings(self, k: int, rows: Indices | None) -> NDArray[np.void]:
        assert self.embeddings is not None
        found = _ambigcore.neighbours(self.embeddings, rows, k, resolve_threads(None))
        records = np.empty(found[0].shape, NEAREST)
        records["index"], records["distance"] = found
        records["label"] = -1 if self.labels is None else self.given_index[found[0]]
        return records

    def save(self, path: PathLike) -> None:
        """Writes everything to one .npz file, atomically and without pickle.

        The same evidence gives the same bytes. ``np.load(path)`` reads the arrays, too.

        Raises
        ------
        DTypeError, ArgumentError
            A `provenance` that JSON cannot hold; of a tuple in it `load` makes a list.
        FileError
            The file cannot be written; what was there before is still there.

        Examples
        --------
        >>> import ambigmnist as am, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     am.Evidence([[0.9, 0.1]], ["cat"], classes=["cat", "dog"]).save(f"{folder}/ev.npz")
        ...     am.Evidence.load(f"{folder}/ev.npz").predicted.tolist()
        ['cat']
        """
        from ambigmnist._evidence_file import save

        save(path, self)

    @classmethod
    def load(cls, path: PathLike) -> Evidence:
        """Reads what `save` wrote, to the bit; runs nothing that the file holds.

        Raises
        ------
        DataNotFoundError, FileError, DataError
            No such file; it cannot be read; not a sound file of this kind, or of a newer version.
        """
        from ambigmnist._evidence_file import load

        return load(path)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for value in state.values():  # also what was computed from the fields
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: Any) -> Evidence:
        """The evidence about some of the images: a slice, a mask (n,), or indices."""
        try:
            rows = np.arange(self.n)[key]  # one place that judges every kind of key
        except IndexError as error:
            raise OutOfRangeError(f"evidence of {self.n} images: {error}") from None
        if rows.ndim > 1:
            raise ShapeError(f"expected a slice, a mask or indices (m,), got shape {rows.shape}")
        rows = np.atleast_1d(rows)
        part = object.__new__(Evidence)
        part.classes = self.classes
        part.provenance = dict(self.provenance)
        for name, axis in AXES.items():
            array = getattr(self, name)
            setattr(part, name, None if array is None else np.take(array, rows, axis=axis))
        part._freeze()
        return part

    def __repr__(self) -> str:
        text = f"Evidence: {self.n} images, {self.k} classes ({shortened(map(str, self.classes))})"
        if self.labels is not None:
            text += f", accuracy {self.accuracy:.4f}, log loss {self.log_loss:.4g}"
        text += "\n  known: " + ", ".join(
            f"{name} {'x'.join(map(str, getattr(self, name).shape))}"
            for name in AXES
            if getattr(self, name) is not None
        )
        if self.in_sample is not None:
            text += "\n  " + (explained(self) or "out of sample")
        return text

    def _repr_html_(self) -> str:
        """The text, and the images that the model is least sure of."""
        from html import escape

        from ambigmnist._thumbnails import SHOWN, of_evidence, strip
        from ambigmnist.ranking import rank

        first = rank(self, k=SHOWN).indices.tolist() if self.n else []
        pictures = of_evidence(self, first)
        text = f"<pre>{escape(repr(self))}</pre>"
        if not pictures:
            return text
        read = self.predicted[first].tolist()
        titles = [str(r) for r in read]
        if self.labels is not None:
            given = self.labels[first].tolist()
            titles = [f"{r} → {g}" for r, g in zip(read, given, strict=True)]
        return f"{text}<p>least confident, read → label:</p>{strip(pictures, titles)}"


def as_evidence(ev: Any, name: str = "ev") -> Evidence:
    """`ev`, if it is one; DTypeError otherwise."""
    if not isinstance(ev, Evidence):
        raise DTypeError(
            f"{name}: expected an Evidence, got {type(ev).__name__}: "
            "wrap probabilities as am.Evidence(probs, labels)"
        )
    return ev


def _read_only(array: A) -> A:
    array.flags.writeable = False
    return array
