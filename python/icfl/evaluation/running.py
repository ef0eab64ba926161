"""`icfl.compare`: one call that fits learners side by side and gives one table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import combinations, groupby
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icfl._validation import check_count, check_n_jobs
from icfl.evaluation.cache import Cache, digest_of_data
from icfl.evaluation.cells import half_dictionary, measure
from icfl.evaluation.comparison import Comparison, Record
from icfl.evaluation.learners import resolve
from icfl.evaluation.plan import Cell, Data, folds, halves, plan, prepare
from icfl.metrics import dictionary_similarity
from icfl.whitening import ControlWhitener

__all__ = ["compare"]

ALL_SEEDS = -1
"""Seed of a number that is of all of them together."""


def compare(
    learners: Sequence[str] | Mapping[str, Any],
    X: ArrayLike,
    labels: ArrayLike | Mapping[str, ArrayLike],
    groups: ArrayLike,
    *,
    control: ArrayLike | None = None,
    n_components: int | None = None,
    n_nonzero: int | None = None,
    whitening: Sequence[str] | None = None,
    whitener: ControlWhitener | None = None,
    n_seeds: int = 3,
    n_splits: int | None = None,
    n_jobs: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[..., Any] | None = None,
) -> Comparison:
    """Fit learners on the same held-out groups and seeds and measure what they are worth.

    Every group (plate, batch, donor) is held out in turn; whitener, learner and probes see the
    others only, and everything is measured on the group held out.

    Parameters
    ----------
    learners : sequence of str, or mapping of str to estimator
        "icfl", "topk", "batch_topk", "matryoshka", "abs_topk", "jump_relu", "matching_pursuit",
        "pca", "ica", "nmf", "kmeans", "random", "raw"; or unfitted estimators by name.
    X : array-like of shape (n_samples, n_features)
        Activations.
    labels : array-like of shape (n_samples,), or mapping of str to such
        What features may be selective for and probes read; None, NaN and "" mean: no label.
    groups : array-like of shape (n_samples,)
        What is held out: up to ten groups one by one, more in ten folds.
    control : array-like of shape (n_samples,), bool, optional
        Unperturbed samples, for whitening.
    n_components : int, optional
        Atoms of every learner that has a choice; without, each has its own.
    n_nonzero : int, optional
        Non-zeros a row of every learner. `ICFL` gets rounds and atoms a round that make as many.
    whitening : sequence of {"none", "control"}, optional
        Without and with whitening by the controls; by default both if there are controls.
    whitener : ControlWhitener, optional
        Unfitted; ``ControlWhitener(shrinkage="ledoit-wolf")`` by default.
    n_seeds : int, default=3
        Fits of each learner on each fold, with random states 0, 1, ... From two on, dictionaries
        are compared, and each learner is fitted twice more: to two halves of all rows.
    n_splits : int, optional
        Folds, instead of the rule above.
    n_jobs : int, optional
        Threads of a fit; fits run one after the other, so that their times mean something.
    cache : str or os.PathLike, optional
        Folder that keeps every fit's numbers as soon as they are there. Another call on the same
        data goes on from it.
    progress : callable, optional
        ``progress(title, total, unit=...)`` gives a context with ``advance()``.

    Returns
    -------
    Comparison
        Per fit "cosine_similarity", "explained_variance", "l0", "dead_fraction" (on the rows of the
        fit), "n_components", "fit_seconds", "encode_seconds", "fit_mebibytes"; of several seeds
        "stability": matched cosine of the dictionaries of two seeds, mean over pairs, and, once for
        each learner and whitening, "stability_halves": that of fits to two disjoint halves of the
        rows (of the groups, if there are four or more) from two seeds, under one whitening by all
        controls. Its group is "", it has no interval, and it is left out where a learner asks for
        more rows than a half has. Per label, of the best features, mean over its values,
        "selectivity_average_naive" (the best on the rows it is scored on), "..._null" (the same if
        labels are permuted within held-out groups: what choice alone gives), "..._corrected" (the
        best on the groups of the fit), the three also as "selectivity_maximum_...", "auroc_naive"
        and "auroc_corrected"; of all features "batch_leakage" (share of the doubt about whether
        they fire that is resolved by knowing that a row is held out, labels being equal, mean) and
        "flagged_fraction" (share that tell this above all); "probe_codes" and
        "probe_reconstructions" (balanced accuracy).

    Raises
    ------
    InputError, InputTypeError
        If arrays do not fit each other, a learner is unknown, or there are fewer than two groups.

    See Also
    --------
    icfl.evaluation.fit_stability : Seeds and halves of one learner, beside chance.
    icfl.metrics.batch_leakage : Of what features tell of plates, on rows of any plates.
    icfl.metrics.feature_auroc : The areas.
    icfl.metrics.linear_probe : The probes.
    icfl.metrics.matched_density_null : The null, with p-values.
    icfl.metrics.selectivity : Both kinds.

    Notes
    -----
    Intervals are over held-out groups, of which a screen has few: read differences
    (`Comparison.difference`), which are paired, rather than overlapping intervals.

    References
    ----------
    Donhauser et al. (2025), "Towards scientific discovery with dictionary learning", PMLR 267.

    Examples
    --------
    >>> import icfl
    >>> screen = icfl.datasets.load_cell_lines()
    >>> found = icfl.compare(
    ...     ["pca", "random"], screen.data, screen.labels.cell_type, screen.labels.plate,
    ...     n_components=64, n_nonzero=8, n_seeds=1,
    ... )
    >>> found.learners
    ['pca', 'random']
    >>> found.difference("pca", "random", "cosine_similarity").mean > 0
    True
    """
    data = prepare(X, labels, groups, control)
    n_jobs = check_n_jobs(n_jobs)
    estimators = resolve(
        learners,
        None if n_components is None else check_count(n_components, "n_components"),
        None if n_nonzero is None else check_count(n_nonzero, "n_nonzero"),
        n_jobs,
    )
    if whitening is None:
        whitening = ("none",) if data.control is None else ("none", "control")
    whitener = ControlWhitener(shrinkage="ledoit-wolf") if whitener is None else whitener
    held_out = folds(data.groups, n_splits)
    n_seeds = check_count(n_seeds, "n_seeds")
    halved = halves(data.groups) if n_seeds > 1 else ()
    cells = plan(list(estimators), whitening, held_out, n_seeds, data.control, halved)
    kept = Cache(cache, "" if cache is None else digest_of_data(data))
    records: list[Record] = []
    bar = nullcontext() if progress is None else progress("compare", len(cells), unit="fits")
    with bar as shown:
        for _, together in groupby(cells, key=_compared):
            dictionaries: list[NDArray[np.float32]] = []
            for cell in together:
                numbers, dictionary = _found(cell, data, estimators[cell.learner], whitener, kept)
                records += _records(cell, numbers) if cell.measured else ()
                dictionaries += [] if dictionary is None else [dictionary]
                if shown is not None:
                    shown.advance()
            records += _stability(cell, dictionaries)
    return Comparison(tuple(records))


def _compared(cell: Cell) -> tuple[str, ...]:
    """Return what fits share whose dictionaries are compared: a fold, or that they are halves."""
    return cell.whitening, cell.learner, *([cell.fold.name] if cell.measured else [])


def _found(
    cell: Cell, data: Data, learner: Any, whitener: Any, kept: Cache
) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
    """Return numbers and dictionary of a fit, from the cache if it has them."""
    name = kept.name(cell, learner, whitener) if kept.folder is not None else ""
    found = kept.read(name)
    if found is None:
        if cell.measured:
            found = measure(cell, data, learner, whitener)
        else:
            found = {}, half_dictionary(cell, data, learner, whitener)
        kept.write(name, *found)
    return found


def _records(cell: Cell, results: dict[str, Any]) -> Iterator[Record]:
    learner, whitening, fold, seed, _ = cell
    for label, numbers in {"": results["numbers"], **results["labels"]}.items():
        for metric, value in numbers.items():
            if value is not None:
                yield Record(learner, whitening, fold.name, seed, label, metric, value)


def _stability(cell: Cell, dictionaries: Sequence[NDArray[np.float32]]) -> Iterator[Record]:
    """Return the mean matched cosine of all pairs of dictionaries, if there are two or more."""
    pairs = list(combinations(dictionaries, 2))
    if pairs:
        cosine = float(np.mean([dictionary_similarity(a, b) for a, b in pairs]))
        # Nothing is held out from both halves together.
        held_out, metric = (
            (cell.fold.name, "stability") if cell.measured else ("", "stability_halves")
        )
        yield Record(cell.learner, cell.whitening, held_out, ALL_SEEDS, "", metric, cosine)
