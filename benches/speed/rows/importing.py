"""Seconds that an import takes in a fresh interpreter, files in the system's cache."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from speed.case import OURS, Case, Contender, Row, Run, Size, Target

__all__ = ["ROW"]

PEERS = {
    "import sklearn.decomposition": "sklearn",
    "import torch": "torch",
    "import spams": "spams",
}
CODE = """
from time import perf_counter
start = perf_counter()
{statement}
print(perf_counter() - start)
"""


def build(size: Size) -> Case:
    def check(found: Mapping[str, Any]) -> list[str]:
        return []

    def contender(name: str, statement: str, package: str | None) -> Contender:
        return Contender(name, lambda: _timed(statement), 1, package, seconds=float)

    shown = list(PEERS.items())[: 1 if size == "quick" else None]
    peers = [contender(statement, statement, package) for statement, package in shown]
    ours = replace(contender(OURS, "import icfl", None), target=Target(seconds=0.5))
    return Case({}, ours, peers, check)


def _timed(statement: str) -> Run:
    command = [sys.executable, "-c", CODE.format(statement=statement)]
    run = partial(subprocess.run, command, capture_output=True, text=True, check=True)
    return lambda: float(run().stdout)


ROW = Row("import", "import icfl", build, unit="s", memory=False)
