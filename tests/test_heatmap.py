"""Heatmaps against their definition, and the cells behind them."""

from __future__ import annotations

import os

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import ambigmnist as am
from ambigmnist.errors import ArgumentError, DTypeError


def naive_probability(probs, labels, k):
    sums = np.zeros((k, k))
    for row, label in zip(np.asarray(probs, np.float64), labels, strict=True):
        for j in range(k):
            if j != label:
                sums[label, j] += row[j]
    return sums


def naive_count(probs, labels, k, chosen):
    counts = np.zeros((k, k), int)
    for i in chosen:
        counts[labels[i], np.argmax(probs[i])] += 1
    return counts


def naive_rows(sums):
    return np.array([row / row.sum() if row.sum() > 0 else row * 0.0 for row in sums])


@given(
    st.integers(0, 60),
    st.integers(1, 6),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_both_kinds_follow_the_definition(n, k, dtype, missing, seed):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(k, 0.3), n).astype(dtype)
    labels = rng.integers(0, max(1, k - missing), n)  # the last class may have no image
    ev = am.Evidence(probs, labels)

    heat = am.heatmap(ev)
    units = np.floor(probs.astype(np.float64) * 2.0**32 + 0.5)  # exact in float64
    assert (heat.counts * 2.0**32 == naive_probability(units, labels, k)).all()
    sums = naive_probability(probs, labels, k)
    np.testing.assert_allclose(heat.counts, sums, rtol=0, atol=1e-8)
    np.testing.assert_allclose(heat.matrix, naive_rows(heat.counts), rtol=1e-15)
    assert (heat.matrix.diagonal() == 0).all()

    chosen = sorted(range(n), key=lambda i: (float(probs[i].max()), i))
    chosen = chosen[: min(n, max(1, min(100, n // 20)))]
    count = am.heatmap(ev, "count")
    expected = naive_count(probs, labels, k, chosen)
    assert count.counts.dtype == np.int64
    assert (count.counts == expected).all()
    assert count.among == len(chosen)
    np.testing.assert_allclose(count.matrix, naive_rows(expected), rtol=1e-15)


def test_logits_and_probabilities_agree():
    z = np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32) * 3
    labels = np.random.default_rng(1).integers(0, 5, 500)
    with_logits = am.Evidence(None, labels, logits=z)
    without = am.Evidence(with_logits.probs, labels)
    np.testing.assert_allclose(
        am.heatmap(with_logits).counts, am.heatmap(without).counts, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_do_not_matter(threads):
    rng = np.random.default_rng(0)
    ev = am.Evidence(rng.dirichlet(np.ones(10), 20_000), rng.integers(0, 10, 20_000))
    before = am.get_num_threads()
    try:
        am.set_num_threads(1)
        expected = am.heatmap(ev).counts.tobytes(), ev.log_loss
        am.set_num_threads(threads)
        again = am.Evidence(ev.probs, ev.labels)
        assert (am.heatmap(again).counts.tobytes(), again.log_loss) == expected
    finally:
        am.set_num_threads(before)


@pytest.fixture
def ev():
    rng = np.random.default_rng(4)
    names = np.array(["ant", "bee", "cat"])
    return am.Evidence(
        rng.dirichlet(np.ones(3), 200), names[rng.integers(0, 3, 200)], classes=names
    )


def test_cells_hold_the_images_that_were_counted(ev):
    for heat in (am.heatmap(ev, "count", among=50), am.heatmap(ev)):
        seen = []
        for given_label in ev.classes:
            for predicted in ev.classes:
                cell = heat.cell(given_label, predicted)
                assert isinstance(cell, am.Ranking)
                assert (cell.given == given_label).all()
                assert (cell.predicted == predicted).all()
                assert (np.diff(cell.scores) <= 0).all()
                if heat.kind == "count":
                    row, col = (list(ev.classes).index(c) for c in (given_label, predicted))
                    assert len(cell) == heat.counts[row, col]
                seen += cell.indices.tolist()
        assert sorted(seen) == sorted(am.rank(ev, k=heat.among).indices)


def test_by_and_among_choose_the_images(ev):
    heat = am.heatmap(ev, "count", by=lambda ev: -np.arange(ev.n), among=10, normalize=False)
    predicted = [list(ev.classes).index(c) for c in ev.predicted[:10]]
    expected = np.zeros((3, 3))
    np.add.at(expected, (ev.given_index[:10], predicted), 1)
    assert (heat.matrix == expected).all()
    part = am.heatmap(ev, among=10, by=lambda ev: -np.arange(ev.n))
    np.testing.assert_array_equal(part.counts, am.heatmap(ev[:10]).counts)
    assert am.heatmap(ev, "count", among=10**9).among == 200
    assert am.heatmap(ev, "count", among=0).counts.sum() == 0


@pytest.mark.parametrize("with_logits", [False, True])
def test_a_summary_says_what_the_single_calls_say(with_logits):
    rng = np.random.default_rng(5)
    z = rng.normal(size=(3000, 4)) * 3
    labels = np.where(rng.random(3000) < 0.8, z.argmax(axis=1), rng.integers(0, 4, 3000))
    ev = am.Evidence(None, labels, logits=z)
    ev = ev if with_logits else am.Evidence(ev.probs, labels)

    def by_number(ev):
        return np.arange(ev.n)

    for by in (["margin", "confident_wrong", by_number], ["confident_wrong"], [by_number, "gini"]):
        found = ev.summary(by, 700, among=50)
        assert list(found.rankings) == [getattr(d, "__name__", d) for d in by]
        for definition, name in zip(by, found.rankings, strict=True):
            expected = am.rank(ev, definition, 700)
            assert found.rankings[name].indices.tolist() == expected.indices.tolist()
            assert found.rankings[name].scores.tobytes() == expected.scores.tobytes()
            assert found.rankings[name].note == expected.note
        again = am.Evidence(ev.probs, labels, logits=ev.logits)
        assert (found.accuracy, found.log_loss) == (again.accuracy, again.log_loss)
        for heat, expected in (
            (found.probability, am.heatmap(ev, by=by_number)),
            (found.count, am.heatmap(ev, "count", by=by[0], among=50)),
        ):
            assert (heat.matrix == expected.matrix).all()
            assert heat.among == expected.among
        expected = np.zeros((4, 4), int)
        np.add.at(expected, (labels, ev.predicted), 1)
        assert (found.confusion == expected).all()
        assert "accuracy" in repr(found)


def test_a_summary_of_nothing():
    found = am.Evidence(np.zeros((0, 2)), []).summary()
    assert np.isnan(found.accuracy)
    assert np.isnan(found.log_loss)
    assert len(found.rankings["least_confident"]) == 0
    ev = am.Evidence([[0.5, 0.5]], [0])
    for arguments, error in (({"k": -1}, ArgumentError), ({"by": ()}, ArgumentError)):
        with pytest.raises(error):
            ev.summary(**arguments)
    with pytest.raises(ArgumentError, match="labels"):
        am.Evidence([[0.5, 0.5]]).summary()


def test_one_class_and_no_images():
    one = am.Evidence(np.ones((4, 1)), [0] * 4)
    assert am.heatmap(one).matrix.tolist() == [[0.0]]
    assert am.heatmap(one, "count", among=4).counts.tolist() == [[4]]
    empty = am.Evidence(np.zeros((0, 2)), [])
    for kind in ("probability", "count"):
        assert am.heatmap(empty, kind).matrix.tolist() == [[0.0, 0.0], [0.0, 0.0]]
        assert len(am.heatmap(empty, kind).cell(0, 1)) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"kind": "counts"}, ArgumentError, "'probability' or 'count'"),
        ({"among": -1}, ArgumentError, "among"),
        ({"among": 1.5}, DTypeError, "among"),
        ({"by": "entropi"}, ArgumentError, "'entropy'"),
    ],
)
def test_bad_arguments(ev, arguments, error, words):
    with pytest.raises(error, match=words):
        am.heatmap(ev, **arguments)


def test_labels_are_needed(ev):
    with pytest.raises(ArgumentError, match="labels"):
        am.heatmap(am.Evidence(ev.probs))


def test_an_unknown_cell_names_the_classes(ev):
    with pytest.raises(ArgumentError, match="ant, bee, cat, got 'dog'"):
        am.heatmap(ev).cell("dog", "ant")


@pytest.mark.mnist
def test_both_heatmaps_of_the_article():
    """Its own weights on the MNIST test set, its own numbers."""
    pytest.importorskip("h5py", reason="machine: h5py is not installed")
    weights = os.environ.get("AMBIGMNIST_ARTICLE_MODEL")
    if not weights:
        pytest.skip("machine: the article's weights are not here; set AMBIGMNIST_ARTICLE_MODEL")
    _, test = am.load_mnist()
    ev = am.CNN.from_keras(weights).evidence(test.images, test.labels)
    assert am.heatmap(ev, "count").counts.tolist() == [
        [2, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        [0, 4, 1, 0, 0, 0, 0, 2, 1, 0],
        [1, 0, 6, 0, 0, 0, 0, 3, 0, 0],
        [0, 0, 2, 6, 0, 0, 0, 1, 0, 0],
        [0, 0, 1, 0, 6, 0, 0, 1, 0, 1],
        [1, 0, 0, 1, 0, 7, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 2, 7, 0, 0, 0],
        [0, 1, 2, 1, 0, 0, 0, 7, 0, 1],
        [0, 0, 1, 2, 0, 1, 0, 1, 5, 0],
        [1, 0, 0, 0, 2, 1, 0, 3, 1, 13],
    ]
    heat = am.heatmap(ev)
    sums = [4.385, 5.875, 7.288, 8.294, 5.355, 10.446, 11.470, 8.690, 8.696, 17.053]
    assert heat.counts.sum(axis=1).round(3).tolist() == sums
    assert heat.matrix[[5, 2, 4, 7], [3, 7, 9, 2]].round(3).tolist() == [0.588, 0.582, 0.569, 0.503]
    wrong = am.rank(ev, "confident_wrong", 12).indices.tolist()
    assert wrong == [4176, 9729, 1226, 3520, 2654, 1014, 2597, 445, 6597, 2130, 2118, 3422]
    unsure = am.rank(ev, "least_confident", 12).indices.tolist()
    assert unsure == [4761, 1039, 4248, 1182, 1522, 3225, 2648, 9664, 3060, 1299, 6571, 247]


def test_repr_and_html(ev):
    text = repr(am.heatmap(ev, "count", normalize=False, among=20))
    assert "20 most ambiguous" in text
    assert len(text.splitlines()) == 5
    wide = am.Evidence(np.full((2, 50), 0.02), [0, 1])
    assert len(repr(am.heatmap(wide)).splitlines()) == 2
    odd = am.Evidence([[0.5, 0.5]], ["<i>"], classes=["<i>", "b"])
    assert "<i>" not in am.heatmap(odd)._repr_html_()
