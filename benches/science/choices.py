"""ICFL's options, one at a time, on data whose dictionary is known.

On the planted data rows are scaled to unit norm and there is no threshold, as by default; on the
benchmark rows are as they are, and its true coefficients of about 4 to 5 give the threshold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from icfl.datasets import make_planted, make_synthetic_benchmark
from icfl.updates import Online

from .entrants import BLOCK, Entrant, available
from .markdown import Column, is_wanted, note, row, start
from .truth import N_TEST, SEED_OF_FIT, Truth, found_by, test_rows

BASE: Mapping[str, Any] = {"n_iterations": 16, "atoms_per_iteration": 1}
COLUMNS = (
    Column("matched cosine", "matched_cosine"),
    Column("F1", "f1"),
    Column("best F1", "best_f1"),
    Column("explained variance", "explained_variance"),
    Column("l0", "l0", decimals=1),
    Column("dead, %", "dead", decimals=1, scale=100),
    Column("negative, %", "negative", decimals=2, scale=100),
)


def _choice(name: str, **options: Any) -> Entrant:
    return Entrant(name, "ICFL", {**BASE, **options})


CHOICES = (
    _choice("16 x 1, all else by default"),
    _choice("8 x 2", n_iterations=8, atoms_per_iteration=2),
    _choice("4 x 4", n_iterations=4, atoms_per_iteration=4),
    _choice("refit: block", refit="block"),
    _choice("refit: block, 4 x 4", refit="block", n_iterations=4, atoms_per_iteration=4),
    _choice("all atoms at once", update=Online(first_atoms=None)),
    _choice("disentangle: 0", update=Online(disentangle=0.0)),
    _choice("disentangle: 0.9", update=Online(disentangle=0.9)),
    _choice("literal encoder and start", **BLOCK.options),
    _choice("selection: absolute", selection="absolute"),
    _choice("threshold: auto", threshold="auto"),
    _choice("atom_norm: free", atom_norm="free"),
    _choice("coherence_limit: None", coherence_limit=None),
    _choice("coherence_limit: 0.7", coherence_limit=0.7),
    _choice("init: random", init="random"),
    _choice("init: linear", init="linear"),
    _choice("update: adam", update="adam"),
)
"""The first row is what the others differ from."""


class Problem(NamedTuple):
    """Rows to learn from, rows to judge on, and what all fits on them share."""

    train: Any
    truth: Truth
    options: Mapping[str, Any]


class Size(NamedTuple):
    """How much is learnt from and judged on."""

    rows: int
    benchmark_rows: int
    scale: float
    latents: int
    test_rows: int


FULL = Size(100_000, 800_000, 0.25, 512, N_TEST)
TINY = Size(600, 600, 0.02, 64, 512)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command alone takes."""
    parser.add_argument("--passes", type=int, default=10, help="over the planted rows")
    parser.add_argument("--benchmark-passes", type=int, default=1, help="over the benchmark's rows")
    parser.add_argument("--only", nargs="+", default=[], help="names of rows, or their beginnings")
    parser.add_argument(
        "--data", nargs="+", default=["planted", "benchmark"], choices=["planted", "benchmark"]
    )


def planted(seed: int, size: Size, options: argparse.Namespace) -> Problem:
    """Return samples of 512 features in 128 dimensions, 10 active on average."""
    data = make_planted(size.rows, 128, size.latents, n_active=10, random_state=seed)
    test = data.model.sample(size.test_rows, random_state=SEED_OF_FIT + seed)
    truth = Truth(test.X, test.codes, data.components)
    return Problem(data.X, truth, {"n_components": size.latents, "max_iter": options.passes})


def benchmark(seed: int, size: Size, options: argparse.Namespace) -> Problem:
    """Return a quarter of the synthetic benchmark: four features for each latent."""
    bench = make_synthetic_benchmark(size.scale, random_state=seed)
    common = {
        "n_components": bench.n_latents,
        "unit_norm_inputs": False,
        "threshold": 2.25,
        "max_iter": options.benchmark_passes,
    }
    train = bench.train(size.benchmark_rows, n_jobs=options.n_jobs)
    return Problem(train, test_rows(bench, size.test_rows, options.n_jobs), common)


PROBLEMS: Mapping[str, Callable[[int, Size, argparse.Namespace], Problem]] = {
    "planted": planted,
    "benchmark": benchmark,
}
TITLES = {
    "planted": "Planted, {size.latents} features in 128 dimensions, {size.rows:,} rows",
    "benchmark": "Benchmark of scale {size.scale}, {size.benchmark_rows:,} rows, threshold 2.25",
}


def run(options: argparse.Namespace) -> None:
    """Print one table for each of the data."""
    size = TINY if options.tiny else FULL
    entrants, missing = available(CHOICES)
    names = [entrant.name for entrant in entrants]
    entrants = [entrant for entrant in entrants if is_wanted(entrant.name, options.only, names)]
    about = f"Mean ± standard deviation over {options.seeds} seeds of data and fit."
    for name in options.data:
        problems = [PROBLEMS[name](seed, size, options) for seed in range(options.seeds)]
        headings = ["option", *(column.title for column in COLUMNS)]
        start(TITLES[name].format(size=size), about, headings)
        for entrant in entrants:
            numbers = [_judged(entrant, problem, i, options) for i, problem in enumerate(problems)]
            cells = [column.spread([n[column.metric] for n in numbers]) for column in COLUMNS]
            row([entrant.name, *cells])
        note(missing)


def _judged(
    entrant: Entrant, problem: Problem, seed: int, options: argparse.Namespace
) -> Mapping[str, float]:
    common = {**problem.options, "random_state": SEED_OF_FIT + seed, "n_jobs": options.n_jobs}
    return found_by(entrant.build(**common).fit(problem.train), problem.truth)
