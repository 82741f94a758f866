"""Evidence: what it accepts, keeps, computes and refuses."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import ambigmnist as am
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

HALF = np.array([[0.5, 0.5], [0.25, 0.75]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_are_kept_as_they_came(dtype):
    probs = HALF.astype(dtype)
    ev = am.Evidence(probs)
    assert ev.probs.dtype == dtype
    assert np.shares_memory(ev.probs, probs)
    assert not ev.probs.flags.writeable
    assert probs.flags.writeable
    assert (ev.n, ev.k, len(ev)) == (2, 2, 2)
    assert ev.classes.tolist() == [0, 1]


@given(
    st.sampled_from(["C", "F", "reversed", "strided", "swapped", "read-only", "unaligned"]),
    st.sampled_from([np.float32, np.float64]),
)
def test_layout_does_not_matter(layout, dtype):
    rng = np.random.default_rng(0)
    plain = rng.dirichlet(np.ones(5), 30).astype(dtype)
    labels = rng.integers(0, 5, 30)
    probs = {
        "C": lambda a: a,
        "F": np.asfortranarray,
        "reversed": lambda a: a[::-1].copy()[::-1],
        "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
        "read-only": lambda a: np.frombuffer(a.tobytes(), dtype).reshape(a.shape),
        "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), dtype, offset=1).reshape(a.shape),
    }[layout](plain)
    ev, expected = am.Evidence(probs, labels), am.Evidence(plain, labels)
    assert ev.probs.dtype == probs.dtype
    assert np.shares_memory(ev.probs, probs)  # not copied, whatever it looks like
    for name in ("entropy", "confident_wrong"):
        assert ev.score(name).tobytes() == expected.score(name).tobytes()


def test_other_number_types():
    assert am.Evidence([[1, 0], [0, 1]]).probs.dtype == np.float64
    assert am.Evidence(np.float16([[0.5, 0.5]])).probs.dtype == np.float32


def test_logits_alone_are_enough():
    z = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    ev = am.Evidence(None, logits=z)
    e = np.exp(z.astype(np.float64))
    np.testing.assert_allclose(ev.probs, e / e.sum(axis=1, keepdims=True), rtol=1e-6)
    assert ev.probs.dtype == np.float32
    assert (ev.predicted == z.argmax(axis=1)).all()


def test_accuracy_and_log_loss_follow_their_definitions():
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(4), 9000)
    labels = rng.integers(0, 4, 9000)
    ev = am.Evidence(probs, labels)
    assert ev.accuracy == (probs.argmax(axis=1) == labels).mean()
    p = probs[np.arange(9000), labels]
    assert ev.log_loss == pytest.approx(-np.log(p).mean(), rel=1e-13)
    assert am.Evidence([[1.0, 0.0]], [1]).log_loss == np.inf
    assert str(am.Evidence([[1.0, 0.0]], [0]).log_loss) in ("0.0", "-0.0")


def test_class_values_may_be_anything_distinct():
    ev = am.Evidence(HALF, ["cat", "ant"], classes=["cat", "ant"])
    assert ev.predicted.tolist() == ["cat", "ant"]
    assert ev.given_index.tolist() == [0, 1]
    ev = am.Evidence(HALF, [7, -3], classes=[7, -3])  # not sorted: columns are as given
    assert ev.predicted.tolist() == [7, -3]
    assert ev.accuracy == 1.0


def test_every_field_is_indexed_by_image():
    rng = np.random.default_rng(0)
    n, k = 10, 3
    z = rng.normal(size=(n, k)).astype(np.float32)
    many = rng.dirichlet(np.ones(k), (4, n))
    ev = am.Evidence(
        None,
        rng.integers(0, k, n),
        logits=z,
        images=rng.integers(0, 256, (n, 5, 6), dtype=np.uint8),
        members=many,
        mc=many,
        history=many,
        embeddings=rng.normal(size=(n, 7)),
        fold=np.arange(n) % 2,
        split=["a", "b"] * 5,
    )
    mask = ev.labels == ev.labels[0]
    for key, rows in (
        (slice(2, 8, 3), [2, 5]),
        (slice(None, None, -1), list(range(10))[::-1]),
        (mask, np.flatnonzero(mask)),
        ([3, 3, -1], [3, 3, 9]),
        (np.array([], int), []),
        (4, [4]),
    ):
        part = ev[key]
        assert isinstance(part, am.Evidence)
        assert len(part) == len(rows)
        for name in ("probs", "labels", "images", "logits", "embeddings", "fold", "split"):
            assert (getattr(part, name) == getattr(ev, name)[rows]).all()
        for name in ("members", "mc", "history"):
            assert (getattr(part, name) == getattr(ev, name)[:, rows]).all()
        assert (part.score("entropy") == ev.score("entropy")[rows]).all()
        assert part.probs.flags.c_contiguous
    assert ev.images.shape == (n, 5, 6, 1)
    assert sum(len(one) for one in ev) == n  # iteration ends
    for key in (mask[:-1], 10, "a", 1.5):
        with pytest.raises(IndexError):
            ev[key]


def test_split_may_be_one_word():
    assert am.Evidence(HALF, split="test").split.tolist() == ["test", "test"]


def test_no_images_at_all():
    ev = am.Evidence(np.zeros((0, 3)), [], images=np.zeros((0, 4, 4), np.uint8), split="test")
    assert len(ev) == 0
    assert np.isnan(ev.accuracy)
    assert np.isnan(ev.log_loss)
    assert len(ev.score("margin")) == 0
    assert len(am.rank(ev)) == 0
    assert "0 images" in repr(ev)
    assert len(am.Evidence(np.zeros((0, 2)), [], classes=["a", "b"])) == 0


def test_repr_shows_what_is_known():
    text = repr(am.Evidence(HALF, [0, 1], images=np.zeros((2, 4, 4), np.uint8)))
    for word in ("2 images", "2 classes", "accuracy 1.0000", "images 2x4x4x1"):
        assert word in text
    assert "accuracy" not in repr(am.Evidence(HALF))
    assert len(repr(am.Evidence(np.full((1, 500), 1 / 500)))) < 200


def broken(value, row=1, col=0):
    probs = np.full((3, 2), 0.5)
    probs[row, col] = value
    return probs


@pytest.mark.parametrize(
    ("probs", "error", "words"),
    [
        (broken(np.nan), ArgumentError, r"nan at \[1, 0\]"),
        (broken(np.inf), ArgumentError, r"inf at \[1, 0\]"),
        (broken(-0.1), ArgumentError, r"-0.1 at \[1, 0\].*logits"),
        (broken(0.6), ArgumentError, r"sum of 1.1 in row \[1\]: divide"),
        (broken(0.502), ArgumentError, "sum to 1 within 0.001"),
        (np.ones((3, 0)), ShapeError, "at least one column"),
        (np.ones(3), ShapeError, r"\(n, k\), got \(3,\)"),
        (np.ones((3, 2, 1)), ShapeError, r"\(n, k\)"),
        ([[1.0], [0.5, 0.5]], ShapeError, "different shapes"),
        ([["a", "b"]], DTypeError, "got dtype <U1"),
        (np.ones((3, 1), complex), DTypeError, "complex"),
        (None, ArgumentError, "no logits"),
    ],
)
def test_bad_probabilities(probs, error, words):
    with pytest.raises(error, match=words):
        am.Evidence(probs)


def test_a_sum_off_by_less_than_a_thousandth_is_fine():
    assert am.Evidence(broken(0.5009)).n == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [2, 10, 100])
def test_sums_near_the_border_are_judged_in_float64(dtype, k):
    for off in (-1.01e-3, -1.00001e-3, -0.99999e-3, 0.999e-3, 0.999999e-3, 1.000001e-3, 1.1e-3):
        for row in (0, 299):
            probs = np.full((300, k), 1 / k, dtype)
            probs[row] *= 1 + off
            if abs(sum(probs[row].tolist()) - 1) <= 1e-3:
                assert am.Evidence(probs).n == 300
            else:
                with pytest.raises(ArgumentError, match=rf"in row \[{row}\]"):
                    am.Evidence(probs)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"labels": [0]}, ShapeError, "expected 2"),
        ({"labels": [[0], [1]]}, ShapeError, r"\(n,\)"),
        ({"labels": [0, 2]}, ArgumentError, "got 2"),
        ({"labels": [0, -1]}, ArgumentError, "got -1"),
        ({"labels": [0, 0.5]}, ArgumentError, "0.5"),
        ({"labels": ["0", "1"]}, DTypeError, "integers"),
        ({"classes": [0]}, ShapeError, "expected 2"),
        ({"classes": [4, 4]}, ArgumentError, "distinct"),
        ({"images": np.zeros((3, 4, 4), np.uint8)}, ShapeError, "expected 2"),
        ({"images": np.full((2, 4, 4), 255.0)}, ArgumentError, "divide by 255"),
        ({"logits": np.zeros((2, 3))}, ShapeError, r"\(2, 2\)"),
        ({"logits": np.full((2, 2), np.nan)}, ArgumentError, "finite"),
        ({"logits": np.full((2, 2), -np.inf)}, ArgumentError, "finite"),
        ({"logits": np.zeros((2, 2))}, ArgumentError, "softmax.*row 1"),
        ({"members": np.full((4, 3, 2), 0.5)}, ShapeError, r"\(n, 2, 2\)"),
        ({"members": np.full((4, 2, 2), 0.4)}, ArgumentError, "sum to 1"),
        ({"mc": HALF}, ShapeError, "mc"),
        ({"history": -HALF[None]}, ArgumentError, "history"),
        ({"embeddings": np.zeros((3, 5))}, ShapeError, "embeddings"),
        ({"embeddings": [[np.nan], [0]]}, ArgumentError, "embeddings"),
        ({"fold": [0]}, ShapeError, "fold"),
        ({"fold": ["a", "b"]}, DTypeError, "fold"),
        ({"split": ["a"]}, ShapeError, "split"),
        ({"split": [1, 2]}, DTypeError, "split"),
    ],
)
def test_bad_companions(arguments, error, words):
    with pytest.raises(error, match=words):
        am.Evidence(HALF, **arguments)


def test_what_needs_labels_says_so():
    ev = am.Evidence(HALF)
    for use in (lambda: ev.accuracy, lambda: ev.log_loss, lambda: ev.given, lambda: ev.given_index):
        with pytest.raises(ArgumentError, match="labels"):
            use()
