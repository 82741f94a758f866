"""Audit: threads, checkpoints, kills, Ctrl-C, other machines, progress, and bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from same import same_evidence

import ambigmnist as am

N = 160
LAYERS = [("conv", 3, 3), "relu", "maxpool", "flatten", ("dropout", 0.3), ("dense", 16), "relu"]
SETTINGS = {"folds": 4, "members": 2, "mc": 2, "augment": 2, "history": "full", "epochs": 3}


def run_audit(X, y, **changes):
    return am.audit(X, y, **{"model": am.CNN(layers=LAYERS), "verbose": 0, **SETTINGS, **changes})


@pytest.fixture(scope="module")
def data():
    train, _ = am.load_digits()
    return train.images[:N], train.labels[:N]


@pytest.fixture(scope="module")
def whole(data):
    return run_audit(*data)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_bit(data, whole, threads):
    same_evidence(run_audit(*data, threads=threads), whole)


# --- checkpoints ---------------------------------------------------------------------------------


def test_a_checkpoint_is_taken_up(data, whole, tmp_path, monkeypatch):
    folder = tmp_path / "new" / "runs"
    same_evidence(run_audit(*data, checkpoint=folder), whole)
    files = sorted(f.name for f in folder.iterdir())
    runs = [f"fold-{f}-member-{m}.safetensors" for f in range(4) for m in range(2)]
    assert files == ["audit.json", *runs]
    for name in runs[1:6:2]:
        (folder / name).unlink()
    done = []
    perform = am.audit.__globals__["perform"]
    monkeypatch.setitem(
        am.audit.__globals__, "perform", lambda *a: done.append(a[2].name) or perform(*a)
    )
    same_evidence(run_audit(*data, checkpoint=str(folder), threads=1), whole)
    assert [f"{name}.safetensors" for name in done] == runs[1:6:2]
    same_evidence(run_audit(*data, checkpoint=folder), whole)
    assert len(done) == 3


KILLED = """
import sys
sys.path[:0] = [{folder!r}]
import ambigmnist as am
from test_audit_runs import LONGER, N, run_audit
train, _ = am.load_digits()
print("started", flush=True)
run_audit(train.images[:N], train.labels[:N], checkpoint={path!r}, threads={threads}, **LONGER)
"""


LONGER = {"folds": 8, "members": 5, "epochs": 20}


def test_nothing_is_lost_when_the_process_is_killed(data, tmp_path):
    path, rng = tmp_path / "runs", np.random.default_rng(1)
    expected = run_audit(*data, **LONGER)
    done = [0]

    def runs_done():
        return len(list(path.glob("fold-*")))

    for kill in range(11):
        code = KILLED.format(folder=str(Path(__file__).parent), path=str(path),
                             threads=1 + kill % 2)  # fmt: skip
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            if kill < 10:  # the last one may finish
                while kill % 3 == 0 and runs_done() == done[-1]:  # however slow the machine
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
            assert process.wait(120) == (-signal.SIGKILL if kill < 10 else 0)
        done.append(runs_done())
        assert done[-1] >= done[-2]
    assert len(set(done)) > 4  # the kills came at different places
    assert done[-1] == 5 * 8
    same_evidence(run_audit(*data, checkpoint=path, **LONGER), expected)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"folds": 5}, "folds: 4 there, 5 here"),
        ({"members": 3}, "members"),
        ({"mc": 3}, "mc"),
        ({"augment": 0}, "augment"),
        ({"history": True}, "history"),
        ({"epochs": 2}, "epochs"),
        ({"model": am.CNN(layers=[*LAYERS[:-2], ("dense", 17), "relu"])}, "layers"),
        ({"model": am.CNN(layers=LAYERS, batch_size=32)}, "batch_size"),
    ],
)
def test_the_checkpoint_of_another_audit(data, changes, named, tmp_path):
    run_audit(*data, checkpoint=tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(am.ArgumentError, match=named):
        run_audit(*data, checkpoint=tmp_path, **changes)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_the_checkpoint_of_other_data(data, tmp_path):
    X, y = data
    run_audit(X, y, checkpoint=tmp_path)
    images, labels = X.copy(), y.copy()
    images[7, 14, 14] ^= 1
    labels[[0, 1]] = labels[[1, 0]]
    with pytest.raises(am.ArgumentError, match=r"another \(images: "):
        run_audit(images, y, checkpoint=tmp_path)
    with pytest.raises(am.ArgumentError, match=r"another \(labels: "):
        run_audit(X, labels, checkpoint=tmp_path)


def test_damaged_checkpoints(data, whole, tmp_path):
    run_audit(*data, checkpoint=tmp_path)
    path = tmp_path / "fold-2-member-0.safetensors"
    good = path.read_bytes()
    facts = good.replace(b'\\"epochs\\": 3', b'\\"epochs\\": 4', 1)
    assert facts != good
    other = (tmp_path / "fold-1-member-0.safetensors").read_bytes()
    flipped = bytearray(good)
    flipped[-3] ^= 1
    for bad in (b"", good[:100], good[:-1], bytes(flipped), facts, other, b"{}" * 9):
        path.write_bytes(bad)
        with pytest.raises(am.DataError, match=r"fold-2-member-0.*remove it to have the run done"):
            run_audit(*data, checkpoint=tmp_path)
    path.unlink()
    description = tmp_path / "audit.json"
    text = description.read_text()
    for bad in ("", "{", "[1]", "7", "[" * 5000, '"\xff"'):
        description.write_text(bad, encoding="latin-1")
        with pytest.raises(am.DataError, match=r"audit.json.*remove the folder"):
            run_audit(*data, checkpoint=tmp_path)
    description.write_text(text)
    same_evidence(run_audit(*data, checkpoint=tmp_path), whole)


def test_places_that_cannot_be_written_fail_before_training(data, tmp_path, monkeypatch):
    monkeypatch.setitem(am.audit.__globals__, "perform", lambda *a: pytest.fail("trained"))
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(am.FileError, match="file"):
            run_audit(*data, checkpoint=place)
    for place, error in ((7, am.DTypeError), ("", am.ArgumentError), ("a\0b", am.ArgumentError)):
        with pytest.raises(error, match="checkpoint"):
            run_audit(*data, checkpoint=place)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_what_was_there(data, whole, tmp_path, monkeypatch):
    replaced = []
    replace = Path.replace

    def full(self, target):
        if len(replaced) == 4:
            raise OSError(28, os.strerror(28))
        replaced.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(am.FileError, match="No space"):
            run_audit(*data, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4  # the description and three runs; nothing unfinished
    same_evidence(run_audit(*data, checkpoint=tmp_path), whole)


# --- Ctrl-C --------------------------------------------------------------------------------------


class Interrupted:
    """A client whose user presses Ctrl-C while run number `at` is waited for."""

    def __init__(self, at):
        self.at = at
        self.cancelled = 0

    def submit(self, function, *arguments):
        outer = self

        class Waiting(Future):
            def result(self, timeout=None):
                outer.at -= 1
                if outer.at < 0:
                    raise KeyboardInterrupt
                return function(*arguments)

            def cancel(self):
                outer.cancelled += 1
                return super().cancel()

        return Waiting()


def test_ctrl_c_keeps_the_finished_folds(data, whole, tmp_path):
    client = Interrupted(5)
    with pytest.raises(KeyboardInterrupt, match="2 of 4 folds finished; the same call") as stop:
        run_audit(*data, client=client, checkpoint=tmp_path, split=["a", "b"] * (N // 2))
    assert isinstance(stop.value, am.AuditInterrupted)
    assert not isinstance(stop.value, Exception)  # nothing takes it for a failure
    part = stop.value.evidence
    rows = np.flatnonzero(whole.fold < 2)
    for name in ("logits", "labels", "images", "fold", "nearest", "embeddings", "in_sample"):
        assert getattr(part, name).tobytes() == getattr(whole, name)[rows].tobytes(), name
    for name in ("members", "mc", "augmented"):
        assert getattr(part, name).tobytes() == getattr(whole, name)[:, rows].tobytes(), name
    assert list(part.split) == [("a", "b")[i % 2] for i in rows]
    assert part.dynamics["runs"].max() <= 5
    assert part.provenance["finished folds"] == [0, 1]
    assert not part.provenance["complete"]
    assert len(am.rank(part, by="aum")) == len(rows)
    assert client.cancelled == 2  # of eight: five done, one was waited for
    same_evidence(run_audit(*data, checkpoint=tmp_path), whole)


def test_ctrl_c_before_a_fold_is_finished(data):
    with pytest.raises(am.AuditInterrupted, match=r"0 of 4 folds finished$") as stop:
        run_audit(*data, client=Interrupted(1))
    assert stop.value.evidence is None


def test_ctrl_c_in_the_middle_of_a_training(tmp_path):
    code = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import ambigmnist as am
from test_audit_runs import run_audit
train, _ = am.load_digits()
try:
    run_audit(train.images, train.labels, epochs=100000, verbose=1, history=False)
except am.AuditInterrupted as stop:
    print(stop)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stderr is not None
        while "training" not in process.stderr.read(1) + process.stderr.read(80):
            pass
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert time.monotonic() - start < 5
    assert out == "audit: interrupted with 0 of 4 folds finished\n"
    assert process.returncode == 0


# --- elsewhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_networks_trained_elsewhere(data, whole, pool, tmp_path):
    with pool(2) as client:
        same_evidence(run_audit(*data, client=client, checkpoint=tmp_path), whole)
    same_evidence(run_audit(*data, checkpoint=tmp_path), whole)


def test_a_worker_that_fails(data):
    class Client:
        def submit(self, function, *arguments):
            future = Future()
            future.set_exception(MemoryError("there"))
            return future

    with pytest.raises(MemoryError, match="there"):
        run_audit(*data, client=Client())


# --- progress ------------------------------------------------------------------------------------


def test_a_line_per_network(data, tmp_path, capfd):
    run_audit(*data, verbose=2, checkpoint=tmp_path)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 8
    assert lines[3].startswith("network 4/8  fold-1-member-1: accuracy 0.")
    run_audit(*data, verbose=2, checkpoint=tmp_path)
    assert len(capfd.readouterr().err.splitlines()) == 8


def test_the_bar_comes_to_its_end(data, capfd):
    run_audit(*data, verbose=1)
    shown = capfd.readouterr().err
    assert "audit: 100%" in shown
    assert "network 8 of 8: training" in shown
    run_audit(*data, verbose=0)
    run_audit(*data, verbose=None)
    assert capfd.readouterr() == ("", "")


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"folds": 1}, am.ArgumentError, "folds: expected at least 2, got 1"),
        ({"folds": N + 1}, am.ArgumentError, f"folds: expected at most {N}"),
        ({"folds": 2.5}, am.DTypeError, "folds: expected an integer"),
        ({"members": 0}, am.ArgumentError, "members: expected at least 1"),
        ({"mc": 1}, am.ArgumentError, "mc: expected 0 or at least 2"),
        ({"mc": -1}, am.ArgumentError, "mc"),
        ({"augment": 1}, am.ArgumentError, "augment: expected 0 or at least 2"),
        ({"history": "some"}, am.ArgumentError, 'history: expected True, False or "full"'),
        ({"history": 2}, am.ArgumentError, "history"),
        ({"history": ["full"]}, am.ArgumentError, "history"),
        ({"epochs": 0}, am.ArgumentError, "epochs: expected at least 1"),
        ({"seed": -1}, am.ArgumentError, "seed: expected at least 0"),
        ({"seed": 2**63}, am.ArgumentError, "seed"),
        ({"preset": "slow", "model": None}, am.ArgumentError, "preset: unknown 'slow'"),
        ({"preset": "seed"}, am.ArgumentError, "preset: expected none beside model"),
        ({"model": "fast"}, am.DTypeError, "model: expected an am.CNN, got str"),
        ({"model": am.CNN(layers=["flatten"])}, am.ArgumentError, "mc: expected a model with drop"),
        ({"model": am.CNN(layers=LAYERS, validation_split=1.5)}, am.ArgumentError, "validation"),
        ({"client": "localhost"}, am.DTypeError, r"client: expected an object with submit\(\)"),
        ({"verbose": 3}, am.ArgumentError, "verbose"),
        ({"threads": 0}, am.ArgumentError, "threads"),
        ({"split": [1] * N}, am.DTypeError, "split: expected strings"),
        ({"split": ["train"]}, am.ShapeError, "split"),
        ({"labels": None}, am.ArgumentError, "labels: expected a label for each image, got None"),
        ({"labels": [0] * N}, am.ArgumentError, "at least two classes to tell apart, got only 0"),
        ({"labels": [0] * (N - 1) + [5]}, am.ArgumentError, "two images of each class, got one of"),
        ({"labels": [0, 1]}, am.ShapeError, "labels"),
        ({"labels": np.eye(10)[np.arange(N) % 10]}, am.ShapeError, "labels"),
        ({"images": np.zeros((0, 8, 8), np.uint8), "labels": []}, am.ArgumentError, "at least two"),
        ({"images": np.full((N, 8, 8), 7.5)}, am.ArgumentError, "floats in 0..1"),
        ({"images": np.zeros((N, 2, 2), np.uint8)}, am.ShapeError, "2 x 2 x 1"),
    ],
)
def test_bad_input(data, changes, error, message):
    arguments = {"images": data[0], "labels": data[1], **changes}
    with pytest.raises(error, match=message):
        run_audit(arguments.pop("images"), arguments.pop("labels"), **arguments)


def test_too_few_draws_and_views_say_what_to_do(data):
    ev = run_audit(*data, mc=0, members=1, augment=0, history=True)
    for name, hint in (("bald", r"audit\(mc=20\)"), ("augmentation_disagreement", "augment=8"),
                       ("grand", "history='full'"), ("vog", "history='full'")):  # fmt: skip
        with pytest.raises(am.ArgumentError, match=hint):
            ev.score(name)


def test_presets_get_dropout_for_draws(data):
    ev = am.audit(*data, folds=2, mc=2, epochs=1)
    assert ["dropout", 0.25] in ev.provenance["layers"]
    at = ev.provenance["layers"].index(["dropout", 0.25])
    assert ev.provenance["layers"][at + 1] == ["dense", 256]
    assert json.loads(json.dumps(ev.provenance)) == ev.provenance
    assert not np.array_equal(ev.mc[0], ev.mc[1])
