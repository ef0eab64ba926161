"""Honest numbers about reconstructions, codes, features and dictionaries.

Every measure has one definition, computed in float64 and in blocks of rows, so that memory-mapped
arrays work. The accumulator classes (`ReconstructionStats`, `ActivityStats`, `SelectivityCounts`)
take streams batch by batch and are merged across machines.
"""

from __future__ import annotations

from icfl.metrics.absorption import Absorption, feature_absorption
from icfl.metrics.geometry import anisotropy
from icfl.metrics.probe import ProbeResult, linear_probe
from icfl.metrics.reconstruction import (
    ReconstructionStats,
    cosine_similarity,
    explained_variance,
)
from icfl.metrics.recovery import Recovery, recovery
from icfl.metrics.selectivity import Selectivity, SelectivityCounts, selectivity
from icfl.metrics.similarity import dictionary_similarity, match_atoms
from icfl.metrics.sparsity import ActivityStats, dead_fraction, density, l0
from icfl.metrics.splitting import Splitting, feature_splitting

__all__ = [
    "Absorption",
    "ActivityStats",
    "ProbeResult",
    "ReconstructionStats",
    "Recovery",
    "Selectivity",
    "SelectivityCounts",
    "Splitting",
    "anisotropy",
    "cosine_similarity",
    "dead_fraction",
    "density",
    "dictionary_similarity",
    "explained_variance",
    "feature_absorption",
    "feature_splitting",
    "l0",
    "linear_probe",
    "match_atoms",
    "recovery",
    "selectivity",
]
