"""TopK encoding beside a matrix product and `torch.topk`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from icfl import encode_topk
from speed import answers
from speed.case import OURS, Case, Contender, Row, Run, Size, Target, require
from speed.inputs import Problem, planted

__all__ = ["BFLOAT16", "FLOAT32", "ROW", "SMALL_ROW", "WIDE", "Shape", "build"]


class Shape(NamedTuple):
    """Features, atoms, samples, non-zeros, rows compared with the definition."""

    d: int
    M: int
    n: int
    k: int
    n_checked: int


QUICK = Shape(32, 128, 256, 8, 32)
WIDE = Shape(1024, 8192, 8192, 64, 128)
SMALL = Shape(384, 4096, 16_384, 32, 128)
FLOAT32, BFLOAT16 = "PyTorch, float32", "PyTorch, bfloat16"


def build(size: Size, standard: Shape, targets: Mapping[str, Target]) -> Case:
    """Return the case of a shape; its peers are those that have a target."""
    d, M, n, k, n_checked = QUICK if size == "quick" else standard
    problem = planted(n, d, M, d // 16)

    def check(found: Mapping[str, Any]) -> list[str]:
        X, D, Z = problem.X, problem.components, found[OURS]
        define = partial(answers.oracles.encode_topk, n_nonzero=k)
        facts = [answers.check_codes(Z, X, D, define, n_checked)]
        for name in (peer for peer in (FLOAT32, BFLOAT16) if peer in found):
            share = answers.same_supports(Z, answers.to_csr(*found[name], M))
            enough = share >= answers.SMALLEST_AGREEMENT or name == BFLOAT16
            require(enough, f"{name}: only {share:.1%} agree")
            facts.append(f"{name}: same support in {share:.1%} of rows")
        return facts

    def peer(name: str, dtype: str, note: str = "") -> Contender:
        setup = partial(_pytorch, problem, k, dtype)
        return Contender(name, setup, n, "torch", note, target=targets[name])

    ours = Contender(OURS, lambda: partial(encode_topk, problem.X, problem.components, k), n)
    peers = [peer(FLOAT32, "float32")]
    if BFLOAT16 in targets:
        peers.append(peer(BFLOAT16, "bfloat16", "inexact"))
    return Case(problem.sizes | {"non-zeros": k}, ours, peers, check)


def _pytorch(problem: Problem, k: int, dtype: str) -> Run:
    import torch

    from speed.peers import pytorch

    def make(batch_size: int) -> pytorch.TopK:
        return pytorch.TopK(problem.components, k, batch_size, getattr(torch, dtype))

    return partial(make(pytorch.best_batch_size(make, problem.X)), problem.X)


ROW = Row(
    "topk",
    "encode_topk, k = 64",
    partial(build, standard=WIDE, targets={FLOAT32: Target(ratio=4), BFLOAT16: Target(ratio=1)}),
)
SMALL_ROW = Row(
    "topk-384",
    "encode_topk, k = 32",
    partial(build, standard=SMALL, targets={FLOAT32: Target(ratio=2.5)}),
)
