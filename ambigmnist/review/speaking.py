"""What speaks for one reading, and what for another: blank a patch, see which of them loses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist.evidence import Indices

if TYPE_CHECKING:
    from ambigmnist.model import CNN

__all__ = ["LEVELS", "patches"]

LEVELS = 7  # steps on either side of none
SIDE = 14  # places along a side, at most
_BLOCK = 64  # images at a time


def patches(model: CNN, images: NDArray[Any], first: Indices, second: Indices) -> NDArray[np.int8]:
    """How much the log odds of `first` against `second` fall when a patch is blanked.

    Images (m, h, w, c); (m, rows, cols) in -LEVELS..LEVELS, scaled to the largest of each image.
    A patch is twice as wide as the places are apart, and blanked with the darkest pixel.
    """
    m, h, w, _ = images.shape
    rows, cols = min(SIDE, h), min(SIDE, w)
    fall = np.zeros((m, rows, cols))
    empty = images.min() if images.size else 0
    for start in range(0, m, _BLOCK):
        part = slice(start, start + _BLOCK)
        block = images[part]
        n = np.arange(len(block))
        logits = model.logits(block)
        odds = logits[n, first[part]] - logits[n, second[part]]
        blanked = np.repeat(block[np.newaxis], rows * cols, axis=0)
        for k in range(rows * cols):
            y, x = (k // cols) * h // rows, (k % cols) * w // cols
            high, wide = -(-h // rows), -(-w // cols)
            blanked[k, :, max(0, y - high // 2) : y + high + high // 2,
                    max(0, x - wide // 2) : x + wide + wide // 2] = empty  # fmt: skip
        found = model.logits(blanked.reshape(-1, *block.shape[1:])).reshape(rows * cols, len(n), -1)
        left = found[:, n, first[part]] - found[:, n, second[part]]
        fall[part] = (odds - left).T.reshape(len(n), rows, cols)
    most = np.abs(fall).max(axis=(1, 2), keepdims=True, initial=0)
    scaled = np.divide(fall, most, out=np.zeros_like(fall), where=most > 0)
    levels: NDArray[np.int8] = np.rint(scaled * LEVELS).astype(np.int8)
    return levels
