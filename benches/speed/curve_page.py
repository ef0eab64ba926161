"""The section "Curves and roofline" of docs/performance.md, between its markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speed.limits import OUTSIDE, Limited, telling
from speed.peaks import Peaks
from speed.roofline import PHASES
from speed.sweeps import WORKS, Setting

__all__ = ["SECTION", "to_markdown"]

SECTION = "curves"
# One encoder at a time makes a load of about one a core.
BUSY = " **The machine was busy with other work**: measure again on an idle one."
TINY = " **Tiny sizes: this shows that everything runs, and says nothing of speed.**"


def to_markdown(
    about: Mapping[str, Any],
    base: Setting,
    peaks: Mapping[int, Peaks],
    limited: Sequence[Limited],
) -> str:
    """Return machine, pictures and the table of limits."""
    return "\n\n".join(
        (
            _machine(about),
            f"![Throughput along each size](images/curves.png)\n\n*{_caption(base)}*",
            _peaks(peaks),
            "![Roofline](images/roofline.png)",
            "![What limits each encoder](images/limits.png)",
            _table(telling(limited, base)),
        )
    )


def _machine(about: Mapping[str, Any]) -> str:
    machine = about["machine"]
    loads = [load for load in (about["load_start"], about["load_end"]) if load is not None]
    busy = max(loads, default=0.0) > 1.5 * machine["cores"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['simd']}, "
        f"{machine['memory_gib']} GiB, {machine['system']}; load average {about['load_start']} "
        f"at the start, {about['load_end']} at the end."
        f"{TINY if about['quick'] else BUSY if busy else ''}"
    )


def _caption(base: Setting) -> str:
    return (
        "Samples per second, the middle one of the repetitions; the bands are their ranges. Where "
        f"they are not varied: d = {base.d:,}, M = {base.M:,}, {base.nonzeros} non-zeros, "
        f"{base.threads} threads. Points that would take too long are left out."
    )


def _peaks(peaks: Mapping[int, Peaks]) -> str:
    lines = ["| threads | float32 product | reads from 1 MiB | 16 MiB | 512 MiB |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for threads, one in peaks.items():
        reads = (f"{one.bandwidth(size << 20) / 1e9:.0f} GB/s" for size in (1, 16, 512))
        lines.append(f"| {threads} | {one.product / 1e9:.0f} GFLOP/s | {' | '.join(reads)} |")
    return "What the machine can do, measured with NumPy:\n\n" + "\n".join(lines)


def _table(limited: Sequence[Limited]) -> str:
    phases = (*PHASES, OUTSIDE)
    header = ["encoder", "M", "d", "n", "samples/s", *phases, "of the model", "limited by"]
    rows = [header, ["---"] * len(header), *(_row(one, phases) for one in limited)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(one: Limited, phases: Sequence[str]) -> list[str]:
    at, shares = one.point.at, one.shares
    return [
        WORKS[one.point.work].title,
        *(f"{size:,}" for size in (at.M, at.d, one.point.shape.n)),
        _digits(one.point.rates[1]),
        *(f"{shares[p]:.0%}" if shares.get(p) else "" for p in phases),
        f"{one.reached:.0%}",
        one.limiting,
    ]


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"
