"""What `ControlWhitener` promises: white controls, sense where data are poor, exact inverses.

Bounds on sampling error are those of Davidson and Szarek (2001): the singular values of an
(n, d) standard Gaussian matrix lie within sqrt(n) -+ (sqrt(d) + t), but for a probability of
2 exp(-t^2 / 2). With t = 6 that is 3e-8, and centring costs one row.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from icfl.exceptions import InputError
from icfl.whitening import ControlWhitener

EPS = float(np.finfo(np.float64).eps)
T = 6.0


def gaussian(n, d, *, rank=None, condition=100.0, offset=0.0, seed=0):
    """Rows with standard deviations from 1 to 1 / condition along the axes of a random frame."""
    rng = np.random.default_rng(seed)
    rank = d if rank is None else rank
    frame = np.linalg.qr(np.random.default_rng(7).normal(size=(d, d)))[0][:rank]
    factor = np.geomspace(1, 1 / condition, rank)[:, None] * frame
    return rng.normal(size=(n, rank)) @ factor + offset * np.sign(rng.normal(size=d))


def unevenness(n, d):
    """Davidson and Szarek: how far singular values / sqrt(n - 1) may be from 1."""
    return (np.sqrt(d) + T) / np.sqrt(n - 1)


def assert_white(Z, n_fit):
    """Assert that held-out `Z` has mean 0 and covariance I within sampling error of both sides.

    In coordinates where the truth is white, the fitted covariance A and the held-out B have
    eigenvalues within (1 -+ u)^2, and cov(Z) is similar to A^(-1/2) B A^(-1/2).
    """
    m, k = Z.shape
    u_fit, u_out = unevenness(n_fit, k), unevenness(m, k)
    values = np.linalg.eigvalsh(np.cov(Z.T))
    assert values[0] >= (1 - u_out) ** 2 / (1 + u_fit) ** 2
    assert values[-1] <= (1 + u_out) ** 2 / (1 - u_fit) ** 2
    distance = (np.sqrt(k) + T) * np.sqrt(1 / n_fit + 1 / m) / (1 - u_fit)
    assert np.linalg.norm(Z.mean(axis=0)) <= distance


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("method", ["pca", "zca"])
def test_held_out_controls_are_white(method, offset):
    X = gaussian(12_000, 20, offset=offset)
    control = np.arange(12_000) < 6_000
    whitener = ControlWhitener(method=method, eps=0.0).fit(X, control=control)
    assert whitener.n_controls_ == 6_000
    assert_white(whitener.transform(X[~control]), 6_000)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_fitted_controls_have_unit_covariance_to_rounding(offset):
    X = gaussian(500, 12, offset=offset)
    Z = ControlWhitener(eps=0.0).fit_transform(X)
    # eigh is right to d eps lambda_max, which dividing by lambda_min magnifies. The data hold an
    # offset of 1e4 to 1e4 eps; the mean is no better known than they are.
    assert np.abs(np.cov(Z.T) - np.eye(12)).max() <= 16 * 12 * EPS * 100**2
    assert np.abs(Z.mean(axis=0)).max() <= 16 * EPS * 100 * (1 + offset)


def test_only_controls_are_learnt_from():
    X = gaussian(400, 5)
    control = np.arange(400) % 3 == 0
    X[~control] *= 50
    alone = ControlWhitener().fit(X[control])
    among = ControlWhitener().fit(X, control=control.tolist())
    np.testing.assert_array_equal(alone.transform(X), among.transform(X))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_fewer_controls_than_dimensions(offset):
    """Controls of rank 10 in 300 dimensions: white there, and blind to everything else."""
    X = gaussian(1_200, 300, rank=10, offset=offset)
    control = np.arange(1_200) < 250
    whitener = ControlWhitener(eps=0.0).fit(X, control=control)
    assert whitener.components_.shape == (10, 300)
    Z = whitener.transform(X[~control])
    assert_white(Z, 250)
    elsewhere = np.random.default_rng(1).normal(size=300)
    elsewhere -= whitener.components_.T @ (whitener.components_ @ elsewhere)
    moved = whitener.transform(X[~control] + elsewhere)
    # Rounding of the rows, divided by the smallest standard deviation (1 / 100).
    assert np.abs(moved - Z).max() <= 300 * EPS * (20 + offset) * 100 * 4


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_full_rank_truth_from_too_few_controls(method):
    X = gaussian(30, 50, condition=10.0)
    whitener = ControlWhitener(method=method, eps=0.0).fit(X)
    assert whitener.components_.shape == (29, 50)
    Z = whitener.transform(X)
    spectrum = np.linalg.eigvalsh(np.cov(Z.T))[-29:]
    np.testing.assert_allclose(spectrum, 1.0, atol=1e-10)
    assert np.linalg.eigvalsh(np.cov(Z.T))[:-29].max(initial=0.0) < 1e-10


def test_shrinkage_keeps_every_direction_of_too_few_controls():
    X = gaussian(30, 50, condition=3.0)
    assert ControlWhitener(shrinkage="ledoit-wolf").fit(X).components_.shape == (50, 50)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e12 / 3])
@pytest.mark.parametrize("shrinkage", [None, 0.1])
def test_constant_columns_neither_matter_nor_blow_up(value, shrinkage):
    X = gaussian(300, 6, condition=10.0)
    padded = np.column_stack([X, np.full(300, value)])
    whitener = ControlWhitener(method="zca", shrinkage=shrinkage).fit(padded)
    Z = whitener.transform(padded)
    assert np.abs(Z[:, 6]).max() <= 1e-14 * np.abs(Z).max()
    changed = padded[:1].copy()
    changed[0, 6] += 1.0
    difference = np.abs(whitener.transform(changed) - Z[:1]).max()
    if shrinkage is None:
        np.testing.assert_allclose(
            Z[:, :6], ControlWhitener(method="zca").fit_transform(X), atol=1e-10
        )
        assert difference <= 1e-14
    else:  # as if the column varied by the shrinkage times the mean variance
        floor = shrinkage * np.trace(np.cov(X.T)) / 7
        assert 0 < difference <= 1 / np.sqrt(floor)


def test_agrees_with_scikit_learns_whitening_pca():
    X = gaussian(200, 8, condition=30.0, offset=3.0)
    pca = PCA(whiten=True, svd_solver="full").fit(X)
    whitener = ControlWhitener(eps=0.0).fit(X)
    np.testing.assert_allclose(whitener.mean_, pca.mean_, rtol=1e-13)
    np.testing.assert_allclose(whitener.explained_variance_, pca.explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(
        whitener.explained_variance_ratio_, pca.explained_variance_ratio_, rtol=1e-10
    )
    signs = np.sign(np.sum(whitener.components_ * pca.components_, axis=1))
    np.testing.assert_allclose(whitener.components_, signs[:, None] * pca.components_, atol=1e-10)
    np.testing.assert_allclose(whitener.transform(X), pca.transform(X) * signs, atol=1e-9)


def test_components_are_orthonormal_with_their_largest_entry_positive():
    V = ControlWhitener().fit(gaussian(100, 9)).components_
    np.testing.assert_allclose(V @ V.T, np.eye(9), atol=1e-13)
    assert (V[np.arange(9), np.abs(V).argmax(axis=1)] > 0).all()


def test_zca_is_the_inverse_square_root_and_moves_the_data_least():
    X = gaussian(300, 6, condition=10.0)
    whitener = ControlWhitener(method="zca", eps=0.0).fit(X)
    W = whitener.transform(np.eye(6)) - whitener.transform(np.zeros((1, 6)))
    expected = np.linalg.inv(scipy.linalg.sqrtm(np.cov(X.T)).real)
    np.testing.assert_allclose(W, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(W, W.T, atol=1e-11)
    centred, Z = X - X.mean(axis=0), whitener.transform(X)
    least = ((Z - centred) ** 2).sum()
    for rotation in ortho_group.rvs(6, size=50, random_state=0):
        assert ((Z @ rotation - centred) ** 2).sum() > least


@pytest.mark.parametrize("eps", [1e-6, 1e-3, 1.0])
def test_eps_is_relative_to_the_largest_variance(eps):
    X = gaussian(400, 6) * 1e-3
    whitener = ControlWhitener(eps=eps).fit(X)
    variance = whitener.explained_variance_
    expected = variance / (variance + eps * variance[0])
    np.testing.assert_allclose(np.cov(whitener.transform(X).T), np.diag(expected), atol=1e-9)
    scaled = ControlWhitener(eps=eps).fit_transform(1e6 * X)
    np.testing.assert_allclose(scaled, whitener.transform(X), atol=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_share_of_variance(share):
    X = gaussian(300, 10, condition=20.0)
    whitener = ControlWhitener(n_components=share).fit(X)
    total = np.cumsum(np.linalg.eigvalsh(np.cov(X.T))[::-1]) / np.trace(np.cov(X.T))
    k = whitener.n_components_
    assert total[k - 1] >= share
    assert k == 1 or total[k - 2] < share


def test_number_of_components():
    X = gaussian(100, 10)
    whole = ControlWhitener().fit(X).transform(X)
    some = ControlWhitener(np.int64(4)).fit(X)
    np.testing.assert_array_equal(some.transform(X), whole[:, :4])
    names = ControlWhitener(4).fit(X).get_feature_names_out()
    assert names.tolist() == [f"controlwhitener{i}" for i in range(4)]
    zca = ControlWhitener(4, method="zca").fit(X)
    assert zca.transform(X).shape == (100, 10)
    assert np.linalg.matrix_rank(zca.transform(X)) == 4
    assert len(zca.get_feature_names_out()) == 10


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0, "ledoit-wolf"])
def test_shrinkage_mixes_in_the_scaled_identity(shrinkage):
    X = gaussian(40, 30, condition=5.0)
    whitener = ControlWhitener(eps=0.0, shrinkage=shrinkage).fit(X)
    C = np.cov(X.T)
    if shrinkage == "ledoit-wolf":
        reference = LedoitWolf().fit(X)
        a, expected = reference.shrinkage_, reference.covariance_ * 40 / 39
    else:
        a, expected = shrinkage, (1 - shrinkage) * C + shrinkage * np.trace(C) / 30 * np.eye(30)
    assert whitener.shrinkage_ == pytest.approx(a, rel=1e-10)
    V, variance = whitener.components_, whitener.explained_variance_
    np.testing.assert_allclose(V.T @ (variance[:, None] * V), expected, atol=1e-12)
    Z = whitener.transform(X)
    np.testing.assert_allclose(
        Z @ Z.T, (X - X.mean(0)) @ np.linalg.solve(expected, (X - X.mean(0)).T), atol=1e-8
    )


@given(st.lists(st.integers(0, 80), max_size=5), st.sampled_from([0.0, 1e4]), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_pieces_and_merges_equal_the_whole(cuts, offset, seed):
    X = gaussian(80, 4, condition=4.0, offset=offset, seed=seed)
    control = np.random.default_rng(seed).random(80) < 0.7
    pieces = np.split(np.arange(80), sorted(cuts))
    whole = ControlWhitener(shrinkage="ledoit-wolf", method="zca").fit(X, control=control)
    streamed = clone(whole)
    merged = clone(whole).partial_fit(X[:1], control=[False])
    for piece in pieces:
        if len(piece):
            streamed.partial_fit(X[piece], control=control[piece])
            merged.merge(clone(whole).partial_fit(X[piece], control=control[piece]))
    # Condition 16 of the covariance, 80 rows, and data that hold an offset of 1e4 to 1e4 eps.
    tolerance = 16 * 80 * EPS * (16 + offset)
    for other in (streamed, merged):
        assert other.n_controls_ == whole.n_controls_ == control.sum()
        np.testing.assert_allclose(other.mean_, whole.mean_, rtol=8 * EPS, atol=1e-13)
        np.testing.assert_allclose(other.shrinkage_, whole.shrinkage_, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(other.transform(X), whole.transform(X), rtol=0, atol=tolerance)


def test_order_of_rows_does_not_matter():
    X = gaussian(300, 5, condition=5.0)
    order = np.random.default_rng(3).permutation(300)
    one = ControlWhitener(method="zca").fit(X).transform(X)
    two = ControlWhitener(method="zca").fit(X[order]).transform(X)
    np.testing.assert_allclose(one, two, atol=16 * 300 * EPS * 25)


@pytest.mark.parametrize("shape", [(3_000, 200), (2_222, 139), (700, 61)])
@pytest.mark.parametrize(
    "parameters",
    [{}, {"method": "zca"}, {"batch_correction": "coral"}, {"batch_correction": "center-scale"}],
)
def test_number_of_threads_does_not_change_a_bit(parameters, shape):
    X = gaussian(*shape)
    batch = np.arange(len(X)) % 7 // 3
    results = []
    for threads in (1, 2, 5):
        with threadpool_limits(threads, user_api="blas"):
            whitener = ControlWhitener(**parameters).fit(X, batch=batch)
            white = whitener.transform(X, batch=batch)
            results.append((white, whitener.inverse_transform(white, batch=batch)))
    for others in results[1:]:
        for found, expected in zip(others, results[0], strict=True):
            np.testing.assert_array_equal(found, expected)


def test_merge_leaves_the_other_alone_and_can_go_on():
    X = gaussian(90, 4)
    one, two, three = (ControlWhitener().fit(X[i : i + 30]) for i in (0, 30, 60))
    before = two.transform(X)
    one.merge(two).merge(three).partial_fit(X[:10])
    assert (one.n_controls_, two.n_controls_) == (100, 30)
    np.testing.assert_array_equal(two.transform(X), before)
    np.testing.assert_allclose(one.mean_, np.vstack([X, X[:10]]).mean(axis=0), atol=1e-14)


def test_fit_forgets():
    X = gaussian(60, 4)
    whitener = ControlWhitener().fit(10 * X + 3).fit(X)
    np.testing.assert_array_equal(whitener.transform(X), ControlWhitener().fit(X).transform(X))


@pytest.mark.parametrize("method", ["pca", "zca"])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_inverse_undoes(method, offset):
    X = gaussian(200, 8, offset=offset)
    whitener = ControlWhitener(method=method).fit(X)
    back = whitener.inverse_transform(whitener.transform(X))
    # A white coordinate is rounded to 8 eps of the row's norm over its spread (>= 1 / 100).
    assert np.abs(back - X).max() <= 8 * 8 * EPS * (100 + offset)


@pytest.mark.parametrize("method", ["pca", "zca"])
def test_inverse_is_the_orthogonal_projection_where_directions_are_dropped(method):
    X = gaussian(200, 8, condition=10.0)
    whitener = ControlWhitener(3, method=method).fit(X)
    V, mean = whitener.components_, whitener.mean_
    back = whitener.inverse_transform(whitener.transform(X))
    np.testing.assert_allclose(back, mean + (X - mean) @ V.T @ V, atol=1e-13)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_float32_keeps_its_precision(offset):
    """float32 comes out as the float64 result rounded once, whatever the offset."""
    X = gaussian(500, 30, offset=offset).astype(np.float32)
    whitener = ControlWhitener().fit(X)
    exact = ControlWhitener().fit(X.astype(np.float64)).transform(X.astype(np.float64))
    Z = whitener.transform(X)
    assert Z.dtype == np.float32
    np.testing.assert_array_equal(Z, exact.astype(np.float32))
    back = whitener.inverse_transform(Z)
    assert back.dtype == np.float32
    # Rounding of 30 white coordinates (|z| < 8, spread <= 1), and of the result itself.
    assert np.abs(back - X).max() <= np.finfo(np.float32).eps * (30 * 8 + offset)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float16", "float32"),
        ("int16", "float32"),
        ("int64", "float32"),
        ("uint8", "float32"),
        (">f4", "float32"),
        ("float64", "float64"),
        (">f8", "float64"),
    ],
)
def test_output_dtype(dtype, expected):
    X = np.random.default_rng(0).integers(0, 100, size=(50, 3)).astype(dtype)
    Z = ControlWhitener().fit_transform(X)
    assert Z.dtype == np.dtype(expected)
    reference = ControlWhitener().fit_transform(X.astype(np.float64))
    np.testing.assert_array_equal(Z, reference.astype(expected))


@pytest.mark.parametrize("layout", ["fortran", "rows", "columns", "reversed", "readonly"])
def test_memory_layout_does_not_matter(layout):
    X = gaussian(200, 6, offset=10.0)
    other = {
        "fortran": lambda: np.asfortranarray(X),
        "rows": lambda: np.repeat(X, 2, axis=0)[::2],
        "columns": lambda: np.repeat(X, 3, axis=1)[:, ::3],
        "reversed": lambda: X[::-1, ::-1].copy()[::-1, ::-1],
        "readonly": lambda: X.copy(),
    }[layout]()
    other.setflags(write=False)
    one, two = ControlWhitener().fit(X), ControlWhitener().fit(other)
    np.testing.assert_array_equal(one.transform(X), two.transform(other))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_memory_map_is_never_loaded_whole(tmp_path, monkeypatch, order, dtype):
    # With more cores as many times as much.
    monkeypatch.setattr("icfl.whitening.moments.MOST_BLOCKS", 1)
    n, d = 65_536, 64
    path = tmp_path / "activations.npy"
    disk = np.lib.format.open_memmap(
        path, mode="w+", dtype=dtype, shape=(n, d), fortran_order=order == "F"
    )
    disk[:] = np.random.default_rng(0).normal(size=(n, d))
    disk.flush()
    X = np.load(path, mmap_mode="r")
    control = np.random.default_rng(1).random(n) < 0.8
    tracemalloc.start()
    whitener = ControlWhitener().fit(X, control=control)
    fitting = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    Z = whitener.transform(X)
    transforming = tracemalloc.get_traced_memory()[1] - Z.nbytes
    tracemalloc.stop()
    # Blocks are 8,192 rows: 4 MiB of float64, where the whole would be 32. A few are alive at once,
    # besides indices (8 bytes a row).
    block, indices = 8_192 * d * 8, n * 8
    assert fitting <= 3 * block + 2 * indices
    assert transforming <= 5 * block + 2 * indices
    rows = np.array(X, dtype=np.float64)
    expected = ControlWhitener().fit(rows, control=control)
    np.testing.assert_array_equal(Z, expected.transform(rows).astype(np.float32))


def test_rows_that_are_not_controls_are_not_read():
    X = gaussian(100, 3)
    control = np.arange(100) < 60
    X[~control] = np.nan
    whitener = ControlWhitener().fit(X, control=control)
    with pytest.raises(InputError, match="first NaN in row 60, column 0"):
        whitener.transform(X)
