"""``ambigmnist plant`` and ``ambigmnist evaluate``: from data to what finds the plants."""

import json

import pytest

import ambigmnist as am
from ambigmnist import cli


def run(capsys, *args):
    code = cli.main(list(map(str, args)))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The folder of a run of plant, and that of an audit of it."""
    root = tmp_path_factory.mktemp("planted")
    options = ["--flips", "30", "--blends", "0.02", "--noises", "5", "--seed", "3", "--quiet"]
    assert cli.main(["plant", "--data", "digits", "--out", str(root / "data"), *options]) == 0
    audit = ["audit", "--data", str(root / "data"), "--out", str(root / "audit"), "--folds", "3"]
    assert cli.main([*audit, "--quiet"]) == 0
    return root


def test_the_folder_is_what_plant_makes(planted):
    train, test = am.load_digits()
    data, truth = am.plant(train + test, flips=30, blends=0.02, noises=5, seed=3)
    folder = planted / "data"
    found = am.Truth.from_csv(folder / "truth.csv")
    assert (found.kind == truth.kind).all()
    assert (found.labels == truth.labels).all()
    parts = [
        am.load_idx(folder / f"{name}-images-idx3-ubyte", folder / f"{name}-labels-idx1-ubyte")
        for name in ("train", "t10k")
    ]
    assert len(parts[0]) == len(train)
    assert (parts[0] + parts[1]).sha256 == data.sha256
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["planted"]["sha256"] == data.sha256
    assert summary["planted"]["images"]["blend"] == round(0.02 * len(data))


def test_what_is_printed(capsys, tmp_path):
    code, out, err = run(capsys, "plant", "--data", "digits", "--flips", 2, "--out", tmp_path / "p")
    assert code == 0
    assert "1797 images, planted: flip 2" in out
    assert f"next: ambigmnist audit --data {tmp_path / 'p'}" in out
    assert "digits: 898 training and 899 test images" in err
    code, out, err = run(
        capsys, "plant", "--data", "digits", "--out", tmp_path / "p", "--json", "--quiet"
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["planted"]["images"]["flip"] == 0  # the folder was replaced


def test_the_audit_keeps_verdicts(planted, capsys):
    lines = (planted / "audit" / "verdicts.csv").read_text().splitlines()
    assert len(lines) == 1798
    ev = am.Evidence.load(planted / "audit" / "evidence.npz")
    summary = json.loads((planted / "audit" / "summary.json").read_text())
    assert summary["verdicts"] == am.verdicts(ev).counts()
    page = (planted / "audit" / "index.html").read_text()
    assert 'href="verdicts.csv"' in page
    assert f"{summary['verdicts']['mislabelled']} mislabelled" in page


def test_evaluate_tells_what_finds_them(planted, capsys):
    audit, data = planted / "audit", planted / "data"
    code, out, _ = run(capsys, "evaluate", audit, data, "--kind", "flip", "--resamples", 20)
    assert code == 0
    assert "30 planted among 1797 images" in out
    for name in ("self_confidence", "aum", "least_confident", "verdict"):
        assert name in out
    files = [audit / "evidence.npz", data / "truth.csv"]
    code, out, _ = run(
        capsys, "evaluate", *files, "--kind", "flip", "--by", "aum", "--by", "verdict", "--by",
        "least_confident", "--json", "-k", 10,
    )  # fmt: skip
    found = json.loads(out)
    assert (code, found["planted"], found["k"]) == (0, 30, 10)
    aps = {name: row["average_precision"] for name, row in found["scores"].items()}
    assert set(aps) == {"aum", "verdict", "least_confident"}
    assert aps["verdict"][0] > 0.8 > 0.3 > aps["least_confident"][0]
    assert all(low <= value <= high for value, low, high in aps.values())


@pytest.mark.parametrize("kind", ["any", "blend", "noise"])
def test_every_kind_can_be_looked_for(planted, capsys, kind):
    code, out, _ = run(
        capsys, "evaluate", planted / "audit", planted / "data", "--kind", kind, "--by", "verdict",
        "--resamples", 0, "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["scores"]["verdict"]["auroc"][0] > 0.85


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["plant", "--flips", "1.5"], 2, "a share below 1"),
        (["plant", "--flips", "x"], 2, "a number of images"),
        (["plant", "--flip", "matrix"], 2, "invalid choice"),
        (["plant", "--data", "digits", "--flips", "5000"], 1, "expected at most 1797"),
        (["plant", "--data", "nowhere"], 1, "nowhere"),
        (["evaluate", "nowhere", "no"], 1, "nowhere"),
        (["evaluate"], 2, "required"),
        (["evaluate", "a", "b", "-k", "0"], 2, "at least 1"),
        (["evaluate", "a", "b", "--resamples", "-1"], 2, "at least 0"),
    ],
)
def test_wrong_use(args, code, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, _, err = run(capsys, *args)
    assert found == code
    assert text in err
    assert list(tmp_path.iterdir()) == []


def test_evidence_and_truth_must_belong_together(planted, tmp_path, capsys):
    audit, data = planted / "audit", planted / "data"
    train, test = am.load_digits()
    _, other = am.plant(train, flips=3)
    other.to_csv(tmp_path / "short.csv")
    code, _, err = run(capsys, "evaluate", audit, tmp_path / "short.csv")
    assert code == 1
    assert "expected the truth about the 1797 images" in err
    _, other = am.plant(train + test, flips=30, seed=4)
    other.to_csv(tmp_path / "other.csv")
    code, _, err = run(capsys, "evaluate", audit, tmp_path / "other.csv")
    assert code == 1
    assert "the audit must be of the planted data" in err
    code, _, err = run(capsys, "evaluate", audit, data, "--kind", "occlusion")
    assert code == 1
    assert "nothing of the kind 'occlusion' was planted" in err
    code, _, err = run(capsys, "evaluate", audit, data, "--by", "bald")
    assert code == 1
    assert "bald" in err
