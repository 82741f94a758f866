"""axe-core finds nothing in any state; nothing is cut off from 320 pixels to 4K."""

from __future__ import annotations

import pytest

from browser.conftest import press

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
STATES = {
    "start": "",
    "filtered": "cell",
    "nothing": "nothing",
    "panel": "panel",
    "review": "r",
    "open review": "rb",
    "two readings": "ra1",
    "judged": "ruu",
    "done": "done",
    "help": "?",
    "model": "model",
    "details": "details",
}


def bring(page, state):
    match state:
        case "cell":
            page.click(".hm[data-kind=count] td.q15")
        case "nothing":
            page.fill("#find", "nothing of this kind")
        case "panel":
            page.locator("#list [role=option]").nth(3).click()
        case "done":
            page.fill("#find", "fold1 mislabelled")
            page.locator("#list").focus()
            press(page, "r")
            while page.evaluate("R.at < R.queue.length"):
                press(page, "u")
        case "model":
            page.click("#to-model")
        case "details":
            page.click("details.more summary")
        case keys:
            press(page, keys)
    page.wait_for_timeout(120)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(digits, opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="machine: no axe")
    for name, state in STATES.items():
        page = opened(digits.path, color_scheme=scheme, viewport={"width": 1440, "height": 900})
        bring(page, state)
        found = axe.Axe().run(page, options={"runOnly": TAGS}).response["violations"]
        told = [(v["id"], [node["html"][:160] for node in v["nodes"][:3]]) for v in found]
        assert not told, name
        page.close()


def test_axe_on_a_narrow_screen(digits, opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="machine: no axe")
    for name in ("start", "panel", "review", "model"):
        page = opened(digits.path, viewport={"width": 390, "height": 844}, has_touch=True)
        bring(page, STATES[name])
        page.wait_for_timeout(250)  # the sheet slides in
        found = axe.Axe().run(page, options={"runOnly": TAGS}).response["violations"]
        assert not [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found], name
        page.close()


SIZES = [(320, 568), (390, 844), (861, 900), (1240, 800), (1920, 1080), (3840, 2160)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_is_wider_than_the_screen(digits, opened, width, height):
    for state in ("", "r", "?"):
        page = opened(digits.path, viewport={"width": width, "height": height})
        press(page, state)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("dialog.scrollWidth") <= width
        page.close()
    page = opened(digits.path, "#model", viewport={"width": width, "height": height})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_whole_screen_dots(digits, opened):
    """Every pixel of an image is as large as every other, whatever the screen."""
    for ratio in (1, 1.5, 2, 3):
        page = opened(digits.path, device_scale_factor=ratio)
        width = page.evaluate(
            "document.querySelector('.tile canvas').getBoundingClientRect().width"
        )
        dots = width * ratio / 28
        assert dots == pytest.approx(round(dots), abs=1e-3)
        page.close()


def test_touch_targets(digits, opened):
    page = opened(digits.path, viewport={"width": 390, "height": 844}, has_touch=True)
    page.locator("#do-review").tap()
    for box in page.locator("#classes button, #acts button, .room header button").all():
        size = box.bounding_box()
        assert size["height"] >= 44
        assert size["width"] >= 44
    page.locator("#classes button").nth(4).tap()
    assert page.evaluate("log.length") == 1


def test_focus_goes_where_the_work_is(digits, opened):
    page = opened(digits.path)
    page.click("#do-review")
    assert page.evaluate("document.activeElement.id") == "ask"
    page.keyboard.press("Escape")
    page.wait_for_timeout(150)
    assert page.evaluate("document.activeElement.id") == "do-review"
    page.keyboard.press("Tab")
    page = opened(digits.path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#list"
