"""A real headless Chromium, and reports to open in it, which must stay silent and ask nobody."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ambigmnist as am

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        if os.environ.get("CI") == "true" and os.geteuid() == 0 and shutil.which("apt-get"):
            pytest.fail("this machine can have chromium-headless-shell: make test installs it")
        pytest.skip("machine: no Chromium here (Debian: apt-get install chromium-headless-shell)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="machine: playwright is missing")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--host-resolver-rules=MAP * ~NOTFOUND"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a report; nothing may be asked of a network or said on the console until the end."""
    complaints: list[str] = []
    contexts = []

    def watch(page: Any) -> None:
        page.on("console", lambda m: complaints.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:"))
                or complaints.append(f"request: {r.url}"))  # fmt: skip

    def opened(
        path: Path, fragment: str = "", *, into: Any = None, ready: bool = True, **how: Any
    ) -> Any:
        how = {"viewport": {"width": 1440, "height": 900}, "accept_downloads": True} | how
        context = into or browser.new_context(**how)
        contexts.append(context)
        page = context.new_page()
        watch(page)
        page.goto(path.as_uri() + fragment)
        if ready:
            page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The report of the bundled digits: data, evidence, path."""
    train, test = am.load_digits()
    model = am.CNN(epochs=4, seed=0).fit(train.images, train.labels, verbose=0)
    ev = model.evidence(test.images, test.labels)
    known = {"logits": ev.logits, "images": test.images, "embeddings": model.embed(test.images)}
    members = np.stack([ev.probs, np.roll(ev.probs, 1, axis=0) * 0.1 + ev.probs * 0.9])
    ev = am.Evidence(ev.probs, test.labels, **known, members=members, fold=np.arange(ev.n) % 5)
    path = tmp_path_factory.mktemp("report") / "report.html"
    am.report(ev, path, top=300, name="digits", model=model)
    return SimpleNamespace(data=test, ev=ev, path=path, model=model)


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """That of MNIST's test part, read by the article's network."""
    _, test = am.load_mnist()
    model = am.CNN.from_keras(os.environ["AMBIGMNIST_ARTICLE_MODEL"])
    ev = model.evidence(test.images, test.labels)
    path = tmp_path_factory.mktemp("mnist") / "report.html"
    am.report(ev, path, name="MNIST test")
    return SimpleNamespace(data=test, ev=ev, path=path, model=model)


def press(page: Any, keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def listed(page: Any) -> list[int]:
    """The images in the grid, in their order, by index."""
    return page.evaluate("S.view.map(n => INDEX[n])")


def exported(page: Any, path: Path) -> dict[str, Any]:
    """What Export saves, kept at `path`."""
    with page.expect_download() as download:
        page.evaluate("save()")
    download.value.save_as(path)
    return json.loads(path.read_text("utf-8"))
