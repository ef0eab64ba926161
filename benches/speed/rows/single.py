"""One sample through a `SparseCoder` that is in use: beside one read of the dictionary.

No encoder can look at all atoms in less time than it takes to read them, so that reading is the
limit: the fastest found of a product with one vector by NumPy, with the rows shared among threads,
and by PyTorch. What depends on the dictionary alone must be there from the first call on; that one
is in the facts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
from scipy.sparse import vstack
from threadpoolctl import threadpool_limits

from icfl import SparseCoder, encode_icfl, encode_topk
from speed import answers
from speed.case import OURS, Case, Contender, Row, Run, Size, Target, require
from speed.inputs import Problem, planted
from speed.machine import describe_machine

__all__ = ["ICFL_ROW", "TOPK_ROW"]

# d, M, calls
SIZES = {"quick": (32, 128, 20), "standard": (1024, 8192, 200)}
LIMIT, PYTORCH = "one read of the dictionary", "PyTorch, float32"
WITHIN = 1.5
N_ROWS = 64
OPTIONS: Mapping[str, dict[str, Any]] = {
    "topk": {"n_nonzero": 64},
    "icfl": {"n_iterations": 20, "atoms_per_iteration": 5, "threshold": -np.inf},
}
STATELESS = {"topk": encode_topk, "icfl": encode_icfl}


@dataclass
class Calls:
    """Seconds of calls, the very first one apart, and their answers."""

    first: float
    later: list[float] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return median(self.later)


def build(size: Size, algorithm: str) -> Case:
    d, M, n_calls = SIZES.get(size, SIZES["standard"])
    problem = planted(N_ROWS, d, M, d // 16)
    options = OPTIONS[algorithm]

    def ours() -> Run:
        coder = SparseCoder(problem.components, algorithm=algorithm, **options)
        return partial(_calls, lambda i: coder.transform(_row(problem, i)), n_calls)

    def check(found: Mapping[str, Any]) -> list[str]:
        calls = found[OURS]
        whole = STATELESS[algorithm](problem.X, problem.components, **options)
        alone = vstack(calls.answers)
        share = answers.same_supports(whole, alone)
        require(share >= answers.SMALLEST_AGREEMENT, f"only {share:.1%} of single rows agree")
        return [
            f"{alone.shape[0]} single rows, of which {share:.1%} have the support that one call on "
            f"all rows gives them",
            f"first call {1000 * calls.first:.2f} ms, what it prepares included; later calls "
            f"{1000 * calls.seconds:.2f} ms ({1000 * min(calls.later):.2f} to "
            f"{1000 * max(calls.later):.2f})",
            *(f"{LIMIT}: {how}" for how in [found[LIMIT].how] if LIMIT in found),
        ]

    clock = {"seconds": lambda calls: calls.seconds}
    limit = Contender(
        LIMIT,
        partial(_limit, problem, n_calls),
        1,
        target=Target(ratio=1 / WITHIN, text=f"within {WITHIN} times"),
        **clock,
    )
    peers = [limit]
    if algorithm == "topk":
        peers.append(Contender(PYTORCH, partial(_pytorch, problem, n_calls), 1, "torch", **clock))
    return Case(problem.sizes, Contender(OURS, ours, 1, **clock), peers, check)


def _row(problem: Problem, i: int) -> Any:
    return problem.X[i % N_ROWS : i % N_ROWS + 1]


def _calls(call: Callable[[int], Any], n_calls: int) -> Calls:
    found = Calls(0.0)
    for i in range(n_calls + 1):
        start = time.perf_counter()
        answer = call(i)
        taken = time.perf_counter() - start
        if i == 0:
            found.first = taken
        else:
            found.later.append(taken)
        if i < N_ROWS:
            found.answers.append(answer)
    return found


@dataclass
class Read:
    """Seconds that reading the dictionary once takes, and how."""

    seconds: float
    how: str


def _limit(problem: Problem, n_calls: int) -> Callable[[], Read]:
    D, x = problem.components, problem.X[0]
    ways: dict[str, Callable[[], Any]] = {"NumPy product": lambda: D @ x}
    cores = int(describe_machine()["cores"])
    pieces, pool = np.array_split(D, cores), ThreadPoolExecutor(cores)
    ways["NumPy products of a thread each"] = lambda: list(pool.map(lambda rows: rows @ x, pieces))
    if find_spec("torch") is not None:
        import torch

        atoms, row = torch.from_numpy(D), torch.from_numpy(x)
        ways["PyTorch product"] = lambda: torch.mv(atoms, row)

    def run() -> Read:
        taken = {}
        for name, way in ways.items():
            # Its own threads would share the cores with ours.
            with threadpool_limits(1 if name.endswith("each") else None):
                taken[name] = _calls(lambda i, way=way: way(), n_calls).seconds
        best = min(taken, key=lambda name: taken[name])
        speed = D.nbytes / taken[best] / 1e9
        return Read(taken[best], f"{1000 * taken[best]:.2f} ms by a {best}, {speed:.0f} GB/s")

    return run


def _pytorch(problem: Problem, n_calls: int) -> Run:
    from speed.peers import pytorch

    encode = pytorch.TopK(problem.components, OPTIONS["topk"]["n_nonzero"], 1)
    return partial(_calls, lambda i: encode(_row(problem, i)), n_calls)


def _row_of(algorithm: str) -> Row:
    title = f"one sample, SparseCoder, {algorithm}"
    return Row(f"{algorithm}-one", title, partial(build, algorithm=algorithm), unit="ms")


TOPK_ROW, ICFL_ROW = _row_of("topk"), _row_of("icfl")
