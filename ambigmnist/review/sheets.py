"""Pictures of a report: many images on one PNG, pixel for pixel."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "PER_SHEET", "as_tiles", "mostly_dark", "png_uri", "sheets"]

COLUMNS, PER_SHEET = 40, 1000
LARGEST = 96  # a side; larger images are reduced


def as_tiles(images: NDArray[Any], *, largest: int | None = LARGEST) -> NDArray[np.uint8]:
    """Images (n, h, w, c) as uint8, with 1 or 3 channels, no side longer than `largest`."""
    tiles: NDArray[np.uint8] = images if images.dtype == np.uint8 else _as_bytes(images)
    if tiles.shape[3] == 4:  # on white
        alpha = tiles[..., 3:].astype(np.uint16)
        tiles = ((tiles[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
    elif tiles.shape[3] != 3:
        tiles = tiles[..., :1]
    times = 1 if largest is None else -(-max(tiles.shape[1:3]) // largest)
    return tiles if times <= 1 else _reduced(tiles, times)


def _as_bytes(images: NDArray[Any]) -> NDArray[np.uint8]:
    whole: NDArray[np.uint8] = np.rint(images * 255).astype(np.uint8)
    return whole


def _reduced(images: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """Every square of `times` x `times` pixels as its mean; a last, narrower one too."""
    n, h, w, c = images.shape
    high, wide = -(-h // times), -(-w // times)
    out = np.empty((n, high, wide, c), np.uint8)
    for i, image in enumerate(images):
        padding = ((0, high * times - h), (0, wide * times - w), (0, 0))
        padded = np.pad(image, padding, mode="edge").reshape(high, times, wide, times, c)
        out[i] = np.rint(padded.mean(axis=(1, 3)))
    return out


def mostly_dark(tiles: NDArray[np.uint8]) -> bool:
    """Whether these are light strokes on black, which a light page shows the other way round."""
    return tiles.shape[3] == 1 and len(tiles) > 0 and float(tiles.mean()) < 127.5


def sheets(tiles: NDArray[np.uint8]) -> list[str]:
    """PNG files as data URIs, `PER_SHEET` images each, `COLUMNS` in a row."""
    return [
        png_uri(tiles[start : start + PER_SHEET], COLUMNS)
        for start in range(0, len(tiles), PER_SHEET)
    ]


def png_uri(tiles: NDArray[np.uint8], columns: int) -> str:
    """Images (n, h, w, c) side by side on one PNG, as a data URI."""
    from PIL import Image

    n, h, w, c = tiles.shape
    rows = max(1, -(-n // columns))
    whole = np.zeros((rows * columns, h, w, c), np.uint8)
    whole[:n] = tiles
    sheet = whole.reshape(rows, columns, h, w, c).swapaxes(1, 2).reshape(rows * h, columns * w, c)
    buffer = io.BytesIO()
    Image.fromarray(sheet[..., 0] if c == 1 else sheet).save(buffer, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
