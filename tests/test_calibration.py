"""Calibration against its definitions: temperature scaling, the expected calibration error.

The oracles are naive float64 or extended precision twins written here, and scipy's minimiser.
"""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from layouts import ROWS
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

import ambigmnist as am
from ambigmnist import _ambigcore as core
from ambigmnist.calibration import wilson_interval
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.evidence import AXES, DYNAMICS, NEAREST

THREADS = (1, 2, 3, 7)


def naive_logits(values: np.ndarray, is_logits: bool) -> np.ndarray:
    """float64 logits: zeros count as the smallest normal number of their type."""
    if is_logits:
        return values.astype(np.float64)
    return np.log(np.maximum(values, np.finfo(values.dtype).tiny).astype(np.float64))


def naive_softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z.astype(np.longdouble) - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def naive_sums(z: np.ndarray, labels: np.ndarray, inverse: float) -> list[float]:
    """The log loss and its two derivatives by 1/T, term by term."""
    z = z.astype(np.longdouble)
    rows = np.arange(len(z))
    p = naive_softmax(z * inverse)
    top = (z * inverse).max(axis=1)
    log_total = top + np.log(np.exp(z * inverse - top[:, None]).sum(axis=1))
    mean = (p * z).sum(axis=1)
    return [
        float((log_total - inverse * z[rows, labels]).sum()),
        float((mean - z[rows, labels]).sum()),
        float((p * (z - mean[:, None]) ** 2).sum()),
    ]


def naive_loss(z: np.ndarray, labels: np.ndarray, inverse: float) -> float:
    return naive_sums(z, labels, inverse)[0] / len(z)


def best_temperature(z: np.ndarray, labels: np.ndarray) -> float:
    """By scipy, over log(1/T)."""
    found = minimize_scalar(
        lambda t: naive_loss(z, labels, float(np.exp(t))),
        bounds=(-9, 9),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(np.exp(-found.x))


def drawn(n: int, k: int, temperature: float, seed: int = 0, spread: float = 2.0):
    """Logits, and labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * spread
    p = naive_softmax(z / temperature).astype(np.float64)
    return z, (rng.random((n, 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)


@st.composite
def rows(draw, max_n: int = 10, max_k: int = 5):
    """(values, is_logits, labels): logits, or probabilities with exact 0 and 1 and ties."""
    n, k = draw(st.integers(0, max_n)), draw(st.integers(1, max_k))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    labels = draw(hnp.arrays(np.intp, n, elements=st.integers(0, k - 1)))
    if draw(st.booleans()):
        elements = st.floats(-40, 40, width=32)
        return draw(hnp.arrays(dtype, (n, k), elements=elements)), True, labels
    weights = draw(hnp.arrays(np.float64, (n, k), elements=st.sampled_from([0, 0, 1, 2, 3, 0.7])))
    weights[weights.sum(axis=1) == 0, 0] = 1
    return (weights / weights.sum(axis=1, keepdims=True)).astype(dtype), False, labels


# --- the core -----------------------------------------------------------------------------------


@given(rows(), st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0]), st.data())
def test_sums_and_probabilities_follow_the_definitions(sample, inverse, data):
    values, is_logits, labels = sample
    z = naive_logits(values, is_logits)
    keep = data.draw(st.none() | hnp.arrays(np.bool_, len(z)))
    got = core.temperature(values, is_logits, labels, keep, inverse, 2)
    part = slice(None) if keep is None else keep
    np.testing.assert_allclose(
        got, naive_sums(z[part], labels[part], inverse), rtol=1e-11, atol=1e-10
    )
    tempered = core.tempered(values, is_logits, np.full(len(z), inverse), 2)
    assert tempered.dtype == np.float64
    expected = naive_softmax(z * inverse).astype(np.float64)
    np.testing.assert_allclose(tempered, expected, rtol=1e-11, atol=1e-300)


@given(rows())
def test_a_temperature_of_one_changes_nothing(sample):
    values, is_logits, _ = sample
    got = core.tempered(values, is_logits, np.ones(len(values)), 1)
    expected = naive_softmax(values.astype(np.float64)) if is_logits else values
    np.testing.assert_allclose(got, expected.astype(np.float64), rtol=3e-7, atol=1e-37)


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(7)
    z = rng.normal(size=(13_001, 10)).astype(np.float32) * 4
    return z, core.probabilities(z, 1), rng.integers(0, 10, len(z))


def everything(values, is_logits, labels, keep, threads):
    inverse = np.linspace(0.1, 3, len(values))
    sums = core.temperature(values, is_logits, labels, keep, 0.37, threads)
    return np.array(sums).tobytes(), core.tempered(values, is_logits, inverse, threads).tobytes()


@pytest.mark.parametrize("layout", ROWS)
def test_threads_and_layouts_give_the_same_bits(large, layout):
    z, probs, labels = large
    keep = np.arange(len(z)) % 3 > 0
    for plain, is_logits in ((z, True), (probs, False), (z.astype(np.float64), True)):
        expected = everything(plain, is_logits, labels, keep, 1)
        for threads in THREADS:
            got = everything(ROWS[layout](plain), is_logits, labels, keep, threads)
            assert got == expected


def test_the_order_of_images_changes_no_bit_of_the_sums(large):
    z, _, labels = large
    order = np.random.default_rng(0).permutation(len(z))
    expected = core.temperature(z, True, labels, None, 0.37, 1)
    assert core.temperature(z[order], True, labels[order], None, 0.37, 2) == expected
    keep = np.arange(len(z)) >= 9000  # left out is as if it were not there
    assert core.temperature(z, True, labels, keep, 0.37, 2) == core.temperature(
        z[9000:], True, labels[9000:], None, 0.37, 1
    )


def test_what_the_core_refuses():
    z, labels = np.zeros((3, 2)), np.array([0, 1, 0])
    nan = np.array([[0.0, 1.0], [np.nan, 0.0], [0.0, 0.0]])
    for args, error, match in (
        ((z, True, labels, None, -1.0, 1), ArgumentError, "1/T: expected a finite number"),
        ((z, True, labels, None, np.inf, 1), ArgumentError, "1/T"),
        ((z, True, labels + 1, None, 1.0, 1), ArgumentError, r"got 2 at index 1"),
        ((nan, True, labels, None, 1.0, 1), ArgumentError, r"nan at \[1, 0\]"),
        ((z, True, labels[:2], None, 1.0, 1), ShapeError, "labels: expected 3"),
        ((z, True, None, None, 1.0, 1), DTypeError, "labels"),
        ((z, True, labels, np.ones(2, bool), 1.0, 1), ShapeError, "keep: expected 3"),
        ((z, True, labels, np.ones(3), 1.0, 1), DTypeError, "keep"),
        ((z[:, :0], True, labels, None, 1.0, 1), ShapeError, "at least one class"),
        ((z, True, labels, None, 1.0), TypeError, "6"),
    ):
        with pytest.raises(error, match=match):
            core.temperature(*args)
    for args, error, match in (
        ((z, True, np.array([1.0, np.nan, 1.0]), 1), ArgumentError, "1/T"),
        ((z, True, np.ones(2), 1), ShapeError, "inverse: expected 3"),
        ((z, True, np.ones(3, np.float32), 1), DTypeError, "inverse"),
        ((nan, True, np.ones(3), 1), ArgumentError, "nan"),
        ((z, True, np.ones(3), 0), ArgumentError, "threads"),
        ((z, True, np.ones(3)), TypeError, "4"),
    ):
        with pytest.raises(error, match=match):
            core.tempered(*args)


# --- the temperature ----------------------------------------------------------------------------


@pytest.mark.parametrize("planted", [0.05, 0.5, 1.0, 3.0, 50.0])
@pytest.mark.parametrize("k", [2, 10])
def test_the_temperature_is_the_minimum_that_scipy_finds(k, planted):
    z, labels = drawn(400, k, planted, seed=k, spread=2 * planted)
    found = am.calibrate(am.Evidence(None, labels, logits=z), resamples=0)
    assert found.temperature == pytest.approx(best_temperature(z, labels), rel=1e-6)
    assert found.note == ""
    slope = core.temperature(z, True, labels, None, 1 / found.temperature, 1)[1]
    scale = np.abs(z).sum()
    assert abs(slope) < 1e-12 * scale
    probs = naive_softmax(z).astype(np.float64)
    known = am.calibrate(am.Evidence(probs, labels), resamples=0)
    expected = best_temperature(naive_logits(probs, False), labels)
    assert known.temperature == pytest.approx(expected, rel=1e-6)


@given(st.integers(1, 40), st.integers(2, 5), st.floats(-3, 3), st.integers(0, 2**32 - 1))
def test_the_loss_is_nowhere_lower(n, k, log_spread, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * np.exp(log_spread)
    labels = np.where(rng.random(n) < 0.5, z.argmax(axis=1), rng.integers(0, k, n))
    found = am.calibrate(am.Evidence(None, labels, logits=z), resamples=0)
    if found.note:
        assert found.temperature == 1
        return
    least = naive_loss(z, labels, 1 / found.temperature)
    for factor in (1e-3, 0.1, 0.9, 0.999, 1.001, 1.1, 10, 1e3):
        assert naive_loss(z, labels, factor / found.temperature) >= least * (1 - 1e-14)
    assert found.after.log_loss == pytest.approx(least, rel=1e-9)
    assert found.after.log_loss <= found.before.log_loss * (1 + 1e-12)


def test_a_planted_temperature_is_found():
    for planted in (0.5, 1.0, 2.5):
        z, labels = drawn(40_000, 5, planted, seed=3)
        found = am.calibrate(am.Evidence(None, labels, logits=z), resamples=0)
        assert found.temperature == pytest.approx(planted, rel=0.03)
        assert found.after.ece.value < 0.01


def test_an_overconfident_network_gets_a_temperature_above_one():
    """90 % sure and right in 7 of 10; 60 % sure and right in 9 of 10."""
    for p, right in ((0.9, 7), (0.6, 9)):
        ev = am.Evidence([[p, 1 - p]] * 10, [0] * right + [1] * (10 - right))
        found = am.calibrate(ev, resamples=0)
        # Two classes: the confidence becomes the accuracy, log(p / (1 - p)) / T = log odds.
        expected = np.log(p / (1 - p)) / np.log(right / (10 - right))
        assert found.temperature == pytest.approx(expected, rel=1e-12)
        assert (found.temperature > 1) == (p > right / 10)
        np.testing.assert_allclose(found.evidence.probs[:, 0], right / 10, rtol=1e-12)
        assert found.after.ece.value == pytest.approx(0, abs=1e-12)
        assert found.before.ece.value == pytest.approx(abs(p - right / 10), rel=1e-9)


@given(rows())
def test_predictions_stay(sample):
    values, is_logits, labels = sample
    if len(values) == 0:
        return
    ev = am.Evidence(None, labels, logits=values) if is_logits else am.Evidence(values, labels)
    found = am.calibrate(ev, resamples=0)
    if found.temperature < 1e3:  # beyond, numbers that differ in their last bits become equal
        assert (found.evidence.predicted_index == ev.predicted_index).all()
    assert found.evidence.logits is None or found.evidence.logits.dtype == np.float64


def test_threads_and_order_do_not_change_the_temperature(large):
    z, probs, _ = large
    labels = drawn(len(z), 10, 1.0)[1]
    order = np.random.default_rng(1).permutation(len(z))
    fold = np.arange(len(z)) % 3
    for fields in ({"logits": z}, {"probs": probs}):

        def of(rows, fields=fields):
            part = {name: value[rows] for name, value in fields.items()}
            values = part.pop("probs", None)
            ev = am.Evidence(values, labels[rows], fold=fold[rows], **part)
            found = am.calibrate(ev, resamples=20)
            return found, (
                found.temperature,
                found.temperatures,
                *(
                    (m.ece.value, m.ece.low, m.ece.high, m.log_loss, m.brier)
                    for m in (found.before, found.after)
                ),
            )

        before = am.get_num_threads()
        try:
            am.set_num_threads(1)
            found, expected = of(np.arange(len(z)))
            am.set_num_threads(3)
            again, got = of(np.arange(len(z)))
            shuffled, mixed = of(order)
        finally:
            am.set_num_threads(before)
        assert got == expected == mixed
        assert again.evidence.probs.tobytes() == found.evidence.probs.tobytes()
        assert shuffled.evidence.probs.tobytes() == found.evidence.probs[order].tobytes()


# --- folds --------------------------------------------------------------------------------------


def test_every_fold_is_calibrated_by_the_others():
    z, labels = drawn(600, 4, 2.0)
    fold = np.arange(600) % 3 * 5  # 0, 5, 10
    ev = am.Evidence(None, labels, logits=z, fold=fold)
    found = am.calibrate(ev, resamples=0)
    assert list(found.temperatures) == [0, 5, 10]
    for f, temperature in found.temperatures.items():
        others = am.calibrate(ev[fold != f], cross_fit=False, resamples=0)
        assert others.temperature == temperature
        assert others.temperatures == {}
        expected = others.apply(ev[fold == f])
        assert found.evidence.probs[fold == f].tobytes() == expected.probs.tobytes()
        assert found.evidence.logits[fold == f].tobytes() == expected.logits.tobytes()
    whole = am.calibrate(ev, cross_fit=False, resamples=0)
    assert whole.temperature == found.temperature
    assert whole.evidence.probs.tobytes() == whole.apply(ev).probs.tobytes()
    assert "fitted to the other folds" in repr(found)
    assert "fitted to these same images" in repr(whole)


def test_labels_of_a_fold_do_not_reach_its_own_probabilities():
    z, labels = drawn(300, 3, 2.0)
    fold = np.arange(300) % 2
    changed = np.where(fold == 0, (labels + 1) % 3, labels)
    a, b = (
        am.calibrate(am.Evidence(None, y, logits=z, fold=fold), resamples=0)
        for y in (labels, changed)
    )
    assert a.temperatures[0] == b.temperatures[0]
    assert a.temperatures[1] != b.temperatures[1]
    inside = fold == 0
    assert (a.evidence.probs[inside] == b.evidence.probs[inside]).all()


def test_one_fold_is_no_fold():
    z, labels = drawn(50, 3, 2.0)
    ev = am.Evidence(None, labels, logits=z, fold=np.zeros(50, int))
    assert am.calibrate(ev, resamples=0).temperatures == {}
    for bad in (ev, am.Evidence(None, labels, logits=z)):
        with pytest.raises(ArgumentError, match="at least two folds"):
            am.calibrate(bad, cross_fit=True)


def test_a_fold_that_the_others_say_nothing_about_stays_as_it_is():
    """All that is wrong is in fold 1: outside it T would go to 0."""
    probs = np.array([[0.9, 0.1]] * 6)
    labels = np.array([0, 0, 0, 0, 0, 1])
    found = am.calibrate(am.Evidence(probs, labels, fold=[0, 0, 0, 1, 1, 1]), resamples=0)
    assert found.temperatures[1] == 1
    assert found.temperatures[0] != 1
    assert "fold 1" in found.note
    assert "fold 0" not in found.note
    assert found.note in repr(found)
    np.testing.assert_allclose(found.evidence.probs[3:], probs[3:], rtol=1e-15)


# --- odd cases ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probs", "labels", "words"),
    [
        ([[0.9, 0.1], [0.3, 0.7]], [0, 1], "T goes to 0"),
        ([[1.0, 0.0], [0.0, 1.0]], [0, 1], "T goes to 0"),
        ([[0.5, 0.5], [0.5, 0.5]], [0, 1], "T goes to 0"),
        ([[0.9, 0.1], [0.3, 0.7]], [1, 0], "to infinity"),
        ([[1.0, 0.0], [0.0, 1.0]], [1, 0], "to infinity"),
        ([[0.9, 0.1], [0.9, 0.1]], [0, 1], "to infinity"),
    ],
)
def test_where_no_temperature_is_best_it_stays_one(probs, labels, words):
    found = am.calibrate(am.Evidence(probs, labels), resamples=0)
    assert found.temperature == 1
    assert words in found.note
    np.testing.assert_allclose(found.evidence.probs, probs, rtol=1e-15, atol=1e-300)


def test_one_class():
    found = am.calibrate(am.Evidence(np.ones((3, 1)), [0, 0, 0]))
    assert (found.temperature, found.note) == (1, "")
    assert found.after.ece.value == found.after.log_loss == found.after.brier == 0


def test_a_missing_class_and_ties():
    probs = [[0.4, 0.4, 0.2], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.2, 0.7, 0.1]]
    labels = [1, 0, 1, 0]
    found = am.calibrate(am.Evidence(probs, labels), resamples=0)
    expected = best_temperature(np.log(probs), np.array(labels))
    assert found.temperature == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_zeros_and_ones(dtype):
    """A network that only says 0 and 1, right in 8 of 10, comes to be 0.8 sure."""
    probs = np.eye(2, dtype=dtype)[np.zeros(10, int)]
    ev = am.Evidence(probs, [0] * 8 + [1] * 2)
    found = am.calibrate(ev, resamples=0)
    assert found.temperature == pytest.approx(-np.log(np.finfo(dtype).tiny) / np.log(4), rel=1e-7)
    np.testing.assert_allclose(found.evidence.probs[:, 0], 0.8, rtol=1e-9)
    assert found.before.log_loss == np.inf
    assert found.after.log_loss == pytest.approx(-0.8 * np.log(0.8) - 0.2 * np.log(0.2))
    assert "inf" in repr(found)


def test_huge_logits():
    for scale, dtype in ((3e38, np.float32), (1e308, np.float64)):
        z = np.array([[scale, -scale]] * 4, dtype)
        found = am.calibrate(am.Evidence(None, [0, 0, 0, 1], logits=z), resamples=0)
        assert np.isfinite(found.evidence.logits).all()
        if dtype == np.float32:  # in float64 the difference itself overflows
            np.testing.assert_allclose(found.evidence.probs[:, 0], 0.75, rtol=1e-9)


def test_everything_else_is_kept():
    z, labels = drawn(12, 3, 1.5)
    rng = np.random.default_rng(0)
    names = np.array(["a", "b", "c"])
    several = rng.dirichlet(np.ones(3), (2, 12))
    ev = am.Evidence(
        None,
        names[labels],
        classes=names,
        logits=z,
        images=rng.integers(0, 256, (12, 4, 4), dtype=np.uint8),
        members=several,
        mc=several,
        augmented=several,
        history=several,
        dynamics=np.zeros(12, DYNAMICS),
        embeddings=rng.normal(size=(12, 2)),
        nearest=np.zeros((12, 1), NEAREST),
        fold=np.arange(12) % 2,
        split="test",
        in_sample=np.arange(12) % 2 == 0,
        provenance={"seed": 3},
    )
    found = am.calibrate(ev, resamples=0)
    for name in AXES:
        if name not in ("probs", "logits"):
            assert np.array_equal(getattr(found.evidence, name), getattr(ev, name)), name
    assert found.evidence.classes.tolist() == ["a", "b", "c"]
    told = json.loads(json.dumps(found.evidence.provenance))
    assert told["seed"] == 3
    assert told["calibration"]["temperature"] == found.temperature
    assert told["calibration"]["by_fold"] == {str(f): t for f, t in found.temperatures.items()}
    assert ev.provenance == {"seed": 3}
    assert pickle.loads(pickle.dumps(found)).temperature == found.temperature


def test_the_measures_are_those_of_the_evidence():
    z, labels = drawn(200, 4, 2.0)
    found = am.calibrate(am.Evidence(None, labels, logits=z))
    for measures, p in ((found.before, naive_softmax(z)), (found.after, found.evidence.probs)):
        p = p.astype(np.float64)
        assert measures.log_loss == pytest.approx(-np.log(p[np.arange(200), labels]).mean())
        assert measures.brier == pytest.approx(((p - np.eye(4)[labels]) ** 2).sum(1).mean())
        assert measures.ece.low <= measures.ece.value <= measures.ece.high
    assert found.after.ece.value == am.expected_calibration_error(found.evidence).value


def test_in_sample_evidence_is_marked():
    z, labels = drawn(60, 3, 2.0)
    for in_sample in (None, False, True, np.arange(60) == 7):
        ev = am.Evidence(None, labels, logits=z, in_sample=in_sample)
        marked = in_sample is not None and bool(np.any(in_sample))
        for shown in (am.calibrate(ev, resamples=5), am.expected_calibration_error(ev)):
            assert ("in sample: " in repr(shown)) == marked
            assert ("in sample: " in shown._repr_html_()) == marked
            assert shown._repr_html_().startswith("<table>")


def test_applied_to_other_evidence():
    z, labels = drawn(300, 3, 2.0)
    found = am.calibrate(am.Evidence(None, labels, logits=z), resamples=0)
    other = found.apply(am.Evidence(None, logits=z[:5]))
    assert other.labels is None
    expected = naive_softmax(z[:5] / found.temperature).astype(np.float64)
    np.testing.assert_allclose(other.probs, expected, rtol=1e-12)
    assert found.apply(am.Evidence(np.zeros((0, 3)))).n == 0
    with pytest.raises(DTypeError, match="apply: expected an Evidence"):
        found.apply(z)


def test_what_cannot_be_calibrated():
    with pytest.raises(ArgumentError, match="labels: this needs them"):
        am.calibrate(am.Evidence([[0.5, 0.5]]))
    with pytest.raises(ArgumentError, match="at least one image"):
        am.calibrate(am.Evidence(np.zeros((0, 2)), []))
    with pytest.raises(DTypeError, match=r"am\.Evidence\(probs, labels\)"):
        am.calibrate([[0.5, 0.5]])


# --- the expected calibration error -------------------------------------------------------------


def test_an_error_computed_by_hand():
    """(0.5, 0.75]: 0.6 and 0.7, one right; (0.75, 1]: 0.8, 0.9 and 1.0, all right."""
    ev = am.Evidence(
        [[0.6, 0.4], [0.3, 0.7], [0.8, 0.2], [0.1, 0.9], [1.0, 0.0]], labels=[0, 0, 0, 1, 0]
    )
    error = am.expected_calibration_error(ev, bins=4, resamples=0)
    assert error.value == pytest.approx((2 * abs(0.5 - 0.65) + 3 * abs(1 - 0.9)) / 5)
    assert error.counts.tolist() == [0, 0, 2, 3]
    assert error.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(error.confidence, [np.nan, np.nan, 0.65, 0.9])
    np.testing.assert_allclose(error.accuracy, [np.nan, np.nan, 0.5, 1])
    assert float(error) == error.value
    assert np.isnan([error.low, error.high, error.debiased]).all()


def test_bins_are_open_below_and_closed_above():
    probs = [[0.5, 0.5], [0.5000001, 0.4999999], [0.75, 0.25], [1.0, 0.0]]
    error = am.expected_calibration_error(am.Evidence(probs, [0] * 4), bins=4)
    assert error.counts.tolist() == [0, 1, 2, 1]


@given(rows(max_n=12), st.integers(1, 6), st.sampled_from(["uniform", "quantile"]))
def test_the_error_follows_its_definition(sample, bins, scheme):
    values, is_logits, labels = sample
    ev = am.Evidence(None, labels, logits=values) if is_logits else am.Evidence(values, labels)
    error = am.expected_calibration_error(ev, bins=bins, scheme=scheme, resamples=0)
    n = len(values)
    assert error.n == error.counts.sum() == n
    if n == 0:
        assert np.isnan(error.value)
        assert "0 images" in repr(error)
        return
    confidence = 1 - ev.score("least_confident")
    right = ev.predicted_index == ev.given_index
    total, seen = 0.0, 0
    for b, (low, high) in enumerate(itertools.pairwise(error.edges)):
        above = confidence > low
        if b == 0:
            above |= confidence == low
        if b == len(error.counts) - 1:
            high = np.inf  # rounded sums
        inside = above & (confidence <= high)
        assert inside.sum() == error.counts[b]
        seen += inside.sum()
        if inside.any():
            total += inside.sum() / n * abs(right[inside].mean() - confidence[inside].mean())
            assert error.confidence[b] == pytest.approx(confidence[inside].mean())
            assert error.accuracy[b] == pytest.approx(right[inside].mean())
    assert seen == n
    assert error.value == pytest.approx(total, abs=1e-12)


def test_quantile_bins_hold_equally_many():
    z, labels = drawn(1000, 3, 1.0)
    ev = am.Evidence(None, labels, logits=z)
    error = am.expected_calibration_error(ev, bins=10, scheme="quantile", resamples=0)
    assert set(error.counts.tolist()) <= {99, 100, 101}
    same = am.Evidence([[0.7, 0.3]] * 5, [0, 0, 0, 0, 1])
    error = am.expected_calibration_error(same, bins=10, scheme="quantile", resamples=0)
    assert error.counts.tolist() == [5]
    assert error.value == pytest.approx(0.1)


def test_intervals_are_reproducible():
    z, labels = drawn(500, 3, 2.0)
    ev = am.Evidence(None, labels, logits=z)
    order = np.random.default_rng(5).permutation(500)

    def interval(ev, **options):
        error = am.expected_calibration_error(ev, resamples=200, **options)
        return error.low, error.high, error.debiased

    first = interval(ev)
    assert interval(ev) == interval(ev[order]) == first
    assert interval(ev, seed=1) != first
    wide, narrow = (interval(ev, interval=level) for level in (0.99, 0.5))
    assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]


def test_intervals_hold_the_truth():
    """Of many samples, 95 % intervals hold the error of the population nine times in ten; where
    that is 0, percentiles of the bootstrap never would."""
    for planted in (1.0, 2.5):
        z, labels = drawn(400_000, 3, planted)
        truth = 0.0
        if planted != 1:
            ev = am.Evidence(None, labels, logits=z)
            truth = am.expected_calibration_error(ev, bins=10, resamples=0).value
        held = 0
        for i in range(60):
            part = slice(1000 * i, 1000 * (i + 1))
            ev = am.Evidence(None, labels[part], logits=z[part])
            error = am.expected_calibration_error(ev, bins=10, resamples=200)
            assert 0 <= error.low <= error.value <= error.high <= 1
            assert 0 <= error.debiased <= error.value
            held += error.low <= truth <= error.high
        assert held >= 54


def test_bad_options():
    ev = am.Evidence([[0.5, 0.5]], [0])
    for function in (am.expected_calibration_error, am.calibrate):
        for options, error, match in (
            ({"bins": 0}, ArgumentError, "bins: expected at least 1"),
            ({"bins": 1.5}, DTypeError, "bins"),
            ({"scheme": "equal"}, ArgumentError, "'uniform' or 'quantile', got 'equal'"),
            ({"interval": 95}, ArgumentError, "between 0 and 1, got 95"),
            ({"interval": "95%"}, DTypeError, "interval"),
            ({"interval": float("nan")}, ArgumentError, "interval"),
            ({"resamples": -1}, ArgumentError, "resamples"),
            ({"seed": -1}, ArgumentError, "seed"),
        ):
            with pytest.raises(error, match=match):
                function(ev, **options)
    with pytest.raises(ArgumentError, match="labels"):
        am.expected_calibration_error(am.Evidence([[0.5, 0.5]]))
    with pytest.raises(DTypeError, match="expected an Evidence"):
        am.expected_calibration_error([[0.5, 0.5]])


@given(st.integers(0, 30), st.integers(0, 30), st.sampled_from([0.5, 0.95]))
def test_wilson_intervals(right, more, level):
    n = right + more
    low, high = wilson_interval([right], [n], level)
    if n == 0:
        assert (low[0], high[0]) == (0, 1)
        return
    expected = binomtest(right, n).proportion_ci(level, method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)
