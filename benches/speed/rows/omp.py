"""OMP, the Gram matrix included, beside SPAMS (its order-recursive variant) and scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from icfl import encode_omp
from icfl.coding.coders import OrthogonalPursuit
from speed import answers
from speed.case import OURS, Case, Contender, Row, Run, Size, Target
from speed.inputs import Problem, planted
from speed.replay import check_orthogonal_pursuit

__all__ = ["ROW", "SKLEARN", "SPAMS", "spams_contender"]

# d, M, samples, scikit-learn's samples, non-zeros, rows replayed
SIZES = {"quick": (32, 128, 256, 16, 6, 8), "standard": (1024, 8192, 2048, 16, 64, 16)}
SPAMS, SKLEARN = "SPAMS omp", "scikit-learn orthogonal_mp_gram"

# Rows part at near ties only; two greedy rules for the same fit leave nearly the same residual.
ERRORS_AGREE = {SKLEARN: 1e-3, SPAMS: 0.1}


def build(size: Size) -> Case:
    d, M, n, n_sklearn, k, n_checked = SIZES.get(size, SIZES["standard"])
    problem = planted(n, d, M, d // 16)

    def check(found: Mapping[str, Any]) -> list[str]:
        X, D, Z = problem.X, problem.components, found[OURS]
        facts = [
            check_orthogonal_pursuit(
                lambda steps: OrthogonalPursuit(steps, 0.0, "absolute"),
                k,
                "absolute",
                X,
                D,
                Z,
                n_checked,
            )
        ]
        for name in (peer for peer in (SPAMS, SKLEARN) if peer in found):
            facts.append(answers.compare_codes(name, found[name], Z, X, D, ERRORS_AGREE[name]))
        return facts

    ours = Contender(OURS, lambda: partial(encode_omp, problem.X, problem.components, k), n)
    sklearn = Contender(
        SKLEARN,
        partial(_sklearn, problem, n_sklearn, k),
        n_sklearn,
        "sklearn",
        "its Gram matrix not counted",
        target=Target(ratio=500),
    )
    spams = spams_contender(problem, k, "order-recursive: another algorithm", Target(ratio=5))
    return Case(problem.sizes | {"non-zeros": k}, ours, [spams, sklearn], check)


def spams_contender(problem: Problem, k: int, note: str, target: Target) -> Contender:
    """Return SPAMS on all rows; an answer with empty codes is refused."""

    def setup() -> Run:
        from speed.peers.spams_omp import Omp

        return Omp(problem.X, problem.components, k)

    def refuse(Z: Any) -> str | None:
        from speed.peers import spams_omp

        return spams_omp.refuse(Z)

    return Contender(SPAMS, setup, len(problem.X), "spams", note, refuse, target=target)


def _sklearn(problem: Problem, n: int, k: int) -> Run:
    from speed.peers.sklearn_peers import GramOmp

    return GramOmp(problem.X[:n], problem.components, k)


ROW = Row("omp", "encode_omp, 64 non-zeros", build)
