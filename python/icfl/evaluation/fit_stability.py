"""The same dictionary learnt again: from other seeds, and from other samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from icfl._frames import data_frame
from icfl._validation import check_count, check_flag, seeded_generator
from icfl.evaluation.halves import split_halves
from icfl.exceptions import InputError
from icfl.metrics import Stability, stability


@dataclass(frozen=True, eq=False)
class FitStability:
    """How alike the dictionaries of several fits are.

    Attributes
    ----------
    seeds : Stability or None
        All pairs of fits to all samples, which differ in their seeds alone.
    halves : Stability or None
        Two fits to disjoint halves of the samples, with other seeds as well.
    """

    seeds: Stability | None
    halves: Stability | None

    def to_frame(self) -> Any:
        """Return the tables of `seeds` and `halves` as one, the column "fits" telling them apart.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        parts = {"seeds": self.seeds, "halves": self.halves}
        frames = {name: part.to_frame() for name, part in parts.items() if part is not None}
        columns = next(iter(frames.values())).columns
        fits = np.repeat(list(frames), [len(frame) for frame in frames.values()])
        joined = {
            name: np.concatenate([part[name] for part in frames.values()]) for name in columns
        }
        return data_frame({"fits": fits} | joined)


def fit_stability(
    estimator: Any,
    X: Any,
    *,
    groups: npt.ArrayLike | None = None,
    n_seeds: int = 3,
    halves: bool = True,
    random_state: int | np.random.RandomState | None = None,
    **options: Any,
) -> FitStability:
    """Fit an estimator from several seeds and to halves of the samples, and compare dictionaries.

    Parameters
    ----------
    estimator : estimator with ``components_`` after ``fit`` and a parameter ``random_state``
        Is cloned for each fit; itself it stays as it is. Clones write no checkpoint.
    X : array-like of shape (n_samples, n_features)
        What it is fitted to. Each half is copied, one at a time.
    groups : array-like of shape (n_samples,), optional
        What the halves must not share: plates, experiments, donors.
    n_seeds : int, default=3
        Fits to all samples, two or more, each from a seed of its own; 0 for none.
    halves : bool, default=True
        Whether to fit to two disjoint halves.
    random_state : int or RandomState, optional
        Of the seeds, the halves, and the random dictionaries of `icfl.metrics.stability`.
    **options
        For `icfl.metrics.stability`: ``sign``, ``thresholds``, ``n_draws``, ``max_bytes``,
        ``n_candidates``.

    Returns
    -------
    FitStability
        With `.seeds`, `.halves` and `.to_frame()`.

    Raises
    ------
    InputError, InputTypeError
        If `n_seeds` is 1, there is nothing to fit, the estimator has no ``random_state`` or, once
        fitted, no ``components_``, or there are fewer than two groups.

    See Also
    --------
    icfl.metrics.stability : the comparison, for dictionaries at hand.

    Notes
    -----
    Seeds say whether the answer depends on the start, halves whether it depends on the samples as
    well. Halves are the stricter question: fits to the same samples also agree on the accidents in
    them. On 4,000 rows of white noise in 16 dimensions, 24 atoms of `icfl.ICFL`, seeds gave 0.56 to
    0.57 and halves 0.45 to 0.50 where chance is 0.43 (three runs); on planted data 0.89 to 0.91 and
    0.85 to 0.91.

    An ``init`` that is an array is the same in all fits: then only the order of the samples varies
    between seeds.

    Examples
    --------
    >>> import icfl
    >>> from icfl.evaluation import fit_stability
    >>> X = icfl.datasets.make_planted(2000, 16, 24, n_active=2, random_state=0).X
    >>> learner = icfl.ICFL(24, n_iterations=2, atoms_per_iteration=1, batch_size=128)
    >>> found = fit_stability(learner, X, n_seeds=2, random_state=0)
    >>> bool(found.seeds.mean > 0.8 > 0.6 > found.seeds.mean_by_chance)
    True
    """
    check_count(n_seeds, "n_seeds", minimum=0)
    check_flag(halves, "halves")
    if n_seeds == 1 or (n_seeds == 0 and not halves):
        raise InputError(f"n_seeds must be at least 2, or 0 with halves=True, got {n_seeds}")
    if "random_state" not in estimator.get_params(deep=False):
        raise InputError(f"estimator must have a random_state to vary, {estimator!r} has none")
    rows = X if hasattr(X, "__getitem__") else np.asarray(X)
    n_samples = rows.shape[0] if hasattr(rows, "shape") else len(rows)
    rng = seeded_generator(random_state)
    parts = split_halves(n_samples, groups, rng) if halves else ()
    seeds = rng.integers(2**31, size=n_seeds + len(parts) + 2).tolist()
    whole = [_dictionary(estimator, X, seeds.pop()) for _ in range(n_seeds)]
    split = [_dictionary(estimator, _safe_indexing(rows, part), seeds.pop()) for part in parts]
    found = [
        stability(dictionaries, random_state=seeds.pop(), **options) if dictionaries else None
        for dictionaries in (whole, split)
    ]
    return FitStability(*found)


def _dictionary(estimator: Any, X: Any, seed: int) -> npt.NDArray[Any]:
    fresh = clone(estimator)
    changed = {"random_state": seed, "checkpoint": None}
    fresh.set_params(**{k: v for k, v in changed.items() if k in fresh.get_params(deep=False)})
    components = getattr(fresh.fit(X), "components_", None)
    if components is None:
        raise InputError(f"estimator must have components_ once fitted, {estimator!r} has none")
    return np.asarray(components)
