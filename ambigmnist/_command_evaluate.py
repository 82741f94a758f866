"""``ambigmnist evaluate``: how well an audit finds what was planted."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ambigmnist._command_io import put
from ambigmnist._command_plant import TRUTH
from ambigmnist._command_report import evidence_of
from ambigmnist.errors import ArgumentError, DataError

__all__ = ["run_evaluate"]

VERDICT = "verdict"
OF_KIND = {
    "flip": "mislabelled",
    "blend": "ambiguous",
    "occlusion": "unreadable",
    "noise": "unreadable",
}


def run_evaluate(args: argparse.Namespace) -> None:
    """Prints a table."""
    from ambigmnist.evaluation import evaluate
    from ambigmnist.planting import Truth

    ev = evidence_of(args.evidence)
    truth = Truth.from_csv(_inside(args.truth, TRUTH))
    if len(truth) != ev.n:
        raise DataError(
            f"{args.truth}: expected the truth about the {ev.n} images of {args.evidence}, "
            f"got one about {len(truth)}"
        )
    if ev.labels is not None and not np.array_equal(ev.labels, truth.labels):
        raise DataError(
            f"{args.truth}: expected the labels of {args.evidence}, got others: "
            "the audit must be of the planted data"
        )
    mask = truth.mask() if args.kind == "any" else truth.mask(args.kind)
    if not mask.any():
        raise ArgumentError(f"{args.truth}: nothing of the kind {args.kind!r} was planted")
    found = evaluate(_scores(ev, args), mask, k=args.k, resamples=args.resamples)
    order = sorted(found, key=lambda name: -found[name].average_precision.value)
    if args.json:
        measures = ("average_precision", "auroc", "f1", "precision", "recall")
        rows = {n: {m: list(getattr(found[n], m)) for m in measures} for n in order}
        first = found[order[0]]
        put(json.dumps({"planted": first.planted, "k": first.k, "scores": rows}, indent=1))
    else:
        put(repr(found))


def _inside(path: Path, name: str) -> Path:
    return path / name if path.is_dir() else path


def _scores(ev: Any, args: argparse.Namespace) -> dict[str, Any]:
    """By name; without names, by every definition that the evidence has all that it needs for."""
    from ambigmnist.definitions import definitions, find
    from ambigmnist.verdict import verdicts

    names = args.by or [d.name for d in definitions()] + [VERDICT] * (ev.labels is not None)
    scores = {}
    for name in dict.fromkeys(names):
        if name == VERDICT:
            judged = verdicts(ev)
            verdict = OF_KIND.get(args.kind)
            scores[name] = 1 - judged.p("clean") if verdict is None else judged.p(verdict)
            continue
        try:
            scores[name] = ev.score(find(name))
        except ArgumentError:
            if args.by:
                raise
    return scores
