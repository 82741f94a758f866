"""The safetensors format: named arrays and a little text in one file that runs no code.

Eight bytes with the length of the header (little-endian), the header (JSON: per tensor its dtype,
shape and place; texts under ``__metadata__``), then the tensors. Read strictly: the tensors must
fill the rest of the file without holes and without overlaps.
"""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist._files import PathLike, as_path, atomic_write, read_bytes
from ambigmnist.errors import ArgumentError, DataError, DTypeError

__all__ = ["load", "save"]

Array = NDArray[Any]

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER = 16 << 20
_MAX_TENSORS = 1024
_MAX_RANK = 32
_METADATA = "__metadata__"


def save(
    path: PathLike, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes the tensors and the texts; the same ones give the same bytes, in whatever order.

    Raises
    ------
    DTypeError, ArgumentError
        A dtype that is not float64, float32, float16, int64, int32 or uint8; a name or text that
        is not a str; more than 1024 tensors.
    FileError
        The file cannot be written.
    """
    texts = dict(metadata or {})
    for key, text in texts.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise DTypeError(f"metadata: expected str to str, got {key!r}: {text!r}")
    if len(tensors) > _MAX_TENSORS:
        raise ArgumentError(f"tensors: expected at most {_MAX_TENSORS}, got {len(tensors)}")
    header: dict[str, Any] = {_METADATA: dict(sorted(texts.items()))} if texts else {}
    chunks: list[bytes] = []
    offset = 0
    # Widest items first, as the format's own library does: so each starts aligned.
    for name, array in sorted(tensors.items(), key=_order):
        data: bytes = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": _NAMES[array.dtype.newbyteorder("<").str],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    if len(head) > _MAX_HEADER:
        raise ArgumentError(f"metadata: expected a header of at most {_MAX_HEADER} bytes")
    atomic_write(path, b"".join([struct.pack("<Q", len(head)), head, *chunks]))


def _order(item: tuple[str, Array]) -> tuple[int, str]:
    name, array = item
    if not isinstance(name, str) or name == _METADATA:
        raise ArgumentError(f"tensors: expected a str other than {_METADATA} as name, got {name!r}")
    if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("<").str not in _NAMES:
        got = getattr(array, "dtype", type(array).__name__)
        raise DTypeError(f"tensors: {name}: expected an array of {', '.join(_NAMES)}, got {got}")
    return -array.dtype.itemsize, name


def load(path: PathLike) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors, in the order of the file, and the texts.

    Raises
    ------
    DataError
        The bytes are not such a file; the message names the file, the place and the reason.
    DataNotFoundError, FileError
        There is no such file, or it cannot be read.
    """
    path = as_path(path)
    data = read_bytes(path)
    try:
        return _parse(data)
    except _Malformed as error:
        raise DataError(f"{path}: not a sound safetensors file: {error}") from None


class _Malformed(Exception):
    """What is wrong; `load` adds the path."""


def _parse(data: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    if len(data) < 8:
        raise _Malformed(f"byte 0: expected 8 bytes of header length, got {len(data)}")
    if data.startswith(b"\x89HDF"):
        raise _Malformed("it is an HDF5 file: CNN.from_keras reads those of Keras")
    (length,) = struct.unpack_from("<Q", data)
    if not 2 <= length <= min(len(data) - 8, _MAX_HEADER):
        raise _Malformed(
            f"byte 0: expected a header of 2 to {min(len(data) - 8, _MAX_HEADER)} bytes, "
            f"got {length}: it starts with {data[:8]!r}"
        )
    header = _parse_header(data[8 : 8 + length])
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _Malformed(f"header: {_METADATA}: expected an object of strings")
    if len(header) > _MAX_TENSORS:
        raise _Malformed(f"header: expected at most {_MAX_TENSORS} tensors, got {len(header)}")
    entries = {name: _parse_entry(name, entry) for name, entry in header.items()}
    position = 0
    size = len(data) - 8 - length
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != position:
            what = "a hole before it" if begin > position else "an overlap"
            raise _Malformed(f"{name}: expected to begin at {position}, got {begin}: {what}")
        position = end
    if position != size:
        raise _Malformed(
            f"byte {8 + length + min(position, size)}: expected {position} bytes of tensors, as "
            f"the header says, got {size}"
        )
    return {
        name: _tensor(data, dtype, shape, 8 + length + begin)
        for name, (dtype, shape, begin, _) in entries.items()
    }, metadata


def _parse_header(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise _Malformed(f"byte 8: expected '{{', got {text[:1]!r}")
    try:
        header = json.loads(
            text.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant
        )
    except RecursionError:
        raise _Malformed("header: nested too deeply") from None
    except ValueError as error:  # also bad UTF-8 and integers of thousands of digits
        raise _Malformed(f"header: not JSON: {error}") from None
    return dict(header)  # it starts with a brace, so it is an object


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise _Malformed(f"header: the key {name[:60]!r} appears twice")
        result[name] = value
    return result


def _no_constant(name: str) -> None:
    raise _Malformed(f"header: {name} is not JSON")


def _sizes(name: str, what: str, value: Any) -> tuple[int, ...]:
    # bool is an int to Python, not to JSON.
    if not isinstance(value, list) or not all(type(v) is int and 0 <= v < 2**62 for v in value):
        raise _Malformed(f"{name}: {what}: expected a list of sizes, got {str(value)[:60]}")
    return tuple(value)


def _parse_entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _Malformed(f"{name}: expected an object of dtype, shape and data_offsets")
    dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise _Malformed(
            f"{name}: dtype: expected one of {', '.join(_DTYPES)}, got {str(entry['dtype'])[:60]}"
        )
    shape = _sizes(name, "shape", entry["shape"])
    offsets = _sizes(name, "data_offsets", entry["data_offsets"])
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _Malformed(f"{name}: data_offsets: expected [begin, end], got {list(offsets)}")
    item = np.dtype(dtype).itemsize
    # Sizes of 0 hide nothing: the others must still make an array that could exist.
    if len(shape) > _MAX_RANK or math.prod(max(s, 1) for s in shape) * item >= 2**62:
        raise _Malformed(f"{name}: shape: too large: {str(list(shape))[:60]}")
    size = math.prod(shape) * item
    if offsets[1] - offsets[0] != size:
        raise _Malformed(
            f"{name}: expected {size} bytes for {entry['dtype']} of shape {list(shape)}, "
            f"got {offsets[1] - offsets[0]}"
        )
    return dtype, shape, *offsets


def _tensor(data: bytes, dtype: str, shape: tuple[int, ...], offset: int) -> Array:
    flat = np.frombuffer(data, dtype, math.prod(shape), offset)
    return flat.reshape(shape).astype(np.dtype(dtype).newbyteorder("="))  # a copy, aligned
