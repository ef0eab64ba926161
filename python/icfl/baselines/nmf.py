"""Non-negative matrix factorisation: parts that only add up.

Rows are written as x ≈ z H with z ≥ 0 and H ≥ 0 [1]_; H is the dictionary. A code is the
non-negative least-squares solution for its row, by coordinate descent from zero.

Sweeps end when what is violated of the optimality conditions, summed over a piece of rows, has
fallen by `ENCODING_TOLERANCE`. That is far below float32 rounding, so that a code is a function of
its row; at scikit-learn's default of 1e-4 the fourth digit depends on the row's company.

References
----------
.. [1] Lee and Seung, "Learning the parts of objects by non-negative matrix factorization", Nature
   401, 1999.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import decomposition

from icfl import _core
from icfl._validation import Floats, iter_chunks
from icfl.baselines.base import Baseline, Learnt
from icfl.baselines.encoding import by_pieces, largest
from icfl.coding.coders import Codes
from icfl.exceptions import InputError

__all__ = ["NMF"]

ENCODING_TOLERANCE = 1e-12
"""Should one row of a piece of 256 have all that is left: 3e-10 of what a mean row began with."""
ENCODING_SWEEPS = 1000
"""Most sweeps; where they do not suffice, scikit-learn warns."""


class NMF(Baseline):
    """Non-negative parts as a dictionary; codes are non-negative too.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Components. "auto" takes a quarter of min(n_samples, n_features), at least one: with as
        many components as features the inputs can be copied, and nothing is learnt.
    n_nonzero : int or None, default=None
        Keep for each row this many codes of largest magnitude, ties to the lower index. None
        keeps all.
    unit_norm_inputs : bool, default=True
        Scale every row to unit norm before it is encoded.
    max_iter : int, default=200
        Most iterations of the fit. If they do not suffice, scikit-learn warns.
    tol : float, default=1e-4
        Violation of the optimality conditions, relative to that at the start, at which the fit
        ends.
    sparse_output : bool, default=True
        Give codes as a CSR array; False gives dense arrays, which ``set_output`` needs.
    random_state : int, RandomState instance or None, default=None
        Where the fit starts. An int gives the same bits every time.
    n_jobs : int, optional
        Threads of ``transform``; None takes all cores. Results have the same bits for any number.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features), float32
        Non-negative parts. Read-only.
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
    sklearn.decomposition.NMF : What does the work.

    Notes
    -----
    Inputs must be non-negative: whitened data are not. ``fit`` works in float64 and holds the
    prepared rows about three times over, 8 bytes a number each, and their codes. ``transform``
    reads block by block, twice; its codes are converged, which takes some times as long as
    scikit-learn's default.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.baselines import NMF
    >>> X = np.random.default_rng(0).random((100, 8))
    >>> model = NMF(2, max_iter=1000, random_state=0).fit(X)
    >>> bool((model.transform(X).data > 0).all())
    True
    """

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def _rows(self, X: ArrayLike) -> NDArray[Any]:
        rows = super()._rows(X)
        _check_non_negative(rows)
        return rows

    def _learn(self, X: NDArray[Any]) -> Learnt:
        _check_non_negative(X)
        rows, norm = self._held(X, np.float64)
        auto = max(1, min(X.shape) // 4)
        nmf = decomposition.NMF(
            auto if isinstance(self.n_components, str) else int(self.n_components),
            max_iter=int(self.max_iter),
            tol=float(self.tol),
            random_state=self.random_state,
        ).fit(rows)
        return Learnt(nmf.components_, np.zeros(X.shape[1]), norm, n_iter=nmf.n_iter_)

    def _coder(self) -> NonNegative:
        return NonNegative(self.components_, self.n_nonzero)


@dataclass(frozen=True, eq=False)
class NonNegative:
    """Non-negative least squares by coordinate descent.

    Attributes
    ----------
    components : ndarray of shape (n_components, n_features), float32
        Non-negative parts.
    n_nonzero : int or None
        Most non-zeros of a row; None keeps all.
    """

    components: NDArray[np.float32]
    n_nonzero: int | None
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
        """Encode by coordinate descent; the bias is zero."""
        H = self.components.astype(np.float64)

        def codes(rows: Floats) -> Codes:
            if not H.any():  # learnt from zeros; scikit-learn refuses it
                return largest(np.zeros((len(rows), len(H)), np.float32), self.n_nonzero)
            scores, _, _ = decomposition.non_negative_factorization(
                rows.astype(np.float64),
                H=H,
                n_components=len(H),
                update_H=False,
                tol=ENCODING_TOLERANCE,
                max_iter=ENCODING_SWEEPS,
            )
            return largest(scores.astype(np.float32), self.n_nonzero)

        return by_pieces(codes, X, len(H), n_jobs)


def _check_non_negative(X: NDArray[Any]) -> None:
    """Refuse negative values; one that is not finite is found when rows are prepared."""
    smallest = min(float(chunk.min()) for _, chunk in iter_chunks(X))
    if smallest < 0:
        raise InputError(
            "X must be non-negative for NMF, its smallest value is "
            f"{smallest:.6g} (Negative values in data)"
        )
