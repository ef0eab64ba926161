"""The sparse autoencoder whose codes are the `n_nonzero` largest positive pre-activations."""

from __future__ import annotations

from icfl.autoencoders.base import SparseAutoencoder
from icfl.autoencoders.documented import documented
from icfl.coding.coders import Coder, TopK
from icfl.learning.stepper import Arrays

__all__ = ["TopKSAE"]


@documented()
class TopKSAE(SparseAutoencoder):
    """Sparse autoencoder: codes are the `n_nonzero` largest positive pre-activations.

    Parameters
    ----------
    <first>
    <auxiliary>
    <rest>

    Attributes
    ----------
    <decoder>
    <encoder>
    <counts>

    See Also
    --------
    ICFL : Encodes by pursuit instead of by an encoder of its own.
    BatchTopKSAE : Shares non-zeros among rows.

    Notes
    -----
    Training is that of `icfl.autoencoders.recipe`: normalised squared error and auxiliary loss,
    Adam, gradients of norm 1 at most, decoder rows of unit norm and its gradient orthogonal to
    them. A ``fit`` begins with a quarter of the non-zeros, no fewer than 8, and has all of them
    after 95 % of its steps. A latent is dead that has not fired for as long as an average
    one fires 30 times, or for a pass; a zero that was chosen has not fired. What this was chosen
    by is in docs/autoencoders.md of the sources.

    References
    ----------
    .. [1] Gao et al., "Scaling and evaluating sparse autoencoders", arXiv:2406.04093.

    Examples
    --------
    >>> import numpy as np
    >>> import icfl
    >>> X = np.random.default_rng(0).standard_normal((500, 16))
    >>> model = icfl.TopKSAE(32, n_nonzero=4, max_iter=2, random_state=0)
    >>> Z = model.fit_transform(X)
    >>> Z.shape, int(np.diff(Z.indptr).max()) <= 4
    ((500, 32), True)
    """

    _activation = "topk"

    def _coder_of(self, fitted: Arrays) -> Coder:
        return TopK(self.n_nonzero)
