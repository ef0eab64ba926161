"""What the probes share: rows that have a label, folds, and the classifier.

A fold holds out whole groups. Whatever a probe learns (scales, chosen features, coefficients) it
learns from the other rows of the fold alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import (
    GroupKFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from icfl._validation import check_choice, check_count, check_matrix, check_number
from icfl.exceptions import InputError
from icfl.metrics._inputs import require_finite, require_matrix_shape
from icfl.metrics._labels import encode_labels

Scaling = Literal["standard", "none"]
Fold = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
RandomState = int | np.random.RandomState | None

# Up to this many groups, each is held out on its own; more are gathered into as many folds.
_MAX_SINGLE_GROUPS = 10
_FOLDS_WITHOUT_GROUPS = 5
# Up to this many values a probe runs on one BLAS thread: its products are thin (features x
# classes), and threads that wait for each other on a busy machine made 7 to 30 s of 2 s
# (1,298 x 139, two cores).
_ONE_THREAD_VALUES = 1 << 24


@dataclass(frozen=True, eq=False)
class Labelled:
    """The rows that have a label.

    Attributes
    ----------
    rows : ndarray of shape (n_labelled,), intp
        Their places.
    targets : ndarray of shape (n_labelled,), intp
        Position of each label in `classes`.
    classes : ndarray of shape (n_classes,)
        The labels, sorted.
    groups : ndarray of shape (n_labelled,), intp, or None
        Position of each group in `group_names`.
    group_names : ndarray or None
    """

    rows: npt.NDArray[np.intp]
    targets: npt.NDArray[np.intp]
    classes: npt.NDArray[Any]
    groups: npt.NDArray[np.intp] | None
    group_names: npt.NDArray[Any] | None

    @classmethod
    def of(cls, y: npt.ArrayLike, groups: npt.ArrayLike | None, n_samples: int) -> Labelled:
        """Check and number labels and groups of `n_samples` rows."""
        targets, classes = encode_labels(y, n_samples, "y")
        rows = np.flatnonzero(targets >= 0)
        ids, names = None, None
        if groups is not None:
            ids, names = encode_labels(groups, n_samples, "groups")
            if (ids < 0).any():
                missing = np.sum(ids < 0)
                raise InputError(f"groups must be known for every row, {missing} are missing")
            ids = ids[rows]
        if len(classes) < 2:
            raise InputError(f"y must have at least two values, got {classes.tolist()}")
        return cls(rows, targets[rows], classes, ids, names)

    def part_of(self, features: Any) -> Any:
        """Return the labelled rows of all `features`; those themselves if no label is missing."""
        return features if len(self.rows) == features.shape[0] else features[self.rows]

    def held_out(self, folds: Sequence[Fold]) -> tuple[tuple[Any, ...], ...] | None:
        """Return the names of the groups that each fold holds out; None without groups."""
        groups, names = self.groups, self.group_names
        if groups is None or names is None:
            return None
        return tuple(tuple(names[np.unique(groups[test])].tolist()) for _, test in folds)


def make_folds(
    data: Labelled,
    n_splits: int | None,
    random_state: RandomState,
    *,
    stratified: bool,
) -> list[Fold]:
    """Return training and test rows of each fold, as positions among the labelled rows.

    Up to ten groups are held out one at a time, more in ten folds, `stratified` by label or not.
    Without groups there are five shuffled, stratified folds.
    """
    targets, groups = data.targets, data.groups
    rows = np.zeros(len(targets))  # only its length matters to a splitter
    if groups is None:
        smallest = int(np.bincount(targets).min())
        n_folds = _n_folds(n_splits, _FOLDS_WITHOUT_GROUPS, smallest, "samples of the rarest label")
        splitter = StratifiedKFold(n_folds, shuffle=True, random_state=random_state)
        return list(splitter.split(rows, targets))
    n_groups = len(np.unique(groups))
    n_folds = _n_folds(n_splits, _MAX_SINGLE_GROUPS, n_groups, "groups")
    if n_folds == n_groups:
        return list(LeaveOneGroupOut().split(rows, targets, groups))
    if stratified and np.bincount(targets).max() >= n_folds:
        found = _stratified_by_group(targets, groups, n_folds, random_state)
        if all(len(test) for _, test in found):  # the greedy splitter may leave a fold empty
            return found
    return list(GroupKFold(n_folds).split(rows, targets, groups))


def _stratified_by_group(
    targets: npt.NDArray[np.intp],
    groups: npt.NDArray[np.intp],
    n_folds: int,
    random_state: RandomState,
) -> list[Fold]:
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        # Labels rarer than folds: `check_folds` says what came of it.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(np.zeros(len(targets)), targets, groups))


def _n_folds(n_splits: int | None, default: int, available: int, what: str) -> int:
    """Return `n_splits`, by default as many as sensible, if there are that many `what` to split."""
    if available < 2:
        raise InputError(f"a probe needs at least two {what}, got {available}")
    if n_splits is None:
        return min(default, available)
    if not 2 <= check_count(n_splits, "n_splits") <= available:
        raise InputError(f"n_splits must be from 2 to the {available} {what}, got {n_splits}")
    return n_splits


def check_folds(
    folds: Sequence[Fold],
    data: Labelled,
    consequence: str = "their test samples count as wrong",
) -> None:
    """Refuse folds that cannot teach anything, warn of labels that one does not teach.

    To be called by the public function itself, so that the warning shows its caller.
    """
    unseen: set[int] = set()
    for train, test in folds:
        seen, asked = set(data.targets[train].tolist()), set(data.targets[test].tolist())
        if len(seen) < 2 or not asked & seen:
            raise InputError(
                "y is nested in groups: a fold trains on "
                f"{data.classes[sorted(seen)].tolist()} and tests "
                f"{data.classes[sorted(asked)].tolist()}"
            )
        unseen |= asked - seen
    if unseen:
        names = data.classes[sorted(unseen)].tolist()
        warnings.warn(
            f"labels {names} are missing from the training part of a fold; {consequence}",
            UserWarning,
            stacklevel=3,
        )


def probe_inputs(X: Any, name: str = "X") -> Any:
    """Return X in float64, as CSR if it is sparse."""
    if not sparse.issparse(X):
        dense = np.asarray(check_matrix(X, name, minimum_rows=1), dtype=np.float64)
        require_finite(dense, name)
        return dense
    require_matrix_shape(X.shape, name)
    codes = sparse.csr_array(X, dtype=np.float64)
    require_finite(codes.data, name)
    return codes


def classifier_for(features: Any, C: float, scaling: Scaling, max_iter: int, tol: float) -> Any:
    """Return the pipeline of a probe on `features`, not fitted; checks the options."""
    check_choice(scaling, "scaling", ("standard", "none"))
    check_number(C, "C", low=0.0, closed=False)
    check_number(tol, "tol", low=0.0, closed=False)
    check_count(max_iter, "max_iter")
    steps: list[Any] = []
    if scaling == "standard":
        steps.append(StandardScaler(with_mean=not sparse.issparse(features)))
    steps.append(
        LogisticRegression(
            C=C, class_weight="balanced", solver="newton-cg", max_iter=max_iter, tol=tol
        )
    )
    return make_pipeline(*steps)


def blas_threads(features: Any) -> Any:
    """Return a context in which products with `features` run on a fitting number of threads."""
    small = features.size <= _ONE_THREAD_VALUES
    return threadpool_limits(limits=1 if small else None, user_api="blas")


def predictions(
    features: Any, targets: npt.NDArray[np.intp], fold: Fold, classifier: Any
) -> npt.NDArray[np.intp]:
    """Fit on the training rows of a fold and return what is predicted for its test rows."""
    train, test = fold
    predicted: npt.NDArray[np.intp] = classifier.fit(features[train], targets[train]).predict(
        features[test]
    )
    return predicted


def balanced_accuracy(truth: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp]) -> float:
    """Return the mean, over the classes in `truth`, of the share found."""
    # Without the warning of scikit-learn's own when a class is predicted that the fold lacks.
    return float(recall_score(truth, predicted, labels=np.unique(truth), average="macro"))
