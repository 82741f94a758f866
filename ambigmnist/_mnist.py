"""Where MNIST is on this machine, whether it is the real one, and how to get it."""

import hashlib
import io
import math
import os
import sys
import threading
import time
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist._files import PathLike, as_path, atomic_write, read_bytes
from ambigmnist._idx import decompress_idx, idx_bytes, parse_idx, read_idx_payload
from ambigmnist.errors import DataError, DataNotFoundError, FileError

__all__ = ["MnistLocation", "download_mnist", "find_mnist", "load_arrays", "read_mnist"]

Array = NDArray[Any]

# SHA-256 of the decompressed files; compressed ones differ from mirror to mirror.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
KERAS_KEYS = dict(zip(FILES, ("x_train", "y_train", "x_test", "y_test"), strict=True))
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
MAX_FILE = 64 << 20  # bytes of one file; the largest real one has 47 MB decompressed


@dataclass(frozen=True)
class MnistLocation:
    """Where MNIST lies: the four files (`path` is their folder), or the npz file of Keras."""

    source: str
    """``"path"``, ``"AMBIGMNIST_DATA"``, ``"cache"``, ``"torchvision"`` or ``"Keras"``."""
    path: Path
    files: tuple[Path, ...]
    """Train images, train labels, test images, test labels; empty for an npz file."""

    def __str__(self) -> str:
        return f"{self.path} ({self.source})"


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/ambigmnist``, by default ``~/.cache/ambigmnist``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: relative values are to be ignored.
    root = Path(base) if base.startswith("/") else Path("~/.cache").expanduser()
    return root / "ambigmnist"


def _candidates(path: PathLike | None) -> list[tuple[str, Path]]:
    """(source, folder or npz file), in the order in which they count."""
    if path is not None:
        given = as_path(path)
        return [("path", given / sub) for sub in ("", "mnist", "MNIST/raw", "raw")]
    found = []
    if os.environ.get("AMBIGMNIST_DATA"):
        given = as_path(os.environ["AMBIGMNIST_DATA"], "AMBIGMNIST_DATA")
        found += [("AMBIGMNIST_DATA", given / sub) for sub in ("", "mnist")]
    found.append(("cache", cache_folder() / "mnist"))
    home = Path("~").expanduser()
    for root in (Path("data"), Path(), home / "data", home / "datasets", home / ".cache"):
        found.append(("torchvision", root / "MNIST" / "raw"))
    keras = Path(os.environ.get("KERAS_HOME") or home / ".keras")
    found.append(("Keras", keras / "datasets" / "mnist.npz"))
    return found


def _names(name: str) -> list[str]:
    dotted = name.replace("-idx", ".idx")  # as some archives spell it
    return [name, f"{name}.gz", dotted, f"{dotted}.gz"]


def _look(source: str, place: Path) -> tuple[MnistLocation | None, str]:
    """What is at `place`, and for a message: what is missing there."""
    try:
        if place.suffix == ".npz" or place.is_file():
            if place.is_file():
                return MnistLocation(source, place, ()), ""
            return None, "no such file"
        files, missing = [], []
        for name in FILES:
            hits = [place / n for n in _names(name) if (place / n).is_file()]
            files += hits[:1]
            missing += [] if hits else [name]
        if not missing:
            return MnistLocation(source, place, tuple(files)), ""
        if not place.is_dir():
            return None, "no such folder"
    except OSError as error:  # no permission to look
        return None, error.strerror or str(error)
    return None, "none of the four files" if not files else "lacks " + ", ".join(missing)


def find_mnist(path: PathLike | None = None) -> MnistLocation | None:
    """The first place that has MNIST (see `ambigmnist.datasets.find_mnist`)."""
    return next((hit for hit, _ in (_look(*c) for c in _candidates(path)) if hit), None)


def not_found(path: PathLike | None) -> DataNotFoundError:
    """The error that lists every place looked at."""
    looked = [f"  {place}: {_look(source, place)[1]}" for source, place in _candidates(path)]
    # A missing folder is named once, not with each of its subfolders.
    if path is not None and not as_path(path).is_dir():
        looked = looked[:1]
    advice = (
        "Put its four files (train-images-idx3-ubyte[.gz], ...) into one of these folders"
        if path is not None
        else "Name a folder with its four files in AMBIGMNIST_DATA or load_mnist(path=...), or "
        "call load_mnist(download=True)"
    )
    return DataNotFoundError(
        "MNIST not found. Looked at:\n" + "\n".join(looked) + f"\n{advice}; "
        "load_digits() needs no file."
    )


def _check(name: str, payload: bytes | bytearray, where: object) -> None:
    got = hashlib.sha256(payload).hexdigest()
    if got != FILES[name]:
        raise DataError(
            f"{where}: not MNIST's {name}: expected the SHA-256 {FILES[name]} (decompressed), "
            f"got {got}: replace the file, or read other data with load_idx"
        )


def read_mnist(location: MnistLocation) -> list[Array]:
    """Train images, train labels, test images, test labels, each checked against its SHA-256."""
    if not location.files:
        return _read_npz(location.path)
    arrays = []
    for name, file in zip(FILES, location.files, strict=True):
        payload = read_idx_payload(file)
        _check(name, payload, file)
        arrays.append(parse_idx(payload, file))
    return arrays


def _read_npz(path: Path) -> list[Array]:
    """The file that Keras keeps: the same arrays, so the same IDX bytes can be checked."""
    data = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            arrays = [_read_npz_member(archive, f"{key}.npy") for key in KERAS_KEYS.values()]
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error,
            NotImplementedError, RuntimeError) as error:  # fmt: skip
        raise DataError(
            f"{path}: expected an npz file with x_train, y_train, x_test and y_test, as Keras "
            f"writes it, got: {error}"
        ) from error
    for name, array in zip(FILES, arrays, strict=True):
        _check(name, idx_bytes(array), f"{path}: {KERAS_KEYS[name]}")
    return arrays


def _read_npz_member(archive: zipfile.ZipFile, name: str) -> Array:
    size = archive.getinfo(name).file_size  # zipfile reads no more than it announces
    if size > MAX_FILE:
        raise ValueError(f"{name} of {size} bytes, more than {MAX_FILE}")
    array = np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
    if array.dtype != np.uint8 or array.ndim == 0:
        raise ValueError(f"{name} of dtype {array.dtype} and shape {array.shape}")
    return array


class _Progress:
    """What pooch reports to after every chunk: draws the bar, and stops what is not wanted."""

    def __init__(self, name: str) -> None:
        self.total = 0  # set by pooch
        self.answered = False
        self.stopped = False
        self._seen = 0
        self._name = name
        self._bar: Any = None

    def update(self, n: int) -> None:
        self.answered = True
        self._seen += n
        if self.stopped:
            raise TimeoutError("stopped")
        if max(self._seen, self.total) > MAX_FILE:
            raise ValueError(f"more than {MAX_FILE} bytes")
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.total or None,
                desc=self._name,
                unit="B",
                unit_scale=True,
                leave=False,
                disable=not sys.stderr.isatty(),
            )
        self._bar.update(n)

    def reset(self) -> None:
        """Called at the end, before an update(total)."""
        self._seen = 0
        if self._bar is not None:
            self._bar.reset()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _fetch(url: str, name: str, patience: float, deadline: float) -> bytes:
    """The bytes behind `url`: the first of them within `patience` seconds, all by `deadline`.

    On a thread of its own, which is left behind when it is too late: looking up the name of a
    host has no time-out.
    """
    import pooch

    started = time.monotonic()
    if started >= deadline:
        raise TimeoutError("no time left")
    result: list[bytes | Exception] = []
    progress = _Progress(name)

    def work() -> None:
        out = io.BytesIO()
        answers: list[Any] = []  # pooch leaves one that failed open
        try:
            pooch.HTTPDownloader(
                progressbar=progress,
                chunk_size=1 << 16,
                timeout=patience,
                hooks={"response": lambda response, **_: answers.append(response)},
            )(url, out, None)
            result.append(out.getvalue())
        except Exception as error:
            result.append(error)
        finally:
            progress.close()
            for answer in answers:
                answer.close()

    thread = threading.Thread(target=work, name="ambigmnist-download", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            left = deadline - time.monotonic()
            if not progress.answered:
                left = min(left, started + patience - time.monotonic())
            if left <= 0:
                break
            thread.join(min(left, 0.1))
    finally:
        progress.stopped = True
    if not result:
        raise TimeoutError("too slow" if progress.answered else "no answer in time")
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _cached(name: str, folder: Path) -> Path | None:
    """An intact file of our own cache; a damaged one is removed."""
    for path in (folder / n for n in _names(name)):
        try:
            _check(name, read_idx_payload(path), path)
            return path
        except DataNotFoundError:
            continue
        except DataError:
            with suppress(OSError):
                path.unlink()
    return None


def _download(name: str, folder: Path, mirrors: list[str], deadline: float) -> Path:
    failures = []
    for i, mirror in enumerate(list(mirrors)):
        url = f"{mirror}{name}.gz"
        patience = min(30.0, (deadline - time.monotonic()) / (len(mirrors) - i))
        try:
            data = _fetch(url, name, patience, deadline)
            # Some servers undo the compression on the way: the name must tell the truth.
            path = folder / (f"{name}.gz" if data.startswith(b"\x1f\x8b") else name)
            _check(name, decompress_idx(data, path), url)
        except Exception as error:
            reason = str(error).rpartition("Caused by ")[2]  # requests wraps it many times
            failures.append(f"  {url}: {type(error).__name__}: {reason[:200]}")
            continue
        atomic_write(path, data)
        mirrors.insert(0, mirrors.pop(i))  # the others would fail again
        return path
    raise DataNotFoundError(
        "MNIST could not be downloaded:\n"
        + "\n".join(failures)
        + "\nGet its four files some other way and name their folder in AMBIGMNIST_DATA; "
        "load_digits() needs no file."
    )


def download_mnist(timeout: float | None = None) -> MnistLocation:
    """Fetches what our cache lacks, from several mirrors; each payload is checked, then renamed.

    Parameters
    ----------
    timeout : float, optional
        Seconds for all attempts together. Without it a mirror has 30 seconds to answer.
    """
    folder = cache_folder() / "mnist"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be created: {error.strerror}") from error
    deadline = time.monotonic() + (math.inf if timeout is None else timeout)
    mirrors = list(MIRRORS)
    files = [_cached(n, folder) or _download(n, folder, mirrors, deadline) for n in FILES]
    return MnistLocation("cache", folder, tuple(files))


def load_arrays(path: PathLike | None, download: bool, timeout: float | None) -> list[Array]:
    """Finds MNIST (see `find_mnist`), downloads it if allowed and needed, and reads it."""
    location = find_mnist(path)
    if location is None:
        if path is not None or not download:
            raise not_found(path)
        location = download_mnist(timeout)
    try:
        return read_mnist(location)
    except DataError:
        if not download or location.source != "cache":
            raise
        return read_mnist(download_mnist(timeout))  # replaces what is damaged
