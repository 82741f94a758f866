"""Scores against what was planted: each measure against a slow twin written from its definition."""

from __future__ import annotations

import itertools
import math
import pickle

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given
from sklearn.metrics import average_precision_score, roc_auc_score

import ambigmnist as am
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.evaluation import MEASURES, _Order

AT_K = ("precision", "recall")


def twin(scores, truth, k) -> dict[str, float]:
    """From the definitions, one threshold and one pair at a time."""
    scores, truth = list(map(float, scores)), list(map(bool, truth))
    n, planted = len(scores), sum(truth)

    def counts(threshold):
        above = [t for s, t in zip(scores, truth, strict=True) if s >= threshold]
        return sum(above), len(above)

    precisions = [h / m for h, m in (counts(s) for s, t in zip(scores, truth, strict=True) if t)]
    pairs = [
        (a > b) + (a == b) / 2
        for a, t in zip(scores, truth, strict=True)
        for b, u in zip(scores, truth, strict=True)
        if t and not u
    ]
    f1, threshold = 0.0, math.nan
    for s in sorted(set(scores), reverse=True):
        h, m = counts(s)
        if h and 2 * h / (m + planted) > f1:
            f1, threshold = 2 * h / (m + planted), s
    first = sorted(range(n), key=lambda i: (-scores[i], i))[:k]
    hits = sum(truth[i] for i in first)
    return {
        "average_precision": math.fsum(precisions) / planted,
        "auroc": math.fsum(pairs) / len(pairs),
        "f1": f1,
        "precision": hits / k,
        "recall": hits / planted,
        "threshold": threshold,
    }


def values(evaluation) -> dict[str, float]:
    names = [*MEASURES, "threshold"] if hasattr(evaluation, "threshold") else MEASURES
    return {name: getattr(evaluation, name).value for name in names}


@st.composite
def cases(draw, max_n: int = 14):
    """(scores, truth, k): ties, infinities, zeros of both signs."""
    n = draw(st.integers(2, max_n))
    truth = draw(hnp.arrays(np.bool_, n))
    assume(0 < truth.sum() < n)
    few = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 1.0, np.inf])
    elements = draw(st.sampled_from([few, st.floats(allow_nan=False)]))
    scores = draw(hnp.arrays(np.float64, n, elements=elements))
    return scores, truth, draw(st.integers(1, n))


@given(cases())
def test_every_measure_follows_its_definition(case):
    scores, truth, k = case
    found = am.evaluate(scores, truth, k=k, resamples=0)
    assert values(found) == pytest.approx(twin(scores, truth, k), abs=1e-12, nan_ok=False)
    assert (found.n, found.planted, found.k) == (len(scores), truth.sum(), k)
    assert math.isnan(found.auroc.low)


@given(cases())
def test_another_library_agrees(case):
    scores, truth, _ = case
    ranks = np.unique(scores, return_inverse=True)[1]  # it takes no infinite scores
    found = am.evaluate(scores, truth, resamples=0)
    assert found.average_precision.value == pytest.approx(average_precision_score(truth, ranks))
    assert found.auroc.value == pytest.approx(roc_auc_score(truth, ranks))


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_images_matters_at_k_alone(case, random):
    scores, truth, k = case
    order = list(range(len(scores)))
    random.shuffle(order)
    one = values(am.evaluate(scores, truth, k=k, resamples=0))
    other = values(am.evaluate(scores[order], truth[order], k=k, resamples=0))
    for name in AT_K:
        del one[name], other[name]
    assert one == pytest.approx(other, abs=1e-12)


@given(cases())
def test_only_the_order_of_scores_matters(case):
    scores, truth, k = case
    found = am.evaluate(scores, truth, k=k, resamples=20)
    ranks = np.unique(scores, return_inverse=True)[1]
    same = am.evaluate(ranks, truth, k=k, resamples=20)
    for name in MEASURES:
        assert getattr(found, name) == getattr(same, name)


@given(cases(), st.integers(0, 99))
def test_a_resample_is_a_sample(case, seed):
    """Images counted several times, or never, measure like those images written out."""
    scores, truth, k = case
    times = np.random.default_rng(seed).integers(0, 3, len(scores))
    assume(0 < times[truth].sum() < times.sum())
    k = min(k, int(times.sum()))
    found = _Order(scores, truth).measures(times, k)
    expected = twin(np.repeat(scores, times), np.repeat(truth, times), k)
    names = (*MEASURES, "threshold")
    assert dict(zip(names, found.tolist(), strict=True)) == pytest.approx(expected, abs=1e-12)


def test_a_case_by_hand_and_its_direction():
    """Planted at ranks 1 and 3 of 5: precisions 1 and 2/3; of 6 pairs one is the wrong way."""
    truth = np.array([True, False, True, False, False])
    scores = np.array([5.0, 4, 3, 2, 1])
    found = am.evaluate(scores, truth, resamples=0)
    assert found.average_precision.value == pytest.approx((1 + 2 / 3) / 2)
    assert found.auroc.value == pytest.approx(5 / 6)
    assert (found.f1.value, found.threshold.value) == (0.8, 3.0)
    assert (found.precision.value, found.recall.value) == (0.5, 0.5)
    assert found.k == 2
    wrong_way = am.evaluate(-scores, truth, resamples=0)
    assert wrong_way.auroc.value == pytest.approx(1 / 6)
    assert wrong_way.average_precision.value < found.average_precision.value
    perfect = am.evaluate(truth, truth, resamples=50)
    assert all(getattr(perfect, name) == (1, 1, 1) for name in MEASURES)


def test_ties():
    """All equal: no better than drawing images, whatever their order."""
    truth = [True, False, False, False]
    found = am.evaluate([7, 7, 7, 7], truth, k=1, resamples=0)
    assert (found.average_precision.value, found.auroc.value) == (0.25, 0.5)
    assert found.precision.value == 1  # by index: the list that `rank` gives
    assert am.evaluate([7] * 4, truth[::-1], k=1, resamples=0).precision.value == 0


@given(cases(), st.sampled_from([2, 3]))
def test_at_k_is_what_rank_lists(case, classes):
    scores, truth, k = case
    ev = am.Evidence(np.full((len(scores), classes), 1 / classes))
    ranking = am.rank(ev, lambda _: scores, k=k)
    whole = am.rank(ev, lambda _: scores)
    found = am.evaluate(whole, truth, k=k, resamples=0)
    assert found.precision.value == pytest.approx(truth[ranking.indices].mean())
    assert found.recall.value == pytest.approx(truth[ranking.indices].sum() / truth.sum())
    assert values(found) == values(am.evaluate(scores, truth, k=k, resamples=0))


def test_infinite_scores_have_infinite_thresholds():
    found = am.evaluate([np.inf, np.inf, -np.inf, 0.0], [1, 1, 0, 0], resamples=100)
    assert found.threshold == (np.inf, np.inf, np.inf)
    assert "from inf on" in repr(found)


# --- intervals ----------------------------------------------------------------------------------


def drawn(n, planted, apart, seed):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) < planted
    return rng.normal(size=n) + apart * truth, truth


def test_intervals_hold_the_truth():
    """Of 60 samples nearly all 95 % intervals hold the measures of the population."""
    population = am.evaluate(*drawn(400_000, 40_000, 2.0, 99), resamples=0)
    for name in ("average_precision", "auroc", "precision"):
        truth = getattr(population, name).value
        held = 0
        for seed in range(60):
            found = getattr(am.evaluate(*drawn(600, 60, 2.0, seed), resamples=200), name)
            assert found.low <= found.value <= found.high
            held += found.low <= truth <= found.high
        assert 52 <= held <= 60, name


def test_paired_intervals_are_narrower_and_hold_the_truth():
    """Two scores that share most of their noise: the difference is better known than either."""
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(1000 + seed)
        scores, truth = drawn(500, 100, 1.5, seed)
        other = scores + 0.3 * rng.normal(size=500) - 0.1 * truth
        both = am.evaluate({"a": scores, "b": other}, truth, resamples=200)
        difference = both["a"].minus(both["b"]).auroc
        width = difference.high - difference.low
        assert width < both["a"].auroc.high - both["a"].auroc.low
        # AUROC of normal scores: Phi(distance / sqrt(2 variance)).
        expected = phi(1.5 / math.sqrt(2)) - phi(1.4 / math.sqrt(2.18))
        held += difference.low <= expected <= difference.high
    assert held >= 34


def phi(x):
    return (1 + math.erf(x / math.sqrt(2))) / 2


def test_a_clear_difference_is_clear_and_none_is_none():
    scores, truth = drawn(2000, 200, 2.0, 0)
    noise = np.random.default_rng(1).normal(size=2000)
    found = am.evaluate({"noise": noise, "same": scores, "good": scores}, truth, resamples=200)
    assert list(found) == ["same", "good", "noise"]
    assert found.best == "same"
    assert found["good"].minus(found["noise"]).average_precision.low > 0.2
    assert found["noise"].minus(found["good"]).average_precision.high < -0.2
    for name in MEASURES:
        assert getattr(found["good"].minus(found["same"]), name) == (0, 0, 0)
        assert getattr(found["noise"].minus(found["noise"]), name) == (0, 0, 0)


@given(cases())
def test_together_or_alone_is_the_same(case):
    scores, truth, k = case
    together = am.evaluate({"a": scores, "b": -scores}, truth, k=k, resamples=20)
    alone = {
        n: am.evaluate(s, truth, k=k, resamples=20) for n, s in (("a", scores), ("b", -scores))
    }
    for name in MEASURES:
        assert getattr(together["a"], name) == getattr(alone["a"], name)
        difference = getattr(alone["a"].minus(alone["b"]), name)
        assert difference == getattr(together["a"].minus(together["b"]), name)
        back = getattr(alone["b"].minus(alone["a"]), name)
        assert back.value == -difference.value


def test_intervals_depend_on_seed_and_level_alone():
    case = drawn(300, 30, 1.0, 0)

    def interval(**options):
        return am.evaluate(*case, resamples=200, **options).average_precision

    assert interval() == interval(seed=0) != interval(seed=1)
    wide, narrow = interval(level=0.99), interval(level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.value == narrow.value


def test_resamples_are_stratified():
    """One planted of ten: precision at 10 is 1 / 10 in every resample."""
    found = am.evaluate(np.arange(10.0), np.arange(10) == 3, k=10, resamples=100)
    assert found.precision == (0.1, 0.1, 0.1)
    assert found.recall == (1, 1, 1)


# --- what is taken, what is printed -------------------------------------------------------------


class Truth:
    def __init__(self, mask):
        self._mask = mask

    def mask(self):
        return self._mask


def test_truths():
    scores, mask = [3.0, 1.0, 2.0], np.array([True, False, True])
    expected = values(am.evaluate(scores, mask, resamples=0))
    pandas = pytest.importorskip("pandas", reason="machine: no pandas here")
    for truth in (
        mask.tolist(),
        mask.astype(np.uint8),
        [1, 0, 1],
        Truth(mask),
        np.ma.array(mask, mask=False),
        pandas.Series(mask),
    ):
        assert values(am.evaluate(scores, truth, resamples=0)) == expected


LAYOUTS = {
    "reversed": lambda a: a[::-1].copy()[::-1],
    "every third": lambda a: np.repeat(a, 3)[::3],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype),
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8, np.uint64])
def test_layouts(layout, dtype):
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 9, 50).astype(dtype), rng.random(50) < 0.3
    expected = am.evaluate(scores, truth, resamples=10)
    before = scores.copy()
    found = am.evaluate(LAYOUTS[layout](scores), LAYOUTS[layout](truth), resamples=10)
    assert repr(found) == repr(expected)
    assert np.array_equal(scores, before)


def test_what_cannot_be_evaluated():
    good, truth = [1.0, 2.0, 3.0], [True, False, False]
    ev = am.Evidence([[0.5, 0.5]] * 3)
    for scores, truths, error, match in (
        ([], [], ArgumentError, "truth: expected at least two images, got none"),
        (good, [False] * 3, ArgumentError, "got 0 of 3"),
        (good, [True] * 3, ArgumentError, "got 3 of 3"),
        (good, [0, 2, 1], DTypeError, r"got other integers than 0 and 1.*mask\[indices\]"),
        (good, [0.0, 1.0, 0.0], DTypeError, "expected booleans.*float64"),
        (good, [truth], ShapeError, r"truth: expected.*got \(1, 3\)"),
        (good, True, ShapeError, r"got \(\)"),
        (good[:2], truth, ShapeError, r"shape \(3,\), got \(2,\)"),
        ([good], truth, ShapeError, r"scores: .*got \(1, 3\)"),
        ([1.0, np.nan, np.nan], truth, ArgumentError, "NaN for 2 images, the first at index 1"),
        (["a", "b", "c"], truth, DTypeError, "scores: expected one number per image"),
        ([1j, 2, 3], truth, DTypeError, "complex"),
        ({}, truth, ArgumentError, "empty mapping"),
        ({"a": good, "b": [1, 2]}, truth, ShapeError, r"scores\['b'\]"),
        ({1: good}, truth, DTypeError, "names of scores as keys, got 1"),
        (am.rank(ev, k=2), truth, ArgumentError, "a ranking of all 3 images, got 2"),
        (am.rank(ev), [True, False], ShapeError, r"shape \(2,\), got \(3,\)"),
    ):
        with pytest.raises(error, match=match):
            am.evaluate(scores, truths)
    for options, error, match in (
        ({"k": 0}, ArgumentError, "k: expected at least 1, got 0"),
        ({"k": 4}, ArgumentError, "k: expected at most 3, one per image, got 4"),
        ({"k": 1.0}, DTypeError, "k: expected an integer"),
        ({"resamples": -1}, ArgumentError, "resamples"),
        ({"level": 95}, ArgumentError, "level: expected a level between 0 and 1, got 95"),
        ({"level": "95"}, DTypeError, "level: expected a number"),
        ({"seed": -1}, ArgumentError, "seed"),
    ):
        with pytest.raises(error, match=match):
            am.evaluate(good, truth, **options)


def test_differences_of_the_same_images_alone():
    good, truth = [1.0, 2.0, 3.0], [True, False, False]
    base = am.evaluate(good, truth, resamples=5)
    for other, what in (
        (am.evaluate(good, truth[::-1], resamples=5), "another truth:"),
        (am.evaluate(good, truth, resamples=5, k=2), "another k:"),
        (am.evaluate(good, truth, resamples=6, seed=1), "another resamples, seed:"),
        (am.evaluate(good, truth, resamples=5, level=0.5), "another level:"),
        (am.evaluate([*good, 4], [*truth, True], resamples=5), "another truth, k:"),
    ):
        with pytest.raises(ArgumentError, match=what):
            base.minus(other)
    with pytest.raises(DTypeError, match="expected an Evaluation, got dict"):
        base.minus({})


def test_tables():
    scores, truth = drawn(400, 40, 2.0, 0)
    found = am.evaluate({"<good>": scores, "constant": np.zeros(400)}, truth, resamples=50)
    text = repr(found)
    assert text.startswith(
        "Evaluations: 40 planted among 400 images; 95 % intervals of 50 resamples"
    )
    assert "recall at 40" in text
    lines = text.splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["<good>", "constant"]
    assert "  -0." in lines[1]
    html = found._repr_html_()
    assert "&lt;good&gt;" in html
    assert "<good>" not in html
    one = found["<good>"]
    for table in (one, one.minus(found["constant"])):
        assert len(repr(table).splitlines()) == 7
        assert table._repr_html_().count("<tr>") == 6
    assert "best F1 (from " in repr(one)
    assert len(found) == 2
    value, low, high = one.auroc
    assert low < value == float(one.auroc) < high


def test_without_resamples_no_interval_is_shown():
    found = am.evaluate({"a": [1, 2], "b": [2, 1]}, [False, True], resamples=0)
    assert "[" not in repr(found) + repr(found["a"]) + repr(found["a"].minus(found["b"]))
    assert "intervals" not in repr(found)


def test_rankings_say_what_is_in_sample():
    ev = am.Evidence([[0.9, 0.1], [0.4, 0.6]], [0, 0], in_sample=[True, False])
    found = am.evaluate(am.rank(ev), [False, True], resamples=0)
    assert "in sample: 1 of 2 images" in repr(found)
    both = am.evaluate({"x": am.rank(ev), "y": [1, 2]}, [False, True], resamples=0)
    assert "x: in sample: 1 of 2 images" in repr(both)
    assert "y: in sample" not in repr(both)
    assert "in sample" in both["y"].minus(both["x"]).note


def test_evaluations_can_be_pickled():
    found = am.evaluate({"a": [1, 2, 3], "b": [2, 1, 3]}, [False, True, True], resamples=5)
    again = pickle.loads(pickle.dumps(found))
    assert repr(again) == repr(found)
    for a, b in itertools.permutations(found, 2):
        assert repr(again[a].minus(found[b])) == repr(found[a].minus(again[b]))
