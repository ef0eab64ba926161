"""Block-wise reading shared by the metrics.

Inputs stay as they came (float32, memory map, view); only one block of rows at a time becomes
float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl import _core
from icfl._validation import check_matrix, is_native, is_tensor, native_floats
from icfl.exceptions import InputError

# 2**18 float64 values = 2 MiB a block: the two or three temporaries of a metric stay in cache.
_BLOCK_VALUES = 1 << 18
# Dense codes go to the compiled counts in spans of 64 MiB of float32: many rows for each label.
_SPAN_VALUES = 1 << 24


def require_matrix_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise InputError unless `shape` is that of a non-empty matrix."""
    if len(shape) != 2:
        raise InputError(f"{name} must be 2-D, got {len(shape)}-D with shape {shape}")
    if 0 in shape:
        raise InputError(f"{name} must have at least one row and one column, got shape {shape}")


def row_blocks(shape: tuple[int, ...], values: int = _BLOCK_VALUES) -> Iterator[slice]:
    """Yield slices that cover the rows of an (n, d) array in blocks of bounded size."""
    n_rows, width = shape
    step = max(1, values // width)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def float64_rows(array: npt.NDArray[Any], rows: slice, name: str) -> npt.NDArray[np.float64]:
    """Return `array[rows]` as float64, refusing NaN and infinity."""
    block = np.asarray(array[rows], dtype=np.float64)
    require_finite(block, name)
    return block


def require_finite(values: npt.NDArray[Any], name: str) -> None:
    """Raise InputError if `values` has a NaN or an infinity."""
    if not np.isfinite(values).all():
        raise InputError(f"{name} must be finite, got NaN or infinity")


def count_active(
    Z: Any, labels: npt.NDArray[np.intp] | None = None, n_labels: int = 1
) -> npt.NDArray[np.int64]:
    """Count, for each label, the rows on which each component is active.

    Stored zeros and duplicates that cancel are not active. Sparse codes are read as they are; dense
    ones, which may be a memory map, a span of rows at a time.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes.
    labels : ndarray of shape (n_samples,), optional
        Numbers from 0 to n_labels - 1, or -1 for none. By default all are 0.
    n_labels : int

    Returns
    -------
    ndarray of shape (n_labels, n_components), int64
    """
    codes: Any = _sparse_rows(Z) if sparse.issparse(Z) else check_matrix(Z, "Z", minimum_rows=1)
    n_rows, width = codes.shape
    numbers = np.zeros(n_rows, dtype=np.int64) if labels is None else labels.astype(np.int64)
    counts = np.zeros((n_labels, width), dtype=np.int64)
    try:
        if sparse.issparse(Z):
            starts = codes.indptr.astype(np.int64)
            _core.count_active((starts, codes.indices, codes.data), numbers, counts, None)
            return counts
        for rows in row_blocks(codes.shape, _SPAN_VALUES):
            _core.count_active(native_floats(codes[rows]), numbers[rows], counts, None)
    except ValueError as error:
        raise InputError(str(error)) from error
    return counts


def as_codes(Z: Any, name: str = "Z") -> Any:
    """Return codes as CSR without repeated entries if they are sparse, else as a real matrix.

    Nothing is copied that need not be, and the argument stays as it is. Values are not looked at.

    Parameters
    ----------
    Z : array-like, scipy.sparse matrix or torch.Tensor of shape (n_samples, n_components)
        A tensor on the CPU, dense or CSR.
    name : str
        What error messages call it.

    Returns
    -------
    csr_array or ndarray of shape (n_samples, n_components)
        CSR has float32 or float64 data; a matrix keeps its type.
    """
    if is_tensor(Z) and str(Z.layout) == "torch.sparse_csr" and Z.device.type == "cpu":
        stored = (Z.values(), Z.col_indices(), Z.crow_indices())
        arrays = tuple(tensor.detach().numpy() for tensor in stored)
        Z = sparse.csr_array(arrays, shape=tuple(Z.shape))
    if not sparse.issparse(Z):
        return check_matrix(Z, name, minimum_rows=1)
    require_matrix_shape(Z.shape, name)
    codes = sparse.csr_array(Z)
    if codes.dtype.kind not in "fiub":
        raise InputError(f"{name} must have real numbers, got {codes.dtype}")
    if not codes.has_canonical_format:
        codes = codes.copy()
        codes.sum_duplicates()
    if not is_native(codes.data):
        parts = (native_floats(codes.data), codes.indices, codes.indptr)
        codes = sparse.csr_array(parts, shape=codes.shape)
    return codes


def _sparse_rows(Z: Any) -> Any:
    """Return Z as CSR with float32 or float64 data; Z itself stays as it is."""
    require_matrix_shape(Z.shape, "Z")
    codes = sparse.csr_array(Z)
    if is_native(codes.data):
        return codes
    # Sums of repeated integers are exact only as integers.
    codes = codes.copy()
    codes.sum_duplicates()
    require_finite(codes.data, "Z")
    return (codes != 0).astype(np.float32)
