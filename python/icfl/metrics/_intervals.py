"""Intervals for balanced accuracies of several classifiers on the same held-out samples.

What is resampled are independent units: held-out groups (plates, donors) where there are any, else
single samples. The statistic is the balanced accuracy of all held-out predictions together,

    theta_r = mean over classes c of  sum_u hits[u, r, c] / sum_u totals[u, c],

and every difference theta_r - theta_s, computed on the same resamples, so that what is hard about a
plate for all representations cancels.

"jackknife" leaves out one unit at a time: with G units and theta_(u) without unit u,

    se^2 = (G - 1) / G * sum_u (theta_(u) - mean theta_(.))^2,   theta +- t_{G - 1} se.

"bootstrap" draws G units with replacement and takes percentiles, which with few units is too
narrow: it knows neither the factor G / (G - 1) nor the tails of t. Shares of 2,000 simulated
screens (standard error 0.5 %) whose 95 % intervals held the truth; two classifiers, 4 classes of 30
samples a plate, plates with random effects of 0.6 and of 0.3 for each classifier, on logits:

    units         jackknife               bootstrap
                  single      difference  single      difference
    6 plates      95, 94 %    95 %        86, 85 %    85 %
    10 plates     94, 93 %    95 %        89, 88 %    91 %
    20 plates     94, 94 %    95 %        92, 92 %    93 %
    50 plates     94, 95 %    95 %        93, 93 %    94 %
    100 samples   95, 95 %    96 %        95, 94 %    95 %

References: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapters 11 and 13;
Cameron, Gelbach and Miller (2008), "Bootstrap-Based Improvements for Inference with Clustered
Errors", Review of Economics and Statistics 90(3), on the few-clusters problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

Interval = Literal["jackknife", "bootstrap"]
Floats = npt.NDArray[np.float64]

# Resamples are weighed in blocks of 2^22 weights (32 MiB).
_BLOCK_WEIGHTS = 1 << 22


@dataclass(frozen=True, eq=False)
class Tallies:
    """Samples and hits by unit and class; units that look alike are kept once.

    Attributes
    ----------
    totals : ndarray of shape (n_kinds, n_classes), float64
        Held-out samples of each class in a unit.
    hits : ndarray of shape (n_kinds, n_classifiers, n_classes), float64
        Those among them that a classifier got right.
    copies : ndarray of shape (n_kinds,), float64
        How many units look like this one.
    """

    totals: Floats
    hits: Floats
    copies: Floats

    @property
    def n_units(self) -> int:
        """How many independent units there are."""
        return int(self.copies.sum())

    @classmethod
    def by_group(
        cls,
        truth: npt.NDArray[np.intp],
        right: npt.NDArray[np.bool_],
        groups: npt.NDArray[np.intp],
        n_classes: int,
    ) -> Tallies:
        """Count by group; `right` is (n_classifiers, n_samples)."""
        _, units = np.unique(groups, return_inverse=True)
        n_units = int(units.max()) + 1
        cells, shape = units * n_classes + truth, (n_units, n_classes)
        count = [np.bincount(cells[row], minlength=n_units * n_classes) for row in right]
        totals = np.bincount(cells, minlength=n_units * n_classes).reshape(shape)
        hits = np.stack([c.reshape(shape) for c in count], axis=1)
        return cls(totals.astype(np.float64), hits.astype(np.float64), np.ones(n_units))

    @classmethod
    def by_sample(
        cls, truth: npt.NDArray[np.intp], right: npt.NDArray[np.bool_], n_classes: int
    ) -> Tallies:
        """Count samples, which are alike if class and all outcomes are the same."""
        patterns = np.packbits(right, axis=0)
        keys = np.vstack([truth.astype(np.int64), patterns.astype(np.int64)])
        _, first, copies = np.unique(keys, axis=1, return_index=True, return_counts=True)
        totals = (truth[first][:, None] == np.arange(n_classes)).astype(np.float64)
        hits = totals[:, None, :] * right[:, first].T[:, :, None]
        return cls(totals, hits, copies.astype(np.float64))


def balanced_accuracies(tallies: Tallies) -> Floats:
    """Return the balanced accuracy of each classifier over all units."""
    return _mean_share(*_sums(tallies))


def paired_intervals(
    tallies: Tallies,
    interval: Interval,
    confidence_level: float,
    n_resamples: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Return the ends of the intervals of each balanced accuracy and of each paired difference.

    Returns
    -------
    single : ndarray of shape (2, n_classifiers)
        Low and high ends, within [0, 1].
    paired : ndarray of shape (2, n_classifiers, n_classifiers)
        Those of row minus column, within [-1, 1].
    """
    if interval == "jackknife":
        ends = _jackknife(tallies, confidence_level)
    else:
        ends = _percentiles(tallies, confidence_level, n_resamples, rng)
    n = tallies.hits.shape[1]
    paired = np.zeros((2, n, n))
    first, second = np.triu_indices(n, 1)
    low, high = ends[:, n:].clip(-1.0, 1.0)
    paired[:, first, second] = low, high
    paired[:, second, first] = -high, -low
    return ends[:, :n].clip(0.0, 1.0), paired


def _jackknife(tallies: Tallies, confidence_level: float) -> Floats:
    totals, hits = _sums(tallies)
    without = _with_differences(_mean_share(totals - tallies.totals, hits - tallies.hits))
    n_units, weights = tallies.n_units, tallies.copies[:, None]
    centred = without - (weights * without).sum(axis=0) / n_units
    error = np.sqrt((n_units - 1) / n_units * (weights * centred**2).sum(axis=0))
    reach = student.ppf(0.5 + confidence_level / 2, n_units - 1) * error
    estimate = _with_differences(_mean_share(totals, hits))
    return np.stack([estimate - reach, estimate + reach])


def _percentiles(
    tallies: Tallies, confidence_level: float, n_resamples: int, rng: np.random.Generator
) -> Floats:
    drawn = np.concatenate(list(_resampled(tallies, n_resamples, rng)))
    tail = (1 - confidence_level) / 2
    return np.quantile(_with_differences(drawn), [tail, 1 - tail], axis=0)


def _resampled(tallies: Tallies, n_resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    n_units, n_kinds = tallies.n_units, len(tallies.copies)
    flat = tallies.hits.reshape(n_kinds, -1)
    step = max(1, _BLOCK_WEIGHTS // n_kinds)
    for start in range(0, n_resamples, step):
        size = min(step, n_resamples - start)
        weights = rng.multinomial(n_units, tallies.copies / n_units, size=size).astype(np.float64)
        yield _mean_share(
            weights @ tallies.totals, (weights @ flat).reshape(size, *tallies.hits.shape[1:])
        )


def _sums(tallies: Tallies) -> tuple[Floats, Floats]:
    totals = np.einsum("u,uc->c", tallies.copies, tallies.totals)
    return totals, np.einsum("u,urc->rc", tallies.copies, tallies.hits)


def _mean_share(totals: Floats, hits: Floats) -> Floats:
    """Return (..., n_classifiers) from (..., n_classes) and (..., n_classifiers, n_classes).

    A class of which a resample has no sample does not count there.
    """
    present = totals > 0
    shares = np.divide(
        hits, totals[..., None, :], where=present[..., None, :], out=np.zeros_like(hits)
    )
    result: Floats = shares.sum(axis=-1) / present.sum(axis=-1)[..., None]
    return result


def _with_differences(values: Floats) -> Floats:
    """Append the difference of every pair of the last axis, first minus second."""
    first, second = np.triu_indices(values.shape[-1], 1)
    return np.concatenate([values, values[..., first] - values[..., second]], axis=-1)
