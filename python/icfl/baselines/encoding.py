"""Dense codes made sparse: scores of a piece of rows, of which the largest in magnitude stay.

Scores are computed in float64 and rounded once, so a code is the float64 answer for the fitted
float32 arrays to float32 rounding. A piece is a few rows: the scores of all of them, (n, M), never
exist. Pieces depend on shapes alone and each is computed by one thread, so codes have the same bits
for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl._threads import on_threads, one_thread
from icfl._validation import Floats
from icfl.coding.coders import Codes, codes_of, join_codes

__all__ = ["LinearProjection", "by_pieces", "largest"]

PIECE_ROWS = 256
"""Most rows of a piece: enough for a fast product, few enough to be dealt to many threads."""
PIECE_SCORES = 1 << 21
"""Most scores of a piece but for a single row's, 16 MiB in float64."""


def largest(scores: NDArray[np.float32], n_nonzero: int | None) -> Codes:
    """Keep the `n_nonzero` entries of largest magnitude in each row; None keeps all.

    Parameters
    ----------
    scores : ndarray of shape (n, M), float32
        Codes before any is left out.
    n_nonzero : int or None
        Most non-zeros of a row. Ties go to the lower index.

    Returns
    -------
    tuple of ndarray
        Codes in compressed form, without zeros.
    """
    kept = scores != 0
    n_components = scores.shape[1]
    if n_nonzero is not None and n_nonzero < n_components:
        magnitude = np.abs(scores)
        place = n_components - n_nonzero
        last = np.partition(magnitude, place, axis=1)[:, place, None]
        above, tied = magnitude > last, magnitude == last
        room = n_nonzero - above.sum(axis=1, keepdims=True)
        kept &= above | (tied & (np.cumsum(tied, axis=1) <= room))
    indptr = np.zeros(len(scores) + 1, dtype=np.int64)
    np.cumsum(kept.sum(axis=1), out=indptr[1:])
    return indptr, np.nonzero(kept)[1].astype(np.int32), scores[kept]


def by_pieces(
    encode: Callable[[Floats], Codes], X: Floats, n_components: int, n_jobs: int | None
) -> Codes:
    """Encode rows piece by piece, several pieces at a time.

    Parameters
    ----------
    encode : callable
        Gives the codes of some rows.
    X : ndarray of shape (n, d), float32 or float64
        Rows.
    n_components : int
        Number of scores M of a row.
    n_jobs : int or None
        Threads.

    Returns
    -------
    tuple of ndarray
        Codes of all rows in compressed form.
    """
    step = max(1, min(PIECE_ROWS, PIECE_SCORES // n_components))
    pieces = [X[start : start + step] for start in range(0, len(X), step)]
    with one_thread():
        parts = on_threads(encode, pieces, n_jobs)
    return codes_of(join_codes(parts, n_components))


@dataclass(frozen=True, eq=False)
class LinearProjection:
    """Codes z = (x − b) Eᵀ, signed, of which the largest in magnitude stay.

    Attributes
    ----------
    encoder : ndarray of shape (n_components, n_features), float32
        The matrix E.
    n_nonzero : int or None
        Most non-zeros of a row; None keeps all.
    """

    encoder: NDArray[np.float32]
    n_nonzero: int | None
    rounds = 1

    def encode(
        self,
        dictionary: _core.Dictionary,
        X: Floats,
        bias: NDArray[np.float32] | None,
        *,
        use_gram: bool,
        n_jobs: int | None,
    ) -> Codes:
        """Encode by one product; the dictionary is needed for decoding only."""
        matrix = self.encoder.astype(np.float64).T

        def codes(rows: Floats) -> Codes:
            centred = rows.astype(np.float64)
            if bias is not None:
                centred -= bias
            return largest((centred @ matrix).astype(np.float32), self.n_nonzero)

        return by_pieces(codes, X, len(self.encoder), n_jobs)
