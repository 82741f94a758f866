"""Verdicts: features against loops written from their definitions, shares, reasons, plants."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import ambigmnist as am
from ambigmnist import _verdict_features as vf
from ambigmnist.errors import ArgumentError, DTypeError
from ambigmnist.evidence import DYNAMICS
from ambigmnist.verdict import VERDICTS, _fitted, _likeliest_shares


def evidence(n=40, k=4, members=3, seed=0, *, dynamics=True, space=True, classes=None, **known):
    rng = np.random.default_rng(seed)
    stack = rng.dirichlet(np.full(k, 0.3), (members, n))
    classes = np.arange(k) if classes is None else np.array(classes)
    if dynamics:
        records = np.zeros(n, DYNAMICS)
        for field in DYNAMICS.names:
            records[field] = rng.normal(size=n)
        known["dynamics"] = records
    if space:
        known["embeddings"] = rng.normal(size=(n, 5))
        known["fold"] = np.arange(n) % 3
    return am.Evidence(
        stack.mean(axis=0), classes[rng.integers(0, k, n)], classes=classes,
        members=stack if members > 1 else None, **known,
    )  # fmt: skip


# --- features -------------------------------------------------------------------------------------


def naive_features(ev: am.Evidence) -> list[list[float]]:
    """Every feature of every image, in the order of `GROUPS`, one at a time."""
    x = ev.embeddings
    distances = [[math.dist(a, b) for b in x] for a in x]
    nearest = [
        sorted((j for j in range(ev.n) if j != i), key=lambda j: (distances[i][j], j))[:10]
        for i in range(ev.n)
    ]
    far = [float(np.mean([distances[i][j] for j in nearest[i]])) for i in range(ev.n)]
    covariance = np.cov(x.T, bias=True)
    d = x.shape[1]
    covariance = covariance + 1e-3 * np.trace(covariance) / d * np.eye(d)
    joint = am.confident_joint(ev).counts.tolist()
    trained = ("aum", "confidence", "variability", "correctness", "forgetting", "el2n")
    rows = []
    for i in range(ev.n):
        p = ev.probs[i].tolist()
        g = ev.given.tolist()[i]
        order = sorted(range(ev.k), key=lambda j: (-p[j], j))
        a, b = order[0], order[1]

        def label_margin(p, g=g):
            return math.log(p[g]) - math.log(max(q for j, q in enumerate(p) if j != g))

        entropy = [-sum(q * math.log(q) for q in m) for m in ev.members[:, i].tolist()]
        bald = -sum(q * math.log(q) for q in p) - sum(entropy) / len(entropy)
        labels = [ev.given[j] for j in nearest[i]]
        r = b if a == g else a
        near = {c: [distances[i][j] for j in nearest[i] if ev.given[j] == c] for c in (g, r)}
        none = 2 * distances[i][nearest[i][-1]]
        fold = [far[j] for j in range(ev.n) if ev.fold[j] == ev.fold[i]]
        off = x[i] - x.mean(axis=0)
        rows.append([
            label_margin(p),
            math.log(p[a]) - math.log(p[b]),
            math.log(1 - p[a] - p[b] + 1e-9),
            math.log((joint[g][r] + 0.5) / (sum(ev.given == g) + 1)),
            math.log((joint[r][g] + 0.5) / (sum(ev.given == r) + 1)),
            math.log(bald + 1e-6),
            min(label_margin(m) for m in ev.members[:, i].tolist()),
            *(float(ev.dynamics[f][i]) for f in trained),
            labels.count(g) / len(labels),
            labels.count(a) / len(labels),
            (labels.count(a) + labels.count(b)) / len(labels),
            labels.count(r) / len(labels),
            math.log(min(near[r], default=none) / min(near[g], default=none)),
            math.log(far[i] / np.median(fold)),
            math.log(off @ np.linalg.inv(covariance) @ off / d),
        ])  # fmt: skip
    return rows


@given(st.integers(3, 30), st.integers(3, 5), st.integers(0, 2**32 - 1))
def test_features_are_as_defined(n, k, seed):
    ev = evidence(n, k, seed=seed)
    groups = vf.groups_of(ev)
    assert groups == tuple(vf.GROUPS)
    found = vf.features(ev, groups)
    assert found.shape == (n, len(vf.names_of(groups)))
    expected = np.clip(naive_features(ev), -vf.LIMIT, vf.LIMIT)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


def test_logits_tell_more_than_probabilities_that_are_exactly_one():
    logits = np.array([[40.0, 0, -5], [60, 0, -5], [0, 5, 5]])
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    ev = am.Evidence(probs, [0, 1, 0], logits=logits)
    margins = vf.features(ev, ("probs",))[:, 0]
    assert margins.tolist() == [15, -15, -5]
    zero = am.Evidence([[1.0, 0.0], [0.0, 1.0]], [0, 0])
    assert vf.features(zero, ("probs",))[:, 0].tolist() == [15, -15]


def test_the_unit_of_embeddings_does_not_matter():
    ev = evidence(30)
    scaled = am.Evidence(
        ev.probs, ev.labels, members=ev.members, embeddings=ev.embeddings * 1000, fold=ev.fold
    )
    groups = ("probs", "members", "space")
    np.testing.assert_allclose(vf.features(scaled, groups), vf.features(ev, groups), atol=1e-6)


def test_the_model_has_a_set_for_every_kind_of_evidence():
    path = Path(am.__file__).with_name("data") / "verdicts.json"
    assert set(json.loads(path.read_text())["models"]) == set(_fitted())
    keys = {
        ",".join(vf.groups_of(evidence(members=m, dynamics=d, space=s)))
        for m in (1, 3)
        for d in (False, True)
        for s in (False, True)
    }
    assert keys == set(_fitted())
    for key, model in _fitted().items():
        assert model.features == vf.names_of(tuple(key.split(",")))
        f = len(model.features)
        assert model.weights.shape == (f, 5)
        assert model.bias.shape == (5,)
        assert (model.spread > 0).all()
        assert (model.low < model.high).all()
        arrays = (model.low, model.high, model.middle, model.weights, model.bias)
        assert all(np.isfinite(array).all() for array in arrays)


# --- shares ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 20), min_size=5, max_size=5), st.integers(0, 2**32 - 1))
def test_estimated_shares_are_those_of_the_data(counts, seed):
    """Where the probabilities are right for equal shares, the true ones come out."""
    true = np.repeat(np.arange(5), np.array(counts) * 200)
    rng = np.random.default_rng(seed)
    centres = np.eye(5) * 3
    x = centres[true] + rng.normal(size=(len(true), 5))
    log_likelihood = x @ centres.T - (centres**2).sum(axis=1) / 2
    balanced = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    balanced /= balanced.sum(axis=1, keepdims=True)
    shares = _likeliest_shares(balanced)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares, np.array(counts) / sum(counts), atol=0.05)
    # No other shares are likelier after these images, ten others beforehand.
    beforehand = np.array([9.6, 0.1, 0.1, 0.1, 0.1])

    def likelihood(shares):
        return np.log(balanced @ shares).sum() + beforehand @ np.log(shares)

    for _ in range(5):
        other = shares * rng.uniform(0.8, 1.25, 5)
        assert likelihood(shares) >= likelihood(other / other.sum()) - 1e-6


def test_a_single_image_is_no_proof_of_shares():
    ev = evidence()
    for i in range(10):
        one = am.verdicts(ev[[i]])
        assert one.shares[0] > 0.85
        assert one.shares.max() < 0.97


def test_given_shares_are_taken():
    ev = evidence()
    equal = am.verdicts(ev, shares=[1, 1, 1, 1, 1])
    assert equal.shares.tolist() == [0.2] * 5
    tilted = am.verdicts(ev, shares=[1, 1, 1, 1, 6])
    assert (tilted.p("unreadable") > equal.p("unreadable")).all()
    odds = tilted.p("unreadable") / tilted.p("ambiguous")
    np.testing.assert_allclose(odds, 6 * equal.p("unreadable") / equal.p("ambiguous"))
    rest = tilted.p("mislabelled") / tilted.p("ambiguous")
    np.testing.assert_allclose(rest, equal.p("mislabelled") / equal.p("ambiguous"))


def test_what_is_read_as_something_else_is_not_clean():
    ev = evidence()
    v = am.verdicts(ev)
    misread = ev.predicted != ev.given
    assert 0 < misread.sum() < ev.n
    assert (v.p("clean")[misread] == 0).all()
    assert (v.p("clean")[~misread] > 0).all()


@pytest.mark.parametrize(
    "shares", [[1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, np.nan], "clean", [-1] * 5]
)
def test_shares_that_make_no_sense_are_refused(shares):
    with pytest.raises(ArgumentError, match="shares"):
        am.verdicts(evidence(), shares=shares)


# --- verdicts -------------------------------------------------------------------------------------


def hand_made() -> am.Evidence:
    """Of the classes 4, 7 and 9, 60 images around the points of 4 and 9; three are odd ones."""
    labels = np.array([4, 9] * 30)
    points = np.random.default_rng(0).normal(size=(60, 20))
    points[:, 0] += (labels == 9) * 10.0
    probs = np.where((labels == 9)[:, np.newaxis], [5e-4, 1e-4, 0.9994], [0.9994, 1e-4, 5e-4])
    labels[55] = 4  # a label that is wrong
    points[56, 0], probs[56] = 5, [0.499, 0.002, 0.499]  # between both
    points[57, 0], points[57, 1:], probs[57] = 5, 1, [0.3, 0.2, 0.5]  # like nothing else
    return am.Evidence(
        probs, labels, classes=[4, 7, 9], members=np.stack([probs] * 3), embeddings=points
    )


def test_directions():
    v = am.verdicts(hand_made(), shares=[1] * 5)
    p = dict(zip(VERDICTS, v.probs.T, strict=True))
    assert p["mislabelled"].argmax() == 55
    assert set(np.argsort(-p["clean"])[-3:].tolist()) == {55, 56, 57}
    assert v.verdict[55] == "mislabelled"
    assert (v.suggested[55], v.given[55]) == (9, 4)
    assert p["ambiguous"][56] > p["ambiguous"][:55].max()
    assert p["unreadable"][57] > p["unreadable"][:56].max()
    assert v.readings[56].tolist() == [4, 9]


def test_reasons_in_words():
    ev = hand_made()
    v = am.verdicts(ev, shares=[1] * 5)
    assert v.reason(55) == (
        "labelled 4, reads 9 at 0.999, 3 of 3 networks agree, nearest neighbours 9 9 9 9 9"
    )
    members = np.array(ev.members)
    members[1, 56] = [0.1, 0, 0.9]
    mixed = am.Evidence(ev.probs, ev.labels, classes=[4, 7, 9], members=members)
    facts = am.verdicts(mixed)._facts
    from ambigmnist._verdict_reasons import reason

    assert reason(facts, 56, "ambiguous") == (
        "4 or 9: reads 4 at 0.499, 9 at 0.499, labelled 4, 2 of 3 networks agree (others: 9)"
    )
    far = reason(v._facts, 57, "unreadable")
    assert far.startswith("reads 9 at 0.500, 4 at 0.300, others at 0.200, labelled 9, 3 of 3")
    assert far.endswith(", farther from its nearest than 100.0 % of the images")
    assert "farther" not in reason(v._facts, 0, "unreadable")
    assert reason(v._facts, 0, "clean").startswith("labelled 4, reads 4 at 0.999, 3 of 3")
    for probs, words in (
        ([0.999, 0.001], "labelled 9, reads 4 at 0.999, 9 at 0.001"),
        ([0.4, 0.6], "labelled 9, reads 9 at 0.600, 4 at 0.400"),
    ):
        one = am.verdicts(am.Evidence([probs], [9], classes=[4, 9]))
        assert words in reason(one._facts, 0, "model_weak")


def test_what_a_verdict_holds():
    v = am.verdicts(hand_made())
    one = v[55]
    assert (one.index, one.given, one.suggested, one.readings) == (55, 4, 9, (9, 4))
    assert one.p == max(one.probs.values()) == one.probs[one.verdict]
    assert one.reason == v.reason(55)
    assert sum(v.counts().values()) == len(v) == 60
    assert not v.probs.flags.writeable
    np.testing.assert_allclose(v.probs.sum(axis=1), 1)
    assert pickle.loads(pickle.dumps(v)).verdict.tolist() == v.verdict.tolist()
    for index in (-1, 60):
        with pytest.raises(ArgumentError, match=r"0\.\.59"):
            v.reason(index)
    with pytest.raises(ArgumentError, match="unreadable"):
        v.p("unreadible")


def test_rankings_by_a_verdict():
    v = am.verdicts(hand_made())
    ranking = v.rank("mislabelled", 3)
    assert ranking.indices[0] == 55
    assert ranking.scores[0] == v.p("mislabelled")[55]
    assert "probability of mislabelled" in repr(ranking)
    assert pickle.loads(pickle.dumps(ranking)).indices.tolist() == ranking.indices.tolist()


def test_tables(tmp_path):
    v = am.verdicts(hand_made())
    text = repr(v)
    assert "60 images:" in text
    assert "mislabelled" in text
    assert "labelled 4, reads 9" in text
    assert "without dynamics: audit(history=True) tells more" in text
    assert "<table>" in v._repr_html_()
    v.to_csv(tmp_path / "v.csv")
    lines = (tmp_path / "v.csv").read_text().splitlines()
    assert lines[0].split(",")[:4] == ["index", "given", "verdict", "p_clean"]
    assert len(lines) == 61
    frame = v.to_frame()
    assert frame["verdict"].tolist() == v.verdict.tolist()
    assert frame["reason"][55] == v.reason(55)


def test_in_sample_evidence_is_marked():
    ev = hand_made()
    fitted = am.Evidence(
        ev.probs, ev.labels, classes=[4, 7, 9], embeddings=ev.embeddings, in_sample=True
    )
    v = am.verdicts(fitted)
    assert "in sample: 60 of 60 images" in v.note
    assert "*" in repr(v)


@pytest.mark.parametrize("k", [1, 2, 7])
@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_any_number_of_images_and_classes(n, k):
    names = [f"class {c}" for c in range(k)]
    ev = evidence(n, k, classes=names, dynamics=n > 0)
    v = am.verdicts(ev)
    assert v.probs.shape == (n, 5)
    assert not np.isnan(v.probs).any()
    assert set(v.suggested.tolist()) <= set(names)
    assert f"{n} images" in repr(v)
    assert len(v.rank("ambiguous")) == n
    for i in range(n):
        assert v[i].given in names


def test_some_images_judged_by_themselves():
    ev = evidence(40)
    v = am.verdicts(ev[::2])
    assert len(v) == 20
    assert v.given.tolist() == ev.given[::2].tolist()


def test_evidence_that_cannot_be_judged():
    with pytest.raises(ArgumentError, match="labels"):
        am.verdicts(am.Evidence([[0.5, 0.5]]))
    with pytest.raises(DTypeError, match="Evidence"):
        am.verdicts(np.eye(2))


def test_planted_truth_is_found_in_an_audit():
    train, test = am.load_digits()
    planted, truth = am.plant(train + test, flips=40, blends=40, occlusions=40, seed=4)
    ev = am.audit(planted.images, planted.labels, members=2, folds=4, seed=2)
    v = am.verdicts(ev)
    for kind, verdict, least in (
        ("flip", "mislabelled", 0.8), ("blend", "ambiguous", 0.4), ("occlusion", "unreadable", 0.4),
    ):  # fmt: skip
        found = am.evaluate(v.p(verdict), truth.mask(kind), resamples=0)
        assert found.average_precision.value > least
        assert found.auroc.value > 0.9
    flipped = np.flatnonzero(truth.mask("flip") & (v.verdict == "mislabelled"))
    assert (v.suggested[flipped] == truth.original[flipped]).mean() > 0.9
    one = am.verdicts(ev, shares=v.shares)
    assert one.verdict.tolist() == v.verdict.tolist()
