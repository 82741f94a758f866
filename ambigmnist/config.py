"""How many threads, which instruction set, which arithmetic: read, set and shown."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import _ambigcore
from ._validate import as_int
from .errors import ArgumentError, DTypeError, MissingDependencyError

__all__ = [
    "Config",
    "get_num_threads",
    "register_threadpoolctl",
    "resolve_threads",
    "set_num_threads",
    "set_strict",
    "show_config",
]

THREAD_VARIABLES = ("AMBIGMNIST_NUM_THREADS", "OMP_NUM_THREADS")
SHOWN_VARIABLES = (
    "AMBIGMNIST_DATA",
    "AMBIGMNIST_ARTICLE_MODEL",
    "AMBIGMNIST_ISA",
    "AMBIGMNIST_STRICT",
    *THREAD_VARIABLES,
)
MAX_THREADS = 256  # of the core's pool

# What the environment and the machine say, read when first needed: (threads, where from).
_default: tuple[int, str] | None = None
_registered = False


def set_num_threads(threads: int | None) -> None:
    """Set the number of threads of every later call that is not given one.

    Results do not depend on it, to the bit.

    Parameters
    ----------
    threads : int or None
        At least 1. None takes the setting back: then the environment and the machine decide,
        see `get_num_threads`.

    Raises
    ------
    ArgumentError
        For a number below 1.
    DTypeError
        For something that is not an integer.

    Examples
    --------
    >>> import ambigmnist as am
    >>> am.set_num_threads(2)
    >>> am.get_num_threads()
    2
    >>> am.set_num_threads(None)
    """
    _ambigcore.set_num_threads(0 if threads is None else _checked(threads))


def get_num_threads() -> int:
    """Return the number of threads of a call that is not given one.

    The first of these that says something: `set_num_threads`, the environment variables
    ``AMBIGMNIST_NUM_THREADS`` and ``OMP_NUM_THREADS`` (read when first needed), the smaller of
    the CPUs that this process may use and the CPU quota of its container.

    Examples
    --------
    >>> import ambigmnist as am
    >>> am.get_num_threads() >= 1
    True
    """
    return _threads_and_source()[0]


def resolve_threads(threads: int | None = None) -> int:
    """Return `threads`, checked, or what `get_num_threads` says for None."""
    if not _registered and "threadpoolctl" in sys.modules:
        register_threadpoolctl()
    return get_num_threads() if threads is None else _checked(threads)


def set_strict(strict: bool) -> None:
    """Choose arithmetic that gives the same bits on every instruction set.

    Without fused multiply-add, hence somewhat slower. Off unless ``AMBIGMNIST_STRICT=1`` is set.
    On one instruction set the bits are the same on every machine either way.

    Examples
    --------
    >>> import ambigmnist as am
    >>> am.set_strict(True)
    >>> am.show_config(mode="object").strict
    True
    >>> am.set_strict(False)
    """
    if not isinstance(strict, (bool, np.bool_)):
        raise DTypeError(f"strict: expected True or False, got {strict!r}")
    _ambigcore.set_strict(bool(strict))


@dataclass(frozen=True)
class Config:
    """What `show_config` shows."""

    version: str
    python: str
    numpy: str
    machine: str
    instruction_set: str
    available: tuple[str, ...]
    strict: bool
    threads: int
    threads_from: str
    compiler: str
    sanitizer: str
    environment: dict[str, str]

    def __repr__(self) -> str:
        others = ", ".join(self.available)
        rows = {
            "ambigmnist": self.version,
            "python": f"{self.python} on {self.machine}",
            "numpy": self.numpy,
            "instruction set": f"{self.instruction_set} (available: {others})",
            "strict": "on" if self.strict else "off",
            "threads": f"{self.threads} (from {self.threads_from})",
            "compiler": self.compiler,
        }
        if self.sanitizer != "none":
            rows["sanitizer"] = self.sanitizer
        rows |= self.environment
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def show_config(mode: str = "print") -> Config | None:
    """Show version, instruction set, threads and where their number came from.

    Parameters
    ----------
    mode : {"print", "object"}
        "print" prints a table and returns None, "object" returns a `Config` with the same facts.

    Examples
    --------
    >>> import ambigmnist as am
    >>> config = am.show_config(mode="object")
    >>> config.instruction_set in config.available
    True
    """
    if mode not in ("print", "object"):
        raise ArgumentError(f'mode: expected "print" or "object", got {mode!r}')
    build = _ambigcore.build_info()
    threads, source = _threads_and_source()
    config = Config(
        version=str(build["version"]),
        python=platform.python_version(),
        numpy=np.__version__,
        machine=platform.machine(),
        instruction_set=_ambigcore.isa_name(),
        available=_ambigcore.isa_available(),
        strict=_ambigcore.get_strict(),
        threads=threads,
        threads_from=source,
        compiler=str(build["compiler"]),
        sanitizer=str(build["sanitizer"]),
        environment={name: os.environ[name] for name in SHOWN_VARIABLES if name in os.environ},
    )
    if mode == "object":
        return config
    print(config)
    return None


def register_threadpoolctl() -> None:
    """Make `threadpoolctl.threadpool_limits` and `threadpool_info` see ambigmnist's threads.

    Happens by itself when threadpoolctl is imported before ambigmnist or before the first call that
    uses threads; call it when you need it earlier.

    Raises
    ------
    MissingDependencyError
        If threadpoolctl is not installed.
    """
    global _registered
    if _registered:
        return
    try:
        import threadpoolctl  # type: ignore[import-untyped]
    except ImportError:
        raise MissingDependencyError(
            "register_threadpoolctl: threadpoolctl is not installed; pip install threadpoolctl"
        ) from None

    class AmbigController(threadpoolctl.LibController):  # type: ignore[misc]
        user_api = "ambigmnist"
        internal_api = "ambigmnist"
        filename_prefixes = ("_ambigcore",)
        check_symbols = ("am_get_num_threads", "am_set_num_threads")

        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            # A limit that ends puts the old number back; if that was the default, it stays one.
            self.dynlib.am_set_num_threads(0 if num_threads == _default_once()[0] else num_threads)

        def get_version(self) -> str:
            return str(_ambigcore.build_info()["version"])

    threadpoolctl.register(AmbigController)
    _registered = True


def _checked(threads: Any) -> int:
    return min(as_int(threads, "threads", least=1), MAX_THREADS)


def _threads_and_source() -> tuple[int, str]:
    chosen = _ambigcore.get_num_threads()
    if chosen > 0:
        return min(chosen, MAX_THREADS), "set_num_threads"
    return _default_once()


def _default_once() -> tuple[int, str]:
    global _default
    if _default is None:
        _default = _default_threads(os.environ)
    return _default


def _default_threads(
    environ: Mapping[str, str], *, root: str | Path = "/", cpus: int | None = None
) -> tuple[int, str]:
    """The default from the environment, else from the machine; `root` and `cpus` for tests."""
    for name in THREAD_VARIABLES:
        text = environ.get(name, "").strip()
        # OMP_NUM_THREADS may hold one number per level of nesting: the first is ours.
        first = text.split(",")[0].strip() if name == "OMP_NUM_THREADS" else text
        if first.isascii() and first.isdigit() and int(first) > 0:
            return min(int(first), MAX_THREADS), name
        if text:
            warnings.warn(
                f"{name}={text!r} is ignored: expected a number of threads, at least 1",
                UserWarning,
                stacklevel=2,
            )
    if cpus is None:
        try:
            cpus = len(os.sched_getaffinity(0))
        except (AttributeError, OSError):  # not on macOS
            cpus = os.cpu_count() or 1
    quota = _cgroup_quota(Path(root))
    if quota is not None and quota < cpus:
        return quota, "the CPU quota of the container"
    return min(cpus, MAX_THREADS), "the CPUs of this process"


def _cgroup_quota(root: Path) -> int | None:
    """CPUs that the control groups of this process allow, rounded up; None: no limit.

    A group is bound by every group above it. Inside a container the path of the group may not
    exist below the mount point; then only the groups that do exist count.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts) + 1):
                limits.append(_group_quota(root.joinpath(mount, *parts[:depth])))
    return min((limit for limit in limits if limit is not None), default=None)


def _group_quota(group: Path) -> int | None:
    """The quota of one group: cpu.max holds "quota period", or two files in version 1."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        if quota.strip() == "max" or int(quota) <= 0 or int(period) <= 0:
            return None
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return None


if "threadpoolctl" in sys.modules:
    register_threadpoolctl()
