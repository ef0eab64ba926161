"""The sparse autoencoder that shares non-zeros among the rows of a mini-batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from icfl.autoencoders.base import SparseAutoencoder
from icfl.autoencoders.documented import documented
from icfl.coding.coders import Above, Coder
from icfl.learning.minibatches import Survey, TrainingRows
from icfl.learning.stepper import Arrays

__all__ = ["BatchTopKSAE"]


@documented(each=" on average")
class BatchTopKSAE(SparseAutoencoder):
    """Sparse autoencoder that shares non-zeros among rows: easy rows need fewer than others.

    In training the n · `n_nonzero` largest positive pre-activations of a mini-batch of n rows are
    kept. A row is encoded by those above `threshold_`, so its code does not depend on its company.

    Parameters
    ----------
    <first>
    <auxiliary>
    <rest>

    Attributes
    ----------
    <decoder>
    <encoder>
    threshold_ : ndarray of shape (), float32
        What a pre-activation must exceed: the running mean, over a twentieth of the run and a
        hundred mini-batches at most, of the smallest one kept.
    <counts>

    See Also
    --------
    ICFL : Encodes by pursuit instead of by an encoder of its own.
    TopKSAE : Gives every row as many.

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
    .. [2] Bussmann, Leask & Nanda, "BatchTopK sparse autoencoders", arXiv:2412.06410.

    Examples
    --------
    >>> import numpy as np
    >>> import icfl
    >>> X = np.random.default_rng(0).standard_normal((500, 16))
    >>> model = icfl.BatchTopKSAE(32, n_nonzero=4, max_iter=2, random_state=0)
    >>> Z = model.fit_transform(X)
    >>> Z.shape, bool((Z.data > model.threshold_).all())
    ((500, 32), True)
    """

    _activation = "batch_topk"

    threshold_: NDArray[np.float32]

    def _coder_of(self, fitted: Arrays) -> Coder:
        return Above(float(fitted["threshold"]))

    def _shapes(self, n_components: int, n_features: int) -> dict[str, tuple[int, ...]]:
        return super()._shapes(n_components, n_features) | {"threshold": ()}

    def _first_arrays(self, survey: Survey, rows: TrainingRows, rng: np.random.Generator) -> Arrays:
        threshold = np.zeros((), dtype=np.float32)
        return super()._first_arrays(survey, rows, rng) | {"threshold": threshold}
