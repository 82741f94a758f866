"""What the page is told about each image: columns of numbers, as base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist.evidence import Evidence, Indices

__all__ = ["cloud", "column", "nearest_of_both", "probabilities", "readings_of", "shares"]

_TYPES = {"u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "i32": np.int32, "f32": np.float32}
_LEAST = 5e-4  # a smaller probability is told only of the label and the first three readings
_BLOCK = 256  # images compared with a whole class at once
_REST = 2500  # images of the others that a cloud shows


def column(values: Any, kind: str) -> dict[str, str]:
    """Numbers, little-endian, as base64."""
    array = np.ascontiguousarray(values, np.dtype(_TYPES[kind]).newbyteorder("<"))
    return {"t": kind, "d": base64.b64encode(array.tobytes()).decode()}


def shares(values: NDArray[np.floating]) -> dict[str, str]:
    """Numbers in 0..1 in units of 1/65535; what is not certain never rounds to 1."""
    whole = np.rint(np.asarray(values, np.float64).clip(0, 1) * 65535)
    return column(np.where(values < 1, np.minimum(whole, 65534), whole), "u16")


def readings_of(probs: NDArray[np.floating]) -> NDArray[np.intp]:
    """The columns of each row by their probability, (n, k), largest first, equal ones by index."""
    return np.argsort(-probs, axis=1, kind="stable")


def probabilities(ev: Evidence, shown: Indices) -> dict[str, Any]:
    """Of each image those of its classes that say something, in units of 1/65535, row by row."""
    probs = np.array(ev.probs[shown], np.float64)
    listed = probs >= _LEAST
    np.put_along_axis(listed, readings_of(probs)[:, :3], True, axis=1)
    listed[np.arange(len(shown)), ev.given_index[shown]] = True
    row, which = np.nonzero(listed)
    start = np.searchsorted(row, np.arange(len(shown) + 1))
    return {
        "start": column(start, "u32"),
        "class": column(which, "u8" if ev.k <= 256 else "u16"),
        "value": shares(probs[row, which]),
    }


def nearest_of_both(
    ev: Evidence, shown: Indices, readings: NDArray[np.intp], each: int
) -> NDArray[np.intp]:
    """Of each image the nearest others with the label readings[i, 0], and with readings[i, 1].

    By the embeddings, or by the pixels where there are none. (m, 2, each) indices, -1 where there
    are fewer.
    """
    assert ev.images is not None
    space = ev.images.reshape(ev.n, -1) if ev.embeddings is None else ev.embeddings
    found = np.full((len(shown), 2, each), -1, np.intp)
    for c in range(ev.k):
        members = np.flatnonzero(ev.given_index == c)
        vectors = space[members].astype(np.float64)
        squares = (vectors**2).sum(axis=1)
        asked, which = np.nonzero(readings == c)
        for start in range(0, len(asked), _BLOCK):
            part = slice(start, start + _BLOCK)
            images = shown[asked[part]]
            # |a - b|^2 less |a|^2, which does not change the order
            distance = squares - 2 * (space[images].astype(np.float64) @ vectors.T)
            distance[images[:, np.newaxis] == members] = np.inf  # not its own neighbour
            order = _smallest(distance, each)
            near = members[order]
            near[np.isinf(np.take_along_axis(distance, order, axis=1))] = -1
            found[asked[part], which[part], : near.shape[1]] = near
    return found


def _smallest(rows: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """The places of the k smallest of each row, smallest first, equal ones by place."""
    if k >= rows.shape[1]:
        return np.argsort(rows, axis=1, kind="stable")
    limit = np.partition(rows, k - 1, axis=1)[:, k - 1]
    order = np.empty((len(rows), k), np.intp)
    for i, row in enumerate(rows):
        few = np.flatnonzero(row <= limit[i])
        order[i] = few[np.argsort(row[few], kind="stable")][:k]
    return order


def cloud(
    ev: Evidence, x: NDArray[Any], y: NDArray[Any], shown: Indices, others: Indices
) -> dict[str, Any]:
    """Images in a plane: those shown, and some of the others to see them among."""
    some = others[:: max(1, -(-len(others) // _REST))]

    def places(values: NDArray[Any], rows: Indices) -> dict[str, str]:
        low, high = float(values.min()), float(values.max())
        return column(np.rint((values[rows] - low) / ((high - low) or 1.0) * 65535), "u16")

    return {
        "x": places(x, shown),
        "y": places(y, shown),
        "rest_x": places(x, some),
        "rest_y": places(y, some),
        "rest_label": column(ev.given_index[some], "u16"),
    }
