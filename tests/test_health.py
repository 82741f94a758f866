"""The health of classes against the formulas, a slow twin, and another library."""

from __future__ import annotations

import csv
import math
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

import ambigmnist as am
from ambigmnist.errors import ArgumentError, DTypeError
from ambigmnist.health import Confusion, Overlap


def of_counts(counts, classes=None):
    """Evidence whose confident joint has these counts: one sure image each."""
    counts = np.asarray(counts)
    given_, seen = np.nonzero(counts)
    given_, seen = (np.repeat(a, counts[given_, seen]) for a in (given_, seen))
    k = len(counts)
    probs = np.full((len(seen), k), 0.1 / k) + 0.9 * np.eye(k)[seen]
    names = np.arange(k) if classes is None else np.asarray(classes)
    return am.Evidence(probs, names[given_], classes=names)


COUNTS = [[8, 2, 0], [1, 18, 1], [0, 0, 20]]


def test_by_hand():
    health = am.class_health(of_counts(COUNTS), resamples=0)
    assert health.joint.counts.tolist() == COUNTS
    assert health.images.tolist() == [10, 20, 20]
    np.testing.assert_allclose(health.wrong.value, [2 / 10, 2 / 20, 0])
    np.testing.assert_allclose(health.lost.value, [1 / 9, 2 / 20, 1 / 21])
    np.testing.assert_allclose(health.accuracy, [0.8, 0.9, 1])
    assert health.errors.value == pytest.approx(4)
    assert health.score.value == pytest.approx(46 / 50)
    assert health.confused == [
        Confusion(0, 1, pytest.approx(2), pytest.approx(0.2)),
        Confusion(1, 0, pytest.approx(1), pytest.approx(0.05)),
        Confusion(1, 2, pytest.approx(1), pytest.approx(0.05)),
    ]
    assert health.overlapping == [
        Overlap(0, 1, pytest.approx(3), pytest.approx(3 / 50)),
        Overlap(1, 2, pytest.approx(1), pytest.approx(1 / 50)),
    ]
    assert health.order.tolist() == [0, 1, 2]


def test_direction():
    """A class whose label is on others' images has wrong labels; those others lost images."""
    health = am.class_health(of_counts([[10, 0], [5, 10]]), resamples=0)
    assert health.wrong.value.tolist() == pytest.approx([0, 1 / 3])
    assert health.lost.value.tolist() == pytest.approx([1 / 3, 0])
    assert [(c.given, c.likely) for c in health.confused] == [(1, 0)]


@st.composite
def evidences(draw, max_n: int = 30, max_k: int = 5):
    n, k = draw(st.integers(0, max_n)), draw(st.integers(1, max_k))
    steps = draw(hnp.arrays(np.float64, (n, k), elements=st.sampled_from([0.0, 1, 2, 7])))
    steps[:, 0] += steps.sum(axis=1) == 0
    labels = draw(hnp.arrays(np.intp, n, elements=st.integers(0, k - 1)))
    return am.Evidence(steps / steps.sum(axis=1, keepdims=True), labels)


@given(evidences())
def test_formulas(ev):
    """From the joint Q: Q is what `confident_joint` estimates."""
    health = am.class_health(ev, resamples=0)
    calibrated = am.confident_joint(ev).calibrated
    n, k = ev.n, ev.k
    for i in range(k):
        row, column = calibrated[i].sum(), calibrated[:, i].sum()
        right = calibrated[i, i]
        for shares, total in ((health.wrong, row), (health.lost, column)):
            if total == 0:
                assert np.isnan([part[i] for part in shares]).all()
            else:
                assert shares.value[i] == pytest.approx((total - right) / total, abs=1e-12)
                assert 0 <= shares.low[i] + 1e-12
                assert shares.low[i] - 1e-12 <= shares.value[i] <= shares.high[i] + 1e-12
                assert shares.high[i] <= 1 + 1e-12
    off = [(i, j, calibrated[i, j]) for i in range(k) for j in range(k) if i != j]
    assert health.errors.value == pytest.approx(sum(v for *_, v in off), abs=1e-9)
    assert [(c.given, c.likely, c.images) for c in health.confused] == sorted(
        (cell for cell in off if cell[2]), key=lambda cell: (-cell[2], *cell[:2])
    )
    both = {(o.first, o.second): o.images for o in health.overlapping}
    expected = {
        (i, j): calibrated[i, j] + calibrated[j, i] for i in range(k) for j in range(i + 1, k)
    }
    assert both == pytest.approx({pair: v for pair, v in expected.items() if v})
    assert [o.images for o in health.overlapping] == sorted(both.values(), reverse=True)
    if n:
        assert health.score.value == pytest.approx(1 - health.errors.value / n)
        assert all(o.probability == pytest.approx(o.images / n) for o in health.overlapping)
        assert all(
            c.share == pytest.approx(c.images / (ev.given == c.given).sum())
            for c in health.confused
        )
    else:
        assert math.isnan(health.score.value)
        assert health.errors.value == 0
    assert repr(health).startswith(f"ClassHealth: {n} images, {k} classes")


@pytest.mark.parametrize("seed", range(5))
def test_another_library_agrees(seed):
    dataset = pytest.importorskip("cleanlab.dataset", reason="machine: no cleanlab here")
    rng = np.random.default_rng(seed)
    n, k = 400, 6
    labels = rng.integers(0, k, n)
    weights = rng.dirichlet(np.ones(k), n) + 2 * np.eye(k)[rng.permutation(k)[labels]] * (
        rng.random((n, 1)) < 0.1
    )
    weights += np.eye(k)[labels]
    ev = am.Evidence(weights / weights.sum(axis=1, keepdims=True), labels)
    health = am.class_health(ev, resamples=0)
    given_ = {"joint": am.confident_joint(ev).joint, "num_examples": n}

    theirs = dataset.rank_classes_by_label_quality(**given_)
    ours = health.to_frame()
    np.testing.assert_allclose(theirs["Label Quality Score"], ours["quality"])
    by_class = theirs.set_index("Class Index").loc[ours["class"]]
    np.testing.assert_allclose(by_class["Label Noise"], ours["wrong"])
    np.testing.assert_allclose(by_class["Inverse Label Noise"], ours["lost"])
    assert by_class["Label Issues"].tolist() == ours["wrong_images"].round().tolist()
    assert by_class["Inverse Label Issues"].tolist() == ours["lost_images"].round().tolist()

    for asymmetric, ours in ((False, "overlapping"), (True, "confused")):
        theirs = dataset.find_overlapping_classes(asymmetric=asymmetric, **given_)
        theirs = theirs[theirs["Joint Probability"] > 0]
        frame = health.to_frame(ours)
        np.testing.assert_allclose(theirs["Joint Probability"], frame["images"] / n)
        columns = [theirs["Class Index A"], theirs["Class Index B"]]
        pairs = dict(zip(zip(*columns, strict=True), theirs["Joint Probability"], strict=True))
        for first, second, images, _ in frame.itertuples(index=False):
            assert pairs[first, second] == pytest.approx(images / n)

    score = dataset.overall_label_health_score(verbose=False, **given_)
    assert health.score.value == pytest.approx(score)


# --- intervals ----------------------------------------------------------------------------------


def slow_bootstrap(ev, resamples, seed):
    """The thresholds stay; every resample counts its images one by one."""
    joint = am.confident_joint(ev)
    probs = ev.probs.astype(np.float64)
    reached = np.where(probs >= joint.thresholds, probs, -1)
    seen = np.where(reached.max(axis=1) < 0, -1, reached.argmax(axis=1))
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(resamples):
        rows = rng.integers(ev.n, size=ev.n)
        total = 0.0
        for i in range(ev.k):
            of_class = seen[rows][ev.given_index[rows] == i]
            counted = of_class[of_class >= 0]
            if len(counted):
                total += len(of_class) * (counted != i).mean()
        errors.append(total)
    return np.quantile(errors, [0.025, 0.975])


def test_the_interval_is_a_bootstrap_over_images():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    weights = rng.dirichlet(np.ones(3), 600) + 0.25 * np.eye(3)[labels]
    ev = am.Evidence(weights / 1.25, labels)
    health = am.class_health(ev, resamples=4000)
    assert 100 < health.errors.value < 400
    low, high = slow_bootstrap(ev, 1000, 1)
    width = high - low
    assert health.errors.low == pytest.approx(low, abs=0.12 * width)
    assert health.errors.high == pytest.approx(high, abs=0.12 * width)
    assert health.score.low == pytest.approx(1 - health.errors.high / 600)
    assert health.score.high == pytest.approx(1 - health.errors.low / 600)


def test_intervals_depend_on_seed_and_level_alone():
    ev = of_counts(COUNTS)

    def errors(**options):
        return am.class_health(ev, **options).errors

    assert errors() == errors(seed=0)
    assert errors(level=0.5).high < errors().high
    wide, narrow = (am.class_health(ev, level=level).wrong for level in (0.99, 0.5))
    assert (wide.high > narrow.high).all()
    assert math.isnan(errors(resamples=0).low)
    assert "wrong labels: about 4;" in repr(am.class_health(ev, resamples=0))


def test_no_wrong_label_found_is_not_none_there():
    health = am.class_health(of_counts([[50, 0], [0, 50]]))
    assert (health.errors.value, health.errors.low) == (0, 0)
    assert 2 < health.errors.high < 5  # Wilson's interval of 0 of 100 ends at 3.7 %
    assert health.wrong.high.tolist() == pytest.approx([0.0713, 0.0713], abs=1e-3)
    assert health.confused == health.overlapping == []
    assert "labelled  likely" not in repr(health)


def planted(rate, seed, n=3000, k=5):
    """A network that errs at times, and labels of which some are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + 6 * np.eye(k)[truth]
    wrong = rng.random(n) < rate
    labels = np.where(wrong, (truth + rng.integers(1, k, n)) % k, truth)
    return am.Evidence(None, labels, logits=logits), int(wrong.sum())


def test_planted_errors_are_estimated():
    held = 0
    for seed in range(20):
        ev, wrong = planted(0.08, seed)
        errors = am.class_health(ev, resamples=200).errors
        held += errors.low <= wrong <= errors.high
    assert held >= 18


# --- all kinds of classes -----------------------------------------------------------------------


def test_named_missing_single_and_many_classes():
    named = am.class_health(of_counts(COUNTS, ["cat", "<b>", "cow"]))
    assert named.confused[0][:2] == ("cat", "<b>")
    assert "cat    10" in repr(named)
    assert "<b>" not in named._repr_html_()
    assert named._repr_html_().count("<table>") == 3

    missing = am.class_health(of_counts([[5, 0, 1], [0, 0, 0], [0, 0, 5]]))
    assert missing.images.tolist() == [6, 0, 5]
    assert missing.order.tolist() == [0, 2, 1]
    assert np.isnan([missing.wrong.value[1], missing.accuracy[1], missing.lost.high[1]]).all()
    assert "nan" not in repr(missing)

    one = am.class_health(am.Evidence([[1.0]] * 4, [0] * 4))
    assert (one.score.value, one.wrong.value.tolist()) == (1, [0])

    many = np.eye(30, dtype=int) * 4 + np.eye(30, k=1, dtype=int)
    health = am.class_health(of_counts(many))
    assert "... 11 more" in repr(health)
    assert len(health.to_frame()) == 30
    assert len(health.confused) == 29


def test_frames_and_files(tmp_path):
    health = am.class_health(of_counts(COUNTS, ["cat", "=dog", "cow"]))
    for table, rows in (("classes", 3), ("confused", 3), ("overlapping", 2)):
        frame = health.to_frame(table)
        assert len(frame) == rows
        health.to_csv(tmp_path / "x.csv", table)
        with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        assert header == list(frame.columns)
        assert len(lines) == rows
    assert lines[0][:2] == ["cat", "'=dog"]  # not a formula
    empty = am.class_health(of_counts([[5, 0], [0, 5]])).to_frame("confused")
    assert (len(empty), list(empty.columns)) == (0, list(Confusion._fields))
    with pytest.raises(ArgumentError, match=r"table: unknown 'clases'.*classes"):
        health.to_frame("clases")
    assert repr(pickle.loads(pickle.dumps(health))) == repr(health)


def test_in_sample_is_said():
    ev = of_counts(COUNTS)
    marked = am.Evidence(ev.probs, ev.labels, in_sample=[True] * ev.n)
    health = am.class_health(marked)
    assert "in sample: 50 of 50 images" in repr(health)
    assert "in sample" in health.plot().axes[0].get_title(loc="left")
    assert "in sample" not in repr(am.class_health(ev))


def test_pictures():
    from matplotlib.figure import Figure

    health = am.class_health(of_counts(COUNTS, ["$a$", "b" * 50, "c"]))
    ax = Figure().subplots()
    assert health.plot(ax=ax) is ax.figure
    assert ax.get_yticklabels()[0].get_text() == "$a$"
    assert [bar.get_width() for bar in ax.patches[:3]] == pytest.approx([20, 10, 0])
    many = am.class_health(of_counts(np.eye(60, dtype=int) * 4 + np.eye(60, k=1, dtype=int)))
    assert "the worst 40 of 60 classes" in many.plot().axes[0].get_title(loc="left")
    missing = am.class_health(of_counts([[5, 0, 1], [0, 0, 0], [0, 0, 5]]))
    missing.plot().savefig("/dev/null", format="png")


def test_what_is_refused():
    ev = of_counts(COUNTS)
    with pytest.raises(ArgumentError, match="labels"):
        am.class_health(am.Evidence([[0.5, 0.5]]))
    with pytest.raises(DTypeError, match="class_health: expected an Evidence, got list"):
        am.class_health([[0.5, 0.5]])
    for options, error, match in (
        ({"level": 2}, ArgumentError, "level"),
        ({"level": None}, DTypeError, "level"),
        ({"resamples": -1}, ArgumentError, "resamples"),
        ({"seed": 0.5}, DTypeError, "seed"),
    ):
        with pytest.raises(error, match=match):
            am.class_health(ev, **options)
