"""What ICFL is measured against, with as many numbers per sample.

- sparse autoencoders of the same width and as many non-zeros, with their default training;
- a random dictionary: directions drawn uniformly (`icfl.baselines.RandomAtoms`), with the encoder
  and the bias of the fitted model. Inner products alone would overshoot: the weaker rival;
- PCA: the first k components, the best k-dimensional subspace there is;
- PCA, largest k: of all scores the k of largest magnitude, chosen for each sample as a sparse code
  chooses its atoms. The stronger rival, and the fairer one.

k is the mean number of non-zeros of the ICFL codes, rounded. Each is an estimator for rows that are
prepared already.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl.autoencoders import BatchTopKSAE, TopKSAE
from icfl.baselines import PCA, RandomAtoms
from icfl.coding.sparse_coder import SparseCoder

__all__ = [
    "AUTOENCODERS",
    "Representation",
    "autoencoders",
    "principal_components",
    "pursuit",
    "random_atoms",
    "represent",
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


def represent(estimator: Any, inputs: NDArray[np.float32]) -> Representation:
    """Encode inputs (n, d) with a fitted estimator."""
    return Representation(estimator.transform(inputs), estimator.reconstruct(inputs))


def pursuit(atoms: NDArray[np.float32], model: Any) -> SparseCoder:
    """Return what encodes with the atoms (M, d), and with all else as the fitted ICFL `model`.

    Where its own atoms have a threshold each, theirs is the largest.
    """
    return SparseCoder(
        atoms,
        algorithm="omp" if model.refit == "joint" else "icfl",
        n_nonzero=model.n_iterations * model.atoms_per_iteration,
        n_iterations=model.n_iterations,
        atoms_per_iteration=model.atoms_per_iteration,
        threshold=_common_threshold(model),
        threshold_slope=float(getattr(model, "threshold_slope_", 0.0)),
        selection=model.selection,
        bias=model.bias_,
        n_jobs=model.n_jobs,
    )


def _common_threshold(model: Any) -> float:
    own = getattr(model, "threshold_", None)
    return float(model.threshold if own is None else own.max())


def random_atoms(model: Any, inputs: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return as many random atoms (M, d) as the fitted `model` has, for inputs (n, d)."""
    n_components = len(model.components_)
    drawn = RandomAtoms(n_components, unit_norm_inputs=False, random_state=seed)
    atoms: NDArray[np.float32] = drawn.fit(inputs).components_
    return atoms


def autoencoders(
    train: NDArray[np.float32], n_components: int, n_nonzero: int, seed: int
) -> dict[str, Any]:
    """Return the autoencoders fitted to inputs (n, d), by name."""
    options = {"n_nonzero": n_nonzero, "unit_norm_inputs": False, "random_state": seed}
    return {name: cls(n_components, **options).fit(train) for name, cls in AUTOENCODERS.items()}


def principal_components(train: NDArray[np.float32], k: int) -> dict[str, PCA]:
    """Return PCA fitted to inputs (n, d), by name: the first k and, of all, the k largest."""
    first = PCA(min(k, *train.shape), unit_norm_inputs=False, sparse_output=False)
    largest = PCA(n_nonzero=k, unit_norm_inputs=False)
    return {"pca": first.fit(train), "pca_largest": largest.fit(train)}
