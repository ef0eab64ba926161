"""No dictionary at all: what the inputs themselves say, feature by feature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl._validation import Floats
from icfl.baselines.base import Baseline, Learnt
from icfl.baselines.encoding import by_pieces, largest
from icfl.coding.coders import Codes

__all__ = ["RawInputs"]


class RawInputs(Baseline):
    """The inputs as codes: the dictionary is the identity.

    Parameters
    ----------
    n_nonzero : int or None, default=None
        Keep for each row this many values of largest magnitude, ties to the lower index. None
        keeps all.
    unit_norm_inputs : bool, default=True
        Scale every row to unit norm before it is encoded.
    sparse_output : bool, default=True
        Give codes as a CSR array; False gives dense arrays, which ``set_output`` needs.
    n_jobs : int, optional
        Threads; None takes all cores. Results have the same bits for any number.

    Attributes
    ----------
    components_ : ndarray of shape (n_features, n_features), float32
        The identity. Read-only.
    bias_ : ndarray of shape (n_features,), float32
        Zero.
    n_features_in_ : int
        Width of the data.
    input_norm_ : float
        Mean norm of the rows before they were scaled.

    Notes
    -----
    ``fit`` and ``transform`` read block by block. The identity takes 4 bytes for each of its
    n_features² numbers.

    Examples
    --------
    >>> from icfl.baselines import RawInputs
    >>> X = [[3.0, -4.0, 0.0], [0.0, 0.0, 2.0]]
    >>> RawInputs(n_nonzero=1, unit_norm_inputs=False).fit_transform(X).toarray().tolist()
    [[0.0, -4.0, 0.0], [0.0, 0.0, 2.0]]
    """

    def __init__(
        self,
        *,
        n_nonzero: int | None = None,
        unit_norm_inputs: bool = True,
        sparse_output: bool = True,
        n_jobs: int | None = None,
    ) -> None:
        self.n_nonzero = n_nonzero
        self.unit_norm_inputs = unit_norm_inputs
        self.sparse_output = sparse_output
        self.n_jobs = n_jobs

    def _learn(self, X: NDArray[Any]) -> Learnt:
        _, norm = self._surveyed(X)
        width = X.shape[1]
        return Learnt(np.eye(width, dtype=np.float32), np.zeros(width), norm)

    def _coder(self) -> Unchanged:
        return Unchanged(self.n_nonzero)


@dataclass(frozen=True)
class Unchanged:
    """The row itself, or its `n_nonzero` values of largest magnitude."""

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
        """Encode by leaving out."""

        def codes(rows: Floats) -> Codes:
            return largest(rows.astype(np.float32, copy=False), self.n_nonzero)

        return by_pieces(codes, X, X.shape[1], n_jobs)
