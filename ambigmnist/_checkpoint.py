"""Stopping and going on: what `CNN.fit` keeps in a file after every epoch.

The file is a safetensors one. Its text ``ambigmnist`` tells which run it belongs to and holds a
SHA-256 of the tensors; they are the core's state (weights, moments, best weights), where the run
is, and the history.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore, _safetensors
from ambigmnist._files import PathLike, as_path
from ambigmnist._training_data import Examples, TrainingData
from ambigmnist.errors import ArgumentError, DataError, DataNotFoundError

__all__ = ["Checkpoint", "core_facts", "describe", "differences", "digest", "digest_of"]

History = dict[str, list[float]]

_FORMAT = "ambigmnist.checkpoint"
_ARRAYS = ("params", "v", "m", "best")  # of the core's state; the last two may be missing


def describe(
    settings: Mapping[str, Any], data: TrainingData, first: NDArray[np.float32] | None
) -> dict[str, Any]:
    """Everything that the result of a run depends on, as JSON; `first` are weights to start from.

    Numbers of threads are not among it, nor is the instruction set: only whether multiply and add
    are fused.
    """
    run = {
        **core_facts(),
        **settings,
        "image shape": data.image_shape,
        "classes": data.classes.tolist(),
        "number of images": len(data.train[0]),
        "first weights": "of the seed" if first is None else digest([first]),
        **_content(data.train, "training"),
    }
    if data.held is not None:
        if data.held[0] is data.train[0]:  # a part of the same arrays
            run["validation images taken"] = digest([data.held[4]])
        else:
            run |= _content(data.held, "validation")
    plain: dict[str, Any] = json.loads(json.dumps(run))
    return plain


def core_facts() -> dict[str, str]:
    """What the bits of a result depend on besides its arguments."""
    fused = _ambigcore.isa_name() != "baseline" and not _ambigcore.get_strict()
    return {
        "version of ambigmnist": str(_ambigcore.build_info()["version"]),
        "arithmetic": "fused multiply-add" if fused else "strict",
    }


def _content(examples: Examples, part: str) -> dict[str, str]:
    images, labels, soft, weights, index = examples
    return {
        f"{part} images": digest([images]),
        f"{part} labels": digest([labels, soft]),
        f"{part} sample_weight": digest([weights]),
        f"{part} images taken": digest([index]),
    }


def digest(arrays: Sequence[NDArray[Any] | None]) -> str:
    """SHA-256 of types, shapes and values."""
    sha256 = hashlib.sha256()
    for array in arrays:
        if array is None:
            sha256.update(b"none;")
        else:
            sha256.update(f"{array.dtype.str} {array.shape};".encode())
            sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()


class Checkpoint:
    """The file of one run.

    `complete` tells that the run came to its end.
    """

    def __init__(self, path: PathLike, run: dict[str, Any]) -> None:
        self.path = as_path(path, "checkpoint")
        self.run = run
        self.complete = False

    def resume(self, network: _ambigcore.Network, history: History) -> None:
        """Takes up what the file says; without one it is made, so that a disk fails at once.

        Raises
        ------
        ArgumentError
            The file belongs to another run; the message names what differs.
        DataError
            It is damaged, or something else.
        FileError
            It cannot be read or written.
        """
        try:
            tensors, texts = _safetensors.load(self.path)
            try:
                there = _run_of(tensors, texts)
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise self._damaged(error) from None
        except DataNotFoundError:
            self.save(network, history, False)
            return
        except DataError as error:
            raise DataError(f"{error}: remove it to train from the beginning") from None
        self._require_same(there)
        try:
            epoch, best_epoch, complete = tensors["counts"].tolist()
            numbers = tensors["numbers"].tolist()
            arrays = (tensors.get(name) for name in _ARRAYS)
            rows = {name: tensors[f"history.{name}"].tolist() for name in history}
            network.train_import((epoch, best_epoch, *numbers, *arrays))
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(error) from None
        self.complete = bool(complete)
        history.update(rows)

    def _damaged(self, error: Exception) -> DataError:
        reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
        return DataError(f"{self.path}: not a sound checkpoint: {reason}")

    def _require_same(self, there: dict[str, Any]) -> None:
        shown = differences(there, self.run)
        if shown:
            raise ArgumentError(
                f"{self.path}: expected the checkpoint of this run, got that of another ({shown}): "
                "name another file, or remove it to train from the beginning"
            )

    def save(self, network: _ambigcore.Network, history: History, complete: bool) -> None:
        """Writes the state after an epoch in place of the last one."""
        epoch, best_epoch, *numbers, params, v, m, best = network.train_export()
        self.complete = complete
        tensors: dict[str, NDArray[Any]] = {
            "counts": np.array([epoch, best_epoch, complete], np.int64),
            "numbers": np.array(numbers, np.float64),
            **{f"history.{name}": np.array(values, np.float64) for name, values in history.items()},
        }
        arrays = zip(_ARRAYS, (params, v, m, best), strict=True)
        tensors |= {name: array for name, array in arrays if array is not None}
        config = {"format": _FORMAT, "sha256": digest_of(tensors), "run": self.run}
        _safetensors.save(self.path, tensors, {"ambigmnist": json.dumps(config)})


def _run_of(tensors: Mapping[str, NDArray[Any]], texts: Mapping[str, str]) -> dict[str, Any]:
    config = json.loads(texts["ambigmnist"])
    if config["format"] != _FORMAT:
        raise ValueError(f"expected {_FORMAT}, got {config['format']}")
    if config["sha256"] != digest_of(tensors):
        raise ValueError("its content is not what its SHA-256 says")
    return dict(config["run"])


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What differs between two descriptions, in words; nothing where they are equal."""
    names = [k for k in there.keys() | here.keys() if there.get(k) != here.get(k)]
    return "; ".join(
        f"{name}: {_short(there.get(name))} there, {_short(here.get(name))} here"
        for name in sorted(names)
    )


def digest_of(tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of named arrays, in whatever order."""
    parts = (f"{name} {digest([array])};" for name, array in sorted(tensors.items()))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:9]}..."
