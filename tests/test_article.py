"""The article's own weights on MNIST: every figure it shows, and what our presets reach."""

import os

import numpy as np
import pytest

import ambigmnist as am

pytestmark = pytest.mark.mnist

LEAST_CONFIDENT = {
    4761: "8->9", 1039: "7->7", 4248: "2->2", 1182: "5->6", 1522: "9->7", 3225: "7->7",
    2648: "9->9", 9664: "2->2", 3060: "9->9", 1299: "5->5", 6571: "9->9", 247: "2->4",
}  # fmt: skip
CONFIDENT_WRONG = {
    4176: "7->2", 9729: "6->5", 1226: "2->7", 3520: "4->6", 2654: "1->6", 1014: "5->6",
    2597: "3->5", 445: "0->6", 6597: "7->0", 2130: "9->4", 2118: "0->6", 3422: "0->6",
}  # fmt: skip
COUNTS = [
    [2, 0, 0, 0, 0, 0, 1, 0, 0, 0], [0, 4, 1, 0, 0, 0, 0, 2, 1, 0],
    [1, 0, 6, 0, 0, 0, 0, 3, 0, 0], [0, 0, 2, 6, 0, 0, 0, 1, 0, 0],
    [0, 0, 1, 0, 6, 0, 0, 1, 0, 1], [1, 0, 0, 1, 0, 7, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 2, 7, 0, 0, 0], [0, 1, 2, 1, 0, 0, 0, 7, 0, 1],
    [0, 0, 1, 2, 0, 1, 0, 1, 5, 0], [1, 0, 0, 0, 2, 1, 0, 3, 1, 13],
]  # fmt: skip
SUMS = [4.385, 5.875, 7.288, 8.294, 5.355, 10.446, 11.470, 8.690, 8.696, 17.053]
PEAKS = {(5, 3): 0.588, (2, 7): 0.582, (4, 9): 0.569, (7, 2): 0.503}


@pytest.fixture(scope="module")
def mnist():
    return am.load_mnist()


@pytest.fixture(scope="module")
def article():
    return am.CNN.from_keras(os.environ["AMBIGMNIST_ARTICLE_MODEL"])


@pytest.fixture(scope="module")
def evidence(article, mnist):
    return article.evidence(*mnist[1])


def readings(ranking):
    return {
        int(i): f"{predicted}->{given}"
        for i, predicted, given in zip(
            ranking.indices, ranking.predicted, ranking.given, strict=True
        )
    }


def test_accuracy_and_log_loss(article, mnist, evidence):
    assert evidence.accuracy == 0.9926
    assert evidence.log_loss == pytest.approx(0.0285365, abs=5e-8)
    assert int((evidence.predicted != evidence.labels).sum()) == 74
    train = article.evidence(*mnist[0])
    assert train.accuracy == pytest.approx(0.99605, abs=1e-9)
    assert train.log_loss == pytest.approx(0.016569, abs=5e-7)


@pytest.mark.parametrize(
    ("by", "expected"), [("least_confident", LEAST_CONFIDENT), ("confident_wrong", CONFIDENT_WRONG)]
)
def test_the_two_lists(evidence, by, expected):
    got = readings(am.rank(evidence, by=by, k=12))
    assert list(got.items()) == list(expected.items())


def test_the_lists_from_probabilities_alone(evidence):
    """As somebody without the logits would get them."""
    ev = am.Evidence(evidence.probs, evidence.labels)
    assert readings(am.rank(ev, k=12)) == LEAST_CONFIDENT
    assert readings(am.rank(ev, by="confident_wrong", k=12)) == CONFIDENT_WRONG


def test_heatmap_of_counts(evidence):
    heatmap = am.heatmap(evidence, kind="count")
    assert heatmap.counts.tolist() == COUNTS
    rows = np.array(COUNTS) / np.sum(COUNTS, axis=1, keepdims=True)
    assert np.allclose(heatmap.matrix, rows, rtol=0, atol=1e-15)
    assert int(np.trace(heatmap.counts)) == 63


def test_heatmap_of_probabilities(evidence):
    raw = am.heatmap(evidence, normalize=False).matrix
    assert np.abs(raw.sum(axis=1) - SUMS).max() < 5e-4
    matrix = am.heatmap(evidence).matrix
    assert (np.diag(matrix) == 0).all()
    assert np.allclose(matrix.sum(axis=1), 1)
    for cell, value in PEAKS.items():
        assert matrix[cell] == pytest.approx(value, abs=5e-4)
    highest = sorted(np.ndindex(10, 10), key=lambda cell: -matrix[cell])[:4]
    assert highest == list(PEAKS)


def test_every_definition_is_the_same_for_any_number_of_threads(article, mnist):
    images, labels = mnist[1]
    bits = set()
    for threads in (1, 2, 3, 7):
        am.set_num_threads(threads)
        try:
            ev = article.evidence(images, labels)
            scores = b"".join(ev.score(name).tobytes() for name in ("least_confident", "entropy"))
            maps = am.heatmap(ev, normalize=False).matrix.tobytes()
            bits.add(ev.probs.tobytes() + scores + maps)
        finally:
            am.set_num_threads(None)
    assert len(bits) == 1


@pytest.mark.slow
def test_preset_fast_reaches_its_accuracy(mnist, capsys):
    train, test = mnist
    scores = [am.CNN("fast", seed=seed).fit(*train).score(*test) for seed in range(5)]
    with capsys.disabled():
        print("\npreset fast on MNIST, five seeds:", scores, "mean", np.mean(scores))
    assert np.mean(scores) >= 0.9926


def test_preset_seed_learns(mnist):
    """Two epochs of the article's recipe (its whole course is in notebooks/)."""
    train, test = mnist
    model = am.CNN("seed", epochs=2).fit(*train[:20000])
    assert model.history["val_loss"][0] > model.history["val_loss"][1]
    assert model.score(*test) > 0.75
