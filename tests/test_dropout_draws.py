"""Logits with dropout on, against float64 layers one by one with masks made by definition."""

from __future__ import annotations

import functools

import hypothesis.strategies as st
import numpy as np
import pytest
import slow_network
from hypothesis import given, settings
from reference import relative_error
from test_network import begin, make

from ambigmnist import _ambigcore as core
from ambigmnist._network import build, parse_layers
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

THREADS = (1, 2, 3, 7)
STREAM_DROPOUT = 3
WORD = 2**32 - 1

MIXED = [("conv", 5, 3, "same"), "relu", "maxpool", ("dropout", 0.3), ("conv", 17, 3), "relu",
         "flatten", ("dropout", 0.5), ("dense", 33), "relu", ("dropout", 0.1)]  # fmt: skip
FUSED = [("conv", 16, 3), "relu", "maxpool", ("conv", 32, 3), "relu", "maxpool",
         "flatten", ("dropout", 0.25), ("dense", 32), "relu"]  # fmt: skip
LATE = ["flatten", ("dense", 20), "relu", ("dropout", 0.5), ("dense", 9), ("dropout", 0.2)]
BOTH = pytest.mark.parametrize("layer_list", [MIXED, FUSED, LATE], ids=["mixed", "fused", "late"])


@functools.cache
def dropped(number: int, digits: int, seed: int, draw: int, layer: int, image: int) -> int:
    """128 bits, each 1 with probability digits / 2^16: its binary digits from the last one on."""
    bits = 0
    for d in range(16):
        counter = (number * 16 + d, image, draw, STREAM_DROPOUT | layer << 8)
        words = core.philox4x32(counter, (seed & WORD, seed >> 32))
        word = sum(w << 32 * i for i, w in enumerate(words))
        bits = bits | word if digits >> d & 1 else bits & word
    return bits


def naive_mask(size: int, rate: float, seed: int, draw: int, layer: int, image: int) -> np.ndarray:
    digits = min(int(rate * 65536 + 0.5), 65535)
    blocks = [dropped(i, digits, seed, draw, layer, image) for i in range(-(-size // 128))]
    return np.array([not blocks[i // 128] >> i % 128 & 1 for i in range(size)])


def naive_draw(layers, shape, params, images, numbers, seed, draw):
    """float64 logits of images whose numbers are given."""
    weights = slow_network.weights_of(layers, shape, params)
    x = images / 255 if images.dtype == np.uint8 else images
    plain = slow_network.forward(layers, weights, x)
    masks = {
        i: np.stack([
            naive_mask(plain[i][0].size, layer.rate, seed, draw, i, int(number))
            for number in numbers
        ])
        for i, layer in enumerate(layers)
        if layer.kind == "dropout"
    }  # fmt: skip
    return slow_network.forward(layers, weights, x, masks)[-1]


def noise(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.3, 1e-4, 0.99])
def test_the_mask_is_that_of_the_layer(rate):
    got = core.dropout_mask(3, 300, rate, 2**64 - 5, 7)
    expected = [naive_mask(300, rate, 2**64 - 5, 7, 0, i) for i in range(3)]
    assert np.array_equal(got, expected)


RATE = st.sampled_from([0.0, 0.1, 0.5, 0.75])
DROP = st.tuples(st.just("dropout"), RATE)
BLOCK = st.just([("conv", 16, 3), "relu", "maxpool"])
CONV = st.tuples(st.just("conv"), st.integers(1, 5), st.sampled_from([1, 3]), st.just("same"))
SPATIAL = st.lists(
    st.one_of(
        BLOCK, st.one_of(CONV, DROP, st.sampled_from(["relu", "maxpool"])).map(lambda x: [x])
    ),
    max_size=4,
).map(lambda parts: [layer for part in parts for layer in part])
FLAT = st.lists(
    st.one_of(st.tuples(st.just("dense"), st.sampled_from([3, 16, 21])), st.just("relu"), DROP),
    max_size=4,
)


@settings(max_examples=60)
@given(
    SPATIAL,
    FLAT,
    st.integers(0, 3),
    st.tuples(st.integers(1, 9), st.integers(1, 8), st.integers(1, 3)),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.sampled_from(THREADS),
)
def test_draws_follow_the_definition(spatial, flat, where, shape, seed, chosen, threads):
    flat.insert(where, ("dropout", 0.4))
    layers = parse_layers([*spatial, "flatten", *flat], 4)
    try:
        network = build(layers, shape)
    except ShapeError:
        return  # the image is too small for these layers
    network.init(seed)
    images = noise(19, shape, seed % 1000)
    index = np.random.default_rng(3).integers(0, 19, 23) if chosen else None
    got = network.draws(images, index, seed, 2, threads)
    numbers = np.arange(19) if index is None else index
    assert got.dtype == np.float32
    for draw in range(2):
        expected = naive_draw(
            layers, shape, network.get_params(), images[numbers], numbers, seed, draw
        )
        assert relative_error(got[draw], expected) <= 1e-5


@BOTH
@pytest.mark.parametrize("loss", [0, 1])
def test_a_draw_is_what_a_step_of_training_sees(layer_list, loss):
    """The mean loss of step 0, before the network changes."""
    images, labels = noise(64, (14, 13, 1)), np.arange(64) % 10
    network = make(layer_list, (14, 13, 1))
    logits = network.draws(images, None, 11, 3, 2)
    begin(network, 64, loss=("softmax", "sigmoid")[loss], rate=1e-60, epochs=3, seed=11)
    order = core.shuffle(64, 11, 1)  # training draws by the place in the batch
    report = network.train_epoch(
        (images[np.argsort(order)], labels[np.argsort(order)].astype(np.int32), None, None,
         np.arange(64)), None, None,
    )  # fmt: skip
    onehot = np.eye(10, dtype=np.float32)[labels]
    assert report[1] == core.loss_forward(loss, logits[0], onehot, np.ones(64))[0]


# --- the same bits for any number of threads, any split, any order --------------------------------


@BOTH
def test_a_draw_belongs_to_the_image(layer_list):
    """Not to its place in the call, to the other images, to how many draws there are."""
    images, network = noise(70, (14, 13, 1)), make(layer_list, (14, 13, 1))
    whole = network.draws(images, None, 5, 4, 1)
    for threads in THREADS:
        assert network.draws(images, None, 5, 4, threads).tobytes() == whole.tobytes()
        index = np.random.default_rng(threads).integers(0, 70, 100)
        got = network.draws(images, index, 5, 4, threads)
        assert got.tobytes() == whole[:, index].tobytes()
    assert network.draws(images, None, 5, 2, 2).tobytes() == whole[:2].tobytes()
    for size in (1, 16, 17):
        parts = [
            network.draws(images, np.arange(i, min(70, i + size)), 5, 4, 2)
            for i in range(0, 70, size)
        ]
        assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()


@BOTH
def test_draws_differ(layer_list):
    """From one another, from seed to seed, and the same image under two numbers."""
    images, network = noise(1, (14, 13, 1)), make(layer_list, (14, 13, 1))
    twice = np.tile(images, (2, 1, 1, 1))
    rows = [network.draws(twice, None, seed, 2, 1)[d, i] for seed in (0, 1, 2**63) for d in (0, 1)
            for i in (0, 1)]  # fmt: skip
    assert len({row.tobytes() for row in rows}) == 12


def test_prediction_drops_nothing_afterwards():
    images, network = noise(20, (14, 13, 1)), make(MIXED, (14, 13, 1))
    before = network.forward(images, 12, 1).tobytes()
    network.draws(images, None, 5, 3, 2)
    assert network.forward(images, 12, 1).tobytes() == before


def test_a_rate_of_0_drops_nothing():
    layer_list = [layer if layer[0] != "dropout" else ("dropout", 0.0) for layer in MIXED]
    images, network = noise(20, (14, 13, 1)), make(layer_list, (14, 13, 1))
    got = network.draws(images, None, 5, 3, 2)
    assert (got == network.forward(images, 12, 1)).all()


# --- the mean and the spread ----------------------------------------------------------------------


def test_mean_and_variance_behind_one_layer():
    """z = sum_i m_i x_i w_i / (1 - r): mean x w, variance r / (1 - r) sum (x_i w_i)^2."""
    rate, draws, n = 0.3, 3000, 5
    network = make(["flatten", ("dropout", rate)], (6, 6, 1), classes=3)
    images = noise(n, (6, 6, 1))
    got = network.draws(images, None, 1, draws, 2).astype(np.float64)
    w = network.get_params()[: 36 * 3].reshape(36, 3).astype(np.float64)
    x = images.reshape(n, 36) / 255
    variance = rate / (1 - rate) * np.square(x) @ np.square(w)
    off = (got.mean(axis=0) - network.forward(images, 3, 1)) / np.sqrt(variance / draws)
    assert np.abs(off).max() < 4.5
    assert np.abs(got.var(axis=0) / variance - 1).max() < 0.15
    # Images, and draws, are independent of one another.
    for columns in (got[:, :, 0], got[: draws // n * n].reshape(-1, n, n, 3)[:, :, 0, 0]):
        correlation = np.corrcoef(columns.T) - np.eye(n)
        assert np.abs(correlation).max() < 5 / np.sqrt(len(columns))


# --- arguments that make no sense -----------------------------------------------------------------


def test_no_dropout_is_an_error():
    images = noise(3, (4, 4, 1))
    with pytest.raises(ArgumentError, match="dropout layer, this network has none"):
        make(["flatten"], (4, 4, 1)).draws(images, None, 0, 2, 1)
    headless = core.Network([(5, 0, 0, False, 0.5)], 4, 4, 1)
    with pytest.raises(ArgumentError, match="dense output layer"):
        headless.draws(images, None, 0, 2, 1)


def test_no_images():
    network = make(LATE, (4, 4, 1))
    images = noise(3, (4, 4, 1))
    assert network.draws(images, np.array([], np.intp), 0, 2, 3).shape == (2, 0, 10)
    assert network.draws(images[:0], None, 0, 2, 3).shape == (2, 0, 10)


@pytest.mark.parametrize(
    ("place", "value", "error", "words"),
    [
        (0, np.zeros((5, 4, 5, 1), np.uint8), ShapeError, "images of 4 x 4 x 1"),
        (0, np.zeros((5, 4, 4, 1)), DTypeError, "float32"),
        (1, np.array([0, 5]), ArgumentError, r"index\[1\]: expected 0 to 4, got 5"),
        (1, np.array([-1]), ArgumentError, "index"),
        (1, np.array([0], np.int32), DTypeError, "index"),
        (2, -1, OverflowError, "seed"),
        (2, 1.5, TypeError, "seed"),
        (3, 0, ArgumentError, "at least 1 draw, got 0"),
        (3, -3, ArgumentError, "at least 1 draw, got -3"),
        (3, 2**31, OverflowError, "draws"),
        (4, 2**31, OverflowError, "threads"),
    ],
)
def test_the_core_checks_its_arguments(place, value, error, words):
    network = make(LATE, (4, 4, 1))
    arguments = [noise(5, (4, 4, 1)), np.arange(5), 1, 2, 1]
    assert network.draws(*arguments).shape == (2, 5, 10)
    arguments[place] = value
    with pytest.raises(error, match=words):
        network.draws(*arguments)
    with pytest.raises(TypeError, match="draws expected 5 arguments, got 1"):
        network.draws(arguments[0])
