"""Some of the images, in any order, and images moved by chance: `Network.forward_some`."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from test_network import FUSED, MIXED, make

from ambigmnist import _ambigcore as core
from ambigmnist._network import Layer, build
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

THREADS = (1, 2, 3, 7)
STREAM_VIEW = 5
WORD = 2**32 - 1


def seen(images, index, view, threads=1):
    """The pixels that a network sees, float32 (n, h, w, c)."""
    network = build([Layer("flatten")], images.shape[1:])
    return network.forward_some(images, index, 1, view, threads).reshape(-1, *images.shape[1:])


def movement(view, index):
    """(down, right, angle) of the image `index`."""
    seed, number, shift, angle = view
    words = core.philox4x32(
        (index & WORD, index >> 32, number, STREAM_VIEW), (seed & WORD, seed >> 32)
    )
    uniform = (2 * (word >> 8) / 2**24 - 1 for word in words[:3])
    return [limit * u for limit, u in zip((shift, shift, angle), uniform, strict=True)]


def naive_view(image, view, index):
    """float64: every pixel a sum over all of them, with the weights of a tent around its origin."""
    down, right, angle = movement(view, index)
    h, w, _ = image.shape
    image = image / 255 if image.dtype == np.uint8 else image.astype(np.float64)
    middle = np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]
    y, x = np.mgrid[:h, :w] - middle - np.array([down, right])[:, None, None]
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    y, x = np.einsum("ab,brs->ars", back, np.stack([y, x])) + middle
    rows = np.maximum(0, 1 - np.abs(np.clip(y, 0, h - 1)[..., None] - np.arange(h)))
    columns = np.maximum(0, 1 - np.abs(np.clip(x, 0, w - 1)[..., None] - np.arange(w)))
    return np.einsum("rsi,rsj,ijc->rsc", rows, columns, image)


SHAPES = st.tuples(*(st.integers(1, most) for most in (4, 7, 6, 4)))
BYTES = hnp.arrays(np.uint8, SHAPES)
FLOATS = hnp.arrays(np.float32, SHAPES, elements=st.floats(-4, 4, width=32))
VIEWS = st.tuples(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.one_of(st.just(0.0), st.floats(0, 9), st.just(999_999.0)),
    st.one_of(st.just(0.0), st.floats(0, 7), st.just(999.0)),
)


def noise(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


# --- which images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_list", [MIXED, FUSED], ids=["mixed", "fused"])
@pytest.mark.parametrize("threads", THREADS)
def test_some_images_are_those_images(layer_list, threads):
    """In any order, twice, none; at every layer, also inside a fused block."""
    images, network = noise(60, (14, 13, 1)), make(layer_list, (14, 13, 1))
    rng = np.random.default_rng(1)
    for index in (
        np.arange(60)[::-1].copy(), np.array([7]), np.array([3, 3, 59, 0, 3]),
        rng.integers(0, 60, 150), np.array([], np.intp),
    ):  # fmt: skip
        for last in range(1, len(network.layers()) + 1):
            got = network.forward_some(images, index, last, None, threads)
            assert got.dtype == np.float32
            assert got.tobytes() == network.forward(images[index], last, 1).tobytes()
            assert got.shape[0] == len(index)


def test_no_index_is_all_of_them():
    images, network = noise(40, (14, 13, 1)), make(MIXED, (14, 13, 1))
    got = network.forward_some(images, None, 5, None, 2)
    assert got.tobytes() == network.forward(images, 5, 1).tobytes()
    assert network.forward_some(images[:0], None, 5, (1, 2, 3.0, 0.1), 2).shape[0] == 0


# --- moved images ---------------------------------------------------------------------------------


@given(st.one_of(BYTES, FLOATS), VIEWS, st.sampled_from(THREADS))
def test_views_follow_the_definition(images, view, threads):
    got = seen(images, None, view, threads)
    for i, image in enumerate(images):
        np.testing.assert_allclose(got[i], naive_view(image, view, i), rtol=1e-6, atol=1e-6)


@given(
    st.one_of(
        BYTES,
        hnp.arrays(
            np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
        ),
    ),
    st.integers(0, 2**64 - 1),
)
def test_a_view_that_moves_nothing_is_the_image(images, seed):
    assert np.array_equal(seen(images, None, (seed, 3, 0.0, 0.0)), seen(images, None, None))


def test_every_byte_unmoved():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert seen(images, None, (0, 0, 0.0, 0.0)).tobytes() == seen(images, None, None).tobytes()


@given(BYTES, VIEWS)
def test_bytes_and_floats_move_alike(images, view):
    floats = images.astype(np.float32) / np.float32(255)
    assert np.abs(seen(images, None, view) - seen(floats, None, view)).max() <= 2e-7


@given(VIEWS, st.integers(1, 5))
def test_one_pixel_stays(view, channels):
    images = noise(6, (1, 1, channels))
    assert seen(images, None, view).tobytes() == seen(images, None, None).tobytes()


def test_beyond_the_border_the_border_goes_on():
    """Moved so far that only a corner is left, which one by chance."""
    images = np.tile(noise(1, (5, 4, 2)), (60, 1, 1, 1))
    got, corners = seen(images, None, (1, 1, 900_000.0, 0.0)), set()
    for image in got:
        assert (image == image[0, 0]).all()
        corners.add(image[0, 0].tobytes())
    known = seen(images[:1], None, None)[0, ::4, ::3].reshape(4, 2)
    assert corners == {corner.tobytes() for corner in known}


def test_channels_move_together():
    one = noise(5, (6, 7, 1))
    got = seen(np.repeat(one, 3, axis=3), None, (4, 2, 2.0, 0.5))
    assert (got == seen(one, None, (4, 2, 2.0, 0.5))).all()


def places(n, view):
    """Where the pixel in the middle came from: (n, 2)."""
    y, x = np.mgrid[-20:21, -20:21].astype(np.float32)
    return seen(np.tile(np.stack([y, x], axis=2), (n, 1, 1, 1)), None, view)[:, 20, 20]


def test_shifts_are_uniform_and_belong_to_nothing_else():
    n, limit = 4000, 12.0
    sets = [places(n, (seed, number, limit, 0.0)) for seed, number in ((0, 0), (1, 0), (0, 1))]
    columns = np.concatenate(sets, axis=1)
    assert np.abs(columns).max() <= limit
    for column in columns.T:
        counts = np.histogram(column, 16, (-limit, limit))[0]
        assert ((counts - n / 16) ** 2 / (n / 16)).sum() < 45  # chi-squared, 15 degrees of freedom
    correlation = np.corrcoef(columns.T) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(n)
    # Without a shift the middle stays where it is, whatever the angle.
    assert np.abs(places(n, (0, 0, 0.0, 3.0))).max() <= 1e-6


def test_angles_are_uniform():
    """The middle of the right edge comes from (sine, cosine) of the angle."""
    n, limit = 4000, 1.5
    y, x = np.mgrid[-1:2, -1:2].astype(np.float32)
    images = np.tile(np.stack([y, x], axis=2), (n, 1, 1, 1))
    sine, cosine = seen(images, None, (0, 0, 0.0, limit))[:, 1, 2].T
    angles = np.arctan2(-sine, cosine)
    assert np.abs(angles).max() <= limit + 1e-6
    assert ((np.histogram(angles, 16, (-limit, limit))[0] - n / 16) ** 2).sum() / (n / 16) < 45


# --- the same bits for any number of threads, any split, any order --------------------------------

VIEW = (2**64 - 3, 5, 2.0, 0.3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_view_belongs_to_the_image(dtype):
    """Not to its place in the call, to the other images, to the thread."""
    images = noise(70, (9, 8, 2)).astype(dtype)
    whole = seen(images, None, VIEW, 1)
    for threads in THREADS:
        assert seen(images, None, VIEW, threads).tobytes() == whole.tobytes()
        index = np.random.default_rng(threads).integers(0, 70, 100)
        assert seen(images, index, VIEW, threads).tobytes() == whole[index].tobytes()
    for size in (1, 16, 17):
        parts = [seen(images, np.arange(i, min(70, i + size)), VIEW, 2) for i in range(0, 70, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("layer_list", [MIXED, FUSED], ids=["mixed", "fused"])
def test_a_network_sees_the_moved_image(layer_list):
    images, network = noise(40, (14, 13, 1)), make(layer_list, (14, 13, 1))
    moved, index = seen(images, None, VIEW), np.array([39, 5, 5, 0])
    for last in range(1, len(network.layers()) + 1):
        got = network.forward_some(images, index, last, VIEW, 2)
        assert got.tobytes() == network.forward(moved[index], last, 1).tobytes()


# --- arguments that make no sense -----------------------------------------------------------------

GOOD = [np.zeros((5, 4, 4, 1), np.uint8), np.arange(5), 1, VIEW, 2]


@pytest.mark.parametrize(
    ("place", "value", "error", "words"),
    [
        (0, np.zeros((5, 4, 5, 1), np.uint8), ShapeError, "images of 4 x 4 x 1"),
        (0, np.zeros((5, 4, 4), np.uint8), ShapeError, "4 dimensions"),
        (0, np.zeros((5, 4, 4, 1)), DTypeError, "float32"),
        (1, np.array([0, 5]), ArgumentError, r"index\[1\]: expected 0 to 4, got 5"),
        (1, np.array([-1]), ArgumentError, r"index\[0\].* got -1"),
        (1, np.array([2**62]), ArgumentError, "index"),
        (1, np.array([0, 1], np.int32), DTypeError, "index"),
        (1, np.array([[0]]), ShapeError, "index"),
        (1, np.arange(5)[::-1], ArgumentError, "index.*contiguous"),
        (1, [0, 1], DTypeError, "index"),
        (2, 0, ArgumentError, "layer: expected 1 to 2, got 0"),
        (2, 3, ArgumentError, "layer: expected 1 to 2, got 3"),
        (2, "x", TypeError, "last"),
        (3, [1, 2, 3.0, 4.0], TypeError, "view: expected a tuple"),
        (3, (1, 2, 3.0), TypeError, "4 arguments"),
        (3, (-1, 2, 3.0, 0.0), OverflowError, "seed"),
        (3, (2**64, 2, 3.0, 0.0), OverflowError, "seed"),
        (3, (1.0, 2, 3.0, 0.0), TypeError, "seed"),
        (3, (1, -1, 3.0, 0.0), ArgumentError, "number"),
        (3, (1, 2**32, 3.0, 0.0), ArgumentError, "number"),
        (3, (1, 2**64, 3.0, 0.0), OverflowError, "int"),
        (3, (1, 2, -1.0, 0.0), ArgumentError, "shift"),
        (3, (1, 2, 1e6, 0.0), ArgumentError, "shift"),
        (3, (1, 2, float("nan"), 0.0), ArgumentError, "shift"),
        (3, (1, 2, 1.0, -0.1), ArgumentError, "angle"),
        (3, (1, 2, 1.0, float("inf")), ArgumentError, "angle"),
        (4, 2**40, OverflowError, "threads"),
        (4, None, TypeError, "threads"),
    ],
)  # fmt: skip
def test_the_core_checks_its_arguments(place, value, error, words):
    network = make(["flatten"], (4, 4, 1))
    arguments = list(GOOD)
    assert network.forward_some(*arguments).shape == (5, 16)
    arguments[place] = value
    with pytest.raises(error, match=words):
        network.forward_some(*arguments)
    with pytest.raises(TypeError, match="forward_some expected 5 arguments, got 4"):
        network.forward_some(*GOOD[:4])
