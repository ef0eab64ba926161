"""Honest numbers about reconstructions, codes, features and dictionaries.

Every measure has one definition, computed in float64 and in blocks of rows, so that memory-mapped
arrays work. The accumulator classes (`ReconstructionStats`, `ActivityStats`, `SelectivityCounts`)
take streams batch by batch and are merged across machines.
"""

from __future__ import annotations

from icfl.metrics.geometry import anisotropy
from icfl.metrics.intervals import SelectivityIntervals, selectivity_intervals
from icfl.metrics.leakage import BatchLeakage, batch_leakage
from icfl.metrics.probe import ProbeResult, linear_probe
from icfl.metrics.reconstruction import (
    ReconstructionStats,
    cosine_similarity,
    explained_variance,
)
from icfl.metrics.selectivity import Selectivity, SelectivityCounts, selectivity
from icfl.metrics.significance import (
    MatchedDensityNull,
    SelectivityTest,
    matched_density_null,
    selectivity_test,
)
from icfl.metrics.similarity import dictionary_similarity, match_atoms
from icfl.metrics.sparsity import ActivityStats, dead_fraction, density, l0
from icfl.metrics.winners_curse import CorrectedSelectivity, corrected_selectivity

__all__ = [
    "ActivityStats",
    "BatchLeakage",
    "CorrectedSelectivity",
    "MatchedDensityNull",
    "ProbeResult",
    "ReconstructionStats",
    "Selectivity",
    "SelectivityCounts",
    "SelectivityIntervals",
    "SelectivityTest",
    "anisotropy",
    "batch_leakage",
    "corrected_selectivity",
    "cosine_similarity",
    "dead_fraction",
    "density",
    "dictionary_similarity",
    "explained_variance",
    "l0",
    "linear_probe",
    "match_atoms",
    "matched_density_null",
    "selectivity",
    "selectivity_intervals",
    "selectivity_test",
]
