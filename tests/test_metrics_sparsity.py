"""Sparsity of codes: counts against dense NumPy, stored zeros, streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from icfl.exceptions import InputError
from icfl.metrics import ActivityStats, dead_fraction, density, l0


def random_codes(seed, n, n_components, share=0.2):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, n_components))
    return np.where(rng.random((n, n_components)) < share, values, 0.0).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 50),
    n_components=st.integers(1, 30),
    kind=st.sampled_from(["array", "csr_array", "csr_matrix", "csc_array", "coo_array"]),
)
def test_counts_equal_dense_numpy(seed, n, n_components, kind):
    Z = random_codes(seed, n, n_components)
    given_codes = Z if kind == "array" else getattr(sparse, kind)(Z)
    active = Z != 0
    assert l0(given_codes) == active.sum() / n
    np.testing.assert_array_equal(density(given_codes), active.sum(axis=0) / n)
    for threshold in (1e-5, 0.1, 0.5):
        expected = np.mean(active.mean(axis=0) < threshold)
        assert dead_fraction(given_codes, threshold) == expected


def test_stored_zeros_and_cancelling_duplicates_are_not_active():
    indptr, indices = [0, 3, 5], [0, 1, 2, 1, 1]
    Z = sparse.csr_array(([0.0, -0.0, 2.0, 1.5, -1.5], indices, indptr), shape=(2, 3))
    before = Z.data.copy()
    assert density(Z).tolist() == [0.0, 0.0, 0.5]
    assert l0(Z) == 0.5
    assert dead_fraction(Z) == 2 / 3
    np.testing.assert_array_equal(Z.data, before)  # the caller's codes are left alone
    assert Z.nnz == 5


def test_negative_codes_are_active():
    assert density([[-1.0, 0.0], [-2.0, 3.0]]).tolist() == [1.0, 0.5]


def test_dead_means_strictly_below_the_threshold():
    Z = np.zeros((4, 2))
    Z[0, 0] = 1.0
    assert dead_fraction(Z, 0.25) == 0.5
    assert dead_fraction(Z, 0.26) == 1.0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 39))
def test_streams_and_merges_equal_the_whole(seed, cut):
    Z = random_codes(seed, 40, 12)
    whole = ActivityStats().update(Z)
    streamed = ActivityStats().update(sparse.csr_array(Z[:cut])).update(Z[cut:])
    merged = ActivityStats().merge(ActivityStats().update(Z[:cut]))
    merged.merge(ActivityStats().update(Z[cut:])).merge(ActivityStats())
    for stats in (streamed, merged):
        assert stats.n_samples == 40
        np.testing.assert_array_equal(stats.counts, whole.counts)
        assert stats.dead_fraction(0.1) == whole.dead_fraction(0.1)


def test_dense_codes_of_several_blocks():
    Z = random_codes(0, 1000, 700)  # 374 rows a block
    np.testing.assert_array_equal(density(Z), (Z != 0).mean(axis=0))


def test_errors_name_what_is_wrong():
    with pytest.raises(InputError, match="no samples"):
        _ = ActivityStats().l0
    with pytest.raises(InputError, match="same n_components, got 3 and 2"):
        ActivityStats().update(np.ones((2, 3))).update(np.ones((2, 2)))
    with pytest.raises(InputError, match="Z must be finite"):
        l0([[np.nan, 1.0]])
    with pytest.raises(InputError, match="Z must be finite"):
        l0(sparse.csr_array([[np.inf, 1.0]]))
    with pytest.raises(InputError, match="at least one row"):
        l0(sparse.csr_array((0, 3)))
    with pytest.raises(InputError, match="threshold"):
        dead_fraction(np.ones((2, 2)), 1.5)
