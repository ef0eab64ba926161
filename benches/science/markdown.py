"""Markdown tables of means and spreads, printed row by row as they are measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NOTHING = "-"
"""Stands where a number does not apply: a probe of one label, absorption without found parents."""


class Column(NamedTuple):
    """A number of a table.

    Attributes
    ----------
    title : str
        What stands above it.
    metric : str
        What it is called where it is measured.
    decimals : int
    scale : float
        What it is multiplied by: 100 for per cent.
    """

    title: str
    metric: str
    decimals: int = 3
    scale: float = 1.0

    def show(self, mean: float, half: float, *, signed: bool = False) -> str:
        """Return "mean ± half"; the mean alone where there is no spread to give."""
        if not math.isfinite(mean):
            return NOTHING
        sign = "+" if signed else ""
        text = f"{self.scale * mean:{sign}.{self.decimals}f}"
        if not math.isfinite(half):
            return text
        return f"{text} ± {self.scale * half:.{self.decimals}f}"

    def spread(self, values: Sequence[float], *, signed: bool = False) -> str:
        """Return mean ± standard deviation; nothing if one of the values is NaN."""
        found = np.asarray(values, dtype=np.float64)
        half = float(found.std(ddof=1)) if len(found) > 1 else math.nan
        return self.show(float(found.mean()), half, signed=signed)


def start(title: str, about: str, headings: Sequence[str]) -> None:
    """Print the title, what the numbers are, and the head of a table."""
    print(f"\n### {title}\n\n{about}\n")
    row(headings)
    row(["---"] * len(headings))


def row(cells: Sequence[str]) -> None:
    """Print one row at once: long runs can be watched, and what is there stays if they end."""
    print(f"| {' | '.join(cells)} |", flush=True)


def is_wanted(name: str, only: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a row is asked for: by its name, or by the beginning of several; all if none is."""
    return not only or any(name == o or (o not in names and name.startswith(o)) for o in only)


def note(lines: Sequence[str]) -> None:
    """Print what is to be said under a table, if anything is."""
    if lines:
        print("\n" + "\n".join(lines), flush=True)
