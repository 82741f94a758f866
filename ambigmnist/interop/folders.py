"""Folders of images, one per class, as ImageNet has them and torchvision reads them."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ambigmnist._files import PathLike, as_path
from ambigmnist._validate import as_images
from ambigmnist.datasets import Dataset
from ambigmnist.errors import ArgumentError, DataError, DataNotFoundError, DTypeError, FileError

__all__ = ["load_images", "save_images"]

NAMES = "classes.json"  # of folder names, the class values: not every name can be a folder
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def save_images(dataset: Dataset, path: PathLike) -> None:
    """Writes ``path/<class>/<index>.png`` for every image: all of it, or nothing.

    Pixels of uint8 are kept to the bit. Names that no file system, or not every one, takes for a
    folder are changed; ``classes.json`` has the classes as they were.

    Parameters
    ----------
    dataset : Dataset
        With labels; images of 1, 3 or 4 channels.
    path : str or os.PathLike
        A folder that does not exist yet, or is empty.

    Raises
    ------
    DTypeError, ArgumentError, FileError
        No data set with labels, other channels, a folder that has something in it, a full disk.

    Examples
    --------
    >>> import ambigmnist as am, tempfile
    >>> train, test = am.load_digits()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     am.interop.save_images(test[:20], f"{folder}/digits")
    ...     len(am.load_images(f"{folder}/digits"))
    20
    """
    from PIL import Image

    if not isinstance(dataset, Dataset):
        raise DTypeError(f"dataset: expected a Dataset, got {type(dataset).__name__}")
    if dataset.labels is None or dataset.classes is None:
        raise ArgumentError("dataset: expected labels, got none: pass labels= to Dataset")
    images = as_images(dataset.images)
    if images.shape[3] not in (1, 3, 4):
        raise ArgumentError(f"dataset: expected 1, 3 or 4 channels, got {images.shape[3]}")
    target = as_path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileError(f"{target}: expected a new or an empty folder: remove it, or name another")
    classes = dataset.classes.tolist()
    folders = dict(zip(classes, _folder_names(classes), strict=True))
    digits = len(str(max(len(images) - 1, 0)))
    try:
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent) as temporary:
            root = Path(temporary) / "images"
            root.mkdir()
            for name in folders.values():
                (root / name).mkdir()
            for i, (image, label) in enumerate(zip(images, dataset.labels.tolist(), strict=True)):
                pixels = image if image.dtype == np.uint8 else np.rint(image * 255).astype(np.uint8)
                picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
                picture.save(root / folders[label] / f"{i:0{digits}}.png")
            text = json.dumps({name: value for value, name in folders.items()}, ensure_ascii=False)
            (root / NAMES).write_text(text + "\n", "utf-8")
            if target.exists():
                target.rmdir()
            shutil.move(root, target)
    except OSError as error:
        raise FileError(f"{target}: cannot be written: {error.strerror or error}") from error


def _folder_names(classes: list[Any]) -> list[str]:
    """For each class a name that every file system takes, no two alike in any case."""
    taken: set[str] = {NAMES}
    names = []
    for value in classes:
        plain = re.sub(r"[^\w -]+", "_", str(value)).strip(" .")[:60]
        if not plain or plain.upper() in _DEVICES:
            plain = f"_{plain}"
        name, times = plain, 1
        while name.lower() in taken:
            times += 1
            name = f"{plain}~{times}"
        taken.add(name.lower())
        names.append(name)
    return names


_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{d}{i}" for d in ("COM", "LPT") for i in range(10))}


def load_images(path: PathLike, *, name: str | None = None) -> Dataset:
    """Reads ``path/<class>/<anything>.png`` (or .jpg, ...): what `save_images` wrote, or the like.

    Classes are the names of the folders, in their order, as integers where all of them are; with
    ``classes.json`` what that says. Images are in the order of their names, numbers by value, and
    where they are numbered across the folders, as `save_images` does, in that order.

    Parameters
    ----------
    path : str or os.PathLike
    name : str, optional
        Of the data set; by default that of the folder.

    Returns
    -------
    Dataset
        uint8; (n, h, w) where all are grey, otherwise (n, h, w, 3), or 4 where one is transparent.

    Raises
    ------
    DataNotFoundError, DataError
        No such folder, no images in it; an image that cannot be read, or of another size.

    Examples
    --------
    >>> import ambigmnist as am, tempfile
    >>> train, test = am.load_digits()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     am.interop.save_images(test[:20], f"{folder}/digits")
    ...     again = am.load_images(f"{folder}/digits")
    >>> bool((again.images == test.images[:20]).all() and (again.labels == test.labels[:20]).all())
    True
    """
    from PIL import Image

    root = as_path(path)
    if not root.is_dir():
        raise DataNotFoundError(f"{root}: expected a folder with a folder of images per class")
    folders = sorted((f for f in root.iterdir() if f.is_dir() and f.name[0] != "."), key=_natural)
    classes = _classes(root, [folder.name for folder in folders])
    files = [
        (file, classes[folder.name])
        for folder in folders
        for file in sorted(folder.iterdir(), key=_natural)
        if file.suffix.lower() in ENDINGS
    ]
    if not files:
        raise DataNotFoundError(
            f"{root}: expected images in a folder per class ({', '.join(ENDINGS)}), got none"
        )
    stems = [file.stem for file, _ in files]
    if all(stem.isdecimal() for stem in stems) and len(set(map(int, stems))) == len(stems):
        files.sort(key=lambda pair: int(pair[0].stem))
    pictures = []
    for file, _ in files:
        try:
            with Image.open(file) as image:
                image.load()
                pictures.append((file, image.copy()))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{file}: expected an image, got: {error}") from error
    first, size = pictures[0][0], pictures[0][1].size
    for file, picture in pictures:
        if picture.size != size:
            raise DataError(
                f"{file}: expected {size[0]} x {size[1]} pixels as {first.name} has, got "
                f"{picture.size[0]} x {picture.size[1]}: bring all images to one size"
            )
    modes = {picture.mode for _, picture in pictures}
    mode = "L" if modes <= {"1", "L"} else "RGBA" if modes & {"RGBA", "LA", "PA"} else "RGB"
    return Dataset(
        np.stack([np.asarray(picture.convert(mode)) for _, picture in pictures]),
        [value for _, value in files],
        classes=list(classes.values()),
        name=root.resolve().name if name is None else name,
    )


def _natural(path: Path) -> list[tuple[int, str]]:
    """Names in order, numbers in them by value."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _classes(root: Path, names: list[str]) -> dict[str, Any]:
    """The class of each folder, in the order of the classes."""
    file = root / NAMES
    if file.exists():
        try:
            known = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise DataError(f"{file}: expected JSON, got: {error}") from None
        values = list(known.values()) if isinstance(known, dict) else None
        if values is None or set(known) != set(names):
            raise DataError(f"{file}: expected an object with the class of every folder beside it")
        if {type(v) for v in values} not in ({int}, {str}) or len(set(values)) < len(values):
            raise DataError(f"{file}: expected classes, all numbers or all names, each once")
        return dict(known)
    if all(re.fullmatch(r"0|[1-9]\d{0,8}", name) for name in names):
        return {name: int(name) for name in names}
    return {name: name for name in names}
