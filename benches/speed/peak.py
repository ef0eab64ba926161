"""Peak memory of each contender, seen from outside: a process of its own, and what wait4 says.

`ru_maxrss` of a child starts from what its parent had when the child began, so this is done before
the parent makes any inputs. The inputs alone are measured too: they are in every other figure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from speed.case import Row, Size

__all__ = ["INPUTS", "peak_mib", "run_alone"]

INPUTS = "inputs"


def peak_mib(row: Row, contender: str, size: Size) -> int | None:
    """Return the largest resident set in MiB of one run, or None if it did not end well."""
    code = f"from speed.peak import run_alone; run_alone({row.name!r}, {contender!r}, {size!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return round(usage.ru_maxrss * unit / 2**20) if process.returncode == 0 else None


def run_alone(row: str, contender: str, size: Size) -> None:
    """Make the inputs of a row and run one contender, or none for `INPUTS`."""
    from speed.rows import ROWS

    case = ROWS[row].build(size)
    for candidate in case.contenders:
        if candidate.name == contender:
            candidate.setup()()
