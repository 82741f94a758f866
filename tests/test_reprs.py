"""What a notebook shows: pictures inside the HTML, everything else escaped, nothing large."""

from __future__ import annotations

import base64
import io
import re
import sys

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ambigmnist as am
from ambigmnist._colours import RAMP, colormap, readable_ink, shade
from ambigmnist.errors import ArgumentError

NAMES = ["<script>1</script>", '"><img src=x>', "$x^2$ & Ω"]


def evidence(images=True, n=40, names=NAMES):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 7, 5), np.uint8)
    return am.Evidence(
        rng.dirichlet(np.full(3, 0.4), n),
        np.array(names)[rng.integers(0, 3, n)],
        classes=names,
        images=pixels if images else None,
    )


def pictures(html):
    """The pictures in some HTML, as arrays."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def dataset():
    ev = evidence()
    return am.Dataset(ev.images[..., 0], ev.labels, classes=NAMES, name="<b>name</b>")


SHOWN = {
    "ranking": lambda: am.rank(evidence()),
    "evidence": evidence,
    "heatmap": lambda: am.heatmap(evidence()),
    "dataset": dataset,
    "verdicts": lambda: am.verdicts(evidence()),
}


@pytest.mark.parametrize("name", SHOWN)
def test_pictures_and_escaped_text(name):
    html = SHOWN[name]()._repr_html_()
    assert 1 <= len(pictures(html)) <= 24
    assert len(html) < 100_000
    assert all(one.shape == (7, 5) for one in pictures(html))
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "<b>" not in html
    assert html == SHOWN[name]()._repr_html_()


def test_the_pictures_are_those_of_the_rows():
    ev = evidence()
    ranking = am.rank(ev, k=5)
    for image, i in zip(pictures(ranking._repr_html_()), ranking.indices, strict=True):
        assert (image == ev.images[i, :, :, 0]).all()
    for image, i in zip(pictures(ev._repr_html_()), am.rank(ev, k=12).indices, strict=True):
        assert (image == ev.images[i, :, :, 0]).all()
    heat = am.heatmap(ev)
    beside = heat.matrix * ~np.eye(3, dtype=bool)
    t, j = np.unravel_index(beside.argmax(), beside.shape)
    first = heat.cell(NAMES[t], NAMES[j]).indices[0]
    assert (pictures(heat._repr_html_())[0] == ev.images[first, :, :, 0]).all()


def test_a_data_set_shows_every_class():
    data = dataset()
    html = data._repr_html_()
    first = [np.flatnonzero(data.labels == name)[0] for name in np.unique(data.labels)]
    for image, i in zip(pictures(html)[:3], first, strict=True):
        assert (image == data.images[i]).all()
    assert "12 images" not in html
    for odd in (data[:0], am.Dataset(data.images[:2])):
        assert odd._repr_html_().startswith("<p>Dataset(")


@pytest.mark.parametrize("n", [0, 1, 40])
def test_without_images(n):
    ev = evidence(images=False, n=n)
    for one in (ev, am.rank(ev), am.heatmap(ev), am.verdicts(ev)):
        assert not pictures(one._repr_html_())


def test_a_network_shows_its_filters():
    train, _ = am.load_digits()
    model = am.CNN(epochs=1, seed=0)
    assert "not fitted" in model._repr_html_()
    model.fit(train.images[:100], train.labels[:100], verbose=0)
    html = model._repr_html_()
    filters = pictures(html)
    assert [one.shape for one in filters] == [(3, 3)] * 32
    weights = model._network.get_params()[: 3 * 3 * 32].reshape(3, 3, 1, 32)
    scaled = (weights - weights.min()) / (weights.max() - weights.min()) * 255
    assert np.abs(filters[7] - scaled[:, :, 0, 7]).max() <= 0.51
    assert "1 epochs: loss" in html
    assert len(html) < 100_000
    flat = am.CNN(layers=["flatten"], epochs=1).fit(train.images[:50], train.labels[:50], verbose=0)
    assert not pictures(flat._repr_html_())


def luminance(colour):
    c = np.asarray(colour)
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_ink_is_readable(colour):
    ink = matplotlib.colors.to_rgb(readable_ink(*colour))
    a, b = sorted([luminance(colour), luminance(ink)])
    assert (b + 0.05) / (a + 0.05) >= 4.5


@given(st.floats(0, 1))
def test_shades_are_of_the_ramp_and_readable(value):
    background, ink = re.fullmatch(r"background:#(\w{6});color:(#\w{6})", shade(value)).groups()
    assert background in RAMP["light"].split()
    a, b = sorted(luminance(matplotlib.colors.to_rgb(c)) for c in (f"#{background}", ink))
    assert (b + 0.05) / (a + 0.05) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ramps_are_monotone_in_lightness(theme):
    lightness = [luminance(colormap(theme)(v)[:3]) for v in np.linspace(0, 1, 64)]
    steps = np.diff(lightness)
    assert (steps < 0).all() if theme == "light" else (steps > 0).all()


def test_heatmaps_take_axes_and_colormaps():
    from matplotlib.figure import Figure

    heat = am.heatmap(evidence())
    figure = Figure()
    ax = figure.subplots()
    before = dict(matplotlib.rcParams)
    assert heat.plot(ax=ax, cmap="magma", colorbar=False) is figure
    assert len(figure.axes) == 1
    assert ax.images[0].cmap.name == "magma"
    assert [label.get_text() for label in ax.get_xticklabels()] == NAMES
    svg = io.StringIO()
    figure.savefig(svg, format="svg")
    assert "<script>" not in svg.getvalue()
    assert heat.plot().axes[0].images[0].cmap.name == "ambigmnist_light"
    assert dict(matplotlib.rcParams) == before
    for wrong in ("no such map", 7):
        with pytest.raises(ArgumentError, match="cmap: expected a colormap"):
            heat.plot(cmap=wrong)


def test_nothing_is_imported_before_it_is_needed():
    import subprocess

    code = "import sys, ambigmnist; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"PIL", "matplotlib", "jinja2"} & set(done.stdout.split())
