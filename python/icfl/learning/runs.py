"""How a learner's run begins: anew, from a checkpoint, or where the last one ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import check_random_state

from icfl.exceptions import InputError
from icfl.learning.checkpoint import Checkpoint
from icfl.learning.history import Run
from icfl.learning.minibatches import Purpose, Schedule, TrainingRows, generator
from icfl.learning.parameters import mini_batch, size
from icfl.learning.state import identity
from icfl.learning.stepper import Stepper
from icfl.learning.training import Trainer

if TYPE_CHECKING:
    from icfl.learning.learner import Learner

__all__ = ["continued", "open_checkpoint", "resumed", "schedule_of", "started"]

DEAD_STEPS = 1000
"""Mini-batches over which `partial_fit` counts dead atoms, as the paper does: it knows no pass."""


def started(model: Learner, rows: TrainingRows) -> Trainer:
    """Return a trainer before its first step."""
    survey = rows.survey()
    rows.scale = model._scale_for(survey)
    survey = survey.scaled(rows.scale)
    seed = _draw_seed(model)
    fitted = model._first_arrays(survey, rows, generator(seed, Purpose.INIT))
    model._foresee(survey, fitted)
    run = Run.start(seed, *fitted["components"].shape)
    run.input_norm, run.input_scale = survey.mean_norm, rows.scale
    return _trainer(model, model._start(fitted), run, rows)


def resumed(model: Learner, checkpoint: Checkpoint, rows: TrainingRows) -> Trainer | None:
    """Return the trainer that the checkpoint left, or None if there is no such file."""
    state = checkpoint.read()
    if state is None:
        return None
    run, arrays, own = state
    rows.scale = run.input_scale
    names = model._shapes(0, 0)
    stepper = model._start({name: arrays[name] for name in names})
    stepper.set_arrays(own)
    return _trainer(model, stepper, run, rows)


def continued(model: Learner, rows: TrainingRows) -> Trainer:
    """Return the trainer that the last ``fit`` or ``partial_fit`` left, about to see `rows`."""
    run = model._run
    survey = rows.survey()
    rows.scale = run.input_scale
    total = run.input_norm * run.n_samples_seen + survey.mean_norm * len(rows)
    run.input_norm = total / (run.n_samples_seen + len(rows))
    stepper, fitted = model._stepper, model._fitted_arrays()
    if stepper is None or any(stepper.fitted()[name] is not fitted[name] for name in fitted):
        stepper = model._start(fitted)
        if model._stepper_arrays is not None:
            stepper.set_arrays(model._stepper_arrays)
    return _trainer(model, stepper, run, rows)


def schedule_of(model: Learner, trainer: Trainer, rows: TrainingRows) -> Schedule:
    """Return the mini-batches of a fit, and count dead atoms over one pass of them."""
    schedule = Schedule(
        len(rows),
        batch_size=mini_batch(model, len(rows)),
        max_iter=model.max_iter,
        max_steps=model.max_steps,
        held_back=_held_back(model),
        seed=trainer.run.seed,
        in_order=rows.in_order,
    )
    trainer.dead_window = schedule.n_rows * rows.n_processes
    return schedule


def open_checkpoint(model: Learner, rows: TrainingRows, *, resume: bool) -> Checkpoint | None:
    """Return the checkpoint of a fit, if it has one."""
    if model.checkpoint is None:
        if resume:
            raise InputError("resume=True needs the parameter checkpoint")
        return None
    n_components = size(model, rows.n_features)
    return Checkpoint(
        model.checkpoint,
        model.checkpoint_interval,
        identity(model, rows, n_components, _held_back(model)),
    )


def _trainer(model: Learner, stepper: Stepper, run: Run, rows: TrainingRows) -> Trainer:
    window = DEAD_STEPS * mini_batch(model) * rows.n_processes
    return Trainer(stepper, run, dead_window=window)


def _held_back(model: Learner) -> float:
    return 0.0 if model.tol is None else float(model.validation_fraction)


def _draw_seed(model: Learner) -> int:
    source = check_random_state(model.random_state)
    return int(source.randint(0, np.iinfo(np.int64).max, dtype=np.int64))
