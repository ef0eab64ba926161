"""A row in a process of its own, where variables that are read at the start can be set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from speed.case import Row, Size
from speed.result import RowResult
from speed.runner import run_row

__all__ = ["run_separately"]

BENCHES = Path(__file__).parents[1]


def run_separately(row: Row, size: Size, repetitions: int, rest: float) -> RowResult:
    """Do what `run_row` does, in a child with the environment of the row."""
    arguments = [row.name, size, str(repetitions), str(rest)]
    done = subprocess.run(
        [sys.executable, "-m", "speed.separate", *arguments],
        cwd=BENCHES,
        env={**os.environ, **row.environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return RowResult(row.name, row.title, row.unit, error=f"exit code {done.returncode}")
    return RowResult.from_dict(json.loads(done.stdout.splitlines()[-1]))


def main(name: str, size: Size, repetitions: str, rest: str) -> None:
    from speed.rows import ROWS

    print(json.dumps(run_row(ROWS[name], size, int(repetitions), float(rest)).to_dict()))


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
