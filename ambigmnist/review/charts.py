"""Curves of a report as SVG, styled by the page alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist.calibration import Reliability, wilson_interval

__all__ = ["curves_svg", "reliability_svg"]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 480, 300, 44, 30, 10, 10


class _Plot:
    """A frame with axes; data coordinates in, pixels out."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], label: str) -> None:
        self._x, self._y, self._label = x, y, label
        self._parts: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        (a, b), (c, d) = self._x, self._y
        return (
            LEFT + (x - a) / ((b - a) or 1) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - c) / ((d - c) or 1) * (HEIGHT - BOTTOM - TOP),
        )

    def line(self, points: Iterable[tuple[float, float]], style: str) -> None:
        listed = " ".join("{:.1f},{:.1f}".format(*self.at(*point)) for point in points)
        self._parts.append(f'<polyline class="{style}" points="{listed}"/>')

    def dot(self, x: float, y: float, title: str) -> None:
        px, py = self.at(x, y)
        self._parts.append(
            f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="4"><title>{escape(title)}</title>'
            "</circle>"
        )

    def text(self, px: float, py: float, text: str, anchor: str, style: str = "") -> None:
        self._parts.append(
            f'<text class="{style}" x="{px:.1f}" y="{py:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def axes(self, xs: Iterable[float], ys: Iterable[float], xlabel: str, ylabel: str) -> None:
        for x in xs:
            px, py = self.at(x, self._y[0])
            self.text(px, py + 14, f"{x:g}", "middle")
        for y in ys:
            self.line([(self._x[0], y), (self._x[1], y)], "rule")
            px, py = self.at(self._x[0], y)
            self.text(px - 6, py + 4, f"{y:g}", "end")
        self.text(WIDTH - RIGHT, HEIGHT - 3, xlabel, "end", "key")
        self.text(LEFT + 4, TOP + 10, ylabel, "start", "key")

    def svg(self) -> str:
        return (
            f'<svg class="plot" role="img" aria-label="{escape(self._label)}" '
            f'viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(self._parts)}</svg>'
        )


def reliability_svg(found: Reliability) -> str:
    """Accuracy by confidence, a dot per bin with its 95 % interval."""
    plot = _Plot(
        (0, 1.01), (0, 1.01), f"Reliability: expected calibration error {found.describe()}"
    )
    ticks = np.linspace(0, 1, 6).tolist()
    plot.axes(ticks, ticks, "confidence", "accuracy")
    plot.line([(0, 0), (1, 1)], "rule")
    there = np.flatnonzero(found.counts)
    counts = found.counts[there]
    x, y = found.confidence[there], found.accuracy[there]
    low, high = wilson_interval(np.round(y * counts), counts)
    for i in range(len(there)):
        plot.line([(x[i], x[i]), (x[i], y[i])], "gapbar")
        plot.line([(x[i], low[i]), (x[i], high[i])], "bound")
        plot.dot(x[i], y[i], f"confidence {x[i]:.3f}, accuracy {y[i]:.3f}, {counts[i]:,} images")
    return plot.svg()


def curves_svg(history: Mapping[str, Any]) -> str:
    """Loss by epoch, in training and, where there was any, in validation."""
    losses = {
        name: np.asarray(history[name], np.float64)
        for name in ("loss", "val_loss")
        if len(history.get(name, ()))
    }
    epochs = len(losses["loss"])
    finite: NDArray[np.float64] = np.concatenate(list(losses.values()))
    finite = finite[np.isfinite(finite)]
    top = float(finite.max()) * 1.05 if len(finite) else 1.0
    plot = _Plot((min(1, epochs), epochs), (0, top or 1.0), f"Loss over {epochs} epochs")
    step = max(1, epochs // 8)
    plot.axes(range(1, epochs + 1, step), _ticks(top or 1.0), "epoch", "loss")
    for (name, values), style in zip(losses.items(), ("one", "two"), strict=False):
        points = [(i + 1, v) for i, v in enumerate(values.tolist()) if np.isfinite(v)]
        plot.line(points, style)
        if points:
            px, py = plot.at(*points[-1])
            word = {"loss": "training", "val_loss": "validation"}[name]
            plot.text(px, py - 8, f"{word} {points[-1][1]:.4g}", "end", "key")
    return plot.svg()


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to `top`, at most six."""
    unit = 10.0 ** np.floor(np.log10(top))
    step = next(s for s in (0.2 * unit, 0.5 * unit, unit, 2 * unit) if top / s <= 5.5)
    return [float(f"{i * step:.10g}") for i in range(int(top / step) + 1)]
