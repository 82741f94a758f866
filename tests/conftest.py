"""Data beside the checkout, hypothesis profiles, and which tests may be left out.

A test may skip only for something that the machine lacks; the reason then starts with "machine:".
With CI=true any other skip fails the run, so that nothing gets lost silently.
"""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

# Before anything imports ambigmnist.
for name, place in (
    ("AMBIGMNIST_DATA", SHARED),
    ("AMBIGMNIST_ARTICLE_MODEL", SHARED / "seed-model" / "net1.h5"),
):
    if not os.environ.get(name) and place.exists():
        os.environ[name] = str(place)

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100)
hypothesis.settings.register_profile("dev", deadline=None, max_examples=100)
hypothesis.settings.register_profile("long", deadline=None, max_examples=5000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

collect_ignore = ["tools", "check_packages.py"]  # scripts; tools/ needs other packages

forbidden_skips: list[str] = []


def mnist_is_here() -> bool:
    folder = os.environ.get("AMBIGMNIST_DATA")
    if not folder:
        return False
    name = "t10k-images-idx3-ubyte"
    return any(
        (Path(folder) / sub / (name + end)).exists() for sub in ("", "mnist") for end in ("", ".gz")
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if mnist_is_here():
        return
    skip = pytest.mark.skip(reason="machine: the real MNIST is not here; set AMBIGMNIST_DATA")
    for item in items:
        if "mnist" in item.keywords:
            item.add_marker(skip)


def pytest_runtest_logreport(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith("machine:"):
            forbidden_skips.append(f"{report.nodeid}: {reason}")


pytest_collectreport = pytest_runtest_logreport  # a whole file that skips itself


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if forbidden_skips and os.environ.get("CI") == "true" and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if forbidden_skips and os.environ.get("CI") == "true":
        terminalreporter.section("skips that CI does not allow", red=True)
        for line in forbidden_skips:
            terminalreporter.line(line)
