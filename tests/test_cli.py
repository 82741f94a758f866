"""The command: what it prints, the folder it writes, and what it leaves alone when it fails."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ambigmnist as am
from ambigmnist import _command_data, _folder, _mnist, _output, cli
from ambigmnist._idx import idx_bytes
from ambigmnist._network import PRESETS
from ambigmnist.datasets import load_digits
from ambigmnist.review import Pin

DEFINITIONS = ["least_confident", "confident_wrong"]
COMMAND = [sys.executable, "-m", "ambigmnist"]


def run(capsys, *args):
    """(exit code, stdout, stderr) of the command in this process."""
    code = cli.main([str(a) for a in args])
    out, err = capsys.readouterr()
    return code, out, err


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, and its name; empty folders as names that end in a slash."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[name + "/"] = b""
    return found


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> tuple[Path, dict, str]:
    """(folder, what stdout said, stderr) of one real run, on the embedded digits."""
    folder = tmp_path_factory.mktemp("run") / "out"
    done = subprocess.run(
        [*COMMAND, "--data", "digits", "--out", folder, "--top", "6", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


@pytest.fixture
def out(trained, tmp_path) -> Path:
    """A copy of that folder, to be written into."""
    return Path(shutil.copytree(trained[0], tmp_path / "out"))


@pytest.fixture
def no_training(monkeypatch):
    def fit(*args, **kwargs):
        raise AssertionError("trained a network in vain")

    monkeypatch.setattr("ambigmnist.model.CNN.fit", fit)


def with_model(trained, out: Path, *more) -> list:
    """Arguments of a run that need not train."""
    return ["--data", "digits", "--model", trained[0] / "model.safetensors", "--out", out, *more]


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "ranking.csv").read_text())))


# ---- the folder ----


def test_summary_is_what_is_printed_and_lists_every_file(trained):
    folder, printed, _ = trained
    assert json.loads((folder / "summary.json").read_text()) == printed
    assert printed["format"] == "ambigmnist-summary"
    assert printed["format_version"] == 1
    assert printed["version"] == am.__version__
    assert sorted(printed["files"]) == sorted(contents(folder))
    train, test = load_digits()
    assert printed["data"]["sha256"] == {"train": train.sha256, "test": test.sha256}
    assert printed["data"]["images"] == {"train": 898, "test": 899}
    assert printed["model"] == {
        "file": None,
        "preset": "fast",
        "seed": 0,
        "epochs": printed["model"]["epochs"],
    }
    assert printed["model"]["epochs"] * 15 >= 1000  # batches of 64
    for name in ("heatmap-count", "heatmap-probability", "training-curves", "gallery-margin"):
        assert (f"{name}.svg" in printed["files"]) == (name != "gallery-margin")


def test_training_reports_progress_on_stderr_only(trained):
    assert "898 training and 899 test images" in trained[2]
    assert "Traceback" not in trained[2]


def test_numbers_agree_with_the_table(trained):
    folder, printed, _ = trained
    rows = table(folder)
    assert list(rows[0]) == [
        *("index", "split", "given", "predicted", "p_given", "p_predicted", "in_sample"),
        *("least_confident_score", "least_confident_rank"),
        *("confident_wrong_score", "confident_wrong_rank"),
    ]
    assert sorted(int(r["index"]) for r in rows) == list(range(899))
    assert {r["split"] for r in rows} == {"test"}
    assert {r["in_sample"] for r in rows} == {"false"}
    test = load_digits()[1]
    assert all(test.labels[int(r["index"])] == int(r["given"]) for r in rows)
    wrong = [r for r in rows if r["given"] != r["predicted"]]
    found = printed["evaluation"]["test"]
    assert found["wrong"] == len(wrong)
    assert found["accuracy"] == pytest.approx(1 - len(wrong) / 899)
    assert found["accuracy"] > 0.96
    loss = -np.mean([np.log(float(r["p_given"])) for r in rows])
    assert found["log_loss"] == pytest.approx(loss, rel=1e-4)
    for r in rows:
        p = float(r["p_predicted"])
        assert float(r["least_confident_score"]) == pytest.approx(1 - p, abs=1e-6)
        if r["given"] != r["predicted"]:
            assert float(r["confident_wrong_score"]) == pytest.approx(p, abs=1e-6)
        else:
            assert float(r["confident_wrong_score"]) <= -0.5


@pytest.mark.parametrize("name", DEFINITIONS)
def test_ranks_follow_scores_and_top_lists_follow_ranks(trained, name):
    folder, printed, _ = trained
    rows = sorted(table(folder), key=lambda r: int(r[f"{name}_rank"]))
    assert [int(r[f"{name}_rank"]) for r in rows] == list(range(1, 900))
    keys = [(-float(r[f"{name}_score"]), int(r["index"])) for r in rows]
    assert keys == sorted(keys)
    top = printed["top"][name]
    assert len(top) == 6
    for row, item in zip(rows, top, strict=False):
        assert item["index"] == int(row["index"])
        assert item["score"] == float(row[f"{name}_score"])
        assert str(item["given"]) == row["given"]
        assert str(item["predicted"]) == row["predicted"]
    if name == "confident_wrong":
        assert all(item["given"] != item["predicted"] for item in top)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_pictures_are_the_images_ten_times_as_large(trained, name):
    folder, printed, _ = trained
    test = load_digits()[1]
    for item in printed["top"][name]:
        assert item["picture"] == (
            f"top/{name}/{item['rank']}-{item['index']}-{item['predicted']}-{item['given']}.png"
        )
        with Image.open(folder / item["picture"]) as picture:
            assert picture.size == (280, 280)
            pixels = np.asarray(picture)
        image = test.images[item["index"]]
        assert np.array_equal(pixels, np.kron(image, np.ones((10, 10), np.uint8)))


def test_the_page_is_the_report(trained):
    """What the page does is tested in tests/browser; its links are the files beside it."""
    folder, printed, _ = trained
    page = (folder / "index.html").read_text()
    assert not re.search(r"\son\w+=| style=|https?:|javascript:", page)
    links = {unescape(link) for link in re.findall(r'<a href="([^"#]*)"', page)}
    assert links == {name for name in printed["files"] if "/" not in name} - {"index.html"}
    assert {"ranking.csv", "heatmap-count.svg", "gallery-confident_wrong.png"} <= links
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert data["report"] == {"order": "least_confident", "images": 899}
    assert data["dataset"] == Pin.of(load_digits()[1]).to_json() | {"name": "the UCI digits"}
    assert "speaks" in data
    assert f"{printed['evaluation']['test']['accuracy'] * 100:.2f} %" in page


def test_pictures_and_tables_have_no_dates_and_do_not_depend_on_threads(trained, tmp_path, capsys):
    folders = []
    for threads in (1, 2):
        folders.append(tmp_path / str(threads))
        args = with_model(trained, folders[-1], "--threads", threads, "--quiet", "--top", 6)
        assert run(capsys, *args)[0] == 0
    one, two = map(contents, folders)
    differ = {name for name in one if one[name] != two[name]}
    assert one.keys() == two.keys()
    assert differ <= {"summary.json", "index.html"}  # these say how many threads there were
    assert one["model.safetensors"] == (trained[0] / "model.safetensors").read_bytes()
    assert one["ranking.csv"] == (trained[0] / "ranking.csv").read_bytes()


def test_saved_model_knows_what_it_was_trained_on(trained, tmp_path, capsys):
    out = tmp_path / "all"
    code, text, _ = run(
        capsys, *with_model(trained, out, "--split", "all", "--by", "margin", "--json")
    )
    assert code == 0
    rows = table(out)
    assert len(rows) == 1797
    assert {(r["split"], r["in_sample"]) for r in rows} == {("train", "true"), ("test", "false")}
    assert sorted(int(r["index"]) for r in rows if r["split"] == "train") == list(range(898))
    assert json.loads(text)["evaluation"] == trained[1]["evaluation"]
    assert json.loads(text)["model"]["preset"] is None
    assert "training-curves.svg" in json.loads(text)["files"]  # the model kept its history


def test_images_that_the_network_was_fitted_to_are_marked(trained, tmp_path, capsys):
    legend = "* in sample: the network was fitted to this image"
    code, text, _ = run(capsys, *with_model(trained, tmp_path / "test", "--top", 3))
    assert code == 0
    assert legend not in text  # of the lists, but the training part is among the numbers
    assert re.search(r"^train\*  .*\ntest    .*\n\* in sample: ", text, re.M)
    _, text, _ = run(capsys, *with_model(trained, tmp_path / "train", "--split", "train"))
    assert re.search(r"^   1  \d+\* \(\d->\d\) ", text, re.M)
    assert text.count(legend) == 1
    pages = {}
    for split in ("train", "test"):
        summary = json.loads((tmp_path / split / "summary.json").read_text())
        assert {part: n["in_sample"] for part, n in summary["evaluation"].items()} == {
            "train": 898,
            "test": 0,
        }
        known = {item["in_sample"] for found in summary["top"].values() for item in found}
        assert known == {split == "train"}
        pages[split] = (tmp_path / split / "index.html").read_text()
        assert "accuracy, train (in sample)" in pages[split]
        assert "accuracy, test<" in pages[split]
    assert "In sample: 898 of 898 images (the network was fitted to them)" in pages["train"]
    assert "In sample" not in pages["test"]


def test_images_held_out_are_not_in_sample(tmp_path, capsys, monkeypatch):
    """The preset of the article stops early by the last fifth, and the model's file says so."""
    monkeypatch.setitem(PRESETS, "seed", PRESETS["seed"].replaced({"epochs": 1}))
    first, second, old = tmp_path / "first", tmp_path / "second", tmp_path / "old"
    everything = ["--data", "digits", "--split", "all", "--by", "margin", "--quiet"]
    assert run(capsys, *everything, "--preset", "seed", "--out", first)[0] == 0
    file = first / "model.safetensors"
    assert run(capsys, *everything, "--model", file, "--out", second)[0] == 0
    for folder in (first, second):
        rows = table(folder)
        held = sorted(
            int(r["index"]) for r in rows if (r["split"], r["in_sample"]) == ("train", "false")
        )
        assert held == list(range(718, 898))
        assert sum(r["in_sample"] == "true" for r in rows) == 718
        assert {r["in_sample"] for r in rows if r["split"] == "test"} == {"false"}
    assert (first / "model.safetensors").read_bytes() == (second / file.name).read_bytes()

    summary = json.loads((second / "summary.json").read_text())
    assert summary["evaluation"]["train"]["in_sample"] == 718

    # A file that does not say which images of the part leaves it open.
    model = am.CNN.load(file)
    texts = {k: v for k, v in model.metadata_.items() if k == "trained_on"}
    for more in ({}, {"trained_on_first": "-1"}, {"trained_on_first": "many"}):
        model.save(tmp_path / "m", metadata={**texts, **more})
        assert run(capsys, *everything, "--model", tmp_path / "m", "--out", old)[0] == 0
        assert {(r["split"], r["in_sample"]) for r in table(old)} == {
            ("train", ""),
            ("test", "false"),
        }
        summary = json.loads((old / "summary.json").read_text())
        assert summary["evaluation"]["train"]["in_sample"] is None
        assert summary["evaluation"]["test"]["in_sample"] == 0
        assert "In sample" not in (old / "index.html").read_text()


@pytest.mark.parametrize("split", ["test", "all"])
def test_galleries_call_images_what_the_tables_call_them(
    trained, tmp_path, capsys, monkeypatch, split
):
    titles = []

    def write(stage, name, figure, real=_output._write_figure):
        if name == "gallery-margin":
            titles.extend(cell.get_title() for cell in figure.axes[0].child_axes)
        real(stage, name, figure)

    monkeypatch.setattr(_output, "_write_figure", write)
    args = with_model(trained, tmp_path / "out", "--by", "margin", "--split", split)
    code, text, _ = run(capsys, *args)
    assert code == 0
    assert len(titles) == 12
    printed = re.findall(r"^ +\d+  (.+?\))", text, re.MULTILINE)
    assert titles == printed
    assert all(title.startswith(("train ", "test ")) == (split == "all") for title in titles)


def test_everything_is_ranked_once(trained, tmp_path, capsys, monkeypatch):
    asked = []

    def rank(ev, by, k=None, real=am.rank):
        asked.append(by)
        return real(ev, by, k)

    monkeypatch.setattr(_output, "rank", rank)
    assert run(capsys, *with_model(trained, tmp_path / "out"))[0] == 0
    assert asked == DEFINITIONS


@pytest.mark.parametrize("k", [0, 2, 3, 9])
@pytest.mark.parametrize("given", [[0, 1, 1, 0, 1], [1, 1, 0, 0, 1], [0, 0, 1, 1, 0]])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_top_of_a_ranking_is_what_rank_gives(name, given, k):
    p = np.array([0.9, 0.2, 0.3, 0.6, 0.4])  # read as 0, 1, 1, 0, 1
    ev = am.Evidence(np.stack([p, 1 - p], 1), given)
    top, expected = _output._top(am.rank(ev, name), k), am.rank(ev, name, k)
    assert list(top) == list(expected)
    assert top.note == expected.note


def test_the_last_line_is_where_the_page_is(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text, _ = run(capsys, *with_model(trained, Path("here")))
    assert code == 0
    assert text.splitlines()[-1] == str(tmp_path / "here" / "index.html")


# ---- a second run ----


def test_second_run_removes_its_own_files_and_no_others(trained, out, capsys):
    (out / "notes.txt").write_text("mine")
    (out / "top" / "least_confident" / "mine.png").write_bytes(b"mine")
    before = set(contents(out))
    args = with_model(trained, out, "--by", "margin", "--top", 3)
    code, text, _ = run(capsys, *args)
    assert code == 0
    after = contents(out)
    listed = set(json.loads(after["summary.json"])["files"])
    mine = {"notes.txt", "top/least_confident/mine.png"}
    assert set(after) == listed | mine
    assert after["notes.txt"] == b"mine"
    assert len([name for name in listed if name.startswith("top/margin/")]) == 3
    assert not any("confident_wrong" in name for name in after)
    assert not (out / "top" / "confident_wrong").exists()
    assert before - set(after)
    assert "margin" in text
    assert text.splitlines()[-1] == str(out / "index.html")


@pytest.mark.parametrize("name", ["../victim", "/absolute", "link/victim", "a/../../victim", "."])
def test_summary_cannot_name_files_elsewhere(trained, out, tmp_path, capsys, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    victims = [tmp_path / "victim", elsewhere / "victim"]
    for victim in victims:
        victim.write_text("keep")
    (out / "link").symlink_to(elsewhere)
    summary = json.loads((out / "summary.json").read_text())
    summary["files"] += [name.replace("/absolute", str(victims[0])), 7, None, "\ud800", "a\0b", ""]
    (out / "summary.json").write_text(json.dumps(summary))
    assert run(capsys, *with_model(trained, out, "--top", 3))[0] == 0
    assert [victim.read_text() for victim in victims] == ["keep", "keep"]
    assert (out / "link").is_symlink()


def test_nothing_is_written_through_a_linked_folder(tmp_path, capsys, no_training):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "top").symlink_to(elsewhere)
    code, _, err = run(capsys, "--data", "digits", "--out", out)
    assert code == 1
    assert "top is in the way" in err
    assert contents(elsewhere) == {}


# ---- what fails, and when ----


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: p.joinpath("out").write_text("a file"), "expected a folder, got a file"),
        (lambda p: None, "does not exist; create it"),
        (lambda p: p.joinpath("no").write_text("a file"), "is not a folder"),
        (lambda p: Path("/proc/ambigmnist-out"), "cannot be created"),
    ],
    ids=["file", "no-parent", "parent-is-a-file", "proc"],
)
def test_out_is_checked_before_the_training(tmp_path, capsys, no_training, prepare, message):
    made = prepare(tmp_path)
    if isinstance(made, Path):
        target = made
    else:
        target = tmp_path / "out" if (tmp_path / "out").exists() else tmp_path / "no" / "out"
    before = contents(tmp_path)
    code, text, err = run(capsys, "--data", "digits", "--out", target)
    assert (code, text) == (1, "")
    assert message in err
    assert str(target) in err
    assert contents(tmp_path) == before


def test_read_only_out_is_checked_before_the_training(tmp_path, capsys, no_training, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(_folder.tempfile, "mkdtemp", refuse)
    code, _, err = run(capsys, "--data", "digits", "--out", tmp_path / "out")
    assert code == 1
    assert "cannot be written to: Permission denied" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["index.html", "summary.json", "model.safetensors"])
def test_foreign_file_of_our_name_is_kept(tmp_path, capsys, no_training, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"files": ["summary.json"]}')
    code, _, err = run(capsys, "--data", "digits", "--out", out)
    assert code == 1
    assert f"{name} is in the way" in err
    assert contents(out) == {name: b'{"files": ["summary.json"]}'}


def test_full_disk_leaves_the_previous_result(trained, out, capsys, monkeypatch):
    before = contents(out)
    total = len(before)
    for failing in (1, 2, total // 2, total - 1):
        count = 0

        def write(self, name, data, real=_folder.Stage.write, failing=failing):
            nonlocal count
            count += 1
            if count == failing:
                self.path(name).write_bytes(data[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(self, name, data)

        with monkeypatch.context() as patch:
            patch.setattr(_folder.Stage, "write", write)
            code, text, err = run(capsys, *with_model(trained, out, "--top", 6))
        assert (code, text) == (1, "")
        assert count == failing
        assert "No space left on device" in err
        assert contents(out) == before


def write_files(folder: _folder.OutputFolder, *names: str) -> None:
    """What a run does, in small."""
    summary = {"format": _folder.FORMAT, "files": [*names, "summary.json"]}
    with folder.update() as stage:
        for name in names:
            stage.write(name, " ".join(names).encode())
        stage.write("summary.json", json.dumps(summary).encode())


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("action", ["replace", "link", "unlink", "mkdir"])
def test_failing_or_interrupted_renames_are_undone(tmp_path, monkeypatch, action, when, error):
    """The n-th call of one kind fails, or Ctrl-C comes right before or after it, for every n."""
    owner = os if action == "link" else Path
    real = getattr(owner, action)
    calls = failing = 0

    def call(*args, **kwargs):
        nonlocal calls
        calls += 1
        fails = calls == failing  # asked now: a call may lead to another
        if fails and when == "before":
            raise error
        real(*args, **kwargs)
        if fails:
            raise error

    with _folder.OutputFolder(tmp_path / "out") as folder:
        write_files(folder, "a", "top/x/1", "top/x/2", "top/z/1")
        (folder.path / "mine").write_text("mine")
        before = contents(folder.path)
        monkeypatch.setattr(owner, action, call)
        while failing < 100:
            calls, failing = 0, failing + 1
            try:
                write_files(folder, "a", "b", "top/x/1", "top/y/1")
                break
            except (am.AmbigError, KeyboardInterrupt):
                assert contents(folder.path) == before
        # A failing link is no failure: the file is moved instead.
        assert calls < failing or (action == "link" and isinstance(error, OSError))
        assert 1 < failing < 100 or action == "link"
        after = contents(folder.path)
        assert set(after) == {"a", "b", "top/x/1", "top/y/1", "summary.json", "mine"}
        assert after["a"] == b"a b top/x/1 top/y/1"


def test_errors_name_the_folder_and_not_the_hidden_one(tmp_path):
    full = am.FileError("/somewhere/hidden: cannot be written: No space left on device")
    full.errno = errno.ENOSPC  # as the writer of the model raises it
    with _folder.OutputFolder(tmp_path / "out") as folder:
        with pytest.raises(am.FileError, match="No space left on device") as caught:
            with folder.update():
                raise full
        assert str(caught.value).startswith(f"{tmp_path / 'out'}: cannot be written to")
        assert "hidden" not in str(caught.value)
        with pytest.raises(am.ShapeError, match="as it is"), folder.update():
            raise am.ShapeError("as it is")
    assert not (tmp_path / "out").exists()


def test_without_hard_links_it_works_all_the_same(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with _folder.OutputFolder(tmp_path / "out") as folder:
        write_files(folder, "a", "b")
        write_files(folder, "a")
    assert set(contents(tmp_path / "out")) == {"a", "summary.json"}
    assert (tmp_path / "out" / "a").read_bytes() == b"a"


def test_interrupted_training_leaves_nothing(tmp_path, capsys, monkeypatch):
    def fit(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("ambigmnist.model.CNN.fit", fit)
    code, text, err = run(capsys, "--data", "digits", "--out", tmp_path / "out")
    assert (code, text) == (130, "")
    assert "interrupted" in err
    assert not (tmp_path / "out").exists()


def test_a_real_ctrl_c(tmp_path):
    child = subprocess.Popen(
        [*COMMAND, "--data", "digits", "--out", tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stderr is not None
        assert "898 training" in child.stderr.readline()  # the training comes next
        child.send_signal(signal.SIGINT)
        text, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert text == ""
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


# ---- usage ----


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--by", "least_confidnt"], "did you mean 'least_confident'"),
        (["--preset", "fats"], "did you mean 'fast'"),
        (["--split", "tset"], "invalid choice: 'tset'"),
        (["--top", "0"], "at least 1"),
        (["--top", "many"], "expected an integer"),
        (["--threads", "-1"], "at least 1"),
        (["--seed", "-1"], "expected 0 to"),
        (["--out", ""], "expected the name of a folder"),
        (["--model", "m.h5", "--preset", "fast"], "no meaning with --model"),
        (["--model", "m.h5", "--seed", "1"], "no meaning with --model"),
        (["mnist"], "unrecognized arguments: mnist"),
        (["doctor", "--out", "x"], "unrecognized arguments"),
    ],
)
def test_usage_errors(capsys, tmp_path, monkeypatch, no_training, args, message):
    monkeypatch.chdir(tmp_path)
    code, text, err = run(capsys, *args)
    assert (code, text) == (2, "")
    assert message in err
    assert err.startswith("usage: ambigmnist")
    assert contents(tmp_path) == {}


def test_version_and_help_are_quick(capsys):
    assert run(capsys, "--version")[:2] == (0, f"ambigmnist {am.__version__}\n")
    heavy = {"matplotlib", "PIL", "jinja2", "pooch", "tqdm", "pandas", "h5py"}
    program = (
        "import sys; from ambigmnist.cli import main; code = main(['--help']); "
        f"print(code, sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\n0 []\n")
    for option in ("--data", "--split", "--by", "--model", "doctor", "130 interrupted"):
        assert option in done.stdout


# ---- data and models ----


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a file, got: No such file"),
        (b"", "safetensors"),
        (b"\x89HDF\r\n\x1a\n garbage", "HDF5"),
    ],
)
def test_bad_model_files(tmp_path, capsys, content, message):
    path = tmp_path / "model"
    if content is not None:
        path.write_bytes(content)
    code, text, err = run(capsys, "--data", "digits", "--model", path, "--out", tmp_path / "out")
    assert (code, text) == (1, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_models_are_not_waited_for(tmp_path):
    """A pipe that nobody writes to is refused, whatever kind of model it may hold."""
    for name in ("model.h5", "model.safetensors"):
        os.mkfifo(tmp_path / name)
        done = subprocess.run(
            [*COMMAND, "--data", "digits", "--model", name, "--out", "out"],
            capture_output=True,
            cwd=tmp_path,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
        assert f"{name}: expected a file, got a device or a pipe" in done.stderr
    for load in (am.CNN.from_keras, am.CNN.load):
        with pytest.raises(am.FileError, match="device or a pipe"):
            load(tmp_path / "model.h5")
    assert not (tmp_path / "out").exists()


def idx_folder(folder: Path, train_labels: list[int], test_labels: list[int]) -> Path:
    """Bars of a place that tells the class, as four IDX files."""
    folder.mkdir()
    for part, labels in (("train", train_labels), ("t10k", test_labels)):
        images = np.zeros((len(labels), 12, 11), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, label % 11] = 200 + label
        am.save_idx(images, folder / f"{part}-images-idx3-ubyte.gz")
        am.save_idx(np.array(labels, np.uint8), folder / f"{part}-labels-idx1-ubyte")
    return folder


def test_data_in_the_form_of_mnist(tmp_path, capsys):
    folder = idx_folder(tmp_path / "bars", [3, 5, 7] * 20, [3, 5, 7, 7])
    out = tmp_path / "out"
    code, text, err = run(capsys, "--data", folder, "--out", out, "--json", "--quiet")
    assert (code, err) == (0, "")
    summary = json.loads(text)
    assert summary["data"]["name"] == "bars"
    assert summary["data"]["classes"] == [3, 5, 7]
    assert summary["data"]["shape"] == [12, 11]
    assert summary["evaluation"]["test"]["accuracy"] == 1.0
    assert summary["top"]["confident_wrong"] == []  # nothing is wrong
    assert len(summary["top"]["least_confident"]) == 4
    assert not (out / "top" / "confident_wrong").exists()
    page = (out / "index.html").read_text()
    assert "The model reads all of 4 images as labelled" in page
    with Image.open(out / summary["top"]["least_confident"][0]["picture"]) as picture:
        assert picture.size == (110, 120)


@pytest.mark.parametrize(
    ("train_labels", "test_labels", "message"),
    [
        ([1, 2] * 9, [1, 3], "label 3"),
        ([1, 2] * 9, [], "expected test images, got none"),
        ([], [1, 2], "expected training images, got none"),
    ],
)
def test_data_that_cannot_be_used(
    tmp_path, capsys, no_training, train_labels, test_labels, message
):
    folder = idx_folder(tmp_path / "bars", train_labels, test_labels)
    code, text, err = run(capsys, "--data", folder, "--out", tmp_path / "out")
    assert (code, text) == (1, "")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_model_for_images_of_another_size(trained, tmp_path, capsys):
    folder = idx_folder(tmp_path / "bars", [3, 5, 7], [3])
    model = trained[0] / "model.safetensors"
    code, _, err = run(capsys, "--data", folder, "--model", model, "--out", tmp_path / "out")
    assert code == 1
    assert "28" in err
    assert not (tmp_path / "out").exists()


def test_folder_without_data(tmp_path, capsys, no_training):
    code, _, err = run(capsys, "--data", tmp_path, "--out", tmp_path / "out")
    assert code == 1
    assert "train-images-idx3-ubyte" in err


def test_fallback_to_the_digits_is_loud(trained, tmp_path, capsys, monkeypatch):
    asked = []

    def load_mnist(path, download, timeout):
        asked.append((path, download, timeout))
        raise am.DataNotFoundError("no network")

    monkeypatch.setattr("ambigmnist.datasets._load_mnist", load_mnist)
    monkeypatch.setattr("ambigmnist.datasets.find_mnist", lambda: None)
    monkeypatch.setenv("AMBIGMNIST_DATA", "/nowhere")
    args = with_model(trained, tmp_path / "out", "--quiet")[2:]
    code, text, err = run(capsys, *args)
    assert code == 0
    assert asked == [(None, True, 5.0)]
    said = " ".join(err.split())  # --quiet does not silence it
    assert "AMBIGMNIST_DATA names /nowhere, which does not have" in said
    assert "This is not MNIST" in said
    assert "1,797 real handwritten digits" in said
    assert "AMBIGMNIST_DATA" in said
    assert text.startswith("the UCI digits\n")
    assert "This is not MNIST" in (tmp_path / "out" / "index.html").read_text()


@pytest.fixture
def damaged_cache(tmp_path, monkeypatch) -> Path:
    """Four files of junk in the own cache, which is all there is; nothing can be downloaded."""
    for name in ("AMBIGMNIST_DATA", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_mnist, "MIRRORS", ())
    folder = tmp_path / "cache" / "ambigmnist" / "mnist"
    folder.mkdir(parents=True)
    for name in _mnist.FILES:
        (folder / name).write_bytes(idx_bytes(np.zeros((2, 3, 3), np.uint8)))
    return folder


def test_a_damaged_cache_leads_to_the_digits(trained, damaged_cache, tmp_path, capsys):
    code, text, err = run(capsys, *with_model(trained, tmp_path / "out", "--quiet")[2:])
    assert code == 0, err
    said = " ".join(err.split())  # --quiet does not silence it
    assert str(damaged_cache) in said
    assert (
        "This is not MNIST: it could not be read from the cache and could not be downloaded" in said
    )
    assert text.startswith("the UCI digits\n")
    assert "not be read from the cache" in (tmp_path / "out" / "index.html").read_text()


def test_a_damaged_cache_is_downloaded_again(damaged_cache, monkeypatch):
    payloads = {
        name: idx_bytes(np.zeros((10, 28, 28) if "images" in name else 10, np.uint8))
        for name in _mnist.FILES
    }
    hashes = {name: hashlib.sha256(payload).hexdigest() for name, payload in payloads.items()}
    limits = []

    def fetch(url, name, patience, deadline):
        limits.append(deadline - time.monotonic())
        return payloads[name]

    monkeypatch.setattr(_mnist, "FILES", hashes)
    monkeypatch.setattr(_mnist, "MIRRORS", ("mirror/",))
    monkeypatch.setattr(_mnist, "_fetch", fetch)
    train, _, notes = _command_data.load_data("auto", lambda text: None)
    assert (train.name, len(train), notes) == ("mnist", 10, [])
    assert len(limits) == 4
    assert max(limits) <= 5


@pytest.mark.parametrize("how", ["environment", "path"])
def test_damaged_data_that_was_named_is_an_error(damaged_cache, tmp_path, monkeypatch, how):
    named = tmp_path / "named"
    damaged_cache.rename(named)
    for name in _mnist.FILES:
        (named / name).write_bytes(b"junk")
    monkeypatch.setenv("AMBIGMNIST_DATA", str(named) if how == "environment" else "")
    with pytest.raises(am.DataError, match="named"):
        _command_data.load_data("auto" if how == "environment" else str(named), lambda text: None)


@pytest.mark.parametrize("labels", [["a/b", "<b>x</b>", "../../é"], ["=1+1", "-", " "]])
def test_class_names_of_any_kind(trained, tmp_path, labels):
    """Names are text on the page, and harmless in file names and in a spreadsheet."""
    rng = np.random.default_rng(0)
    given = np.array(labels * 4)
    probs = rng.dirichlet(np.ones(3), 12)
    images = rng.integers(0, 256, (12, 28, 28), np.uint8)
    data = am.Dataset(images, given, name="<i>", split="test")
    ev = am.Evidence(probs, given, classes=labels, images=images, split="test")
    summary = {**trained[1], "data": {**trained[1]["data"], "title": "<i>", "classes": labels}}
    result = _output.Result(
        data=data,
        split=data.split,
        index=np.arange(12),
        in_sample=[None] * 12,
        evidence=ev,
        model=am.CNN.load(trained[0] / "model.safetensors"),
        audited=None,
        metadata={},
        by=DEFINITIONS,
        top=12,
        summary={k: v for k, v in summary.items() if k not in ("top", "heatmaps", "files")},
        notes=[],
    )
    with _folder.OutputFolder(tmp_path / "out") as folder, folder.update() as stage:
        found = _output.write_result(stage, result)
    assert sorted(contents(tmp_path / "out")) == sorted(found["files"])
    for item in found["top"]["least_confident"]:
        assert re.fullmatch(r"top/least_confident/\d+-\d+-\w+-\w+\.png", item["picture"])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<i>" not in page.replace('<i class="', "")
    assert "<b>x" not in page
    assert not {r["given"][0] for r in table(tmp_path / "out")} & set("=-+@")


def test_a_label_as_part_of_a_file_name():
    assert [_output._safe(x) for x in (7, "cat", "a/b", "../..", "ü", "x" * 99)] == [
        *("7", "cat", "a_b", "_", "_", "x" * 40)
    ]


# ---- doctor, and where the words go ----


def test_doctor(capsys):
    code, text, _ = run(capsys, "doctor", "--json")
    assert code == 0
    found = json.loads(text)
    assert found["version"] == am.__version__
    assert found["isa"] in found["isa_available"]
    assert found["threads"] >= 1
    assert set(found["self_test"].values()) == {"ok"}
    assert len(found["self_test"]) == 4
    code, text, _ = run(capsys, "doctor")
    assert code == 0
    for word in (am.__version__, found["isa"], "threads", "MNIST", "self-test"):
        assert word in text


def test_doctor_finds_a_broken_core(capsys, monkeypatch):
    real = am.layers.conv2d_forward
    monkeypatch.setattr("ambigmnist.layers.conv2d_forward", lambda *a: real(*a) * 1.001)
    code, text, _ = run(capsys, "doctor")
    assert code == 1
    assert "off by" in text


def test_reader_who_leaves_is_no_failure():
    with subprocess.Popen(
        [*COMMAND, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        err = child.stderr.read()
    assert (child.returncode, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="machine: no /dev/full")
def test_full_stdout_is_one():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "doctor"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == (
        "ambigmnist: error: standard output: cannot be written: No space left on device\n"
    )


def test_ascii_terminals_get_escapes_not_tracebacks(tmp_path):
    done = subprocess.run(
        [*COMMAND, "--data", "digits", "--out", tmp_path / "é" / "out"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.returncode == 1
    assert b"\\xe9" in done.stderr
    assert b"Traceback" not in done.stderr


# ---- the article ----


@pytest.mark.mnist
@pytest.mark.slow
def test_the_articles_network_and_its_lists(tmp_path, capsys):
    model = os.environ.get("AMBIGMNIST_ARTICLE_MODEL")
    if not model:
        pytest.skip("machine: the article's network is not here; set AMBIGMNIST_ARTICLE_MODEL")
    code, text, _ = run(
        capsys, "--data", "mnist", "--model", model, "--out", tmp_path / "out", "--json", "--quiet"
    )
    assert code == 0
    summary = json.loads(text)
    found = summary["evaluation"]
    assert found["test"]["accuracy"] == 0.9926
    assert found["test"]["log_loss"] == pytest.approx(0.0285365, abs=5e-7)
    assert found["test"]["wrong"] == 74
    assert found["train"]["accuracy"] == pytest.approx(0.99605, abs=1e-9)
    assert found["train"]["log_loss"] == pytest.approx(0.016569, abs=1e-6)

    def listed(name):
        top = summary["top"][name]
        return [(item["index"], f"{item['predicted']}->{item['given']}") for item in top]

    def expected(indices, readings):
        return list(zip(map(int, indices.split()), readings.split(), strict=True))

    assert listed("least_confident") == expected(
        "4761 1039 4248 1182 1522 3225 2648 9664 3060 1299 6571 247",
        "8->9 7->7 2->2 5->6 9->7 7->7 9->9 2->2 9->9 5->5 9->9 2->4",
    )
    assert listed("confident_wrong") == expected(
        "4176 9729 1226 3520 2654 1014 2597 445 6597 2130 2118 3422",
        "7->2 6->5 2->7 4->6 1->6 5->6 3->5 0->6 7->0 9->4 0->6 0->6",
    )
    assert summary["data"]["title"] == "MNIST"
    assert {r["in_sample"] for r in table(tmp_path / "out")} == {""}  # the file does not say


def test_a_share_is_never_rounded_to_certainty():
    from ambigmnist.review.overview import probability

    shown = [probability(p) for p in (0.0, 0.0004, 0.0005, 0.5, 0.9994, 0.9996, 1.0)]
    assert shown == ["< 0.1 %", "< 0.1 %", "0.1 %", "50.0 %", "99.9 %", "> 99.9 %", "100.0 %"]


@pytest.mark.parametrize("arguments", [["--help"], ["doctor"], ["--data", "digits"]])
def test_an_instruction_set_that_is_not_here_is_a_line(arguments, tmp_path):
    script = Path(sys.executable).with_name("ambigmnist")
    for command in (COMMAND, [str(script)] if script.exists() else COMMAND):
        done = subprocess.run(
            [*command, *arguments],
            env=os.environ | {"AMBIGMNIST_ISA": "nonsense"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("ambigmnist: error: AMBIGMNIST_ISA: instruction set 'nonsense'")
    assert list(tmp_path.iterdir()) == []
