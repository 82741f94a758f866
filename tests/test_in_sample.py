"""Evidence about images that a network was fitted to says so, wherever it is shown."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import ambigmnist as am
from ambigmnist._fitted import NOTHING, fitted_hashes, image_hashes, in_sample
from ambigmnist.evidence import DYNAMICS

LAYERS = ["flatten", ("dense", 8), "relu"]


def pictures(n=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 5), np.uint8)


def fitted(images, labels=None, **options):
    labels = np.arange(len(images)) % 2 if labels is None else labels
    options = {"validation_split": 0.0, **options}
    return am.CNN(layers=LAYERS, epochs=1, **options).fit(images, labels)


# ---- which images a network was fitted to ----


def test_hashes_are_those_of_the_values():
    images = pictures()[..., np.newaxis]
    hashes = image_hashes(images)
    assert len(set(hashes.tolist())) == 40
    for same in (images.astype(np.float32) / 255, (images / 255).astype(np.float32)):
        assert (image_hashes(same) == hashes).all()
    floats = np.random.default_rng(1).random(images.shape, np.float32)
    floats[3:5] = images[3:5] / np.float32(255)  # among others, these are still those of uint8
    floats[6, 0, 0] = 0.0
    found = image_hashes(floats)
    assert np.flatnonzero(np.isin(found, hashes)).tolist() == [3, 4]
    assert len(set(found.tolist())) == 40
    minus = floats.copy()
    minus[6, 0, 0] = -0.0
    assert (image_hashes(minus) == found).all()
    nearly = images.astype(np.float32) / 255
    nearly[0, 0, 0] = np.nextafter(nearly[0, 0, 0], np.float32(0.5))
    assert (image_hashes(nearly) == hashes).tolist() == [False] + [True] * 39


def test_more_images_than_a_block():
    images = pictures(5000)[..., np.newaxis]
    some = fitted_hashes(images, np.arange(4090, 4100), NOTHING)
    assert np.flatnonzero(in_sample(images, some)).tolist() == list(range(4090, 4100))
    assert in_sample(images[:0], some).tolist() == []
    assert in_sample(images, None) is None
    assert fitted_hashes(images, np.arange(3), None) is None


@pytest.mark.parametrize("as_floats", [False, True])
def test_a_model_knows_what_it_was_fitted_to(as_floats):
    images = pictures()
    model = fitted(images[:30] / 255 if as_floats else images[:30], validation_split=0.3)
    taken = np.isin(np.arange(40), model.train_index_)
    assert 0 < taken.sum() < 30
    for again in (images, images / 255, images.astype(np.int64)):
        assert (model.evidence(again).in_sample == taken).all()
    assert model.evidence(images[30:]).in_sample.tolist() == [False] * 10
    assert model.evidence(images[:0]).in_sample.tolist() == []
    assert (pickle.loads(pickle.dumps(model)).evidence(images).in_sample == taken).all()


def test_going_on_from_the_weights_adds_images(tmp_path):
    images = pictures()
    model = fitted(images[:20])
    model.fit(images[10:30], np.arange(20) % 2, warm_start=True)
    assert (model.evidence(images).in_sample == (np.arange(40) < 30)).all()
    model.fit(images[30:], np.arange(10) % 2)  # from the seed: it forgets the others
    assert (model.evidence(images).in_sample == (np.arange(40) >= 30)).all()

    model.save(tmp_path / "m")
    loaded = am.CNN.load(tmp_path / "m")
    assert loaded.evidence(images).in_sample is None
    loaded.fit(images[:10], np.arange(10) % 2, warm_start=True, validation_split=0.0)
    assert loaded.evidence(images).in_sample is None  # what it was fitted to before: nobody knows


def test_an_interrupted_fit_counts():
    images = pictures()
    model = fitted(images[:20])

    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(images[20:], np.arange(20) % 2, callback=stop)
    assert (model.evidence(images).in_sample == (np.arange(40) >= 20)).all()


# ---- what tables and pictures say ----

FITTED = np.array([True, False, True, False, False, False])
LEGEND = "* in sample: the network was fitted to this image"
WHILE_TRAINED = "in sample: of images while the network was trained on them"


def shown(value, **more):
    """Six images, 5 the most ambiguous and 0 the least."""
    p = np.linspace(0.95, 0.55, 6)
    probs = np.stack([p, 1 - p], axis=1)
    return am.Evidence(probs, [0, 1] * 3, images=pictures(6), in_sample=value, **more)


def test_an_evidence_says_it():
    line = "  in sample: 2 of 6 images (the network was fitted to them)"
    assert repr(shown(FITTED)).splitlines()[-1] == line
    assert repr(shown(FITTED)[1::2]).splitlines()[-1] == "  out of sample"
    assert "of sample" not in repr(shown(None))
    many = am.Evidence(np.ones((70_000, 1)), in_sample=np.arange(70_000) < 60_000)
    assert "in sample: 60,000 of 70,000 images" in repr(many)


def test_a_ranking_marks_the_images():
    lines = repr(am.rank(shown(FITTED))).splitlines()
    assert [line[:6] for line in lines[2:8]] == [
        *("   1  ", "   2  ", "   3  ", "   4* ", "   5  ", "   6* ")
    ]
    assert lines[8:] == [f" {LEGEND}"]
    assert "<td>   4*</td>" in am.rank(shown(FITTED))._repr_html_()
    assert am.rank(shown(FITTED))._repr_html_().endswith(f"<p>{LEGEND}</p>")
    for unmarked in (am.rank(shown(FITTED), k=3), am.rank(shown(False)), am.rank(shown(None))):
        assert "*" not in repr(unmarked) + unmarked._repr_html_()
    hidden = am.Evidence(np.full((20, 2), 0.5), in_sample=np.arange(20) == 15)
    assert "*" not in repr(am.rank(hidden))  # in a row that is not shown


def test_frames_and_csv_have_a_column(tmp_path):
    ranking = am.rank(shown(FITTED))
    frame = ranking.to_frame()
    assert frame["in_sample"].dtype == bool
    assert frame["in_sample"].tolist() == FITTED[ranking.indices].tolist()
    assert frame.columns.tolist()[-2:] == ["in_sample", "score"]
    ranking.to_csv(tmp_path / "r.csv")
    header, *rows = [line.split(",") for line in (tmp_path / "r.csv").read_text().splitlines()]
    column = [row[header.index("in_sample")] for row in rows]
    assert column == ["false", "false", "false", "true", "false", "true"]
    assert "in_sample" not in am.rank(shown(None)).to_frame()


def trained_on(in_sample):
    """Evidence of an audit: probabilities out of sample, a history that never is."""
    dynamics = np.zeros(6, DYNAMICS)
    dynamics["aum"] = range(6)
    return shown(in_sample, dynamics=dynamics)


def test_definitions_that_look_at_training_say_so():
    ranking = am.rank(trained_on(False), "aum")
    assert repr(ranking).splitlines()[0].endswith(f" ({WHILE_TRAINED})")
    assert WHILE_TRAINED in ranking._repr_html_()
    assert "*" not in "".join(repr(ranking).splitlines()[1:])
    assert ranking.gallery().axes[0].get_title(loc="left") == WHILE_TRAINED
    counts = am.heatmap(trained_on(False), "count", by="aum")
    assert WHILE_TRAINED in repr(counts)
    assert WHILE_TRAINED in counts.plot().axes[0].get_title(loc="left")
    for other in (am.rank(trained_on(False)), am.heatmap(trained_on(False), by="aum")):
        assert "in sample" not in repr(other)
    assert WHILE_TRAINED in am.data_map(trained_on(None)).axes[0].get_title(loc="left")


def test_a_gallery_marks_the_images():
    axes = am.rank(shown(FITTED)).gallery().axes[0]
    titles = [cell.get_title() for cell in axes.child_axes]
    assert titles == ["5 (0->1)", "4 (0->0)", "3 (0->1)", "2* (0->0)", "1 (0->1)", "0* (0->0)"]
    assert axes.get_title(loc="left") == LEGEND
    named = am.gallery(shown(FITTED), names=list("abcdef")).axes[0]
    assert [cell.get_title()[:3] for cell in named.child_axes[1:3]] == ["b (", "c* "]
    for unmarked in (am.rank(shown(FITTED), k=3).gallery(), am.gallery(shown(False))):
        assert unmarked.axes[0].get_title(loc="left") == ""


def test_a_note_is_broken_where_the_gallery_ends():
    narrow = am.gallery(shown(FITTED), 1, 1).axes[0].get_title(loc="left")
    assert "\n" in narrow
    assert narrow.replace("\n", " ") == LEGEND
    figure = am.label_issues(shown(True), method="prune_by_class").gallery(1, 2)
    figure.draw_without_rendering()
    box = figure.axes[0]._left_title.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert box.y1 <= figure.bbox.height


def test_heatmaps_say_how_many():
    for found, words in (
        (am.heatmap(shown(FITTED)), "in sample: 2 of 6 images"),
        (am.heatmap(shown(FITTED), among=4), "in sample: 1 of 4 images"),
        (am.heatmap(shown(FITTED), "count", among=4), "in sample: 1 of 4 images"),
        (shown(FITTED).summary().probability, "in sample: 2 of 6 images"),
    ):
        assert f"({words})" in repr(found).splitlines()[0]
        assert words in found._repr_html_()
        assert f"({words})" in found.plot().axes[0].get_title(loc="left")
    for value in (False, None):
        found = am.heatmap(shown(value))
        assert "in sample" not in repr(found) + found.plot().axes[0].get_title(loc="left")
    assert "in sample" not in repr(am.heatmap(shown(FITTED), among=3))


def test_a_summary_says_it_once():
    head = repr(shown(FITTED).summary()).split("\n\n")[0]
    assert head.endswith("\n  in sample: 2 of 6 images (the network was fitted to them)")
    assert "in sample" not in repr(shown(False).summary())


def test_labels_of_neighbours():
    points = np.arange(6.0)[:, np.newaxis]
    table = am.neighbour_labels(shown(FITTED, embeddings=points), [1, 2], k=1)
    lines = repr(table).splitlines()
    assert [line[:7] for line in lines[2:4]] == ["     1 ", "     2*"]
    assert lines[4:] == [f" {LEGEND}"]
    assert "*" not in repr(am.neighbour_labels(shown(FITTED, embeddings=points), [1], k=1))


def test_duplicates_say_nothing_about_probabilities():
    images = pictures(3)[[0, 0, 1]]
    found = am.duplicates(am.Evidence(np.full((3, 2), 0.5), images=images, in_sample=True))
    assert "sample" not in repr(found)
