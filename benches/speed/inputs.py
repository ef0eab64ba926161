"""Inputs of the table, made from fixed seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from icfl.datasets import make_planted

__all__ = ["Problem", "correlated_rows", "labelled_codes", "planted"]


BLOCK = 8192


@dataclass(frozen=True)
class Problem:
    """Rows (n, d) and atoms (M, d), both float32 and of unit norm."""

    X: NDArray[np.float32]
    components: NDArray[np.float32]

    @property
    def sizes(self) -> dict[str, int]:
        return {"d": self.X.shape[1], "M": len(self.components)}


@cache
def planted(n_samples: int, n_features: int, n_components: int, n_active: int) -> Problem:
    """Return sums of about `n_active` atoms with noise.

    All atoms are equally frequent. That is the least favourable case for our encoders: with a few
    frequent atoms their rows of the Gram matrix would stay in cache. The noise has 0.4 times the
    norm of the signal, so that pursuit goes on to its last round.
    """
    data = make_planted(
        n_samples,
        n_features,
        n_components,
        n_active=n_active,
        zipf_exponent=0.0,
        noise=0.4 * (n_active / n_features) ** 0.5,
        random_state=0,
    )
    X = data.X / np.linalg.norm(data.X, axis=1, keepdims=True)
    return Problem(np.ascontiguousarray(X, dtype=np.float32), data.components)


def correlated_rows(n_samples: int, n_features: int) -> NDArray[np.float32]:
    """Return Gaussian rows with variances falling as 1/k along rotated axes, and an offset of 1."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    X *= (1 + np.arange(n_features, dtype=np.float32)) ** np.float32(-0.5)
    v = rng.standard_normal(n_features, dtype=np.float32)
    v /= np.linalg.norm(v)
    for start in range(0, n_samples, BLOCK):  # no second copy of what may be the largest input
        rows = X[start : start + BLOCK]
        rows -= np.outer(2 * (rows @ v), v)  # a Householder reflection
        rows += 1
    return X


def labelled_codes(
    n_samples: int, n_components: int, n_nonzero: int, n_labels: int
) -> tuple[csr_array, NDArray[np.int64]]:
    """Return codes with one non-zero in each of `n_nonzero` stripes of columns, and labels."""
    rng = np.random.default_rng(0)
    width = n_components // n_nonzero
    columns = rng.integers(width, size=(n_samples, n_nonzero), dtype=np.int32)
    columns += np.arange(n_nonzero, dtype=np.int32) * width
    values = rng.standard_normal(columns.size, dtype=np.float32)
    indptr = np.arange(n_samples + 1, dtype=np.int32) * n_nonzero
    Z = csr_array((values, columns.ravel(), indptr), shape=(n_samples, n_components))
    labels = rng.integers(n_labels, size=n_samples)
    labels[:n_labels] = np.arange(n_labels)  # every label occurs
    return Z, labels
