"""What `CNN.fit` is given, checked and turned into the arrays that the core takes."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._network import number
from ambigmnist._validate import (
    as_array,
    as_floats,
    as_images,
    as_labels,
    as_probs,
    check_labels_in,
)
from ambigmnist.errors import ArgumentError, ShapeError

__all__ = ["Examples", "TrainingData"]

Floats = NDArray[np.float32]
# images, columns or None, soft labels or None, weights or None, index of those that take part
Examples = tuple[
    NDArray[Any], NDArray[np.int32] | None, Floats | None, Floats | None, NDArray[np.intp]
]


class TrainingData:
    """The examples of a fit.

    Attributes
    ----------
    train, held : Examples
        To train on, and held out for validation (None without any).
    train_index : ndarray (n,) of intp
    classes : ndarray (k,)
    image_shape : (h, w, c)
    """

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        validation_data: tuple[ArrayLike, ArrayLike] | None,
        validation_split: Any,
        split_last: bool,
        seed: int,
    ) -> None:
        images = as_images(X, "X")
        n = len(images)
        if n == 0:
            raise ArgumentError("X: expected at least one image to train on, got none")
        self.image_shape: tuple[int, int, int] = images.shape[1:]
        if y is None:
            raise ArgumentError("y: expected a label for each image, got None")
        labels, soft, self.classes = _targets(y, n)
        weights = _weights(sample_weight, n)
        if validation_data is None:
            split = number(validation_split, "validation_split")
            hard = labels if labels is not None else soft.argmax(axis=1).astype(np.int32)
            train, held = _split(hard, len(self.classes), split, split_last, seed)
            self.held: Examples | None = (images, labels, soft, None, held) if len(held) else None
            self._require_all_classes(hard, soft, train, split_last)
        else:
            train = np.arange(n, dtype=np.intp)
            self.held = self._validation(validation_data)
        if weights is not None and not weights[train].any():
            raise ArgumentError("sample_weight: expected a positive weight, got only zeros")
        self.train_index = train
        self.train: Examples = (images, labels, soft, weights, train)

    @classmethod
    def of_parts(
        cls,
        images: NDArray[Any],
        columns: NDArray[np.int32],
        classes: NDArray[Any],
        train: NDArray[np.intp],
        held: NDArray[np.intp],
    ) -> Self:
        """Checked images (n, h, w, c) with columns (n,), of which `train` and `held` take part."""
        data = cls.__new__(cls)
        data.image_shape = images.shape[1:]
        data.classes = classes
        data.train_index = train
        data.train = (images, columns, None, None, train)
        data.held = (images, columns, None, None, held) if len(held) else None
        return data

    def _validation(self, data: tuple[ArrayLike, ArrayLike]) -> Examples:
        try:
            X, y = data
        except (TypeError, ValueError):
            raise ArgumentError(
                f"validation_data: expected a pair (X, y), got {type(data).__name__}"
            ) from None
        images = as_images(X, "validation_data: X")
        if images.shape[1:] != self.image_shape:
            raise ShapeError(
                f"validation_data: expected images of shape {self.image_shape}, "
                f"got {images.shape[1:]}"
            )
        if len(images) == 0:
            raise ArgumentError("validation_data: expected at least one image, got none")
        given = as_array(y, "y")
        if given.ndim == 2:
            soft = _soft_labels(given, len(images), "validation_data: y")
            if soft.shape[1] != len(self.classes):
                raise ShapeError(
                    f"validation_data: expected {len(self.classes)} columns, got {soft.shape[1]}"
                )
            return images, None, soft, None, np.arange(len(images), dtype=np.intp)
        labels = as_labels(y, len(images), "validation_data: y")
        check_labels_in(labels, self.classes, "validation_data: y")
        columns = np.searchsorted(self.classes, labels).astype(np.int32)
        return images, columns, None, None, np.arange(len(images), dtype=np.intp)

    def _require_all_classes(
        self,
        labels: NDArray[np.int32],
        soft: Floats | None,
        train: NDArray[np.intp],
        split_last: bool,
    ) -> None:
        """A class that only held-out images have could not be learned."""
        present = np.zeros(len(self.classes), bool)
        present[labels[train]] = True
        if soft is not None:
            present |= soft[train].any(axis=0)
        missing = self.classes[np.setdiff1d(labels, np.flatnonzero(present))]
        if len(missing):
            which = "last " if split_last else ""
            raise ArgumentError(
                f"y: class {missing[0]!s} has no image in the training part (the {which}"
                f"{len(labels) - len(train)} are held out): shuffle the images or pass "
                "validation_data"
            )


def _targets(y: ArrayLike, n: int) -> tuple[NDArray[np.int32] | None, Any, NDArray[Any]]:
    """(columns, None, classes) of class values, or (None, rows, classes) of soft labels."""
    given = as_array(y, "y")
    if given.ndim == 2 and given.shape[1] > 1:
        soft = _soft_labels(given, n, "y")
        return None, soft, np.arange(soft.shape[1])
    labels = as_labels(y, n, "y")
    classes, columns = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ArgumentError(
            f"y: expected at least two classes to tell apart, got only {classes[0]!s}"
        )
    return columns.astype(np.int32), None, classes


def _soft_labels(given: ArrayLike, n: int, name: str) -> Floats:
    return np.ascontiguousarray(as_probs(given, name, (n, None)), dtype=np.float32)


def _weights(given: ArrayLike | None, n: int) -> Floats | None:
    if given is None:
        return None
    weights = as_floats(given, "sample_weight", (n,))
    if (weights < 0).any() or (weights > np.finfo(np.float32).max).any():
        raise ArgumentError(
            f"sample_weight: expected numbers >= 0 of 32 bits, got {weights.min():g} to "
            f"{weights.max():g}"
        )
    return np.ascontiguousarray(weights, dtype=np.float32)


def _split(
    labels: NDArray[np.int32], classes: int, fraction: float, last: bool, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    n = len(labels)
    if not last:
        train, held, n_train, n_held = _ambigcore.stratified_split(labels, classes, fraction, seed)
        return train[:n_train].copy(), held[:n_held].copy()
    if not 0 <= fraction < 1:
        raise ArgumentError(f"validation_split: expected at least 0 and below 1, got {fraction:g}")
    cut = int(n * (1 - fraction))
    index = np.arange(n, dtype=np.intp)
    if cut == 0:
        raise ArgumentError(f"X: expected more images, {n} leave none to train on")
    return index[:cut], index[cut:].copy()
