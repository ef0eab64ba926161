"""One-pass moments against two-pass sums in extended precision, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage

from icfl import _core
from icfl.exceptions import InputError
from icfl.whitening import moments
from icfl.whitening.moments import Moments, accumulate, pool, row_blocks

EPS = float(np.finfo(np.float64).eps)


def reference(X):
    """Mean, S, t, q by two passes in long double, less a row so that no offset costs digits."""
    rows = np.asarray(X, dtype=np.longdouble) - X[0]
    mean = rows.mean(axis=0)
    Y = rows - mean
    squares = (Y**2).sum(axis=1)
    return mean + X[0], Y.T @ Y, squares @ Y, squares @ squares


def assert_same(moments, X):
    """Compare with the reference.

    Every sum has at most n = len(X) terms of size |x - origin|^p, each from a few roundings, and a
    merge adds terms no larger than the sums: an error of 32 n eps sum |x - origin|^p covers it.
    """
    mean, scatter, third, fourth = reference(X)
    spread = np.linalg.norm(np.asarray(X, float) - moments.origin, axis=1)
    unit = 32 * len(X) * EPS
    assert moments.count == len(X)
    assert np.abs(moments.mean - mean).max() <= unit * spread.mean() + 2 * EPS * np.abs(mean).max()
    assert np.abs(moments.scatter - scatter).max() <= unit * (spread**2).sum()
    assert np.abs(moments.third - third).max() <= unit * (spread**3).sum()
    assert abs(moments.fourth - fourth) <= unit * (spread**4).sum()


rows_and_cuts = st.tuples(
    st.integers(2, 60),
    st.integers(1, 6),
    st.lists(st.integers(0, 60), max_size=6),
    st.sampled_from([0.0, 1.0, -1e4, 1e8]),
    st.integers(0, 2**31),
)


def skewed(n, d, offset, seed):
    """Rows with third moments that do not vanish, and columns of unequal scale."""
    rng = np.random.default_rng(seed)
    return rng.exponential(size=(n, d)) * 10.0 ** rng.uniform(-2, 2, d) + offset


@given(rows_and_cuts)
@settings(max_examples=150, deadline=None)
def test_merging_any_split_gives_the_moments_of_the_whole(case):
    n, d, cuts, offset, seed = case
    X = skewed(n, d, offset, seed)
    pieces = np.split(X, sorted(cut % (n + 1) for cut in cuts))
    parts = [accumulate(piece, None) if len(piece) else Moments.empty(d) for piece in pieces]
    np.random.default_rng(seed).shuffle(parts)
    # As a balanced tree, the way several machines would.
    while len(parts) > 1:
        parts = [pool(parts[i : i + 2]) for i in range(0, len(parts), 2)]
    assert_same(parts[0], X)


def test_pool_leaves_its_parts_alone():
    parts = [accumulate(skewed(20, 3, 5.0, seed), None) for seed in (0, 1)]
    before = [part.scatter.copy() for part in parts]
    total = pool(parts)
    assert total.count == 40
    for part, scatter in zip(parts, before, strict=True):
        assert part.count == 20
        np.testing.assert_array_equal(part.scatter, scatter)
        assert not np.shares_memory(part.scatter, total.scatter)


@pytest.mark.parametrize("rows_per_block", [1, 7, 64, 10_000])
def test_rows_are_read_in_blocks(monkeypatch, rows_per_block):
    monkeypatch.setattr(moments, "_MIN_BLOCK_ROWS", rows_per_block)
    monkeypatch.setattr(moments, "_BLOCK_VALUES", 0)
    assert len(list(row_blocks(300, 4))) == -(-300 // rows_per_block)


@pytest.mark.parametrize("rows_per_piece", [1, 7, 64, 299])
def test_pieces_of_a_stream_change_nothing_but_rounding(rows_per_piece):
    X = skewed(300, 4, 1e4, 3)
    sums = _core.MomentSums(4)
    for start in range(0, len(X), rows_per_piece):
        sums.add(X[start : start + rows_per_piece], None, None)
    assert_same(Moments(len(X), *sums.arrays()), X)


def test_only_the_named_rows_count():
    X = skewed(50, 3, 0.0, 1)
    rows = np.array([3, 4, 10, 49])
    spoilt = np.full_like(X, np.nan)
    spoilt[rows] = X[rows]
    assert_same(accumulate(spoilt, rows), X[rows])


@pytest.mark.parametrize("value", [0.1, 1e12 / 3, -7e-30])
def test_constant_column_has_exactly_no_variance(value):
    X = np.random.default_rng(0).normal(size=(1000, 2))
    X[:, 1] = value
    moments = pool(
        [accumulate(X[:17], None), accumulate(X[17:600], None), accumulate(X[600:], None)]
    )
    assert not moments.scatter[1].any()
    assert moments.mean[1] == value


@given(
    st.integers(2, 40),
    st.integers(1, 12),
    st.sampled_from([0.0, 1e4]),
    st.integers(0, 2**31),
)
@settings(max_examples=100, deadline=None)
def test_ledoit_wolf_agrees_with_scikit_learn(n, d, offset, seed):
    X = skewed(n, d, 0.0, seed)
    shifted = X + offset
    mine = accumulate(shifted, None).ledoit_wolf_shrinkage()
    # scikit-learn subtracts the mean in one step; a row taken off first spares it cancellation.
    theirs = ledoit_wolf_shrinkage(shifted - shifted[0])
    assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    assert 0.0 <= mine <= 1.0


def test_ledoit_wolf_covariance_is_scikit_learns():
    X = skewed(30, 20, 0.0, 5)
    covariance, shrinkage = ledoit_wolf(X)
    moments = accumulate(X, None)
    a = moments.ledoit_wolf_shrinkage()
    C = moments.scatter / 30
    np.testing.assert_allclose(a, shrinkage, rtol=1e-10)
    np.testing.assert_allclose(
        (1 - a) * C + a * np.trace(C) / 20 * np.eye(20), covariance, rtol=1e-9
    )


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "inf"), (-np.inf, "inf")])
def test_not_finite_rows_are_named(value, kind):
    X = np.zeros((20, 3))
    X[13, 2] = value
    with pytest.raises(InputError, match=rf"{kind}.* in row 13, column 2"):
        accumulate(X, None)
    with pytest.raises(InputError, match="row 13, column 2"):
        accumulate(X, np.array([1, 12, 13, 14]))


def test_values_that_overflow_are_an_error():
    with pytest.raises(InputError, match="too large"):
        accumulate(np.array([[0.0], [1e200]]), None)


@pytest.mark.parametrize(("n", "d"), [(10_000, 150), (4500, 530), (4225, 17), (8448, 64)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_blocks_and_tiles_in_any_layout_for_any_number_of_threads(n, d, dtype):
    # Blocks are 4,224 rows; tiles of the scatter 64 columns, from 513 columns on 128. The second
    # block lies three standard deviations from the first.
    X = skewed(n, d, 100.0, 4).astype(dtype)
    X[4224:] += 3 * X.std(axis=0)
    rows = np.flatnonzero(np.random.default_rng(5).random(n) < 0.98)
    for chosen in (None, rows):
        found = accumulate(X, chosen)
        spread = X if chosen is None else X[chosen]
        Y = spread.astype(np.float64) - spread[0].astype(np.float64)
        Y -= Y.mean(axis=0)
        squares = np.einsum("ij,ij->i", Y, Y)
        deviation = np.sqrt(np.einsum("ij,ij->j", Y, Y))
        # Sums of at most n rounded products on both sides, and centring on either side of them.
        unit = 8 * len(Y) * EPS
        off = np.abs(found.scatter - Y.T @ Y) / np.outer(deviation, deviation)
        assert off.max() <= unit
        np.testing.assert_array_equal(found.scatter, found.scatter.T)
        limit = unit * np.sqrt(squares @ squares) * deviation
        assert (np.abs(found.third - squares @ Y) <= limit).all()
        assert abs(found.fourth - squares @ squares) <= unit * (squares @ squares)
        for layout, n_jobs in ((np.ascontiguousarray, 1), (np.asfortranarray, 3)):
            sums = _core.MomentSums(d)
            sums.add(layout(X), chosen, n_jobs)
            names = ("origin", "offset", "scatter", "third", "fourth")
            for name, values in zip(names, sums.arrays(), strict=True):
                np.testing.assert_array_equal(values, getattr(found, name))


def test_columns_that_sum_to_nothing_lose_a_direction():
    # As rows after a layer norm: float32 products would leave 1e-9 of the largest variance there.
    X = np.random.default_rng(6).normal(size=(6000, 24)).astype(np.float32)
    X[:, -1] = 0
    X = np.round(X * 2**10) / 2**10  # sums of 23 of them are exact in float32
    X[:, -1] = -X.sum(axis=1)
    values = np.linalg.eigvalsh(accumulate(X, None).scatter)
    assert values[0] <= 24 * EPS * values[-1] < 1e-12 * values[-1] < values[1]


def test_sums_refuse_what_does_not_fit():
    sums = _core.MomentSums(3)
    with pytest.raises(ValueError, match="3 columns"):
        sums.add(np.zeros((2, 4)), None, None)
    for row in (-1, 2):
        with pytest.raises(ValueError, match="numbers below 2"):
            sums.add(np.zeros((2, 3)), np.array([row]), None)
