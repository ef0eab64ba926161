"""How long learners take to find planted features: seconds until the matched cosine reaches a goal.

A learner takes mini-batches in the order of the data (which are independent draws) and is looked at
now and then with the clock stopped, each time after 5 % more steps. Settings of a peer are chosen
on data of another seed, by successive halving: all run for a while, the better half goes on for as
long again, until one reaches the goal. A setting that would win from behind is missed by that; with
`patient` all go on to the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

from icfl.datasets import make_planted

__all__ = ["Data", "Entrant", "Learner", "Outcome", "Setting", "choose"]

LOOK_AFTER = 20  # looks at every step first, then after 1/20 more of them
FIRST_STAGE = 1 / 16  # of the time limit


class Learner(Protocol):
    """Takes mini-batches; has a dictionary at any time."""

    @property
    def components(self) -> NDArray[np.float32]:
        """The dictionary as it is now."""

    def step(self, X: NDArray[np.float32]) -> None:
        """Take one step on the rows of X."""


class Data:
    """Planted samples of unit norm, and the atoms they are made of."""

    def __init__(self, n_samples: int, n_features: int, n_components: int, seed: int) -> None:
        planted = make_planted(n_samples, n_features, n_components, random_state=seed)
        norms = np.linalg.norm(planted.X, axis=1, keepdims=True)
        self.X: NDArray[np.float32] = np.ascontiguousarray(planted.X / norms, dtype=np.float32)
        self.truth: NDArray[np.float32] = planted.components
        self.seed = seed

    @cached_property
    def start(self) -> NDArray[np.float32]:
        """Distinct centred rows of unit norm, from which every learner starts."""
        rows = np.random.default_rng(self.seed).choice(len(self.X), len(self.truth), replace=False)
        atoms = self.X[np.sort(rows)] - self.X.mean(axis=0)
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        return np.ascontiguousarray(atoms, dtype=np.float32)

    def cosine(self, components: NDArray[np.float32]) -> float:
        """Mean cosine of the true atoms with those matched to them one to one."""
        norms = np.linalg.norm(components, axis=1, keepdims=True)
        # Threads of BLAS spin for 25 ms after their work, and the clock of the next step sees it.
        with threadpool_limits(limits=1, user_api="blas"):
            cosines = self.truth @ (components / np.maximum(norms, np.finfo(np.float32).tiny)).T
        return float(cosines[linear_sum_assignment(cosines, maximize=True)].mean())


@dataclass(frozen=True)
class Setting:
    """What a contender may choose."""

    batch_size: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = (f"{key} {value:g}" for key, value in self.options.items())
        return ", ".join([f"mini-batches of {self.batch_size:,}", *given])


@dataclass(frozen=True)
class Outcome:
    """How far a learner came, and how it was set."""

    reached: bool
    seconds: float
    cosine: float
    n_steps: int
    setting: Setting
    tried: Sequence[Mapping[str, Any]] = ()

    @property
    def cut_short(self) -> str | None:
        """How far it came if that was not far enough."""
        if self.reached:
            return None
        return f"not reached in {self.seconds:.0f} s: {self.cosine:.2f} ({self.setting})"


class Entrant:
    """A learner under way, with its clock."""

    def __init__(
        self, make: Callable[[Data, Setting], Learner], data: Data, setting: Setting, goal: float
    ) -> None:
        self.data, self.setting, self.goal = data, setting, goal
        self.learner = make(data, setting)  # imports of peers are not part of the race
        self.n_steps, self.next_look, self.place = 0, 1, 0
        self.seconds, self.cosine = 0.0, 0.0

    @property
    def reached(self) -> bool:
        return self.cosine >= self.goal

    def run(self, limit: float) -> Entrant:
        """Go on until the goal, or until the clock shows `limit`; a look is due at the end."""
        while not self.reached and self.seconds < limit:
            rows = self._rows()
            start = time.perf_counter()
            self.learner.step(rows)
            self.seconds += time.perf_counter() - start
            self.n_steps += 1
            if self.n_steps >= self.next_look or self.seconds >= limit:
                self.cosine = self.data.cosine(self.learner.components)
                self.next_look = self.n_steps + max(1, self.n_steps // LOOK_AFTER)
        return self

    def _rows(self) -> NDArray[np.float32]:
        size = self.setting.batch_size
        if self.place + size > len(self.data.X):
            self.place = 0
        self.place += size
        return self.data.X[self.place - size : self.place]

    def outcome(self, tried: Sequence[Mapping[str, Any]] = ()) -> Outcome:
        return Outcome(self.reached, self.seconds, self.cosine, self.n_steps, self.setting, tried)


def choose(entrants: Sequence[Entrant], limit: float, *, patient: bool) -> Outcome:
    """Return the first to reach the goal by its own clock, or the one that came closest."""
    time_so_far = limit if patient else limit * FIRST_STAGE
    going = list(entrants)
    while True:
        for entrant in going:
            entrant.run(time_so_far)
        if time_so_far >= limit or any(entrant.reached for entrant in going):
            break
        going = sorted(going, key=lambda entrant: -entrant.cosine)[: (len(going) + 1) // 2]
        time_so_far = min(limit, 2 * time_so_far)
    best = min(entrants, key=lambda e: (not e.reached, e.seconds if e.reached else -e.cosine))
    return best.outcome([_summary(entrant) for entrant in entrants])


def _summary(entrant: Entrant) -> dict[str, Any]:
    return {
        "batch_size": entrant.setting.batch_size,
        **entrant.setting.options,
        "seconds": entrant.seconds,
        "steps": entrant.n_steps,
        "cosine": entrant.cosine,
    }
