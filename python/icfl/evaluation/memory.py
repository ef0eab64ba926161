"""The most memory that a process holds while something runs, beyond what it held before.

Read off ``/proc`` a hundred times a second by a thread; where there is no such file, NaN. What
`resource` reports is the peak of the whole life of a process, which says nothing of its last fit.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

__all__ = ["PeakMemory"]

STATUS = "/proc/self/statm"
INTERVAL = 0.01


def resident() -> float:
    """Return the resident bytes of this process, NaN where they are not known."""
    try:
        with open(STATUS, encoding="ascii") as file:
            return float(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, AttributeError):
        return float("nan")


class PeakMemory:
    """Watch the memory of this process in a ``with`` block.

    Attributes
    ----------
    mebibytes : float
        After the block: the largest growth seen; other threads' memory counts too.
    """

    def __init__(self) -> None:
        self.mebibytes = float("nan")

    def __enter__(self) -> PeakMemory:
        self._start = self._most = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self._most = max(self._most, resident())
        self.mebibytes = (self._most - self._start) / 2**20

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            self._most = max(self._most, resident())
