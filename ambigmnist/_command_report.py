"""``ambigmnist report``: the page of an audit, of more images or of some, in other orders."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ambigmnist._command_io import put, threads
from ambigmnist.errors import DataNotFoundError

if TYPE_CHECKING:
    from ambigmnist.evidence import Evidence

__all__ = ["evidence_of", "run_report"]


def run_report(args: argparse.Namespace) -> None:
    """Writes the file `args.out`."""
    from ambigmnist.review import load_review, merge_reviews, report

    with threads(args.threads):
        ev = evidence_of(args.evidence)
        where = None
        if args.conflicts:
            where = merge_reviews(map(load_review, args.conflicts))
        done = report(
            ev,
            args.out,
            top=args.top,
            details=not args.no_details,
            by=args.by,
            where=where,
            name=args.name,
        )
    put(f"{done.images:,} images, {done.size / 1e6:.2f} MB\n{done.path.absolute()}")


def evidence_of(path: Path) -> "Evidence":
    """What `Evidence.save` wrote, or what an audit left in its folder."""
    from ambigmnist.evidence import Evidence

    file = path / "evidence.npz" if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise DataNotFoundError(
            f"{path}: expected the folder of an audit, with evidence.npz, got none: "
            "ambigmnist audit writes one"
        )
    return Evidence.load(file)
