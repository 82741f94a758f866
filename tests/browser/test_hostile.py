"""Names from outside are text everywhere: markup, scripts, any direction, any length."""

from __future__ import annotations

import numpy as np
import pytest

import ambigmnist as am
from browser.conftest import exported, listed, press

NAMES = [
    "<script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 1">',
    "</script><script>window.hit = 1</script>",
    "' onmouseover='window.hit=1",
    "\u202eright to left\u202c שלום",
    "🦓 zebra {{ 7 * 7 }}",
    "=HYPERLINK(1)",
    "__proto__",
    "x" * 3000,
    "nul\u2028line\u2029&amp;&lt;",
    "constructor",
    "-->",
]


def evidence(names, n=90, seed=0, shape=(12, 9)):
    rng = np.random.default_rng(seed)
    k = len(names)
    labels = np.array(names)[rng.integers(0, k, n)]
    return am.Evidence(
        rng.dirichlet(np.full(k, 0.2), n),
        labels,
        classes=names,
        images=rng.integers(0, 256, (n, *shape), np.uint8),
        split=np.array(["<b>train</b>", "te'st"])[rng.integers(0, 2, n)],
    )


@pytest.mark.parametrize("count", [len(NAMES), 9])
def test_hostile_names_are_text(count, tmp_path, opened):
    names = NAMES[:count]
    ev = evidence(names)
    path = tmp_path / 'a "quoted" <b> 🦓.html'
    am.report(ev, path, name="<script>window.hit = 1</script>", notes=["<img src=x onerror=1>"])
    page = opened(path)
    shown = listed(page)
    assert page.inner_text(".where") == "<script>window.hit = 1</script>"
    assert page.inner_text(".note-line") == "<img src=x onerror=1>"
    for i in shown[:20]:
        page.evaluate(f"select(place.get({i}), true)")
        assert names[ev.given_index[i]] in page.text_content("#detail .says")
    page.click(".hm[data-kind=prob] td.q15")
    assert page.locator("#active button").count() == 1
    page.click("#active button")
    press(page, "r")
    assert page.inner_text("#ask") == "Which class is this?"
    given = page.evaluate("GIVEN[R.queue[0].n]")
    if count > 10:
        assert page.locator("#classes button").count() == 11
        press(page, "/")
        page.fill("#choose-find", names[given][:40])
        page.keyboard.press("Enter")
    else:
        assert page.locator("#classes button").count() == count
        press(page, str((given + 1) % 10))
    assert page.evaluate("log[0].verdict") == "keep"
    press(page, "n")
    page.keyboard.insert_text("<script>window.hit = 1</script>")
    page.keyboard.press("Enter")
    press(page, "b1u")
    assert page.evaluate("window.hit") is None
    page.keyboard.press("Escape")
    page.goto(path.as_uri() + "#model")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("window.hit") is None
    exported(page, tmp_path / "r.json")
    assert am.load_review(tmp_path / "r.json").dataset.classes == tuple(names)


def test_many_classes(tmp_path, opened):
    """With 150 classes the heatmap has the 20 most confused, and the rest is found by search."""
    names = [f"class {i:03}" for i in range(150)]
    ev = evidence(names, n=400)
    am.report(ev, tmp_path / "r.html", details=False)
    page = opened(tmp_path / "r.html")
    assert page.locator(".hm[data-kind=count] tr").count() == 21
    press(page, "r")
    fixed = page.locator("#classes button bdi").all_inner_texts()
    assert fixed == names[:10]  # says nothing of the image
    press(page, "b")
    n = page.evaluate("R.queue[0].n")
    likely = page.evaluate(f"readings({n}).slice(0, 10)")
    shown = page.locator("#classes button bdi").all_inner_texts()
    assert shown == [names[c] for c in sorted(likely)]
    press(page, "/")
    page.keyboard.type("149")
    page.keyboard.press("Enter")
    assert page.evaluate("log[0].labels") == [149]


@pytest.mark.parametrize("kind", ["rgb", "rgba", "float", "large", "two channels"])
def test_other_pictures(kind, tmp_path, opened):
    rng = np.random.default_rng(0)
    images = {
        "rgb": rng.integers(0, 256, (30, 10, 14, 3), np.uint8),
        "rgba": rng.integers(0, 256, (30, 10, 14, 4), np.uint8),
        "float": rng.random((30, 28, 28), np.float32),
        "large": rng.integers(0, 256, (30, 200, 150, 3), np.uint8),
        "two channels": rng.integers(0, 256, (30, 10, 14, 2), np.uint8),
    }[kind]
    ev = am.Evidence(rng.dirichlet([0.5] * 3, 30), rng.integers(0, 3, 30), images=images)
    am.report(ev, tmp_path / "r.html")
    page = opened(tmp_path / "r.html", color_scheme="dark")
    w, h = page.evaluate("[T.w, T.h]")
    assert (h, w) == ((67, 50) if kind == "large" else images.shape[1:3])
    i = listed(page)[0]
    pixels = page.evaluate("[...P.shot.getContext('2d').getImageData(0, 0, T.w, T.h).data]")
    got = np.array(pixels).reshape(h, w, 4)
    if kind == "rgb":
        assert (got[..., :3] == images[i]).all()
    elif kind == "float":
        assert (got[..., 0] == np.rint(images[i] * 255)).all()
    elif kind == "two channels":
        assert (got[..., 0] == images[i, ..., 0]).all()
    assert (got[..., 3] == 255).all()
