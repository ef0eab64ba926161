"""scikit-learn: OMP on a Gram matrix, and the two PCAs that suit tall data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.linear_model import orthogonal_mp_gram

__all__ = ["GramOmp", "fit_default_pca", "fit_incremental_pca", "fit_pca", "fit_pca_float64"]


class GramOmp:
    """`orthogonal_mp_gram`; products with the dictionary are made outside the clock."""

    def __init__(self, X: NDArray[np.float32], D: NDArray[np.float32], n_nonzero: int) -> None:
        self.gram, self.scores, self.n_nonzero = D @ D.T, D @ X.T, n_nonzero

    def __call__(self) -> csr_array:
        codes = orthogonal_mp_gram(self.gram, self.scores, n_nonzero_coefs=self.n_nonzero)
        return csr_array(codes.T)


def fit_default_pca(X: NDArray[np.float32]) -> PCA:
    """Fit with the solver that scikit-learn chooses."""
    return PCA(whiten=True).fit(X)


def fit_pca(X: NDArray[np.float32]) -> PCA:
    """Fit by the covariance: beyond 1,000 features the default would take a full SVD."""
    return PCA(whiten=True, svd_solver="covariance_eigh").fit(X)


def fit_pca_float64(X: NDArray[np.float32]) -> PCA:
    """Fit with float64 statistics, as our whitener has them: scikit-learn computes in X's dtype."""
    return fit_pca(X.astype(np.float64))


def fit_incremental_pca(X: NDArray[np.float32]) -> IncrementalPCA:
    """Fit in blocks of 5 n_features rows, its default."""
    return IncrementalPCA(whiten=True).fit(X)
