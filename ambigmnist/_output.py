"""What the command leaves behind: the page, the pictures, the tables, the model, the summary."""

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ambigmnist._colours import RAMP
from ambigmnist._folder import FORMAT, SUMMARY, Stage
from ambigmnist._in_sample import LEGEND, MARK, WHILE_TRAINED
from ambigmnist.definitions import find
from ambigmnist.heatmap import Heatmap, heatmap
from ambigmnist.plot import data_map, gallery, reliability_diagram, training_curves
from ambigmnist.ranking import Ranking, _csv_cell, _wrong_note, rank
from ambigmnist.verdict import verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from ambigmnist.datasets import Dataset
    from ambigmnist.evidence import Evidence
    from ambigmnist.model import CNN

__all__ = ["Result", "file_names", "write_result"]

FORMAT_VERSION = 1
ENLARGED = 10  # a pixel of an image is this many pixels wide in top/
DPI = 150
LEVELS = 16  # shades of a heatmap cell on the page
HEADINGS = {
    "least_confident": (
        "Least confident",
        "The model gives even its favourite reading little weight: it can see two things in them, "
        "or nothing.",
    ),
    "confident_wrong": (
        "Confident, but not what the label says",
        "The model is sure and disagrees with the label: look for wrong labels here, and for what "
        "the model has not learned.",
    ),
    "confident_learning": (
        "Labels that others contradict",
        "Networks that never saw the image read something else than its label, and more surely "
        "than is usual for what they read: wrong labels come first.",
    ),
    "aum": (
        "Labels that could not be learned",
        "Networks that were trained on the image with its label still preferred another reading "
        "on average: wrong labels, and images like no other of their class.",
    ),
    "neighbour_disagreement": (
        "Among others",
        "The ten images that look most alike to a network have other labels.",
    ),
}


@dataclass(frozen=True)
class Result:
    """Everything that the folder shows."""

    data: "Dataset"
    """The images that were ranked."""
    split: NDArray[Any]
    """(n,): ``"train"`` or ``"test"``."""
    index: NDArray[np.intp]
    """(n,): where the image is within its split."""
    in_sample: list[bool | None]
    """(n,): whether the model was fitted to this image; None if nobody knows."""
    evidence: "Evidence"
    model: "CNN | None"
    """The network, which is kept."""
    audited: "Evidence | None"
    """Of an audit, which has no one network: the evidence about all images, which is kept."""
    metadata: dict[str, str]
    """Texts for the model's file."""
    by: list[str]
    top: int
    summary: dict[str, Any]
    """What `write_result` completes with the top lists and the files."""
    notes: list[str]
    """Warnings that belong on the page, too."""


def file_names(by: list[str], kept: list[str], charts: list[str]) -> list[str]:
    """The files whose names are known beforehand, and one for the pictures in each folder.

    `kept`: what is kept of the work; `charts`: pictures besides heatmaps and galleries.
    """
    pictures = ["heatmap-probability", "heatmap-count", *charts]
    pictures += [f"gallery-{name}" for name in by]
    return [
        *("index.html", "ranking.csv", *kept, SUMMARY),
        *(f"{name}.{kind}" for name in pictures for kind in ("png", "svg")),
        *(f"top/{name}/picture.png" for name in by),
    ]


def write_result(stage: Stage, result: Result) -> dict[str, Any]:
    """Writes every file, ``summary.json`` last; returns what is in it."""
    rankings = {name: rank(result.evidence, by=name) for name in result.by}
    tops = {name: _top(ranking, result.top) for name, ranking in rankings.items()}
    charts = _charts(result)
    maps = {kind: heatmap(result.evidence, kind=kind) for kind in ("probability", "count")}

    for kind, heat in maps.items():
        _write_figure(stage, f"heatmap-{kind}", heat.plot())
    for name, top in tops.items():
        if len(top):
            _write_figure(stage, f"gallery-{name}", gallery(top, names=_names(result)))
    for chart in charts:
        _write_figure(stage, chart.file, chart.draw())
    lists = {name: list(_top_list(stage, result, name, top)) for name, top in tops.items()}
    stage.write("ranking.csv", _ranking_csv(result, rankings))
    judged: dict[str, Any] = {}
    if result.audited is not None:
        result.audited.save(stage.path("evidence.npz"))
        found = verdicts(result.audited)
        found.to_csv(stage.path("verdicts.csv"))
        judged = {"verdicts": found.counts()}
    if result.model is not None:
        result.model.save(stage.path("model.safetensors"), metadata=result.metadata)
    summary = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **result.summary,
        **judged,
        "top": lists,
        "heatmaps": {
            kind: {"matrix": heat.matrix.tolist(), "counts": heat.counts.tolist()}
            for kind, heat in maps.items()
        },
        "files": sorted([*stage.names, "index.html", SUMMARY]),
    }
    stage.write("index.html", _page(result, summary, maps, charts))
    stage.write(SUMMARY, json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n")
    return summary


class Chart(NamedTuple):
    """A picture besides heatmaps and galleries."""

    file: str
    title: str
    text: str
    draw: "Callable[[], Figure]"


def _charts(result: Result) -> list[Chart]:
    model, ev = result.model, result.evidence
    if model is not None:
        if len(model.history.get("loss", ())) == 0:
            return []
        text = "Loss and accuracy by epoch."
        draw = partial(training_curves, model)
        return [Chart("training-curves", "How it was trained", text, draw)]
    text = "How often the networks are right, by how sure they are: on the diagonal, as they say."
    draw = partial(reliability_diagram, ev)
    charts = [Chart("reliability", "What the probabilities are worth", text, draw)]
    if ev.dynamics is not None:
        text = (
            "Each image by what networks made of it while they were trained on it: how sure of the "
            "label on average, and how much that changed. Easy ones lie at the top left, ambiguous "
            "ones to the right, and at the bottom those that were never believed."
        )
        draw = partial(data_map, ev)
        charts.insert(0, Chart("data-map", "What training saw", text, draw))
    return charts


def _top(ranking: Ranking, k: int) -> Ranking:
    """What ``rank(..., k=k)`` gives, without ranking again."""
    top = ranking.top()[:k]
    if ranking.definition.wrong_only and len(top) < k:
        top.note = f"{_wrong_note(len(top))}, {k} were asked for"
    return top


def _names(result: Result) -> list[str]:
    """What the pictures call each image: the same as the tables do."""
    if len(result.summary["ranked"]["splits"]) == 1:
        return [str(index) for index in result.index]
    return [f"{split} {i}" for split, i in zip(result.split, result.index, strict=True)]


def _write_figure(stage: Stage, name: str, figure: "Figure") -> None:
    import matplotlib

    # Without a salt the identifiers inside an SVG are new every time.
    with matplotlib.rc_context({"svg.hashsalt": "ambigmnist"}):
        for kind, metadata in (
            ("png", {"Software": None}),
            ("svg", {"Date": None, "Creator": None}),
        ):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
            stage.write(f"{name}.{kind}", buffer.getvalue())


def _ranking_csv(result: Result, rankings: dict[str, Ranking]) -> bytes:
    """Every ranked image, in the order of the first definition."""
    ev = result.evidence
    n = np.arange(ev.n)
    columns: dict[str, list[Any]] = {
        "index": result.index.tolist(),
        "split": result.split.tolist(),
        "given": ev.given.tolist(),
        "predicted": ev.predicted.tolist(),
        "p_given": _exact(ev.probs[n, ev.given_index]),
        "p_predicted": _exact(ev.probs[n, ev.predicted_index]),
        "in_sample": result.in_sample,
    }
    for name, ranking in rankings.items():
        ranks = np.empty(ev.n, np.intp)
        ranks[ranking.indices] = ranking.ranks
        scores = np.empty(ev.n)
        scores[ranking.indices] = ranking.scores
        columns[f"{name}_score"] = scores.tolist()
        columns[f"{name}_rank"] = ranks.tolist()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    order = rankings[result.by[0]].indices.tolist()
    cells = [[_csv_cell(v) for v in column] for column in columns.values()]
    writer.writerows([column[i] for column in cells] for i in order)
    return text.getvalue().encode()


def _exact(values: NDArray[Any]) -> list[str]:
    """As few digits as read back to the same number of the same type."""
    return [str(value) for value in values]


def _top_list(
    stage: Stage, result: Result, name: str, ranking: Ranking
) -> Iterator[dict[str, Any]]:
    """Writes the pictures of a top list; yields what the summary says about each image."""
    ev = result.evidence
    for item in ranking:
        i = item.index
        number = int(result.index[i])
        picture = f"top/{name}/{item.rank}-{number}-{_safe(item.predicted)}-{_safe(item.given)}.png"
        stage.write(picture, _enlarged(result.data.images[i]))
        yield {
            "rank": item.rank,
            "split": str(result.split[i]),
            "index": number,
            "given": item.given,
            "predicted": item.predicted,
            "score": item.score,
            "p_given": float(ev.probs[i, ev.given_index[i]]),
            "p_predicted": float(ev.probs[i, ev.predicted_index[i]]),
            "in_sample": result.in_sample[i],
            "picture": picture,
        }


def _safe(label: object) -> str:
    """A class value as part of a file name: the same for no other file, as the rank is in it."""
    return re.sub(r"[^A-Za-z0-9]+", "_", str(label))[:40]


def _enlarged(image: NDArray[Any]) -> bytes:
    """A PNG with every pixel as a square."""
    from PIL import Image

    if image.dtype != np.uint8:
        image = np.rint(image * 255).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] not in (3, 4):
        image = image[..., 0]  # not a colour image: its first channel
    picture = Image.fromarray(image)
    size = (picture.width * ENLARGED, picture.height * ENLARGED)
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _page(
    result: Result, summary: dict[str, Any], maps: dict[str, Heatmap], charts: list[Chart]
) -> bytes:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("ambigmnist"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    ramp = {theme: [f"#{c}" for c in colours.split()] for theme, colours in RAMP.items()}
    style = environment.get_template("index.css.j2").render(ramp=ramp)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    images = result.data.images
    page = environment.get_template("index.html.j2").render(
        # Nothing but this folder's pictures and the style sheet above; file: because a page
        # opened from a disk has no origin that 'self' could name.
        policy=f"default-src 'none'; img-src 'self' file: data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),
        s=summary,
        headline=_headline(result),
        lead=_lead(result, summary),
        notes=result.notes,
        numbers=list(_numbers(summary)),
        classes=[str(c) for c in result.evidence.classes],
        maps=[_map(kind, found) for kind, found in maps.items()],
        lists=[_list(result, name, summary["top"][name]) for name in result.by],
        width=images.shape[2] * ENLARGED,
        height=images.shape[1] * ENLARGED,
        # Ink on paper in a light room; white on black, as stored, in a dark one.
        invert=images.ndim == 3 and _mean(images) < 0.5,
        charts=charts,
        kept="evidence.npz" if result.model is None else "model.safetensors",
        provenance=_provenance(summary),
    )
    return page.encode()


def _mean(images: NDArray[Any]) -> float:
    """From 0, all black, to 1."""
    return float(images.mean()) / (255 if images.dtype == np.uint8 else 1)


def _headline(result: Result) -> str:
    """The finding in one sentence."""
    ev = result.evidence
    wrong = np.flatnonzero(ev.given_index != ev.predicted_index)
    if len(wrong) == 0:
        return f"All {ev.n:,} images are read as labelled"
    subject = f"{len(wrong):,} of {ev.n:,} images {'is' if len(wrong) == 1 else 'are'}"
    text = f"{subject} not read as labelled"
    pairs = ev.given_index[wrong] * ev.k + ev.predicted_index[wrong]
    found, counts = np.unique(pairs, return_counts=True)
    most = int(np.argmax(counts))
    if counts[most] > 1:
        given, predicted = divmod(int(found[most]), ev.k)
        text += f", most often {ev.classes[given]} as {ev.classes[predicted]}"
    return text


def _lead(result: Result, summary: dict[str, Any]) -> str:
    parts = " and ".join(
        f"the {len(result.split[result.split == split]):,} {word} images"
        for split, word in (("train", "training"), ("test", "test"))
        if split in summary["ranked"]["splits"]
    )
    model = summary["model"]
    if "audit" in summary:
        members = summary["audit"]["members"]
        judge = "a network" if members == 1 else f"{members} networks"
        how = f"by what {judge} that never saw it made of each"
    elif model["file"] is None:
        images = summary["data"]["images"]["train"]
        how = f"by a small network trained on its {images:,} training images"
    else:
        how = f"by the network in {model['file']}"
    return (
        f"These are {parts} of {summary['data']['title']}, ranked {how}: first those that the "
        "network would have liked a second opinion on. Look at them, and judge for yourself."
    )


def _numbers(summary: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for split, found in summary["evaluation"].items():
        split += " (in sample)" if found["in_sample"] else ""
        yield f"accuracy, {split}", f"{found['accuracy'] * 100:.2f}", "%"
        loss = found["log_loss"]
        yield f"log loss, {split}", "infinite" if loss is None else f"{loss:.4f}", ""
        yield f"wrong, {split}", f"{found['wrong']:,}", f"of {found['images']:,}"


def _map(kind: str, found: Heatmap) -> dict[str, Any]:
    """A heatmap as rows of cells; the diagonal is hatched and does not set the scale."""
    share = kind == "probability"
    values = found.matrix * 100 if share else found.counts.astype(np.float64)
    beside = values[~np.eye(len(values), dtype=bool)]
    most = max(float(beside.max(initial=0)), 1e-300)
    rows = []
    for t, row in enumerate(values):
        cells = []
        for j, value in enumerate(row):
            shown = f"{value:.0f}" if value >= 0.5 else ""
            level = min(int(value / most * LEVELS), LEVELS - 1)
            cells.append({"text": shown, "style": "d" if t == j else f"s{level}"})
        rows.append(cells)
    if share:
        title = "Where the doubt goes"
        text = "Of the probability that images of a label give to other classes: per cent of a row."
    else:
        title = f"How the {found.among} least sure were read"
        text = "Images by label and reading; on the diagonal it was right all the same."
    text += "".join(f" {note.capitalize()}." for note in found._in_sample_notes())
    return {"title": title, "text": text, "rows": rows, "file": f"heatmap-{kind}"}


def _list(result: Result, name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    record = find(name)
    title, text = HEADINGS.get(name, (name.replace("_", " ").capitalize(), ""))
    if record.wrong_only and len(items) < result.top:
        text += f" There are {len(items)} such images." if items else " There are none."
    right = sum(item["given"] == item["predicted"] for item in items)
    if right:
        text += f" It reads {right} of these {len(items)} as labelled all the same."
    shown = [
        {
            **item,
            "src": item["picture"],
            "mark": MARK if item["in_sample"] else "",
            "wrong": item["given"] != item["predicted"],
            "p_given": _percent(item["p_given"]),
            "p_predicted": _percent(item["p_predicted"]),
            "score": f"{item['score']:.4g}",
        }
        for item in items
    ]
    return {
        "name": name,
        "title": title,
        "text": text,
        "formula": record.formula,
        "legends": [
            *([f"{WHILE_TRAINED.capitalize()}."] if record.in_sample else []),
            *([LEGEND] if any(item["in_sample"] for item in items) else []),
        ],
        "images": shown,
        "file": f"gallery-{name}",
    }


def _percent(p: float) -> str:
    if p < 0.0005:
        return "< 0.1 %"
    return f"{p * 100:.1f} %" if p < 0.9995 or p == 1 else "> 99.9 %"


def _provenance(summary: dict[str, Any]) -> str:
    model = summary["model"]
    made = (
        f"preset {model['preset']}, seed {model['seed']}"
        if model["file"] is None
        else f"model {model['file']}"
    )
    if "audit" in summary:
        made += "".join(f", {name} {value}" for name, value in summary["audit"].items() if value)
    return (
        f"ambigmnist {summary['version']}, {made}, {summary['threads']} threads, "
        f"{summary['isa']}. SHA-256 of the data:"
    )
