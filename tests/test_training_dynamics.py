"""What training sees of each image, against the same training step by step in float64."""

from __future__ import annotations

import itertools
import math
import threading

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import reference
import slow_network
from hypothesis import given, settings
from test_dropout_draws import naive_draw
from test_network import FUSED, MIXED, begin, big_batch, make

from ambigmnist import _ambigcore as core
from ambigmnist._network import parse_layers
from ambigmnist.errors import ArgumentError, BusyError, DTypeError, ShapeError
from ambigmnist.evidence import DYNAMICS

THREADS = (1, 2, 3, 7)
FIELDS = DYNAMICS.names
SIZE = 9  # numbers that are kept of each image
FROZEN = 1e-60  # a rate that is 0 as a float32: no weight changes, not even a 0
CONV = [("conv", 3, 3), "relu", "maxpool", "flatten", ("dense", 8), "relu"]
DENSE = ["flatten", ("dense", 12), "relu"]


def noise(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def recording(images, labels, seen, early=1, index=None, weights=None):
    labels = np.asarray(labels)
    soft = labels.astype(np.float32) if labels.ndim == 2 else None
    hard = labels.astype(np.int32) if labels.ndim == 1 else None
    index = np.arange(len(images)) if index is None else index
    return images, hard, soft, weights, index, seen, early


def naive_dynamics(z: np.ndarray, label: int, early: int) -> dict[str, float]:
    """Of one image: logits (epochs, k)."""
    p = reference.softmax(z)
    right = [int(np.argmax(row)) == label for row in z]
    margins = [row[label] - np.delete(row, label).max() for row in z]
    at = min(early, len(z)) - 1
    return {
        "runs": 1,
        "aum": float(np.mean(margins)),
        "confidence": float(p[:, label].mean()),
        "variability": float(p[:, label].std()),
        "correctness": float(np.mean(right)),
        "forgetting": sum(a and not b for a, b in itertools.pairwise(right)),
        "first_learned": right.index(True) + 1 if any(right) else len(z) + 1,
        "el2n": float(np.linalg.norm(p[at] - np.eye(z.shape[1])[label])),
        "grand": math.nan,
        "vog": math.nan,
    }


def assert_dynamics(seen, logits, labels, early, *, rel):
    """logits (epochs, n, k)"""
    got = core.finish_dynamics(seen).view(DYNAMICS)[:, 0]
    for i, label in enumerate(labels):
        for field, value in naive_dynamics(logits[:, i], label, early).items():
            assert got[i][field] == pytest.approx(value, rel=rel, abs=rel, nan_ok=True), (i, field)


# --- of weights that stay as they are -------------------------------------------------------------


@settings(max_examples=60)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(2, 6)),
               elements=st.sampled_from([0, 0, 1, -1, 0.5, 30, -100, 1e-3])),
    st.data(),
    st.integers(1, 4),
    st.sampled_from(THREADS),
)  # fmt: skip
def test_statistics_of_any_logits(z, data, epochs, threads):
    """A network that hands its pixels on: ties, sure and hopeless images."""
    n, k = z.shape
    labels = data.draw(hnp.arrays(np.int32, n, elements=st.integers(0, k - 1)))
    network, seen = make(["flatten"], (1, 1, k), classes=k), np.zeros((n, SIZE))
    network.set_params(np.concatenate([np.eye(k).ravel(), np.zeros(k)]).astype(np.float32))
    begin(network, n, rate=FROZEN, epochs=epochs, batch=7, threads=threads)
    images = z.reshape(n, 1, 1, k)
    for _ in range(epochs):
        network.train_epoch(recording(images, labels, seen, 1), None, None)
    logits = np.broadcast_to(z.astype(np.float64), (epochs, n, k))
    assert_dynamics(seen, logits, labels, 1, rel=1e-13)
    assert (seen[:, 0] == epochs).all()
    rivals = np.where(np.arange(k) == labels[:, None], -np.inf, z).max(axis=1)
    assert np.array_equal(seen[:, 1], epochs * (z[np.arange(n), labels].astype(float) - rivals))


@pytest.mark.parametrize("layer_list", [MIXED, FUSED], ids=["mixed", "fused"])
def test_margins_are_those_of_prediction(layer_list):
    """To the last bit, where nothing is dropped."""
    layer_list = [layer for layer in layer_list if layer[0] != "dropout"]
    images, labels = noise(70, (14, 13, 1)), np.arange(70) % 10
    network, seen = make(layer_list, (14, 13, 1)), np.zeros((70, SIZE))
    z = network.forward(images, len(network.layers()), 1).astype(np.float64)
    begin(network, 70, rate=FROZEN, batch=32)
    network.train_epoch(recording(images, labels, seen), None, None)
    rivals = np.where(np.arange(10) == labels[:, None], -np.inf, z).max(axis=1)
    assert np.array_equal(seen[:, 1], z[np.arange(70), labels] - rivals)


def test_dropout_is_on():
    layers = parse_layers(["flatten", ("dense", 30), "relu", ("dropout", 0.5)], 4)
    network, seen = make(layers_of(layers), (5, 5, 1), classes=4), np.zeros((40, SIZE))
    images, labels = noise(40, (5, 5, 1)), np.arange(40) % 4
    begin(network, 40, rate=FROZEN, batch=16, epochs=3, seed=6)
    logits = np.zeros((3, 40, 4))
    for epoch in range(3):
        network.train_epoch(recording(images, labels, seen, 2), None, None)
        order = core.shuffle(40, 6, epoch + 1)
        for step, start in enumerate(range(0, 40, 16)):
            batch = order[start : start + 16]
            logits[epoch, batch] = naive_draw(
                layers, (5, 5, 1), network.get_params(), images[batch], np.arange(len(batch)), 6,
                3 * epoch + step,
            )  # fmt: skip
    assert_dynamics(seen, logits, labels, 2, rel=1e-5)


def layers_of(parsed):
    return [(layer.kind, *{"dense": [layer.units], "dropout": [layer.rate]}.get(layer.kind, []))
            for layer in parsed]  # fmt: skip


# --- of a training --------------------------------------------------------------------------------


def replay(layers, shape, params, images, onehot, order_of, epochs, batch, rate, loss):
    """Plain descent in float64: the logits that each image had when its turn came."""
    n, params = len(images), params.astype(np.float64)
    logits = np.zeros((epochs, n, onehot.shape[1]))
    for epoch in range(epochs):
        order = order_of(epoch + 1)
        for start in range(0, n, batch):
            part = order[start : start + batch]
            weights = slow_network.weights_of(layers, shape, params)
            values = slow_network.forward(layers, weights, images[part] / 255)
            z, y = values[-1], onehot[part]
            logits[epoch, part] = z
            dz = reference.softmax(z) * y.sum(axis=1, keepdims=True) - y
            if loss == "sigmoid":
                dz = (reference.sigmoid(z) - y) / y.shape[1]
            params -= rate / len(part) * slow_network.backward(layers, weights, values, dz)[1]
    return logits


@pytest.mark.parametrize("layer_list", [CONV, DENSE], ids=["conv", "dense"])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("soft", [False, True])
def test_dynamics_of_a_run(layer_list, loss, soft):
    n, k, shape, epochs, early = 45, 3, (6, 7, 1), 9, 2
    rng = np.random.default_rng(8)
    images, labels = noise(n, shape), rng.integers(0, k, n)  # nothing to learn but by heart
    onehot = rng.dirichlet(np.ones(k), n).astype(np.float32) if soft else np.eye(k)[labels]
    labels = onehot.argmax(axis=1)
    network, seen = make(layer_list, shape, classes=k, seed=1), np.zeros((n, SIZE))
    params = network.get_params()
    optimizer, rate = ("sgd", {"momentum": 0.0}), 1.5 if loss == "sigmoid" else 0.5
    begin(network, n, loss=loss, optimizer=optimizer, rate=rate, batch=16, epochs=epochs, seed=4)
    for _ in range(epochs):
        train = recording(images, onehot if soft else labels, seen, early)
        network.train_epoch(train, None, None)
    logits = replay(
        parse_layers(layer_list, k), shape, params, images, onehot.astype(np.float64),
        lambda epoch: core.shuffle(n, 4, epoch), epochs, 16, rate, loss,
    )  # fmt: skip
    assert_dynamics(seen, logits, labels, early, rel=1e-4)
    got = core.finish_dynamics(seen).view(DYNAMICS)[:, 0]
    assert got["forgetting"].max() >= 1  # otherwise there was little to see
    assert len(set(got["first_learned"])) > 2


def trained(layer_list, threads, seen, *, index=None, epochs=3):
    images, labels = noise(150, (14, 13, 1)), np.arange(150) % 10
    index = np.arange(150) if index is None else index
    network = make(layer_list, (14, 13, 1))
    begin(network, len(index), optimizer="adam", rate=3e-3, batch=64, epochs=epochs,
          threads=threads)  # fmt: skip
    held = recording(images, labels, None, index=np.arange(20))
    reports = [
        network.train_epoch(recording(images, labels, seen, 2, index), held, None)
        for _ in range(epochs)
    ]
    return network.get_params().tobytes(), reports


@pytest.mark.parametrize("layer_list", [MIXED, FUSED], ids=["mixed", "fused"])
def test_recording_changes_nothing_and_threads_change_nothing(layer_list):
    expected, first = trained(layer_list, 1, None), None
    for threads in THREADS:
        seen = np.zeros((150, SIZE))
        assert trained(layer_list, threads, seen) == expected
        first = seen if first is None else first
        assert seen.tobytes() == first.tobytes()
    assert (first[:, 0] == 3).all()


def test_what_is_not_trained_on_is_not_seen():
    """Neither other images nor those of validation; of them nothing is known."""
    images, labels, seen = noise(30, (4, 4, 1)), np.arange(30) % 3, np.zeros((30, SIZE))
    network, index = make(["flatten"], (4, 4, 1), classes=3), np.arange(29, 0, -2)
    begin(network, len(index), rate=0.1, batch=4)
    held = recording(images, labels, np.full((30, SIZE), 7.0), 1, np.arange(0, 30, 2))
    network.train_epoch(recording(images, labels, seen, 1, index), held, None)
    assert (held[5] == 7).all()
    assert (seen[::2] == 0).all()
    assert (seen[1::2, 0] == 1).all()
    got = core.finish_dynamics(seen).view(DYNAMICS)[:, 0]
    assert got["runs"].tolist() == [0, 1] * 15
    for field in FIELDS[1:8]:
        assert np.isnan(got[field][::2]).all(), field
        assert np.isfinite(got[field][1::2]).all(), field


def test_weights_play_no_part_in_what_is_seen():
    images, labels = noise(30, (4, 4, 1)), np.arange(30) % 3
    seen = [np.zeros((30, SIZE)) for _ in range(2)]
    for table, weights in zip(seen, (None, np.arange(30, dtype=np.float32)), strict=True):
        network = make(["flatten"], (4, 4, 1), classes=3)
        begin(network, 30, rate=FROZEN, batch=8)
        network.train_epoch(recording(images, labels, table, weights=weights), None, None)
    assert seen[0].tobytes() == seen[1].tobytes()


def test_an_early_epoch_that_never_came():
    """Training stopped before it: the last one stands in."""
    images, labels = noise(20, (4, 4, 1)), np.arange(20) % 3
    tables = [np.zeros((20, SIZE)) for _ in range(2)]
    for table, early in zip(tables, (3, 10), strict=True):
        network = make(["flatten"], (4, 4, 1), classes=3)
        begin(network, 20, rate=0.5, batch=8, epochs=20)
        for _ in range(3):
            network.train_epoch(recording(images, labels, table, early), None, None)
    assert tables[0].tobytes() == tables[1].tobytes()
    assert (tables[0][:, 8] > 0).all()


def test_a_stopped_epoch_has_seen_some():
    network, images, labels = big_batch()
    seen = np.zeros((6000, SIZE))
    begin(network, 6000, batch=64)

    def stop():
        if network.train_progress()[0] > 0:
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        network.train_epoch(recording(images, labels, seen), None, stop)
    assert set(seen[:, 0]) == {0, 1}
    assert seen[:, 0].sum() >= 64 * network.train_progress()[0]
    assert np.array_equal(np.isnan(core.finish_dynamics(seen)[:, 1]), seen[:, 0] == 0)


# --- finished histories ---------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 9), st.just(SIZE)),
                  elements=st.floats(0, 9)))  # fmt: skip
def test_histories_are_finished_by_the_definition(seen):
    seen[:, 0] = np.ceil(seen[:, 0]) + 1
    epochs, margins, mean, m2, right, forgotten, first, _, el2n = seen.T
    got = core.finish_dynamics(seen).view(DYNAMICS)[:, 0]
    assert got.shape == (len(seen),)
    expected = {
        "runs": np.ones(len(seen)),
        "aum": margins / epochs,
        "confidence": mean,
        "variability": np.sqrt(m2 / epochs),
        "correctness": right / epochs,
        "forgetting": forgotten,
        "first_learned": np.where(first == 0, epochs + 1, first),
        "el2n": el2n,
        "grand": np.full(len(seen), np.nan),
        "vog": np.full(len(seen), np.nan),
    }
    assert tuple(expected) == FIELDS
    for field, values in expected.items():
        np.testing.assert_allclose(got[field], values, rtol=1e-15, err_msg=field)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (np.zeros((3, 8)), ShapeError, r"\(n, 9\), got \(n, 8\)"),
        (np.zeros((3, 10)), ShapeError, "got"),
        (np.zeros(9), ShapeError, "2 dimensions"),
        (np.zeros((3, 9), np.float32), DTypeError, "float64"),
        (np.zeros((9, 3)).T, ArgumentError, "contiguous"),
        (np.zeros((3, 9), ">f8"), ArgumentError, "byte order"),
        ([[0.0] * 9], DTypeError, "array"),
    ],
)
def test_finish_checks_its_argument(given, error, words):
    with pytest.raises(error, match=words):
        core.finish_dynamics(given)
    with pytest.raises(TypeError, match="finish_dynamics expected 1 arguments, got 2"):
        core.finish_dynamics(np.zeros((3, 9)), 1)


# --- arguments that make no sense -----------------------------------------------------------------


def read_only():
    seen = np.zeros((5, SIZE))
    seen.flags.writeable = False
    return seen


@pytest.mark.parametrize(
    ("seen", "early", "error", "words"),
    [
        (np.zeros((5, 8)), 1, ShapeError, r"dynamics: expected \(5, 9\)"),
        (np.zeros((4, 9)), 1, ShapeError, r"dynamics: expected \(5, 9\)"),
        (np.zeros(45), 1, ShapeError, "dynamics: expected 2 dimensions"),
        (np.zeros((5, 9), np.float32), 1, DTypeError, "dynamics: expected an array of float64"),
        (read_only(), 1, ArgumentError, "dynamics: .*writeable"),
        (np.zeros((9, 5)).T, 1, ArgumentError, "dynamics: .*contiguous"),
        (np.zeros((5, 9), ">f8"), 1, ArgumentError, "dynamics: .*byte order"),
        ([[0.0] * 9] * 5, 1, DTypeError, "dynamics: expected an array"),
        (np.zeros((5, 9)), "1", TypeError, "int"),
        (np.zeros((5, 9)), 2**63, OverflowError, "int"),
        (np.zeros((5, 9)), 0, ArgumentError, "early.* got 0"),
        (np.zeros((5, 9)), -1, ArgumentError, "early.* got -1"),
    ],
)
def test_tables_that_make_no_sense(seen, early, error, words):
    network, images = make(["flatten"], (4, 4, 1), classes=3), noise(5, (4, 4, 1))
    begin(network, 5, epochs=2)
    before = network.get_params().tobytes()
    with pytest.raises(error, match=words):
        network.train_epoch(recording(images, [0, 1, 2, 0, 1], seen, early), None, None)
    assert network.get_params().tobytes() == before
    assert (
        network.train_epoch(recording(images, [0, 1, 2, 0, 1], None, early=1), None, None)[0] == 1
    )


def test_one_class_has_no_margin():
    """There is no other logit to read."""
    network, images = make(["flatten"], (4, 4, 1), classes=1), noise(5, (4, 4, 1))
    begin(network, 5)
    seen = np.zeros((5, SIZE))
    with pytest.raises(ArgumentError, match="at least 2 classes, got 1"):
        network.train_epoch(recording(images, np.zeros(5), seen), None, None)
    assert (seen == 0).all()
    assert network.train_epoch(recording(images, np.zeros(5), None), None, None)[1] == 0


def test_a_network_that_trains_refuses_other_passes():
    network, images, labels = big_batch()
    begin(network, 6000, batch=6000)
    one = recording(images[:1].copy(), labels[:1], None)
    calls = [
        lambda: network.forward_some(one[0], None, 1, None, 1),
        lambda: network.draws(one[0], None, 0, 2, 1),
        lambda: network.gradient_norms(one, 0, 1),
        lambda: network.pixel_gradients(one, 1),
    ]
    refused = []

    def other():
        for call in calls:
            try:
                call()
            except BusyError as error:
                refused.append(str(error))

    def tick():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        network.train_epoch(recording(images, labels, None), None, tick)
    assert len(refused) == 4
