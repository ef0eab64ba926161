"""The sparse autoencoder whose codes are the `n_nonzero` pre-activations of largest magnitude."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike

from icfl.autoencoders.base import SparseAutoencoder
from icfl.autoencoders.documented import documented
from icfl.coding.coders import Coder, TopK
from icfl.learning.backends import Backend
from icfl.learning.parameters import DEFAULT_INIT, DEFAULT_MAX_ITER
from icfl.learning.stepper import Arrays

__all__ = ["AbsTopKSAE"]


@documented(weight="1/4", part="As many as of a row's non-zeros are theirs by their number")
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
    one fires 30 times, or for a pass; a zero that was chosen has not fired. Fewer
    dead latents take part in the auxiliary loss than where codes are positive, and it has a larger
    weight. What this was chosen by is in docs/autoencoders.md of the sources.

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

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        n_nonzero: int = 32,
        aux_coefficient: float = 1 / 4,
        learning_rate: float | None = None,
        unit_norm_inputs: bool = True,
        batch_size: int | str = "auto",
        max_iter: int | None = DEFAULT_MAX_ITER,
        max_steps: int | None = None,
        init: str | ArrayLike = DEFAULT_INIT,
        sparse_output: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        backend: str | Backend = "auto",
        device: str | None = None,
        verbose: int = 0,
        tol: float | None = None,
        validation_fraction: float = 0.1,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_interval: float = 60.0,
    ) -> None:
        super().__init__(
            n_components,
            n_nonzero=n_nonzero,
            aux_coefficient=aux_coefficient,
            learning_rate=learning_rate,
            unit_norm_inputs=unit_norm_inputs,
            batch_size=batch_size,
            max_iter=max_iter,
            max_steps=max_steps,
            init=init,
            sparse_output=sparse_output,
            random_state=random_state,
            n_jobs=n_jobs,
            backend=backend,
            device=device,
            verbose=verbose,
            tol=tol,
            validation_fraction=validation_fraction,
            checkpoint=checkpoint,
            checkpoint_interval=checkpoint_interval,
        )

    _activation = "abs_topk"

    def _coder_of(self, fitted: Arrays) -> Coder:
        return TopK(self.n_nonzero, "absolute")
