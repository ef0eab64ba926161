"""Cosines between profiles a block at a time, and which pairs of profiles count.

Only (n_block, n) cosines exist at once. A row of zeros has no direction: its cosine is 0 with all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl.exceptions import InputError
from icfl.metrics._columns import named_columns
from icfl.metrics._inputs import as_codes, require_finite, row_blocks
from icfl.metrics._labels import encode_labels

# 2**21 cosines a block: 16 MiB, and as much for what is compared with them.
_BLOCK_COSINES = 1 << 21

Integers = npt.NDArray[np.intp]


def unit_profiles(profiles: Any, rows: Integers | None = None) -> Any:
    """Return rows of unit norm in float64, CSR if they came sparse.

    Parameters
    ----------
    profiles : array-like, scipy.sparse matrix or torch.Tensor of shape (n_samples, n_features)
        Dense profiles or codes.
    rows : ndarray of shape (n_rows,), optional
        Which rows; all by default.

    Returns
    -------
    ndarray or csr_array of shape (n_rows, n_features), float64
    """
    found = as_codes(profiles, "profiles")
    found = (found if rows is None else found[rows]).astype(np.float64)
    values = found.data if sparse.issparse(found) else found
    require_finite(values, "profiles")
    # Divided by their largest value first, rows of 1e-200 or 1e200 have a norm.
    for scale in (_largest, _norms):
        sizes = scale(found)
        sizes[sizes == 0] = 1.0
        if sparse.issparse(found):
            values /= np.repeat(sizes, np.diff(found.indptr))
        else:
            values /= sizes[:, None]
    return found


def _largest(found: Any) -> npt.NDArray[np.float64]:
    if sparse.issparse(found):
        return np.asarray(abs(found).max(axis=1).toarray(), dtype=np.float64).ravel()
    return np.asarray(np.abs(found).max(axis=1))


def _norms(found: Any) -> npt.NDArray[np.float64]:
    squares = found.multiply(found).sum(axis=1) if sparse.issparse(found) else None
    if squares is None:
        squares = np.einsum("ij,ij->i", found, found)
    return np.sqrt(np.asarray(squares, dtype=np.float64).ravel())


def cosine_blocks(queries: Any, references: Any) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Yield the cosines of blocks of queries with all references, and the places of the queries."""
    turned = references.T.tocsr() if sparse.issparse(references) else references.T
    for rows in row_blocks((queries.shape[0], references.shape[0]), _BLOCK_COSINES):
        product = queries[rows] @ turned
        yield rows, product.toarray() if sparse.issparse(product) else product


def constraint_codes(columns: Any, name: str, n_samples: int, used: Integers) -> list[Integers]:
    """Return the used rows of each constraining column as integers; none may be missing there."""
    if columns is None:
        return []
    found = []
    for key, column in named_columns(columns, name).items():
        codes, _ = encode_labels(column, n_samples, key)
        unknown = int(np.count_nonzero(codes[used] < 0))
        if unknown:
            message = f"{key} must be known for every labelled row, {unknown} are missing"
            raise InputError(message)
        found.append(codes[used])
    return found


def allowed(rows: slice, same: list[Integers], different: list[Integers]) -> npt.NDArray[np.bool_]:
    """Whether each pair of a block's row with any row agrees and differs where it must."""
    allowed = np.ones((1, 1), dtype=bool)
    for codes in same:
        allowed = allowed & (codes[rows, None] == codes)
    for codes in different:
        allowed = allowed & (codes[rows, None] != codes)
    return allowed
