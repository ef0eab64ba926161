"""The latents that stand for labels: how often they fire on a label's rows, and on others.

For each label the most selective latent is chosen on all groups but one, by either definition of
selectivity, and looked at on that one. The differences of the columns are the corrected selectivity
of `claims`; the columns themselves tell why learners differ in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl.evaluation.learners import seeded
from icfl.metrics.selectivity import Kind, selectivity

from .claims import FULL, TINY, learners
from .entrants import LATENTS
from .markdown import Column, is_wanted, row, start
from .real_data import RealData, chosen_data

KINDS: tuple[Kind, ...] = ("average", "maximum")
COLUMNS = (
    Column("fires on the label", "label"),
    Column("on all others", "others"),
    Column("on the label next to it", "next"),
    Column("on all rows", "all"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command alone takes."""
    parser.add_argument("--tokens", help="an .npz of tokens of images, beside the wells")
    parser.add_argument("--only", nargs="+", default=[], help="names of rows, or their beginnings")


def run(options: argparse.Namespace) -> None:
    """Print a table for each of the data."""
    size = TINY if options.tiny else FULL
    names = [entrant.name for entrant in LATENTS]
    for data in chosen_data(options.tokens, tiny=options.tiny):
        k, n_groups = size.sparsities[0], len(np.unique(data.groups))
        shares = np.unique(data.label, return_counts=True)[1] / len(data.label)
        start(
            f"Latents that stand for labels, {data.name}: {size.width} latents, {k} non-zeros",
            f"Mean ± standard deviation over {n_groups} held-out groups and {options.seeds} seeds "
            f"of the mean over {len(shares)} labels, of which each has {100 * shares.min():.1f} to "
            f"{100 * shares.max():.1f} % of the rows. Not whitened.",
            ["learner", "selectivity", *(column.title for column in COLUMNS)],
        )
        for name, learner in learners(LATENTS, size, k, options.n_jobs).items():
            if is_wanted(name, options.only, names):
                _rows(name, learner, data, options.seeds)


def _rows(name: str, learner: Any, data: RealData, n_seeds: int) -> None:
    found: dict[str, list[Mapping[str, float]]] = {kind: [] for kind in KINDS}
    for seed in range(n_seeds):
        for train, test in _folds(data):
            active = seeded(learner, seed).fit(data.X[train]).transform(data.X) != 0
            for kind in KINDS:
                found[kind].append(_fires(active, data.label, train, test, kind))
    for kind, numbers in found.items():
        cells = [column.spread([n[column.metric] for n in numbers]) for column in COLUMNS]
        row([name, kind, *cells])


def _folds(data: RealData) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield rows of the fit, and held-out rows of labels that the fit has seen, group by group."""
    for group in np.unique(data.groups):
        held_out = data.groups == group
        shared = np.intersect1d(data.label[held_out], data.label[~held_out])
        if len(shared) > 1:
            yield ~held_out, held_out & np.isin(data.label, shared)


def _fires(
    active: Any,
    label: NDArray[Any],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    kind: Kind,
) -> Mapping[str, float]:
    """Return on what share of rows the labels' latents fire, mean over labels."""
    labels = np.unique(label[test])
    seen = train & np.isin(label, labels)
    chosen = selectivity(active[seen], label[seen], kind).values.argmax(axis=0)
    fires = active[test][:, chosen].toarray()
    of_label = np.stack([fires[label[test] == one].mean(axis=0) for one in labels])
    own = np.eye(len(labels), dtype=bool)
    others = [fires[label[test] != one, i].mean() for i, one in enumerate(labels)]
    return {
        "label": float(of_label[own].mean()),
        "others": float(np.mean(others)),
        "next": float(np.where(own, -np.inf, of_label).max(axis=0).mean()),
        "all": float(fires.mean()),
    }
