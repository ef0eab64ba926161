"""The sparse autoencoder with nested dictionaries."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from icfl._validation import check_count
from icfl.autoencoders.batch_topk import BatchTopKSAE
from icfl.autoencoders.documented import documented
from icfl.exceptions import InputError
from icfl.learning.backends import Backend
from icfl.learning.parameters import DEFAULT_INIT, DEFAULT_MAX_ITER

__all__ = ["MatryoshkaSAE"]

HALVINGS = 4
"""Nested dictionaries beside the whole, each half of the next, where no widths are given."""


@documented(each=" on average")
class MatryoshkaSAE(BatchTopKSAE):
    """Sparse autoencoder whose first latents are a dictionary of their own.

    The loss is the mean over nested dictionaries, prefixes of the whole one, so that the first
    latents stay with general features. Codes are those of `BatchTopKSAE`.

    Parameters
    ----------
    <first>
    widths : sequence of int, optional
        Increasing sizes of the nested dictionaries; n_components is added if it is not the last.
        None takes n_components and four halvings of it.
    <auxiliary>
    <rest>

    Attributes
    ----------
    <decoder>
    <encoder>
    threshold_ : ndarray of shape (), float32
        As of `BatchTopKSAE`.
    <counts>

    See Also
    --------
    ICFL : Encodes by pursuit instead of by an encoder of its own.
    BatchTopKSAE : The same without nesting.

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
    .. [2] Bussmann et al., "Learning multi-level features with Matryoshka sparse autoencoders",
       arXiv:2503.17547.

    Examples
    --------
    >>> import numpy as np
    >>> import icfl
    >>> X = np.random.default_rng(0).standard_normal((500, 16))
    >>> model = icfl.MatryoshkaSAE(32, n_nonzero=4, max_iter=2, random_state=0)
    >>> Z = model.fit_transform(X)
    >>> Z.shape, model.components_[:2].shape
    ((500, 32), (2, 16))
    """

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        n_nonzero: int = 32,
        widths: Sequence[int] | None = None,
        aux_coefficient: float = 1 / 32,
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
        self.widths = widths

    def _widths(self, n_components: int) -> tuple[int, ...]:
        if self.widths is None:
            nested = [n_components >> halvings for halvings in range(HALVINGS, -1, -1)]
            return tuple(sorted({width for width in nested if width > 0}))
        widths = tuple(check_count(width, "widths") for width in self.widths)
        increasing = all(a < b for a, b in itertools.pairwise(widths))
        if not widths or not increasing or widths[-1] > n_components:
            raise InputError(
                f"widths must increase up to n_components = {n_components}, got {self.widths!r}"
            )
        return widths if widths[-1] == n_components else (*widths, n_components)
