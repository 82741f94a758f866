"""What the command leaves behind: the page, the pictures, the tables, the model, the summary."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ambigmnist._folder import FORMAT, SUMMARY, Stage
from ambigmnist.evidence import AXES, Evidence
from ambigmnist.heatmap import heatmap
from ambigmnist.plot import data_map, gallery, reliability_diagram, training_curves
from ambigmnist.ranking import Ranking, _csv_cell, _wrong_note, rank
from ambigmnist.review.findings import Findings, usual
from ambigmnist.review.reporting import page
from ambigmnist.verdict import Verdicts, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from ambigmnist.datasets import Dataset
    from ambigmnist.model import CNN

__all__ = ["Result", "file_names", "write_result"]

FORMAT_VERSION = 1
ENLARGED = 10  # a pixel of an image is this many pixels wide in top/
DPI = 150
ON_PAGE = 1000  # images that the page shows at most


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
    evidence: Evidence
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
    counts: dict[str, Any] = {}
    judged: Verdicts | None = None
    if result.audited is not None:
        result.audited.save(stage.path("evidence.npz"))
        found = verdicts(result.audited)
        found.to_csv(stage.path("verdicts.csv"))
        counts = {"verdicts": found.counts()}
        judged = found if result.audited is result.evidence else None
    if result.model is not None:
        result.model.save(stage.path("model.safetensors"), metadata=result.metadata)
    summary = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **result.summary,
        **counts,
        "top": lists,
        "heatmaps": {
            kind: {"matrix": heat.matrix.tolist(), "counts": heat.counts.tolist()}
            for kind, heat in maps.items()
        },
        "files": sorted([*stage.names, "index.html", SUMMARY]),
    }
    stage.write("index.html", _page(result, summary, rankings, judged))
    stage.write(SUMMARY, json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n")
    return summary


class Chart(NamedTuple):
    """A picture besides heatmaps and galleries."""

    file: str
    draw: "Callable[[], Figure]"


def _charts(result: Result) -> list[Chart]:
    model, ev = result.model, result.evidence
    if model is not None:
        if len(model.history.get("loss", ())) == 0:
            return []
        return [Chart("training-curves", partial(training_curves, model))]
    charts = [Chart("reliability", partial(reliability_diagram, ev))]
    if ev.dynamics is not None:
        charts.insert(0, Chart("data-map", partial(data_map, ev)))
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
    result: Result,
    summary: dict[str, Any],
    rankings: dict[str, Ranking],
    judged: Verdicts | None,
) -> bytes:
    """The report, of the images that were ranked, by the definitions asked for first."""
    ev, model = result.evidence, result.model
    if model is not None:
        fields = {name: getattr(ev, name) for name in AXES}
        fields["embeddings"] = model.embed(result.data.images)
        ev = Evidence(**fields, classes=ev.classes, provenance=ev.provenance)
    found = Findings(
        ev,
        np.arange(ev.n),
        ON_PAGE,
        [*rankings, *(name for name in usual(ev) if name not in rankings)],
        judged,
        summary["data"]["title"],
        model,
    )
    made = [("images", _judged(result, summary)), ("run", _provenance(summary))]
    made += [*_numbers(summary), *_hashes(summary)]
    files = [name for name in summary["files"] if "/" not in name and name != "index.html"]
    return page(found, notes=result.notes, made=made, files=files).encode()


def _judged(result: Result, summary: dict[str, Any]) -> str:
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
    return f"{parts} of {summary['data']['title']}, judged {how}"


def _numbers(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for split, found in summary["evaluation"].items():
        split += " (in sample)" if found["in_sample"] else ""
        yield f"accuracy, {split}", f"{found['accuracy'] * 100:.2f} %"
        loss = found["log_loss"]
        yield f"log loss, {split}", "infinite" if loss is None else f"{loss:.4f}"
        yield f"wrong, {split}", f"{found['wrong']:,} of {found['images']:,}"


def _hashes(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for split, digest in summary["data"]["sha256"].items():
        yield f"SHA-256, {split}", digest


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
        f"ambigmnist {summary['version']}, {made}, {summary['threads']} threads, {summary['isa']}"
    )
