"""Audit: out-of-sample evidence for every image, also for those that networks are trained on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist._audit_files import RunFiles
from ambigmnist._audit_plan import Plan, Run, plan_audit
from ambigmnist._audit_result import Gathered
from ambigmnist._audit_run import RunResult, perform
from ambigmnist._checkpoint import core_facts, digest
from ambigmnist._files import PathLike
from ambigmnist._network import plain
from ambigmnist._progress import AuditProgress, audit_progress, check_verbose
from ambigmnist._validate import as_images, as_int, as_labels
from ambigmnist.config import resolve_threads
from ambigmnist.datasets import Dataset
from ambigmnist.errors import ArgumentError, AuditInterrupted, DTypeError
from ambigmnist.evidence import Evidence
from ambigmnist.model import CNN

__all__ = ["audit"]

_HISTORIES: dict[Any, str] = {False: "none", True: "statistics", "full": "full"}


def audit(
    images: ArrayLike,
    labels: ArrayLike,
    *,
    folds: int = 5,
    members: int = 1,
    mc: int = 0,
    augment: int = 0,
    history: bool | str = True,
    preset: str = "fast",
    epochs: int | None = None,
    seed: int = 0,
    checkpoint: PathLike | None = None,
    model: CNN | None = None,
    client: Any = None,
    threads: int | None = None,
    verbose: int | None = None,
    split: str | ArrayLike | None = None,
) -> Evidence:
    """Let networks judge every image that never saw it.

    The images are dealt into folds, by class. For each fold, `members` networks are trained on the
    images of the others, and judge those of the fold. 70,000 digits with 5 folds take about half a
    minute on two cores, and a run (a network) more or less costs in proportion.

    Parameters
    ----------
    images : array_like (n, h, w), (n, h, w, c) or (n, h * w)
        uint8 0..255, or float 0..1.
    labels : array_like (n,)
        The given labels: class values, at least two of each.
    folds : int
        At least 2. More folds train on more of the images, and take longer.
    members : int
        Networks per fold, which differ by their seed. Their mean probability is what the evidence
        has; that of each is in `Evidence.members`.
    mc : int
        Passes with dropout on, of every network: 0, or at least 2. The presets without dropout
        get one of 0.25 before the first dense layer.
    augment : int
        Changed versions of each image to judge: 0, or at least 2. Each is shifted by up to a 14th
        of the image along each axis and turned by up to 15 degrees.
    history : {True, False, "full"}
        True: statistics of what training saw of each image (`Evidence.dynamics`), means over the
        networks that were trained on it. "full": also the gradients that `grand` and `vog` need,
        which cost about three times the training. vog is standardised within each class.
    preset, epochs : optional
        How to train; see `CNN`.
    seed : int
        Of the folds and of every network.
    checkpoint : str or PathLike, optional
        A folder that keeps the result of every finished network. The same call takes up what it
        finds there, and ends with the same evidence to the bit.
    model : CNN, optional
        A network to train in place of the preset's: its settings are taken, not its weights.
    client : object, optional
        Anything with ``submit(function, *arguments)`` that returns futures: an executor of
        `concurrent.futures`, a Dask client. The networks are trained there, with the same result.
    threads : int, optional
        See `set_num_threads`; results do not depend on it.
    verbose : {None, 0, 1, 2}
        0 silent, 1 a progress bar, 2 a line per network (both on stderr); None a bar where
        somebody watches.
    split : str or array_like (n,), optional
        Which part of the data an image comes from, for tables: it does not touch the folds.

    Returns
    -------
    Evidence
        With logits and probs, labels, images, dynamics, embeddings, nearest, fold, in_sample
        (nowhere), provenance; members, mc and augmented where asked for. `embeddings` are of one
        network, the first of fold 0, which was trained on the other folds' images. `nearest` are
        found in the space of the first network of each image's own fold, among all images.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Arguments that make no sense; a class with a single image; a checkpoint of another audit.
    DataError, FileError
        A checkpoint that is damaged, or that cannot be read or written.
    AuditInterrupted
        Ctrl-C. Its `evidence` has the images of the folds that were finished.

    Notes
    -----
    Cross-validated predictions as in Northcutt, Jiang & Chuang: Confident learning (2021). Exact
    copies of an image may lie in other folds; `duplicates` finds them. Of training that may stop
    early, validation images are drawn from the folds that follow, never from the one held out.
    el2n and grand are of epoch max(2, ceil(epochs / 10)), or of the first that training may stop
    at where that is earlier.

    Examples
    --------
    >>> import ambigmnist as am
    >>> train, test = am.load_digits()
    >>> ev = am.audit(test.images[:200], test.labels[:200], folds=2, epochs=2)
    >>> ev.n, bool(ev.in_sample.any())
    (200, False)
    >>> am.rank(ev, by="aum", k=3).indices.shape
    (3,)
    """
    check_verbose(verbose)
    if client is not None and not callable(getattr(client, "submit", None)):
        raise DTypeError(f"client: expected an object with submit(), got {type(client).__name__}")
    images = as_images(images)
    labels, columns, classes = _columns(labels, len(images))
    split = _split(split, len(images))
    plan = plan_audit(
        _template(model, preset, seed, threads),
        columns,
        classes,
        folds=as_int(folds, "folds", least=2),
        members=as_int(members, "members", least=1),
        mc=_several(mc, "mc"),
        augment=_several(augment, "augment"),
        history=_history(history),
        epochs=epochs,
        seed=as_int(seed, "seed", least=0),
        may_add_dropout=model is None,
    )
    description = _description(plan, images, labels)
    files = None if checkpoint is None else RunFiles(checkpoint, description)
    provenance = {"made by": "audit", **description, "sha256": Dataset(images, labels).sha256}
    gathered = Gathered(plan)

    def evidence() -> Evidence:
        return gathered.evidence(images, split, provenance, resolve_threads(threads))

    try:
        with audit_progress(verbose, len(plan.runs)) as progress:
            for run, result in _results(plan, images, files, client, threads, progress):
                gathered.add(run, result)
    except KeyboardInterrupt:
        finished = len(gathered.finished)
        hint = "" if files is None else "; the same call goes on from the checkpoint"
        raise AuditInterrupted(
            f"audit: interrupted with {finished} of {plan.folds} folds finished{hint}",
            evidence() if finished else None,
        ) from None
    return evidence()


def _results(
    plan: Plan,
    images: NDArray[Any],
    files: RunFiles | None,
    client: Any,
    threads: int | None,
    progress: AuditProgress,
) -> Iterator[tuple[Run, RunResult]]:
    """The result of every run, in the order of the plan, whoever computes it."""
    futures = {}
    if client is not None:
        futures = {
            run: client.submit(perform, plan, images, run, threads)
            for run in plan.runs
            if files is None or not files.has(run)
        }
    try:
        for run in plan.runs:
            start = time.perf_counter()
            result = None
            if run in futures:
                result = futures.pop(run).result()
            elif files is not None:
                result = files.load(run)
            if result is None:
                result = perform(plan, images, run, threads, progress.tell)
            if files is not None and not files.has(run):
                files.save(run, result)
            seconds = time.perf_counter() - start
            progress.finished(run.name, f"accuracy {result.facts['accuracy']:.4f}, {seconds:.1f} s")
            yield run, result
    finally:
        for future in futures.values():
            future.cancel()


def _template(model: Any, preset: str, seed: int, threads: int | None) -> CNN:
    if model is None:
        return CNN(preset, seed=seed, threads=threads)
    if not isinstance(model, CNN):
        raise DTypeError(f"model: expected an am.CNN, got {type(model).__name__}")
    if preset != "fast":
        raise ArgumentError(
            f"preset: expected none beside model, whose settings are taken, got {preset!r}"
        )
    return model


def _columns(labels: ArrayLike, n: int) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[Any]]:
    """Labels, the column of each, and the classes."""
    if labels is None:
        raise ArgumentError("labels: expected a label for each image, got None")
    if n == 0:
        raise ArgumentError("images: expected at least two, got none")
    given = as_labels(labels, n)
    classes, columns = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise ArgumentError(
            f"labels: expected at least two classes to tell apart, got only {classes[0]!s}"
        )
    return given, columns.astype(np.int32), classes


def _split(split: str | ArrayLike | None, n: int) -> NDArray[Any] | None:
    if split is None:
        return None
    values = np.full(n, split) if isinstance(split, str) else as_labels(split, n, "split")
    if values.dtype.kind != "U":
        raise DTypeError("split: expected strings such as 'train', got integers")
    return values


def _several(value: Any, name: str) -> int:
    number = as_int(value, name, least=0)
    if number == 1:
        raise ArgumentError(f"{name}: expected 0 or at least 2 to compare, got 1")
    return number


def _history(history: Any) -> str:
    if not isinstance(history, bool | str) or history not in _HISTORIES:
        raise ArgumentError(f'history: expected True, False or "full", got {history!r}')
    return _HISTORIES[history]


def _description(plan: Plan, images: NDArray[Any], labels: NDArray[Any]) -> dict[str, Any]:
    """Everything that the evidence depends on, as JSON: no threads, no times."""
    recipe = asdict(plan.recipe)
    del recipe["split_last"]  # validation images are drawn here
    described = {
        **core_facts(),
        **{name: getattr(plan, name) for name in ("folds", "members", "mc", "augment", "history")},
        "seed": plan.seed,
        **recipe,
        "image shape": images.shape[1:],
        "number of images": len(images),
        "classes": plan.classes.tolist(),
        "images": digest([images]),
        "labels": digest([labels]),
    }
    result: dict[str, Any] = json.loads(json.dumps(described, default=plain))
    return result
