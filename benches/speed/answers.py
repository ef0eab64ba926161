"""Are codes right? Compared with the float64 definitions of the tests, and with those of peers.

`oracles` says for each row whether float32 arithmetic can decide differently (two scores equal to
rounding at some step). Rows that are *clear* must have exactly the same support, and coefficients
within the derived bound; for the others either answer is right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from speed.case import require

sys.path.append(str(Path(__file__).parents[2] / "tests"))
import oracles

__all__ = [
    "SMALLEST_AGREEMENT",
    "check_codes",
    "compare_codes",
    "dense_rows",
    "error_share",
    "oracles",
    "same_supports",
    "to_csr",
]

# Rows of one call may go through other tiles than those of another, and through other arithmetic at
# a peer's, so near ties may fall differently. Were 1 in 4 to differ, something else would be wrong.
SMALLEST_AGREEMENT = 0.75

# Fewer clear rows than this and the comparison says too little.
SMALLEST_CLEAR_SHARE = 0.25


def check_codes(
    Z: csr_array,
    X: NDArray[np.float32],
    D: NDArray[np.float32],
    define: Callable[[Any, Any], oracles.Oracle],
    n_rows: int,
) -> str:
    """Compare rows spread over all of `Z` with their definition."""
    rows = np.linspace(0, Z.shape[0] - 1, n_rows).astype(int)
    expected, found = define(X[rows], D), dense_rows(Z, rows)
    clear = expected.clear
    require(clear.mean() >= SMALLEST_CLEAR_SHARE, f"only {clear.sum()} of {n_rows} rows are clear")
    equal = ((found != 0) == (expected.codes != 0)).all(axis=1)
    require(equal[clear].all(), f"supports differ in {(~equal[clear]).sum()} clear rows")
    within = (abs(found - expected.codes) <= expected.coefficient_error[:, None]).all(axis=1)
    require(within[clear].all(), f"coefficients are off in {(~within[clear]).sum()} clear rows")
    return (
        f"supports equal the float64 definition in {clear.sum()} of {clear.sum()} rows without "
        f"near ties and in {equal.sum()} of {n_rows} rows; coefficients within the derived bounds"
    )


def compare_codes(
    name: str,
    other: csr_array,
    Z: csr_array,
    X: NDArray[np.float32],
    D: NDArray[np.float32],
    tolerance: float,
) -> str:
    """Compare with a peer on the first rows: what codes leave unexplained must agree."""
    ours, theirs = (error_share(X, codes, D) for codes in (Z[: other.shape[0]], other))
    agree = abs(ours - theirs) <= tolerance * theirs
    require(agree, f"{name}: unexplained {theirs}, ours {ours}")
    return (
        f"{name}: same support in {same_supports(Z, other):.1%} of rows, "
        f"unexplained {theirs:.5f} (ours {ours:.5f})"
    )


def dense_rows(Z: csr_array, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return some rows of codes, dense."""
    return np.asarray(Z[rows].toarray(), dtype=np.float64)


def same_supports(Z: csr_array, other: csr_array) -> float:
    """Share of the rows of `other`, the first ones of `Z`, that have the same support."""
    n = other.shape[0]
    differs = (Z[:n].astype(bool) != other.astype(bool)).sum(axis=1)
    return float(np.mean(np.asarray(differs).ravel() == 0))


def error_share(X: NDArray[np.float32], Z: csr_array, D: NDArray[np.float32]) -> float:
    """Return what codes leave unexplained, mean ‖x − z D‖² / ‖x‖², for the first rows of X."""
    n = Z.shape[0]
    rows = X[:n].astype(np.float64)
    residual = rows - Z.astype(np.float64) @ D.astype(np.float64)
    return float(np.mean((residual**2).sum(axis=1) / (rows**2).sum(axis=1)))


def to_csr(indices: NDArray[Any], values: NDArray[Any], n_components: int) -> csr_array:
    """Return codes from (n, k) indices and values; atoms that occur twice in a row add up."""
    n, k = indices.shape
    indptr = np.arange(n + 1) * k
    Z = csr_array((values.ravel(), indices.ravel(), indptr), shape=(n, n_components))
    Z.sum_duplicates()
    Z.eliminate_zeros()
    return Z
