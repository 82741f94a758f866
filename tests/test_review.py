"""Review files: what is refused, what is kept, applying and taking back, and merging."""

import copy
import hashlib
import json
from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import review_files
from hypothesis import given
from sklearn.metrics import cohen_kappa_score

import ambigmnist as am
from ambigmnist.errors import ArgumentError, DataError, DataNotFoundError, DTypeError
from ambigmnist.review import Decision, Pin, Review, sample_weight, soft_labels
from ambigmnist.review.file import VERDICTS

AT = "2026-01-31T12:00:00Z"


def dataset(n=12, classes=(0, 1, 2, 3), seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 4, 4), dtype=np.uint8)
    return am.Dataset(images, np.array(classes)[np.arange(n) % len(classes)], classes=classes)


def decision(index, given, verdict="keep", labels=None, **more):
    if labels is None:
        labels = {
            "keep": (given,),
            "relabel": ((given + 1) % 4,),
            "ambiguous": (given, (given + 2) % 4),
        }
        labels = labels.get(verdict, ())
    return Decision(index, given, verdict, tuple(labels), at=AT, **more)


def review(data, *decisions, who="me"):
    return Review(Pin.of(data), who, tuple(decisions))


@st.composite
def reviews(draw):
    """A data set and decisions of every kind about it."""
    data = dataset(draw(st.integers(1, 12)), seed=draw(st.integers(0, 99)))
    numbers = data.labels.tolist()
    indices = draw(st.lists(st.integers(0, len(data) - 1), unique=True))
    return data, review(
        data, *(decision(i, numbers[i], draw(st.sampled_from(VERDICTS))) for i in sorted(indices))
    )


# --- files ----------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_was_written(tmp_path):
    data = dataset()
    made = review(
        data,
        decision(0, 0, note="a <script> \u202e \U0001f600", ms=12, blind=True),
        decision(1, 1, "relabel"),
        decision(5, 1, "ambiguous", weights=(0.75, 0.25)),
        decision(7, 3, "unreadable", control=True),
    )
    made = replace(
        made, history=(decision(1, 1).to_json() | {"undone": True},), more={"tool": {"x": 1}}
    )
    made.save(tmp_path / "a.json")
    read = am.load_review(tmp_path / "a.json")
    assert read == made
    read.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read.counts() == {"keep": 1, "relabel": 1, "ambiguous": 1, "unreadable": 1, "skip": 0}
    assert "4 of 12 images by me: 1 keep" in repr(read)
    assert "&lt;script&gt;" in read._repr_html_()


def test_fields_that_are_not_known_are_kept(tmp_path):
    path = tmp_path / "r.json"
    raw = review(dataset(), decision(2, 2)).to_json()
    raw["mood"] = "good"
    raw["decisions"][0]["tired"] = True
    path.write_text(json.dumps(raw))
    assert am.load_review(path).to_json() == raw


def test_decisions_are_by_index(tmp_path):
    path = tmp_path / "r.json"
    raw = review(dataset(), decision(2, 2), decision(1, 1)).to_json()
    path.write_text(json.dumps(raw))
    assert [d.index for d in am.load_review(path).decisions] == [1, 2]


def test_the_pin_is_that_of_idx_files(tmp_path):
    data = dataset()
    am.save_idx(data.images, tmp_path / "images")
    am.save_idx(data.labels, tmp_path / "labels")
    pin = Pin.of(data)
    for file, digest in (("images", pin.images_sha256), ("labels", pin.labels_sha256)):
        assert hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() == digest
    named = am.Dataset(data.images, np.array(list("abcd"))[data.labels], classes=list("abcd"))
    assert Pin.of(named).labels_sha256 == pin.labels_sha256
    assert Pin.of(named).classes == ("a", "b", "c", "d")


def _set(key, value):
    """A change of a file: `key` as a.b.0.c becomes `value`, or is taken away."""

    def change(raw):
        *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
        for part in path:
            raw = raw[part]
        if value is ...:
            del raw[last]
        else:
            raw[last] = value

    return change


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("schema", "other", "schema: expected 'ambigmnist.review'"),
        ("version", 2, "at most 1: update ambigmnist, got 2"),
        ("version", 0, "at least 1"),
        ("version", True, "version"),
        ("dataset", ..., "dataset: expected an object, got nothing"),
        ("dataset.n", -1, r"dataset\.n"),
        ("dataset.n", 2, r"decisions\[1\]\.index: expected 0\.\.1, got 2"),
        ("dataset.shape", ["a"], r"dataset\.shape"),
        ("dataset.classes", ["a", "a", "b", "c"], "each once"),
        ("dataset.images_sha256", "12", "64 hexadecimal digits"),
        ("reviewer", "x" * 201, "200 characters"),
        ("reviewer", ..., "reviewer"),
        ("decisions", {}, "decisions: expected a list"),
        ("decisions.0", 3, r"decisions\[0\]: expected an object, got 3"),
        ("decisions.0.index", 12, r"0\.\.11, got 12"),
        ("decisions.0.index", 1.0, "whole number"),
        ("decisions.0.index", 2, r"decisions\[1\]\.index: expected another image"),
        ("decisions.0.given", 4, "places in the 4 classes, got 4"),
        ("decisions.0.verdict", "wrong", "keep, relabel, ambiguous"),
        ("decisions.0.verdict", ["keep"], "keep, relabel, ambiguous"),
        ("decisions.0.labels", [1], r"labels: expected \[0\], the label that is kept"),
        ("decisions.1.labels", [2], "one label other than 2"),
        ("decisions.2.labels", [1], "two or more"),
        ("decisions.2.labels", [1, 1], "two or more"),
        ("decisions.2.weights", [0.5, 0.6], "summing to 1"),
        ("decisions.2.weights", [1], "summing to 1"),
        ("decisions.0.weights", [1], "ambiguous image"),
        ("decisions.0.note", "x" * 2001, "2000 characters"),
        ("decisions.0.blind", 1, "true or false"),
        ("decisions.0.ms", -1, "milliseconds"),
        ("decisions.0.at", "yesterday", "2026-01-31T12:00:00Z"),
        ("decisions.0.at", "2026-01-31T12:00:00", "2026-01-31T12:00:00Z"),
        ("history", [{}], r"history\[0\]\.index"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_named(tmp_path, key, value, words):
    data = dataset()
    raw = review(
        data, decision(0, 0), decision(2, 2, "relabel"), decision(5, 1, "ambiguous")
    ).to_json()
    _set(key, value)(raw)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=words) as error:
        am.load_review(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b'{"schema": NaN}', b"\xff\xfe", b"[" * 100_000, b'"review"'],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected"):
        am.load_review(path)
    with pytest.raises(DataNotFoundError):
        am.load_review(tmp_path / "none.json")


@given(reviews(), st.data())
def test_a_file_cut_short_is_refused(tmp_path_factory, made, data):
    path = tmp_path_factory.mktemp("cut") / "r.json"
    made[1].save(path)
    content = path.read_bytes().rstrip()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(DataError):
        am.load_review(path)


# --- applying -------------------------------------------------------------------------------------


@given(reviews(), st.integers(0, 2**32 - 1))
def test_applying_is_idempotent_and_reversible(made, seed):
    data, judged = made
    after = am.apply_review(data, judged)
    expected = data.labels.copy()
    for d in judged.decisions:
        if d.verdict == "relabel":
            expected[d.index] = d.labels[0]
    assert after.labels.tolist() == expected.tolist()
    assert after.images is data.images or np.shares_memory(after.images, data.images)
    assert am.apply_review(after, judged).labels.tolist() == expected.tolist()
    assert am.apply_review(after, judged, undo=True).labels.tolist() == data.labels.tolist()
    assert am.apply_review(data, judged, undo=True).labels.tolist() == data.labels.tolist()
    # Nor does it matter if some of the decisions were applied already.
    some = np.random.default_rng(seed).random(len(data)) < 0.5
    partly = am.Dataset(data.images, np.where(some, expected, data.labels), classes=data.classes)
    assert am.apply_review(partly, judged).labels.tolist() == expected.tolist()


def test_names_and_splits_stay():
    data = dataset()
    named = am.Dataset(
        data.images, np.array(list("abcd"))[data.labels], classes=list("dcba"), name="x",
        split=["train"] * 6 + ["test"] * 6,
    )  # fmt: skip
    after = am.apply_review(named, review(named, decision(0, 3, "relabel", (1,))))
    assert after.labels[0] == "c"
    assert (after.labels[1:] == named.labels[1:]).all()
    assert (after.name, after.split.tolist()) == (named.name, named.split.tolist())
    assert after.classes.tolist() == list("dcba")


def test_other_data_are_refused():
    data = dataset()
    judged = review(data, decision(1, 1, "relabel"), decision(2, 2))
    images = data.images.copy()
    images[3, 0, 0] ^= 1
    labels = data.labels.copy()
    labels[3] = 0
    kept = data.labels.copy()
    kept[2] = 0
    for other, words in (
        (am.Dataset(images, data.labels), "SHA-256 of the images"),
        (am.Dataset(data.images, labels), "labels that were reviewed"),
        (am.Dataset(data.images, kept), "image 2: expected label 2, as it was reviewed"),
        (data[:-1], "number of images is 11, not 12"),
        (am.Dataset(data.images, data.labels, classes=range(6)), "the classes"),
        (am.Dataset(data.images), "labels"),
    ):
        for apply in (am.apply_review, soft_labels, sample_weight):
            with pytest.raises(ArgumentError, match=words):
                apply(other, judged)
    with pytest.raises(DTypeError, match="load_review"):
        am.apply_review(data, "review.json")
    with pytest.raises(DTypeError, match="Dataset"):
        am.apply_review(data.images, judged)


def test_soft_labels_and_weights():
    data = dataset()
    judged = review(
        data, decision(0, 0, "relabel"), decision(1, 1, "ambiguous", (3, 1), weights=(0.75, 0.25)),
        decision(2, 2, "ambiguous", (0, 2)), decision(3, 3, "unreadable"), decision(4, 0, "skip"),
    )  # fmt: skip
    soft = soft_labels(data, judged)
    assert soft[:5].tolist() == [
        [0, 1, 0, 0], [0, 0.25, 0, 0.75], [0.5, 0, 0.5, 0], [0.25] * 4, [1, 0, 0, 0],
    ]  # fmt: skip
    assert (soft[5:] == np.eye(4)[data.labels[5:]]).all()
    weights = sample_weight(data, judged, ambiguous=0.5)
    assert weights.tolist() == [1, 0.5, 0.5, 0] + [1] * 8
    with pytest.raises(ArgumentError, match="ambiguous: expected a weight"):
        sample_weight(data, judged, ambiguous=-1)


def test_a_network_learns_what_was_decided():
    train, _ = am.load_digits()
    numbers = train.labels.tolist()
    judged = Review(Pin.of(train), "me", (decision(3, numbers[3], "unreadable", ()),))
    model = am.CNN(epochs=1)
    model.fit(train.images, soft_labels(train, judged), sample_weight=sample_weight(train, judged))
    assert model.predict(train.images).shape == (len(train),)


# --- merging --------------------------------------------------------------------------------------


def test_what_people_agree_on():
    data = dataset()
    a = review(data, decision(0, 0), decision(1, 1, "relabel", note="mine"), decision(2, 2, "skip"),
               decision(3, 3, "ambiguous", (3, 0), weights=(0.5, 0.5)),
               decision(4, 0, "unreadable"), who="a")  # fmt: skip
    b = review(data, decision(0, 0, "relabel"), decision(1, 1, "relabel"), decision(2, 2),
               decision(3, 3, "ambiguous", (0, 3), weights=(0.8, 0.2)), who="b")  # fmt: skip
    merged = am.merge_reviews([a, b])
    assert merged.conflicts.tolist() == [0]
    assert [who for who, _ in merged.opinions[0]] == ["a", "b"]
    assert {d.index: d.verdict for d in merged.review.decisions} == {
        1: "relabel", 2: "keep", 3: "ambiguous", 4: "unreadable",
    }  # fmt: skip
    both = merged.review.decisions[2]
    assert both.labels == (0, 3)
    assert both.weights == pytest.approx((0.65, 0.35))
    assert merged.review.decisions[0].note == "mine"
    assert (merged.both, merged.agreement) == (3, pytest.approx(2 / 3))
    assert "1 in conflict" in repr(merged)
    assert "keep 0" in repr(merged)
    assert am.apply_review(data, merged.review).labels[1] == 2


def test_the_later_decision_of_one_person_counts():
    data = dataset()
    old = review(data, replace(decision(0, 0), at="2026-01-01T00:00:00Z"))
    new = review(data, replace(decision(0, 0, "unreadable"), at="2026-01-01T03:00:00+02:00"))
    for pair in ([old, new], [new, old]):
        merged = am.merge_reviews(pair)
        assert merged.reviewers == ("me",)
        assert merged.review.decisions[0].verdict == "unreadable"


def naive_fleiss(table):
    """From the paper, with loops."""
    people = len(table[0])
    categories = {c for row in table for c in row}
    counts = [Counter(row) for row in table]
    agree = [sum(c[k] * (c[k] - 1) for k in categories) / (people * (people - 1)) for c in counts]
    shares = {k: sum(c[k] for c in counts) / (len(table) * people) for k in categories}
    chance = sum(share**2 for share in shares.values())
    return (sum(agree) / len(agree) - chance) / (1 - chance)


@given(st.integers(2, 4), st.lists(st.integers(0, 3), min_size=48, max_size=48))
def test_kappa(people, said):
    data = dataset()
    table = np.array(said).reshape(4, 12)[:people].T
    if len(np.unique(table)) == 1:
        return
    given_labels = data.labels.tolist()
    columns = [
        [
            decision(i, given_labels[i], "keep" if c == given_labels[i] else "relabel", (int(c),))
            for i, c in enumerate(column)
        ]
        for column in table.T
    ]
    merged = am.merge_reviews([review(data, *said, who=str(j)) for j, said in enumerate(columns)])
    assert merged.both == 12
    alike = [len(set(row)) == 1 for row in table.tolist()]
    assert merged.agreement == pytest.approx(np.mean(alike))
    assert merged.conflicts.tolist() == np.flatnonzero(~np.array(alike)).tolist()
    expected = cohen_kappa_score(*table.T) if people == 2 else naive_fleiss(table.tolist())
    assert merged.kappa == pytest.approx(expected, nan_ok=True)


def test_what_cannot_be_merged():
    data, other = dataset(), dataset(seed=1)
    with pytest.raises(ArgumentError, match="at least one"):
        am.merge_reviews([])
    with pytest.raises(DTypeError, match=r"reviews\[1\]: expected a Review, got str"):
        am.merge_reviews([review(data), "r.json"])
    with pytest.raises(ArgumentError, match=r"reviews\[1\]: expected a review of the data"):
        am.merge_reviews([review(data), review(other)])
    empty = am.merge_reviews([review(data), review(data, who="b")])
    assert len(empty) == len(empty.review) == empty.both == 0
    assert np.isnan(empty.kappa)
    assert "0 in conflict" in repr(empty)


def test_the_table_that_the_page_shares(tmp_path):
    """The same files are good and bad for the page (tests/browser)."""
    _, test = am.load_digits()
    labels = np.asarray(test.labels).tolist()
    good = review_files.sound(Pin.of(test).to_json(), labels)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(good))
    read = am.load_review(path)
    assert read.decisions[0].note == review_files.NOTE
    assert read.to_json() == good
    for name, change, expected, _ in review_files.BAD:
        bad = copy.deepcopy(good)
        change(bad)
        path.write_text(json.dumps(bad))
        with pytest.raises(DataError) as caught:
            am.load_review(path)
        assert expected in str(caught.value), name
    for content in review_files.BROKEN:
        path.write_bytes(content)
        with pytest.raises(DataError):
            am.load_review(path)


@pytest.mark.parametrize("classes", [(0, 1, 2, 3), ("a", "b", "c", "d")])
def test_a_class_for_ambiguous_images(classes):
    data = dataset(classes=classes)
    judged = review(
        data,
        decision(1, 1, "relabel", (3,)),
        decision(2, 2, "ambiguous", (2, 3)),
        decision(5, 1, "unreadable"),
    )
    found = am.apply_review(data, judged, ambiguous="class")
    extra = 4 if classes[0] == 0 else "ambiguous"
    assert found.classes.tolist() == [*classes, extra]
    changed = np.flatnonzero(found.labels != data.labels)
    assert {i: found.labels[i] for i in changed} == {1: classes[3], 2: extra}
    again = am.apply_review(found, judged, ambiguous="class")
    assert (again.labels == found.labels).all()
    assert (am.apply_review(found, judged).labels == am.apply_review(data, judged).labels).all()
    before = am.apply_review(found, judged, undo=True)
    assert before.classes.tolist() == list(classes)
    assert (before.labels == data.labels).all()
    with pytest.raises(ArgumentError, match="expected 'keep' or 'class', got 'drop'"):
        am.apply_review(data, judged, ambiguous="drop")
    other = found.labels.copy()
    other[7] = extra  # nobody decided that
    with pytest.raises(ArgumentError, match="expected the labels that were reviewed"):
        am.apply_review(am.Dataset(data.images, other, classes=found.classes), judged)


def test_an_ambiguous_class_that_is_there_already():
    data = dataset(classes=("ambiguous", "b", "c", "d"))
    judged = review(data, decision(2, 2, "ambiguous", (2, 3)))
    with pytest.raises(ArgumentError, match="there is a class 'ambiguous' already"):
        am.apply_review(data, judged, ambiguous="class")
