"""How a learner's run begins: anew, from a checkpoint, or where the last one ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from icfl import updates
from icfl._validation import check_matrix, check_n_jobs
from icfl.exceptions import InputError
from icfl.learning.checkpoint import Checkpoint
from icfl.learning.history import Run
from icfl.learning.initialisation import initial_dictionary
from icfl.learning.minibatches import Purpose, Schedule, TrainingRows, generator, survey
from icfl.learning.state import identity
from icfl.learning.training import Trainer
from icfl.updates import UpdateState

if TYPE_CHECKING:
    from icfl.learning.learner import ICFL

__all__ = ["continued", "open_checkpoint", "resumed", "schedule_of", "started"]

AUTO_EXPANSION = 8
"""Atoms per feature of ``n_components="auto"``."""
DEAD_STEPS = 1000
"""Mini-batches over which `partial_fit` counts dead atoms, as the paper does: it knows no pass."""


def started(model: ICFL, rows: TrainingRows) -> Trainer:
    """Return a trainer before its first step."""
    mean, mean_norm = survey(rows)
    seed = _draw_seed(model)
    components, bias = initial_dictionary(
        model.init,
        _size(model, len(mean)),
        mean,
        len(rows.X),
        rows.take,
        unit_norm=model.atom_norm == "unit",
        rng=generator(seed, Purpose.INIT),
    )
    run = Run.start(seed, *components.shape)
    run.input_norm = mean_norm
    return _trainer(model, _start_update(model, components, bias), run)


def resumed(model: ICFL, checkpoint: Checkpoint) -> Trainer | None:
    """Return the trainer that the checkpoint left, or None if there is no such file."""
    state = checkpoint.read()
    if state is None:
        return None
    run, arrays, own = state
    update = _start_update(model, arrays["components"], arrays["bias"])
    update.set_arrays(own)
    return _trainer(model, update, run)


def continued(model: ICFL, rows: TrainingRows) -> Trainer:
    """Return the trainer that the last ``fit`` or ``partial_fit`` left, about to see `rows`."""
    run = model._run
    _, mean_norm = survey(rows)
    total = run.input_norm * run.n_samples_seen + mean_norm * len(rows.X)
    run.input_norm = total / (run.n_samples_seen + len(rows.X))
    update = model._update
    if update is None or update.components is not model.components_:
        update = _start_update(model, model.components_, model.bias_)
        if model._update_arrays is not None:
            update.set_arrays(model._update_arrays)
    return _trainer(model, update, run)


def schedule_of(model: ICFL, trainer: Trainer, n_rows: int) -> Schedule:
    """Return the mini-batches of a fit, and count dead atoms over one pass of them."""
    schedule = Schedule(
        n_rows,
        batch_size=model.batch_size,
        max_iter=model.max_iter,
        max_steps=model.max_steps,
        held_back=_held_back(model),
        seed=trainer.run.seed,
    )
    trainer.dead_window = schedule.n_rows
    return schedule


def open_checkpoint(model: ICFL, rows: TrainingRows, *, resume: bool) -> Checkpoint | None:
    """Return the checkpoint of a fit, if it has one."""
    if model.checkpoint is None:
        if resume:
            raise InputError("resume=True needs the parameter checkpoint")
        return None
    n_components = _size(model, rows.X.shape[1])
    return Checkpoint(
        model.checkpoint,
        model.checkpoint_interval,
        identity(model, rows, n_components, _held_back(model)),
    )


def _trainer(model: ICFL, update: UpdateState, run: Run) -> Trainer:
    return Trainer(
        model._coder(),
        update,
        run,
        batch_size=model.batch_size,
        dead_window=DEAD_STEPS * model.batch_size,
        n_jobs=check_n_jobs(model.n_jobs),
    )


def _start_update(
    model: ICFL, components: NDArray[np.float32], bias: NDArray[np.float32]
) -> UpdateState:
    return updates.start(
        model.update,
        components,
        bias,
        learning_rate=model.learning_rate,
        atom_norm=model.atom_norm,
        coherence_limit=model.coherence_limit,
    )


def _size(model: ICFL, n_features: int) -> int:
    if model.n_components != "auto":
        return int(model.n_components)
    if isinstance(model.init, str):
        return AUTO_EXPANSION * n_features
    return len(check_matrix(model.init, "init"))


def _held_back(model: ICFL) -> float:
    return 0.0 if model.tol is None else float(model.validation_fraction)


def _draw_seed(model: ICFL) -> int:
    source = check_random_state(model.random_state)
    return int(source.randint(0, np.iinfo(np.int64).max, dtype=np.int64))
