"""Data to learn on: a real Cell Painting screen, and synthetic data whose dictionary is known."""

from __future__ import annotations

from icfl.datasets._trees import Trees
from icfl.datasets.benchmark import SyntheticBenchmark, make_synthetic_benchmark
from icfl.datasets.cell_lines import load_cell_lines
from icfl.datasets.planted import PlantedModel, make_planted
from icfl.datasets.stream import PlantedStream

__all__ = [
    "PlantedModel",
    "PlantedStream",
    "SyntheticBenchmark",
    "Trees",
    "load_cell_lines",
    "make_planted",
    "make_synthetic_benchmark",
]
