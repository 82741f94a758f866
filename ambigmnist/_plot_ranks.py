"""Pictures of ranks: how sure they are, and how two rankings differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
from ambigmnist._in_sample import mark
from ambigmnist.errors import ArgumentError, DTypeError
from ambigmnist.ranking import Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ambigmnist.comparison import Comparison

__all__ = ["draw_comparison", "rank_intervals"]

_NAMED = 40  # more rows than this have no names
_RASTERIZED = 2_000


def rank_intervals(ranking: Ranking, ax: Axes | None = None) -> Figure:
    """A dot per image at its rank, a whisker over its 90 % interval; ranks are logarithmic.

    Parameters
    ----------
    ranking : Ranking
        Made with ``rank(..., intervals=True)`` or with a list of other audits.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Examples
    --------
    >>> import ambigmnist as am
    >>> members = np.array([[0.9, 0.5, 0.6], [0.9, 0.8, 0.6], [0.8, 0.6, 0.8]])  # p of class 0
    >>> members = np.stack([members, 1 - members], axis=2)
    >>> ev = am.Evidence(members.mean(axis=0), members=members)
    >>> figure = am.rank_intervals(am.rank(ev, intervals=True))
    >>> figure.axes[0].get_xlabel()
    'rank of 3, 90 % interval'
    """
    if not isinstance(ranking, Ranking):
        raise DTypeError(f"rank_intervals: expected a Ranking, got {type(ranking).__name__}")
    ranking = ranking.top()
    if ranking.rank_low is None or ranking.rank_high is None:
        raise ArgumentError(
            "rank_intervals: expected a ranking with intervals, got one without: "
            "am.rank(ev, intervals=True)"
        )
    m = len(ranking)
    if ax is None:
        ax = new_figure(6.4, 1.2 + 0.22 * min(max(m, 3), _NAMED)).subplots()
    places = np.arange(1, m + 1)
    ax.hlines(
        places, ranking.rank_low, ranking.rank_high, color=TRAIN, alpha=0.55,
        linewidth=2.0 if m <= _NAMED else 0.6, rasterized=m > _RASTERIZED,
    )  # fmt: skip
    size = 5 if m <= _NAMED else 2
    ax.plot(ranking.ranks, places, "o", color=TRAIN, markersize=size, rasterized=m > _RASTERIZED)
    ax.set_xscale("log")
    ax.set_xlim(0.8, max(1.25 * float(ranking.rank_high.max(initial=1)), 2.0))
    ax.set_ylim(m + 0.6, 0.4)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    if m <= _NAMED:
        ev = ranking.evidence
        names = [
            f"{r.index}{mark(ev, r.index)} ({_reading(r.predicted, r.given)})" for r in ranking
        ]
        ax.set_yticks(places, names, fontsize=8, parse_math=False)
        ax.tick_params(axis="y", length=0)
    else:
        ax.set_ylabel("place in this list", color=INK)
    ax.set_xlabel(f"rank of {ranking.evidence.n:,}, 90 % interval", color=INK)
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    plain_frame(ax)
    title = f"How sure the ranks are ({ranking.definition.name})"
    ax.set_title(title, loc="left", color=INK, fontsize=11, parse_math=False)
    return figure_of(ax)


def _reading(predicted: object, given: object) -> str:
    return f"{predicted}" if given is None else f"{predicted}->{given}"


def draw_comparison(comparison: Comparison, ax: Axes | None = None) -> Figure:
    """Rank against rank, both logarithmic; who entered or left the first k, and new labels."""
    if ax is None:
        ax = new_figure(5.6, 5.4).subplots()
    x, y, rows = comparison.rank_a, comparison.rank_b, comparison.indices
    top = 1.3 * float(max(x.max(initial=1), y.max(initial=1), comparison.k, 2))
    k = comparison.k + 0.5
    ax.plot([0.8, top], [0.8, top], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.axvline(k, color=FAINT, linewidth=0.8, zorder=1)
    ax.axhline(k, color=FAINT, linewidth=0.8, zorder=1)
    few = len(rows) < _RASTERIZED
    entered, left = np.isin(rows, comparison.entered), np.isin(rows, comparison.left)
    groups = (
        (f"not first {comparison.k} of one alone", ~(entered | left), "#9aa3b8"),
        (f"entered the first {comparison.k}", entered, TRAIN),
        (f"left the first {comparison.k}", left, VALIDATION),
    )
    for order, (name, chosen, color) in enumerate(groups):
        if chosen.any():
            ax.plot(
                x[chosen], y[chosen], "o", color=color, markeredgewidth=0, zorder=2 + order,
                markersize=5 if few or order else 1.5, alpha=0.9 if few or order else 0.4,
                rasterized=not few, label=name if order else None,
            )  # fmt: skip
    changed = np.isin(rows, comparison.relabelled)
    if changed.any():
        ax.plot(
            x[changed], y[changed], "o", color=WRONG, markersize=8, markerfacecolor="none",
            zorder=5, label="relabelled",
        )  # fmt: skip
    names = [comparison.a.definition.name, comparison.b.definition.name]
    if names[0] == names[1]:
        names = [f"{names[0]}, {audit}" for audit in ("first", "second")]
    for axis, label in ((ax.xaxis, names[0]), (ax.yaxis, names[1])):
        axis.set_label_text(f"rank by {label}", color=INK, parse_math=False)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlim(0.8, top)
    ax.set_ylim(0.8, top)
    ax.grid(color="#eeeeee", linewidth=0.8)
    plain_frame(ax)
    title = (
        f"{comparison.overlap:.0%} of the first {comparison.k} in both, tau {comparison.tau:.2f}"
    )
    ax.set_title(title, loc="left", color=INK, fontsize=11)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    return figure_of(ax)
