"""One fit of a model at a time."""

import os
import threading

from ambigmnist.errors import BusyError

__all__ = ["FitLock"]


class FitLock:
    """A second fit is refused, not kept waiting.

    In the child of a fork the threads of the parent are gone: what they held is free there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: tuple[int, int] | None = None

    def __enter__(self) -> None:
        me = os.getpid(), threading.get_ident()
        if not self._lock.acquire(blocking=False):
            holder = self._holder
            if holder is None or holder[0] == me[0] or holder[1] == me[1]:
                raise BusyError("this model is being trained in another thread; wait for it to end")
            self._lock = threading.Lock()
            self._lock.acquire()
        self._holder = me

    def __exit__(self, *unused: object) -> None:
        self._holder = None
        self._lock.release()
