"""Explained variance and cosine similarity: scikit-learn, closed forms, merged streams."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from icfl.exceptions import InputError, InputTypeError
from icfl.metrics import ReconstructionStats, cosine_similarity, explained_variance

EPS = np.finfo(np.float64).eps


def data(seed, n, d, offset=0.0, noise=0.3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(0.1, 3.0, size=d) + offset
    return X, X + noise * rng.normal(size=(n, d))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 60),
    d=st.integers(1, 20),
    offset=st.sampled_from([0.0, -3.0, 1e4]),
)
def test_explained_variance_is_the_variance_weighted_r2(seed, n, d, offset):
    X, Xhat = data(seed, n, d, offset)
    expected = r2_score(X, Xhat, multioutput="variance_weighted")
    # Relative error of a sum of squares: n d eps from adding, and 2 eps max|x| / rms from rounded
    # differences of numbers up to max|x| (to the mean: 4 eps, as the mean is rounded as well).
    spread, residual = (
        np.sqrt(np.mean((X - X.mean(axis=0)) ** 2)),
        np.sqrt(np.mean((X - Xhat) ** 2)),
    )
    relative = 2 * n * d + np.abs(X).max() * (4 / spread + 2 / residual)
    tolerance = 2 * relative * EPS * (1 + abs(1 - expected))  # two computations are compared
    assert explained_variance(X, Xhat) == pytest.approx(expected, rel=0, abs=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4])
@pytest.mark.parametrize(("n", "d"), [(2, 1), (17, 3), (20_000, 40)])
def test_predicting_the_mean_explains_exactly_nothing(n, d, offset, dtype):
    X = (np.random.default_rng(n).normal(size=(n, d)) + offset).astype(dtype)
    mean = X.mean(axis=0, dtype=np.float64)
    Xhat = np.broadcast_to(mean, X.shape)
    assert explained_variance(X, Xhat) == 0.0

    streamed, first, second = ReconstructionStats(), ReconstructionStats(), ReconstructionStats()
    for rows in np.array_split(np.arange(n), min(n, 7)):
        streamed.update(X[rows], Xhat[rows])
    first.update(X[: n // 2], Xhat[: n // 2])
    second.update(X[n // 2 :], Xhat[n // 2 :])
    assert streamed.explained_variance == 0.0
    assert first.merge(second).explained_variance == 0.0


def test_an_offset_does_not_inflate_the_score():
    # About zero instead of the mean, this reconstruction would score 1 - 1 / (1 + 100^2) > 0.9999.
    X = np.random.default_rng(0).normal(size=(5000, 4)) + 100.0
    assert explained_variance(X, np.full_like(X, 100.0)) == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize("constant", [0.0, 0.7, 1e8])
def test_any_constant_prediction_scores_minus_its_squared_distance(constant):
    X, _ = data(1, 500, 3)
    mean = [math.fsum(column) / len(X) for column in X.T]
    total = math.fsum(float((x - m) ** 2) for row in X for x, m in zip(row, mean, strict=True))
    distance = math.fsum((constant - m) ** 2 for m in mean)
    expected = -len(X) * distance / total
    # 1500 terms in each sum, and 1 - (1 + ratio) loses eps * (1 + ratio).
    tolerance = 1500 * EPS * (1 + abs(expected))
    result = explained_variance(X, np.full_like(X, constant))
    assert result == pytest.approx(expected, rel=0, abs=tolerance)


def test_perfect_reconstruction_is_exactly_one():
    X, _ = data(2, 50, 6, offset=1e4)
    assert explained_variance(X, X.copy()) == 1.0


def test_rows_that_do_not_vary_have_no_explained_variance():
    X = np.full((30, 3), 0.1)  # 0.1 is not a float: the mean of thirty may differ from it
    assert math.isnan(explained_variance(X, X))
    assert math.isnan(explained_variance(X, X + np.arange(3.0)))
    assert math.isnan(explained_variance([[1.0, 2.0]], [[1.0, 2.5]]))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 3000), min_size=1, max_size=5),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_merged_batches_equal_the_whole(seed, cuts, offset):
    # 3000 x 300 spans four internal blocks.
    X, Xhat = data(seed, 3000, 300, offset)
    merged = ReconstructionStats()
    for rows in np.split(np.arange(3000), sorted(cuts)):
        part = ReconstructionStats()
        if len(rows):
            part.update(X[rows], Xhat[rows])
        merged.merge(part)
    assert merged.n_samples == 3000
    # Sums of 9e5 positive terms, each in two different orders.
    whole = ReconstructionStats().update(X, Xhat)
    bound = 2 * X.size * EPS
    assert abs(merged.explained_variance - whole.explained_variance) <= bound
    assert abs(merged.cosine_similarity - whole.cosine_similarity) <= bound


def test_float32_input_is_summed_in_float64():
    X, Xhat = (a.astype(np.float32) for a in data(3, 20_000, 16, offset=1e3))
    expected = r2_score(
        X.astype(np.float64), Xhat.astype(np.float64), multioutput="variance_weighted"
    )
    # n d eps64 + offset / spread * eps64 is below 1e-10; float32 sums would be off by 1e-2.
    assert explained_variance(X, Xhat) == pytest.approx(expected, abs=1e-10)


def test_memory_maps_views_lists_and_fortran_order_agree(tmp_path):
    X, Xhat = data(4, 3000, 200)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = explained_variance(X, Xhat)
    assert explained_variance(mapped, Xhat) == expected
    assert explained_variance(np.repeat(X, 2, axis=1)[:, ::2], Xhat) == expected
    assert explained_variance(X.tolist(), Xhat.tolist()) == expected
    # Another memory order may add in another order.
    fortran = explained_variance(np.asfortranarray(X), np.asfortranarray(Xhat))
    assert fortran == pytest.approx(expected, abs=X.size * EPS)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), d=st.integers(1, 30))
def test_cosine_similarity_is_the_mean_row_cosine(seed, n, d):
    X, Xhat = data(seed, n, d)
    norms = np.linalg.norm(X, axis=1) * np.linalg.norm(Xhat, axis=1)
    expected = np.mean([float(x @ y) for x, y in zip(X, Xhat, strict=True)] / norms)
    assert cosine_similarity(X, Xhat) == pytest.approx(expected, abs=(2 * d + n + 4) * EPS)


def test_cosine_similarity_of_zero_rows():
    zero, one = [0.0, 0.0], [0.6, 0.8]
    assert cosine_similarity([zero], [zero]) == 1.0
    assert cosine_similarity([zero], [one]) == 0.0
    assert cosine_similarity([one], [zero]) == 0.0
    assert cosine_similarity([one, zero], [[-0.6, -0.8], one]) == -0.5


def test_cosine_similarity_ignores_scale_and_never_exceeds_one():
    X, _ = data(5, 200, 7)
    scales = np.random.default_rng(0).uniform(1e-3, 1e3, size=(200, 1))
    assert 1 - 200 * EPS <= cosine_similarity(X, X * scales) <= 1.0


@pytest.mark.parametrize(
    ("X", "Xhat", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 1)), r"shape of X, \(3, 2\), got \(3, 1\)"),
        (np.ones((3, 2)), np.ones((2, 2)), "shape of X"),
        (np.ones(3), np.ones(3), "2D array"),
        (np.ones((0, 2)), np.ones((0, 2)), "minimum of 1"),
        (np.array([[np.nan, 1.0]]), np.ones((1, 2)), "X must be finite"),
        (np.ones((1, 2)), np.array([[1.0, -np.inf]]), "Xhat must be finite"),
    ],
)
def test_bad_input_is_named(X, Xhat, message):
    with pytest.raises(InputError, match=message):
        explained_variance(X, Xhat)


def test_sparse_input_is_a_type_error():
    from scipy.sparse import csr_array

    with pytest.raises(InputTypeError):
        cosine_similarity(csr_array(np.eye(3)), np.eye(3))


def test_a_refused_update_adds_nothing():
    X, Xhat = data(6, 3000, 300)
    stats = ReconstructionStats().update(X, Xhat)
    before = stats.explained_variance
    broken = Xhat.copy()
    broken[-1, -1] = np.nan  # in the last block
    with pytest.raises(InputError, match="Xhat"):
        stats.update(X, broken)
    with pytest.raises(InputError, match="same n_features"):
        stats.update(X[:, :5], Xhat[:, :5])
    assert (stats.n_samples, stats.explained_variance) == (3000, before)


def test_merging_leaves_the_other_as_it_was():
    X, Xhat = data(7, 20, 3)
    first, second = ReconstructionStats(), ReconstructionStats().update(X, Xhat)
    before = second.explained_variance
    first.merge(second)
    first.update(X + 5, Xhat)
    assert (second.n_samples, second.explained_variance) == (20, before)


def test_nothing_seen_is_an_error():
    stats = ReconstructionStats()
    assert stats.n_samples == 0
    assert "n_samples=0" in repr(stats)
    for name in ("explained_variance", "cosine_similarity"):
        with pytest.raises(InputError, match="no samples"):
            getattr(stats, name)
