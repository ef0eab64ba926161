"""A training step of a TopK autoencoder beside the libraries people train with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl.autoencoders.compiled import CompiledStepper
from icfl.autoencoders.recipe import Recipe
from icfl.learning.stepper import Moment
from speed.case import OURS, Case, Contender, Row, Run, Size, Target, require
from speed.inputs import Problem, planted

__all__ = ["AUX_ROW", "ROW"]


class Shape(NamedTuple):
    """Features, latents, rows of a mini-batch, non-zeros."""

    d: int
    M: int
    n: int
    k: int


SIZES = {"quick": Shape(32, 128, 256, 4), "standard": Shape(1024, 8192, 4096, 64)}
DEAD_SHARE = 0.1
"""Share of the latents that count as dead in the row with the auxiliary loss."""
RATE = 2e-4
STEPS = 5
"""Steps over which the curves of the loss are compared."""
WARM_UP = 2
"""Steps that are not timed: the first ones touch new memory, and a fit has thousands."""
SPARSIFY, SAE_LENS, DENSE = "eai-sparsify", "SAELens", "PyTorch, dense autograd"
Step = Callable[[NDArray[np.float32]], float]


def build(size: Size, *, auxiliary: bool) -> Case:
    shape = SIZES.get(size, SIZES["standard"])
    problem = planted(shape.n, shape.d, shape.M, shape.d // 16)
    n_dead = int(DEAD_SHARE * shape.M) if auxiliary else 0
    dead = np.sort(np.random.default_rng(0).choice(shape.M, n_dead, replace=False))

    def setup(make: Callable[..., Step]) -> Run:
        step = make(problem, shape.k, dead)
        for _ in range(WARM_UP):
            step(problem.X)
        return partial(step, problem.X)

    def check(found: Mapping[str, Any]) -> list[str]:
        curves = {OURS: _curve(_ours, problem, shape.k, dead)}
        if DENSE in found:
            curves[DENSE] = _curve(_dense, problem, shape.k, dead)
        ours = curves[OURS]
        require(ours[-1] < ours[0], f"the loss rises: {ours}")
        for name, theirs in curves.items():
            # The same gradients but for rounding, which Adam turns into other steps where they are
            # near zero.
            off = max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))
            require(off < 1e-3, f"{name}: {theirs} where ours is {ours}")
        shown = ", ".join(f"{loss:.4f}" for loss in ours)
        return [f"{name}: unexplained variance {shown}" for name in curves]

    peers = [
        Contender(DENSE, partial(setup, _dense), shape.n, "torch", target=Target(ratio=10)),
        Contender(SPARSIFY, partial(setup, _sparsify), shape.n, "sparsify", target=Target(ratio=3)),
        Contender(SAE_LENS, partial(setup, _sae_lens), shape.n, "sae_lens", target=Target(ratio=8)),
    ]
    sizes = problem.sizes | {"non-zeros": shape.k, "mini-batch": shape.n}
    if auxiliary:
        sizes["dead"] = n_dead
    return Case(sizes, Contender(OURS, partial(setup, _ours), shape.n), peers, check)


def _curve(
    make: Callable[..., Step], problem: Problem, k: int, dead: NDArray[np.int64]
) -> list[float]:
    step = make(problem, k, dead)
    return [step(problem.X) for _ in range(STEPS)]


def _ours(problem: Problem, k: int, dead: NDArray[np.int64]) -> Step:
    """What ``TopKSAE.fit`` does with every mini-batch; returns the same loss as the peers'."""
    m, d = problem.components.shape
    fitted = {
        "components": problem.components,
        "encoder": problem.components,
        "encoder_bias": np.zeros(m, np.float32),
        "bias": np.zeros(d, np.float32),
    }
    recipe = Recipe("topk", k, (m,), RATE, 1 / 32, d // 2)
    stepper = CompiledStepper(recipe, fitted, None, None)
    silent = np.zeros(m, np.int64)
    silent[dead] = 1
    moment = Moment(10**6, None, np.random.default_rng(0), silent, 1)

    def step(X: NDArray[np.float32]) -> float:
        residual, _, _, centred = stepper.advance(X, moment).sums
        stepper.commit()
        return float(residual / centred.sum())

    return step


def _dense(problem: Problem, k: int, dead: NDArray[np.int64]) -> Step:
    from speed.peers.sae_libraries import DenseAutograd

    return DenseAutograd(problem.components, k, RATE, dead).step


def _sparsify(problem: Problem, k: int, dead: NDArray[np.int64]) -> Step:
    from speed.peers.sae_libraries import Sparsify

    return Sparsify(problem.components, k, RATE, dead).step


def _sae_lens(problem: Problem, k: int, dead: NDArray[np.int64]) -> Step:
    from speed.peers.sae_libraries import SAELens

    return SAELens(problem.components, k, RATE, dead).step


# No memory: most of it is there after the steps that are not timed.
ROW = Row(
    "autoencoder",
    "TopK autoencoder training step",
    partial(build, auxiliary=False),
    memory=False,
)
AUX_ROW = Row(
    "autoencoder-aux",
    "the same with dead latents (AuxK)",
    partial(build, auxiliary=True),
    memory=False,
)
