"""What the machine can do at most, measured: products, and reads from each level of its memory.

Both by NumPy, so that our own kernels are not what they are compared with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

__all__ = ["Peaks", "measure_peaks"]

KIB, MIB = 1 << 10, 1 << 20
# From one core's L2 to far outside any L3. Below, the cost of a call would be measured; what is
# smaller is taken to be read as fast as the smallest.
SIZES = tuple(512 * KIB << i for i in range(0, 11))
REPETITIONS = 5


@dataclass(frozen=True)
class Peaks:
    """Rates of the machine on some threads.

    Attributes
    ----------
    threads : int
        How many worked.
    product : float
        Operations per second of a large float32 product, a multiplication and an addition each.
    reads : tuple of (int, float)
        Bytes that are read again and again, by all threads, and bytes per second.
    """

    threads: int
    product: float
    reads: tuple[tuple[int, float], ...]

    def bandwidth(self, working_set: float) -> float:
        """Bytes per second from a working set of this size, between those measured."""
        sizes, rates = zip(*self.reads, strict=True)
        return float(np.interp(log2(max(working_set, 1.0)), np.log2(sizes), rates))


def measure_peaks(threads: int, *, quick: bool = False) -> Peaks:
    """Measure the product rate and the ladder of bandwidths, the best of some repetitions."""
    sizes = SIZES[:3] if quick else SIZES
    with ThreadPoolExecutor(threads) as pool:
        reads = tuple((size, _read_rate(pool, threads, size)) for size in sizes)
    return Peaks(threads, _product_rate(threads, 256 if quick else 2048), reads)


def _product_rate(threads: int, size: int) -> float:
    a, b = (np.random.default_rng(i).standard_normal((size, size), np.float32) for i in (0, 1))
    out = np.empty_like(a)
    with threadpool_limits(threads):
        return 2 * size**3 / _fastest(lambda: np.matmul(a, b, out=out))


def _read_rate(pool: ThreadPoolExecutor, threads: int, size: int) -> float:
    """All threads read the same values, as encoders read one matrix; each begins elsewhere."""
    values = np.zeros(size // 4, np.float32)
    # The largest value of each of many views of the same memory: one call, whatever the size.
    times = max(1, 32 * MIB // size)
    part = values.size // threads
    begins = [values[i * part :] for i in range(threads)]

    def read(begin: np.ndarray[Any, Any]) -> None:
        for piece in (begin, values[: values.size - begin.size]):
            views = np.broadcast_to(piece, (times, piece.size))
            if piece.size:
                np.maximum.reduce(views, axis=1)

    return threads * times * size / _fastest(lambda: list(pool.map(read, begins)))


def _fastest(run: Callable[[], object]) -> float:
    run()
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
