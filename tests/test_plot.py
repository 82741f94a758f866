"""Pictures: what is in them, not how they look; and that matplotlib's state is left alone."""

from __future__ import annotations

import io
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import ambigmnist as am
from ambigmnist.calibration import wilson_interval
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.evidence import DYNAMICS
from ambigmnist.plot import WRONG

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def ev():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 9, 7), dtype=np.uint8)
    return am.Evidence(rng.dirichlet(np.ones(3), 30), rng.integers(0, 3, 30), images=images)


@pytest.fixture(autouse=True)
def _settings_are_left_alone():
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before


def png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    return buffer.getvalue()


def cells(figure):
    return figure.axes[0].child_axes


def test_a_gallery_tells_the_intervals_of_ranks():
    members = np.array([[0.9, 0.5, 0.6], [0.9, 0.8, 0.6], [0.8, 0.6, 0.8]])  # p of class 0
    members = np.stack([members, 1 - members], axis=2)
    ev = am.Evidence(members.mean(axis=0), members=members, images=np.zeros((3, 8, 8), np.uint8))
    ranking = am.rank(ev, intervals=True)
    cells = ranking.gallery().axes[0].child_axes
    assert [cell.get_title().split("\n") for cell in cells] == [
        [f"{one.index} (0)", f"{one.rank}. ({one.rank_low}-{one.rank_high})"] for one in ranking
    ]
    assert len(ranking.gallery(1, 2).axes[0].child_axes) == 2


def test_a_gallery_shows_the_ranking_in_order(ev):
    ranking = am.rank(ev, k=12)
    figure = ranking.gallery()
    assert isinstance(figure, Figure)
    assert [cell.get_title() for cell in cells(figure)] == [
        f"{r.index} ({r.predicted}->{r.given})" for r in ranking
    ]
    for cell, item in zip(cells(figure), ranking, strict=True):
        (picture,) = cell.images
        assert (picture.get_array() == ev.images[item.index, :, :, 0]).all()
        assert picture.get_interpolation() == "nearest"
        assert picture.get_clim() == (0, 255)
    assert png(figure).startswith(PNG)
    assert figure._repr_png_().startswith(PNG)


def test_enlarged_without_blur():
    """Two pixels, black and white: the picture has no grey between them but its frame's."""
    images = np.uint8([[[0, 255]]])
    figure = am.gallery(am.Evidence([[1.0]], images=images))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (cell,) = cells(figure)
    box = cell.get_window_extent()
    pixels = np.asarray(canvas.buffer_rgba())[..., 0]
    row = pixels[len(pixels) - round((box.y0 + box.y1) / 2), round(box.x0) + 3 : round(box.x1) - 3]
    assert set(row) == {0, 255}
    assert len(row) > 50


def test_rows_and_cols(ev):
    ranking = am.rank(ev)
    assert len(cells(ranking.gallery())) == 30
    assert len(cells(ranking.gallery(2, 3))) == 6
    assert len(cells(ranking.gallery(rows=2))) == 16
    assert len(cells(ranking.gallery(cols=3))) == 18
    assert len(cells(am.gallery(ev, 1, 5))) == 5
    assert [c.get_title()[:2] for c in cells(am.gallery(ev, 1, 3))] == ["0 ", "1 ", "2 "]
    for bad in ({"rows": 0}, {"cols": -1}):
        with pytest.raises(ArgumentError):
            ranking.gallery(**bad)
    with pytest.raises(DTypeError):
        ranking.gallery(rows=1.5)


def test_names_instead_of_indices(ev):
    ranking = am.rank(ev, k=3)
    names = [f"part {i}" for i in range(30)]
    for given in (names, tuple(names), np.array(names)):
        assert [cell.get_title() for cell in cells(am.gallery(ranking, names=given))] == [
            f"part {r.index} ({r.predicted}->{r.given})" for r in ranking
        ]
    with pytest.raises(ShapeError, match="expected 30, one per image, got 3"):
        am.gallery(ranking, names=names[:3])
    for bad in ("x" * 30, 7, iter(names)):
        with pytest.raises(DTypeError, match="names"):
            am.gallery(ranking, names=bad)


def test_confident_wrong_shows_wrong_answers_only(ev):
    wrong = int((ev.predicted != ev.labels).sum())
    assert 0 < wrong < 30
    for ranking in (am.rank(ev, "confident_wrong"), am.rank(ev, "confident_wrong", 30)):
        figure = ranking.gallery(5, 6)
        assert len(cells(figure)) == wrong
        assert str(wrong) in figure.axes[0].get_title(loc="left")
        assert all(c.title.get_color() == WRONG for c in cells(figure))


def test_images_of_every_kind_draw():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 20), (20, 1), (4, 4, 1), (4, 5, 2), (4, 5, 3), (4, 5, 4)):
        for images in (
            rng.integers(0, 256, (3, *shape), dtype=np.uint8),
            rng.random((3, *shape)).astype(np.float32),
        ):
            figure = am.gallery(am.Evidence(np.full((3, 2), 0.5), images=images))
            assert [c.get_title() for c in cells(figure)] == ["0 (0)", "1 (0)", "2 (0)"]
            assert png(figure).startswith(PNG)


def test_odd_class_names_are_text():
    names = ["$x", r"\frac", "a$b$"]
    ev = am.Evidence(np.eye(3), names, classes=names, images=np.zeros((3, 2, 2), np.uint8))
    assert png(am.gallery(ev)).startswith(PNG)
    assert png(am.heatmap(ev).plot()).startswith(PNG)
    assert cells(am.gallery(ev))[1].get_title() == r"1 (\frac->\frac)"


def test_nothing_to_show(ev):
    figure = am.rank(ev, k=0).gallery()
    assert figure.axes[0].texts[0].get_text() == "no images to show"
    assert png(figure).startswith(PNG)
    with pytest.raises(ArgumentError, match="images="):
        am.rank(am.Evidence(ev.probs)).gallery()
    with pytest.raises(DTypeError, match="Ranking or an Evidence"):
        am.gallery(ev.images)


def test_a_given_axes_is_drawn_into(ev):
    figure = Figure()
    left, right, third = figure.subplots(1, 3)
    assert am.rank(ev, k=4).gallery(ax=left) is figure
    assert am.heatmap(ev).plot(ax=right) is figure
    assert am.training_curves({"loss": [1.0, 0.5]}, ax=third) is figure
    assert len(left.child_axes) == 4
    assert right.images
    assert third.lines


def test_heatmap_numbers_are_those_of_the_matrix(ev):
    heat = am.heatmap(ev, "count", among=30)
    axes = heat.plot().axes[0]
    written = {
        tuple(round(v) for v in t.get_position()[::-1]): int(t.get_text()) for t in axes.texts
    }
    expected = {(i, j): heat.counts[i, j] for i, j in np.argwhere(heat.counts > 0)}
    assert written == expected
    assert (axes.images[0].get_array() == heat.matrix).all()

    heat = am.heatmap(ev)
    axes = heat.plot().axes[0]
    assert (np.ma.getmaskarray(axes.images[0].get_array()) == np.eye(3, dtype=bool)).all()
    for text in axes.texts:
        col, row = text.get_position()
        assert float(text.get_text()) == pytest.approx(
            heat.matrix[round(row), round(col)], abs=0.005
        )
    assert len(axes.texts) == 6


def test_ink_is_readable_on_its_cell(ev):
    """At least 4.5 : 1 contrast (WCAG 2) between a number and its cell."""

    def luminance(rgb):
        rgb = np.asarray(rgb[:3])
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [
            0.2126, 0.7152, 0.0722,
        ]  # fmt: skip

    counts = np.arange(1, 101).reshape(10, 10)
    probs = np.repeat(np.eye(10), counts.sum(axis=0), axis=0)
    labels = np.concatenate([np.repeat(np.arange(10), counts[:, j]) for j in range(10)])
    heat = am.heatmap(am.Evidence(probs, labels), "count", among=5050, normalize=False)
    assert (heat.counts == counts).all()
    axes = heat.plot().axes[0]
    image = axes.images[0]
    for text in axes.texts:
        col, row = text.get_position()
        cell = image.cmap(image.norm(heat.matrix[round(row), round(col)]))
        a, b = sorted(
            [luminance(cell), luminance(matplotlib.colors.to_rgb(text.get_color()))], reverse=True
        )
        assert (a + 0.05) / (b + 0.05) >= 4.5, text.get_text()


@pytest.mark.parametrize("k", [1, 2, 16, 40])
def test_heatmaps_of_any_size_draw(k):
    ev = am.Evidence(np.full((5, k), 1 / k), [0] * 5)
    for kind in ("probability", "count"):
        for normalize in (True, False):
            assert png(am.heatmap(ev, kind, normalize=normalize).plot()).startswith(PNG)
    empty = am.Evidence(np.zeros((0, k)), [])
    assert png(am.heatmap(empty).plot()).startswith(PNG)


def test_svg_too(ev):
    buffer = io.BytesIO()
    am.heatmap(ev).plot().savefig(buffer, format="svg")
    assert b"<svg" in buffer.getvalue()


def history(epochs, validation=True):
    e = np.arange(epochs)
    value = 1.0 / (1 + e)
    nan = np.full(epochs, np.nan)
    return {
        "loss": value,
        "accuracy": 1 - value / 2,
        "val_loss": value + 0.01 * e if validation else nan,
        "val_accuracy": 1 - value / 3 if validation else nan,
        "learning_rate": value,
        "seconds": value,
    }


@pytest.mark.parametrize("epochs", [1, 3, 81])
@pytest.mark.parametrize("validation", [True, False])
def test_training_curves_draw_the_history(epochs, validation):
    given = history(epochs, validation)
    figure = am.training_curves(given)
    loss, accuracy = figure.axes
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        lines = {line.get_label(): line for line in axes.lines}
        assert (lines["training"].get_ydata() == given[name]).all()
        assert (lines["training"].get_xdata() == np.arange(1, epochs + 1)).all()
        assert ("validation" in lines) == validation
        if validation:
            assert (lines["validation"].get_ydata() == given[f"val_{name}"]).all()
            best = int(np.argmin(given["val_loss"]))
            assert f"epoch {best + 1}" in axes.texts[0].get_text()
    assert png(figure).startswith(PNG)


def test_a_model_may_stand_for_its_history():
    model = SimpleNamespace(history={"loss": [1.0], "accuracy": [0.5]})
    assert len(am.training_curves(model).axes) == 2


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ({}, ArgumentError),
        ({"loss": []}, ArgumentError),
        (3, DTypeError),
        ({"loss": ["x"]}, DTypeError),
    ],
)
def test_bad_histories(what, error):
    with pytest.raises(error):
        am.training_curves(what)


def points_of(figure):
    """Hollow and full points of a reliability diagram."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    return [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in lines]


def said(figure):
    return " ".join(text.get_text() for text in figure.axes[0].texts)


def test_a_reliability_diagram_shows_the_bins(ev):
    error = am.expected_calibration_error(ev, bins=7)
    there = error.counts > 0
    for figure in (am.reliability_diagram(ev, bins=7), error.plot(), am.reliability_diagram(error)):
        ((x, y),) = points_of(figure)
        assert (x == error.confidence[there]).all()
        assert (y == error.accuracy[there]).all()
        assert error.describe() in said(figure)
        (below,) = figure.axes[0].child_axes
        assert [bar.get_height() for bar in below.patches] == error.counts.tolist()
        assert below.get_yscale() == "log"
        intervals = figure.axes[0].collections[-1].get_segments()
        low, high = wilson_interval(
            np.round(error.accuracy[there] * error.counts[there]), error.counts[there]
        )
        np.testing.assert_allclose([s[:, 1] for s in intervals], np.stack([low, high], 1))
        assert figure.axes[0].get_title(loc="left") == "Reliability"
        assert png(figure).startswith(PNG)


def test_a_calibration_is_drawn_before_and_after(ev):
    found = am.calibrate(ev)
    for figure in (found.plot(), am.reliability_diagram(found)):
        before, after = points_of(figure)
        for (x, _), measures in ((before, found.before), (after, found.after)):
            assert (x == measures.ece.confidence[measures.ece.counts > 0]).all()
            assert measures.ece.describe() in said(figure)
        assert f"T = {found.temperature:.3g}" in said(figure)
        assert png(figure).startswith(PNG)


def test_in_sample_is_said_in_the_title(ev):
    known = am.Evidence(ev.probs, ev.labels, in_sample=True)
    assert "in sample" in am.reliability_diagram(known).axes[0].get_title(loc="left")


def test_odd_reliability_diagrams(ev):
    for odd in (
        am.Evidence(np.zeros((0, 3)), []),
        am.Evidence(np.ones((2, 1)), [0, 0]),
        am.Evidence([[1.0, 0.0]], [1]),
    ):
        assert png(am.reliability_diagram(odd)).startswith(PNG)
        quantiles = am.expected_calibration_error(odd, scheme="quantile", resamples=0)
        assert png(quantiles.plot()).startswith(PNG)
    with pytest.raises(ArgumentError, match="labels"):
        am.reliability_diagram(am.Evidence(ev.probs))
    for bad in (ev.probs, None):
        with pytest.raises(DTypeError, match="an Evidence, a Calibration or a Reliability"):
            am.reliability_diagram(bad)


def dynamics_of(n: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    dynamics = np.empty(n, DYNAMICS)
    for name in DYNAMICS.names:
        dynamics[name] = np.nan
    dynamics["confidence"], dynamics["correctness"] = rng.random(n), rng.random(n)
    dynamics["variability"] = rng.random(n) / 2
    return dynamics


def with_dynamics(dynamics) -> am.Evidence:
    return am.Evidence(np.full((len(dynamics), 2), 0.5), dynamics=dynamics)


def test_a_data_map_shows_every_image():
    dynamics = dynamics_of(50)
    dynamics["variability"][7] = dynamics["confidence"][8] = np.nan  # not recorded
    dynamics["correctness"][9] = np.nan  # grey
    figure = am.data_map(with_dynamics(dynamics))
    ax = figure.axes[0]
    (points,) = ax.collections
    there = np.delete(np.arange(50), [7, 8])
    expected = np.stack([dynamics["variability"], dynamics["confidence"]], 1)[there]
    assert (np.asarray(points.get_offsets()) == expected).all()
    hue = np.ma.filled(points.get_array(), np.nan)
    np.testing.assert_array_equal(hue, dynamics["correctness"][there])
    assert points.get_clim() == (0, 1)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("variability", "confidence in the given label")
    assert "in sample" in ax.get_title(loc="left")
    assert {text.get_text() for text in ax.texts} == {"easy", "ambiguous", "hard"}
    assert figure.axes[1].get_ylabel() == "correctness"
    assert png(figure).startswith(PNG)


def test_a_data_map_of_many_draws_some():
    ev = with_dynamics(dynamics_of(300))
    figures = [am.data_map(ev, sample=40, color="confidence") for _ in range(2)]
    first, again = (np.asarray(f.axes[0].collections[0].get_offsets()) for f in figures)
    assert len(np.unique(first, axis=0)) == 40
    assert (first == again).all()
    assert "40 of 300" in figures[0].axes[0].get_title(loc="left")
    assert len(am.data_map(ev, sample=300).axes[0].collections[0].get_offsets()) == 300


def test_red_is_what_is_learned_worse():
    dynamics = dynamics_of(5)
    dynamics["forgetting"] = dynamics["correctness"] = np.arange(5)
    ev = with_dynamics(dynamics)
    for color, worst in (("correctness", 0.0), ("forgetting", 1.0)):
        cmap = am.data_map(ev, color=color).axes[0].collections[0].get_cmap()
        assert matplotlib.colors.to_hex(cmap(worst)) == WRONG


def test_data_maps_without_data(ev):
    with pytest.raises(ArgumentError, match="expected an evidence with dynamics"):
        am.data_map(ev)
    dynamics = dynamics_of(4)
    with pytest.raises(ArgumentError, match="'grand', which is NaN for every image"):
        am.data_map(with_dynamics(dynamics), color="grand")
    dynamics["variability"] = np.nan
    for empty in (dynamics, dynamics[:0]):
        with pytest.raises(ArgumentError, match="recorded variability and confidence, got none"):
            am.data_map(with_dynamics(empty))
    for options, error in (
        ({"color": "margin"}, ArgumentError),
        ({"sample": 0}, ArgumentError),
        ({"sample": 2.5}, DTypeError),
    ):
        with pytest.raises(error):
            am.data_map(with_dynamics(dynamics_of(4)), **options)
    with pytest.raises(DTypeError, match="expected an Evidence"):
        am.data_map(dynamics)


def test_both_draw_into_a_given_axes(ev):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert am.reliability_diagram(ev, ax=left) is figure
    assert am.data_map(with_dynamics(dynamics_of(9)), ax=right) is figure
    assert left.lines
    assert right.collections
    assert png(figure).startswith(PNG)


def test_importing_the_package_imports_no_matplotlib():
    code = "import sys, ambigmnist; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawing_needs_no_pyplot():
    code = (
        "import sys, ambigmnist as am;"
        "am.heatmap(am.Evidence([[.5, .5]], [0])).plot();"
        "am.reliability_diagram(am.Evidence([[.5, .5]], [0]));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
