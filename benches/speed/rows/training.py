"""A training step of ICFL as published (codes fixed, Adam) beside the same step in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl import ICFL, encode_icfl
from speed.answers import oracles
from speed.case import OURS, Case, Contender, Row, Run, Size, Target, require
from speed.inputs import Problem, planted

__all__ = ["ROW"]

# d, M, our mini-batch, PyTorch's, rounds, atoms of a round
SIZES = {"quick": (32, 128, 256, 128, 5, 3), "standard": (1024, 8192, 8192, 1024, 20, 5)}
PYTORCH = "PyTorch literal step"
LEARNING_RATE = 5e-5
ADAM_EPSILON = 1e-8


def build(size: Size) -> Case:
    d, M, n, n_peer, J, L = SIZES.get(size, SIZES["standard"])
    problem = planted(n, d, M, d // 16)

    def setup() -> Run:
        model = _model(problem.components, J, L, n)
        return lambda: model.partial_fit(problem.X)

    def check(found: Mapping[str, Any]) -> list[str]:
        rows = problem.X[:n_peer]
        moved = _model(problem.components, J, L, n_peer).partial_fit(rows).components_
        facts = [_check_step(rows, problem.components, J, L, moved)]
        if PYTORCH in found:
            theirs = _pytorch_trainer(problem, n_peer, J, L, 256).step(rows)
            # Adam's first step is ± the learning rate but where the gradient is below its epsilon.
            share = float(np.mean(abs(theirs - moved) <= 0.01 * LEARNING_RATE))
            require(share >= 0.99, f"{PYTORCH}: only {share:.2%} of the entries move alike")
            facts.append(f"{PYTORCH}: {share:.3%} of the entries move alike (to 1 % of the step)")
        return facts

    ours = Contender(OURS, setup, n, note=f"mini-batch {n:,}")
    peer = Contender(
        PYTORCH,
        partial(_pytorch, problem, n_peer, J, L),
        n_peer,
        "torch",
        f"mini-batch {n_peer:,}",
        target=Target(ratio=40),
    )
    return Case(problem.sizes | {"rounds": J, "atoms a round": L}, ours, [peer], check)


def _model(D: NDArray[np.float32], J: int, L: int, batch_size: int) -> ICFL:
    return ICFL(
        len(D),
        n_iterations=J,
        atoms_per_iteration=L,
        refit="block",
        threshold=-np.inf,
        update="adam",
        learning_rate=LEARNING_RATE,
        batch_size=batch_size,
        init=D,
        unit_norm_inputs=False,  # they have it
        random_state=0,
    )


def _check_step(
    X: NDArray[np.float32], D: NDArray[np.float32], J: int, L: int, moved: NDArray[np.float32]
) -> str:
    """Compare the first step, from the codes of our encoder, with Adam in float64.

    The gradient g = -2/n Zᵀ R of an entry is off by δ = 2/n γ(N + d) |Z|ᵀ (|X| + |b| + |Z| |D|), N
    the mean number of terms of a sum. Adam's first step, lr g / (|g| + ε), then moves by at most
    lr min(2, δ ε / (max(|g| - δ, 0) + ε)²); scaling to unit norm adds |D| times the norm of that
    for the row; float32 moments, the new value and its norm are off by a few roundings.
    """
    bias = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    Z = encode_icfl(
        X, D, n_iterations=J, atoms_per_iteration=L, threshold=-np.inf, bias=bias
    ).astype(np.float64)
    X64, D64 = X.astype(np.float64), D.astype(np.float64)
    zeros = np.zeros((len(D) + 1, D.shape[1]))
    expected = oracles.adam_step(
        X64, Z, D64, bias.astype(np.float64), (zeros, zeros), 1, LEARNING_RATE, True
    )[0]
    terms = oracles.gamma(Z.nnz / min(Z.shape) + D.shape[1])
    gradient = abs(2 / len(X) * (Z.T @ (X64 - bias - Z @ D64)))
    sizes = abs(X64) + abs(bias) + abs(Z) @ abs(D64)
    wrong = 2 / len(X) * terms * (abs(Z).T @ sizes)
    slope = ADAM_EPSILON / (np.maximum(gradient - wrong, 0) + ADAM_EPSILON) ** 2
    step = LEARNING_RATE * (np.minimum(2, wrong * slope) + 8 * oracles.U)
    along = np.linalg.norm(step, axis=1, keepdims=True) + oracles.gamma(D.shape[1])
    bound = step + abs(D64) * along + 4 * oracles.U * abs(D64)
    outside = int((abs(moved - expected) > bound).sum())
    require(outside == 0, f"{outside} of {moved.size} entries are outside the bound of the step")
    return f"first step of all {moved.size:,} entries within the derived bound of float64 Adam"


def _pytorch(problem: Problem, n: int, J: int, L: int) -> Run:
    from speed.peers import pytorch

    X = problem.X[:n]

    def encoder(batch_size: int) -> pytorch.LiteralPursuit:
        return pytorch.LiteralPursuit(problem.components, J, L, batch_size)

    best = pytorch.best_batch_size(encoder, X)
    return partial(_pytorch_trainer(problem, n, J, L, best).step, X)


def _pytorch_trainer(problem: Problem, n: int, J: int, L: int, batch_size: int) -> Any:
    from speed.peers import pytorch

    bias = problem.X[:n].mean(axis=0, dtype=np.float64).astype(np.float32)
    return pytorch.LiteralTraining(problem.components, bias, J, L, LEARNING_RATE, batch_size)


ROW = Row("training", "ICFL training step, Adam", build)
