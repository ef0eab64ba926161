"""k-means: every row is one of a few centres, the sparsest code there is.

The nearest centre is the one of smallest Σ(x − c)² in float64, ties to the lower index. A product
with all centres gives ‖c‖²/2 − x·c, which has the same order, with a bound on its rounding; where
that leaves more than one candidate, their distances decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn import cluster

from icfl import _core
from icfl._validation import Floats
from icfl.baselines.base import Baseline, Learnt
from icfl.baselines.encoding import by_pieces
from icfl.coding.coders import Codes
from icfl.exceptions import InputError

__all__ = ["KMeans"]

ATOMS_PER_FEATURE = 8
SAMPLES_PER_CENTRE = 8


class KMeans(Baseline):
    """Centres of clusters as a dictionary; the code of a row is 1 at the nearest centre.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Centres, at most n_samples. "auto" takes 8 per feature, as `icfl.ICFL` does, but at most
        one for 8 samples, so that a centre stands for several.
    unit_norm_inputs : bool, default=True
        Scale every row to unit norm before it is encoded.
    max_iter : int, default=300
        Most iterations of the fit.
    tol : float, default=1e-4
        Movement of the centres, relative to the variance, at which the fit ends.
    sparse_output : bool, default=True
        Give codes as a CSR array; False gives dense arrays, which ``set_output`` needs.
    random_state : int, RandomState instance or None, default=None
        Which rows the fit starts from (k-means++). An int gives the same bits every time.
    n_jobs : int, optional
        Threads of ``transform``; None takes all cores. Results have the same bits for any number.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features), float32
        The centres. Read-only.
    bias_ : ndarray of shape (n_features,), float32
        Zero.
    n_features_in_ : int
        Width of the data.
    n_iter_ : int
        Iterations of the fit.
    input_norm_ : float
        Mean norm of the rows before they were scaled.

    See Also
    --------
    sklearn.cluster.KMeans : What does the work.

    Notes
    -----
    ``fit`` runs Lloyd's algorithm once, on all prepared rows. It holds them in float32, 4 bytes a
    number, and at the start a copy of them. ``transform`` reads block by block.

    Examples
    --------
    >>> from icfl.baselines import KMeans
    >>> X = [[0.0, 1.0], [0.0, 1.5], [4.0, 0.0], [5.0, 0.0]]
    >>> model = KMeans(2, unit_norm_inputs=False, random_state=0).fit(X)
    >>> model.reconstruct(X).tolist()
    [[0.0, 1.25], [0.0, 1.25], [4.5, 0.0], [4.5, 0.0]]
    """

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        unit_norm_inputs: bool = True,
        max_iter: int = 300,
        tol: float = 1e-4,
        sparse_output: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.unit_norm_inputs = unit_norm_inputs
        self.max_iter = max_iter
        self.tol = tol
        self.sparse_output = sparse_output
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _learn(self, X: NDArray[Any]) -> Learnt:
        n_samples, n_features = X.shape
        auto = min(ATOMS_PER_FEATURE * n_features, max(1, n_samples // SAMPLES_PER_CENTRE))
        count = auto if isinstance(self.n_components, str) else int(self.n_components)
        if count > n_samples:
            raise InputError(f"n_components must be at most n_samples = {n_samples}, got {count}")
        rows, norm = self._held(X, np.float32)
        kmeans = cluster.KMeans(
            count,
            n_init=1,
            max_iter=int(self.max_iter),
            tol=float(self.tol),
            random_state=self.random_state,
            copy_x=False,
        ).fit(rows)
        return Learnt(kmeans.cluster_centers_, np.zeros(n_features), norm, n_iter=kmeans.n_iter_)

    def _coder(self) -> NearestCentre:
        return NearestCentre(self.components_)


@dataclass(frozen=True, eq=False)
class NearestCentre:
    """1 at the nearest of the centres (M, d), float32."""

    centres: NDArray[np.float32]
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
        """Encode by distances in float64; the bias is zero."""
        centres = self.centres.astype(np.float64)

        def codes(rows: Floats) -> Codes:
            nearest = _nearest(rows.astype(np.float64), centres).astype(np.int32)
            return np.arange(len(rows) + 1), nearest, np.ones(len(rows), dtype=np.float32)

        return by_pieces(codes, X, len(centres), n_jobs)


def _nearest(rows: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return for each of the rows (n, d) the index of the nearest centre (M, d)."""
    squares = np.einsum("ij,ij->i", centres, centres)
    scores = squares / 2 - rows @ centres.T
    smallest = scores.min(axis=1)
    # A score is a sum of d products and a square: off by (d + 2) eps times their magnitudes. The
    # distances that decide are off by as much again.
    reach = np.linalg.norm(rows, axis=1) + np.sqrt(squares.max())
    slack = 4 * (rows.shape[1] + 2) * np.finfo(np.float64).eps * reach**2
    candidates = scores <= (smallest + slack)[:, None]
    nearest: NDArray[np.intp] = candidates.argmax(axis=1)
    for row in np.flatnonzero(candidates.sum(axis=1) > 1):
        near = np.flatnonzero(candidates[row])
        distances = cdist(rows[row : row + 1], centres[near], "sqeuclidean")
        nearest[row] = near[distances.argmin()]
    return nearest
