"""What the tests of training share: data, options, and what a fitted model holds."""

from __future__ import annotations

import numpy as np

import oracles

UPDATES = ("online", "adam")
OPTIONS = {
    "n_components": 20,
    "n_iterations": 3,
    "atoms_per_iteration": 2,
    "batch_size": 50,
    "max_iter": 4,
    "random_state": 3,
}


def planted(n=430, d=10, M=20, active=3, seed=0):
    """Sparse positive sums of `M` unit atoms with a little noise."""
    rng = np.random.default_rng(seed)
    atoms = oracles.unit_rows(rng.standard_normal((M, d)))
    codes = np.zeros((n, M))
    for row in codes:
        row[rng.choice(M, active, replace=False)] = rng.uniform(0.5, 1.5, active)
    return (codes @ atoms + 0.01 * rng.standard_normal((n, d))).astype(np.float32)


def bits(model):
    """Everything about a fitted model that has to be reproducible."""
    history = [{k: v for k, v in entry.items() if k != "seconds"} for entry in model.history_]
    arrays = model._stepper.arrays()
    return (
        model.components_.tobytes(),
        model.bias_.tobytes(),
        {name: np.asarray(array).tobytes() for name, array in arrays.items()},
        (model.n_steps_, model.n_iter_, model.n_samples_seen_, model.input_norm_),
        history,
    )
