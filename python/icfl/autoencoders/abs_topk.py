"""The sparse autoencoder whose codes are the `n_nonzero` pre-activations of largest magnitude."""

from __future__ import annotations

from icfl.autoencoders.base import SparseAutoencoder
from icfl.autoencoders.documented import documented
from icfl.coding.coders import Coder, TopK
from icfl.learning.stepper import Arrays

__all__ = ["AbsTopKSAE"]


@documented()
class AbsTopKSAE(SparseAutoencoder):
    """Sparse autoencoder: codes are the `n_nonzero` pre-activations of largest magnitude.

    Their signs are kept, so that one latent can stand for a direction and its opposite.

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
    TopKSAE : Keeps positive pre-activations only.

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
    .. [2] "AbsTopK: rethinking sparse autoencoders for bidirectional features", arXiv:2510.00404.

    Examples
    --------
    >>> import numpy as np
    >>> import icfl
    >>> X = np.random.default_rng(0).standard_normal((500, 16))
    >>> model = icfl.AbsTopKSAE(32, n_nonzero=4, max_iter=2, random_state=0)
    >>> Z = model.fit_transform(X)
    >>> Z.shape, int(np.diff(Z.indptr).max()), bool((Z.data < 0).any())
    ((500, 32), 4, True)
    """

    _activation = "abs_topk"

    def _coder_of(self, fitted: Arrays) -> Coder:
        return TopK(self.n_nonzero, "absolute")
