"""Gradients of single images, against float64 layers backwards, one by one; and their spread."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import reference
import slow_network
from hypothesis import given, settings
from reference import relative_error
from test_network import BLOCK, CONV, FUSED, MIXED, examples, gradients, make

from ambigmnist import _ambigcore as core
from ambigmnist._network import LOSSES, build, parse_layers
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

THREADS = (1, 2, 3, 7)
NARROW = [
    ("conv", 4, 3, "same"),
    "relu",
    ("conv", 3, 3),
    "maxpool",
    "flatten",
    ("dense", 16),
    "relu",
]


def plain(layer_list, shape, classes=10, seed=0):
    """A network without fused blocks."""
    network = core.Network(
        [layer.spec for layer in parse_layers(layer_list, classes)], *shape, False
    )
    network.init(seed)
    return network


def noise(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def shaken(network, seed):
    """Its parameters, biases that are not 0 included."""
    params = network.get_params()
    params += np.random.default_rng(seed).uniform(-0.1, 0.1, params.shape).astype(np.float32)
    network.set_params(params)
    return params


def as_floats(images):
    return images / 255 if images.dtype == np.uint8 else images.astype(np.float64)


def naive(layers, shape, params, image, y, loss):
    """float64, of one image: the norm by the parameters, and the gradient of y z by the pixels."""
    weights = slow_network.weights_of(layers, shape, params)
    values = slow_network.forward(layers, weights, image[None])
    z, y = values[-1], y[None]
    dz = reference.softmax(z) * y.sum() - y
    if loss == "sigmoid":
        dz = (reference.sigmoid(z) - y) / y.size
    by_params = slow_network.backward(layers, weights, values, dz)[1]
    by_pixels = slow_network.backward(layers, weights, values, y)[0]
    return np.linalg.norm(by_params), by_pixels[0]


def any_labels(rng, n, classes, soft):
    """Labels, and the rows that they stand for."""
    if soft:
        rows = rng.dirichlet(np.ones(classes), n).astype(np.float32)
        return rows, rows.astype(np.float64)
    labels = rng.integers(0, classes, n)
    return labels, np.eye(classes)[labels]


LAYER = st.one_of(CONV, st.sampled_from(["relu", "maxpool", ("dropout", 0.5)]))
SPATIAL = st.lists(st.one_of(BLOCK, LAYER.map(lambda layer: [layer])), max_size=4).map(
    lambda parts: [layer for part in parts for layer in part]
)
UNITS = st.one_of(st.integers(1, 20), st.sampled_from([16, 32]))
FLAT = st.lists(
    st.one_of(st.tuples(st.just("dense"), UNITS), st.sampled_from(["relu", ("dropout", 0.3)])),
    max_size=3,
)
NETWORKS = {
    "spatial": SPATIAL,
    "flat": FLAT,
    "shape": st.tuples(st.integers(1, 12), st.integers(1, 11), st.integers(1, 5)),
    "n": st.integers(1, 36),
    "classes": st.integers(1, 18),
    "soft": st.booleans(),
    "dtype": st.sampled_from([np.uint8, np.float32]),
    "threads": st.sampled_from(THREADS),
}


# --- by all parameters ----------------------------------------------------------------------------


@settings(max_examples=80)
@given(loss=st.sampled_from(LOSSES), **NETWORKS)
def test_norms_follow_the_definition(spatial, flat, shape, n, classes, soft, dtype, threads, loss):
    """Without dropout, whatever the layers."""
    layers = parse_layers([*spatial, "flatten", *flat], classes)
    try:
        network = build(layers, shape)
    except ShapeError:
        return  # the image is too small for these layers
    network.init(n)
    params, rng = shaken(network, n), np.random.default_rng(n)
    images = noise(n, shape, n).astype(dtype) / (np.float32(255) if dtype == np.float32 else 1)
    images = images.astype(dtype)
    labels, rows = any_labels(rng, n, classes, soft)
    got = network.gradient_norms(examples(images, labels), LOSSES.index(loss), threads)
    expected = [
        naive(layers, shape, params, image, y, loss)[0]
        for image, y in zip(as_floats(images), rows, strict=True)
    ]
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layer_list", [MIXED[:3] + MIXED[4:7], FUSED], ids=["mixed", "fused"])
def test_a_norm_is_that_of_one_step(layer_list, loss):
    """What a step of plain descent on one image takes from the weights, over its rate."""
    layer_list = [layer for layer in layer_list if layer[0] != "dropout"]
    images, network = noise(4, (14, 13, 1)), make(layer_list, (14, 13, 1))
    labels = np.array([0, 3, 9, 3])
    got = network.gradient_norms(examples(images, labels), LOSSES.index(loss), 2)
    for i in range(4):
        step = gradients(network, images[i : i + 1], labels[i : i + 1], loss)[1]
        assert got[i] == pytest.approx(np.linalg.norm(step), rel=1e-5)


def small():
    layers = parse_layers([("conv", 2, 3, "same"), "relu", "maxpool"], 3)
    network = build(layers, (4, 5, 2))
    network.init(5)
    return layers, network, shaken(network, 5).astype(np.float64)


@pytest.mark.parametrize("loss", LOSSES)
def test_norms_against_differences(loss):
    """Of the loss itself: the float64 layers are right too."""
    layers, network, params = small()
    images, labels = noise(3, (4, 5, 2)), np.array([0, 1, 2])
    got = network.gradient_norms(examples(images, labels), LOSSES.index(loss), 1)
    of_rows = getattr(reference, f"{loss}_cross_entropy")
    for i in range(3):

        def value(p, i=i):
            weights = slow_network.weights_of(layers, (4, 5, 2), p)
            z = slow_network.forward(layers, weights, images[i : i + 1] / 255)[-1]
            return of_rows(z, np.eye(3)[labels[i : i + 1]])

        gradient = reference.numeric_gradient(value, params)
        assert got[i] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
        assert got[i] == pytest.approx(
            naive(layers, (4, 5, 2), params, images[i] / 255, np.eye(3)[labels[i]], loss)[0]
        )


def test_weights_play_no_part():
    images, network = noise(20, (14, 13, 1)), make(FUSED, (14, 13, 1))
    labels = np.arange(20) % 10
    weights = np.arange(20, dtype=np.float32)
    expected = network.gradient_norms(examples(images, labels), 0, 1)
    assert np.array_equal(network.gradient_norms(examples(images, labels, weights), 0, 2), expected)


def test_a_sure_network_pulls_at_nothing():
    """And a wrong one pulls: one image, its label given right and wrong."""
    network = make(["flatten"], (2, 2, 1), classes=2)
    params = np.zeros(10, np.float32)
    params[8:] = 200, -200
    network.set_params(params)
    images = np.ones((2, 2, 2, 1), np.float32)
    got = network.gradient_norms(examples(images, np.array([0, 1])), 0, 1)
    assert got[0] == 0
    assert got[1] == pytest.approx(np.sqrt(2 * (4 + 1)))


# --- by the pixels --------------------------------------------------------------------------------


@settings(max_examples=80)
@given(**NETWORKS)
def test_pixel_gradients_follow_the_definition(
    spatial, flat, shape, n, classes, soft, dtype, threads
):
    """Also where pixels are 0, as most of a digit's are."""
    layer_list = [*spatial, "flatten", *flat]
    layers = parse_layers(layer_list, classes)
    try:
        network = plain(layer_list, shape, classes, n)
    except ShapeError:
        return
    params, rng = shaken(network, n), np.random.default_rng(n)
    images = noise(n, shape, n) * (rng.random((n, *shape)) < 0.7)
    images = images.astype(dtype) if dtype == np.uint8 else (images / 255).astype(dtype)
    labels, rows = any_labels(rng, n, classes, soft)
    got = network.pixel_gradients(examples(images, labels), threads)
    expected = [
        naive(layers, shape, params, image, y, "softmax")[1]
        for image, y in zip(as_floats(images), rows, strict=True)
    ]
    assert got.dtype == np.float32
    assert relative_error(got, np.array(expected)) <= 1e-4


def test_pixel_gradients_against_differences():
    """Of the logits, which are linear as long as no ReLU or maximum changes its mind."""
    network = plain(NARROW, (9, 8, 2))
    images = noise(6, (9, 8, 2)) / np.float32(255)
    labels = np.array([0, 1, 2, 3, 4, 5])
    got = network.pixel_gradients(examples(images, labels), 2)
    rng, last = np.random.default_rng(0), len(network.layers())
    for _ in range(5):
        way = rng.choice([-1.0, 1.0], images.shape).astype(np.float32)
        step = np.float32(2**-12)
        above, below = (
            network.forward(images + sign * step * way, last, 1)[np.arange(6), labels]
            for sign in (1, -1)
        )
        slope = (above - below).astype(np.float64) / (2 * step)
        assert relative_error((got * way).sum(axis=(1, 2, 3)), slope) <= 2e-2


def test_a_linear_network_has_its_weights_as_gradient():
    network = plain(["flatten"], (3, 4, 2), classes=5)
    images, labels = noise(7, (3, 4, 2)), np.arange(7) % 5
    w = network.get_params()[: 24 * 5].reshape(24, 5)
    got = network.pixel_gradients(examples(images, labels), 3)
    assert np.array_equal(got.reshape(7, 24), w.T[labels])


def test_networks_without_blocks_need_no_special_treatment():
    """Dense layers that skip the zeros of a ReLU, and those that do not."""
    layer_list = ["flatten", ("dense", 32), "relu", ("dropout", 0.5), ("dense", 16), "relu"]
    images, labels = noise(20, (6, 6, 1)), np.arange(20) % 10
    one, other = make(layer_list, (6, 6, 1)), plain(layer_list, (6, 6, 1))
    assert np.array_equal(one.get_params(), other.get_params())
    got = one.pixel_gradients(examples(images, labels), 2)
    assert relative_error(got, other.pixel_gradients(examples(images, labels), 2)) <= 1e-5


def test_fused_blocks_are_refused():
    network = make(FUSED, (14, 13, 1))
    with pytest.raises(ArgumentError, match="without fused blocks"):
        network.pixel_gradients(examples(noise(2, (14, 13, 1)), np.zeros(2)), 1)


# --- the same bits for any number of threads, any split, any order --------------------------------


def passes(layer_list):
    fused, single = make(layer_list, (14, 13, 1)), plain(layer_list, (14, 13, 1))
    return [
        lambda e, threads: fused.gradient_norms(e, 0, threads),
        lambda e, threads: fused.gradient_norms(e, 1, threads),
        lambda e, threads: single.gradient_norms(e, 0, threads),
        lambda e, threads: single.pixel_gradients(e, threads),
    ]


@pytest.mark.parametrize("layer_list", [MIXED, FUSED], ids=["mixed", "fused"])
def test_gradients_belong_to_the_image(layer_list):
    """Not to its place in the call, to the other images, to the thread."""
    images, labels = noise(211, (14, 13, 1)), (np.arange(211) % 10).astype(np.int32)

    def chosen(index):
        return images, labels, None, None, index

    for run in passes(layer_list):
        whole = run(chosen(np.arange(211)), 1)
        for threads in THREADS:
            assert run(chosen(np.arange(211)), threads).tobytes() == whole.tobytes()
            index = np.random.default_rng(threads).integers(0, 211, 100)
            assert run(chosen(index), threads).tobytes() == whole[index].tobytes()
        for size in (1, 17, 64):
            parts = [run(chosen(np.arange(i, min(211, i + size))), 2) for i in range(0, 211, size)]
            assert np.concatenate(parts).tobytes() == whole.tobytes()
        assert len(run(chosen(np.array([], np.intp)), 2)) == 0


def test_the_network_stays_as_it_is():
    images, network = noise(20, (14, 13, 1)), make(FUSED, (14, 13, 1))
    before = network.get_params().tobytes(), network.forward(images, 10, 1).tobytes()
    network.gradient_norms(examples(images, np.arange(20) % 10), 0, 2)
    assert (network.get_params().tobytes(), network.forward(images, 10, 1).tobytes()) == before


# --- arguments that make no sense -----------------------------------------------------------------

IMAGES, LABELS = np.zeros((5, 4, 4, 1), np.uint8), np.arange(5, dtype=np.int32) % 3
SOFT = np.full((5, 3), 1 / 3, np.float32)
ALL = np.arange(5)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ((np.zeros((5, 4, 5, 1), np.uint8), LABELS, None, None, ALL), ShapeError, "4 x 4 x 1"),
        ((IMAGES.astype(float), LABELS, None, None, ALL), DTypeError, "images"),
        ((IMAGES, None, None, None, ALL), ArgumentError, "one of them"),
        ((IMAGES, LABELS, SOFT, None, ALL), ArgumentError, "one of them"),
        ((IMAGES, LABELS + 1, None, None, ALL), ArgumentError, "labels"),
        ((IMAGES, LABELS - 1, None, None, ALL), ArgumentError, "labels"),
        ((IMAGES, LABELS[:4].copy(), None, None, ALL), ShapeError, "one label"),
        ((IMAGES, LABELS.astype(np.int64), None, None, ALL), DTypeError, "labels"),
        ((IMAGES, None, SOFT[:, :2].copy(), None, ALL), ShapeError, "one label"),
        ((IMAGES, None, SOFT.astype(float), None, ALL), DTypeError, "labels"),
        ((IMAGES, LABELS, None, SOFT[:4, 0].copy(), ALL), ShapeError, "one weight"),
        ((IMAGES, LABELS, None, None, ALL + 1), ArgumentError, r"index\[4\]"),
        ((IMAGES, LABELS, None, None, ALL - 1), ArgumentError, r"index\[0\]"),
        ((IMAGES, LABELS, None, None, None), DTypeError, "index"),
        ((IMAGES, LABELS, None, None), TypeError, "at least 5"),
        ([IMAGES, LABELS, None, None, ALL], TypeError, "examples: expected a tuple"),
    ],
)
def test_examples_that_make_no_sense(given, error, words):
    network = plain(["flatten"], (4, 4, 1), 3)
    with pytest.raises(error, match=words):
        network.gradient_norms(given, 0, 1)
    with pytest.raises(error, match=words):
        network.pixel_gradients(given, 1)


def test_the_core_checks_its_arguments():
    network, good = plain(["flatten"], (4, 4, 1), 3), (IMAGES, LABELS, None, None, ALL)
    assert network.gradient_norms(good, 0, 1).shape == (5,)
    assert network.pixel_gradients(good, 1).shape == IMAGES.shape
    for loss in (-1, 2):
        with pytest.raises(ArgumentError, match=f"loss: expected 0 or 1, got {loss}"):
            network.gradient_norms(good, loss, 1)
    with pytest.raises(OverflowError, match="threads"):
        network.gradient_norms(good, 0, 2**31)
    with pytest.raises(TypeError, match="gradient_norms expected 3 arguments, got 2"):
        network.gradient_norms(good, 0)
    with pytest.raises(TypeError, match="pixel_gradients expected 2 arguments, got 1"):
        network.pixel_gradients(good)
    headless = core.Network([(2, 0, 0, False, 0.0)], 4, 4, 1)
    for call in (
        lambda e: headless.gradient_norms(e, 0, 1),
        lambda e: headless.pixel_gradients(e, 1),
    ):
        with pytest.raises(ArgumentError, match="dense output layer"):
            call(good)


# --- the spread over several times ----------------------------------------------------------------

AXES = st.tuples(st.integers(1, 6), st.integers(0, 40), st.integers(1, 5))


@given(
    hnp.arrays(np.float32, AXES, elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(THREADS),
)
def test_mean_deviations_follow_the_definition(x, threads):
    got = core.mean_deviation(x, threads)
    expected = x.astype(np.float64).std(axis=0).mean(axis=1)
    assert got.dtype == np.float64
    scale = np.abs(x).max(axis=(0, 2), initial=0)
    assert (np.abs(got - expected) <= 1e-13 * scale + 1e-300).all()
    assert got.tobytes() == core.mean_deviation(x, 1).tobytes()


@given(hnp.arrays(np.float32, (5, 4), elements=st.floats(width=32, allow_nan=False,
                                                         allow_infinity=False)))  # fmt: skip
def test_what_stays_the_same_deviates_by_exactly_nothing(x):
    assert (core.mean_deviation(np.tile(x, (7, 1, 1)), 2) == 0).all()


def test_small_deviations_of_large_numbers_keep_their_digits():
    x = np.array([[[16777214]], [[16777215]], [[16777216]]], np.float32)
    assert core.mean_deviation(x, 1)[0] == pytest.approx(np.sqrt(2 / 3), rel=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_hurts_one_image_only(value):
    x = np.random.default_rng(0).normal(size=(4, 20, 3)).astype(np.float32)
    expected = core.mean_deviation(x, 1)
    x[2, 7, 1] = value
    got = core.mean_deviation(x, 2)
    assert np.isnan(got[7])
    assert np.array_equal(np.delete(got, 7), np.delete(expected, 7))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.zeros((0, 2, 3), np.float32), 1), ArgumentError, "at least one time"),
        ((np.zeros((2, 2, 0), np.float32), 1), ArgumentError, "one number, got 2, 0"),
        ((np.zeros((2, 3), np.float32), 1), ShapeError, "3 dimensions"),
        ((np.zeros((2, 3, 4)), 1), DTypeError, "float32"),
        ((np.zeros((2, 3, 4), np.float32).transpose(), 1), ArgumentError, "contiguous"),
        ((np.zeros((2, 3, 4), ">f4"), 1), ArgumentError, "byte order"),
        ((np.zeros((2, 3, 4), np.float32), "1"), TypeError, "threads"),
        ((np.zeros((2, 3, 4), np.float32),), TypeError, "expected 2 arguments, got 1"),
    ],
)
def test_mean_deviation_checks_its_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        core.mean_deviation(*arguments)
