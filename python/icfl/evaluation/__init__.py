"""Evaluations that fit estimators; those of results at hand are in `icfl.metrics`."""

from __future__ import annotations

from icfl.evaluation.fit_stability import FitStability, fit_stability

__all__ = ["FitStability", "fit_stability"]
