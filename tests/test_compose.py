"""Definitions made of others, and functions that choose the images of a ranking."""

from __future__ import annotations

import math
import pickle
import sys

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import ambigmnist as am
from ambigmnist import compose
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

definitions = sys.modules[am.definition.__module__]  # am.definitions is the function


@pytest.fixture(autouse=True)
def _clean_registry(monkeypatch):
    monkeypatch.setattr(definitions, "_registry", dict(definitions._registry))


@pytest.fixture
def ev():
    rng = np.random.default_rng(3)
    return am.Evidence(rng.dirichlet(np.ones(4), 30), rng.integers(0, 4, 30))


def second(ev):
    return np.sort(ev.probs, axis=1)[:, -2]


def of(values):
    """A definition that gives these scores."""
    return lambda ev: np.asarray(values, float)


def plain(n: int) -> am.Evidence:
    return am.Evidence(np.full((n, 2), 0.5))


def naive_ranks(values) -> list[float]:
    n = len(values)
    if n == 1:
        return [0.5]
    return [
        (sum(other < v for other in values) + (sum(other == v for other in values) - 1) / 2)
        / (n - 1)
        for v in values
    ]


SCORES = st.one_of(
    st.sampled_from([0.0, 1.0, 1.0, 2.0, -3.0, math.inf, -math.inf, 1e308, -1e308, 5e-324]),
    st.floats(allow_nan=False),
)


# --- borda --------------------------------------------------------------------------------------


@given(st.data(), st.integers(0, 12), st.integers(1, 4))
def test_borda_is_the_mean_of_normalised_ranks(data, n, m):
    parts = [data.draw(hnp.arrays(np.float64, n, elements=SCORES)) for _ in range(m)]
    weights = data.draw(st.lists(st.floats(0.01, 10), min_size=m, max_size=m))
    expected = np.average([naive_ranks(p) for p in parts], axis=0, weights=weights)
    got = am.borda(*map(of, parts), weights=weights)(plain(n))
    assert got.shape == (n,)
    np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-15)
    assert ((got >= 0) & (got <= 1)).all()
    equal = am.borda(*map(of, parts))(plain(n))
    np.testing.assert_allclose(equal, np.mean([naive_ranks(p) for p in parts], axis=0), rtol=1e-13)


def test_borda_by_hand():
    by = am.borda(of([5, 1, 3]), of([-10, math.inf, -math.inf]))
    assert by(plain(3)).tolist() == [0.75, 0.5, 0.25]
    assert am.borda(of([7, 7, 7]))(plain(3)).tolist() == [0.5, 0.5, 0.5]
    assert am.borda(of([1, 2, 2, 3]))(plain(4)).tolist() == [0, 0.5, 0.5, 1]


def test_borda_of_one_mind_is_exactly_1(monkeypatch):
    """Also where sum() rounds but once, as it does since Python 3.12."""
    monkeypatch.setattr(compose, "sum", math.fsum, raising=False)
    one = of([0, 1, 2])
    for weights in ([0.1, 0.2, 0.3], [0.3, 0.3, 0.1], [0.7, 0.1, 0.2]):
        assert am.borda(one, one, one, weights=weights)(plain(3)).max() == 1


def test_borda_of_one_ranks_as_it_does(ev):
    assert (
        am.rank(ev, am.borda("entropy")).indices.tolist() == am.rank(ev, "entropy").indices.tolist()
    )


# --- weighted_sum -------------------------------------------------------------------------------


def test_a_weighted_sum_is_one(ev):
    by = am.weighted_sum({"entropy": 0.5, second: 2, "self_confidence": -1.5})
    expected = 0.5 * ev.score("entropy") + 2 * second(ev) - 1.5 * ev.score("self_confidence")
    np.testing.assert_allclose(by(ev), expected, rtol=1e-14)
    assert by.formula == "0.5 entropy + 2 second - 1.5 self_confidence"
    assert by.name == "weighted_sum(entropy, second, self_confidence)"
    assert by.needs == ("probs", "labels")


def test_scales(ev):
    entropy, margin = ev.score("entropy"), ev.score("margin")
    ranks = am.weighted_sum({"entropy": 3, "margin": -1}, scale="rank")
    expected = 3 * np.array(naive_ranks(entropy)) - np.array(naive_ranks(margin))
    np.testing.assert_allclose(ranks(ev), expected, rtol=1e-13, atol=1e-15)
    assert ranks.range == "[-1, 3]"
    assert ranks.formula == "3 rank(entropy) - 1 rank(margin)"
    unit = am.weighted_sum({"entropy": 1}, scale="unit")(ev)
    np.testing.assert_allclose(unit, (entropy - entropy.min()) / np.ptp(entropy), rtol=1e-12)
    assert unit.min() == 0
    assert unit.max() == 1


@given(
    hnp.arrays(
        np.float64, st.integers(0, 9), elements=st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_the_unit_scale_holds_everything_finite(values):
    got = am.weighted_sum({of(values): 1}, scale="unit")(plain(len(values)))
    assert ((got >= 0) & (got <= 1)).all()
    assert (got[np.argsort(values, kind="stable")] == np.sort(got)).all()
    if len(set(values.tolist())) == 1:
        assert (got == 0.5).all()


def test_infinite_scores():
    up, down = of([math.inf, 1]), of([-math.inf, 1])
    assert am.weighted_sum({up: 2})(plain(2)).tolist() == [math.inf, 2]
    assert am.weighted_sum({up: 2, down: 0})(plain(2)).tolist() == [math.inf, 2]
    with pytest.raises(ArgumentError, match="no sum, at index 0: use scale='rank', or borda"):
        am.weighted_sum({up: 1, down: 1})(plain(2))
    with pytest.raises(ArgumentError, match="finite scores, '<lambda>' has inf at index 0"):
        am.weighted_sum({up: 1}, scale="unit")(plain(2))
    assert am.weighted_sum({up: 1, down: 1}, scale="rank")(plain(2)).tolist() == [1, 1]


def test_nan_is_refused_and_its_definition_named():
    def odd(ev):
        return [math.nan, 1]

    for by in (am.weighted_sum({odd: 1}), am.borda(odd, "entropy")):
        with pytest.raises(ArgumentError, match="'odd': expected numbers, got NaN for 1 images"):
            by(plain(2))


# --- records like any other ---------------------------------------------------------------------


def test_a_record_goes_wherever_a_definition_goes(ev):
    by = am.borda("entropy", "self_confidence", second)
    scores = by(ev)
    assert scores.tolist() == ev.score(by).tolist()
    ranking = am.rank(ev, by, k=4)
    assert ranking.indices.tolist() == np.argsort(-scores, kind="stable")[:4].tolist()
    assert ranking.score_of(7) == scores[7]  # not the score among one image
    assert "borda(entropy, self_confidence, second)" in repr(ranking)
    assert am.heatmap(ev, "count", by=by, among=10).counts.sum() == 10
    assert list(ev.summary([by, "entropy"], k=3).rankings) == [by.name, "entropy"]


def test_they_nest_and_say_what_they_need(ev):
    inner = am.borda("bald", "entropy")
    by = am.weighted_sum({inner: 0.25, "aum": 1.0, "self_confidence": 1.0}, scale="rank")
    assert by.needs == ("draws", "probs", "dynamics", "labels")
    assert by.formula == "0.25 rank(borda(bald, entropy)) + 1 rank(aum) + 1 rank(self_confidence)"
    assert by.in_sample
    assert not inner.in_sample
    with pytest.raises(ArgumentError, match=r"needs draws.*audit\(mc=20\)"):
        by(ev)
    full = am.Evidence(
        ev.probs, ev.labels, mc=np.stack([ev.probs, ev.probs[::-1]]), history=ev.probs[None]
    )
    expected = (
        0.25 * np.array(naive_ranks(inner(full).tolist()))
        + np.array(naive_ranks(full.score("aum").tolist()))
        + np.array(naive_ranks(full.score("self_confidence").tolist()))
    )
    np.testing.assert_allclose(by(full), expected, rtol=1e-13)


def test_a_record_gets_a_name_of_its_own(ev):
    by = am.borda("entropy", "self_confidence")
    mine = am.definition(name="mine", source="me")(by)
    assert (mine.name, mine.source, mine.needs) == ("mine", "me", ("probs", "labels"))
    assert mine.formula == by.formula == "(rank(entropy) + rank(self_confidence)) / 2"
    assert am.definitions()[-1] is mine
    assert am.rank(ev, "mine").scores.tolist() == np.sort(by(ev))[::-1].tolist()
    with pytest.raises(ArgumentError, match="built-in"):
        am.definition(name="entropy")(by)
    with pytest.raises(ArgumentError, match="needs: expected fields"):
        am.definition(name="mine", needs="labelz")(by)


def test_a_built_in_definition_under_another_name_is_still_itself(ev):
    entropy = next(d for d in am.definitions() if d.name == "entropy")
    doubt = am.definition(name="doubt")(entropy)
    assert (
        am.rank(ev, "doubt", k=5).indices.tolist() == am.rank(ev, "entropy", k=5).indices.tolist()
    )
    assert am.heatmap(ev, "count", by="doubt", among=5).definition is doubt


def test_a_record_of_a_built_in_name_is_what_it_says(ev):
    """The core is asked for its own definitions, not for what is called like them."""
    fake = am.definitions()[0].__class__("entropy", "", "", ("probs",), "", second)
    assert am.rank(ev, fake, k=30).scores.tolist() == np.sort(second(ev))[::-1].tolist()


def test_definitions_can_be_called(ev):
    for record in am.definitions():
        if set(record.needs) <= {"probs", "labels"}:
            assert record(ev).tolist() == ev.score(record.name).tolist()
    with pytest.raises(DTypeError, match="expected an Evidence"):
        am.definitions()[0](ev.probs)


def test_they_can_be_pickled_and_compared(ev):
    by = am.weighted_sum({am.borda("entropy", second, weights=[2, 1]): 1, "gini": 0.5})
    again = pickle.loads(pickle.dumps(by))
    assert again == by
    assert hash(again) == hash(by)
    assert again(ev).tolist() == by(ev).tolist()
    ranking = pickle.loads(pickle.dumps(am.rank(ev, by, k=3)))
    assert ranking.indices.tolist() == am.rank(ev, by, k=3).indices.tolist()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: am.weighted_sum({}), ArgumentError, "at least one definition"),
        (lambda: am.weighted_sum({"entropy": 0.0}), ArgumentError, "1 of weight 0"),
        (lambda: am.weighted_sum(["entropy"]), DTypeError, "expected a mapping .* got list"),
        (lambda: am.weighted_sum({"entropi": 1.0}), ArgumentError, "did you mean 'entropy'"),
        (lambda: am.weighted_sum({3: 1.0}), DTypeError, "got int"),
        (lambda: am.weighted_sum({"gini": "a"}), DTypeError, "expected numbers, got 'a'"),
        (lambda: am.weighted_sum({"gini": True}), DTypeError, "got True"),
        (lambda: am.weighted_sum({"gini": math.nan}), ArgumentError, "finite"),
        (lambda: am.weighted_sum({"gini": 1}, scale="z"), ArgumentError, "scale: .* got 'z'"),
        (lambda: am.borda(), ArgumentError, "at least one definition"),
        (lambda: am.borda("gini", weights=[1, 2]), ShapeError, "expected 1, .* got 2"),
        (lambda: am.borda("gini", "margin", weights=[1, -1]), ArgumentError, ">= 0"),
        (lambda: am.borda("gini", weights=[0]), ArgumentError, "not all 0"),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


# --- where=, a function -------------------------------------------------------------------------


def test_where_may_be_a_function(ev):
    wrong = ev.predicted != ev.given
    for k in (None, 3):
        got = am.rank(ev, "entropy", k, where=lambda ev: ev.predicted != ev.given)
        assert got.indices.tolist() == am.rank(ev, "entropy", k, where=wrong).indices.tolist()
    assert len(am.rank(ev, where=lambda ev: (ev.score("gini") > 2).tolist())) == 0


@pytest.mark.parametrize(
    ("where", "error", "words"),
    [
        (lambda ev: ev.probs[:, 0], DTypeError, "mask of booleans, got dtype float64"),
        (lambda ev: [1, 2], DTypeError, "got dtype int64"),
        (lambda ev: None, DTypeError, "got dtype object"),
        (lambda ev: ev.probs > 0, ShapeError, r"mask \(30,\), one per image, got \(30, 4\)"),
        (lambda ev: True, ShapeError, r"got \(\)"),
        (lambda ev: ev.probs[:, 9], ArgumentError, "where: the function raised IndexError"),
    ],
)
def test_a_wrong_mask_is_refused(ev, where, error, words):
    with pytest.raises(error, match=words):
        am.rank(ev, where=where)
