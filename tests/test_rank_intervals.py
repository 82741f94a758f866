"""Intervals of ranks: against a jackknife written out, and cases whose answer is plain."""

from __future__ import annotations

import csv
import math
import pickle

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from layouts import STACKS
from scipy.stats import t

import ambigmnist as am
from ambigmnist._rank_intervals import student
from ambigmnist.errors import ArgumentError, DTypeError


def of_members(members, labels=None, **more) -> am.Evidence:
    members = np.asarray(members)
    return am.Evidence(members.mean(axis=0), labels, members=members, **more)


def noisy(m=3, n=60, k=3, noise=0.5, seed=0) -> am.Evidence:
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (n, k)) + rng.normal(0, noise, (m, n, k))
    p = np.exp(z)
    labels = rng.integers(0, k, n)
    return of_members(p / p.sum(axis=2, keepdims=True), labels)


def naive_ranks(scores) -> np.ndarray:
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return np.argsort(order) + 1


def naive_bounds(ev, by):
    """As the docstring says, image by image."""
    n, m = ev.n, len(ev.members)
    line = lambda r: math.log((r - 0.5) / (n + 0.5 - r))  # noqa: E731
    own = naive_ranks(ev.score(by))
    left_out = []
    for j in range(m):
        others = np.delete(ev.members, j, axis=0)
        logits = np.log(np.maximum(others.mean(axis=0), 1e-45))
        left_out.append(naive_ranks(am.Evidence(None, ev.labels, logits=logits).score(by)))
    bounds = []
    for i in range(n):
        x = line(own[i])
        error = math.sqrt((m - 1) / m * sum((line(r[i]) - x) ** 2 for r in left_out))
        ends = [x + side * t.ppf(0.95, m - 1) * error for side in (-1, 1)]
        low, high = (0.5 + n / (1 + math.exp(-e)) for e in ends)
        bounds.append((low, high))
    return own, np.array(bounds)


@pytest.mark.parametrize("by", ["least_confident", "confident_wrong", "entropy"])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_the_jackknife_written_out(by, m):
    ev = noisy(m)
    ranking = am.rank(ev, by, intervals=True)
    own, bounds = naive_bounds(ev, by)
    low, high = bounds[ranking.indices].T
    np.testing.assert_array_equal(ranking.ranks, own[ranking.indices])
    assert (np.abs(ranking.rank_low - low) <= 1.01).all()
    assert (np.abs(ranking.rank_high - high) <= 1.01).all()
    assert (ranking.rank_low >= np.floor(low)).all()
    assert (ranking.rank_high <= np.ceil(high)).all()


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(2, 4), st.integers(0, 12), st.integers(1, 3)),
        elements=st.sampled_from([0, 1, 1, 0.3]),
    ),
    st.sampled_from(sorted(STACKS)),
    st.integers(0, 12),
)
def test_any_members(weights, layout, k):
    """Ties, exact 0 and 1, no images, one class, any strides; every list is a part of the whole."""
    weights[weights.sum(axis=2) == 0, 0] = 1
    members = weights / weights.sum(axis=2, keepdims=True)
    plain = of_members(members)
    ev = am.Evidence(plain.probs, members=STACKS[layout](members))
    whole = am.rank(ev, intervals=True)
    assert (whole.rank_low >= 1).all()
    assert (whole.rank_low <= whole.ranks).all()
    assert (whole.ranks <= whole.rank_high).all()
    assert (whole.rank_high <= ev.n).all()
    top = am.rank(ev, k=k, intervals=True)
    for name in ("indices", "rank_low", "rank_high"):
        np.testing.assert_array_equal(getattr(top, name), getattr(whole, name)[:k])
        np.testing.assert_array_equal(
            getattr(top, name), getattr(am.rank(plain, k=k, intervals=True), name)
        )


def test_networks_that_agree_are_sure():
    one = noisy(1).members[0]
    ranking = am.rank(of_members([one, one, one]), intervals=True)
    np.testing.assert_array_equal(ranking.rank_low, ranking.ranks)
    np.testing.assert_array_equal(ranking.rank_high, ranking.ranks)


def test_the_image_they_disagree_about_is_the_unsure_one():
    p = np.linspace(0.99, 0.6, 40) * np.ones((3, 1))
    p[:, 20] = [0.99, 0.8, 0.61]
    ev = of_members(np.stack([p, 1 - p], axis=2))
    ranking = am.rank(ev, intervals=True)
    width = dict(zip(ranking.indices, ranking.rank_high - ranking.rank_low, strict=True))
    assert width[20] >= 20
    assert np.median(list(width.values())) <= 2


def test_more_networks_are_surer():
    widths = []
    for m in (3, 6, 20):
        r = am.rank(noisy(m, n=400), intervals=True)
        widths.append(np.mean(r.rank_high - r.rank_low))
    assert widths[0] > widths[1] > widths[2]


def test_nine_of_ten_hold_the_truth():
    """On data that the method is made for: the rank by very many networks."""
    held = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        truth = rng.uniform(0.55, 0.95, 400)
        p = truth + rng.normal(0, 0.03, (4, 400)).clip(-0.05, 0.05)
        ranking = am.rank(of_members(np.stack([p, 1 - p], axis=2)), intervals=True)
        known = naive_ranks(1 - truth)[ranking.indices]
        held.append(((ranking.rank_low <= known) & (known <= ranking.rank_high)).mean())
    assert 0.85 <= np.mean(held) <= 0.97


def test_threads_do_not_matter():
    ev, before = noisy(3, n=5000, k=10), am.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            am.set_num_threads(threads)
            ranking = am.rank(ev, intervals=True)
            results.append((ranking.rank_low.tobytes(), ranking.rank_high.tobytes()))
    finally:
        am.set_num_threads(before)
    assert len(set(results)) == 1


def test_over_audits():
    audits = [noisy(1, noise=0.3, seed=0), *(noisy(1, noise=0.3, seed=0) for _ in range(2))]
    same = am.rank(audits[0], intervals=audits[1:])
    np.testing.assert_array_equal(same.rank_low, same.rank_high)
    rng = np.random.default_rng(3)
    base = rng.normal(size=500)
    scores = [base + rng.normal(0, 0.2, 500) for _ in range(6)]
    plain = [am.Evidence(np.full((500, 2), 0.5), fold=np.full(500, i)) for i in range(6)]

    def drawn(ev):
        return scores[ev.fold[0]]

    ranking = am.rank(plain[0], drawn, intervals=plain[1:5])
    another = naive_ranks(scores[5])[ranking.indices]
    inside = (ranking.rank_low <= another) & (another <= ranking.rank_high)
    assert 0.83 <= inside.mean() <= 0.97


def test_ranks_among_those_chosen():
    ev = noisy(3)
    chosen = np.arange(0, 60, 2)
    ranking = am.rank(ev, where=chosen, intervals=True)
    assert ranking.rank_high.max() <= 30
    alone = am.rank(ev[chosen], intervals=True)
    np.testing.assert_array_equal(ranking.rank_high, alone.rank_high)


def test_it_is_in_tables_frames_files_and_slices(tmp_path):
    ranking = am.rank(noisy(3), k=20, intervals=True)
    item = ranking[3]
    assert (item.rank_low, item.rank_high) == (ranking.rank_low[3], ranking.rank_high[3])
    assert f"{item.rank} ({item.rank_low}-{item.rank_high})" in repr(ranking).splitlines()[5]
    assert "rank (90 %)" in repr(ranking)
    assert "rank (90 %)" in ranking._repr_html_()
    part = ranking[3:7]
    np.testing.assert_array_equal(part.rank_low, ranking.rank_low[3:7])
    frame = ranking.to_frame()
    assert list(frame)[:4] == ["rank", "rank_low", "rank_high", "index"]
    ranking.to_csv(tmp_path / "r.csv")
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert [int(row["rank_high"]) for row in rows] == ranking.rank_high.tolist()
    again = pickle.loads(pickle.dumps(ranking))
    np.testing.assert_array_equal(again.rank_low, ranking.rank_low)
    assert not ranking.rank_low.flags.writeable
    wrong = am.rank(noisy(3), "confident_wrong", k=60, intervals=True)
    assert len(wrong.top().rank_low) == len(wrong)
    without = am.rank(noisy(3))
    assert without.rank_low is None
    assert "rank_low" not in without.to_frame()


def test_of_several_opinions():
    ev = noisy(4)
    for by in ("bald", "expected_entropy", "variation_ratio"):
        ranking = am.rank(ev, by, intervals=True)
        assert (ranking.rank_low < ranking.rank_high).any()
    assert am.rank(am.Evidence(ev.probs, mc=ev.members), intervals=True).rank_low is not None
    both = am.Evidence(ev.probs, members=ev.members[:3], mc=np.repeat(ev.members[:3], 2, axis=0))
    assert (am.rank(both, "bald", intervals=True).rank_low >= 1).all()


def test_what_goes_wrong_says_what_to_do():
    ev = noisy(3)
    single = am.Evidence(ev.probs, ev.labels, history=ev.members)
    with pytest.raises(ArgumentError, match=r"at least 2 networks.*audit\(members=3\)"):
        am.rank(single, intervals=True)
    with pytest.raises(ArgumentError, match="not kept network by network: pass several audits"):
        am.rank(single, "aum", intervals=True)
    assert am.rank(single, "aum", intervals=[single]).rank_low is not None
    with pytest.raises(ArgumentError, match="at least 3 networks"):
        am.rank(noisy(2), "bald", intervals=True)
    with pytest.raises(ArgumentError, match="at least 1 audits, got 0"):
        am.rank(ev, intervals=[])
    with pytest.raises(ArgumentError, match="got 60 and 59"):
        am.rank(ev, intervals=[ev[1:]])
    with pytest.raises(DTypeError, match=r"intervals\[0\]: expected an Evidence"):
        am.rank(ev, intervals=[3])
    for wrong in (200, "yes", None, ev):
        with pytest.raises(DTypeError, match="intervals: expected True, False or a list"):
            am.rank(ev, intervals=wrong)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 10, 100])
def test_student(freedom):
    assert student(freedom) == pytest.approx(t.ppf(0.95, freedom), rel=3e-3)


def test_a_picture_of_them():
    ranking = am.rank(noisy(3), k=9, intervals=True)
    figure = am.rank_intervals(ranking)
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    (dots,) = ax.lines
    np.testing.assert_array_equal(dots.get_xdata(), ranking.ranks)
    ends = [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()]
    bounds = zip(ranking.rank_low, ranking.rank_high, strict=True)
    assert ends == [[low, high] for low, high in bounds]
    assert ax.get_yticklabels()[0].get_text().startswith(f"{ranking.indices[0]} (")
    assert am.rank_intervals(ranking, ax=ax) is figure
    assert am.rank_intervals(am.rank(noisy(3), k=0, intervals=True)).axes
    assert am.rank_intervals(am.rank(noisy(3), intervals=True)).axes
    with pytest.raises(ArgumentError, match=r"am.rank\(ev, intervals=True\)"):
        am.rank_intervals(am.rank(noisy(3)))
    with pytest.raises(DTypeError, match="expected a Ranking"):
        am.rank_intervals(noisy(3))
