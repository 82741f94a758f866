"""Planted truth: what was said to be done, and nothing else, was done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ambigmnist as am
from ambigmnist import _morph
from ambigmnist.errors import ArgumentError, DataError, DTypeError, ShapeError
from ambigmnist.planting import KINDS, Truth


def strokes(n: int = 300, k: int = 3, size: int = 12, seed: int = 0) -> am.Dataset:
    """Bars at a place that tells the class, with some noise; every class is there."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    images = rng.integers(0, 40, (n, size, size), dtype=np.uint8)
    for i, label in enumerate(labels):
        at = 1 + int(label) * (size - 2) // k
        images[i, 1:-1, at : at + 2] = rng.integers(200, 256)
    return am.Dataset(images, labels, name="strokes", split="train")


# --- plant ----------------------------------------------------------------------------------------


@given(
    st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20),
    st.sampled_from(["uniform", "pairs"]), st.sampled_from(["pixel", "elastic", "sharp", "both"]),
    st.integers(0, 2**32),
)  # fmt: skip
def test_each_image_has_at_most_one_thing_done_and_the_truth_says_which(
    flips, blends, occlusions, noises, flip, morph, seed
):
    data = strokes(90)
    planted, truth = am.plant(
        data, flips=flips, flip=flip, blends=blends, morph=morph, occlusions=occlusions,
        noises=noises, seed=seed,
    )  # fmt: skip
    counts = dict(zip(KINDS[1:], (flips, blends, occlusions, noises), strict=True))
    assert {kind: int(truth.mask(kind).sum()) for kind in counts} == counts
    assert truth.mask().sum() == sum(counts.values())
    assert (np.asarray(truth) == truth.mask()).all()
    assert (planted.labels == truth.labels).all()
    assert (truth.original == data.labels).all()
    assert ((truth.labels != truth.original) == truth.mask("flip")).all()
    same = (planted.images == data.images).all(axis=(1, 2))
    assert same[truth.mask("none", "flip")].all()
    assert not same[truth.mask("blend", "occlusion")].any()
    blended = truth.mask("blend")
    assert ((truth.partner >= 0) == blended).all()
    assert (truth.other[blended] == data.labels[truth.partner[blended]]).all()
    assert (truth.other[blended] != data.labels[blended]).all()
    assert ((truth.weight[blended] >= 0.35) & (truth.weight[blended] <= 0.65)).all()
    assert np.isnan(truth.weight[~blended]).all()
    assert (planted.name, planted.split.tolist()) == (data.name, data.split.tolist())
    if morph == "both":
        assert abs(int((truth.morph == "pixel").sum()) - blends / 2) <= 0.5
    else:
        assert (truth.morph[blended] == morph).all()


def test_the_same_seed_plants_the_same_and_another_seed_something_else():
    data = strokes()
    settings = {"flips": 0.1, "blends": 10, "occlusions": 5, "noises": 5}
    (a, t), (b, u), (c, _) = (am.plant(data, **settings, seed=s) for s in (3, 3, 4))
    assert a.sha256 == b.sha256 != c.sha256
    assert all((x == y).all() for x, y in ((t.kind, u.kind), (t.partner, u.partner)))


def test_more_of_one_thing_changes_no_other():
    data = strokes()
    _, few = am.plant(data, flips=10, occlusions=10, seed=1)
    _, more = am.plant(data, flips=10, blends=20, occlusions=10, seed=1)
    assert (few.labels == more.labels).all()


@pytest.mark.parametrize("pixels", ["floats", "colour"])
def test_images_of_other_forms(pixels):
    data = strokes(60)
    if pixels == "floats":
        images = (data.images / 255).astype(np.float32)
    else:
        images = np.stack([data.images, data.images // 2, data.images], axis=3)
    names = np.array(["left", "middle", "right"])[data.labels]
    other = am.Dataset(images, names, classes=["right", "left", "middle"])
    settings = {"flips": 5, "blends": 10, "occlusions": 5, "noises": 5, "seed": 2}
    planted, truth = am.plant(other, **settings)
    assert (planted.images.dtype, planted.images.shape) == (images.dtype, images.shape)
    assert set(truth.labels) <= set(names)
    assert (truth.labels != truth.original).sum() == 5
    if pixels == "floats":
        bytes_, _ = am.plant(am.Dataset(data.images, names, classes=other.classes), **settings)
        np.testing.assert_allclose(planted.images, bytes_.images / 255, atol=0.51 / 255)


def test_pairs_are_the_next_class_and_uniform_reaches_all():
    data = strokes(900, 3)
    _, truth = am.plant(data, flips=300, flip="pairs")
    at = truth.mask("flip")
    assert (truth.labels[at] == (truth.original[at] + 1) % 3).all()
    _, truth = am.plant(data, flips=300)
    at = truth.mask("flip")
    pairs, counts = np.unique(
        np.stack([truth.original[at], truth.labels[at]]), axis=1, return_counts=True
    )
    assert pairs.shape[1] == 6
    assert counts.min() > 25  # 50 expected; chance below one in 1e5


def test_a_matrix_says_where_labels_go_and_how_often():
    data = strokes(900, 3)
    matrix = [[0, 3, 1], [0, 5, 0], [1, 0, 0]]  # class 1 keeps its labels
    _, truth = am.plant(data, flips=200, flip=matrix)
    at = truth.mask("flip")
    new, old = truth.labels[at], truth.original[at]
    assert not (old == 1).any()
    assert set(new[old == 2]) == {0}
    assert (old == 0).sum() > 2 * (old == 2).sum()
    assert (new[old == 0] == 1).sum() > 2 * (new[old == 0] == 2).sum()
    with pytest.raises(ArgumentError, match="flips: expected at most 300"):
        am.plant(data, flips=301, flip=[[0, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_instance_flips_are_of_hard_images_to_what_they_look_like():
    train, test = am.load_digits()
    data = train + test
    _, truth = am.plant(data, flips=0.03, flip="instance", seed=1)
    at = np.flatnonzero(truth.mask("flip"))
    assert len(at) == round(0.03 * len(data))
    model = am.CNN(seed=9).fit(train.images, train.labels, verbose=0)
    probs = model.predict_proba(test.images)
    flipped = at[at >= len(train)] - len(train)
    new = truth.labels[at[at >= len(train)]]
    believable = probs[flipped, new]
    assert believable.mean() > 3 * (1 - probs[np.arange(len(test)), test.labels]).mean() / 9
    _, again = am.plant(data, flips=0.03, flip="instance", seed=1, threads=1)
    assert (again.labels == truth.labels).all()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"flips": 1.5}, ArgumentError, "share of at least 0 and below 1"),
        ({"flips": -1}, ArgumentError, "flips"),
        ({"flips": float("nan")}, ArgumentError, "flips"),
        ({"blends": "many"}, DTypeError, "blends"),
        ({"flips": 200, "noises": 101}, ArgumentError, "expected at most 300 images in all"),
        ({"flip": "unifrom"}, ArgumentError, "uniform"),
        ({"flip": [[1, 2]]}, ShapeError, r"matrix \(3, 3\)"),
        ({"flip": np.full((3, 3), np.nan)}, ArgumentError, "finite"),
        ({"flip": -np.ones((3, 3))}, ArgumentError, "none below 0"),
        ({"weights": (0.6, 0.4)}, ArgumentError, "low <= high"),
        ({"weights": 0.5}, ShapeError, "two numbers"),
        ({"morph": "wax"}, ArgumentError, "morph"),
        ({"seed": -1}, ArgumentError, "seed"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, error, text):
    with pytest.raises(error, match=text):
        am.plant(strokes(), **settings)


def test_data_that_cannot_be_planted():
    data = strokes()
    with pytest.raises(DTypeError, match=r"am\.Dataset"):
        am.plant(data.images, flips=1)
    with pytest.raises(ArgumentError, match="expected labels"):
        am.plant(am.Dataset(data.images), flips=1)
    with pytest.raises(ArgumentError, match="two classes"):
        am.plant(am.Dataset(data.images, np.zeros(len(data), int)), flips=1)
    alone = am.Dataset(data.images, np.zeros(len(data), int), classes=[0, 1])
    with pytest.raises(ArgumentError, match="another class"):
        am.plant(alone, blends=1)
    nothing, truth = am.plant(data[:0], flips=0.5)
    assert (len(nothing), len(truth)) == (0, 0)
    assert "planted: nothing" in repr(truth)


# --- the truth in a file --------------------------------------------------------------------------


@pytest.mark.parametrize("names", [None, ["=1+1", "b,\n", 'c"']])
def test_a_truth_comes_back_from_its_file(names, tmp_path):
    data = strokes(90)
    if names is not None:
        data = am.Dataset(data.images, np.array(names)[data.labels])
    _, truth = am.plant(data, flips=5, blends=6, occlusions=2, noises=2)
    truth.to_csv(tmp_path / "truth.csv")
    back = Truth.from_csv(tmp_path / "truth.csv")
    for name, column in truth._columns().items():
        np.testing.assert_array_equal(getattr(back, name), column)
        assert getattr(back, name).dtype.kind == column.dtype.kind
    _, nothing = am.plant(data[:0])
    nothing.to_csv(tmp_path / "none.csv")
    assert len(Truth.from_csv(tmp_path / "none.csv")) == 0


@pytest.mark.parametrize(
    ("line", "new", "where"),
    [
        (0, "index,kind", "line 1"),
        (1, "1,none,0,0,-1,nan,", "line 2"),
        (2, "1,lie,0,0,-1,nan,", "line 3"),
        (2, "1,none,0,0,7,nan,", "line 3"),
        (2, "1,blend,0,0,9999,0.5,pixel", "line 3"),
        (2, "1,none,0,0", "line 3"),
        (2, "1,blend,0,0,0,half,pixel", "line 3"),
    ],
)
def test_damaged_files_of_truth_are_refused(line, new, where, tmp_path):
    _, truth = am.plant(strokes(30), flips=3)
    path = tmp_path / "truth.csv"
    truth.to_csv(path)
    lines = path.read_text().splitlines()
    lines[line] = new
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=where):
        Truth.from_csv(path)


def test_files_that_are_no_truth(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "bytes").write_bytes(b"\xff\x00")
    for name in ("empty", "bytes"):
        with pytest.raises(DataError, match=name):
            Truth.from_csv(tmp_path / name)
    with pytest.raises(am.DataNotFoundError):
        Truth.from_csv(tmp_path / "absent")


# --- how images are changed -----------------------------------------------------------------------


def discs(x: list[float], size: int = 28, radius: float = 4) -> np.ndarray:
    rows, cols = np.mgrid[:size, :size]
    return np.stack([((rows - 14) ** 2 + (cols - c) ** 2 < radius**2) * 1.0 for c in x])[..., None]


def centre(image: np.ndarray) -> float:
    return float((image.sum(axis=(0, 2)) * np.arange(image.shape[1])).sum() / image.sum())


def test_an_elastic_blend_lies_between_where_a_pixel_blend_shows_both():
    a, b = discs([11.0, 11.0, 11.0]), discs([16.0, 16.0, 16.0])
    weight = np.array([0.0, 0.5, 1.0])
    elastic, pixel = _morph.elastic_blend(a, b, weight), _morph.pixel_blend(a, b, weight)
    assert [centre(x) for x in elastic] == pytest.approx([16, 13.5, 11], abs=0.6)
    assert (elastic[1] > 0.9).sum() > 2 * (pixel[1] > 0.9).sum()  # one dark disc, not two grey
    sharp = _morph.sharp_blend(a, b, weight)
    assert [centre(x) for x in sharp] == pytest.approx([16, 13.5, 11], abs=0.6)
    assert sharp.sum(axis=(1, 2, 3)) == pytest.approx(a.sum(axis=(1, 2, 3)))  # all of the ink
    assert set(np.unique(sharp)) == {0.0, 1.0}
    np.testing.assert_allclose(pixel[1], (a[1] + b[1]) / 2)
    np.testing.assert_allclose(pixel[[0, 2]], [b[0], a[2]])


def test_equal_images_stay_what_they_are():
    a = discs([14.0])
    for blend in (_morph.pixel_blend, _morph.elastic_blend, _morph.sharp_blend):
        np.testing.assert_allclose(blend(a, a, np.array([0.4])), a, atol=1e-9)


def test_a_bar_hides_most_of_the_ink_and_noise_keeps_every_pixel():
    rng = np.random.default_rng(0)
    a = am.load_digits()[1].images[:200, ..., None] / 255
    hidden = _morph.hide(a, rng)
    covered = hidden != a
    share = (a * covered).sum(axis=(1, 2, 3)) / a.sum(axis=(1, 2, 3))
    assert share.min() > 0.4
    assert share.mean() > 0.6
    for i in range(len(a)):
        assert len(np.unique(hidden[i][covered[i]])) == 1
    scattered = _morph.scatter(a, rng)
    assert (np.sort(scattered.reshape(200, -1)) == np.sort(a.reshape(200, -1))).all()
    assert ((scattered != a).sum(axis=(1, 2, 3)) > 50).all()


def test_an_image_without_ink_can_be_hidden():
    _morph.hide(np.zeros((3, 1, 1, 1)), np.random.default_rng(0))
    _morph.hide(np.zeros((3, 5, 2, 1)), np.random.default_rng(0))
    assert _morph.elastic_blend(np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), np.array([0.5])) == [
        [[[0.5]]]
    ]
