"""Exceptions: each is an `AmbigError` and the built-in exception that a caller would expect.

But for `AuditInterrupted`, which is no error.

Every message says what was expected, what came, and what to do.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ambigmnist.evidence import Evidence

__all__ = [
    "AmbigError",
    "ArgumentError",
    "AuditInterrupted",
    "BusyError",
    "DTypeError",
    "DataError",
    "DataNotFoundError",
    "FileError",
    "MissingDependencyError",
    "OutOfMemoryError",
    "OutOfRangeError",
    "ShapeError",
]


class AmbigError(Exception):
    """Base class of every exception that ambigmnist raises on purpose."""


class ArgumentError(AmbigError, ValueError):
    """An argument has a value that the function does not accept."""


class ShapeError(AmbigError, ValueError):
    """Arrays or layers whose sizes do not fit each other."""


class OutOfRangeError(AmbigError, IndexError):
    """An index of an image that is not there."""


class DTypeError(AmbigError, TypeError):
    """An array or argument of a type that makes no sense here."""


class DataError(AmbigError, ValueError):
    """The bytes of a file are not what its format says."""


class DataNotFoundError(AmbigError, FileNotFoundError):
    """A data set or file is in none of the places looked at."""


class FileError(AmbigError, OSError):
    """A file could not be read or written."""


class OutOfMemoryError(AmbigError, MemoryError):
    """The core could not allocate what the sizes ask for."""


class BusyError(AmbigError, RuntimeError):
    """The object is in use by another call, for example a fit in another thread."""


class MissingDependencyError(AmbigError, ImportError):
    """An optional package is needed for this; the message names the extra to install."""


class AuditInterrupted(KeyboardInterrupt):
    """Ctrl-C in an audit; `evidence` has the images of the finished folds (None: no fold was).

    A KeyboardInterrupt, so that nothing mistakes it for a failure and goes on.
    """

    def __init__(self, message: str, evidence: "Evidence | None" = None) -> None:
        super().__init__(message)
        self.evidence = evidence
