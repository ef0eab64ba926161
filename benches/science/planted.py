"""Learners on the synthetic benchmark, beside the best that its true atoms allow."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_recall_curve

import icfl
from icfl.datasets import SyntheticBenchmark, make_planted, make_synthetic_benchmark
from icfl.learning.threshold import relative, slope_of

from .entrants import ICFL, PLANTED, PURSUIT, Entrant, available
from .markdown import Column, is_wanted, note, row, start
from .truth import N_TEST, SEED_OF_FIT, Truth, f1, found, found_by, test_rows

THRESHOLDS = (1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0)
"""Of the true atoms, for coefficients of 4 to 5."""
UNIT = 5.0
"""They are divided by this for coefficients of 1."""
MOST_ATOMS = 60
N_CHOOSE = 4096
"""Rows on which the threshold of the true atoms is chosen."""
MANY_ROWS = 1e9
"""As of which their rates are known."""
N_PROBED, PROBE_ROWS = 50, 131_072
"""Features that probes are learnt for, evenly spaced by frequency; rows that they learn from."""
OF_MORE = "ICFL, best of three times as many"
N_CODED = 65_536
"""Training rows whose codes say which they are."""
TRUE_ATOMS, PROBES = "true atoms", "probes with labels"
ONE_THRESHOLD, ALL_ATOMS = "true atoms, one threshold", "true atoms, of all features"
NAN = float("nan")
COLUMNS = (
    Column("F1", "f1"),
    Column("best F1", "best_f1"),
    Column("matched cosine", "matched_cosine"),
    Column("precision", "precision"),
    Column("recall", "recall"),
    Column("uniqueness", "uniqueness"),
    Column("l0", "l0", decimals=1),
    Column("explained variance", "explained_variance"),
    Column("absorption", "absorption"),
    Column("seconds", "seconds", decimals=1),
)


class Problem(NamedTuple):
    """A benchmark with the size of what is learnt on it."""

    bench: SyntheticBenchmark
    truth: Truth
    latents: int
    k: int
    thresholds: tuple[float, ...] = THRESHOLDS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command alone takes."""
    parser.add_argument("--scale", default="0.1", help="0.02 to 1, or full")
    parser.add_argument("--flat", action="store_true", help="features in no trees instead")
    parser.add_argument("--rows", type=int, default=800_000, help="training rows")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--latents", type=int, help="instead of as many as the benchmark says")
    parser.add_argument("--three-times", action="store_true", help="three times the latents")
    parser.add_argument("--only", nargs="+", default=[], help="names of rows, or their beginnings")


def run(options: argparse.Namespace) -> None:
    """Print one table."""
    if options.tiny:
        options.scale, options.rows, options.passes = "0.02", 600, 1
    problems = [_problem(seed, options) for seed in range(options.seeds)]
    entrants, missing = available(PLANTED)
    first = problems[0]
    name = "Features in no trees" if options.flat else f"Benchmark of scale {options.scale}"
    title = (
        f"{name}: {first.latents:,} latents for "
        f"{len(first.truth.components):,} features in {first.truth.X.shape[1]} dimensions"
    )
    passes = "1 pass" if options.passes == 1 else f"{options.passes} passes"
    about = (
        f"{passes} over {options.rows:,} rows; k = {first.k} of the autoencoders. "
        f"Mean ± standard deviation over {options.seeds} seeds of data and fit."
    )
    start(title, about, ["learner", *(column.title for column in COLUMNS)])
    rows: dict[str, Callable[[Problem, int], Mapping[str, float]]] = {
        entrant.name: lambda p, s, e=entrant: _fitted(e, p, s, options) for entrant in entrants
    }
    rows[OF_MORE] = lambda p, s: _best_of_more(p, s, options)
    rows[TRUE_ATOMS] = lambda p, _: ceiling(p, options.n_jobs)
    rows[ONE_THRESHOLD] = lambda p, _: ceiling(p, options.n_jobs, by_rate=False)
    rows[ALL_ATOMS] = lambda p, _: ceiling(p, options.n_jobs, of_all=True)
    rows[PROBES] = lambda p, _: probed(p, options.tiny)
    each: list[str] = []
    for name, measure in rows.items():
        if is_wanted(name, options.only, list(rows)):
            numbers = [measure(problem, seed) for seed, problem in enumerate(problems)]
            row([name, *(c.spread([n.get(c.metric, NAN) for n in numbers]) for c in COLUMNS)])
            if name in (ICFL.name, OF_MORE):
                every = ", ".join(f"{n['f1']:.4f}" for n in numbers)
                each.append(f"F1 of {name}, seed by seed: {every}.")
    note(each + missing)


def _problem(seed: int, options: argparse.Namespace) -> Problem:
    scale = options.scale if options.scale == "full" else float(options.scale)
    make = _flat if options.flat else make_synthetic_benchmark
    bench = make(scale, random_state=seed)
    latents = (options.latents or bench.n_latents) * (3 if options.three_times else 1)
    truth = test_rows(bench, 512 if options.tiny else N_TEST, options.n_jobs)
    k = expected_active(bench, latents)
    if options.flat:
        thresholds = tuple(threshold / UNIT for threshold in THRESHOLDS)
        return Problem(bench, truth._replace(parents=None), latents, k, thresholds)
    return Problem(bench, truth, latents, k)


def _flat(scale: float | str, *, random_state: int) -> SyntheticBenchmark:
    """Return features that fire each by itself, by Zipf's law.

    At a tenth 1,638 features in 128 dimensions, 12 of them active on average.
    """
    share = 1.0 if scale == "full" else float(scale)
    n_components, n_features, n_active = (round(share * full) for full in (16_384, 1_280, 120))
    model = make_planted(
        1,
        n_features,
        n_components,
        n_active=n_active,
        zipf_exponent=1.0,
        sampler="sparse",
        random_state=random_state,
    ).model
    seeds = np.random.default_rng(random_state).integers(2**63, size=2).tolist()
    return SyntheticBenchmark(model, round(share * 4096), tuple(seeds))


def expected_active(bench: SyntheticBenchmark, n_features: int) -> int:
    """Return how many of the most frequent features are active on a sample, no less than 1."""
    return max(1, round(float(np.sort(bench.model.firing.frequency)[::-1][:n_features].sum())))


def _fitted(
    entrant: Entrant, problem: Problem, seed: int, options: argparse.Namespace
) -> Mapping[str, float]:
    model, seconds = _fit(entrant, problem, seed, options)
    return {"seconds": seconds, **found_by(model, problem.truth)}


def _best_of_more(problem: Problem, seed: int, options: argparse.Namespace) -> Mapping[str, float]:
    """Return what as many latents find as are asked for, learnt amid twice as many others.

    Those of a larger dictionary are judged that explain most of training rows, by the sum of their
    squared codes. Rows are coded with all of it.
    """
    larger = problem._replace(latents=3 * problem.latents)
    model, seconds = _fit(ICFL._replace(options=PURSUIT), larger, seed, options)
    rows = problem.bench.train(min(options.rows, N_CODED), n_jobs=options.n_jobs)
    explained = sum(model.transform(chunk.X).power(2).sum(axis=0) for chunk in rows.chunks())
    kept = np.sort(np.argsort(-explained, kind="stable")[: problem.latents])
    return {"seconds": seconds, **found_by(model, problem.truth, kept)}


def _fit(
    entrant: Entrant, problem: Problem, seed: int, options: argparse.Namespace
) -> tuple[Any, float]:
    """Return a fitted learner, and how many seconds the fit took."""
    model = entrant.build(
        n_components=problem.latents,
        n_nonzero=problem.k,
        unit_norm_inputs=False,
        max_iter=options.passes,
        random_state=SEED_OF_FIT + seed,
        n_jobs=options.n_jobs,
    )
    train = problem.bench.train(options.rows, n_jobs=options.n_jobs)
    began = time.perf_counter()
    model.fit(train)
    return model, time.perf_counter() - began


def ceiling(
    problem: Problem, n_jobs: int | None, *, by_rate: bool = True, of_all: bool = False
) -> Mapping[str, float]:
    """Return what the most frequent true atoms find, at the threshold of the best F1.

    Nothing is learnt, and the threshold is chosen on rows that are judged; it is the same for all
    atoms and rows or, `by_rate`, what ``threshold="auto"`` makes of true rates: its own for each
    atom, higher for rows of which more is left. With `of_all`, rows are coded with the atoms of all
    features, and the most frequent are judged as before. "seconds" are those of coding.
    """
    frequency = problem.bench.model.firing.frequency
    ranked = np.argsort(-frequency, kind="stable")
    coded_by = np.sort(ranked if of_all else ranked[: problem.latents])
    judged = np.flatnonzero(np.isin(coded_by, ranked[: problem.latents]))
    atoms, few = problem.truth.components[coded_by], problem.truth.head(N_CHOOSE)
    rates = MANY_ROWS * frequency[coded_by]
    own = relative(rates, MANY_ROWS) if by_rate else np.ones(len(atoms))
    values = problem.truth.codes.data.astype(np.float64)
    size = float(values @ values / values.sum())
    slope = slope_of(rates, MANY_ROWS, size, atoms.shape[1]) if by_rate else 0.0

    def coded(truth: Truth, threshold: float) -> Any:
        return icfl.encode_omp(
            truth.X,
            atoms,
            min(MOST_ATOMS, *atoms.shape),
            threshold=threshold * own,
            threshold_slope=slope,
            selection="positive",
            n_jobs=n_jobs,
        )[:, judged]

    atoms_judged = atoms[judged]
    best = max(problem.thresholds, key=lambda t: f1(coded(few, t), atoms_judged, few))
    began = time.perf_counter()
    Z = coded(problem.truth, best)
    return {"seconds": time.perf_counter() - began, **found(Z, atoms_judged, problem.truth)}


def probed(problem: Problem, tiny: bool) -> Mapping[str, float]:
    """Return what logistic regression finds that is told when each feature fires.

    One probe a feature, for some of those that there are latents for, on the inputs as they are. A
    linear read-out with labels is no ceiling of sparse codes, which are not linear in the inputs;
    it is what SynthSAEBench compares them with.
    """
    frequency = problem.bench.model.firing.frequency
    chosen = np.argsort(-frequency, kind="stable")[: problem.latents]
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(N_PROBED, len(chosen)), dtype=int)]
    began = time.perf_counter()
    chunks = list(problem.bench.train(2048 if tiny else PROBE_ROWS).chunks())
    X = np.concatenate([chunk.X for chunk in chunks])
    fires = sparse.vstack([chunk.codes for chunk in chunks]).tocsc()[:, chosen].toarray() != 0
    truth = problem.truth.codes.tocsc()[:, chosen].toarray() != 0
    pairs = [
        _probe(X, fires[:, i], problem.truth.X, truth[:, i])
        for i in range(len(chosen))
        if fires[:, i].any() and truth[:, i].any()
    ]
    mean, best = np.mean(pairs, axis=0)
    return {"f1": float(mean), "best_f1": float(best), "seconds": time.perf_counter() - began}


def _probe(X: Any, fires: Any, X_test: Any, fires_test: Any) -> tuple[float, float]:
    """Return F1 at even odds and at the threshold that makes it largest on the test rows."""
    scores = LogisticRegression(max_iter=1000).fit(X, fires).decision_function(X_test)
    precision, recall, _ = precision_recall_curve(fires_test, scores)
    best = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return f1_score(fires_test, scores > 0, zero_division=0.0), float(best.max())
