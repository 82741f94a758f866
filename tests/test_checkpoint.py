"""Stopping and going on: the same bits as without a stop, and files that make no sense."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ambigmnist as am
from ambigmnist import _ambigcore, _checkpoint, _safetensors

LAYERS = [("conv", 3, 3), "relu", "maxpool", ("dropout", 0.3), "flatten", ("dense", 24), "relu"]
EPOCHS = 4

# one_cycle and Adam; the article's, with a best epoch; SGD with a stratified part held out
RUNS = {
    "fast": {},
    "seed": {"preset": "seed", "learning_rate": 1e-3},
    "sgd": {"optimizer": "sgd", "schedule": "constant", "learning_rate": 0.02,
            "validation_split": 0.2, "patience": 1},
}  # fmt: skip


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def data():
    train, _ = am.load_digits()
    return train.images[:300], train.labels[:300]


def make(run="fast", **options):
    settings = {"layers": LAYERS, "epochs": EPOCHS, "seed": 5, **RUNS[run], **options}
    return am.CNN(**settings)


def stop_after(n):
    """A callback that ends the process, as it were, once `n` epochs are in the file."""

    def callback(row):
        if row["epoch"] == n + 1:
            raise StoppedError

    return callback


def assert_same(a, b, images):
    assert a._network.get_params().tobytes() == b._network.get_params().tobytes()
    assert a.predict_proba(images).tobytes() == b.predict_proba(images).tobytes()
    assert list(a.history) == list(b.history)
    for name in set(a.history) - {"seconds"}:
        assert a.history[name].tobytes() == b.history[name].tobytes(), name
    assert len(a.history["seconds"]) == len(b.history["seconds"])


@pytest.fixture(scope="module")
def whole(data):
    return {run: make(run, threads=1).fit(*data) for run in RUNS}


@pytest.mark.parametrize("threads", [(1, 3), (2, 1), (7, 2)])
@pytest.mark.parametrize("stop", range(EPOCHS))
@pytest.mark.parametrize("run", RUNS)
def test_going_on_gives_the_same_bits(data, whole, run, stop, threads, tmp_path):
    path = tmp_path / "run"
    if stop < len(whole[run].history["loss"]):
        with pytest.raises(StoppedError):
            make(run, threads=threads[0]).fit(*data, checkpoint=path, callback=stop_after(stop))
    seen = []
    model = make(run, threads=threads[1])
    model.fit(*data, checkpoint=path, callback=lambda row: seen.append(row["epoch"]))
    assert_same(model, whole[run], data[0])
    assert seen == list(range(stop + 1, len(whole[run].history["loss"]) + 1))
    assert list(tmp_path.iterdir()) == [path]


def test_early_stopping_was_tried(whole):
    assert len(whole["sgd"].history["loss"]) >= 2
    assert len(whole["seed"].history["loss"]) == EPOCHS


def test_a_complete_run_is_there_at_once(data, whole, tmp_path):
    path = tmp_path / "run"
    assert_same(make("sgd").fit(*data, checkpoint=path), whole["sgd"], data[0])
    content = path.read_bytes()
    seen = []
    model = make("sgd").fit(*data, checkpoint=str(path), callback=seen.append)
    assert seen == []
    assert_same(model, whole["sgd"], data[0])
    assert model.classes_.tolist() == list(range(10))
    assert path.read_bytes() == content


def test_a_callback_that_ends_training_completes_it(data, tmp_path):
    path = tmp_path / "run"
    first = make().fit(*data, checkpoint=path, callback=lambda row: row["epoch"] == 2)
    second = make().fit(*data, checkpoint=path)
    assert len(second.history["loss"]) == 2
    assert_same(first, second, data[0])


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import ambigmnist as am
from test_checkpoint import make
train, _ = am.load_digits()
images, labels = train.images[:300], train.labels[:300]
print("started", flush=True)
model = make("seed", epochs=40, threads={threads}).fit(images, labels, checkpoint={path!r})
sys.stdout.write(model._network.get_params().tobytes().hex())
"""


def test_nothing_is_lost_when_the_process_is_killed(data, tmp_path):
    path, rng = tmp_path / "run", np.random.default_rng(0)
    expected = make("seed", epochs=40).fit(*data)
    epochs, output = [0], ""

    def epochs_done():
        """What the file says: it is whole at every moment."""
        return int(_safetensors.load(path)[0]["counts"][0]) if path.exists() else 0

    for attempt in range(5):
        code = KILLED.format(folder=str(Path(__file__).parent), path=str(path),
                             threads=1 + attempt % 3)  # fmt: skip
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            if attempt < 4:
                while epochs_done() < epochs[-1] + 4:
                    time.sleep(0.0005)
                time.sleep(rng.uniform(0, 0.003))
                process.send_signal(signal.SIGKILL)
            output = process.stdout.read()
            assert process.wait(60) == (0 if attempt == 4 else -signal.SIGKILL)
        epochs.append(epochs_done())
        for left in tmp_path.glob(".tmp-*"):  # what was being written
            left.unlink()
    assert epochs[4] < epochs[5] == 40
    assert bytes.fromhex(output) == expected._network.get_params().tobytes()
    assert_same(make("seed", epochs=40).fit(*data, checkpoint=path), expected, data[0])


def test_ctrl_c_in_the_middle_of_an_epoch(data, whole, tmp_path, monkeypatch):
    """The model is that of the last complete step, the file that of the last complete epoch."""
    path = tmp_path / "run"
    epochs = []

    class Network:
        def __init__(self, *args):
            self._network = _ambigcore.Network(*args)

        def __getattr__(self, name):
            return getattr(self._network, name)

        def train_epoch(self, train, held, callback):
            epochs.append(self._network.train_progress()[0])

            def interrupt():
                if len(epochs) == 3 and self._network.train_progress()[0] > epochs[-1]:
                    raise KeyboardInterrupt

            return self._network.train_epoch(train, held, interrupt)

    images, labels = np.tile(data[0], (40, 1, 1)), np.tile(data[1], 40)
    expected = make().fit(images, labels)
    with monkeypatch.context() as patch:
        patch.setattr("ambigmnist.model.build", lambda layers, shape: Network(
            [layer.spec for layer in layers], *shape))  # fmt: skip
        model = make()
        with pytest.raises(KeyboardInterrupt):
            model.fit(images, labels, checkpoint=path)
    assert len(model.history["loss"]) == 2
    model.predict(images[:3])
    assert _safetensors.load(path)[0]["counts"].tolist() == [2, 0, 0]
    assert_same(make().fit(images, labels, checkpoint=path), expected, images[:100])


def changed(array):
    array = array.copy()
    array.flat[7] ^= 1
    return array


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"seed": 6}, {}, "seed: 5 there, 6 here"),
        ({"epochs": 5}, {}, "epochs: 4 there, 5 here"),
        ({"layers": ["flatten"]}, {}, "layers: "),
        ({"batch_size": 32}, {}, "batch_size: 64 there, 32 here"),
        ({"learning_rate": 1e-3}, {}, "learning_rate: 0.003 there, 0.001 here"),
        ({"loss": "sigmoid"}, {}, 'loss: "softmax" there, "sigmoid" here'),
        ({"schedule": "constant"}, {}, 'schedule: "one_cycle" there, "constant" here'),
        ({"optimizer": ("adam", {"beta1": 0.8})}, {}, "momentum: 0.9 there, 0.8 here"),
        ({"optimizer": "sgd"}, {}, 'optimizer: "adam" there, "sgd" here'),
        ({"patience": 3}, {}, "patience: 0 there, 3 here"),
        ({"validation_split": 0.2}, {}, "validation images taken: null there"),
        ({}, {"X": changed}, "training images: "),
        ({}, {"y": lambda y: np.where(np.arange(300) == 3, (y + 1) % 10, y)}, "training labels: "),
        ({}, {"y": lambda y: y + 1}, "classes: "),
        ({}, {"X": lambda X: X[:-1], "y": lambda y: y[:-1]}, "number of images: 300 there, 299"),
        ({}, {"sample_weight": np.ones(300)}, "training sample_weight: "),
    ],
)  # fmt: skip
def test_the_checkpoint_of_another_run(data, settings, arguments, message, tmp_path):
    path = tmp_path / "run"
    with pytest.raises(StoppedError):
        make().fit(*data, checkpoint=path, callback=stop_after(1))
    content = path.read_bytes()
    X, y = data
    model = make(**settings)
    with pytest.raises(am.ArgumentError, match="remove it to train from the beginning") as caught:
        model.fit(
            arguments.get("X", np.asarray)(X),
            arguments.get("y", np.asarray)(y),
            sample_weight=arguments.get("sample_weight"),
            checkpoint=path,
        )
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    assert not hasattr(model, "classes_")  # nothing happened


def test_what_is_the_same_run(data, whole, tmp_path):
    """Threads, memory layout and how settings are written do not matter."""
    path, (X, y) = tmp_path / "run", data
    with pytest.raises(StoppedError):
        make().fit(X, y, checkpoint=path, callback=stop_after(1))
    model = make(threads=2, batch_size=np.int64(64), learning_rate=np.float64(3e-3))
    model.fit(np.asfortranarray(X).astype(np.int32)[..., None], y.tolist(), checkpoint=path)
    assert_same(model, whole["fast"], X)


def test_warm_start(data, tmp_path):
    path = tmp_path / "run"
    expected = make().fit(*data)
    model = make().fit(*data)
    expected.fit(*data, warm_start=True)
    start = model._network.get_params()
    with pytest.raises(StoppedError):
        model.fit(*data, warm_start=True, checkpoint=path, callback=stop_after(2))
    with pytest.raises(am.ArgumentError, match="first weights"):  # those it was stopped with
        model.fit(*data, warm_start=True, checkpoint=path)
    model._network.set_params(start)
    model.fit(*data, warm_start=True, checkpoint=path)
    assert_same(model, expected, data[0])


def test_validation_data(data, tmp_path):
    path, (X, y) = tmp_path / "run", data
    held = X[:50], y[:50]
    expected = make().fit(X, y, validation_data=held)
    with pytest.raises(StoppedError):
        make().fit(X, y, validation_data=held, checkpoint=path, callback=stop_after(2))
    with pytest.raises(am.ArgumentError, match="validation labels"):
        make().fit(X, y, validation_data=(X[:50], y[50:100]), checkpoint=path)
    assert_same(make().fit(X, y, validation_data=held, checkpoint=path), expected, X)


def test_damaged_checkpoints(data, whole, tmp_path):
    path = tmp_path / "run"
    with pytest.raises(StoppedError):
        make().fit(*data, checkpoint=path, callback=stop_after(2))
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    cuts = [sound[:n] for n in (0, 1, 7, 8, 100, len(sound) // 2, len(sound) - 1)]
    flips = []
    for place in rng.integers(8, len(sound), 40):
        flipped = bytearray(sound)
        flipped[place] ^= 1 << rng.integers(8)
        flips.append(bytes(flipped))
    model = make().fit(*data)
    for damaged in [*cuts, *flips, sound + b"x", b"\x89HDF" + sound]:
        path.write_bytes(damaged)
        with pytest.raises((am.DataError, am.ArgumentError), match="train from the beginning"):
            model.fit(*data, checkpoint=path)
        assert path.read_bytes() == damaged
    path.write_bytes(sound)
    assert_same(model.fit(*data, checkpoint=path), whole["fast"], data[0])


@pytest.mark.parametrize("change", ["shape", "missing", "counts", "history", "model"])
def test_files_that_only_look_like_checkpoints(data, change, tmp_path, monkeypatch):
    path = tmp_path / "run"
    model = make().fit(*data, checkpoint=path)
    tensors, texts = _safetensors.load(path)
    match change:
        case "shape":
            tensors["m"] = tensors["m"][:-1]
        case "missing":
            del tensors["v"]
        case "counts":
            tensors["counts"][0] = 99
        case "history":
            del tensors["history.loss"]
    if change == "model":
        model.save(path)
    else:
        texts["ambigmnist"] = texts["ambigmnist"].replace(
            _checkpoint.digest_of(_safetensors.load(path)[0]), _checkpoint.digest_of(tensors)
        )
        _safetensors.save(path, tensors, texts)
    with pytest.raises(am.DataError, match="not a sound checkpoint"):
        model.fit(*data, checkpoint=path)


def test_a_checkpoint_is_not_a_model(data, tmp_path):
    make().fit(*data, checkpoint=tmp_path / "run")
    with pytest.raises(am.DataError, match=r"expected ambigmnist\.cnn, got ambigmnist\.checkpoint"):
        am.CNN.load(tmp_path / "run")


def test_places_that_cannot_be_written_fail_before_training(data, tmp_path):
    seen = []
    for path in (tmp_path, tmp_path / "none" / "run"):
        with pytest.raises(am.FileError):
            make().fit(*data, checkpoint=path, callback=seen.append)
    with pytest.raises(am.DTypeError, match="checkpoint"):
        make().fit(*data, checkpoint=7)
    assert seen == []


def test_a_full_disk_leaves_a_usable_model(data, whole, tmp_path, monkeypatch):
    path, calls = tmp_path / "run", []
    replace = Path.replace

    def full(self, target):
        calls.append(target)
        if len(calls) == 3:
            raise OSError(28, os.strerror(28))
        return replace(self, target)

    model = make()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(am.FileError, match="cannot be written"):
            model.fit(*data, checkpoint=path)
    assert len(model.history["loss"]) == 2
    model.predict(data[0])
    assert list(tmp_path.iterdir()) == [path]
    assert_same(make().fit(*data, checkpoint=path), whole["fast"], data[0])


@pytest.fixture
def restore_kernels():
    name, strict = _ambigcore.isa_name(), _ambigcore.get_strict()
    yield
    _ambigcore.select_isa(name)
    _ambigcore.set_strict(strict)


@pytest.mark.parametrize("strict", [False, True])
def test_going_on_with_another_instruction_set(data, strict, restore_kernels, tmp_path):
    _ambigcore.set_strict(strict)
    expected = make().fit(*data)
    before = _ambigcore.isa_name()
    for isa in _ambigcore.isa_available():
        path = tmp_path / isa
        _ambigcore.select_isa(before)
        with pytest.raises(StoppedError):
            make().fit(*data, checkpoint=path, callback=stop_after(2))
        _ambigcore.select_isa(isa)
        if strict or (isa == "baseline") == (before == "baseline"):
            assert_same(make().fit(*data, checkpoint=path), expected, data[0])
        else:
            with pytest.raises(am.ArgumentError, match=r"arithmetic: .*fused"):
                make().fit(*data, checkpoint=path)


def test_the_bar_goes_on_where_it_stopped(data, tmp_path, capfd):
    path = tmp_path / "run"
    with pytest.raises(StoppedError):
        make().fit(*data, checkpoint=path, callback=stop_after(2))
    make().fit(*data, checkpoint=path, verbose=1)
    shown = capfd.readouterr().err
    assert "20/20" in shown
    assert "10/20" in shown
