"""What a report says without a script: numbers, heatmaps, tables, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import __version__
from ambigmnist._in_sample import explained
from ambigmnist.review.charts import curves_svg, reliability_svg
from ambigmnist.review.findings import Findings, Order
from ambigmnist.review.page_data import count_words
from ambigmnist.review.sheets import as_tiles, png_uri

__all__ = ["overview", "probability"]

LEVELS = 16  # shades of a heatmap's square
MOST_CLASSES = 20  # that a heatmap shows
CONTACT, CONTACT_COLUMNS, SHEETS = 48, 12, 3
SHARE = 0.95  # of the wrong labels that are worth finding


def overview(found: Findings, details: bool, made: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Everything for the template but the script's data."""
    ev = found.ev
    return {
        "version": __version__,
        "name": found.name,
        "headline": _headline(found),
        "lead": _lead(found),
        "numbers": list(_numbers(found)),
        "made": [*_made(found), *made],
        "pin": found.pin,
        "classes": found.pin.classes,
        "orders": [
            {
                "title": order.title,
                "means": order.means,
                "formula": order.record.formula,
                "range": order.record.range,
                "source": order.record.source,
            }
            for order in found.orders
        ],
        "maps": list(_maps(found)),
        "clouds": list(_clouds(found)) if details else [],
        "charts": list(_charts(found)),
        "health": _health(found),
        "contact": [_contact(found, order) for order in found.orders[:SHEETS]] if ev.n else [],
    }


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _doubtful(found: Findings) -> int:
    return int((found.verdicts.verdict != "clean").sum())


def _headline(found: Findings) -> str:
    n, few = found.ev.n, len(found.candidates)
    if few < n:
        return f"{_images(few)} of {n:,} to look at"
    doubtful = _doubtful(found)
    if doubtful == 0:
        return f"No verdict against any of {_images(n)}"
    return f"{doubtful:,} of {_images(n)} deserve{'s' if doubtful == 1 else ''} a second look"


def _lead(found: Findings) -> str:
    ev = found.ev
    wrong = int((ev.given_index != ev.predicted_index).sum())
    counts = found.verdicts.counts()
    listed = [
        f"{count:,} {name.replace('_', ' ')}"
        for name, count in counts.items()
        if name != "clean" and count
    ]
    text = f"The model reads {wrong:,} of {ev.n:,} otherwise than they are labelled"
    if wrong == 0:
        text = f"The model reads all of {_images(ev.n)} as labelled"
    else:
        pairs = (ev.given_index * ev.k + ev.predicted_index)[ev.given_index != ev.predicted_index]
        cells, sizes = np.unique(pairs, return_counts=True)
        t, j = divmod(int(cells[sizes.argmax()]), ev.k)
        if sizes.max() > 1:
            text += f", most often {ev.classes[t]} as {ev.classes[j]}"
    text += ". "
    if listed:
        text += f"Verdicts: {', '.join(listed)}. "
    if explained(ev):
        text += f"{explained(ev).capitalize()}: look at others for what it is worth. "
    if len(found.shown) < ev.n:
        text += f"This file holds {len(found.shown):,} of the images. "
    return text + "Press a square to see its images, then judge for yourself."


def _numbers(found: Findings) -> Iterator[tuple[str, str]]:
    ev, curve = found.ev, found.curve
    yield "images", f"{ev.n:,}"
    yield "read as labelled", f"{ev.accuracy * 100:.2f} %"
    yield "log loss", f"{ev.log_loss:.4f}" if math.isfinite(ev.log_loss) else "infinite"
    if curve is None or curve.expected_errors < 0.5:
        yield "to look at", f"{_doubtful(found):,}"
        return
    look = curve.images_for(min(SHARE, curve.found[-1] / curve.expected_errors))
    yield f"hold {SHARE * 100:.0f} % of the errors", f"{look:,}"
    yield "hours saved", f"{(ev.n - look) * curve.seconds / 3600:.1f}"


def _made(found: Findings) -> Iterator[tuple[str, str]]:
    ev = found.ev
    if found.name:
        yield "data", found.name
    yield "SHA-256 of the images", found.pin.images_sha256
    yield "SHA-256 of the labels", found.pin.labels_sha256
    yield "classes", ", ".join(found.pin.classes[:100])
    for key, value in ev.provenance.items():
        if isinstance(value, str | int | float | bool):
            yield str(key), str(value)
    if ev.fold is not None:
        yield "folds", str(len(np.unique(ev.fold)))
    if ev.members is not None:
        yield "networks per image", str(len(ev.members))
    if found.model is not None:
        yield "network", repr(found.model)
    known = "every image was judged by networks that never saw it"
    if ev.in_sample is None:
        known = "not known"
    yield "in sample", explained(ev) or known
    yield "verdicts based on", ", ".join(found.verdicts.based_on)
    yield "shown", f"{_images(len(found.shown))} of {ev.n:,}"
    yield "written by", f"ambigmnist {__version__}"


def _maps(found: Findings) -> Iterator[dict[str, Any]]:
    ev = found.ev
    beside = ~np.eye(ev.k, dtype=bool)
    share = found.probability.matrix
    counts, of_row = found.count.counts, found.count.matrix
    rows = _most_confused(found)
    named = max(map(len, found.pin.classes)) > 2
    few = f" The {len(rows)} classes most confused, of {ev.k}." if len(rows) < ev.k else ""

    top = float(share[beside].max(initial=0))
    yield {
        "kind": "prob",
        "title": "Where the doubt goes",
        "text": f"Probability not given to the label, % of each row.{few}",
        "top": f"{100 * top:.0f} %",
        "columns": rows,
        "named": named,
        "rows": [
            {
                "t": t,
                "cells": [
                    {
                        "j": j,
                        "style": "diag" if t == j else _shade(share[t, j], top),
                        "share": f"{share[t, j]:.4f}",
                        "carried": f"{found.carried[t, j]:.4f}",
                        "text": "" if t == j or share[t, j] < 0.005 else f"{100 * share[t, j]:.0f}",
                    }
                    for j in rows
                ],
            }
            for t in rows
        ],
    }
    most, most_share = int(counts[beside].max(initial=0)), float(of_row[beside].max(initial=0))
    yield {
        "kind": "count",
        "title": f"How the {count_words(found)} were read",
        "text": "Images; hatched: read as labelled",
        "top": str(most),
        "top_share": f"{100 * most_share:.0f} %",
        "columns": rows,
        "named": named,
        "rows": [
            {
                "t": t,
                "cells": [
                    {
                        "j": j,
                        "style": "diag" if t == j else _shade(counts[t, j], most),
                        "by_share": _shade(of_row[t, j], most_share),
                        "share": f"{of_row[t, j]:.4f}",
                        "text": f"{counts[t, j]}" if counts[t, j] else "",
                    }
                    for j in rows
                ],
            }
            for t in rows
        ],
    }


def _most_confused(found: Findings) -> list[int]:
    """The classes that a heatmap has room for, in their order."""
    k = found.ev.k
    if k <= MOST_CLASSES:
        return list(range(k))
    mass = found.probability.counts
    order = np.argsort(-(mass.sum(axis=0) + mass.sum(axis=1)), kind="stable")
    return sorted(order[:MOST_CLASSES].tolist())


def _shade(value: float, top: float) -> str:
    return f"q{min(LEVELS - 1, round((LEVELS - 1) * value / top)) if top else 0}"


def _clouds(found: Findings) -> Iterator[dict[str, str]]:
    ev = found.ev
    if ev.dynamics is not None:
        yield {
            "name": "data_map",
            "title": "What training saw",
            "text": "Up: how sure of the label, on average over the epochs. Right: how much that "
            "changed. Easy images lie at the top left, ambiguous ones to the right, and at the "
            "bottom those whose label was never believed.",
        }
    if ev.embeddings is not None and ev.n > 2:
        yield {
            "name": "embeddings",
            "title": "How alike the images are to a network",
            "text": "The first two principal components of their embeddings; small signs are the "
            "labels of other images.",
        }


def _charts(found: Findings) -> Iterator[dict[str, Any]]:
    from markupsafe import Markup

    reliability = found.reliability
    yield {
        "name": "reliability",
        "title": "What the probabilities are worth",
        "text": f"Expected calibration error {reliability.describe()}: below the diagonal the "
        "model is surer than it is right.",
        "svg": Markup(reliability_svg(reliability)),
    }
    history = {} if found.model is None else found.model.history
    if len(history.get("loss", ())):
        yield {
            "name": "training",
            "title": "How it was trained",
            "text": "The loss, epoch by epoch.",
            "svg": Markup(curves_svg(history)),
        }


def _health(found: Findings) -> dict[str, Any] | None:
    health = found.health
    if health is None:
        return None
    classes = found.ev.classes
    rows = []
    for t in health.order.tolist():
        really = [c for c in health.confused if c.given == classes[t]][:2]
        rows.append({
            "t": t,
            "images": f"{health.images[t]:,}",
            "accuracy": _percent(health.accuracy[t]),
            "confidence": _percent(health.self_confidence[t]),
            "wrong": _interval(*(bound[t] for bound in health.wrong)),
            "lost": _interval(*(bound[t] for bound in health.lost)),
            "really": ", ".join(f"{c.likely} ({c.images:.0f})" for c in really),
        })  # fmt: skip
    errors = health.errors
    text = f"About {errors.value:.0f} wrong labels in all"
    if math.isfinite(errors.low):
        text += f" [{errors.low:.0f}, {errors.high:.0f}]"
    return {"text": f"{text}, by confident learning. {health.note}".strip(), "rows": rows}


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if math.isfinite(share) else ""


def probability(p: float) -> str:
    """In per cent; what is not certain is never told as if it were."""
    if p < 0.0005:
        return "< 0.1 %"
    return f"{p * 100:.1f} %" if p < 0.9995 or p == 1 else "> 99.9 %"


def _interval(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{100 * value:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def _contact(found: Findings, order: Order) -> dict[str, Any]:
    """The first images of an order as one picture, and a table of them."""
    ev = found.ev
    wanted: NDArray[np.bool_] = np.zeros(ev.n, bool)
    wanted[found.candidates] = True
    indices = order.indices
    if order.record.wrong_only:
        wanted &= ev.given_index != ev.predicted_index
    rows = indices[wanted[indices]][:CONTACT]
    assert ev.images is not None
    tiles = as_tiles(ev.images[rows])
    h, w = tiles.shape[1:3]
    lines = max(1, -(-len(rows) // CONTACT_COLUMNS))
    times = max(1, 56 // w)
    return {
        "title": order.title,
        "src": png_uri(tiles, CONTACT_COLUMNS),
        "columns": CONTACT_COLUMNS,
        "width": CONTACT_COLUMNS * w * times,
        "height": lines * h * times,
        "rows": [
            {
                "index": int(i),
                "given": str(ev.given[i]),
                "read": str(ev.predicted[i]),
                "p": probability(float(ev.probs[i].max())),
                "verdict": str(found.verdicts.verdict[i]).replace("_", " "),
            }
            for i in rows
        ],
    }
