"""What the page's script is told, as one object of JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import __version__
from ambigmnist.evidence import Indices
from ambigmnist.review.columns import cloud, column, nearest_of_both, probabilities, shares
from ambigmnist.review.findings import Findings
from ambigmnist.review.merging import MergedReviews, said
from ambigmnist.review.sheets import COLUMNS, PER_SHEET, as_tiles, mostly_dark, sheets
from ambigmnist.review.speaking import LEVELS, patches
from ambigmnist.verdict import VERDICTS

__all__ = ["clouds_of", "page_data"]

NEIGHBOURS = 4  # pictures for each of two readings
WITH_NEIGHBOURS = 2000  # of more images only the first have them
FOR_PLANE = 10_000  # images that settle the axes of the plane of embeddings
WITH_PATCHES = 500  # the same of what speaks for their readings: 196 passes an image


def page_data(found: Findings, details: bool, opinions: MergedReviews | None) -> dict[str, Any]:
    """Columns over the shown images, in the order that they have in the first order."""
    ev, shown = found.ev, found.shown
    judged = found.verdicts
    codes = np.argmax(judged.verdict[shown, np.newaxis] == np.array(VERDICTS), axis=1)
    splits = [] if ev.split is None else np.unique(ev.split).tolist()
    data: dict[str, Any] = {
        "tool": {"name": "ambigmnist", "version": __version__},
        "dataset": found.pin.to_json(),
        "report": {"order": found.orders[0].record.name, "images": len(shown)},
        "maps": {"among": found.count.among, "count_title": count_words(found)},
        "orders": [_order(found, order) for order in found.orders],
        "splits": splits,
        "index": column(shown, "u32"),
        "given": column(ev.given_index[shown], "u16"),
        "read": column(ev.predicted_index[shown], "u16"),
        "second": column(found.second, "u16"),
        "verdict": column(codes, "u8"),
        "p_verdict": shares(judged.probs[shown].max(axis=1)),
        "reason": [judged.reason(i) for i in shown.tolist()],
        "probs": probabilities(ev, shown),
    }
    if ev.split is not None:
        data["split"] = column(np.searchsorted(splits, ev.split[shown]), "u8")
    if ev.fold is not None:
        data["fold"] = column(ev.fold[shown], "u16")
    if ev.in_sample is not None:
        data["in_sample"] = column(ev.in_sample[shown], "u8")
    if ev.members is not None and len(ev.members) > 1:
        votes = ev.members[:, shown].argmax(axis=2).T
        data["votes"] = {"members": len(ev.members), "of": column(votes, "u16")}
    pictures = shown
    if details:
        data["near"], pictures = _neighbours(found)
        data["clouds"] = clouds_of(found)
        if found.model is not None:
            data["speaks"] = _speaks(found)
    else:
        data["clouds"] = {}
    tiles = as_tiles(_images(found, pictures))
    h, w = tiles.shape[1:3]
    data["tile"] = {
        "w": w, "h": h, "columns": COLUMNS, "sheet": PER_SHEET,
        "invert": mostly_dark(tiles[: len(shown)]),
    }  # fmt: skip
    data["sheets"] = sheets(tiles)
    if opinions is not None:
        names = found.pin.classes
        data["opinions"] = {
            str(index): [[who, said(decision, names)] for who, decision in opinion]
            for index, opinion in opinions.opinions.items()
        }
    return data


def count_words(found: Findings) -> str:
    """What the heatmap of counts looks at, in a few words."""
    name, among = found.orders[0].record.name, found.count.among
    return f"{among} least sure" if name == "least_confident" else f"first {among} by {name}"


def _images(found: Findings, rows: Indices) -> NDArray[Any]:
    assert found.ev.images is not None
    return found.ev.images[rows]


def _order(found: Findings, order: Any) -> dict[str, Any]:
    shown = found.shown
    told = {
        "name": order.record.name,
        "title": order.title,
        "formula": order.record.formula,
        "rank": column(order.ranks[shown], "u32"),
        "score": column(np.clip(order.scores[shown], -3e38, 3e38), "f32"),
    }
    bounds = found.bounds(order)
    if bounds is not None:
        told["low"], told["high"] = (column(b, "u32") for b in bounds)
    return told


def _neighbours(found: Findings) -> tuple[dict[str, Any], Indices]:
    """For each image the places of pictures, and which images the pictures are of."""
    ev, shown = found.ev, found.shown
    readings = np.stack([ev.given_index[shown], ev.predicted_index[shown]], axis=1)
    same = readings[:, 0] == readings[:, 1]
    readings[same, 1] = found.second[same]
    near = np.full((len(shown), 2, NEIGHBOURS), -1, np.intp)
    few = slice(0, WITH_NEIGHBOURS)
    near[few] = nearest_of_both(ev, shown[few], readings[few], NEIGHBOURS)
    others = np.setdiff1d(near[near >= 0], shown)
    pictures = np.r_[shown, others]
    slot = np.full(ev.n + 1, -1, np.intp)  # the last: of -1
    slot[pictures] = np.arange(len(pictures))
    told = {
        "each": NEIGHBOURS,
        "slots": column(slot[near], "i32"),
        "label": column(ev.given_index[pictures], "u16"),
        "index": column(pictures, "u32"),
    }
    return told, pictures


def clouds_of(found: Findings) -> dict[str, Any]:
    """Images in a plane: by what training saw, and by their embeddings."""
    ev, shown = found.ev, found.shown
    others = np.setdiff1d(np.arange(ev.n), shown)
    clouds = {}
    if ev.dynamics is not None:
        x, y = ev.dynamics["variability"], ev.dynamics["confidence"]
        if np.isfinite(x).all() and np.isfinite(y).all():
            clouds["data_map"] = cloud(ev, x, y, shown, others)
    if ev.embeddings is not None and ev.n > 2:
        x, y = _plane(ev.embeddings)
        clouds["embeddings"] = cloud(ev, x, y, shown, others)
    return clouds


def _plane(vectors: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first two principal components; their signs make the largest entry positive."""
    some = vectors[:: -(-len(vectors) // FOR_PLANE)].astype(np.float64)  # settle the axes
    centre = some.mean(axis=0)
    some -= centre
    _, axes = np.linalg.eigh(some.T @ some)
    first = axes[:, ::-1][:, :2]
    first = first * np.sign(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])])
    flat = np.asarray(vectors @ first.astype(vectors.dtype), np.float64) - centre @ first
    return flat[:, 0], flat[:, -1]


def _speaks(found: Findings) -> dict[str, Any]:
    assert found.model is not None
    shown = found.shown[:WITH_PATCHES]
    first, second = found.ev.predicted_index[shown], found.second[:WITH_PATCHES]
    levels = patches(found.model, _images(found, shown), first, second)
    rows, cols = levels.shape[1:]
    return {
        "count": len(shown),
        "rows": rows,
        "cols": cols,
        "levels": column(levels + LEVELS, "u8"),
    }
