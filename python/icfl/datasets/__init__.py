"""Data to learn on: a real Cell Painting screen, and synthetic data whose dictionary is known."""

from __future__ import annotations

from icfl.datasets.cell_lines import load_cell_lines
from icfl.datasets.planted import PlantedModel, make_planted

__all__ = ["PlantedModel", "load_cell_lines", "make_planted"]
