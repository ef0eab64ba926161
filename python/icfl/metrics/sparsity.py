"""How sparse codes are: active features per sample, samples per feature, dead features.

A feature is active on a sample where its code is not zero, whatever its sign. A zero that happens
to be stored in a sparse array is not active.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl._validation import check_number
from icfl.exceptions import InputError
from icfl.metrics._inputs import count_active


class ActivityStats:
    """Counts of active features over a stream of codes, mergeable.

    Attributes
    ----------
    n_samples : int
        Rows seen so far.
    counts : ndarray of shape (n_components,), int64
        On how many of them each feature was active. Empty before the first update.

    Examples
    --------
    >>> from icfl.metrics import ActivityStats
    >>> stats = ActivityStats().update([[0.0, 1.5], [2.0, -1.0]]).update([[0.0, 0.0], [0.0, 3.0]])
    >>> stats.l0, stats.density.tolist(), stats.dead_fraction(0.5)
    (1.0, [0.25, 0.75], 0.5)
    """

    def __init__(self) -> None:
        self.n_samples = 0
        self.counts: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def update(self, Z: Any) -> ActivityStats:
        """Add the rows of codes Z, (n_samples, n_components), sparse or dense; return self."""
        added = ActivityStats()
        added.counts = count_active(Z)[0]
        added.n_samples = Z.shape[0] if sparse.issparse(Z) else len(Z)
        return self.merge(added)

    def merge(self, other: ActivityStats) -> ActivityStats:
        """Add everything `other` has seen; `other` is left as it is.

        Raises
        ------
        InputError
            If the two have seen different numbers of components.
        """
        if other.n_samples == 0:
            return self
        if self.n_samples and self.counts.shape != other.counts.shape:
            widths = f"{self.counts.size} and {other.counts.size}"
            raise InputError(f"codes must keep the same n_components, got {widths}")
        self.counts = self.counts + other.counts if self.n_samples else other.counts.copy()
        self.n_samples += other.n_samples
        return self

    @property
    def l0(self) -> float:
        """Mean number of active features per sample."""
        return float(self.counts.sum() / self._seen())

    @property
    def density(self) -> npt.NDArray[np.float64]:
        """Share of the samples on which each feature is active, (n_components,)."""
        return self.counts / self._seen()

    def dead_fraction(self, threshold: float = 1e-5) -> float:
        """Share of the features with density below `threshold`."""
        check_number(threshold, "threshold", low=0.0, high=1.0)
        return float(np.mean(self.density < threshold))

    def _seen(self) -> int:
        if self.n_samples == 0:
            raise InputError("ActivityStats has seen no samples; call update first")
        return self.n_samples

    def __repr__(self) -> str:
        return f"ActivityStats(n_samples={self.n_samples}, n_components={self.counts.size})"


def l0(Z: Any) -> float:
    """Mean number of active features per sample.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes.

    Returns
    -------
    float

    Raises
    ------
    InputError, InputTypeError
        If Z is empty, not 2-D, or has a value that is not a finite real number.

    Examples
    --------
    >>> from icfl.metrics import l0
    >>> l0([[0.0, 1.5, 0.0], [2.0, -1.0, 0.5]])
    2.0
    """
    return ActivityStats().update(Z).l0


def density(Z: Any) -> npt.NDArray[np.float64]:
    """Share of the samples on which each feature is active.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes.

    Returns
    -------
    ndarray of shape (n_components,), float64

    Raises
    ------
    InputError, InputTypeError
        If Z is empty, not 2-D, or has a value that is not a finite real number.

    Examples
    --------
    >>> from icfl.metrics import density
    >>> density([[0.0, 1.5, 0.0], [2.0, -1.0, 0.0]]).tolist()
    [0.5, 1.0, 0.0]
    """
    return ActivityStats().update(Z).density


def dead_fraction(Z: Any, threshold: float = 1e-5) -> float:
    """Share of the features that are active on less than `threshold` of the samples.

    With fewer than 1 / threshold samples this is the share of features that are never active: a
    rare feature and a dead one differ only on enough data.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes of the window over which features are judged.
    threshold : float, default=1e-5
        Density below which a feature counts as dead, from 0 to 1.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    InputError, InputTypeError
        If Z is empty, not 2-D, or not finite, or `threshold` is out of range.

    References
    ----------
    Donhauser et al. (2025), "Towards scientific discovery with dictionary learning", PMLR 267: the
    threshold of 1e-5.

    Examples
    --------
    >>> from icfl.metrics import dead_fraction
    >>> dead_fraction([[0.0, 1.5, 0.0, 1.0], [2.0, -1.0, 0.0, 0.0]])
    0.25
    """
    return ActivityStats().update(Z).dead_fraction(threshold)
