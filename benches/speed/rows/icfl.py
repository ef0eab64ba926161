"""ICFL encoding, 20 rounds of 5 atoms, beside PyTorch's loop over the published steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from icfl import encode_icfl
from icfl.coding.coders import BlockPursuit
from speed import answers
from speed.case import OURS, Case, Contender, Row, Run, Size, Target, require
from speed.inputs import Problem, planted
from speed.replay import check_block_pursuit

__all__ = ["ROW"]

# d, M, our samples, PyTorch's samples, rounds, atoms of a round, rows replayed
SIZES = {"quick": (32, 128, 256, 64, 5, 3, 16), "standard": (1024, 8192, 8192, 1024, 20, 5, 16)}
LOOP, AS_WRITTEN = "PyTorch loop", "PyTorch loop, lstsq"

# Rounds go on until supports part at a near tie: errors then differ a little, per row both ways.
ERRORS_AGREE = 1e-3


def build(size: Size) -> Case:
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
            ours, theirs = (
                answers.error_share(X, codes, D) for codes in (Z[: other.shape[0]], other)
            )
            require(abs(ours - theirs) <= ERRORS_AGREE * theirs, f"{name}: {theirs}, {ours} here")
            facts.append(
                f"{name}: same support in {answers.same_supports(Z, other):.1%} of rows, "
                f"unexplained {theirs:.5f} (ours {ours:.5f})"
            )
        return facts

    ours = Contender(
        OURS, lambda: partial(encode_icfl, problem.X, problem.components, **literal), n
    )
    peers = [
        Contender(LOOP, partial(_pytorch, problem, n_peer, J, L, "solve"), n_peer, "torch"),
        Contender(AS_WRITTEN, partial(_pytorch, problem, n_peer, J, L, "lstsq"), n_peer, "torch"),
    ]
    return Case(problem.sizes | {"rounds": J, "atoms a round": L}, ours, peers, check)


def _pytorch(problem: Problem, n: int, J: int, L: int, solver: str) -> Run:
    from speed.peers import pytorch

    def make(batch_size: int) -> pytorch.LiteralPursuit:
        return pytorch.LiteralPursuit(problem.components, J, L, batch_size, solver)

    X = problem.X[:n]
    return partial(make(pytorch.best_batch_size(make, X)), X)


ROW = Row("icfl", "encode_icfl, 20 x 5", build, target=Target(LOOP, ratio=25))
