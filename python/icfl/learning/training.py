"""The training loop: shuffled mini-batches in, a moving dictionary out.

The mini-batch of a step and what the update draws in it are functions of the seed and the step
number alone, so a run can be taken up again after any step from its counters and arrays. The clock
decides when a checkpoint is written, and nothing else.

A step encodes and forms the next state of the update, which Ctrl-C may break off at any point
because nothing has changed yet; then it puts the new state in place and counts, which Ctrl-C has to
wait for. So there is always a last finished step to go back to.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl.coding.coders import BlockPursuit, Codes, gram_pays
from icfl.exceptions import InputError
from icfl.learning.checkpoint import Checkpoint
from icfl.learning.history import Run
from icfl.learning.interrupt import deferred_interrupts
from icfl.learning.minibatches import Purpose, Schedule, TrainingRows, generator
from icfl.metrics.reconstruction import explained_variance
from icfl.updates import UpdateState

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
    """A run and the dictionary it moves.

    Parameters
    ----------
    coder : BlockPursuit
        How rows are encoded.
    update : UpdateState
        How the dictionary follows.
    run : Run
        Counters and history, changed in place.
    batch_size : int
        Nominal size of a mini-batch; decides, whatever the size of the one at hand, whether the
        Gram matrix is built.
    dead_window : int
        Samples over which ``dead`` is counted.
    n_jobs : int or None
        Threads.
    """

    def __init__(
        self,
        coder: BlockPursuit,
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
        self.batch_size = batch_size
        self.dead_window = dead_window
        self.n_jobs = n_jobs
        self.planned_steps: int | None = None
        self._clock = time.perf_counter()

    def step(self, X: NDArray[np.float32]) -> None:
        """Learn from one mini-batch of prepared rows, shape (b, d)."""
        progress = self._progress
        codes = self._encode(X, self._learning_coder(progress))
        rng = generator(self.run.seed, Purpose.STEP, self.run.step)
        after = self.update.step(
            X, codes, step=self.run.step, rng=rng, n_jobs=self.n_jobs, progress=progress
        )
        # An update of the user's own need not have the attribute.
        measured = getattr(after, "measured", None) or _core.reconstruction_sums(
            X, codes, self.update.components, self.update.bias, self.n_jobs
        )
        with deferred_interrupts():
            self.update = after
            self.run.note(len(X), measured, codes, after.n_replaced)
            now = time.perf_counter()
            self.run.seconds += now - self._clock
            self._clock = now

    def record(self, validation: float | None = None) -> dict[str, Any]:
        """Close the window of the history."""
        with self._finite():
            _core.survey_rows(self.update.components, False, self.n_jobs)
        return self.run.record(self.dead_window, validation)

    def validate(self, rows: TrainingRows, indices: NDArray[Any]) -> float:
        """Return the explained variance of rows that are not trained on."""
        X = rows.take(indices)
        codes = self._encode(X, self.coder)
        Xhat = _core.decode(codes, self.update.components, self.update.bias, self.n_jobs)
        return explained_variance(X, Xhat)

    def _learning_coder(self, progress: float | None) -> BlockPursuit:
        coder = self.coder
        rounds = self.update.rounds(coder.n_iterations, coder.atoms_per_iteration, progress)
        return replace(coder, n_iterations=rounds)

    def _dictionary(self) -> _core.Dictionary:
        with self._finite():
            return _core.Dictionary(self.update.components)

    @contextlib.contextmanager
    def _finite(self) -> Iterator[None]:
        """Turn what is said of atoms that are not finite into what to do about it."""
        try:
            yield
        except ValueError as error:
            raise InputError(
                f"learning_rate: the dictionary is no longer finite after {self.run.step} steps; "
                "choose a smaller one"
            ) from error

    @property
    def growing(self) -> bool:
        """Whether later steps will learn with more iterations than the next one."""
        full = self._learning_coder(1.0).n_iterations
        return self._learning_coder(self._progress).n_iterations < full

    @property
    def _progress(self) -> float | None:
        return self.run.step / self.planned_steps if self.planned_steps else None

    def _encode(self, X: NDArray[np.float32], coder: BlockPursuit) -> Codes:
        use_gram = gram_pays(len(self.update.components), self.batch_size, coder.rounds)
        return coder.encode(
            self._dictionary(), X, self.update.bias, use_gram=use_gram, n_jobs=self.n_jobs
        )

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
    trainer.planned_steps = schedule.n_steps
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
            run.stale = 0 if improved or trainer.growing else run.stale + 1
            run.best = max(run.best, value)
    if verbose:
        logger.info("%s", "  ".join(_shown(name, v) for name, v in entry.items()))


def _shown(name: str, value: float) -> str:
    return f"{name} {value}" if isinstance(value, int) else f"{name} {value:.4g}"
