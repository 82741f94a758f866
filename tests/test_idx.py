"""IDX: the parser of the core from Python, files raw and gzipped, good and bad."""

import gzip
import itertools
import math
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ambigmnist import _ambigcore
from ambigmnist.datasets import load_idx, save_idx
from ambigmnist.errors import (
    AmbigError,
    ArgumentError,
    DataError,
    DataNotFoundError,
    DTypeError,
    FileError,
    ShapeError,
)

SIZES = {0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}
DTYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def definition(data):
    """(type, shape, offset) or None: the format in Python's unbounded integers."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in SIZES or not 1 <= data[3] <= 8:
        return None
    offset = 4 + 4 * data[3]
    if len(data) < offset:
        return None
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    if math.prod(max(s, 1) for s in shape) * SIZES[data[2]] > 2**63 - 1 - offset:
        return None
    if len(data) - offset != math.prod(shape) * SIZES[data[2]]:
        return None
    return data[2], shape, offset


def header(code, *shape):
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def generated():
    """Sound and malformed buffers: every prefix, every header byte, corners of the sizes."""
    sound = header(0x0B, 2, 3) + bytes(12)
    yield from (sound[:n] for n in range(len(sound) + 1))
    yield from (sound + bytes(n) for n in (1, 2, 12, 4096))
    for i, value in itertools.product(range(12), (0, 1, 2, 3, 8, 9, 10, 11, 14, 15, 127, 128, 255)):
        yield sound[:i] + bytes([value]) + sound[i + 1 :]
    for code in range(256):
        yield header(code, 2) + bytes(2)
    for rank in (0, 1, 8, 9, 255):
        yield header(0x08, *[1] * rank) + b"x"
    corners = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
    for code in SIZES:
        for shape in itertools.product(corners, repeat=3):
            yield header(code, *shape)
            yield header(code, *shape) + bytes(SIZES[code])
        yield header(code, *[2**32 - 1] * 8)
    yield header(0x08, 2**16, 2**16) + b"\0"  # 2^32
    yield header(0x08, 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    yield header(0x0E, 2**29, 2**32 - 1)
    yield header(0x08, 3577, 127, 337, 92737, 649657)  # 2^63 - 1
    yield sound[:4] + struct.pack("<2I", 2, 3) + bytes(12)  # little-endian sizes


def test_generated_buffers():
    refused = accepted = 0
    for data in generated():
        expected = definition(data)
        if expected is None:
            with pytest.raises(DataError, match=r"^byte \d+: expected .* got "):
                _ambigcore.idx_parse(data)
            refused += 1
        else:
            assert _ambigcore.idx_parse(data) == expected
            accepted += 1
    assert refused >= 1000
    assert accepted >= 50


@given(st.binary(max_size=64) | st.binary(max_size=40).map(lambda b: b"\0\0\x08\2" + b))
def test_any_bytes(data):
    expected = definition(data)
    if expected is None:
        with pytest.raises(DataError):
            _ambigcore.idx_parse(data)
    else:
        assert _ambigcore.idx_parse(data) == expected


def test_buffers_of_any_kind():
    data = header(0x0C, 2) + bytes(8)
    expected = (0x0C, (2,), 8)
    views = (
        bytearray(data),
        memoryview(data),
        np.frombuffer(data, "u1"),
        np.frombuffer(data, "i4"),
    )
    for view in views:
        assert _ambigcore.idx_parse(view) == expected
    assert _ambigcore.idx_header(data[:8]) == expected
    for wrong in ("text", 3, None, [0, 0, 8, 1]):
        with pytest.raises(DTypeError, match="bytes-like"):
            _ambigcore.idx_parse(wrong)
    for strided in (np.frombuffer(data, "u1")[::2], memoryview(data)[::2]):
        with pytest.raises(ArgumentError, match="contiguous"):
            _ambigcore.idx_parse(strided)
    with pytest.raises(TypeError, match="1 arguments, got 2"):
        _ambigcore.idx_parse(data, data)


@given(
    array=st.sampled_from(sorted(DTYPES)).flatmap(
        lambda d: arrays(d, array_shapes(max_dims=8, min_side=0, max_side=3))
    ),
    zipped=st.booleans(),
    layout=st.sampled_from(["C", "F", "swapped", "reversed", "readonly"]),
)
@settings(max_examples=120, deadline=None)
def test_round_trip(tmp_path_factory, array, zipped, layout):
    given_array = {
        "C": array,
        "F": np.asfortranarray(array),
        "swapped": array.astype(array.dtype.newbyteorder()),
        "reversed": array[::-1].copy()[::-1],
        "readonly": array.copy(),
    }[layout]
    given_array.flags.writeable = layout != "readonly"
    path = tmp_path_factory.mktemp("idx") / ("x.gz" if zipped else "x")
    save_idx(given_array, path)
    data = path.read_bytes()
    data = gzip.decompress(data) if zipped else data
    code, shape, offset = _ambigcore.idx_parse(data)
    assert code == DTYPES[array.dtype.str[1:]]
    assert shape == array.shape
    assert data[offset:] == array.astype(array.dtype.newbyteorder(">")).tobytes()


def test_the_narrowest_type_of_other_integers(tmp_path):
    for values, code in (
        ([0, 255], 0x08),
        ([-1, 127], 0x09),
        ([-1, 128], 0x0B),
        ([0, 40000], 0x0C),
        ([], 0x08),
    ):
        save_idx(np.array(values, np.int64), tmp_path / "x")
        data = (tmp_path / "x").read_bytes()
        assert data[2] == code
        stored = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4"}[code]
        assert np.frombuffer(data, stored, offset=8).tolist() == values


def test_what_idx_cannot_say(tmp_path):
    path = tmp_path / "x"
    for wrong in (np.array([2**31]), np.array([-(2**31) - 1])):
        with pytest.raises(ArgumentError, match="32 bits"):
            save_idx(wrong, path)
    for wrong in (["a"], [True], [1j], np.zeros(2, "f2"), np.array([None])):
        with pytest.raises(DTypeError):
            save_idx(wrong, path)
    with pytest.raises(ShapeError):
        save_idx(5, path)
    with pytest.raises(ShapeError):
        save_idx(np.zeros((1,) * 9, "u1"), path)
    with pytest.raises(FileError):
        save_idx([1], tmp_path)
    assert not list(tmp_path.iterdir())


def test_gzip_has_no_time_stamp(tmp_path):
    save_idx(np.arange(100, dtype="u1"), tmp_path / "a.gz")
    data = (tmp_path / "a.gz").read_bytes()
    assert data[:2] == b"\x1f\x8b"
    assert data[4:8] == bytes(4)


IMAGES = header(0x08, 2, 4, 3) + bytes(range(24))


def test_raw_and_gzip_by_content(tmp_path):
    for name, data in (
        ("a", IMAGES),
        ("a.gz", gzip.compress(IMAGES)),
        ("b", gzip.compress(IMAGES)),  # a wrong name does not matter here
        ("stored.gz", gzip.compress(IMAGES, 0)),
    ):
        (tmp_path / name).write_bytes(data)
        dataset = load_idx(tmp_path / name)
        assert dataset.images.ravel().tolist() == list(range(24))
        assert dataset.images.shape == (2, 4, 3)
        assert dataset.labels is None


def test_every_type_is_read_big_endian(tmp_path):
    values = np.array([[[0, 1], [1, 0]]])
    for name in DTYPES:
        save_idx(values.astype(name), tmp_path / name)
        images = load_idx(tmp_path / name).images
        assert images.dtype == (np.float32 if name in ("f4", "f8") else np.uint8)
        assert (images == values).all()


def gzip_faults():
    good = gzip.compress(IMAGES, mtime=0)
    body = len(good) - 8
    yield from ((f"cut at {n}", good[:n]) for n in range(2, len(good)))
    yield "CRC", good[:body] + bytes([good[body] ^ 1]) + good[body + 1 :]
    yield "length", good[:-1] + bytes([good[-1] ^ 1])
    yield "method", good[:2] + b"\7" + good[3:]
    yield "reserved flags", good[:3] + b"\xe0" + good[4:]
    yield "trailing zero", good + b"\0"
    yield "trailing text", good + b"junk"
    yield "two members", good + good
    yield "gzip in gzip", gzip.compress(good)
    yield "one byte more", gzip.compress(IMAGES + b"\0")
    yield "one byte less", gzip.compress(IMAGES[:-1])
    yield "header only", gzip.compress(IMAGES[:16])
    yield "half a header", gzip.compress(IMAGES[:9])
    yield "nothing", gzip.compress(b"")
    yield "no IDX", gzip.compress(b"<!DOCTYPE html><html></html>")
    yield "not gzip", IMAGES
    yield "empty", b""
    yield "zip", b"PK\3\4" + bytes(30)
    yield "HTML", b"\n<!DOCTYPE html><title>404</title>"
    yield "npy", b"\x93NUMPY" + bytes(20)
    for i in range(10, body - 1):  # the last byte may hold bits that mean nothing
        yield f"bit of byte {i}", good[:i] + bytes([good[i] ^ 4]) + good[i + 1 :]


@pytest.mark.parametrize(("what", "data"), [pytest.param(*f, id=f[0]) for f in gzip_faults()])
def test_damaged_gzip(tmp_path, what, data):
    path = tmp_path / "x.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"byte \d+") as caught:
        load_idx(path)
    assert str(path) in str(caught.value)


def test_messages_name_the_kind_of_file(tmp_path):
    for data, kind in ((b"PK\3\4", "zip"), (b"<html>", "HTML"), (b"\x89PNG\r\n", "PNG")):
        for name in ("x", "x.gz"):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(DataError, match=kind):
                load_idx(tmp_path / name)
    (tmp_path / "x.gz").write_bytes(gzip.compress(IMAGES) + b"junk")
    place = len(gzip.compress(IMAGES))
    with pytest.raises(DataError, match=f"byte {place}: .* got 4 more bytes"):
        load_idx(tmp_path / "x.gz")


def bomb(head, megabytes):
    """A gzip stream that goes on with zeros after `head`."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join(
        [packer.compress(head), *(packer.compress(zeros) for _ in range(megabytes)), packer.flush()]
    )


@pytest.mark.parametrize("head", [header(0x08, 2, 4, 3), header(0x0E, 2**31, 2**20), b"junk"])
def test_a_bomb_costs_nothing(tmp_path, head):
    path = tmp_path / "x.gz"
    path.write_bytes(bomb(head, 64))
    size = path.stat().st_size
    assert size < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * size + (1 << 20)
    finally:
        tracemalloc.stop()


def test_images_and_labels(tmp_path):
    images, labels = tmp_path / "images.gz", tmp_path / "labels"
    save_idx(np.zeros((3, 5, 5), np.uint8), images)
    save_idx([7, -2, 7], labels)
    dataset = load_idx(images, labels)
    assert dataset.labels.tolist() == [7, -2, 7]
    assert dataset.classes.tolist() == [-2, 7]
    assert dataset.name == "images"
    assert load_idx(images, labels, classes=[7, 1, -2]).classes.tolist() == [7, 1, -2]
    save_idx([7, 2], labels)
    with pytest.raises(ShapeError, match="expected 3, one per image, got 2") as caught:
        load_idx(images, labels)
    assert str(images) in str(caught.value)
    assert str(labels) in str(caught.value)
    save_idx([7, 2, 11], labels)
    with pytest.raises(ArgumentError, match=r"got 11 at \[2\]"):
        load_idx(images, labels, classes=range(10))
    save_idx(np.zeros(3, np.float32), labels)
    with pytest.raises(DataError, match="integer"):
        load_idx(images, labels)
    save_idx([1, 2, 3], labels)
    with pytest.raises(ArgumentError, match="images first"):
        load_idx(labels, images)
    with pytest.raises(ShapeError):
        load_idx(labels)
    save_idx(np.full((1, 2, 2), 300), images)
    with pytest.raises(ArgumentError, match=r"0\.\.255"):
        load_idx(images)
    save_idx(np.full((1, 2, 2), 3.0), images)
    with pytest.raises(ArgumentError, match="divide by 255"):
        load_idx(images)


def test_places_that_are_no_file(tmp_path):
    with pytest.raises(DataNotFoundError):
        load_idx(tmp_path / "none")
    with pytest.raises(FileError):
        load_idx(tmp_path)
    with pytest.raises(FileError):
        load_idx("/dev/zero")
    with pytest.raises(DTypeError):
        load_idx(5)
    with pytest.raises(AmbigError):
        load_idx("a\0b")
