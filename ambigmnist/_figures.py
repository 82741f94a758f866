"""Figures of the package's own look, without pyplot and its global settings."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FAINT", "INK", "TRAIN", "VALIDATION", "WRONG", "figure_of", "new_figure", "plain_frame"]

INK = "#222222"
FAINT = "#8a8a8a"
WRONG = "#b3261e"
TRAIN = "#3b528b"  # two hues of viridis, apart also in grey and for colour-blind readers
VALIDATION = "#e07b39"


@functools.cache
def _figure_class() -> type[Figure]:
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that a notebook displays although pyplot does not know it."""

        def _repr_png_(self) -> bytes:
            png = io.BytesIO()
            self.savefig(png, format="png", dpi=110)
            return png.getvalue()

    return NotebookFigure


def new_figure(width: float, height: float) -> Figure:
    return _figure_class()(figsize=(width, height), layout="constrained", facecolor="white")


def figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def plain_frame(ax: Axes) -> None:
    """Two light spines, the grid behind."""
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#bbbbbb")
    ax.tick_params(colors=INK, length=3)
