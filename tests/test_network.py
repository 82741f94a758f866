"""The core's networks: gradients, optimizers, determinism, stopping.

The article's network is held against another framework's gradients and loss curves
(tests/tools/make_reference.py); other networks against the same layers called one by one.
"""

import hashlib
import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import relative_error

from ambigmnist import _ambigcore, layers
from ambigmnist._network import ARTICLE_LAYERS, LOSSES, build, optimizer_settings, parse_layers
from ambigmnist.errors import ArgumentError, BusyError, DTypeError, ShapeError

ARTICLE = [layer for layer in ARTICLE_LAYERS if layer != ("dropout", 0.5)]


def make(layer_list, shape=(28, 28, 1), classes=10, seed=0):
    network = build(parse_layers(layer_list, classes), shape)
    network.init(seed)
    return network


def begin(network, n, *, loss="softmax", optimizer="sgd", rate=0.1, batch=None, **options):
    config = {"epochs": 1, "patience": 0, "seed": 0, "threads": 2} | options
    network.train_begin(
        LOSSES.index(loss), *optimizer_settings(optimizer), 0, rate, batch or n,
        config["epochs"], config["patience"], config["seed"], n, config["threads"],
    )  # fmt: skip


def examples(images, labels, weights=None):
    labels = np.asarray(labels)
    soft = labels.astype(np.float32) if labels.ndim == 2 else None
    hard = labels.astype(np.int32) if labels.ndim == 1 else None
    return images, hard, soft, weights, np.arange(len(images))


def gradients(network, images, labels, loss="softmax", weights=None, threads=2):
    """The gradient of all parameters: what one step of plain descent takes away, over its rate."""
    rate = 2.0**12  # so large that the old weights' rounding does not matter
    before = network.get_params().astype(np.float64)
    begin(network, len(images), loss=loss, optimizer=("sgd", {"momentum": 0.0}), rate=rate,
          threads=threads)  # fmt: skip
    report = network.train_epoch(examples(images, labels, weights), None, None)
    after = network.get_params().astype(np.float64)
    network.train_end(False)
    network.set_params(before.astype(np.float32))
    return report[1], (before - after) / rate


def article_network():
    network = make(ARTICLE)
    network.set_params(np.concatenate([w.ravel() for w in reference.weights().values()]))
    return network


# --- another framework's numbers ------------------------------------------------------------------


def test_article_logits():
    images, _ = reference.batches()
    network = article_network()
    got = network.forward(images[0], len(network.layers()), 2)
    assert relative_error(got, reference.load_reference()["logits"]) <= 1e-5


@pytest.mark.parametrize("loss", LOSSES)
def test_article_gradients(loss):
    stored = reference.load_reference()
    images, labels = reference.batches()
    value, gradient = gradients(article_network(), images[0], labels[0], loss)
    assert value == pytest.approx(float(stored[f"{loss}_loss"]), rel=1e-5)
    start = 0
    for name, shape in reference.ARTICLE_SHAPES.items():
        size = int(np.prod(shape))
        got = gradient[start : start + size].reshape(shape)
        assert relative_error(got, stored[f"{loss}/{name}"]) <= 1e-4, name
        start += size


@pytest.mark.parametrize(
    ("name", "loss", "optimizer", "rate"),
    [
        ("rmsprop_sigmoid", "sigmoid", "rmsprop", 1e-4),
        ("adam_softmax", "softmax", "adam", 1e-3),
        ("nesterov_softmax", "softmax", "sgd", None),
    ],
)
def test_ten_steps(name, loss, optimizer, rate):
    stored = reference.load_reference()
    images, labels = reference.batches()
    rate = rate or float(stored.get("nesterov_rate", 0.01))
    network = article_network()
    begin(network, 32, loss=loss, optimizer=optimizer, rate=rate, epochs=10)
    curve = [network.train_epoch(examples(images[i], labels[i]), None, None)[1] for i in range(10)]
    assert relative_error(np.array(curve), stored[name]) <= 1e-5


# --- networks put together from single layers -----------------------------------------------------


def by_hand(network_layers, params, images, labels, loss, weights=None):
    """Loss and gradients through ambigmnist.layers, one call per layer."""
    x = images.astype(np.float32) / np.float32(255)
    tape, start, parts = [], 0, {}
    for i, layer in enumerate(network_layers):
        if layer.kind in ("conv", "dense"):
            inputs = x.shape[-1]
            shape = (layer.size, layer.size, inputs, layer.units)
            shape = shape if layer.kind == "conv" else (inputs, layer.units)
            size = int(np.prod(shape))
            w = params[start : start + size].reshape(shape)
            b = params[start + size : start + size + layer.units]
            start += size + layer.units
        padding = "same" if layer.same else "valid"
        if layer.kind == "conv":
            y = layers.conv2d_forward(x, w, b, padding=padding)
            tape.append(lambda dy, x=x, w=w, p=padding: layers.conv2d_backward(dy, x, w, padding=p))
        elif layer.kind == "dense":
            y = layers.dense_forward(x, w, b)
            tape.append(lambda dy, x=x, w=w: layers.dense_backward(dy, x, w))
        elif layer.kind == "maxpool":
            y, argmax = layers.maxpool2d_forward(x)
            tape.append(lambda dy, a=argmax, s=x.shape: (layers.maxpool2d_backward(dy, a, s),))
        elif layer.kind == "relu":
            y = layers.relu_forward(x)
            tape.append(lambda dy, x=x: (layers.relu_backward(dy, x),))
        else:
            y = x.reshape(len(x), -1)
            tape.append(lambda dy, s=x.shape: (dy.reshape(s),))
        x = y
        parts[i] = []
    forward = getattr(layers, f"{loss}_cross_entropy_forward")
    backward = getattr(layers, f"{loss}_cross_entropy_backward")
    value, p = forward(x, labels, weights)
    dy = backward(p, labels, weights)
    for i in reversed(range(len(tape))):
        dy, *rest = tape[i](dy)
        parts[i] = [g.ravel() for g in rest]
    return value, np.concatenate([g for i in range(len(tape)) for g in parts[i]])


CONV = st.tuples(
    st.just("conv"),
    st.integers(1, 19),
    st.sampled_from([1, 3, 5]),
    st.sampled_from(["same", "valid"]),
)
BLOCK = st.sampled_from([16, 32, 48]).map(lambda f: [("conv", f, 3), "relu", "maxpool"])
LAYER = st.one_of(CONV, st.just("relu"), st.just("maxpool")).map(lambda layer: [layer])
SPATIAL = st.lists(st.one_of(BLOCK, LAYER), max_size=4).map(
    lambda parts: [*itertools.chain(*parts)]
)
UNITS = st.one_of(st.integers(1, 50), st.sampled_from([16, 32, 64]))  # kernels of their own
FLAT = st.lists(st.one_of(st.tuples(st.just("dense"), UNITS), st.just("relu")), max_size=3)


@settings(max_examples=100)
@given(
    spatial=SPATIAL,
    flat=FLAT,
    shape=st.tuples(st.integers(1, 17), st.integers(1, 14), st.integers(1, 5)),
    n=st.integers(1, 40),
    classes=st.integers(2, 18),
    loss=st.sampled_from(LOSSES),
    soft=st.booleans(),
    weighted=st.booleans(),
)
def test_any_network_is_its_layers(spatial, flat, shape, n, classes, loss, soft, weighted):
    parsed = parse_layers([*spatial, "flatten", *flat], classes)
    try:
        network = build(parsed, shape)
    except ShapeError:
        return  # the image is too small for these layers
    network.init(n)
    rng = np.random.default_rng(n)
    params = network.get_params() + rng.uniform(-0.1, 0.1, network.get_params().shape)
    params = params.astype(np.float32)
    network.set_params(params)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    labels = rng.integers(0, classes, n)
    if soft:
        labels = rng.dirichlet(np.ones(classes), n).astype(np.float32)
    weights = rng.uniform(0, 2, n).astype(np.float32) if weighted else None
    value, expected = by_hand(parsed, params, images, labels, loss, weights)
    got_value, got = gradients(network, images, labels, loss, weights)
    assert got_value == pytest.approx(value, rel=1e-5, abs=1e-7)
    scale = max(np.abs(expected).max(), 1e-6)
    assert np.abs(got - expected).max() / scale <= 1e-4


def test_dropout_scales_and_repeats():
    # One dense layer of ones behind dropout: the logit is the sum of what was kept, times 2.
    parsed = parse_layers(["flatten", ("dropout", 0.5)], 2)
    network = build(parsed, (20, 20, 1))
    ones = np.zeros(network.get_params().shape, np.float32)
    ones[: 400 * 2 : 2] = 1
    network.set_params(ones)
    images = np.ones((64, 20, 20, 1), np.float32)
    losses = []
    for seed in (0, 0, 1):
        network.set_params(ones)
        begin(network, 64, rate=1e-20, seed=seed)
        # With label 1 the loss is close to the logit of class 0 itself: about 400 on average.
        losses.append(network.train_epoch(examples(images, np.ones(64)), None, None)[1])
        network.train_end(False)
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] == pytest.approx(400, rel=0.02)
    assert network.forward(images[:1], 3, 1)[0, 0] == 400  # prediction drops nothing


# --- the same bits --------------------------------------------------------------------------------

MIXED = [("conv", 5, 3, "same"), "relu", "maxpool", ("dropout", 0.3), ("conv", 17, 3), "relu",
         "flatten", ("dropout", 0.5), ("dense", 33), "relu"]  # fmt: skip
FUSED = [("conv", 16, 3), "relu", "maxpool", ("conv", 48, 3), "relu", "maxpool",
         "flatten", ("dropout", 0.3), ("dense", 32), "relu"]  # fmt: skip
BOTH = pytest.mark.parametrize("layer_list", [MIXED, FUSED], ids=["mixed", "fused"])


def trained(threads, layer_list, *, n=300, batch=100):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 14, 13, 1), dtype=np.uint8)
    labels = rng.integers(0, 10, n)
    network = make(layer_list, (14, 13, 1))
    begin(network, n, optimizer="adam", rate=1e-3, batch=batch, epochs=2, threads=threads)
    train, held = examples(images, labels), examples(images[:77], labels[:77])
    reports = [network.train_epoch(train, held, None) for _ in range(2)]
    network.train_end(True)
    return network, images, reports


@BOTH
def test_any_number_of_threads_gives_the_same_bits(layer_list):
    one, images, reports = trained(1, layer_list)
    for threads in (2, 3, 7):
        other, _, other_reports = trained(threads, layer_list)
        assert other.get_params().tobytes() == one.get_params().tobytes()
        assert other_reports == reports
        assert other.forward(images, 11, threads).tobytes() == one.forward(images, 11, 1).tobytes()


@BOTH
def test_any_split_of_the_images_gives_the_same_bits(layer_list):
    network, images, _ = trained(2, layer_list)
    whole = network.forward(images, 11, 2)
    for size in (1, 3, 16, 17, 100):
        parts = [network.forward(images[i : i + size].copy(), 11, 2) for i in range(0, 300, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.fixture
def restore_kernels():
    name, strict = _ambigcore.isa_name(), _ambigcore.get_strict()
    yield
    _ambigcore.select_isa(name)
    _ambigcore.set_strict(strict)


@BOTH
@pytest.mark.parametrize("strict", [True, False])
def test_instruction_sets_give_the_same_bits(restore_kernels, layer_list, strict):
    _ambigcore.set_strict(strict)
    bits = set()
    for isa in _ambigcore.isa_available():
        if strict or isa != "baseline":  # which has no fused multiply-add
            _ambigcore.select_isa(isa)
            network, images, _ = trained(2, layer_list)
            bits.add(network.get_params().tobytes() + network.forward(images, 11, 2).tobytes())
    assert len(bits) <= 1


@BOTH
def test_instruction_sets_agree(restore_kernels, layer_list):
    network, images, _ = trained(2, layer_list)
    outputs = []
    for isa in _ambigcore.isa_available():
        for strict in (False, True):
            _ambigcore.select_isa(isa)
            _ambigcore.set_strict(strict)
            outputs.append(_ambigcore.softmax(network.forward(images, 11, 2), 2))
    for other in outputs[1:]:
        assert np.abs(other - outputs[0]).max() <= 1e-6


def test_early_stopping_keeps_the_best_weights():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (60, 6, 6, 1), dtype=np.uint8)
    labels = rng.integers(0, 3, 60)  # nothing to learn: validation soon gets worse
    held = examples(images[:20].copy(), rng.integers(0, 3, 20))
    network = make(["flatten", ("dense", 64), "relu"], (6, 6, 1), 3)
    begin(network, 60, optimizer="adam", rate=0.01, epochs=100, patience=4)
    val, params = [], []
    for _ in range(100):
        *_, val_loss, _, _, improved, stop = network.train_epoch(
            examples(images, labels), held, None
        )
        val.append(val_loss)
        params.append(network.get_params())
        assert bool(improved) == (val_loss == min(val) and val.count(val_loss) == 1)
        if stop:
            break
    best = int(np.argmin(val))
    assert len(val) == best + 1 + 4
    assert network.train_end(True)
    assert np.array_equal(network.get_params(), params[best])


# --- stopping, sharing ----------------------------------------------------------------------------


def big_batch():
    """One step that takes seconds: a large batch of a wide network."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6000, 28, 28, 1), dtype=np.uint8)
    return (
        make([("conv", 64, 3), "relu", ("conv", 64, 3), "relu"]),
        images,
        rng.integers(0, 10, 6000),
    )


def test_a_callback_stops_within_a_batch():
    network, images, labels = big_batch()
    before = network.get_params()
    delays = []
    for _ in range(5):
        begin(network, 6000, batch=6000)
        asked = []

        def stop(asked=asked):
            asked.append(time.perf_counter())
            raise RuntimeError("stop here")

        with pytest.raises(RuntimeError, match="stop here"):
            network.train_epoch(examples(images, labels), None, stop)
        delays.append(time.perf_counter() - asked[0])
        assert len(asked) == 1
        # The step never finished, so nothing changed.
        assert np.array_equal(network.get_params(), before)
    assert min(delays) < 0.1  # the best of five: the machine may be busy with something else


def test_ctrl_c_stops_training_and_prediction():
    code = """
import os, signal, threading, time
import numpy as np
import sys
sys.path.insert(0, {path!r})
from test_network import begin, big_batch, examples
network, images, labels = big_batch()
for task in ("train", "predict"):
    begin(network, 6000, batch=6000)
    sent = []
    def interrupt():
        time.sleep(0.4)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        if task == "train":
            network.train_epoch(examples(images, labels), None, None)
        else:
            for _ in range(100):
                network.forward(images, len(network.layers()), 2)
        print("not interrupted")
    except KeyboardInterrupt:
        print(f"{{time.perf_counter() - sent[0]:.3f}}")
network.forward(images[:3].copy(), 1, 1)
"""

    out = subprocess.run(
        [sys.executable, "-c", code.format(path=str(Path(__file__).parent))],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    delays = [float(line) for line in out.stdout.split()]
    assert len(delays) == 2
    assert max(delays) < 0.5


def test_a_network_that_trains_refuses_other_calls():
    network, images, labels = big_batch()
    begin(network, 6000, batch=6000)
    errors = []

    def other():
        for call in (network.get_params, lambda: network.forward(images[:1].copy(), 1, 1)):
            try:
                call()
            except BusyError as error:
                errors.append(str(error))

    def tick():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        network.train_epoch(examples(images, labels), None, tick)
    assert len(errors) == 2
    assert "in use" in errors[0]


def test_prediction_in_many_threads():
    network, images, _ = trained(2, FUSED)
    expected = network.forward(images, 11, 2).tobytes()
    results = []

    def predict():
        results.extend(network.forward(images, 11, 2).tobytes() for _ in range(5))

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 20


def test_no_memory_is_left_behind():
    blocks, size, _ = _ambigcore.alloc_stats()
    network, images, labels = big_batch()
    begin(network, 6000, batch=600)

    def stop():
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        network.train_epoch(examples(images, labels), None, stop)
    del network
    assert _ambigcore.alloc_stats()[:2] == (blocks, size)


def test_every_failing_allocation_is_an_error():
    """The n-th allocation fails, for every n, in creation, a training step and prediction."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 14, 13, 1), dtype=np.uint8)
    labels = rng.integers(0, 10, 40)

    def run():
        network = make(MIXED, (14, 13, 1))
        begin(network, 40, batch=20)
        network.train_epoch(examples(images, labels), examples(images, labels), None)
        network.train_end(True)
        return network.forward(images, 11, 2)

    expected = run()
    live = _ambigcore.alloc_stats()[:2]
    for persistent in (False, True):
        for n in range(1, 100):
            message = ""
            _ambigcore.fail_alloc_at(n, persistent)
            try:
                got = run()
            except MemoryError as error:
                message = str(error)
            finally:
                _ambigcore.fail_alloc_at(0, False)
            if not message:
                break
            assert "could not allocate" in message
            assert _ambigcore.alloc_stats()[:2] == live
        assert 5 < n < 99
        assert np.array_equal(got, expected)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer_list", "message"),
    [
        ([("conv", 4, 9)], "window does not fit"),
        ([("conv", 4, 2)], "odd"),
        (["maxpool", "maxpool", "maxpool", "maxpool"], "2 x 2 pixels"),
        (["flatten", ("conv", 3, 3)], "needs an image"),
        ([("dense", 3), "relu"], 'put "flatten" before'),
        (["flatten", ("dropout", 1.0)], "rate"),
        (["relu"] * 100, "1 to 64 layers"),
        ([("conv", 2**40, 3)], "2\\^31"),
    ],
)
def test_layers_that_do_not_fit(layer_list, message):
    with pytest.raises((ShapeError, ArgumentError), match=message):
        build(parse_layers(layer_list, 10), (8, 8, 1))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"batch": -1}, "batch_size"),
        ({"epochs": -1}, "epochs"),
        ({"rate": -1.0}, "learning_rate"),
        ({"rate": float("nan")}, "learning_rate"),
        ({"optimizer": ("sgd", {"momentum": 1.5})}, "momentum"),
    ],
)
def test_settings_that_make_no_sense(config, message):
    with pytest.raises(ArgumentError, match=message):
        begin(make(["flatten"], (4, 4, 1)), 8, **config)


def test_examples_that_make_no_sense():
    network = make(["flatten"], (4, 4, 1), 3)
    images = np.zeros((5, 4, 4, 1), np.uint8)
    begin(network, 5)
    for labels in ([0, 1, 2, 3, 0], [0, -1, 0, 0, 0]):
        with pytest.raises(ArgumentError, match="labels"):
            network.train_epoch(examples(images, labels), None, None)
    with pytest.raises(ShapeError, match="images of 4 x 4 x 1"):
        network.train_epoch(examples(np.zeros((5, 4, 5, 1), np.uint8), np.zeros(5)), None, None)
    with pytest.raises(ShapeError, match="one label"):
        network.train_epoch((images, np.zeros(4, np.int32), None, None, np.arange(5)), None, None)
    with pytest.raises(ArgumentError, match="index"):
        network.train_epoch(
            (images, np.zeros(5, np.int32), None, None, np.arange(5) + 1), None, None
        )
    with pytest.raises(ArgumentError, match="5 training examples"):
        network.train_epoch(examples(images[:4].copy(), np.zeros(4)), None, None)


def test_stratified_split():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 1000, p=[0.7, 0.2, 0.098, 0.002]).astype(np.int32)
    labels[:1] = 3
    train, held, n_train, n_held = _ambigcore.stratified_split(labels, 4, 0.2, 5)
    train, held = train[:n_train], held[:n_held]
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(1000))
    for c in range(4):
        size = int((labels == c).sum())
        assert int((labels[held] == c).sum()) == min(int(0.2 * size + 0.5), size - 1)
    again = _ambigcore.stratified_split(labels, 4, 0.2, 5)[1][:n_held]
    other = _ambigcore.stratified_split(labels, 4, 0.2, 6)[1][:n_held]
    assert np.array_equal(held, again)
    assert not np.array_equal(held, other)


# loss, optimizer, momentum, decay, epsilon, schedule, rate, batch, epochs, patience, seed, images,
# threads
SETTINGS = (0, 2, 0.9, 0.999, 1e-8, 0, 1e-3, 8, 5, 0, 1, 30, 1)


@pytest.mark.parametrize(
    ("place", "value", "error"),
    [
        (0, 2, ArgumentError),
        (0, -1, ArgumentError),
        (1, 3, ArgumentError),
        (5, 2, ArgumentError),
        (5, -7, ArgumentError),
        (10, -1, OverflowError),
        (10, 2**64, OverflowError),
        (10, 1.5, TypeError),
    ],
)
def test_settings_that_the_core_does_not_know(place, value, error):
    network = make(["flatten"], (4, 4, 1))
    with pytest.raises(error):
        network.train_begin(*SETTINGS[:place], value, *SETTINGS[place + 1 :])
    assert network.train_progress() == (0, 0)
    network.train_begin(*SETTINGS[:10], 2**64 - 1, *SETTINGS[11:])
    with pytest.raises(OverflowError):
        network.init(-1)


@pytest.mark.parametrize("examples", [None, [1, 2, 3, 4, 5], 7])
def test_examples_that_are_no_tuple(examples):
    network = make(["flatten"], (4, 4, 1), 3)
    begin(network, 5)
    with pytest.raises(TypeError, match="examples: expected a tuple"):
        network.train_epoch(examples, None, None)
    with pytest.raises(TypeError, match="state: expected a tuple"):
        network.train_import(examples)


def test_states_that_make_no_sense():
    network = make(["flatten"], (4, 4, 1), 3)
    with pytest.raises(ArgumentError, match="train_begin comes before train_export"):
        network.train_export()
    network.train_begin(*SETTINGS)
    state = network.train_export()
    assert [type(part) for part in state] == [int, int, float, float, float, *[np.ndarray] * 3,
                                              type(None)]  # fmt: skip
    network.train_import(state)
    short = np.zeros(3, np.float32)
    for place in (5, 6, 7, 8):
        with pytest.raises(ShapeError, match="expected 51 numbers, got 3"):
            network.train_import((*state[:place], short, *state[place + 1 :]))
    for place, value in ((0, 6), (0, -1), (3, float("nan")), (7, None), (8, state[5])):
        with pytest.raises(ArgumentError):
            network.train_import((*state[:place], value, *state[place + 1 :]))
    with pytest.raises(DTypeError):
        network.train_import((*state[:5], None, *state[6:]))
    network.train_end(False)
    with pytest.raises(ArgumentError, match="train_begin comes before train_import"):
        network.train_import(state)


def test_progress_may_be_asked_at_any_time():
    """Also while other threads begin and end training; the thread sanitizer watches this one."""
    network = make(["flatten", ("dense", 64)], (20, 20, 1))
    stop = threading.Event()
    seen = set()

    def ask():
        while not stop.is_set():
            seen.add(network.train_progress())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(10_000):
        network.train_begin(*SETTINGS)
        network.train_end(False)
        if i >= 300 and len(seen) == 2:
            break
    stop.set()
    for thread in threads:
        thread.join()
    assert seen <= {(0, 0), (0, 20)}
    assert len(seen) == 2


FORKED = """
import os, sys, threading, time
sys.path.insert(0, {path!r})
import numpy as np
import ambigmnist as am
from test_network import begin, big_batch, examples
network, images, labels = big_batch()
begin(network, 6000, batch=6000)
inside, go_on = threading.Event(), threading.Event()

def tick():
    inside.set()
    go_on.wait(30)
    raise RuntimeError

def train():
    try:
        network.train_epoch(examples(images, labels), None, tick)
    except RuntimeError:
        pass

model = am.CNN(layers=["flatten"], epochs=2)
digits = am.load_digits()[0]
fitting = threading.Event()

def fit():
    def callback(row):
        fitting.set()
        go_on.wait(30)
    model.fit(*digits, callback=callback)

threads = [threading.Thread(target=train), threading.Thread(target=fit)]
for thread in threads:
    thread.start()
inside.wait(30)
fitting.wait(30)
for _ in range(2):  # before the fork: in use
    try:
        network.get_params()
        print("not in use")
    except am.BusyError:
        pass
child = os.fork()
if child == 0:
    status = 1
    try:
        network.get_params()
        network.init(1)
        network.forward(images[:3].copy(), 1, 2)
        model.fit(*digits)
        status = 0
    finally:
        os._exit(status)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for call in (network.get_params, lambda: model.fit(*digits)):
    try:
        call()
        print("not in use")
    except am.BusyError:
        pass
go_on.set()
for thread in threads:
    thread.join()
network.get_params()
"""


def test_a_child_does_not_wait_for_threads_that_it_does_not_have():
    out = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c",
         FORKED.format(path=str(Path(__file__).parent))],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert out.stdout.split("\n")[:-1] == ["0"], out.stdout + out.stderr


def test_a_callback_that_forks_still_has_its_network():
    code = """
import os, sys
sys.path.insert(0, {path!r})
import ambigmnist as am
from test_network import begin, big_batch, examples
network, images, labels = big_batch()
begin(network, 6000, batch=6000, threads=1)
parent = os.getpid()

def tick():
    if os.getpid() == parent:
        child = os.fork()
        if child:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            raise RuntimeError
    try:
        network.train_end(False)
    except am.BusyError:
        os._exit(7)
    os._exit(8)

try:
    network.train_epoch(examples(images, labels), None, tick)
except RuntimeError:
    network.train_end(False)
"""
    out = subprocess.run(
        [sys.executable, "-c", code.format(path=str(Path(__file__).parent))],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert out.stdout == "7\n"


def test_counting_sort_splits_as_before():
    """The split that every seed has always given, and many classes in no time."""
    labels = (np.arange(1000) * 7 % 13 % 5).astype(np.int32)
    _, held, _, n_held = _ambigcore.stratified_split(labels, 5, 0.2, 5)
    assert hashlib.sha256(held[:n_held].tobytes()).hexdigest() == (
        "d0d685be255514864b9a48d087d1b246fda8467c598a4b510226de1b887da8a0"
    )
    many = np.arange(200_000, dtype=np.int32)
    start = time.perf_counter()
    _, _, n_train, n_held = _ambigcore.stratified_split(many, 200_000, 0.2, 5)
    assert (n_train, n_held) == (200_000, 0)
    assert time.perf_counter() - start < 5
