"""What all baselines share: the face of the learners, on any rows, in any number of pieces."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import icfl
import oracles
from baseline_models import (  # noqa: F401 - fixtures
    NAMES,
    SAFETY,
    SELECTING,
    SMALL,
    dense,
    fitted_models,
    fixed_rows,
    prepared_rows,
)
from icfl.baselines import ICA, NMF, PCA, KMeans, RandomAtoms, RawInputs, encoding
from icfl.exceptions import InputScaleWarning
from oracles import U


@pytest.mark.parametrize("name", NAMES)
def test_reconstruct_and_score_are_as_defined(name, models, X, P):
    model = models[name]
    Z = model.transform(X)
    assert isinstance(Z, scipy.sparse.csr_array)
    assert (Z.dtype, Z.has_sorted_indices) == (np.float32, True)
    expected = dense(Z) @ model.components_.astype(np.float64) + model.bias_
    terms = abs(dense(Z)) @ abs(model.components_) + abs(model.bias_)
    bound = oracles.gamma(len(model.components_) + 2) * SAFETY * terms + 1e-30
    Xhat = model.inverse_transform(Z)
    assert (abs(Xhat - expected) <= bound).all()
    assert model.score(X) == pytest.approx(oracles.explained_variance(P, Xhat), abs=1e-6)
    norms = np.linalg.norm(X.astype(np.float64), axis=1)[:, None]
    np.testing.assert_allclose(model.reconstruct(X), Xhat * norms, rtol=SAFETY * U)
    assert model.components_.dtype == model.bias_.dtype == np.float32
    assert model.input_norm_ == pytest.approx(norms.mean(), rel=1e-6)
    assert model.get_feature_names_out()[-1].endswith(str(Z.shape[1] - 1))
    with pytest.raises(ValueError, match="read-only"):
        model.components_[0] = 0


@pytest.mark.parametrize("name", NAMES)
def test_rows_keep_their_scale_on_request(name, X):
    model = clone(SMALL[name]).set_params(unit_norm_inputs=False).fit(X)
    Xhat = model.inverse_transform(model.transform(X))
    np.testing.assert_array_equal(model.reconstruct(X), Xhat)
    assert model.score(X) == pytest.approx(oracles.explained_variance(X, Xhat), abs=1e-6)


@pytest.mark.parametrize("n_nonzero", [1, 3, 50])
@pytest.mark.parametrize("name", SELECTING)
def test_n_nonzero_keeps_the_largest(name, n_nonzero, models, X):
    model = clone(SMALL[name]).set_params(n_nonzero=n_nonzero).fit(X)
    whole, Z = dense(models[name].transform(X)), dense(model.transform(X))
    np.testing.assert_array_equal(model.components_, models[name].components_)
    np.testing.assert_array_equal(Z, keep_largest(whole, n_nonzero))
    assert ((Z != 0).sum(axis=1) <= n_nonzero).all()


def keep_largest(Z, k):
    """Leave the `k` entries of largest magnitude of each row, one row at a time."""
    kept = np.zeros_like(Z)
    for row, out in zip(Z, kept, strict=True):
        order = sorted(range(len(row)), key=lambda m: (-abs(row[m]), m))[:k]
        out[order] = row[order]
    return kept


def test_ties_go_to_the_lower_index():
    rng = np.random.default_rng(0)
    X = rng.integers(-2, 3, size=(500, 7)).astype(np.float32)
    for k in range(1, 9):
        model = RawInputs(n_nonzero=k, unit_norm_inputs=False).fit(X)
        np.testing.assert_array_equal(model.transform(X).toarray(), keep_largest(X, k))


@pytest.mark.parametrize("name", NAMES)
def test_memory_maps_pieces_threads_and_dense_output(name, models, X, tmp_path, monkeypatch):
    model = models[name]
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert (model.transform(mapped) != model.transform(X)).nnz == 0
    again = clone(model).fit(mapped)
    np.testing.assert_array_equal(again.components_, model.components_)
    whole = model.transform(X), model.reconstruct(X), model.score(X)
    monkeypatch.setattr("icfl._validation.CHUNK_ROWS", 77)
    monkeypatch.setattr(encoding, "PIECE_ROWS", 10)
    Z = model.transform(mapped)
    # Products of other heights may be rounded otherwise, in float64 before they are in float32.
    atol = 1e-9 if name == "nmf" else 1e-7 if name == "random" else 1e-12
    np.testing.assert_allclose(dense(Z), dense(whole[0]), rtol=SAFETY * U, atol=atol)
    np.testing.assert_allclose(model.reconstruct(mapped), whole[1], rtol=1e-5, atol=1e-5)
    assert model.score(mapped) == pytest.approx(whole[2], abs=1e-6)
    one, three = (clone(model).set_params(n_jobs=n, sparse_output=False).fit(X) for n in (1, 3))
    np.testing.assert_array_equal(one.components_, three.components_)
    np.testing.assert_array_equal(one.transform(X), three.transform(X))
    np.testing.assert_array_equal(one.transform(X), Z.toarray())


@pytest.mark.parametrize("name", ["ica", "nmf", "kmeans", "random"])
def test_random_state_decides(name, models, X):
    again = clone(SMALL[name]).fit(X)
    assert again.components_.tobytes() == models[name].components_.tobytes()
    given = [
        clone(SMALL[name]).set_params(random_state=np.random.RandomState(5)).fit(X)
        for _ in range(2)
    ]
    assert given[0].components_.tobytes() == given[1].components_.tobytes()
    if name != "nmf":  # NMF starts from singular vectors, which are random by rounding alone
        assert given[0].components_.tobytes() != again.components_.tobytes()


def test_auto_is_as_documented(X):
    assert PCA().fit(X).components_.shape == (12, 12)
    assert PCA().fit(X[:5]).components_.shape == (5, 12)
    assert ICA(random_state=0, tol=0.5).fit(X).components_.shape == (12, 12)
    assert NMF(max_iter=2000, random_state=0).fit(X).components_.shape == (3, 12)
    assert KMeans(random_state=0).fit(X).components_.shape == (37, 12)
    assert KMeans(random_state=0).fit(np.tile(X, (3, 1))[:800]).components_.shape == (96, 12)
    assert RandomAtoms(random_state=0).fit(X).components_.shape == (96, 12)
    assert RawInputs().fit(X).components_.shape == (12, 12)


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load(name, models, X, tmp_path):
    path = tmp_path / "model.safetensors"
    models[name].save(path)
    copy = icfl.load(path)
    assert copy.get_params() == models[name].get_params()
    assert (copy.transform(X) != models[name].transform(X)).nnz == 0
    assert vars(copy).keys() == vars(models[name]).keys()
    with pytest.raises(NotFittedError):
        clone(models[name]).save(path)


def test_other_scale_is_warned_of(models, X):
    for name in NAMES:
        with pytest.warns(InputScaleWarning, match="preprocessing"):
            models[name].transform(9 * X)
