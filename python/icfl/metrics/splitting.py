"""Splitting: several latents share one true feature, each on its own samples.

Candidates for a feature f are the latents whose atom has at least a given cosine with that of f.
They are taken one by one, always the one that covers (fires on) most of the samples of f that are
not covered yet, as long as it adds a share `gain` of them all. How many are taken is how many
latents the feature needs: 0 where it is missed, 1 where one latent does, 2 and more where it is
split.

Reference: Chanin et al. (2024), "A is for absorption: studying feature splitting and absorption in
sparse autoencoders", arXiv:2409.14507.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icfl._validation import check_choice, check_number
from icfl.exceptions import InputError
from icfl.metrics._inputs import row_blocks
from icfl.metrics._matching import Sign
from icfl.metrics._true_codes import Truth, check_truth
from icfl.metrics.similarity import unit_rows

_Vector = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]
_Flags = npt.NDArray[np.bool_]

_BLOCK_VALUES = 1 << 22  # cosines looked at together, 32 MiB


@dataclass(frozen=True, eq=False)
class Splitting:
    """What `feature_splitting` returns.

    Attributes
    ----------
    n_latents : ndarray of shape (n_true,), int64
        Latents that each feature needs; -1 for features that never fire in the sample.
    coverage : ndarray of shape (n_true,), float64
        Share of a feature's samples on which one of these latents fires; NaN if there are none.
    overlap : ndarray of shape (n_true,), float64
        Share of the covered samples on which more than one of them fires: 0 if they divide the
        feature between them. NaN without any.
    n_candidates : ndarray of shape (n_true,), int64
        Latents with the cosine that is asked for, also those that add nothing.
    """

    n_latents: npt.NDArray[np.int64]
    coverage: _Vector
    overlap: _Vector
    n_candidates: npt.NDArray[np.int64]

    @property
    def split(self) -> float:
        """Share of the features with a latent that need two or more; NaN if none has one."""
        found = self.n_latents > 0
        return float(np.mean(self.n_latents[found] > 1)) if found.any() else float("nan")

    @property
    def mean(self) -> float:
        """Mean number of latents of the features that have any; NaN if none has."""
        found = self.n_latents > 0
        return float(self.n_latents[found].mean()) if found.any() else float("nan")

    def __repr__(self) -> str:
        found = int(np.count_nonzero(self.n_latents > 0))
        return f"Splitting(mean={self.mean:.3f}, split={self.split:.3f} of {found} features)"


def feature_splitting(
    Z: Any,
    components: npt.ArrayLike,
    Z_true: Any,
    components_true: npt.ArrayLike,
    *,
    min_cosine: float = 0.5,
    gain: float = 0.1,
    sign: Sign = "signed",
) -> Splitting:
    """How many latents each true feature needs, because they share its samples.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_latents)
        Learnt codes.
    components : array-like of shape (n_latents, n_features)
        Learnt atoms.
    Z_true : array-like or scipy.sparse matrix of shape (n_samples, n_true)
        True codes of the same samples.
    components_true : array-like of shape (n_true, n_features)
        True atoms.
    min_cosine : float, default=0.5
        Smallest cosine with the feature's atom for a latent to be a candidate.
    gain : float, default=0.1
        Smallest share of the feature's samples, in (0, 1], that a latent has to add.
    sign : {"signed", "absolute"}, default="signed"
        As in `recovery`.

    Returns
    -------
    Splitting

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, a value is not a finite real number, or an option is out of range.

    See Also
    --------
    feature_absorption : parents that their children's latents speak for.

    Notes
    -----
    Copies of a latent that fire together add nothing and are not counted: they are the
    ``duplicates`` of `recovery`. A parent that is absorbed is split as well, between its own latent
    and those that absorb it.

    References
    ----------
    .. [1] Chanin et al. (2024), "A is for absorption", arXiv:2409.14507.

    Examples
    --------
    Two latents with the same atom divide the samples of one feature.

    >>> from icfl.metrics import feature_splitting
    >>> Z = [[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]
    >>> atoms = [[1.0, 0.1], [1.0, -0.1]]
    >>> found = feature_splitting(Z, atoms, [[1.0], [2.0], [3.0]], [[1.0, 0.0]])
    >>> found.n_latents.tolist(), found.coverage.tolist(), found.overlap.tolist()
    ([2], [1.0], [0.0])
    """
    check_choice(sign, "sign", ("signed", "absolute"))
    check_number(min_cosine, "min_cosine", low=-1.0, high=1.0)
    if check_number(gain, "gain", low=0.0, high=1.0) == 0.0:
        raise InputError("gain must be above 0, got 0")
    truth = check_truth(Z, components, Z_true, components_true, sign)
    learnt, true = truth.Z.tocsc(), truth.Z_true.tocsc()
    n_true = len(truth.atoms_true)
    n_latents, n_candidates = np.zeros((2, n_true), dtype=np.int64)
    coverage, overlap = np.zeros(n_true), np.full(n_true, np.nan)
    for feature, candidates in _candidates(truth, min_cosine, sign):
        samples = _rows_of(true, feature)
        n_candidates[feature] = len(candidates)
        if len(samples) and len(candidates):
            hits = [np.isin(samples, _rows_of(learnt, m), assume_unique=True) for m in candidates]
            times = _cover(hits, gain * len(samples))
            n_latents[feature], covered = times[0], times[1] > 0
            coverage[feature] = covered.mean()
            if covered.any():
                overlap[feature] = np.mean(times[1][covered] > 1)
    unseen = np.diff(true.indptr) == 0
    n_latents[unseen], coverage[unseen] = -1, np.nan
    return Splitting(n_latents, coverage, overlap, n_candidates)


def _candidates(truth: Truth, min_cosine: float, sign: Sign) -> Iterator[tuple[int, _Indices]]:
    """Yield every feature with the latents that are close enough to it, in order."""
    learnt = unit_rows(truth.atoms, "components").T
    for block in row_blocks((len(truth.atoms_true), learnt.shape[1]), _BLOCK_VALUES):
        cosines = unit_rows(truth.atoms_true[block], "components_true") @ learnt
        close = (np.abs(cosines) if sign == "absolute" else cosines) >= min_cosine
        for place, row in enumerate(close):
            yield block.start + place, np.flatnonzero(row)


def _rows_of(codes: Any, column: int) -> npt.NDArray[Any]:
    rows: npt.NDArray[Any] = codes.indices[codes.indptr[column] : codes.indptr[column + 1]]
    return rows


def _cover(hits: list[_Flags], least: float) -> tuple[int, npt.NDArray[np.int64]]:
    """Return how many sets are taken greedily, and how many of them hold each sample."""
    times = np.zeros(len(hits[0]), dtype=np.int64)
    left, taken = list(hits), 0
    while left:
        added = [int(np.count_nonzero(hit & (times == 0))) for hit in left]
        best = int(np.argmax(added))
        if added[best] == 0 or added[best] < least:
            break
        times += left.pop(best)
        taken += 1
    return taken, times
