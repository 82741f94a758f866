"""``ambigmnist audit``: the folder, the evidence in it, Ctrl-C, checkpoints, usage errors."""

import csv
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from same import same_evidence

import ambigmnist as am
from ambigmnist import cli
from ambigmnist._idx import idx_bytes

COMMAND = [sys.executable, "-m", "ambigmnist", "audit"]
N_TRAIN, N_TEST = 120, 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of four IDX files: some of the embedded digits, for --data."""
    path = tmp_path_factory.mktemp("data") / "small"
    path.mkdir()
    train, test = am.load_digits()
    for name, part, n in (("train", train, N_TRAIN), ("t10k", test, N_TEST)):
        (path / f"{name}-images-idx3-ubyte").write_bytes(idx_bytes(part.images[:n]))
        labels = part.labels[:n].astype(np.uint8)
        (path / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return path


def arguments(folder, out, *more):
    return ["--data", folder, "--out", out, "--epochs", 1, "--folds", 2, *more]


def run(capsys, *args):
    code = cli.main(["audit", *map(str, args)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    """(folder, what was printed) of a run."""
    out = tmp_path_factory.mktemp("run") / "out"
    options = arguments(folder, out, "--members", 2, "--augment", 2, "--top", 5, "--json")
    finished = subprocess.run(
        [*COMMAND, *map(str, options)], capture_output=True, text=True, check=True
    )
    assert "4 networks" in finished.stderr
    return out, json.loads(finished.stdout)


def test_the_folder_holds_the_evidence(done, folder):
    out, printed = done
    assert json.loads((out / "summary.json").read_text()) == printed
    assert sorted(printed["files"]) == sorted(
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()
    )
    for name in ("evidence.npz", "data-map.svg", "reliability.png", "gallery-aum.png"):
        assert name in printed["files"]
    assert not any(name.endswith(".safetensors") for name in printed["files"])
    ev = am.Evidence.load(out / "evidence.npz")
    train, test = am.load_digits()
    data = am.Dataset(train.images[:N_TRAIN], train.labels[:N_TRAIN], split="train") + am.Dataset(
        test.images[:N_TEST], test.labels[:N_TEST], split="test"
    )
    expected = am.audit(
        data.images, data.labels, split=data.split, epochs=1, folds=2, members=2, augment=2
    )
    same_evidence(ev, expected)
    assert printed["audit"] == {"folds": 2, "members": 2, "mc": 0, "augment": 2, "history": True}
    for split, n in (("train", N_TRAIN), ("test", N_TEST)):
        part = ev[ev.split == split]
        found = printed["evaluation"][split]
        assert (found["images"], found["in_sample"]) == (n, 0)
        assert (found["accuracy"], found["log_loss"]) == (part.accuracy, part.log_loss)


def test_the_lists_are_those_of_the_evidence(done):
    out, printed = done
    ev = am.Evidence.load(out / "evidence.npz")
    assert list(printed["top"]) == ["least_confident", "confident_learning", "aum"]
    for name, items in printed["top"].items():
        ranking = am.rank(ev, name, 5)
        places = [i["index"] + (N_TRAIN if i["split"] == "test" else 0) for i in items]
        assert places == ranking.indices.tolist()
        assert [i["score"] for i in items] == ranking.scores.tolist()
    with (out / "ranking.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == N_TRAIN + N_TEST
    assert {row["in_sample"] for row in rows} == {"false"}


def test_the_page_says_what_is_in_sample(done, folder, tmp_path, capsys):
    out, _ = done
    page = (out / "index.html").read_text()
    assert "by what 2 networks that never saw it made of each" in page
    assert "AUM, in sample" in page
    assert "In sample: of images while the network was trained on them." in page
    assert 'href="evidence.npz"' in page
    assert 'href="data-map.svg"' in page
    assert 'data-cloud="data_map"' in page
    code, printed, _ = run(capsys, *arguments(folder, tmp_path / "out", "--quiet"))
    assert code == 0
    assert "aum: in sample: of images while the network was trained on them" in printed
    assert re.search(r"^train +\d", printed, re.M)  # no mark: out of sample


def test_without_a_history(folder, tmp_path, capsys):
    out = tmp_path / "out"
    code, printed, _ = run(capsys, *arguments(folder, out, "--history", "off", "--json"))
    assert code == 0
    assert list(json.loads(printed)["top"]) == ["least_confident", "confident_learning"]
    assert not (out / "data-map.png").exists()
    assert (out / "reliability.png").exists()


def test_only_a_part_is_ranked_but_all_is_kept(folder, tmp_path, capsys):
    out = tmp_path / "out"
    code, printed, err = run(capsys, *arguments(folder, out, "--split", "test", "--by", "bald",
                                                "--mc", 2, "--json", "--quiet"))  # fmt: skip
    assert (code, err) == (0, "")
    assert list(json.loads(printed)["top"]) == ["bald"]
    assert am.Evidence.load(out / "evidence.npz").n == N_TRAIN + N_TEST
    assert (out / "ranking.csv").read_text().count("\n") == 1 + N_TEST


def test_a_checkpoint_and_ctrl_c(folder, tmp_path):
    checkpoint, out = tmp_path / "runs", tmp_path / "out"
    options = ["--data", folder, "--out", out, "--epochs", 8, "--folds", 8, "--threads", 1,
               "--checkpoint", checkpoint]  # fmt: skip
    command = [*COMMAND, *map(str, options)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while len(list(checkpoint.glob("fold-*"))) < 2:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert re.search(r"interrupted with \d of 8 folds finished; the same call goes on from", said)
    assert not out.exists()
    kept = {path: path.stat().st_mtime_ns for path in checkpoint.glob("fold-*")}
    assert subprocess.run(command, capture_output=True, check=True).returncode == 0
    assert len(list(checkpoint.glob("fold-*"))) == 8
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    other = [*command, "--seed", "1"]
    refused = subprocess.run(other, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "seed: 0 there, 1 here" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--folds", "1"], "--folds: expected at least 2, got 1"),
        (["--members", "0"], "--members: expected at least 1"),
        (["--mc", "1"], "--mc: expected 0 or at least 2, got 1"),
        (["--augment", "x"], "--augment: expected an integer, got 'x'"),
        (["--history", "some"], "--history"),
        (["--epochs", "0"], "--epochs: expected at least 1"),
        (["--preset", "slow"], "--preset: unknown 'slow'"),
        (["--by", "bald"], "bald needs draws: --members 3 or --mc 20"),
        (["--by", "augmentation_disagreement"], "needs augmented: --augment 8"),
        (["--by", "aum", "--history", "off"], "aum needs dynamics: --history on"),
        (["--by", "grand"], "grand needs gradients: --history full"),
        (["--by", "badl"], "unknown definition 'badl': did you mean 'bald'"),
        (["--checkpoint", ""], "--checkpoint: expected the name of a folder"),
        (["--out", ""], "--out: expected the name of a folder"),
        (["--model", "x"], "unrecognized arguments: --model"),
    ],
)
def test_usage_errors(capsys, options, message):
    code, out, err = run(capsys, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert "usage: ambigmnist audit" in err


def test_help_names_the_other_jobs(capsys):
    assert cli.main(["--help"]) == 0
    assert "ambigmnist audit" in capsys.readouterr().out
    assert run(capsys, "--help")[0] == 0


def test_a_class_with_one_image_fails_before_training(tmp_path, capsys, folder):
    data = tmp_path / "data"
    data.mkdir()
    for path in folder.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    train, _ = am.load_digits()
    labels = np.where(train.labels[:N_TRAIN] == 3, 4, train.labels[:N_TRAIN])
    labels[5] = 3
    test = np.full(N_TEST, 4)
    (data / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels.astype(np.uint8)))
    (data / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(test.astype(np.uint8)))
    out = tmp_path / "out"
    code, printed, err = run(capsys, *arguments(data, out))
    assert (code, printed) == (1, "")
    assert "at least two images of each class, got one of 3" in err
    assert not out.exists()
