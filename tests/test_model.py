"""CNN: what a user does with it, and what happens when the arguments make no sense."""

import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ambigmnist as am
from ambigmnist import _ambigcore, _safetensors

SMALL = ["flatten", ("dense", 24), "relu"]


@pytest.fixture(scope="module")
def digits():
    return am.load_digits()


@pytest.fixture(scope="module")
def fitted(digits):
    train, _ = digits
    return am.CNN(layers=SMALL, epochs=4, validation_split=0.2, patience=2).fit(*train)


def assert_same_network(a, b, images):
    assert a.logits(images).tobytes() == b.logits(images).tobytes()


# --- fit and predict ------------------------------------------------------------------------------


def test_the_constructor_does_no_work():
    model = am.CNN(preset="nonsense", layers=7, seed="x")
    assert (model.preset, model.layers, model.seed) == ("nonsense", 7, "x")


def test_shapes_and_types(digits, fitted):
    _, test = digits
    logits, probs = fitted.logits(test.images), fitted.predict_proba(test.images)
    assert logits.shape == probs.shape == (len(test), 10)
    assert logits.dtype == probs.dtype == np.float32
    z = logits.astype(np.float64)
    expected = np.exp(z - z.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(probs - expected).max() < 1e-7
    assert probs.tobytes() == _ambigcore.softmax(logits, 3).tobytes()  # in one call, or in two
    assert np.array_equal(fitted.predict(test.images), logits.argmax(axis=1))
    assert fitted.score(*test) == np.mean(fitted.predict(test.images) == test.labels)
    assert fitted.embed(test.images).shape == (len(test), 24)
    assert (fitted.embed(test.images) >= 0).all()
    assert fitted.feature_maps(test.images[:2], 0).shape == (2, 784)
    assert fitted.predict(test.images[:0]).shape == (0,)
    assert fitted.predict_proba(test.images[:0]).shape == (0, 10)


def test_feature_maps_of_a_conv(digits):
    train, _ = digits
    model = am.CNN(layers=[("conv", 3, 3), "relu", "maxpool"], epochs=1).fit(*train)
    maps = model.feature_maps(train.images[:5], 0)
    assert maps.shape == (5, 26, 26, 3)
    assert model.feature_maps(train.images[:5], 2).shape == (5, 13, 13, 3)
    assert maps.min() < 0 <= model.feature_maps(train.images[:5], 1).min()
    with pytest.raises(am.ArgumentError, match="0 to 4"):
        model.feature_maps(train.images[:5], 5)


def test_fit_starts_afresh_and_warm_start_goes_on(digits):
    train, test = digits
    model = am.CNN(layers=SMALL, epochs=2, seed=3)
    first = model.fit(*train).logits(test.images)
    assert np.array_equal(model.fit(*train).logits(test.images), first)
    other = am.CNN(layers=SMALL, epochs=2, seed=4).fit(*train)
    assert not np.array_equal(other.logits(test.images), first)
    before = model.history["loss"][-1]
    model.fit(*train, warm_start=True)
    assert model.history["loss"][0] < before
    with pytest.raises(am.ArgumentError, match="no weights"):
        am.CNN(layers=SMALL).fit(*train, warm_start=True)
    with pytest.raises(am.ArgumentError, match="same layers"):
        model.fit(train.images[:, :20], train.labels, warm_start=True)


def test_history_and_early_stopping(digits, fitted):
    history = fitted.history
    assert set(history) == {
        "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"
    }  # fmt: skip
    assert len({len(values) for values in history.values()}) == 1
    assert np.isfinite(history["val_loss"]).all()
    train, test = digits
    plain = am.CNN(layers=SMALL, epochs=2).fit(*train)
    assert np.isnan(plain.history["val_loss"]).all()
    held = am.CNN(layers=SMALL, epochs=50, learning_rate=0.02, schedule="constant", patience=2)
    held.fit(*train, validation_data=tuple(test))
    val = held.history["val_loss"]
    assert len(val) == np.argmin(val) + 3 < 50
    ev = held.evidence(*test)
    assert ev.log_loss == pytest.approx(val.min(), rel=1e-6)  # the best weights came back


def test_the_presets_are_the_recipes():
    seed, fast = am.CNN("seed")._recipe(), am.CNN()._recipe()
    assert am.CNN("seed").summary().parameters == am.CNN("fast").summary().parameters == 431_242
    assert ("dropout", 0.5) in seed.layers
    assert ("dropout", 0.5) not in fast.layers
    assert (seed.loss, seed.optimizer, seed.learning_rate) == ("sigmoid", "rmsprop", 1e-4)
    assert (seed.batch_size, seed.epochs, seed.patience) == (256, 100, 5)
    assert (seed.schedule, seed.validation_split, seed.split_last) == ("constant", 0.2, True)
    assert (fast.learning_rate, fast.schedule) == (3e-3, "one_cycle")
    assert (fast.validation_split, fast.patience, fast.split_last) == (0.0, 0, False)
    assert (fast.loss, fast.optimizer, fast.batch_size) == ("softmax", "adam", 64)
    assert am.CNN._count_epochs(fast, 60_000) == 3
    assert am.CNN._count_epochs(fast, 898) == 67  # 1,000 steps
    assert am.CNN._count_epochs(fast, 1) == 1000


def test_one_cycle(digits):
    train, _ = digits
    model = am.CNN(layers=SMALL, epochs=8).fit(*train)
    rate = model.history["learning_rate"]
    assert rate[-1] == pytest.approx(3e-6)
    assert rate.max() == pytest.approx(3e-3, rel=0.01)
    assert np.argmax(rate) in (1, 2)


def test_string_labels_and_gaps(digits):
    train, test = digits
    names = np.array(["zero", "one", "two"])
    few = train.labels < 3
    model = am.CNN(layers=SMALL, epochs=20).fit(train.images[few], names[train.labels[few]])
    assert model.classes_.tolist() == ["one", "two", "zero"]
    chosen = test.labels < 3
    assert model.score(test.images[chosen], names[test.labels[chosen]]) > 0.95
    gaps = am.CNN(layers=SMALL, epochs=20).fit(train.images[few], train.labels[few] * 10 - 5)
    assert gaps.classes_.tolist() == [-5, 5, 15]
    assert set(gaps.predict(test.images)) <= {-5, 5, 15}


def test_soft_labels_and_weights(digits):
    train, test = digits
    onehot = np.eye(10)[train.labels]
    hard = am.CNN(layers=SMALL, epochs=2).fit(*train)
    soft = am.CNN(layers=SMALL, epochs=2).fit(train.images, onehot)
    assert_same_network(hard, soft, test.images)
    ones = am.CNN(layers=SMALL, epochs=2).fit(*train, sample_weight=np.ones(len(train)))
    assert_same_network(hard, ones, test.images)
    # Images of weight 0 with wrong labels do no harm.
    wrong = np.concatenate([train.labels, (train.labels + 1) % 10])
    weight = np.repeat([1.0, 0.0], len(train))
    both = np.concatenate([train.images, train.images])
    model = am.CNN(layers=SMALL, epochs=10).fit(both, wrong, sample_weight=weight)
    assert model.score(*test) > 0.85


def test_callback_sees_every_epoch_and_may_stop(digits):
    train, _ = digits
    seen = []

    def callback(info):
        seen.append(info)
        return info["epoch"] == 2

    model = am.CNN(layers=SMALL, epochs=5).fit(*train, callback=callback)
    assert [info["epoch"] for info in seen] == [1, 2]
    assert len(model.history["loss"]) == 2


def test_interrupted_training_leaves_a_usable_model(digits):
    train, test = digits

    def interrupt(info):
        if info["epoch"] == 3:
            raise KeyboardInterrupt

    model = am.CNN(layers=SMALL, epochs=50)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*train, callback=interrupt)
    assert len(model.history["loss"]) == 3
    assert model.score(*test) > 0.3
    model.fit(*train, epochs=1)  # and not locked


def test_verbose(digits, capfd):
    train, _ = digits
    am.CNN(layers=SMALL, epochs=2).fit(*train, verbose=0)
    am.CNN(layers=SMALL, epochs=2).fit(*train)  # nobody watches
    assert capfd.readouterr() == ("", "")
    am.CNN(layers=SMALL, epochs=2, validation_split=0.1).fit(*train, verbose=2)
    out, err = capfd.readouterr()
    assert out == ""
    assert "epoch 2/2" in err
    assert "validation" in err
    am.CNN(layers=SMALL, epochs=2).fit(*train, verbose=1)
    assert "100%" in capfd.readouterr().err


def test_one_fit_at_a_time(digits):
    train, test = digits
    model = am.CNN(layers=SMALL, epochs=3).fit(*train)
    inside, go_on, errors = threading.Event(), threading.Event(), []

    def callback(info):
        inside.set()
        go_on.wait(30)

    thread = threading.Thread(target=lambda: model.fit(*train, callback=callback))
    thread.start()
    inside.wait(30)
    try:
        model.fit(*train)
    except am.BusyError as error:
        errors.append(error)
    assert model.predict(test.images).shape == (len(test),)  # the network before still answers
    go_on.set()
    thread.join()
    assert len(errors) == 1


@settings(max_examples=25)
@given(
    order=st.sampled_from("CF"),
    step=st.sampled_from([1, 2, -1]),
    dtype=st.sampled_from(["u1", ">i4", "<f4", ">f8", "f2"]),
    readonly=st.booleans(),
)
def test_any_memory_layout_of_images(digits, fitted, order, step, dtype, readonly):
    images = digits[1].images[:40]
    expected = fitted.logits(np.ascontiguousarray(images[::step]))
    scaled = images if np.dtype(dtype).kind != "f" else images / 255
    laid_out = np.asarray(scaled, dtype=dtype, order=order)
    laid_out.flags.writeable = not readonly
    got = fitted.logits(laid_out[::step])
    assert np.abs(got - expected).max() < (0.05 if dtype == "f2" else 1e-4)


def test_evidence(digits, fitted):
    _, test = digits
    ev = fitted.evidence(test.images, test.labels, split="test")
    assert np.array_equal(ev.logits, fitted.logits(test.images))
    assert ev.accuracy == fitted.score(*test)
    assert ev.split[0] == "test"
    assert fitted.evidence(test.images).labels is None


def test_summary_and_repr(fitted):
    text = repr(am.CNN("seed").summary())
    assert "431,242" in text
    assert "26 x 26 x 32" in text
    assert "dropout 0.5" in text
    assert repr(fitted.summary()).count("\n") == 6
    assert "<table>" in fitted.summary()._repr_html_()
    assert am.CNN().summary(image_shape=(32, 20, 3)).rows[1][1] == (30, 18, 32)
    assert repr(am.CNN("seed", epochs=3)) == "CNN('seed', epochs=3, seed=0)"


# --- files ----------------------------------------------------------------------------------------


def test_save_and_load(digits, fitted, tmp_path):
    _, test = digits
    path = tmp_path / "model.safetensors"
    fitted.save(path, metadata={"trained on": "digits <&>"})
    loaded = am.CNN.load(path)
    assert_same_network(fitted, loaded, test.images)
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    assert loaded.metadata_ == {"trained on": "digits <&>"}
    assert loaded.patience == 2
    assert np.array_equal(loaded.history["val_loss"], fitted.history["val_loss"])
    fitted.save(tmp_path / "again.safetensors", metadata={"trained on": "digits <&>"})
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    twin = am.CNN(layers=SMALL, epochs=4, validation_split=0.2, patience=2, threads=1)
    twin.fit(*digits[0]).save(tmp_path / "twin", metadata={"trained on": "digits <&>"})
    assert (tmp_path / "twin").read_bytes() == path.read_bytes()
    loaded.fit(*digits[0], epochs=1)  # the settings are there too


def test_save_and_load_of_any_classes(digits, tmp_path):
    train, _ = digits
    few = train.labels < 2
    layers = [("conv", 3, 5, "same"), "relu", "maxpool", "flatten", ("dropout", 0.25)]
    model = am.CNN(layers=layers, epochs=1, optimizer=("sgd", {"momentum": 0.5}))
    model.fit(train.images[few], np.array(["α", "b"])[train.labels[few]])
    model.save(tmp_path / "m")
    loaded = am.CNN.load(tmp_path / "m")
    assert loaded.classes_.tolist() == ["b", "α"]
    assert repr(loaded.summary()) == repr(model.summary())
    assert_same_network(model, loaded, train.images[:20])


def test_pickle(digits, fitted):
    clone = pickle.loads(pickle.dumps(fitted))
    assert_same_network(fitted, clone, digits[1].images)
    clone.fit(*digits[0], epochs=1)
    assert pickle.loads(pickle.dumps(am.CNN(seed=5))).seed == 5


def test_damaged_model_files(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    good = path.read_bytes()
    with pytest.raises(am.DataNotFoundError, match="nothing"):
        am.CNN.load(tmp_path / "nothing")
    for bad in (b"", good[:100], good[:-1], good + b"\0", b"\x89HDF\r\n\x1a\n" + good):
        path.write_bytes(bad)
        with pytest.raises(am.DataError, match=r"model\.safetensors"):
            am.CNN.load(path)
    with pytest.raises(am.DataError, match=r"CNN\.from_keras"):
        am.CNN.load(path)  # the last of them
    tensors, texts = _safetensors_of(good, tmp_path)
    name = next(n for n in tensors if n.endswith("weight"))
    cases = [
        ({k: v for k, v in tensors.items() if k != name}, texts),
        (tensors | {name: tensors[name].T}, texts),
        (tensors | {name: tensors[name].astype(np.float64)}, texts),
        (tensors, {}),
        (tensors, {"ambigmnist": "[]"}),
        (tensors, {"ambigmnist": "{"}),
        (tensors, {"ambigmnist": texts["ambigmnist"].replace('"version": 1', '"version": 2')}),
        (tensors, {"ambigmnist": texts["ambigmnist"].replace('"relu"', '"swish"')}),
        (tensors, {"ambigmnist": texts["ambigmnist"].replace("28, 28", "28, 27")}),
    ]
    for case in cases:
        _safetensors.save(path, *case)
        with pytest.raises(am.DataError, match="not a model saved by ambigmnist"):
            am.CNN.load(path)


def _safetensors_of(data, tmp_path):
    (tmp_path / "copy").write_bytes(data)
    return _safetensors.load(tmp_path / "copy")


def test_a_failed_save_keeps_the_old_file(fitted, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    old = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(am.FileError, match="No space left"):
        fitted.save(path, metadata={"more": "text"})
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


# --- Keras ----------------------------------------------------------------------------------------


def keras_file(path: Path, layers: list[dict], weights: dict[str, dict[str, np.ndarray]]) -> Path:
    """An HDF5 file as Keras 2 writes it."""
    import json

    import h5py

    with h5py.File(path, "w") as file:
        config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        for layer, arrays in weights.items():
            sub = group.create_group(layer)
            sub.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in arrays]
            for name, array in arrays.items():
                sub.create_dataset(f"{layer}/{name}:0", data=array)
    return path


def conv_config(**changes):
    config = {
        "name": "c", "filters": 4, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same",
        "activation": "relu", "use_bias": False, "batch_input_shape": [None, 6, 5, 2],
    }  # fmt: skip
    return {"class_name": "Conv2D", "config": config | changes}


POOL = {
    "class_name": "MaxPooling2D",
    "config": {"name": "p", "pool_size": [2, 2], "strides": [2, 2], "padding": "valid"},
}
FLATTEN = {"class_name": "Flatten", "config": {"name": "f"}}


def dense_config(**changes):
    config = {"name": "d", "units": 3, "activation": "softmax"} | changes
    return {"class_name": "Dense", "config": config}


def keras_weights():
    rng = np.random.default_rng(0)
    return {
        "c": {"kernel": rng.normal(size=(3, 3, 2, 4)).astype(np.float32)},
        "d": {"kernel": rng.normal(size=(24, 3)).astype(np.float32),
              "bias": rng.normal(size=3).astype(np.float32)},
    }  # fmt: skip


def test_a_keras_file(tmp_path):
    import reference

    path = keras_file(tmp_path / "k.h5", [conv_config(), POOL, FLATTEN, dense_config()],
                      keras_weights())  # fmt: skip
    model = am.CNN.from_keras(path)
    x = np.random.default_rng(1).uniform(size=(7, 6, 5, 2)).astype(np.float32)
    w = keras_weights()
    y = reference.relu(reference.conv2d(x, w["c"]["kernel"], np.zeros(4), "same"))
    y = reference.maxpool2d(y)[0].reshape(7, -1)
    y = reference.dense(y, w["d"]["kernel"], w["d"]["bias"])
    assert reference.relative_error(model.logits(x), y) < 1e-5
    assert model.classes_.tolist() == [0, 1, 2]
    model.save(tmp_path / "m.safetensors")
    assert_same_network(am.CNN.load(tmp_path / "m.safetensors"), model, x)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([conv_config(strides=[2, 2]), POOL, FLATTEN, dense_config()], "stride 1"),
        ([conv_config(activation="tanh"), POOL, FLATTEN, dense_config()], "tanh"),
        ([conv_config(activation="softmax"), POOL, FLATTEN, dense_config()], "at the end only"),
        ([conv_config(), POOL, FLATTEN], "Dense output layer"),
        ([conv_config(), {"class_name": "LSTM", "config": {"name": "x"}}], "LSTM"),
        ([conv_config(), FLATTEN, dense_config()], "expected shape"),
        ([conv_config(batch_input_shape=[None, None, 5, 2]), POOL, FLATTEN, dense_config()],
         "as input"),
    ],
)  # fmt: skip
def test_keras_models_that_we_do_not_have(tmp_path, layers, message):
    path = keras_file(tmp_path / "k.h5", layers, keras_weights())
    with pytest.raises(am.DataError, match=message):
        am.CNN.from_keras(path)


def test_keras_files_that_are_none(tmp_path):
    with pytest.raises(am.DataNotFoundError):
        am.CNN.from_keras(tmp_path / "missing.h5")
    path = tmp_path / "bad.h5"
    for bad in (b"", b"PK\3\4 a .keras file", b"\x89HDF\r\n\x1a\n" + b"\0" * 50):
        path.write_bytes(bad)
        with pytest.raises(am.DataError, match=r"bad\.h5"):
            am.CNN.from_keras(path)


def test_keras_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(am.MissingDependencyError, match=r"ambigmnist\[keras\]"):
        am.CNN.from_keras(tmp_path / "x.h5")


# --- bad input ------------------------------------------------------------------------------------

IMAGES = np.zeros((12, 8, 8), np.uint8)
LABELS = np.arange(12) % 3


@pytest.mark.parametrize(
    ("X", "y", "options", "error", "message"),
    [
        (IMAGES[:0], LABELS[:0], {}, am.ArgumentError, "at least one image"),
        (IMAGES, LABELS[:5], {}, am.ShapeError, "expected 12, one per image, got 5"),
        (IMAGES, np.zeros(12), {}, am.ArgumentError, "at least two classes"),
        (IMAGES, LABELS + 0.5, {}, am.ArgumentError, "integers or strings"),
        (IMAGES, [None] * 12, {}, am.DTypeError, "integers or strings"),
        (IMAGES[0], LABELS, {}, am.ShapeError, "expected"),
        (IMAGES + 0.5, LABELS, {"epochs": 1}, None, ""),
        (IMAGES + 255.0, LABELS, {}, am.ArgumentError, "divide by 255"),
        (IMAGES * np.nan, LABELS, {}, am.ArgumentError, "nan"),
        (IMAGES, np.full((12, 3), 0.5), {}, am.ArgumentError, "sum to 1"),
        (IMAGES, np.full((12, 2), [2.0, -1.0]), {}, am.ArgumentError, "probabilities"),
        (IMAGES, np.full((11, 2), 0.5), {}, am.ShapeError, r"\(12, k\)"),
        (IMAGES, LABELS, {"sample_weight": -np.ones(12)}, am.ArgumentError, ">= 0"),
        (IMAGES, LABELS, {"sample_weight": np.zeros(12)}, am.ArgumentError, "only zeros"),
        (IMAGES, LABELS, {"sample_weight": np.ones(3)}, am.ShapeError, "shape"),
        (IMAGES, LABELS, {"validation_split": 1.0}, am.ArgumentError, "below 1"),
        (IMAGES, LABELS, {"validation_split": -0.1}, am.ArgumentError, "below 1"),
        (IMAGES, LABELS, {"validation_split": "x"}, am.ArgumentError, "a number"),
        (IMAGES, LABELS, {"epochs": 0}, am.ArgumentError, "at least 1"),
        (IMAGES, LABELS, {"epochs": 1.5}, am.DTypeError, "an integer"),
        (IMAGES, LABELS, {"verbose": 7}, am.ArgumentError, "verbose"),
        (IMAGES, LABELS, {"validation_data": 5}, am.ArgumentError, "a pair"),
        (IMAGES, LABELS, {"validation_data": (IMAGES[:, :5], LABELS)}, am.ShapeError, "8, 8, 1"),
        (IMAGES, LABELS, {"validation_data": (IMAGES, LABELS + 1)}, am.ArgumentError, "classes"),
        (IMAGES, LABELS, {"validation_data": (IMAGES[:0], [])}, am.ArgumentError, "at least one"),
    ],
)
def test_fit_with_arguments_that_make_no_sense(X, y, options, error, message):
    model = am.CNN(layers=["flatten"])
    if error is None:
        model.fit(X, y, **options)
        return
    with pytest.raises(error, match=message) as caught:
        model.fit(X, y, **options)
    assert isinstance(caught.value, am.AmbigError)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "fsat"}, "did you mean 'fast'"),
        ({"loss": "sofmax"}, "did you mean 'softmax'"),
        ({"optimizer": "adamw"}, "did you mean 'adam'"),
        ({"optimizer": ("adam", {"beta3": 1})}, "beta"),
        ({"optimizer": 3}, "expected a name"),
        ({"schedule": "cosine"}, "one_cycle"),
        ({"layers": "relu"}, "a list of layers"),
        ({"layers": 7}, "a list of layers"),
        ({"layers": [("convolution", 3, 3)]}, "did you mean 'conv'"),
        ({"layers": [("conv", 3)]}, "filters, window"),
        ({"layers": [("conv", 3, 3, "full")]}, "same, valid"),
        ({"layers": [("maxpool", 3)]}, "maxpool"),
        ({"layers": [("relu", 3)]}, "no argument"),
        ({"layers": [()]}, "a name or a tuple"),
        ({"learning_rate": 0}, "positive"),
        ({"learning_rate": "fast"}, "a number"),
        ({"batch_size": 0}, "at least 1"),
        ({"patience": -1}, "at least 0"),
        ({"seed": -1}, "at least 0"),
        ({"seed": None}, "an integer"),
        ({"threads": 0}, "threads"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises((am.ArgumentError, am.DTypeError), match=message):
        am.CNN(**({"layers": ["flatten"]} | settings)).fit(IMAGES, LABELS)


def test_fewer_images_than_a_batch():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    model = am.CNN(layers=["flatten", ("dense", 8), "relu"], epochs=200).fit(X, [0, 1, 2])
    assert model.score(X, [0, 1, 2]) == 1


def test_a_class_missing_from_the_training_part():
    labels = np.array([0] * 5 + [1] * 5 + [2] * 2)
    with pytest.raises(am.ArgumentError, match="class 2 has no image in the training part"):
        am.CNN("seed", layers=["flatten"]).fit(IMAGES, labels)
    am.CNN(layers=["flatten"], epochs=1, validation_split=0.5).fit(IMAGES, labels)  # by class


def test_training_that_diverges(digits):
    train, _ = digits
    model = am.CNN(layers=SMALL, optimizer="sgd", learning_rate=1e25, schedule="constant")
    with pytest.raises(am.ArgumentError, match="lower learning_rate"):
        model.fit(*train)
    with pytest.raises(am.ArgumentError, match="no weights yet"):
        model.predict(train.images)


def test_images_of_another_size(fitted):
    with pytest.raises(am.ShapeError, match=r"28 x 28 x 1 .*, got 8 x 8 x 1"):
        fitted.predict(IMAGES)
    with pytest.raises(am.ShapeError, match="maxpool needs at least 2 x 2"):
        am.CNN().fit(IMAGES, LABELS)


def test_before_fit():
    for method in ("predict", "predict_proba", "logits", "embed"):
        with pytest.raises(am.ArgumentError, match="call fit"):
            getattr(am.CNN(), method)(IMAGES)
    with pytest.raises(am.ArgumentError, match="call fit"):
        am.CNN().save("nowhere")


@pytest.mark.slow
def test_preset_fast_on_the_digits(digits, capsys):
    train, test = digits
    scores = [am.CNN("fast", seed=seed).fit(*train).score(*test) for seed in range(5)]
    with capsys.disabled():
        print("\npreset fast on the digits, five seeds:", scores, "mean", np.mean(scores))
    assert np.mean(scores) >= 0.975


# --- what a review found --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        {"seed": np.int64(3)},
        {"learning_rate": np.float32(0.001)},
        {"batch_size": np.int64(64)},
        {"optimizer": ("sgd", {"momentum": np.float32(0.5)})},
        {"layers": ["flatten", ("dropout", np.float32(0.5)), ("dense", np.int64(8))]},
    ],
)
def test_settings_may_be_numpy_numbers(digits, tmp_path, setting):
    model = am.CNN(**({"layers": SMALL, "epochs": 1} | setting)).fit(*digits[0])
    model.save(tmp_path / "m")
    assert_same_network(am.CNN.load(tmp_path / "m"), model, digits[1].images)


def test_layers_may_not_be_used_up(digits):
    with pytest.raises(am.ArgumentError, match="a list of layers"):
        am.CNN(layers=(layer for layer in SMALL), epochs=1).fit(*digits[0])
    with pytest.raises(am.ArgumentError, match="a name or a tuple"):
        am.CNN(layers=[5]).summary()
    with pytest.raises(am.ArgumentError, match="padding"):
        am.CNN(layers=[("conv", 4, 3, np.array([1, 2]))]).summary()


def test_a_name_that_the_file_needs_is_refused(fitted, tmp_path):
    with pytest.raises(am.ArgumentError, match="which is taken"):
        fitted.save(tmp_path / "m", metadata={"ambigmnist": "boo"})
    assert not list(tmp_path.iterdir())


def test_a_failed_fit_leaves_the_model_as_it_was(digits, fitted, tmp_path):
    fitted.save(tmp_path / "m", metadata={"trained on": "digits"})
    model = am.CNN.load(tmp_path / "m")
    for options in ({"verbose": 7}, {"callback": 3}):
        with pytest.raises((am.ArgumentError, am.DTypeError)):
            model.fit(*digits[0], **options)
    model.learning_rate, model.optimizer, model.schedule = 1e25, "sgd", "constant"
    with pytest.raises(am.ArgumentError, match="diverged"):
        model.fit(*digits[0])
    assert model.metadata_ == {"trained on": "digits"}
    assert_same_network(model, fitted, digits[1].images)


def test_an_error_of_a_callback_keeps_what_was_learned(digits):
    def callback(info):
        raise am.ArgumentError("mine")

    model = am.CNN(layers=SMALL, epochs=5)
    with pytest.raises(am.ArgumentError, match="mine"):
        model.fit(*digits[0], callback=callback)
    assert len(model.history["loss"]) == 1
    assert model.predict(digits[1].images).shape == (899,)


def test_score_with_labels_of_another_kind(digits, fitted):
    with pytest.raises(am.DTypeError, match="integers like the classes"):
        fitted.score(digits[1].images, digits[1].labels.astype(str))


def test_a_loaded_history_is_complete(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    history = am.CNN.load(tmp_path / "m").history
    assert set(history) == set(fitted.history)
    assert np.isnan(history["seconds"]).all()


def test_weights_that_are_no_numbers_are_refused(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    tensors, texts = _safetensors.load(tmp_path / "m")
    name = next(n for n in tensors if n.endswith("weight"))
    tensors[name] = np.full_like(tensors[name], np.nan)
    _safetensors.save(tmp_path / "m", tensors, texts)
    with pytest.raises(am.DataError, match="finite"):
        am.CNN.load(tmp_path / "m")
    for units in ("1" + "0" * 30, "[" * 5000):
        broken = {"ambigmnist": texts["ambigmnist"].replace('"dense", 24', f'"dense", {units}')}
        _safetensors.save(tmp_path / "m", tensors, broken)
        with pytest.raises(am.DataError, match="not a model saved"):
            am.CNN.load(tmp_path / "m")


def test_which_images_were_learned_from(digits):
    train, _ = digits
    model = am.CNN("seed", layers=SMALL, epochs=1).fit(*train)
    assert np.array_equal(model.train_index_, np.arange(int(len(train) * 0.8)))
    assert len(am.CNN(layers=SMALL, epochs=1).fit(*train).train_index_) == len(train)


def test_a_soft_class_without_an_image_of_its_own():
    soft = np.full((10, 3), [0.6, 0.3, 0.1])
    soft[8:] = [0.2, 0.7, 0.1]
    am.CNN("seed", layers=["flatten"], epochs=1).fit(IMAGES[:10], soft)
    soft[:8] = [0.9, 0.0, 0.1]
    with pytest.raises(am.ArgumentError, match="class 1 has no image in the training part"):
        am.CNN("seed", layers=["flatten"], epochs=1).fit(IMAGES[:10], soft)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"learning_rate": 10**400}, am.ArgumentError),
        ({"batch_size": 2**70}, am.ArgumentError),
        ({"patience": True}, am.DTypeError),
    ],
)
def test_numbers_beyond_reason(options, error):
    with pytest.raises(error):
        am.CNN(layers=["flatten"], **options).fit(IMAGES, LABELS)


def test_sample_weights_beyond_float32():
    with pytest.raises(am.ArgumentError, match="32 bits"):
        am.CNN(layers=["flatten"]).fit(IMAGES, LABELS, sample_weight=[1e300] * 12)
