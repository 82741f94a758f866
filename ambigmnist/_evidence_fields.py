"""The fields of an evidence: which there are, of what types, and how the odd ones are checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

__all__ = ["AXES", "DYNAMICS", "NEAREST", "as_flags", "as_nearest", "as_records"]

# Which axis of each field runs over the images.
AXES = {
    "probs": 0,
    "labels": 0,
    "images": 0,
    "logits": 0,
    "members": 1,
    "mc": 1,
    "augmented": 1,
    "history": 1,
    "dynamics": 0,
    "embeddings": 0,
    "nearest": 0,
    "fold": 0,
    "split": 0,
    "in_sample": 0,
}

# Statistics of an image's training history; NaN: not recorded.
DYNAMICS = np.dtype(
    [
        ("runs", np.float64),  # trainings that the means below go over
        ("aum", np.float64),  # mean over epochs of z_g - max_{j != g} z_j
        ("confidence", np.float64),  # mean over epochs of p_g
        ("variability", np.float64),  # standard deviation over epochs of p_g
        ("correctness", np.float64),  # share of the epochs that predict g
        ("forgetting", np.float64),  # how often right turned into wrong from one epoch to the next
        ("first_learned", np.float64),  # the first epoch that predicts g, from 1; never: epochs + 1
        ("el2n", np.float64),  # |p - onehot(g)| in an early epoch
        ("grand", np.float64),  # |gradient of the loss by all weights| after an early epoch
        ("vog", np.float64),  # spread over epochs of d z_g / d pixels, in units of its class's
    ]
)

# The nearest other images, nearest first: which (in the numbering of the whole audit), how far
# (Euclidean), and the column of its label.
NEAREST = np.dtype([("index", np.intp), ("distance", np.float64), ("label", np.intp)])


def as_records(
    values: Any, dtype: np.dtype[np.void], shape: tuple[int | None, ...], name: str
) -> NDArray[np.void]:
    """A structured array of exactly these fields."""
    if not isinstance(values, np.ndarray) or values.dtype.names != dtype.names:
        got = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        fields = ", ".join(dtype.names or ())
        raise DTypeError(f"{name}: expected a structured array with the fields {fields}, got {got}")
    fits = all(want in (None, got) for want, got in zip(shape, values.shape, strict=False))
    if values.ndim != len(shape) or not fits:
        raise ShapeError(f"{name}: expected {shape[0]} records, one per image, got {values.shape}")
    return values.astype(dtype)


def as_nearest(values: Any, n: int, k: int) -> NDArray[np.void]:
    """Records NEAREST (n, q) with labels that are columns, or -1: none."""
    nearest = as_records(values, NEAREST, (n, None), "nearest")
    bad = (nearest["label"] < -1) | (nearest["label"] >= k)
    if bad.any():
        raise ArgumentError(
            f"nearest: expected labels -1 to {k - 1}, got {nearest['label'][bad][0]}"
        )
    return nearest


def as_flags(values: Any, n: int, name: str) -> NDArray[np.bool_]:
    """Booleans (n,); one value stands for all."""
    flags = np.asarray(values)
    if flags.dtype.kind != "b":
        raise DTypeError(f"{name}: expected booleans, got dtype {flags.dtype}")
    if flags.shape not in ((), (n,)):
        raise ShapeError(f"{name}: expected one value or {n}, one per image, got {flags.shape}")
    return np.broadcast_to(flags, (n,)).copy()
