"""The peers of the benchmarks get the recipes that our presets are."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import ambigmnist as am
from ambigmnist._network import PRESETS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def peers():
    folder = ROOT / "bench" / "peers"
    spec = importlib.util.spec_from_file_location(
        "bench_peers", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_peers"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_peers"]


@pytest.mark.parametrize("name", ["seed", "fast"])
def test_recipes_are_the_presets(peers, name):
    recipe, preset = peers.RECIPES[name], PRESETS[name]
    assert (recipe.batch, recipe.loss) == (preset.batch_size, preset.loss)
    assert (recipe.optimizer, recipe.rate) == (preset.optimizer, preset.learning_rate)
    assert recipe.cycle == (preset.schedule == "one_cycle")
    assert (("dropout", recipe.dropout) in preset.layers) == (recipe.dropout > 0)


@pytest.mark.parametrize("name", ["seed", "fast"])
def test_rates_are_those_of_our_training(peers, name):
    x = np.random.default_rng(0).integers(0, 256, (60, 4, 4)).astype(np.uint8)
    model = am.CNN(
        name, layers=["flatten"], batch_size=7, epochs=11, validation_split=0.0, patience=0
    )
    model.fit(x, np.arange(60) % 3)
    rates = peers.RECIPES[name].rates(11 * 9)
    assert peers.steps_of(x, 7) == 9
    np.testing.assert_allclose(model.history["learning_rate"], rates[8::9], rtol=1e-6)


def test_ours_trains_on_from_a_file(peers, tmp_path):
    train, _ = am.load_digits()
    x, y = train.images[:64], train.labels[:64]
    ours = importlib.import_module("bench_peers.ours")
    path = tmp_path / "model.safetensors"
    am.CNN("fast", epochs=1).fit(x, y, verbose=0).save(path)
    start = ours.read_weights(path)
    assert {name: w.shape for name, w in start.items()} == peers.SHAPES
    assert sum(w.size for w in start.values()) == 431_242
    contestant = ours.Ours(peers.RECIPES["fast"], path, np.zeros(3), 1)
    contestant.load(x, y)
    losses = [contestant.epoch() for _ in range(3)]  # as one fit of three epochs
    model = am.CNN.load(path)
    model.fit(x, y, epochs=3, warm_start=True, verbose=0)
    assert losses == model.history["loss"].tolist()
    assert not np.array_equal(contestant.weights()["conv2_w"], start["conv2_w"])
    contestant = ours.Ours(peers.RECIPES["fast"], path, np.zeros(3), 1)
    contestant.load(x[:, :20], y)
    with pytest.raises(RuntimeError, match="could not be trained"):
        contestant.epoch()  # an error, not a thread that is waited for
