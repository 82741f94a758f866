"""What the command says, and with how many threads it works."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ambigmnist.errors import FileError

__all__ = ["put", "say", "threads"]


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """`count` threads for everything inside; None changes nothing."""
    from ambigmnist import _ambigcore
    from ambigmnist.config import set_num_threads

    before = _ambigcore.get_num_threads()
    if count is not None:
        set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before or None)


def say(text: str) -> None:
    """A line on stderr; nobody reading it is no reason to stop."""
    with suppress(OSError, ValueError):
        print(_encodable(f"ambigmnist: {text}", sys.stderr), file=sys.stderr, flush=True)


def put(text: str) -> None:
    """The result on stdout. A reader who has left (``| head``) is no failure; a full disk is."""
    try:
        print(_encodable(text, sys.stdout), flush=True)
    except OSError as error:
        # Otherwise the interpreter tries again at its end, and complains.
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise FileError(f"standard output: cannot be written: {error.strerror}") from error


def _encodable(text: str, stream: Any) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
