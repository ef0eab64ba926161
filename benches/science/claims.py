"""Learners of equal width and sparsity on real data, held-out group by held-out group.

All that learn by mini-batches get as many of them, of as many rows. Fits, metrics and intervals are
those of `icfl.compare`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import icfl
from icfl.evaluation import Comparison
from icfl.evaluation.learners import resolve
from icfl.exceptions import InputError

from .entrants import CLAIMS, ICFL, Entrant, available
from .markdown import NOTHING, Column, is_wanted, note, row, start
from .real_data import RealData, chosen_data

LABEL = "label"
COLUMNS = (
    Column("cosine", "cosine_similarity"),
    Column("explained variance", "explained_variance"),
    Column("l0", "l0", decimals=1),
    Column("dead, %", "dead_fraction", decimals=1, scale=100),
    Column("selectivity, average, naive", f"{LABEL}:selectivity_average_naive"),
    Column("corrected", f"{LABEL}:selectivity_average_corrected"),
    Column("maximum, corrected", f"{LABEL}:selectivity_maximum_corrected"),
    Column("probe of codes", f"{LABEL}:probe_codes"),
    Column("of reconstructions", f"{LABEL}:probe_reconstructions"),
)


class Size(NamedTuple):
    """What is fitted."""

    width: int
    sparsities: tuple[int, ...]
    steps: int
    n_splits: int | None


FULL = Size(256, (16, 4), 400, None)
TINY = Size(16, (4,), 3, 2)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command alone takes."""
    parser.add_argument("--tokens", help="an .npz of tokens of images, beside the wells")
    parser.add_argument("--k", type=int, nargs="+", help="non-zeros a row")
    parser.add_argument("--steps", type=int, help="mini-batches of every learner")
    parser.add_argument("--only", nargs="+", default=[], help="names of rows beside that of ICFL")
    parser.add_argument("--cache", help="folder that keeps fits, so that a run can go on")


def run(options: argparse.Namespace) -> None:
    """Print two tables for each of the data and each sparsity."""
    size = TINY if options.tiny else FULL
    size = size._replace(sparsities=options.k or size.sparsities, steps=options.steps or size.steps)
    for data in chosen_data(options.tokens, tiny=options.tiny):
        for k in size.sparsities:
            _one(data, k, size, options)


def learners(entrants: Iterable[Entrant], size: Size, k: int, n_jobs: int | None) -> dict[str, Any]:
    """Return unfitted estimators of equal width and sparsity that learn from equally many rows."""
    built = {
        e.name: e.build(max_iter=None, max_steps=size.steps, batch_size=1024) for e in entrants
    }
    return resolve(built, size.width, k, n_jobs)


def _one(data: RealData, k: int, size: Size, options: argparse.Namespace) -> None:
    entrants, missing = available(CLAIMS)
    names = [entrant.name for entrant in entrants]
    entrants = [
        e for e in entrants if e.name == ICFL.name or is_wanted(e.name, options.only, names)
    ]
    found = compared(entrants, data, k, size, options)
    title, about = titles(data, k, size, options)
    print_means(found, title, about, COLUMNS)
    note(missing)
    _print_differences(found, title, about)


def compared(
    entrants: Iterable[Entrant], data: RealData, k: int, size: Size, options: argparse.Namespace
) -> Comparison:
    """Fit and measure them."""
    return icfl.compare(
        learners(entrants, size, k, options.n_jobs),
        data.X,
        {LABEL: data.label},
        data.groups,
        control=data.control,
        n_seeds=options.seeds,
        n_splits=size.n_splits,
        n_jobs=options.n_jobs,
        cache=options.cache,
    )


def titles(data: RealData, k: int, size: Size, options: argparse.Namespace) -> tuple[str, str]:
    """Return what stands above a table: of what it is, and what its numbers are."""
    grouping = next(iter(data.groupings))
    title = f"{data.name}: {size.width} latents, {k} non-zeros, {size.steps} mini-batches"
    seeds = "one seed" if options.seeds == 1 else f"mean of {options.seeds} seeds in each"
    about = f"Mean ± half of the 95 % Student interval over held-out groups ({grouping}), {seeds}."
    return title, about


def print_means(found: Comparison, title: str, about: str, columns: Sequence[Column]) -> None:
    """Print a row for each learner and whitening."""
    start(title, about, ["learner", "whitening", *(column.title for column in columns)])
    for whitening in ("none", "control"):
        for learner in found.learners:
            cells = [_mean(found, learner, whitening, column) for column in columns]
            row([learner, whitening, *cells])


def _print_differences(found: Comparison, title: str, about: str) -> None:
    headings = ["ICFL minus", "whitening", *(column.title for column in COLUMNS)]
    start(f"Differences, {title}", f"{about} Paired by group and seed.", headings)
    for whitening in ("none", "control"):
        for other in found.learners:
            if other != ICFL.name:
                cells = [_difference(found, other, whitening, column) for column in COLUMNS]
                row([other, whitening, *cells])


def _mean(found: Comparison, learner: str, whitening: str, column: Column) -> str:
    label, _, metric = column.metric.rpartition(":")
    try:
        interval = found.interval(learner, metric, whitening=whitening, label=label)
    except InputError:  # it does not apply to this learner or these labels
        return NOTHING
    return column.show(interval.mean, interval.high - interval.mean)


def _difference(found: Comparison, other: str, whitening: str, column: Column) -> str:
    label, _, metric = column.metric.rpartition(":")
    try:
        interval = found.difference(ICFL.name, other, metric, whitening=whitening, label=label)
    except InputError:
        return NOTHING
    return column.show(interval.mean, interval.high - interval.mean, signed=True)
