"""IDX files, raw or gzipped, to arrays and back. The header is read by the C core."""

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._files import PathLike, as_path, atomic_write, read_bytes
from ambigmnist.errors import ArgumentError, DataError, DTypeError, OutOfMemoryError, ShapeError

__all__ = ["decompress_idx", "idx_bytes", "parse_idx", "read_idx_payload", "save_idx"]

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_RANK = 8
_MAX_HEADER = 4 + 4 * _MAX_RANK
_GZIP_MAGIC = b"\x1f\x8b"
_STEP = 1 << 20  # bytes decompressed at a time
_MAX_DEFLATE_RATIO = 1032  # no deflate stream expands by more


def read_idx_payload(path: PathLike) -> bytes | bytearray:
    """The bytes of an IDX file, decompressed when it is gzipped."""
    path = as_path(path)
    return decompress_idx(read_bytes(path), path)


def decompress_idx(data: bytes, path: Path) -> bytes | bytearray:
    """The same for bytes at hand; gzip is told by content, but a name in ``.gz`` must be true."""
    if data.startswith(_GZIP_MAGIC):
        return _gunzip(data, path)
    if path.suffix == ".gz":
        raise DataError(
            f"{path}: byte 0: expected a gzip file (1F 8B), as the name says, got {_start(data)}"
        )
    return data


def parse_idx(payload: bytes | bytearray, path: Path) -> NDArray[Any]:
    """The array inside a payload, in the file's big-endian type; `path` is for messages."""
    try:
        code, shape, offset = _ambigcore.idx_parse(payload)
    except DataError as error:
        hint = "" if payload[:2] == b"\0\0" else f" (it starts with {_start(payload)})"
        raise DataError(f"{path}: {error}{hint}") from None
    return np.frombuffer(payload, dtype=_DTYPES[code], offset=offset).reshape(shape)


def _start(data: bytes | bytearray) -> str:
    """What a file of the wrong kind looks like."""
    kinds = {
        b"PK": "a zip file",
        b"<": "text that looks like HTML",
        b"\x93NUMPY": "a .npy file",
        b"\x89PNG": "a PNG image",
        _GZIP_MAGIC: "a gzip file",
    }
    kind = next((kind for magic, kind in kinds.items() if data.lstrip().startswith(magic)), "")
    shown = data[:4].hex(" ").upper() or "nothing"
    return f"{shown}, {kind}" if kind else shown


class _Gunzip:
    """One gzip member, read in bounded steps."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._data = memoryview(data)
        self._path = path
        self._stream = zlib.decompressobj(wbits=31)
        self._fed = 0

    def read(self, out: bytearray, size: int) -> None:
        """Appends until `out` has `size` bytes or the member ends."""
        while len(out) < size and not self._stream.eof:
            chunk: bytes | memoryview = self._stream.unconsumed_tail
            if not chunk:
                chunk = self._data[self._fed : self._fed + _STEP]
                self._fed += len(chunk)
                if not chunk:
                    raise DataError(
                        f"{self._path}: byte {self._fed}: expected the rest of the gzip stream, "
                        f"got the end of the file (after {len(out)} decompressed bytes)"
                    )
            try:
                out += self._stream.decompress(chunk, min(size - len(out), _STEP))
            except zlib.error as error:
                if str(error).startswith(
                    "Error -4 "
                ):  # Z_MEM_ERROR: nothing is wrong with the file
                    raise OutOfMemoryError(f"{self._path}: out of memory") from None
                start = self._fed - len(chunk)
                raise DataError(
                    f"{self._path}: byte {start} or later: damaged gzip stream: {error}"
                ) from None

    def finish(self) -> None:
        left = len(self._stream.unused_data) + len(self._data) - self._fed
        if left:
            raise DataError(
                f"{self._path}: byte {len(self._data) - left}: expected the end of the gzip file, "
                f"got {left} more bytes"
            )


def _gunzip(data: bytes, path: Path) -> bytearray:
    """Decompresses at most what the IDX header inside announces, plus one byte.

    So a small file that expands without end costs no more than an honest file of that size.
    """
    stream = _Gunzip(data, path)
    out = bytearray()
    stream.read(out, 4)
    # As much of the header as there is: the core says what is wrong with it.
    stream.read(out, min(4 + 4 * (out[3] if len(out) == 4 else 0), _MAX_HEADER))
    try:
        code, shape, offset = _ambigcore.idx_header(out)
    except DataError as error:
        raise DataError(f"{path}: inside the gzip stream: {error}") from None
    total = offset + math.prod(shape) * np.dtype(_DTYPES[code]).itemsize
    if total > _MAX_DEFLATE_RATIO * len(data) + _MAX_HEADER:
        raise DataError(
            f"{path}: inside the gzip stream: byte 4: the header announces {total} bytes, more "
            f"than {len(data)} compressed bytes can hold"
        )
    stream.read(out, total + 1)
    if len(out) <= total:
        stream.finish()
    return out


def idx_bytes(array: NDArray[Any]) -> bytes:
    """An array as the bytes of an IDX file; the type is the narrowest that holds its integers."""
    dtype, code = _idx_type(array)
    if not 1 <= array.ndim <= _MAX_RANK or max(array.shape) >= 2**32:
        raise ShapeError(
            f"array: expected 1 to {_MAX_RANK} dimensions below 2**32, got shape {array.shape}"
        )
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(dtype, copy=False).tobytes()


def _idx_type(array: NDArray[Any]) -> tuple[str, int]:
    codes = {dtype: code for code, dtype in _DTYPES.items()}
    own = array.dtype.newbyteorder(">").str.replace("|", ">")
    if own in codes:
        return own, codes[own]
    if array.dtype.kind not in "iu":
        raise DTypeError(
            f"array: expected integers, float32 or float64, which IDX knows, got {array.dtype}"
        )
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for dtype, code in codes.items():
        if dtype[1] in "iu":
            limits = np.iinfo(dtype)
            if limits.min <= low and high <= limits.max:
                return dtype, code
    raise ArgumentError(f"array: expected integers that fit in 32 bits, got {low} to {high}")


def save_idx(array: Any, path: PathLike) -> None:
    """Writes an array as an IDX file, gzipped when the name ends in ``.gz``.

    uint8, int8, int16, int32, float32 and float64 are kept; other integers are written in the
    narrowest IDX type that holds all of them (so `Dataset.labels` become one byte each). The same
    array gives the same bytes: no time stamp. The file appears complete or not at all.

    Parameters
    ----------
    array : array_like
        1 to 8 dimensions.
    path : str or os.PathLike

    Raises
    ------
    DTypeError, ShapeError, ArgumentError
        IDX has no way to say this.
    FileError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "labels.idx"
    >>> save_idx([7, 2, 1], path)
    >>> path.read_bytes().hex(" ")
    '00 00 08 01 00 00 00 03 07 02 01'
    >>> folder.cleanup()
    """
    path = as_path(path)
    payload = idx_bytes(np.asarray(array))
    # zlib writes no time stamp into the header, gzip.compress would.
    atomic_write(path, zlib.compress(payload, wbits=31) if path.suffix == ".gz" else payload)
