"""Thresholds of pursuits that are not one number, against loops by definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import icfl
import oracles
from icfl.coding.coders import OrthogonalPursuit, OwnThresholds
from icfl.exceptions import InputError, InputTypeError
from icfl.torch.orthogonal import pursuit_of


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


def without_the_weak(X, D, Z, thresholds, slope, selection):
    """Codes whose weakest atom goes until all exceed what is asked of them, in float64.

    And how near any decision was to another, relative to the threshold. What a row's own atoms
    leave of it without one of them is formed by a fit without it.
    """
    X, D = X.astype(np.float64), D.astype(np.float64)
    codes, margins = np.zeros(Z.shape), np.full(len(X), np.inf)

    def fit(x, S):
        values = np.linalg.lstsq(D[S].T, x, rcond=None)[0] if S else np.zeros(0)
        return values, x - values @ D[S]

    for i, x in enumerate(X):
        S = list(map(int, np.flatnonzero(Z[i])))
        while S:
            left = fit(x, S)[1]
            asked = thresholds[S] * (1.0 + slope * (left @ left) / thresholds.max())
            others = [fit(x, [o for o in S if o != m])[1] for m in S]
            multiples = np.array([D[m] @ r for m, r in zip(S, others, strict=True)]) / asked
            multiples = abs(multiples) if selection == "absolute" else multiples
            ranked = np.sort(np.append(multiples, 1.0))
            margins[i] = min(margins[i], abs(np.diff(ranked[:3])).min())
            if multiples.min() > 1.0:
                break
            del S[int(multiples.argmin())]
        codes[i, S] = fit(x, S)[0]
    return codes, margins


@pytest.mark.parametrize("gram", [True, False])
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize(
    ("selection", "slope"),
    [("positive", 0.05), ("positive", 0.1), ("absolute", 0.1), ("absolute", 0.2)],
)
def test_atoms_that_are_too_weak_for_what_is_left_go_again(
    gram, alike, selection, slope, monkeypatch
):
    monkeypatch.setenv("ICFL_GRAM_BUDGET", str(2**30 if gram else 0))
    X, D, bias = problem(300, 24, 60, 2)
    own = np.full(60, 0.5) if alike else np.random.default_rng(2).uniform(0.3, 0.8, 60)
    given = 0.5 if alike else own
    options = {"threshold": given, "selection": selection, "bias": bias}
    before = icfl.encode_omp(X, D, 8, **options).toarray()
    expected, margins = without_the_weak(X - bias, D, before, own, slope, selection)
    found = icfl.encode_omp(X, D, 8, threshold_slope=slope, **options)
    clear = margins > 1e-4
    assert clear.mean() > 0.9
    codes = found.toarray()
    np.testing.assert_array_equal((codes != 0)[clear], (expected != 0)[clear])
    # float32 inner products of rows of norm 10 or less, and systems of condition 100 or so.
    np.testing.assert_allclose(codes[clear], expected[clear], rtol=0, atol=3e-4)
    assert 0.02 < found.nnz / np.count_nonzero(before) < 0.98
    for n_jobs in (1, 2):
        again = icfl.encode_omp(X, D, 8, threshold_slope=slope, n_jobs=n_jobs, **options)
        assert (again != found).nnz == 0
    if alike:
        options |= {"algorithm": "omp", "n_nonzero": 8, "threshold_slope": slope}
        assert (icfl.SparseCoder(D, **options).transform(X) != found).nnz == 0
    coder = OrthogonalPursuit(8, 0.5, selection, slope)
    pursuit = coder if alike else OwnThresholds.of(coder, own.astype(np.float32))
    tensors = pursuit_of(pursuit, *map(torch.from_numpy, (D, bias)), 2**30, 1000)
    there = tensors.encode(torch.from_numpy(X)).numpy()
    np.testing.assert_array_equal((there != 0)[clear], (expected != 0)[clear])
    np.testing.assert_allclose(there[clear], expected[clear], rtol=0, atol=3e-4)


def test_the_slope_of_a_threshold_is_checked():
    X, D, _ = problem(4, 8, 10, 0)
    for slope in (-0.1, np.nan):
        with pytest.raises(InputError, match="threshold_slope must be a number in"):
            icfl.encode_omp(X, D, 2, threshold_slope=slope)
    with pytest.raises(InputTypeError, match="threshold_slope must be a number"):
        icfl.encode_omp(X, D, 2, threshold_slope="steep")


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


def test_thresholds_learnt_in_blocks_can_be_used_jointly():
    X = icfl.datasets.make_planted(300, 16, 24, n_active=2, random_state=0).X
    options = {"n_iterations": 4, "atoms_per_iteration": 1, "max_iter": 1, "random_state": 0}
    model = icfl.ICFL(24, refit="block", threshold="auto", unit_norm_inputs=False, **options)
    Z = model.fit(X).set_params(refit="joint").transform(X)
    arguments = {"threshold": model.threshold_, "bias": model.bias_, "selection": "positive"}
    assert (icfl.encode_omp(X, model.components_, 4, **arguments) != Z).nnz == 0
    assert Z.nnz > 0
