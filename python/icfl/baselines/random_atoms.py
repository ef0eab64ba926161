"""A dictionary that nobody learnt: what is left of a result when the learning is taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from icfl._validation import check_choice, check_n_jobs, native_floats
from icfl.baselines.base import CHECKS, Baseline, Learnt
from icfl.coding.coders import TopK
from icfl.coding.model import prepare

__all__ = ["RandomAtoms"]

ATOMS_PER_FEATURE = 8
KINDS = ("random", "data")
MEAN_TOLERANCE = 1e-6
"""Rows nearer to the mean than this, relative to it, differ from it by rounding alone."""


class RandomAtoms(Baseline):
    """Random unit atoms as a dictionary; codes are the largest positive inner products.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Atoms; "auto" takes 8 per feature, as `icfl.ICFL` does.
    kind : {"random", "data"}, default="random"
        Directions drawn uniformly from the unit sphere, or rows of the data, drawn without
        replacement, minus their mean and scaled to unit norm. Where the data have too few rows,
        or a row equals the mean, "data" draws directions. Rows that are equal give equal atoms.
    n_nonzero : int, default=32
        Most non-zeros of a row; see `icfl.encode_topk`.
    unit_norm_inputs : bool, default=True
        Scale every row to unit norm before it is encoded.
    sparse_output : bool, default=True
        Give codes as a CSR array; False gives dense arrays, which ``set_output`` needs.
    random_state : int, RandomState instance or None, default=None
        Source of all randomness. An int gives the same bits every time.
    n_jobs : int, optional
        Threads; None takes all cores. Results have the same bits for any number.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features), float32
        Unit atoms. Read-only.
    bias_ : ndarray of shape (n_features,), float32
        Mean of the prepared rows, subtracted before they are encoded.
    n_features_in_ : int
        Width of the data.
    input_norm_ : float
        Mean norm of the rows before they were scaled.

    See Also
    --------
    icfl.encode_topk : The encoder.

    Notes
    -----
    ``fit`` and ``transform`` read block by block. Sums of positive inner products with many atoms
    overshoot, so `score` falls below zero when `n_nonzero` is large; the codes still serve as
    features.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.baselines import RandomAtoms
    >>> X = np.random.default_rng(0).standard_normal((100, 4))
    >>> model = RandomAtoms(n_nonzero=3, random_state=0).fit(X)
    >>> model.components_.shape, int(np.diff(model.transform(X).indptr).max())
    ((32, 4), 3)
    """

    _checks: ClassVar[Mapping[str, Callable[[Any], object]]] = {
        **CHECKS,
        "kind": lambda value: check_choice(value, "kind", KINDS),
        "n_nonzero": TopK,
    }

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        kind: str = "random",
        n_nonzero: int = 32,
        unit_norm_inputs: bool = True,
        sparse_output: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.kind = kind
        self.n_nonzero = n_nonzero
        self.unit_norm_inputs = unit_norm_inputs
        self.sparse_output = sparse_output
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _learn(self, X: NDArray[Any]) -> Learnt:
        mean, norm = self._surveyed(X)
        auto = ATOMS_PER_FEATURE * X.shape[1]
        count = auto if isinstance(self.n_components, str) else int(self.n_components)
        random = check_random_state(self.random_state)
        atoms = random.standard_normal((count, X.shape[1]))
        if self.kind == "data":
            rows = random.permutation(len(X))[:count]
            atoms[: len(rows)] = self._centred(X, rows, mean, otherwise=atoms[: len(rows)])
        # A normal sample of norm zero has probability zero.
        return Learnt(atoms / np.linalg.norm(atoms, axis=1, keepdims=True), mean, norm)

    def _centred(
        self,
        X: NDArray[Any],
        indices: NDArray[Any],
        mean: NDArray[np.float64],
        otherwise: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return prepared rows minus their mean, and `otherwise` where nothing is left of them."""
        increasing = np.sort(indices)  # in that order a disk is read best
        rows = native_floats(X[increasing])
        prepared, _ = prepare(rows, self._unit_norm(), check_n_jobs(self.n_jobs))
        centred = prepared[np.searchsorted(increasing, indices)] - mean
        left = np.linalg.norm(centred, axis=1, keepdims=True)
        return np.where(left > MEAN_TOLERANCE * np.linalg.norm(mean), centred, otherwise)

    def _coder(self) -> TopK:
        return TopK(int(self.n_nonzero))
