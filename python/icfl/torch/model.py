"""Fitted learners on a device: rows to codes, codes to rows, and a score.

Tensors are worked on where they are and give tensors; arrays go to the device of the backend block
by block and give arrays.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from torch import Tensor

from icfl._validation import CHUNK_ROWS, check_flag, check_matrix, check_n_jobs
from icfl.coding.coders import codes_of, join_codes
from icfl.coding.model import prepared_blocks
from icfl.exceptions import InputError, InputTypeError
from icfl.learning.stepper import Arrays
from icfl.torch.adam import Tensors
from icfl.torch.arrays import device_of, rows_on, to_device
from icfl.torch.backend import TorchBackend
from icfl.torch.distributed import Group
from icfl.torch.encoding import Encoder, Piece, decode
from icfl.torch.measure import column_moments, reproduction
from icfl.torch.modes import without_modes
from icfl.torch.rows import check_tensor, prepare_tensor

if TYPE_CHECKING:
    from icfl.learning.learner import Learner

__all__ = ["DeviceModel"]


class DeviceModel:
    """A fitted learner's methods on a device; they mean what `DictionaryModel`'s do.

    Parameters
    ----------
    model : Learner
        The fitted learner.
    backend : TorchBackend
        Where to compute with arrays, and the budget of Gram matrices.
    """

    def __init__(self, model: Learner, backend: TorchBackend) -> None:
        self._model = model
        self._backend = backend

    @without_modes
    def transform(self, X: Any) -> Any:
        """Encode rows; a tensor gives a sparse CSR tensor, or a dense one."""
        sparse = check_flag(self._model.sparse_output, "sparse_output")
        n_components = len(self._model.components_)
        if not isinstance(X, Tensor):
            pieces = [Piece.of(codes).on_host() for _, _, codes, _ in self._encoded(X)]
            joined = join_codes(pieces, n_components)
            return joined if sparse else joined.toarray()
        if not sparse:
            return torch.cat([codes for _, _, codes, _ in self._encoded(X)])
        parts = [Piece.of(codes) for _, _, codes, _ in self._encoded(X)]
        return Piece.join(parts).tensor(n_components)

    @without_modes
    def inverse_transform(self, Z: Any) -> Any:
        """Return the rows that codes stand for, shape (n, d)."""
        if not isinstance(Z, Tensor):
            return self._decoded_array(Z)
        self._check_codes(Z)
        tensors = self._tensors(Z.device)
        parts = [decode(block, tensors) for block in _dense_blocks(Z.detach())]
        rows = torch.cat(parts) if parts else tensors["bias"].new_zeros((0, len(tensors["bias"])))
        if not bool(rows.isfinite().all()):
            raise InputError("Z contains NaN or infinity")
        return rows

    def _decoded_array(self, Z: Any) -> NDArray[np.float32]:
        codes = csr_array(Z) if issparse(Z) else check_matrix(Z, "Z")
        device = self._place(codes)
        rows = np.empty((codes.shape[0], self._model.components_.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), CHUNK_ROWS):
            place = slice(start, start + CHUNK_ROWS)
            block = codes_of(csr_array(codes[place]))
            starts, indices, values = (torch.from_numpy(part).to(device) for part in block)
            piece = Piece(starts.diff(), indices.to(torch.int64), values)
            rows[place] = self.inverse_transform(piece.tensor(codes.shape[1])).numpy(force=True)
        return rows

    @without_modes
    def reconstruct(self, X: Any) -> Any:
        """Encode rows and decode them again, in the scale of `X`."""
        if isinstance(X, Tensor):
            return torch.cat(list(self._reconstructed(X)))
        # Each part leaves its device before the next one is formed.
        return np.concatenate([part.numpy(force=True) for part in self._reconstructed(X)])

    def _reconstructed(self, X: Any) -> Iterator[Tensor]:
        scale = self._model._scale()
        for _, norms, codes, tensors in self._encoded(X):
            rows = decode(codes, tensors)
            if self._model._unit_norm():
                rows = rows * norms[:, None].to(rows.dtype)
            yield rows if scale == 1.0 else rows / scale

    @without_modes
    def score(self, X: Any) -> float:
        """Return the explained variance of the rows as the dictionary sees them."""
        moments, residual = None, 0.0
        for rows, _, codes, tensors in self._encoded(X):
            seen = column_moments(rows, Group()).moments
            residual += float(reproduction(rows, rows - decode(codes, tensors))[0])
            if moments is None:
                moments = seen
            else:
                moments.merge(seen)
        total = 0.0 if moments is None else float(moments.centred_ss.sum())
        return 1.0 - residual / total if total > 0 else float("nan")

    def _encoded(self, X: Any) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensors]]:
        """Yield parts of prepared rows, their norms, their codes (rows, M), and the arrays."""
        model, norm_sum = self._model, 0.0
        X = check_tensor(model, X, reset=False) if isinstance(X, Tensor) else model._rows(X)
        tensors = self._tensors(self._place(X))
        encoder = Encoder(model._coder(), tensors, self._backend.gram_budget, len(X))
        for rows, norms in self._prepared(X, tensors["bias"].device):
            norm_sum += float(norms.sum())
            for place, codes in encoder.encode(rows):
                yield rows[place], norms[place], codes, tensors
        model._check_scale(norm_sum / len(X))

    def _place(self, X: Any) -> torch.device:
        """Return where something is worked on: a tensor where it is."""
        return X.device if isinstance(X, Tensor) else device_of(self._backend.device)

    def _prepared(self, X: Any, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        model = self._model
        unit_norm, scale = model._unit_norm(), model._scale()
        if not isinstance(X, Tensor):
            threads = check_n_jobs(model.n_jobs)
            for block in prepared_blocks(X, unit_norm, threads, scale):
                yield rows_on(block.rows, device), rows_on(block.norms, device)
            return
        for start in range(0, len(X), CHUNK_ROWS):
            block = X[start : start + CHUNK_ROWS]
            yield prepare_tensor(block, unit_norm, scale=scale, first_row=start)

    def _check_codes(self, Z: Tensor) -> None:
        if Z.is_complex() or Z.is_meta:
            raise InputTypeError(f"Z must be a real tensor, got {Z.dtype} on {str(Z.device)!r}")
        n_components = len(self._model.components_)
        if Z.ndim != 2 or Z.shape[1] != n_components:
            raise InputError(f"Z must have shape (n_samples, {n_components}), got {tuple(Z.shape)}")

    def _tensors(self, device: torch.device) -> Tensors:
        """Return the fitted arrays on a device, the same until one of them changes."""
        arrays = self._model._fitted_arrays()
        with _known_lock:
            known = _known.get(self._model)
            if known is None or known[1] != device or _differ(known[0], arrays):
                there = {name: to_device(array, device) for name, array in arrays.items()}
                known = _known[self._model] = (arrays, device, there)
            return known[2]


# Beside the estimators rather than in them: pickles, copies and comparisons do not see it.
_known: weakref.WeakKeyDictionary[object, tuple[Arrays, torch.device, Tensors]] = (
    weakref.WeakKeyDictionary()
)
_known_lock = threading.Lock()


def _differ(known: Arrays, arrays: Arrays) -> bool:
    return any(known[name] is not array for name, array in arrays.items())


def _dense_blocks(Z: Tensor) -> Iterator[Tensor]:
    """Yield dense parts of codes; rows of a CSR tensor are cut out by their starts."""
    if Z.layout == torch.strided:
        yield from Z.to(torch.float32).split(CHUNK_ROWS)
        return
    try:
        Z = Z.to_sparse_csr()
    except RuntimeError as error:
        raise InputTypeError(
            f"Z must be a dense, COO, CSR or CSC tensor with a value a place, got {Z.layout}"
        ) from error
    starts, columns, values = Z.crow_indices(), Z.col_indices(), Z.values()
    if not bool(((columns >= 0) & (columns < Z.shape[1])).all()):  # on CUDA: the end of the process
        raise InputError(f"Z must have columns of 0 to {Z.shape[1] - 1}, got others")
    for first in range(0, Z.shape[0], CHUNK_ROWS):
        bounds = starts[first : first + CHUNK_ROWS + 1]
        counts = bounds.diff()
        stored = slice(int(bounds[0]), int(bounds[-1]))
        rows = torch.arange(len(counts), device=Z.device).repeat_interleave(counts)
        dense = values.new_zeros((len(counts), Z.shape[1]), dtype=torch.float32)
        # What is stored twice adds up, as in SciPy.
        places = rows, columns[stored].to(torch.int64)
        dense.index_put_(places, values[stored].to(torch.float32), accumulate=True)
        yield dense
