"""What stability foretells: against simulations whose answer is known, and scipy's integrals."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

import ambigmnist as am
from ambigmnist.errors import ArgumentError, DTypeError

module = sys.modules[am.stability.__module__]


def world(members, n=4000, noise=0.1, seed=0, folds=0.0) -> am.Evidence:
    """Networks whose p is a truth, the same for every seed, plus noise of their own."""
    truth = np.random.default_rng(99).normal(0.75, 0.05, n)
    rng = np.random.default_rng(seed)
    p = truth + rng.normal(0, folds, n) + rng.normal(0, noise, (members, n))
    p = p.clip(0.5, 1)
    stack = np.stack([p, 1 - p], axis=2)
    return am.Evidence(stack.mean(axis=0), members=stack)


def seen(m, k, **more):
    """What two audits share, and their tau."""
    found = [
        am.compare_rankings(
            am.rank(world(m, seed=10 + s, **more)), am.rank(world(m, seed=50 + s, **more)), k
        )
        for s in range(6)
    ]
    return np.mean([c.overlap for c in found]), np.mean([c.tau for c in found])


@given(st.floats(0, 1), st.sampled_from([0.5, 0.1, 0.01, 0.001]))
def test_overlap_of_two_normal_variables(rho, share):
    t = norm.ppf(1 - share)
    got = module._overlap(rho, share)
    assert share - 1e-12 <= got <= 1
    if rho < 0.999:
        both = multivariate_normal.cdf([-t, -t], cov=[[1, rho], [rho, 1]])
        assert got == pytest.approx(both / share, abs=2e-4 / share**0.5)
    assert module._overlap(1.0, share) == pytest.approx(1, abs=1e-6)
    if 0.01 < rho < 0.999:
        assert module._rho_of_overlap(got, share) == pytest.approx(rho, abs=1e-6)


def test_it_comes_true():
    for m, k in ((2, 100), (3, 100), (6, 40)):
        found = am.stability(world(m, noise=0.03), k=k)
        for size in (2 * m, 4 * m):
            overlap, tau = seen(size, k, noise=0.03)
            at = found.sizes == size
            assert found.overlap[at] == pytest.approx(overlap, abs=0.08), (m, k, size)
            assert found.tau[at] == pytest.approx(tau, abs=0.04), (m, k, size)


def test_what_it_says_of_the_number_needed():
    found = am.stability(world(3, noise=0.03), k=100)
    assert found.members_needed > 3
    overlap = seen(found.members_needed, 100, noise=0.03)[0]
    assert overlap == pytest.approx(0.9, abs=0.05)
    lacking = found.members_needed - 3
    assert f"{lacking} more networks needed for a stable top 100" in repr(found)
    assert f"{lacking} more networks" in found._repr_html_()
    assert found.reason == ""


def test_more_noise_is_less_stable():
    needed = [am.stability(world(3, noise=s), k=50).members_needed for s in (0.01, 0.02, 0.04)]
    assert needed == sorted(needed)
    assert needed[0] < needed[-1]
    found = am.stability(world(4, noise=0.03), k=50)
    assert (np.diff(found.overlap) > 0).all()
    assert (np.diff(found.tau) > 0).all()
    assert found.sizes.tolist() == [1, 2, 4, 8, 16]


def test_networks_that_agree_or_have_nothing_in_common():
    one = world(1).members[0]
    same = am.stability(am.Evidence(one, members=np.stack([one] * 3)), k=12)
    assert same.measured == 1.0
    assert same.members_needed <= 3
    assert "would do for 90%" in repr(same)
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, (4, 3000))
    stack = np.stack([p, 1 - p], axis=2)
    none = am.stability(am.Evidence(stack.mean(axis=0), members=stack), k=12)
    assert none.members_needed is None
    assert "1000 networks would not do for 90%" in repr(none)


def test_other_folds_are_not_mended_by_networks():
    audits = [world(3, noise=0.02, folds=0.05, seed=s) for s in (1, 2)]
    within, across = am.stability(audits[0], k=100), am.stability(audits, k=100)
    assert across.other_folds
    assert not within.other_folds
    assert across.overlap[-1] < within.overlap[-1] - 0.2
    assert across.members_needed is None
    assert "take more folds" in across.reason
    assert "another such audit would share" in repr(across)
    assert across.measured == am.compare_rankings(*map(am.rank, audits), k=100).overlap
    overlap = seen(12, 100, noise=0.02, folds=0.05)[0]
    assert across.overlap[-1] == pytest.approx(overlap, abs=0.08)


def test_audits_of_single_networks_tell_of_such_audits_only():
    singles = [am.Evidence(world(1, seed=s).probs) for s in (1, 2, 3)]
    found = am.stability(singles, k=100)
    assert found.sizes.tolist() == [1]
    assert found.overlap[0] == pytest.approx(found.measured, abs=0.01)
    assert found.members_needed is None
    assert "do not tell what more networks would change" in repr(found)
    by_function = am.stability(singles, lambda ev: ev.probs[:, 1], 100)
    assert by_function.measured == pytest.approx(found.measured, abs=0.05)


def test_scores_that_are_all_the_same():
    flat = am.Evidence(np.full((50, 2), 0.5), members=np.full((3, 50, 2), 0.5))
    found = am.stability(flat, k=5)
    assert np.isnan(found.tau).all()
    assert found.measured == 1.0  # ties go by index
    assert am.stability([flat, flat], k=5).measured == 1.0
    assert "nan" in repr(found)


def test_the_seed_and_the_number_of_threads():
    ev, before = world(8), am.get_num_threads()
    first = am.stability(ev, k=50)
    try:
        am.set_num_threads(1)
        assert repr(am.stability(ev, k=50)) == repr(first)
        assert am.stability(ev, k=50, seed=1).measured != first.measured
    finally:
        am.set_num_threads(before)


def test_passes_with_dropout():
    ev = world(6)
    found = am.stability(am.Evidence(ev.probs, mc=ev.members), k=50)
    assert found.unit == "passes"
    assert "6 passes" in repr(found)
    several = am.stability(ev, "expected_entropy", k=50)
    assert several.sizes.tolist() == [2, 6, 12, 24]  # of one there is no such score


def test_what_goes_wrong_says_what_to_do():
    ev = world(3, n=50)
    with pytest.raises(ArgumentError, match=r"k: expected fewer than the 50 images, got 50"):
        am.stability(ev, k=50)
    with pytest.raises(ArgumentError, match="k: expected at least 1"):
        am.stability(ev, k=0)
    with pytest.raises(ArgumentError, match=r"audit\(members=3\)"):
        am.stability(am.Evidence(ev.probs))
    with pytest.raises(ArgumentError, match="at least 2 audits, got 1"):
        am.stability([ev])
    with pytest.raises(ArgumentError, match="as many networks each, got 2 networks, 3 networks"):
        am.stability([ev, world(2, n=50)])
    with pytest.raises(DTypeError, match="list of Evidence"):
        am.stability(ev.probs)
    with pytest.raises(ArgumentError, match="unknown definition"):
        am.stability(ev, "least_confidant")
    with pytest.raises(ArgumentError, match="at least 4 networks"):
        am.stability(ev, "bald")
    assert am.stability([ev, ev], "bald").sizes.tolist() == [3]
