"""Areas under ROC curves against scikit-learn, and DeLong's errors against all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.metrics import roc_auc_score

from icfl.exceptions import InputError, InputTypeError
from icfl.metrics import auroc, feature_auroc

EPS = np.finfo(np.float64).eps


def by_sklearn(Z, labels):
    return np.array([[roc_auc_score(labels == y, z) for y in np.unique(labels)] for z in Z.T])


def delong(z, inside):
    """Variance of the area, from the placements of all pairs [DeLong et al. 1988]."""
    own, others = z[inside][:, None], z[~inside]
    won = (own > others) + 0.5 * (own == others)
    return sum(won.mean(axis=axis).var(ddof=1) / won.shape[1 - axis] for axis in (0, 1))


@st.composite
def codes_and_labels(draw):
    n, width = draw(st.integers(4, 60)), draw(st.integers(1, 6))
    n_labels = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Rounded: ties also between values that are not zero.
    values = rng.normal(size=(n, width)).round(draw(st.integers(0, 8)))
    Z = np.where(rng.random((n, width)) < draw(st.sampled_from([0.1, 0.5, 1.0])), values, 0.0)
    labels = np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])
    return Z.astype(draw(st.sampled_from("fd"))), rng.permutation(labels)


@settings(max_examples=60, deadline=None)
@given(case=codes_and_labels())
def test_areas_are_those_of_scikit_learn(case):
    Z, labels = case
    expected = by_sklearn(Z, labels)
    for codes in (Z, sparse.csr_array(Z), sparse.csc_matrix(Z), sparse.coo_array(Z)):
        result = feature_auroc(codes, labels)
        # Ours is one division of integers; its trapezoids are sums of at most 60 terms up to 1.
        np.testing.assert_allclose(result.values, expected, rtol=0, atol=64 * EPS)
        assert result.labels.tolist() == np.unique(labels).tolist()
        np.testing.assert_array_equal(result.n_samples, np.bincount(labels))


@settings(max_examples=60, deadline=None)
@given(case=codes_and_labels())
def test_standard_errors_are_delongs(case):
    Z, labels = case
    result = feature_auroc(sparse.csr_array(Z), labels)
    for m, z in enumerate(Z.T):
        for column, label in enumerate(result.labels):
            inside = labels == label
            found = result.standard_errors[m, column]
            if min(inside.sum(), (~inside).sum()) < 2:
                assert np.isnan(found)
            else:
                # The oracle squares differences of means of at most 60 numbers up to 1.
                np.testing.assert_allclose(found**2, delong(z, inside), rtol=0, atol=128 * EPS)


@settings(max_examples=30, deadline=None)
@given(case=codes_and_labels())
def test_areas_keep_the_order_of_codes_and_nothing_else(case):
    Z, labels = case
    result = feature_auroc(sparse.csr_array(Z), labels)
    turned = feature_auroc(sparse.csr_array(-Z), labels)
    np.testing.assert_allclose(turned.values, 1 - result.values, rtol=0, atol=2 * EPS)
    # a and b are turned around their means: exact integers in both cases.
    np.testing.assert_allclose(
        turned.standard_errors, result.standard_errors, rtol=8 * EPS, atol=0, equal_nan=True
    )
    cubed = feature_auroc(Z.astype(np.float64) ** 3, labels)
    np.testing.assert_array_equal(cubed.values, result.values)
    rows = np.random.default_rng(0).permutation(len(Z))
    shuffled = feature_auroc(sparse.csr_array(Z[rows]), labels[rows])
    np.testing.assert_array_equal(shuffled.values, result.values)
    np.testing.assert_array_equal(shuffled.standard_errors, result.standard_errors)
    # Against all others, weighted by the number of pairs, labels average to one half.
    others = len(Z) - result.n_samples
    pairs = result.n_samples * others
    np.testing.assert_allclose(result.values @ pairs / pairs.sum(), 0.5, rtol=0, atol=16 * EPS)


def test_a_case_by_hand():
    Z = sparse.csr_array([[2.0, -1.0], [0.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, -2.0]])
    result = feature_auroc(Z, ["a", "a", "b", "b", "b"])
    # Feature 0, label a: 2 beats 0, 1, 0; 0 ties with 0 and 0 and loses to 1. (3 + 1) / 6.
    # Feature 1: -1 beats -2; 0 loses to 3, ties with 0, beats -2. (1 + 1.5) / 6.
    np.testing.assert_array_equal(result.values[:, 0], [4 / 6, 2.5 / 6])
    np.testing.assert_array_equal(result.values[:, 1], [2 / 6, 3.5 / 6])


def test_areas_are_mann_whitneys_u_in_large_samples():
    rng = np.random.default_rng(5)
    n, labels = 70_000, rng.integers(0, 3, 70_000)  # three blocks of rows
    Z = sparse.random_array((n, 40), density=0.05, format="csr", rng=rng, dtype=np.float32)
    one, *others = (feature_auroc(Z, labels, n_jobs=n_jobs) for n_jobs in (1, 2, 5, None))
    for m in (0, 17, 39):
        z = Z[:, [m]].toarray().ravel().astype(np.float64)
        for label in range(3):
            own = z[labels == label]
            u = stats.mannwhitneyu(own, z[labels != label], method="asymptotic").statistic
            pairs = len(own) * (n - len(own))
            assert abs(one.values[m, label] - u / pairs) <= 2 * EPS
    for other in others:
        np.testing.assert_array_equal(other.values, one.values)
        np.testing.assert_array_equal(other.standard_errors, one.standard_errors)


def test_standard_errors_cover_the_spread_over_samples():
    """Of 400 areas of the same two laws, the standard deviation is the mean standard error."""
    rng = np.random.default_rng(8)
    labels = np.repeat(["a", "b"], [60, 90])
    shift = 0.7 * (labels == "a")[:, None]
    Z = np.maximum(rng.normal(size=(150, 400)) + shift, 0.0)
    result = feature_auroc(Z, labels)
    # A standard deviation of 400 draws is off by 1 / sqrt(800) = 3.5 %: four of these.
    ratio = result.values[:, 0].std() / result.standard_errors[:, 0].mean()
    assert abs(ratio - 1) < 0.14


def test_stored_zeros_repeated_entries_and_integers():
    plain = np.array([[1, 0], [0, -2], [3, 1], [0, 0]])
    labels = [0, 1, 0, 1]
    expected = by_sklearn(plain, np.array(labels))
    stored = sparse.csr_array(
        ([1.0, 0.0, -2.0, 1.0, 2.0, 1.0, -0.0], [0, 0, 1, 0, 0, 1, 1], [0, 1, 3, 6, 7]),
        shape=(4, 2),
    )
    for codes in (plain, stored, sparse.csr_array(plain), plain.astype(np.int8)):
        np.testing.assert_array_equal(feature_auroc(codes, labels).values, expected)
    assert stored.nnz == 7


def test_rows_without_a_label_are_left_out():
    rng = np.random.default_rng(0)
    Z, labels = rng.normal(size=(20, 3)), np.array(["a", "b", None, ""] * 5, dtype=object)
    kept = np.isin(labels, ["a", "b"])
    found, expected = feature_auroc(Z, labels), feature_auroc(Z[kept], labels[kept])
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.standard_errors, expected.standard_errors)


def test_dense_codes_of_several_panels(monkeypatch):
    rng = np.random.default_rng(2)
    Z, labels = rng.integers(-1, 3, (50, 11)), rng.integers(0, 3, 50)
    whole = feature_auroc(sparse.csr_array(Z), labels)
    monkeypatch.setattr(auroc, "_PANEL_VALUES", 200)
    np.testing.assert_array_equal(feature_auroc(Z, labels).values, whole.values)


def test_what_the_result_tells():
    pytest.importorskip("pandas")
    Z = np.array([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0], [0.0, 0.0]])
    result = feature_auroc(Z, ["x", "x", "y", "y"])
    features, areas = result.best()
    assert (features.tolist(), areas.tolist()) == ([1, 0], [1.0, 0.75])
    frame = result.to_frame()
    assert frame.columns.tolist() == ["feature", "label", "auroc", "standard_error", "n_samples"]
    assert frame.iloc[0][["feature", "label", "auroc"]].tolist() == [1, "x", 1.0]
    assert frame.auroc.is_monotonic_decreasing
    assert np.asarray(result) is result.values
    assert "n_labels=2" in repr(result)


def test_errors_name_what_is_wrong():
    Z = np.ones((2, 3))
    with pytest.raises(InputError, match="at least two"):
        feature_auroc(Z, ["a", None])
    with pytest.raises(InputError, match="3 for 2 rows"):
        feature_auroc(Z, [0, 1, 2])
    with pytest.raises(InputTypeError, match="mixes strings"):
        feature_auroc(Z, np.array(["a", 1], dtype=object))
    for bad in (np.nan, np.inf):
        for codes in ([[bad], [1.0]], sparse.csr_array([[bad], [1.0]])):
            with pytest.raises(InputError, match="Z must be finite"):
                feature_auroc(codes, [0, 1])
    with pytest.raises(InputError, match="n_jobs"):
        feature_auroc(Z, [0, 1], n_jobs=0)
    broken = sparse.csr_array(np.eye(2, 1))
    broken.indices[:] = 3
    with pytest.raises(InputError, match="indices from 0 to 0"):
        feature_auroc(broken, [0, 1])
