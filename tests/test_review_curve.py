"""How many images to look at: curves by hand, against simulated reviews, and of planted errors."""

from __future__ import annotations

import math
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

import ambigmnist as am
from ambigmnist._wrong_labels import wrong_label_probabilities
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

probabilities = hnp.arrays(
    np.float64,
    st.integers(0, 20),
    elements=st.one_of(st.sampled_from([0, 0.5, 1]), st.floats(0, 1)),
)


def test_by_hand():
    curve = am.review_curve([0.0, 0.9, 0.1, 0.5, 0.0], seconds=360)
    assert curve.looked.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(curve.found, [0, 0.9, 1.4, 1.5, 1.5, 1.5])
    np.testing.assert_allclose(curve.std**2, [0, 0.09, 0.34, 0.43, 0.43, 0.43])
    np.testing.assert_allclose(curve.hours, [0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert curve.expected_errors == 1.5
    assert [curve.images_for(s) for s in (0, 0.5, 0.6, 0.61, 1)] == [0, 1, 1, 2, 3]


def test_the_article():
    """10,000 images at 5 seconds each are 14 hours."""
    text = repr(am.review_curve(np.full(10_000, 0.01)))
    assert "about 100.0 wrong labels expected in 10000 images" in text
    assert "all of them take 13.9 hours, 5 s each" in text


def test_the_worst_order_is_worse():
    p = np.array([0.9, 0.8, 0.1, 0.0])
    assert am.review_curve(p).images_for(0.9) == 2
    assert am.review_curve(p, by=-p).images_for(0.9) == 4
    assert am.review_curve(p, by=[0, 0, 0, 0]).images_for(0.9) == 2  # equal ones by index


@given(probabilities, st.floats(0, 1))
def test_definitions(p, share):
    curve = am.review_curve(p)
    order = sorted(range(len(p)), key=lambda i: (-p[i], i))
    for m in range(len(p) + 1):
        first = [p[i] for i in order[:m]]
        assert curve.found[m] == pytest.approx(math.fsum(first), abs=1e-12)
        variance = math.fsum(q * (1 - q) for q in first)
        assert curve.std[m] ** 2 == pytest.approx(variance, abs=1e-12)
    m = curve.images_for(share)
    target = share * math.fsum(p)
    assert curve.found[m] >= target - 1e-9
    assert m == 0 or curve.found[m - 1] < target
    assert curve.images_for(1) <= np.count_nonzero(p)
    low, high = curve.interval()
    assert (low >= 0).all()
    assert (high <= curve.looked).all()
    assert (low <= curve.found + 1e-12).all()
    assert (curve.found <= high + 1e-9).all()
    repr(curve)
    # No order finds more.
    other = am.review_curve(p, by=np.arange(len(p)))
    assert (curve.found >= other.found - 1e-12).all()


def test_simulated_reviews_lie_in_the_band():
    rng = np.random.default_rng(0)
    p = rng.beta(0.2, 2, 300)
    curve = am.review_curve(p)
    order = np.argsort(-p, kind="stable")
    found = np.cumsum(rng.random((2000, 300)) < p[order], axis=1)
    np.testing.assert_allclose(found.mean(axis=0), curve.found[1:], atol=0.4)
    np.testing.assert_allclose(found.std(axis=0)[20:], curve.std[21:], rtol=0.08)
    low, high = (bound[100] for bound in curve.interval())
    assert 0.92 < ((low <= found[:, 99]) & (found[:, 99] <= high)).mean() < 0.98


# --- evidence -----------------------------------------------------------------------------------


def planted(rate, seed, n=3000, k=5, apart=6.0):
    """A network trained on such labels: its probabilities are those of the label given."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + apart * np.eye(k)[truth]
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    noise = np.full((k, k), rate / (k - 1))
    np.fill_diagonal(noise, 1 - rate)
    wrong = rng.random(n) < rate
    labels = np.where(wrong, (truth + rng.integers(1, k, n)) % k, truth)
    return am.Evidence(true @ noise, labels), wrong


@pytest.mark.parametrize("rate", [0.02, 0.08, 0.2])
def test_planted_errors(rate):
    """The sum is about what was planted, where 1 - p_given sums to far more; each is calibrated."""
    ev, wrong = planted(rate, 0)
    p = wrong_label_probabilities(ev)
    assert p.sum() == pytest.approx(wrong.sum(), rel=0.15, abs=5)
    naive = ev.score("self_confidence")
    assert naive.sum() > 1.5 * wrong.sum()
    assert ((p - wrong) ** 2).mean() < ((naive - wrong) ** 2).mean()
    assert am.evaluate(p, wrong, resamples=0).average_precision.value > 0.97
    curve = am.review_curve(ev)
    assert curve.expected_errors == pytest.approx(p.sum())
    assert curve.expected_errors == pytest.approx(am.class_health(ev).errors.value, rel=1e-6)
    rows = np.argsort(-p, kind="stable")[: curve.images_for(0.8)]
    assert wrong[rows].sum() == pytest.approx(0.8 * wrong.sum(), rel=0.15)


@st.composite
def evidences(draw):
    n, k = draw(st.integers(0, 15)), draw(st.integers(1, 4))
    steps = draw(hnp.arrays(np.float64, (n, k), elements=st.sampled_from([0.0, 1, 2, 7])))
    steps[:, 0] += steps.sum(axis=1) == 0
    labels = draw(hnp.arrays(np.intp, n, elements=st.integers(0, k - 1)))
    return am.Evidence(steps / steps.sum(axis=1, keepdims=True), labels)


@given(evidences())
def test_any_evidence_gives_probabilities(ev):
    """Also with missing classes, certain probabilities, labels that nobody believes."""
    p = wrong_label_probabilities(ev)
    assert p.shape == (ev.n,)
    assert ((p >= 0) & (p <= 1)).all()
    repr(am.review_curve(ev))


def test_orders():
    ev, _ = planted(0.1, 1, n=200)
    p = wrong_label_probabilities(ev)
    default = am.review_curve(ev)
    ranking = am.rank(ev, "margin")
    for by, rows in (
        ("margin", ranking.indices),
        (ranking, ranking.indices),
        (lambda ev: ev.score("margin"), ranking.indices),
        (ev.score("margin"), ranking.indices),
        (None, np.argsort(-p, kind="stable")),
    ):
        np.testing.assert_allclose(am.review_curve(ev, by).found[1:], np.cumsum(p[rows]))
    assert "ordered by margin" in repr(am.review_curve(ev, "margin"))
    own = am.review_curve(ev, p_wrong=p)
    assert repr(own) == repr(default)
    assert repr(am.review_curve(p)) == repr(default)


def test_a_ranking_of_some_images():
    ev, _ = planted(0.1, 1, n=200)
    ranking = am.rank(ev, "self_confidence", k=5)
    curve = am.review_curve(ev, ranking)
    assert len(curve.found) == 6
    assert curve.expected_errors == am.review_curve(ev).expected_errors
    with pytest.raises(ArgumentError, match=r"expected at most 0\.\d+, what the 5 images"):
        curve.images_for(0.9)
    assert "90 %" not in repr(curve)
    curve.plot()


LAYOUTS = {
    "reversed": lambda a: a[::-1].copy()[::-1],
    "every third": lambda a: np.repeat(a, 3)[::3],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype),
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    p = np.random.default_rng(0).random(30)
    expected = am.review_curve(p, by=-p)
    assert repr(am.review_curve(LAYOUTS[layout](p), by=LAYOUTS[layout](-p))) == repr(expected)


def test_nothing_to_find_and_nothing_at_all():
    none = am.review_curve(np.zeros(3))
    assert none.images_for(1) == 0
    assert "about 0.0 wrong labels" in repr(none)
    none.plot()
    empty = am.review_curve([])
    assert (empty.n, empty.found.tolist(), empty.images_for(0.5)) == (0, [0], 0)
    empty.plot()


def test_pictures():
    from matplotlib.figure import Figure

    curve = am.review_curve([0.0, 0.9, 0.1, 0.5, 0.0], seconds=720)
    ax = Figure().subplots()
    assert curve.plot(ax=ax) is ax.figure
    line, diagonal = ax.lines[:2]
    assert line.get_ydata().tolist() == curve.found.tolist()
    assert diagonal.get_ydata().tolist() == [0, 1.5]
    assert ax.texts[0].get_text() == "90 %: 2 images, 0.4 hours"
    ax.figure.canvas.draw()
    assert ax.child_axes[0].get_xlim() == pytest.approx((0, 1))  # five images, an hour
    assert "<table>" in curve._repr_html_()
    assert repr(pickle.loads(pickle.dumps(curve))) == repr(curve)


def test_in_sample_is_said():
    ev, _ = planted(0.1, 1, n=50)
    ev = am.Evidence(ev.probs, ev.labels, in_sample=np.arange(50) < 20)
    curve = am.review_curve(ev)
    assert "in sample: 20 of 50 images" in repr(curve)
    assert "in sample" in curve.plot().axes[0].get_title(loc="left")


def test_what_is_refused():
    ev, _ = planted(0.1, 1, n=20)
    part = am.rank(ev[:5])
    for arguments, options, error, match in (
        (([0.5, 1.5],), {}, ArgumentError, "probabilities: .*got 1.5 at index 1"),
        (([0.5, np.nan],), {}, ArgumentError, "got nan at index 1"),
        ((ev.probs,), {}, ShapeError, r"shape \(n,\), got \(20, 5\): wrap those of classes"),
        ((["a"],), {}, DTypeError, "probabilities"),
        (([0.5],), {"p_wrong": [0.5]}, ArgumentError, "p_wrong: .*got it twice"),
        (([0.5], "margin"), {}, ArgumentError, "by: a definition needs an Evidence"),
        ((ev,), {"p_wrong": [0.5]}, ShapeError, r"p_wrong: .*shape \(20,\), got \(1,\)"),
        ((ev, part), {}, ShapeError, "by: expected a ranking of 20 images, got 5"),
        ((ev, [1, 2]), {}, ShapeError, r"by: expected one number per image, shape \(20,\)"),
        ((ev, "margn"), {}, ArgumentError, "unknown definition 'margn'"),
        ((am.Evidence([[0.5, 0.5]]),), {}, ArgumentError, "labels"),
        (([0.5],), {"seconds": 0}, ArgumentError, "seconds: expected a time above 0, got 0"),
        (([0.5],), {"seconds": np.inf}, ArgumentError, "seconds"),
        (([0.5],), {"seconds": "5"}, DTypeError, "seconds: expected a number, got str"),
        (([0.5],), {"level": 1}, ArgumentError, "level"),
    ):
        with pytest.raises(error, match=match):
            am.review_curve(*arguments, **options)
    for share in (-0.1, 1.1, np.nan):
        with pytest.raises(ArgumentError, match="share: expected a share of the errors, 0 to 1"):
            am.review_curve([0.5]).images_for(share)
