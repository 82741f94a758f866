"""Out of memory at every allocation: of Python, one after the other, and of the core.

What holds for each allocation that fails: the call raises MemoryError or its result is right, the
process goes on, the same call works afterwards, no file descriptor is lost, a file that was to be
replaced is the old one or, where the call came as far as renaming, the new one, complete, and no
temporary file is left beside it. (One allocation fails at a time, so there is memory to clean up.)
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ambigmnist as am
from ambigmnist import _ambigcore
from ambigmnist._checkpoint import Checkpoint, History
from ambigmnist._network import Layer, build, parse_layers

IN_A_ROW = 60  # so many successes mean that all allocations were tried: a few are not needed

# Where CPython or NumPy lose the MemoryError before our code sees it: what they raise
# instead, and a part of its text.
DISGUISES = (
    (TypeError, "Path"),  # the lookup of __fspath__ takes every failure for "has none"
    (RuntimeError, "can't allocate "),  # a lock
    (SystemError, " without "),  # "without setting an exception": a NumPy reduction
)

# ---------------------------------------------------------------- what runs in the child


def small_evidence() -> am.Evidence:
    logits = np.random.default_rng(3).normal(0, 3, (20, 3)).astype(np.float32)
    labels = np.array(["a", "b", "c", "a"] * 5)
    return am.Evidence(_ambigcore.softmax(logits, 1), labels, classes=["a", "b", "c"])


def small_model() -> am.CNN:
    images = np.random.default_rng(4).integers(0, 256, (30, 6, 6), dtype=np.uint8)
    model = am.CNN(
        layers=[("conv", 2, 3), "relu", "flatten"], epochs=1, batch_size=16, seed=1, threads=1
    )
    return model.fit(images, np.arange(30) % 3, verbose=False)


Case = tuple[Callable[[], Any], Callable[[Any], None], Path | None]


def load_idx_case(folder: Path, ending: str = "") -> Case:
    images = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    names = folder / f"images.idx{ending}", folder / f"labels.idx{ending}"
    am.save_idx(images, names[0])
    am.save_idx(np.array([3, 1, 4, 1, 5], np.uint8), names[1])

    def check(dataset: am.Dataset) -> None:
        assert np.array_equal(dataset.images, images)
        assert dataset.labels.tolist() == [3, 1, 4, 1, 5]

    return lambda: am.load_idx(*names), check, None


def load_idx_gz_case(folder: Path) -> Case:
    return load_idx_case(folder, ".gz")


def save_case(folder: Path) -> Case:
    model, path = small_model(), folder / "model.safetensors"
    return lambda: model.save(path, metadata={"note": "mine"}), lambda _: None, path


def load_case(folder: Path) -> Case:
    model, path = small_model(), folder / "model.safetensors"
    model.save(path)
    images = np.full((1, 6, 6), 128, np.uint8)
    expected = model.logits(images)

    def check(loaded: am.CNN) -> None:
        assert np.array_equal(loaded.logits(images), expected)
        assert loaded.classes_.tolist() == [0, 1, 2]

    return lambda: am.CNN.load(path), check, None


def rank_case(folder: Path) -> Case:
    evidence, path = small_evidence(), folder / "ranking.csv"
    expected = am.rank(evidence, k=7).indices

    def call() -> am.Ranking:
        ranking = am.rank(evidence, k=7)
        ranking.to_csv(path)
        return ranking

    def check(ranking: am.Ranking) -> None:
        assert np.array_equal(ranking.indices, expected)

    return call, check, path


def predict_case(folder: Path) -> Case:
    model = small_model()
    images = np.random.default_rng(5).integers(0, 256, (5, 6, 6), dtype=np.uint8)
    expected = model.predict(images)

    def check(predicted: Any) -> None:
        assert np.array_equal(predicted, expected)

    return lambda: model.predict(images), check, None


def resume_case(folder: Path) -> Case:
    network = build([Layer("flatten"), Layer("dense", 3)], (4, 4, 1))
    network.init(1)
    network.train_begin(0, 2, 0.9, 0.999, 1e-8, 0, 1e-3, 8, 5, 0, 1, 30, 1)
    expected = network.train_export()
    checkpoint = Checkpoint(folder / "run", {"seed": 1})
    checkpoint.save(network, {"loss": [0.5]}, True)

    def call() -> History:
        history: History = {"loss": []}
        checkpoint.resume(network, history)
        return history

    def check(history: History) -> None:
        assert history == {"loss": [0.5]}
        assert checkpoint.complete
        for got, wanted in zip(network.train_export(), expected, strict=True):
            assert np.array_equal(got, wanted)

    return call, check, None


def duplicates_case(folder: Path) -> Case:
    images = np.random.default_rng(6).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    images[[5, 9]] = images[2]
    evidence = am.Evidence(
        np.ones((12, 1)), images=images, embeddings=images.reshape(12, 16).astype(float)
    )
    path = folder / "duplicates.csv"

    def call() -> am.Duplicates:
        found = am.duplicates(evidence)
        found.to_csv(path)
        return found

    def check(found: am.Duplicates) -> None:
        assert [group.tolist() for group in found] == [[2, 5, 9]]

    return call, check, path


CASES = {
    "resume": resume_case,
    "load_idx": load_idx_case,
    "load_idx_gz": load_idx_gz_case,
    "save": save_case,
    "load": load_case,
    "rank_to_csv": rank_case,
    "duplicates_to_csv": duplicates_case,
    "predict": predict_case,
}


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(
        isinstance(error, kind) and text in str(error) for kind, text in DISGUISES
    )


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def fail_every_allocation(name: str, folder: Path) -> dict[str, int]:
    """Fails allocation 0, 1, ... of the call, until IN_A_ROW calls in a row succeed."""
    import _testcapi

    call, check, path = CASES[name](folder)
    check(call())
    new = path.read_bytes() if path else b""
    files, open_before = sorted(folder.iterdir()), descriptors()
    failures = disguised = n = successes = 0
    while successes < IN_A_ROW:
        if path:
            path.write_bytes(b"the old one")
        error = result = None
        _testcapi.set_nomemory(n, n + 1)
        try:
            result = call()
        except Exception as caught:
            error = caught.with_traceback(None)
        finally:
            _testcapi.remove_mem_hooks()
        if error is None:
            check(result)
        elif not is_out_of_memory(error):
            raise AssertionError(f"allocation {n}: {error!r}") from error
        if path:
            content = path.read_bytes()
            assert content == new or (error is not None and content == b"the old one"), (n, content)
        assert sorted(folder.iterdir()) == files, n
        assert descriptors() == open_before, n
        failures += error is not None
        disguised += error is not None and not isinstance(error, MemoryError)
        successes = 0 if error is not None else successes + 1
        n += 1
    check(call())
    return {"failures": failures, "disguised": disguised, "tried": n - IN_A_ROW}


# ---------------------------------------------------------------- the tests


@pytest.mark.parametrize("name", CASES)
def test_every_allocation_of_python_may_fail(name, tmp_path):
    pytest.importorskip("_testcapi", reason="machine: this Python has no _testcapi")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, name, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    counts = json.loads(done.stdout)
    assert counts["failures"] >= (5 if name == "predict" else 100), counts
    assert counts["disguised"] <= counts["failures"] // 10, counts


def from_logits() -> am.Evidence:
    logits = np.random.default_rng(3).normal(0, 3, (5000, 4))
    return am.Evidence(
        _ambigcore.softmax(logits.astype(np.float32), 1),
        np.arange(5000) % 4,
        logits=logits,
        embeddings=logits,
    )


IMAGES = np.random.default_rng(6).integers(0, 256, (40, 6, 6, 1), dtype=np.uint8)
EXAMPLES = (IMAGES, np.arange(40, dtype=np.int32) % 3, None, None, np.arange(40))


@functools.cache
def small_network() -> _ambigcore.Network:
    layers = [("conv", 2, 3), "relu", ("dropout", 0.5)]
    specs = [layer.spec for layer in parse_layers(layers, 3)]
    network = _ambigcore.Network(specs, 6, 6, 1, False)
    network.init(1)
    return network


def recorded() -> Any:
    network, seen = build(parse_layers(["flatten"], 3), (6, 6, 1)), np.zeros((40, 9))
    network.init(1)
    network.train_begin(0, 0, 0.0, 0.0, 1e-8, 0, 0.1, 16, 1, 0, 1, 40, 2)
    network.train_epoch((*EXAMPLES, seen, 1), None, None)
    return _ambigcore.finish_dynamics(seen)[:, :8]


CORE_CASES: dict[str, Callable[[am.Evidence], Any]] = {
    "rank": lambda ev: am.rank(ev, "confident_wrong", k=10).indices,
    "score": lambda ev: ev.score("entropy"),
    "heatmap_count": lambda ev: am.heatmap(ev, "count").counts,
    "heatmap_probability": lambda ev: am.heatmap(ev, "probability").matrix,
    "log_loss": lambda ev: ev.log_loss,
    "probabilities": lambda ev: _ambigcore.probabilities(ev.logits, 2),
    "predictions": lambda ev: _ambigcore.predictions(ev.probs, 2),
    "confident_joint": lambda ev: am.confident_joint(ev).counts,
    "label_issues": lambda ev: am.label_issues(ev, method="both").indices,
    "confident_learning": lambda ev: ev.score("confident_learning"),
    "bald": lambda ev: _ambigcore.draws_score(ev.probs.reshape(2, -1, 4), "bald", 2),
    "mean_logits": lambda ev: _ambigcore.mean_logits(ev.logits.reshape(2, -1, 4), 2),
    "history_dynamics": lambda ev: _ambigcore.history_dynamics(
        ev.probs.reshape(2, -1, 4), ev.given_index[:2500], 2
    )[:, :8],
    "forward_some": lambda _: small_network().forward_some(
        IMAGES, np.arange(39, 0, -2), 4, (1, 2, 1.0, 0.1), 2
    ),
    "dropout_draws": lambda _: small_network().draws(IMAGES, None, 1, 2, 2),
    "gradient_norms": lambda _: small_network().gradient_norms(EXAMPLES, 0, 2),
    "pixel_gradients": lambda _: small_network().pixel_gradients(EXAMPLES, 2),
    "training_dynamics": lambda _: recorded(),
    "neighbours": lambda ev: ev.neighbours(3)[0],
    "some_neighbours": lambda ev: ev.nearest_others(3, np.arange(0, 5000, 700))["index"],
    "neighbour_disagreement": lambda ev: ev.score("neighbour_disagreement"),
    "duplicates": lambda ev: am.duplicates(ev, near=0.1).distance,
    "temperature": lambda ev: np.array(
        _ambigcore.temperature(ev.logits, True, ev.given_index, None, 0.5, 2)
    ),
    "tempered": lambda ev: _ambigcore.tempered(ev.logits, True, np.ones(ev.n), 2),
    "calibrate": lambda ev: am.calibrate(ev, resamples=0).evidence.probs,
}


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("name", CORE_CASES)
def test_every_allocation_of_the_core_may_fail(name, persistent):
    call = CORE_CASES[name]
    expected = call(from_logits())
    failures = 0
    for _ in range(100):
        evidence = from_logits()  # remembers nothing of the last call
        before = _ambigcore.alloc_stats()
        _ambigcore.fail_alloc_at(failures + 1, persistent)
        try:
            result = call(evidence)
            break
        except am.OutOfMemoryError as error:
            message = str(error)
            failures += 1
        finally:
            _ambigcore.fail_alloc_at(0, False)
        assert "could not allocate" in message
        assert _ambigcore.alloc_stats()[:2] == before[:2]
        assert np.array_equal(call(evidence), expected)  # the same object, afterwards
    assert np.array_equal(result, expected)
    assert _ambigcore.alloc_stats()[:2] == before[:2]
    # One after the other: none was passed over in silence.
    assert failures == _ambigcore.alloc_stats()[2] - before[2] >= 1


if __name__ == "__main__":
    print(json.dumps(fail_every_allocation(sys.argv[1], Path(sys.argv[2]))))
