"""What all layouts say in their own words: the weights of a sparse autoencoder, in one form.

    p = (s·x − b) Wᵀ + c,    z = activation(p),    x̂ = (z D + b) / s

with encoder W (M, d) and its bias c (M,), decoder D (M, d), b (d,) and the input scale s; x is a
row as it comes, or of unit norm. A layout that does not subtract b has p = s·x Wᵀ + c', that is
c = c' + W b: the same codes. Sums of products are formed in float64 and rounded to float32 once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from icfl.exceptions import InputError

__all__ = ["Activation", "Inputs", "Weights", "with_bias_subtracted", "without_bias_subtracted"]

Activation = Literal["topk", "abs_topk", "batch_topk", "jump_relu"]
Inputs = Literal["raw", "unit_norm", "normalised"]


@dataclass(frozen=True, eq=False)
class Weights:
    """A sparse autoencoder between two layouts.

    Attributes
    ----------
    activation : {"topk", "abs_topk", "batch_topk", "jump_relu"}
        The `n_nonzero` largest positive p; those of largest magnitude, with their signs; all above
        one threshold (ReLU where it is zero); all above a threshold each.
    encoder, components : ndarray of shape (M, d), float32
        W and D.
    encoder_bias : ndarray of shape (M,), float32
        c, to which b is subtracted from the rows.
    bias : ndarray of shape (d,), float32
        b.
    n_nonzero : int or None
        Non-zeros of a code where the layout says.
    threshold : ndarray of shape () or (M,), float32, or None
        Of "batch_topk" and "jump_relu".
    widths : tuple of int or None
        Sizes of nested dictionaries.
    scale : float
        s.
    inputs : {"raw", "unit_norm", "normalised"}
        Rows as they come; scaled to unit norm; normalised by the caller as `normalisation` says.
    normalisation : str
        What the library does to rows and an estimator cannot, in words; empty where there is none.
    """

    activation: Activation
    encoder: NDArray[np.float32]
    encoder_bias: NDArray[np.float32]
    components: NDArray[np.float32]
    bias: NDArray[np.float32]
    n_nonzero: int | None = None
    threshold: NDArray[np.float32] | None = None
    widths: tuple[int, ...] | None = None
    scale: float = 1.0
    inputs: Inputs = "raw"
    normalisation: str = ""

    @property
    def n_components(self) -> int:
        """Latents, M."""
        return len(self.components)

    @property
    def n_features(self) -> int:
        """Width of a row, d."""
        return int(self.components.shape[1])

    @property
    def atom_norms(self) -> NDArray[np.float64]:
        """Norms of the rows of D, shape (M,)."""
        norms: NDArray[np.float64] = np.linalg.norm(self.components.astype(np.float64), axis=1)
        return norms

    @property
    def is_relu(self) -> bool:
        """Whether every positive p is a code."""
        return self.activation == "batch_topk" and not np.any(self.threshold)

    def rescaled(self, scale: float) -> Weights:
        """Return what has the same codes and reconstructions with another input scale."""
        if scale == self.scale:
            return self
        ratio = self.scale / scale
        return replace(
            self,
            encoder=_float32(self.encoder * np.float64(ratio)),
            components=_float32(self.components / np.float64(ratio)),
            bias=_float32(self.bias / np.float64(ratio)),
            scale=scale,
        )

    def with_latents_scaled(self, factors: NDArray[np.float64]) -> Weights:
        """Return what multiplies each code by its factor and divides its atom by it."""
        return replace(
            self,
            encoder=_float32(self.encoder * factors[:, None]),
            encoder_bias=_float32(self.encoder_bias * factors),
            components=_float32(self.components / factors[:, None]),
        )


def with_bias_subtracted(
    encoder: NDArray[np.float32], encoder_bias: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the encoder bias that gives p from x − b, of one that gives it from x."""
    return _float32(encoder_bias + encoder.astype(np.float64) @ bias.astype(np.float64))


def without_bias_subtracted(
    encoder: NDArray[np.float32], encoder_bias: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the encoder bias that gives p from x, of one that gives it from x − b."""
    return _float32(encoder_bias - encoder.astype(np.float64) @ bias.astype(np.float64))


def _float32(array: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        rounded: NDArray[np.float32] = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(rounded).all():
        raise InputError(
            "weights: too large for float32 once bias, norms or scale are part of them"
        )
    return rounded
