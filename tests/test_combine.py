"""One opinion out of several networks', against longdouble."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from layouts import STACKS

from ambigmnist import _ambigcore as core
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

LEAST = -float(np.finfo(np.float32).max)


def naive(logits):
    """log of the mean of the softmax, (n, k), not below what float32 holds."""
    z = logits.astype(np.longdouble)
    z = z - z.max(axis=2, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=2, keepdims=True))
    best = log_p.max(axis=0)
    return np.maximum(best + np.log(np.exp(log_p - best).mean(axis=0)), LEAST)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(1, 4), st.integers(0, 5), st.integers(1, 5)),
        elements=st.sampled_from(
            [0.0, -0.0, 1.0, 1.0, -2.5, 30.0, 700.0, -1e4, 3e38, -3e38, 1e-30]
        ),
    ),
    st.sampled_from([1, 2, 5]),
)
def test_it_is_the_log_of_the_mean(logits, threads):
    got = core.mean_logits(logits, threads)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, naive(logits), rtol=1e-6, atol=1e-15)


def test_what_all_are_sure_of_is_still_told_apart():
    """Both round to p = 1 in float32, and to other classes' p of 0."""
    logits = np.zeros((3, 2, 4), np.float32)
    logits[:, 0, 0], logits[:, 1, 0] = 200.0, 300.0
    scores = core.scores(core.mean_logits(logits, 1), True, "least_confident", None, 1)
    np.testing.assert_allclose(scores, 3 * np.exp(-np.array([200.0, 300.0])), rtol=1e-5)


def test_equal_networks_change_nothing():
    z = np.random.default_rng(0).normal(0, 9, (1, 999, 7)).astype(np.float32)
    one = core.mean_logits(z, 1)
    assert np.abs(core.mean_logits(np.repeat(z, 5, axis=0), 1) - one).max() < 1e-5
    p, q = core.softmax(one, 1), core.softmax(z[0], 1)
    assert np.abs(p - q).max() < 1e-6


@pytest.mark.parametrize("layout", STACKS)
def test_layouts_threads_and_parts_do_not_change_a_bit(layout):
    z = np.random.default_rng(1).normal(0, 9, (3, 2100, 10)).astype(np.float32)
    expected = core.mean_logits(z, 1)
    for threads in (1, 2, 3):
        assert core.mean_logits(STACKS[layout](z), threads).tobytes() == expected.tobytes()
    part = core.mean_logits(STACKS[layout](z[:, 700:1500]), 2)
    assert part.tobytes() == expected[700:1500].tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0, 0), (1, 1999, 3), (2, 700, 2)])
def test_only_finite_logits(bad, where):
    z = np.zeros((3, 2000, 4), np.float32)
    z[where] = bad
    place = rf"\[{where[1]}, {where[2]}\]"
    with pytest.raises(ArgumentError, match=f"expected finite numbers, got -?(nan|inf) at {place}"):
        core.mean_logits(z, 2)


def test_bad_arguments():
    z = np.zeros((2, 3, 4), np.float32)
    for bad, error in (
        ((z[:0], 1), ShapeError),
        ((z[0], 1), ShapeError),
        ((z[:, :, :0], 1), ShapeError),
        ((z.astype(int), 1), DTypeError),
        ((z.tolist(), 1), DTypeError),
        ((z, 0), ArgumentError),
        ((z,), TypeError),
    ):
        with pytest.raises(error):
            core.mean_logits(*bad)
    assert core.mean_logits(z[:, :0], 1).shape == (0, 4)
