"""A scikit-learn transformer that encodes with a dictionary it is given."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icfl._validation import (
    check_atoms,
    check_choice,
    check_flag,
    check_n_jobs,
    check_vector,
    estimator_rows,
)
from icfl.coding.coders import CODERS, Coder
from icfl.coding.model import DictionaryModel, prepared_blocks
from icfl.exceptions import InputError

__all__ = ["SparseCoder"]


class SparseCoder(DictionaryModel):
    """Sparse codes with a fixed dictionary, as a transformer.

    ``fit`` learns nothing, so ``transform`` may be called at once.

    Parameters
    ----------
    components : array-like of shape (n_components, n_features)
        Dictionary, one atom a row. It is copied as float32 when first used: to change it, set the
        parameter to another array.
    algorithm : {"topk", "icfl", "mp", "omp"}, default="topk"
        `icfl.encode_topk`, `icfl.encode_icfl`, `icfl.encode_mp` or `icfl.encode_omp`.
    n_nonzero : int, default=32
        Most non-zeros of a row, for all algorithms but "icfl".
    n_iterations, atoms_per_iteration : int, default=20 and 5
        Rounds and atoms of a round, for "icfl".
    threshold : float, default=0.0
        An atom joins only while its inner product with the residual exceeds this; for all
        algorithms but "topk".
    threshold_slope : float, default=0.0
        For "omp", by how much thresholds rise with what is left of a row; see `icfl.encode_omp`.
    selection : {"positive", "absolute"}, optional
        Rank atoms by signed or by absolute inner product. None is "positive" for "icfl" and
        "absolute" for "mp" and "omp".
    bias : array-like of shape (n_features,), optional
        Subtracted from every row first, added again by ``inverse_transform``.
    unit_norm_inputs : bool, default=False
        Scale rows to unit norm before they are encoded. Set it for the dictionary of a model that
        did so.
    sparse_output : bool, default=True
        Give codes as a CSR array; False gives dense arrays, which ``set_output`` needs.
    n_jobs : int, optional
        Threads; None takes all cores. Results have the same bits for any number.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features), float32
        The dictionary in use.
    bias_ : ndarray of shape (n_features,), float32
        The bias in use, zero if none was given.
    n_features_in_ : int
        Width of the data seen by ``fit``.

    See Also
    --------
    ICFL : Learns the dictionary.
    sklearn.decomposition.SparseCoder : The same with scikit-learn's algorithms, dense.

    Examples
    --------
    >>> import numpy as np
    >>> import icfl
    >>> coder = icfl.SparseCoder(np.eye(3), algorithm="omp", n_nonzero=1)
    >>> coder.transform([[0.5, -2.0, 1.0]]).toarray().round(3)
    array([[ 0., -2.,  0.]], dtype=float32)
    """

    def __init__(
        self,
        components: ArrayLike,
        *,
        algorithm: str = "topk",
        n_nonzero: int = 32,
        n_iterations: int = 20,
        atoms_per_iteration: int = 5,
        threshold: float = 0.0,
        threshold_slope: float = 0.0,
        selection: str | None = None,
        bias: ArrayLike | None = None,
        unit_norm_inputs: bool = False,
        sparse_output: bool = True,
        n_jobs: int | None = None,
    ) -> None:
        self.components = components
        self.algorithm = algorithm
        self.n_nonzero = n_nonzero
        self.n_iterations = n_iterations
        self.atoms_per_iteration = atoms_per_iteration
        self.threshold = threshold
        self.threshold_slope = threshold_slope
        self.selection = selection
        self.bias = bias
        self.unit_norm_inputs = unit_norm_inputs
        self.sparse_output = sparse_output
        self.n_jobs = n_jobs

    def fit(self, X: ArrayLike, y: object = None) -> SparseCoder:
        """Check the parameters and the data; nothing is learnt.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : ignored
            Present for scikit-learn's interface.

        Returns
        -------
        SparseCoder
            The estimator itself.

        Raises
        ------
        InputError
            If a parameter is out of range, `X` and `components` differ in width, or a value of `X`
            is not finite.
        """
        self._coder()
        rows = estimator_rows(self, X, reset=True)
        if rows.shape[1] != self.components_.shape[1]:
            raise InputError(
                f"X has {rows.shape[1]} features, components has {self.components_.shape[1]}"
            )
        for _ in prepared_blocks(rows, self._unit_norm(), check_n_jobs(self.n_jobs)):
            pass  # finds values that are not finite
        return self

    @property
    def components_(self) -> NDArray[np.float32]:
        """The dictionary in use, float32 of shape (n_components, n_features), read-only."""
        return self._atoms_and_bias()[0]

    @property
    def bias_(self) -> NDArray[np.float32]:
        """The bias in use, float32 of shape (n_features,), read-only."""
        return self._atoms_and_bias()[1]

    def get_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the parameters as JSON can hold them, and the arrays."""
        atoms, bias = self._atoms_and_bias()
        params = self.get_params(deep=False)
        del params["components"], params["bias"]
        config: dict[str, Any] = {"params": params}
        if hasattr(self, "n_features_in_"):
            config["fitted"] = {"n_features_in_": self.n_features_in_}
        return config, {"components": atoms, "bias": bias}

    @classmethod
    def from_state(cls, config: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> SparseCoder:
        """Return the estimator that `get_state` described."""
        model = cls(tensors["components"], bias=tensors["bias"], **config["params"])
        atoms, _ = model._atoms_and_bias()
        model._coder()
        if "fitted" in config:
            if config["fitted"]["n_features_in_"] != atoms.shape[1]:
                raise InputError("the dictionary has another width than the data of the fit")
            model.n_features_in_ = atoms.shape[1]
        return model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def _coder(self) -> Coder:
        check_choice(self.algorithm, "algorithm", tuple(CODERS))
        return CODERS[self.algorithm](vars(self))

    def _unit_norm(self) -> bool:
        return check_flag(self.unit_norm_inputs, "unit_norm_inputs")

    def _atoms_and_bias(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        known = _copies.get(self)
        if known is None or known.components is not self.components or known.bias is not self.bias:
            known = _copies[self] = _copy(self.components, self.bias)
        return known.atoms, known.offset


class _Copy(NamedTuple):
    """The parameters, by identity, and what they were when first used."""

    components: ArrayLike
    bias: ArrayLike | None
    atoms: NDArray[np.float32]
    offset: NDArray[np.float32]


# Beside the estimators, so that using one does not change its attributes.
_copies: weakref.WeakKeyDictionary[SparseCoder, _Copy] = weakref.WeakKeyDictionary()


def _copy(components: ArrayLike, bias: ArrayLike | None) -> _Copy:
    atoms = check_atoms(components).copy()
    given = check_vector(bias, "bias", atoms.shape[1])
    offset = np.zeros(atoms.shape[1], np.float32) if given is None else given.copy()
    atoms.flags.writeable = offset.flags.writeable = False
    return _Copy(components, bias, atoms, offset)
