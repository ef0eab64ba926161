"""The sparse autoencoder whose latents each learn the threshold above which they are active."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icfl import _core
from icfl._validation import Floats, check_number
from icfl.autoencoders.base import SparseAutoencoder
from icfl.autoencoders.documented import PYTORCH, documented
from icfl.autoencoders.recipe import Recipe
from icfl.coding.coders import Coder, Codes, cached_dictionary
from icfl.learning.backends import Backend
from icfl.learning.minibatches import Survey, TrainingRows
from icfl.learning.parameters import DEFAULT_INIT, DEFAULT_MAX_ITER
from icfl.learning.stepper import Arrays

__all__ = ["Gated", "JumpReLURecipe", "JumpReLUSAE"]

SAMPLE_ROWS = 1024
"""Rows from whose pre-activations the first threshold is taken."""


@dataclass(frozen=True, kw_only=True)
class JumpReLURecipe(Recipe):
    """The recipe with what thresholds need.

    Attributes
    ----------
    bandwidth : float
        Width ε of the kernel through which thresholds get their gradients.
    sparsity_coefficient : float
        Weight λ of the penalty λ (l0 / n_nonzero − 1)², l0 the mean non-zeros of a mini-batch.
    """

    bandwidth: float
    sparsity_coefficient: float

    @property
    def first_nonzero(self) -> int:
        """All of them: thresholds would follow a growing number too slowly."""
        return self.n_nonzero


@dataclass(frozen=True, eq=False)
class Gated:
    """All pre-activations above a threshold of their latent; a coder.

    The dictionary that it encodes with has the thresholds taken off its offsets.
    """

    thresholds: NDArray[np.float32]
    rounds = 1

    def encode(
        self,
        dictionary: _core.Dictionary,
        X: Floats,
        bias: NDArray[np.float32] | None,
        *,
        use_gram: bool,
        n_jobs: int | None,
    ) -> Codes:
        """Encode in one round; the Gram matrix is of no use."""
        starts, indices, values = dictionary.encode_above(X, bias, 0.0, n_jobs)
        return starts, indices, values + self.thresholds[indices]


@documented(each=" on average, which the penalty asks for", **PYTORCH)
class JumpReLUSAE(SparseAutoencoder):
    """Sparse autoencoder whose latents are each active above a threshold that they learn.

    Thresholds are learnt through a rectangular kernel around the jump; a penalty
    λ (l0 / `n_nonzero` - 1)² holds the mean number of non-zeros of a mini-batch, l0, near
    `n_nonzero`. They start, all alike, where as many latents are active. Training needs PyTorch
    (``pip install 'icfl[torch]'``); encoding does not.

    Parameters
    ----------
    <first>
    bandwidth : float, optional
        Width of the kernel, in units of pre-activations. Narrower follows the jump more closely
        with gradients from fewer rows. None takes 1/sqrt(n_features), by which inner products of
        unit vectors spread.
    sparsity_coefficient : float, default=1.0
        Weight λ of the penalty.
    <auxiliary>
    <rest>

    Attributes
    ----------
    <decoder>
    <encoder>
    threshold_ : ndarray of shape (n_components,), float32
        What the pre-activation of each latent must exceed.
    <counts>

    See Also
    --------
    BatchTopKSAE : Shares non-zeros among rows by one threshold for all latents.

    References
    ----------
    .. [1] Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU
       sparse autoencoders", arXiv:2407.14435.

    Examples
    --------
    >>> import icfl
    >>> icfl.JumpReLUSAE(512, n_nonzero=16).sparsity_coefficient
    1.0
    """

    _activation = "jump_relu"
    _backends = ("torch",)

    threshold_: NDArray[np.float32]

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        n_nonzero: int = 32,
        bandwidth: float | None = None,
        sparsity_coefficient: float = 1.0,
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
        self.bandwidth = bandwidth
        self.sparsity_coefficient = sparsity_coefficient

    def _check_own(self) -> None:
        super()._check_own()
        if self.bandwidth is not None:
            check_number(self.bandwidth, "bandwidth", low=0.0, closed=False)
        check_number(self.sparsity_coefficient, "sparsity_coefficient", low=0.0)

    def _recipe(self, n_components: int, n_features: int) -> JumpReLURecipe:
        plain = super()._recipe(n_components, n_features)
        width = n_features**-0.5 if self.bandwidth is None else float(self.bandwidth)
        return JumpReLURecipe(
            **vars(plain),
            bandwidth=width,
            sparsity_coefficient=float(self.sparsity_coefficient),
        )

    def _coder_of(self, fitted: Arrays) -> Coder:
        return Gated(fitted["threshold"])

    def _shapes(self, n_components: int, n_features: int) -> dict[str, tuple[int, ...]]:
        return super()._shapes(n_components, n_features) | {"threshold": (n_components,)}

    def _first_arrays(self, survey: Survey, rows: TrainingRows, rng: np.random.Generator) -> Arrays:
        """Start all thresholds where the mean number of non-zeros is `n_nonzero`."""
        arrays = super()._first_arrays(survey, rows, rng)
        scores = (rows.sample(SAMPLE_ROWS) - arrays["bias"]) @ arrays["encoder"].T
        count = min(len(scores) * self.n_nonzero, scores.size) - 1
        level = -np.partition(-scores, count, axis=None)[count]
        # What moves is the logarithm: a level that is not positive has none.
        first = max(float(level), float(np.finfo(np.float32).eps))
        return arrays | {"threshold": np.full(len(arrays["encoder"]), first, dtype=np.float32)}

    def _compiled(self, atoms: NDArray[np.float32]) -> _core.Dictionary:
        return cached_dictionary(self, self.encoder_, self._offsets())

    def _offsets(self) -> NDArray[np.float32]:
        """Return encoder_bias_ - threshold_, the same object until one of them changes."""
        known = _offsets.get(self)
        if known is None or known[0] is not self.encoder_bias_ or known[1] is not self.threshold_:
            offsets = self.encoder_bias_ - self.threshold_
            known = _offsets[self] = (self.encoder_bias_, self.threshold_, offsets)
        return known[2]


# Beside the estimators rather than in them: pickles and comparisons do not see it.
_offsets: weakref.WeakKeyDictionary[JumpReLUSAE, tuple[NDArray[np.float32], ...]] = (
    weakref.WeakKeyDictionary()
)
