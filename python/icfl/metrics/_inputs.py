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

from icfl._validation import check_matrix
from icfl.exceptions import InputError

# 2**18 float64 values = 2 MiB a block: the two or three temporaries of a metric stay in cache.
_BLOCK_VALUES = 1 << 18


def require_matrix_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise InputError unless `shape` is that of a non-empty matrix."""
    if len(shape) != 2:
        raise InputError(f"{name} must be 2-D, got {len(shape)}-D with shape {shape}")
    if 0 in shape:
        raise InputError(f"{name} must have at least one row and one column, got shape {shape}")


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices that cover the rows of an (n, d) array in blocks of bounded size."""
    n_rows, width = shape
    step = max(1, _BLOCK_VALUES // width)
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


def active_blocks(Z: Any) -> Iterator[tuple[slice, Any]]:
    """Yield (rows, pattern): where codes are non-zero, as a CSR array of int32 ones.

    Sparse codes come as one block. Dense codes come in blocks, so that no second (n, M) array is
    made. Stored zeros and duplicates that cancel are not active.
    """
    if sparse.issparse(Z):
        yield slice(0, Z.shape[0]), _sparse_pattern(Z)
        return
    dense = check_matrix(Z, "Z", minimum_rows=1)
    for rows in row_blocks(dense.shape):
        block = dense[rows]
        require_finite(block, "Z")
        yield rows, sparse.csr_array(block != 0, dtype=np.int32)


def _sparse_pattern(Z: Any) -> Any:
    require_matrix_shape(Z.shape, "Z")
    codes = sparse.csr_array(Z)
    if not codes.has_canonical_format:
        codes = codes.copy()  # csr_array(Z) may share Z's buffers, and summing works in place
        codes.sum_duplicates()
    require_finite(codes.data, "Z")
    ones = (codes.data != 0).astype(np.int32)
    pattern = sparse.csr_array((ones, codes.indices, codes.indptr), shape=codes.shape)
    if ones.all():
        return pattern
    pattern = pattern.copy()
    pattern.eliminate_zeros()
    return pattern
