"""``ambigmnist``: train a network, or load one, and rank what it sees."""

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ambigmnist._command_data import described, joined, load_data
from ambigmnist._command_io import threads
from ambigmnist._command_result import Known, progress_of, write

if TYPE_CHECKING:
    from ambigmnist.datasets import Dataset
    from ambigmnist.evidence import Evidence
    from ambigmnist.model import CNN

__all__ = ["find"]


def find(args: argparse.Namespace) -> None:
    """Fills the folder `args.out`."""
    from ambigmnist._folder import OutputFolder
    from ambigmnist._output import file_names

    progress = progress_of(args)
    with threads(args.threads), OutputFolder(args.out) as folder:
        folder.require_free(file_names(args.by, ["model.safetensors"], ["training-curves"]))
        # Whatever can fail soon, fails before the training.
        model = None if args.model is None else _load_model(args.model)
        train, test, notes = load_data(args.data, progress)
        both = joined(train, test, None if model is None else model.classes_)
        progress(described(train, test))
        if model is None:
            model = _train(args, train, progress)
            metadata = _fitted_to(model, train)
        else:
            metadata = model.metadata_
        in_sample = _in_sample(metadata, train, test)
        progress("looking at every image")
        ev = _marked(model.evidence(both.images, both.labels, split=both.split), in_sample)
        made = {
            "file": None if args.model is None else args.model.name,
            "preset": args.preset,
            "seed": args.seed,
            "epochs": len(model.history.get("loss", ())) or None,
        }
        write(
            args, folder, train, test, both, ev, in_sample, {"model": made}, notes,
            model=model, metadata=metadata,
        )  # fmt: skip


def _load_model(path: Path) -> "CNN":
    """A model file; its first bytes say which kind it is."""
    from ambigmnist._keras import is_hdf5
    from ambigmnist.model import CNN

    return CNN.from_keras(path) if is_hdf5(path) else CNN.load(path)


def _train(args: argparse.Namespace, train: "Dataset", progress: Any) -> "CNN":
    from ambigmnist.model import CNN

    model = CNN(preset=args.preset, seed=args.seed, threads=args.threads)
    start = time.monotonic()
    assert train.labels is not None
    model.fit(train.images, train.labels, verbose=0 if args.quiet else None)
    progress(f"trained in {time.monotonic() - start:.1f} s")
    return model


def _fitted_to(model: "CNN", train: "Dataset") -> dict[str, str]:
    """What the model's file says, so that a later run knows which images it was fitted to.

    ``trained_on`` is the SHA-256 of the training part, ``trained_on_first`` how many of its images
    took part: the presets hold out none, or the last ones.
    """
    count = len(model.train_index_)
    if int(model.train_index_.max()) >= count:
        return {"trained_on": train.sha256}
    return {"trained_on": train.sha256, "trained_on_first": str(count)}


def _in_sample(metadata: dict[str, str], train: "Dataset", test: "Dataset") -> Known:
    """Whether the model was fitted to each image of both parts; None where nothing says so."""
    if metadata.get("trained_on") != train.sha256:
        return [None] * (len(train) + len(test))
    said = metadata.get("trained_on_first", "")
    count = int(said) if re.fullmatch("[0-9]{1,18}", said) else None
    rows = [None if count is None else i < count for i in range(len(train))]
    return [*rows, *[False] * len(test)]


def _marked(ev: "Evidence", in_sample: Known) -> "Evidence":
    """The evidence with what the model's file says, where it says so of every image."""
    from ambigmnist.evidence import AXES, Evidence

    fields = {name: getattr(ev, name) for name in AXES}
    fields["in_sample"] = None if None in in_sample else in_sample
    return Evidence(**fields, classes=ev.classes, provenance=ev.provenance)
