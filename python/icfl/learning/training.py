"""The training loop: shuffled mini-batches in, a moving dictionary out.

The mini-batch of a step and what the update draws in it are functions of the seed and the step
number alone, so a run can be taken up again after any step from its counters and arrays. The clock
decides when a checkpoint is written, and nothing else.

A step first forms the next state, which Ctrl-C may break off at any point because nothing has
changed yet; then it puts that in place and counts, which Ctrl-C has to wait for. So there is always
a last finished step to go back to.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from numpy.typing import NDArray

from icfl.exceptions import InputError
from icfl.learning.checkpoint import Checkpoint
from icfl.learning.history import Run
from icfl.learning.interrupt import deferred_interrupts
from icfl.learning.minibatches import Purpose, Schedule, TrainingRows, generator
from icfl.learning.stepper import Moment, Stepper
from icfl.metrics.reconstruction import explained_variance

__all__ = [
    "Callback",
    "Progress",
    "Trainer",
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


class Trainer:
    """A run and what learns in it.

    Parameters
    ----------
    stepper : Stepper
        What learns.
    run : Run
        Counters and history, changed in place.
    dead_window : int
        Samples over which ``dead`` is counted.
    """

    def __init__(self, stepper: Stepper, run: Run, *, dead_window: int) -> None:
        self.stepper = stepper
        self.run = run
        self.dead_window = dead_window
        self.planned_steps: int | None = None
        self._clock = time.perf_counter()

    def step(self, X: Any) -> None:
        """Learn from one mini-batch of prepared rows, shape (b, d)."""
        with self._finite():
            outcome = self.stepper.advance(X, self.moment)
        with deferred_interrupts():
            self.stepper.commit()
            self.run.note(outcome)
            now = time.perf_counter()
            self.run.seconds += now - self._clock
            self._clock = now

    @property
    def moment(self) -> Moment:
        """When the next step is taken."""
        run = self.run
        return Moment(
            run.step,
            self.planned_steps,
            generator(run.seed, Purpose.STEP, run.step),
            run.n_samples_seen - run.last_active,
            self.dead_window,
        )

    def record(self, validation: float | None = None) -> dict[str, Any]:
        """Close the window of the history."""
        with self._finite():
            self.stepper.check_finite()
        return self.run.record(self.dead_window, validation)

    def validate(self, rows: TrainingRows, indices: NDArray[Any]) -> float:
        """Return the explained variance of rows that are not trained on."""
        X = rows.take(indices)
        with self._finite():
            return explained_variance(X, self.stepper.decode(self.stepper.encode(X)))

    @contextlib.contextmanager
    def _finite(self) -> Iterator[None]:
        """Turn what is said of values that are not finite into what to do about it."""
        try:
            yield
        except FloatingPointError as error:
            raise InputError(
                f"learning_rate: the dictionary is no longer finite after {self.run.step} steps; "
                "choose a smaller one"
            ) from error

    def write(self, checkpoint: Checkpoint) -> None:
        """Write everything that the next step depends on."""
        checkpoint.write(self.run, self.stepper.fitted(), self.stepper.arrays())


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
    trainer.planned_steps = schedule.n_steps
    while True:
        if run.window.n_rows and schedule.records(run.step):
            _record(trainer, schedule, rows, tol, verbose)
        if run.step >= schedule.n_steps or (tol is not None and run.stale >= PATIENCE):
            break
        if checkpoint is not None and checkpoint.due:
            trainer.write(checkpoint)
        trainer.step(rows.batch(schedule.indices(run.step)))
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
            growing = trainer.stepper.grows(trainer.moment)
            run.stale = 0 if improved or growing else run.stale + 1
            run.best = max(run.best, value)
    if verbose:
        logger.info("%s", "  ".join(_shown(name, v) for name, v in entry.items()))


def _shown(name: str, value: float) -> str:
    return f"{name} {value}" if isinstance(value, int) else f"{name} {value:.4g}"
