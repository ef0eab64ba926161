"""TopK and ICFL encoding as on a machine without AVX-512: variables take it from both sides.

Each library reads its own variable when it starts, so these rows run in processes of their own.
Whether PyTorch heeds them is measured: a product in a process with them beside one without.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from icfl import _core
from speed.case import Case, Row, Size, Target, require
from speed.rows import icfl, topk

__all__ = ["ICFL_ROW", "TOPK_ROW"]

ENVIRONMENT = {
    "ICFL_SIMD": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
# On two cores of a CPU that has both, AVX2 gave 0.55 of the speed of AVX-512.
STILL_RESTRICTED = 0.8
PRODUCT = """
from time import perf_counter
import torch
a, b = torch.randn(1024, 1024), torch.randn(8192, 1024)
seconds = []
with torch.inference_mode():
    for _ in range(12):
        start = perf_counter()
        a @ b.T
        seconds.append(perf_counter() - start)
print(torch.backends.cpu.get_cpu_capability(), 2 * 8192 * 2**20 / min(seconds) / 1e9)
"""


def build(size: Size, case_of: Any, **options: Any) -> Case:
    """Return another row's case, which also checks which instructions are in use."""
    case: Case = case_of(size, **options)

    def check(found: Mapping[str, Any]) -> list[str]:
        level = _core.simd_level()
        require(level == "avx2", f"the kernels use {level}")
        facts = ["kernels in use here: avx2"]
        if size != "quick" and find_spec("torch") is not None:
            facts.append(_restriction())
        return [*facts, *case.check(found)]

    return replace(case, check=check, footnote=lambda rates: "")


def _restriction() -> str:
    """Compare PyTorch's speed with and without the variables."""
    free = {key: value for key, value in os.environ.items() if key not in ENVIRONMENT}
    (own, restricted), (all_of_it, unrestricted) = (
        _product(env) for env in ({**free, **ENVIRONMENT}, free)
    )
    require(own == "AVX2", f"PyTorch uses {own}")
    doubtful = all_of_it != own and restricted > STILL_RESTRICTED * unrestricted
    return (
        f"a product in PyTorch: {restricted:.0f} GFLOP/s ({own}), without the restriction "
        f"{unrestricted:.0f} ({all_of_it})"
        f"{': too little of a difference to trust this row' if doubtful else ''}"
    )


def _product(environment: Mapping[str, str]) -> tuple[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PRODUCT], env=environment, capture_output=True, text=True, check=True
    )
    capability, speed = done.stdout.split()
    return capability, float(speed)


def _absent() -> str | None:
    if platform.machine() not in ("x86_64", "AMD64"):
        return "not an x86-64 CPU"
    return None if _core.simd_level() != "scalar" else "no AVX2"


TOPK_ROW = Row(
    "topk-avx2",
    "encode_topk, k = 64, AVX2 alone",
    partial(
        build,
        case_of=topk.build,
        standard=topk.WIDE,
        targets={topk.FLOAT32: Target(ratio=1.2)},
    ),
    memory=False,  # as with AVX-512
    environment=ENVIRONMENT,
    absent=_absent,
)
ICFL_ROW = Row(
    "icfl-avx2",
    "encode_icfl, 20 x 5, AVX2 alone",
    partial(build, case_of=icfl.build, targets={icfl.LOOP: Target(ratio=25)}),
    memory=False,  # as with AVX-512
    environment=ENVIRONMENT,
    absent=_absent,
)
