"""ICFL encoding, 20 rounds of 5 atoms, beside PyTorch's loop over the published steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from icfl import encode_icfl
from icfl.coding.coders import BlockPursuit
from speed import answers
from speed.case import OURS, Case, Contender, Row, Run, Size, Target
from speed.inputs import Problem, planted
from speed.replay import check_block_pursuit

__all__ = ["AS_WRITTEN", "LOOP", "ROW", "build"]

# d, M, our samples, PyTorch's samples, rounds, atoms of a round, rows replayed
SIZES = {"quick": (32, 128, 256, 64, 5, 3, 16), "standard": (1024, 8192, 8192, 1024, 20, 5, 16)}
LOOP, AS_WRITTEN = "PyTorch loop", "PyTorch loop, lstsq"

# Rounds go on until supports part at a near tie: errors then differ a little, per row both ways.
ERRORS_AGREE = 1e-3


# Samples per second that a literal loop in PyTorch 2.11 did, in float32 on two cores of another
# machine with AVX-512.
ELSEWHERE = 146


def build(size: Size, targets: Mapping[str, Target]) -> Case:
    """Return the case; its peers are those that have a target."""
    d, M, n, n_peer, J, L, n_checked = SIZES.get(size, SIZES["standard"])
    problem = planted(n, d, M, d // 16)
    literal = {"n_iterations": J, "atoms_per_iteration": L, "threshold": -np.inf}

    def check(found: Mapping[str, Any]) -> list[str]:
        X, D, Z = problem.X, problem.components, found[OURS]
        facts = [
            check_block_pursuit(
                lambda rounds: BlockPursuit(rounds, L, -np.inf, "positive"),
                J,
                L,
                "positive",
                X,
                D,
                Z,
                n_checked,
            )
        ]
        for name in (peer for peer in (LOOP, AS_WRITTEN) if peer in found):
            other = answers.to_csr(*found[name], M)
            facts.append(answers.compare_codes(name, other, Z, X, D, ERRORS_AGREE))
        return facts

    ours = Contender(
        OURS, lambda: partial(encode_icfl, problem.X, problem.components, **literal), n
    )
    solvers = {LOOP: "solve", AS_WRITTEN: "lstsq"}
    peers = [
        Contender(
            name,
            partial(_pytorch, problem, n_peer, J, L, solvers[name]),
            n_peer,
            "torch",
            target=target,
        )
        for name, target in targets.items()
    ]
    sizes = problem.sizes | {"rounds": J, "atoms a round": L}
    return Case(sizes, ours, peers, check, _beside_elsewhere if size != "quick" else _nothing)


def _beside_elsewhere(rates: Mapping[str, float]) -> str:
    """The loop is written here as fast as it gets; what others measured of theirs is slower."""
    theirs = f", PyTorch's loop {rates[LOOP]:,.0f}" if LOOP in rates else ""
    return (
        f"samples per second here: icfl {rates[OURS]:,.0f}{theirs}; ours are "
        f"{rates[OURS] / ELSEWHERE:.1f} times the {ELSEWHERE} of a literal PyTorch loop measured "
        f"on another two-core machine with AVX-512, by which no target is judged"
    )


def _nothing(rates: Mapping[str, float]) -> str:
    return ""


def _pytorch(problem: Problem, n: int, J: int, L: int, solver: str) -> Run:
    from speed.peers import pytorch

    def make(batch_size: int) -> pytorch.LiteralPursuit:
        return pytorch.LiteralPursuit(problem.components, J, L, batch_size, solver)

    X = problem.X[:n]
    return partial(make(pytorch.best_batch_size(make, X)), X)


ROW = Row(
    "icfl",
    "encode_icfl, 20 x 5",
    partial(build, targets={LOOP: Target(ratio=60), AS_WRITTEN: Target(ratio=60)}),
)
