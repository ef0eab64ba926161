"""Baselines: scikit-learn's answers behind the face of the learners.

Tolerances. u = 2⁻²⁴. Codes are computed in float64 from rows and fitted arrays that were rounded to
float32, and rounded once: with E the encoder, they are off by at most
u (‖e‖ (2 ‖x − b‖ + ‖b‖) + |z|) for the atom e of E, to first order. `SAFETY` covers the rest.
"""

from __future__ import annotations

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
from sklearn import cluster, decomposition
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_info, threadpool_limits

import icfl
import oracles
from icfl.baselines import ICA, NMF, PCA, KMeans, RandomAtoms, RawInputs, encoding
from icfl.baselines.threads import on_threads, one_thread
from icfl.exceptions import InputError, InputScaleWarning, InputTypeError
from oracles import U

SAFETY = 4
SMALL = {
    "pca": PCA(6),
    "ica": ICA(3, random_state=0),
    "nmf": NMF(4, max_iter=2000, random_state=0),
    "kmeans": KMeans(9, random_state=0),
    "random": RandomAtoms(40, n_nonzero=4, random_state=0),
    "raw": RawInputs(),
}
NAMES = list(SMALL)
SELECTING = ["pca", "ica", "nmf", "raw"]


@pytest.fixture(scope="module", name="X")
def rows():
    """Non-negative rows of independent parts, with norms of about 10 and a zero row."""
    rng = np.random.default_rng(0)
    X = rng.exponential(size=(300, 5)) ** 2 @ rng.random((5, 12)) + rng.random((300, 12))
    X[17] = 0
    return X.astype(np.float32)


@pytest.fixture(scope="module", name="models")
def fitted(X):
    return {name: clone(model).fit(X) for name, model in SMALL.items()}


@pytest.fixture(scope="module", name="P")
def prepared(X):
    """Rows as the baselines see them: unit norm, rounded to float32, kept in float64."""
    return oracles.unit_rows(X).astype(np.float32).astype(np.float64)


def dense(Z) -> np.ndarray:
    return Z.toarray().astype(np.float64)


def rounding(P, encoder, mean, Z) -> np.ndarray:
    """Bound on the error of codes (n, M) of rows P with an encoder and a mean in float64."""
    reach = 2 * np.linalg.norm(P - mean, axis=1) + np.linalg.norm(mean) + np.linalg.norm(P, axis=1)
    return SAFETY * U * (np.outer(reach, np.linalg.norm(encoder, axis=1)) + abs(Z))


# scikit-learn's answers


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


def test_raw_inputs_are_the_prepared_rows(models, X):
    Z = models["raw"].transform(X)
    # The compiled code scales in float32: a norm and a quotient, each rounded.
    np.testing.assert_allclose(dense(Z), oracles.unit_rows(X), rtol=SAFETY * U)
    assert Z.nnz == 299 * 12  # zeros are not kept
    assert models["raw"].score(X) == 1
    plain = RawInputs(unit_norm_inputs=False).fit(X)
    np.testing.assert_array_equal(plain.transform(X).toarray(), X)
    np.testing.assert_array_equal(plain.reconstruct(X), X)


# The face they share


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


# Threads


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def openmp_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"]


def test_limits_of_overlapping_calls_are_lifted_by_the_last():
    with threadpool_limits(limits=2):
        before = blas_threads()
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


@pytest.mark.parametrize("name", NAMES)
def test_several_threads_may_encode_at_once(name, models, X):
    before = blas_threads(), openmp_threads()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(models[name].transform, [X] * 8))
    assert all((models[name].transform(X) != Z).nnz == 0 for Z in results)
    assert (blas_threads(), openmp_threads()) == before


def test_an_interrupted_call_does_not_wait_for_its_pieces():
    release, begun = threading.Event(), []

    def piece(number):
        begun.append(number)
        if number == 0:
            raise KeyboardInterrupt  # as if it came while the main thread waits
        release.wait(30)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        on_threads(piece, range(100), 2)
    assert time.monotonic() - start < 5
    assert len(begun) < 10
    release.set()


@pytest.mark.parametrize(
    "model", [PCA(), KMeans(20, random_state=0), ICA(3, tol=0.1, random_state=0)]
)
def test_fits_do_not_depend_on_the_number_of_threads(model):
    X = np.random.default_rng(0).random((5000, 40))
    fits = []
    for threads in (1, 2, 3):
        with threadpool_limits(limits=threads):
            fits.append(clone(model).fit(X))
    assert len({fit.components_.tobytes() for fit in fits}) == 1


# What is refused


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_values_are_named_by_row(name, value, models, X, monkeypatch):
    monkeypatch.setattr("icfl._validation.CHUNK_ROWS", 50)
    bad = X.copy()
    bad[123, 4] = value
    for owner, method in [(clone(SMALL[name]), "fit"), (models[name], "transform")]:
        with pytest.raises(InputError, match=r"NaN.*row 123\b"):
            getattr(owner, method)(bad)


@pytest.mark.parametrize("name", NAMES)
def test_other_width_is_refused(name, models, X):
    with pytest.raises(InputError, match=r"X has 11 features, but .* is expecting 12"):
        models[name].transform(X[:, :11])
    with pytest.raises(InputError, match="Z has 99 components, the dictionary has"):
        models[name].inverse_transform(np.zeros((2, 99)))
    with pytest.raises(NotFittedError):
        clone(SMALL[name]).transform(X)


def test_nmf_refuses_negative_values(models, X, monkeypatch):
    monkeypatch.setattr("icfl._validation.CHUNK_ROWS", 50)
    bad = X.copy()
    bad[3, 2], bad[200, 1] = -0.5, -1.25
    for method in (clone(SMALL["nmf"]).fit, models["nmf"].transform, models["nmf"].score):
        with pytest.raises(InputError, match=r"^X must be non-negative.* smallest value is -1\.25"):
            method(bad)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (PCA(13), "n_components must be at most .* = 12, got 13"),
        (PCA("most"), "n_components"),
        (PCA(n_nonzero=0), "n_nonzero"),
        (PCA(n_nonzero=1.5), "n_nonzero"),
        (PCA(random_state="seed"), "random_state must be"),
        (ICA(13), "n_components must be at most the rank .* 12, got 13"),
        (ICA(max_iter=0), "max_iter"),
        (ICA(tol=-1.0), "tol"),
        (NMF(0), "n_components"),
        (NMF(sparse_output=1), "sparse_output"),
        (KMeans(301), "n_components must be at most n_samples = 300, got 301"),
        (KMeans(n_jobs=0), "n_jobs"),
        (RandomAtoms(kind="sphere"), "kind must be one of 'random', 'data', got 'sphere'"),
        (RandomAtoms(n_nonzero=None), "n_nonzero"),
        (RawInputs(unit_norm_inputs="yes"), "unit_norm_inputs"),
    ],
)
def test_bad_parameters_are_refused(model, message, X):
    with pytest.raises((InputError, InputTypeError), match=message):
        model.fit(X)


def test_degenerate_data(X):
    with pytest.raises(InputError, match="at least 2 rows"):
        PCA().fit(X[:1])
    with pytest.raises(InputError, match="rows that differ"):
        ICA().fit(np.ones((20, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flat = PCA().fit(np.ones((20, 4)))
        np.testing.assert_allclose(flat.reconstruct(np.ones((2, 4))), 1, rtol=SAFETY * U)
    # A constant column and one that repeats another do not count for the rank.
    wide = np.hstack([X, np.ones((300, 1)), X[:, :1]])
    assert ICA(unit_norm_inputs=False, tol=0.5).fit(wide).components_.shape == (12, 14)
    zeros = NMF(2).fit(np.zeros((9, 4)))
    assert zeros.transform(np.zeros((9, 4))).nnz == 0
