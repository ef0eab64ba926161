"""Which atoms the online update replaces, when, and by what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from icfl import _core
from icfl.updates import Online
from oracles import U
from update_steps import advance, batch, begin, combinations, gamma, statistics, unit_atoms


def brute_redundant(D, most, limit):
    """Per atom: the others that reproduce it, None if none do; and whether float32 must agree."""
    for m, atom in enumerate(D.astype(np.float64)):
        rest = np.delete(np.arange(len(D)), m)
        found, clear = None, True
        for count in range(1, most + 1):
            fit = oracles.encode_omp(atom[None], D[rest], count, selection="positive")
            residual = np.linalg.norm(atom - fit.codes[0] @ D[rest])
            left = residual**2 / (atom @ atom)
            # ‖r‖² of float32: its own rounding, and that of r, a sum of `count` products.
            error = 2 * residual * (fit.residual_error[0] + gamma(count + 3) * 2) / (atom @ atom)
            error += gamma(2 * D.shape[1] + 2) * left
            clear &= bool(fit.clear[0]) and abs(left - (1 - limit**2)) > error + 4 * U
            if left < 1 - limit**2:
                found = set(rest[np.flatnonzero(fit.codes[0])].tolist())
                break
        yield m, found, clear


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    d=st.integers(4, 30),
    M=st.integers(2, 40),
    most=st.integers(1, 3),
    limit=st.sampled_from([0.7, 0.9, 0.95]),
    seed=st.integers(0, 10**6),
)
def test_redundant_atoms_are_those_of_brute_force(d, M, most, limit, seed):
    rng = np.random.default_rng(seed)
    D = combinations(M, d, M // 3, 0.05, rng)
    atoms, starts, others = _core.Dictionary(D).redundant_atoms(most, limit, None)
    assert np.all(np.diff(atoms) > 0)
    found = {int(m): set(others[starts[i] : starts[i + 1]].tolist()) for i, m in enumerate(atoms)}
    rows = list(brute_redundant(D, most, limit))
    assert sum(clear for _, _, clear in rows) >= len(rows) // 2
    for m, expected, clear in rows:
        if clear:
            assert found.get(m) == expected


def test_redundant_and_unused_atoms_take_residual_directions():
    rng = np.random.default_rng(8)
    D = unit_atoms(12, 30, rng)
    D[3] = D[2] + 0.05 * D[5]  # near duplicates
    D[9] = D[7] + D[8]  # a sum of two that are there
    D = oracles.unit_rows(D).astype(np.float32)
    Z = batch(200, 30, 12, rng)[1] - np.float32(0.5)  # of mean zero, like the inputs they make
    Z[:, 0] = 0
    Z[:, [2, 9]] *= 0.5  # less energy than what is beside them
    X = (Z @ D + 0.05 * rng.standard_normal((200, 30))).astype(np.float32)
    for progress, every, limit, freed in [
        (None, 1, 0.9, {0, 2, 9}),
        (0.85, 1, 0.9, {0, 2, 9}),
        (0.9, 1, 0.9, set()),  # settled
        (None, 2, 0.9, set()),  # not yet
        (None, 1, None, {0}),  # unused alone: 200 samples are more than ten times 12 atoms
    ]:
        update = Online(replace_every=every, first_atoms=None, disentangle=0.0)
        plain = advance(begin(Online(replace_every=10**6, first_atoms=None), D), X, Z)
        after = advance(begin(update, D, coherence_limit=limit), X, Z, progress=progress)
        changed = np.flatnonzero(np.any(after.components != plain.components, axis=1))
        assert set(changed) == freed, (progress, every, limit)
        assert after.n_replaced == len(freed)
        A, B, s, _, _ = statistics(after)
        kept = np.setdiff1d(np.arange(1, 12), changed)
        for gone in (A[changed], A[:, changed], B[changed], s[changed]):
            assert not np.any(gone)
        assert np.all(A.diagonal()[kept] > 0)
        residuals = oracles.unit_rows(X - Z @ plain.components.astype(float) - plain.bias)
        cosines = after.components[changed] @ residuals.T
        assert np.all(cosines.max(axis=1, initial=1.0) > 1 - 1e-5)


@pytest.mark.parametrize("progress", [None, 0.5])
def test_an_atom_is_unused_below_three_uses_in_a_window(progress):
    rng = np.random.default_rng(9)
    M, d = 10, 6
    uses = np.array([0, 1, 2, 3, 4, 50, 50, 50, 50, 50])
    Z = np.zeros((100, M), np.float32)
    for m, count in enumerate(uses):
        Z[rng.choice(100, count, replace=False), m] = 1
    X = rng.standard_normal((100, d)).astype(np.float32)
    state = begin(Online(replace_every=1, first_atoms=None), unit_atoms(M, d, rng))
    for start in range(0, 100, 20):
        before = state
        state = advance(state, X[start : start + 20], Z[start : start + 20], progress=progress)
        assert state.n_replaced == (3 if start == 80 else 0)  # 10 M samples make a window
    replaced = ~np.any(statistics(state)[0], axis=1)
    assert np.flatnonzero(replaced).tolist() == [0, 1, 2]
    assert np.all(np.any(state.components != before.components, axis=1)[replaced])


def test_rare_features_are_not_taken_for_unused():
    """50 atoms, each of which fires once in n_components samples: rarer than any share of the mean.

    In a window of 10 n_components samples uses are binomial with mean 10, and fewer than 3 have a
    probability of e⁻¹⁰ (1 + 10 + 50) = 0.0028 (Poisson). Of 500 looks 1.4 are expected to hit a
    firing atom; more than 8 have a probability below 1e-4. Atom 0 never fires and goes every time.
    """
    rng = np.random.default_rng(10)
    M, d, windows = 51, 8, 10
    state = begin(Online(replace_every=1), unit_atoms(M, d, rng))
    replaced = []
    for step in range(windows * 10):
        X, Z = batch(M, d, M, rng, density=1 / M)
        state = advance(state, X, Z, step)
        replaced.append(state.n_replaced)
    looks = np.array(replaced).reshape(windows, 10)
    assert not looks[:, :-1].any()
    assert np.all(looks[:, -1] >= 1)
    assert looks.sum() - windows <= 8
