"""The colours of heatmaps."""

from functools import cache
from typing import Any

__all__ = ["RAMP", "colormap", "readable_ink", "shade"]

# Sixteen steps of equal length in OKLab, low to high; zero is almost the paper, in both themes.
RAMP = {
    "light": "f1f7fb d3eff8 b6eaea 9ce0e2 7fd4da 61c7d4 4ab8d1 32a7ce 2297ca 1c83c6 2471c0 2e5eb9 "
    "364cad 363c98 342f85 302171",
    "dark": "23252b 272b46 322e60 3b367a 444096 454fad 3c64bc 2c79c8 098fcf 0ca4cc 06bacc 3accc6 "
    "6adbb7 9ae6a8 c8ee9e f5f59c",
}


@cache
def colormap(theme: str = "light") -> Any:
    """The ramp as a colormap of matplotlib, continuous."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = [f"#{colour}" for colour in RAMP[theme].split()]
    return LinearSegmentedColormap.from_list(f"ambigmnist_{theme}", colours)


def readable_ink(red: float, green: float, blue: float) -> str:
    """Black or white, what has the larger contrast (WCAG 2) to a colour in 0..1: at least 4.5."""
    # Relative luminance; both contrasts are equal where (L + .05)^2 = 1.05 * .05.
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def shade(value: float) -> str:
    """CSS of a cell with a value in 0..1: its colour, and readable ink."""
    colours = RAMP["light"].split()
    colour = colours[min(len(colours) - 1, round(value * (len(colours) - 1)))]
    ink = readable_ink(*(int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)))
    return f"background:#{colour};color:{ink}"
