"""Which features are active in a label more often than elsewhere: odds ratios with p-values.

Samples with a label against all others, active (z != 0) against not, are a 2 x 2 table

                 active   not
    label          a       b
    others         c       d

for every feature and label. Without groups, with 1/2 added to every cell (Haldane 1956, Anscombe
1956; so that empty cells give finite numbers),

    log odds ratio = log(a d / (b c)),   standard error = sqrt(1/a + 1/b + 1/c + 1/d)

and the p-value is Fisher's, one-sided: the chance of a or more active samples in the label when
the margins stay. Plates on which both the label and the feature are frequent look like enrichment;
with groups g of n_g samples, tables are compared within groups only (Mantel and Haenszel 1959):

    common odds ratio = (sum_g a_g d_g / n_g) / (sum_g b_g c_g / n_g)

with the standard error of its logarithm by Robins, Breslow and Greenland (1986), and the p-value is
that of the Cochran-Mantel-Haenszel test, one-sided and with the correction for continuity.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from icfl._frames import data_frame
from icfl._validation import check_number
from icfl.exceptions import InputError
from icfl.metrics._inputs import as_codes, count_active
from icfl.metrics._labels import encode_labels

_Floats = npt.NDArray[np.float64]

# Tables at a time: the dozen temporaries of a block stay below 100 MiB.
_BLOCK_TABLES = 1 << 20


@dataclass(frozen=True, eq=False)
class Enrichment:
    """Odds ratios of activity in labels against the rest; all matrices are features by labels.

    Attributes
    ----------
    log_odds : ndarray of shape (n_components, n_labels), float64
        Logarithms of the odds ratios. With groups, infinite where a sum is empty, NaN where both
        are.
    low, high : ndarray of shape (n_components, n_labels), float64
        Ends of their intervals; NaN where the common odds ratio is 0, infinite or unknown.
    p_values : ndarray of shape (n_components, n_labels), float64
        One-sided: small where the feature is active more often in the label.
    q_values : ndarray of shape (n_components, n_labels), float64
        Benjamini and Hochberg's, over all features and labels.
    n_active : ndarray of shape (n_components, n_labels), int64
        Samples of the label on which the feature is active.
    labels : ndarray of shape (n_labels,)
        The label of each column, sorted.
    n_samples : ndarray of shape (n_labels,), int64
        How many samples carry each label.
    test : {"fisher", "cmh"}
    """

    log_odds: _Floats
    low: _Floats
    high: _Floats
    p_values: _Floats
    q_values: _Floats
    n_active: npt.NDArray[np.int64]
    labels: npt.NDArray[Any]
    n_samples: npt.NDArray[np.int64]
    test: Literal["fisher", "cmh"]

    @property
    def odds_ratios(self) -> _Floats:
        """The odds ratios themselves, (n_components, n_labels)."""
        return np.exp(self.log_odds)

    def to_frame(self, max_q: float = 1.0) -> Any:
        """Return a pandas DataFrame with a row per feature and label with q <= `max_q`.

        Smallest q first; among equal ones smallest p, then largest log odds ratio.
        """
        keep = np.flatnonzero(self.q_values.ravel() <= max_q)
        q, p = self.q_values.ravel()[keep], self.p_values.ravel()[keep]
        order = keep[np.lexsort((-self.log_odds.ravel()[keep], p, q))]
        features, columns = np.divmod(order, len(self.labels))
        taken = {
            name: getattr(self, name).ravel()[order]
            for name in ("n_active", "log_odds", "low", "high", "p_values", "q_values")
        }
        return data_frame(
            {
                "feature": features,
                "label": self.labels[columns],
                "n_active": taken["n_active"],
                "n_samples": self.n_samples[columns],
                "log_odds": taken["log_odds"],
                "low": taken["low"],
                "high": taken["high"],
                "p_value": taken["p_values"],
                "q_value": taken["q_values"],
            }
        )

    def __repr__(self) -> str:
        n_components, n_labels = self.log_odds.shape
        return f"Enrichment({self.test!r}, n_components={n_components}, n_labels={n_labels})"


def enrichment(
    Z: Any,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Enrichment:
    """Odds ratios of activity in each label against the rest, with intervals, p- and q-values.

    Parameters
    ----------
    Z : array-like, scipy.sparse matrix or torch.Tensor of shape (n_samples, n_components)
        Codes. Sparse codes stay sparse.
    labels : array-like of shape (n_samples,)
        Strings, numbers or dates. Rows without one (None, NaN, "") are left out.
    groups : array-like of shape (n_samples,), optional
        What is compared only within itself: plates, experiments, donors. A group without the label,
        or with nothing else, says nothing about that label.
    confidence : float, default=0.95
        Coverage of the intervals, which are normal on the scale of logarithms.

    Returns
    -------
    Enrichment
        With `.log_odds`, `.low`, `.high`, `.p_values`, `.q_values`, each (n_components, n_labels),
        `.labels` and `.to_frame()`.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, codes are not finite real numbers, fewer than two labels are present, a
        row has a label and no group, or `confidence` is not between 0 and 1.

    See Also
    --------
    selectivity : the difference of the shares instead of the ratio of the odds.
    feature_auroc : takes how active a feature is into account.

    Notes
    -----
    p-values take samples within a group to be independent. Cells of one well are not: aggregate
    them first (`icfl.aggregate`).

    References
    ----------
    Fisher (1935). Mantel and Haenszel (1959), JNCI 22:719-748. Robins, Breslow and Greenland
    (1986), Biometrics 42:311-323. Benjamini and Hochberg (1995), JRSS B 57:289-300.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import enrichment
    >>> Z = np.array([[1.0, 0.0], [2.0, 1.0], [1.0, 0.0], [0.0, 3.0], [0.0, 0.0], [0.0, 0.0]])
    >>> result = enrichment(Z, ["HeLa"] * 3 + ["U2OS"] * 3)
    >>> result.labels.tolist(), result.log_odds.round(2).tolist()
    (['HeLa', 'U2OS'], [[3.89, -3.89], [0.0, 0.0]])
    >>> result.p_values.round(2).tolist()
    [[0.05, 1.0], [0.8, 0.8]]
    """
    level = check_number(confidence, "confidence", low=0.0, high=1.0, closed=False)
    codes = as_codes(Z)
    numbers, names = encode_labels(labels, codes.shape[0])
    if len(names) < 2:
        raise InputError(f"labels must have at least two values, got {names.tolist()}")
    totals = np.bincount(numbers[numbers >= 0], minlength=len(names)).astype(np.int64)
    active = count_active(codes, numbers, len(names))
    if groups is None:
        log_odds, errors, p_values = _single(active, totals)
    else:
        log_odds, errors, p_values = _stratified(codes, numbers, len(names), groups)
    width = stats.norm.isf((1 - level) / 2) * errors
    known = np.isfinite(log_odds)
    low, high = (np.where(known, log_odds + side * width, np.nan) for side in (-1.0, 1.0))
    q_values = stats.false_discovery_control(p_values.ravel()).reshape(p_values.shape)
    return Enrichment(
        log_odds=log_odds.T,
        low=low.T,
        high=high.T,
        p_values=p_values.T,
        q_values=q_values.T,
        n_active=active.T,
        labels=names,
        n_samples=totals,
        test="fisher" if groups is None else "cmh",
    )


# Matrices from here on are labels by features, as the counts are.


def _single(
    active: npt.NDArray[np.int64], totals: npt.NDArray[np.int64]
) -> tuple[_Floats, _Floats, _Floats]:
    """Return log odds ratios, their standard errors and Fisher's p-values."""
    log_odds, errors, p_values = np.empty((3, *active.shape))
    for a, b, c, d, place in _tables(active, totals):
        a_half, b_half, c_half, d_half = a + 0.5, b + 0.5, c + 0.5, d + 0.5
        log_odds[place] = np.log(a_half) + np.log(d_half) - np.log(b_half) - np.log(c_half)
        errors[place] = np.sqrt(1 / a_half + 1 / b_half + 1 / c_half + 1 / d_half)
        n_samples, n_active, n_label = a + b + c + d, a + c, a + b
        p_values[place] = stats.hypergeom.sf(a - 1, n_samples, n_active, n_label)
    return log_odds, errors, np.clip(p_values, 0.0, 1.0)


def _tables(active: npt.NDArray[np.int64], totals: npt.NDArray[np.int64]) -> Any:
    """Yield the cells a, b, c, d of blocks of labels, and the block's place."""
    everywhere, n_samples = active.sum(axis=0), totals.sum()
    step = max(1, _BLOCK_TABLES // active.shape[1])
    for start in range(0, len(totals), step):
        place = slice(start, start + step)
        a, n_label = active[place], totals[place, None]
        b, c = n_label - a, everywhere - a
        yield a, b, c, n_samples - n_label - c, place


class _StrataSums:
    """Sums over groups, each (n_labels, n_components); names as in Robins et al. (1986)."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.r, self.s, self.pr, self.ps_qr, self.qs, self.excess, self.variance = np.zeros(
            (7, *shape)
        )

    def add(self, active: npt.NDArray[np.int64], totals: npt.NDArray[np.int64]) -> None:
        n_samples = float(totals.sum())
        for a, b, c, d, place in _tables(active, totals):
            r, s = a * (d / n_samples), b * (c / n_samples)
            p, q = (a + d) / n_samples, (b + c) / n_samples
            self.r[place] += r
            self.s[place] += s
            self.pr[place] += p * r
            self.ps_qr[place] += p * s + q * r
            self.qs[place] += q * s
            # a - E(a) = (a d - b c) / n, without the difference of two large numbers.
            self.excess[place] += r - s
            if n_samples > 1:
                label, on = (a + b) / n_samples, (a + c) / n_samples
                self.variance[place] += label * ((c + d) * on) * ((b + d) / (n_samples - 1))

    def finish(self) -> tuple[_Floats, _Floats, _Floats]:
        """Return log odds ratios, their standard errors and one-sided p-values."""
        with np.errstate(divide="ignore", invalid="ignore"):
            log_odds = np.log(self.r) - np.log(self.s)
            of_log = (
                self.pr / (2 * self.r**2)
                + self.ps_qr / (2 * self.r * self.s)
                + self.qs / (2 * self.s**2)
            )
            short = np.minimum(0.5, np.abs(self.excess))
            z = (self.excess - np.copysign(short, self.excess)) / np.sqrt(self.variance)
        # No group in which anything could differ: nothing speaks against chance.
        p_values = np.where(self.variance > 0, stats.norm.sf(z), 1.0)
        return log_odds, np.sqrt(of_log), p_values


def _stratified(
    codes: Any, numbers: npt.NDArray[np.intp], n_labels: int, groups: npt.ArrayLike
) -> tuple[_Floats, _Floats, _Floats]:
    """Return common log odds ratios, their standard errors and p-values, group by group."""
    strata, names = encode_labels(groups, codes.shape[0], "groups")
    unknown = int(np.count_nonzero((strata < 0) & (numbers >= 0)))
    if unknown:
        raise InputError(f"groups must be known for every labelled row, {unknown} are missing")
    strata = np.where(numbers >= 0, strata, -1)
    order = np.argsort(strata, kind="stable")
    bounds = np.searchsorted(strata[order], np.arange(len(names) + 1))
    sums = _StrataSums((n_labels, codes.shape[1]))
    for start, stop in pairwise(bounds.tolist()):
        rows = np.sort(order[start:stop])
        if len(rows):
            block = codes[rows] if sparse.issparse(codes) else np.asarray(codes[rows])
            own = numbers[rows]
            active = count_active(block, own, n_labels)
            sums.add(active, np.bincount(own, minlength=n_labels).astype(np.int64))
    return sums.finish()
