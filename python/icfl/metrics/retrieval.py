"""Whether profiles of one perturbation find each other: mean average precision.

Every profile is a query. All profiles that count as positive (same label) or negative (other
labels, or controls) are ranked by their cosine with it, and with P positives at ranks k_1 < ... <
k_P

    AP = 1/P sum_i i / k_i,        mAP of a label = mean AP of its profiles

(Kalinin et al. 2025). Codes are sparse, and many cosines are exactly zero; among ties the order is
chance, so that AP is the mean over all orders of ties (McSherry and Najork 2008). The package
copairs, which this otherwise follows, puts positives first among ties: there profiles of zeros
are perfectly consistent, here they are at the mean of random rankings,

    E(AP) = ((P - 1) / (L - 1) (L - H_L) + H_L) / L,   L ranked, H_L the L-th harmonic number

p-values compare with random rankings of as many positives and negatives. As in copairs, queries
with equal numbers share a random ranking, as if all profiles of a label had the same neighbours:
the null is wider than that of independent rankings.

References: Kalinin et al. (2025), "A versatile information retrieval framework for evaluating
profile strength and similarity", Nature Communications 16. McSherry and Najork (2008), "Computing
information retrieval performance measures efficiently in the presence of tied scores", ECIR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.utils import check_random_state

from icfl._frames import data_frame
from icfl._validation import check_count
from icfl.exceptions import InputError
from icfl.metrics._labels import encode_labels
from icfl.metrics._profiles import Integers, allowed, constraint_codes, cosine_blocks, unit_profiles

_Floats = npt.NDArray[np.float64]

# Below any difference that matters, above the rounding of means of quotients: equal is not less.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class MeanAveragePrecision:
    """Mean average precision of labels; `np.asarray` of it gives the values.

    Attributes
    ----------
    values : ndarray of shape (n_labels,), float64
        Mean over the label's queries; NaN where none has both positives and negatives.
    normalized : ndarray of shape (n_labels,), float64
        Mean of (AP - E(AP)) / (1 - E(AP)): 0 for random rankings, 1 for perfect ones, whatever the
        numbers of positives and negatives.
    p_values : ndarray of shape (n_labels,), float64
        Share of random rankings at least as good, the observed one included.
    q_values : ndarray of shape (n_labels,), float64
        Benjamini and Hochberg's, over the labels that have a p-value.
    labels : ndarray of shape (n_labels,)
        Sorted.
    n_queries : ndarray of shape (n_labels,), int64
        Profiles behind each mean.
    average_precision : ndarray of shape (n_samples,), float64
        Of every profile; NaN where it is no query or lacks positives or negatives.
    n_positive, n_negative : ndarray of shape (n_samples,), int64
        What each profile was ranked against.
    """

    values: _Floats
    normalized: _Floats
    p_values: _Floats
    q_values: _Floats
    labels: npt.NDArray[Any]
    n_queries: npt.NDArray[np.int64]
    average_precision: _Floats
    n_positive: npt.NDArray[np.int64]
    n_negative: npt.NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean over the labels that have a value."""
        return float(np.nanmean(self.values))

    def recall(self, q: float = 0.05) -> float:
        """Share of the labels with a value that are told from random at q-values up to `q`."""
        known = ~np.isnan(self.values)
        return float(np.mean(self.q_values[known] <= q))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        values = self.values if dtype is None else self.values.astype(dtype, copy=False)
        return values.copy() if copy else values

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row per label, highest value first, NaN last."""
        order = np.argsort(-self.values, kind="stable")
        columns = {
            "label": self.labels,
            "mean_average_precision": self.values,
            "normalized": self.normalized,
            "p_value": self.p_values,
            "q_value": self.q_values,
            "n_queries": self.n_queries,
        }
        return data_frame({name: column[order] for name, column in columns.items()})

    def __repr__(self) -> str:
        return f"MeanAveragePrecision({self.mean:.3f}, n_labels={len(self.labels)})"


def mean_average_precision(
    profiles: Any,
    labels: npt.ArrayLike,
    *,
    control: npt.ArrayLike | None = None,
    pos_diffby: Any = None,
    neg_sameby: Any = None,
    neg_diffby: Any = None,
    null_size: int = 10_000,
    random_state: int | np.random.RandomState | None = None,
) -> MeanAveragePrecision:
    """Mean average precision of every label: do its profiles rank above others, by cosine?

    Parameters
    ----------
    profiles : array-like, scipy.sparse matrix or torch.Tensor of shape (n_samples, n_features)
        Dense profiles or codes; codes stay sparse. Best one row a well: see `icfl.aggregate`.
    labels : array-like of shape (n_samples,)
        Perturbations. Rows without one (None, NaN, "") take no part.
    control : array-like of shape (n_samples,), bool, optional
        Controls, which need no label. Then they are the only negatives, and no queries ("phenotypic
        activity"); without, all other labels are ("phenotypic distinctiveness").
    pos_diffby : array-like of shape (n_samples,), or mapping or DataFrame of such, optional
        Positives must differ from the query in each of these columns, such as plate or position.
    neg_sameby : array-like of shape (n_samples,), or mapping or DataFrame of such, optional
        Negatives must share these with the query, such as the plate.
    neg_diffby : array-like of shape (n_samples,), or mapping or DataFrame of such, optional
        Negatives must differ in each of these from the query, beside the label.
    null_size : int, default=10_000
        Random rankings for every pair of numbers of positives and negatives.
    random_state : int or RandomState, optional
        Seed of the random rankings.

    Returns
    -------
    MeanAveragePrecision
        With `.values`, `.normalized`, `.p_values` and `.q_values` by label,
        `.average_precision` by profile, `.mean` and `.to_frame()`.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, profiles are not finite real numbers, a constraint is missing for a
        labelled row, or no query has both positives and negatives.

    See Also
    --------
    perturbation_recall : the share of similar pairs instead of their ranks.

    Notes
    -----
    A copy of the profiles in float64 is held, and cosines of one block of queries with all: 32 MiB.

    References
    ----------
    Kalinin et al. (2025), Nature Communications 16; its package copairs.

    Examples
    --------
    >>> from icfl.metrics import mean_average_precision
    >>> profiles = [[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [-1.0, 0.3]]
    >>> result = mean_average_precision(profiles, ["A", "A", "B", "B"], random_state=0)
    >>> result.labels.tolist(), result.values.round(3).tolist()
    (['A', 'B'], [1.0, 0.667])
    """
    check_count(null_size, "null_size")
    table = _Ranked(profiles, labels, control, pos_diffby, neg_sameby, neg_diffby)
    scores = table.average_precision()
    known = np.flatnonzero(~np.isnan(scores.ap))
    if len(known) == 0:
        raise InputError("labels must give some profile both positives and negatives, got none")
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    names, numbers = table.names, table.numbers[known]
    ap, sizes = scores.ap[known], scores.sizes[known]
    n_queries = np.bincount(numbers, minlength=len(names)).astype(np.int64)
    expected = _expected(sizes)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0: a label without a query
        values = np.bincount(numbers, ap, len(names)) / n_queries
        scaled = (ap - expected) / (1 - expected)
        normalized = np.bincount(numbers, scaled, len(names)) / n_queries
    p_values = _p_values(values, numbers, sizes, null_size, seed)
    q_values = np.full(len(names), np.nan)
    some = n_queries > 0
    q_values[some] = stats.false_discovery_control(p_values[some])
    per_row = table.spread(scores)
    return MeanAveragePrecision(values, normalized, p_values, q_values, names, n_queries, *per_row)


@dataclass
class _Scores:
    """AP of the labelled rows, and (n_positive, n_negative) of each."""

    ap: _Floats
    sizes: npt.NDArray[np.int64]


class _Ranked:
    """Labelled profiles, and which of them are ranked for which."""

    def __init__(
        self,
        profiles: Any,
        labels: npt.ArrayLike,
        control: npt.ArrayLike | None,
        pos_diffby: Any,
        neg_sameby: Any,
        neg_diffby: Any,
    ) -> None:
        self.n_samples = int(profiles.shape[0] if hasattr(profiles, "shape") else len(profiles))
        codes, self.names = encode_labels(labels, self.n_samples)
        self.control = _control_mask(control, self.n_samples)
        taken = codes >= 0 if self.control is None else (codes >= 0) | self.control
        self.used: Integers = np.flatnonzero(taken)
        self.numbers: Integers = codes[self.used]
        if self.control is not None:
            self.control = self.control[self.used]
            self.numbers, self.names = _of_queries(self.numbers, self.names, self.control)
        self.units = unit_profiles(profiles, self.used)
        columns = (
            ("pos_diffby", pos_diffby),
            ("neg_sameby", neg_sameby),
            ("neg_diffby", neg_diffby),
        )
        self.pos_diffby, self.neg_sameby, self.neg_diffby = (
            constraint_codes(given, name, self.n_samples, self.used) for name, given in columns
        )

    def average_precision(self) -> _Scores:
        scores = _Scores(np.full(len(self.used), np.nan), np.zeros((len(self.used), 2), np.int64))
        for rows, cosines in cosine_blocks(self.units, self.units):
            positive, negative = self._relevant(rows)
            scores.sizes[rows] = np.stack([positive.sum(axis=1), negative.sum(axis=1)], axis=1)
            for i, row in enumerate(range(rows.start, rows.stop)):
                if scores.sizes[row].all():
                    scores.ap[row] = _ap(cosines[i, positive[i]], cosines[i, negative[i]])
        return scores

    def _relevant(self, rows: slice) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        same = self.numbers[rows, None] == self.numbers
        negative = ~same & allowed(rows, self.neg_sameby, self.neg_diffby)
        positive = same & allowed(rows, [], self.pos_diffby)
        positive[np.arange(len(same)), np.arange(rows.start, rows.stop)] = False
        if self.control is not None:
            query = ~self.control[rows, None]
            positive &= query & ~self.control
            negative &= query & self.control
        return positive, negative

    def spread(self, scores: _Scores) -> tuple[_Floats, Any, Any]:
        """Return AP and numbers of positives and negatives for all rows that were given."""
        ap, sizes = np.full(self.n_samples, np.nan), np.zeros((2, self.n_samples), np.int64)
        ap[self.used], sizes[:, self.used] = scores.ap, scores.sizes.T
        return ap, sizes[0], sizes[1]


def _of_queries(
    numbers: Integers, names: npt.NDArray[Any], control: npt.NDArray[np.bool_]
) -> tuple[Integers, npt.NDArray[Any]]:
    """Return the numbers of the labels that some query has, -1 for controls, and their names."""
    asked = np.unique(numbers[~control])
    places = np.full(len(names) + 1, -1, dtype=np.intp)
    places[asked] = np.arange(len(asked))
    return np.where(control, -1, places[numbers]), names[asked]


def _control_mask(control: npt.ArrayLike | None, n_samples: int) -> npt.NDArray[np.bool_] | None:
    if control is None:
        return None
    mask = np.asarray(control)
    if mask.dtype != bool or mask.shape != (n_samples,):
        found = f"{mask.dtype} of shape {mask.shape}"
        raise InputError(f"control must be boolean of shape ({n_samples},), got {found}")
    return mask


def _ap(positives: _Floats, negatives: _Floats) -> float:
    """Average precision, in the mean over all orders of ties."""
    values, counts = np.unique(positives, return_counts=True)
    values, counts = values[::-1], counts[::-1]
    ordered = np.sort(negatives)
    not_above = np.searchsorted(ordered, values, side="right")
    tied = not_above - np.searchsorted(ordered, values, side="left")
    own = np.cumsum(counts) - counts  # positives above
    above = own + len(ordered) - not_above
    if not tied.any() and len(values) == len(positives):
        return float(np.mean((own + 1) / (above + 1)))
    total = 0.0
    for i in range(len(values)):
        # At place j of a group of n, r of them positive, is a positive with probability r / n, and
        # (j - 1) (r - 1) / (n - 1) others of them are above it in the mean.
        r, n = int(counts[i]), int(counts[i] + tied[i])
        j = np.arange(1, n + 1)
        before = own[i] + 1 + (j - 1) * ((r - 1) / max(n - 1, 1))
        total += r / n * float(np.sum(before / (above[i] + j)))
    return total / len(positives)


def _expected(sizes: npt.NDArray[np.int64]) -> _Floats:
    """Mean AP of random rankings, for (n_positive, n_negative) in each row."""
    n_ranked = sizes.sum(axis=1)
    harmonic = np.cumsum(1.0 / np.arange(1, n_ranked.max() + 1))[n_ranked - 1]
    share = (sizes[:, 0] - 1) / (n_ranked - 1)
    return np.asarray((share * (n_ranked - harmonic) + harmonic) / n_ranked)


def _p_values(
    values: _Floats,
    numbers: Integers,
    sizes: npt.NDArray[np.int64],
    null_size: int,
    seed: int,
) -> _Floats:
    """Return (1 + random rankings at least as good) / (1 + all of them) for each label."""
    kinds, which = np.unique(sizes, axis=0, return_inverse=True)
    which = which.reshape(-1)
    # Seeded by the numbers themselves: what else is in the data does not matter.
    null = [
        _random_ap(n_positive, n_negative, null_size, [seed, n_positive, n_negative])
        for n_positive, n_negative in kinds.tolist()
    ]
    p_values = np.full(len(values), np.nan)
    for label in np.unique(numbers):
        weights = np.bincount(which[numbers == label], minlength=len(kinds))
        total = sum(weights[kind] * null[kind] for kind in np.flatnonzero(weights))
        reached = total / weights.sum() >= values[label] - _ROUNDING
        p_values[label] = (1 + np.count_nonzero(reached)) / (1 + null_size)
    return p_values


def _random_ap(n_positive: int, n_negative: int, null_size: int, seed: list[int]) -> _Floats:
    """AP of rankings in which every set of places of the positives is equally likely."""
    rng = np.random.default_rng(seed)
    n_ranked, found = n_positive + n_negative, np.arange(1, n_positive + 1)
    drawn = np.empty(null_size)
    for i in range(null_size):
        places = np.sort(rng.choice(n_ranked, n_positive, replace=False, shuffle=False))
        drawn[i] = np.mean(found / (places + 1))
    return drawn
