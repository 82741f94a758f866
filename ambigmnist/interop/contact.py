"""A contact sheet: many images on one picture, each with a line of text."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist._files import PathLike, as_path, atomic_write
from ambigmnist._validate import as_images, as_int
from ambigmnist.datasets import Dataset
from ambigmnist.errors import ArgumentError, DTypeError
from ambigmnist.evidence import Evidence
from ambigmnist.ranking import Ranking

__all__ = ["contact_sheet"]

GAP, LINE = 8, 14  # pixels between images, and for the text below each


def contact_sheet(
    what: Ranking | Evidence | Dataset,
    path: PathLike,
    *,
    columns: int = 12,
    scale: int | None = None,
) -> None:
    """Writes one PNG of all images, in their order: index, and reading → label where known.

    Every pixel of an image is a square of `scale` pixels; the same images give the same bytes.

    Parameters
    ----------
    what : Ranking, Evidence or Dataset
        With images. Of a ranking in its order: ``am.rank(ev, k=96)``.
    path : str or os.PathLike
        Written complete, or not at all.
    columns : int
        Images in a row.
    scale : int, optional
        By default what makes an image about 84 pixels wide.

    Raises
    ------
    DTypeError, ArgumentError, FileError
        Nothing with images, none of them, too many for one picture, a full disk.

    Examples
    --------
    >>> import ambigmnist as am, tempfile
    >>> from PIL import Image
    >>> train, test = am.load_digits()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     am.interop.contact_sheet(test[:24], f"{folder}/sheet.png", columns=12)
    ...     with Image.open(f"{folder}/sheet.png") as sheet:
    ...         sheet.size
    (1112, 220)
    """
    from PIL import Image, ImageDraw

    images, titles = _pictures(what)
    columns = as_int(columns, "columns", least=1)
    n, h, w, c = images.shape
    if n == 0:
        raise ArgumentError("what: expected at least one image, got none")
    scale = max(1, round(84 / w)) if scale is None else as_int(scale, "scale", least=1)
    columns = min(columns, n)
    rows = -(-n // columns)
    wide, high = w * scale + GAP, h * scale + LINE + GAP
    if max(columns * wide, rows * high) + GAP > 65_500:  # what common readers of PNG take
        raise ArgumentError(
            f"what: expected fewer images on one picture, got {n}: rank(ev, k=1000), "
            "or a smaller scale"
        )
    mode, ground, ink = ("RGB", (255, 255, 255), (0, 0, 0)) if c > 1 else ("L", 255, 0)
    sheet = Image.new(mode, (columns * wide + GAP, rows * high + GAP), ground)
    draw = ImageDraw.Draw(sheet)
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        x, y = GAP + i % columns * wide, GAP + i // columns * high
        picture = Image.fromarray(image[..., 0] if c == 1 else image)
        sheet.paste(picture.resize((w * scale, h * scale), Image.Resampling.NEAREST), (x, y))
        draw.text((x, y + h * scale + 1), _fitting(draw, title, w * scale), fill=ink)
    buffer = io.BytesIO()
    sheet.save(buffer, "png", optimize=True)
    atomic_write(as_path(path), buffer.getvalue())


def _fitting(draw: Any, text: str, room: int) -> str:
    """As much of the text as there is room for; what the built-in letters lack is a "?"."""
    text = (
        "".join(c if c.isprintable() else "?" for c in text)
        .encode("latin-1", "replace")
        .decode("latin-1")
    )
    while text and draw.textlength(text) > room:
        text = text[:-1]
    return text


def _pictures(what: Any) -> tuple[NDArray[np.uint8], list[str]]:
    from ambigmnist.review.sheets import as_tiles

    if isinstance(what, Dataset):
        rows = np.arange(len(what))
        images: Any = as_images(what.images)
        read: list[str] | None = None
        given = None if what.labels is None else [str(label) for label in what.labels]
    elif isinstance(what, Ranking | Evidence):
        ev = what if isinstance(what, Evidence) else what.evidence
        rows = np.arange(ev.n) if isinstance(what, Evidence) else what.indices
        if ev.images is None:
            raise ArgumentError("what: expected images, got none: pass images= to Evidence")
        images = ev.images[rows]
        read = [str(label) for label in ev.predicted[rows]]
        given = None if ev.labels is None else [str(label) for label in ev.labels[rows]]
    else:
        raise DTypeError(
            f"what: expected a Ranking, an Evidence or a Dataset, got {type(what).__name__}"
        )
    titles = []
    for place, i in enumerate(rows.tolist()):
        words = [str(i)]
        if read is not None:
            words.append(read[place] if given is None else f"{read[place]}->{given[place]}")
        elif given is not None:
            words.append(given[place])
        titles.append(" ".join(words))
    return as_tiles(images, largest=None), titles
