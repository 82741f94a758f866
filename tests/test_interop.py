"""To other tools and back: what comes back is what went, and nothing else gets in."""

from __future__ import annotations

import base64
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ambigmnist as am
from ambigmnist import interop
from ambigmnist.errors import (
    ArgumentError,
    DataError,
    DataNotFoundError,
    DTypeError,
    FileError,
    ShapeError,
)
from ambigmnist.review import Decision, Pin, Review

HOSTILE = ["../x", "CON", "a/b", "a?b", "=1+1", "<script>", "🦓 \u202eשלום", " ", "A", "a"]
HOSTILE += ["x" * 300, '"']


def dataset(shape=(9, 7), names=("a", "b", "c"), n=30, dtype=np.uint8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, *shape)).astype(np.uint8)
    if dtype != np.uint8:
        images = (images / 255).astype(dtype)
    return am.Dataset(images, np.array(names)[rng.integers(0, len(names), n)], classes=names)


def evidence(data):
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.full(len(data.classes), 0.4), len(data))
    return am.Evidence(probs, data.labels, classes=data.classes, images=data.images)


# ---- tables ----


@pytest.mark.parametrize("method", ["prune_by_noise_rate", "prune_by_class", "both"])
def test_cleanlab_columns_are_cleanlabs(method):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 300)
    probs = rng.dirichlet(np.full(4, 0.3), 300) * 0.4
    probs[np.arange(300), labels] += 0.6
    labels[:25] = (labels[:25] + 1) % 4
    columns = interop.cleanlab_columns(am.Evidence(probs, labels), method=method)
    expected = find_label_issues(labels, probs, filter_by=method)
    assert columns["is_label_issue"].any()
    assert (columns["is_label_issue"] == expected).all()
    quality = get_label_quality_scores(labels, probs, method="self_confidence")
    assert columns["label_quality"] == pytest.approx(quality)
    assert (columns["predicted_label"] == probs.argmax(axis=1)).all()
    assert pd.DataFrame(columns).shape == (300, 4)


def test_json_lines(tmp_path):
    ev = evidence(dataset(names=HOSTILE))
    path = tmp_path / "x.jsonl"
    interop.to_jsonl(ev, path, by=("margin", "entropy"))
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [row["given"] for row in rows] == ev.given.tolist()
    assert [row["margin"] for row in rows] == ev.score("margin").tolist()
    interop.to_jsonl(am.verdicts(ev), path)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [row["verdict"] for row in rows] == am.verdicts(ev).verdict.tolist()
    interop.to_jsonl({"a": [1.0, np.nan], "b": ["x\u2028y", "\x85"]}, path)
    assert len(path.read_text("utf-8").splitlines()) == 2
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert rows == [{"a": 1.0, "b": "x\u2028y"}, {"a": None, "b": "\x85"}]
    before = path.read_bytes()
    for what, error in (
        ({"a": [1], "b": [1, 2]}, ShapeError),
        ({"a": [np.inf]}, ArgumentError),
        ([1, 2], DTypeError),
    ):
        with pytest.raises(error, match="what: expected"):
            interop.to_jsonl(what, path)
    assert path.read_bytes() == before


def test_review_columns(tmp_path):
    data = dataset()
    given = [list(data.classes).index(label) for label in data.labels]
    review = Review(Pin.of(data), "me", (
        Decision(0, given[0], "relabel", ((given[0] + 1) % 3,), at="2026-01-01T00:00:00Z", ms=7),
        Decision(2, given[2], "ambiguous", (0, 1), note="=1+1"),
    ))  # fmt: skip
    frame = pd.DataFrame(interop.review_columns(review))
    assert frame["label"].tolist() == ["abc"[(given[0] + 1) % 3], data.labels[2]]
    assert frame["labels"][1] == "a b"
    assert frame["ms"].tolist()[0] == 7
    assert np.isnan(frame["ms"][1])
    interop.to_jsonl(review, tmp_path / "r.jsonl")
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["note"] == "=1+1"
    assert json.loads(lines[1])["ms"] is None
    assert review.to_frame().equals(frame)
    review.to_csv(tmp_path / "r.csv")
    assert ",'=1+1," in (tmp_path / "r.csv").read_text()
    with pytest.raises(DTypeError, match="expected a Review"):
        interop.review_columns("r.json")


# ---- folders ----


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (9, 7, 4)])
@pytest.mark.parametrize("names", [("a", "b", "c"), (3, 5, 11), HOSTILE])
def test_folders_and_back(tmp_path, shape, names):
    data = dataset(shape, names)
    interop.save_images(data, tmp_path / "out")
    again = am.load_images(tmp_path / "out", name="again")
    assert np.array_equal(again.images, data.images.reshape(again.images.shape))
    assert (again.labels == data.labels).all()
    assert again.classes.tolist() == list(names)
    assert again.name == "again"
    assert {p.parent.parent for p in (tmp_path / "out").rglob("*.png")} == {tmp_path / "out"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_floats_are_rounded(tmp_path):
    data = dataset(dtype=np.float32)
    interop.save_images(data, tmp_path / "out")
    assert np.array_equal(am.load_images(tmp_path / "out").images, np.rint(data.images * 255))


def test_folders_of_others(tmp_path):
    """Without classes.json: names of folders, any endings, other files left alone."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in (10, 9):
            Image.fromarray(np.full((4, 5), i, np.uint8)).save(tmp_path / name / f"p{i}.BMP")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / ".cache").mkdir()
    data = am.load_images(tmp_path)
    assert data.labels.tolist() == ["cat", "cat", "dog", "dog"]
    assert data.images[:, 0, 0].tolist() == [9, 10, 9, 10]
    (tmp_path / "cat").rename(tmp_path / "10")
    (tmp_path / "dog").rename(tmp_path / "9")
    assert am.load_images(tmp_path).classes.tolist() == [9, 10]


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(DataNotFoundError, match="expected a folder"):
        am.load_images(tmp_path / "nowhere")
    with pytest.raises(DataNotFoundError, match="got none"):
        am.load_images(tmp_path)
    interop.save_images(dataset(), tmp_path / "out")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "out" / "a" / "99.png")
    with pytest.raises(DataError, match=r"99\.png: expected 7 x 9 pixels"):
        am.load_images(tmp_path / "out")
    (tmp_path / "out" / "a" / "99.png").write_bytes(b"\x89PNG no")
    with pytest.raises(DataError, match=r"99\.png: expected an image"):
        am.load_images(tmp_path / "out")
    for text in ("{", "[]", '{"a": 1}', '{"a": 1, "b": "x", "c": 2}', '{"a": 1, "b": 1, "c": 2}'):
        (tmp_path / "out" / "classes.json").write_text(text)
        with pytest.raises(DataError, match=r"classes\.json: expected"):
            am.load_images(tmp_path / "out")


def test_folders_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(FileError, match="a new or an empty folder"):
        interop.save_images(dataset(), tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    interop.save_images(dataset(), tmp_path / "empty")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(FileError, match="No space left"):
        interop.save_images(dataset(), tmp_path / "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "full"]
    with pytest.raises(ArgumentError, match="channels"):
        interop.save_images(dataset((4, 4, 2)), tmp_path / "new")
    with pytest.raises(ArgumentError, match="labels"):
        interop.save_images(am.Dataset(np.zeros((2, 3, 3))), tmp_path / "new")
    with pytest.raises(DTypeError, match="Dataset"):
        interop.save_images("x", tmp_path / "new")


@given(st.lists(st.text(max_size=12), unique=True, max_size=12))
def test_folder_names_are_safe_and_apart(classes):
    from ambigmnist.interop.folders import _folder_names

    names = _folder_names(classes)
    assert len({name.lower() for name in names}) == len(classes)
    for name in names:
        assert name == Path(name).name
        assert name not in ("", ".", "..", "classes.json")


# ---- contact sheet ----


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3), (9, 7, 4)])
def test_contact_sheet(tmp_path, shape):
    ev = evidence(dataset(shape, HOSTILE))
    ranking = am.rank(ev, k=5)
    interop.contact_sheet(ranking, tmp_path / "a.png", columns=3, scale=4)
    sheet = np.array(Image.open(tmp_path / "a.png"))
    for place, i in enumerate(ranking.indices):
        x, y = 8 + place % 3 * 36, 8 + place // 3 * 58
        shown = sheet[y : y + 36, x : x + 28][::4, ::4]
        if shape == (9, 7, 4):
            continue  # on white
        assert np.array_equal(shown, ev.images[i].reshape(shown.shape))
    interop.contact_sheet(ranking, tmp_path / "b.png", columns=3, scale=4)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_contact_sheets_that_cannot_be(tmp_path):
    data = dataset()
    for what, error, more in (
        ("x", DTypeError, {}),
        (data[:0], ArgumentError, {}),
        (am.rank(am.Evidence([[1.0]], [0])), ArgumentError, {}),
        (data, ArgumentError, {"columns": 0}),
        (data, ArgumentError, {"columns": 1, "scale": 1000}),
    ):
        with pytest.raises(error, match="expected"):
            interop.contact_sheet(what, tmp_path / "x.png", **more)
    assert not list(tmp_path.iterdir())


# ---- Label Studio ----


def annotated(task, *choices, note=None, **more):
    """A task as Label Studio exports it."""
    to = {"to_name": "image"}
    picked = {"from_name": "label", "type": "choices", "value": {"choices": list(choices)}, **to}
    written = {"from_name": "note", "type": "textarea", "value": {"text": [note]}, **to}
    result = [picked] if note is None else [picked, written]
    return {**task, "annotations": [{"result": result, "completed_by": 1, **more}]}


@pytest.mark.parametrize("names", [("a", "b", "c"), (0, 1, 2), HOSTILE])
def test_label_studio_and_back(tmp_path, names):
    data = dataset(names=names)
    ranking = am.rank(evidence(data), k=6)
    path = tmp_path / "tasks.json"
    config = interop.to_label_studio(ranking, path, name="some")
    values = [c.get("value") for c in ET.fromstring(config).iter("Choice")]
    assert values == [*map(str, names), "(unreadable)"]
    tasks = json.loads(path.read_text("utf-8"))
    assert [task["data"]["index"] for task in tasks] == ranking.indices.tolist()
    for task in tasks:
        picture = Image.open(io.BytesIO(base64.b64decode(task["data"]["image"].split(",")[1])))
        assert np.array_equal(np.array(picture), data.images[task["data"]["index"]])
        (choice,) = task["predictions"][0]["result"][0]["value"]["choices"]
        assert choice in values
    labels = [str(data.labels[i]) for i in ranking.indices]
    other = [next(v for v in values if v != label) for label in labels]
    done = [
        annotated(tasks[0], labels[0], lead_time=2.5, created_at="2026-03-04T05:06:07.000000Z"),
        annotated(tasks[1], other[1], note="<b>=1"),
        annotated(tasks[2], labels[2], other[2]),
        annotated(tasks[3], "(unreadable)"),
        annotated(tasks[4], was_cancelled=True),
        tasks[5],  # nobody looked
    ]
    path.write_text(json.dumps(done))
    review = interop.from_label_studio(path, data)
    found = {d.index: d for d in review.decisions}
    order = ranking.indices.tolist()
    expected = ["keep", "relabel", "ambiguous", "unreadable", "skip"]
    assert [found[i].verdict for i in order[:5]] == expected
    assert order[5] not in found
    assert (found[order[0]].ms, found[order[1]].note) == (2500, "<b>=1")
    review.save(tmp_path / "r.json")
    assert am.load_review(tmp_path / "r.json") == review
    corrected = am.apply_review(data, review)
    assert np.flatnonzero(corrected.labels != data.labels).tolist() == [order[1]]


def test_annotations_of_one_person(tmp_path):
    data = dataset()
    path = tmp_path / "tasks.json"
    interop.to_label_studio(am.rank(evidence(data), k=1), path, predictions=False)
    (task,) = json.loads(path.read_text())
    assert "predictions" not in task
    i = task["data"]["index"]
    wrong = next(v for v in "abc" if v != data.labels[i])
    one, two = (annotated(task, choice)["annotations"][0] for choice in (data.labels[i], wrong))
    task["annotations"] = [one, {**two, "completed_by": {"id": 2, "email": "bob@x"}}]
    path.write_text(json.dumps([task]))
    assert interop.from_label_studio(path, data).decisions[0].verdict == "relabel"
    assert interop.from_label_studio(path, data, reviewer="1").decisions[0].verdict == "keep"
    bob = interop.from_label_studio(path, data, reviewer="bob@x")
    assert (bob.reviewer, bob.decisions[0].verdict) == ("bob@x", "relabel")
    assert len(interop.from_label_studio(path, data, reviewer="zoe").decisions) == 0


def test_exports_that_are_refused(tmp_path):
    data = dataset()
    path = tmp_path / "tasks.json"
    interop.to_label_studio(am.rank(evidence(data), k=2), path)
    tasks = [annotated(task, "a") for task in json.loads(path.read_text())]
    changed = json.loads(json.dumps(tasks))
    changed[1]["data"]["labels_sha256"] = "f" * 64
    for content, words in (
        (b"{", "JSON export"),
        (b"\xff", "JSON export"),
        (b"{}", "list of tasks"),
        (json.dumps([1]).encode(), "task 0: expected data.index"),
        (json.dumps([{"data": {"index": 99}}]).encode(), r"expected data.index in 0\.\.29, got 99"),
        (json.dumps([tasks[0], tasks[0]]).encode(), "twice"),
        (json.dumps(changed).encode(), "task 1: expected tasks of this data set"),
        (
            json.dumps([annotated(tasks[0], "zebra")]).encode(),
            "among the classes, got 'zebra'",
        ),
        (json.dumps([{**tasks[0], "annotations": [3]}]).encode(), "expected an annotation"),
        (json.dumps([{**tasks[0], "annotations": 3}]).encode(), "list of annotations"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            interop.from_label_studio(path, data)
    with pytest.raises(ArgumentError, match="unreadable"):
        interop.label_studio_config(["(unreadable)"])
    with pytest.raises(ArgumentError, match="images"):
        interop.to_label_studio(am.Evidence([[1.0]], [0]), path)
