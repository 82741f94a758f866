"""What `CNN.fit` is given, checked and turned into the arrays that the core takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._network import number
from ambigmnist._validate import as_images, as_labels, check_labels_in
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
        labels, soft, self.classes = _targets(y, n)
        weights = _weights(sample_weight, n)
        if validation_data is None:
            split = number(validation_split, "validation_split")
            hard = labels if labels is not None else soft.argmax(axis=1).astype(np.int32)
            train, held = _split(hard, len(self.classes), split, split_last, seed)
            self.held: Examples | None = (images, labels, soft, None, held) if len(held) else None
            self._require_all_classes(hard[train], hard, len(held))
        else:
            train = np.arange(n, dtype=np.intp)
            self.held = self._validation(validation_data)
        if weights is not None and not weights[train].any():
            raise ArgumentError("sample_weight: expected a positive weight, got only zeros")
        self.train_index = train
        self.train: Examples = (images, labels, soft, weights, train)

    def _validation(self, data: tuple[ArrayLike, ArrayLike]) -> Examples:
        try:
            X, y = data
        except (TypeError, ValueError):
            raise ArgumentError("validation_data: expected a pair (X, y)") from None
        images = as_images(X, "validation_data: X")
        if images.shape[1:] != self.image_shape:
            raise ShapeError(
                f"validation_data: expected images of shape {self.image_shape}, "
                f"got {images.shape[1:]}"
            )
        if len(images) == 0:
            raise ArgumentError("validation_data: expected at least one image, got none")
        given = np.asarray(y)
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
        self, train: NDArray[np.int32], given: NDArray[np.int32], n_held: int
    ) -> None:
        missing = np.setdiff1d(given, train)
        if len(missing):
            raise ArgumentError(
                f"y: class {self.classes[missing[0]]!s} has no image in the training part (the "
                f"last {n_held} are held out): shuffle the images or pass validation_data"
            )


def _targets(y: ArrayLike, n: int) -> tuple[NDArray[np.int32] | None, Any, NDArray[Any]]:
    """(columns, None, classes) of class values, or (None, rows, classes) of soft labels."""
    given = np.asarray(y)
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


def _soft_labels(given: NDArray[Any], n: int, name: str) -> Floats:
    if given.dtype.kind not in "fiub":
        raise ArgumentError(f"{name}: expected numbers as soft labels, got dtype {given.dtype}")
    soft = np.ascontiguousarray(given, dtype=np.float32)
    if len(soft) != n:
        raise ShapeError(f"{name}: expected {n} rows, one per image, got {len(soft)}")
    if not (np.isfinite(soft).all() and (soft >= 0).all()):
        raise ArgumentError(f"{name}: expected probabilities, got negative or non-finite numbers")
    off = np.abs(soft.sum(axis=1, dtype=np.float64) - 1) > 1e-3
    if off.any():
        row = int(np.argmax(off))
        raise ArgumentError(
            f"{name}: expected rows that sum to 1, got {float(soft[row].sum()):g} in row {row}"
        )
    return soft


def _weights(given: ArrayLike | None, n: int) -> Floats | None:
    if given is None:
        return None
    try:
        weights = np.ascontiguousarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        raise ArgumentError("sample_weight: expected numbers") from None
    if weights.shape != (n,):
        raise ShapeError(f"sample_weight: expected shape ({n},), got {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ArgumentError("sample_weight: expected numbers >= 0, got negative or non-finite ones")
    return weights


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
