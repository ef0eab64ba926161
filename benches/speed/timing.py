"""Paired timing: in every repetition each contender runs once, in alternating order.

What else the machine does, and its clock speed, then hit all contenders of a repetition alike, and
the ratio of two of them is taken within the repetition. A single pair says little: the spread over
the repetitions is part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from speed.case import OURS, Contender, Run

__all__ = ["ATTEMPTS", "Spread", "ratios", "time_contenders"]

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


def time_contenders(
    contenders: list[Contender], runs: Mapping[str, Run], repetitions: int, *, rest: float = REST
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return seconds by contender, one per repetition, and why contenders failed, if any did."""
    seconds: dict[str, list[float]] = {c.name: [] for c in contenders}
    failed: dict[str, str] = {}
    for repetition in range(repetitions):
        for contender in contenders[:: 1 if repetition % 2 == 0 else -1]:
            if contender.name in failed:
                continue
            time.sleep(rest)
            taken, reason = _time(contender, runs[contender.name])
            if reason is None:
                seconds[contender.name].append(taken)
            else:
                failed[contender.name] = reason
    return seconds, failed


def _time(contender: Contender, run: Run) -> tuple[float, str | None]:
    """Time one run; a refused answer is tried again, as its user would have to."""
    for _ in range(ATTEMPTS):
        start = time.perf_counter()
        answer: Any = run()
        wall = time.perf_counter() - start
        reason = contender.refuse(answer)
        if reason is None:
            own = contender.seconds(answer)
            return wall if own is None else own, None
    return 0.0, f"failed {ATTEMPTS} times: {reason}"


def ratios(seconds: Mapping[str, list[float]], peer: Contender, ours: Contender) -> list[float]:
    """How many times as many samples per second we do, repetition by repetition."""
    pairs = zip(seconds[peer.name], seconds[OURS], strict=True)
    return [(theirs / peer.n_samples) / (own / ours.n_samples) for theirs, own in pairs]
