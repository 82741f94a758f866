"""Definitions: the registry, the decorator, and functions that misbehave."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import ambigmnist as am
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

module = sys.modules[am.definition.__module__]  # am.definitions is the function
BUILT_IN = [
    "least_confident",
    "margin",
    "entropy",
    "gini",
    "confident_wrong",
    "self_confidence",
    "normalized_margin",
    "confidence_weighted_entropy",
    "confident_learning",
]


@pytest.fixture(autouse=True)
def _clean_registry(monkeypatch):
    monkeypatch.setattr(module, "_registry", dict(module._registry))


@pytest.fixture
def ev():
    return am.Evidence([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]], [0, 0, 1])


def test_the_table_lists_the_built_in_definitions():
    table = am.definitions()
    assert [d.name for d in table][: len(BUILT_IN)] == BUILT_IN
    for record in table[: len(BUILT_IN)]:
        assert record.formula
        assert record.range
        assert record.source
        assert "probs" in record.needs
    text = repr(table)
    assert len(text.splitlines()) == len(table) + 1
    assert text.split()[:6] == ["name", "formula", "range", "needs", "in", "sample"]
    column = text.index("in sample")
    marked = [line.split()[0] for line in text.splitlines() if line[column : column + 4] == "yes "]
    assert marked == [d.name for d in table if d.in_sample]
    assert "aum" in marked
    assert table._repr_html_().count("<td>yes</td>") == len(marked)
    assert table[0].name == "least_confident"
    assert len(table[1:3]) == 2
    assert "&lt;" not in table._repr_html_() or "<td>" in table._repr_html_()


def test_a_decorated_function_is_known_by_name(ev):
    @am.definition(needs=("probs",), formula="p2", range="[0, 1/2]", source="me")
    def second(ev):
        return np.sort(ev.probs, axis=1)[:, -2]

    assert am.definitions()[-1].name == "second"
    assert am.definitions()[-1].source == "me"
    for by in (second, "second"):
        ranking = am.rank(ev, by=by)
        assert ranking.indices.tolist() == [2, 1, 0]
        assert ranking.definition.formula == "p2"
    assert second(ev).shape == (3,)  # the function itself is what it was


def test_the_bare_decorator_takes_its_words_from_the_function(ev):
    @am.definition
    def by_index(ev):
        """The later, the worse.

        More words.
        """
        return range(ev.n)

    assert am.definitions()[-1].formula == "The later, the worse."
    assert am.rank(ev, "by_index").indices.tolist() == [2, 1, 0]


def test_definitions_combine(ev):
    @am.definition(name="both", needs=("probs", "labels"))
    def combined(ev):
        return ev.score("entropy") + ev.score("self_confidence")

    expected = ev.score("entropy") + ev.score("self_confidence")
    assert (am.rank(ev, "both").scores == np.sort(expected)[::-1]).all()


def test_any_callable_will_do(ev):
    class Thing:
        def __call__(self, ev):
            return [1, 3, 2]

    assert am.rank(ev, Thing()).indices.tolist() == [1, 2, 0]
    assert am.rank(ev, lambda ev: ev.probs[:, 1]).indices.tolist() == [1, 2, 0]
    assert am.rank(ev, Thing()).definition.name == "Thing"
    assert am.rank(ev, lambda ev: [True, False, True]).indices.tolist() == [0, 2, 1]
    assert am.rank(ev, lambda ev: [np.inf, -np.inf, 0]).indices.tolist() == [0, 2, 1]


def test_defining_again_replaces(ev):
    for value in (1.0, 2.0):

        @am.definition
        def again(ev, value=value):
            return np.full(ev.n, value)

    assert (am.rank(ev, "again").scores == 2.0).all()
    assert [d.name for d in am.definitions()].count("again") == 1


def test_built_in_names_are_taken():
    with pytest.raises(ArgumentError, match="built-in"):

        @am.definition
        def entropy(ev):
            return ev.probs[:, 0]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("least_confidant", "least_confident"), ("Entropy", "entropy"), ("margins", "margin")],
)
def test_an_unknown_name_suggests_the_nearest(ev, name, suggestion):
    with pytest.raises(ArgumentError, match=f"did you mean '{suggestion}'"):
        am.rank(ev, by=name)
    with pytest.raises(ArgumentError, match=r"known are .*confident_wrong"):
        am.rank(ev, by="zzzzzz")


def test_a_function_that_raises_is_named_and_its_cause_kept(ev):
    def faulty(ev):
        return ev.probs[:, 99]

    with pytest.raises(ArgumentError, match="'faulty' raised IndexError") as caught:
        am.rank(ev, faulty)
    assert isinstance(caught.value.__cause__, IndexError)

    def interrupted(ev):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        am.rank(ev, interrupted)


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        (np.zeros((3, 1)), ShapeError, r"shape \(3,\), got \(3, 1\)"),
        (np.zeros(2), ShapeError, r"got \(2,\)"),
        (1.0, ShapeError, r"got \(\)"),
        (None, DTypeError, "dtype object"),
        (["a", "b", "c"], DTypeError, "dtype <U1"),
        (np.zeros(3, complex), DTypeError, "complex"),
        ([0.0, np.nan, np.nan], ArgumentError, "NaN for 2 images, the first at index 1"),
        ([[1], [2, 3], [4]], ArgumentError, "raised ValueError"),
    ],
)
def test_a_wrong_result_is_refused(ev, result, error, words):
    def odd(ev):
        return result

    with pytest.raises(error, match=words) as caught:
        am.rank(ev, odd)
    assert "odd" in str(caught.value)


def test_missing_needs_are_reported_before_the_call(ev):
    @am.definition(needs=("probs", "members"))
    def spread(ev):
        raise AssertionError("called")

    with pytest.raises(ArgumentError, match=r"'spread' needs members.*pass members="):
        am.rank(ev, "spread")
    with pytest.raises(ArgumentError, match="'confident_wrong' needs labels"):
        am.rank(am.Evidence(ev.probs), "confident_wrong")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"needs": ("prob",)}, ArgumentError),
        ({"needs": "labelz"}, ArgumentError),
        ({"name": ""}, ArgumentError),
        ({"name": 3}, ArgumentError),
    ],
)
def test_bad_keywords(arguments, error):
    with pytest.raises(error):
        am.definition(**arguments)(lambda ev: ev.probs[:, 0])


def test_needs_may_be_one_word():
    am.definition(needs="probs")(lambda ev: ev.probs[:, 0])
    assert am.definitions()[-1].needs == ("probs",)


def test_not_a_function():
    with pytest.raises(DTypeError, match="expected a function"):
        am.definition("entropy")
