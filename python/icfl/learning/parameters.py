"""The parameters of a learner: their defaults, the published values, and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from icfl._validation import check_choice, check_count, check_flag, check_matrix, check_number
from icfl.exceptions import InputError
from icfl.learning.backends import check_backend
from icfl.learning.initialisation import INITS

if TYPE_CHECKING:
    from icfl.learning.learner import Learner

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_INIT",
    "DEFAULT_MAX_ITER",
    "DEFAULT_REFIT",
    "DEFAULT_UPDATE",
    "PAPER",
    "check_parameters",
    "mini_batch",
    "size",
]

AUTO_EXPANSION = 8
"""Atoms per feature of ``n_components="auto"``."""

DEFAULT_UPDATE = "online"
DEFAULT_REFIT = "joint"
DEFAULT_BATCH_SIZE = 1024
BATCHES = 20
"""Mini-batches of a pass that ``batch_size="auto"`` makes of little data, which need many steps."""
SMALLEST_BATCH = 64
DEFAULT_MAX_ITER = 20
DEFAULT_INIT = "auto"

PAPER: dict[str, Any] = {
    "n_components": 8192,
    "n_iterations": 20,
    "atoms_per_iteration": 5,
    "refit": "block",
    "threshold": -np.inf,
    "selection": "positive",
    "update": "adam",
    "learning_rate": 5e-5,
    "atom_norm": "unit",
    "coherence_limit": 0.9,
    "unit_norm_inputs": True,
    "batch_size": 8192,
    "max_iter": None,
    "max_steps": 300_000,
    "init": "linear",
}
"""What `ICFL.paper` sets."""


def check_parameters(model: Learner) -> None:
    """Refuse parameters that are out of range; the update checks its own."""
    model._check_own()
    model._unit_norm()
    if model.n_components != "auto":
        check_count(model.n_components, "n_components")
    if model.batch_size != "auto":
        check_count(model.batch_size, "batch_size")
    check_flag(model.sparse_output, "sparse_output")
    if isinstance(model.init, str):
        check_choice(model.init, "init", INITS)
    _check_limits(model)
    check_backend(model)


def size(model: Learner, n_features: int) -> int:
    """Return how many atoms the parameters ask for."""
    if model.n_components != "auto":
        return int(model.n_components)
    if isinstance(model.init, str):
        return AUTO_EXPANSION * n_features
    return len(check_matrix(model.init, "init"))


def mini_batch(model: Learner, n_rows: int | None = None) -> int:
    """Return the most rows of a mini-batch, for `n_rows` rows in all if that is known."""
    if model.batch_size != "auto":
        return int(model.batch_size)
    if n_rows is None:
        return DEFAULT_BATCH_SIZE
    return min(DEFAULT_BATCH_SIZE, max(SMALLEST_BATCH, n_rows // BATCHES))


def _check_limits(model: Learner) -> None:
    if model.max_iter is None and model.max_steps is None:
        raise InputError("max_iter and max_steps must not both be None")
    for name in ("max_iter", "max_steps"):
        if getattr(model, name) is not None:
            check_count(getattr(model, name), name)
    if model.tol is not None:
        check_number(model.tol, "tol")
    check_number(model.validation_fraction, "validation_fraction", low=0, high=1, closed=False)
    check_number(model.checkpoint_interval, "checkpoint_interval", low=0)
