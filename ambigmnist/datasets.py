"""Labelled images: loading and checking them, and one small type that keeps them together."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist._files import PathLike, as_path
from ambigmnist._idx import parse_idx, read_idx_payload, save_idx
from ambigmnist._validate import as_classes, as_images, as_labels, check_labels_in
from ambigmnist.errors import AmbigError, ArgumentError, DataError, DTypeError, ShapeError

__all__ = [
    "Dataset",
    "find_mnist",
    "load_digits",
    "load_idx",
    "load_mnist",
    "save_idx",
]

if TYPE_CHECKING:
    from ambigmnist._mnist import MnistLocation

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Dataset:
    """Images and what they are said to show.

    Unpacks as ``X, y``; ``len``, slices, index arrays and masks work along the images; ``a + b``
    puts one data set behind another. The arrays are read-only views: nothing is copied that is in
    order already.

    Parameters
    ----------
    images : array_like
        (n, h, w), (n, h, w, channels) or (n, h * w) with h = w; integers 0..255 or floats 0..1.
    labels : array_like, optional
        (n,) class values, integers or strings.
    classes : array_like, optional
        All class values, in the order of the columns of probabilities. By default the distinct
        labels, sorted.
    name : str, optional
    split : str or array_like of str, optional
        Which part the images belong to, such as ``"train"``: one word, or one per image.

    Attributes
    ----------
    images : ndarray
        (n, h, w) or (n, h, w, channels), uint8 or float32.
    labels : ndarray or None
        (n,), int64 or str.
    classes : ndarray or None
        (k,); None without labels and classes.
    name : str
    split : ndarray or None
        (n,) str.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        The parts do not fit each other or make no sense.

    Examples
    --------
    >>> import numpy as np
    >>> data = Dataset(np.zeros((3, 8, 8), np.uint8), [4, 9, 4], name="three", split="test")
    >>> data
    Dataset('three', 3 images 8 x 8 uint8, 2 classes, split test: 3)
    >>> X, y = data[data.labels == 4]
    >>> X.shape, y.tolist()
    ((2, 8, 8), [4, 4])
    """

    images: Array
    labels: Array | None
    classes: Array | None
    name: str
    split: Array | None

    def __init__(
        self,
        images: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        classes: ArrayLike | None = None,
        name: str = "",
        split: str | ArrayLike | None = None,
    ) -> None:
        pixels = as_images(images)
        if pixels.shape[3] == 1 and np.ndim(images) != 4:
            pixels = pixels[..., 0]
        n = len(pixels)
        values = None if labels is None else as_labels(labels, n)
        columns = None if classes is None else as_classes(classes)
        if values is not None and columns is None:
            columns = np.unique(values)
        elif values is not None and columns is not None:
            check_labels_in(values, columns)
        if not isinstance(name, str):
            raise DTypeError(f"name: expected a str, got {type(name).__name__}")
        for field, value in (
            ("images", _read_only(pixels)),
            ("labels", _read_only(values)),
            ("classes", _read_only(columns)),
            ("name", name),
            ("split", _read_only(_as_split(split, n))),
        ):
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Array | None]:
        """``X, y = dataset``."""
        return iter((self.images, self.labels))

    def __getitem__(self, index: Any) -> "Dataset":
        """The images at a slice, an index array or a mask; one index gives a data set of one."""
        rows = _as_rows(index, len(self))
        return Dataset(
            self.images[rows],
            None if self.labels is None else self.labels[rows],
            classes=self.classes,
            name=self.name,
            split=None if self.split is None else self.split[rows],
        )

    def __add__(self, other: object) -> "Dataset":
        if not isinstance(other, Dataset):
            return NotImplemented
        a, b = self.images, other.images
        if a.shape[1:] != b.shape[1:]:
            raise ShapeError(
                f"+: expected images of the same size, got {a.shape[1:]} and {b.shape[1:]}"
            )
        if a.dtype != b.dtype:
            raise DTypeError(
                f"+: expected images of the same type, got {a.dtype} and {b.dtype}: "
                "divide the uint8 ones by 255"
            )
        if (self.labels is None) != (other.labels is None):
            raise ArgumentError("+: expected labels on both sides or on neither, got one side")
        split = None
        if self.split is not None or other.split is not None:
            split = np.concatenate([_split_or_blank(self), _split_or_blank(other)])
        labels = None
        if self.labels is not None and other.labels is not None:
            if self.labels.dtype.kind != other.labels.dtype.kind:
                raise DTypeError("+: expected labels of the same kind, got integers and strings")
            labels = np.concatenate([self.labels, other.labels])
        return Dataset(
            np.concatenate([a, b]),
            labels,
            classes=_united(self.classes, other.classes),
            name="+".join(dict.fromkeys(n for n in (self.name, other.name) if n)),
            split=split,
        )

    @cached_property
    def sha256(self) -> str:
        """What the data are, as 64 hexadecimal digits: images and labels, nothing else.

        The SHA-256 of a line ``images <u1 (n, h, w, c)`` (or ``<f4``), the pixels in C order and
        little-endian, a line ``labels <i8 (n,)``, and the labels as little-endian int64. String
        labels give ``labels json (n,)`` and a JSON list; no labels give ``labels none``. Each
        line ends with a newline.
        """
        import hashlib
        import json

        n, h, w = self.images.shape[:3]
        c = 1 if self.images.ndim == 3 else self.images.shape[3]
        pixel = "<f4" if self.images.dtype.kind == "f" else "<u1"
        digest = hashlib.sha256(f"images {pixel} {(n, h, w, c)}\n".encode())
        digest.update(self.images.astype(pixel, copy=False).ravel().data)
        if self.labels is None:
            digest.update(b"labels none\n")
        elif self.labels.dtype.kind == "U":
            digest.update(f"labels json ({n},)\n{json.dumps(self.labels.tolist())}".encode())
        else:
            digest.update(f"labels <i8 ({n},)\n".encode())
            digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        size = " x ".join(str(s) for s in self.images.shape[1:])
        parts = [repr(self.name)] if self.name else []
        parts.append(f"{len(self)} images {size} {self.images.dtype}")
        if self.labels is None:
            parts.append("no labels")
        elif self.classes is not None:
            parts.append(f"{len(self.classes)} classes")
        if self.split is not None:
            words, counts = np.unique(self.split, return_counts=True)
            listed = ", ".join(f"{w or '?'}: {c}" for w, c in zip(words, counts, strict=True))
            parts.append(f"split {listed}" if listed else "split none")
        return f"Dataset({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """The text, and the first images of every class in turn."""
        from html import escape

        from ambigmnist._thumbnails import SHOWN, picture, strip

        rows = np.arange(min(len(self), SHOWN))
        if self.labels is not None and len(self):
            _, numbers = np.unique(self.labels, return_inverse=True)
            order = np.argsort(numbers, kind="stable")  # by class, then by index
            starts = np.searchsorted(numbers[order], numbers[order])
            place = np.arange(len(self)) - starts  # of each image within its class
            rows = order[np.argsort(place, kind="stable")][:SHOWN]
        titles = [str(i) if self.labels is None else str(self.labels[i]) for i in rows]
        shown = [picture(as_images(self.images[i : i + 1])[0], f"image {i}") for i in rows]
        return f"<p>{escape(repr(self))}</p>{strip(shown, titles)}"


def _read_only(array: Array | None) -> Array | None:
    if array is None:
        return None
    view = array.view()
    view.flags.writeable = False
    return view


def _as_split(split: Any, n: int) -> Array | None:
    if split is None:
        return None
    if isinstance(split, str):
        return np.broadcast_to(np.array(split), (n,))
    words = as_labels(split, n, "split")
    if words.dtype.kind != "U" and n:
        raise DTypeError(f"split: expected a str or one per image, got {words.dtype}")
    return words.astype(np.str_)


def _split_or_blank(data: Dataset) -> Array:
    return np.full(len(data), "") if data.split is None else data.split


def _united(a: Array | None, b: Array | None) -> Array | None:
    """The classes of both: as they are when equal, otherwise all of them, sorted."""
    if a is None or b is None:
        return b if a is None else a
    return a if np.array_equal(a, b) else np.union1d(a, b)


def _as_rows(index: Any, n: int) -> Any:
    if isinstance(index, slice):
        return index
    rows = np.asarray(index)
    if rows.size == 0 and rows.ndim == 1 and rows.dtype.kind != "b":
        rows = rows.astype(np.intp)
    if rows.ndim > 1 or rows.dtype.kind not in "iub" or (rows.ndim == 0 and rows.dtype == bool):
        raise DTypeError(
            "index: expected a slice, an integer, an array of indices or a mask of shape "
            f"({n},), got {type(index).__name__} of dtype {rows.dtype} and shape {rows.shape}"
        )
    if rows.dtype == bool:
        if len(rows) != n:
            raise ShapeError(f"index: expected a mask of {n}, one per image, got {len(rows)}")
    elif rows.size and not (-n <= int(rows.min()) and int(rows.max()) < n):
        bad = int(rows.min()) if int(rows.min()) < -n else int(rows.max())
        raise ArgumentError(f"index: expected -{n} to {n - 1}, got {bad}")
    return np.atleast_1d(rows)


def load_mnist(*, path: PathLike | None = None, download: bool = False) -> tuple[Dataset, Dataset]:
    """The 70,000 digits of MNIST: 60,000 to train with, 10,000 to test.

    Looked for in this order: `path` and nowhere else; the folder that ``AMBIGMNIST_DATA`` names,
    or ``mnist`` inside it; the own cache (``~/.cache/ambigmnist``); where torchvision and Keras
    keep it. The decompressed files are checked against the SHA-256 of the real ones.

    Parameters
    ----------
    path : str or os.PathLike, optional
        A folder with the four IDX files, raw or ``.gz`` (or with ``mnist``, ``raw`` or
        ``MNIST/raw`` inside), or the ``mnist.npz`` of Keras.
    download : bool, default False
        Fetch it into the own cache (11 MB) when it is in none of these places. Without this no
        call touches the network.

    Returns
    -------
    train, test : Dataset
        Images (60000, 28, 28) and (10000, 28, 28) uint8, labels 0..9.

    Raises
    ------
    DataNotFoundError
        In none of the places, or no mirror could be reached; the message lists all.
    DataError
        A file is there but not MNIST's.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document
    recognition. Proceedings of the IEEE 86 (1998).

    Examples
    --------
    >>> train, test = load_mnist()  # doctest: +SKIP
    >>> train, test = load_digits()  # of the same form, and always there
    >>> X, y = test
    >>> X.shape, X.dtype, y.shape
    ((899, 28, 28), dtype('uint8'), (899,))
    """
    return _load_mnist(path, download)


def _load_mnist(
    path: PathLike | None, download: bool, timeout: float | None = None
) -> tuple[Dataset, Dataset]:
    """`load_mnist`; the whole download may take `timeout` seconds."""
    from ambigmnist._mnist import load_arrays

    arrays = load_arrays(path, download, timeout)
    train, test = (
        Dataset(*arrays[i : i + 2], classes=np.arange(10), name="mnist", split=split)
        for i, split in ((0, "train"), (2, "test"))
    )
    return train, test


def find_mnist(path: PathLike | None = None) -> "MnistLocation | None":
    """Where `load_mnist` would read from, or None; looks at names only, opens nothing.

    Parameters
    ----------
    path : str or os.PathLike, optional
        Look there and nowhere else.

    Returns
    -------
    MnistLocation or None
        With ``source`` (``"path"``, ``"AMBIGMNIST_DATA"``, ``"cache"``, ``"torchvision"`` or
        ``"Keras"``) and ``path``; ``str`` of it says both.
    """
    from ambigmnist import _mnist

    return _mnist.find_mnist(path)


_DIGITS = Path(__file__).with_name("data") / "digits.npz"


def load_digits() -> tuple[Dataset, Dataset]:
    """1,797 real handwritten digits that come with the package, in MNIST's form.

    The 8 x 8 images with values 0..16 are scaled by 255/16 and enlarged to 28 x 28 by bilinear
    interpolation between the centres of the pixels, in integers, so that the bits are the same
    everywhere. Of the images sorted by class, every second one is a test image.

    Returns
    -------
    train, test : Dataset
        898 and 899 images (n, 28, 28) uint8, labels 0..9.

    References
    ----------
    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning
    Repository (1998), https://doi.org/10.24432/C50P49, CC BY 4.0.

    Examples
    --------
    >>> train, test = load_digits()
    >>> train
    Dataset('digits', 898 images 28 x 28 uint8, 10 classes, split train: 898)
    """
    with np.load(_DIGITS, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    by_class = np.argsort(labels, kind="stable")
    train, test = (
        Dataset(
            _enlarge(images[rows]),
            labels[rows],
            classes=np.arange(10),
            name="digits",
            split=split,
        )
        for rows, split in ((np.sort(by_class[1::2]), "train"), (np.sort(by_class[::2]), "test"))
    )
    return train, test


def _enlarge(images: Array) -> Array:
    """(n, 8, 8) values 0..16 to (n, 28, 28) values 0..255, rounded half up; integers only."""
    # The centre of new pixel i lies at (i + 1/2) * 8/28 - 1/2 = (4 i - 5) / 14 old pixels.
    position = np.clip(4 * np.arange(28) - 5, 0, 7 * 14)
    left, part = np.divmod(position, 14)
    weights = np.zeros((28, 8), np.int64)
    weights[np.arange(28), left] += 14 - part
    weights[np.arange(28), np.minimum(left + 1, 7)] += part
    sums = weights @ images.astype(np.int64) @ weights.T
    unit = 14 * 14 * 16
    return ((2 * 255 * sums + unit) // (2 * unit)).astype(np.uint8)


def load_idx(
    images: PathLike, labels: PathLike | None = None, *, classes: ArrayLike | None = None
) -> Dataset:
    """Images, and labels, from files in MNIST's IDX format, raw or gzipped.

    Parameters
    ----------
    images : str or os.PathLike
        A file of (n, h, w), (n, h, w, channels) or (n, h * w).
    labels : str or os.PathLike, optional
        A file of (n,) integers.
    classes : array_like, optional
        All class values; by default the distinct labels, sorted.

    Returns
    -------
    Dataset
        Named after the file of images.

    Raises
    ------
    DataError
        The bytes are not IDX, not what the header says, or a damaged gzip stream; the message
        names the file, the byte, what was expected and what came.
    DataNotFoundError, FileError
        There is no such file, or it cannot be read.
    ShapeError, DTypeError, ArgumentError
        The arrays make no images and labels.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name)
    >>> save_idx(np.zeros((2, 5, 4), np.uint8), path / "images.gz")
    >>> save_idx([1, 0], path / "labels.gz")
    >>> load_idx(path / "images.gz", path / "labels.gz")
    Dataset('images', 2 images 5 x 4 uint8, 2 classes)
    >>> folder.cleanup()
    """
    pixels_path = as_path(images, "images")
    pixels = parse_idx(read_idx_payload(pixels_path), pixels_path)
    values = None
    if labels is not None:
        labels_path = as_path(labels, "labels")
        values = parse_idx(read_idx_payload(labels_path), labels_path)
        if values.ndim != 1 and pixels.ndim == 1:
            raise ArgumentError(
                f"{pixels_path} holds {pixels.shape} and {labels_path} holds {values.shape}: "
                "expected images first, then labels"
            )
        if values.dtype.kind not in "iu":
            raise DataError(
                f"{labels_path}: expected labels of an integer type, got {values.dtype}"
            )
    name = pixels_path.name.removesuffix(".gz")
    try:
        return Dataset(pixels, values, classes=classes, name=name)
    except AmbigError as error:
        files = str(pixels_path) if labels is None else f"{pixels_path} and {labels_path}"
        raise type(error)(f"{files}: {error}") from None
