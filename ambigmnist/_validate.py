"""Images and labels as they come, turned into what the core reads, or one clear error."""

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

__all__ = [
    "TOLERANCE",
    "as_array",
    "as_classes",
    "as_floats",
    "as_images",
    "as_int",
    "as_labels",
    "as_level",
    "as_number",
    "as_probs",
    "check_kind",
    "check_labels_in",
    "contiguous",
]

TOLERANCE = 1e-3  # how far the sum of a row of probabilities may be off

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]


def as_array(value: Any, name: str) -> Array:
    """`value` as an array of any kind; no ragged lists, nothing masked."""
    if type(value) is np.ndarray:
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:  # a ragged list
        raise ShapeError(f"{name}: expected an array, got items of different shapes") from error
    except TypeError as error:
        raise DTypeError(f"{name}: expected an array, got {type(value).__name__}") from error
    if hasattr(value, "mask") and np.ma.is_masked(value):
        raise ArgumentError(f"{name}: expected values, got a masked array: fill it first")
    return array


def contiguous(array: Array, dtype: DTypeLike) -> Array:
    """`array` as the core reads it: np.require, which takes its time even for nothing."""
    flags = array.flags
    if array.dtype == dtype and flags.c_contiguous and flags.aligned:
        return array
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def _index_of(bad: Array) -> str:
    index = np.unravel_index(int(np.argmax(bad)), bad.shape)
    return "[" + ", ".join(str(int(i)) for i in index) + "]"


def as_int(value: Any, name: str, least: int | None = None) -> int:
    """`value` as an int of at most 63 bits, at least `least`; no booleans, no floats."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise DTypeError(f"{name}: expected an integer, got {value!r}") from None
    if least is not None and number < least:
        raise ArgumentError(f"{name}: expected at least {least}, got {number}")
    if abs(number) >= 2**63:
        raise ArgumentError(f"{name}: expected an integer of 64 bits, got {number:.3g}")
    return number


def as_number(value: Any, name: str) -> float:
    """`value` as a float; no booleans, no strings."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise DTypeError(f"{name}: expected a number, got {type(value).__name__}")
    return float(value)


def as_level(value: Any, name: str) -> float:
    """`value` as the level of an interval, in (0, 1)."""
    level = as_number(value, name)
    if not 0 < level < 1:
        raise ArgumentError(f"{name}: expected a level between 0 and 1, got {value}")
    return level


def as_images(images: Any, name: str = "images") -> Array:
    """Images as a C-contiguous array of shape (n, h, w, c), uint8 or float32 in [0, 1].

    Accepted are (n, h, w, c), (n, h, w) as one channel, and (n, m) with m a square number as
    (n, sqrt(m), sqrt(m), 1); n may be 0, the other sizes may not. Integers of any type must lie
    in 0..255 and become uint8; booleans become 0 and 255; floats must lie in [0, 1] and become
    float32. Strides, byte order and read-only memory do not matter. The result may share its
    memory with the argument.

    Raises
    ------
    ShapeError
        Another number of dimensions, an empty image, or what looks like channels first.
    DTypeError
        Neither numbers nor booleans.
    ArgumentError
        Values out of range, NaN or infinite.
    """
    array = as_array(images, name)
    if array.dtype.kind not in "buif":
        raise DTypeError(
            f"{name}: expected integers in 0..255 or floats in 0..1, got dtype {array.dtype}"
        )
    array = _with_channels(array, name)
    dtype: type[np.generic] = np.uint8
    if array.dtype.kind == "f":
        dtype = np.float32
        _check_floats(array, name)
    elif array.dtype.kind == "b":
        return np.multiply(array, np.uint8(255), dtype=np.uint8, order="C")
    elif array.dtype != np.uint8 and array.size:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise ArgumentError(
                f"{name}: expected integers in 0..255, got values from {low} to {high}"
            )
    return contiguous(array, dtype)


def _with_channels(array: Array, name: str) -> Array:
    shape = array.shape
    if array.ndim == 2:
        side = math.isqrt(shape[1])
        if side * side != shape[1] or side == 0:
            raise ShapeError(
                f"{name}: expected rows of square images, (n, 784) say, got shape {shape}: "
                "reshape to (n, h, w); one image alone is images[None]"
            )
        return array.reshape(shape[0], side, side, 1)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4:
        raise ShapeError(
            f"{name}: expected shape (n, h, w), (n, h, w, channels) or (n, h * w), got {shape}"
        )
    h, w, c = array.shape[1:]
    if min(h, w, c) == 0:
        raise ShapeError(f"{name}: expected images of at least one pixel, got shape {shape}")
    if h in (1, 3) and w == c >= 8:
        raise ShapeError(
            f"{name}: expected channels last, (n, h, w, channels), got {shape}, which looks like "
            f"channels first: use np.moveaxis({name}, 1, -1)"
        )
    return array


def _check_floats(array: Array, name: str) -> None:
    if array.size == 0:
        return
    with np.errstate(invalid="ignore"):
        low, high = float(array.min()), float(array.max())
    if low >= 0.0 and high <= 1.0:
        return
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = ~np.isfinite(array)
        raise ArgumentError(
            f"{name}: expected floats in 0..1, got {array[bad][0]} at {_index_of(bad)} "
            f"({int(bad.sum())} such values)"
        )
    hint = ": divide by 255" if 0.0 <= low and high <= 255.0 else ""
    raise ArgumentError(
        f"{name}: expected floats in 0..1, got values from {low:g} to {high:g}{hint}"
    )


def as_labels(labels: Any, n: int | None = None, name: str = "labels") -> Array:
    """Class values as an int64 or str array of shape (n,).

    Integers of any type, booleans (0 and 1) and floats without a fraction become int64. Strings
    stay strings; an object array of only integers or only strings is accepted too.

    Parameters
    ----------
    labels : array_like
    n : int, optional
        How many there must be: one per image.

    Raises
    ------
    ShapeError
        Not one dimension, or not `n`.
    DTypeError
        Neither integers nor strings, or a mixture.
    ArgumentError
        A float with a fraction, NaN, infinite, or an integer beyond 64 bits.
    """
    array = as_array(labels, name)
    if array.ndim != 1:
        hint = ""
        if array.ndim == 2 and array.shape[1] == 1:
            hint = f": use np.ravel({name})"
        elif array.ndim == 2:
            hint = f": for one column per class use np.argmax({name}, axis=1)"
        raise ShapeError(f"{name}: expected shape (n,), got {array.shape}{hint}")
    if n is not None and len(array) != n:
        raise ShapeError(f"{name}: expected {n}, one per image, got {len(array)}")
    return _as_class_values(labels, array, name)


def as_classes(classes: Any, name: str = "classes") -> Array:
    """Distinct class values, in the order given, as an int64 or str array of shape (k,)."""
    array = as_labels(classes, None, name)
    if len(array) == 0:
        raise ShapeError(f"{name}: expected at least one class, got none")
    values, counts = np.unique(array, return_counts=True)
    if (counts > 1).any():
        raise ArgumentError(
            f"{name}: expected distinct values, got {values[counts > 1][0]!s} more than once"
        )
    return array


def check_kind(labels: Array, classes: Array, name: str = "labels") -> None:
    """DTypeError where one are integers and the other strings."""
    if labels.dtype.kind != classes.dtype.kind:
        kinds = {"i": "integers", "U": "strings"}
        raise DTypeError(
            f"{name}: expected {kinds[classes.dtype.kind]} like the classes, "
            f"got {kinds[labels.dtype.kind]}"
        )


def check_labels_in(labels: Array, classes: Array, name: str = "labels") -> None:
    """ArgumentError for a label that is not among `classes`; DTypeError for another kind."""
    check_kind(labels, classes, name)
    bad = ~np.isin(labels, classes)
    if bad.any():
        shown = ", ".join(str(c) for c in classes[:12]) + (", ..." if len(classes) > 12 else "")
        raise ArgumentError(
            f"{name}: expected one of the classes {shown}, got {labels[bad][0]!s} at "
            f"{_index_of(bad)} ({int(bad.sum())} such labels)"
        )


def _as_class_values(given: Any, array: Array, name: str) -> Array:
    kind = array.dtype.kind
    if len(array) == 0:
        return array.astype(np.str_ if kind in "UT" else np.int64)
    if kind == "U" and not hasattr(given, "dtype"):
        array, kind = np.asarray(given, dtype=object), "O"  # NumPy made strings of a mixture
    if kind == "T":
        array, kind = array.astype(object), "O"
    if kind == "O":
        return _from_objects(array, name)
    if kind in "bi":
        return contiguous(array, np.int64)
    if kind == "u":
        if int(array.max()) > np.iinfo(np.int64).max:
            raise ArgumentError(f"{name}: expected integers below 2**63, got {array.max()}")
        return array.astype(np.int64)
    if kind == "f":
        with np.errstate(all="ignore"):
            array = array.astype(np.float64)
        bad = ~((array == np.trunc(array)) & (np.abs(array) < 2.0**53))
        if bad.any():
            raise ArgumentError(
                f"{name}: expected integers or strings, got {array[bad][0]} at {_index_of(bad)}"
            )
        return array.astype(np.int64)
    if kind == "U":
        return contiguous(array, array.dtype.newbyteorder("="))
    hint = ": decode the bytes first" if kind == "S" else ""
    raise DTypeError(f"{name}: expected integers or strings, got dtype {array.dtype}{hint}")


def _from_objects(array: Array, name: str) -> Array:
    items = array.tolist()
    for allowed, dtype in ((str, np.str_), ((int, np.integer), np.int64)):
        wrong = [i for i, item in enumerate(items) if not isinstance(item, allowed)]
        if not wrong:
            try:
                return np.array(items, dtype=dtype)
            except OverflowError:
                raise ArgumentError(f"{name}: expected integers of 64 bits, got larger") from None
        if len(wrong) < len(items):
            i = wrong[0] or next(k for k, item in enumerate(items) if isinstance(item, allowed))
            raise DTypeError(
                f"{name}: expected all integers or all strings, got {items[i]!r} at [{i}] "
                f"beside {items[0]!r} at [0]"
            )
    raise DTypeError(
        f"{name}: expected integers or strings, got {type(items[0]).__name__} {items[0]!r} at [0]"
    )


def as_floats(values: Any, name: str, shape: tuple[int | None, ...]) -> Floats:
    """Finite float32 or float64 numbers; None in `shape` stands for any size.

    An array of either type is taken as it lies in memory: any strides and byte order, mapped
    files. Other numbers are converted.
    """
    floats = _unchecked_floats(values, name, shape)
    if floats.ndim == 1:
        bad = ~np.isfinite(floats)
        if bad.any():
            raise ArgumentError(
                f"{name}: expected finite numbers, got {floats[bad][0]} at {_index_of(bad)} "
                f"({int(bad.sum())} such values)"
            )
        return np.require(floats, floats.dtype.newbyteorder("="), ["C_CONTIGUOUS", "ALIGNED"])
    _check_rows(floats, name, True)
    return floats


def as_probs(values: Any, name: str, shape: tuple[int | None, ...], *, or_else: str = "") -> Floats:
    """Rows of probabilities, as `as_floats`; `or_else` tells what else the caller takes."""
    probs = _unchecked_floats(values, name, shape)
    _check_rows(probs, name, False, or_else)
    return probs


def _unchecked_floats(values: Any, name: str, shape: tuple[int | None, ...]) -> Floats:
    array = as_array(values, name)
    if array.dtype.kind not in "buif":
        raise DTypeError(f"{name}: expected float32 or float64, got dtype {array.dtype}")
    expected = "(" + ", ".join("nkd"[i] if s is None else str(s) for i, s in enumerate(shape)) + ")"
    fits = all(want in (None, got) for want, got in zip(shape, array.shape, strict=False))
    if array.ndim != len(shape) or not fits:
        raise ShapeError(f"{name}: expected shape {expected}, got {array.shape}")
    if len(shape) > 1 and array.shape[-1] == 0:
        raise ShapeError(f"{name}: expected at least one column, got shape {array.shape}")
    if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
        return array
    dtype = np.float32 if array.dtype.kind == "f" and array.dtype.itemsize < 4 else np.float64
    return array.astype(dtype)


def _check_rows(floats: Floats, name: str, any_number: bool, or_else: str = "") -> None:
    """One pass of the core, of bounded memory; the error names the first bad place."""
    from ambigmnist.config import resolve_threads  # which imports this file

    if floats.ndim > 2:
        for i, part in enumerate(floats):
            _check_rows(part, f"{name}[{i}]", any_number, or_else)
        return
    try:
        _ambigcore.check_rows(floats, any_number, TOLERANCE, resolve_threads(None))
    except ArgumentError as error:
        raise ArgumentError(f"{name}: {error}{or_else}") from None
