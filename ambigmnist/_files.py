"""Reading and writing whole files: clear errors, and a file is the old one or the new one."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ambigmnist.errors import (
    AmbigError,
    ArgumentError,
    DataNotFoundError,
    DTypeError,
    FileError,
)

__all__ = [
    "PathLike",
    "as_path",
    "atomic_path",
    "atomic_write",
    "read_bytes",
    "read_start",
    "reading",
]

PathLike = str | os.PathLike[str]


def as_path(path: Any, name: str = "path") -> Path:
    """`path` as a Path, ``~`` expanded; what cannot be one is a typed error."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise DTypeError(
            f"{name}: expected a str or os.PathLike, got {type(path).__name__}"
        ) from None
    if not text or "\0" in text:
        raise ArgumentError(f"{name}: expected the name of a file or folder, got {text!r}")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no such user
        raise ArgumentError(f"{name}: {text!r}: {error}") from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _file_error(path: Path, what: str, error: OSError) -> FileError:
    result = FileError(f"{path}: {what}: {_reason(error)}")
    result.errno = error.errno
    return result


def read_bytes(path: PathLike) -> bytes:
    """The bytes of a regular file.

    Raises
    ------
    DataNotFoundError
        There is no such file.
    FileError
        It is a folder, a device or a pipe, or the system refuses to read it.
    """
    with reading(path) as stream:
        return stream.read()


def read_start(path: PathLike, n: int) -> bytes:
    """The first `n` bytes of a regular file, fewer if it is shorter; raises like `read_bytes`."""
    with reading(path) as stream:
        return stream.read(n)


@contextmanager
def reading(path: PathLike) -> Iterator[BinaryIO]:
    """A regular file to read from; what goes wrong is a typed error."""
    path = as_path(path)
    try:
        with open(path, "rb", opener=_open_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise FileError(f"{path}: expected a file, got a device or a pipe")
            yield stream
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataNotFoundError(f"{path}: expected a file, got: {_reason(error)}") from error
    except IsADirectoryError as error:
        raise FileError(f"{path}: expected a file, got a folder") from error
    except AmbigError:
        raise
    except OSError as error:
        raise _file_error(path, "cannot be read", error) from error


def _open_without_waiting(path: str, flags: int) -> int:
    """A pipe without a writer would otherwise hang before it is refused."""
    return os.open(path, flags | os.O_NONBLOCK)


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """A new empty file beside `path` to write to; it takes the place of `path` at the end.

    On any exception, also KeyboardInterrupt, the new file is removed and `path` is what it was.
    The temporary name ends like `path` does, for writers that look at the ending.

    Raises
    ------
    FileError
        For every OSError: of the block inside, of the disk, of the renaming. The message names
        `path` and the reason.
    """
    path = as_path(path)
    temporary: Path | None = None
    try:
        target = Path(os.path.realpath(path))  # a link stays a link
        mode = _writable_mode(target)
        ending = target.suffix if len(target.suffix) <= 16 else ""
        temporary = target.with_name(f".tmp-{os.getpid()}-{os.urandom(6).hex()}{ending}")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        yield temporary
        _sync(temporary, mode)
        temporary.replace(target)
        temporary = None
        with suppress(OSError):  # not every file system can; the file itself is safe
            _sync(target.parent)
    except AmbigError:
        raise
    except OSError as error:
        missing = isinstance(error, FileNotFoundError) and not path.parent.is_dir()
        what = "cannot be written" + (" (create the folder first)" if missing else "")
        raise _file_error(path, what, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def _writable_mode(target: Path) -> int | None:
    """The permission bits to keep, or None for a new file."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        # Renaming would replace the device itself.
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise FileError(f"{target}: expected a file to write to, got {kind}")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return stat.S_IMODE(mode)


def _sync(path: Path, mode: int | None = None) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
        if mode is not None:
            os.fchmod(file, mode)
    finally:
        os.close(file)


def atomic_write(path: PathLike, data: bytes | bytearray | memoryview) -> None:
    """Writes `data` to `path`: complete, or not at all (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
