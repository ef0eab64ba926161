"""Checks of arguments, shared by the estimators and the stateless calls.

Every check either returns the value in the form the caller needs or raises one error that names the
argument, what was expected and what came. Arrays are checked for kind and shape only: whether every
value is finite is known after the first look at the data, which the compiled code takes anyway.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from icfl._streams import RowStream
from icfl.exceptions import InputError, InputTypeError

__all__ = [
    "CHUNK_ROWS",
    "Floats",
    "check_atoms",
    "check_choice",
    "check_count",
    "check_flag",
    "check_matrix",
    "check_n_jobs",
    "check_number",
    "check_vector",
    "estimator_rows",
    "is_native",
    "is_tensor",
    "iter_chunks",
    "learner_rows",
    "native_floats",
    "seeded_generator",
]

Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

CHUNK_ROWS = 8192
"""Rows taken at once from data that must not be loaded whole: 32 MB at 1,024 float32 features."""


def check_count(value: object, name: str, *, minimum: int = 1) -> int:
    """Return `value` as an int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputTypeError(f"{name} must be an integer >= {minimum}, got {value!r}")
    count = int(value)
    if count < minimum:
        raise InputError(f"{name} must be an integer >= {minimum}, got {value!r}")
    return count


def check_number(
    value: object,
    name: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    closed: bool = True,
) -> float:
    """Return `value` as a float in [low, high] (`closed=False`: strictly between them)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    inside = low <= number <= high if closed else low < number < high
    if not inside:  # also catches NaN
        brackets = "[]" if closed else "()"
        interval = f"{brackets[0]}{low}, {high}{brackets[1]}"
        raise InputError(f"{name} must be a number in {interval}, got {value!r}")
    return number


def check_choice(value: object, name: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of the strings `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_flag(value: object, name: str) -> bool:
    """Return `value` if it is a boolean."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputTypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_n_jobs(n_jobs: object) -> int | None:
    """Return the number of threads, None for all cores; negative values count back as in joblib."""
    if n_jobs is None:
        return None
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0:
        raise InputError(f"n_jobs must be None or a non-zero integer, got {n_jobs!r}")
    count = int(n_jobs)
    return count if count > 0 else max(1, (os.cpu_count() or 1) + 1 + count)


def seeded_generator(random_state: Any) -> np.random.Generator:
    """Return a generator of its own that follows `random_state`: an int, a RandomState, or None.

    An int goes by way of scikit-learn's RandomState, never straight into `default_rng`: what a
    measure draws under ``random_state=0`` must not be the very numbers of data that the caller has
    drawn from ``default_rng(0)``. A RandomState moves on by four words, so that two calls differ.

    Raises
    ------
    InputError
        If it is something else, a Generator among them.
    """
    try:
        source = check_random_state(random_state)
    except ValueError as error:
        raise InputError(
            f"random_state must be None, an integer from 0 to 2**32 - 1 or a RandomState, "
            f"got {random_state!r}"
        ) from error
    return np.random.default_rng(source.randint(0, 2**32, size=4, dtype=np.uint32))


def check_matrix(X: ArrayLike, name: str, *, minimum_rows: int = 0) -> NDArray[Any]:
    """Return `X` as a two-dimensional real array; an array of numbers is returned as it is.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_columns)
        Lists, data frames and object arrays are converted, memory maps are not read.
    name : str
        What the error message calls it.
    minimum_rows : int, default=0
        Fewest rows accepted.

    Returns
    -------
    ndarray of shape (n_rows, n_columns), floating, integer or boolean
    """
    try:
        checked: NDArray[Any] = check_array(
            _as_array(X, name),
            dtype="numeric",
            ensure_all_finite=False,
            ensure_min_samples=minimum_rows,
            input_name=name,
        )
    except (ValueError, TypeError) as error:
        raise _as_input_error(error, name) from error
    return checked


def check_atoms(components: ArrayLike) -> NDArray[np.float32]:
    """Return a dictionary as finite, C-contiguous float32 of shape (n_components, n_features)."""
    checked = check_matrix(components, "components", minimum_rows=1)
    atoms = np.ascontiguousarray(checked, dtype=np.float32)
    if not np.isfinite(atoms).all():
        raise InputError("components contains NaN or infinity")
    return atoms


def check_vector(vector: ArrayLike | None, name: str, size: int) -> NDArray[np.float32] | None:
    """Return `vector` as finite float32 of shape (size,); None stays None."""
    if vector is None:
        return None
    array = np.ascontiguousarray(vector, dtype=np.float32)
    if array.shape != (size,):
        raise InputError(f"{name} must have shape ({size},), got {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} contains NaN or infinity")
    return array


def estimator_rows(estimator: object, X: ArrayLike, *, reset: bool) -> NDArray[Any]:
    """Check `X` for an estimator: kind, shape, width and feature names, without reading its values.

    Parameters
    ----------
    estimator : object
        The estimator whose ``n_features_in_`` and ``feature_names_in_`` are set (`reset`) or
        compared.
    X : array-like of shape (n_samples, n_features)
        Data.
    reset : bool
        True in ``fit`` and the first ``partial_fit``.

    Returns
    -------
    ndarray of shape (n_samples, n_features), floating, integer or boolean
    """
    X = _as_array(X, "X")
    if not reset and _is_as_expected(estimator, X):
        return cast("NDArray[Any]", X)
    try:
        checked: NDArray[Any] = validate_data(
            estimator, X, reset=reset, dtype="numeric", ensure_all_finite=False
        )
    except (ValueError, TypeError) as error:
        raise _as_input_error(error) from error
    return checked


def learner_rows(estimator: object, X: ArrayLike | RowStream, *, reset: bool) -> Any:
    """Check `X` as `estimator_rows` does; a stream, which is read in order, stays one."""
    if not isinstance(X, RowStream):
        return estimator_rows(estimator, X, reset=reset)
    estimator_rows(estimator, X[:1], reset=reset)
    return X


def is_tensor(X: object) -> bool:
    """Whether `X` is a tensor of PyTorch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(X, torch.Tensor)


def _as_array(X: Any, name: str) -> Any:
    """Return a tensor as an array, over the same memory where NumPy has its type; else `X`."""
    if not is_tensor(X):
        return X
    if X.device.type != "cpu" or str(X.layout) != "torch.strided":
        raise InputTypeError(
            f"{name} must be an array or a dense tensor on the CPU here, got a tensor on device "
            f"{str(X.device)!r} of layout {X.layout}; learners with backend='torch' take others"
        )
    detached = X.detach()
    # NumPy does not know bfloat16.
    return detached.float().numpy() if str(X.dtype) == "torch.bfloat16" else detached.numpy()


def _is_as_expected(estimator: object, X: ArrayLike) -> bool:
    """Whether `X` is an array that ``validate_data`` would return as it is.

    Asking that function takes 0.1 ms, a seventh of the time in which one row is encoded.
    """
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and len(X) > 0
        and X.dtype.kind in "biuf"
        and X.shape[1] == getattr(estimator, "n_features_in_", X.shape[1])
        and not hasattr(estimator, "feature_names_in_")
    )


def iter_chunks(X: NDArray[Any], chunk_rows: int | None = None) -> Iterator[tuple[slice, Floats]]:
    """Yield consecutive blocks of rows of `X` with their places, each native float32 or float64."""
    step = CHUNK_ROWS if chunk_rows is None else chunk_rows
    for start in range(0, X.shape[0], step):
        rows = slice(start, min(start + step, X.shape[0]))
        yield rows, native_floats(X[rows])


def is_native(X: NDArray[Any]) -> bool:
    """Whether the compiled code takes `X` as it is: aligned float32 or float64 in native order."""
    return X.dtype in (np.float32, np.float64) and X.dtype.isnative and X.flags.aligned


def native_floats(X: NDArray[Any]) -> Floats:
    """Return `X` itself if the compiled code takes it as it is, else a converted copy.

    float32, and types that are exact in it (float16, bool, integers of up to 16 bits), become
    float32, everything else float64.
    """
    if is_native(X):
        return cast("Floats", X)
    if np.can_cast(X.dtype, np.float32, casting="safe"):
        return X.astype(np.float32)
    return X.astype(np.float64)


def _as_input_error(error: ValueError | TypeError, name: str = "") -> InputError | InputTypeError:
    """Keep scikit-learn's message, which users know, under the package's own error classes."""
    message = str(error)
    if name not in message:
        message = f"{name}: {message}"
    return (InputError if isinstance(error, ValueError) else InputTypeError)(message)
