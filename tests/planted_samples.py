"""Planted samples that several tests draw, and when an observed share is the planted one."""

from __future__ import annotations

import numpy as np

from icfl.datasets import Trees, make_planted

N = 60_000
TREES = Trees(5, branching=3, depth=2)


def assert_binomial(observed, expected, n):
    # Five standard deviations, as in test_datasets.py: 6e-7 two-sided a share. Expected counts here
    # are at least 40, where the Poisson tail is within a factor of a few of the normal one. Seeds
    # are fixed.
    deviations = (observed - expected) / np.sqrt(expected * (1 - expected) / n)
    assert np.abs(deviations).max() < 5


def sparse_planted(n_samples=N, n_components=200, **options):
    options = {"n_active": 8, "random_state": 0, **options}
    return make_planted(n_samples, 8, n_components, sampler="sparse", **options)


def streamed_model():
    """Return a small model with trees and correlation, for streams."""
    return sparse_planted(1, 100, hierarchy=TREES, correlation=0.3, n_active=6).model
