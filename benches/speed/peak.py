"""Peak memory of each contender, seen from outside: a process of its own, watched by this one.

The child makes the inputs, sets a contender up and waits. Its parent notes what it holds by then,
resets the high-water mark of the kernel (proc(5), ``clear_refs``) and lets it run once; the mark at
the end, less what was held before, is the memory of the call: of its answer and of whatever it
needed on the way, however short.

Where there is no /proc, the peak of a process that only makes the inputs is subtracted instead.
"""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from speed.case import Row, Run, Size

__all__ = ["INPUTS", "Peak", "measure", "peak_of", "run_alone"]

INPUTS = "inputs"
RESET_PEAK = "5"
READY = "ready\n"


@dataclass(frozen=True)
class Peak:
    """MiB: the largest resident set of the whole process, and what the call added."""

    total: int
    added: int


def measure(row: Row, names: Iterable[str], size: Size) -> dict[str, Peak]:
    """Return the peaks of contenders by name; those that did not end well are left out."""
    peaks: dict[str, Peak] = {}
    inputs = None if _watchable() else peak_of(row, INPUTS, size)
    for name in names:
        peak = peak_of(row, name, size)
        if peak is not None and inputs is not None:
            peak = Peak(peak.total, max(0, peak.total - inputs.total))
        if peak is not None:
            peaks[name] = peak
    return peaks


def peak_of(row: Row, contender: str, size: Size) -> Peak | None:
    """Return the peak of one run in a process of its own, or None if it did not end well."""
    code = f"from speed.peak import run_alone; run_alone({row.name!r}, {contender!r}, {size!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **row.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        held, highest = _when_waiting(process)
        _, after = _when_waiting(process)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    if process.returncode != 0:
        return None
    total = max(highest * 1024, usage.ru_maxrss * unit)  # the reset lowers that of wait4 as well
    return Peak(round(total / 2**20), max(0, round((after - held) / 1024)))


def run_alone(row: str, contender: str, size: Size) -> None:
    """Make the inputs of a row and run one contender, or none for `INPUTS`."""
    from speed.rows import ROWS

    setups: dict[str, Callable[[], Run]] = {INPUTS: lambda: lambda: None}
    setups |= {c.name: c.setup for c in ROWS[row].build(size).contenders}
    run = setups[contender]()
    gc.collect()
    with suppress(OSError, AttributeError):  # what the allocator kept would hide what comes
        ctypes.CDLL(None).malloc_trim(0)
    _wait_for_parent()
    answer = run()
    _wait_for_parent()  # with the answer still there
    del answer


def _wait_for_parent() -> None:
    print(READY, end="", flush=True)
    sys.stdin.readline()


def _watchable() -> bool:
    return Path("/proc/self/clear_refs").exists()


def _when_waiting(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Return what the child holds when it waits next, and its peak, in KiB; then let it go on.

    The peak is reset. Zeros where nothing can be known: it has ended (its exit status tells), or
    there is no /proc.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    if not any(line == READY for line in iter(process.stdout.readline, "")):
        return 0, 0
    held = highest = 0
    if _watchable():
        held, highest = _status(process.pid, "VmRSS"), _status(process.pid, "VmHWM")
        Path(f"/proc/{process.pid}/clear_refs").write_text(RESET_PEAK)
    process.stdin.write("\n")
    process.stdin.flush()
    return held, highest


def _status(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
