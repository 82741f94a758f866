"""Kendall's tau-b of the core against a twin that looks at every pair."""

from __future__ import annotations

import itertools
import math
import threading

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.stats import kendalltau

from ambigmnist import _ambigcore as core
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

FEW = st.sampled_from([0.0, -0.0, 1.0, 2.0, math.inf, -math.inf, 5e-324])
NUMBERS = st.one_of(FEW, st.floats(allow_nan=False))


def naive(x, y) -> float:
    pairs = [
        ((a > b) - (a < b), (c > d) - (c < d))
        for (a, c), (b, d) in itertools.combinations(zip(x.tolist(), y.tolist(), strict=True), 2)
    ]
    by_x, by_y = sum(s != 0 for s, _ in pairs), sum(t != 0 for _, t in pairs)
    if by_x == 0 or by_y == 0:
        return math.nan
    return sum(s * t for s, t in pairs) / math.sqrt(by_x * by_y)


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@st.composite
def two(draw):
    n = draw(st.integers(0, 40))
    elements = draw(st.sampled_from([FEW, NUMBERS]))
    return [draw(hnp.arrays(np.float64, n, elements=elements)) for _ in range(2)]


@given(two())
def test_as_every_pair_says(pair):
    x, y = pair
    for array in pair:
        array.flags.writeable = False
    expected = naive(x, y)
    assert same(core.kendall_tau(x, y), expected)
    assert same(core.kendall_tau(y, x), expected)
    assert same(core.kendall_tau(x, -y), -expected)
    if not math.isnan(expected):
        assert -1 <= expected <= 1


@pytest.mark.parametrize(
    ("x", "y", "tau"),
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),
        ([1, 1, 2, 2], [1, 2, 3, 4], 4 / math.sqrt(4 * 6)),
        ([1, 1, 2, 2], [5, 5, 7, 7], 1.0),
        ([0.0, -0.0], [1, 2], math.nan),
        ([1], [1], math.nan),
        ([], [], math.nan),
    ],
)
def test_hand_made(x, y, tau):
    np.testing.assert_equal(core.kendall_tau(np.array(x, float), np.array(y, float)), tau)


@pytest.mark.parametrize("values", [3, 1000, 10**9])
def test_as_scipy_has_it(values):
    rng = np.random.default_rng(values)
    x = rng.integers(0, values, 20_000).astype(float)
    y = x + rng.integers(0, values, 20_000)
    assert core.kendall_tau(x, y) == pytest.approx(kendalltau(x, y).statistic, abs=1e-14)


def test_arguments():
    x = np.arange(4.0)
    with pytest.raises(ArgumentError, match="y: expected numbers, got NaN at index 2"):
        core.kendall_tau(x, np.array([1, 2, np.nan, 3]))
    with pytest.raises(ShapeError, match="y: expected 4 numbers like x, got 3"):
        core.kendall_tau(x, x[:3].copy())
    with pytest.raises(ShapeError):
        core.kendall_tau(x[:, None].copy(), x)
    with pytest.raises(DTypeError):
        core.kendall_tau(x.astype(np.float32), x)
    with pytest.raises((DTypeError, ArgumentError)):  # the core takes arrays without gaps
        core.kendall_tau(np.arange(8.0)[::2], x)


def test_other_threads_run_meanwhile():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1_000_000))
    done, ticks = threading.Event(), []

    def compute():
        core.kendall_tau(x, y)
        done.set()

    thread = threading.Thread(target=compute)
    thread.start()
    while not done.wait(0.005):
        ticks.append(1)
    thread.join()
    assert len(ticks) > 3
