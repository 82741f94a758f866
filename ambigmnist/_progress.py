"""How training and audits show that they go on: a bar, lines, or nothing."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist.errors import ArgumentError

__all__ = ["AuditProgress", "Quiet", "audit_progress", "check_verbose", "progress"]


class Quiet:
    """Progress that nobody watches.

    `seen` (n, 9) float64, where it is an array, gets what training sees of each image, of epoch
    `early` also the error.
    """

    tick: Callable[[], None] | None = None
    seen: NDArray[np.float64] | None = None
    early: int = 1

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        pass


class _Lines(Quiet):
    """A line per epoch on stderr."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        print(f"epoch {epoch}/{self._epochs}  {_figures(row)}", file=sys.stderr, flush=True)


class _Bar(Quiet):
    """A tqdm bar over the steps."""

    def __init__(self, bar: Any, network: _ambigcore.Network) -> None:
        self._bar = bar
        self._network = network
        self.tick = self._tick

    def _tick(self) -> None:
        self._bar.update(self._network.train_progress()[0] - self._bar.n)

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        self._tick()
        self._bar.set_postfix_str(_figures(row))


def _figures(row: Mapping[str, float]) -> str:
    text = f"loss {row['loss']:.4f}, accuracy {row['accuracy']:.4f}"
    if isfinite(row["val_loss"]):
        text += f", validation {row['val_loss']:.4f}, {row['val_accuracy']:.4f}"
    return text


def _watched() -> bool:
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


def _tqdm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's, about missing notebook widgets
        from tqdm.auto import tqdm
    return tqdm


def check_verbose(verbose: object) -> None:
    if verbose not in (None, 0, 1, 2):  # True and False are 1 and 0
        raise ArgumentError(f"verbose: expected None, 0, 1 or 2, got {verbose!r}")


@contextlib.contextmanager
def progress(verbose: int | None, epochs: int, network: _ambigcore.Network) -> Iterator[Quiet]:
    if verbose == 2:
        yield _Lines(epochs)
    elif verbose or (verbose is None and _watched()):
        done, total = network.train_progress()  # done: by the run that this one goes on from
        with _tqdm()(initial=done, total=total, desc="training", unit="step") as bar:
            yield _Bar(bar, network)
    else:
        yield Quiet()


class AuditProgress:
    """Progress of an audit that nobody watches."""

    def tell(self, phase: str, share: float) -> None:
        """What the present run does, and how much of it is done."""

    def finished(self, name: str, text: str) -> None:
        """A run, and what came of it."""


class _AuditLines(AuditProgress):
    """A line per run on stderr."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._done = 0

    def finished(self, name: str, text: str) -> None:
        self._done += 1
        print(f"network {self._done}/{self._runs}  {name}: {text}", file=sys.stderr, flush=True)


class _AuditBar(AuditProgress):
    """A tqdm bar over the runs and their parts."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._done = 0
        self._phase = ""

    def tell(self, phase: str, share: float) -> None:
        if phase != self._phase:
            self._phase = phase
            self._bar.set_postfix_str(f"network {self._done + 1} of {self._bar.total:g}: {phase}")
        self._bar.update(self._done + share - self._bar.n)

    def finished(self, name: str, text: str) -> None:
        self._done += 1
        self._phase = ""
        self._bar.update(self._done - self._bar.n)


@contextlib.contextmanager
def audit_progress(verbose: int | None, runs: int) -> Iterator[AuditProgress]:
    if verbose == 2:
        yield _AuditLines(runs)
    elif verbose or (verbose is None and _watched()):
        form = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"
        with _tqdm()(total=float(runs), desc="audit", bar_format=form) as bar:
            yield _AuditBar(bar)
    else:
        yield AuditProgress()
