"""Linear probes on several representations of the same samples, on the same folds.

A difference between two probes means something only if both were asked the same: the same rows, the
same folds, the same classifier. Here they are, and each difference has an interval of its own, from
the same resamples of held-out groups (`icfl.metrics._intervals` has the formulas).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from icfl._frames import data_frame
from icfl._validation import check_choice, check_count, check_number, seeded_generator
from icfl.exceptions import InputError, InputTypeError
from icfl.metrics._intervals import Interval, Tallies, balanced_accuracies, paired_intervals
from icfl.metrics._probing import (
    Fold,
    Labelled,
    RandomState,
    Scaling,
    balanced_accuracy,
    blas_threads,
    check_folds,
    classifier_for,
    make_folds,
    predictions,
    probe_inputs,
)

Table = Literal["representations", "differences", "folds"]


@dataclass(frozen=True, eq=False)
class ProbeComparison:
    """Balanced accuracies of linear probes on the same folds, with intervals.

    R representations, K folds, n rows of which some have no label.

    Attributes
    ----------
    names : tuple of str
        The representations, in the order given.
    n_features : ndarray of shape (R,), int64
        Their widths.
    balanced_accuracy : ndarray of shape (R,), float64
        Of the predictions of all folds together: what the intervals are about. It differs a little
        from the mean over folds where folds differ in size or lack a class.
    low, high : ndarray of shape (R,), float64
        Ends of their intervals.
    difference : ndarray of shape (R, R), float64
        Balanced accuracy of the row's representation minus that of the column's.
    difference_low, difference_high : ndarray of shape (R, R), float64
        Ends of the paired intervals of the differences.
    scores : ndarray of shape (R, K), float64
        Balanced accuracy on each held-out fold.
    predictions : ndarray of shape (R, n), intp
        Position in `classes` predicted for each row by the probe that had not seen it; -1 for rows
        without a label.
    folds : ndarray of shape (n,), intp
        The fold that held out each row; -1 for rows without a label.
    groups : tuple of tuples, or None
        The groups held out in each fold; None if no groups were given.
    classes : ndarray of shape (n_classes,)
        The labels told apart, sorted.
    n_samples, n_units : int
        Rows with a label; independent units: groups, or rows where there are no groups.
    interval : {"jackknife", "bootstrap"}
    confidence_level : float
    """

    names: tuple[str, ...]
    n_features: npt.NDArray[np.int64]
    balanced_accuracy: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    difference: npt.NDArray[np.float64]
    difference_low: npt.NDArray[np.float64]
    difference_high: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    predictions: npt.NDArray[np.intp]
    folds: npt.NDArray[np.intp]
    groups: tuple[tuple[Any, ...], ...] | None
    classes: npt.NDArray[Any]
    n_samples: int
    n_units: int
    interval: Interval
    confidence_level: float

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean of the scores over the folds, (R,), float64."""
        return np.asarray(self.scores.mean(axis=1))

    @property
    def std(self) -> npt.NDArray[np.float64]:
        """Standard deviation of the scores over the folds (divided by their number), (R,)."""
        return np.asarray(self.scores.std(axis=1))

    @property
    def chance(self) -> float:
        """Balanced accuracy of guessing: 1 / n_classes."""
        return 1.0 / len(self.classes)

    def to_frame(self, table: Table = "representations") -> Any:
        """Return one of the tables as a pandas DataFrame.

        "representations" has a row for each, "differences" one for each pair, "folds" one for each
        representation and fold.

        Raises
        ------
        InputError
            If `table` is none of these.
        MissingDependencyError
            If pandas is not installed.
        """
        check_choice(table, "table", ("representations", "differences", "folds"))
        if table == "representations":
            return data_frame(
                {
                    "representation": self.names,
                    "n_features": self.n_features,
                    "balanced_accuracy": self.balanced_accuracy,
                    "low": self.low,
                    "high": self.high,
                    "mean": self.mean,
                    "std": self.std,
                }
            )
        if table == "folds":
            n, k = self.scores.shape
            return data_frame(
                {
                    "representation": np.repeat(self.names, k),
                    "fold": np.tile(np.arange(k), n),
                    "balanced_accuracy": self.scores.ravel(),
                }
            )
        pairs = np.triu_indices(len(self.names), 1)
        return data_frame(
            {
                "representation": [self.names[i] for i in pairs[0]],
                "other": [self.names[j] for j in pairs[1]],
                "difference": self.difference[pairs],
                "low": self.difference_low[pairs],
                "high": self.difference_high[pairs],
            }
        )

    def __repr__(self) -> str:
        ends = zip(self.names, self.balanced_accuracy, self.low, self.high, strict=True)
        told = ", ".join(f"{name} {x:.3f} [{low:.3f}, {high:.3f}]" for name, x, low, high in ends)
        return f"ProbeComparison({told}; {self.n_units} units)"


def compare_probes(
    representations: Mapping[str, Any],
    y: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    C: float = 0.1,
    n_splits: int | None = None,
    scaling: Scaling = "standard",
    max_iter: int = 1000,
    tol: float = 1e-6,
    interval: Interval = "jackknife",
    confidence_level: float = 0.95,
    n_resamples: int = 2000,
    random_state: RandomState = None,
) -> ProbeComparison:
    """Linear probes of several representations on the same folds, with paired intervals.

    Parameters
    ----------
    representations : mapping of str to array-like or scipy.sparse matrix (n_samples, n_features)
        Inputs, codes, reconstructions, by name; widths may differ. Sparse ones stay sparse.
    y : array-like of shape (n_samples,)
        Labels: strings, numbers or dates. Rows without one (None, NaN, "") are left out.
    groups : array-like of shape (n_samples,), optional
        What must not be shared by training and test samples: plates, experiments, donors. Up to ten
        groups are held out one at a time, more in ten folds stratified by label
        (scikit-learn's StratifiedGroupKFold). Without groups there are five folds, stratified and
        shuffled, and rows count as independent: intervals are then too narrow if they are not.
    C : float, default=0.1
        Inverse strength of the L2 penalty.
    n_splits : int, optional
        Number of folds, instead of the rule above.
    scaling : {"standard", "none"}, default="standard"
        Divide each feature by its standard deviation on the training fold, or leave it.
    max_iter : int, default=1000
        Most Newton iterations per fold.
    tol : float, default=1e-6
        Largest gradient entry at which a fit has converged.
    interval : {"jackknife", "bootstrap"}, default="jackknife"
        Leave out one held-out group (without groups: one row) at a time, with a t quantile for
        G - 1 degrees of freedom; or resample them with replacement and take percentiles.
    confidence_level : float, default=0.95
        Of each interval by itself; nothing is corrected for their number.
    n_resamples : int, default=2000
        Of the bootstrap.
    random_state : int or RandomState, optional
        Shuffles the folds, but where each group is its own, and draws the bootstrap. Give an int
        to have the same folds in another call.

    Returns
    -------
    ProbeComparison
        With `.balanced_accuracy`, `.low`, `.high`, `.difference` and its ends, `.scores` by fold
        and `.to_frame()`.

    Raises
    ------
    InputError, InputTypeError
        If there is no representation, their numbers of rows differ, one is not finite, an option is
        not valid, a group is missing, there are fewer than two labels or groups, or the training
        part of a fold cannot teach anything about its test part.

    Warns
    -----
    UserWarning
        If a fold tests on a label that its training part lacks. Such samples count as wrong.

    See Also
    --------
    linear_probe : one representation, without intervals.
    sparse_probe : the few best features for each label.

    Notes
    -----
    The classifier is that of `linear_probe`. With groups that are each a fold, or without groups
    for the same `random_state`, so are the scores.

    Intervals take the probes as they were fitted. They say how far other plates of the same kind
    could move the numbers, not what other training plates would have taught; where that matters
    much, cross-validated intervals are known to be too narrow (Bates, Hastie and Tibshirani).
    A jackknife of six plates knows little: its t quantile is 2.57. Percentiles of the bootstrap do
    not know that, and held the truth in 85 % of simulated screens of six plates instead of 95 %.
    Where all predictions are right, or wrong, both have length 0.

    References
    ----------
    .. [1] Donhauser et al. (2025), "Towards scientific discovery with dictionary learning", PMLR
       267.
    .. [2] Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapters 11 and 13.
    .. [3] Bates, Hastie and Tibshirani (2024), "Cross-Validation: What Does It Estimate and How
       Well Does It Do It?", JASA 119(546), arXiv:2104.00673.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import compare_probes
    >>> rng = np.random.default_rng(0)
    >>> y, plates = np.tile(["control", "treated"], 120), np.repeat(np.arange(6), 40)
    >>> inputs = rng.normal(size=(240, 5)) + 2.0 * (y == "treated")[:, None]
    >>> result = compare_probes({"inputs": inputs, "first": inputs[:, :1]}, y, groups=plates)
    >>> result.balanced_accuracy.round(2).tolist()
    [0.99, 0.87]
    >>> bool(result.difference_low[0, 1] > 0)  # better by more than plates differ
    True
    """
    check_choice(interval, "interval", ("jackknife", "bootstrap"))
    check_number(confidence_level, "confidence_level", low=0.0, high=1.0, closed=False)
    check_count(n_resamples, "n_resamples")
    n_samples = _n_samples(representations)
    classifiers = [classifier_for(X, C, scaling, max_iter, tol) for X in representations.values()]
    data = Labelled.of(y, groups, n_samples)
    folds = make_folds(data, n_splits, random_state, stratified=True)
    check_folds(folds, data)
    names, widths = [str(name) for name in representations], []
    predicted = np.empty((len(names), len(data.rows)), dtype=np.intp)
    for row, X in enumerate(representations.values()):  # only one in float64 at a time
        features = probe_inputs(X, f"representations[{names[row]!r}]")
        widths.append(features.shape[1])
        predicted[row] = _out_of_fold(data.part_of(features), data, folds, classifiers[row])
    tallies = _tallies(data, predicted == data.targets)
    rng = seeded_generator(random_state)
    single, paired = paired_intervals(tallies, interval, confidence_level, n_resamples, rng)
    estimate = balanced_accuracies(tallies)
    return ProbeComparison(
        names=tuple(names),
        n_features=np.array(widths, dtype=np.int64),
        balanced_accuracy=estimate,
        low=single[0],
        high=single[1],
        difference=estimate[:, None] - estimate,
        difference_low=paired[0],
        difference_high=paired[1],
        scores=_fold_scores(data, folds, predicted),
        predictions=_spread(predicted, data, n_samples),
        folds=_spread(_fold_of(folds, len(data.rows)), data, n_samples),
        groups=data.held_out(folds),
        classes=data.classes,
        n_samples=len(data.rows),
        n_units=tallies.n_units,
        interval=interval,
        confidence_level=float(confidence_level),
    )


def _n_samples(representations: Mapping[str, Any]) -> int:
    """Check that there are arrays, and return their one number of rows."""
    if not isinstance(representations, Mapping):
        raise InputTypeError(
            f"representations must be a mapping of names to arrays, got {type(representations)}"
        )
    if not representations:
        raise InputError("representations must have at least one entry, got none")
    shapes = {name: np.shape(X) for name, X in representations.items()}
    rows = {shape[:1] for shape in shapes.values()}
    if len(rows) > 1 or () in rows:
        raise InputError(f"representations must have the same number of rows, got {shapes}")
    return int(rows.pop()[0])


def _out_of_fold(
    features: Any, data: Labelled, folds: list[Fold], classifier: Any
) -> npt.NDArray[np.intp]:
    found = np.empty(len(data.targets), dtype=np.intp)
    with blas_threads(features):
        for fold in folds:
            found[fold[1]] = predictions(features, data.targets, fold, classifier)
    return found


def _tallies(data: Labelled, right: npt.NDArray[np.bool_]) -> Tallies:
    if data.groups is None:
        return Tallies.by_sample(data.targets, right, len(data.classes))
    return Tallies.by_group(data.targets, right, data.groups, len(data.classes))


def _fold_scores(
    data: Labelled, folds: list[Fold], predicted: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    return np.array(
        [
            [balanced_accuracy(data.targets[test], row[test]) for _, test in folds]
            for row in predicted
        ]
    )


def _fold_of(folds: list[Fold], n_rows: int) -> npt.NDArray[np.intp]:
    numbers = np.empty(n_rows, dtype=np.intp)
    for number, (_, test) in enumerate(folds):
        numbers[test] = number
    return numbers


def _spread(values: npt.NDArray[np.intp], data: Labelled, n_samples: int) -> npt.NDArray[np.intp]:
    """Put values of the labelled rows (the last axis) to their places among all rows."""
    everywhere = np.full((*values.shape[:-1], n_samples), -1, dtype=np.intp)
    everywhere[..., data.rows] = values
    return everywhere
