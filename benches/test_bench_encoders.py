"""Time the encoders, each with the shape of codes that its users ask for."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import icfl

ENCODERS = {
    "topk": partial(icfl.encode_topk, n_nonzero=32),
    "icfl": partial(icfl.encode_icfl, n_iterations=10, atoms_per_iteration=5),
    "mp": partial(icfl.encode_mp, n_nonzero=32),
    "omp": partial(icfl.encode_omp, n_nonzero=32),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_encode(benchmark, problem, name):
    Z = benchmark(ENCODERS[name], problem.X, problem.components)
    assert Z.shape == (len(problem.X), len(problem.components))
    assert Z.nnz > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_encode_topk_of_any_layout(benchmark, problem, dtype, order):
    X = np.asarray(problem.X, dtype=dtype, order=order)
    benchmark(icfl.encode_topk, X, problem.components, 32)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_encode_icfl_on_threads(benchmark, problem, n_jobs):
    benchmark(icfl.encode_icfl, problem.X, problem.components, n_iterations=10, n_jobs=n_jobs)


@pytest.mark.parametrize("algorithm", ["topk", "icfl", "mp", "omp"])
def test_transform_of_one_row(benchmark, problem, algorithm):
    """What a call costs when the dictionary and its Gram matrix are there already."""
    coder = icfl.SparseCoder(problem.components, algorithm=algorithm, n_iterations=10)
    row = problem.X[:1]
    coder.transform(row)
    assert benchmark(coder.transform, row).nnz > 0
