"""Audit: what each field of the evidence holds, against networks trained one by one."""

import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from same import same_evidence

import ambigmnist as am
from ambigmnist import _ambigcore, _safetensors
from ambigmnist._audit_plan import Run, assign_folds, plan_audit
from ambigmnist._audit_result import _standardised
from ambigmnist._audit_run import ANGLE, early_epoch
from ambigmnist._built_in import BUILT_IN
from ambigmnist.evidence import NEIGHBOURS

N = 240
LAYERS = [("conv", 3, 3), "relu", "maxpool", "flatten", ("dropout", 0.3), ("dense", 24), "relu"]
SETTINGS = {
    "folds": 3,
    "members": 2,
    "mc": 2,
    "augment": 2,
    "history": "full",
    "epochs": 4,
    "seed": 9,
}


def template(**settings):
    return am.CNN(layers=LAYERS, **settings)


@pytest.fixture(scope="module")
def data():
    train, _ = am.load_digits()
    return train.images[:N], train.labels[:N]


@pytest.fixture(scope="module")
def evidence(data):
    return am.audit(*data, model=template(), **SETTINGS)


@pytest.fixture(scope="module")
def networks(data, evidence):
    """Each network again, by `CNN.fit` of copies of its training images: {(fold, member): CNN}."""
    X, y = data
    found = {}
    for run in evidence.provenance["runs"]:
        seen = evidence.fold != run["fold"]
        model = template(seed=run["seed"], epochs=SETTINGS["epochs"])
        found[run["fold"], run["member"]] = model.fit(X[seen], y[seen])
    return found


def softmax(z):
    p = np.exp(z.astype(np.float64) - z.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


# --- what it holds -------------------------------------------------------------------------------


def test_every_image_is_judged_by_networks_that_never_saw_it(data, evidence, networks):
    assert sorted(networks) == [(f, m) for f in range(3) for m in range(2)]
    for fold in range(3):
        held = evidence.fold == fold
        for member in range(2):
            model = networks[fold, member]
            probs = model.predict_proba(data[0][held])
            assert evidence.members[member, held].tobytes() == probs.tobytes()


def test_the_logits_are_those_of_the_mean_probabilities(data, evidence, networks):
    for fold in range(3):
        held = evidence.fold == fold
        each = [softmax(networks[fold, m].logits(data[0][held])) for m in range(2)]
        expected = np.log(np.mean(each, axis=0))
        assert np.abs(evidence.logits[held] - expected).max() < 2e-6 * np.abs(expected).max()
    assert np.abs(evidence.probs - softmax(evidence.logits)).max() < 1e-6


def test_one_member_keeps_its_logits(data):
    ev = am.audit(*data, model=template(), folds=2, epochs=2)
    assert ev.members is None
    run = ev.provenance["runs"][1]
    seen = ev.fold != 1
    model = template(seed=run["seed"], epochs=2).fit(data[0][seen], data[1][seen])
    assert ev.logits[~seen].tobytes() == model.logits(data[0][~seen]).tobytes()


def test_draws_with_dropout(data, evidence, networks):
    assert evidence.mc.shape == (4, N, 10)
    assert evidence.draws is evidence.mc
    X = data[0].astype(np.float32) / 255
    for fold in range(3):
        held = np.flatnonzero(evidence.fold == fold)
        for member in range(2):
            model = networks[fold, member]
            for draw in range(2):
                drawn = evidence.mc[2 * member + draw, held]
                assert not np.array_equal(drawn, model.predict_proba(X[held]))
                assert np.abs(drawn - model.predict_proba(X[held])).mean() < 0.1  # of this network
            assert not np.array_equal(
                evidence.mc[2 * member, held], evidence.mc[2 * member + 1, held]
            )


def test_views_are_means_over_the_members(data, evidence, networks):
    plan = plan_of(data)
    images = data[0][..., np.newaxis]
    for fold in range(3):
        held = np.flatnonzero(evidence.fold == fold)
        for v in range(2):
            view = (plan.views_seed, v, 2.0, ANGLE)
            each = [
                softmax(
                    networks[fold, m]._network.forward_some(images, held, len(LAYERS) + 1, view, 1)
                )
                for m in range(2)
            ]
            assert np.abs(evidence.augmented[v, held] - np.mean(each, axis=0)).max() < 1e-6
    assert not np.array_equal(evidence.augmented[0], evidence.augmented[1])


def plan_of(data, **changes):
    y = data[1]
    classes, columns = np.unique(y, return_inverse=True)
    settings = {**SETTINGS, "may_add_dropout": False, **changes}
    return plan_audit(template(), columns.astype(np.int32), classes, **settings)


def test_dynamics_are_means_over_the_networks_trained_on_an_image(data, evidence):
    """With a rate of 0 nothing is learned: every epoch sees the first weights' logits."""
    model = am.CNN(layers=["flatten", ("dense", 8), "relu"], optimizer="sgd",
                   learning_rate=1e-30, schedule="constant")  # fmt: skip
    ev = am.audit(*data, model=model, folds=4, members=2, epochs=3)
    X, y = data
    margins, confidences = np.zeros((2, N)), np.zeros(N)
    clear = np.ones(N, bool)  # or else every logit may be 0, but for the rate
    for run in ev.provenance["runs"]:
        seen = np.flatnonzero(ev.fold != run["fold"])
        first = am.CNN(layers=model.layers, learning_rate=1e-30, optimizer="sgd", epochs=1,
                       schedule="constant", seed=run["seed"])  # fmt: skip
        z = first.fit(X[seen], y[seen]).logits(X[seen]).astype(np.float64)
        own = z[np.arange(len(seen)), y[seen]]
        z[np.arange(len(seen)), y[seen]] = -np.inf
        margins[:, seen] += [own - z.max(axis=1), np.ones(len(seen))]
        clear[seen] &= np.abs(own - z.max(axis=1)) > 1e-3
        confidences[seen] += 1 / (1 + np.exp(z - own[:, None]).sum(axis=1))
    assert np.array_equal(ev.dynamics["runs"], np.full(N, 6.0))
    assert np.array_equal(margins[1], ev.dynamics["runs"])
    assert np.abs(ev.dynamics["aum"] - margins[0] / 6).max() < 1e-5
    assert np.abs(ev.dynamics["confidence"] - confidences / 6).max() < 1e-5
    assert ev.dynamics["variability"].max() < 1e-6
    assert clear.mean() > 0.7
    assert not ev.dynamics["forgetting"][clear].any()
    assert set(np.unique(ev.dynamics["first_learned"] * 6 % 1)) == {0.0}
    assert np.isnan(ev.dynamics["grand"]).all()
    assert np.isnan(ev.dynamics["vog"]).all()


def test_wrong_labels_stand_out_in_every_history_score(data):
    X, y = data
    wrong = np.arange(0, N, 24)
    labels = y.copy()
    labels[wrong] = (labels[wrong] + 1) % 10
    ev = am.audit(X, labels, folds=3, epochs=30)
    strong = ("aum", "data_map_confidence", "self_confidence")
    coarse = ("first_learned", "el2n")  # many ties; one early epoch
    for name, least in (*((name, 8) for name in strong), *((name, 5) for name in coarse)):
        found = np.isin(am.rank(ev, by=name, k=len(wrong)).indices, wrong).sum()
        assert found >= least, name


def test_gradients(data, evidence, networks):
    """grand of networks trained to the early epoch, vog from kept weights, each in NumPy."""
    assert early_epoch(SETTINGS["epochs"], 0) == 2
    table = np.zeros((2, N))
    X, y = data
    for (fold, _), model in networks.items():
        seen = np.flatnonzero(evidence.fold != fold)
        again = template(seed=model.seed, epochs=SETTINGS["epochs"])
        weights = snapshots(again, X[seen], y[seen])
        assert len(weights) == SETTINGS["epochs"]
        images = np.ascontiguousarray(X[seen][..., np.newaxis])
        examples = (images, y[seen].astype(np.int32), None, None, np.arange(len(seen)))
        network = _ambigcore.Network([layer.spec for layer in again._layers], 28, 28, 1, False)
        gradients = []
        for at, params in enumerate(weights):
            network.set_params(params)
            if at == 1:
                table[0, seen] += network.gradient_norms(examples, 0, 1)
            gradients.append(network.pixel_gradients(examples, 1).reshape(len(seen), -1))
        table[1, seen] += np.std(np.float64(gradients), axis=0).mean(axis=1)
    table /= 4  # runs that trained on an image
    assert np.abs(evidence.dynamics["grand"] / table[0] - 1).max() < 1e-3
    for c in range(10):
        own = table[1, y == c]
        expected = (own - own.mean()) / own.std()
        assert np.abs(evidence.dynamics["vog"][y == c] - expected).max() < 1e-3


def snapshots(model, X, y):
    """The weights after every epoch, from the files of a checkpoint that is stopped each time."""

    class StoppedError(Exception):
        pass

    weights = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run")

        def stop(row):
            if len(weights) < row["epoch"]:
                weights.append(None)
                raise StoppedError

        for epoch in range(model.epochs + 1):
            try:
                model.fit(X, y, checkpoint=path, callback=stop)
            except StoppedError:
                pass
            if epoch:
                weights[epoch - 1] = _safetensors.load(path)[0]["params"]
    return weights


def test_neighbours_are_of_a_network_that_never_saw_the_image(data, evidence, networks):
    assert evidence.nearest.shape == (N, NEIGHBOURS)
    for fold in range(3):
        points = networks[fold, 0].embed(data[0]).astype(np.float64)
        far = np.sqrt(((points[:, None] - points) ** 2).sum(axis=2))
        np.fill_diagonal(far, np.inf)
        for i in np.flatnonzero(evidence.fold == fold):
            order = np.argsort(far[i], kind="stable")[:NEIGHBOURS]
            assert np.array_equal(evidence.nearest["index"][i], order)
            assert np.allclose(evidence.nearest["distance"][i], far[i, order], rtol=1e-12)
            assert np.array_equal(evidence.nearest["label"][i], data[1][order])
    assert evidence.embeddings.tobytes() == networks[0, 0].embed(data[0]).tobytes()


def test_the_rest_of_the_evidence(data, evidence):
    assert np.array_equal(evidence.images[..., 0], data[0])
    assert np.array_equal(evidence.labels, data[1])
    assert not evidence.in_sample.any()
    assert evidence.split is None
    provenance = evidence.provenance
    assert json.loads(json.dumps(provenance)) == provenance
    assert provenance["sha256"] == am.Dataset(*data).sha256
    assert provenance["complete"]
    assert provenance["seed"] == 9
    assert provenance["epochs"] == 4
    assert provenance["version of ambigmnist"] == am.__version__
    for run in provenance["runs"]:
        held = evidence.fold == run["fold"]
        guesses = evidence.members[run["member"], held].argmax(axis=1)
        assert run["accuracy"] == (guesses == data[1][held]).mean()
    assert "threads" not in json.dumps(provenance)


def test_every_definition_works(evidence):
    assert len(BUILT_IN) > 20
    for row in BUILT_IN:
        assert len(am.rank(evidence, by=row.name)) == N


def test_evidence_can_be_pickled(evidence):
    again = pickle.loads(pickle.dumps(evidence))
    same_evidence(again, evidence)


def test_what_is_not_asked_for_is_not_there(data):
    ev = am.audit(*data, model=template(), folds=2, epochs=1, history=False, split="train")
    for name in ("members", "mc", "augmented", "dynamics"):
        assert getattr(ev, name) is None
    assert set(ev.split) == {"train"}


# --- folds and seeds -----------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(2, 9), st.integers(0, 9))
def test_folds_are_dealt_out_by_class(columns, folds, seed):
    columns = np.array(columns, np.int32)
    fold = assign_folds(columns, folds, seed)
    assert np.array_equal(fold, assign_folds(columns, folds, seed))
    for group in (columns >= 0, *(columns == c for c in range(4))):
        sizes = np.bincount(fold[group], minlength=folds)
        assert len(sizes) == folds
        assert sizes.max() - sizes.min() <= 1


def test_folds_and_networks_depend_on_the_seed(data):
    a, b = plan_of(data, seed=1), plan_of(data, seed=2)
    assert 0.2 < (a.fold == b.fold).mean() < 0.5
    seeds = [plan.training_seed(run) for plan in (a, b) for run in plan.runs]
    assert len(set(seeds)) == len(seeds)
    assert plan_of(data, seed=2**63 - 1).training_seed(Run(0, 0)) >= 0


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
def test_validation_images_are_never_those_held_out(data, folds, share):
    y = data[1]
    plan = plan_audit(
        template(validation_split=share), y.astype(np.int32), np.arange(10), folds=folds, members=1,
        mc=0, augment=0, history="none", epochs=1, seed=0, may_add_dropout=False,
    )  # fmt: skip
    trained = np.zeros(N, int)
    for run in plan.runs:
        train, validation, held = plan.parts(run)
        assert np.array_equal(np.sort(np.concatenate([train, validation, held])), np.arange(N))
        assert abs(len(validation) - share * (N - len(held))) < 10
        assert set(y[train]) == set(y)
        trained[train] += 1
    if share * (folds - 1) <= folds - 2:
        assert trained.min() > 0


def test_early_stopping_and_the_articles_recipe(data):
    model = am.CNN("seed", layers=LAYERS, epochs=40, learning_rate=0.01, patience=1)
    ev = am.audit(*data, model=model, folds=3)
    epochs = [run["epochs"] for run in ev.provenance["runs"]]
    assert min(epochs) < 40
    assert (ev.dynamics["runs"] <= 2).all()
    assert (ev.dynamics["runs"] >= 1).all()
    assert early_epoch(40, 1) == 2
    assert not np.isnan(ev.dynamics["el2n"]).any()
    assert (ev.dynamics["el2n"] > 0).all()


@pytest.mark.parametrize(
    ("epochs", "patience", "expected"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 2), (20, 0, 2), (21, 0, 3), (100, 0, 10), (100, 5, 6), (3, 5, 2)],
)
def test_early_epoch(epochs, patience, expected):
    assert early_epoch(epochs, patience) == expected


def test_standardised_within_classes():
    values = np.array([1.0, 3.0, 5.0, 5.0, np.nan, 7.0, np.nan])
    columns = np.array([0, 0, 1, 1, 1, 2, 3], np.int32)
    expected = [-1.0, 1.0, 0.0, 0.0, np.nan, 0.0, np.nan]
    assert np.array_equal(_standardised(values, columns), expected, equal_nan=True)


# --- what goes in --------------------------------------------------------------------------------


def test_other_images_and_labels(data):
    X, y = data
    names = np.array([f"class {c}" for c in range(10)])
    colour = np.repeat(X[..., np.newaxis], 3, axis=3)[::-1][::-1]
    ev = am.audit(colour, names[y].tolist(), folds=2, epochs=1, model=template())
    assert list(ev.classes) == list(names)
    assert np.array_equal(ev.given, names[y])
    flat = am.audit(X.reshape(N, -1) / 255.0, y, folds=2, epochs=1, model=template())
    plain = am.audit(X, y.astype(np.uint8), folds=2, epochs=1, model=template())
    assert np.abs(flat.probs - plain.probs).max() < 1e-3
    gaps = am.audit(X, y * 7 - 3, folds=2, epochs=1, model=template())
    assert gaps.logits.tobytes() == plain.logits.tobytes()
    assert np.array_equal(gaps.given, y * 7 - 3)


def test_few_images():
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), np.uint8)
    ev = am.audit(images, [0, 0, 1, 1], folds=2, epochs=1, model=am.CNN(layers=["flatten"]))
    assert ev.n == 4
