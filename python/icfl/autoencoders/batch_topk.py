"""The sparse autoencoder that shares non-zeros among the rows of a mini-batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from icfl.autoencoders.base import SparseAutoencoder
from icfl.coding.coders import Above, Coder
from icfl.learning.minibatches import Survey, TrainingRows
from icfl.learning.stepper import Arrays

__all__ = ["BatchTopKSAE"]


class BatchTopKSAE(SparseAutoencoder):
    """Sparse autoencoder: a mini-batch shares its non-zeros, rows need not have equally many."""

    _activation = "batch_topk"

    threshold_: NDArray[np.float32]

    def _coder_of(self, fitted: Arrays) -> Coder:
        return Above(float(fitted["threshold"]))

    def _shapes(self, n_components: int, n_features: int) -> dict[str, tuple[int, ...]]:
        return super()._shapes(n_components, n_features) | {"threshold": ()}

    def _first_arrays(self, survey: Survey, rows: TrainingRows, rng: np.random.Generator) -> Arrays:
        threshold = np.zeros((), dtype=np.float32)
        return super()._first_arrays(survey, rows, rng) | {"threshold": threshold}
