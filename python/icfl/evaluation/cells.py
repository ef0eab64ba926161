"""One fit of a comparison, and what is measured on the groups that it has not seen.

Whitener and learner are fitted on the other groups. Reconstruction is measured where the dictionary
sees rows (whitened, of unit norm), so cosines compare learners under one whitening, not two
whitenings. What has to do with labels is in `icfl.evaluation.of_labels`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from icfl.coding.model import seen_by
from icfl.evaluation.learners import seeded
from icfl.evaluation.memory import PeakMemory
from icfl.evaluation.of_labels import Numbers, measure_labels
from icfl.evaluation.plan import Cell, Data
from icfl.exceptions import InputError
from icfl.metrics import ReconstructionStats, dead_fraction, l0

__all__ = ["half_dictionary", "measure"]


def measure(cell: Cell, data: Data, learner: Any, whitener: Any) -> tuple[dict[str, Any], Any]:
    """Fit one learner and measure it.

    Parameters
    ----------
    cell : Cell
        Which fit.
    data : Data
        Rows and labels.
    learner : estimator
        Unfitted.
    whitener : ControlWhitener
        Unfitted; used where the cell says so.

    Returns
    -------
    results : dict
        "numbers", and "labels": for each label its numbers; None where something does not apply.
    dictionary : ndarray of shape (n_components, n_features), float32, or None
        The atoms, for comparing seeds.
    """
    train, test = ~cell.fold.test, cell.fold.test
    rows = _whitened(cell, data, whitener, train)
    model = seeded(learner, cell.seed)
    with PeakMemory() as memory:
        started = time.perf_counter()
        model.fit(rows[train])
        fitted = time.perf_counter()
    Z = model.transform(rows)
    encoded = time.perf_counter()
    inputs = seen_by(model, rows)
    Xhat = model.inverse_transform(Z)
    stats = ReconstructionStats().update(inputs[test], Xhat[test])
    numbers: Numbers = {
        "cosine_similarity": float(stats.cosine_similarity),
        "explained_variance": float(stats.explained_variance),
        "l0": float(l0(Z[test])),
        "dead_fraction": float(dead_fraction(Z[train])),
        "n_components": float(Z.shape[1]),
        "fit_seconds": fitted - started,
        "encode_seconds": encoded - fitted,
        "fit_mebibytes": memory.mebibytes,
    }
    labels = {
        name: measure_labels(Z, Xhat, y, data.groups, test) for name, y in data.labels.items()
    }
    return {"numbers": numbers, "labels": labels}, getattr(model, "components_", None)


def half_dictionary(
    cell: Cell, data: Data, learner: Any, whitener: Any
) -> NDArray[np.float32] | None:
    """Fit one learner to a half of the rows.

    The whitener is fitted to all of them: atoms of two whitenings would be in two spaces.

    Parameters
    ----------
    cell, data, learner, whitener
        As in `measure`; what the fold holds out is the other half.

    Returns
    -------
    dictionary : ndarray of shape (n_components, n_features), float32, or None
        None if the learner has none, or asks for more rows than a half has.
    """
    rows = _whitened(cell, data, whitener, np.ones(len(data.X), dtype=bool))
    model = seeded(learner, cell.seed)
    try:
        model.fit(rows[~cell.fold.test])
    except InputError:  # fits to the folds have gone well: a half is too small
        return None
    return getattr(model, "components_", None)


def _whitened(cell: Cell, data: Data, whitener: Any, seen: NDArray[np.bool_]) -> NDArray[Any]:
    """Return all rows, whitened by the controls among those that are seen if the cell says so."""
    if cell.whitening == "none":
        return data.X
    assert data.control is not None, "the plan has seen to it"
    fitted = clone(whitener).fit(data.X[seen], control=data.control[seen])
    return np.asarray(fitted.transform(data.X))
