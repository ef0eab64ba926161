"""The update of the paper against a float64 oracle and PyTorch, and its coherence reset."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from icfl.updates import Adam
from oracles import U
from update_steps import advance, batch, begin, gamma, unit_atoms

RATE = 1e-2


def corner_error(first, second, first_error, second_error, t):
    """Largest change of Adam's step, which is monotone in each moment, over their error bounds."""

    def taken(first, second):
        return RATE * first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)

    corners = [
        taken(first + a * first_error, np.maximum(second + b * second_error, 0))
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    return np.max(np.abs(np.array(corners) - taken(first, second)), axis=0)


def moments(state):
    """First and second moments of a state, atoms and then the bias, in float64."""
    arrays, shape = state.arrays(), (-1, len(state.bias))
    return tuple(
        arrays[f"{name}_moment"].reshape(shape).astype(float) for name in ("first", "second")
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 40),
    d=st.integers(1, 12),
    M=st.integers(1, 30),
    seed=st.integers(0, 10**6),
    atom_norm=st.sampled_from(["unit", "free"]),
)
def test_adam_agrees_with_oracle(n, d, M, seed, atom_norm):
    """Each step from the very state before it, so that bounds need not follow earlier steps."""
    rng = np.random.default_rng(seed)
    bias = rng.standard_normal(d).astype(np.float32)
    state = begin(Adam(RATE), unit_atoms(M, d, rng), bias, atom_norm=atom_norm)
    for t in range(1, 6):
        X, Z = batch(n, d, M, rng)
        D, b = state.components.astype(float), state.bias.astype(float)
        expected, expected_bias, (first, second) = oracles.adam_step(
            X, Z.astype(float), D, b, moments(state), t, RATE, atom_norm == "unit"
        )
        # What a residual of M + 2 terms is off by, and from there gradients and moments.
        weights = 2 / n * np.hstack([np.abs(Z), np.ones((n, 1))]).astype(float)
        size = np.abs(X) + np.abs(Z) @ np.abs(D) + np.abs(b)
        off = weights.T @ (gamma(M + 3) * size + gamma(n + 4) * size * (1 + gamma(M + 3)))
        gradient = np.abs(first - 0.9 * moments(state)[0]) / 0.1
        first_off, second_off = 0.1 * off, 0.001 * off * (2 * gradient + off)
        error = corner_error(first, second, first_off, second_off, t)
        error += 2 * U * (np.vstack([np.abs(D), np.abs(b)]) + 4 * RATE)
        if atom_norm == "unit":  # v / ‖v‖ moves by at most 2 / ‖v‖ of what v moves by
            error[:M] = (
                2 * np.linalg.norm(error[:M], axis=1, keepdims=True) / (1 - 4 * RATE * np.sqrt(d))
            )
            error[:M] += 2 * U
        state = advance(state, X, Z)
        assert np.all(np.abs(state.components - expected) <= error[:M])
        assert np.all(np.abs(state.bias - expected_bias) <= error[M])
        found = moments(state)
        assert np.all(np.abs(found[0] - first) <= first_off + U * (np.abs(first) + first_off))
        assert np.all(np.abs(found[1] - second) <= second_off + U * (second + second_off))
        # The bound says something: the typical entry is held to a tenth of its step.
        assert np.median(error[M]) < 0.1 * RATE


@pytest.mark.parametrize("atom_norm", ["unit", "free"])
def test_oracle_of_adam_is_pytorch(atom_norm):
    rng = np.random.default_rng(1)
    n, d, M = 30, 6, 9
    D, b, moments = unit_atoms(M, d, rng).astype(float), rng.standard_normal(d), (0.0, 0.0)
    atoms, bias = (torch.tensor(array, requires_grad=True) for array in (D, b))
    optimiser = torch.optim.Adam([atoms, bias], lr=RATE)
    for t in range(1, 8):
        X, Z = (array.astype(float) for array in batch(n, d, M, rng))
        D, b, moments = oracles.adam_step(X, Z, D, b, moments, t, RATE, atom_norm == "unit")
        optimiser.zero_grad()
        residual = torch.tensor(X) - torch.tensor(Z) @ atoms - bias
        (residual**2).sum(dim=1).mean().backward()
        optimiser.step()
        if atom_norm == "unit":
            with torch.no_grad():
                atoms /= atoms.norm(dim=1, keepdim=True)
        np.testing.assert_allclose(atoms.detach().numpy(), D, rtol=0, atol=1e-12)
        np.testing.assert_allclose(bias.detach().numpy(), b, rtol=0, atol=1e-12)


def coherent(D, limit):
    cosines = np.triu(oracles.unit_rows(D) @ oracles.unit_rows(D).T, 1)
    return np.argwhere(cosines > limit)


def still(D, coherence_limit, step):
    """A step of Adam at a rate that moves nothing by itself."""
    X, Z = batch(20, D.shape[1], len(D), np.random.default_rng(2))
    state = begin(Adam(1e-60), D, atom_norm="free", coherence_limit=coherence_limit)
    return advance(state, X, Z, step)


@pytest.mark.parametrize("seed", range(5))
def test_adam_replaces_one_of_each_coherent_pair_every_100_steps(seed):
    rng = np.random.default_rng(seed)
    D = unit_atoms(40, 3, rng) * rng.uniform(0.5, 2, (40, 1)).astype(np.float32)
    pairs = coherent(D, 0.9)
    assert len(pairs) > 10
    for step in (0, 98, 100, 150):
        state = still(D, 0.9, step)
        assert state.n_replaced == 0
        np.testing.assert_array_equal(state.components, D)
    for step in (99, 199):
        state = still(D, 0.9, step)
        gone = np.any(state.components != D, axis=1)
        assert state.n_replaced == gone.sum()
        assert np.all(gone[pairs].any(axis=1))  # every pair has lost one,
        lost = {int(j) for i, j in pairs if gone[j] and not gone[i]}
        assert lost == set(np.flatnonzero(gone))  # and none is lost without a partner that stays
        np.testing.assert_allclose(np.linalg.norm(state.components[gone], axis=1), 1, atol=3 * U)
        moments = state.arrays()
        for name in ("first_moment", "second_moment"):
            rows = moments[name].reshape(41, 3)[:-1]
            np.testing.assert_array_equal(np.any(rows != 0, axis=1)[1:], ~gone[1:])
    np.testing.assert_array_equal(still(D, None, 99).components, D)


def test_adam_replaces_exactly_one_of_two():
    D = np.eye(4, dtype=np.float32)
    D[3] = [0.0, 0.0, 1.0, 0.4]  # cosine with atom 2: 0.928
    np.testing.assert_array_equal(still(D, 0.93, 99).components, D)
    changed = np.any(still(D, 0.92, 99).components != D, axis=1)
    assert changed.tolist() == [False, False, False, True]
