"""What the baselines share: parameters, `fit`, and their state in files.

A baseline says what it learns (`_learn`) and how its codes are made (`_coder`); everything else
comes from here and from `DictionaryModel`. Parameters are checked by name, each in the same way
for all baselines.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from icfl import _core
from icfl._threads import one_thread
from icfl._validation import (
    check_count,
    check_flag,
    check_n_jobs,
    check_number,
    estimator_rows,
    iter_chunks,
)
from icfl.coding.coders import input_error
from icfl.coding.model import DictionaryModel, prepared_blocks
from icfl.exceptions import InputError

__all__ = ["CHECKS", "Baseline", "Learnt"]

Model = TypeVar("Model", bound="Baseline")


def _check_components(value: object) -> None:
    if not (isinstance(value, str) and value == "auto"):
        check_count(value, "n_components")


def _check_nonzero(value: object) -> None:
    if value is not None:
        check_count(value, "n_nonzero")


def _check_random_state(value: object) -> None:
    try:
        check_random_state(value)
    except ValueError:
        raise InputError(
            f"random_state must be an integer >= 0, a RandomState or None, got {value!r}"
        ) from None


CHECKS: Mapping[str, Callable[[Any], object]] = {
    "n_components": _check_components,
    "n_nonzero": _check_nonzero,
    "unit_norm_inputs": lambda value: check_flag(value, "unit_norm_inputs"),
    "max_iter": lambda value: check_count(value, "max_iter"),
    "tol": lambda value: check_number(value, "tol", low=0.0),
    "sparse_output": lambda value: check_flag(value, "sparse_output"),
    "random_state": _check_random_state,
    "n_jobs": check_n_jobs,
}
"""Parameter name to its check."""


class Learnt(NamedTuple):
    """What a fit gives.

    Attributes
    ----------
    components : ndarray of shape (n_components, n_features)
    bias : ndarray of shape (n_features,)
    input_norm : float
        Mean norm of the rows before they were scaled.
    encoder : ndarray of shape (n_components, n_features) or None
        The matrix that makes the codes, where it is not `components`.
    n_iter : int or None
        Iterations of the fit, where it has any.
    """

    components: NDArray[Any]
    bias: NDArray[Any]
    input_norm: float
    encoder: NDArray[Any] | None = None
    n_iter: int | None = None


class Baseline(DictionaryModel):
    """Base of the baselines.

    A subclass stores its parameters in ``__init__`` and has `_learn` and `_coder`.
    """

    unit_norm_inputs: bool

    _checks: ClassVar[Mapping[str, Callable[[Any], object]]] = CHECKS
    _has_encoder: ClassVar[bool] = False

    @abstractmethod
    def _learn(self, X: NDArray[Any]) -> Learnt:
        """Return what the rows of `X`, not yet prepared, teach."""

    def fit(self: Model, X: ArrayLike, y: object = None) -> Model:
        """Learn from rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : ignored
            Present for scikit-learn's interface.

        Returns
        -------
        Baseline
            The estimator itself.

        Raises
        ------
        InputError, InputTypeError
            If a parameter is out of range or `X` is not of finite numbers.
        """
        self._check_parameters()
        X = estimator_rows(self, X, reset=True)
        with one_thread():
            learnt = self._learn(X)
        self._adopt(learnt)
        return self

    def get_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return parameters and numbers of the fit as JSON can hold them, and the arrays."""
        check_is_fitted(self, "components_")
        params = self.get_params(deep=False)
        if not isinstance(params.get("random_state"), Integral):
            params = {k: None if k == "random_state" else v for k, v in params.items()}
        fitted = {
            "n_components": len(self.components_),
            "n_features_in_": self.n_features_in_,
            "input_norm_": self.input_norm_,
            "n_iter_": getattr(self, "n_iter_", None),
        }
        if hasattr(self, "feature_names_in_"):
            fitted["feature_names_in_"] = list(map(str, self.feature_names_in_))
        tensors = {"components": self.components_, "bias": self.bias_}
        if self._has_encoder:
            tensors["encoder"] = self.encoder_
        return {"params": params, "fitted": fitted}, tensors

    @classmethod
    def from_state(cls, config: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Baseline:
        """Return the fitted estimator that `get_state` described."""
        model = cls(**config["params"])
        model._check_parameters()
        fitted = config["fitted"]
        shape = tuple(check_count(fitted[k], k) for k in ("n_components", "n_features_in_"))
        model.n_features_in_ = shape[1]
        _check_tensors(tensors, {"components": shape, "bias": shape[1:]}, shape, cls._has_encoder)
        if "feature_names_in_" in fitted:
            names = np.asarray(fitted["feature_names_in_"], dtype=object)
            if names.shape != shape[1:]:
                raise InputError(f"{len(names)} feature names for {shape[1]} features")
            model.feature_names_in_ = names
        norm = check_number(fitted["input_norm_"], "input_norm_", low=0.0)
        n_iter = fitted["n_iter_"]
        if n_iter is not None:
            check_count(n_iter, "n_iter_")
        encoder = tensors.get("encoder")
        model._adopt(Learnt(tensors["components"], tensors["bias"], norm, encoder, n_iter))
        return model

    def _check_parameters(self) -> None:
        for name, value in self.get_params(deep=False).items():
            self._checks[name](value)

    def _unit_norm(self) -> bool:
        return check_flag(self.unit_norm_inputs, "unit_norm_inputs")

    def _atoms_and_bias(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        check_is_fitted(self, "components_")
        return self.components_, self.bias_

    def _adopt(self, learnt: Learnt) -> None:
        self.components_, self.bias_ = _final(learnt.components), _final(learnt.bias)
        self.input_norm_ = float(learnt.input_norm)
        if learnt.encoder is not None:
            self.encoder_ = _final(learnt.encoder)
        if learnt.n_iter is not None:
            self.n_iter_ = int(learnt.n_iter)

    def _held(self, X: NDArray[Any], dtype: DTypeLike) -> tuple[NDArray[Any], float]:
        """Return all rows prepared, in one array of `dtype`, and their mean norm before."""
        rows, norms = np.empty(X.shape, dtype=dtype), 0.0
        for block in prepared_blocks(X, self._unit_norm(), check_n_jobs(self.n_jobs)):
            rows[block.place] = block.rows
            norms += float(block.norms.sum(dtype=np.float64))
        return rows, norms / len(X)

    def _surveyed(self, X: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
        """Return the mean (d,) of the prepared rows and their mean norm before, in one pass."""
        total, norms = np.zeros(X.shape[1]), 0.0
        for place, chunk in iter_chunks(X):
            try:
                sums, block_norms = _core.survey_rows(
                    chunk, self._unit_norm(), check_n_jobs(self.n_jobs)
                )
            except ValueError as error:
                raise input_error(error, place.start) from error
            total += sums
            norms += float(block_norms.sum(dtype=np.float64))
        return total / len(X), norms / len(X)


def _final(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return an array as the estimator keeps it: read-only, so that what is cached stays true."""
    kept = np.array(array, dtype=np.float32, order="C")
    kept.flags.writeable = False
    return kept


def _check_tensors(
    tensors: Mapping[str, NDArray[Any]],
    shapes: dict[str, tuple[int, ...]],
    encoder: tuple[int, ...],
    has_encoder: bool,
) -> None:
    shapes = shapes | ({"encoder": encoder} if has_encoder else {})
    if tensors.keys() != shapes.keys():
        raise InputError(f"expected the tensors {list(shapes)}, got {list(tensors)}")
    for name, shape in shapes.items():
        array = tensors[name]
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise InputError(
                f"{name} must be a finite float32 array of shape {shape}, "
                f"got {array.dtype} of shape {array.shape}"
            )
