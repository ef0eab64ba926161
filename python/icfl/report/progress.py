"""A progress bar on standard error, and only where somebody is watching.

Nothing is drawn when standard error is not a terminal, so that
logs and pipes stay clean.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

__all__ = ["Progress"]

WIDTH = 30
SECONDS_BETWEEN_DRAWINGS = 0.1


class Progress:
    """Show how far a loop of known length is.

    Parameters
    ----------
    title : str
        What is being done, in one or two words.
    total : int
        Number of units of work.
    unit : str, default="samples"
        What is counted.
    enabled : bool, default=True
        False draws nothing, as does a standard error that is not a terminal.

    Examples
    --------
    >>> with Progress("encode", total=3, enabled=False) as progress:
    ...     for _ in range(3):
    ...         progress.advance()
    >>> progress.done
    3
    """

    def __init__(
        self, title: str, total: int, *, unit: str = "samples", enabled: bool = True
    ) -> None:
        self.title = title
        self.total = max(total, 1)
        self.unit = unit
        self.done = 0
        self.enabled = enabled and sys.stderr.isatty()
        self._started = self._drawn = time.monotonic()

    def __enter__(self) -> Progress:
        self._draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.enabled:
            sys.stderr.write("\r\033[K")  # leaves the line as it was found
            sys.stderr.flush()

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more units as done."""
        self.move_to(self.done + amount)

    def move_to(self, done: int) -> None:
        """Say that `done` units are done in all."""
        self.done = min(done, self.total)
        if time.monotonic() - self._drawn > SECONDS_BETWEEN_DRAWINGS:
            self._draw()

    def line(self) -> str:
        """Return the bar as text."""
        full = WIDTH * self.done // self.total
        bar = "━" * full + "╌" * (WIDTH - full)
        counted = f"{self.done:,}/{self.total:,} {self.unit}"
        return (
            f"{self.title:<12} {bar} {100 * self.done // self.total:3d} %  {counted}{self._rest()}"
        )

    def _rest(self) -> str:
        elapsed = time.monotonic() - self._started
        if not self.done or elapsed < 1:
            return ""
        return f", {elapsed * (self.total - self.done) / self.done:.0f} s left"

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self.enabled:
            sys.stderr.write(f"\r\033[K{self.line()}")
            sys.stderr.flush()
