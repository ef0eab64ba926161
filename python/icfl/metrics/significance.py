"""Which selectivities chance does not explain: p-values, false discoveries, the best by luck.

Under the null hypothesis labels are exchangeable among the samples of a group (plate, batch,
donor): they are permuted there, and codes stay where they are. Without groups a feature that only
knows its plate looks selective for every label of that plate; within groups it does not.

With P permutations,

    p = (1 + #{null >= observed}) / (1 + P),

which is valid for any P and never 0 (Phipson & Smyth, 2010). Average selectivity grows with the
number of active samples that carry the label, and that number is, under the null, a sum over groups
of independent hypergeometric variables; `method="exact"` convolves them. Its p-values are not
bounded below by 1 / (1 + P), where thousands of tests at a false discovery rate of 5 % want more: a
single discovery among m needs p <= 0.05 / m.

References: Phipson & Smyth (2010), "Permutation p-values should never be zero", Stat. Appl. Genet.
Mol. Biol. 9:39. Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289-300. Westfall & Young
(1993), "Resampling-based multiple testing" (the maximum over features).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control

from icfl import _core
from icfl._frames import data_frame
from icfl._validation import (
    check_choice,
    check_count,
    check_n_jobs,
    check_number,
    seeded_generator,
)
from icfl.exceptions import InputError
from icfl.metrics._design import Design, make_design
from icfl.metrics.selectivity import Kind, _average, _maximum

Method = Literal["permutation", "exact"]
_Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MatchedDensityNull:
    """The best selectivity of each label, and what the best would be by luck.

    Attributes
    ----------
    observed : ndarray of shape (n_labels,), float64
        Highest selectivity of any feature.
    features : ndarray of shape (n_labels,), int64
        The feature that has it, the first if several do.
    null : ndarray of shape (n_permutations, n_labels), float64
        Highest selectivity of any feature under each permutation.
    p_values : ndarray of shape (n_labels,), float64
        (1 + #{null >= observed}) / (1 + n_permutations). It accounts for the choice among all
        features (family-wise), not for that among labels.
    labels : ndarray of shape (n_labels,)
    kind : {"average", "maximum"}
    """

    observed: _Values
    features: npt.NDArray[np.int64]
    null: _Values
    p_values: _Values
    labels: npt.NDArray[Any]
    kind: Kind

    @property
    def mean(self) -> _Values:
        """Mean over permutations, shape (n_labels,)."""
        return np.asarray(self.null.mean(axis=0))

    def quantile(self, level: float = 0.95) -> _Values:
        """Quantile over permutations, shape (n_labels,)."""
        return np.asarray(
            np.quantile(self.null, check_number(level, "level", low=0, high=1), axis=0)
        )

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per label."""
        return data_frame(
            {
                "label": self.labels,
                "feature": self.features,
                "selectivity": self.observed,
                "null_mean": self.mean,
                "null_95": self.quantile(0.95),
                "p_value": self.p_values,
            }
        )

    def __repr__(self) -> str:
        n_permutations, n_labels = self.null.shape
        return f"MatchedDensityNull(n_labels={n_labels}, n_permutations={n_permutations})"


@dataclass(frozen=True, eq=False)
class SelectivityTest:
    """Selectivity of every feature for every label, against permuted labels.

    Attributes
    ----------
    values : ndarray of shape (n_components, n_labels), float64
        Selectivity.
    null_mean, null_std : ndarray of shape (n_components, n_labels), float64
        Mean and standard deviation under the null: over the permutations, or exact.
    p_values : ndarray of shape (n_components, n_labels), float64
        One-sided: how probable is a selectivity as high as this under the null.
    q_values : ndarray of shape (n_components, n_labels), float64
        Benjamini-Hochberg over all features and labels: taking all with q <= 0.05 makes a share of
        false discoveries of 5 % at most, in expectation.
    labels : ndarray of shape (n_labels,)
    kind : {"average", "maximum"}
    method : {"permutation", "exact"}
    best : MatchedDensityNull or None
        The highest of all features under the same permutations; None if method is "exact".
    """

    values: _Values
    null_mean: _Values
    null_std: _Values
    p_values: _Values
    q_values: _Values
    labels: npt.NDArray[Any]
    kind: Kind
    method: Method
    best: MatchedDensityNull | None

    def significant(self, level: float = 0.05) -> npt.NDArray[np.bool_]:
        """Return which features have q <= `level` for which labels, (n_components, n_labels)."""
        return np.asarray(self.q_values <= check_number(level, "level", low=0, high=1))

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per feature and label."""
        n_components, n_labels = self.values.shape
        arrays = {
            "selectivity": self.values,
            "null_mean": self.null_mean,
            "null_std": self.null_std,
            "p_value": self.p_values,
            "q_value": self.q_values,
        }
        return data_frame(
            {
                "feature": np.repeat(np.arange(n_components), n_labels),
                "label": np.tile(self.labels, n_components),
                **{name: array.ravel() for name, array in arrays.items()},
            }
        )

    def __repr__(self) -> str:
        n_components, n_labels = self.values.shape
        return (
            f"SelectivityTest(kind={self.kind!r}, method={self.method!r}, "
            f"n_components={n_components}, n_labels={n_labels})"
        )


def selectivity_test(
    Z: Any,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    kind: Kind = "average",
    method: Method = "permutation",
    n_permutations: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> SelectivityTest:
    """Test the selectivity of every feature for every label against permuted labels.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes. Sparse codes are never made dense.
    labels : array-like of shape (n_samples,)
        Strings, numbers or dates. None, NaN, pandas' NA and "" mean: no label.
    groups : array-like of shape (n_samples,), optional
        Plate, batch or donor of each row. Labels are permuted within groups, so that what a feature
        knows of its group counts for nothing. By default all rows are one group.
    kind : {"average", "maximum"}, default="average"
    method : {"permutation", "exact"}, default="permutation"
        "exact" is for kind="average". Its cost for a feature and label is at most the square of how
        many samples are active or carry the label, whichever are fewer.
    n_permutations : int, default=1000
        Ignored by "exact".
    random_state : int or RandomState, optional
    n_jobs : int, optional
        Threads; None for all idle cores. The result is the same for any number.

    Returns
    -------
    SelectivityTest
        With `.values`, `.p_values`, `.q_values` (n_components, n_labels), `.labels` and `.best`.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, codes are not finite real numbers, there are fewer than two labels, a
        labelled row has no group, or an option is unknown.

    See Also
    --------
    selectivity : the values alone.
    matched_density_null : the best of all features, by luck.

    Notes
    -----
    A feature that is never active has p = 1, as has a label that fills every group it is in: within
    groups nothing can be said of it. Memory goes as features times labels, not times permutations,
    besides one cache line for each sample.

    The tests of one feature for several labels depend on each other. Benjamini-Hochberg holds for
    such positive and for the usual negative dependence in practice; it is proven for the former.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import selectivity_test
    >>> labels = np.tile(["HeLa", "U2OS"], 20)
    >>> marks_hela = labels == "HeLa"
    >>> first_half = np.arange(40) < 20
    >>> Z = np.column_stack([marks_hela, first_half]).astype(float)
    >>> result = selectivity_test(Z, labels, random_state=0)
    >>> result.values.tolist()
    [[1.0, -1.0], [0.0, 0.0]]
    >>> result.significant(0.01).tolist()
    [[True, False], [False, False]]
    >>> exact = selectivity_test(Z, labels, method="exact")
    >>> bool(exact.p_values[0, 0] < 1e-10)  # one of the 40 over 20 ways
    True
    """
    _check_options(kind, n_permutations)
    check_choice(method, "method", ("permutation", "exact"))
    if method == "exact" and kind != "average":
        raise InputError(f"method must be 'permutation' for kind={kind!r}, got 'exact'")
    workers = check_n_jobs(n_jobs)
    design = make_design(Z, labels, groups)
    values = _values(design, kind)
    if method == "exact":
        p_values, mean, std = _exact(design, workers)
        best = None
    else:
        rng = seeded_generator(random_state)
        p_values, mean, std, highest = _permuted(design, values, kind, n_permutations, rng, workers)
        best = _best(design, values, highest, kind)
    q_values = false_discovery_control(p_values.ravel()).reshape(p_values.shape)
    return SelectivityTest(values, mean, std, p_values, q_values, design.names, kind, method, best)


def matched_density_null(
    Z: Any,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    kind: Kind = "average",
    n_permutations: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> MatchedDensityNull:
    """Best selectivity per label, against the best of random features of the same densities.

    Of thousands of features some are selective by luck, the more so the fewer samples a label has.
    Each permutation of the labels within groups makes all features random ones: each is active as
    often in every group as before, on samples that know nothing of the labels. The highest
    selectivity of any of them is what luck achieves.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes. Sparse codes are never made dense.
    labels : array-like of shape (n_samples,)
        Strings, numbers or dates. None, NaN, pandas' NA and "" mean: no label.
    groups : array-like of shape (n_samples,), optional
        Plate, batch or donor of each row, within which labels are permuted.
    kind : {"average", "maximum"}, default="average"
    n_permutations : int, default=1000
    random_state : int or RandomState, optional
    n_jobs : int, optional
        Threads; None for all idle cores. The result is the same for any number.

    Returns
    -------
    MatchedDensityNull
        With `.observed`, `.mean`, `.quantile(0.95)` and `.p_values`, one per label.

    Raises
    ------
    InputError, InputTypeError
        As `selectivity_test`.

    See Also
    --------
    corrected_selectivity : how selective the best feature is without the luck.

    Notes
    -----
    Features that are active together stay so under every permutation, which makes the null that of
    these features (Westfall and Young's maximum). Features drawn independently of each other have
    the same distribution one by one; where many features are near-copies of each other, the highest
    of as many independent ones is higher.

    References
    ----------
    Westfall & Young (1993), "Resampling-based multiple testing", Wiley.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import matched_density_null
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["HeLa", "U2OS"], 50)
    >>> Z = (rng.random((100, 400)) < 0.1).astype(float)  # knows nothing
    >>> null = matched_density_null(Z, labels, random_state=0)
    >>> bool((null.observed > 0.1).all() and (null.p_values > 0.05).all())
    True
    """
    _check_options(kind, n_permutations)
    workers = check_n_jobs(n_jobs)
    design, rng = make_design(Z, labels, groups), seeded_generator(random_state)
    values = _values(design, kind)
    *_, highest = _permuted(design, values, kind, n_permutations, rng, workers)
    return _best(design, values, highest, kind)


def _check_options(kind: Kind, n_permutations: int) -> None:
    check_choice(kind, "kind", ("average", "maximum"))
    check_count(n_permutations, "n_permutations")


def _values(design: Design, kind: Kind) -> _Values:
    formula = _average if kind == "average" else _maximum
    return np.ascontiguousarray(formula(design.active, design.totals).T)


def _permuted(
    design: Design,
    values: _Values,
    kind: Kind,
    n_permutations: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> tuple[_Values, _Values, _Values, _Values]:
    """Return p-values, mean and standard deviation, and the highest of every permutation."""
    seed = int(rng.integers(2**63))
    try:
        reached, sums, squares, highest = _core.permutation_null(
            design.pattern(),
            design.labels,
            design.groups,
            np.ascontiguousarray(design.active.T),
            kind,
            seed,
            n_permutations,
            n_jobs,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    # Sums are of differences from the observed values: constants have a deviation of exactly zero.
    sums /= n_permutations
    squares /= n_permutations
    squares -= sums**2
    np.maximum(squares, 0.0, out=squares)
    sums += values
    p_values = np.asarray((reached + 1.0) / (n_permutations + 1.0), dtype=np.float64)
    return p_values, sums, np.sqrt(squares), highest


def _exact(design: Design, n_jobs: int | None) -> tuple[_Values, _Values, _Values]:
    """Return p-values, mean and standard deviation of average selectivity."""
    observed = np.ascontiguousarray(design.active.T)
    try:
        p_values, mean, variance = _core.hypergeometric_null(
            design.pattern(), design.labels, design.groups, observed, n_jobs
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    others = design.totals.sum() - design.totals
    scale = 1.0 / design.totals + 1.0 / others
    # a / n - (k - a) / others, a the active samples with the label, k all active ones.
    mean *= scale
    mean -= design.active.sum(axis=0)[:, None] / others
    std = np.sqrt(variance, out=variance)
    std *= scale
    return p_values, mean, std


def _best(design: Design, values: _Values, highest: _Values, kind: Kind) -> MatchedDensityNull:
    features = values.argmax(axis=0)
    observed = values[features, np.arange(values.shape[1])]
    # Equal counts may be rounded differently: two quotients and a difference of numbers up to 1.
    reached = (highest >= observed - 4 * np.finfo(np.float64).eps).sum(axis=0)
    p_values = (1.0 + reached) / (1.0 + len(highest))
    return MatchedDensityNull(observed, features, highest, p_values, design.names, kind)
