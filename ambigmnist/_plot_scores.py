"""Pictures of how good probabilities are, and of how they came to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
from ambigmnist._in_sample import SOME, WHILE_TRAINED
from ambigmnist._validate import as_int
from ambigmnist.calibration import (
    Calibration,
    Reliability,
    expected_calibration_error,
    wilson_interval,
)
from ambigmnist.errors import ArgumentError, DTypeError
from ambigmnist.evidence import DYNAMICS, Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["data_map", "reliability_diagram"]

F64 = NDArray[np.float64]


def reliability_diagram(
    ev_or_calibration: Evidence | Calibration | Reliability,
    *,
    bins: int = 15,
    ax: Axes | None = None,
) -> Figure:
    """Accuracy by confidence, with how many images each point stands for.

    A point per bin at (mean confidence, accuracy), with its 95 % interval (Wilson 1927) and a bar
    to the diagonal, where perfectly calibrated probabilities lie: below it the network is too
    confident. Under it the images per bin, on a logarithmic scale. The expected calibration error
    with its interval is in the corner.

    Parameters
    ----------
    ev_or_calibration : Evidence, Calibration or Reliability
        An evidence needs labels. Of a Calibration: `after`, and `before` as hollow points.
    bins : int
        Of an evidence: how many, of equal width. The others have bins already.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default. The images per bin go into its lower part.

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], labels=[0, 0, 1])
    >>> figure = am.reliability_diagram(ev, bins=5)
    >>> figure.axes[0].get_ylabel()
    'accuracy'
    """
    what = ev_or_calibration
    if isinstance(what, Evidence):
        what = expected_calibration_error(what, bins=bins)
    if ax is None and isinstance(what, Calibration | Reliability):
        ax = new_figure(5.0, 5.6).subplots()
    if isinstance(what, Calibration):
        shown = what.after.ece
        _draw_bins(ax, what.before.ece, FAINT, hollow=True)
        lines = [
            (f"ECE before  {what.before.ece.describe()}", FAINT),
            (f"ECE after    {shown.describe()},  T = {what.temperature:.3g}", TRAIN),
        ]
    elif isinstance(what, Reliability):
        shown = what
        lines = [(f"ECE {shown.describe()}", TRAIN)]
    else:
        raise DTypeError(
            "reliability_diagram: expected an Evidence, a Calibration or a Reliability, "
            f"got {type(what).__name__}"
        )
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    _draw_bins(ax, shown, TRAIN)
    ax.set_xlim(0, 1.01)
    ax.set_xlabel("confidence", color=INK)
    ax.set_ylabel("accuracy", color=INK)
    ax.grid(color="#e6e6e6", linewidth=0.8)
    plain_frame(ax)
    note = f"\n({SOME})" if shown.in_sample else ""
    ax.set_title(f"Reliability{note}", loc="left", color=INK, fontsize=11)
    for place, (text, color) in enumerate(lines):
        ax.annotate(
            text, (0, 1), (8, -6 - 15 * place), xycoords="axes fraction", fontsize=9, color=color,
            textcoords="offset points", va="top", zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )  # fmt: skip
    _draw_counts(ax, shown)
    return figure_of(ax)


def _draw_bins(ax: Axes, reliability: Reliability, color: str, hollow: bool = False) -> None:
    there = reliability.counts > 0
    x, y = reliability.confidence[there], reliability.accuracy[there]
    n = reliability.counts[there]
    low, high = wilson_interval(np.round(y * n), n)
    if not hollow:
        ax.vlines(x, np.minimum(x, y), np.maximum(x, y), color=WRONG, alpha=0.25, linewidth=6)
    ax.vlines(x, low, high, color=color, linewidth=1.2, zorder=2)
    face = "white" if hollow else color
    ax.plot(x, y, "o", color=color, markersize=5, markerfacecolor=face, zorder=3)


def _draw_counts(ax: Axes, reliability: Reliability) -> None:
    """Images per bin, in the part of `ax` below an accuracy of 0."""
    ax.set_ylim(-0.36, 1.03)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.spines["left"].set_bounds(0, 1)
    ax.yaxis.set_label_coords(-0.11, 0.63)
    below = ax.inset_axes((0, -0.36, 1.01, 0.28), transform=ax.transData)
    edges, counts = reliability.edges, reliability.counts
    below.bar(
        edges[:-1], counts, np.diff(edges), align="edge", color=TRAIN, alpha=0.55,
        edgecolor="white", linewidth=0.8,
    )  # fmt: skip
    below.set_xlim(0, 1.01)
    if counts.any():
        below.set_yscale("log")
    below.set_ylim(0.7, max(10.0, 1.5 * float(counts.max(initial=0))))
    below.tick_params(labelbottom=False)
    below.minorticks_off()
    below.set_ylabel("images", color=INK)
    below.yaxis.set_label_coords(-0.11, 0.5)
    below.patch.set_alpha(0)
    plain_frame(below)


def data_map(
    ev: Evidence, *, ax: Axes | None = None, color: str = "correctness", sample: int = 25_000
) -> Figure:
    """Every image by how its label fared during training (Swayamdipta et al. 2020, EMNLP).

    Across: variability, the standard deviation over the epochs of the label's probability; up:
    confidence, its mean. Easy images are at the top left; ambiguous ones, now learned and now
    not, to the right; hard ones, often mislabelled, at the bottom left. The curve is the most
    that probabilities of this mean can vary.

    Parameters
    ----------
    ev : Evidence
        With `dynamics`; images whose variability or confidence were not recorded are left out.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    color : str
        The field of `dynamics` that colours the points: "correctness", "forgetting", "aum", ...
    sample : int
        Draw at most this many images, chosen at random, always the same.

    Examples
    --------
    >>> import ambigmnist as am
    >>> from ambigmnist.evidence import DYNAMICS
    >>> dynamics = np.zeros(3, DYNAMICS)
    >>> dynamics["confidence"] = [0.95, 0.5, 0.1]
    >>> dynamics["variability"] = [0.05, 0.4, 0.1]
    >>> figure = am.data_map(am.Evidence(np.full((3, 2), 0.5), dynamics=dynamics))
    >>> figure.axes[0].get_xlabel()
    'variability'
    """
    if not isinstance(ev, Evidence):
        raise DTypeError(f"data_map: expected an Evidence, got {type(ev).__name__}")
    fields = DYNAMICS.names or ()
    if color not in fields:
        raise ArgumentError(f"color: expected one of {', '.join(fields)}, got {color!r}")
    sample = as_int(sample, "sample", least=1)
    if ev.dynamics is None:
        raise ArgumentError(
            "data_map: expected an evidence with dynamics, got none: am.audit records them"
        )
    x, y, hue = (ev.dynamics[name] for name in ("variability", "confidence", color))
    known = np.flatnonzero(~(np.isnan(x) | np.isnan(y)))
    if len(known) == 0:
        raise ArgumentError(
            f"data_map: expected recorded variability and confidence, got none for {ev.n} images"
        )
    if np.isnan(hue[known]).all():
        raise ArgumentError(
            f"color: expected a recorded field, got {color!r}, which is NaN for every image"
        )
    shown = known
    if len(known) > sample:
        shown = np.random.Generator(np.random.PCG64(0)).choice(known, sample, replace=False)
    if ax is None:
        ax = new_figure(6.4, 5.2).subplots()
    _draw_points(ax, x[shown], y[shown], hue[shown], color)
    title = f"Data map\n({WHILE_TRAINED})"
    if len(shown) < len(known):
        title += f"\n{len(shown)} of {len(known)} images"
    ax.set_title(title, loc="left", color=INK, fontsize=11)
    return figure_of(ax)


def _draw_points(
    ax: Axes,
    variability: F64,
    confidence: F64,
    hue: F64,
    color: str,
) -> None:
    from matplotlib.colors import Colormap, LinearSegmentedColormap
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator

    shares = color in ("correctness", "confidence")
    shades = [WRONG, VALIDATION, "#c9b79c", TRAIN]
    colors: Colormap = LinearSegmentedColormap.from_list("learned", shades)
    if color in ("forgetting", "first_learned", "variability", "el2n", "grand", "vog"):
        colors = colors.reversed()  # red is always what is learned worse
    colors = colors.with_extremes(bad="#cccccc")
    few = len(variability) < 2_000
    points = ax.scatter(
        variability,
        confidence,
        c=hue,
        cmap=colors,
        vmin=0.0 if shares else None,
        vmax=1.0 if shares else None,
        s=12 if few else 5,
        alpha=0.8 if few else 0.5,
        linewidths=0,
        plotnonfinite=True,
        rasterized=True,
    )
    mean = np.linspace(0, 1, 201)
    ax.plot(np.sqrt(mean * (1 - mean)), mean, color="#cccccc", linewidth=1, zorder=0)
    ax.set_xlim(-0.012, 0.53)
    ax.set_ylim(-0.025, 1.025)
    for place, name, side in (
        ((0.17, 0.86), "easy", "left"),
        ((0.44, 0.5), "ambiguous", "center"),
        ((0.17, 0.14), "hard", "left"),
    ):
        ax.text(
            *place, name, ha=side, va="center", fontsize=11, color=FAINT, style="italic",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    ax.set_xlabel("variability", color=INK)
    ax.set_ylabel("confidence in the given label", color=INK)
    ax.grid(color="#eeeeee", linewidth=0.8)
    plain_frame(ax)
    bar = figure_of(ax).colorbar(
        points, ax=ax, fraction=0.046, pad=0.02, aspect=30, ticks=MaxNLocator(5)
    )
    if bar.solids is not None:
        bar.solids.set_alpha(1)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, colors=INK, labelsize=8)
    bar.set_label(color.replace("_", " "), color=INK)
