"""Peak memory of encoding with a large dictionary: 65,536 atoms of 4,096 features, or 1 GiB.

Every encoder runs in a process of its own, whose largest resident set the system reports. A process
that only makes the inputs is the yardstick: what a call takes is what it adds to that. A copy of
the dictionary, where one is made, is part of it.

    python benches/scale.py                        a few samples and 2,048; some minutes
    python benches/scale.py --M 1024 --d 64        that it runs

Exit code 1: a call took more than --budget beyond the inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUTS = "inputs"
GIB = 1 << 30

# Non-zeros of a row. Memory hardly depends on them, and time does: these take minutes, not hours.
NONZEROS = 20
ATOMS_PER_ROUND = 5


@dataclass(frozen=True)
class Run:
    """What one process used."""

    encoder: str
    samples: int
    peak: int
    seconds: float


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.child is not None:
        run_child(options.child, options.M, options.d, options.samples[0])
        return 0
    budget, worst = options.budget * GIB, 0
    size = 4 * options.M * options.d / GIB
    print(f"M = {options.M:,}, d = {options.d:,}: the dictionary has {size:.2f} GiB")
    print(f"{'encoder':8} {'samples':>8} {'peak GiB':>9} {'beyond the inputs':>18} {'seconds':>8}")
    for samples in options.samples:
        inputs = measure(INPUTS, options, samples)
        for encoder in ENCODERS:
            run = measure(encoder, options, samples)
            beyond = run.peak - inputs.peak
            worst = max(worst, beyond)
            print(
                f"{encoder:8} {samples:8,} {run.peak / GIB:9.2f} {beyond / GIB:18.2f} "
                f"{run.seconds:8.1f}",
                flush=True,
            )
    verdict = "within" if worst <= budget else "ABOVE"
    print(f"At most {worst / GIB:.2f} GiB beyond the inputs, {verdict} {options.budget:g} GiB")
    return int(worst > budget)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--M", type=int, default=65_536, help="atoms")
    parser.add_argument("--d", type=int, default=4096, help="features")
    parser.add_argument("--samples", type=int, nargs="+", default=[8, 2048])
    parser.add_argument("--budget", type=float, default=6.0, metavar="GIB")
    parser.add_argument("--child", choices=[INPUTS, *ENCODERS], help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def measure(encoder: str, options: argparse.Namespace, samples: int) -> Run:
    """Run one encoder alone, and return its largest resident set in bytes."""
    sizes = {"--M": options.M, "--d": options.d, "--samples": samples}
    given = [text for name, size in sizes.items() for text in (name, str(size))]
    command = [sys.executable, __file__, "--child", encoder, *given]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{encoder} on {samples:,} samples ended with code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return Run(encoder, samples, usage.ru_maxrss * unit, json.loads(told)["seconds"])


def run_child(encoder: str, M: int, d: int, samples: int) -> None:
    """Make the inputs, without a second copy of them, and encode."""
    import icfl  # with what it loads at its first call, in both kinds of process

    rng = np.random.default_rng(0)
    components = unit_rows(rng, M, d)
    X = unit_rows(rng, samples, d)
    icfl.encode_topk(X[:1, :1], components[:2, :1].copy(), 1)
    start = time.perf_counter()
    if encoder != INPUTS:
        Z = ENCODERS[encoder](X, components)
        assert Z.shape == (samples, M)
        assert 0 < Z.nnz <= samples * NONZEROS
    print(json.dumps({"seconds": time.perf_counter() - start}))


def unit_rows(rng: np.random.Generator, n: int, d: int) -> NDArray[np.float32]:
    rows = np.empty((n, d), np.float32)
    rng.standard_normal(out=rows, dtype=np.float32)
    for row in rows:
        row /= np.linalg.norm(row)
    return rows


def _topk(X: Any, components: Any) -> Any:
    import icfl

    return icfl.encode_topk(X, components, NONZEROS)


def _icfl(X: Any, components: Any) -> Any:
    import icfl

    rounds = NONZEROS // ATOMS_PER_ROUND
    return icfl.encode_icfl(X, components, n_iterations=rounds, atoms_per_iteration=ATOMS_PER_ROUND)


def _omp(X: Any, components: Any) -> Any:
    import icfl

    return icfl.encode_omp(X, components, NONZEROS)


ENCODERS = {"topk": _topk, "icfl": _icfl, "omp": _omp}


if __name__ == "__main__":
    sys.exit(main())
