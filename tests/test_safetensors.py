"""The safetensors files: round trips, stable bytes, and what a file must not be."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ambigmnist._safetensors import load, save
from ambigmnist.errors import (
    AmbigError,
    ArgumentError,
    DataError,
    DataNotFoundError,
    DTypeError,
    FileError,
)

DTYPES = ["f8", "f4", "f2", "i8", "i4", "u1"]


def file_of(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@given(
    tensors=st.dictionaries(
        st.text(max_size=8).filter(lambda s: s != "__metadata__" and s.isprintable()),
        st.sampled_from(DTYPES).flatmap(
            lambda d: arrays(d, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
        ),
        max_size=5,
    ),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3),
)
@settings(max_examples=80, deadline=None)
def test_round_trip(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.mktemp("st") / "m.safetensors"
    metadata = {k: v for k, v in metadata.items() if (k + v).isprintable()}
    save(path, tensors, metadata)
    got, texts = load(path)
    assert texts == metadata
    assert got.keys() == tensors.keys()
    for name, array in tensors.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.tobytes()  # NaN too
        assert got[name].flags.writeable
        assert got[name].flags.aligned


def test_the_bytes_are_what_the_format_says(tmp_path):
    path = tmp_path / "m"
    b = np.array([1.0, -2.0], np.float32)
    a = np.array([[7]], np.uint8)
    save(path, {"a": a, "b": b}, {"k": "v"})
    text = (
        '{"__metadata__":{"k":"v"},'
        '"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        '"a":{"dtype":"U8","shape":[1,1],"data_offsets":[8,9]}}'
    )
    text += " " * (-len(text) % 8)
    expected = struct.pack("<Q", len(text)) + text.encode() + struct.pack("<2fB", 1, -2, 7)
    assert path.read_bytes() == expected


def test_order_and_layout_do_not_change_the_bytes(tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4)).astype("f4"), rng.normal(size=(5,))
    save(tmp_path / "1", {"a": a, "b": b}, {"x": "1", "y": "2"})
    readonly = np.asfortranarray(a).astype(">f4")
    readonly.flags.writeable = False
    save(tmp_path / "2", {"b": b[::-1].copy()[::-1], "a": readonly}, {"y": "2", "x": "1"})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "m"
    x = np.zeros(2, np.float32)
    with pytest.raises(DTypeError, match="complex"):
        save(path, {"a": np.zeros(2, complex)})
    with pytest.raises(DTypeError, match="list"):
        save(path, {"a": [1.0]})
    with pytest.raises(DTypeError, match="str to str"):
        save(path, {"a": x}, {"k": 1})
    with pytest.raises(ArgumentError, match="__metadata__"):
        save(path, {"__metadata__": x})
    with pytest.raises(ArgumentError, match="1024"):
        save(path, {str(i): x for i in range(1025)})
    with pytest.raises(FileError):
        save(tmp_path / "no" / "m", {"a": x})
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DataNotFoundError):
        load(tmp_path / "none")
    with pytest.raises(FileError):
        load(tmp_path)


GOOD = {"a": entry(), "b": entry("U8", (3,), (8, 11)), "e": entry("F32", (0, 4), (8, 8))}
BODY = bytes(range(11))

BAD = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "no header": struct.pack("<Q", 0),
    "header beyond the end": file_of({}, length=3),
    "header length with the top bit": file_of({}, length=2**63),
    "header length all ones": file_of({}, length=2**64 - 1),
    "a huge header": struct.pack("<Q", (16 << 20) + 1) + b" " * ((16 << 20) + 1),
    "a list": file_of(b"[]"),
    "a space first": file_of(b" {}"),
    "not JSON": file_of(b"{a}"),
    "two objects": file_of(b"{}{}"),
    "not UTF-8": file_of(b'{"\xff":1}'),
    "deep": file_of(b'{"a":' + b"[" * 200_000),
    "NaN": file_of(b'{"a":NaN}'),
    "a long number": file_of(b'{"a":' + b"9" * 5000 + b"}"),
    "key twice": file_of(
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
        b'"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    ),
    "key twice inside": file_of(b'{"a":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[]}}'),
    "metadata of numbers": file_of({"__metadata__": {"a": 1}}),
    "metadata a list": file_of({"__metadata__": ["a"]}),
    "entry a list": file_of({"a": []}),
    "entry without shape": file_of({"a": {"dtype": "U8", "data_offsets": [0, 0]}}),
    "entry with more": file_of({"a": entry() | {"x": 1}}, bytes(8)),
    "unknown dtype": file_of({"a": entry("F8")}, bytes(8)),
    "dtype a list": file_of({"a": entry(["F32"])}, bytes(8)),
    "shape a number": file_of(
        {"a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}}, bytes(8)
    ),
    "negative size": file_of({"a": entry(shape=(-2,))}, bytes(8)),
    "size true": file_of({"a": entry("U8", (True,), (0, 1))}, bytes(1)),
    "size 2.0": file_of({"a": entry(shape=(2.0,))}, bytes(8)),
    "size 2**64": file_of({"a": entry(shape=(2**64,))}, bytes(8)),
    "product wraps to 8 bytes": file_of({"a": entry(shape=(2**32 + 1, 2**32))}, bytes(8)),
    "product beyond, but a 0": file_of({"a": entry(shape=(0, 2**40, 2**40), offsets=(0, 0))}),
    "rank 40": file_of({"a": entry("U8", (1,) * 40, (0, 1))}, bytes(1)),
    "one offset": file_of({"a": entry(offsets=(8,))}, bytes(8)),
    "offsets turned round": file_of({"a": entry(shape=(0,), offsets=(8, 0))}, bytes(8)),
    "negative offset": file_of({"a": entry(offsets=(-8, 0))}, bytes(8)),
    "offset true": file_of({"a": entry("U8", (1,), (False, True))}, bytes(1)),
    "too few bytes for the shape": file_of({"a": entry(offsets=(0, 4))}, bytes(4)),
    "body too short": file_of(GOOD, BODY[:-1]),
    "body too long": file_of(GOOD, BODY + b"\0"),
    "no tensors but bytes": file_of({}, b"\0"),
    "a hole at the front": file_of({"a": entry(offsets=(4, 12))}, bytes(12)),
    "a hole between": file_of({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)),
    "an overlap": file_of({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
    "the same bytes twice": file_of({"a": entry(), "b": entry()}, bytes(8)),
    "nothing, inside another": file_of({"a": entry(), "b": entry("U8", (0,), (4, 4))}, bytes(8)),
    "1025 tensors": file_of({str(i): entry("U8", (0,), (0, 0)) for i in range(1025)}),
}


@pytest.mark.parametrize("what", BAD)
def test_malformed(tmp_path, what):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(BAD[what])
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: not a sound safetensors file: ")
    assert len(str(caught.value)) < 600


def test_every_prefix_and_every_byte_changed(tmp_path):
    path = tmp_path / "m"
    good = file_of(GOOD, BODY)
    path.write_bytes(good)
    tensors, _ = load(path)
    assert tensors["b"].tolist() == [8, 9, 10]
    assert tensors["e"].shape == (0, 4)
    for n in range(len(good)):
        path.write_bytes(good[:n])
        with pytest.raises(DataError):
            load(path)
    for i in range(len(good)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(good)
            changed[i] ^= flip
            path.write_bytes(changed)
            try:
                tensors, _ = load(path)
            except AmbigError:
                continue
            assert sum(a.nbytes for a in tensors.values()) == len(BODY)


def test_a_hostile_header_costs_no_memory(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(file_of({"a": entry("U8", (2**40,), (0, 2**40))}, bytes(8)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
