"""Stopping an audit and going on: a folder with a file for every finished run.

``audit.json`` describes the audit. Each run has a safetensors file; its text ``ambigmnist`` says
which audit it belongs to and holds a SHA-256 of the tensors. Every file is written to a temporary
name and renamed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ambigmnist import _safetensors
from ambigmnist._audit_plan import Run
from ambigmnist._audit_run import RunResult
from ambigmnist._checkpoint import differences, digest_of
from ambigmnist._files import PathLike, as_path, atomic_write, read_bytes
from ambigmnist.errors import ArgumentError, DataError, DataNotFoundError, FileError

__all__ = ["RunFiles"]

DESCRIPTION = "audit.json"
_FORMAT = "ambigmnist.audit-run"


class RunFiles:
    """The folder of one audit, checked when it is opened, made where it is not there.

    Raises
    ------
    ArgumentError
        It belongs to another audit; the message names what differs.
    DataError
        Its description is damaged.
    FileError
        It cannot be made, read or written.
    """

    def __init__(self, path: PathLike, description: Mapping[str, Any]) -> None:
        self.path = as_path(path, "checkpoint")
        text = json.dumps(description, indent=1, sort_keys=True)
        self._audit = hashlib.sha256(text.encode()).hexdigest()
        _make_folder(self.path)
        there = self._description()
        if there is None:
            atomic_write(self.path / DESCRIPTION, text.encode())
            return
        shown = differences(there, json.loads(text))
        if shown:
            raise ArgumentError(
                f"{self.path}: expected the checkpoint of this audit, got that of another "
                f"({shown}): name another folder, or remove it to begin again"
            )

    def _description(self) -> dict[str, Any] | None:
        path = self.path / DESCRIPTION
        try:
            return dict(json.loads(read_bytes(path)))
        except DataNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path}: not the description of an audit: {error}: remove the folder to begin "
                "again"
            ) from None

    def _path(self, run: Run) -> Path:
        return self.path / f"{run.name}.safetensors"

    def has(self, run: Run) -> bool:
        """Whether the run has a file."""
        return self._path(run).exists()

    def load(self, run: Run) -> RunResult | None:
        """What the file of a run says; None where it is not there."""
        path = self._path(run)
        try:
            tensors, texts = _safetensors.load(path)
            config = json.loads(texts["ambigmnist"])
            if config["format"] != _FORMAT:
                raise ValueError(f"expected {_FORMAT}, got {config['format']}")
            if config["audit"] != self._audit or config["run"] != list(run):
                raise ValueError("it belongs to another audit or run")
            result = RunResult(tensors, dict(config["facts"]))
            if config["sha256"] != _digest_of_result(result):
                raise ValueError("its content is not what its SHA-256 says")
            return result
        except DataNotFoundError:
            return None
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
            named = reason if str(path) in reason else f"{path}: not a sound checkpoint: {reason}"
            raise DataError(f"{named}: remove it to have the run done again") from None

    def save(self, run: Run, result: RunResult) -> None:
        config = {
            "format": _FORMAT,
            "audit": self._audit,
            "run": list(run),
            "facts": result.facts,
            "sha256": _digest_of_result(result),
        }
        _safetensors.save(self._path(run), result.tables, {"ambigmnist": json.dumps(config)})


def _digest_of_result(result: RunResult) -> str:
    facts = json.dumps(result.facts, sort_keys=True)
    return hashlib.sha256(f"{facts} {digest_of(result.tables)}".encode()).hexdigest()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise FileError(f"{path}: expected a folder for the checkpoint, got a file") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be made: {error.strerror or error}") from error
