"""What ICFL is measured against, with as many numbers per sample.

- sparse autoencoders of the same width and as many non-zeros, with their default training;
- a random dictionary: unit atoms drawn uniformly from the sphere, the same encoder and bias;
- PCA: the first k scores, the best k-dimensional subspace there is;
- PCA, largest k: of all scores the k of largest magnitude, chosen for each sample as a sparse code
  chooses its atoms. The stronger rival, and the fairer one.

k is the mean number of non-zeros of the ICFL codes, rounded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from icfl.autoencoders import BatchTopKSAE, TopKSAE
from icfl.coding.encoders import encode_icfl

__all__ = [
    "AUTOENCODERS",
    "PrincipalAxes",
    "Representation",
    "autoencoder",
    "encode_with",
    "random_atoms",
]


AUTOENCODERS: dict[str, Any] = {"topk_sae": TopKSAE, "batch_topk_sae": BatchTopKSAE}
"""By the name that results have them under."""


class Representation(NamedTuple):
    """Codes of samples and what they stand for.

    Attributes
    ----------
    codes : ndarray or csr_array of shape (n_samples, n_components)
    reconstructions : ndarray of shape (n_samples, n_features), float32
        In the space of the dictionary's inputs.
    """

    codes: Any
    reconstructions: NDArray[np.float32]


def random_atoms(shape: tuple[int, int], seed: int) -> NDArray[np.float32]:
    """Return atoms (n_components, n_features) drawn uniformly from the unit sphere."""
    atoms = np.random.default_rng(seed).standard_normal(shape)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return atoms.astype(np.float32)


def autoencoder(
    cls: Any,
    inputs: NDArray[np.float32],
    train: NDArray[np.bool_],
    n_components: int,
    n_nonzero: int,
    seed: int,
) -> Representation:
    """Train an autoencoder on some of the inputs (n, d) and encode all of them."""
    model = cls(n_components, n_nonzero=n_nonzero, unit_norm_inputs=False, random_state=seed)
    codes = model.fit(inputs[train]).transform(inputs)
    return Representation(codes, model.inverse_transform(codes) / model.input_scale_)


def encode_with(
    atoms: NDArray[np.float32],
    inputs: NDArray[np.float32],
    model: Any,
    n_iterations: int | None = None,
) -> Representation:
    """Encode inputs (n, d) with the given atoms and everything else as `model` has it."""
    codes = encode_icfl(
        inputs,
        atoms,
        n_iterations=n_iterations or model.n_iterations,
        atoms_per_iteration=model.atoms_per_iteration,
        threshold=model.threshold,
        selection=model.selection,
        bias=model.bias_,
        n_jobs=model.n_jobs,
    )
    return Representation(codes, (codes @ atoms + model.bias_).astype(np.float32))


class PrincipalAxes:
    """Principal components of training inputs, all of them.

    Parameters
    ----------
    inputs : ndarray of shape (n_samples, n_features), float32
        What to fit to.
    """

    def __init__(self, inputs: NDArray[np.float32]) -> None:
        self.mean = inputs.mean(axis=0, dtype=np.float64)
        self.axes: NDArray[np.float64] = np.linalg.svd(inputs - self.mean, full_matrices=False)[2]

    def first(self, inputs: NDArray[np.float32], k: int) -> Representation:
        """Return the first `k` scores of inputs (n, d)."""
        scores = (inputs - self.mean) @ self.axes[:k].T
        return Representation(scores, self._back(scores, self.axes[:k]))

    def largest(self, inputs: NDArray[np.float32], k: int) -> Representation:
        """Return, of all scores of each row of inputs (n, d), the `k` of largest magnitude."""
        scores = (inputs - self.mean) @ self.axes.T
        k = min(k, scores.shape[1])
        # Stable order: of equal magnitudes the earlier component stays.
        dropped = np.argsort(-np.abs(scores), axis=1, kind="stable")[:, k:]
        np.put_along_axis(scores, dropped, 0.0, axis=1)
        return Representation(csr_array(scores), self._back(scores, self.axes))

    def _back(self, scores: Any, axes: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.asarray(scores @ axes + self.mean, dtype=np.float32)
