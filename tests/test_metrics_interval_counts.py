"""Intervals from counts that several machines made: those of one, to the bit."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from icfl.exceptions import InputError
from icfl.metrics import SelectivityIntervalCounts, selectivity_intervals

LABELS = np.array(["a", "b", "long name", None], dtype=object)
OPTIONS = {"n_resamples": 40, "random_state": 0}


def assert_same(found, expected):
    assert found.values.shape == expected.values.shape
    for name in ("values", "low", "high", "n_valid", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.kind, found.resampled) == (expected.kind, expected.resampled)


@st.composite
def screens(draw):
    n, width = draw(st.integers(8, 60)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Z = np.where(rng.random((n, width)) < 0.4, rng.normal(size=(n, width)), 0.0)
    labels = LABELS[np.concatenate([[0, 1], rng.integers(0, 4, n - 2)])]
    groups = np.concatenate([[0, 1], rng.integers(0, 5, n - 2)]).astype(str)
    return Z, labels, groups, rng.integers(0, draw(st.integers(1, 4)), n)


@settings(max_examples=60, deadline=None)
@given(case=screens(), kind=st.sampled_from(["average", "maximum"]), grouped=st.booleans())
def test_merged_counts_give_the_intervals_of_the_whole(case, kind, grouped):
    Z, labels, groups, machine = case
    whole = selectivity_intervals(
        Z, labels, groups=groups if grouped else None, kind=kind, **OPTIONS
    )
    merged = SelectivityIntervalCounts()
    for number in reversed(range(4)):  # machines share groups, lack labels, have no row at all
        rows = np.flatnonzero(machine == number)
        if len(rows):
            codes = sparse.csr_array(Z[rows]) if number % 2 else Z[rows]
            one = SelectivityIntervalCounts()
            one.update(codes, labels[rows], groups[rows] if grouped else None)
            merged.merge(pickle.loads(pickle.dumps(one)))
    assert_same(merged.intervals(kind=kind, **OPTIONS), whole)
    assert merged.n_missing == sum(label is None for label in labels)


def test_two_halves_of_the_groups_are_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    Z = sparse.random_array((600, 40), density=0.1, format="csr", rng=rng)
    labels, groups = rng.integers(0, 5, 600), rng.integers(0, 8, 600)
    whole = selectivity_intervals(Z, labels, groups=groups, **OPTIONS)
    # Seven features a block: what is counted in pieces is what is counted at once.
    monkeypatch.setattr("icfl.metrics._resamples._SPAN_VALUES", 7 * 5 * 40)
    first, second = (
        SelectivityIntervalCounts().update(Z[half], labels[half], groups[half])
        for half in (groups < 4, groups >= 4)
    )
    assert_same(second.merge(first).intervals(**OPTIONS), whole)
    assert_same(first.merge(SelectivityIntervalCounts()).merge(first).intervals(**OPTIONS), (
        selectivity_intervals(
            sparse.vstack([Z[groups < 4]] * 2), np.tile(labels[groups < 4], 2),
            groups=np.tile(groups[groups < 4], 2), **OPTIONS,
        )
    ))  # fmt: skip


def test_what_is_merged_stays_as_it_is():
    one = SelectivityIntervalCounts().update([[1.0], [0.0]], ["a", "b"], [1, 2])
    new = SelectivityIntervalCounts().merge(one)
    new.update([[1.0], [1.0]], ["a", "c"], [1, 3])
    assert repr(one) == "SelectivityIntervalCounts(n_labels=2, n_groups=2, n_rows=2)"
    assert repr(new) == "SelectivityIntervalCounts(n_labels=3, n_groups=3, n_rows=4)"
    assert one._active.sum() == 1


def test_batches_of_one_label_and_without_any():
    counts = SelectivityIntervalCounts().update([[1.0, 0.0]], ["a"])
    counts.update([[1.0, 1.0]], [None]).update([[0.0, 1.0]], ["b"])
    assert counts.n_missing == 1
    assert_same(
        counts.intervals(**OPTIONS),
        selectivity_intervals([[1.0, 0.0], [0.0, 1.0]], ["a", "b"], **OPTIONS),
    )


def test_errors_name_what_is_wrong_and_add_nothing():
    counts = SelectivityIntervalCounts()
    with pytest.raises(InputError, match="labels must have at least two values"):
        counts.intervals()
    counts.update([[1.0, 0.0]], ["a"], ["P1"])
    for Z, labels, groups, message in (
        ([[1.0, 0.0]], ["a"], None, "groups must come with every batch or with none"),
        ([[1.0]], ["a"], ["P1"], "n_components, got 2, 1"),
        ([[1.0, 0.0]], ["a"], [None], "groups must be known"),
        ([[np.nan, 0.0]], ["a"], ["P1"], "finite"),
        ([[1.0, 0.0]], ["a", "b"], ["P1"], "one entry per row"),
    ):
        with pytest.raises(InputError, match=message):
            counts.update(Z, labels, groups)
    with pytest.raises(InputError, match="labels must have at least two values"):
        counts.intervals()
    assert "n_rows=1" in repr(counts)
    counts.update([[1.0, 0.0]], ["b"], ["P1"])
    with pytest.raises(InputError, match="groups must have at least two values, got 1"):
        counts.intervals()
