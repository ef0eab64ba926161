"""One-pass, mergeable sample moments: what a covariance and its Ledoit-Wolf shrinkage need.

For rows x_1 ... x_n with mean m and y_i = x_i - m, `Moments` keeps

    n,  m,  S = sum y_i y_i^T,  t = sum |y_i|^2 y_i,  q = sum |y_i|^4.

They are made by the compiled module, in float64. Blocks of rows are centred on their own mean, and
two sets are joined with the exact update of Chan, Golub and LeVeque (1983), carried on to t and q.
S and q are all that the shrinkage intensity of Ledoit and Wolf (2004) asks of the data; t is what
makes q mergeable.

The mean is held as `origin` + `offset`, where `origin` is the first row seen. A difference of two
nearby floats is exact, so a constant column has a variance of exactly zero whatever its value, and
a mean of 1e4 standard deviations costs no digits.

References
----------
Chan, Golub, LeVeque, "Algorithms for computing the sample variance", Am. Stat. 37 (1983).
Ledoit, Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
J. Multivariate Anal. 88 (2004).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl._threads import on_threads, one_thread
from icfl._validation import CHUNK_ROWS, Floats, is_native, native_floats
from icfl.exceptions import InputError

__all__ = ["Doubles", "Moments", "accumulate", "empty_output", "finite_block", "for_blocks", "pool"]

Doubles: TypeAlias = NDArray[np.float64]

# 4,194,304 float64 are 32 MiB: a block and its scratch stay far below one dictionary.
_BLOCK_VALUES = 2**22
_MIN_BLOCK_ROWS = 256
MOST_BLOCKS = 8
"""Blocks that are mapped at the same time; what is alive of each is at most five of its size."""


@dataclass
class Moments:
    """Moments of a set of rows.

    Attributes
    ----------
    count : int
        Number of rows.
    origin, offset : ndarray of shape (n_features,)
        Their sum is the mean; `origin` is one of the rows.
    scatter : ndarray of shape (n_features, n_features)
        Sum of outer products about the mean.
    third : ndarray of shape (n_features,)
        Sum of ``|y|^2 y`` about the mean.
    fourth : float
        Sum of ``|y|^4`` about the mean.
    """

    count: int
    origin: Doubles
    offset: Doubles
    scatter: Doubles
    third: Doubles
    fourth: float

    @classmethod
    def empty(cls, n_features: int) -> Moments:
        """Return the moments of no rows."""
        zeros = np.zeros(n_features)
        scatter = np.zeros((n_features, n_features))
        return cls(0, zeros, zeros.copy(), scatter, zeros.copy(), 0.0)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.origin)

    @property
    def mean(self) -> Doubles:
        """Mean row, shape (n_features,)."""
        return self.origin + self.offset

    def copy(self) -> Moments:
        """Return moments that share no memory with these."""
        return Moments(
            self.count,
            self.origin.copy(),
            self.offset.copy(),
            self.scatter.copy(),
            self.third.copy(),
            self.fourth,
        )

    def merge(self, other: Moments) -> None:
        """Add the rows behind `other` to these, in place."""
        if other.count == 0:
            return
        if self.count == 0:
            self.__dict__.update(other.copy().__dict__)
            return
        n = self.count + other.count
        gap = (other.origin - self.origin) + (other.offset - self.offset)
        to_self, to_other = -gap * (other.count / n), gap * (self.count / n)
        third_a, fourth_a = self._higher_about(to_self)
        third_b, fourth_b = other._higher_about(to_other)
        self.scatter += other.scatter
        self.scatter += np.outer(gap, gap) * (self.count * (other.count / n))
        self.third, self.fourth = third_a + third_b, fourth_a + fourth_b
        self.offset = self.offset - to_self
        self.count = n

    def _higher_about(self, shift: Doubles) -> tuple[Doubles, float]:
        """Return third and fourth moments of the rows y_i + `shift` (the y_i sum to zero)."""
        length2 = float(shift @ shift)
        trace = float(np.trace(self.scatter))
        pulled = self.scatter @ shift
        third = self.third + 2 * pulled + (trace + self.count * length2) * shift
        fourth = self.fourth + 4 * float(shift @ self.third) + 4 * float(shift @ pulled)
        fourth += 2 * length2 * trace + self.count * length2**2
        return third, fourth

    def ledoit_wolf_shrinkage(self) -> float:
        """Return the share of the scaled identity in the Ledoit-Wolf covariance, in [0, 1].

        It is min(b, d) / d, where d = ``|C - (tr C / p) I|^2`` is the distance of the covariance
        C = S / n from the target, and b = (q / n - ``|C|^2``) / n estimates the variance of C
        (Frobenius norms).
        """
        if self.n_features == 1:
            return 0.0  # the target is the covariance itself
        norm2 = float(np.vdot(self.scatter, self.scatter)) / self.count**2
        trace = float(np.trace(self.scatter)) / self.count
        distance = norm2 - trace**2 / self.n_features
        error = min((self.fourth / self.count - norm2) / self.count, distance)
        return error / distance if error > 0 else 0.0


def pool(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all rows behind one or more `parts`, which are left as they are."""
    total = parts[0].copy()
    for part in parts[1:]:
        total.merge(part)
    return total


def accumulate(X: NDArray[Any], rows: NDArray[np.intp] | None) -> Moments:
    """Return the moments of the given rows of `X`, reading a block of them at a time.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Any real dtype and memory order; a memory map is never loaded whole.
    rows : ndarray of shape (n_rows,) or None
        Which rows to read, None for all.

    Raises
    ------
    InputError
        If a row holds NaN, infinity, or values whose fourth power leaves float64.
    """
    n_rows = X.shape[0] if rows is None else len(rows)
    if n_rows == 0:
        return Moments.empty(X.shape[1])
    sums = _core.MomentSums(X.shape[1])
    try:
        if is_native(X):
            numbers = None if rows is None else rows.astype(np.int64, copy=False)
            sums.add(cast("Floats", X), numbers, None)
        else:
            for start in range(0, n_rows, sums.block_rows):
                place = slice(start, min(start + sums.block_rows, n_rows))
                sums.add(native_floats(_block(X, rows, place)), None, None)
    except ValueError as error:
        raise _not_finite(X, rows, n_rows) from error
    return Moments(n_rows, *sums.arrays())


def _block(X: NDArray[Any], rows: NDArray[np.intp] | None, place: slice) -> NDArray[Any]:
    return X[place] if rows is None else X[rows[place]]


def row_blocks(n_rows: int, n_features: int) -> Iterator[slice]:
    """Yield consecutive slices of at most 32 MiB of float64, whatever the source's dtype."""
    step = max(_MIN_BLOCK_ROWS, min(CHUNK_ROWS, _BLOCK_VALUES // max(1, n_features)))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def for_blocks(function: Callable[[slice], None], n_rows: int, n_features: int) -> None:
    """Call a function for every block of rows, on several threads and with one of BLAS for each.

    Products of BLAS have other bits for another number of its threads, on some CPUs.
    """
    with one_thread():
        n_threads = min(os.cpu_count() or 1, MOST_BLOCKS)
        on_threads(function, row_blocks(n_rows, n_features), n_threads)


def finite_block(X: NDArray[Any], place: slice) -> Doubles:
    """Return rows `place` of `X` as a new float64 array, or raise InputError if not finite."""
    block = np.array(X[place], dtype=np.float64, order="C")
    if not np.isfinite(block).all():
        raise _not_finite(X, np.arange(place.start, place.stop), len(block))
    return block


def empty_output(rows: NDArray[Any], width: int) -> Floats:
    """Return an array for what becomes of `rows`: float64 for float64, float32 for all else."""
    if rows.dtype.kind == "f" and rows.dtype.itemsize >= 8:
        return np.empty((len(rows), width), dtype=np.float64)
    return np.empty((len(rows), width), dtype=np.float32)


def _not_finite(X: NDArray[Any], rows: NDArray[np.intp] | None, n_rows: int) -> InputError:
    """Say which is the first value among the given rows that is not finite."""
    for place in row_blocks(n_rows, X.shape[1]):
        block = _block(X, rows, place)
        bad = np.argwhere(~np.isfinite(block))
        if len(bad):
            row, column = bad[0]
            kind = "NaN" if np.isnan(block[row, column]) else "infinity"
            number = place.start + row if rows is None else rows[place.start + row]
            return InputError(
                f"X contains NaN or infinity (inf): first {kind} in row {number}, column {column}"
            )
    return InputError("X contains values too large for float64 statistics (beyond 1e75)")
