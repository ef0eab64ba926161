"""Codes of the baselines: scikit-learn's answers, or their definition in float64.
Tolerances. u = 2⁻²⁴. Codes are computed in float64 from rows and fitted arrays that were rounded to
float32, and rounded once: with E the encoder, they are off by at most
u (‖e‖ (2 ‖x − b‖ + ‖b‖) + |z|) for the atom e of E, to first order. `SAFETY` covers the rest.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import cluster, decomposition
from threadpoolctl import threadpool_limits

import icfl
import oracles
from baseline_models import SAFETY, dense, fitted_models, fixed_rows, prepared_rows  # noqa: F401 - fixtures
from icfl.baselines import ICA, PCA, KMeans, RandomAtoms, RawInputs
from icfl.exceptions import InputScaleWarning
from oracles import U


def rounding(P, encoder, mean, Z) -> np.ndarray:
    """Bound on the error of codes (n, M) of rows P with an encoder and a mean in float64."""
    reach = 2 * np.linalg.norm(P - mean, axis=1) + np.linalg.norm(mean) + np.linalg.norm(P, axis=1)
    return SAFETY * U * (np.outer(reach, np.linalg.norm(encoder, axis=1)) + abs(Z))


def test_pca_is_that_of_scikit_learn(models, X, P):
    pca = decomposition.PCA(6, svd_solver="full").fit(P)
    model = models["pca"]
    # Two solvers: eigenvectors differ by eps over the relative gap of eigenvalues, and by a sign.
    values = decomposition.PCA().fit(P).explained_variance_
    gap = -np.diff(values)[:6].min() / values[0]
    signs = np.sign(np.einsum("ij,ij->i", model.components_, pca.components_))
    tolerance = 12 * 2.0**-52 / gap + U
    np.testing.assert_allclose(signs[:, None] * model.components_, pca.components_, atol=tolerance)
    np.testing.assert_allclose(model.bias_, pca.mean_, atol=SAFETY * U)
    expected = pca.transform(P) * signs
    error = abs(dense(model.transform(X)) - expected)
    apart = 12 * tolerance * np.linalg.norm(P - pca.mean_, axis=1)[:, None]
    assert (error <= rounding(P, pca.components_, pca.mean_, expected) + apart).all()


def test_pca_is_orthonormal_and_orders_by_variance(X, P):
    model = PCA().fit(X)
    assert model.components_.shape == (12, 12)
    gram = model.components_.astype(np.float64) @ model.components_.T.astype(np.float64)
    np.testing.assert_allclose(gram, np.eye(12), atol=SAFETY * U)
    variances = dense(model.transform(X)).var(axis=0)
    assert (np.diff(variances) <= SAFETY * U).all()
    # All components explain everything; the first k as much as any k directions can.
    assert model.score(X) == pytest.approx(1, abs=1e-9)
    spectrum = np.linalg.svd(P - P.mean(axis=0), compute_uv=False) ** 2
    assert PCA(3).fit(X).score(X) == pytest.approx(spectrum[:3].sum() / spectrum.sum(), abs=1e-6)


def test_the_largest_scores_of_pca_are_the_best_choice(X, P):
    model = PCA(n_nonzero=2).fit(X)
    residual = ((P - model.inverse_transform(model.transform(X))) ** 2).sum(axis=1)
    scores = (P - model.bias_) @ model.components_.T.astype(np.float64)
    best = np.sort(scores**2, axis=1)[:, :-2].sum(axis=1)
    np.testing.assert_allclose(residual, best, rtol=0, atol=30 * U)


def test_ica_is_that_of_scikit_learn(models, X, P):
    with threadpool_limits(limits=1):  # as the fit: the bits of a sum depend on threads
        ica = decomposition.FastICA(3, whiten="unit-variance", random_state=0).fit(P)
    model = models["ica"]
    np.testing.assert_array_equal(model.components_, ica.mixing_.T.astype(np.float32))
    np.testing.assert_array_equal(model.encoder_, ica.components_.astype(np.float32))
    np.testing.assert_array_equal(model.bias_, ica.mean_.astype(np.float32))
    assert model.n_iter_ == ica.n_iter_
    expected = ica.transform(P)
    error = abs(dense(model.transform(X)) - expected)
    assert (error <= rounding(P, ica.components_, ica.mean_, expected)).all()
    Xhat = model.inverse_transform(model.transform(X))
    # The mixing matrix, of norm ‖A‖, carries the error of the codes over.
    bound = rounding(P, ica.components_, ica.mean_, expected).max() * np.abs(ica.mixing_).sum()
    np.testing.assert_allclose(Xhat, ica.inverse_transform(expected), rtol=0, atol=bound)


def test_ica_finds_independent_sources():
    rng = np.random.default_rng(1)
    sources = rng.laplace(size=(4000, 3))
    X = sources @ rng.standard_normal((3, 6)) + 2
    model = ICA(unit_norm_inputs=False, random_state=0).fit(X)
    assert model.components_.shape == (3, 6)  # the rank
    found = dense(model.transform(X))
    correlation = abs(np.corrcoef(found.T, sources.T)[:3, 3:])
    # Estimates are off by some 1/√n in angle; 0.99 leaves six times that.
    assert (correlation.max(axis=1) > 0.99).all()
    np.testing.assert_allclose(found.std(axis=0), 1, rtol=1e-5)


def test_nmf_is_that_of_scikit_learn(models, X, P):
    with threadpool_limits(limits=1):
        nmf = decomposition.NMF(4, max_iter=2000, random_state=0).fit(P)
    model = models["nmf"]
    np.testing.assert_array_equal(model.components_, nmf.components_.astype(np.float32))
    assert not model.bias_.any()
    assert model.n_iter_ == nmf.n_iter_
    # The same H and the same tolerance: the same code but for its rounding.
    nmf.components_ = model.components_.astype(np.float64)
    Z = dense(model.transform(X))
    exact = nmf.set_params(tol=1e-12).transform(P)
    np.testing.assert_allclose(Z, exact, rtol=SAFETY * U, atol=1e-12)


def test_codes_of_nmf_are_optimal_for_their_row(models, X, P):
    model = models["nmf"]
    Z, H = dense(model.transform(X)), model.components_.astype(np.float64)
    gradient = (Z @ H - P) @ H.T
    # Rounding of z by u|z| moves the gradient by at most u |z| |H Hᵀ|.
    slack = SAFETY * U * (abs(Z) @ (H @ H.T)) + 1e-9
    assert (Z >= 0).all()
    assert (gradient >= -slack).all()
    assert (abs(gradient) <= slack)[Z > 0].all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputScaleWarning)  # of rows with other norms than most
        alone = np.vstack([dense(model.transform(X[i : i + 1])) for i in range(0, 300, 29)])
    np.testing.assert_allclose(alone, Z[::29], rtol=SAFETY * U, atol=1e-9)


def test_kmeans_is_that_of_scikit_learn(models, X, P):
    with threadpool_limits(limits=1):
        kmeans = cluster.KMeans(9, n_init=1, random_state=0).fit(P.astype(np.float32))
    model = models["kmeans"]
    np.testing.assert_array_equal(model.components_, kmeans.cluster_centers_)
    assert not model.bias_.any()
    assert model.n_iter_ == kmeans.n_iter_


def test_the_code_of_kmeans_is_the_nearest_centre(models, X, P):
    model = models["kmeans"]
    Z = model.transform(X)
    centres = model.components_.astype(np.float64)
    nearest = ((P[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(Z.indices, nearest)
    np.testing.assert_array_equal(Z.indptr, np.arange(301))
    assert (Z.data == 1).all()
    np.testing.assert_array_equal(model.inverse_transform(Z), model.components_[nearest])


@pytest.mark.parametrize("offset", [0.0, 2.0**20])
def test_ties_of_kmeans_go_to_the_lower_index(offset):
    model = KMeans(4, unit_norm_inputs=False, random_state=0)
    model.fit(np.random.default_rng(0).standard_normal((40, 2)))
    model.components_ = np.float32([[1, 0], [-1, 0], [0, 3], [1, 0]]) + np.float32(offset)
    X = np.float32([[0, 0], [5, 0], [0, 1], [0, 9], [-1, 0.125]]) + np.float32(offset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputScaleWarning)
        assert model.transform(X).indices.tolist() == [0, 0, 0, 2, 1]


def test_rounding_does_not_move_the_nearest_centre():
    """Squares of 2⁴⁶ leave no room in float64 for distances of a few units."""
    rng = np.random.default_rng(0)
    rows, centres = (rng.integers(0, 4, size=(n, 200)) for n in (300, 60))
    model = KMeans(60, unit_norm_inputs=False, random_state=0).fit(rows)
    model.components_ = (2**23 + centres).astype(np.float32)
    with pytest.warns(InputScaleWarning):
        found = model.transform((2**23 + rows).astype(np.float32)).indices
    distances = ((rows[:, None] - centres) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found, distances.argmin(axis=1))


def test_random_atoms_are_unit_and_encoded_by_topk(models, X, P):
    model = models["random"]
    np.testing.assert_allclose(
        np.linalg.norm(model.components_.astype(np.float64), axis=1), 1, atol=SAFETY * U
    )
    np.testing.assert_allclose(model.bias_, P.mean(axis=0), atol=SAFETY * U)
    expected = icfl.encode_topk(P, model.components_, 4, bias=model.bias_)
    assert (model.transform(X) != expected).nnz == 0


def test_random_directions_are_uniform():
    atoms = RandomAtoms(20_000, random_state=0).fit(np.eye(3)).components_
    # A coordinate of a point on the sphere in 3 dimensions is uniform: variance 1/3, its estimate
    # off by √(4/45 / n); the mean by √(1/3 / n). Five standard deviations.
    np.testing.assert_allclose(atoms.mean(axis=0), 0, atol=5 * np.sqrt(1 / 3 / 20_000))
    np.testing.assert_allclose((atoms**2).mean(axis=0), 1 / 3, atol=5 * np.sqrt(4 / 45 / 20_000))


def test_random_rows_are_rows_of_the_data(X, P):
    model = RandomAtoms(290, kind="data", random_state=0).fit(X)
    centred = oracles.unit_rows(P - P.mean(axis=0))
    cosines = model.components_ @ centred.T
    assert len(set(cosines.argmax(axis=1))) == 290  # none twice
    np.testing.assert_allclose(cosines.max(axis=1), 1, atol=1e-5)
    # More atoms than rows, all rows equal, rows that are integers: directions fill up.
    for data in (X[:3], np.ones((30, 12)), np.ones((3, 12), int)):
        atoms = RandomAtoms(20, kind="data", random_state=0).fit(data).components_
        np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, atol=SAFETY * U)
        assert len(np.unique(atoms, axis=0)) == 20
    # Rows that rounding alone tells apart once they are of unit norm: directions, not noise.
    same = np.outer(np.arange(1, 31), X[0])
    atoms = RandomAtoms(20, kind="data", random_state=0).fit(same).components_
    drawn = RandomAtoms(20, random_state=0).fit(same).components_
    np.testing.assert_array_equal(atoms, drawn)


def test_raw_inputs_are_the_prepared_rows(models, X):
    Z = models["raw"].transform(X)
    # The compiled code scales in float32: a norm and a quotient, each rounded.
    np.testing.assert_allclose(dense(Z), oracles.unit_rows(X), rtol=SAFETY * U)
    assert Z.nnz == 299 * 12  # zeros are not kept
    assert models["raw"].score(X) == 1
    plain = RawInputs(unit_norm_inputs=False).fit(X)
    np.testing.assert_array_equal(plain.transform(X).toarray(), X)
    np.testing.assert_array_equal(plain.reconstruct(X), X)
