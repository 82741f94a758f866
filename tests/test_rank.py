"""Scores, top lists and sums of the core against slow NumPy twins written from the definitions."""

from __future__ import annotations

import gzip
import itertools
import math
from fractions import Fraction
from pathlib import Path

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from layouts import ROWS

import ambigmnist as am
from ambigmnist import _ambigcore as core
from ambigmnist.errors import ArgumentError, DTypeError, MissingDependencyError, ShapeError

THREADS = (1, 2, 3, 7)
BLIND = ("least_confident", "margin", "entropy", "gini")
LABELLED = (
    "confident_wrong",
    "self_confidence",
    "normalized_margin",
    "confidence_weighted_entropy",
)
EVERY = BLIND + LABELLED


def log_loss(values, is_logits, labels, threads) -> tuple[float, int]:
    """The mean of -log p_label, and the number of right predictions."""
    _, loss, right, _, _ = core.summary(values, is_logits, labels, (), False, threads)
    return core.exact_sum(loss[None]) / len(values), right


def heatmap_probability(values, is_logits, labels, threads) -> np.ndarray:
    return core.summary(values, is_logits, labels, (), True, threads)[3]


# --- the definitions, one row at a time, in exact fractions where there is no logarithm --------


def naive_score(name: str, row: np.ndarray, label: int) -> float:
    p = [Fraction(float(v)) for v in row]
    k = len(p)
    top = max(range(k), key=lambda j: (p[j], -j))
    second = max((p[j] for j in range(k) if j != top), default=Fraction(0))
    rival = max((p[j] for j in range(k) if j != label), default=Fraction(0))
    if name == "least_confident":
        return float(1 - p[top])
    if name == "margin":
        return float(1 - (p[top] - second))
    if name == "entropy":
        return -sum(float(v) * np.log(float(v)) for v in p if v > 0)
    if name == "gini":
        return float(sum(v * (1 - v) for v in p))
    if name == "confident_wrong":
        return float(p[top] if top != label else second - 1)
    if name == "self_confidence":
        return float(1 - p[label])
    if name == "confidence_weighted_entropy":
        if k == 1 or p[label] == 0:
            return 0.0 if k == 1 else np.inf
        return naive_score("entropy", row, label) / (np.log(k) * float(p[label]))
    assert name == "normalized_margin"
    return float((1 - (p[label] - rival)) / 2)


def naive_softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z.astype(np.longdouble) - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def naive_top(scores: np.ndarray, k: int) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]


@st.composite
def probabilities(draw, max_n: int = 12, max_k: int = 6):
    """Rows with exact 0 and 1, ties and ordinary ones."""
    n, k = draw(st.integers(0, max_n)), draw(st.integers(1, max_k))
    weights = draw(hnp.arrays(np.float64, (n, k), elements=st.sampled_from([0, 0, 1, 2, 3, 0.7])))
    weights[weights.sum(axis=1) == 0, 0] = 1
    probs = weights / weights.sum(axis=1, keepdims=True)
    return probs.astype(draw(st.sampled_from([np.float32, np.float64])))


@given(probabilities(), st.data())
def test_scores_of_probabilities_follow_the_definitions(probs, data):
    n, k = probs.shape
    labels = data.draw(hnp.arrays(np.intp, n, elements=st.integers(0, k - 1)))
    for name in EVERY:
        got = core.scores(probs, False, name, labels, 2)
        expected = [naive_score(name, probs[i], labels[i]) for i in range(n)]
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-15, err_msg=name)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=st.floats(-60, 60, width=32),
    ),
    st.data(),
)
def test_scores_of_logits_keep_their_digits(z, data):
    """Relative to the score itself, down to 1e-52: 1 - p in float64 has nothing left there."""
    n, k = z.shape
    labels = data.draw(hnp.arrays(np.intp, n, elements=st.integers(0, k - 1)))
    p = naive_softmax(z)
    gaps = z.max(axis=1, keepdims=True).astype(np.longdouble) - z
    top = z.argmax(axis=1)
    rows = np.arange(n)

    def others(j):  # the sum of all but j, without cancellation
        rest = p.copy()
        rest[rows, j] = 0
        return rest.sum(axis=1), rest.max(axis=1)

    rest, second = others(top)
    rest_given, rival = others(labels)
    log_p = -gaps - np.log1p(rest / p[rows, top])[:, None]
    expected = {
        "least_confident": rest,
        "margin": rest + second,
        "entropy": -(p * log_p).sum(axis=1),
        "gini": sum(p[:, j] * others(np.full(n, j))[0] for j in range(k)),
        "confident_wrong": np.where(top != labels, p[rows, top], second - 1),
        "self_confidence": rest_given,
        "normalized_margin": (rest_given + rival) / 2,
        "confidence_weighted_entropy": -(p * log_p).sum(axis=1)
        / (p[rows, labels] * np.log(np.longdouble(max(k, 2)))),
    }
    for name in EVERY:
        got = core.scores(z, True, name, labels, 1)
        np.testing.assert_allclose(
            got, expected[name].astype(float), rtol=1e-13, atol=1e-300, err_msg=name
        )
    loss, right = log_loss(z, True, labels, 3)
    np.testing.assert_allclose(loss, -log_p[rows, labels].mean(), rtol=1e-13, atol=1e-300)
    assert right == (top == labels).sum()


def test_logits_rank_images_whose_probabilities_all_round_to_one():
    z = np.float32([[60, 0, 0], [30, 0, 0], [90, 0, 0], [40, 0, 0]])
    ev = am.Evidence(None, logits=z)
    assert (ev.probs.max(axis=1) == 1).all()
    for name in BLIND:
        assert am.rank(ev, name).indices.tolist() == [1, 3, 0, 2], name
        assert len(set(ev.score(name))) == 4


def test_huge_logits_give_finite_scores_and_loss():
    z = np.float32([[3e38, -3e38], [-3e38, 3e38]])
    loss, _ = log_loss(z, True, np.array([1, 1]), 1)
    assert loss == pytest.approx(3e38, rel=1e-6)
    for name in EVERY:
        assert np.isfinite(core.scores(z, True, name, np.array([1, 1]), 1)).all()


# --- directions, by hand ------------------------------------------------------------------------


def test_higher_is_more_ambiguous():
    ev = am.Evidence([[0.98, 0.01, 0.01], [0.6, 0.3, 0.1], [0.34, 0.33, 0.33]])
    for name in BLIND:
        scores = ev.score(name)
        assert scores[0] < scores[1] < scores[2], name


def test_higher_is_a_more_suspicious_label():
    sure, shaky, doubtful, wrong = [0.97, 0.03], [0.6, 0.4], [0.4, 0.6], [0.01, 0.99]
    ev = am.Evidence([sure, shaky, doubtful, wrong], [0, 0, 0, 0])
    for name in (*LABELLED, "confident_learning"):
        assert np.all(np.diff(ev.score(name)) > 0), name


def test_confident_wrong_puts_every_wrong_answer_before_every_right_one():
    probs = [[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.4, 0.3, 0.3], [0.5, 0.5, 0.0], [0.34, 0.33, 0.33]]
    ev = am.Evidence(probs, [0, 0, 1, 0, 0])
    np.testing.assert_allclose(
        ev.score("confident_wrong"), [0.1 - 1, 0.9, 0.4, 0.5 - 1, 0.33 - 1], rtol=1e-15
    )
    full = am.rank(ev, "confident_wrong")
    assert full.indices.tolist() == [1, 2, 3, 4, 0]  # then the nearest miss
    top = am.rank(ev, "confident_wrong", 4)
    assert top.indices.tolist() == [1, 2]
    assert "2" in top.note
    assert "4 were asked for" in repr(top)
    assert am.rank(ev, "confident_wrong", 2).note == ""


def test_one_class_has_nothing_ambiguous():
    ev = am.Evidence(np.ones((3, 1)), [0, 0, 0])
    for name, value in zip(EVERY, (0, 0, 0, 0, -1, 0, 0, 0), strict=True):
        assert (ev.score(name) == value).all(), name
    assert am.rank(ev).indices.tolist() == [0, 1, 2]
    assert len(am.rank(ev, "confident_wrong", 2)) == 0


# --- the same bits for any number of threads, any chunking --------------------------------------


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(7)
    z = rng.normal(size=(13_001, 10)).astype(np.float32) * 4
    return z, core.probabilities(z, 1), rng.integers(0, 10, len(z))


def everything(values, is_logits, labels, threads) -> bytes:
    tops = tuple((name, k, False) for name in EVERY for k in (0, 1, 12, 500))
    lists, loss, right, sums, counts = core.summary(values, is_logits, labels, tops, True, threads)
    results = [array for found in lists for array in found] + [loss, sums, counts]
    results += [core.scores(values, is_logits, name, labels, threads) for name in EVERY]
    results += [
        core.predictions(values, threads),
        np.array(right),
        core.probabilities(values, threads),
    ]
    return b"".join(result.tobytes() for result in results)


def test_thread_counts_give_the_same_bits(large):
    z, probs, labels = large
    for values, is_logits in ((z, True), (probs, False)):
        expected = everything(values, is_logits, labels, 1)
        assert all(everything(values, is_logits, labels, t) == expected for t in THREADS)


def test_rows_are_independent_of_their_neighbours(large):
    z, _, labels = large
    part = slice(5000, 9000)
    whole = core.scores(z, True, "entropy", labels, 2)[part]
    assert whole.tobytes() == core.scores(z[part], True, "entropy", labels[part], 2).tobytes()


@given(st.lists(st.integers(0, 300), max_size=5))
def test_parts_of_heatmaps_add_up_to_the_whole(cuts):
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.ones(4), 300)
    labels = rng.integers(0, 4, 300)
    edges = [0, *sorted(cuts), 300]
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    whole = heatmap_probability(probs, False, labels, 1)
    assert (sum(heatmap_probability(probs[p], False, labels[p], 2) for p in parts) == whole).all()
    counts = core.summary(probs, False, labels, (), True, 1)[4]
    assert (counts == np.histogram2d(labels, probs.argmax(axis=1), 4, [[0, 4], [0, 4]])[0]).all()
    found = [core.summary(probs[p], False, labels[p], (), True, 2) for p in parts]
    assert (sum(part[4] for part in found) == counts).all()
    losses = np.stack([part[1] for part in found])
    assert core.exact_sum(losses) == core.exact_sum(
        core.summary(probs, False, labels, (), False, 1)[1][None]
    )


LAYOUTS = {"C": lambda a: a, **ROWS, "mapped": None}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_read_where_they_lie(large, layout, dtype, tmp_path):
    """Same bits as from a plain array, and not a copy of the whole."""
    z, _, labels = large
    for is_logits in (True, False):
        plain = z.astype(dtype) if is_logits else core.probabilities(z.astype(dtype), 1)
        expected = everything(plain, is_logits, labels, 2)
        if layout == "mapped":
            np.save(tmp_path / "rows.npy", plain)
            values = np.load(tmp_path / "rows.npy", mmap_mode="r")
        else:
            values = LAYOUTS[layout](plain)
        for threads in THREADS:
            before = core.alloc_stats()
            assert everything(values, is_logits, labels, threads) == expected
            assert core.alloc_stats()[:2] == before[:2]


@given(
    st.integers(1, 200),
    st.integers(0, 600),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
    st.sampled_from([0.3, 3.0, 40.0]),
    st.integers(0, 2**32 - 1),
)
def test_top_lists_are_those_of_all_scores(k, n, dtype, is_logits, spread, seed):
    """Rows that are passed over would not have entered, for any number of classes, with ties."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=(n, k)) * spread, 1).astype(dtype)
    if not is_logits:
        values = core.probabilities(values, 1)
    labels = np.where(rng.random(n) < 0.7, values.argmax(axis=1), rng.integers(0, k, n))
    size = min(n, int(rng.integers(0, 20)))
    wrong = values.argmax(axis=1) != labels
    tops = (*((name, size, False) for name in EVERY), ("confident_wrong", size, True))
    lists = core.top_lists(values, is_logits, labels, tops, 3)
    for (name, _, wrong_only), (indices, scores) in zip(tops, lists, strict=True):
        every = core.scores(values, is_logits, name, labels, 1)
        rows = np.flatnonzero(wrong) if wrong_only else np.arange(n)
        expected = rows[core.top_k(every[rows], min(size, len(rows)))]
        assert indices.tolist() == expected.tolist(), name
        assert scores.tobytes() == every[expected].tobytes(), name


def test_a_mapped_file_is_ranked_in_little_memory(tmp_path):
    """80 MB of probabilities: neither copied, nor scored into an array."""
    import subprocess
    import sys

    n = 2_000_000
    path = tmp_path / "probs.npy"
    probs = np.lib.format.open_memmap(path, "w+", np.float32, (n, 10))
    row = np.float32([0.91, *[0.01] * 9])
    for start in range(0, n, 100_000):
        probs[start : start + 100_000] = row
    probs[1_234_567] = 0.1
    probs.flush()
    del probs
    code = f"""
import resource
import numpy as np
import ambigmnist as am
am.rank(am.Evidence(np.full((9000, 10), 0.1)), k=3)
from ambigmnist import _ambigcore
def mine():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1])
before = mine()
ev = am.Evidence(np.load({str(path)!r}, mmap_mode="r"))
top = am.rank(ev, k=2)
assert top.indices.tolist() == [1_234_567, 0], top
assert top.score_of(1_234_567) == top.scores[0]
print(mine() - before)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("machine: no /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8_000  # kB


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("is_logits", [True, False])
def test_what_is_not_finite_is_named_by_every_pass(value, is_logits):
    values = np.full((700, 3), 1 / 3, np.float32)
    labels = np.zeros(700, np.intp)
    for row, col in ((0, 0), (699, 2), (300, 1)):
        values[row, col] = value
        calls = [
            lambda name=name: core.scores(values, is_logits, name, labels, 2) for name in EVERY
        ]
        calls += [
            lambda: core.predictions(values, 2),
            lambda: core.summary(values, is_logits, labels, (), True, 2),
            lambda: core.check_rows(values, is_logits, 1e-3, 2),
        ]
        for call in calls:
            with pytest.raises(ArgumentError, match=rf"{value} at \[{row}, {col}\]"):
                call()
        values[row, col] = 1 / 3


@pytest.mark.parametrize("value", [1.6, 3.0, 1e30, -0.1, -1e30])
def test_heatmap_sums_refuse_what_is_no_probability(value):
    """Their fixed point would overflow."""
    for dtype in (np.float32, np.float64):
        values = np.full((400, 2), 0.5, dtype)
        values[300, 1] = value
        with pytest.raises(ArgumentError, match="rows 256 to 399"):
            heatmap_probability(values, False, np.zeros(400, np.intp), 1)


def test_labels_of_every_64_bit_type_are_taken():
    values = np.full((3, 2), 0.5)
    for dtype in ("l", "q", np.int64, np.intp):
        assert log_loss(values, False, np.array([0, 1, 1], dtype), 1)[1] == 1


def repeat(call):
    for _ in range(1000):
        call()


def test_ctrl_c_stops_a_pass():
    """Within a moment, and what it raised is KeyboardInterrupt."""
    import signal
    import threading
    import time

    values = np.zeros((40_000, 400), np.float32)
    labels = np.zeros(len(values), np.intp)
    for call in (
        lambda: core.scores(values, True, "entropy", None, 2),
        lambda: core.neighbours(values, None, 1, 2),
        lambda: core.probabilities(values, 2),
        lambda: core.self_confidence(values, True, labels, 2),
        lambda: core.confident_joint(values, True, labels, np.ones(400), False, 2),
    ):
        timer = threading.Timer(0.1, lambda: signal.raise_signal(signal.SIGINT))
        start = time.monotonic()
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                repeat(call)
        finally:
            timer.join()
        assert time.monotonic() - start < 5


# --- nearest neighbours ---------------------------------------------------------------------------


def naive_neighbours(x, k):
    x = np.asarray(x, np.float64)
    squares = np.zeros((len(x), len(x)))
    for t in range(x.shape[1]):  # in the order of the definition
        squares += (x[:, t, None] - x[None, :, t]) ** 2
    np.fill_diagonal(squares, np.inf)
    order = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return order, np.sqrt(np.take_along_axis(squares, order, axis=1))


@given(
    st.integers(1, 60),
    st.integers(1, 20),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([1e-40, 1e-20, 1.0, 1e15, 1e25]),
    st.sampled_from([0.0, 1.0, 1e6]),
    st.sampled_from(["ties", "normal"]),
    st.integers(0, 2**32 - 1),
)
def test_neighbours_are_those_of_all_pairs(n, d, dtype, scale, offset, kind, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, d)) if kind == "ties" else rng.normal(size=(n, d))
    x = ((x + offset) * scale).astype(dtype)
    k = int(rng.integers(0, min(n, 12)))
    for threads in (1, 3):
        indices, distances = core.neighbours(x, None, k, threads)
        expected, far = naive_neighbours(x, k)
        assert indices.tolist() == expected.tolist()
        assert distances.tobytes() == far.tobytes()


@given(
    st.integers(2, 40),
    st.integers(1, 8),
    st.sampled_from([np.float32, np.float64]),
    st.integers(-960, 1018),
    st.integers(0, 2**32 - 1),
)
@example(40, 8, np.float64, -960, 0)
@example(40, 8, np.float64, 1018, 0)
@example(40, 8, np.float32, 120, 0)
def test_neighbours_do_not_depend_on_the_unit(n, d, dtype, exponent, seed):
    """Nor does any bit, between the least and the largest float64, and those of float32."""
    x = np.random.default_rng(seed).integers(-(2**20), 2**20, (n, d)).astype(dtype) / dtype(2**20)
    exponent = max(min(exponent, 127), -120) if dtype == np.float32 else exponent
    expected, far = naive_neighbours(x, min(n - 1, 12))
    for threads in (1, 3):
        indices, distances = core.neighbours(
            np.ldexp(x, exponent), None, expected.shape[1], threads
        )
        assert indices.tolist() == expected.tolist()
        assert distances.tobytes() == np.ldexp(far, exponent).tobytes()


@given(st.integers(2, 30), st.integers(1, 6), st.integers(-774, 720), st.integers(0, 2**32 - 1))
def test_neighbours_of_large_and_small_numbers_together(n, d, exponent, seed):
    """math.dist scales every pair by itself."""
    rng = np.random.default_rng(seed)
    x = np.ldexp(rng.normal(size=(n, d)), exponent + rng.integers(-300, 300, (n, 1)))
    indices, distances = core.neighbours(x, None, n - 1, 2)
    every = np.array([[math.dist(a, b) for b in x] for a in x])
    found = np.take_along_axis(every, indices, axis=1)
    np.testing.assert_allclose(distances, found, rtol=1e-12)
    np.testing.assert_allclose(found, np.sort(every, axis=1)[:, 1:], rtol=1e-12)


def test_neighbours_at_the_end_of_what_squares_can_tell():
    """Beside 1 squares of 1e-305 lose bits; yet they are those of all pairs, measured."""
    rng = np.random.default_rng(0)
    for exponent in (-1000, -1012, -1020, -1026, -1050):
        x = np.ones((256, 3))  # whose mean is exactly 1
        x[:, 1:] = np.ldexp(rng.normal(size=(256, 2)), exponent)
        indices, distances = core.neighbours(x, None, 5, 2)
        expected, far = naive_neighbours(np.ldexp(x, 490), 5)
        assert indices.tolist() == expected.tolist()
        assert distances.tobytes() == np.ldexp(far, -490).tobytes()


def test_neighbours_beyond_float64_are_infinitely_far():
    largest = np.finfo(np.float64).max
    x = np.array([[largest, 0], [-largest, largest], [0, 0], [-largest, -largest]])
    indices, distances = core.neighbours(x, None, 3, 1)
    assert indices.tolist() == [[2, 1, 3], [2, 3, 0], [0, 1, 3], [2, 1, 0]]
    assert distances[2].tolist() == [largest, math.inf, math.inf]


def test_neighbours_across_blocks_in_any_layout():
    x = np.random.default_rng(0).normal(size=(2100, 12)).astype(np.float32)
    expected, far = naive_neighbours(x, 7)
    for layout in (v for v in LAYOUTS.values() if v is not None):
        ev = am.Evidence(np.ones((len(x), 1)), embeddings=layout(x))
        indices, distances = ev.neighbours(7)
        assert (indices == expected).all()
        assert (distances == far).all()
    with pytest.raises(ArgumentError, match="embeddings"):
        am.Evidence(np.ones((3, 1))).neighbours(1)
    with pytest.raises(ArgumentError, match="one less"):
        ev.neighbours(2100)


@given(
    st.integers(1, 60),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from(["ties", "normal", "equal"]),
    st.sampled_from([name for name in LAYOUTS if name != "mapped"]),
    st.integers(0, 2**32 - 1),
)
def test_some_neighbours_are_rows_of_all(n, dtype, kind, layout, seed):
    """To the bit; in any order, also twice, also none."""
    rng = np.random.default_rng(seed)
    x = {
        "ties": rng.integers(0, 3, (n, 3)),
        "normal": rng.normal(size=(n, 3)),
        "equal": np.full((n, 3), 0.1),
    }[kind].astype(dtype)
    k = int(rng.integers(0, min(n, 12)))
    queries = rng.integers(0, n, rng.integers(0, 2 * n))
    indices, distances = core.neighbours(x, None, k, 2)
    for threads in (1, 3):
        some, far = core.neighbours(LAYOUTS[layout](x), queries, k, threads)
        assert some.tolist() == indices[queries].tolist()
        assert far.tobytes() == distances[queries].tobytes()


def test_some_neighbours_across_blocks_and_chunks():
    x = np.random.default_rng(0).normal(size=(2100, 12)).astype(np.float32)
    x[1500:] = x[3]  # lists that are full of equals before the last block
    every = core.neighbours(x, None, 7, 2)
    assert every[0].tolist() == naive_neighbours(x, 7)[0].tolist()
    for count in (1, 63, 64, 65, 300, 2500):
        queries = np.random.default_rng(count).integers(0, 2100, count)
        for threads in (1, 2, 5):
            some = core.neighbours(x, queries, 7, threads)
            assert all((a == b[queries]).all() for a, b in zip(some, every, strict=True))


def test_neighbours_of_few_rows_cost_less():
    """No memory that grows with all lists: 3 rows of a million would need 240 MB."""
    x = np.random.default_rng(0).normal(size=(1_000_000, 2)).astype(np.float32)
    indices, distances = core.neighbours(x, np.array([5, 0, 999_999]), 10, 2)
    for i, row, far in zip((5, 0, 999_999), indices, distances, strict=True):
        squares = ((x.astype(np.float64) - x[i]) ** 2).sum(axis=1)
        squares[i] = np.inf
        order = np.argsort(squares, kind="stable")[:10]
        assert row.tolist() == order.tolist()
        assert (far == np.sqrt(squares[order])).all()


# --- top k --------------------------------------------------------------------------------------

ties = st.sampled_from([0.0, -0.0, 1.0, 0.5, -1.0, np.inf, -np.inf, 5e-324])


@given(hnp.arrays(np.float64, st.integers(0, 40), elements=ties), st.data())
def test_top_k_is_a_stable_sort(scores, data):
    k = data.draw(st.integers(0, len(scores)))
    got = core.top_k(scores, k)
    assert got.dtype == np.intp
    assert got.tolist() == naive_top(scores, k)


@given(
    hnp.arrays(np.float64, st.integers(0, 40), elements=ties | st.floats(allow_nan=False)),
    st.integers(0, 40),
    st.integers(0, 12),
)
def test_top_lists_of_parts_merge(scores, cut, k):
    cut = min(cut, len(scores))
    heads = [core.top_k(part, min(k, len(part))) for part in (scores[:cut], scores[cut:])]
    candidates = np.concatenate([heads[0], heads[1] + cut])
    merged = candidates[core.top_k(scores[candidates], min(k, len(candidates)))]
    assert merged.tolist() == naive_top(scores, k)


def test_a_full_ranking_of_many_ties():
    scores = np.random.default_rng(0).integers(0, 50, 20_000) / 7
    expected = np.lexsort((np.arange(len(scores)), -scores))
    assert (core.top_k(scores, len(scores)) == expected).all()
    assert (core.top_k(scores, 100) == expected[:100]).all()


def test_predictions_take_the_first_maximum():
    assert core.predictions(np.float32([[1, 3, 3], [2, 2, 2], [0, -1, 4]]), 1).tolist() == [1, 0, 2]


# --- what the core itself refuses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: core.top_k(np.array([0.0, np.nan]), 1), ArgumentError),
        (lambda: core.top_k(np.zeros(3), 4), ArgumentError),
        (lambda: core.top_k(np.zeros(3), -1), ArgumentError),
        (lambda: core.top_k(np.zeros(3, np.float32), 1), DTypeError),
        (lambda: core.top_k(np.zeros(6)[::2], 1), ArgumentError),
        (lambda: core.scores(np.ones((2, 1)), False, "gin", None, 1), ArgumentError),
        (lambda: core.scores(np.ones((2, 1)), False, "self_confidence", None, 1), ArgumentError),
        (lambda: core.scores(np.ones((2, 1)), False, "gini", np.array([0, 1]), 1), ArgumentError),
        (lambda: core.scores(np.ones((2, 1)), False, "gini", np.array([0]), 1), ShapeError),
        (lambda: core.scores(np.ones((2, 0)), False, "gini", None, 1), ShapeError),
        (lambda: core.scores(np.ones(2), False, "gini", None, 1), ShapeError),
        (lambda: core.scores(np.ones((2, 1), int), False, "gini", None, 1), DTypeError),
        (lambda: core.scores([[1.0]], False, "gini", None, 1), DTypeError),
        (lambda: core.scores(np.ones((2, 1)), False, "gini", None, 0), ArgumentError),
        (lambda: core.scores(np.ones((2, 1)), False, b"gini", None, 1), TypeError),
        (lambda: core.scores(np.ones((2, 1))), TypeError),
        (lambda: core.summary(np.ones((2, 1)), False, None, (), True, 1), DTypeError),
        (lambda: core.top_lists(np.ones((2, 1)), False, None, [], 1), ArgumentError),
        (
            lambda: core.top_lists(np.ones((2, 1)), False, None, (("gini", 3, False),), 1),
            ArgumentError,
        ),
        (lambda: core.top_lists(np.ones((2, 1)), False, None, (("gini", 1),), 1), TypeError),
        (lambda: core.exact_sum(np.zeros((1, 3), np.int64)), ShapeError),
        (lambda: core.neighbours(np.ones((2, 1)), None, 2, 1), ArgumentError),
        (lambda: core.neighbours(np.array([[np.nan], [1]]), None, 1, 1), ArgumentError),
        (lambda: core.neighbours(np.array([[np.nan], [1]]), np.array([1]), 1, 1), ArgumentError),
        (lambda: core.neighbours(np.ones((2, 1)), np.array([0, 2]), 1, 1), ArgumentError),
        (lambda: core.neighbours(np.ones((2, 1)), np.array([-1]), 1, 1), ArgumentError),
        (lambda: core.neighbours(np.ones((2, 1)), np.array([0]), 2, 1), ArgumentError),
        (lambda: core.neighbours(np.ones((2, 1)), np.array([[0]]), 1, 1), ShapeError),
        (lambda: core.neighbours(np.ones((2, 1)), np.array([0.0]), 1, 1), DTypeError),
        (lambda: core.neighbours(np.ones((2, 1)), [0], 1, 1), DTypeError),
        (lambda: core.neighbours(np.ones((2, 1)), 1, 1), TypeError),
    ],
)
def test_bad_arguments_are_refused(call, error):
    with pytest.raises(error):
        call()


# --- Ranking ------------------------------------------------------------------------------------


@pytest.fixture
def ev():
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(3), 40)
    return am.Evidence(probs, rng.integers(0, 3, 40), split=["train"] * 25 + ["test"] * 15)


def test_a_ranking_is_consistent(ev):
    ranking = am.rank(ev)
    assert len(ranking) == 40
    assert ranking.indices.dtype == np.intp
    assert sorted(ranking.indices) == list(range(40))
    assert (np.diff(ranking.scores) <= 0).all()
    assert (ranking.given == ev.labels[ranking.indices]).all()
    assert (ranking.predicted == ev.predicted[ranking.indices]).all()
    for place, item in enumerate(ranking):
        assert item.rank == place + 1 == ranking.rank_of(item.index)
        assert item.score == ranking.score_of(item.index) == ranking.scores[place]
        assert (item.given, item.predicted) == (ev.labels[item.index], ev.predicted[item.index])
    assert ranking[-1].rank == 40


def test_a_slice_keeps_the_ranks(ev):
    part = am.rank(ev)[10:20:3]
    assert [item.rank for item in part] == [11, 14, 17, 20]
    assert part.rank_of(part.indices[2]) == 17
    assert part.score_of(int(am.rank(ev).indices[0])) == am.rank(ev).scores[0]
    with pytest.raises(ArgumentError, match="not among the 4"):
        part.rank_of(int(am.rank(ev).indices[0]))


def test_k_takes_the_head_and_where_a_part(ev):
    full = am.rank(ev)
    assert am.rank(ev, k=7).indices.tolist() == full.indices[:7].tolist()
    assert len(am.rank(ev, k=1000)) == 40
    assert len(am.rank(ev, k=0)) == 0
    test = ev.split == "test"
    expected = [i for i in full.indices if test[i]]
    assert am.rank(ev, where=test).indices.tolist() == expected
    assert am.rank(ev, where=np.flatnonzero(test)[::-1]).indices.tolist() == expected
    assert am.rank(ev, k=3, where=test).indices.tolist() == expected[:3]
    assert len(am.rank(ev, where=[])) == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"k": -1}, ArgumentError),
        ({"k": 2.0}, DTypeError),
        ({"k": True}, DTypeError),
        ({"where": [True] * 39}, ShapeError),
        ({"where": [[1]]}, ShapeError),
        ({"where": [40]}, ArgumentError),
        ({"where": [-1]}, ArgumentError),
        ({"where": ["a"]}, DTypeError),
        ({"by": "least_confidant"}, ArgumentError),
        ({"by": 3}, DTypeError),
    ],
)
def test_bad_rank_arguments(ev, arguments, error):
    with pytest.raises(error):
        am.rank(ev, **arguments)


def test_not_an_evidence_says_what_to_do():
    with pytest.raises(DTypeError, match=r"am\.Evidence"):
        am.rank(np.ones((3, 2)) / 2)


def test_repr_is_short_and_says_what_it_is(ev):
    text = repr(am.rank(ev, "confident_wrong", 40))
    assert len(text.splitlines()) <= 14
    assert "confident_wrong" in text
    assert "->" in text
    assert "->" not in repr(am.rank(am.Evidence(ev.probs))).replace("guess->truth", "->")


@pytest.mark.parametrize("k", [0, 11, 12, 13, 40])
def test_repr_shows_twelve_or_says_how_many_more(ev, k):
    text, html = repr(am.rank(ev, k=k)), am.rank(ev, k=k)._repr_html_()
    shown = len(text.splitlines()) - 2 - ("more" in text)
    assert len(text.splitlines()) <= 14
    assert shown == html.count("<tr>") - 1
    assert shown + (k - 11 if k > 12 else 0) == k
    assert (f"... {k - 11} more" in text) == (f"... {k - 11} more" in html) == (k > 12)


def test_html_is_escaped():
    probs = [[0.6, 0.4], [0.5, 0.5]]
    ev = am.Evidence(probs, ["<b>", "&"], classes=["<b>", "&"])

    def sneaky(ev):
        return [1.0, 2.0]

    sneaky.__name__ = "<script>"
    html = am.rank(ev, sneaky)._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


def test_csv_reads_back_exactly_and_runs_no_formula(tmp_path: Path):
    import csv

    probs = np.random.default_rng(2).dirichlet(np.ones(3), 9).astype(np.float32)
    classes = ["=1+1", "@x", 'a "b", c']
    ev = am.Evidence(probs, [classes[i % 3] for i in range(9)], classes=classes, split="\t=2")
    ranking = am.rank(ev, "confident_wrong")
    path = tmp_path / "r.csv"
    path.write_text("old")
    ranking.to_csv(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["index"]) for r in rows] == ranking.indices.tolist()
    assert [float(r["score"]) for r in rows] == ranking.scores.tolist()
    assert [np.float32(r["p_given"]) for r in rows] == [
        probs[i, classes.index(ev.labels[i])] for i in ranking.indices
    ]
    assert {r["given"] for r in rows} == {"'=1+1", "'@x", 'a "b", c'}
    assert {r["split"] for r in rows} == {"'\t=2"}
    assert list(tmp_path.iterdir()) == [path]


def test_csv_to_nowhere_is_a_clear_error(ev, tmp_path):
    with pytest.raises(am.errors.FileError, match="folder"):
        am.rank(ev).to_csv(tmp_path / "missing" / "r.csv")


def test_frame_has_the_same_columns(ev):
    pytest.importorskip("pandas")
    frame = am.rank(ev, k=5).to_frame()
    assert list(frame.columns) == [
        "rank", "index", "split", "given", "predicted", "p_given", "p_predicted", "score",
    ]  # fmt: skip
    assert frame["index"].tolist() == am.rank(ev, k=5).indices.tolist()
    assert "given" not in am.rank(am.Evidence(ev.probs)).to_frame()


def test_without_pandas_the_error_names_the_extra(ev, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"ambigmnist\[pandas\]"):
        am.rank(ev).to_frame()


def test_the_sources_write_scores_in_the_core():
    """NumPy picks its exp and log per CPU; scores that promise bits must not use them."""
    text = (Path(am.__file__).parent / "definitions.py").read_text()
    assert "np.exp" not in text
    assert "np.log" not in text


@pytest.mark.mnist
def test_random_probabilities_over_the_real_labels():
    """A heatmap over MNIST's labels against the definition, in float64."""
    import os

    folder = Path(os.environ["AMBIGMNIST_DATA"])
    path = next(folder.rglob("t10k-labels-idx1-ubyte*"))
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    labels = np.frombuffer(data, np.uint8, offset=8)
    probs = np.random.default_rng(5).dirichlet(np.ones(10) * 0.2, len(labels)).astype(np.float32)
    ev = am.Evidence(probs, labels)
    expected = np.zeros((10, 10))
    for t in range(10):
        expected[t] = probs[labels == t].astype(np.float64).sum(axis=0)
        expected[t, t] = 0
    np.testing.assert_allclose(am.heatmap(ev).counts, expected, rtol=0, atol=1e-6)


# --- what a review found --------------------------------------------------------------------------


def test_a_ranking_cannot_be_changed_behind_its_back():
    import pickle

    own = np.array([0.1, 0.9, 0.5])
    ranking = am.rank(am.Evidence(np.full((3, 2), 0.5)), by=lambda ev: own)
    own[:] = 9
    assert ranking.score_of(0) == 0.1
    for array in (ranking.scores, ranking.indices, ranking.ranks):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    ranking = am.rank(am.Evidence(np.full((3, 2), 0.5)))
    assert pickle.loads(pickle.dumps(ranking)).indices.tolist() == [0, 1, 2]


def test_positions_that_are_not_there():
    ev = am.Evidence(np.full((3, 2), 0.5), [0, 1, 1])
    ranking = am.rank(ev)
    for call in (lambda: ev[10**6], lambda: ranking[10**6], lambda: ranking[-4]):
        with pytest.raises(am.OutOfRangeError) as caught:
            call()
        assert isinstance(caught.value, IndexError)
    assert ranking[-1].index == 2
    with pytest.raises(am.ShapeError, match="where"):
        am.rank(ev, where=[[1], [1, 2]])
    with pytest.raises(am.ArgumentError, match="one of the classes 0, 1"):
        am.heatmap(ev).cell(np.array([1, 2]), 0)
    with pytest.raises(am.ArgumentError, match="masked"):
        am.Evidence(np.ma.array(np.full((3, 2), 0.5), mask=[[0, 0], [0, 1], [0, 0]]))
    with pytest.raises(am.ShapeError, match="y"):
        am.layers.softmax_cross_entropy_forward(np.zeros((2, 3)), [[1], [2, 3]])
