"""Statistics and sweeps of the online update against float64 oracles and optimality conditions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from icfl import _core
from icfl.updates import Online
from oracles import U
from update_steps import advance, batch, begin, compressed, gamma, statistics, unit_atoms


def test_online_statistics_agree_with_oracle():
    rng = np.random.default_rng(3)
    n, d, M, steps = 25, 7, 11, 9
    state = begin(Online(memory=4), unit_atoms(M, d, rng))
    empty = (np.zeros((M, M)), np.zeros((M, d)), np.zeros(M), np.zeros(d), 0.0)
    expected = magnitudes = empty
    for t in range(1, steps + 1):
        X, Z = batch(n, d, M, rng)
        keep = float(np.float32(1 - 1 / min(t, 4)))
        expected = oracles.online_statistics(X, Z.astype(float), expected, keep)
        magnitudes = oracles.online_statistics(np.abs(X), np.abs(Z).astype(float), magnitudes, keep)
        state = advance(state, X, Z, t)
        for found, value, magnitude in zip(statistics(state), expected, magnitudes, strict=True):
            # A product, n additions and one scaling a step.
            assert np.all(np.abs(found - value) <= gamma(t * (n + 1) + 1) * magnitude)
    np.testing.assert_allclose(state.bias, expected[3] / expected[4], rtol=1e-4, atol=1e-5)


def test_codes_grow_with_the_plan_or_without_one_with_the_mini_batches_seen():
    rng = np.random.default_rng(0)
    state = begin(Online(memory=4, first_atoms=None), unit_atoms(6, 160, rng))
    planned = [state.rounds(8, 1, progress) for progress in (0.0, 0.3, 0.6, 1.0)]
    assert planned == [1, 4, 8, 8]
    assert state.rounds(8, 5, 1.0) == 4  # 20 non-zeros are an eighth of 160 features
    unplanned = []
    for step in range(6):
        unplanned.append(state.rounds(8, 1, None))
        state = advance(state, *batch(20, 160, 6, rng), step)
    assert unplanned == [1, 2, 4, 6, 8, 8]


def optimum(D, m, statistics):
    """B_m − s_m b − Σ_{j≠m} A_mj d_j over A_mm, and the sum of its terms' norms over A_mm."""
    A, B, s, t, n = statistics
    others = np.delete(np.arange(len(D)), m)
    direction = B[m] - s[m] * t / n - A[m, others] @ D[others]
    norms = np.linalg.norm(D, axis=1)
    size = np.linalg.norm(B[m]) + abs(s[m]) * np.linalg.norm(t / n) + np.abs(A[m]) @ norms
    return direction / A[m, m], size / A[m, m]


def sweep_errors(before, after, statistics):
    """Per atom that is used: distance from its optimum at its turn, and a bound on it, both free.

    Float32 forms u = B_m − s_m b − Σ_j A_mj d_j from old atoms, corrects it for those of its block
    that moved since, and adds u / A_mm: at most 2 M + 4 roundings of each term, d_j old and new.
    """
    D = before.astype(np.float64)
    for m in np.flatnonzero(statistics[0].diagonal() > 0):
        best, size = optimum(D, m, statistics)
        _, moved_size = optimum(np.maximum(np.abs(before), np.abs(after)), m, statistics)
        bound = gamma(2 * len(D) + 4) * (size + 2 * moved_size) + 2 * U * np.linalg.norm(best)
        D[m] = after[m]
        yield m, best, D[m], bound


shapes = {
    "n": st.integers(2, 40),
    "d": st.integers(2, 12),
    "M": st.integers(2, 30),
    "seed": st.integers(0, 10**6),
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**shapes, atom_norm=st.sampled_from(["unit", "free"]))
def test_sweep_puts_each_atom_at_its_optimum_given_the_others(n, d, M, seed, atom_norm):
    rng = np.random.default_rng(seed)
    state = begin("online", unit_atoms(M, d, rng), atom_norm=atom_norm)
    for _ in range(3):
        after = advance(state, *batch(n, d, M, rng))
        pairs = sweep_errors(state.components, after.components, statistics(after))
        for _, best, found, bound in pairs:
            if atom_norm == "unit":  # the direction is optimal: KKT on the sphere
                bound = 2 * bound / np.linalg.norm(best) + 2 * U
                best = best / np.linalg.norm(best)
            assert np.linalg.norm(found - best) <= bound
        state = after


@pytest.mark.parametrize("atom_norm", ["unit", "free"])
def test_whole_sweep_agrees_with_oracle(atom_norm):
    rng = np.random.default_rng(4)
    M, d = 9, 6
    state = begin("online", unit_atoms(M, d, rng), atom_norm=atom_norm)
    after = advance(state, *batch(600, d, M, rng, density=0.15))
    seen = statistics(after)
    expected, bias = oracles.online_sweep(state.components.astype(float), seen, atom_norm == "unit")
    error = np.zeros(M)
    for m, best, _, bound in sweep_errors(state.components, expected, seen):
        error[m] = bound + np.abs(seen[0][m]) @ error / seen[0][m, m]  # and what came before it
        if atom_norm == "unit":
            error[m] = 2 * error[m] / np.linalg.norm(best) + 2 * U
    assert error.max() < 1e-3
    assert np.all(np.linalg.norm(after.components - expected, axis=1) <= error)
    np.testing.assert_allclose(after.bias, bias, rtol=4 * U, atol=0)


def test_a_single_atom_becomes_the_weighted_mean_direction():
    rng = np.random.default_rng(5)
    X, z = rng.standard_normal((50, 4)).astype(np.float32), np.ones((50, 1), np.float32)
    z[::3] = 2
    after = advance(begin("online", unit_atoms(1, 4, rng), atom_norm="free"), X, z)
    x = X.astype(np.float64)
    expected = (z.T @ (x - x.mean(axis=0)) / (z**2).sum())[0]
    size = (np.abs(z.T) @ np.abs(x)).max() / (z**2).sum()
    np.testing.assert_allclose(after.components[0], expected, rtol=0, atol=gamma(120) * 2 * size)


def objective(D, statistics):
    """Σ‖x − Dᵀz − b‖² but for what does not depend on D, b being the mean input."""
    A, B, s, t, n = statistics
    return np.sum(D * (A @ D)) - 2 * np.sum(D * (B - np.outer(s, t / n)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**shapes, atom_norm=st.sampled_from(["unit", "free"]))
def test_sweep_never_increases_the_objective(n, d, M, seed, atom_norm):
    rng = np.random.default_rng(seed)
    state = begin("online", unit_atoms(M, d, rng), atom_norm=atom_norm)
    for _ in range(4):
        after = advance(state, *batch(n, d, M, rng))
        seen = statistics(after)
        slack = 0.0
        for m, best, _, bound in sweep_errors(state.components, after.components, seen):
            own, length = seen[0][m, m], np.linalg.norm(best)
            if atom_norm == "free":  # the objective is A_mm ‖d − best‖² and what others make of it
                slack += own * bound**2
            else:  # on the sphere −2 A_mm ⟨d, best⟩; d has unit norm but for rounding
                slack += own * (length * (2 * bound / length + 2 * U) ** 2 + 8 * U * (1 + length))
        old, new = (objective(s.components.astype(float), seen) for s in (state, after))
        assert new <= old + slack + 1e-12 * abs(old)
        state = after


@pytest.mark.parametrize("atom_norm", ["unit", "free"])
def test_unused_atoms_stay(atom_norm):
    rng = np.random.default_rng(6)
    start = (3 * unit_atoms(40, 8, rng)).astype(np.float32)
    state = begin("online", start, atom_norm=atom_norm)
    for step in range(15):  # 300 samples: fewer than the 400 after which unused atoms are replaced
        state = advance(state, *batch(20, 8, 40, rng), step)
    assert state.components[0].tobytes() == start[0].tobytes()
    assert np.all(np.any(state.components[1:] != start[1:], axis=1))


def test_clear_forgets_one_atom():
    rng = np.random.default_rng(7)
    X, Z = batch(30, 4, 6, rng)
    update = _core.OnlineUpdate(6, 4).accumulated(X, compressed(Z), 1.0, None)
    kept = _core.OnlineUpdate(6, 4).accumulated(
        X, compressed(np.where(np.arange(6) == 2, np.float32(0), Z)), 1.0, None
    )
    update.clear(np.array([2]))
    assert all(np.array_equal(update.arrays()[name], kept.arrays()[name]) for name in kept.arrays())
    assert update.energy[2] == 0


@pytest.mark.parametrize("unit_norm", [True, False])
def test_an_atom_forgotten_long_ago_stays_where_it_is(unit_norm):
    rng = np.random.default_rng(11)
    D = unit_atoms(3, 5, rng)
    bias = np.zeros(5, np.float32)
    X = rng.standard_normal((8, 5)).astype(np.float32)
    used = rng.uniform(0.5, 1, (8, 3)).astype(np.float32)
    later = used * [0, 1, 1]
    statistics = _core.OnlineUpdate(3, 5).accumulated(X, compressed(used), 1.0, None)
    moved = statistics.sweep(D, bias, unit_norm, None)[0]
    assert not np.array_equal(moved[0], D[0])
    # Halved 400 times, the statistics of atom 0 end among the denormal numbers and then at zero.
    for _ in range(400):
        statistics = statistics.accumulated(X, compressed(later.astype(np.float32)), 0.5, None)
        D = statistics.sweep(moved, bias, unit_norm, None)[0]
        if statistics.energy[0] * 16 < 1e-31:
            np.testing.assert_array_equal(D[0], moved[0])
    assert statistics.energy[0] < 1e-31
