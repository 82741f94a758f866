"""Pictures: galleries, heatmaps, curves, diagrams, maps. Figures are returned, never shown.

matplotlib is imported when the first picture is drawn, and none of its global settings are
touched: pass `ax=` to draw into a figure of your own.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist._colours import colormap, readable_ink
from ambigmnist._figures import (
    FAINT,
    INK,
    TRAIN,
    VALIDATION,
    WRONG,
    figure_of,
    new_figure,
    plain_frame,
)
from ambigmnist._in_sample import WHILE_TRAINED, legend, mark
from ambigmnist._plot_ranks import rank_intervals
from ambigmnist._plot_scores import data_map, reliability_diagram
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.evidence import Evidence
from ambigmnist.heatmap import Heatmap
from ambigmnist.ranking import Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "data_map",
    "draw_heatmap",
    "gallery",
    "rank_intervals",
    "reliability_diagram",
    "training_curves",
]


def _as_picture(image: NDArray[Any]) -> dict[str, Any]:
    """Arguments for imshow: the pixels as they are, grey or in colour."""
    top = 255 if image.dtype == np.uint8 else 1.0
    if image.shape[2] in (3, 4):
        return {"X": image}
    grey = image[..., 0] if image.shape[2] == 1 else image.mean(axis=2)
    return {"X": grey, "cmap": "gray", "vmin": 0, "vmax": top}


def _grid(count: int, rows: int | None, cols: int | None) -> tuple[int, int]:
    for name, value in (("rows", rows), ("cols", cols)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise DTypeError(f"{name}: expected an integer, got {type(value).__name__} {value!r}")
        if value is not None and value < 1:
            raise ArgumentError(f"{name}: expected at least 1, got {value}")
    if cols is None and rows is None:
        cols = 4 if count <= 12 else 8
    if cols is None:
        assert rows is not None
        cols = max(1, math.ceil(min(count, 8 * rows) / rows))
    if rows is None:
        rows = max(1, min(6, math.ceil(count / cols)))
    return rows, cols


def gallery(
    what: Ranking | Evidence,
    rows: int | None = None,
    cols: int | None = None,
    *,
    names: Sequence[object] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """The images of a ranking in its order, enlarged without blur, titled ``index (guess->truth)``.

    Wrong guesses have a red title, a star is at images that the network was fitted to. Of a ranking
    with intervals, a second line tells the rank and its interval. A gallery of "confident_wrong"
    shows wrong predictions only.

    Parameters
    ----------
    what : Ranking or Evidence
        With images. Of an Evidence: its images in their own order.
    rows, cols : int, optional
        By default as many as the images need, at most 6 rows of 8.
    names : sequence (n,), optional
        What the titles call each image of the evidence, in its order, instead of by its index.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.figure.Figure
        Where there are fewer images than places, the rest stays empty.

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.9, 0.1], [0.4, 0.6]], [0, 0], images=np.zeros((2, 8, 8), np.uint8))
    >>> figure = am.rank(ev).gallery()
    >>> [cell.get_title() for cell in figure.axes[0].child_axes]
    ['1 (1->0)', '0 (0->0)']
    """
    if isinstance(what, Ranking):
        ranking = what.top()
        ev, indices, second = ranking.evidence, ranking.indices, _ranks(ranking)
        notes = [ranking.note, WHILE_TRAINED if ranking.definition.in_sample else ""]
    elif isinstance(what, Evidence):
        ev, indices, second, notes = what, np.arange(what.n), [], []
    else:
        raise DTypeError(f"gallery: expected a Ranking or an Evidence, got {type(what).__name__}")
    if ev.images is None:
        raise ArgumentError(
            "gallery: expected an evidence with images, got none: pass images= to Evidence"
        )
    if names is None:
        names = range(ev.n)
    elif isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
        raise DTypeError(f"names: expected a sequence of names, got {type(names).__name__}")
    elif len(names) != ev.n:
        raise ShapeError(f"names: expected {ev.n}, one per image, got {len(names)}")
    rows, cols = _grid(len(indices), rows, cols)
    indices = indices[: rows * cols]
    titles = _titles(ev, indices, [f"{names[i]}{mark(ev, i)}" for i in indices.tolist()])
    notes = [note for note in (*notes, legend(ev, indices)) if note]
    longest = max(map(len, [*titles, *second]), default=0)
    # Inches for the title above a picture, and what the picture gets of the height of both.
    head, share = (0.46, 0.71) if second else (0.32, 0.78)
    if second:
        titles = [f"{a}\n{b}" for a, b in zip(titles, second, strict=False)]
    if ax is None:
        height, width = ev.images.shape[1:3]
        column = max(1.35, 0.085 * min(longest, 40))
        picture = 0.85 * column * min(max(height / width, 0.3), 3.0)
        notes = [line for note in notes for line in textwrap.wrap(note, int(14 * column * cols))]
        above = 0.14 * bool(notes) + 0.16 * len(notes)
        figure = new_figure(0.2 + column * cols, 0.2 + (picture + head) * rows + above)
        ax = figure.subplots()
    ax.set_axis_off()
    if notes:
        ax.set_title("\n".join(notes), fontsize=9, color=FAINT, loc="left", pad=8)
    if len(indices) == 0:
        ax.text(0.5, 0.5, "no images to show", ha="center", va="center", color=FAINT)
    for place, (index, title) in enumerate(zip(indices, titles, strict=True)):
        row, col = divmod(place, cols)
        cell = ax.inset_axes(
            ((col + 0.06) / cols, 1 - (row + 0.98) / rows, 0.88 / cols, share / rows)
        )
        cell.imshow(**_as_picture(ev.images[index]), interpolation="nearest", aspect="equal")
        cell.set_xticks([])
        cell.set_yticks([])
        for spine in cell.spines.values():
            spine.set(color="#bbbbbb", linewidth=0.6)
        right = ev.labels is None or ev.labels[index] == ev.predicted[index]
        cell.set_title(title, fontsize=9, color=INK if right else WRONG, pad=3, parse_math=False)
    return figure_of(ax)


def _ranks(ranking: Ranking) -> list[str]:
    """The rank of every image and its interval, where there is one."""
    if ranking.rank_low is None or ranking.rank_high is None:
        return []
    bounds = zip(ranking.ranks, ranking.rank_low, ranking.rank_high, strict=True)
    return [f"{rank}. ({low}-{high})" for rank, low, high in bounds]


def _titles(ev: Evidence, indices: NDArray[np.intp], names: Sequence[object]) -> list[str]:
    guesses = ev.predicted[indices]
    if ev.labels is None:
        return [f"{name} ({guess})" for name, guess in zip(names, guesses, strict=True)]
    truths = ev.labels[indices]
    return [f"{name} ({a}->{b})" for name, a, b in zip(names, guesses, truths, strict=True)]


def draw_heatmap(
    heatmap: Heatmap, ax: Axes | None = None, *, cmap: Any = None, colorbar: bool = True
) -> Figure:
    """A heatmap, with a number in every cell that is not empty; the figure is returned.

    The diagonal of "probability" is zero by definition and left blank. Of "count", colours show
    the share of the row and numbers the images.

    Parameters
    ----------
    heatmap : Heatmap
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    cmap, colorbar
        As of `Heatmap.plot`.
    """
    k = len(heatmap.classes)
    names = [str(c) for c in heatmap.classes]
    longest = max(map(len, names))
    if ax is None:
        side = min(max(3.0 + 0.42 * k, 4.2), 10.0)
        figure = new_figure(side + 0.8 + 0.05 * min(longest, 30), side)
        ax = figure.subplots()
    else:
        figure = figure_of(ax)
    import matplotlib

    try:
        colors = colormap() if cmap is None else matplotlib.colormaps.get_cmap(cmap)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"cmap: expected a colormap of matplotlib or its name: {error}"
        ) from None
    colors = colors.with_extremes(bad="#ececec")
    blank = heatmap.kind == "probability"
    values = np.ma.array(heatmap.matrix, mask=np.eye(k, dtype=bool) & blank)
    top = float(heatmap.matrix.max()) or 1.0
    image = ax.imshow(values, cmap=colors, vmin=0, vmax=top, interpolation="nearest")

    step = max(1, math.ceil(k / 30))
    ticks = np.arange(0, k, step)
    ax.set_xticks(ticks, names[::step], parse_math=False)
    ax.set_yticks(ticks, names[::step], parse_math=False)
    if longest > 3:
        ax.tick_params(axis="x", labelrotation=90)
    ax.tick_params(length=0, colors=INK)
    ax.set_xlabel("prediction" if heatmap.kind == "count" else "other class", color=INK)
    ax.set_ylabel("given label", color=INK)
    title = "\n".join([_heading(heatmap), *(f"({n})" for n in heatmap._in_sample_notes())])
    ax.set_title(title, color=INK, fontsize=11, loc="left", pad=10, parse_math=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if k <= 30:
        _rule_cells(ax, k)
    if k <= 15:
        _write_numbers(ax, heatmap, colors, top)
    if not colorbar:
        return figure
    bar = figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, colors=INK, labelsize=8)
    bar.set_label(_unit(heatmap), color=INK)
    return figure


def _heading(heatmap: Heatmap) -> str:
    if heatmap.kind == "count":
        return f"The {heatmap.among} most ambiguous images ({heatmap.definition.name})"
    return "Probability given to the other classes"


def _unit(heatmap: Heatmap) -> str:
    if heatmap.normalized:
        return "share of the row"
    return "images" if heatmap.kind == "count" else "sum of probabilities"


def _rule_cells(ax: Axes, k: int) -> None:
    """Thin white lines between the cells."""
    ax.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.2)
    ax.tick_params(which="minor", length=0)


def _write_numbers(ax: Axes, heatmap: Heatmap, colors: Any, top: float) -> None:
    shown = heatmap.counts if heatmap.kind == "count" else heatmap.matrix
    least = 0.005 if heatmap.kind == "probability" and heatmap.normalized else 0.0  # would read .00
    for row, col in np.argwhere(shown > least):
        value = shown[row, col]
        if heatmap.kind == "count":
            text = f"{value}"
        else:
            text = f"{value:.2f}".removeprefix("0") if heatmap.normalized else f"{value:.3g}"
        red, green, blue, _ = colors(heatmap.matrix[row, col] / top)
        ink = readable_ink(red, green, blue)
        ax.text(col, row, text, ha="center", va="center", fontsize=9, color=ink)


def training_curves(
    history_or_model: Mapping[str, Any] | Any, ax: Axes | Sequence[Axes] | None = None
) -> Figure:
    """Loss and accuracy per epoch, training and, where there was one, validation.

    Parameters
    ----------
    history_or_model : CNN or mapping
        A fitted model, or its `history`: arrays "loss", "accuracy", "val_loss", "val_accuracy".
    ax : matplotlib Axes or two of them, optional
        One: the loss only. Two: loss and accuracy. A new figure with both by default.

    Examples
    --------
    >>> import ambigmnist as am
    >>> figure = am.training_curves({"loss": [0.3, 0.1], "accuracy": [0.9, 0.97]})
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['Loss', 'Accuracy']
    """
    history = getattr(history_or_model, "history", history_or_model)
    if not isinstance(history, Mapping):
        raise DTypeError(
            "training_curves: expected a fitted model or its history, "
            f"got {type(history_or_model).__name__}"
        )
    if "loss" not in history or len(np.atleast_1d(history["loss"])) == 0:
        raise ArgumentError("training_curves: expected at least one epoch of 'loss', got none")
    if ax is None:
        figure = new_figure(9.0, 3.4)
        panels: Sequence[Axes] = list(figure.subplots(1, 2))
    else:
        panels = list(np.atleast_1d(np.asarray(ax, dtype=object)))
        figure = figure_of(panels[0])
    best = _best_epoch(history)
    for panel, quantity in zip(panels, ("loss", "accuracy"), strict=False):
        if quantity in history:
            _draw_curve(panel, history, quantity, best)
    return figure


def _curve(history: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    try:
        return np.asarray(history.get(name, ()), dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise DTypeError(f"training_curves: expected numbers in {name!r}: {error}") from error


def _best_epoch(history: Mapping[str, Any]) -> int | None:
    losses = _curve(history, "val_loss")
    return None if np.isnan(losses).all() else int(np.nanargmin(losses))


def _draw_curve(ax: Axes, history: Mapping[str, Any], quantity: str, best: int | None) -> None:
    from matplotlib.ticker import MaxNLocator

    lines = (("training", quantity, TRAIN), ("validation", f"val_{quantity}", VALIDATION))
    for label, name, color in lines:
        values = _curve(history, name)
        if np.isnan(values).all():  # also of no values
            continue
        epochs = np.arange(1, len(values) + 1)
        marker = "o" if len(values) <= 12 else ""
        ax.plot(
            epochs, values, color=color, label=label, marker=marker, markersize=4, linewidth=1.8
        )
        if name.startswith("val_") and best is not None and best < len(values):
            ax.plot(epochs[best], values[best], "o", color=color, markersize=7, markerfacecolor="w")
            ax.annotate(
                f"best {values[best]:.4f}, epoch {epochs[best]}",
                (epochs[best], values[best]),
                textcoords="offset points",
                xytext=(0, 10 if quantity == "loss" else -16),
                ha="right" if best > len(values) / 2 else "left",
                fontsize=8,
                color=color,
            )
    ax.set_title(quantity.capitalize(), loc="left", color=INK, fontsize=11)
    ax.set_xlabel("epoch", color=INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    plain_frame(ax)
    if len(ax.get_legend_handles_labels()[0]) > 1:
        ax.legend(frameon=False, fontsize=9, labelcolor=INK)
