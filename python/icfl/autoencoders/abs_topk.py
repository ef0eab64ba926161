"""The sparse autoencoder whose codes are the `n_nonzero` pre-activations of largest magnitude."""

from __future__ import annotations

from icfl.autoencoders.base import SparseAutoencoder
from icfl.coding.coders import Coder, TopK
from icfl.learning.stepper import Arrays

__all__ = ["AbsTopKSAE"]


class AbsTopKSAE(SparseAutoencoder):
    """Sparse autoencoder: codes are the `n_nonzero` pre-activations of largest magnitude."""

    _activation = "abs_topk"

    def _coder_of(self, fitted: Arrays) -> Coder:
        return TopK(self.n_nonzero, "absolute")
