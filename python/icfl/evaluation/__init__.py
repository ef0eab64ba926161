"""Evaluations that fit estimators; those of results at hand are in `icfl.metrics`.

`compare` fits learners side by side: equal width, equal sparsity, the same held-out groups and
seeds. `fit_stability` fits one of them again, from other seeds and to halves of the samples.
"""

from __future__ import annotations

from icfl.evaluation.comparison import Comparison
from icfl.evaluation.fit_stability import FitStability, fit_stability
from icfl.evaluation.running import compare

__all__ = ["Comparison", "FitStability", "compare", "fit_stability"]
