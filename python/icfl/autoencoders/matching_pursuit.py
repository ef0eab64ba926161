"""The sparse autoencoder that encodes by matching pursuit with its own decoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl.autoencoders.base import SparseAutoencoder
from icfl.autoencoders.documented import PYTORCH, documented
from icfl.autoencoders.recipe import PursuitRecipe
from icfl.coding.coders import BlockPursuit, Coder, cached_dictionary
from icfl.learning.minibatches import Survey, TrainingRows
from icfl.learning.stepper import Arrays

__all__ = ["MatchingPursuitSAE"]


@documented(each=" at most: rounds of the pursuit", **PYTORCH)
class MatchingPursuitSAE(SparseAutoencoder):
    """Sparse autoencoder without an encoder: codes come from matching pursuit with the decoder.

    Each round takes the atom with the largest inner product with what is left; gradients go through
    all rounds. In the auxiliary loss the inner products of dead atoms with what pursuit leaves are
    the codes. Learning begins with up to twice `n_nonzero` rounds, and of two atoms that come to
    coincide one is replaced by a random direction. Training needs PyTorch
    (``pip install 'icfl[torch]'``); encoding is `icfl.encode_mp` with positive selection and does
    not.

    Parameters
    ----------
    <first>
    <auxiliary>
    <rest>

    Attributes
    ----------
    <decoder>
    <counts>

    See Also
    --------
    ICFL : Encodes by pursuit too, and moves the dictionary with the codes held fixed.

    References
    ----------
    .. [1] Costa et al., "From flat to hierarchical: extracting sparse representations with matching
       pursuit", arXiv:2506.03093.

    Examples
    --------
    >>> import icfl
    >>> icfl.MatchingPursuitSAE(512, n_nonzero=16).n_nonzero
    16
    """

    _activation = "matching_pursuit"
    _backends = ("torch",)

    def _recipe(self, n_components: int, n_features: int) -> PursuitRecipe:
        plain = super()._recipe(n_components, n_features)
        return PursuitRecipe(**vars(plain), n_features=n_features)

    def _coder_of(self, fitted: Arrays) -> Coder:
        return BlockPursuit(self.n_nonzero, 1, 0.0, "positive")

    def _coder(self) -> Coder:
        return self._coder_of({})

    def _shapes(self, n_components: int, n_features: int) -> dict[str, tuple[int, ...]]:
        return {"components": (n_components, n_features), "bias": (n_features,)}

    def _first_arrays(self, survey: Survey, rows: TrainingRows, rng: np.random.Generator) -> Arrays:
        arrays = super()._first_arrays(survey, rows, rng)
        return {name: arrays[name] for name in self._shapes(0, 0)}

    def _compiled(self, atoms: NDArray[np.float32]) -> _core.Dictionary:
        return cached_dictionary(self, atoms)
