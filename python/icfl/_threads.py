"""BLAS and OpenMP on one thread while anybody needs it, and pieces of work on several.

What BLAS and OpenMP sum depends on their number of threads in the last bits. That of BLAS belongs
to the process: calls that overlap in time share one limit, set by the first and lifted by the last.
That of OpenMP belongs to the thread that asks for it: each sets and lifts its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["on_threads", "one_thread"]

Work = TypeVar("Work")
Result = TypeVar("Result")


class _Limit:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.controller: Any = None
        self.blas: Any = None


_limit = _Limit()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS and OpenMP to one thread; may be nested and entered by several threads."""
    mine = _limit
    with mine.lock:
        if mine.users == 0:
            mine.controller = ThreadpoolController()
            mine.blas = mine.controller.limit(limits=1, user_api="blas")
        mine.users += 1
        controller = mine.controller
    try:
        with controller.limit(limits=1, user_api="openmp"):
            yield
    finally:
        with mine.lock:
            mine.users -= 1
            if mine.users == 0:
                mine.blas.restore_original_limits()


def on_threads(
    function: Callable[[Work], Result], pieces: Iterable[Work], n_jobs: int | None
) -> list[Result]:
    """Return `function` of each piece, in their order; None takes all cores.

    After Ctrl-C no further piece is begun, and those under way are not waited for.
    """
    pool = ThreadPoolExecutor(n_jobs or os.cpu_count() or 1)
    try:
        return list(pool.map(function, pieces))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _renew_limit() -> None:
    """Give a forked child its own lock: the parent's may have been held by another thread."""
    global _limit
    _limit = _Limit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_limit)
