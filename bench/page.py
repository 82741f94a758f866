"""How quick the report is in a browser: first paint, keys, scrolling, memory, file size.

    python bench/page.py [--quick]

MNIST's test part read by preset "fast", 1,000 images with and without details, and all
10,000. Keys: from the event's time stamp to the frame that shows its effect, 100 presses 80 ms
apart, after a check that each key did what it should. Memory: private dirty pages of the renderer
less those of an empty page.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import ambigmnist as am

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
BUDGET = {"first paint": 500, "key": 50, "arrow": 50, "scroll": 33, "memory": 150}
# The frame after a key: a task that is queued in an animation frame runs once it has been painted.
WATCH = """() => { window.times = [];
  addEventListener('keydown', e => requestAnimationFrame(() => {
    const c = new MessageChannel(), t = e.timeStamp;
    c.port1.onmessage = () => times.push(performance.now() - t);
    c.port2.postMessage(0);
  }), true); }"""
SCROLL = """async () => { const gaps = []; let last = await new Promise(requestAnimationFrame);
  for (let k = 0; k < 100; k++) { scrollBy(0, 120);
    const now = await new Promise(requestAnimationFrame); gaps.push(now - last); last = now; }
  return gaps; }"""


def reports(folder: Path, quick: bool) -> dict[str, Path]:
    """The files to open."""
    train, test = am.load_digits() if quick else am.load_mnist()
    model = am.CNN(epochs=1 if quick else None, seed=0).fit(train.images, train.labels, verbose=0)
    ev = model.evidence(test.images, test.labels)
    kinds = {"details": {"model": model}, "no details": {"details": False}}
    if not quick:
        kinds["all"] = {"top": 10_000}
    found = {}
    for name, how in kinds.items():
        found[name] = folder / f"{name}.html"
        report = am.report(ev, found[name], **how)
        print(f"{name}: {report.images:,} images, {report.size / 1e6:.2f} MB")
    return found


def private_memory() -> float:
    """MB of the largest renderer."""
    most = 0.0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" not in (process / "cmdline").read_bytes():
                continue
            dirty = re.search(r"Private_Dirty: +(\d+)", (process / "smaps_rollup").read_text())
        except OSError:
            continue
        most = max(most, int(dirty[1]) / 1024)
    return most


def spread(times: list[float]) -> str:
    times = sorted(times)
    return (
        f"median {statistics.median(times):.0f}, 95 % {times[int(0.95 * (len(times) - 1))]:.0f}, "
        f"worst {times[-1]:.0f} ms"
    )


def pressed(page, keys: list[str]) -> list[float]:
    page.evaluate("times.length = 0")
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(80)
    return page.evaluate("times")


def measure(browser, path: Path, presses: int) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto("about:blank")
    empty = private_memory()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(500)
    first = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
    print(f"  first paint {first:.0f} ms, script done {ready:.0f} ms")
    tiles = page.locator("#list [role=option]").count()
    print(f"  memory {private_memory() - empty:.0f} MB over an empty page, {tiles} tiles alive")
    page.evaluate(WATCH)
    page.focus("#list")
    arrows = pressed(page, ["ArrowRight"] * presses)
    assert page.evaluate("S.view.indexOf(S.sel)") == presses
    print(f"  arrow in the grid: {spread(arrows)}")
    gaps = page.evaluate(SCROLL)
    print(f"  scrolling, a frame: {spread(gaps)}")
    page.keyboard.press("r")
    page.wait_for_timeout(200)
    keys = pressed(page, [str(k % 10) for k in range(presses)])
    assert page.evaluate("log.length") == presses
    print(f"  key in the review: {spread(keys)}")
    page.keyboard.press("Escape")
    start = page.evaluate(
        "() => { const t = performance.now(); refilter(); return performance.now() - t; }"
    )
    used = private_memory() - empty
    context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
    page.wait_for_timeout(500)
    left = private_memory() - empty
    print(
        f"  filtering anew {start:.0f} ms; memory {used:.0f} MB, after a collection {left:.0f} MB"
    )
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        print("page: no browser here, nothing measured", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        paths = reports(Path(folder), quick)
        for name, path in paths.items():
            # One browser each: the memory of the one before is not counted.
            browser = playwright.chromium.launch(executable_path=found)
            print(f"{name}, Chromium {browser.version}, budget {BUDGET}")
            measure(browser, path, 10 if quick else 100)
            browser.close()


if __name__ == "__main__":
    main()
