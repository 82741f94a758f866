"""Small pictures in what a notebook prints: PNGs inside the HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ambigmnist.evidence import Evidence
    from ambigmnist.model import CNN

__all__ = ["SHOWN", "of_evidence", "of_network", "picture", "strip"]

SHOWN = 12  # pictures in a row of them
FILTERS = 32  # of the first layer, at most
SIDE = 56  # pixels on the screen, about


def picture(image: NDArray[Any], alt: str = "") -> str:
    """An image (h, w, c) as an ``<img>`` element, its pixels enlarged without blur."""
    from ambigmnist.review.sheets import as_tiles, png_uri

    tile = as_tiles(image[None])
    h, w = tile.shape[1:3]
    times = max(1, round(SIDE / max(h, w)))
    return (
        f'<img src="{png_uri(tile, 1)}" alt="{escape(alt)}" width="{w * times}" '
        f'height="{h * times}" style="image-rendering:pixelated">'
    )


def of_evidence(ev: Evidence, indices: Iterable[int]) -> list[str] | None:
    """The pictures of some images of an evidence; None where it has no images."""
    if ev.images is None:
        return None
    return [picture(ev.images[i], f"image {i}") for i in indices]


def strip(pictures: Iterable[str], titles: Iterable[str]) -> str:
    """Pictures beside each other, each with a line of text below."""
    cells = "".join(
        f'<figure style="display:inline-block;margin:2px 6px;text-align:center">{one}'
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for one, title in zip(pictures, titles, strict=True)
    )
    return f"<div>{cells}</div>"


def of_network(model: CNN) -> str:
    """A network's text and layers; once fitted, what became of it and its first filters."""
    text = f"<p>{escape(repr(model))}</p>{model.summary()._repr_html_()}"
    if not hasattr(model, "_network"):
        return f"{text}<p>not fitted</p>"
    if len(model.history.get("loss", ())):
        last = {name: float(v[-1]) for name, v in model.history.items() if name != "seconds"}
        told = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
        text += f"<p>{len(model.history['loss'])} epochs: {escape(told)}</p>"
    first = model._layers[0]
    if first.kind != "conv":
        return text
    # (h, w, channels, filters) in the core's order
    shape = (first.size, first.size, model._image_shape[2], first.units)
    filters = model._network.get_params()[: int(np.prod(shape))].reshape(shape)
    filters = np.moveaxis(filters, 3, 0)[:FILTERS]
    low, high = float(filters.min()), float(filters.max())
    pictures = [
        picture((one - low) / ((high - low) or 1), f"filter {i}") for i, one in enumerate(filters)
    ]
    titles = map(str, range(len(pictures)))
    return f"{text}<p>filters of the first layer:</p>{strip(pictures, titles)}"
