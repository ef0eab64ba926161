r"""Is every decision of a pursuit right? Round by round, from the codes after 1, 2, … rounds.

With a thousand dimensions and a hundred atoms a row, some decision of nearly every row lies within
the bound of what float32 can resolve, and codes as a whole cannot be compared with the definition.
Its rounds can: from codes z after j rounds the residual x − z D and all scores follow in float64.
What the encoder did next has to be the definition's step from there:

- no atom left out has a score above that of an atom taken by more than 2 e, the bound on the error
  of two float32 scores;
- coefficients solve the float64 least-squares problem to within its condition times e.

e = γ(d + t) D A, with t subtractions so far and A² = ‖x‖² + Σ a² ‖D‖², is derived in `oracles`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from icfl import _core
from icfl.coding.coders import Coder, join_codes
from speed.answers import SMALLEST_AGREEMENT, dense_rows, oracles
from speed.case import require

__all__ = ["check_block_pursuit", "check_orthogonal_pursuit"]

Doubles = NDArray[np.float64]
CoderOf = Callable[[int], Coder]


def check_block_pursuit(
    coder_of: CoderOf,
    n_rounds: int,
    n_atoms: int,
    selection: str,
    X: NDArray[np.float32],
    D: NDArray[np.float32],
    Z: csr_array,
    n_rows: int,
) -> str:
    """Replay `n_rounds` rounds of `n_atoms` atoms on rows spread over X, whose codes are Z."""
    rows = np.linspace(0, len(X) - 1, n_rows).astype(int)
    x, atoms, norm = X[rows].astype(np.float64), D.astype(np.float64), oracles.largest_norm(D)
    magnitude = np.linalg.norm(x, axis=1)
    z = np.zeros((n_rows, len(D)))
    for j, (z, after) in enumerate(pairwise(_prefixes(coder_of, n_rounds, X[rows], D))):
        scores = (x - z @ atoms) @ atoms.T
        # A repeated atom's coefficient is rounded again when it is added up.
        resum = oracles.U * np.maximum(abs(z), abs(after))
        error = oracles.gamma(X.shape[1] + j * n_atoms + 2) * norm * magnitude
        error += norm**2 * resum.sum(axis=1)
        step = after - z
        for i in range(n_rows):
            S = np.flatnonzero(step[i])
            require(len(S) == n_atoms, f"round {j + 1} took {len(S)} atoms, not {n_atoms}")
            _check_choice(oracles.rank(scores[i], selection), S, error[i], j)
            _check_coefficients(step[i, S], atoms[S], scores[i, S], error[i], resum[i].max(), j)
        magnitude = np.hypot(magnitude, np.linalg.norm(step, axis=1) * norm)
    return _conclude(after, dense_rows(Z, rows), n_rounds * n_rows)


def check_orthogonal_pursuit(
    coder_of: CoderOf,
    n_rounds: int,
    selection: str,
    X: NDArray[np.float32],
    D: NDArray[np.float32],
    Z: csr_array,
    n_rows: int,
) -> str:
    """Replay `n_rounds` steps, each of which adds an atom and refits all coefficients."""
    rows = np.linspace(0, len(X) - 1, n_rows).astype(int)
    x, atoms, norm = X[rows].astype(np.float64), D.astype(np.float64), oracles.largest_norm(D)
    first = x @ atoms.T
    for j, (z, after) in enumerate(pairwise(_prefixes(coder_of, n_rounds, X[rows], D))):
        scores = (x - z @ atoms) @ atoms.T
        for i in range(n_rows):
            S, grown = np.flatnonzero(z[i]), np.flatnonzero(after[i])
            new = np.setdiff1d(grown, S)
            require(len(new) == 1 and len(grown) == j + 1, f"step {j + 1}: not one atom more")
            magnitude = np.hypot(np.linalg.norm(x[i]), np.linalg.norm(after[i]) * norm)
            error = oracles.gamma(X.shape[1] + j + 2) * norm * magnitude
            ranks = oracles.rank(scores[i], selection)
            ranks[S] = -np.inf
            _check_choice(ranks, new, error, j)
            _check_coefficients(after[i, grown], atoms[grown], first[i, grown], error, 0.0, j, 0.0)
    return _conclude(after, dense_rows(Z, rows), n_rounds * n_rows)


def _prefixes(
    coder_of: CoderOf, n_rounds: int, X: NDArray[np.float32], D: NDArray[np.float32]
) -> Iterator[Doubles]:
    """Yield the dense codes after 0, 1, … rounds, as the encoder makes them with D Dᵀ."""
    dictionary = _core.Dictionary(D)
    yield np.zeros((len(X), len(D)))
    for j in range(1, n_rounds + 1):
        codes = coder_of(j).encode(dictionary, X, None, use_gram=True, n_jobs=None)
        yield join_codes([codes], len(D)).toarray().astype(np.float64)


def _check_choice(ranks: Doubles, S: NDArray[np.intp], error: float, j: int) -> None:
    left_out = np.delete(ranks, S).max()
    above = left_out - ranks[S].min()
    require(above <= 2 * error, f"round {j + 1}: an atom left out is better by {above:.2g}")


def _check_coefficients(
    a: Doubles,
    atoms: Doubles,
    scores: Doubles,
    error: float,
    resum: float,
    j: int,
    ridge: float = oracles.RIDGE,
) -> None:
    """Compare with the solution of (G + ridge I) a = scores; see `oracles` for the bound."""
    gram = atoms @ atoms.T
    gram.flat[:: len(a) + 1] += ridge * gram.diagonal().max()
    entries = oracles.gamma(atoms.shape[1]) * gram.diagonal().max() * np.linalg.norm(a)
    bound = np.sqrt(len(a)) * (error + entries) / np.linalg.eigvalsh(gram)[0]
    bound += 2 * oracles.U * abs(a).max() + 2 * resum
    off = abs(a - np.linalg.solve(gram, scores)).max()
    require(off <= bound, f"round {j + 1}: a coefficient is off by {off:.2g}, bound {bound:.2g}")


def _conclude(replayed: Doubles, timed: Doubles, n_rounds: int) -> str:
    share = float(((replayed != 0) == (timed != 0)).all(axis=1).mean())
    require(share >= SMALLEST_AGREEMENT, f"replay and timed call agree in {share:.1%} of rows")
    return (
        f"{n_rounds:,} rounds replayed: atoms and coefficients are those of the float64 definition "
        f"to within the derived float32 bounds; {share:.1%} of the replayed supports are those of "
        f"the timed call"
    )
