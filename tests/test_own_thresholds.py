"""Pursuits in which every atom has a threshold of its own, against a loop by definition."""

from __future__ import annotations

import numpy as np
import pytest

import icfl
import oracles
from icfl.exceptions import InputError


def problem(n, d, M, seed):
    """Rows, unit atoms and a bias."""
    rng = np.random.default_rng(seed)
    D = oracles.unit_rows(rng.standard_normal((M, d)))
    X, bias = rng.standard_normal((n, d)), rng.standard_normal(d)
    return X.astype(np.float32), D.astype(np.float32), bias.astype(np.float32)


def by_definition(X, D, n_iterations, atoms_per_iteration, thresholds, selection, *, joint):
    """Pursuit with a threshold for each atom, in float64, and how near any decision was to another.

    In each round the atoms of which the score is the largest multiple of their threshold, while it
    is more than one; coefficients of the newest or, if `joint`, of all by least squares.
    """
    X, D = X.astype(np.float64), D.astype(np.float64)
    codes, margins = np.zeros((len(X), len(D))), np.full(len(X), np.inf)
    for i, x in enumerate(X):
        taken: list[int] = []
        for _ in range(n_iterations):
            multiples = (D @ (x - codes[i] @ D)) / thresholds
            multiples = abs(multiples) if selection == "absolute" else multiples
            multiples[taken] = -np.inf if joint else multiples[taken]
            ranked = np.sort(multiples)[::-1]
            edge = np.append(ranked[: atoms_per_iteration + 1], 1.0)
            margins[i] = min(margins[i], *abs(np.diff(np.sort(edge[np.isfinite(edge)]))))
            chosen = np.argsort(-multiples)[:atoms_per_iteration]
            chosen = chosen[multiples[chosen] > 1.0]
            if not len(chosen):
                break
            taken.extend(map(int, chosen))
            S, target = (taken, x) if joint else (chosen, x - codes[i] @ D)
            fitted = np.linalg.lstsq(D[S].T, target, rcond=None)[0]
            codes[i, S] = fitted if joint else codes[i, S] + fitted
    return codes, margins


@pytest.mark.parametrize("gram", [True, False])
@pytest.mark.parametrize("selection", ["positive", "absolute"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_atom_can_have_its_own_threshold(gram, selection, seed, monkeypatch):
    monkeypatch.setenv("ICFL_GRAM_BUDGET", str(2**30 if gram else 0))
    X, D, bias = problem(150, 24, 60, seed)
    own = np.random.default_rng(seed).uniform(0.3, 1.5, 60)
    options = {"threshold": own, "selection": selection, "bias": bias}
    block = {"n_iterations": 4, "atoms_per_iteration": 2}
    found = {
        (8, 1, True): icfl.encode_omp(X, D, 8, **options),
        (6, 1, False): icfl.encode_mp(X, D, 6, **options),
        (4, 2, False): icfl.encode_icfl(X, D, **block, **options),
    }
    for (rounds, at_once, joint), Z in found.items():
        expected, margins = by_definition(X - bias, D, rounds, at_once, own, selection, joint=joint)
        clear = margins > 1e-4
        assert clear.mean() > 0.9
        Z = Z.toarray()
        np.testing.assert_array_equal((Z != 0)[clear], (expected != 0)[clear])
        # float32, the ridge of 1e-6 and blocks of condition 100 or so.
        np.testing.assert_allclose(Z[clear], expected[clear], rtol=0, atol=3e-4)
    counts = [np.diff(Z.indptr).mean() for Z in found.values()]
    assert min(counts) > 1.5  # thresholds leave something to decide
    equal = icfl.encode_omp(X, D, 8, threshold=np.full(60, 0.5), selection=selection)
    one = icfl.encode_omp(X, D, 8, threshold=0.5, selection=selection)
    for part in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(equal, part), getattr(one, part))


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ([0.5], r"threshold must have shape \(10,\)"),
        ([np.nan] * 10, "threshold contains NaN"),
        (np.arange(10), "threshold must be positive for every atom, got 0.0 for atom 0"),
        (-np.ones(10), "threshold must be positive"),
    ],
)
def test_bad_thresholds_are_refused(threshold, message):
    X, D, _ = problem(4, 8, 10, 0)
    for encode in (icfl.encode_omp, icfl.encode_mp):
        with pytest.raises(InputError, match=message):
            encode(X, D, 2, threshold=threshold)
    with pytest.raises(InputError, match=message):
        icfl.encode_icfl(X, D, threshold=threshold)


def test_thresholds_of_a_model_that_were_changed_are_checked():
    X = icfl.datasets.make_planted(300, 16, 24, n_active=2, random_state=0).X
    model = icfl.ICFL(24, n_iterations=4, threshold="auto", max_iter=1, random_state=0).fit(X)
    before = model.transform(X).nnz
    model.threshold_ = 3.0 * model.threshold_
    assert model.transform(X).nnz < before
    model.threshold_ = model.threshold_[:5]
    with pytest.raises(InputError, match=r"threshold_ must have shape \(24,\)"):
        model.transform(X)
