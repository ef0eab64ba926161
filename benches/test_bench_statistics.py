"""Time whitening and the measures."""

from __future__ import annotations

import pytest

import icfl
from icfl import metrics


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_whitener_fit(benchmark, rows, method):
    benchmark(icfl.ControlWhitener(method=method).fit, rows)


def test_whitener_partial_fit(benchmark, rows):
    benchmark(icfl.ControlWhitener().partial_fit, rows)


def test_whitener_inverse_transform(benchmark, rows):
    whitener = icfl.ControlWhitener().fit(rows)
    assert benchmark(whitener.inverse_transform, rows).shape == rows.shape


def test_whitener_transform(benchmark, rows):
    whitener = icfl.ControlWhitener().fit(rows)
    assert benchmark(whitener.transform, rows).shape == rows.shape


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_selectivity(benchmark, codes_and_labels, kind):
    Z, labels = codes_and_labels
    assert len(benchmark(metrics.selectivity, Z, labels, kind).labels) == len(set(labels))


def test_feature_auroc(benchmark, codes_and_labels):
    Z, labels = codes_and_labels
    assert len(benchmark(metrics.feature_auroc, Z, labels).labels) == len(set(labels))


def test_density(benchmark, codes_and_labels):
    assert len(benchmark(metrics.density, codes_and_labels[0])) == codes_and_labels[0].shape[1]


def test_explained_variance(benchmark, rows):
    assert benchmark(metrics.explained_variance, rows, 0.9 * rows) < 1
