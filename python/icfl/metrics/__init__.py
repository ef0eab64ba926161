"""Honest numbers about reconstructions, codes, features and dictionaries.

Every measure has one definition, computed in float64 and in blocks of rows, so that memory-mapped
arrays work. The accumulator classes (`ReconstructionStats`, `ActivityStats`, `SelectivityCounts`,
`SelectivityIntervalCounts`) take streams batch by batch and are merged across machines.
"""

from __future__ import annotations

from icfl.metrics.absorption import Absorption, feature_absorption
from icfl.metrics.auroc import FeatureAuroc, feature_auroc
from icfl.metrics.enrichment import Enrichment, enrichment
from icfl.metrics.geometry import anisotropy
from icfl.metrics.intervals import (
    SelectivityIntervalCounts,
    SelectivityIntervals,
    selectivity_intervals,
)
from icfl.metrics.leakage import BatchLeakage, batch_leakage
from icfl.metrics.probe import ProbeResult, linear_probe
from icfl.metrics.probe_comparison import ProbeComparison, compare_probes
from icfl.metrics.recall import PerturbationRecall, perturbation_recall
from icfl.metrics.reconstruction import (
    ReconstructionStats,
    cosine_similarity,
    explained_variance,
)
from icfl.metrics.recovery import Recovery, recovery
from icfl.metrics.retrieval import MeanAveragePrecision, mean_average_precision
from icfl.metrics.selectivity import Selectivity, SelectivityCounts, selectivity
from icfl.metrics.significance import (
    MatchedDensityNull,
    SelectivityTest,
    matched_density_null,
    selectivity_test,
)
from icfl.metrics.similarity import dictionary_similarity, match_atoms
from icfl.metrics.sparse_probe import SparseProbeResult, sparse_probe
from icfl.metrics.sparsity import ActivityStats, dead_fraction, density, l0
from icfl.metrics.splitting import Splitting, feature_splitting
from icfl.metrics.stability import Agreement, Stability, stability
from icfl.metrics.winners_curse import CorrectedSelectivity, corrected_selectivity

__all__ = [
    "Absorption",
    "ActivityStats",
    "Agreement",
    "BatchLeakage",
    "CorrectedSelectivity",
    "Enrichment",
    "FeatureAuroc",
    "MatchedDensityNull",
    "MeanAveragePrecision",
    "PerturbationRecall",
    "ProbeComparison",
    "ProbeResult",
    "ReconstructionStats",
    "Recovery",
    "Selectivity",
    "SelectivityCounts",
    "SelectivityIntervalCounts",
    "SelectivityIntervals",
    "SelectivityTest",
    "SparseProbeResult",
    "Splitting",
    "Stability",
    "anisotropy",
    "batch_leakage",
    "compare_probes",
    "corrected_selectivity",
    "cosine_similarity",
    "dead_fraction",
    "density",
    "dictionary_similarity",
    "enrichment",
    "explained_variance",
    "feature_absorption",
    "feature_auroc",
    "feature_splitting",
    "l0",
    "linear_probe",
    "match_atoms",
    "matched_density_null",
    "mean_average_precision",
    "perturbation_recall",
    "recovery",
    "selectivity",
    "selectivity_intervals",
    "selectivity_test",
    "sparse_probe",
    "stability",
]
