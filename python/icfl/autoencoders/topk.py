"""The sparse autoencoder whose codes are the `n_nonzero` largest positive pre-activations."""

from __future__ import annotations

from icfl.autoencoders.base import SparseAutoencoder
from icfl.coding.coders import Coder, TopK
from icfl.learning.stepper import Arrays

__all__ = ["TopKSAE"]


class TopKSAE(SparseAutoencoder):
    """Sparse autoencoder: codes are the `n_nonzero` largest positive pre-activations."""

    _activation = "topk"

    def _coder_of(self, fitted: Arrays) -> Coder:
        return TopK(self.n_nonzero)
