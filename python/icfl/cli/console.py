"""What a command says, and to whom: results to standard output, the rest to standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from icfl.report.progress import Progress

__all__ = ["Console"]


class Console:
    """Print results and notes as the options ask.

    Parameters
    ----------
    json : bool
        Print the results as one JSON object and no notes.
    quiet : bool
        Print results, no notes and no progress.
    """

    def __init__(self, *, json: bool, quiet: bool) -> None:
        self.json = json
        self.quiet = quiet

    def note(self, text: str) -> None:
        """Say what is being done, on standard error."""
        if not (self.json or self.quiet):
            print(text, file=sys.stderr)

    def result(self, values: Mapping[str, Any], text: str) -> None:
        """Print the results: `values` as JSON for machines or `text` for people."""
        shown = json.dumps(finite(values), allow_nan=False) if self.json else text
        print(shown, flush=True)

    def progress(self, title: str, total: int, *, unit: str = "samples") -> Progress:
        """Return a progress bar, drawn only on a terminal."""
        return Progress(title, total, unit=unit, enabled=not (self.json or self.quiet))


def finite(value: Any) -> Any:
    """Return a JSON value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
