"""How many rows are worked on at once, and in which precision sums are kept."""

from __future__ import annotations

import torch

__all__ = ["SCORE_BYTES", "rows_at_once", "wide"]

SCORE_BYTES = 1 << 30
"""Bytes that scores of rows against all atoms, and what is computed beside them, may take."""

BUFFERS = 4
"""Arrays of the size of the scores that live at the same time."""


def rows_at_once(shape: tuple[int, int], block: int = 1) -> int:
    """Return how many rows' scores with a dictionary of that shape fit, at least one.

    `block` atoms are gathered for each row.
    """
    n_components, n_features = shape
    numbers = BUFFERS * n_components + 2 * block * n_features
    return max(1, SCORE_BYTES // (4 * numbers))


def wide(device: torch.device) -> torch.dtype:
    """Return the precision of long sums and small systems: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64
