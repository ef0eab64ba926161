"""Principal component analysis: of all linear maps of a given width, the best reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import decomposition

from icfl.baselines.base import Baseline, Learnt
from icfl.baselines.encoding import LinearProjection
from icfl.exceptions import InputError

__all__ = ["PCA"]


class PCA(Baseline):
    """Principal components as a dictionary; codes are signed projections of centred rows.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Components, at most min(n_samples, n_features), which "auto" takes.
    n_nonzero : int or None, default=None
        Keep for each row this many codes of largest magnitude, ties to the lower index. Among all
        choices of as many components that is the best for the row. None keeps all.
    unit_norm_inputs : bool, default=True
        Scale every row to unit norm before it is encoded.
    sparse_output : bool, default=True
        Give codes as a CSR array; False gives dense arrays, which ``set_output`` needs.
    random_state : int, RandomState instance or None, default=None
        Without effect, as nothing is random; all baselines that learn are made alike.
    n_jobs : int, optional
        Threads of ``transform``; None takes all cores. Results have the same bits for any number.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features), float32
        Orthonormal directions, by falling variance. Read-only.
    bias_ : ndarray of shape (n_features,), float32
        Mean of the prepared rows.
    n_features_in_ : int
        Width of the data.
    input_norm_ : float
        Mean norm of the rows before they were scaled.

    See Also
    --------
    sklearn.decomposition.PCA : What does the work, with ``svd_solver="covariance_eigh"``.

    Notes
    -----
    ``fit`` diagonalises the covariance matrix in float64. It holds all prepared rows in float64,
    8 bytes a number, and a few matrices of n_features². ``transform`` reads block by block.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.baselines import PCA
    >>> X = np.random.default_rng(0).standard_normal((100, 5))
    >>> model = PCA(n_nonzero=2).fit(X)
    >>> model.components_.shape, model.transform(X).nnz
    ((5, 5), 200)
    """

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        n_nonzero: int | None = None,
        unit_norm_inputs: bool = True,
        sparse_output: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_nonzero = n_nonzero
        self.unit_norm_inputs = unit_norm_inputs
        self.sparse_output = sparse_output
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _learn(self, X: NDArray[Any]) -> Learnt:
        if len(X) < 2:
            raise InputError("X must have at least 2 rows to have a variance, got n_samples = 1")
        most = min(X.shape)
        count = most if isinstance(self.n_components, str) else int(self.n_components)
        if count > most:
            raise InputError(
                "n_components must be at most min(n_samples, n_features) = "
                f"{most}, got {self.n_components}"
            )
        rows, norm = self._held(X, np.float64)
        pca = decomposition.PCA(count, svd_solver="covariance_eigh", copy=False)
        with np.errstate(invalid="ignore"):  # shares of a variance of zero: all rows are equal
            pca.fit(rows)
        return Learnt(pca.components_, pca.mean_, norm)

    def _coder(self) -> LinearProjection:
        return LinearProjection(self.components_, self.n_nonzero)
