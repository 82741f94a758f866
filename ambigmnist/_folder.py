"""The folder that the command writes: either the old result or the new one, and nobody else's file.

A run renders everything into a hidden folder inside the output folder, then renames file by file,
``summary.json`` last. ``summary.json`` lists what the run wrote; only files on that list are ever
replaced or removed by the next run. If anything fails on the way, the renames are undone.
"""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from ambigmnist._files import PathLike, as_path, read_bytes
from ambigmnist.errors import FileError

__all__ = ["FORMAT", "SUMMARY", "OutputFolder", "Stage"]

SUMMARY = "summary.json"
FORMAT = "ambigmnist-summary"


class Stage:
    """Where one run collects its files, by their names in the output folder ('/' between parts)."""

    def __init__(self, root: Path) -> None:
        self.new = root / "new"
        self.old = root / "old"
        self.names: list[str] = []
        for folder in (self.new, self.old):
            folder.mkdir()

    def path(self, name: str) -> Path:
        """Registers `name` and returns the path to write it to."""
        target = self.new / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.names.append(name)
        return target

    def write(self, name: str, data: bytes) -> None:
        with self.path(name).open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


class OutputFolder:
    """The output folder, checked on entry so that nobody trains a network in vain.

    ``with OutputFolder(path) as folder`` creates the folder if need be, proves that it can be
    written to, and on leaving removes it again if it was created and stayed empty.

    Raises
    ------
    FileError
        The folder cannot be created or written to.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = as_path(path, "out")
        self._created = False

    def __enter__(self) -> Self:
        parent = self.path.parent
        if not parent.is_dir():
            what = "is not a folder" if parent.exists() else "does not exist"
            raise FileError(f"{self.path}: {parent} {what}; create it, or choose another --out")
        try:
            self.path.mkdir()
            self._created = True
        except FileExistsError:
            if not self.path.is_dir():
                raise FileError(
                    f"{self.path}: expected a folder, got a file; choose another --out"
                ) from None
        except OSError as error:
            raise self._error("cannot be created", error) from error
        try:
            Path(tempfile.mkdtemp(prefix=".ambigmnist-", dir=self.path)).rmdir()
        except OSError as error:
            self._remove_if_unused()
            raise self._error("cannot be written to", error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove_if_unused()

    def _remove_if_unused(self) -> None:
        if self._created:
            with suppress(OSError):  # not empty: the result is there
                self.path.rmdir()

    def require_free(self, names: Collection[str]) -> None:
        """Raises FileError if one of `names` is there and not from an earlier run."""
        ours = self._listed()
        for name in names:
            if stat.S_ISREG(self._mode(name)) and name not in ours:
                raise self._in_the_way(name, f"no {SUMMARY} of an earlier run lists it")
            if self._mode(name) and not stat.S_ISREG(self._mode(name)):
                raise self._in_the_way(name, "a file is to be written there")
            for parent in PurePosixPath(name).parents[:-1]:
                if self._mode(str(parent)) and not stat.S_ISDIR(self._mode(str(parent))):
                    raise self._in_the_way(str(parent), "a folder is to be made there")

    @contextmanager
    def update(self) -> Iterator[Stage]:
        """A `Stage` to write to; what it holds takes the place of the old result at the end.

        Raises
        ------
        FileError
            The disk is full, a foreign file is in the way, ... The folder is what it was before,
            after any other exception too.
        """
        root: Path | None = None
        try:
            root = Path(tempfile.mkdtemp(prefix=".ambigmnist-", dir=self.path))
            stage = Stage(root)
            yield stage
            self._commit(stage)
        except OSError as error:
            if isinstance(error, FileError) and error.errno is None:
                raise  # of this class: something is in the way
            raise self._error("cannot be written to (left as it was)", error) from error
        finally:
            if root is not None:
                shutil.rmtree(root, ignore_errors=True)

    def _commit(self, stage: Stage) -> None:
        self.require_free(stage.names)
        new = [*(name for name in stage.names if name != SUMMARY), SUMMARY]
        stale = sorted(name for name in self._listed() - set(new) if self._is_plain_file(name))
        made: list[Path] = []
        touched: list[tuple[str, bool]] = []
        try:
            for name in (*stale, *new):
                target, old = self.path / name, stage.old / name
                was_there = bool(self._mode(name))
                touched.append((name, was_there))
                if was_there:
                    old.parent.mkdir(parents=True, exist_ok=True)
                    _keep(target, old)
                if name in stale:
                    target.unlink(missing_ok=True)
                else:
                    _make_folders(self.path, target.parent, made)
                    (stage.new / name).replace(target)
        except BaseException:
            for name, was_there in reversed(touched):
                with suppress(OSError):
                    if not was_there:
                        (self.path / name).unlink(missing_ok=True)
                    elif (stage.old / name).exists():
                        (stage.old / name).replace(self.path / name)
            for folder in reversed(made):
                with suppress(OSError):
                    folder.rmdir()
            raise
        emptied = {parent for name in stale for parent in PurePosixPath(name).parents[:-1]}
        for inner in sorted(emptied, key=lambda inner: -len(inner.parts)):
            with suppress(OSError):  # somebody else's file is in it
                (self.path / inner).rmdir()

    def _listed(self) -> set[str]:
        """The names that the summary of an earlier run lists, as far as they are believable."""
        try:
            summary: Any = json.loads(read_bytes(self.path / SUMMARY))
        except (OSError, ValueError, RecursionError):
            return set()
        if not isinstance(summary, dict) or summary.get("format") != FORMAT:
            return set()
        files = summary.get("files")
        return {name for name in files if _is_inner(name)} if isinstance(files, list) else set()

    def _is_plain_file(self, name: str) -> bool:
        """Whether `name` is a regular file reached without following a link."""
        above = PurePosixPath(name).parents[:-1]
        return stat.S_ISREG(self._mode(name)) and all(
            stat.S_ISDIR(self._mode(str(part))) for part in above
        )

    def _mode(self, name: str) -> int:
        """The mode of an inner file, links not followed; 0 if there is none."""
        try:
            return (self.path / name).lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def _in_the_way(self, name: str, why: str) -> FileError:
        return FileError(
            f"{self.path / name} is in the way: {why}; move it, or choose another --out"
        )

    def _error(self, what: str, error: OSError) -> FileError:
        result = FileError(
            f"{self.path}: {what}: {error.strerror or os.strerror(error.errno or 0)}"
        )
        result.errno = error.errno
        return result


def _is_inner(name: object) -> bool:
    """Whether `name` is a relative name that stays inside the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name != "."


def _keep(target: Path, old: Path) -> None:
    """A second name for `target`, so that it can come back; it is missing at no moment."""
    try:
        os.link(target, old)
    except OSError:  # a file system without hard links
        target.replace(old)


def _make_folders(root: Path, folder: Path, made: list[Path]) -> None:
    """Makes what is missing between `root` and `folder`; adds to `made`, outer ones first."""
    if folder != root and not folder.exists():
        _make_folders(root, folder.parent, made)
        made.append(folder)
        folder.mkdir()
