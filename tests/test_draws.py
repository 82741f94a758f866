"""Scores of several opinions on every image, against NumPy twins written from the definitions."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from layouts import STACKS

import ambigmnist as am
from ambigmnist import _ambigcore as core
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

THREADS = (1, 2, 3, 7)
EVERY = ("expected_entropy", "bald", "variation_ratio")


def naive_entropy(p) -> float:
    return -sum(float(v) * math.log(v) for v in p if v > 0)


def naive_score(name: str, draws: np.ndarray) -> float:
    """Of one image: draws (t, k)."""
    draws = draws.astype(np.float64)
    if name == "expected_entropy":
        return float(np.mean([naive_entropy(p) for p in draws]))
    if name == "variation_ratio":
        votes = [max(range(len(p)), key=lambda j: (p[j], -j)) for p in draws]
        return 1 - max(votes.count(v) for v in votes) / len(votes)
    assert name == "bald"
    return naive_entropy(draws.mean(axis=0)) - float(np.mean([naive_entropy(p) for p in draws]))


@st.composite
def stacks(draw, max_t: int = 5, max_n: int = 6, max_k: int = 5):
    """Rows with exact 0 and 1, ties, a class that nobody gives anything, and ordinary ones."""
    shape = tuple(draw(st.integers(low, high)) for low, high in ((1, max_t), (0, max_n)))
    k = draw(st.integers(1, max_k))
    elements = st.sampled_from([0, 0, 1, 2, 3, 0.7, 1e-9])
    weights = draw(hnp.arrays(np.float64, (*shape, k), elements=elements))
    weights[weights.sum(axis=2) == 0, 0] = 1
    probs = weights / weights.sum(axis=2, keepdims=True)
    return probs.astype(draw(st.sampled_from([np.float32, np.float64])))


@given(stacks(), st.sampled_from(THREADS))
def test_scores_follow_the_definitions(draws, threads):
    t, n, k = draws.shape
    for name in EVERY:
        got = core.draws_score(draws, name, threads)
        expected = [naive_score(name, draws[:, i]) for i in range(n)]
        assert got.dtype == np.float64
        # The rows of float32 sum to 1 within 1e-7, and the definitions know nothing of it.
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-15 * k, err_msg=name)
        assert (got >= 0).all() or name == "expected_entropy"
    assert (core.draws_score(draws, "bald", 1) <= math.log(min(t, k)) + 1e-6).all()


@given(
    st.integers(1, 60),
    hnp.arrays(np.float64, (4, 7), elements=st.floats(0, 1)),
    st.sampled_from([np.float32, np.float64]),
)
def test_equal_draws_disagree_by_exactly_nothing(t, row, dtype):
    draws = np.broadcast_to(row.astype(dtype), (t, *row.shape))
    assert (core.draws_score(draws, "bald", 2) == 0).all()
    assert (core.draws_score(draws, "variation_ratio", 2) == 0).all()


@given(hnp.arrays(np.float64, (3, 5, 4), elements=st.floats(0, 1)))
def test_disagreement_is_never_negative(values):
    """Also of rows that do not sum to 1, and of numbers below the normal ones."""
    for scale in (1.0, 1e-300, 1e-315):
        got = core.draws_score(values * scale, "bald", 1)
        assert (got >= 0).all()
        assert np.isfinite(got).all()


def test_small_disagreement_keeps_its_digits():
    """(p, 1 - p) moved by d both ways: the divergence is d^2 / 2p(1 - p) + O(d^4)."""
    for d in (1e-3, 1e-5, 1e-8, 1e-12):
        low, high = 0.3 - d, 0.3 + d
        draws = np.array([[[low, 1 - low]], [[high, 1 - high]]])
        d = (high - low) / 2  # what is left of it in float64
        from_mean = [
            (1 + s * d / q) * math.log1p(s * d / q) * q for s in (1, -1) for q in (0.3, 0.7)
        ]
        expected = d * d / (2 * 0.3 * 0.7) if d < 1e-4 else sum(from_mean) / 2
        assert core.draws_score(draws, "bald", 1)[0] == pytest.approx(expected, rel=1e-6)


def test_the_series_meets_the_formula():
    """Around |p - m| = m / 8, where one takes over from the other."""
    d = np.linspace(0.12, 0.13, 101) * 0.25
    rest = np.full((2, len(d)), 0.75)
    draws = np.stack([np.stack([0.25 + d, 0.25 - d]), rest - [d, -d]], axis=2)
    got = core.draws_score(draws, "bald", 1)
    expected = [naive_score("bald", draws[:, i].astype(np.longdouble)) for i in range(len(d))]
    np.testing.assert_allclose(got, expected, rtol=1e-13)
    assert (np.diff(got) > 0).all()


# --- directions, by hand ------------------------------------------------------------------------

SURE, OTHER, TORN = [0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.5, 0.49, 0.01]


def test_bald_tells_disagreement_from_doubt():
    """One image all are sure of, one all are torn about, one on which they are sure and differ."""
    draws = np.array([[SURE, TORN, SURE], [SURE, TORN, OTHER]])
    ev = am.Evidence(draws.mean(axis=0), mc=draws)
    assert am.rank(ev, "bald").indices[0] == 2
    assert am.rank(ev, "variation_ratio").scores.tolist() == [0.5, 0, 0]
    assert am.rank(ev, "expected_entropy").indices[0] == 1
    assert (ev.score("bald")[:2] == 0).all()


def test_one_hot_opinions():
    """Three that differ on everything: log 3, and two thirds are outvoted."""
    draws = np.eye(3)[:, None]
    ev = am.Evidence(draws.mean(axis=0), members=draws)
    assert ev.score("bald")[0] == pytest.approx(math.log(3), rel=1e-15)
    assert ev.score("variation_ratio")[0] == pytest.approx(2 / 3, rel=1e-15)
    assert ev.score("expected_entropy")[0] == 0


def test_a_tie_is_a_vote_for_the_first():
    draws = np.array([[[0.5, 0.5]], [[1.0, 0.0]], [[0.2, 0.8]]])
    assert core.draws_score(draws, "variation_ratio", 1)[0] == pytest.approx(1 / 3)


def test_views_that_read_differently_are_ambiguous():
    views = np.array([[SURE, TORN, SURE], [SURE, TORN, OTHER], [SURE, SURE, OTHER]])
    ev = am.Evidence(views[0], augmented=views)
    scores = ev.score("augmentation_disagreement")
    assert scores[0] == 0
    assert scores[0] < scores[1] < scores[2]
    # Lin's divergence with equal weights, of its own definition: entropies.
    expected = [naive_score("bald", views[:, i]) for i in range(3)]
    np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-15)


def test_passes_with_dropout_come_before_members():
    same, differ = np.array([[SURE], [SURE]]), np.array([[SURE], [OTHER]])
    assert am.Evidence([SURE], mc=same, members=differ).score("bald")[0] == 0
    assert am.Evidence([SURE], mc=differ, members=same).score("bald")[0] > 0.5


def test_one_class_has_nothing_to_disagree_about():
    for name in EVERY:
        assert (core.draws_score(np.ones((3, 4, 1)), name, 2) == 0).all()


# --- what is missing ----------------------------------------------------------------------------


def test_missing_opinions_are_explained():
    ev = am.Evidence([SURE])
    for name in EVERY:
        with pytest.raises(ArgumentError, match=rf"'{name}' needs draws.*audit\(mc=20\)"):
            ev.score(name)
    with pytest.raises(ArgumentError, match=r"needs augmented.*augmented=.*audit\(augment=8\)"):
        ev.score("augmentation_disagreement")


def test_one_opinion_is_not_several():
    ev = am.Evidence([SURE], members=[[SURE]], augmented=np.empty((0, 1, 3)))
    for name in EVERY:
        words = rf"^definition '{name}' needs at least 2 draws, this evidence has 1: .*members=3"
        with pytest.raises(ArgumentError, match=words):
            ev.score(name)
    with pytest.raises(ArgumentError, match=r"at least 2 views, this evidence has 0: .*augment=8"):
        ev.score("augmentation_disagreement")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.ones((2, 3)), "bald", 1), ShapeError, "3 dimensions"),
        ((np.ones((2, 3, 0)), "bald", 1), ShapeError, "at least one class"),
        ((np.ones((0, 3, 2)), "bald", 1), ShapeError, "at least one draw"),
        ((np.ones((2, 3, 2), int), "bald", 1), DTypeError, "float32 or float64"),
        (([[[1.0]]], "bald", 1), DTypeError, "got <class 'list'>"),
        ((np.ones((2, 3, 2)), "blad", 1), ArgumentError, "got 'blad'"),
        ((np.ones((2, 3, 2)), 3, 1), TypeError, "bad argument"),
        ((np.ones((2, 3, 2)), "bald", 0), ArgumentError, "threads"),
        ((np.ones((2, 3, 2)), "bald"), TypeError, "3"),
    ],
)
def test_the_core_checks_its_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        core.draws_score(*arguments)


def test_nan_stays_nan_and_hurts_nobody_else():
    draws = np.array([[SURE, SURE], [OTHER, OTHER]])
    draws[1, 0, 1] = np.nan
    for name in ("bald", "expected_entropy"):
        got = core.draws_score(draws, name, 1)
        assert got[1] == naive_score(name, draws[:, 1]) or got[1] > 0
    assert np.isnan(core.draws_score(draws, "bald", 1)[0])
    assert 0 <= core.draws_score(draws, "variation_ratio", 1)[0] <= 0.5
    with pytest.raises(ArgumentError, match=r"mc\[1\]: .*nan at \[0, 1\]"):
        am.Evidence([SURE, SURE], mc=draws)


# --- the same bits for any number of threads, any chunking, any layout --------------------------


@pytest.fixture(scope="module")
def large():
    draws = np.random.default_rng(5).dirichlet(np.ones(10) * 0.3, (6, 2003)).astype(np.float32)
    draws[:, ::7] = draws[0, ::7]
    return draws


def everything(draws, threads) -> list[bytes]:
    return [core.draws_score(draws, name, threads).tobytes() for name in EVERY]


def test_thread_counts_give_the_same_bits(large):
    expected = everything(large, 1)
    assert all(everything(large, threads) == expected for threads in THREADS)


@given(st.integers(0, 2003), st.integers(0, 2003))
def test_images_are_independent_of_their_neighbours(large, a, b):
    part = slice(min(a, b), max(a, b))
    whole = core.draws_score(large, "bald", 1)[part]
    assert core.draws_score(large[:, part], "bald", 2).tobytes() == whole.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", STACKS)
def test_draws_are_read_where_they_lie(large, layout, dtype):
    plain = large[:, :600].astype(dtype)
    before = core.alloc_stats()
    assert everything(STACKS[layout](plain), 2) == everything(plain, 1)
    assert core.alloc_stats()[:2] == before[:2]


def test_the_order_of_the_draws_does_not_matter(large):
    for name in EVERY:
        np.testing.assert_allclose(
            core.draws_score(large[::-1], name, 1), core.draws_score(large, name, 1), rtol=1e-12
        )


def test_no_images():
    for name in EVERY:
        assert core.draws_score(np.empty((3, 0, 2)), name, 2).shape == (0,)
