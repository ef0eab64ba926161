"""Matching pursuit beside SPAMS, which has no plain one: its "omp" also refits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from icfl import encode_mp
from icfl.coding.coders import BlockPursuit
from speed import answers
from speed.case import OURS, Case, Contender, Row, Size, Target
from speed.inputs import planted
from speed.replay import check_block_pursuit
from speed.rows.omp import SPAMS, spams_contender

__all__ = ["ROW"]

# d, M, samples, steps, rows replayed
SIZES = {"quick": (32, 128, 256, 6, 8), "standard": (1024, 8192, 2048, 64, 16)}


def build(size: Size) -> Case:
    d, M, n, k, n_checked = SIZES.get(size, SIZES["standard"])
    problem = planted(n, d, M, d // 16)

    def check(found: Mapping[str, Any]) -> list[str]:
        X, D, Z = problem.X, problem.components, found[OURS]
        facts = [
            check_block_pursuit(
                lambda rounds: BlockPursuit(rounds, 1, 0.0, "absolute"),
                k,
                1,
                "absolute",
                X,
                D,
                Z,
                n_checked,
            )
        ]
        if SPAMS in found:
            theirs, ours = (answers.error_share(X, codes, D) for codes in (found[SPAMS], Z))
            facts.append(f"{SPAMS}: unexplained {theirs:.5f} (ours, without refits, {ours:.5f})")
        return facts

    ours = Contender(OURS, lambda: partial(encode_mp, problem.X, problem.components, k), n)
    peers = [spams_contender(problem, k, "another algorithm: it refits", Target(ratio=8))]
    return Case(problem.sizes | {"steps": k}, ours, peers, check)


ROW = Row("mp", "encode_mp, 64 steps", build)
