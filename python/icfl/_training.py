"""The training loop: shuffled mini-batches in, a moving dictionary out.

The mini-batch of a step and what the update draws in it are functions of the seed and the step
number alone, so a run can be taken up again after any step from its counters and arrays. The clock
decides when a checkpoint is written, and nothing else.

A step encodes (which Ctrl-C may break off, nothing has changed yet) and then updates and counts
(which Ctrl-C has to wait for), so there is always a last finished step to go back to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl._checkpoint import Checkpoint
from icfl._coders import Coder, Codes, gram_pays
from icfl._history import Run
from icfl._interrupt import deferred_interrupts
from icfl._minibatches import Purpose, Schedule, TrainingRows, generator
from icfl.exceptions import InputError
from icfl.metrics.reconstruction import explained_variance

__all__ = [
    "Callback",
    "Progress",
    "Trainer",
    "UpdateState",
    "train",
]

PATIENCE = 5
"""Evaluations on held-back rows without an improvement of ``tol`` that end a fit."""

logger = logging.getLogger("icfl")


class Progress(NamedTuple):
    """What a callback of ``fit`` is told after every step."""

    step: int
    n_steps: int
    history: list[dict[str, Any]]


Callback = Callable[[Progress], object]


class UpdateState(Protocol):
    """A dictionary that moves: what `icfl.updates.start` returns."""

    components: NDArray[np.float32]
    bias: NDArray[np.float32]

    def step(
        self,
        X: NDArray[np.float32],
        codes: Codes,
        *,
        step: int,
        rng: np.random.Generator,
        n_jobs: int | None,
    ) -> int:
        """Take in a mini-batch and its codes; return the number of atoms replaced."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything but dictionary and bias that the next step depends on."""

    def set_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take back what `arrays` returned."""


class Trainer:
    """A run and the dictionary it moves.

    Parameters
    ----------
    coder : Coder
        How rows are encoded.
    update : UpdateState
        How the dictionary follows.
    run : Run
        Counters and history, changed in place.
    batch_size : int
        Nominal size of a mini-batch; decides, the same way in every step, whether the Gram matrix
        is built.
    dead_window : int
        Samples over which ``dead`` is counted.
    n_jobs : int or None
        Threads.
    """

    def __init__(
        self,
        coder: Coder,
        update: UpdateState,
        run: Run,
        *,
        batch_size: int,
        dead_window: int,
        n_jobs: int | None,
    ) -> None:
        self.coder = coder
        self.update = update
        self.run = run
        self.dead_window = dead_window
        self.n_jobs = n_jobs
        self._use_gram = gram_pays(len(update.components), batch_size, coder.rounds)
        self._clock = time.perf_counter()

    def step(self, X: NDArray[np.float32]) -> None:
        """Learn from one mini-batch of prepared rows, shape (b, d)."""
        codes, Xhat = self._encode(_core.Dictionary(self.update.components), X)
        rng = generator(self.run.seed, Purpose.STEP, self.run.step)
        with deferred_interrupts():
            replaced = self.update.step(X, codes, step=self.run.step, rng=rng, n_jobs=self.n_jobs)
            self.run.note(X, Xhat, codes, replaced)
            now = time.perf_counter()
            self.run.seconds += now - self._clock
            self._clock = now

    def record(self, validation: float | None = None) -> dict[str, Any]:
        """Close the window of the history."""
        if not np.isfinite(self.update.components).all():
            raise InputError(
                f"learning_rate: the dictionary is no longer finite after {self.run.step} steps; "
                "choose a smaller one"
            )
        return self.run.record(self.dead_window, validation)

    def validate(self, rows: TrainingRows, indices: NDArray[Any]) -> float:
        """Return the explained variance of rows that are not trained on."""
        X = rows.take(indices)
        Xhat = self._encode(_core.Dictionary(self.update.components), X)[1]
        return explained_variance(X, Xhat)

    def _encode(
        self, dictionary: _core.Dictionary, X: NDArray[np.float32]
    ) -> tuple[Codes, NDArray[np.float32]]:
        codes = self.coder.encode(
            dictionary, X, self.update.bias, use_gram=self._use_gram, n_jobs=self.n_jobs
        )
        return codes, _core.decode(codes, self.update.components, self.update.bias, self.n_jobs)

    def write(self, checkpoint: Checkpoint) -> None:
        """Write everything that the next step depends on."""
        dictionary = {"components": self.update.components, "bias": self.update.bias}
        checkpoint.write(self.run, dictionary, self.update.arrays())


def train(
    trainer: Trainer,
    schedule: Schedule,
    rows: TrainingRows,
    *,
    tol: float | None,
    checkpoint: Checkpoint | None,
    callback: Callback | None,
    verbose: int,
) -> None:
    """Run a fit to its end, from wherever `trainer` stands.

    On KeyboardInterrupt the trainer stands after its last finished step.
    """
    run = trainer.run
    while True:
        if run.window.n_rows and schedule.records(run.step):
            _record(trainer, schedule, rows, tol, verbose)
        if run.step >= schedule.n_steps or (tol is not None and run.stale >= PATIENCE):
            break
        if checkpoint is not None and checkpoint.due:
            trainer.write(checkpoint)
        trainer.step(rows.take(schedule.indices(run.step)))
        if callback is not None:
            callback(Progress(run.step, schedule.n_steps, run.history))
    if checkpoint is not None:
        trainer.write(checkpoint)


def _record(
    trainer: Trainer, schedule: Schedule, rows: TrainingRows, tol: float | None, verbose: int
) -> None:
    run = trainer.run
    value = trainer.validate(rows, schedule.validation) if len(schedule.validation) else None
    with deferred_interrupts():
        run.epoch = run.step / schedule.batches
        entry = trainer.record(value)
        if value is not None and tol is not None:
            improved = value > run.best + tol
            run.stale = 0 if improved else run.stale + 1
            run.best = max(run.best, value)
    if verbose:
        logger.info("%s", "  ".join(_shown(name, v) for name, v in entry.items()))


def _shown(name: str, value: float) -> str:
    return f"{name} {value}" if isinstance(value, int) else f"{name} {value:.4g}"
