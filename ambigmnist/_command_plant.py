"""``ambigmnist plant``: a copy of the data with wrong labels and unclear images, and the truth."""

import argparse
import json

import numpy as np

from ambigmnist._command_data import described, joined, load_data
from ambigmnist._command_io import put, threads
from ambigmnist._command_result import progress_of
from ambigmnist.errors import ArgumentError

__all__ = ["run_plant"]

TRUTH = "truth.csv"


def run_plant(args: argparse.Namespace) -> None:
    """Fills the folder `args.out`."""
    from ambigmnist._folder import FORMAT, SUMMARY, OutputFolder
    from ambigmnist._idx import idx_bytes
    from ambigmnist._mnist import FILES
    from ambigmnist.planting import KINDS, plant

    progress = progress_of(args)
    settings = {
        name: getattr(args, name)
        for name in ("flips", "flip", "blends", "morph", "occlusions", "noises", "seed")
    }
    with threads(args.threads), OutputFolder(args.out) as folder:
        folder.require_free([*FILES, TRUTH, SUMMARY])
        train, test, notes = load_data(args.data, progress)
        both = joined(train, test)
        progress(described(train, test))
        planted, truth = plant(both, **settings)
        assert planted.labels is not None
        if planted.labels.min() < 0 or planted.labels.max() > 255:
            raise ArgumentError(
                "plant: expected labels 0..255, which IDX files can hold: call am.plant for others"
            )
        parts = (slice(0, len(train)), slice(len(train), None))
        arrays = [a[part] for part in parts for a in (planted.images, planted.labels)]
        counts = {kind: int(truth.mask(kind).sum()) for kind in KINDS}
        summary = {
            "format": FORMAT,
            "format_version": 1,
            "data": {"name": both.name, "sha256": both.sha256},
            "planted": {"sha256": planted.sha256, "settings": settings, "images": counts},
            "notes": notes,
            "files": sorted([*FILES, TRUTH, SUMMARY]),
        }
        with folder.update() as stage:
            for name, array in zip(FILES, arrays, strict=True):
                stage.write(name, idx_bytes(array.astype(np.uint8)))
            truth.to_csv(stage.path(TRUTH))
            stage.write(SUMMARY, json.dumps(summary, indent=1).encode() + b"\n")
    done = f"{truth}\n\n{folder.path.absolute()}\nnext: ambigmnist audit --data {args.out}"
    put(json.dumps(summary, indent=1) if args.json else done)
