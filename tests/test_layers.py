"""Every layer, forward and backward, against float64 written from the definition.

Forwards are compared with `reference` directly, backwards with central differences of those
forwards: a backward that merely agrees with a wrong forward fails. The article's whole network is
then put together from the layers and held against another framework's numbers.
"""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import numeric_gradient, relative_error

import ambigmnist as am
from ambigmnist import _ambigcore, layers
from ambigmnist.errors import AmbigError, ArgumentError, DTypeError, ShapeError

FORWARD, BACKWARD = 1e-5, 1e-4


def values(*shape: int, seed: int = 0) -> np.ndarray:
    """Float32 noise in [-1, 1)."""
    return (2.0 * reference.uniform(seed, 7, shape) - 1.0).astype(np.float32)


def distinct(*shape: int) -> np.ndarray:
    """Evenly spaced values in random order, none at 0: no ties and no kinks nearby."""
    n = int(np.prod(shape))
    order = np.argsort(reference.uniform(1, 8, (n,)))
    return (((order + 0.75) / n - 0.5) * 2.0).astype(np.float32).reshape(shape)


def assert_float32(array: np.ndarray, shape: tuple[int, ...]) -> None:
    assert array.dtype == np.float32
    assert array.shape == shape
    assert array.flags.c_contiguous


# --- convolution --------------------------------------------------------------------------------

# images, height, width, channels in, kernel, channels out
VALID = [
    (1, 1, 1, 1, 1, 1),
    (3, 1, 1, 5, 1, 3),
    (2, 1, 9, 2, 1, 7),
    (1, 3, 3, 1, 3, 1),
    (2, 5, 8, 3, 3, 5),
    (1, 9, 4, 1, 3, 32),
    (2, 6, 7, 9, 3, 17),
    (1, 7, 5, 4, 5, 6),
    (2, 7, 7, 2, 7, 3),
    (1, 8, 11, 1, 7, 9),
    (17, 4, 5, 2, 3, 8),
]
SAME = [
    (1, 1, 1, 1, 3, 1),
    (2, 1, 1, 3, 7, 5),
    (1, 1, 9, 2, 3, 4),
    (2, 9, 1, 2, 5, 3),
    (2, 5, 8, 3, 3, 5),
    (1, 2, 2, 1, 7, 9),
    (1, 7, 5, 9, 5, 10),
    (3, 4, 3, 8, 1, 16),
    (1, 6, 6, 2, 7, 3),
]
CONV = [(*case, "valid") for case in VALID] + [(*case, "same") for case in SAME]


def conv_arguments(n: int, h: int, w: int, c: int, k: int, f: int) -> tuple[np.ndarray, ...]:
    return values(n, h, w, c, seed=1), values(k, k, c, f, seed=2), values(f, seed=3)


@pytest.mark.parametrize(("n", "h", "w", "c", "k", "f", "padding"), CONV)
def test_conv2d_forward(n: int, h: int, w: int, c: int, k: int, f: int, padding: str) -> None:
    x, kernel, b = conv_arguments(n, h, w, c, k, f)
    y = layers.conv2d_forward(x, kernel, b, padding=padding)
    expected = reference.conv2d(x, kernel, b, padding)
    assert_float32(y, expected.shape)
    assert relative_error(y, expected) <= FORWARD


@pytest.mark.parametrize(("n", "h", "w", "c", "k", "f", "padding"), CONV)
def test_conv2d_backward(n: int, h: int, w: int, c: int, k: int, f: int, padding: str) -> None:
    x, kernel, b = conv_arguments(n, h, w, c, k, f)
    dy = values(*reference.conv2d(x, kernel, b, padding).shape, seed=4)
    dx, dw, db = layers.conv2d_backward(dy, x, kernel, padding=padding)

    def scalar(x: np.ndarray, kernel: np.ndarray, b: np.ndarray) -> float:
        return float((reference.conv2d(x, kernel, b, padding) * dy).sum())

    assert_float32(dx, x.shape)
    assert_float32(dw, kernel.shape)
    assert_float32(db, b.shape)
    assert relative_error(dx, numeric_gradient(lambda v: scalar(v, kernel, b), x)) <= BACKWARD
    assert relative_error(dw, numeric_gradient(lambda v: scalar(x, v, b), kernel)) <= BACKWARD
    assert relative_error(db, numeric_gradient(lambda v: scalar(x, kernel, v), b)) <= BACKWARD


def test_conv2d_default_padding_is_valid() -> None:
    x, kernel, b = conv_arguments(1, 5, 6, 2, 3, 4)
    assert layers.conv2d_forward(x, kernel, b).shape == (1, 3, 4, 4)
    dy = values(1, 3, 4, 4)
    got = layers.conv2d_backward(dy, x, kernel)
    expected = layers.conv2d_backward(dy, x, kernel, padding="valid")
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_reference_is_the_definition() -> None:
    x, kernel, b = conv_arguments(2, 4, 5, 2, 3, 3)
    padded = np.zeros((2, 6, 7, 2))
    padded[:, 1:5, 1:6] = x
    for image, padding in ((x.astype(np.float64), "valid"), (padded, "same")):
        y = reference.conv2d(x, kernel, b, padding)
        assert y.shape == (2, image.shape[1] - 2, image.shape[2] - 2, 3)
        for n, r, s, o in np.ndindex(y.shape):
            total = float(b[o])
            for i, j, c in np.ndindex(3, 3, 2):
                total += image[n, r + i, s + j, c] * float(kernel[i, j, c, o])
            assert y[n, r, s, o] == pytest.approx(total, abs=1e-12)


# --- pooling ------------------------------------------------------------------------------------

POOL = [(1, 2, 2, 1), (3, 2, 9, 5), (2, 3, 3, 7), (1, 7, 4, 8), (2, 5, 6, 33), (1, 13, 13, 3)]


@pytest.mark.parametrize("shape", POOL)
def test_maxpool2d_forward(shape: tuple[int, int, int, int]) -> None:
    x = distinct(*shape)
    y, _ = layers.maxpool2d_forward(x)
    expected, _ = reference.maxpool2d(x)
    assert_float32(y, expected.shape)
    np.testing.assert_array_equal(y, expected.astype(np.float32))  # a maximum does not round


@pytest.mark.parametrize("shape", POOL)
def test_maxpool2d_backward(shape: tuple[int, int, int, int]) -> None:
    x = distinct(*shape)
    y, argmax = layers.maxpool2d_forward(x)
    dy = values(*y.shape, seed=4)
    dx = layers.maxpool2d_backward(dy, argmax, x.shape)
    assert_float32(dx, x.shape)
    expected = numeric_gradient(lambda v: float((reference.maxpool2d(v)[0] * dy).sum()), x, 1e-6)
    assert relative_error(dx, expected) <= BACKWARD


def test_maxpool2d_ties_go_to_the_first() -> None:
    # Few values, so that most windows hold their maximum more than once.
    x = np.floor(4.0 * reference.uniform(5, 9, (3, 8, 10, 9))).astype(np.float32) - 2.0
    x[0] = -1.0
    y, argmax = layers.maxpool2d_forward(x)
    expected, first = reference.maxpool2d(x)
    np.testing.assert_array_equal(y, expected)
    dy = values(*y.shape)
    dx = layers.maxpool2d_backward(dy, argmax, x.shape)
    np.testing.assert_array_equal(dx, reference.maxpool2d_backward(dy, first, x.shape))


# --- dense, ReLU, flatten, dropout --------------------------------------------------------------

DENSE = [(1, 1, 1), (1, 7, 3), (5, 3, 1), (4, 17, 9), (3, 8, 16), (33, 5, 10)]


@pytest.mark.parametrize(("n", "inputs", "outputs"), DENSE)
def test_dense(n: int, inputs: int, outputs: int) -> None:
    x, w, b = values(n, inputs, seed=1), values(inputs, outputs, seed=2), values(outputs, seed=3)
    y = layers.dense_forward(x, w, b)
    assert_float32(y, (n, outputs))
    assert relative_error(y, reference.dense(x, w, b)) <= FORWARD

    dy = values(n, outputs, seed=4)
    dx, dw, db = layers.dense_backward(dy, x, w)

    def scalar(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> float:
        return float((reference.dense(x, w, b) * dy).sum())

    assert_float32(dx, x.shape)
    assert_float32(dw, w.shape)
    assert_float32(db, b.shape)
    assert relative_error(dx, numeric_gradient(lambda v: scalar(v, w, b), x)) <= BACKWARD
    assert relative_error(dw, numeric_gradient(lambda v: scalar(x, v, b), w)) <= BACKWARD
    assert relative_error(db, numeric_gradient(lambda v: scalar(x, w, v), b)) <= BACKWARD


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 5, 3, 7), (1, 1, 1, 1)])
def test_relu(shape: tuple[int, ...]) -> None:
    x = distinct(*shape)
    y = layers.relu_forward(x)
    assert_float32(y, shape)
    np.testing.assert_array_equal(y, reference.relu(x).astype(np.float32))
    dy = values(*shape, seed=4)
    dx = layers.relu_backward(dy, x)
    assert_float32(dx, shape)
    expected = numeric_gradient(lambda v: float((reference.relu(v) * dy).sum()), x, 1e-6)
    assert relative_error(dx, expected) <= BACKWARD


def test_relu_at_zero() -> None:
    x = np.array([[0.0, -0.0, 1e-45, -1e-45]], dtype=np.float32)
    np.testing.assert_array_equal(layers.relu_forward(x), np.maximum(x, 0.0))
    dx = layers.relu_backward(np.ones_like(x), x)
    np.testing.assert_array_equal(dx, [[0.0, 0.0, 1.0, 0.0]])


def test_flatten() -> None:
    x = values(2, 3, 4, 5)
    y = layers.flatten_forward(x)
    assert_float32(y, (2, 60))
    assert y[1, (2 * 4 + 3) * 5 + 1] == x[1, 2, 3, 1]  # height, width, channel
    np.testing.assert_array_equal(y, x.reshape(2, 60))
    dx = layers.flatten_backward(y, x.shape)
    assert_float32(dx, x.shape)
    np.testing.assert_array_equal(dx, x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout(rate: float) -> None:
    x = values(50, 400) + 2.0
    y, mask = layers.dropout_forward(x, rate, seed=3, step=5)
    assert_float32(y, x.shape)
    kept = np.asarray(mask) != 0
    assert kept.shape == x.shape
    deviation = np.sqrt(rate * (1.0 - rate) / x.size)
    assert abs(kept.mean() - (1.0 - rate)) < 5.0 * deviation
    # Rows and columns alike: five deviations of the worst of 450 sums.
    assert abs(kept.mean(axis=0) - (1.0 - rate)).max() < 5.0 * np.sqrt(rate * (1 - rate) / 50)
    assert abs(kept.mean(axis=1) - (1.0 - rate)).max() < 5.0 * np.sqrt(rate * (1 - rate) / 400)
    assert relative_error(y, reference.dropout(x, kept, rate)) <= FORWARD

    dy = values(50, 400, seed=4)
    dx = layers.dropout_backward(dy, mask, rate)
    assert_float32(dx, x.shape)
    # Given its mask, dropout is linear: the gradient is the same scaling, checked on a corner.
    corner = numeric_gradient(
        lambda v: float((reference.dropout(v, kept[:4, :9], rate) * dy[:4, :9]).sum()), x[:4, :9]
    )
    assert relative_error(dx[:4, :9], corner) <= BACKWARD
    assert relative_error(dx, reference.dropout(dy, kept, rate)) <= FORWARD


def test_dropout_is_a_function_of_seed_step_and_slot() -> None:
    x = np.ones((20, 100), dtype=np.float32)
    y, _ = layers.dropout_forward(x, 0.5, seed=3, step=5)
    np.testing.assert_array_equal(y, layers.dropout_forward(x, 0.5, seed=3, step=5)[0])
    np.testing.assert_array_equal(y[:7], layers.dropout_forward(x[:7], 0.5, seed=3, step=5)[0])
    for other in ({"seed": 4, "step": 5}, {"seed": 3, "step": 6}, {}):
        assert 0.4 < (y == layers.dropout_forward(x, 0.5, **other)[0]).mean() < 0.6
    assert 0.3 < (y[0] == y[1]).mean() < 0.7


def test_dropout_rate_zero_keeps_everything() -> None:
    x = values(3, 5)
    y, mask = layers.dropout_forward(x, 0.0)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(layers.dropout_backward(x, mask, 0.0), x)


# --- losses -------------------------------------------------------------------------------------

LOSSES = {
    "softmax": (
        layers.softmax_cross_entropy_forward,
        layers.softmax_cross_entropy_backward,
        reference.softmax_cross_entropy,
        reference.softmax,
    ),
    "sigmoid": (
        layers.sigmoid_cross_entropy_forward,
        layers.sigmoid_cross_entropy_backward,
        reference.sigmoid_cross_entropy,
        reference.sigmoid,
    ),
}


def targets(kind: str, n: int, k: int) -> np.ndarray:
    y = reference.uniform(6, 1, (n, k))
    if kind == "hard":
        return reference.one_hot(y.argmax(axis=1), k).astype(np.float32)
    return (y / y.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize(("n", "k"), [(1, 2), (1, 10), (7, 3), (4, 17), (130, 10)])
@pytest.mark.parametrize("name", list(LOSSES))
def test_losses(name: str, n: int, k: int, kind: str, weighted: bool, scale: float) -> None:
    forward, backward, expected_loss, expected_outputs = LOSSES[name]
    z, y = values(n, k, seed=1) * np.float32(scale), targets(kind, n, k)
    weight = None
    if weighted:
        weight = (3.0 * reference.uniform(6, 2, (n,))).astype(np.float32)
        weight[n // 2] = 0.0 if n > 1 else 2.5
    loss, outputs = forward(z, y, weight)
    assert_float32(outputs, (n, k))
    assert loss == pytest.approx(expected_loss(z, y, weight), rel=FORWARD)
    assert relative_error(outputs, expected_outputs(z)) <= FORWARD

    dz = backward(outputs, y, weight)
    assert_float32(dz, (n, k))
    rows = slice(0, 7)  # enough of a large batch: an image's logits touch its own loss only

    def scalar(part: np.ndarray) -> float:
        some = None if weight is None else weight[rows]
        return expected_loss(part, y[rows], some) * len(part) / n

    assert relative_error(dz[rows], numeric_gradient(scalar, z[rows])) <= BACKWARD


@pytest.mark.parametrize("name", list(LOSSES))
def test_losses_take_integer_labels(name: str) -> None:
    forward, backward, _, _ = LOSSES[name]
    z, labels = values(9, 4, seed=1), np.arange(9) % 4
    y = reference.one_hot(labels, 4)
    loss, outputs = forward(z, y)
    assert forward(z, labels)[0] == loss
    np.testing.assert_array_equal(backward(outputs, labels), backward(outputs, y))


@pytest.mark.parametrize("name", list(LOSSES))
def test_losses_of_huge_logits_stay_finite(name: str) -> None:
    forward, backward, expected_loss, expected_outputs = LOSSES[name]
    z = np.array([[1e4, -1e4, 0.0], [-3e4, -3e4, 88.0], [200.0, 200.0, 200.0]], dtype=np.float32)
    y = np.array([[0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]], dtype=np.float32)
    loss, outputs = forward(z, y)
    assert loss == pytest.approx(expected_loss(z, y), rel=FORWARD)
    assert relative_error(outputs, expected_outputs(z)) <= FORWARD
    outputs_per_image = 1 if name == "softmax" else 3
    expected_dz = (expected_outputs(z) - y) / (3 * outputs_per_image)
    assert relative_error(backward(outputs, y), expected_dz) <= BACKWARD


# --- the article's network ----------------------------------------------------------------------


def article_forward(
    p: dict[str, np.ndarray], images: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits, and what the backward pass needs."""
    kept: dict[str, np.ndarray] = {"x": images.astype(np.float32) / np.float32(255)}
    kept["c1"] = layers.conv2d_forward(kept["x"], p["conv1_w"], p["conv1_b"])
    kept["p1"], kept["a1"] = layers.maxpool2d_forward(layers.relu_forward(kept["c1"]))
    kept["c2"] = layers.conv2d_forward(kept["p1"], p["conv2_w"], p["conv2_b"])
    kept["p2"], kept["a2"] = layers.maxpool2d_forward(layers.relu_forward(kept["c2"]))
    kept["flat"] = layers.flatten_forward(kept["p2"])
    kept["d1"] = layers.dense_forward(kept["flat"], p["dense1_w"], p["dense1_b"])
    kept["h"] = layers.relu_forward(kept["d1"])
    return layers.dense_forward(kept["h"], p["dense2_w"], p["dense2_b"]), kept


def article_backward(
    p: dict[str, np.ndarray], kept: dict[str, np.ndarray], dz: np.ndarray
) -> dict[str, np.ndarray]:
    g = {}
    d, g["dense2_w"], g["dense2_b"] = layers.dense_backward(dz, kept["h"], p["dense2_w"])
    d = layers.relu_backward(d, kept["d1"])
    d, g["dense1_w"], g["dense1_b"] = layers.dense_backward(d, kept["flat"], p["dense1_w"])
    d = layers.flatten_backward(d, kept["p2"].shape)
    d = layers.relu_backward(layers.maxpool2d_backward(d, kept["a2"], kept["c2"].shape), kept["c2"])
    d, g["conv2_w"], g["conv2_b"] = layers.conv2d_backward(d, kept["p1"], p["conv2_w"])
    d = layers.relu_backward(layers.maxpool2d_backward(d, kept["a1"], kept["c1"].shape), kept["c1"])
    _, g["conv1_w"], g["conv1_b"] = layers.conv2d_backward(d, kept["x"], p["conv1_w"])
    return g


@pytest.mark.parametrize("name", list(LOSSES))
def test_article_network_gradients(name: str) -> None:
    forward, backward, _, _ = LOSSES[name]
    expected = reference.load_reference()
    p = reference.weights()
    images, labels = (a[0] for a in reference.batches())
    y = reference.one_hot(labels, 10).astype(np.float32)
    z, kept = article_forward(p, images)
    assert relative_error(z, expected["logits"]) <= FORWARD
    loss, outputs = forward(z, y)
    assert loss == pytest.approx(float(expected[f"{name}_loss"]), rel=FORWARD)
    g = article_backward(p, kept, backward(outputs, y))
    assert sum(a.size for a in g.values()) == 431_242
    for tensor, gradient in g.items():
        assert relative_error(gradient, expected[f"{name}/{tensor}"]) <= BACKWARD, tensor


def test_article_network_loss_curve() -> None:
    """Ten steps of RMSprop on the sigmoid loss, the update in float32 NumPy."""
    expected = reference.load_reference()["rmsprop_sigmoid"]
    p = reference.weights()
    v = {name: np.zeros_like(w) for name, w in p.items()}
    losses = []
    for images, labels in zip(*reference.batches(), strict=True):
        y = reference.one_hot(labels, 10).astype(np.float32)
        z, kept = article_forward(p, images)
        loss, sigmoids = layers.sigmoid_cross_entropy_forward(z, y)
        losses.append(loss)
        g = article_backward(p, kept, layers.sigmoid_cross_entropy_backward(sigmoids, y))
        for name, w in p.items():
            v[name] = np.float32(0.9) * v[name] + np.float32(0.1) * g[name] ** 2
            p[name] = w - np.float32(1e-4) * g[name] / (np.sqrt(v[name]) + np.float32(1e-7))
    assert relative_error(np.array(losses), expected) <= 1e-5


# --- every layer: threads, layouts, empty batches, bad input ------------------------------------


def call_all(change=lambda array: array, n: int = 5) -> dict[str, list[np.ndarray]]:
    """Every function once on small arrays, each argument passed through `change`."""
    x, kernel, b = values(n, 6, 7, 3, seed=1), values(3, 3, 3, 5, seed=2), values(5, seed=3)
    flat, w, c = values(n, 11, seed=4), values(11, 4, seed=5), values(4, seed=6)
    z, y = values(n, 4, seed=7), np.full((n, 4), 0.25, dtype=np.float32)
    weight = values(n, seed=8) + 1.0
    _, argmax = layers.maxpool2d_forward(x)
    _, mask = layers.dropout_forward(flat, 0.5, seed=1)
    _, probs = layers.softmax_cross_entropy_forward(z, y) if n else (0, z)
    dy = values(n, 4, 5, 5, seed=9)
    d_pool, d_flat, d_z = values(n, 3, 3, 3, seed=10), values(n, 11, seed=11), values(n, 4, seed=12)
    calls = {
        "conv2d_forward": (x, kernel, b),
        "conv2d_backward": (dy, x, kernel),
        "maxpool2d_forward": (x,),
        "maxpool2d_backward": (d_pool, argmax, x.shape),
        "dense_forward": (flat, w, c),
        "dense_backward": (d_z, flat, w),
        "relu_forward": (x,),
        "relu_backward": (x[::-1].copy(), x),
        "dropout_forward": (flat, 0.5),
        "dropout_backward": (d_flat, mask, 0.5),
        "flatten_forward": (x,),
        "flatten_backward": (values(n, 126), x.shape),
    }
    if n:  # the mean over no images is not a number
        calls |= {
            "softmax_cross_entropy_forward": (z, y, weight),
            "softmax_cross_entropy_backward": (probs, y, weight),
            "sigmoid_cross_entropy_forward": (z, y, weight),
            "sigmoid_cross_entropy_backward": (probs, y, weight),
        }
    results = {}
    for name, arguments in calls.items():
        changed = [change(a) if isinstance(a, np.ndarray) else a for a in arguments]
        before = [a.copy() if isinstance(a, np.ndarray) else a for a in changed]
        out = getattr(layers, name)(*changed)
        results[name] = [np.asarray(a) for a in (out if isinstance(out, tuple) else (out,))]
        for one, other in zip(changed, before, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"{name} changed its argument")
    return results


def assert_same_bits(
    got: dict[str, list[np.ndarray]], expected: dict[str, list[np.ndarray]]
) -> None:
    assert got.keys() == expected.keys()
    for name, arrays in expected.items():
        for one, other in zip(got[name], arrays, strict=True):
            assert one.dtype == other.dtype, name
            assert one.tobytes() == other.tobytes(), name


def test_every_public_function_is_called_here() -> None:
    public = {n for n in layers.__all__ if n.endswith(("_forward", "_backward"))}
    assert public == set(call_all())


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_same_bits_for_any_number_of_threads(threads: int) -> None:
    before = am.get_num_threads()
    try:
        am.set_num_threads(1)
        expected = call_all(n=41)
        am.set_num_threads(threads)
        assert_same_bits(call_all(n=41), expected)
    finally:
        am.set_num_threads(before)


@st.composite
def relayout(draw: st.DrawFn):
    """A function that gives the same numbers in another memory layout."""
    order = draw(st.permutations(range(4)))
    step = draw(st.integers(1, 3))
    negative = draw(st.booleans())
    offset = draw(st.sampled_from([0, 1, 4]))
    swapped = draw(st.booleans())
    readonly = draw(st.booleans())

    def change(array: np.ndarray) -> np.ndarray:
        dtype = array.dtype.newbyteorder() if swapped else array.dtype
        axes = [axis for axis in order if axis < array.ndim]
        shape = [array.shape[axis] for axis in axes]
        if shape:
            shape[-1] *= step
        raw = np.zeros(int(np.prod(shape)) * dtype.itemsize + offset, dtype=np.uint8)
        view = raw[offset:].view(dtype).reshape(shape)[..., ::step] if shape else array
        view = view.transpose(np.argsort(axes))
        if negative:
            view = view[::-1]
        view[...] = array
        view.flags.writeable = not readonly
        return view

    return change


@settings(max_examples=40, deadline=None)
@given(relayout())
def test_any_memory_layout(change) -> None:
    assert_same_bits(call_all(change), call_all())


def test_float64_is_taken_as_float32() -> None:
    def change(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float64) if array.dtype == np.float32 else array

    assert_same_bits(call_all(change), call_all())


def test_empty_batch() -> None:
    results = call_all(n=0)
    shapes = {name: [a.shape for a in arrays] for name, arrays in results.items()}
    assert shapes["conv2d_forward"] == [(0, 4, 5, 5)]
    assert shapes["conv2d_backward"] == [(0, 6, 7, 3), (3, 3, 3, 5), (5,)]
    assert shapes["maxpool2d_forward"][0] == (0, 3, 3, 3)
    assert shapes["maxpool2d_backward"] == [(0, 6, 7, 3)]
    assert shapes["dense_forward"] == [(0, 4)]
    assert shapes["dense_backward"] == [(0, 11), (11, 4), (4,)]
    assert shapes["flatten_forward"] == [(0, 126)]
    assert shapes["flatten_backward"] == [(0, 6, 7, 3)]
    for name in ("conv2d_backward", "dense_backward"):
        for gradient in results[name][1:]:
            assert not gradient.any()  # a sum over nothing


X, K, B = values(2, 6, 7, 3), values(3, 3, 3, 5), values(5)
FLAT, W, C = values(2, 11), values(11, 4), values(4)
Z, Y = values(2, 4), np.full((2, 4), 0.25, dtype=np.float32)
POOLED, ARGMAX = values(2, 3, 3, 3), np.zeros((2, 3, 3, 3), dtype=np.uint8)

BAD = {
    "image of rank 3": ("conv2d_forward", (X[0], K, B)),
    "image of rank 5": ("conv2d_forward", (X[None], K, B)),
    "kernel of rank 3": ("conv2d_forward", (X, K[0], B)),
    "bias of rank 2": ("conv2d_forward", (X, K, B[None])),
    "bias too long": ("conv2d_forward", (X, K, values(6))),
    "other channels": ("conv2d_forward", (X[..., :2], K, B)),
    "even kernel": ("conv2d_forward", (X, values(2, 2, 3, 5), B)),
    "oblong kernel": ("conv2d_forward", (X, values(3, 5, 3, 5), B)),
    "empty kernel": ("conv2d_forward", (X, values(0, 0, 3, 5), B)),
    "kernel higher than the image": ("conv2d_forward", (X[:, :2], K, B)),
    "kernel wider than the image": ("conv2d_forward", (X[:, :, :2], K, B)),
    "dy of another size": ("conv2d_backward", (values(2, 4, 4, 5), X, K)),
    "dy of another batch": ("conv2d_backward", (values(3, 4, 5, 5), X, K)),
    "dy of other channels": ("conv2d_backward", (values(2, 4, 5, 4), X, K)),
    "dy of rank 2": ("conv2d_backward", (FLAT, X, K)),
    "backward even kernel": ("conv2d_backward", (values(2, 5, 6, 5), X, values(2, 2, 3, 5))),
    "backward other channels": ("conv2d_backward", (values(2, 4, 5, 5), X[..., :2], K)),
    "pool of 1x1": ("maxpool2d_forward", (X[:, :1, :1],)),
    "pool of 1xn": ("maxpool2d_forward", (X[:, :1],)),
    "pool of rank 2": ("maxpool2d_forward", (FLAT,)),
    "pool shape of rank 3": ("maxpool2d_backward", (POOLED, ARGMAX, (2, 6, 7))),
    "pool shape does not fit": ("maxpool2d_backward", (POOLED, ARGMAX, (2, 8, 7, 3))),
    "pool shape negative": ("maxpool2d_backward", (POOLED, ARGMAX, (2, -6, 7, 3))),
    "pool argmax does not fit": ("maxpool2d_backward", (POOLED, ARGMAX[:1], X.shape)),
    "pool argmax out of range": ("maxpool2d_backward", (POOLED, ARGMAX + 200, X.shape)),
    "dense of rank 4": ("dense_forward", (X, W, C)),
    "dense of other inputs": ("dense_forward", (values(2, 10), W, C)),
    "dense weights of rank 1": ("dense_forward", (FLAT, W[0], C)),
    "dense bias too short": ("dense_forward", (FLAT, W, values(3))),
    "dense dy of other outputs": ("dense_backward", (values(2, 5), FLAT, W)),
    "dense dy of another batch": ("dense_backward", (values(3, 4), FLAT, W)),
    "relu dy of another shape": ("relu_backward", (values(2, 10), FLAT)),
    "dropout rate 1": ("dropout_forward", (FLAT, 1.0)),
    "dropout rate negative": ("dropout_forward", (FLAT, -0.1)),
    "dropout rate NaN": ("dropout_forward", (FLAT, float("nan"))),
    "dropout mask of another shape": ("dropout_backward", (FLAT, ARGMAX, 0.5)),
    "flatten shape does not fit": ("flatten_backward", (FLAT, (2, 3, 4, 1))),
    "logits of rank 1": ("softmax_cross_entropy_forward", (Z[0], Y)),
    "targets of another shape": ("softmax_cross_entropy_forward", (Z, Y[:1])),
    "weights too many": ("softmax_cross_entropy_forward", (Z, Y, values(3) + 1.0)),
    "label out of range": ("softmax_cross_entropy_forward", (Z, [0, 4])),
    "label negative": ("sigmoid_cross_entropy_forward", (Z, [-1, 0])),
    "labels too few": ("softmax_cross_entropy_forward", (Z, [1])),
    "probs of another shape": ("softmax_cross_entropy_backward", (Z[:, :3], Y)),
    "sigmoid targets of another shape": ("sigmoid_cross_entropy_forward", (Z, Y[:, :3])),
    "sigmoid weights of rank 2": ("sigmoid_cross_entropy_forward", (Z, Y, Z)),
    "sigmoids of another shape": ("sigmoid_cross_entropy_backward", (Z[:1], Y)),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input(case: str) -> None:
    name, arguments = BAD[case]
    with pytest.raises(ValueError, match=r".{15,}") as caught:
        getattr(layers, name)(*arguments)
    assert isinstance(caught.value, ShapeError | ArgumentError), repr(caught.value)


@pytest.mark.parametrize("padding", ["full", "", "VALID", None, 1])
def test_unknown_padding(padding: object) -> None:
    with pytest.raises(AmbigError, match=r"valid.*same|same.*valid"):
        layers.conv2d_forward(X, K, B, padding=padding)
    with pytest.raises(AmbigError, match=r"valid.*same|same.*valid"):
        layers.conv2d_backward(values(2, 4, 5, 5), X, K, padding=padding)


@pytest.mark.parametrize("bad", [X.astype(np.complex64), X.astype("U4"), X.astype(object)])
def test_types_that_are_no_numbers(bad: np.ndarray) -> None:
    for name in ("relu_forward", "maxpool2d_forward", "flatten_forward"):
        with pytest.raises(DTypeError):
            getattr(layers, name)(bad)


def test_arguments_of_another_kind() -> None:
    with pytest.raises(AmbigError, match="shape"):
        layers.maxpool2d_backward(POOLED, ARGMAX, 5)
    with pytest.raises(AmbigError, match="sample_weight"):
        layers.softmax_cross_entropy_forward(Z, Y, ["a", "b"])
    with pytest.raises(AmbigError, match="mask"):
        layers.dropout_backward(Z, np.full(Z.shape, "x"), 0.5)
    with pytest.raises(AmbigError, match="step"):
        layers.dropout_forward(Z, 0.5, step=-1)


def test_same_padding_takes_a_kernel_larger_than_the_image() -> None:
    x, kernel, b = conv_arguments(1, 2, 3, 2, 7, 3)
    y = layers.conv2d_forward(x, kernel, b, padding="same")
    assert relative_error(y, reference.conv2d(x, kernel, b, "same")) <= FORWARD


def test_dense_without_inputs_is_its_bias():
    am.layers.relu_forward(np.full((4, 3), 7.5))  # what freed memory may hold
    y = layers.dense_forward(np.zeros((4, 0)), np.zeros((0, 3)), np.ones(3))
    assert np.array_equal(y, np.ones((4, 3)))


def test_any_number_of_threads_is_safe_in_the_core():
    x, w, b = values(40, 9, 9, 2), values(3, 3, 2, 5), values(5)
    expected = _ambigcore.conv2d_forward(x, w, b, True, 1)
    for threads in (0, -1, 100_000):
        assert np.array_equal(_ambigcore.conv2d_forward(x, w, b, True, threads), expected)


# --- the core by itself --------------------------------------------------------------------------


def test_every_public_function_has_an_example() -> None:
    """They are run with the suite."""
    for name in layers.__all__:
        assert "    Examples\n    --------\n" in getattr(layers, name).__doc__, name


ENDLESS = 2**40


def endless(*shape: int) -> np.ndarray:
    """An empty array whose other sizes are beyond all memory."""
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("name", "arguments", "shapes"),
    [
        ("conv2d_forward", (endless(0, 2**28, 2**28, 1), values(1, 1, 1, 2**20), values(2**20)),
         None),
        ("conv2d_backward", (endless(0, 2**28, 2**28, 1), endless(0, 2**28, 2**28, 1),
                             values(1, 1, 1, 1)), None),
        ("conv2d_forward", (endless(0, 9, 9, 0), endless(3, 3, 0, ENDLESS), endless(3)), None),
        ("dense_forward", (endless(ENDLESS, 0), endless(0, 0), endless(0)), [(ENDLESS, 0)]),
        ("dense_forward", (endless(0, ENDLESS), endless(ENDLESS, 0), endless(0)), [(0, 0)]),
        ("dense_backward", (endless(0, 0), endless(0, ENDLESS), endless(ENDLESS, 0)),
         [(0, ENDLESS), (ENDLESS, 0), (0,)]),
        ("dense_backward", (endless(ENDLESS, 0), endless(ENDLESS, 0), endless(0, 0)),
         [(ENDLESS, 0), (0, 0), (0,)]),
        ("maxpool2d_forward", (endless(ENDLESS, 2, 2, 0),), [(ENDLESS, 1, 1, 0)] * 2),
        ("maxpool2d_backward", (endless(ENDLESS, 1, 1, 0), np.zeros((ENDLESS, 1, 1, 0), np.uint8),
                                (2, 2)), [(ENDLESS, 2, 2, 0)]),
        ("dropout_forward", (endless(ENDLESS, 0), 0.5), [(ENDLESS, 0)] * 2),
    ],
)  # fmt: skip
def test_empty_arrays_of_endless_sizes(name, arguments, shapes) -> None:
    if shapes is None:
        with pytest.raises(ShapeError):
            getattr(layers, name)(*arguments)
    else:
        found = getattr(layers, name)(*arguments)
        assert [a.shape for a in (found if isinstance(found, tuple) else (found,))] == shapes


def test_dense_backward_without_outputs() -> None:
    dx, dw, db = layers.dense_backward(endless(3, 0), values(3, 5), endless(5, 0))
    assert np.array_equal(dx, np.zeros((3, 5)))
    assert (dw.shape, db.shape) == ((5, 0), (0,))


@pytest.mark.parametrize("dtype", [np.longlong, np.dtype("q"), np.dtype("l"), np.int64])
def test_types_that_only_differ_in_name(dtype) -> None:
    rows, labels = np.eye(2), np.ones(2, dtype)
    _, _, right, _, counts = _ambigcore.summary(rows, False, labels, (), True, 1)
    assert (right, counts.tolist()) == (1, [[0, 0], [1, 1]])


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("loss_forward", (2, Z, Z, np.ones(2)), ArgumentError),
        ("loss_forward", (-1, Z, Z, np.ones(2)), ArgumentError),
        ("loss_backward", (7, Z, Z, np.ones(2)), ArgumentError),
        ("dropout_mask", (2, 2, 1.0, 0, 0), ArgumentError),
        ("dropout_mask", (2, 2, -0.5, 0, 0), ArgumentError),
        ("dropout_mask", (2, 2, float("nan"), 0, 0), ArgumentError),
        ("dropout_mask", (2, 2, 0.5, -1, 0), OverflowError),
        ("dropout_mask", (2, 2, 0.5, 2**64, 0), OverflowError),
        ("dropout_mask", (2, 2, 0.5, 0.5, 0), TypeError),
        ("dropout_mask", (2, 2, 0.5, 0, -1), ArgumentError),
        ("dropout_mask", (2, 2, 0.5, 0, 2**32), ArgumentError),
        ("dropout_mask", (-2, 2, 0.5, 0, 0), ValueError),
        ("dropout_apply", (Z, Z > 0, 1.0), ArgumentError),
        ("dropout_apply", (Z, Z > 0, float("inf")), ArgumentError),
        ("shuffle", (5, -1, 0), OverflowError),
        ("stratified_split", (np.zeros(3, np.int32), 1, 0.5, -1), OverflowError),
        ("stratified_split", (np.zeros(3, np.int32), 2**40, 0.5, 1), ArgumentError),
        ("stratified_split", (np.zeros(0, np.int32), -1, 0.5, 1), ArgumentError),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense(name, arguments, error) -> None:
    with pytest.raises(error):
        getattr(_ambigcore, name)(*arguments)


class Interrupting:
    """A number that is interrupted while it is read."""

    def __float__(self) -> float:
        raise KeyboardInterrupt


def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt):
        _ambigcore.dropout_mask(2, 2, Interrupting(), 0, 0)
    with pytest.raises(TypeError, match="rate: expected a number"):
        _ambigcore.dropout_mask(2, 2, "x", 0, 0)


def released(call) -> bool:
    """Whether another thread runs meanwhile; a few tries, as the machine may be busy."""
    stop, ticks = threading.Event(), [0]

    def watch() -> None:
        while not stop.is_set():
            time.sleep(0.0002)
            ticks[0] += 1

    thread = threading.Thread(target=watch)
    thread.start()
    most = 0
    for _ in range(20):
        before = ticks[0]
        call()
        most = max(most, ticks[0] - before)
        if most >= 3:  # 1 when the call came between a sleep and the count
            break
    stop.set()
    thread.join()
    return most >= 3


BIG = 6_000_000


def long_calls():
    from ambigmnist._network import Layer, build

    x = np.zeros(BIG, np.float32)
    mask = np.ones(BIG, np.bool_)
    z, w = np.zeros((BIG // 10, 10), np.float32), np.ones(BIG // 10)
    labels = (np.arange(BIG // 4) % 10).astype(np.int32)
    wide = build([Layer("flatten"), Layer("dense", 40_000)], (20, 20, 1))
    params = wide.get_params()
    settings = (0, 2, 0.9, 0.999, 1e-8, 0, 1e-3, 8, 5, 0, 1, 30, 1)
    return {
        "relu_forward": lambda: _ambigcore.relu_forward(x),
        "relu_backward": lambda: _ambigcore.relu_backward(x, x),
        "dropout_mask": lambda: _ambigcore.dropout_mask(4, BIG, 0.5, 0, 0),
        "dropout_apply": lambda: _ambigcore.dropout_apply(x, mask, 0.5),
        "loss_forward": lambda: _ambigcore.loss_forward(0, z, z, w),
        "loss_backward": lambda: _ambigcore.loss_backward(0, z, z, w),
        "stratified_split": lambda: _ambigcore.stratified_split(labels, 10, 0.2, 1),
        "Network.init": lambda: wide.init(1),
        "Network.get_params": wide.get_params,
        "Network.set_params": lambda: wide.set_params(params),
        "Network.train_begin": lambda: wide.train_begin(*settings),
    }


def test_other_threads_run_meanwhile() -> None:
    held = [name for name, call in long_calls().items() if not released(call)]
    assert held == []


INTERRUPTED = """
import os, signal, threading, time
import numpy as np
from ambigmnist import _ambigcore, layers
from ambigmnist._network import Layer, build
x = np.ones((3000, 24, 24, 16), np.float32)
k, b = np.ones((3, 3, 16, 64), np.float32), np.ones(64, np.float32)
dy = np.ones((3000, 22, 22, 64), np.float32)
d, w = np.ones((12000, 4000), np.float32), np.ones((4000, 2000), np.float32)
ones, out = np.ones(2000, np.float32), np.ones((12000, 2000), np.float32)
calls = [
    lambda: _ambigcore.conv2d_forward(x, k, b, False, 2),
    lambda: _ambigcore.conv2d_backward(dy, x, k, False, 2),
    lambda: _ambigcore.dense_forward(d, w, ones, 2),
    lambda: _ambigcore.dense_backward(out, d, w, 2),
]
for call in calls:
    sent = []
    def interrupt():
        time.sleep(0.1)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        while True:
            call()
            if sent:
                time.sleep(0.2)  # it came as the call ended
    except KeyboardInterrupt:
        print(f"{time.perf_counter() - sent[0]:.3f}")
    thread.join()
"""


def test_ctrl_c_stops_a_layer() -> None:
    out = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=True
    )
    delays = [float(line) for line in out.stdout.split()]
    assert len(delays) == 4
    assert max(delays) < 0.3, delays
