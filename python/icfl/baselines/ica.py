"""Independent component analysis: directions along which the data are least Gaussian.

Rows are written as x = s A + b with sources s of unit variance, as independent as FastICA finds
them [1]_; A, the transposed mixing matrix, is the dictionary.

References
----------
.. [1] Hyvärinen and Oja, "Independent component analysis: algorithms and applications", Neural
   Networks 13(4-5), 2000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import decomposition

from icfl.baselines.base import Baseline, Learnt
from icfl.baselines.encoding import LinearProjection
from icfl.exceptions import InputError

__all__ = ["ICA"]


class ICA(Baseline):
    """Independent components as a dictionary; codes are the sources.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Components, at most the rank of the centred rows, which "auto" takes.
    n_nonzero : int or None, default=None
        Keep for each row this many sources of largest magnitude, ties to the lower index. None
        keeps all.
    unit_norm_inputs : bool, default=True
        Scale every row to unit norm before it is encoded.
    max_iter : int, default=200
        Most iterations of the fit. If they do not suffice, scikit-learn warns.
    tol : float, default=1e-4
        Change of the unmixing matrix at which the fit ends.
    sparse_output : bool, default=True
        Give codes as a CSR array; False gives dense arrays, which ``set_output`` needs.
    random_state : int, RandomState instance or None, default=None
        Where the fit starts. An int gives the same bits every time.
    n_jobs : int, optional
        Threads of ``transform``; None takes all cores. Results have the same bits for any number.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features), float32
        What a unit of each source adds to a row: the transposed mixing matrix. Read-only.
    bias_ : ndarray of shape (n_features,), float32
        Mean of the prepared rows.
    encoder_ : ndarray of shape (n_components, n_features), float32
        The unmixing matrix: codes are (x − bias_) · encoder_ᵀ. Its pseudo-inverse is the
        transposed `components_`. Read-only.
    n_features_in_ : int
        Width of the data.
    n_iter_ : int
        Iterations of the fit.
    input_norm_ : float
        Mean norm of the rows before they were scaled.

    See Also
    --------
    sklearn.decomposition.FastICA : What does the work.

    Notes
    -----
    ``fit`` works in float64 and holds the prepared rows about four times over, 8 bytes a
    number each. ``transform`` reads block by block.

    Magnitudes of sources are in units of their own spread, so `n_nonzero` keeps what is unusual in
    a row, not what explains most of it.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.baselines import ICA
    >>> sources = np.random.default_rng(0).laplace(size=(500, 3))
    >>> X = sources @ [[1.0, 2.0, 0.0], [0.0, 1.0, 1.0], [3.0, 0.0, 1.0]]
    >>> model = ICA(unit_norm_inputs=False, random_state=0).fit(X)
    >>> model.transform(X).toarray().std(axis=0).round(3).tolist()
    [1.0, 1.0, 1.0]
    """

    _has_encoder = True

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        n_nonzero: int | None = None,
        unit_norm_inputs: bool = True,
        max_iter: int = 200,
        tol: float = 1e-4,
        sparse_output: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_nonzero = n_nonzero
        self.unit_norm_inputs = unit_norm_inputs
        self.max_iter = max_iter
        self.tol = tol
        self.sparse_output = sparse_output
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _learn(self, X: NDArray[Any]) -> Learnt:
        rows, norm = self._held(X, np.float64)
        most = _rank(rows)
        if most == 0:
            raise InputError(
                "X must have rows that differ, once they are prepared; got "
                f"n_samples = {X.shape[0]}, n_features = {X.shape[1]}, all rows equal"
            )
        count = most if isinstance(self.n_components, str) else int(self.n_components)
        if count > most:
            raise InputError(
                f"n_components must be at most the rank of the centred rows, {most}, "
                f"got {self.n_components}"
            )
        ica = decomposition.FastICA(
            count,
            whiten="unit-variance",
            max_iter=int(self.max_iter),
            tol=float(self.tol),
            random_state=self.random_state,
        )
        with np.errstate(divide="ignore", invalid="ignore"):  # directions beyond the rank
            ica.fit(rows)
        return Learnt(ica.mixing_.T, ica.mean_, norm, ica.components_, ica.n_iter_)

    def _coder(self) -> LinearProjection:
        return LinearProjection(self.encoder_, self.n_nonzero)


def _rank(rows: NDArray[np.float64]) -> int:
    """Return the number of directions in which rows vary by more than float32 rounding.

    Rounding by u = 2⁻²⁴ adds a matrix whose largest singular value is at most u ‖rows‖_F. A
    direction below that would be whitened into noise.
    """
    centred = rows - rows.mean(axis=0)
    noise = 2.0**-24 * float(np.linalg.norm(rows))
    return int((np.linalg.eigvalsh(centred.T @ centred) > noise**2).sum())
