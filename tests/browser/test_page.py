"""The page shows what Python says: cells, orders, filters, details, addresses."""

from __future__ import annotations

import numpy as np
import pytest

import ambigmnist as am
from browser.conftest import listed, press


def cell(page, kind, t, j):
    return page.locator(f".hm[data-kind={kind}] td[data-t='{t}'][data-j='{j}']")


def test_every_counted_cell_shows_what_the_heatmap_has(digits, opened):
    page = opened(digits.path)
    heat = am.heatmap(digits.ev, "count")
    for t in range(10):
        for j in range(10):
            square = cell(page, "count", t, j)
            expected = heat.cell(t, j).indices.tolist()
            assert square.inner_text() == (str(len(expected)) if expected else "")
            if expected:
                square.click()
                assert listed(page) == expected
                shown = page.locator("#list [role=option]")
                assert shown.count() == len(expected)
                square.click()  # off again
    assert len(listed(page)) == 300


@pytest.mark.mnist
def test_article(mnist, opened):
    page = opened(mnist.path)
    heat = am.heatmap(mnist.ev, "count")
    for t, j in np.argwhere(heat.counts).tolist():
        cell(page, "count", t, j).click()
        assert listed(page) == heat.cell(t, j).indices.tolist()
    page.click("#active button")
    first = [4761, 1039, 4248, 1182, 1522, 3225, 2648, 9664, 3060, 1299, 6571, 247]
    assert listed(page)[:12] == first
    page.select_option("#sort", "confident_wrong")
    wrong = [4176, 9729, 1226, 3520, 2654, 1014, 2597, 445, 6597, 2130, 2118, 3422]
    assert listed(page)[:12] == wrong
    # All that are read as something else are in the file, so squares of doubt hold all of a cell.
    maps = am.heatmap(mnist.ev, "probability")
    for t, j in [(4, 9), (7, 2), (9, 4), (5, 3)]:
        cell(page, "prob", t, j).click()
        read = page.evaluate(f"S.view.filter(n => READ[n] === {j}).map(n => INDEX[n])")
        assert sorted(read) == sorted(maps.cell(t, j).indices.tolist())
        p = mnist.ev.probs[listed(page), j]
        assert (p >= 0.0099).all()
        assert (np.diff(p) <= 2 / 65535).all()


def test_orders_are_those_of_rank(digits, opened):
    page = opened(digits.path)
    names = page.evaluate("ORDERS.map(o => o.name)")
    shown = set(listed(page))
    assert {"least_confident", "confident_wrong", "margin", "bald"} <= set(names)
    for name in names:
        page.select_option("#sort", name)
        if name.startswith("p_"):
            expected = am.verdicts(digits.ev).rank(name[2:]).indices
        else:
            expected = am.rank(digits.ev, by=name).indices
        assert listed(page) == [i for i in expected.tolist() if i in shown]


def test_numbers_are_those_of_the_evidence(digits, opened):
    page = opened(digits.path)
    ev, judged = digits.ev, am.verdicts(digits.ev)
    found = page.evaluate("""all.map(n => ({
        i: INDEX[n], given: GIVEN[n], read: READ[n], verdict: VERDICTS[VERDICT[n]][0],
        p: prob(n, GIVEN[n]), reason: D.reason[n], rank: ORDERS[0].rank[n],
        low: ORDERS[0].low[n], fold: FOLD[n]}))""")
    ranking = am.rank(ev, intervals=True)
    for image in found:
        i = image["i"]
        assert image["given"] == ev.given_index[i]
        assert image["read"] == ev.predicted_index[i]
        assert image["p"] == pytest.approx(float(ev.probs[i, ev.given_index[i]]), abs=1e-5)
        assert image["verdict"] == judged.verdict[i]
        assert image["reason"] == judged.reason(i)
        assert image["rank"] == ranking.rank_of(i)
        assert image["low"] == ranking.rank_low[ranking.rank_of(i) - 1]
        assert image["fold"] == i % 5


def test_pictures_are_the_pixels(digits, opened):
    """In the dark theme as stored, in the light one 255 - v."""
    read = """n => {
        const g = draw(h('canvas', {width: T.w, height: T.h}), n).getContext('2d');
        return [...g.getImageData(0, 0, T.w, T.h).data].filter((v, k) => k % 4 === 0);
    }"""
    dark = opened(digits.path, color_scheme="dark")
    light = opened(digits.path, color_scheme="light")
    index = dark.evaluate("[...INDEX]")
    for n in (0, 7, 299):
        image = digits.data.images[index[n]].ravel().tolist()
        assert dark.evaluate(read, n) == image
        assert light.evaluate(read, n) == [255 - v for v in image]


def test_neighbours_are_the_nearest_of_their_label(digits, opened):
    page = opened(digits.path)
    ev = digits.ev
    told = page.evaluate("""all.slice(0, 40).map(n => ({i: INDEX[n], second: rival(n),
        near: [...NEAR.slice(n * 8, n * 8 + 8)].map(s => SLOT_INDEX[s])}))""")
    space = ev.embeddings.astype(np.float64)
    for image in told:
        i = image["i"]
        for c, near in (
            (ev.given_index[i], image["near"][:4]),
            (image["second"], image["near"][4:]),
        ):
            rows = np.flatnonzero((ev.given_index == c) & (np.arange(ev.n) != i))
            distance = np.sqrt(((space[rows] - space[i]) ** 2).sum(axis=1))
            nearest = np.sort(distance)[:4]
            got = np.sqrt(((space[near] - space[i]) ** 2).sum(axis=1))
            assert (ev.given_index[near] == c).all()
            assert got == pytest.approx(nearest, rel=1e-5)


def test_find(digits, opened):
    page = opened(digits.path)
    ev, shown = digits.ev, listed(page)

    def find(text):
        page.fill("#find", text)
        return set(listed(page))

    wrong = [i for i in shown if ev.given[i] != ev.predicted[i]]
    given, read = ev.given[wrong[0]], ev.predicted[wrong[0]]
    assert find(f"{given} {read}") == {
        i for i in shown if (ev.given[i], ev.predicted[i]) == (given, read)
    }
    assert find("12") == {i for i in shown if str(i).startswith("12")}
    assert find("fold 3") >= {i for i in shown if i % 5 == 3}
    assert find("fold3 clean") == {
        i for i in shown if i % 5 == 3 and am.verdicts(ev).verdict[i] == "clean"
    }
    assert find("nothing of this kind") == set()
    assert page.locator("#empty").is_visible()
    page.click("#clear")
    assert listed(page) == shown


def test_addresses(digits, opened):
    page = opened(digits.path)
    shown = listed(page)
    i = shown[200]
    page = opened(digits.path, f"#i={i}")
    assert page.inner_text("#detail h2") == f"#{i}"
    assert page.locator(f"[role=option][aria-label^='image {i},']").is_visible()
    heat = am.heatmap(digits.ev, "count")
    t, j = np.argwhere(heat.counts * ~np.eye(10, dtype=bool))[0].tolist()
    page = opened(digits.path, f"#cell=count:{t}:{j}&by=margin")
    assert sorted(listed(page)) == sorted(heat.cell(t, j).indices.tolist())
    assert page.input_value("#sort") == "margin"
    page = opened(digits.path, "#v=ambiguous,mislabelled")
    judged = am.verdicts(digits.ev).verdict
    assert sorted(listed(page)) == sorted(
        i for i in shown if judged[i] in ("ambiguous", "mislabelled")
    )
    page.wait_for_timeout(500)
    assert "v=" in page.evaluate("location.hash")
    page = opened(digits.path, "#model")
    assert page.locator("#c-reliability").is_visible()
    assert not page.locator("#list").is_visible()
    for nonsense in (
        "#i=999999999",
        "#cell=count:99:x&v=__proto__&by=toString",
        "#%E0%A4%A",
        "#i=",
    ):
        assert len(listed(opened(digits.path, nonsense))) == 300


def test_keyboard_in_grid_and_heatmap(digits, opened):
    page = opened(digits.path)
    shown = listed(page)
    page.focus("#list")
    cols = page.evaluate("G.cols")
    places = {"ArrowRight": 1, "ArrowDown": 1 + cols, "ArrowLeft": cols, "ArrowUp": 0}
    places |= {"End": 299, "Home": 0}
    for key, place in places.items():
        page.keyboard.press(key)
        assert page.inner_text("#detail h2") == f"#{shown[place]}"
        active = page.get_attribute("#list", "aria-activedescendant")
        assert page.locator(f"#{active}[aria-selected=true]").count() == 1
    page.keyboard.press("PageDown")
    assert page.evaluate("S.view.indexOf(S.sel)") >= cols
    press(page, "3")  # outside the review, digits do nothing
    assert page.evaluate("log.length") == 0
    heat = am.heatmap(digits.ev, "count")
    page.focus(".hm[data-kind=count] [tabindex='0']")
    for key in ("ArrowDown", "ArrowLeft", "Enter"):  # the row of label 0
        page.keyboard.press(key)
    assert sorted(listed(page)) == sorted(
        i for j in range(10) for i in heat.cell(0, j).indices.tolist()
    )


def test_only_what_is_in_sight_exists(digits, opened):
    page = opened(digits.path)
    assert page.locator("#list [role=option]").count() < 120
    page.evaluate("scrollTo(0, 1e6)")
    page.wait_for_timeout(200)
    last = page.evaluate("INDEX[S.view[S.view.length - 1]]")
    assert page.locator(f"[role=option][aria-label^='image {last},']").is_visible()


def test_share_of_row(digits, opened):
    page = opened(digits.path)
    heat = am.heatmap(digits.ev, "count")
    page.click("#by-share")
    for t, j in np.argwhere(heat.counts).tolist():
        shown = int(cell(page, "count", t, j).inner_text())
        assert abs(shown - 100 * heat.matrix[t, j]) <= 0.5
    page.click("#by-share")
    t, j = np.argwhere(heat.counts)[0].tolist()
    assert cell(page, "count", t, j).inner_text() == str(heat.counts[t, j])


def test_theme_is_remembered(digits, opened):
    page = opened(digits.path, color_scheme="light")
    page.click("#do-theme")
    again = opened(digits.path, into=page.context)
    assert again.evaluate("root.style.colorScheme") == "dark"


def test_without_javascript(digits, opened):
    page = opened(digits.path, ready=False, java_script_enabled=False)
    assert not page.locator("#do-review").is_visible()
    assert not page.locator("#list").is_visible()
    first = am.rank(digits.ev, k=3)
    rows = page.locator(".static table").first.locator("tr").all_inner_texts()
    assert len(rows) == 49
    assert [row.split()[0] for row in rows[1:4]] == [str(i) for i in first.indices]
    assert page.locator(".static img").first.is_visible()
    assert page.locator(".hm").first.is_visible()
    assert page.locator("#c-health").is_visible()
    assert page.locator("svg.plot").first.is_visible()


def test_printed(digits, opened):
    page = opened(digits.path, color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#list [role=option]").count() == 300
    assert page.locator("#print-head").is_visible()
    assert not page.locator(".bar").is_visible()
    assert len(page.pdf()) > 50_000


def test_policy_is_strict(digits):
    text = digits.path.read_text("utf-8")
    head = text[: text.index("</head>")]
    assert "default-src 'none'; script-src 'sha256-" in head
    assert "unsafe" not in head
    for word in (" style=", " onclick=", "innerHTML", "fetch(", "http://", "https://"):
        assert word not in text


def test_data_map_and_curves(digits, tmp_path, opened):
    """Evidence with a history has a data map; a click on a dot opens its image."""
    rng = np.random.default_rng(0)
    ev = digits.ev
    history = np.stack([rng.dirichlet(np.ones(10), ev.n), ev.probs, ev.probs])
    ev = am.Evidence(
        ev.probs, ev.labels, images=ev.images, embeddings=ev.embeddings, history=history
    )
    am.report(ev, tmp_path / "r.html", top=60)
    page = opened(tmp_path / "r.html", "#model")
    assert page.locator("canvas[data-cloud]").count() == 2
    inked = """c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"""
    for cloud in page.locator("canvas[data-cloud]").all():
        assert cloud.evaluate(inked)
    where = page.evaluate("""() => {
        const c = document.querySelector('[data-cloud=data_map]'), d = D.clouds.data_map;
        const at = (axis, room) => 12 + column(d[axis])[5] / 65535 * (room - 24);
        return [at('x', c.clientWidth), c.clientHeight - at('y', c.clientHeight)];
    }""")
    page.locator("[data-cloud=data_map]").click(position={"x": where[0], "y": where[1]})
    assert page.locator("#detail").is_visible()
    distance = page.evaluate("""() => {
        const x = column(D.clouds.data_map.x), y = column(D.clouds.data_map.y);
        return Math.hypot(x[S.sel] - x[5], y[S.sel] - y[5]) / 65535;
    }""")
    assert distance < 0.02
