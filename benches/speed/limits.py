"""What limits a measured point: its time beside the least that the model gives each phase."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from speed.peaks import Peaks
from speed.roofline import COSTS, Cost, phases
from speed.sweeps import WORKS, Point, Setting

__all__ = ["OUTSIDE", "Limited", "limit", "telling"]

OUTSIDE = "not in the model"


@dataclass(frozen=True)
class Limited:
    """A point, what it costs, and the least seconds of each phase of a sample."""

    point: Point
    cost: Cost
    peaks: Peaks
    least: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Of a sample, as measured."""
        return 1 / self.point.rates[1]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the measured time by phase; they exceed 1 where the model takes too much."""
        shares = {phase: s / self.seconds for phase, s in self.least.items()}
        return shares | {OUTSIDE: max(0.0, 1 - sum(shares.values()))}

    @property
    def reached(self) -> float:
        """Share of the throughput that the model allows."""
        return sum(self.least.values()) / self.seconds

    @property
    def limiting(self) -> str:
        """The longest phase, or what the model does not know where that is longer than half."""
        shares = self.shares
        return OUTSIDE if shares[OUTSIDE] > 0.5 else max(self.least, key=lambda p: self.least[p])

    @property
    def intensity(self) -> float:
        """Operations per byte read from matrices."""
        return self.cost.all_operations / self.cost.bytes_read

    @property
    def operations_rate(self) -> float:
        """Operations per second, whatever their kind."""
        return self.cost.all_operations / self.seconds

    @property
    def sizes(self) -> str:
        """Where it is, for a reader."""
        at = self.point.at
        return f"M = {at.M:,}, d = {at.d:,}, n = {self.point.shape.n:,}"


def limit(points: Iterable[Point], peaks: Mapping[int, Peaks]) -> list[Limited]:
    """Put each point beside the peaks of as many threads as found work in it."""
    limited = []
    for point in points:
        busy = point.shape.busy(point.at.threads)
        machine = peaks[max(threads for threads in peaks if threads <= busy)]
        cost = COSTS[WORKS[point.work].cost](point.shape)
        limited.append(Limited(point, cost, machine, phases(cost, machine)))
    return limited


def telling(limited: Sequence[Limited], base: Setting) -> list[Limited]:
    """Return the points that tell most: the base, and the ends of the sweeps, work by work."""
    places = [("M", base.M)]
    for sweep, last in (("M", max), ("d", max), ("n", min)):
        values = [getattr(one.point.at, sweep) for one in limited if one.point.sweep == sweep]
        places += [(sweep, last(values))] if values else []
    return [
        one
        for work in WORKS
        for sweep, value in dict.fromkeys(places)
        for one in limited
        if one.point.work == work
        and one.point.sweep == sweep
        and getattr(one.point.at, sweep) == value
    ]
