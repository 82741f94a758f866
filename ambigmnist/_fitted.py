"""Which images a network was fitted to, told by a hash of their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist.config import resolve_threads

__all__ = ["NOTHING", "fitted_hashes", "image_hashes", "in_sample"]

Hashes = NDArray[np.uint64]

NOTHING: Hashes = np.empty(0, np.uint64)
_BLOCK = 4096  # images hashed together where NumPy needs temporary arrays


def image_hashes(images: NDArray[Any]) -> Hashes:
    """64 bits per image of (n, h, w, c): equal for equal images, also for uint8 x and x / 255."""
    threads = resolve_threads(None)
    hashes = np.empty(len(images), np.uint64)
    for begin in range(0, len(images), _BLOCK):
        part = images[begin : begin + _BLOCK]
        part = part.reshape(len(part), -1)
        if part.dtype == np.uint8:
            found = _ambigcore.image_hashes(part, threads)
        else:
            levels = np.rint(part * np.float32(255))
            other = (part != levels / np.float32(255)).any(axis=1)
            found = _ambigcore.image_hashes(levels.astype(np.uint8), threads)
            rest = part[other] + np.float32(0)  # -0 is equal to 0
            found[other] = _ambigcore.image_hashes(rest.view(np.uint8), threads)
        hashes[begin : begin + _BLOCK] = found
    return hashes


def fitted_hashes(
    images: NDArray[Any], rows: NDArray[np.intp], before: Hashes | None
) -> Hashes | None:
    """Those of the images `rows` and those of `before`, sorted; None: not all are known."""
    return None if before is None else np.union1d(image_hashes(images)[rows], before)


def in_sample(images: NDArray[Any], fitted: Hashes | None) -> NDArray[np.bool_] | None:
    """Whether each image is one of those `fitted`; None where these are not known."""
    if fitted is None:
        return None
    hashes = image_hashes(images)
    places = np.minimum(np.searchsorted(fitted, hashes), len(fitted) - 1)
    there: NDArray[np.bool_] = fitted[places] == hashes
    return there
