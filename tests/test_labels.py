"""Confident learning: by hand, against slow twins in exact fractions, and against cleanlab."""

from __future__ import annotations

import itertools
import math
import pickle
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from layouts import ROWS

import ambigmnist as am
from ambigmnist import _ambigcore as core
from ambigmnist.errors import ArgumentError, DTypeError, OutOfMemoryError, ShapeError

METHODS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning")
THREADS = (1, 2, 3, 7)

# --- the paper, one image at a time, in exact fractions -----------------------------------------


def naive_joint(probs, given) -> SimpleNamespace:
    p = [[Fraction(float(v)) for v in row] for row in probs]
    n, k = len(p), probs.shape[1]
    by_class = [[i for i in range(n) if given[i] == j] for j in range(k)]
    means = [
        sum(p[i][j] for i in rows) / len(rows) if rows else None for j, rows in enumerate(by_class)
    ]
    counts, columns = np.zeros((k, k), int), []
    for i in range(n):
        reached = [j for j in range(k) if means[j] is not None and p[i][j] >= means[j]]
        columns.append(max(reached, key=lambda j: (p[i][j], -j), default=-1))
        if reached:
            counts[given[i], columns[-1]] += 1
    shares = [
        [
            Fraction(len(rows) * int(c), int(counts[i].sum())) if rows else Fraction(0)
            for c in counts[i]
        ]
        for i, rows in enumerate(by_class)
    ]
    return SimpleNamespace(
        p=p, by_class=by_class, means=means, counts=counts, columns=columns, shares=shares
    )


def naive_issues(probs, given, method) -> set[int]:
    found = naive_joint(probs, given)

    def half_up(x: Fraction) -> int:
        return math.floor(x + Fraction(1, 2))

    if method == "confident_learning":
        return {i for i, j in enumerate(found.columns) if j not in (-1, given[i])}
    if method == "both":
        return naive_issues(probs, given, "prune_by_class") & naive_issues(
            probs, given, "prune_by_noise_rate"
        )
    issues = set()
    for g, rows in enumerate(found.by_class):
        if method == "prune_by_class":
            number = half_up(sum(s for j, s in enumerate(found.shares[g]) if j != g))
            issues |= set(sorted(rows, key=lambda i: (found.p[i][g], i))[:number])
            continue
        for j in range(probs.shape[1]):
            if j != g:
                ranked = sorted(rows, key=lambda i: (found.p[i][g] - found.p[i][j], i))
                issues |= set(ranked[: half_up(found.shares[g][j])])
    return issues


def mask_of(ranking: am.Ranking) -> np.ndarray:
    mask = np.zeros(ranking.evidence.n, bool)
    mask[ranking.indices] = True
    return mask


@st.composite
def labelled(draw, max_n: int = 25, max_k: int = 5):
    """Probabilities in 64ths, so with exact 0 and 1 and ties, and labels that may miss classes."""
    n, k = draw(st.integers(0, max_n)), draw(st.integers(1, max_k))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.05, 0.5, 3.0]))
    whole = draw(st.sampled_from([2, 8, 64]))
    probs = rng.multinomial(whole, rng.dirichlet(np.full(k, spread), n)) / whole
    present = draw(st.integers(1, k))
    noise = rng.random(n) < draw(st.sampled_from([0.0, 0.2, 1.0]))
    given = np.where(noise, rng.integers(0, present, n), probs.argmax(axis=1) % present)
    return probs.reshape(n, k).astype(draw(st.sampled_from([np.float32, np.float64]))), given


@given(labelled())
def test_the_joint_is_the_papers(case):
    probs, labels = case
    n, k = probs.shape
    expected = naive_joint(probs, labels)
    joint = am.confident_joint(am.Evidence(probs, labels))
    assert joint.counts.dtype == np.int64
    assert joint.counts.tolist() == expected.counts.tolist()
    for got, mean in zip(joint.thresholds, expected.means, strict=True):
        if mean is None:
            assert math.isnan(got)
        else:  # the smallest double that is not below
            assert Fraction(got) >= mean
            assert got == 0 or Fraction(np.nextafter(got, 0)) < mean
    assert joint.label_counts.tolist() == np.bincount(labels, minlength=k).tolist()
    shares = np.array(expected.shares, float).reshape(k, k)
    np.testing.assert_allclose(joint.calibrated, shares, rtol=1e-15)
    np.testing.assert_allclose(joint.calibrated.sum(axis=1), joint.label_counts, rtol=1e-14)
    off = [int(j not in (-1, g)) for j, g in zip(expected.columns, labels, strict=True)]
    assert joint.counted_issues == sum(off)
    if n == 0:
        assert np.isnan(joint.joint).all()
        assert joint.estimated_issues == 0
        return
    assert joint.joint.sum() == pytest.approx(1, rel=1e-14)
    assert abs(joint.estimated_issues - (n - shares.trace())) <= 0.5 + 1e-9
    columns, rows = shares.sum(axis=0), shares.sum(axis=1)
    np.testing.assert_allclose(
        joint.noise_matrix, shares / np.where(columns > 0, columns, np.nan), rtol=1e-13
    )
    np.testing.assert_allclose(
        joint.inverse_noise_matrix,
        shares / np.where(rows > 0, rows, np.nan)[:, None],
        rtol=1e-13,
    )


@pytest.mark.parametrize("method", METHODS)
@given(case=labelled())
def test_the_issues_are_the_papers(method, case):
    probs, labels = case
    ranking = am.label_issues(am.Evidence(probs, labels), method=method)
    assert set(ranking.indices.tolist()) == naive_issues(probs, labels, method)
    assert len(set(ranking.indices.tolist())) == len(ranking)


@given(labelled())
def test_confident_learning_puts_the_issues_before_the_others(case):
    probs, labels = case
    ev = am.Evidence(probs, labels)
    scores, margin = ev.score("confident_learning"), ev.score("normalized_margin")
    issues = naive_issues(probs, labels, "confident_learning")
    for i in range(ev.n):
        assert scores[i] == (margin[i] if i in issues else margin[i] - 1)
        assert 0 <= scores[i] <= 1 if i in issues else -1 <= scores[i] <= 0


# --- by hand ------------------------------------------------------------------------------------

# Thresholds: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.7 + 0.3) / 2 = 0.5.
#   image 0: 0.9 reaches 0; 1: 0.8 reaches 0; 2: 0.9 reaches 1 (not 0); 3: 0.7 reaches 1;
#   4: 0.7 reaches 0 (0.3 does not reach 1).
HAND = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.7, 0.3]]
HAND_LABELS = [0, 0, 0, 1, 1]


def test_a_small_example_by_hand():
    joint = am.confident_joint(am.Evidence(HAND, HAND_LABELS))
    assert joint.counts.tolist() == [[2, 1], [1, 1]]
    np.testing.assert_allclose(joint.thresholds, [0.6, 0.5], rtol=1e-15)
    np.testing.assert_allclose(joint.joint, [[0.4, 0.2], [0.2, 0.2]], rtol=1e-15)
    np.testing.assert_allclose(joint.noise_matrix, [[2 / 3, 1 / 2], [1 / 3, 1 / 2]], rtol=1e-15)
    np.testing.assert_allclose(
        joint.inverse_noise_matrix, [[2 / 3, 1 / 3], [1 / 2, 1 / 2]], rtol=1e-15
    )
    assert joint.counted_issues == joint.estimated_issues == 2
    for method in METHODS:
        ranking = am.label_issues(am.Evidence(HAND, HAND_LABELS), method=method)
        assert ranking.indices.tolist() == [2, 4], method
        np.testing.assert_allclose(ranking.scores, [0.9, 0.7], rtol=1e-15)


def test_an_image_that_reaches_nothing_is_counted_nowhere():
    """Thresholds 0.8 and 0.8; the last but one is sure of neither."""
    probs = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
    joint = am.confident_joint(am.Evidence(probs, [0, 0, 1, 1, 1]))
    assert joint.counts.tolist() == [[1, 0], [0, 2]]
    assert joint.calibrated.tolist() == [[2, 0], [0, 3]]


def test_among_the_reached_classes_not_among_all():
    """Class 0 is the largest of the last image, but only 1 and 2 are reached: where the paper and
    cleanlab differ."""
    probs = [[0.9, 0.05, 0.05], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.4, 0.32, 0.28]]
    ev = am.Evidence(probs, [0, 1, 2, 0])
    assert am.confident_joint(ev).counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    theirs = am.confident_joint(ev, compat="cleanlab").counts
    assert theirs.tolist() == [[2, 0, 0], [1, 1, 0], [1, 0, 1]]


def test_equal_probabilities_count_for_the_first_column():
    joint = am.confident_joint(am.Evidence([[0.5, 0.5], [0.5, 0.5]], [0, 1]))
    assert joint.counts.tolist() == [[1, 0], [1, 0]]


def test_a_threshold_is_compared_with_exactly():
    """0.1 + ... + 0.1 over n is not 0.1 in floating point, and would then be reached by none."""
    for value, n in itertools.product((0.1, 0.3, 0.7, 1 / 3, 1e-17, 5e-324), (3, 10, 49, 1000)):
        probs = np.tile([value, 1 - value], (n, 1))
        joint = am.confident_joint(am.Evidence(probs, np.zeros(n, int)))
        assert joint.thresholds[0] == value
        assert joint.counts.tolist() == [[n, 0], [0, 0]]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_means_are_exact(values):
    probs = np.column_stack([values, 1 - np.array(values)])
    sums, counts = core.self_confidence(probs, False, np.zeros(len(values), np.intp), 1)
    got = core.exact_means(sums, counts)[0]
    mean = sum(map(Fraction, values)) / len(values)
    assert Fraction(got) >= mean
    assert got == 0 or Fraction(np.nextafter(got, 0)) < mean
    assert min(values) <= got <= max(values)


def test_a_class_without_images_is_never_seen():
    ev = am.Evidence([[0.1, 0.2, 0.7], [0.0, 0.0, 1.0], [0.6, 0.4, 0.0]], [0, 1, 0])
    joint = am.confident_joint(ev)
    assert math.isnan(joint.thresholds[2])
    assert joint.counts[:, 2].tolist() == [0, 0, 0]
    assert joint.counts[2].tolist() == [0, 0, 0]
    assert np.isnan(joint.noise_matrix[:, 2]).all()
    assert np.isnan(joint.inverse_noise_matrix[2]).all()
    assert joint.joint.sum() == pytest.approx(1)
    assert "nan" in repr(joint)


def test_one_class_has_no_issues():
    ev = am.Evidence(np.ones((3, 1)), [0, 0, 0])
    for compat in (None, "cleanlab"):
        joint = am.confident_joint(ev, compat=compat)
        assert joint.counts.tolist() == [[3]]
        assert joint.counted_issues == joint.estimated_issues == 0
        for method in METHODS:
            assert len(am.label_issues(ev, method=method, compat=compat)) == 0


def test_names_as_labels_and_columns_in_any_order():
    ev = am.Evidence(HAND, ["two", "two", "two", "one", "one"], classes=["two", "one"])
    for compat in (None, "cleanlab"):
        plain = am.Evidence(HAND, HAND_LABELS)
        joint = am.confident_joint(ev, compat=compat)
        assert joint.classes.tolist() == ["two", "one"]
        assert (joint.counts == am.confident_joint(plain, compat=compat).counts).all()
        for method in METHODS:
            ranking = am.label_issues(ev, method=method, compat=compat)
            expected = am.label_issues(plain, method=method, compat=compat)
            assert ranking.indices.tolist() == expected.indices.tolist()
    assert am.label_issues(ev).given.tolist() == ["two", "one"]


def test_exact_zeros_and_ones():
    probs = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    joint = am.confident_joint(am.Evidence(probs, [0, 1, 2, 1, 1, 2]))
    assert joint.counts.tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 2]]
    # A class that is never believed has the threshold 0, which every image reaches.
    joint = am.confident_joint(am.Evidence([[1.0, 0.0], [1.0, 0.0]], [0, 1]))
    assert joint.thresholds.tolist() == [1, 0]
    assert joint.counts.tolist() == [[1, 0], [1, 0]]


# --- what it looks like -------------------------------------------------------------------------


def test_the_joint_prints_as_a_table():
    joint = am.confident_joint(
        am.Evidence(HAND, ["a<b", "a<b", "a<b", "c", "c"], classes=["a<b", "c"])
    )
    lines = repr(joint).splitlines()
    assert lines[0].startswith("ConfidentJoint: 5 images, 2 classes; label issues: 2 counted, 2")
    assert lines[1].split() == ["given", "a<b", "c", "threshold"]
    assert lines[2].split() == ["a<b", "2", "1", "0.6000"]
    assert "a&lt;b" in joint._repr_html_()
    assert "a<b" not in joint._repr_html_()
    again = pickle.loads(pickle.dumps(joint))
    assert repr(again) == repr(joint)
    with pytest.raises(ValueError, match="read-only"):
        joint.counts[0, 0] = 7


def test_of_many_classes_the_largest_cells_are_listed():
    k = 30
    probs = np.full((k + 2, k), 0.01)
    columns = [*range(k), 7, 7]
    probs[np.arange(k + 2), columns] = 1 - 0.01 * (k - 1)
    joint = am.confident_joint(am.Evidence(probs, [*range(k), 3, 3]))
    assert repr(joint).splitlines()[1:] == ["given  likely  images", "3      7       2"]


def test_in_sample_evidence_says_so():
    for value, words in ((True, "5 of 5 images"), ([False] * 4 + [True], "1 of 5 images")):
        ev = am.Evidence(HAND, HAND_LABELS, in_sample=value)
        for text in (
            repr(am.confident_joint(ev)),
            am.confident_joint(ev)._repr_html_(),
            repr(am.label_issues(ev)),
        ):
            assert "in sample: " in text
            assert words in text
    for value in (None, False):
        ev = am.Evidence(HAND, HAND_LABELS, in_sample=value)
        assert "in sample" not in repr(am.confident_joint(ev)) + repr(am.label_issues(ev))


def test_issues_are_a_ranking(tmp_path):
    images = np.zeros((5, 4, 4), np.uint8)
    ev = am.Evidence(HAND, HAND_LABELS, images=images)
    ranking = am.label_issues(ev, order="self_confidence")
    assert ranking.definition.name == "self_confidence"
    assert ranking.note == "label issues by prune_by_noise_rate"
    assert "label issues by both, cleanlab's rules" in repr(
        am.label_issues(ev, method="both", compat="cleanlab")
    )
    ranking.to_csv(tmp_path / "issues.csv")
    assert (tmp_path / "issues.csv").read_text().count("\n") == 3
    assert len(ranking.to_frame()) == 2
    assert ranking.gallery() is not None
    assert ranking.score_of(0) == pytest.approx(0.1)
    by_index = am.label_issues(ev, order=lambda ev: np.arange(ev.n))
    assert by_index.indices.tolist() == [4, 2]


@pytest.mark.parametrize("function", [am.confident_joint, am.label_issues])
def test_what_is_refused(function):
    with pytest.raises(ArgumentError, match="labels"):
        function(am.Evidence(HAND))
    with pytest.raises(DTypeError, match="expected an Evidence"):
        function(HAND)
    with pytest.raises(ArgumentError, match=r"compat: unknown 'cleanlap'.*did you mean 'cleanlab'"):
        function(am.Evidence(HAND, HAND_LABELS), compat="cleanlap")


def test_unknown_methods_and_orders_are_refused():
    ev = am.Evidence(HAND, HAND_LABELS)
    with pytest.raises(ArgumentError, match=r"method: unknown.*did you mean 'prune_by_class'"):
        am.label_issues(ev, method="prune_by_clas")
    with pytest.raises(ArgumentError, match="method: unknown None"):
        am.label_issues(ev, method=None)
    with pytest.raises(ArgumentError, match="by: unknown definition"):
        am.label_issues(ev, order="selfconfidence")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_probabilities_of_the_label_are_told_apart(dtype):
    """1 - p_g would be 1 for the first three. Of class 0 three images are counted, one of them as
    class 1: 5 / 3 is two to prune."""
    probs = [[1e-25, 0.5, 0.5], [1e-35, 0.5, 0.5], [1e-30, 1, 0], [0.9, 0.1, 0], [0.9, 0.1, 0]]
    probs += [[0, 0.9, 0.1], [0, 0.1, 0.9]]
    ev = am.Evidence(np.array(probs, dtype), [0, 0, 0, 0, 0, 1, 2])
    assert am.confident_joint(ev).counts[0].tolist() == [2, 1, 0]
    assert sorted(am.label_issues(ev, method="prune_by_class").indices) == [1, 2]


# --- logits -------------------------------------------------------------------------------------


def test_logits_tell_apart_what_probabilities_do_not():
    """All p_0 round to 1 in float32. In float64, their mean is between the two."""
    z = np.float64([[20.0, 0.0], [30.0, 0.0], [0.0, 5.0]])
    ev = am.Evidence(None, [0, 0, 1], logits=z)
    joint = am.confident_joint(ev)
    assert joint.counts.tolist() == [[1, 0], [0, 1]]
    p = 1 / (1 + np.exp(-np.array([20.0, 30.0])))
    assert joint.thresholds[0] == pytest.approx(p.mean(), rel=1e-15)
    assert p[0] < joint.thresholds[0] < p[1]


@given(
    st.integers(1, 40),
    st.integers(1, 5),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_logits_count_as_their_softmax(n, k, dtype, seed):
    rng = np.random.default_rng(seed)
    z = (rng.normal(size=(n, k)) * 3).astype(dtype)
    labels = rng.integers(0, k, n)
    probs = core.probabilities(z.astype(np.float64), 1)
    found = am.confident_joint(am.Evidence(None, labels, logits=z))
    assert (found.counts == am.confident_joint(am.Evidence(probs, labels)).counts).all()
    for method in METHODS:
        ranking = am.label_issues(am.Evidence(None, labels, logits=z), method=method)
        expected = am.label_issues(am.Evidence(probs, labels), method=method)
        assert set(ranking.indices) == set(expected.indices)


# --- the same bits for any threads, parts, layout -----------------------------------------------


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(7)
    z = rng.normal(size=(230_000, 5)).astype(np.float32) * 3  # several chunks
    return z, core.probabilities(z, 1), rng.integers(0, 5, len(z))


def counted(values, is_logits, labels, threads) -> bytes:
    sums, counts = core.self_confidence(values, is_logits, labels, threads)
    means = core.exact_means(sums, counts)
    joint, columns = core.confident_joint(values, is_logits, labels, means, False, threads)
    return b"".join(a.tobytes() for a in (sums, counts, means, joint, columns))


def test_thread_counts_give_the_same_bits(large):
    z, probs, labels = large
    for values, is_logits in ((z, True), (probs, False)):
        expected = counted(values, is_logits, labels, 1)
        assert all(counted(values, is_logits, labels, t) == expected for t in THREADS[1:])


def test_parts_add_up_to_the_whole(large):
    _, probs, labels = large
    sums, counts = core.self_confidence(probs, False, labels, 2)
    means = core.exact_means(sums, counts)
    joint, columns = core.confident_joint(probs, False, labels, means, False, 2)
    for edges in ((0, 1, 100_000, len(probs)), (0, 65_536, 65_536, len(probs))):
        parts = [slice(a, b) for a, b in itertools.pairwise(edges)][::-1]
        found = [core.self_confidence(probs[p], False, labels[p], 1) for p in parts]
        added = core.exact_means(sum(f[0] for f in found), sum(f[1] for f in found))
        assert added.tobytes() == means.tobytes()
        pieces = [core.confident_joint(probs[p], False, labels[p], means, False, 1) for p in parts]
        assert (sum(piece[0] for piece in pieces) == joint).all()
        assert (np.concatenate([piece[1] for piece in pieces[::-1]]) == columns).all()


def test_the_order_of_images_does_not_matter(large):
    z, _, labels = large
    order = np.random.default_rng(1).permutation(len(z))
    one = am.confident_joint(am.Evidence(None, labels, logits=z))
    other = am.confident_joint(am.Evidence(None, labels[order], logits=z[order]))
    assert one.thresholds.tobytes() == other.thresholds.tobytes()
    assert (one.counts == other.counts).all()


@pytest.mark.parametrize("layout", ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_read_where_they_lie(large, layout, dtype):
    z, _, labels = large
    z, labels = z[:3000].astype(dtype), labels[:3000]
    for values, is_logits in ((z, True), (core.probabilities(z, 1), False)):
        before = core.alloc_stats()
        expected = counted(values, is_logits, labels, 1)
        assert counted(ROWS[layout](values), is_logits, labels, 2) == expected
        assert core.alloc_stats()[:2] == before[:2]
    probs = core.probabilities(z, 1)
    plain, odd = am.Evidence(probs, labels), am.Evidence(ROWS[layout](probs), labels)
    for compat, method in itertools.product((None, "cleanlab"), METHODS):
        one = am.label_issues(plain, compat=compat, method=method)
        other = am.label_issues(odd, compat=compat, method=method)
        assert one.indices.tolist() == other.indices.tolist()


def test_bad_arguments_of_the_core():
    probs, labels, cutoffs = np.full((700, 3), 1 / 3), np.zeros(700, np.intp), np.full(3, 0.5)

    def both(values=probs, labels=labels, threads=1):
        core.self_confidence(values, False, labels, threads)

    with pytest.raises(TypeError):
        core.confident_joint(probs, False, labels, cutoffs, False)
    with pytest.raises(DTypeError):
        both(labels=None)
    with pytest.raises(ShapeError, match="expected 700"):
        both(labels=labels[:-1])
    with pytest.raises(ShapeError, match="cutoffs: expected 3, got 2"):
        core.confident_joint(probs, False, labels, cutoffs[:2], False, 1)
    with pytest.raises(ArgumentError, match="threads"):
        both(threads=0)
    with pytest.raises(ShapeError, match=r"sums: expected \(k, "):
        core.exact_means(np.zeros((2, 5), np.int64), np.zeros(2, np.int64))
    with pytest.raises(ShapeError, match=r"sums: expected \(k, "):
        core.exact_means(core.self_confidence(probs, False, labels, 1)[0], np.zeros(2, np.int64))
    for value in (np.nan, np.inf, -np.inf):
        bad = probs.copy()
        bad[300, 1] = value
        for call in (
            lambda bad=bad: both(bad),
            lambda bad=bad: core.confident_joint(bad, False, labels, cutoffs, False, 2),
        ):
            with pytest.raises(ArgumentError, match=rf"{value} at \[300, 1\]"):
                call()
    for value in (-1, 3, 2**62):
        wrong = labels.copy()
        wrong[400] = value
        with pytest.raises(ArgumentError, match=f"got {value} at index 400"):
            both(labels=wrong)
        with pytest.raises(ArgumentError, match=f"got {value} at index 400"):
            core.confident_joint(probs, False, wrong, cutoffs, False, 2)
    with pytest.raises((OutOfMemoryError, MemoryError)):
        core.self_confidence(np.broadcast_to(np.float64(0), (1, 2**57)), False, labels[:1], 1)


# --- confidence-weighted entropy ----------------------------------------------------------------


def test_confidence_weighted_entropy_by_hand():
    ev = am.Evidence([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0], [0.0, 1.0]], [0, 0, 0, 0])
    h = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    np.testing.assert_allclose(
        ev.score("confidence_weighted_entropy"), [2, 4 * h, 0, math.inf], rtol=1e-15
    )
    assert am.rank(ev, "confidence_weighted_entropy").indices.tolist() == [3, 1, 0, 2]
    assert (am.Evidence(np.ones((2, 1)), [0, 0]).score("confidence_weighted_entropy") == 0).all()


def test_it_rises_as_the_label_loses():
    """From sure of the label to sure of another class, to the last representable step."""
    p = np.concatenate([1 - np.geomspace(1e-12, 0.5, 200), np.geomspace(0.5, 1e-12, 200)[1:]])
    scores = am.Evidence(np.column_stack([p, 1 - p]), np.zeros(len(p), int)).score(
        "confidence_weighted_entropy"
    )
    assert (np.diff(scores) > 0).all()
    for k in (2, 3, 10):
        z = np.zeros((2001, k))
        z[:, 0] = np.linspace(1000, -1000, 2001)  # beyond what exp can hold
        scores = am.Evidence(None, np.zeros(2001, int), logits=z).score(
            "confidence_weighted_entropy"
        )
        assert not np.isnan(scores).any()
        steps = scores[(scores > 0) & (scores < math.inf)]
        assert len(steps) > 1400
        assert (np.diff(steps) > 0).all()
        assert (np.diff(scores[scores == 0]) == 0).all()


def test_it_is_finite_where_probabilities_underflow():
    """k = 2: H / p_g = 1 + gap, but for exp(-gap), where the gap is large."""
    z = np.array([[0.0, -800.0], [0.0, -5000.0], [0.0, -50.0]])
    scores = am.Evidence(None, [1, 1, 1], logits=z).score("confidence_weighted_entropy")
    np.testing.assert_allclose(scores * math.log(2), [801, 5001, 51], rtol=1e-15)
    huge = am.Evidence(None, [1, 0], logits=np.array([[1e308, -1e308], [1e308, -1e308]]))
    assert huge.score("confidence_weighted_entropy").tolist() == [math.inf, 0.0]


# --- cleanlab -----------------------------------------------------------------------------------

# Theirs: of one class, or of one image of a class.
theirs_may_warn = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def cleanlab():
    from cleanlab import count
    from cleanlab.filter import find_label_issues

    return SimpleNamespace(count=count, find_label_issues=partial(find_label_issues, n_jobs=1))


def nasty(name: str, dtype) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(sum(map(ord, name)))
    n, k = 400, 5
    labels = rng.integers(0, k, n)
    probs = rng.dirichlet(np.full(k, 0.4), n)
    noisy = rng.random(n) < 0.7
    probs[noisy] = 0.3 * probs[noisy] + 0.7 * np.eye(k)[labels[noisy]]
    if name == "missing classes":
        labels[np.isin(labels, (1, 4))] = 2
    elif name == "ties":
        probs = np.round(probs * 4) / 4
        probs[probs.sum(axis=1) == 0, 0] = 1
        probs /= probs.sum(axis=1, keepdims=True)
    elif name == "hard":
        probs = np.eye(k)[np.where(rng.random(n) < 0.8, labels, rng.integers(0, k, n))]
    elif name == "uniform":
        probs = np.full((n, k), 1 / k)
    elif name == "never":  # nobody believes in class 3: its threshold is the floor
        probs[:, 3] = 0
        probs /= probs.sum(axis=1, keepdims=True)
    elif name == "swapped":  # every label is wrong: the diagonal is empty
        probs = np.full((n, k), 0.02)
        probs[np.arange(n), (labels + 1) % k] = 0.92
    elif name == "near":  # about 1e-6 from the threshold and from each other
        probs = np.full((n, 2), 0.5)
        probs[:, 0] += rng.integers(-4, 5, n) * 0.5e-6
        probs[:, 1] = 1 - probs[:, 0]
        labels = rng.integers(0, 2, n)
    elif name == "single images":
        labels = np.zeros(n, int)
        labels[:4] = [1, 2, 3, 4]
    elif name == "many classes":
        k = 60
        labels = rng.integers(0, k, n)
        probs = rng.dirichlet(np.full(k, 0.1), n)
    return probs.astype(dtype), labels


NASTY = ("plain", "missing classes", "ties", "hard", "uniform", "never", "swapped", "near")
NASTY += ("single images", "many classes")


def assert_as_cleanlab(cleanlab, probs, labels, *, of_order: bool = False) -> None:
    ev = am.Evidence(probs, labels)
    joint = am.confident_joint(ev, compat="cleanlab")
    count = cleanlab.count
    raw = count.compute_confident_joint(labels, probs, calibrate=False)
    calibrated = count.compute_confident_joint(labels, probs, calibrate=True)
    assert joint.counts.tolist() == raw.tolist()
    assert joint.calibrated.tolist() == calibrated.tolist()
    assert joint.calibrated.dtype == np.int64
    assert joint.thresholds.tolist() == count.get_confident_thresholds(labels, probs).tolist()
    np.testing.assert_array_equal(joint.joint, count.estimate_joint(labels, probs))
    if len(set(labels)) < 2:
        return  # cleanlab refuses
    assert joint.counted_issues == count.num_label_issues(labels, probs)
    assert joint.estimated_issues == count.num_label_issues(
        labels, probs, estimation_method="off_diagonal_calibrated"
    )
    for method in METHODS:
        mask = cleanlab.find_label_issues(labels, probs, filter_by=method)
        ranking = am.label_issues(ev, method=method, compat="cleanlab")
        assert np.flatnonzero(mask_of(ranking)).tolist() == np.flatnonzero(mask).tolist(), method
        for order in ("self_confidence", "normalized_margin") if of_order else ():
            theirs = cleanlab.find_label_issues(
                labels, probs, filter_by=method, return_indices_ranked_by=order
            )
            ours = am.label_issues(ev, method=method, compat="cleanlab", order=order)
            assert ours.indices.tolist() == theirs.tolist()


@theirs_may_warn
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NASTY)
def test_compat_equals_cleanlab(cleanlab, name, dtype):
    probs, labels = nasty(name, dtype)
    is_tie_free = dtype == np.float64 and name in ("plain", "missing classes")
    assert_as_cleanlab(cleanlab, probs, labels, of_order=is_tie_free)


@theirs_may_warn
@given(case=labelled())
def test_compat_equals_cleanlab_on_small_data(cleanlab, case):
    probs, labels = case
    if len(labels):
        assert_as_cleanlab(cleanlab, probs, labels)


def test_the_paper_and_cleanlab_agree_where_nothing_is_special(cleanlab):
    """Clear classes: the counts are the same, but for rounding."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 2000)
    true = np.where(rng.random(2000) < 0.1, rng.integers(0, 4, 2000), labels)
    probs = 0.3 * rng.dirichlet(np.ones(4), 2000) + 0.7 * np.eye(4)[true]
    ev = am.Evidence(probs, labels)
    assert (am.confident_joint(ev).counts == am.confident_joint(ev, compat="cleanlab").counts).all()
    wrong = labels != true
    for method in METHODS:
        found = mask_of(am.label_issues(ev, method=method))
        assert (found & wrong).sum() > 0.7 * wrong.sum()
        assert (found & ~wrong).sum() < 0.01 * ev.n
