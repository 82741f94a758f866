"""Evidence in a file: an uncompressed .npz that NumPy reads too, without pickle.

One .npy entry per known field, ``classes``, and ``about``: a JSON text with the format, its
version, the fields (a damaged list of entries may lack some) and the provenance. Read strictly: an
entry's header, its size in the archive and the field must agree before anything is allocated, and
nothing is evaluated.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import struct
import zipfile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ambigmnist._evidence_fields import AXES, DYNAMICS, NEAREST
from ambigmnist._files import PathLike, as_path, atomic_path, reading
from ambigmnist.errors import ArgumentError, DataError, DTypeError, ShapeError
from ambigmnist.evidence import Evidence

__all__ = ["load", "save"]

Array = NDArray[Any]

_FORMAT = "ambigmnist.evidence"
_VERSION = 1
_ABOUT = "about"
_BLOCK = 1 << 24  # bytes written at a time
_MADE = (1980, 1, 1, 0, 0, 0)  # the same evidence gives the same bytes

_FLOATS = ("<f4", "<f8")
_VALUES = ("<i8", "<U")
_FIELDS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(AXES, _FLOATS),
    _ABOUT: ("<U",),
    "classes": _VALUES,
    "labels": _VALUES,
    "images": ("|u1", "<f4"),
    "dynamics": (DYNAMICS.newbyteorder("<").descr,),
    "nearest": (NEAREST.newbyteorder("<").descr,),
    "fold": ("<i8",),
    "split": ("<U",),
    "in_sample": ("|b1",),
}
_HEADER = re.compile(
    rb"\{'descr': ('[<>|][a-zA-Z0-9]{2,19}'|\[[^]]{1,2000}\]), 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,18}, ?)*[0-9]{0,18})\), \} *\n"
)


def save(path: PathLike, ev: Evidence) -> None:
    """`Evidence.save`, where it is described."""
    arrays = {name: getattr(ev, name) for name in ("classes", *AXES)}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    about = {
        "format": _FORMAT,
        "version": _VERSION,
        "fields": list(arrays),
        "provenance": ev.provenance,
    }
    try:
        text = json.dumps(about, sort_keys=True, allow_nan=False)
    except TypeError as error:
        raise DTypeError(f"provenance: expected what JSON can hold: {error}") from None
    except (ValueError, RecursionError) as error:  # NaN, or an object inside itself
        raise ArgumentError(f"provenance: expected what JSON can hold: {error}") from None
    arrays = {_ABOUT: np.array(text), **arrays}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _MADE)
            entry.create_system = 3
            with archive.open(entry, "w", force_zip64=True) as stream:
                for part in _npy(array):
                    stream.write(part)


def _npy(array: Array) -> Any:
    """The bytes of a .npy file, in parts: little-endian and in C order, whatever the array is."""
    dtype = array.dtype.newbyteorder("<")
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head,
        {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": array.shape,
        },
    )
    yield head.getvalue()
    rows = np.atleast_1d(array)
    step = max(1, _BLOCK * len(rows) // max(rows.nbytes, 1))
    for start in range(0, len(rows), step):
        yield rows[start : start + step].astype(dtype, copy=False).tobytes()


class _Malformed(Exception):
    """What is wrong; `load` adds the path."""


def load(path: PathLike) -> Evidence:
    """`Evidence.load`, where it is described."""
    path = as_path(path)
    with reading(path) as stream:
        try:
            return _parse(stream)
        except _Malformed as error:
            reason = str(error)
        except (ArgumentError, ShapeError, DTypeError) as error:  # fields that do not fit
            reason = str(error)
        except (
            *(zipfile.BadZipFile, struct.error, EOFError, ValueError, OverflowError),
            *(NotImplementedError, RuntimeError),  # a newer kind of archive; encrypted
        ) as error:
            reason = f"damaged archive: {error}"
        except OSError as error:
            if error.errno != errno.EINVAL:  # a place before the start of the file
                raise
            reason = "damaged archive: it names a place outside of the file"
    raise DataError(f"{path}: not a sound evidence file: {reason}")


def _parse(stream: BinaryIO) -> Evidence:
    start = stream.read(4)
    if not start.startswith(b"PK"):
        raise _Malformed(f"byte 0: expected 'PK', the start of an archive, got {start!r}")
    size = os.fstat(stream.fileno()).st_size
    with zipfile.ZipFile(stream) as archive:
        entries = {}
        for entry in archive.infolist():
            name, ending = entry.filename[:-4], entry.filename[-4:]
            if ending != ".npy" or name in entries:
                raise _Malformed(f"expected .npy entries, once each, got {entry.filename[:60]!r}")
            entries[name] = entry
        if _ABOUT not in entries:
            shown = ", ".join(list(entries)[:8]) or "nothing"
            raise _Malformed(f"expected an entry {_ABOUT!r}, got another .npz, of {shown[:200]}")
        about = _about(str(_array(archive, _ABOUT, entries.pop(_ABOUT), size)))
        if entries.keys() != set(about["fields"]):
            name = min(entries.keys() ^ set(about["fields"]), key=str)
            raise _Malformed(f"fields: {str(name)[:60]!r} is missing, or one too many")
        if not {"probs", "classes"} <= entries.keys() <= _FIELDS.keys():
            raise _Malformed(f"expected the fields of an evidence, got {', '.join(entries)[:200]}")
        if sum(entry.file_size for entry in entries.values()) > size:
            raise _Malformed(f"expected at most {size} bytes of entries, as long as the file is")
        fields = {name: _array(archive, name, entry, size) for name, entry in entries.items()}
    return Evidence(**fields, provenance=about["provenance"])


def _about(text: str) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except RecursionError:
        raise _Malformed("about: nested too deeply") from None
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        got = about.get("format") if isinstance(about, dict) else about
        raise _Malformed(f"about: expected the format {_FORMAT!r}, got {str(got)[:60]!r}")
    version = about.get("version")
    if type(version) is not int or version < 1:
        raise _Malformed(f"about: expected a version from 1 on, got {str(version)[:60]!r}")
    if version > _VERSION:
        raise _Malformed(
            f"expected version {_VERSION}, got {version}: a newer ambigmnist may read it"
        )
    fields = about.get("fields")
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise _Malformed("about: expected fields to be a list of names")
    if not isinstance(about.get("provenance"), dict):
        raise _Malformed("about: expected provenance to be an object")
    return about


def _array(archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo, size: int) -> Array:
    """The array of an entry, read-only; no larger than what the file really holds."""
    stored = entry.compress_type == zipfile.ZIP_STORED and entry.compress_size == entry.file_size
    if not stored or entry.file_size > size:
        raise _Malformed(f"{name}: expected an entry that is not compressed")
    data = archive.read(entry)  # also checks its CRC-32
    if data[:8] != b"\x93NUMPY\1\0" or len(data) < 10:
        raise _Malformed(f"{name}: expected a .npy file of version 1.0, got {data[:8]!r}")
    end = 10 + int.from_bytes(data[8:10], "little")
    header = _HEADER.fullmatch(data[10:end])
    if header is None:
        raise _Malformed(f"{name}: expected a header of NumPy's, got {data[10 : min(end, 99)]!r}")
    dtype = _dtype(name, header[1].decode("ascii", "replace"))
    shape = tuple(int(text) for text in header[2].split(b",") if text.strip())
    if len(shape) > 4:
        raise _Malformed(f"{name}: expected at most 4 dimensions, got {len(shape)}")
    # Sizes of 0 hide nothing: the others must still make an array that could exist.
    if math.prod(max(s, 1) for s in shape) * max(dtype.itemsize, 1) >= 2**62:
        raise _Malformed(f"{name}: shape: too large: {shape}")
    if math.prod(shape) * dtype.itemsize != len(data) - end:
        raise _Malformed(
            f"{name}: expected {math.prod(shape) * dtype.itemsize} bytes for shape {shape}, "
            f"got {len(data) - end}"
        )
    array = np.ndarray(shape, dtype, data, end)
    _check_items(name, array)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _dtype(name: str, text: str) -> np.dtype[Any]:
    """The dtype that a header names, of those that the field may have."""
    for known in _FIELDS[name]:
        if known == "<U" and re.fullmatch("'<U[1-9][0-9]{0,7}'", text):
            return np.dtype(text.strip("'"))
        if text == repr(known):
            dtype: np.dtype[Any] = np.dtype(known)
            return dtype
    expected = " or ".join(str(known)[:20] for known in _FIELDS[name])
    raise _Malformed(f"{name}: expected dtype {expected}, got {text[:40]}")


def _check_items(name: str, array: Array) -> None:
    """Bytes that are none of the values of their type."""
    if array.size == 0 or array.dtype.itemsize == 0:
        return
    if array.dtype.kind == "U" and array.view(("<u4", array.dtype.itemsize // 4)).max() > 0x10FFFF:
        raise _Malformed(f"{name}: expected characters, got numbers beyond those of Unicode")
    if array.dtype.kind == "b" and array.view(np.uint8).max() > 1:
        raise _Malformed(f"{name}: expected booleans, got other bytes than 0 and 1")
