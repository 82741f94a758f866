"""How training shows that it goes on: a bar, lines, or nothing."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any

from ambigmnist import _ambigcore
from ambigmnist.errors import ArgumentError

__all__ = ["Quiet", "check_verbose", "progress"]


class Quiet:
    """Progress that nobody watches."""

    tick: Callable[[], None] | None = None

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


def check_verbose(verbose: object) -> None:
    if verbose not in (None, 0, 1, 2):  # True and False are 1 and 0
        raise ArgumentError(f"verbose: expected None, 0, 1 or 2, got {verbose!r}")


@contextlib.contextmanager
def progress(verbose: int | None, epochs: int, network: _ambigcore.Network) -> Iterator[Quiet]:
    if verbose == 2:
        yield _Lines(epochs)
    elif verbose or (verbose is None and _watched()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm's, about missing notebook widgets
            from tqdm.auto import tqdm
        done, total = network.train_progress()  # done: by the run that this one goes on from
        with tqdm(initial=done, total=total, desc="training", unit="step") as bar:
            yield _Bar(bar, network)
    else:
        yield Quiet()
