"""Two rankings compared: hand-made cases with a direction, and what holds for any two."""

from __future__ import annotations

import csv

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import ambigmnist as am
from ambigmnist.errors import ArgumentError, DTypeError


def by(values):
    """A definition that gives these scores."""
    return lambda ev: np.asarray(values, float)


def plain(n, **more) -> am.Evidence:
    return am.Evidence(np.full((n, 2), 0.5), **more)


def ranked(values, k=None, ev=None) -> am.Ranking:
    return am.rank(plain(len(values)) if ev is None else ev, by(values), k)


def test_hand_made():
    a, b = ranked([5, 4, 3, 2, 1]), ranked([5, 1, 3, 2, 9])
    found = am.compare_rankings(a, b, k=2)
    assert found.entered.tolist() == [4]  # among b's first two, not among a's
    assert found.left.tolist() == [1]
    assert found.overlap == 0.5
    assert found.indices.tolist() == [4, 1, 0, 2, 3]  # 5/1, 5/2, 2/1, then 3/3 and 4/4
    assert found.rank_a.tolist() == [5, 2, 1, 3, 4]
    assert found.rank_b.tolist() == [1, 5, 2, 3, 4]
    assert found.tau == pytest.approx((4 - 6) / 10)
    back = am.compare_rankings(b, a, k=2)
    assert (back.entered.tolist(), back.left.tolist()) == ([1], [4])
    assert back.tau == found.tau
    lines = repr(found).splitlines()
    assert "1 of the first 2 in both, tau -0.200 over 5 images" in lines[0]
    assert lines[2].split() == ["4", "5", "1", "entered"]
    assert lines[3].split() == ["1", "2", "5", "left"]
    assert "<table>" in found._repr_html_()


def test_relabelling_between_two_audits():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    before, after = am.Evidence(probs, [1, 1, 0]), am.Evidence(probs, [0, 1, 0])
    found = am.compare_rankings(
        am.rank(before, "self_confidence"), am.rank(after, "self_confidence"), k=1
    )
    assert found.relabelled.tolist() == [0]
    assert found.left.tolist() == [0]
    assert found.entered.tolist() == [2]
    assert "self_confidence, two audits" in repr(found)
    assert "1 relabelled" in repr(found)
    assert repr(found).splitlines()[2].split() == ["0", "1", "3", "left", "1->0"]


def test_tops_alone_are_compared_as_lists():
    a, b = ranked([9, 8, 7, 1, 0], 3), ranked([9, 0, 7, 8, 1], 3)
    found = am.compare_rankings(a, b)
    assert found.k == 3
    assert sorted(found.indices.tolist()) == [0, 2]  # those that both list
    assert found.overlap == pytest.approx(2 / 3)
    assert (found.entered.tolist(), found.left.tolist()) == ([3], [1])
    assert am.compare_rankings(ranked(range(50)), ranked(range(50))).k == 12


SCORES = st.one_of(st.sampled_from([0.0, 1.0, np.inf, -np.inf]), st.floats(allow_nan=False))


@given(st.data(), st.integers(0, 20), st.integers(0, 25))
def test_any_two(data, n, k):
    a, b = (ranked(data.draw(hnp.arrays(np.float64, n, elements=SCORES))) for _ in range(2))
    found = am.compare_rankings(a, b, k)
    assert sorted(found.indices.tolist()) == list(range(n))
    for i, rank_a, rank_b in zip(found.indices, found.rank_a, found.rank_b, strict=True):
        assert (rank_a, rank_b) == (a.rank_of(i), b.rank_of(i))
    assert set(found.entered) == set(b.indices[:k]) - set(a.indices[:k])
    assert set(found.left) == set(a.indices[:k]) - set(b.indices[:k])
    assert len(found.entered) == len(found.left)
    ratios = np.maximum(found.rank_a / found.rank_b, found.rank_b / found.rank_a)
    assert (np.diff(ratios) <= 1e-12).all()
    assert np.isnan(found.overlap) == (min(n, k) == 0)
    same = am.compare_rankings(a, a, k)
    assert len(same.entered) == 0
    assert np.isnan(same.tau) or same.tau == 1
    repr(found)


def test_frames_and_files(tmp_path):
    labels = ["=x", "b", "b", "b"]
    ev = am.Evidence(np.full((4, 2), 0.5), labels, classes=["=x", "b"])
    found = am.compare_rankings(ranked([4, 3, 2, 1], ev=ev), ranked([1, 2, 3, 4], ev=ev), k=1)
    frame = found.to_frame()
    assert list(frame) == [
        "index", "rank_a", "rank_b", "score_a", "score_b", "given_a", "given_b", "entered", "left",
    ]  # fmt: skip
    assert frame.loc[frame["entered"], "index"].tolist() == [3]
    found.to_csv(tmp_path / "c.csv")
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
    assert [int(row["rank_b"]) for row in rows] == found.rank_b.tolist()
    assert {row["given_a"] for row in rows} == {"'=x", "b"}


def test_other_images_are_refused():
    pictures = np.zeros((3, 4, 4), np.uint8)
    other = pictures.copy()
    other[2, 1, 1] = 9
    a = ranked([1, 2, 3], ev=plain(3, images=pictures))
    with pytest.raises(ArgumentError, match=r"other pixels: take the same images in the same"):
        am.compare_rankings(a, ranked([1, 2, 3], ev=plain(3, images=other)))
    am.compare_rankings(a, ranked([1, 2, 3], ev=plain(3, images=pictures.copy())))
    am.compare_rankings(a, ranked([1, 2, 3]))  # unknown images are taken at their word
    with pytest.raises(ArgumentError, match="got 3 and 2"):
        am.compare_rankings(a, ranked([1, 2]))
    with pytest.raises(DTypeError, match="b: expected a Ranking"):
        am.compare_rankings(a, [1, 2, 3])
    with pytest.raises(ArgumentError, match="k: expected at least 0"):
        am.compare_rankings(a, a, k=-1)
    words = am.Evidence(np.full((3, 2), 0.5), ["x", "y", "y"], classes=["x", "y"])
    with pytest.raises(DTypeError, match="labels of b: expected integers"):
        am.compare_rankings(ranked([1, 2, 3], ev=plain(3, labels=[0, 1, 1])), am.rank(words))


def test_a_picture_of_it():
    found = am.compare_rankings(ranked([5, 4, 3, 2, 1]), ranked([5, 1, 3, 2, 9]), k=2)
    figure = found.plot()
    (ax,) = figure.axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    points = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert points["entered the first 2"] == [[5, 1]]
    assert points["left the first 2"] == [[2, 5]]
    assert found.plot(ax=ax) is figure
    empty = ranked([])
    assert am.compare_rankings(empty, empty).plot().axes
