"""Throughput of the encoders along one size at a time, from one base."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import icfl
from icfl.coding.coders import gram_fits, gram_pays
from speed.inputs import planted
from speed.roofline import Shape

__all__ = ["WORKS", "Plan", "Point", "Setting", "Work", "measure", "quick", "standard"]

ATOMS_PER_ROUND = 5
LEAST = 64  # tiles for a few threads
Encode = Callable[[NDArray[np.float32]], Any]


@dataclass(frozen=True)
class Setting:
    """What is varied; `n` None takes as many samples as fill a run."""

    d: int
    M: int
    nonzeros: int
    threads: int
    n: int | None = None


@dataclass(frozen=True)
class Work:
    """A line of the figures: how a coder is made for a setting, and what a call costs by model."""

    title: str
    cost: Literal["topk", "icfl", "omp"]
    make: Callable[[NDArray[np.float32], Setting], Encode]
    keeps_gram: bool = True

    def shape(self, at: Setting, n: int) -> Shape:
        """Return what the model needs to know of a call on n samples."""
        each = ATOMS_PER_ROUND if self.cost == "icfl" else 1
        rounds = 1 if self.cost == "topk" else max(1, at.nonzeros // each)
        used = gram_fits(at.M) if self.keeps_gram else gram_pays(at.M, n, rounds)
        gram: Literal["none", "kept", "made"] = "kept" if self.keeps_gram else "made"
        return Shape(at.d, at.M, n, rounds, each, gram if used and rounds > 1 else "none")


def _coder(algorithm: str, **fixed: Any) -> Callable[[NDArray[np.float32], Setting], Encode]:
    def make(components: NDArray[np.float32], at: Setting) -> Encode:
        options = dict(fixed)
        if algorithm == "icfl":
            options["n_iterations"] = max(1, at.nonzeros // ATOMS_PER_ROUND)
        else:
            options["n_nonzero"] = at.nonzeros
        coder = icfl.SparseCoder(components, algorithm=algorithm, n_jobs=at.threads, **options)
        return lambda X: coder.transform(X)

    return make


def _stateless_icfl(components: NDArray[np.float32], at: Setting) -> Encode:
    rounds = max(1, at.nonzeros // ATOMS_PER_ROUND)
    return lambda X: icfl.encode_icfl(
        X, components, n_iterations=rounds, threshold=-np.inf, n_jobs=at.threads
    )


# An infinite negative threshold is the published algorithm: all rounds, whatever the sample.
WORKS: Mapping[str, Work] = {
    "topk": Work("TopK", "topk", _coder("topk")),
    "icfl": Work("ICFL, Gram kept", "icfl", _coder("icfl", threshold=-np.inf)),
    "icfl_call": Work("ICFL, Gram made in the call", "icfl", _stateless_icfl, keeps_gram=False),
    "omp": Work("OMP, Gram kept", "omp", _coder("omp")),
}


@dataclass(frozen=True)
class Plan:
    """The base, the values of each sweep, and how long things may take."""

    base: Setting
    sweeps: Mapping[str, tuple[int, ...]]
    run_seconds: float
    """Samples are as many as fill this, where their number is free."""
    most_seconds: float
    """Points that would take longer are left out."""
    repetitions: int
    most_samples: int


@dataclass(frozen=True)
class Point:
    """One measurement: where, how long each repetition took, and what a call looks like."""

    work: str
    sweep: str
    at: Setting
    shape: Shape
    seconds: tuple[float, ...]

    @property
    def rates(self) -> tuple[float, float, float]:
        """Samples per second: smallest, middle and largest."""
        rates = sorted(self.shape.n / s for s in self.seconds)
        return rates[0], median(rates), rates[-1]


def _powers(first: int, last: int, step: int = 2) -> tuple[int, ...]:
    values = [first]
    while values[-1] * step <= last:
        values.append(values[-1] * step)
    return tuple(values)


def standard(threads: int) -> Plan:
    """Return the sweeps of the documentation, up to so many threads."""
    return Plan(
        Setting(1024, 8192, 100, threads),
        {
            "M": _powers(2**10, 2**16),
            "d": _powers(128, 4096),
            "nonzeros": (5, 10, 20, 50, 100, 200),
            "threads": _powers(1, threads),
            "n": _powers(1, 2**16, 4),
        },
        run_seconds=0.5,
        most_seconds=12.0,
        repetitions=3,
        most_samples=4096,
    )


def quick(threads: int) -> Plan:
    """Return sweeps that show that everything runs."""
    sweeps = {"M": (128, 256), "d": (16, 32), "nonzeros": (5, 10)}
    sweeps |= {"threads": _powers(1, min(2, threads)), "n": (1, 64)}
    return Plan(Setting(32, 256, 10, threads), sweeps, 0.005, 1.0, 2, 64)


def measure(plan: Plan, told: Callable[[str], None]) -> Iterator[Point]:
    """Measure every work at every point of every sweep, but for calls that would take too long."""
    for sweep, values in plan.sweeps.items():
        last: dict[str, Point] = {}
        for value in values:
            at = replace(plan.base, **{sweep: value})
            told(f"{sweep} = {value:,}")
            components, X = _data(at.d, at.M, max(values) if sweep == "n" else plan.most_samples)
            for name, work in WORKS.items():
                if at.n is not None and _too_long(last.get(name), at.n, plan):
                    continue
                n, seconds = _measure(work, at, components, X, plan)
                last[name] = Point(name, sweep, at, work.shape(at, n), seconds)
                yield last[name]


def _too_long(last: Point | None, n: int, plan: Plan) -> bool:
    """Whether a call on n samples would take too long, going by the last one on fewer."""
    return last is not None and median(last.seconds) * n / last.shape.n > plan.most_seconds


@lru_cache(maxsize=1)  # all of a sweep over n; more would keep gigabytes
def _data(d: int, M: int, n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return atoms, and as many different samples as any work takes."""
    planted.cache_clear()
    problem = planted(n, d, M, max(1, d // 16))
    return problem.components, problem.X


def _measure(
    work: Work,
    at: Setting,
    components: NDArray[np.float32],
    X: NDArray[np.float32],
    plan: Plan,
) -> tuple[int, tuple[float, ...]]:
    """Return how many samples a call had, and the seconds of each repetition."""
    encode = work.make(components, at)
    encode(X[:1])  # makes what is kept
    if at.n is not None:
        n = at.n
    elif not work.keeps_gram and gram_fits(at.M):
        n = plan.most_samples  # whoever pays for the Gram matrix in the call has many samples
    else:
        n = _samples(encode, X, plan)
    seconds: list[float] = []
    while len(seconds) < plan.repetitions and sum(seconds) < 3 * plan.run_seconds:
        seconds.append(_time(encode, X[:n]))
    return n, tuple(seconds)


def _samples(encode: Encode, X: NDArray[np.float32], plan: Plan) -> int:
    """Return samples that fill a run, a power of two."""
    n, taken = LEAST, _time(encode, X[:LEAST])
    while taken < plan.run_seconds / 4 and n < plan.most_samples:
        n = min(4 * n, plan.most_samples)  # more samples go faster: look again
        taken = _time(encode, X[:n])
    wanted = max(float(LEAST), n / taken * plan.run_seconds)
    return int(min(plan.most_samples, 2 ** round(np.log2(wanted))))


def _time(encode: Encode, X: NDArray[np.float32]) -> float:
    start = time.perf_counter()
    encode(X)
    return time.perf_counter() - start
