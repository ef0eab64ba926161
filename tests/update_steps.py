"""What the tests of dictionary updates share: mini-batches, steps, and what a state holds.

Bounds in those tests are guaranteed ones: k float32 roundings in a row change a sum by at most
γ(k) = k u / (1 − k u) of the sum of its terms' magnitudes, u = 2⁻²⁴ (Higham 2002, section 3.1).
"""

from __future__ import annotations

import numpy as np

import icfl
import oracles
from oracles import U


def gamma(k):
    return k * U / (1 - k * U)


def unit_atoms(M, d, rng):
    return oracles.unit_rows(rng.standard_normal((M, d))).astype(np.float32)


def batch(n, d, M, rng, density=0.3):
    """Inputs (n, d) and codes (n, M), of which about `density` are not zero; atom 0 has none."""
    Z = rng.uniform(-1, 2, (n, M)) * (rng.random((n, M)) < density)
    Z[:, 0] = 0
    return rng.standard_normal((n, d)).astype(np.float32), Z.astype(np.float32)


def compressed(Z):
    rows, columns = np.nonzero(Z)
    indptr = np.searchsorted(rows, np.arange(len(Z) + 1)).astype(np.int64)
    return indptr, columns.astype(np.int32), Z[rows, columns]


def begin(update, D, bias=None, *, atom_norm="unit", coherence_limit=None, **options):
    bias = np.zeros(D.shape[1], np.float32) if bias is None else bias
    return icfl.updates.start(
        update, D, bias, atom_norm=atom_norm, coherence_limit=coherence_limit, **options
    )


def advance(state, X, Z, step=0, n_jobs=None, progress=None):
    rng = np.random.default_rng([7, step])
    return state.step(X, compressed(Z), step=step, rng=rng, n_jobs=n_jobs, progress=progress)


def bits(state):
    """Everything about a state, to the bit."""
    arrays = {"components": state.components, "bias": state.bias, **state.arrays()}
    return {name: np.array(array).tobytes() for name, array in arrays.items()}


def statistics(state):
    """A, B, s, t, n of a state, in float64."""
    arrays, (M, d) = state.arrays(), state.components.shape
    A, B, s, t, n = (
        np.asarray(arrays[name], np.float64)
        for name in ("code_products", "code_inputs", "code_sums", "input_sums", "weight")
    )
    return A.reshape(M, M), B.reshape(M, d), s, t, n[0]


def combinations(M, d, n_sums, noise, rng):
    """`M` unit atoms, of which the last `n_sums` are nearly positive sums of a few others."""
    D = oracles.unit_rows(rng.standard_normal((M, d)))
    for m in range(M - n_sums, M):
        parts = rng.choice(M - n_sums, min(M - n_sums, int(rng.integers(1, 5))), replace=False)
        D[m] = rng.uniform(0.5, 1.5, len(parts)) @ D[parts] + noise * rng.standard_normal(d)
    return D.astype(np.float32)
