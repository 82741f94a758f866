"""Images and labels as users have them, the Dataset, and where MNIST and the digits come from."""

import gzip
import hashlib
import http.server
import pickle
import socket
import threading
import time
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ambigmnist import _mnist
from ambigmnist._idx import idx_bytes
from ambigmnist._validate import as_classes, as_images, as_labels, check_labels_in
from ambigmnist.datasets import (
    Dataset,
    _load_mnist,
    find_mnist,
    load_digits,
    load_mnist,
    save_idx,
)
from ambigmnist.errors import (
    AmbigError,
    ArgumentError,
    DataError,
    DataNotFoundError,
    DTypeError,
    FileError,
    ShapeError,
)

# --- images ---------------------------------------------------------------------------------


def layouts(array):
    """The same values in other memory."""
    yield array
    yield np.asfortranarray(array)
    yield np.repeat(array, 2, axis=0)[::2]
    yield array[::-1].copy()[::-1]
    yield array.astype(array.dtype.newbyteorder())
    unaligned = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype)
    yield unaligned.reshape(array.shape)  # read-only too
    yield array.tolist()


@given(
    array=st.sampled_from(["u1", "u2", "i4", "i8", "f2", "f4", "f8"]).flatmap(
        lambda d: arrays(
            d,
            array_shapes(min_dims=3, max_dims=4, max_side=5),
            elements=st.integers(0, 255) if d[0] != "f" else st.sampled_from([0, 0.25, 0.5, 1]),
        )
    )
)
@settings(max_examples=60, deadline=None)
def test_images_of_any_type_and_layout(array):
    expected = array.reshape(array.shape if array.ndim == 4 else (*array.shape, 1)).tolist()
    for variant in layouts(array):
        images = as_images(variant)
        assert images.dtype == (np.float32 if array.dtype.kind == "f" else np.uint8)
        assert images.dtype.isnative
        assert images.flags.c_contiguous
        assert images.flags.aligned
        assert images.tolist() == expected


def test_shapes_of_images():
    assert as_images(np.zeros((2, 784), np.uint8)).shape == (2, 28, 28, 1)
    assert as_images(np.zeros((2, 1), np.uint8)).shape == (2, 1, 1, 1)
    assert as_images(np.zeros((0, 28, 28), np.uint8)).shape == (0, 28, 28, 1)
    assert as_images(np.zeros((0, 784))).dtype == np.float32
    assert as_images(np.zeros((2, 1, 7, 3))).shape == (2, 1, 7, 3)
    array = np.zeros((2, 3, 3), np.uint8)
    assert np.shares_memory(as_images(array), array)


def test_booleans_are_black_and_white():
    assert as_images([[[True, False]]]).ravel().tolist() == [255, 0]


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (np.zeros(784), ShapeError, r"expected shape \(n, h, w\).*got \(784,\)"),
        (np.zeros((28, 27)), ShapeError, r"images\[None\]"),
        (np.zeros((3, 0)), ShapeError, "square"),
        (np.zeros((2, 3, 0)), ShapeError, "at least one pixel"),
        (np.zeros((2, 3, 3, 0)), ShapeError, "at least one pixel"),
        (np.zeros((1, 2, 3, 4, 5)), ShapeError, "expected shape"),
        (np.float32(1), ShapeError, "expected shape"),
        ([], ShapeError, "expected shape"),
        ([[1, 2], [3]], ShapeError, "different shapes"),
        (np.zeros((5, 1, 28, 28)), ShapeError, r"np.moveaxis\(images, 1, -1\)"),
        (np.zeros((5, 3, 32, 32)), ShapeError, "channels first"),
        (np.array([[["a"]]]), DTypeError, "dtype <U1"),
        (np.zeros((1, 2, 2), complex), DTypeError, "complex"),
        (np.zeros((1, 2, 2), object), DTypeError, "object"),
        (np.zeros((1, 2, 2), "M8[s]"), DTypeError, "datetime"),
        (None, DTypeError, "object"),
        (np.full((1, 2, 2), 256), ArgumentError, "from 256 to 256"),
        (np.full((1, 2, 2), -1), ArgumentError, "from -1 to -1"),
        (np.full((1, 2, 2), 255.0), ArgumentError, "divide by 255"),
        (np.full((1, 2, 2), 1.0000001), ArgumentError, "divide by 255"),
        (np.full((1, 2, 2), 256.0), ArgumentError, "from 256 to 256$"),
        (np.full((1, 2, 2), -1e-9), ArgumentError, "from -1e-09"),
        (np.array([[[0.5, np.nan]]]), ArgumentError, r"got nan at \[0, 0, 1, 0\] \(1 such"),
        (np.array([[[np.inf]]]), ArgumentError, "got inf"),
        (np.ma.masked_equal(np.ones((1, 2, 2)), 1), ArgumentError, "masked"),
    ],
)
def test_images_that_make_no_sense(images, error, words):
    with pytest.raises(error, match=words):
        as_images(images)


# --- labels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "u4", "i8", "u8", "f2", ">f8"])
def test_integer_labels(dtype):
    labels = as_labels(np.array([3, 1, 3, 2], dtype)[::-1], 4)
    assert labels.dtype == np.int64
    assert labels.tolist() == [2, 3, 1, 3]


def test_labels_of_other_kinds():
    assert as_labels([True, False]).tolist() == [1, 0]
    assert as_labels(["b", "a"]).tolist() == ["b", "a"]
    assert as_labels(np.array(["b", "äö"], ">U2")).dtype == np.dtype("=U2")
    assert as_labels(np.array(["b", "a"], object)).dtype.kind == "U"
    assert as_labels(np.array([3, np.int8(4)], object)).dtype == np.int64
    assert as_labels(np.array(["x", "yy"], np.dtypes.StringDType())).tolist() == ["x", "yy"]
    assert as_labels([], 0).shape == (0,)
    pandas = pytest.importorskip("pandas")
    assert as_labels(pandas.Series(["b", "a"])).tolist() == ["b", "a"]
    assert as_labels(pandas.Series([2, 1])).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ([1, 2], ShapeError, "expected 3, one per image, got 2"),
        ([[1], [2], [3]], ShapeError, "np.ravel"),
        (np.eye(3), ShapeError, "np.argmax"),
        (7, ShapeError, r"expected shape \(n,\)"),
        ([1.0, 2.5, 3.0], ArgumentError, r"got 2.5 at \[1\]"),
        ([1.0, np.nan, 3.0], ArgumentError, "got nan"),
        ([1.0, np.inf, 3.0], ArgumentError, "got inf"),
        ([1e300, 1, 1], ArgumentError, "1e"),
        (np.array([1, 2, 2**64 - 1], np.uint64), ArgumentError, "2\\*\\*63"),
        ([1, 2, 2**70], ArgumentError, "64 bits"),
        ([1, "a", 2], DTypeError, "got 'a' at \\[1\\] beside 1"),
        (["a", 1, "b"], DTypeError, "got 1 at \\[1\\] beside 'a'"),
        (np.array([1, None, 2], object), DTypeError, "got None at \\[1\\]"),
        ([None, None, None], DTypeError, "NoneType"),
        ([b"a", b"b", b"c"], DTypeError, "decode"),
        ([1j, 2, 3], DTypeError, "complex"),
    ],
)
def test_labels_that_make_no_sense(labels, error, words):
    with pytest.raises(error, match=words):
        as_labels(labels, 3)


def test_classes():
    assert as_classes([3, 1, 2]).tolist() == [3, 1, 2]
    with pytest.raises(ArgumentError, match="1 more than once"):
        as_classes([1, 2, 1])
    with pytest.raises(ShapeError, match="at least one"):
        as_classes([])
    check_labels_in(as_labels(["b"]), as_classes(["a", "b"]))
    with pytest.raises(
        ArgumentError, match=r"classes 0, 1, 2, .*, \.\.\., got 20 at \[1\] \(2 such"
    ):
        check_labels_in(as_labels([3, 20, 21]), as_classes(range(15)))
    with pytest.raises(DTypeError, match="expected strings like the classes, got integers"):
        check_labels_in(as_labels([1]), as_classes(["1"]))


# --- Dataset --------------------------------------------------------------------------------


def some(n=6, **kwargs):
    images = np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2)
    return Dataset(images, np.arange(n) % 3, **kwargs)


def test_dataset_holds_what_it_was_given():
    data = some(name="x", split="train")
    X, y = data
    assert X is data.images
    assert y is data.labels
    assert len(data) == 6
    assert X.shape == (6, 2, 2)
    assert data.classes.tolist() == [0, 1, 2]
    assert data.split.tolist() == ["train"] * 6
    assert repr(data) == "Dataset('x', 6 images 2 x 2 uint8, 3 classes, split train: 6)"
    assert repr(Dataset(np.zeros((1, 2, 2, 3)))) == (
        "Dataset(1 images 2 x 2 x 3 float32, no labels)"
    )
    assert Dataset(np.zeros((2, 9))).images.shape == (2, 3, 3)
    assert Dataset(np.zeros((2, 3, 3, 1))).images.shape == (2, 3, 3, 1)
    assert Dataset(np.zeros((0, 3, 3)), []).labels.shape == (0,)


def test_dataset_cannot_be_changed():
    data = some()
    with pytest.raises(AttributeError):
        data.labels = None
    for array in (data.images, data.labels, data.classes):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_own_arrays_stay_writeable():
    images, labels = np.zeros((1, 2, 2), np.uint8), np.zeros(1, np.int64)
    Dataset(images, labels)
    images[0], labels[0] = 1, 1


def test_dataset_refuses_parts_that_do_not_fit():
    with pytest.raises(ShapeError, match="expected 6, one per image, got 5"):
        Dataset(np.zeros((6, 2, 2)), np.zeros(5, int))
    with pytest.raises(ArgumentError, match="expected one of the classes"):
        Dataset(np.zeros((1, 2, 2)), [4], classes=[1, 2])
    with pytest.raises(ShapeError, match="split"):
        some(split=["a", "b"])
    with pytest.raises(DTypeError, match="split"):
        some(split=range(6))
    with pytest.raises(DTypeError, match="name"):
        some(name=5)
    with pytest.raises(TypeError):
        Dataset(np.zeros((1, 2, 2)), [4], [4])


@given(st.data())
@settings(deadline=None)
def test_indexing_is_numpys(data):
    n = data.draw(st.integers(0, 8))
    dataset = some(n, classes=[0, 1, 2], split=np.array([f"s{i}" for i in range(n)], str))
    choices = [st.slices(n), st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)]
    if n:
        choices += [st.lists(st.integers(-n, n - 1)), st.integers(-n, n - 1)]
    index = data.draw(st.one_of(choices))
    if isinstance(index, np.ndarray):
        index = index.astype(bool)
    rows = np.atleast_1d(np.arange(n)[index if not isinstance(index, list) else np.intp(index)])
    part = dataset[index]
    assert part.images.tolist() == dataset.images[rows].tolist()
    assert part.labels.tolist() == dataset.labels[rows].tolist()
    assert part.split.tolist() == dataset.split[rows].tolist()
    assert part.classes.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (6, ArgumentError),
        (-7, ArgumentError),
        ([0, 6], ArgumentError),
        ([True, False], ShapeError),
        ([0.5], DTypeError),
        ("a", DTypeError),
        ((0, 1, [2]), AmbigError),
        ([[0], [1]], DTypeError),
        (None, DTypeError),
        (True, DTypeError),
    ],
)
def test_indexing_with_nonsense(index, error):
    with pytest.raises((error, ValueError) if error is AmbigError else error):
        some()[index]


def test_addition_keeps_the_split_of_every_image():
    a, b = some(2, name="m", split="train"), some(3, name="m", split="test")
    both = a + b
    assert both.split.tolist() == ["train"] * 2 + ["test"] * 3
    assert both.labels.tolist() == [0, 1, 0, 1, 2]
    assert both.classes.tolist() == [0, 1, 2]
    assert both.name == "m"
    assert both.images.tolist() == a.images.tolist() + b.images.tolist()
    assert repr(both) == ("Dataset('m', 5 images 2 x 2 uint8, 3 classes, split test: 3, train: 2)")
    mixed = a + some(1, name="other")
    assert mixed.split.tolist() == ["train", "train", ""]
    assert mixed.name == "m+other"
    assert (some(1) + some(1)).split is None
    same = some(3, classes=[2, 1, 0])
    assert (same + same).classes.tolist() == [2, 1, 0]
    unlabelled = Dataset(np.zeros((1, 2, 2), np.uint8))
    assert (unlabelled + unlabelled).labels is None


def test_addition_of_what_does_not_fit():
    a = some()
    with pytest.raises(ShapeError, match="same size"):
        a + Dataset(np.zeros((1, 3, 3), np.uint8), [0])
    with pytest.raises(DTypeError, match="divide"):
        a + Dataset(np.zeros((1, 2, 2)), [0])
    with pytest.raises(DTypeError, match="kind"):
        a + Dataset(np.zeros((1, 2, 2), np.uint8), ["a"])
    with pytest.raises(ArgumentError, match="labels"):
        a + Dataset(np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(TypeError):
        a + 1


def test_sha256_is_what_it_says():
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    head = b"images <u1 (2, 2, 2, 1)\n" + images.tobytes()
    for labels, tail in (
        ([3, -1], b"labels <i8 (2,)\n" + (3).to_bytes(8, "little") + b"\xff" * 8),
        (["a", "é"], b'labels json (2,)\n["a", "\\u00e9"]'),
        (None, b"labels none\n"),
    ):
        assert Dataset(images, labels).sha256 == hashlib.sha256(head + tail).hexdigest()
    floats = (images / 8).astype(np.float32)
    head = b"images <f4 (2, 2, 2, 1)\n" + floats.astype("<f4").tobytes() + b"labels none\n"
    assert Dataset(floats).sha256 == hashlib.sha256(head).hexdigest()


def test_sha256_depends_on_the_data_alone():
    data = some()
    same = Dataset(np.asfortranarray(data.images)[..., None], data.labels.astype("u1"), name="x",
                   split="y")  # fmt: skip
    assert same.sha256 == data.sha256
    assert data[::-1].sha256 != data.sha256
    assert Dataset(data.images).sha256 != data.sha256
    assert Dataset(data.images.reshape(6, 1, 4), data.labels).sha256 != data.sha256
    assert Dataset(np.zeros((0, 2, 2))).sha256 != Dataset(np.zeros((0, 2, 3))).sha256
    assert pickle.loads(pickle.dumps(data)).sha256 == data.sha256


# --- the digits that come with the package ----------------------------------------------------


def test_digits_are_the_same_bits_everywhere():
    train, test = load_digits()
    assert (len(train), len(test)) == (898, 899)
    assert train.sha256 == "90273fec19619f85490c85084a8c614659466b1608dcc91314038f2a9c8c115d"
    assert test.sha256 == "771f565c3d999456875cab59f801db69c081e713d34c04ed7e5a3c926c8834d6"
    assert set(train.split) == {"train"}
    assert set(test.split) == {"test"}
    assert train.classes.tolist() == list(range(10))


def test_digits_are_stratified():
    train, test = load_digits()
    difference = np.bincount(train.labels) - np.bincount(test.labels)
    assert np.abs(difference).max() <= 1


def test_digits_are_the_definition_of_bilinear_enlargement():
    original = pytest.importorskip("sklearn.datasets").load_digits()
    train, test = load_digits()
    # Both halves together are the original, each image once.
    order = np.argsort(original.target, kind="stable")
    halves = {"train": np.sort(order[1::2]), "test": np.sort(order[::2])}
    for half in (train, test):
        rows = halves[half.split[0]]
        assert half.labels.tolist() == original.target[rows].tolist()
        for k in (0, 17, 400):
            image = original.images[rows[k]]
            expected = [[enlarged(image, y, x) for x in range(28)] for y in range(28)]
            assert half.images[k].tolist() == expected
    assert sorted([*halves["train"], *halves["test"]]) == list(range(1797))


def enlarged(image, y, x):
    """One pixel, in fractions: the centre of new pixel i lies at (i + 1/2) 8/28 - 1/2."""
    weights = []
    for i in (y, x):
        place = min(max(Fraction(2 * i + 1, 2) * Fraction(8, 28) - Fraction(1, 2), 0), 7)
        low = int(place)
        weights.append([(low, 1 - (place - low)), (min(low + 1, 7), place - low)])
    value = sum(a * b * int(image[i, j]) for i, a in weights[0] for j, b in weights[1])
    return int(value * 255 / 16 + Fraction(1, 2))


def test_the_tool_makes_the_bundled_file(tmp_path):
    pytest.importorskip("sklearn")
    from tools.make_digits import DEFAULT, main

    main(tmp_path / "digits.npz")
    assert (tmp_path / "digits.npz").read_bytes() == DEFAULT.read_bytes()
    assert DEFAULT.stat().st_size < 50_000


# --- MNIST ----------------------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A small data set that this process takes for MNIST, and no other place to find one."""
    rng = np.random.default_rng(0)
    payloads = {}
    for name, n in (("train", 20), ("t10k", 10)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        payloads[f"{name}-images-idx3-ubyte"] = idx_bytes(images)
        payloads[f"{name}-labels-idx1-ubyte"] = idx_bytes(np.arange(n, dtype=np.uint8) % 10)
    hashes = {name: hashlib.sha256(p).hexdigest() for name, p in payloads.items()}
    monkeypatch.setattr(_mnist, "FILES", hashes)
    for variable in ("AMBIGMNIST_DATA", "KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    return payloads


def put(payloads, folder, pack=None):
    folder.mkdir(parents=True)
    for name, payload in payloads.items():
        if pack:
            (folder / f"{name}.gz").write_bytes(pack(payload))
        else:
            (folder / name).write_bytes(payload)


def put_npz(payloads, path, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = ("x_train", "y_train", "x_test", "y_test")
    found = {}
    for key, payload in zip(keys, payloads.values(), strict=True):
        offset = 4 + 4 * payload[3]
        shape = np.frombuffer(payload, ">u4", payload[3], 4)
        found[key] = np.frombuffer(payload, np.uint8, -1, offset).reshape(shape)
    found |= changes
    np.savez_compressed(path, **{k: v for k, v in found.items() if v is not None})


def check_fake(train, test):
    assert (len(train), len(test)) == (20, 10)
    assert train.labels.tolist() == [*range(10), *range(10)]
    assert set(train.split) == {"train"}
    assert set(test.split) == {"test"}
    assert train.name == "mnist"
    assert train.classes.tolist() == list(range(10))


def test_the_order_of_places(fake, tmp_path, monkeypatch):
    home = tmp_path / "home"
    with pytest.raises(DataNotFoundError):
        load_mnist()
    put_npz(fake, home / ".keras" / "datasets" / "mnist.npz")
    assert find_mnist().source == "Keras"
    check_fake(*load_mnist())
    put(fake, home / "data" / "MNIST" / "raw")
    assert find_mnist().source == "torchvision"
    check_fake(*load_mnist())
    put(fake, Path("data") / "MNIST" / "raw")
    assert find_mnist().path == Path("data/MNIST/raw")
    put(fake, home / ".cache" / "ambigmnist" / "mnist", gzip.compress)
    assert find_mnist().source == "cache"
    check_fake(*load_mnist())
    put(fake, tmp_path / "xdg" / "ambigmnist" / "mnist")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert find_mnist().path == tmp_path / "xdg" / "ambigmnist" / "mnist"
    put(fake, tmp_path / "env" / "mnist", gzip.compress)
    monkeypatch.setenv("AMBIGMNIST_DATA", str(tmp_path / "env"))
    assert find_mnist().source == "AMBIGMNIST_DATA"
    check_fake(*load_mnist())
    monkeypatch.setenv("AMBIGMNIST_DATA", str(tmp_path / "env" / "mnist"))
    assert find_mnist().path == tmp_path / "env" / "mnist"
    put(fake, tmp_path / "own")
    assert find_mnist(tmp_path / "own").source == "path"
    check_fake(*load_mnist(path=tmp_path / "own"))
    check_fake(*load_mnist(path=str(tmp_path / "own")))


def test_an_explicit_path_is_the_only_place(fake, tmp_path):
    put(fake, Path("data") / "MNIST" / "raw")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(DataNotFoundError, match=f"Looked at:\n  {path}"):
            load_mnist(path=path)
    check_fake(*load_mnist(path="data"))
    put_npz(fake, tmp_path / "m.npz")
    check_fake(*load_mnist(path=tmp_path / "m.npz"))
    (tmp_path / "empty" / "train-images.idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataNotFoundError, match="lacks train-labels-idx1-ubyte, t10k-images"):
        load_mnist(path=tmp_path / "empty")
    with pytest.raises(DTypeError):
        load_mnist(path=3)


def test_names_with_a_dot(fake, tmp_path):
    put({k.replace("-idx", ".idx"): v for k, v in fake.items()}, tmp_path / "d")
    check_fake(*load_mnist(path=tmp_path / "d"))


def test_nothing_found_lists_every_place(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("AMBIGMNIST_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataNotFoundError) as caught:
        load_mnist()
    text = str(caught.value)
    for place in ("nowhere", ".cache/ambigmnist/mnist", "data/MNIST/raw", ".keras/datasets"):
        assert place in text
    assert "download=True" in text
    assert "load_digits()" in text


@pytest.mark.parametrize("source", ["path", "AMBIGMNIST_DATA", "torchvision"])
def test_other_data_under_mnists_names(fake, tmp_path, monkeypatch, source):
    folder = Path("data/MNIST/raw") if source == "torchvision" else tmp_path / "d"
    put(fake, folder)
    if source == "AMBIGMNIST_DATA":
        monkeypatch.setenv("AMBIGMNIST_DATA", str(folder))
    save_idx(np.arange(10, dtype=np.uint8)[::-1], folder / "t10k-labels-idx1-ubyte")
    payload = (folder / "t10k-labels-idx1-ubyte").read_bytes()
    with pytest.raises(DataError) as caught:
        load_mnist(path=folder if source == "path" else None)
    text = str(caught.value)
    assert hashlib.sha256(payload).hexdigest() in text
    assert _mnist.FILES["t10k-labels-idx1-ubyte"] in text
    assert str(folder / "t10k-labels-idx1-ubyte") in text


def npz_faults(fake, path):
    put_npz(fake, path)
    good = path.read_bytes()
    for n in (0, 1, 4, 100, len(good) // 2, len(good) - 1):
        yield good[:n]
    yield good[:200] + bytes([good[200] ^ 255]) + good[201:]
    yield b"\x93NUMPY\1\0"
    for changes in (
        {"x_test": None},
        {"y_test": np.arange(10)[::-1].astype(np.uint8)},
        {"y_test": np.arange(10)},
        {"y_test": np.array([{}] * 10)},
        {"y_test": np.uint8(1)},
        {"x_test": np.zeros((0, 28, 28), np.uint8)},
    ):
        put_npz(fake, path, **changes)
        yield path.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(100 << 20))
    yield path.read_bytes()


def test_damaged_npz(fake, tmp_path):
    path = tmp_path / "mnist.npz"
    for data in npz_faults(fake, path):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"mnist\.npz"):
            load_mnist(path=path)


# --- the download -----------------------------------------------------------------------------


class Mirror:
    """A local server: answers with the files it has, or as `behave` says."""

    def __init__(self, files, behave=None):
        mirror = self
        self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.asked.append(self.path)
                if behave is not None:
                    return behave(self)
                data = files.get(self.path.removeprefix("/").removesuffix(".gz"))
                if data is None:
                    return self.send_error(404)
                return answer(self, data)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def answer(handler, data, **headers):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    for key, value in headers.items():
        handler.send_header(key.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


@pytest.fixture
def mirrors(monkeypatch):
    servers = []

    def start(*args):
        servers.append(Mirror(*args))
        monkeypatch.setattr(_mnist, "MIRRORS", tuple(s.url for s in servers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


CACHE = Path("home/.cache/ambigmnist/mnist")


def cached(tmp_path):
    folder = tmp_path / CACHE
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def test_download(fake, tmp_path, mirrors, capfd):
    packed = {name: gzip.compress(payload) for name, payload in fake.items()}
    mirror = mirrors(packed)
    with pytest.raises(DataNotFoundError):
        load_mnist()
    assert mirror.asked == []  # nothing touches the network unasked
    check_fake(*load_mnist(download=True))
    assert cached(tmp_path) == sorted(f"{name}.gz" for name in fake)
    assert len(mirror.asked) == 4
    check_fake(*load_mnist(download=True))
    check_fake(*load_mnist())
    assert len(mirror.asked) == 4
    assert capfd.readouterr() == ("", "")  # no bar where nobody watches


def test_what_is_there_is_not_downloaded_again_and_what_is_damaged_is(fake, tmp_path, mirrors):
    packed = {name: gzip.compress(payload) for name, payload in fake.items()}
    mirror = mirrors(packed)
    load_mnist(download=True)
    names = list(fake)
    (tmp_path / CACHE / f"{names[0]}.gz").write_bytes(packed[names[0]][:-4])
    (tmp_path / CACHE / names[1]).write_bytes(b"junk, and found before the .gz")
    (tmp_path / CACHE / f"{names[2]}.gz").unlink()
    del mirror.asked[:]
    check_fake(*load_mnist(download=True))
    assert mirror.asked == [f"/{names[0]}.gz", f"/{names[2]}.gz"]
    (tmp_path / CACHE / f"{names[3]}.gz").write_bytes(b"junk")
    with pytest.raises(DataError):
        load_mnist()
    check_fake(*load_mnist(download=True))


def test_mirrors_are_tried_in_turn(fake, tmp_path, mirrors):
    packed = {name: gzip.compress(payload) for name, payload in fake.items()}
    page = b"<!DOCTYPE html><title>moved</title>"
    first = mirrors({})
    second = mirrors({}, lambda handler: answer(handler, page, Content_Type="text/html"))
    third = mirrors(packed)
    check_fake(*load_mnist(download=True))
    assert len(first.asked) == len(second.asked) == 1  # the one that works comes first then
    assert len(third.asked) == 4


def test_a_server_that_undoes_the_compression(fake, tmp_path, mirrors):
    def behave(handler):
        name = handler.path.removeprefix("/").removesuffix(".gz")
        answer(handler, gzip.compress(fake[name]), Content_Encoding="gzip")

    mirrors({}, behave)
    check_fake(*load_mnist(download=True))
    assert cached(tmp_path) == sorted(fake)  # raw, and named so
    check_fake(*load_mnist())


def test_all_failures_are_listed(fake, tmp_path, mirrors):
    other = gzip.compress(next(iter(fake.values())) + b"\0")

    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b"\x1f\x8b" + bytes(70_000))
        handler.close_connection = True

    urls = [
        mirrors({}).url,
        mirrors({}, lambda handler: answer(handler, other)).url,
        mirrors({}, cut).url,
        mirrors({}, lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)).url,
    ]
    with pytest.raises(DataNotFoundError) as caught:
        load_mnist(download=True)
    text = str(caught.value)
    for url in urls:
        assert f"{url}train-images-idx3-ubyte.gz: " in text
    assert "404" in text
    assert "SHA-256" in text or "byte" in text
    assert cached(tmp_path) == []


def test_too_large_a_download_is_cut_off(fake, tmp_path, mirrors, monkeypatch):
    monkeypatch.setattr(_mnist, "MAX_FILE", 1 << 20)
    mirrors({}, lambda handler: answer(handler, bytes(2 << 20)))
    with pytest.raises(DataNotFoundError, match="more than 1048576 bytes"):
        load_mnist(download=True)


@pytest.mark.parametrize("how", ["silent", "slow"])
def test_the_time_of_all_attempts_is_limited(fake, tmp_path, mirrors, how):
    done = threading.Event()

    def behave(handler):
        if how == "slow":
            handler.send_response(200)
            handler.send_header("Content-Length", str(1 << 30 >> 5))
            handler.end_headers()
            while not done.wait(0.02):
                try:
                    handler.wfile.write(bytes(1 << 16))
                except OSError:
                    return
        done.wait(5)

    for _ in range(3):
        mirrors({}, behave)
    start = time.monotonic()
    with pytest.raises(DataNotFoundError, match="Timeout"):
        _load_mnist(None, download=True, timeout=0.9)
    elapsed = time.monotonic() - start
    done.set()
    assert 0.5 < elapsed < 2.5
    assert cached(tmp_path) == []


def test_a_silent_mirror_leaves_time_for_the_next(fake, tmp_path, mirrors):
    done = threading.Event()
    mirrors({}, lambda handler: done.wait(5))
    mirrors({name: gzip.compress(payload) for name, payload in fake.items()})
    check_fake(*_load_mnist(None, download=True, timeout=2.0))
    done.set()


def test_a_cache_that_cannot_be_written(fake, tmp_path, mirrors, monkeypatch):
    mirrors({name: gzip.compress(payload) for name, payload in fake.items()})
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(FileError, match="cannot be created"):
        load_mnist(download=True)


# --- the real one -----------------------------------------------------------------------------


@pytest.mark.mnist
def test_the_real_mnist():
    train, test = load_mnist()
    assert repr(train) == (
        "Dataset('mnist', 60000 images 28 x 28 uint8, 10 classes, split train: 60000)"
    )
    assert len(test) == 10000
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    both = train + test
    assert len(both) == 70000
    assert (both.split == "test").sum() == 10000


@pytest.mark.mnist
def test_the_real_mnist_as_keras_keeps_it(tmp_path):
    train, test = load_mnist()
    path = tmp_path / "mnist.npz"
    np.savez(
        path,
        x_train=train.images,
        y_train=train.labels.astype(np.uint8),
        x_test=test.images,
        y_test=test.labels.astype(np.uint8),
    )
    again = load_mnist(path=path)
    assert [part.sha256 for part in again] == [train.sha256, test.sha256]
