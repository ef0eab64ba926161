"""Dictionaries learnt on the groups judged beside dictionaries learnt on other groups.

Rows of the judged groups are halved. One half is judged. The dictionary of the column "seen" is
learnt on the other half, that of "unseen" on as many rows of all other groups. Features are chosen
and probes are learnt on the half that is not judged, in both columns: only what the dictionary was
learnt on differs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl.coding.model import seen_by
from icfl.metrics import cosine_similarity, selectivity
from icfl.metrics.probe import probe_on

from .entrants import TRANSFER, Entrant, available
from .markdown import Column, note, row, start
from .real_data import RealData, chosen_data

COLUMNS = (
    Column("cosine", "cosine"),
    Column("selectivity, average, corrected", "selectivity"),
    Column("probe of codes", "probe"),
)


class Size(NamedTuple):
    """What is fitted."""

    width: int
    k: int
    steps: int


SIZES = {"wells": Size(64, 8, 400), "tokens": Size(256, 16, 400)}
"""Half a plate of the wells is 108 rows: wider dictionaries would have an atom for each."""
TINY = Size(16, 4, 3)


class Split(NamedTuple):
    """Which rows are what, as positions."""

    judged: NDArray[np.intp]
    seen: NDArray[np.intp]
    unseen: NDArray[np.intp]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command alone takes."""
    parser.add_argument("--tokens", help="an .npz of tokens of images, beside the wells")
    parser.add_argument("--latents", type=int, help="instead of 64 for wells, 256 for tokens")
    parser.add_argument("--k", type=int, help="non-zeros a row, instead of 8 and 16")
    parser.add_argument("--steps", type=int, help="mini-batches of every learner")


def run(options: argparse.Namespace) -> None:
    """Print one table for each of the data and each way of grouping it."""
    entrants, missing = available(TRANSFER)
    for data in chosen_data(options.tokens, tiny=options.tiny):
        size = TINY if options.tiny else SIZES[data.name]
        asked = {"width": options.latents, "k": options.k, "steps": options.steps}
        size = size._replace(**{name: value for name, value in asked.items() if value})
        for grouping, groups in data.groupings.items():
            _table(data, grouping, groups, entrants, size, options)
    note(missing)


def _table(
    data: RealData,
    grouping: str,
    groups: NDArray[Any],
    entrants: list[Entrant],
    size: Size,
    options: argparse.Namespace,
) -> None:
    headings = ["learner", "measure", "seen", "unseen", "seen minus unseen"]
    title = f"{data.name} by {grouping}: {size.width} latents, {size.k} non-zeros"
    about = (
        f"Mean ± standard deviation over {len(np.unique(groups))} judged groups and "
        f"{options.seeds} seeds; differences are paired."
    )
    start(title, about, headings)
    for entrant in entrants:
        pairs = [
            [_judged(entrant, data, split, rows, size, seed, options.n_jobs) for rows in split[1:]]
            for seed in range(options.seeds)
            for split in splits(groups, seed)
        ]
        for column in COLUMNS:
            here, there = np.array([[one[column.metric] for one in pair] for pair in pairs]).T
            difference = column.spread(here - there, signed=True)
            row([entrant.name, column.title, column.spread(here), column.spread(there), difference])


def splits(groups: NDArray[Any], seed: int) -> Iterator[Split]:
    """Yield a split for each judged group, with as many seen as unseen rows."""
    rng = np.random.default_rng(seed)
    for group in np.unique(groups):
        inside, outside = np.flatnonzero(groups == group), np.flatnonzero(groups != group)
        inside, outside = rng.permutation(inside), rng.permutation(outside)
        half = len(inside) // 2
        n_fit = min(len(inside) - half, len(outside))
        yield Split(
            np.sort(inside[:half]), np.sort(inside[half : half + n_fit]), np.sort(outside[:n_fit])
        )


def _judged(
    entrant: Entrant,
    data: RealData,
    split: Split,
    fit_on: NDArray[np.intp],
    size: Size,
    seed: int,
    n_jobs: int | None,
) -> Mapping[str, float]:
    common: dict[str, Any] = {
        "n_nonzero": size.k,
        "max_iter": None,
        "max_steps": size.steps,
        "batch_size": 1024,
        "random_state": seed,
        "n_jobs": n_jobs,
    }
    if entrant.cls == "ICFL":
        atoms = max(a for a in range(1, int(size.k**0.5) + 1) if size.k % a == 0)
        common |= {"n_iterations": size.k // atoms, "atoms_per_iteration": atoms}
    if not entrant.cls.startswith("baselines."):  # which are as wide as they can be
        common["n_components"] = size.width
    model = entrant.build(**common).fit(data.X[fit_on])
    return measured(model, data, split)


def measured(model: Any, data: RealData, split: Split) -> Mapping[str, float]:
    """Return the numbers of a fitted dictionary on the judged rows."""
    rows = np.concatenate([split.judged, split.seen])
    is_judged = np.arange(len(rows)) < len(split.judged)
    X, y = data.X[rows], data.label[rows]
    Z = model.transform(X)
    shared = np.intersect1d(y[is_judged], y[~is_judged])
    use = np.isin(y, shared)  # rows of a label that is on one side only say nothing of others
    chosen_on = selectivity(Z[use & ~is_judged], y[use & ~is_judged]).values.argmax(axis=0)
    scored = selectivity(Z[use & is_judged], y[use & is_judged]).values
    Xhat = model.inverse_transform(Z[is_judged])
    return {
        "cosine": float(cosine_similarity(seen_by(model, X[is_judged]), Xhat)),
        "selectivity": float(scored[chosen_on, np.arange(len(shared))].mean()),
        "probe": probe_on(Z[use], y[use], is_judged[use]),
    }
