"""The rows of a fit: tensors stay on their device, arrays are read as ever.

Which rows make up a mini-batch is decided as for arrays, by seed and step. Those that become first
atoms, that are held back and by which a checkpoint knows its data go through main memory: they are
few, and the same to the bit as of an array.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data
from torch import Tensor

from icfl._validation import CHUNK_ROWS, check_n_jobs, learner_rows, native_floats
from icfl.exceptions import InputError, InputTypeError
from icfl.learning.minibatches import Survey, TrainingRows
from icfl.torch.distributed import Group
from icfl.torch.memory import wide

if TYPE_CHECKING:
    from icfl.learning.learner import Learner

__all__ = ["check_tensor", "prepare_tensor", "training_rows"]

LARGEST_VALUE = 1e18
"""Squares of larger values, summed over a row, leave float32."""


def training_rows(model: Learner, X: Any, group: Group, *, reset: bool) -> TrainingRows:
    """Return the rows of a fit.

    Parameters
    ----------
    model : Learner
        Whose ``n_features_in_`` is set (`reset`) or compared.
    X : Tensor or array-like of shape (n_samples, n_features)
        Data of this process.
    group : Group
        Processes that learn together.
    reset : bool
        True in ``fit`` and the first ``partial_fit``.

    Returns
    -------
    TrainingRows
        Rows on the device of `X`, or in main memory.

    Raises
    ------
    InputError
        If `X` is empty, no matrix, or has another width than before.
    InputTypeError
        If a tensor is complex, sparse or on the device "meta", where it has no values.
    """
    options = model._unit_norm(), check_n_jobs(model.n_jobs), group
    if isinstance(X, Tensor):
        return TensorRows(check_tensor(model, X, reset=reset), *options)
    return SharedRows(learner_rows(model, X, reset=reset), *options)


class SharedRows(TrainingRows):
    """Rows of one of several processes that learn together; see `TrainingRows`."""

    def __init__(self, X: NDArray[Any], unit_norm: bool, n_jobs: int | None, group: Group) -> None:
        super().__init__(X, unit_norm, n_jobs)
        self._group = group
        self.n_processes = group.size

    def survey(self) -> Survey:
        """Read all rows once; return what is found in all processes."""
        return self._of_all(super().survey())

    def _of_all(self, own: Survey) -> Survey:
        if self._group.size == 1:
            return own
        numbers = np.array([len(self), own.mean_norm, own.mean_square, *own.mean])
        parts = self._group.gather(self._group.tensor(numbers)[None, :])
        found = torch.cat(parts).numpy(force=True).astype(np.float64)
        counts, means = found[:, 0], found[:, 1:]
        if len(set(counts)) > 1:
            raise InputError(
                "X must have as many rows in every process, "
                f"got {', '.join(str(int(count)) for count in counts)}"
            )
        norm, square, *mean = means.mean(axis=0)
        return Survey(np.asarray(mean, dtype=np.float32), float(norm), float(square))


class TensorRows(SharedRows):
    """Rows that are a tensor, prepared on its device as they are asked for."""

    X: Any

    def take(self, indices: NDArray[Any]) -> NDArray[np.float32]:
        """Return the prepared rows at increasing `indices`, in main memory."""
        rows = self.X[self._places(indices)].to(_exact(self.X.dtype))
        return self._prepared(native_floats(rows.numpy(force=True)))

    def batch(self, indices: NDArray[Any]) -> Any:
        """Return the prepared rows at `indices`, on the device."""
        return self._on_device(self.X[self._places(indices)])

    def chunks(self, n_rows: int) -> Iterator[Any]:
        """Yield all rows prepared on the device, in their order, `n_rows` at a time."""
        for start in range(0, len(self), n_rows):
            yield self._on_device(self.X[start : start + n_rows])

    def survey(self) -> Survey:
        """Read all rows once, on the device."""
        precise = wide(self.X.device)
        total = torch.zeros(self.n_features, dtype=precise, device=self.X.device)
        sums = torch.zeros(2, dtype=precise, device=self.X.device)
        for start in range(0, len(self), CHUNK_ROWS):
            rows, norms = prepare_tensor(
                self.X[start : start + CHUNK_ROWS], self.unit_norm, first_row=start
            )
            total += rows.sum(dim=0, dtype=precise)
            squares = rows.to(precise).square().sum()
            sums += torch.stack([norms.sum(), squares])
        self._surveyed = True
        norm, square = (sums / len(self)).tolist()
        mean = (total / len(self)).numpy(force=True).astype(np.float32)
        found = Survey(mean, norm, square)
        return self._of_all(found.scaled(self.scale))

    def _on_device(self, rows: Tensor) -> Tensor:
        return prepare_tensor(rows, self.unit_norm, scale=self.scale, checked=self._surveyed)[0]

    def _places(self, indices: NDArray[Any]) -> Tensor:
        return torch.from_numpy(indices.astype(np.int64)).to(self.X.device)


def check_tensor(model: Any, X: Tensor, *, reset: bool) -> Tensor:
    """Return a tensor of rows for an estimator, without its graph; values are not read.

    Raises as `training_rows` does.
    """
    if X.is_complex() or X.layout != torch.strided or X.is_meta:
        raise InputTypeError(
            f"X must be a dense real tensor, got {X.dtype}, {X.layout} on {str(X.device)!r}"
        )
    if X.ndim != 2 or X.numel() == 0:
        raise InputError(
            f"X must have shape (n_samples, n_features), neither 0, got {tuple(X.shape)}"
        )
    try:
        validate_data(model, X, reset=reset, skip_check_array=True)
    except ValueError as error:
        raise InputError(str(error)) from error
    return X.detach()


def prepare_tensor(
    X: Tensor,
    unit_norm: bool,
    *,
    scale: float = 1.0,
    first_row: int = 0,
    checked: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return rows as float32, of unit norm if asked (zero rows stay zero), and their norms.

    Parameters
    ----------
    X : Tensor of shape (n, d), any real type
        Rows.
    unit_norm : bool
        Whether to scale.
    scale : float, default=1.0
        What rows are multiplied by at last.
    first_row : int, default=0
        Number of the first row in the caller's tensor, for the error message.
    checked : bool, default=False
        Whether all values are known to be finite.

    Returns
    -------
    rows : Tensor of shape (n, d), float32
    norms : Tensor of shape (n,), in the precision of sums

    Raises
    ------
    InputError
        If a value is NaN, infinite or too large.
    """
    precise = wide(X.device)
    if not checked:
        good = X.to(_exact(X.dtype)).abs() < LARGEST_VALUE
        if not bool(good.all()):
            row, column = (~good).nonzero()[0].tolist()
            raise InputError(
                "Input X contains NaN, infinity or a value too large for float32 at row "
                f"{row + first_row}, column {column}; "
                "expected finite values below 1e18 in magnitude"
            )
    norms = torch.linalg.vector_norm(X.to(precise), dim=1)
    rows = X
    if unit_norm:
        rows = rows.to(precise) / torch.where(norms > 0, norms, 1.0)[:, None]
    rows = rows.to(torch.float32)
    return (rows if scale == 1.0 else rows * scale), norms


def _exact(dtype: torch.dtype) -> torch.dtype:
    """Return a type that NumPy has and that holds all values of `dtype`."""
    return torch.float64 if dtype in (torch.float64, torch.int64, torch.int32) else torch.float32
