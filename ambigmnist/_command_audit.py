"""``ambigmnist audit``: networks judge every image that never saw it, the training images too."""

import argparse
import time

from ambigmnist._command_data import described, joined, load_data
from ambigmnist._command_io import say, threads
from ambigmnist._command_result import progress_of, write
from ambigmnist.errors import AuditInterrupted

__all__ = ["run_audit"]


def run_audit(args: argparse.Namespace) -> None:
    """Fills the folder `args.out`."""
    from ambigmnist._folder import OutputFolder
    from ambigmnist._output import file_names
    from ambigmnist.audit import audit

    progress = progress_of(args)
    with threads(args.threads), OutputFolder(args.out) as folder:
        folder.require_free(
            file_names(args.by, ["evidence.npz", "verdicts.csv"], ["data-map", "reliability"])
        )
        train, test, notes = load_data(args.data, progress)
        both = joined(train, test)
        progress(described(train, test))
        start = time.monotonic()
        settings = {
            "folds": args.folds,
            "members": args.members,
            "mc": args.mc,
            "augment": args.augment,
            "history": {"off": False, "on": True}.get(args.history, args.history),
        }
        assert both.labels is not None
        try:
            ev = audit(
                both.images,
                both.labels,
                **settings,
                preset=args.preset,
                epochs=args.epochs,
                seed=args.seed,
                checkpoint=args.checkpoint,
                verbose=0 if args.quiet else None,
                split=both.split,
            )
        except AuditInterrupted as stop:
            say(str(stop))
            if args.checkpoint is None:
                say("with --checkpoint DIR it would go on from there")
            raise
        progress(
            f"{args.folds * args.members} networks, {time.monotonic() - start:.1f} s: every image "
            "judged by those that never saw it"
        )
        made = {
            "model": {
                "file": None,
                "preset": args.preset,
                "seed": args.seed,
                "epochs": ev.provenance["epochs"],
            },
            "audit": settings,
        }
        write(args, folder, train, test, both, ev, [False] * len(both), made, notes)
