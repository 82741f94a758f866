"""``ambigmnist review``: several people's decisions merged, and decisions applied to the data."""

import argparse
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ambigmnist._command_data import load_data
from ambigmnist._command_io import put, threads
from ambigmnist._command_report import evidence_of
from ambigmnist._command_result import progress_of
from ambigmnist.errors import ArgumentError

if TYPE_CHECKING:
    from ambigmnist.datasets import Dataset
    from ambigmnist.review import Review

__all__ = ["run_apply", "run_merge"]

WEIGHTS = "weights.npz"
ARRAYS = "data.npz"


def run_merge(args: argparse.Namespace) -> None:
    """Writes what the reviews agree on; prints the conflicts."""
    from ambigmnist.review import load_review, merge_reviews, report

    if args.report is not None and args.evidence is None:
        raise ArgumentError("--report: expected --evidence too, the audit that was reviewed")
    merged = merge_reviews(map(load_review, args.reviews))
    with threads(None):
        if args.report is not None and len(merged):
            report(evidence_of(args.evidence), args.report, where=merged)
    merged.review.save(args.out)
    if args.json:
        facts = {
            "reviewers": list(merged.reviewers),
            "agreed": len(merged.review),
            "conflicts": merged.conflicts.tolist(),
            "judged_by_all": merged.both,
            "agreement": None if np.isnan(merged.agreement) else merged.agreement,
            "kappa": None if np.isnan(merged.kappa) else merged.kappa,
        }
        put(json.dumps(facts, indent=1))
    else:
        put(f"{merged}\n\n{args.out}")


def run_apply(args: argparse.Namespace) -> None:
    """Fills the folder `args.out` with the corrected data."""
    from ambigmnist._folder import FORMAT, SUMMARY, OutputFolder
    from ambigmnist._idx import idx_bytes
    from ambigmnist._mnist import FILES
    from ambigmnist.review import apply_review, load_review, sample_weight, soft_labels

    review = load_review(args.review)
    kept = [ARRAYS] if args.npz else list(FILES)
    with OutputFolder(args.out) as folder:
        folder.require_free([*kept, WEIGHTS, SUMMARY])
        train, test, notes = load_data(args.data, progress_of(args))
        part, reviewed = _part(review, train, test)
        corrected = apply_review(reviewed, review, undo=args.undo, ambiguous=args.ambiguous)
        assert corrected.labels is not None
        assert reviewed.labels is not None
        parts = {"train": train, "test": test}
        if part == "all":
            n = len(train)
            parts = {"train": corrected[:n], "test": corrected[n:]}
        else:
            parts[part] = corrected
        arrays = [a for data in parts.values() for a in (data.images, data.labels)]
        labels = np.concatenate([np.asarray(a) for a in arrays[1::2]])
        if not args.npz and (labels.dtype.kind != "i" or labels.min() < 0 or labels.max() > 255):
            raise ArgumentError("--npz: expected it, for IDX files hold labels 0..255 alone")
        changed = np.flatnonzero(reviewed.labels != corrected.labels)
        summary = {
            "format": FORMAT,
            "format_version": 1,
            "data": {"name": train.name, "sha256": {k: d.sha256 for k, d in parts.items()}},
            "review": {
                "part": part,
                "undo": args.undo,
                "reviewer": review.reviewer,
                "decisions": {name: count for name, count in review.counts().items() if count},
                "changed": changed.tolist(),
                "classes": np.asarray(corrected.classes).tolist(),
            },
            "notes": notes,
            "files": sorted([*kept, WEIGHTS, SUMMARY]),
        }
        with folder.update() as stage:
            if args.npz:
                names = ("train_images", "train_labels", "test_images", "test_labels")
                np.savez_compressed(stage.path(ARRAYS), **dict(zip(names, arrays, strict=True)))  # type: ignore[arg-type]
            else:
                for name, array in zip(FILES, arrays, strict=True):
                    stage.write(name, idx_bytes(np.asarray(array, np.uint8)))
            np.savez_compressed(
                stage.path(WEIGHTS),
                soft_labels=soft_labels(reviewed, review),
                sample_weight=sample_weight(reviewed, review),
            )
            stage.write(SUMMARY, json.dumps(summary, indent=1).encode() + b"\n")
    put(json.dumps(summary, indent=1) if args.json else _told(review, part, changed, folder.path))


def _told(review: "Review", part: str, changed: Any, path: Any) -> str:
    which = {"all": "training and test images", "train": "training images", "test": "test images"}
    labels = f"{len(changed):,} label{'' if len(changed) == 1 else 's'} changed"
    return f"{review}\n\n{labels} of the {which[part]}\n{path.absolute()}"


def _part(review: "Review", train: "Dataset", test: "Dataset") -> tuple[str, "Dataset"]:
    """What the review is about: the training part, the test part, or both."""
    from ambigmnist.review import Pin

    pin = review.dataset
    parts = {"train": train, "test": test}
    for name, data in parts.items():
        if len(data) == pin.n and Pin.of(data).images_sha256 == pin.images_sha256:
            return name, data
    return "all", train + test
