"""Training dynamics of a history, and the definitions that read them."""

from __future__ import annotations

import itertools
import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from layouts import STACKS

import ambigmnist as am
from ambigmnist import _ambigcore as core
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.evidence import DYNAMICS

THREADS = (1, 2, 3, 7)
DEFINITIONS = {  # name: the field, and the score that is made of it
    "aum": ("aum", lambda v: -v),
    "el2n": ("el2n", lambda v: v),
    "grand": ("grand", lambda v: v),
    "data_map_confidence": ("confidence", lambda v: 1 - v),
    "data_map_variability": ("variability", lambda v: v),
    "first_learned": ("first_learned", lambda v: v),
    "vog": ("vog", lambda v: v),
}
NOT_RECORDED = ("grand", "vog")


def naive_dynamics(history: np.ndarray, label: int) -> dict[str, float]:
    """Of one image: history (epochs, k)."""
    epochs, k = history.shape
    least = np.finfo(history.dtype).smallest_subnormal
    p = history.astype(np.float64)
    margins, right = [], []
    for row in p:
        logs = [math.log(max(v, least)) for v in row]
        rivals = [logs[j] for j in range(k) if j != label]
        margins.append(logs[label] - max(rivals, default=math.log(least)))
        right.append(int(np.argmax(row)) == label)
    early = epochs if epochs == 1 else max(2, math.ceil(epochs / 10))
    return {
        "runs": 1,
        "aum": float(np.mean(margins)),
        "confidence": float(p[:, label].mean()),
        "variability": float(p[:, label].std()),
        "correctness": float(np.mean(right)),
        "forgetting": sum(a and not b for a, b in itertools.pairwise(right)),
        "first_learned": right.index(True) + 1 if any(right) else epochs + 1,
        "el2n": float(np.linalg.norm(p[early - 1] - np.eye(k)[label])),
        "grand": math.nan,
        "vog": math.nan,
    }


def dynamics_of(history, labels, threads=1) -> np.ndarray:
    return core.history_dynamics(history, labels, threads).view(DYNAMICS)[:, 0]


@st.composite
def histories(draw, max_epochs: int = 25, max_n: int = 5, max_k: int = 4):
    """Rows with exact 0 and 1, ties, a class that is never predicted, and ordinary ones."""
    epochs, n = draw(st.integers(1, max_epochs)), draw(st.integers(0, max_n))
    k = draw(st.integers(1, max_k))
    elements = st.sampled_from([0, 0, 1, 2, 3, 0.7])
    weights = draw(hnp.arrays(np.float64, (epochs, n, k), elements=elements))
    weights[weights.sum(axis=2) == 0, 0] = 1
    probs = weights / weights.sum(axis=2, keepdims=True)
    labels = draw(hnp.arrays(np.intp, n, elements=st.integers(0, k - 1)))
    return probs.astype(draw(st.sampled_from([np.float32, np.float64]))), labels


@given(histories(), st.sampled_from(THREADS))
def test_statistics_follow_their_definitions(example, threads):
    history, labels = example
    got = dynamics_of(history, labels, threads)
    for i, label in enumerate(labels):
        for field, value in naive_dynamics(history[:, i], label).items():
            assert got[i][field] == pytest.approx(value, rel=1e-12, abs=1e-14, nan_ok=True), field


@given(
    hnp.arrays(np.float64, (7, 6, 5), elements=st.floats(-30, 30)),
    hnp.arrays(np.intp, 6, elements=st.integers(0, 4)),
)
def test_the_margin_is_that_of_the_logits(z, labels):
    p = np.exp(z - z.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    others = np.where(np.arange(5) == labels[:, None], -np.inf, z)
    margin = z[:, np.arange(6), labels] - others.max(axis=2)
    got = dynamics_of(p, labels)["aum"]
    np.testing.assert_allclose(got, margin.mean(axis=0), rtol=1e-12, atol=1e-12)


def test_a_probability_of_0_is_the_smallest_positive_number():
    for dtype, smallest in ((np.float32, 2.0**-149), (np.float64, 2.0**-1074)):
        history = np.array([[[1, 0], [0, 1]]], dtype)
        margin = dynamics_of(history, np.array([0, 0]))["aum"]
        np.testing.assert_allclose(margin, [-math.log(smallest), math.log(smallest)], rtol=1e-14)


def test_variability_does_not_cancel():
    p = 0.5 + 1e-9 * np.array([-1, 1, -1, 1])
    history = np.stack([p, 1 - p], axis=1)[:, None]
    got = dynamics_of(history, np.array([0]))["variability"][0]
    assert got == pytest.approx(float(np.std(p - 0.5)), rel=1e-6)


def test_el2n_is_taken_early():
    """Epoch e has p_g = e / 100: which one was it?"""
    for epochs, early in ((1, 1), (2, 2), (3, 2), (20, 2), (21, 3), (50, 5), (99, 10)):
        p = np.arange(1, epochs + 1) / 100
        history = np.stack([p, 1 - p], axis=1)[:, None]
        got = dynamics_of(history, np.array([0]))["el2n"][0]
        assert got == pytest.approx(math.sqrt(2) * (1 - early / 100), rel=1e-12), epochs


# --- directions, by hand ------------------------------------------------------------------------

RIGHT, DOUBT, WRONG = [0.9, 0.1], [0.6, 0.4], [0.1, 0.9]


def evidence(*images) -> am.Evidence:
    """Of lists of epochs, all labelled 0."""
    history = np.array(images).transpose(1, 0, 2)
    return am.Evidence(history[-1], [0] * len(images), history=history)


def test_higher_is_harder():
    ev = evidence([RIGHT] * 5, [DOUBT] * 5, [WRONG, WRONG, WRONG, DOUBT, RIGHT], [WRONG] * 5)
    for name in ("aum", "data_map_confidence"):
        assert (np.diff(ev.score(name)) > 0).all(), name
    assert (np.diff(ev.score("el2n")) >= 0).all()
    assert ev.score("first_learned").tolist() == [1, 1, 4, 6]
    assert ev.score("data_map_variability").argmax() == 2
    assert ev.score("data_map_variability")[[0, 1, 3]] == pytest.approx(0, abs=1e-15)


def test_forgetting_counts_right_then_wrong_and_puts_the_never_learned_first():
    ev = evidence(
        [RIGHT] * 6,
        [WRONG, WRONG, RIGHT, RIGHT, RIGHT, RIGHT],
        [RIGHT, WRONG, RIGHT, RIGHT, RIGHT, RIGHT],
        [RIGHT, WRONG, RIGHT, WRONG, RIGHT, WRONG],
        [WRONG] * 6,
    )
    assert ev.score("forgetting").tolist() == [0, 0, 1, 3, 6]
    assert ev.dynamics["forgetting"].tolist() == [0, 0, 1, 3, 0]  # the count itself


def test_never_learned_comes_first_also_among_means_over_runs():
    """Two runs of 4 and 6 epochs: the most that any mean can be is 2.5."""
    dynamics = np.zeros(2, DYNAMICS)
    dynamics["forgetting"] = [2.5, 0]
    dynamics["correctness"] = [0.5, 0]
    dynamics["first_learned"] = [1, (5 + 7) / 2]
    ev = am.Evidence(np.full((2, 2), 0.5), dynamics=dynamics)
    assert ev.score("forgetting").tolist() == [2.5, 5]


def test_a_tie_goes_to_the_first_class():
    history = np.array([[[0.5, 0.5], [0.5, 0.5]]])
    assert dynamics_of(history, np.array([0, 1]))["correctness"].tolist() == [1, 0]


def test_one_class_is_always_right():
    got = dynamics_of(np.ones((4, 2, 1)), np.array([0, 0]))
    assert (got["correctness"] == 1).all()
    assert (got["forgetting"] == 0).all()
    assert (got["el2n"] == 0).all()


# --- the evidence -------------------------------------------------------------------------------


def full_dynamics(n: int) -> np.ndarray:
    table = np.random.default_rng(2).random((n, len(DYNAMICS.names)))
    return table.view(DYNAMICS)[:, 0]


def test_definitions_read_the_fields():
    dynamics = full_dynamics(9)
    ev = am.Evidence(np.full((9, 2), 0.5), dynamics=dynamics)
    for name, (field, of) in DEFINITIONS.items():
        assert ev.score(name).tolist() == of(dynamics[field]).tolist()
    assert ev.score("forgetting").tolist() == dynamics["forgetting"].tolist()


def test_they_are_marked_as_in_sample():
    marked = {d.name for d in am.definitions() if d.in_sample}
    assert marked == {*DEFINITIONS, "forgetting"}


def test_dynamics_come_with_history_and_labels():
    rng = np.random.default_rng(1)
    history = rng.dirichlet(np.ones(3), (4, 5))
    ev = am.Evidence(
        history[-1], ["b", "a", "c", "a", "b"], classes=["b", "a", "c"], history=history
    )
    assert ev.has("dynamics")
    assert "dynamics 5" in repr(ev)
    assert ev.dynamics.dtype == DYNAMICS
    assert not ev.dynamics.flags.writeable
    assert ev.dynamics.tobytes() == dynamics_of(history, np.array([0, 1, 2, 1, 0])).tobytes()
    part = ev[[3, 1]]
    assert part.dynamics.tobytes() == ev.dynamics[[3, 1]].tobytes()
    assert part.score("aum").tolist() == ev.score("aum")[[3, 1]].tolist()
    assert not am.Evidence(history[-1], history=history).has("dynamics")
    assert not am.Evidence(history[-1], [0] * 5, history=history[:0]).has("dynamics")
    given = am.Evidence(history[-1], [0] * 5, history=history, dynamics=full_dynamics(5))
    assert given.dynamics.tobytes() == full_dynamics(5).tobytes()


def test_no_images():
    ev = am.Evidence(np.empty((0, 2)), [], history=np.empty((3, 0, 2)))
    assert ev.dynamics.shape == (0,)
    for name in (*DEFINITIONS, "forgetting"):
        assert ev.score(name).shape == (0,)


def test_missing_dynamics_are_explained():
    ev = am.Evidence([RIGHT], [0])
    for name in (*DEFINITIONS, "forgetting"):
        with pytest.raises(ArgumentError, match=rf"'{name}' needs dynamics.*audit\(history=True\)"):
            ev.score(name)


def test_fields_that_were_not_recorded_are_explained():
    ev = evidence([RIGHT, RIGHT], [WRONG, WRONG])
    for name in NOT_RECORDED:
        words = rf"^definition '{name}' needs gradients: audit\(history='full'\).*2 of 2"
        with pytest.raises(ArgumentError, match=words):
            ev.score(name)
    dynamics = full_dynamics(3)
    dynamics["el2n"][1] = np.nan
    ev = am.Evidence(np.full((3, 2), 0.5), dynamics=dynamics)
    with pytest.raises(ArgumentError, match=r"'el2n' needs el2n.*history=True.*1 of 3"):
        ev.score("el2n")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.ones((2, 3)), np.zeros(2, np.intp), 1), ShapeError, "3 dimensions"),
        ((np.ones((0, 3, 2)), np.zeros(3, np.intp), 1), ShapeError, "at least one epoch"),
        ((np.ones((2, 3, 2)), np.zeros(2, np.intp), 1), ShapeError, "expected 3 entries, got 2"),
        ((np.ones((2, 3, 2)), np.array([0, 2, 0]), 1), ArgumentError, r"got 2 at index 1"),
        ((np.ones((2, 3, 2)), np.array([0, 1, -1]), 1), ArgumentError, r"got -1 at index 2"),
        ((np.ones((2, 3, 2)), None, 1), DTypeError, "got None"),
        ((np.ones((2, 3, 2)), np.zeros(3, np.intp)), TypeError, "3"),
    ],
)
def test_the_core_checks_its_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        core.history_dynamics(*arguments)


# --- the same bits for any number of threads, any chunking, any layout --------------------------


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(5)
    history = rng.dirichlet(np.ones(10) * 0.3, (7, 2003)).astype(np.float32)
    return history, rng.integers(0, 10, 2003)


def test_thread_counts_give_the_same_bits(large):
    expected = core.history_dynamics(*large, 1).tobytes()
    assert all(core.history_dynamics(*large, t).tobytes() == expected for t in THREADS)


@given(st.integers(0, 2003), st.integers(0, 2003))
def test_images_are_independent_of_their_neighbours(large, a, b):
    history, labels = large
    part = slice(min(a, b), max(a, b))
    whole = core.history_dynamics(history, labels, 1)[part]
    assert core.history_dynamics(history[:, part], labels[part], 2).tobytes() == whole.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", STACKS)
def test_histories_are_read_where_they_lie(large, layout, dtype):
    plain, labels = large[0][:, :600].astype(dtype), large[1][:600]
    expected = core.history_dynamics(plain, labels, 1).tobytes()
    before = core.alloc_stats()
    assert core.history_dynamics(STACKS[layout](plain), labels, 2).tobytes() == expected
    assert core.alloc_stats()[:2] == before[:2]
