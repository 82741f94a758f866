"""What the jobs of the command have in common: parts, summary, folder, printed table."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ambigmnist._command_io import put, say

if TYPE_CHECKING:
    from ambigmnist._folder import OutputFolder
    from ambigmnist.datasets import Dataset
    from ambigmnist.evidence import Evidence
    from ambigmnist.model import CNN

__all__ = ["Known", "progress_of", "write"]

SHOWN = 12  # rows of the table that is printed

Known = list[bool | None]  # of each image: whether the model was fitted to it; None: nobody knows


def progress_of(args: argparse.Namespace) -> Callable[[str], None]:
    """Says what is being done, unless asked not to."""
    return (lambda text: None) if args.quiet else say


def write(
    args: argparse.Namespace,
    folder: "OutputFolder",
    train: "Dataset",
    test: "Dataset",
    both: "Dataset",
    ev: "Evidence",
    in_sample: Known,
    made: dict[str, Any],
    notes: list[str],
    *,
    model: "CNN | None" = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Fills the folder and prints; `both` and `ev` are of the training part, then the test part.

    `made`: how the evidence was got, for the summary. Without a `model` the evidence itself is
    kept.
    """
    from ambigmnist._output import Result, write_result

    index = np.concatenate([np.arange(len(train)), np.arange(len(test))])
    parts = {"train": slice(0, len(train)), "test": slice(len(train), len(both))}
    rows = parts.get(args.split, slice(None))
    evaluation = {name: _evaluated(ev[part], in_sample[part]) for name, part in parts.items()}
    result = Result(
        data=both[rows],
        split=np.asarray(both.split)[rows],
        index=index[rows],
        in_sample=in_sample[rows],
        evidence=ev if args.split == "all" else ev[rows],
        model=model,
        audited=ev if model is None else None,
        metadata=metadata or {},
        by=args.by,
        top=args.top,
        summary=_summary(args, train, test, ev, evaluation, made),
        notes=notes,
    )
    progress_of(args)("drawing")
    with folder.update() as stage:
        summary = write_result(stage, result)
    page = (folder.path / "index.html").absolute()
    put(json.dumps(summary, indent=1) if args.json else _table(summary, page))


def _evaluated(ev: "Evidence", in_sample: Known) -> dict[str, Any]:
    return {
        "images": ev.n,
        "wrong": int((ev.given_index != ev.predicted_index).sum()),
        "accuracy": ev.accuracy,
        # JSON has no infinity.
        "log_loss": ev.log_loss if np.isfinite(ev.log_loss) else None,
        "in_sample": None if None in in_sample else sum(map(bool, in_sample)),
    }


def _summary(
    args: argparse.Namespace,
    train: "Dataset",
    test: "Dataset",
    ev: "Evidence",
    evaluation: dict[str, Any],
    made: dict[str, Any],
) -> dict[str, Any]:
    from ambigmnist.config import show_config

    config = show_config(mode="object")
    assert config is not None
    titles = {"mnist": "MNIST", "digits": "the UCI digits"}
    return {
        "version": config.version,
        "data": {
            "name": train.name,
            "title": titles.get(train.name, train.name),
            "sha256": {"train": train.sha256, "test": test.sha256},
            "images": {"train": len(train), "test": len(test)},
            "shape": list(train.images.shape[1:]),
            "classes": ev.classes.tolist(),
        },
        **made,
        "threads": config.threads,
        "isa": config.instruction_set,
        "strict": config.strict,
        "evaluation": evaluation,
        "ranked": {
            "split": args.split,
            "splits": ["train", "test"] if args.split == "all" else [args.split],
            "by": args.by,
            "top": args.top,
        },
    }


def _table(summary: dict[str, Any], page: Path) -> str:
    """What is printed: the numbers, then the first of each list side by side."""
    from ambigmnist._in_sample import LEGEND, MARK, SOME, WHILE_TRAINED
    from ambigmnist._tables import text_table
    from ambigmnist.definitions import find

    evaluation = summary["evaluation"]
    numbers = text_table(
        ("", "accuracy", "log loss", "wrong"),
        [
            (
                f"{split}{MARK if found['in_sample'] else ''}",
                f"{found['accuracy'] * 100:.2f} %",
                "infinite" if found["log_loss"] is None else f"{found['log_loss']:.6f}",
                f"{found['wrong']:,} of {found['images']:,}",
            )
            for split, found in evaluation.items()
        ],
    )
    if any(found["in_sample"] for found in evaluation.values()):
        numbers += f"\n{MARK} {SOME}"
    several = len(summary["ranked"]["splits"]) > 1
    lists = list(summary["top"].values())
    rows = []
    for i in range(min(SHOWN, max(map(len, lists)))):
        cells = [_cell(found[i], several) if i < len(found) else "" for found in lists]
        rows.append((f"{i + 1:>4}", *cells))
    ranking = text_table(("rank", *summary["top"]), rows)
    if any(item["in_sample"] for found in lists for item in found[:SHOWN]):
        ranking += f"\n{LEGEND}"
    for name in summary["top"]:
        if find(name).in_sample:
            ranking += f"\n{name}: {WHILE_TRAINED}"
    if "verdicts" in summary:
        listed = ", ".join(f"{count:,} {name}" for name, count in summary["verdicts"].items())
        numbers += f"\n\nVerdicts: {listed}"
    return (
        f"{summary['data']['title']}\n{numbers}\n\n"
        f"Most ambiguous: image (read as->label) score\n{ranking}\n\n{page}"
    )


def _cell(item: dict[str, Any], several: bool) -> str:
    from ambigmnist._in_sample import MARK

    which = f"{item['split']} {item['index']}" if several else f"{item['index']}"
    mark = MARK if item["in_sample"] else ""
    return f"{which}{mark} ({item['predicted']}->{item['given']}) {item['score']:.4f}"
