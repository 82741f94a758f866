"""``ambigmnist report`` and ``ambigmnist review``: pages, and decisions merged and applied."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ambigmnist as am
from ambigmnist import cli
from ambigmnist.review import Decision, Pin, Review

AT = "2026-01-31T12:00:00Z"
KINDS = ("images-idx3", "labels-idx1")


def run(capsys, *args):
    code = cli.main([str(a) for a in args])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def data():
    train, test = am.load_digits()
    return train, test, train + test


@pytest.fixture(scope="module")
def audited(tmp_path_factory, data):
    """Evidence about all digits, as an audit keeps it."""
    folder = tmp_path_factory.mktemp("audit")
    both = data[2]
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(10, 0.2), len(both))
    am.Evidence(probs, both.labels, images=both.images, split=both.split).save(
        folder / "evidence.npz"
    )
    return folder


def review_of(dataset, who="me", shift=1, rows=(3, 5)):
    given = np.asarray(dataset.labels).tolist()
    decisions = [Decision(i, given[i], "relabel", ((given[i] + shift) % 10,), at=AT) for i in rows]
    decisions.append(Decision(8, given[8], "ambiguous", (given[8], (given[8] + 1) % 10), at=AT))
    decisions.append(Decision(9, given[9], "unreadable", at=AT))
    return Review(Pin.of(dataset), who, tuple(decisions))


def test_report_of_an_audit(audited, tmp_path, capsys):
    out = tmp_path / "r.html"
    code, text, err = run(capsys, "report", audited, "--out", out, "--top", 50, "--by", "entropy")
    assert (code, err) == (0, "")
    assert text.startswith("50 images, ")
    assert text.splitlines()[-1] == str(out)
    assert '"orders":[{"name":"entropy"' in out.read_text()
    code, text, _ = run(capsys, "report", audited / "evidence.npz", "--out", out, "--no-details")
    assert code == 0
    assert text.startswith("1,000 images, ")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["report", "nowhere"], 1, "nowhere: expected a file"),
        (["report", "."], 1, "expected the folder of an audit, with evidence.npz"),
        (["report"], 2, "evidence"),
        (["report", "AUDIT", "--by", "entropi"], 1, "entropy"),
        (["report", "AUDIT", "--top", "0"], 2, "at least 1"),
        (["report", "AUDIT", "--out", ""], 2, "expected the name of a file"),
        (["report", "AUDIT", "--out", "no/such/folder.html"], 1, "create the folder first"),
        (["review"], 2, "merge|apply"),
        (["review", "split"], 2, "invalid choice"),
        (["review", "merge"], 2, "REVIEW"),
        (["review", "merge", "nowhere.json"], 1, "nowhere.json: expected a file"),
        (["review", "merge", "nowhere.json", "--report", "r.html"], 1, "expected --evidence"),
        (["review", "apply", "nowhere.json"], 1, "nowhere.json: expected a file"),
        (["review", "apply", "x", "--ambiguous", "drop"], 2, "keep"),
    ],
)
def test_wrong_inputs(audited, tmp_path, capsys, monkeypatch, args, code, message):
    monkeypatch.chdir(tmp_path)
    got, _, err = run(capsys, *[audited if a == "AUDIT" else a for a in args])
    assert got == code
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["train", "test", "all"])
def test_apply_and_undo(data, tmp_path, capsys, part):
    """The folder is one that --data takes, and differs in exactly the relabelled images."""
    which = {"train": 0, "test": 1, "all": 2}[part]
    review_of(data[which]).save(tmp_path / "r.json")
    out = tmp_path / "out"
    args = ["review", "apply", tmp_path / "r.json", "--data", "digits", "--quiet"]
    code, text, err = run(capsys, *args, "--out", out)
    assert (code, err) == (0, "")
    assert "2 labels changed" in text
    names = [f"{'t10k' if part == 'test' else 'train'}-{kind}-ubyte" for kind in KINDS]
    found = am.load_idx(*(out / name for name in names))
    before = data[1] if part == "test" else data[0]
    assert np.array_equal(found.images, before.images)
    assert np.flatnonzero(found.labels != before.labels).tolist() == [3, 5]
    weights = np.load(out / "weights.npz")
    assert weights["soft_labels"].shape == (len(data[which]), 10)
    assert weights["soft_labels"][8].max() == 0.5
    assert np.flatnonzero(weights["sample_weight"] == 0).tolist() == [9]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["review"]["part"] == part
    assert summary["review"]["changed"] == [3, 5]
    # To what it wrote it can be applied again, and taken back.
    args[4] = out
    assert run(capsys, *args, "--out", tmp_path / "again")[0] == 0
    code, _, _ = run(capsys, *args, "--undo", "--out", tmp_path / "undone")
    assert code == 0
    for name in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    undone = am.load_idx(*(tmp_path / "undone" / f"train-{kind}-ubyte" for kind in KINDS))
    assert np.array_equal(undone.labels, data[0].labels)


def test_an_ambiguous_class_in_an_npz(data, tmp_path, capsys):
    review_of(data[1]).save(tmp_path / "r.json")
    code, text, _ = run(
        capsys, "review", "apply", tmp_path / "r.json", "--data", "digits", "--out",
        tmp_path / "out", "--npz", "--ambiguous", "class", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(text)["review"]["classes"] == list(range(11))
    arrays = np.load(tmp_path / "out" / "data.npz")
    assert arrays["test_labels"][8] == 10
    assert np.array_equal(arrays["train_labels"], data[0].labels)


def test_other_data_are_refused_and_nothing_is_written(data, tmp_path, capsys):
    review = review_of(data[1])
    path = tmp_path / "r.json"
    for key in ("images_sha256", "labels_sha256"):
        raw = review.to_json()
        raw["dataset"][key] = "f" * 64
        path.write_text(json.dumps(raw))
        code, out, err = run(
            capsys, "review", "apply", path, "--data", "digits", "--out", tmp_path / "out"
        )
        assert (code, out) == (1, "")
        assert "expected the" in err
        assert not (tmp_path / "out").exists()
    path.write_text(json.dumps(review.to_json())[:-30])
    code, _, err = run(capsys, "review", "apply", path, "--data", "digits", "--out", tmp_path / "o")
    assert code == 1
    assert "complete JSON" in err


def test_merge(data, audited, tmp_path, capsys):
    both = data[2]
    for who, shift in (("ann", 1), ("bob", 2)):
        review_of(both, who, shift).save(tmp_path / f"{who}.json")
    files = [tmp_path / "ann.json", tmp_path / "bob.json"]
    out, page = tmp_path / "merged.json", tmp_path / "conflicts.html"
    code, text, err = run(
        capsys, "review", "merge", *files, "--out", out, "--report", page, "--evidence", audited
    )
    assert (code, err) == (0, "")
    assert "agree on 2 images, 2 in conflict" in text
    assert [d.index for d in am.load_review(out).decisions] == [8, 9]
    assert '"opinions":{"3":' in page.read_text()
    code, text, _ = run(capsys, "review", "merge", *files, "--out", out, "--json")
    assert json.loads(text)["conflicts"] == [3, 5]
    code, text, _ = run(capsys, "report", audited, "--conflicts", *files, "--out", page)
    assert code == 0
    assert text.startswith("2 images")
    other = review_of(data[0], "zoe")
    other.save(tmp_path / "zoe.json")
    before = out.read_bytes()
    code, _, err = run(capsys, "review", "merge", *files, tmp_path / "zoe.json", "--out", out)
    assert code == 1
    assert "data of the first" in err
    assert out.read_bytes() == before


def test_help(capsys):
    for args in (["report"], ["review"], ["review", "merge"], ["review", "apply"]):
        code, text, _ = run(capsys, *args, "--help")
        assert code == 0
        assert text.startswith("usage: ambigmnist " + " ".join(args))
    assert "ambigmnist report" in run(capsys, "--help")[1]
