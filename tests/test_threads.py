"""Threads of BLAS: limits that overlap, pieces that are interrupted, equal bits."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone
from threadpoolctl import threadpool_info, threadpool_limits

from baseline_models import NAMES, fitted_models, fixed_rows  # noqa: F401 - fixtures
from icfl._threads import on_threads, one_thread
from icfl.baselines import ICA, PCA, KMeans


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def openmp_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"]


def test_limits_of_overlapping_calls_are_lifted_by_the_last():
    with threadpool_limits(limits=2):
        before = blas_threads()
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


@pytest.mark.parametrize("name", NAMES)
def test_several_threads_may_encode_at_once(name, models, X):
    before = blas_threads(), openmp_threads()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(models[name].transform, [X] * 8))
    assert all((models[name].transform(X) != Z).nnz == 0 for Z in results)
    assert (blas_threads(), openmp_threads()) == before


def test_an_interrupted_call_does_not_wait_for_its_pieces():
    release, begun = threading.Event(), []

    def piece(number):
        begun.append(number)
        if number == 0:
            raise KeyboardInterrupt  # as if it came while the main thread waits
        release.wait(30)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        on_threads(piece, range(100), 2)
    assert time.monotonic() - start < 5
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(5)
    assert len(begun) < 10


@pytest.mark.parametrize(
    "model", [PCA(), KMeans(20, random_state=0), ICA(3, tol=0.1, random_state=0)]
)
def test_fits_do_not_depend_on_the_number_of_threads(model):
    X = np.random.default_rng(0).random((5000, 40))
    fits = []
    for threads in (1, 2, 3):
        with threadpool_limits(limits=threads):
            fits.append(clone(model).fit(X))
    assert len({fit.components_.tobytes() for fit in fits}) == 1
