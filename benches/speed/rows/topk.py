"""TopK encoding beside a matrix product and `torch.topk`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from icfl import encode_topk
from speed import answers
from speed.case import OURS, Case, Contender, Row, Run, Size, require
from speed.inputs import Problem, planted

__all__ = ["ROW"]

# d, M, samples, non-zeros, rows compared with the definition
SIZES = {"quick": (32, 128, 256, 8, 32), "standard": (1024, 8192, 8192, 64, 128)}
FLOAT32, BFLOAT16 = "PyTorch, float32", "PyTorch, bfloat16"

# Near ties alone may part float32 codes: 1 row in 4 would mean that something else does.
SMALLEST_AGREEMENT = 0.75


def build(size: Size) -> Case:
    d, M, n, k, n_checked = SIZES.get(size, SIZES["standard"])
    problem = planted(n, d, M, d // 16)

    def check(found: Mapping[str, Any]) -> list[str]:
        X, D, Z = problem.X, problem.components, found[OURS]
        define = partial(answers.oracles.encode_topk, n_nonzero=k)
        facts = [answers.check_codes(Z, X, D, define, n_checked)]
        for name in (peer for peer in (FLOAT32, BFLOAT16) if peer in found):
            share = answers.same_supports(Z, answers.to_csr(*found[name], M))
            require(name != FLOAT32 or share >= SMALLEST_AGREEMENT, f"{name}: {share:.1%} agree")
            facts.append(f"{name}: same support in {share:.1%} of rows")
        return facts

    ours = Contender(OURS, lambda: partial(encode_topk, problem.X, problem.components, k), n)
    peers = [
        Contender(FLOAT32, partial(_pytorch, problem, k, "float32"), n, "torch"),
        Contender(BFLOAT16, partial(_pytorch, problem, k, "bfloat16"), n, "torch", "inexact"),
    ]
    return Case(problem.sizes | {"non-zeros": k}, ours, peers, check)


def _pytorch(problem: Problem, k: int, dtype: str) -> Run:
    import torch

    from speed.peers import pytorch

    def make(batch_size: int) -> pytorch.TopK:
        return pytorch.TopK(problem.components, k, batch_size, getattr(torch, dtype))

    return partial(make(pytorch.best_batch_size(make, problem.X)), problem.X)


ROW = Row("topk", "encode_topk, k = 64", build)
