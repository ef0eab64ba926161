"""Which fits a comparison is made of: learner by whitening by held-out group by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from icfl._validation import check_choice, check_count, check_matrix, seeded_generator
from icfl.evaluation.halves import split_halves
from icfl.exceptions import InputError
from icfl.metrics._labels import encode_labels

__all__ = ["MAX_FOLDS", "Cell", "Data", "Fold", "Whitening", "folds", "halves", "plan", "prepare"]

Whitening = Literal["none", "control"]
WHITENINGS = ("none", "control")
MAX_FOLDS = 10
"""Up to so many groups are held out one by one, more in so many folds."""
MIN_GROUPS_TO_HALVE = 4


class Fold(NamedTuple):
    """What is held out at a time.

    Attributes
    ----------
    name : str
        Its groups.
    test : ndarray of shape (n_samples,), bool
        Which rows they are.
    """

    name: str
    test: NDArray[np.bool_]


class Cell(NamedTuple):
    """One fit."""

    learner: str
    whitening: Whitening
    fold: Fold
    seed: int
    measured: bool = True
    """Whether on what is held out; of a fit to a half of the rows only the dictionary counts."""


@dataclass(frozen=True)
class Data:
    """What all fits share.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
    labels : dict of str to ndarray of shape (n_samples,)
        Position of each row's label among the sorted ones, −1 where there is none.
    names : dict of str to ndarray of shape (n_labels,)
        The sorted labels.
    groups : ndarray of shape (n_samples,)
    control : ndarray of shape (n_samples,), bool, or None
    """

    X: NDArray[Any]
    labels: dict[str, NDArray[np.intp]]
    names: dict[str, NDArray[Any]]
    groups: NDArray[Any]
    control: NDArray[np.bool_] | None


def prepare(X: Any, labels: Any, groups: Any, control: Any) -> Data:
    """Check what was passed.

    Raises
    ------
    InputError, InputTypeError
        If rows, labels, groups and controls do not fit each other, a label has one value only, or
        controls are not boolean.
    """
    rows = check_matrix(X, "X", minimum_rows=2)
    if not isinstance(labels, Mapping):
        labels = {"label": labels}
    codes, names = {}, {}
    for name, column in labels.items():
        codes[str(name)], names[str(name)] = encode_labels(column, len(rows), f"labels[{name!r}]")
        if len(names[str(name)]) < 2:
            found = names[str(name)].tolist()
            raise InputError(f"labels[{name!r}] must have at least two values, got {found}")
    where, groups_found = encode_labels(groups, len(rows), "groups")
    if (where < 0).any():
        raise InputError(f"groups must be known for every row, {np.sum(where < 0)} are missing")
    return Data(rows, codes, names, groups_found[where], _control(control, len(rows)))


def _control(control: Any, n: int) -> NDArray[np.bool_] | None:
    if control is None:
        return None
    mask = np.asarray(control)
    if mask.dtype != bool or mask.shape != (n,):
        raise InputError(
            f"control must be boolean with one entry per row ({n}), "
            f"got {mask.dtype} of shape {mask.shape}"
        )
    return mask


def folds(groups: NDArray[Any], n_splits: int | None) -> list[Fold]:
    """Hold out every group once, a few at a time if there are many."""
    distinct = np.unique(groups)
    if len(distinct) < 2:
        raise InputError(f"groups must have at least two values, got {distinct.tolist()}")
    n_folds = (
        min(MAX_FOLDS, len(distinct)) if n_splits is None else check_count(n_splits, "n_splits")
    )
    if not 2 <= n_folds <= len(distinct):
        raise InputError(f"n_splits must be from 2 to the {len(distinct)} groups, got {n_folds}")
    if n_folds == len(distinct):
        return [Fold(str(group), groups == group) for group in distinct]
    found = []
    for _, rows in GroupKFold(n_folds).split(groups, groups=groups):
        held_out = np.unique(groups[rows])
        found.append(Fold("+".join(map(str, held_out)), np.isin(groups, held_out)))
    return found


def halves(groups: NDArray[Any]) -> list[Fold]:
    """Leave out either half of the rows: whole groups where there are four, else any rows.

    Of two or three groups a half would be one: their difference would be that of two groups.
    """
    enough = len(np.unique(groups)) >= MIN_GROUPS_TO_HALVE
    parts = split_halves(len(groups), groups if enough else None, seeded_generator(0))
    return [
        Fold(f"half {number}", np.isin(np.arange(len(groups)), other))
        for number, other in ((1, parts[1]), (2, parts[0]))
    ]


def plan(
    learners: Sequence[str],
    whitening: Sequence[str],
    held_out: Sequence[Fold],
    n_seeds: int,
    control: NDArray[np.bool_] | None,
    halved: Sequence[Fold] = (),
) -> list[Cell]:
    """Return all cells: of each whitening and learner the folds, seeds innermost, then halves.

    Each half has a seed of its own: dictionaries that start alike would agree for that alone.

    Raises
    ------
    InputError
        If a whitening is unknown, or needs controls that a fold does not have.
    """
    for kind in whitening:
        check_choice(kind, "whitening", WHITENINGS)
    if "control" in whitening:
        if control is None:
            raise InputError('whitening="control" needs control, a boolean for each row')
        for fold in held_out:
            if not control[~fold.test].any():
                raise InputError(f"no control is left when {fold.name} is held out")
    fits = [(fold, seed, True) for fold in held_out for seed in range(n_seeds)]
    fits += [(fold, seed, False) for seed, fold in enumerate(halved)]
    return [
        Cell(learner, kind, *fit)  # type: ignore[arg-type]  # checked above
        for kind in whitening
        for learner in learners
        for fit in fits
    ]
