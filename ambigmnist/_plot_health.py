"""Pictures of how good labels are, and of what it takes to find the wrong ones."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from ambigmnist._estimate import percent
from ambigmnist._figures import FAINT, INK, TRAIN, WRONG, figure_of, new_figure, plain_frame
from ambigmnist.health import ClassHealth
from ambigmnist.reviewing import ReviewCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_class_health", "draw_review_curve"]

_BARS = 40  # classes that a picture has room for


def draw_class_health(health: ClassHealth, ax: Axes | None = None) -> Figure:
    """Two bars per class, worst labels on top, with whiskers; the worst 40 of more classes."""
    shown = health.order[:_BARS]
    if ax is None:
        ax = new_figure(6.4, 1.6 + 0.36 * len(shown)).subplots()
    places = np.arange(len(shown))
    for shares, name, color, side in (
        (health.wrong, "labelled so, but really another", WRONG, -0.2),
        (health.lost, "really so, but labelled as another", TRAIN, 0.2),
    ):
        value, low, high = (100 * part[shown] for part in shares)
        ax.barh(places + side, value, 0.34, color=color, alpha=0.75, label=name)
        ax.hlines(places + side, low, high, color=INK, linewidth=1)
    names = [textwrap.shorten(str(c), 30, placeholder="…") for c in health.classes[shown]]
    ax.set_yticks(places, names, parse_math=False)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.set_xlabel(f"% of the class, with {percent(health.level)} intervals", color=INK)
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    plain_frame(ax)
    ax.tick_params(axis="y", length=0)
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, borderpad=0.2
    )
    title = f"Wrong labels by class: about {health.errors.describe('.0f')} in all"
    if len(shown) < len(health.classes):
        title += f"\nthe worst {len(shown)} of {len(health.classes)} classes"
    if health.note:
        title += "\n" + textwrap.fill(health.note, 60)
    ax.set_title(title, loc="left", color=INK, fontsize=11, pad=24)
    return figure_of(ax)


def draw_review_curve(curve: ReviewCurve, ax: Axes | None = None) -> Figure:
    """Found against looked at, hours above; dashed what looking in any order finds."""
    if ax is None:
        ax = new_figure(6.4, 4.6).subplots()
    low, high = curve.interval()
    looked = curve.looked
    ax.fill_between(
        looked, low, high, color=TRAIN, alpha=0.2, linewidth=0, label=percent(curve.level)
    )
    ax.plot(looked, curve.found, color=TRAIN, linewidth=1.8, label=f"by {curve.order}")
    ends = [0, curve.expected_errors]
    ax.plot([0, curve.n], ends, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="any order")
    if 0 < 0.9 * curve.expected_errors <= curve.found[-1]:
        m = curve.images_for(0.9)
        ax.plot(m, curve.found[m], "o", color=WRONG, markersize=5, zorder=4)
        text = f"90 %: {m} images, {curve.hours[m]:.2g} hours"
        ax.annotate(
            text, (m, curve.found[m]), (10, -12), textcoords="offset points", color=WRONG,
            fontsize=9, va="top",
        )  # fmt: skip
    ax.set_xlim(0, max(curve.n, 1))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("images looked at", color=INK)
    ax.set_ylabel("wrong labels found (expected)", color=INK)
    ax.grid(color="#e6e6e6", linewidth=0.8)
    plain_frame(ax)
    hours = curve.seconds / 3600
    top = ax.secondary_xaxis(
        "top",
        functions=(lambda x: np.multiply(x, hours), lambda x: np.divide(x, hours)),
    )
    top.set_xlabel(f"hours, {curve.seconds:g} s per image", color=INK)
    top.tick_params(colors=INK, length=3)
    top.spines["top"].set_color("#bbbbbb")
    ax.legend(loc="lower right", frameon=False, fontsize=9)
    title = f"About {curve.expected_errors:.0f} wrong labels in {curve.n} images"
    if curve.note:
        title += "\n" + textwrap.fill(curve.note, 60)
    ax.set_title(title, loc="left", color=INK, fontsize=11)
    return figure_of(ax)
