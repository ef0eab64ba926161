"""How selective the best feature of a label is when luck has no part in choosing it.

The highest of thousands of noisy values is high because it is best and because it is noisy (the
winner's curse). Here the feature is chosen on one half of the data and scored on the other, both
ways, over many halvings. Chosen and scored on different samples, its average selectivity is an
unbiased estimate of that of the feature chosen; as half the data choose less well than all of them,
that is at most the selectivity of the truly best feature. (Maximum selectivity takes off the
highest of several noisy shares, in any sample: its estimates are low, with or without the choice.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icfl._frames import data_frame
from icfl._validation import check_choice, check_count, seeded_generator
from icfl.exceptions import InputError
from icfl.metrics._design import Design, make_design
from icfl.metrics._inputs import count_active
from icfl.metrics.selectivity import Kind, _average, _maximum

# Halves of fewer groups are too unlike each other: with three, one half is a single plate.
_FEWEST_GROUPS = 4
_NONE = -1


@dataclass(frozen=True, eq=False)
class CorrectedSelectivity:
    """Best selectivity of each label, as chosen and as confirmed on other samples.

    Attributes
    ----------
    naive : ndarray of shape (n_labels,), float64
        Highest selectivity on all samples.
    values : ndarray of shape (n_labels,), float64
        Mean selectivity, on one half, of the feature that is best on the other. NaN for a label
        that was never in both halves.
    std : ndarray of shape (n_labels,), float64
        Standard deviation over repeats of the mean of both directions. Repeats share samples: this
        is the spread from how the data are halved, not a standard error.
    chosen : ndarray of shape (n_repeats, 2, n_labels), int64
        Feature chosen on the first and on the second half, -1 where the label was not in both.
    labels : ndarray of shape (n_labels,)
    kind : {"average", "maximum"}
    halves : {"groups", "rows"}
        What was halved.
    """

    naive: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    chosen: npt.NDArray[np.int64]
    labels: npt.NDArray[Any]
    kind: Kind
    halves: str

    @property
    def mean(self) -> float:
        """Mean of the corrected values over the labels that have one; NaN if none has."""
        known = self.values[~np.isnan(self.values)]
        return float(known.mean()) if len(known) else float("nan")

    def choices(self, label: Any) -> dict[int, float]:
        """Return the features chosen for `label` with the share of choices, most frequent first."""
        (places,) = np.nonzero(self.labels == label)
        if len(places) != 1:
            raise InputError(f"label must be one of {self.labels.tolist()}, got {label!r}")
        chosen = self.chosen[..., places[0]]
        features, counts = np.unique(chosen[chosen != _NONE], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        shares = counts[order] / max(1, counts.sum())
        return dict(zip(features[order].tolist(), shares.tolist(), strict=True))

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per label."""
        first = [next(iter(self.choices(label).items()), (_NONE, 0.0)) for label in self.labels]
        return data_frame(
            {
                "label": self.labels,
                "naive": self.naive,
                "corrected": self.values,
                "std": self.std,
                "feature": [feature for feature, _ in first],
                "chosen": [share for _, share in first],
            }
        )

    def __repr__(self) -> str:
        return (
            f"CorrectedSelectivity({self.mean:.3f}, naive {self.naive.mean():.3f}, "
            f"n_labels={len(self.labels)}, n_repeats={len(self.chosen)})"
        )


def corrected_selectivity(
    Z: Any,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    kind: Kind = "average",
    n_repeats: int = 20,
    random_state: int | np.random.RandomState | None = None,
) -> CorrectedSelectivity:
    """Best selectivity of each label, with the feature chosen and scored on different samples.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes. Sparse codes are never made dense.
    labels : array-like of shape (n_samples,)
        Strings, numbers or dates. None, NaN, pandas' NA and "" mean: no label.
    groups : array-like of shape (n_samples,), optional
        Plate, batch or donor of each row. Four groups or more are halved as they are, so that what
        is confirmed generalises to groups not seen. Fewer, and none, mean halves of the rows of
        each label (in each group), so that neighbours on one plate are in both.
    kind : {"average", "maximum"}, default="average"
    n_repeats : int, default=20
        Halvings; each costs one pass over the non-zeros.
    random_state : int or RandomState, optional

    Returns
    -------
    CorrectedSelectivity
        With `.values` and `.naive`, one per label, `.mean` and `.choices(label)`.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, codes are not finite real numbers, there are fewer than two labels, a
        labelled row has no group, or an option is unknown.

    See Also
    --------
    matched_density_null : the best by luck, and how probable the observed best is.

    Notes
    -----
    In a halving where a label is in one half only it has no score; in that half other labels are
    still compared with it. A label in one group only cannot be confirmed by other groups: its value
    is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import corrected_selectivity
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["HeLa", "U2OS"], 100)
    >>> Z = (rng.random((200, 300)) < 0.1).astype(float)  # knows nothing
    >>> result = corrected_selectivity(Z, labels, random_state=0)
    >>> bool((result.naive > 0.08).all()), bool(abs(result.mean) < 0.04)
    (True, True)
    """
    check_choice(kind, "kind", ("average", "maximum"))
    check_count(n_repeats, "n_repeats")
    design, rng = make_design(Z, labels, groups), seeded_generator(random_state)
    by_groups = design.n_groups >= _FEWEST_GROUPS
    halve = _halve_groups if by_groups else _halve_rows
    n_labels = len(design.names)
    chosen = np.full((n_repeats, 2, n_labels), _NONE, dtype=np.int64)
    scores = np.full((n_repeats, 2, n_labels), np.nan)
    for repeat in range(n_repeats):
        for one, (features, values) in enumerate(_both_ways(design, halve(design, rng), kind)):
            chosen[repeat, one], scores[repeat, one] = features, values
    naive = _scores(design.active, design.totals, kind).max(axis=1)
    values, std = _summary(scores.mean(axis=1))
    return CorrectedSelectivity(
        naive, values, std, chosen, design.names, kind, "groups" if by_groups else "rows"
    )


def _halve_groups(design: Design, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return 0 or 1 for each row, the same for all of a group; either half has half the groups."""
    half = rng.permutation(design.n_groups) % 2
    return half[design.groups]


def _halve_rows(design: Design, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return 0 or 1 for each row, in equal numbers for every label of every group.

    Of an odd number the last goes to either half.
    """
    stratum = design.labels * design.n_groups + design.groups
    order = np.lexsort((rng.random(len(stratum)), stratum))
    starts = np.flatnonzero(np.r_[True, np.diff(stratum[order]) != 0])
    sizes = np.diff(np.r_[starts, len(order)])
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    half = np.empty(len(order), dtype=np.int64)
    half[order] = (place + np.repeat(rng.integers(0, 2, len(starts)), sizes)) % 2
    return half


def _both_ways(
    design: Design, half: npt.NDArray[np.int64], kind: Kind
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Choose on either half, score on the other: features and scores of each direction."""
    n_labels = len(design.names)
    numbers = np.where(design.labels >= 0, design.labels + n_labels * half, -1)
    active = count_active(design.codes, numbers, 2 * n_labels).reshape(2, n_labels, -1)
    totals = np.bincount(numbers[numbers >= 0], minlength=2 * n_labels).reshape(2, n_labels)
    first, second = (_scores(active[h], totals[h], kind) for h in range(2))
    both = (totals > 0).all(axis=0) & ((totals > 0).sum(axis=1) > 1).all()
    return [_confirm(one, other, both) for one, other in ((first, second), (second, first))]


def _confirm(
    choosing: npt.NDArray[np.float64],
    scoring: npt.NDArray[np.float64],
    known: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    features = choosing.argmax(axis=1)
    values = scoring[np.arange(len(features)), features]
    return np.where(known, features, _NONE), np.where(known, values, np.nan)


def _scores(
    active: npt.NDArray[np.int64], totals: npt.NDArray[np.int64], kind: Kind
) -> npt.NDArray[np.float64]:
    """Selectivity (n_labels, n_components) among the labels that have samples, 0 for others."""
    present = totals > 0
    formula = _average if kind == "average" else _maximum
    scores = np.zeros(active.shape)
    if present.sum() > 1:
        scores[present] = formula(active[present], totals[present])
    return scores


def _summary(
    repeats: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation over repeats (rows) that are known; NaN where none is."""
    known = ~np.isnan(repeats)
    n_known = np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    mean = np.where(known, repeats, 0.0).sum(axis=0) / n_known
    squares = np.where(known, repeats - mean, 0.0) ** 2
    return mean, np.sqrt(squares.sum(axis=0) / n_known)
