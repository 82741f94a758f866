"""The report as a file: what is in it, what it refuses, and what it leaves alone when it fails."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ambigmnist as am
from ambigmnist.errors import ArgumentError, DTypeError, FileError, ShapeError
from ambigmnist.review import Pin
from ambigmnist.review.choosing import chosen_images
from ambigmnist.review.columns import nearest_of_both
from ambigmnist.review.sheets import as_tiles, png_uri, sheets

TYPES = {"u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "i32": np.int32, "f32": np.float32}


def evidence(n=200, k=4, seed=0, **more):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 6, 5), np.uint8)
    probs = rng.dirichlet(np.full(k, 0.3), n)
    return am.Evidence(probs, rng.integers(0, k, n), images=images, **more)


def written(path: Path):
    """The text of a page and the data in it."""
    text = path.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return text, json.loads(found[1])


def values(column):
    return np.frombuffer(base64.b64decode(column["d"]), TYPES[column["t"]])


def test_what_the_file_holds(tmp_path):
    ev = evidence(fold=np.arange(200) % 3)
    report = am.report(ev, tmp_path / "r.html", top=60, name="some")
    text, data = written(report.path)
    assert (report.images, report.size) == (60, report.path.stat().st_size)
    shown = values(data["index"])
    assert len(np.unique(shown)) == 60
    assert (values(data["given"]) == ev.given_index[shown]).all()
    assert (values(data["read"]) == ev.predicted_index[shown]).all()
    assert (values(data["fold"]) == shown % 3).all()
    start, which, p = (values(data["probs"][name]) for name in ("start", "class", "value"))
    dense = np.zeros((60, 4))
    dense[np.repeat(np.arange(60), np.diff(start)), which] = p / 65535
    assert np.abs(dense - ev.probs[shown]).max() < 5e-4 + 1e-5
    assert data["dataset"] == Pin.of_evidence(ev, "some").to_json()
    for order in data["orders"]:
        name = order["name"]
        ranking = am.verdicts(ev).rank(name[2:]) if name.startswith("p_") else am.rank(ev, name)
        place = np.empty(ev.n, int)
        place[ranking.indices] = np.arange(1, ev.n + 1)
        assert (values(order["rank"]) == place[shown]).all()
        assert values(order["score"]) == pytest.approx(ev_scores(ranking)[shown], rel=1e-6)
    sheet = Image.open(io.BytesIO(base64.b64decode(data["sheets"][0].split(",")[1])))
    x, y = 7 % 40 * 5, 7 // 40 * 6
    assert (np.array(sheet)[y : y + 6, x : x + 5] == ev.images[shown[7], :, :, 0]).all()
    assert am.report(ev, tmp_path / "s.html", top=60, name="some").path.read_text() == text


def ev_scores(ranking):
    scores = np.empty(len(ranking))
    scores[ranking.indices] = ranking.scores
    return scores


def test_policy_hashes_what_is_there(tmp_path):
    text, _ = written(am.report(evidence(), tmp_path / "r.html").path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    parts = re.findall(r"<script>(.*?)</script>", text, re.S)
    parts += re.findall(r"<style>(.*?)</style>", text, re.S)
    assert len(parts) == 3
    for part in parts:
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")


def test_named_images_of_a_merge_or_a_function(tmp_path):
    ev = evidence()
    wrong = ev.given_index != ev.predicted_index
    for where in (wrong, np.flatnonzero(wrong), lambda ev: ev.given_index != ev.predicted_index):
        _, data = written(am.report(ev, tmp_path / "r.html", where=where).path)
        assert sorted(values(data["index"])) == np.flatnonzero(wrong).tolist()


def test_definitions_of_ones_own(tmp_path):
    def blue(ev):
        return ev.probs[:, 0]

    _, data = written(am.report(evidence(), tmp_path / "r.html", by=[blue, "margin"]).path)
    assert [order["name"] for order in data["orders"]] == ["blue", "margin"]
    _, data = written(am.report(evidence(), tmp_path / "r.html", by="margin").path)
    assert [order["name"] for order in data["orders"]] == ["margin"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ev": am.Evidence([[1.0]], [0])}, ArgumentError, "this evidence has none: pass images="),
        ({"ev": am.Evidence([[1.0]], images=np.zeros((1, 2, 2)))}, ArgumentError, "pass labels="),
        ({"ev": "x.npz"}, DTypeError, "expected an Evidence, got str"),
        ({"top": 0}, ArgumentError, "top"),
        ({"top": 1.5}, DTypeError, "top"),
        ({"where": []}, ArgumentError, "at least one image"),
        ({"by": ["entropi"]}, ArgumentError, "entropy"),
        ({"by": ["bald"]}, ArgumentError, "needs"),
        ({"by": []}, ArgumentError, "at least one definition"),
        (
            {"by": [lambda ev: ev.probs[:, 0], lambda ev: ev.probs[:, 1]]},
            ArgumentError,
            "different names",
        ),
        ({"name": 7}, DTypeError, "name: expected a str"),
        ({"notes": "one"}, DTypeError, "notes: expected a list"),
        ({"verdicts": 3}, DTypeError, "verdicts: expected Verdicts, got int"),
        ({"verdicts": am.verdicts(evidence(n=20))}, ShapeError, "200 images, got 20"),
        ({"path": 3}, DTypeError, "path"),
    ],
)
def test_what_is_refused(tmp_path, change, error, message):
    asked = {"ev": evidence(), "path": tmp_path / "r.html"} | change
    with pytest.raises(error, match=message):
        am.report(asked.pop("ev"), asked.pop("path"), **asked)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    am.report(evidence(), path, top=10)
    before = path.read_bytes()

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match=r"r\.html: cannot be written: No space left"):
        am.report(evidence(), path, top=20)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_in_a_notebook(tmp_path):
    report = am.report(evidence(), tmp_path / "r.html", top=10)
    shown = report._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "<script" not in shown
    assert "10 images" in repr(report)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_few_images_and_classes(tmp_path, n, k):
    ev = am.Evidence(np.full((n, k), 1 / k), np.zeros(n, int), images=np.zeros((n, 3, 3)))
    assert am.report(ev, tmp_path / "r.html").images == n


@given(st.integers(1, 60), st.integers(2, 4), st.integers(0, 99))
def test_chosen_images(top, k, seed):
    """As many as asked for, candidates alone, those that are counted first, in the first order."""
    rng = np.random.default_rng(seed)
    ev = evidence(n=50, k=k, seed=seed)
    candidates = np.flatnonzero(rng.random(50) < 0.7)
    orders = [rng.permutation(50) for _ in range(3)]
    first = orders[0][:8]
    found = chosen_images(ev, candidates, orders, first, np.ones((k, k), bool), top)
    assert len(found) == min(top, len(candidates))
    assert set(found) <= set(candidates)
    wanted = [i for i in first if i in set(candidates)]
    assert set(wanted[:top]) <= set(found)
    place = np.argsort(orders[0])
    assert (np.diff(place[found]) > 0).all()


@given(st.integers(0, 99), st.integers(1, 5), st.booleans())
def test_neighbours(seed, each, embedded):
    rng = np.random.default_rng(seed)
    space = rng.normal(size=(40, 3)).astype(np.float32) if embedded else None
    ev = evidence(n=40, k=3, seed=seed, embeddings=space)
    shown = rng.permutation(40)[:9]
    readings = rng.integers(0, 3, (9, 2))
    found = nearest_of_both(ev, shown, readings, each)
    points = (ev.images.reshape(40, -1) if space is None else space).astype(np.float64)
    for a, i in enumerate(shown):
        for b, c in enumerate(readings[a]):
            others = [j for j in range(40) if ev.given_index[j] == c and j != i]
            distance = {j: ((points[j] - points[i]) ** 2).sum() for j in others}
            got = found[a, b][found[a, b] >= 0]
            assert len(got) == min(each, len(others))
            assert set(got) <= set(others)
            nearest = sorted(distance.values())[: len(got)]
            assert [distance[j] for j in got] == pytest.approx(nearest)


def test_sheets_of_a_thousand():
    tiles = as_tiles(np.random.default_rng(0).integers(0, 256, (1203, 3, 2, 1), np.uint8))
    uris = sheets(tiles)
    assert len(uris) == 2
    for at in (0, 999, 1000, 1202):
        sheet = np.array(Image.open(io.BytesIO(base64.b64decode(uris[at // 1000].split(",")[1]))))
        row, column = divmod(at % 1000, 40)
        assert (
            sheet[row * 3 : row * 3 + 3, column * 2 : column * 2 + 2] == tiles[at, ..., 0]
        ).all()
    assert png_uri(tiles[:0], 40).startswith("data:image/png")


@pytest.mark.mnist
def test_sizes(tmp_path):
    """1,000 images: at most 3 MB with details, 1 MB without."""
    _, test = am.load_mnist()
    model = am.CNN.from_keras(os.environ["AMBIGMNIST_ARTICLE_MODEL"])
    ev = model.evidence(test.images, test.labels)
    assert am.report(ev, tmp_path / "r.html", model=model).size <= 3_000_000
    assert am.report(ev, tmp_path / "r.html", details=False).size <= 1_000_000


def test_what_speaks_for_both_readings():
    """Against one network call per blanked patch, written out."""
    from ambigmnist.review.speaking import LEVELS, patches

    train, test = am.load_digits()
    model = am.CNN(epochs=1, seed=0).fit(train.images[:200], train.labels[:200], verbose=0)
    images = test.images[:3, :, :, np.newaxis]
    first, second = np.array([1, 2, 3]), np.array([7, 8, 0])
    levels = patches(model, images, first, second)
    assert levels.shape == (3, 14, 14)
    for i in range(3):
        base = model.logits(images[i : i + 1])[0]
        fall = np.zeros((14, 14))
        for a in range(14):
            for b in range(14):
                blank = images[i : i + 1].copy()
                blank[:, max(0, 2 * a - 1) : 2 * a + 3, max(0, 2 * b - 1) : 2 * b + 3] = 0
                z = base - model.logits(blank)[0]
                fall[a, b] = z[first[i]] - z[second[i]]
        expected = LEVELS * fall / np.abs(fall).max()
        assert np.abs(levels[i] - expected).max() <= 0.5 + 1e-3
