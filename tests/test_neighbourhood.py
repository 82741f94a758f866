"""Neighbours, outliers and duplicates against slow twins written from the definitions."""

from __future__ import annotations

import csv
import itertools
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import ambigmnist as am
from ambigmnist import _ambigcore as core
from ambigmnist.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from ambigmnist.evidence import NEAREST

# --- twins ----------------------------------------------------------------------------------------


def ordered_others(x: np.ndarray, i: int) -> list[tuple[float, int]]:
    """(distance, index) of all others, nearest first, ties by index."""
    x = x.astype(np.float64)
    return sorted(
        (float(np.sqrt(sum((x[i, t] - x[j, t]) ** 2 for t in range(x.shape[1])))), j)
        for j in range(len(x))
        if j != i
    )


def components(n: int, pairs) -> list[list[int]]:
    group = list(range(n))
    for a, b in pairs:
        old, new = group[a], group[b]
        group = [new if g == old else g for g in group]
    found = [[i for i in range(n) if group[i] == g] for g in set(group)]
    return sorted(g for g in found if len(g) > 1)


def naive_duplicates(images, x, near):
    """Groups of at most 11 images, by looking at all pairs."""
    n = len(x)
    equal = [
        (a, b) for a, b in itertools.combinations(range(n), 2) if (images[a] == images[b]).all()
    ]
    firsts = [i for i in range(n) if not any(b == i for _, b in equal)]
    pairs = list(equal)
    if len(firsts) > 1:
        others = [ordered_others(x[firsts], i) for i in range(len(firsts))]
        limit = near * np.median([o[min(10, len(o)) - 1][0] for o in others])
        for i, o in enumerate(others):
            for distance, j in o[:10]:
                a, b = images[firsts[i]].astype(float), images[firsts[j]].astype(float)
                contrast = max(((v - v.mean()) ** 2).sum() for v in (a, b))
                if distance <= limit and ((a - b) ** 2).sum() <= 0.15**2 * contrast * (1 + 1e-12):
                    pairs.append((firsts[i], firsts[j]))
    return components(n, pairs)


def evidence(n, labels=None, **known):
    return am.Evidence(np.ones((n, 1)), labels, **known)


def as_lists(found: am.Duplicates) -> list[list[int]]:
    return sorted(g.tolist() for g in found)


# --- hashes ---------------------------------------------------------------------------------------

GOLDEN, EULER, CIRCLE = 0x9E3779B97F4A7C15, 0xADF85458A2BB4A9B, 0x243F6A8885A308D3
MASK = 2**64 - 1


def step(h: int, word: int) -> int:
    h = (h ^ word) * GOLDEN & MASK
    return (h << 29 | h >> 35) * EULER & MASK


def naive_hash(data: bytes) -> int:
    """As csrc/data/hash.h describes it."""
    lanes = [GOLDEN, EULER, CIRCLE, GOLDEN ^ CIRCLE]
    padded = data + bytes(-len(data) % 32)
    for i in range(len(padded) // 8):
        lanes[i % 4] = step(lanes[i % 4], int.from_bytes(padded[8 * i : 8 * i + 8], "little"))
    h = len(data)
    for lane in lanes:
        h ^= lane
        h = (h ^ h >> 32) * EULER & MASK
        h = (h ^ h >> 29) * CIRCLE & MASK
        h ^= h >> 32
    return h


@given(st.lists(st.binary(min_size=0, max_size=100), max_size=5), st.integers(0, 100))
def test_hashes_are_as_documented(rows, size):
    rows = [(row + bytes(size))[:size] for row in rows]
    images = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), size)
    for threads in (1, 3):
        assert core.image_hashes(images, threads).tolist() == [naive_hash(r) for r in rows]


def test_hashes_tell_images_apart_at_any_number_of_threads():
    images = np.random.default_rng(0).integers(0, 256, (6000, 400), dtype=np.uint8)
    # single bits, also such as the lane's next word could undo
    one_bit = np.repeat(images[:1], 3200, axis=0)
    one_bit[np.arange(3200), np.arange(3200) // 8] ^= (1 << np.arange(3200) % 8).astype(np.uint8)
    images[:3200] = one_bit
    hashes = core.image_hashes(images, 1)
    assert len(set(hashes.tolist())) == 6000
    assert all((core.image_hashes(images, t) == hashes).all() for t in (2, 3, 7))
    changed = np.unpackbits((hashes[:3200] ^ hashes[4000]).view(np.uint8)).mean()
    assert 0.48 < changed < 0.52


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (np.zeros((2, 3), np.float32), DTypeError),
        (np.zeros(3, np.uint8), ShapeError),
        ([[1]], DTypeError),
    ],
)
def test_hashes_refuse_what_is_no_image(images, error):
    with pytest.raises(error, match="images"):
        core.image_hashes(images, 1)


def colliding_images() -> np.ndarray:
    """Different images with the same hash: what one word changes, the lane's next one undoes."""
    a = np.random.default_rng(1).integers(0, 256, 64, dtype=np.uint8)
    words = a.view("<u8").copy()
    changed = words.copy()
    changed[0] ^= np.uint64(1)
    before, after = step(GOLDEN, int(words[0])), step(GOLDEN, int(changed[0]))
    changed[4] = np.uint64(int(words[4]) ^ before ^ after)
    return np.stack([a, changed.view(np.uint8)]).reshape(2, 8, 8)


def test_images_with_the_same_hash_are_compared():
    pair = colliding_images()
    hashes = core.image_hashes(pair.reshape(2, 64), 1)
    assert hashes[0] == hashes[1]
    images = pair[[0, 1, 1, 0, 1]]
    found = am.duplicates(evidence(5, images=images))
    assert as_lists(found) == [[0, 3], [1, 2, 4]]


def test_embeddings_of_any_magnitude_have_the_same_duplicates():
    x = np.random.default_rng(3).normal(size=(40, 4))
    x[[7, 21]] = x[[3, 30]] + 1e-6
    for unit in (1, 2.0**-900, 2.0**900):
        found = am.duplicates(evidence(40, embeddings=x * unit), near=0.01)
        assert as_lists(found) == [[3, 7], [21, 30]]


def test_embeddings_whose_distances_are_beyond_float64_are_refused():
    x = np.random.default_rng(3).choice([-1.0, 1.0], (40, 4)) * np.finfo(float).max
    with pytest.raises(am.ArgumentError, match="divide them by 4"):
        am.duplicates(evidence(40, embeddings=x), near=0.01)


# --- neighbour_disagreement -----------------------------------------------------------------------


@given(
    st.integers(0, 30),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_neighbour_disagreement_is_a_share_of_the_ten_nearest(n, d, k, dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (n, d)).astype(dtype)  # with many ties
    labels = rng.integers(0, k, n)  # some class may be missing
    ev = am.Evidence(np.full((n, k), 1 / k), labels, embeddings=x)
    expected = []
    for i in range(n):
        nearest = [j for _, j in ordered_others(x, i)[:10]]
        expected.append(np.mean([labels[j] != labels[i] for j in nearest]) if nearest else 0.0)
    scores = ev.score("neighbour_disagreement")
    assert scores.tolist() == expected
    assert ((scores >= 0) & (scores <= 1)).all()


def test_neighbour_disagreement_points_at_the_wrong_label():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (20, 2)), rng.normal(100, 1, (20, 2))])
    labels = np.repeat(["b", "a"], 20)
    labels[7] = "a"
    ev = am.Evidence(np.full((40, 2), 0.5), labels, classes=["b", "a"], embeddings=x)
    ranking = am.rank(ev, "neighbour_disagreement", k=1)
    assert ranking.indices.tolist() == [7]
    assert ranking.scores.tolist() == [1.0]
    assert ev.score("neighbour_disagreement")[0] <= 0.1
    assert (ev.score("neighbour_disagreement")[20:] == 0).all()


def test_known_neighbours_are_taken_and_stay_those_of_the_whole():
    nearest = np.zeros((4, 10), NEAREST)
    nearest["index"] = 99
    nearest["label"] = [[0] * 10, [1] * 10, [0, 1] * 5, [1] * 9 + [0]]
    ev = am.Evidence(np.eye(2)[[0, 0, 1, 1]], [0, 0, 1, 1], nearest=nearest)
    expected = [0.0, 1.0, 0.5, 0.1]
    assert ev.score("neighbour_disagreement").tolist() == expected
    for i in range(4):
        assert ev[i : i + 1].score("neighbour_disagreement").tolist() == expected[i : i + 1]
    both = am.Evidence(ev.probs, ev.labels, nearest=nearest, embeddings=np.zeros((4, 1)))
    assert both.score("neighbour_disagreement").tolist() == expected
    assert both.nearest_others(2)["index"].tolist() == [[99, 99]] * 4
    assert both[:2].nearest_others(5, np.array([1]))["label"].tolist() == [[1] * 5]


def test_nearest_is_known_where_embeddings_are():
    ev = evidence(3, [0, 0, 0], embeddings=np.eye(3))
    assert ev.has("nearest")
    assert ev.nearest is None
    assert "nearest" not in repr(ev)
    assert not evidence(3).has("nearest")
    assert ev.nearest_others(0).shape == (3, 0)
    assert evidence(3, embeddings=np.eye(3)).nearest_others()["label"].tolist() == [[-1, -1]] * 3
    with pytest.raises(ValueError, match="read-only"):
        ev.nearest_others()["label"][0] = 1


def test_what_lacks_neighbours_says_so():
    with pytest.raises(ArgumentError, match=r"needs nearest.*pass nearest= or embeddings="):
        evidence(3, [0, 0, 0]).score("neighbour_disagreement")
    with pytest.raises(ArgumentError, match="needs labels"):
        evidence(3, embeddings=np.eye(3)).score("neighbour_disagreement")
    with pytest.raises(ArgumentError, match="this needs them"):
        evidence(3).nearest_others()
    few = evidence(30, nearest=np.zeros((30, 2), NEAREST))
    with pytest.raises(ArgumentError, match=r"expected at most 2.*got 3"):
        few.nearest_others(3)
    with pytest.raises(ArgumentError, match="k: expected at least 0"):
        few.nearest_others(-1)


# --- outliers -------------------------------------------------------------------------------------


@given(st.integers(0, 20), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_outliers_are_far_from_their_nearest(n, neighbours, seed):
    x = np.random.default_rng(seed).integers(0, 5, (n, 2)).astype(np.float64)
    ranking = am.outliers(evidence(n, embeddings=x), neighbours=neighbours)
    expected = np.zeros(n)
    for i in range(n):
        nearest = [d for d, _ in ordered_others(x, i)[:neighbours]]
        expected[i] = sum(nearest) / len(nearest) if nearest else 0.0
    assert ranking.indices.tolist() == sorted(range(n), key=lambda i: (-expected[i], i))
    assert ranking.scores.tolist() == expected[ranking.indices].tolist()


def test_outliers_are_those_of_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors", reason="machine: no scikit-learn")
    x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    far, _ = neighbors.NearestNeighbors(n_neighbors=10).fit(x).kneighbors()
    ranking = am.outliers(evidence(300, embeddings=x), k=20)
    assert np.allclose(ranking.scores, np.sort(far.mean(axis=1))[::-1][:20], rtol=1e-6)
    assert ranking.indices.tolist() == np.argsort(-far.mean(axis=1))[:20].tolist()


def test_outliers_rank_like_any_definition():
    x = np.array([[0.0], [1.0], [2.0], [50.0]])
    ranking = am.outliers(evidence(4, embeddings=x), k=2, neighbours=1)
    assert ranking.indices.tolist() == [3, 0]
    assert ranking.score_of(1) == 1.0
    assert "mean distance to the 1 nearest" in repr(ranking)
    assert pickle.loads(pickle.dumps(ranking)).indices.tolist() == [3, 0]
    nearest = np.zeros((4, 2), NEAREST)
    nearest["distance"] = [[1, 2], [1, 3], [5, 5], [0, 0]]
    known = am.outliers(evidence(4, nearest=nearest), neighbours=2)
    assert known.indices.tolist() == [2, 1, 0, 3]
    with pytest.raises(ArgumentError, match="at least 1"):
        am.outliers(evidence(4, embeddings=x), neighbours=0)
    with pytest.raises(ArgumentError, match="needs nearest"):
        am.outliers(evidence(4))


# --- the labels around ----------------------------------------------------------------------------


@pytest.fixture
def line():
    x = np.array([[0.0], [1.0], [2.0], [3.0], [9.0]])
    images = np.arange(5 * 64, dtype=np.int64).reshape(5, 8, 8) % 256
    return am.Evidence(np.eye(2)[[0, 0, 0, 1, 1]], [0, 1, 0, 0, 1], embeddings=x, images=images)


def test_neighbour_labels_in_the_order_asked_for(line):
    every = am.neighbour_labels(line, k=3)
    assert every.images.tolist() == [0, 1, 2, 3, 4]
    some = am.neighbour_labels(line, [4, 1, 4], k=3)
    assert some.images.tolist() == [4, 1, 4]
    assert some.given.tolist() == [1, 1, 1]
    assert some.predicted.tolist() == [1, 0, 1]
    assert some.indices.tolist() == [[3, 2, 1], [0, 2, 3], [3, 2, 1]]
    assert some.labels.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert some.distances.tolist() == [[6, 7, 8], [1, 1, 2], [6, 7, 8]]
    assert some.disagreement.tolist() == [2 / 3, 1, 2 / 3]
    assert some.text(0) == "0 0 1"
    assert len(some) == 3
    for name in ("indices", "distances", "labels", "disagreement"):
        assert (getattr(some, name) == getattr(every, name)[[4, 1, 4]]).all()


def test_neighbour_labels_of_what(line):
    mask = np.array([False, True, False, False, True])
    assert am.neighbour_labels(line, mask).images.tolist() == [1, 4]
    assert am.neighbour_labels(line, 3, k=2).text(0) == "0 1"
    assert am.neighbour_labels(line, []).labels.shape == (0, 4)
    ranking = am.rank(line, "confident_wrong", k=2)
    assert am.neighbour_labels(line, ranking).images.tolist() == ranking.indices.tolist()
    assert am.neighbour_labels(line, 0, k=99).labels.shape == (1, 4)
    for bad, error in (
        ([5], ArgumentError),
        ([-1], ArgumentError),
        ([0.5], DTypeError),
        (mask[:3], ShapeError),
        ([[1]], ShapeError),
        (am.rank(line[:2]), ShapeError),
    ):
        with pytest.raises(error, match="where"):
            am.neighbour_labels(line, bad)
    with pytest.raises(ArgumentError, match="labels"):
        am.neighbour_labels(evidence(3, embeddings=np.eye(3)))
    with pytest.raises(ArgumentError, match="embeddings"):
        am.neighbour_labels(evidence(3, [0, 0, 0]))


def test_neighbour_labels_are_shown(line):
    found = am.neighbour_labels(line, [1])
    assert repr(found).splitlines()[-1].split() == ["1", "1", "0", "0", "0", "0", "1"]
    assert "0 0 0 1" in found._repr_html_()
    assert "more" in repr(am.neighbour_labels(line, [0] * 13))
    titles = [cell.get_title() for cell in found.gallery().axes[0].child_axes]
    assert titles == ["1 (0->1)", "0 (0->0)", "2 (0->0)", "3 (1->0)", "4 (1->1)"]
    nearest = line.nearest_others(4)
    elsewhere = am.Evidence(line.probs, line.labels, images=line.images, nearest=nearest)
    assert am.neighbour_labels(elsewhere, [1]).text(0) == "0 0 0 1"
    with pytest.raises(ArgumentError, match="audit"):
        am.neighbour_labels(elsewhere, [1]).gallery()


# --- duplicates -----------------------------------------------------------------------------------


@given(st.integers(0, 14), st.integers(1, 3), st.booleans(), st.integers(0, 2**32 - 1))
def test_equal_images_are_found(n, side, is_float, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 2, (n, side, side)).astype(np.float32 if is_float else np.uint8)
    if is_float:
        images[rng.random(images.shape) < 0.2] *= -0.0  # equal to 0, of other bytes
    expected = components(
        n,
        [(a, b) for a, b in itertools.combinations(range(n), 2) if (images[a] == images[b]).all()],
    )
    for layout in (images, np.asfortranarray(images), images[::-1].copy()[::-1]):
        found = am.duplicates(evidence(n, images=layout))
        assert as_lists(found) == expected
        assert found.kind.tolist() == ["exact"] * len(found)
        assert found.distance.tolist() == [0.0] * len(found)
        assert found.threshold is None


@given(st.integers(1, 11), st.integers(0, 2**32 - 1), st.sampled_from([1e-20, 1.0, 1e12]))
def test_near_duplicates_are_those_of_all_pairs(n, seed, scale):
    """And the unit of the embeddings and the order of the images do not matter."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 4, n)
    images = rng.integers(0, 256, (4, 4, 4))[kinds] + rng.integers(-1, 2, (n, 4, 4)) * rng.integers(
        0, 20, (n, 1, 1)
    )
    images = images.clip(0, 255).astype(np.uint8)
    copies = rng.random(n) < 0.3
    images[copies] = images[0]
    x = images.reshape(n, -1).astype(np.float64)
    for near in (None, 0.2, 2.0):
        expected = naive_duplicates(images, x, 0.5 if near is None else near)
        found = am.duplicates(evidence(n, images=images, embeddings=x * scale), near=near)
        assert as_lists(found) == expected
        for group, kind, distance in zip(found, found.kind, found.distance, strict=True):
            same = (images[group] == images[group[0]]).all()
            assert kind == ("exact" if same else "near")
            assert (distance == 0) == same
    order = rng.permutation(n)
    turned = am.duplicates(evidence(n, images=images[order], embeddings=x[order]), near=2.0)
    assert sorted(sorted(order[g].tolist()) for g in turned) == expected


def test_near_duplicates_are_near_to_the_eye_too():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 10, 10)) * (rng.random((30, 10, 10)) < 0.2)
    images[20] = images[3] + rng.normal(0, 5, (10, 10))  # a noisy copy
    images[21] = 0.9 * images[4]  # a dimmed one
    images[22] = 7  # flat, and
    images[23] = 8  # flat, and not equal
    images = images.clip(0, 255).astype(np.uint8)
    x = rng.normal(size=(30, 5))
    x[[20, 21, 23]] = x[[3, 4, 22]] + 1e-3
    x[25] = x[5] + 1e-3  # alike to the network alone
    labels = np.zeros(30, int)
    labels[21] = 1
    probs = np.full((30, 2), 0.5)
    both = am.duplicates(am.Evidence(probs, labels, images=images, embeddings=x))
    assert as_lists(both) == [[3, 20], [4, 21]]
    assert both.kind.tolist() == ["near", "near"]
    assert both.disagree.tolist() == [4 in g for g in both]
    assert both.threshold > 0
    alone = am.duplicates(am.Evidence(probs, embeddings=x))
    assert as_lists(alone) == [[3, 20], [4, 21], [5, 25], [22, 23]]
    assert alone.disagree is None
    assert as_lists(am.duplicates(am.Evidence(probs, images=images, embeddings=x), near=0)) == []


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("known", ["images", "embeddings", "both"])
def test_few_images_have_no_duplicates(n, known):
    fields = {"images": np.zeros((n, 2, 2), np.uint8), "embeddings": np.zeros((n, 3))}
    chosen = fields if known == "both" else {known: fields[known]}
    found = am.duplicates(evidence(n, np.zeros(n, int), **chosen))
    assert len(found) == 0
    assert list(found) == []
    assert found.distance.shape == found.kind.shape == found.disagree.shape == (0,)
    assert f"0 groups of {n} images" in repr(found)
    assert "0 groups" in found._repr_html_()
    if n and known != "embeddings":
        assert len(found.gallery().axes[0].texts) == 1  # no images to show


@pytest.mark.parametrize("known", ["images", "embeddings", "both"])
def test_thousands_of_the_same_image_are_one_group(known):
    """In time and memory of n: the nearest of each are the first ones, which link them all."""
    n = 10_000
    fields = {"images": np.full((n, 4, 4), 9, np.uint8), "embeddings": np.ones((n, 64))}
    chosen = fields if known == "both" else {known: fields[known]}
    found = am.duplicates(evidence(n, **chosen))
    assert [len(g) for g in found] == [n]
    assert found.kind.tolist() == ["near" if known == "embeddings" else "exact"]
    assert found.distance.tolist() == [0.0]
    assert "... 9994 more" in repr(found)


def test_many_copies_do_not_hide_a_near_one():
    """Copies do not fill the list of the nearest, and do not make the typical distance 0."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 6, 6), dtype=np.uint8)
    images[:20] = images[0]
    images[59] = images[0] ^ 1
    x = images.reshape(60, -1).astype(np.float32)
    assert as_lists(am.duplicates(evidence(60, images=images, embeddings=x))) == [[*range(20), 59]]


def split_evidence():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 5, 5), dtype=np.uint8)
    images[[3, 6]] = images[0]  # train train test
    images[4] = images[1]  # train train
    images[8] = images[5] ^ 1  # train other, nearly
    split = ["train"] * 6 + ["test"] * 2 + ["other"]
    labels = ["a", "=b", "a", "a", "=b", "a", "=b", "a", "a"]
    return am.Evidence(
        np.tile([0.75, 0.25], (9, 1)),
        labels,
        classes=["a", "=b"],
        images=images,
        embeddings=images.reshape(9, -1).astype(float),
        split=split,
    )


def test_across_tells_what_is_in_both_splits():
    found = am.duplicates(split_evidence())
    assert [g.tolist() for g in found] == [[0, 3, 6], [1, 4], [5, 8]]
    assert found.kind.tolist() == ["exact", "exact", "near"]
    assert found.disagree.tolist() == [True, False, False]
    assert as_lists(found.across()) == [[0, 3, 6]]
    assert as_lists(found.across("test", "train")) == [[0, 3, 6]]
    nearly = found.across("train", "other")
    assert as_lists(nearly) == [[5, 8]]
    assert nearly.distance.tolist() == found.distance[2:].tolist()
    assert len(found.across("test", "other")) == 0
    with pytest.raises(ArgumentError, match="no split 'tset': did you mean 'test'"):
        found.across("train", "tset")
    with pytest.raises(ArgumentError, match="twice"):
        found.across("train", "train")
    with pytest.raises(ArgumentError, match="split"):
        am.duplicates(evidence(2, images=np.zeros((2, 2, 2)))).across()


def test_images_of_other_splits_are_left_out():
    images = np.zeros((4, 2, 2), np.uint8)
    found = am.duplicates(evidence(4, images=images, split=["a", "b", "c", "a"]))
    assert as_lists(found.across("a", "c")) == [[0, 2, 3]]


def test_groups_are_chosen_by_index_slice_and_mask():
    found = am.duplicates(split_evidence())
    assert found[-1].tolist() == [5, 8]
    assert as_lists(found[:2]) == [[0, 3, 6], [1, 4]]
    assert as_lists(found[found.disagree]) == [[0, 3, 6]]
    assert found[[2]].kind.tolist() == ["near"]
    with pytest.raises(OutOfRangeError):
        found[3]


def test_duplicates_are_shown_side_by_side():
    found = am.duplicates(split_evidence())
    lines = repr(found).splitlines()
    assert lines[0] == "Duplicates: 3 groups of 9 images: 2 exact, 1 near; 1 with several labels"
    assert lines[2].split() == ["exact", "0", "0", "3", "6", "a", "a", "=b"]
    assert "<td>a a =b</td>" in found._repr_html_()
    titles = [cell.get_title() for cell in found.gallery(cols=2).axes[0].child_axes]
    # the first image and the first with another label, or the second
    assert titles == [
        "0 (a->a)",
        "6 (a->=b)",
        "1 (a->=b)",
        "4 (a->=b)",
        "5 (a->a)",
        "8 (a->a)",
    ]
    assert len(found.gallery(rows=1, cols=1).axes[0].child_axes) == 2
    with pytest.raises(ArgumentError, match="cols"):
        found.gallery(cols=0)
    many = am.duplicates(
        evidence(40, images=np.arange(40)[:, None, None] // 2 * np.ones((1, 2, 2), int))
    )
    assert len(many) == 20
    assert "... 9 more" in repr(many)


def test_duplicates_are_written(tmp_path):
    found = am.duplicates(split_evidence())
    found.to_csv(tmp_path / "duplicates.csv")
    rows = list(csv.reader((tmp_path / "duplicates.csv").read_text().splitlines()))
    assert rows[0] == ["group", "kind", "distance", "index", "split", "given", "predicted"]
    assert rows[1] == ["1", "exact", "0.0", "0", "train", "a", "a"]
    assert rows[3] == ["1", "exact", "0.0", "6", "test", "'=b", "a"]
    assert [float(row[2]) for row in rows[1:]] == np.repeat(found.distance, [3, 2, 2]).tolist()
    am.duplicates(evidence(1, images=np.zeros((1, 2, 2)))).to_csv(tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == "group,kind,distance,index,predicted\n"


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: am.duplicates(evidence(2)), ArgumentError, "images or embeddings"),
        (lambda: am.duplicates(np.ones((2, 1))), DTypeError, "Evidence"),
        (lambda: am.duplicates(evidence(2, embeddings=np.eye(2)), near=-1), ArgumentError, "near"),
        (
            lambda: am.duplicates(evidence(2, embeddings=np.eye(2)), near=float("nan")),
            ArgumentError,
            "near",
        ),
        (lambda: am.duplicates(evidence(2, embeddings=np.eye(2)), near="1"), DTypeError, "near"),
        (lambda: am.duplicates(evidence(2, embeddings=np.eye(2)), near=True), DTypeError, "near"),
    ],
)
def test_bad_arguments_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.fixture
def _threads_as_before():
    yield
    am.set_num_threads(None)


@pytest.mark.usefixtures("_threads_as_before")
def test_any_number_of_threads_gives_the_same():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (700, 4)).astype(np.float32)
    results = []
    for threads in (1, 2, 5):
        am.set_num_threads(threads)
        ev = evidence(700, np.zeros(700, int), embeddings=x)
        found = am.duplicates(ev)
        results.append(
            (
                as_lists(found),
                found.distance.tobytes(),
                am.outliers(ev, neighbours=12).scores.tobytes(),
                ev.score("neighbour_disagreement").tobytes(),
            )
        )
    assert results[0] == results[1] == results[2]


@pytest.mark.mnist
def test_copies_planted_into_mnist_are_found_and_nothing_else():
    _, test = am.load_mnist()
    images = test.images[:3000]
    rng = np.random.default_rng(0)
    which = rng.choice(3000, 60, replace=False)
    copies = images[which].astype(float)
    copies[20:40] += rng.normal(0, 5, (20, 28, 28))
    copies[40:] *= 0.9
    images = np.concatenate([images, copies.clip(0, 255).astype(np.uint8)])
    pooled = images.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(-1, 49)
    found = am.duplicates(
        evidence(3060, images=images, embeddings=pooled, split=["test"] * 3000 + ["copy"] * 60)
    )
    expected = [[w, 3000 + i] for i, w in enumerate(which.tolist())]
    assert as_lists(found) == sorted(expected)
    assert (found.kind == "exact").sum() == 20
    assert as_lists(found.across("test", "copy")) == sorted(expected)
