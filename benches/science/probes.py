"""What probes read in codes: their values, which latents fire, or how rows lie to the atoms.

The fits are those of `claims`, on held-out groups. If atoms themselves say less of labels, so do
the non-negative inner products with all of them; if pursuit does, the k largest of these say more
than its codes; if it is the choice of the few that a row is written with, which fire says less.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

import icfl
from icfl.coding.model import seen_by
from icfl.evaluation.learners import seeded
from icfl.metrics.probe import probe_on

from .claims import FULL, TINY, learners
from .entrants import PROBED
from .markdown import Column, is_wanted, row, start
from .real_data import RealData, chosen_data

COLUMNS = (
    Column("codes", "codes"),
    Column("which latents fire", "fires"),
    Column("products with all atoms", "products"),
    Column("the largest of these", "largest"),
    Column("inputs", "inputs"),
)
WHITENINGS = ("none", "control")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command alone takes."""
    parser.add_argument("--tokens", help="an .npz of tokens of images, beside the wells")
    parser.add_argument("--only", nargs="+", default=[], help="names of rows, or their beginnings")


def run(options: argparse.Namespace) -> None:
    """Print a table for each of the data."""
    size = TINY if options.tiny else FULL
    names = [entrant.name for entrant in PROBED]
    for data in chosen_data(options.tokens, tiny=options.tiny):
        k, n_groups = size.sparsities[0], len(np.unique(data.groups))
        start(
            f"What probes read, {data.name}: {size.width} latents, {k} non-zeros",
            f"Balanced accuracy, mean ± standard deviation over {n_groups} held-out groups and "
            f"{options.seeds} seeds.",
            ["learner", "whitening", *(column.title for column in COLUMNS)],
        )
        for whitening in WHITENINGS:
            for name, learner in learners(PROBED, size, k, options.n_jobs).items():
                if is_wanted(name, options.only, names):
                    found = [
                        _read(seeded(learner, seed), data, test, whitening, k)
                        for seed in range(options.seeds)
                        for test in (data.groups == group for group in np.unique(data.groups))
                    ]
                    cells = [c.spread([numbers[c.metric] for numbers in found]) for c in COLUMNS]
                    row([name, whitening, *cells])


def _read(
    model: Any, data: RealData, test: NDArray[np.bool_], whitening: str, k: int
) -> Mapping[str, float]:
    """Return what probes learnt on the rows of a fit read on the others."""
    rows: NDArray[Any] = data.X
    if whitening == "control":
        whitener = icfl.ControlWhitener(shrinkage="ledoit-wolf")
        whitener.fit(rows[~test], control=data.control[~test])
        rows = np.asarray(whitener.transform(rows))
    codes = csr_array(model.fit(rows[~test]).transform(rows))
    inputs = seen_by(model, rows)
    largest = icfl.encode_topk(inputs, model.components_, k, bias=model.bias_, n_jobs=1)
    products = (inputs - model.bias_) @ model.components_.T
    spaces = {
        "codes": codes,
        "fires": (codes != 0).astype(np.float32),
        "products": np.maximum(products, 0.0),
        "largest": largest,
        "inputs": inputs,
    }
    return {name: probe_on(X, data.label, test) for name, X in spaces.items()}
