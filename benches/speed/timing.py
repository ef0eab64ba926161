"""Paired timing: in every repetition each contender runs once, in alternating order.

What else the machine does, and its clock speed, then hit all contenders of a repetition alike, and
the ratio of two of them is taken within the repetition. A single pair says little: the spread over
the repetitions is part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from speed.case import Contender, Run

__all__ = ["ATTEMPTS", "REST", "Spread", "Timed", "ratios", "time_contenders"]

# OpenMP runtimes spin for up to 200 ms after a parallel region (KMP_BLOCKTIME): without a rest the
# threads of one contender would take cores from the next.
REST = 0.3
ATTEMPTS = 3


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest of some repetitions."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(min(values), median(values), max(values))


@dataclass
class Timed:
    """Seconds of a contender, one per repetition; why it failed or was stopped, if it was."""

    seconds: list[float] = field(default_factory=list)
    failure: str | None = None
    cut_short: str | None = None


def time_contenders(
    contenders: list[Contender], runs: Mapping[str, Run], repetitions: int, *, rest: float = REST
) -> dict[str, Timed]:
    """Return what each contender took, by name."""
    timed = {c.name: Timed() for c in contenders}
    for repetition in range(repetitions):
        for contender in contenders[:: 1 if repetition % 2 == 0 else -1]:
            if timed[contender.name].failure is None:
                time.sleep(rest)
                _time(contender, runs[contender.name], timed[contender.name])
    return timed


def _time(contender: Contender, run: Run, timed: Timed) -> None:
    """Time one run; a refused answer is tried again, as its user would have to."""
    for _ in range(ATTEMPTS):
        start = time.perf_counter()
        answer: Any = run()
        wall = time.perf_counter() - start
        reason = contender.refuse(answer)
        if reason is None:
            own = contender.seconds(answer)
            timed.seconds.append(wall if own is None else own)
            timed.cut_short = contender.cut_short(answer) or timed.cut_short
            return
    timed.failure = f"failed {ATTEMPTS} times: {reason}"


def ratios(theirs: list[float], own: list[float], peer: Contender, ours: Contender) -> list[float]:
    """How many times as many samples per second we do, repetition by repetition."""
    return [(a / peer.n_samples) / (b / ours.n_samples) for a, b in zip(theirs, own, strict=True)]
