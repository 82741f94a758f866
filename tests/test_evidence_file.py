"""Evidence in files and in pickles: to the bit, the same bytes, and nothing but such files."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ambigmnist as am
from ambigmnist import _evidence_file, _files
from ambigmnist.errors import (
    ArgumentError,
    DataError,
    DataNotFoundError,
    DTypeError,
    FileError,
)
from ambigmnist.evidence import AXES, DYNAMICS, NEAREST

KNOWN = [name for name in AXES if name not in ("probs", "labels")]


def made(n=7, k=3, names=KNOWN, seed=0, dtype=np.float32, strings=True):
    """Evidence with the fields `names`."""
    rng = np.random.default_rng(seed)
    classes = np.array(["ant", "bee", "cätç", "d\0g"][:k]) if strings else np.arange(k)[::-1] - 1
    z = rng.normal(size=(n, k)).astype(dtype)
    many = rng.dirichlet(np.ones(k), (2, n)).astype(dtype)
    dynamics = np.full(n, np.nan, DYNAMICS)
    dynamics["aum"] = rng.normal(size=n)
    nearest = np.zeros((n, 2), NEAREST)
    nearest["index"], nearest["distance"] = rng.integers(0, 99, (n, 2)), rng.random((n, 2))
    fields = {
        "images": rng.integers(0, 256, (n, 4, 5), np.uint8),
        "logits": z,
        **dict.fromkeys(("members", "mc", "augmented", "history"), many),
        "dynamics": dynamics,
        "embeddings": rng.normal(size=(n, 3)),
        "nearest": nearest,
        "fold": np.arange(n) % 2,
        "split": np.where(rng.random(n) < 0.5, "train", "test"),
        "in_sample": rng.random(n) < 0.5,
    }
    return am.Evidence(
        None if "logits" in names else many[0],
        rng.choice(classes, n),
        classes=classes,
        provenance={"b": [1, None, 0.1], "a": {"ü": "\ud800"}},
        **{name: fields[name] for name in names},
    )


def check_same(a, b):
    for name in (*AXES, "classes"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype, name
            assert x.shape == y.shape, name
            assert x.tobytes() == y.tobytes(), name
            assert not y.flags.writeable, name
    assert a.provenance == b.provenance


def raw(**entries):
    """The bytes of a .npz; an entry is an array, or the bytes of its .npy."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, value in entries.items():
            archive.writestr(f"{name}.npy", value if isinstance(value, bytes) else npy(value))
    return stream.getvalue()


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **options)
    return stream.getvalue()


def header(descr, shape, order=False, body=b""):
    text = repr({"descr": descr, "fortran_order": order, "shape": shape})[:-1] + ", }\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode() + body


def about(fields=("classes", "probs"), **changes):
    text = {"format": "ambigmnist.evidence", "version": 1, "provenance": {}, **changes}
    text["fields"] = list(fields) if isinstance(fields, tuple) else fields
    return np.array(json.dumps({k: v for k, v in text.items() if v is not None}))


GOOD = {"classes": np.arange(2), "probs": np.full((3, 2), 0.5)}


def changed(**entries):
    """The bytes of a good file with other entries; None leaves one out."""
    all_of_them = {k: v for k, v in {**GOOD, **entries}.items() if v is not None}
    return raw(**{"about": about(tuple(all_of_them)), **all_of_them})


# ---- round trips ----


@given(
    n=st.integers(0, 9),
    k=st.integers(1, 4),
    names=st.sets(st.sampled_from(KNOWN)),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([np.float32, np.float64]),
    strings=st.booleans(),
)
@settings(max_examples=60)
def test_round_trip(tmp_path_factory, n, k, names, seed, dtype, strings):
    path = tmp_path_factory.mktemp("ev") / "ev"
    ev = made(n, k, names, seed, dtype, strings)
    ev.save(path)
    check_same(ev, am.Evidence.load(path))
    first = path.read_bytes()
    am.Evidence.load(path).save(path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("names", [KNOWN, ["history"], ["embeddings"], []])
def test_every_score_has_the_same_bits(tmp_path, names):
    ev = made(50, names=names)
    ev.save(tmp_path / "ev.npz")
    back = am.Evidence.load(tmp_path / "ev.npz")
    compared = 0
    for record in am.definitions():
        if all(ev.has(need) for need in record.needs):
            try:
                expected = ev.score(record.name)
            except ArgumentError:  # of records that are NaN
                continue
            assert back.score(record.name).tobytes() == expected.tobytes()
            compared += 1
    assert compared > 8
    assert (back.accuracy, back.log_loss) == (ev.accuracy, ev.log_loss)


def test_the_path_is_taken_as_it_is(tmp_path):
    for name in ("ev", "ev.npz", "ev.zip"):
        made().save(tmp_path / name)
        check_same(made(), am.Evidence.load(str(tmp_path / name)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ev", "ev.npz", "ev.zip"]


def test_the_layout_in_memory_does_not_change_the_bytes(tmp_path):
    ev = made(9, names=["members", "embeddings"])
    many = ev.members
    ev.save(tmp_path / "a")
    for members in (
        np.asfortranarray(many),
        many.astype(">f4"),
        many[::-1].copy()[::-1],
        np.repeat(many, 2, axis=2)[..., ::2],
    ):
        other = am.Evidence(
            ev.probs,
            ev.labels,
            classes=ev.classes,
            members=members,
            embeddings=ev.embeddings,
            provenance=dict(reversed(ev.provenance.items())),
        )
        other.save(tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_large_arrays_are_written_in_parts(tmp_path, monkeypatch):
    made(200).save(tmp_path / "a")
    monkeypatch.setattr(_evidence_file, "_BLOCK", 100)
    made(200).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numpy_reads_it_too(tmp_path):
    ev = made()
    ev.save(tmp_path / "ev.npz")
    with np.load(tmp_path / "ev.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {*AXES, "classes", "about"}
        assert (arrays["labels"] == ev.labels).all()
        assert arrays["dynamics"].dtype == DYNAMICS
        assert json.loads(arrays["about"].item())["version"] == 1


def test_a_slice_and_nothing(tmp_path):
    for part in (made()[[5, 1, 1]], made()[:0], made(names=["history"])[2:]):
        part.save(tmp_path / "ev")
        check_same(part, am.Evidence.load(tmp_path / "ev"))


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_pickles(protocol):
    ev = made()
    found, best = ev.neighbours(2), ev.predicted_index
    ev.nearest_others(2)
    accuracy = ev.accuracy
    back = pickle.loads(pickle.dumps(ev, protocol))
    check_same(ev, back)
    assert back.__dict__.keys() == ev.__dict__.keys()  # nothing is computed again
    for value in back.__dict__.values():
        assert not isinstance(value, np.ndarray) or not value.flags.writeable
    assert (back.predicted_index == best).all()
    assert back.accuracy == accuracy
    assert (back.neighbours(2)[0] == found[0]).all()
    assert pickle.loads(pickle.dumps(ev[:0])).n == 0


# ---- what cannot be written ----


@pytest.mark.parametrize(
    ("provenance", "error"),
    [
        ({"a": np.int64(1)}, DTypeError),
        ({"a": {1, 2}}, DTypeError),
        ({("a", "b"): 1}, DTypeError),
        ({"a": float("nan")}, ArgumentError),
    ],
)
def test_provenance_is_json(tmp_path, provenance, error):
    with pytest.raises(error, match="provenance: expected what JSON can hold"):
        am.Evidence([[1.0]], provenance=provenance).save(tmp_path / "ev")
    circle = {}
    circle["a"] = circle
    with pytest.raises(ArgumentError, match="provenance"):
        am.Evidence([[1.0]], provenance=circle).save(tmp_path / "ev")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["open", "fsync", "replace", "write"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "ev"
    made().save(path)
    old = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "write":
        monkeypatch.setattr(zipfile._ZipWriteFile, "write", fail)
    else:
        monkeypatch.setattr(*{"replace": (_files.Path, call)}.get(call, (_files.os, call)), fail)
    with pytest.raises(FileError, match="No space left") as caught:
        made(99).save(path)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert str(path) in str(caught.value)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["ev"]


def test_a_real_limit_of_the_system_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource", reason="machine: no limits of processes")
    path = tmp_path / "ev"
    made().save(path)
    old = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(FileError, match="File too large"):
            made(999).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["ev"]


# ---- what is no such file ----


def test_no_such_file(tmp_path):
    with pytest.raises(DataNotFoundError, match="No such file"):
        am.Evidence.load(tmp_path / "none")
    with pytest.raises(FileError, match="got a folder"):
        am.Evidence.load(tmp_path)
    with pytest.raises(DTypeError):
        am.Evidence.load(3)


def test_truncated_anywhere(tmp_path):
    path = tmp_path / "ev"
    made(names=["embeddings", "split"]).save(path)
    good = path.read_bytes()
    for n in range(0, len(good), 50):
        path.write_bytes(good[:n])
        with pytest.raises(DataError) as caught:
            am.Evidence.load(path)
        assert str(caught.value).startswith(f"{path}: not a sound evidence file: ")


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_is_found_or_harmless(tmp_path, flip):
    path = tmp_path / "ev"
    ev = made(4, names=["in_sample", "dynamics"])
    ev.save(path)
    good = path.read_bytes()
    found = 0
    for i in range(0, len(good), 7):
        bad = bytearray(good)
        bad[i] ^= flip
        path.write_bytes(bad)
        try:
            back = am.Evidence.load(path)
        except DataError:
            found += 1
        else:  # a date, say
            check_same(ev, back)
    assert found > len(good) // 14


def bomb():
    """A compressed entry that would grow a thousandfold."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in {"about": about(("classes", "probs", "labels")), **GOOD}.items():
            archive.writestr(f"{name}.npy", npy(value))
        archive.writestr("labels.npy", header("<i8", (1 << 20,), body=bytes(8 << 20)))
    return stream.getvalue()


def lying(size):
    """A stored entry that claims to be larger than the file."""
    data = bytearray(changed())
    place = data.index(b"PK\1\2")
    data[place + 20 : place + 28] = size.to_bytes(4, "little") * 2
    return bytes(data)


def twice():
    stream = io.BytesIO(changed())
    with zipfile.ZipFile(stream, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("probs.npy", npy(GOOD["probs"]))
    return stream.getvalue()


class Trap:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return (os.mkdir, ("trap",))


TRAP = npy(np.array([Trap()] * 3, object), allow_pickle=True)
BAD = {
    "empty": (b"", "byte 0"),
    "text": (b"a picture, say", "byte 0: expected 'PK'"),
    "a .npy": (npy(np.zeros(3)), "byte 0"),
    "an archive of nothing": (raw(), "damaged|got another"),
    "another .npz": (raw(images=np.zeros(3), labels=np.zeros(3)), "another .npz, of images, lab"),
    "no .npy": (changed().replace(b"probs.npy", b"probs.txt"), "expected .npy entries"),
    "twice": (twice, "once each"),
    "compressed": (bomb, "not compressed"),
    "larger than the file": (lambda: lying(1 << 30), "not compressed|damaged"),
    "about a number": ({"about": np.array(3)}, "expected dtype <U"),
    "about no JSON": ({"about": np.array("{a}")}, "Expecting property name"),
    "about a list": ({"about": np.array("[]")}, "expected the format"),
    "about deep": ({"about": np.array('{"a":' + "[" * 99_999)}, "nested too deeply"),
    "another format": ({"about": about(format="x")}, "expected the format 'ambigmnist.evi"),
    "a newer version": ({"about": about(version=2)}, "expected version 1, got 2: a newer ambigm"),
    "version 0": ({"about": about(version=0)}, "version from 1 on"),
    "version true": ({"about": about(version=True)}, "version from 1 on"),
    "no version": ({"about": about(version=None)}, "version from 1 on"),
    "provenance a list": ({"about": about(provenance=[1])}, "provenance to be an object"),
    "no fields": ({"about": about(None)}, "fields to be a list of names"),
    "fields of numbers": ({"about": about((1, 2))}, "fields to be a list of names"),
    "a field less than it says": ({"probs": None, "about": about()}, "'probs' is missing"),
    "a field more than it says": ({"fold": np.arange(3), "about": about()}, "'fold' is .*many"),
    "no probs": ({"probs": None}, "fields of an evidence, got classes"),
    "no classes": ({"classes": None}, "fields of an evidence, got probs"),
    "unknown field": ({"more": np.zeros(3)}, "fields of an evidence, got classes, probs, more"),
    "objects": ({"labels": TRAP}, "labels: expected dtype <i8 or <U, got '|O'"),
    "objects as structure": ({"dynamics": header([("a", "|O")], (3,))}, "dynamics: expected dtype"),
    "labels of floats": ({"labels": np.zeros(3)}, "labels: expected dtype"),
    "probs of integers": ({"probs": np.zeros((3, 2), int)}, "probs: expected dtype <f4 or <f8"),
    "probs of float16": ({"probs": np.full((3, 2), 0.5, "f2")}, "probs: expected dtype"),
    "big-endian": ({"probs": np.full((3, 2), 0.5, ">f8")}, "probs: expected dtype"),
    "other records": ({"nearest": np.zeros((3, 1), DYNAMICS)}, "nearest: expected dtype"),
    "fortran order": ({"probs": np.full((3, 2), 0.5, order="F")}, "header of NumPy's"),
    "code in the header": ({"probs": header("<f8", "__import__('os')")}, "header of NumPy's"),
    "no header": ({"probs": b"\x93NUMPY\1\0\xff\xff{}"}, "header of NumPy's"),
    "half a header": ({"probs": b"\x93NUMPY\1\0"}, "version 1.0"),
    "version 2.0 of .npy": ({"probs": npy(GOOD["probs"], version=(2, 0))}, "version 1.0"),
    "more than there is": ({"probs": header("<f8", (2**40, 2))}, "probs: expected 17592186044416"),
    "a shape that wraps": ({"probs": header("<f8", (2**32 + 1, 2**32))}, "too large"),
    "a shape beyond, but a 0": ({"probs": header("<f8", (0, 2**40, 2**40))}, "too large"),
    "five dimensions": ({"probs": header("<f8", (1,) * 5, body=bytes(8))}, "at most 4"),
    "less than there is": ({"probs": header("<f8", (1, 2), body=bytes(24))}, "got 24"),
    "strings of no size": ({"split": header("<U0", (3,))}, "split: expected dtype <U"),
    "huge strings": ({"split": header("<U999999999", (0,))}, "split: expected dtype <U"),
    "no characters": ({"split": header("<U1", (3,), body=b"\xff" * 12)}, "beyond those of Unicode"),
    "no booleans": ({"in_sample": header("|b1", (3,), body=b"\0\1\2")}, "other bytes than 0 and 1"),
    "sums of 2": ({"probs": np.ones((3, 2))}, "probs: expected rows that sum"),
    "labels of no class": ({"labels": np.array([0, 1, 2])}, "labels: .*got 2"),
    "labels too few": ({"labels": np.array([0, 1])}, "labels: expected 3"),
    "labels 0-d": ({"labels": np.array(1)}, "labels: expected shape"),
    "no column": ({"probs": np.ones((3, 0)), "classes": np.arange(0)}, "at least one column"),
    "classes twice": ({"classes": np.array([1, 1])}, "distinct"),
    "other logits": ({"logits": np.array([[9.0, 0.0]] * 3)}, "logits: expected softmax"),
}


@pytest.mark.parametrize("what", BAD)
def test_malformed(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    data, words = BAD[what]
    if isinstance(data, dict):
        data = changed(**data)
    path = tmp_path / "bad.npz"
    path.write_bytes(data() if callable(data) else data)
    with pytest.raises(DataError, match=words) as caught:
        am.Evidence.load(path)
    assert str(caught.value).startswith(f"{path}: not a sound evidence file: ")
    assert len(str(caught.value)) < 500
    assert [p.name for p in tmp_path.iterdir()] == ["bad.npz"]  # nothing was run


def test_the_good_one_is_good(tmp_path):
    """What the bad ones differ from."""
    (tmp_path / "a").write_bytes(changed())
    assert am.Evidence.load(tmp_path / "a").n == 3


def test_neighbours_have_labels_of_columns(tmp_path):
    nearest = np.zeros((3, 1), NEAREST)
    for label in (-2, 2):
        nearest["label"] = label
        (tmp_path / "a").write_bytes(changed(nearest=nearest))
        with pytest.raises(DataError, match=f"nearest: expected labels -1 to 1, got {label}"):
            am.Evidence.load(tmp_path / "a")


@pytest.mark.parametrize("data", [bomb, lambda: changed(images=header("|u1", (2**40, 2, 2)))])
def test_a_hostile_file_costs_no_memory(tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data())
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            am.Evidence.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.data())
@settings(max_examples=150)
def test_noise_never_escapes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("ev") / "ev"
    good = bytearray(changed())
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(good)
    with suppress(DataError):
        am.Evidence.load(path)
