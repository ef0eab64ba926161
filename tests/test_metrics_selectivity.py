"""Selectivity against the published formulas, written out densely."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from icfl import _core
from icfl.exceptions import InputError, InputTypeError
from icfl.metrics import SelectivityCounts, selectivity
from icfl.metrics._inputs import count_active

EPS = np.finfo(np.float64).eps


def by_definition(Z, labels, kind):
    """Both formulas, one feature and one label at a time."""
    labels = np.asarray(labels)
    names = sorted(set(labels.tolist()))
    active = np.asarray(Z) != 0
    p = {i: active[labels == i].mean(axis=0) for i in names}
    columns = []
    for i in names:
        others = [p[j] for j in names if j != i]
        against = active[labels != i].mean(axis=0) if kind == "average" else np.max(others, axis=0)
        columns.append(p[i] - against)
    return np.array(columns).T


@st.composite
def codes_and_labels(draw):
    n, n_components = draw(st.integers(2, 40)), draw(st.integers(1, 12))
    n_labels = draw(st.integers(2, min(n, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Z = np.where(rng.random((n, n_components)) < 0.4, rng.normal(size=(n, n_components)), 0.0)
    labels = np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])
    return Z.astype(np.float32), rng.permutation(labels)


@settings(max_examples=50, deadline=None)
@given(case=codes_and_labels(), kind=st.sampled_from(["average", "maximum"]))
def test_values_are_the_published_formulas(case, kind):
    Z, labels = case
    expected = by_definition(Z, labels, kind)
    for given_codes in (Z, sparse.csr_array(Z), sparse.csc_matrix(Z)):
        result = selectivity(given_codes, labels, kind)
        assert result.shape == expected.shape
        assert result.labels.tolist() == sorted(set(labels.tolist()))
        # Two quotients of exact integers and one difference of numbers up to 1.
        np.testing.assert_allclose(np.asarray(result), expected, rtol=0, atol=3 * EPS)
        np.testing.assert_array_equal(result.n_samples, np.bincount(labels))


@settings(max_examples=50, deadline=None)
@given(case=codes_and_labels(), kind=st.sampled_from(["average", "maximum"]))
def test_any_split_merged_in_any_order_gives_the_same_bits(case, kind):
    Z, labels = case
    names = np.array([f"type {label}" for label in labels])
    whole = selectivity(Z, names, kind)
    parts = np.array_split(np.arange(len(Z)), 3)
    for order in itertools.permutations(parts):
        merged = SelectivityCounts()
        for rows in order:
            if len(rows):
                merged.merge(SelectivityCounts().update(sparse.csr_array(Z[rows]), names[rows]))
        result = merged.selectivity(kind)
        assert result.labels.tolist() == whole.labels.tolist()
        np.testing.assert_array_equal(result.values, whole.values)


@settings(max_examples=50, deadline=None)
@given(case=codes_and_labels())
def test_maximum_never_exceeds_average(case):
    Z, labels = case
    average = selectivity(Z, labels).values
    assert (selectivity(Z, labels, "maximum").values <= average + 4 * EPS).all()


def test_a_feature_that_names_its_label():
    Z = np.eye(3).repeat(5, axis=0)
    labels = np.repeat(["a", "b", "c"], 5)
    average, maximum = selectivity(Z, labels), selectivity(Z, labels, "maximum")
    np.testing.assert_array_equal(np.diag(average.values), 1.0)
    np.testing.assert_array_equal(np.diag(maximum.values), 1.0)
    assert average.values[0].tolist() == [1.0, -0.5, -0.5]
    assert maximum.values[0].tolist() == [1.0, -1.0, -1.0]


def test_a_shared_feature_keeps_average_and_loses_maximum_selectivity():
    labels = np.repeat(["a", "b", "c", "d"], 10)
    Z = np.isin(labels, ["a", "b"]).astype(float)[:, None]
    # P(active) is 1 for a and b, 0 for c and d; over the other three labels 1/3 and 2/3.
    np.testing.assert_allclose(
        selectivity(Z, labels).values[0], [2 / 3, 2 / 3, -2 / 3, -2 / 3], rtol=0, atol=EPS
    )
    assert selectivity(Z, labels, "maximum").values[0].tolist() == [0.0, 0.0, -1.0, -1.0]


def test_stored_zeros_are_not_active():
    Z = sparse.csr_array(([0.0, 1.0], [0, 0], [0, 1, 2]), shape=(2, 1))
    assert selectivity(Z, ["a", "b"]).values.tolist() == [[-1.0, 1.0]]


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["a", None, "b", "", "a", np.nan], dtype=object),
        np.array(["a", "", "b", "", "a", ""]),
        np.array([1.0, np.nan, 2.0, np.nan, 1.0, np.nan]),
        np.array(["2024-01-01", "NaT", "2024-02-01", "NaT", "2024-01-01", "NaT"], dtype="M8[D]"),
    ],
)
def test_rows_without_a_label_are_left_out(labels):
    Z = np.random.default_rng(0).integers(0, 2, size=(6, 4))
    kept = [0, 2, 4]
    counts = SelectivityCounts().update(Z, labels)
    assert counts.n_missing == 3
    expected = by_definition(Z[kept], ["a", "b", "a"], "average")
    np.testing.assert_allclose(counts.selectivity().values, expected, rtol=0, atol=3 * EPS)


def test_pandas_columns_with_missing_values():
    pd = pytest.importorskip("pandas")
    Z = np.array([[1.0], [0.0], [1.0]])
    for dtype in ("string", "category", object):
        column = pd.Series(["a", "b", None], dtype=dtype)
        assert selectivity(Z, column).labels.tolist() == ["a", "b"]
    numbers = pd.Series([1, 2, pd.NA], dtype="Int64")
    assert selectivity(Z, numbers).values.tolist() == [[1.0, -1.0]]


def test_the_word_none_is_a_label():
    assert selectivity([[1.0], [0.0]], ["none", "EV"]).labels.tolist() == ["EV", "none"]


def test_count_above_counts_features_once():
    Z = np.eye(3).repeat(2, axis=0)
    Z[:, 1] = 1.0  # active everywhere: selective for nothing
    result = selectivity(Z, np.repeat(["a", "b", "c"], 2))
    assert [result.count_above(t) for t in (-0.1, 0.0, 0.5, 0.99, 1.0)] == [3, 2, 2, 2, 0]
    labels, values = result.best()
    assert labels.tolist() == ["a", "a", "c"]
    assert values.tolist() == [1.0, 0.0, 1.0]


def test_dense_codes_of_several_blocks():
    rng = np.random.default_rng(1)
    Z = rng.integers(0, 2, size=(900, 800))  # 327 rows a block
    labels = rng.integers(0, 3, size=900)
    np.testing.assert_array_equal(
        selectivity(Z, labels).values, selectivity(sparse.csr_array(Z), labels).values
    )


def test_values_convert_as_an_array():
    result = selectivity([[1.0], [0.0]], [0, 1])
    assert np.asarray(result, dtype=np.float32).dtype == np.float32
    assert np.asarray(result) is result.values
    assert "n_labels=2" in repr(result)


@pytest.mark.parametrize("labels", [["a", "a"], ["a", None], [None, ""]])
def test_one_label_is_nothing_to_select(labels):
    with pytest.raises(InputError, match="at least two"):
        selectivity([[1.0], [0.0]], np.array(labels, dtype=object))


def test_errors_name_what_is_wrong():
    Z = np.ones((2, 3))
    with pytest.raises(InputError, match="kind"):
        selectivity(Z, [0, 1], "median")
    with pytest.raises(InputError, match="3 for 2 rows"):
        selectivity(Z, [0, 1, 2])
    with pytest.raises(InputError, match="1-D"):
        selectivity(Z, [[0], [1]])
    with pytest.raises(InputTypeError, match="mixes strings"):
        selectivity(Z, np.array(["a", 1], dtype=object))
    with pytest.raises(InputError, match="Z must be finite"):
        selectivity(sparse.csr_array([[np.nan], [1.0]]), [0, 1])
    counts = SelectivityCounts().update(Z, [0, 1])
    with pytest.raises(InputError, match="same n_components"):
        counts.update(np.ones((2, 4)), [5, 6])
    assert counts.selectivity().labels.tolist() == [0, 1]


def counted(Z, labels, n_labels):
    """Counts by definition, from dense float64 codes."""
    active = np.asarray(Z, dtype=np.float64) != 0
    counts = np.zeros((n_labels, active.shape[1]))
    for label in range(n_labels):
        counts[label] = active[labels == label].sum(axis=0)
    return counts


@st.composite
def stored_anyhow(draw):
    """Sparse codes of any format and dtype, with repeated and zero entries, and labels."""
    n, width = draw(st.integers(1, 30)), draw(st.integers(1, 9))
    n_stored, n_labels = draw(st.integers(0, 120)), draw(st.integers(0, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(-1, 2, n_stored).astype(draw(st.sampled_from("bilfd")))
    rows, columns = rng.integers(0, n, n_stored), rng.integers(0, width, n_stored)
    Z = sparse.coo_array((values, (rows, columns)), shape=(n, width))
    kind = draw(st.sampled_from(["coo", "csr", "csc", "unsorted"]))
    if kind == "unsorted":
        order = np.argsort(rows, kind="stable")
        indptr = np.searchsorted(rows[order], np.arange(n + 1))
        index = draw(st.sampled_from([np.int32, np.int64]))
        parts = (values[order], columns[order].astype(index), indptr.astype(index))
        return sparse.csr_array(parts, shape=(n, width)), rng.integers(-1, n_labels, n), n_labels
    return Z.asformat(kind), rng.integers(-1, n_labels, n), n_labels


@settings(max_examples=200, deadline=None)
@given(case=stored_anyhow())
def test_counts_are_those_of_the_dense_codes(case):
    Z, labels, n_labels = case
    # Repeated entries are sums of -1, 0 and 1, exact in every type; so are the counts.
    dense = Z.toarray()
    before = sparse.csr_array(Z).data.copy()
    np.testing.assert_array_equal(
        count_active(Z, labels, n_labels), counted(dense, labels, n_labels)
    )
    np.testing.assert_array_equal(sparse.csr_array(Z).data, before)
    np.testing.assert_array_equal(
        count_active(dense, labels, n_labels), counted(dense, labels, n_labels)
    )


def test_one_label_with_nearly_all_samples_for_any_number_of_threads():
    # 40,000 rows: three blocks of work, two of them inside the first label.
    rng = np.random.default_rng(2)
    Z = sparse.random_array((40_000, 33), density=0.1, format="csr", rng=rng, dtype=np.float32)
    labels = np.where(rng.random(40_000) < 0.9, 1, rng.integers(0, 7, 40_000))
    parts = (Z.indptr.astype(np.int64), Z.indices.astype(np.int32), Z.data)
    for n_jobs in (1, 2, 3, None):
        counts = np.zeros((8, 33), dtype=np.int64)
        _core.count_active(parts, labels, counts, n_jobs)
        np.testing.assert_array_equal(counts, counted(Z.toarray(), labels, 8))


def test_codes_that_do_not_fit_are_refused_and_nothing_is_added():
    counts = SelectivityCounts().update([[1.0], [0.0]], ["a", "b"])
    for bad in ([np.nan], [np.inf]):
        with pytest.raises(InputError, match="Z must be finite"):
            counts.update(sparse.csc_array([bad, [1.0]]), ["a", "b"])
        with pytest.raises(InputError, match="Z must be finite"):
            counts.update([bad, [1.0]], [None, "b"])
    broken = sparse.csr_array(np.eye(2, 1))
    broken.indices[:] = 3
    with pytest.raises(InputError, match="indices from 0 to 0"):
        counts.update(broken, ["a", "b"])
    assert counts.selectivity().values.tolist() == [[1.0, -1.0]]
