"""ICFL and SparseCoder as models: codes, reconstructions, scores, files, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse

import icfl
import oracles
from icfl.exceptions import InputError, InputScaleWarning, InputTypeError

OPTIONS = {
    "n_components": 24,
    "n_iterations": 3,
    "atoms_per_iteration": 2,
    "max_iter": 3,
    "batch_size": 64,
    "random_state": 0,
}
ALGORITHMS = ("topk", "icfl", "mp", "omp")


@pytest.fixture(scope="module", name="X")
def rows():
    rng = np.random.default_rng(0)
    # Anisotropic, with an offset, norms of about 20, and a zero row.
    X = rng.standard_normal((300, 12)) * np.linspace(1, 10, 12) + 3
    X[17] = 0
    return X.astype(np.float32)


@pytest.fixture(scope="module", name="model")
def fitted(X):
    return icfl.ICFL(**OPTIONS).fit(X)


OPTIONS_OF_BLOCKS = {
    "n_components": 24,
    "n_iterations": 3,
    "atoms_per_iteration": 2,
    "refit": "block",
    "batch_size": 64,
    "max_iter": 3,
    "random_state": 0,
}


def test_codes_are_those_of_the_prepared_rows(X):
    model = icfl.ICFL(**OPTIONS_OF_BLOCKS).fit(X)
    expected = oracles.encode_icfl(oracles.unit_rows(X), model.components_, 3, 2, 0.0, model.bias_)
    Z = model.transform(X)
    assert isinstance(Z, scipy.sparse.csr_array)
    assert Z.has_sorted_indices
    clear = expected.clear
    assert clear.mean() > 0.9
    np.testing.assert_array_equal((Z.toarray() != 0)[clear], (expected.codes != 0)[clear])
    # Rounding the scaled rows to float32 moves each by at most u ‖x‖ = u, as float32 inputs do.
    error = abs(Z.toarray() - expected.codes)[clear]
    assert np.all(error <= 2 * expected.coefficient_error[clear, None])


def test_inverse_transform_is_the_affine_map(X, model):
    Z = model.transform(X)
    rows = model.inverse_transform(Z)
    expected = Z.toarray().astype(np.float64) @ model.components_ + model.bias_
    # At most 6 products of size below |z| and a bias, each rounded once or twice.
    bound = 16 * oracles.U * (abs(Z.toarray()).sum(axis=1).max() + 1)
    np.testing.assert_allclose(rows, expected, rtol=0, atol=bound)
    assert rows.dtype == np.float32
    for other in (Z.toarray(), Z.tocsc(), Z.toarray().tolist(), Z.astype(np.float64)):
        assert model.inverse_transform(other).tobytes() == rows.tobytes()
    twice = scipy.sparse.csr_array(([1.0, 2.0, 4.0], [5, 0, 5], [0, 3]), shape=(1, 24))
    np.testing.assert_allclose(
        model.inverse_transform(twice),
        [2 * model.components_[0] + 5 * model.components_[5] + model.bias_],
        atol=1e-5,
    )


def test_reconstruct_returns_to_the_scale_of_the_data(X, model):
    norms = np.linalg.norm(X.astype(np.float64), axis=1)
    expected = model.inverse_transform(model.transform(X)) * norms[:, None]
    np.testing.assert_allclose(model.reconstruct(X), expected, rtol=4e-7, atol=1e-30)
    assert not model.reconstruct(X)[17].any()
    # Scaling a row scales its reconstruction: exactly, by a power of two.
    with pytest.warns(InputScaleWarning):
        scaled = model.reconstruct(X * 8)
    assert scaled.tobytes() == (8 * model.reconstruct(X)).tobytes()


def test_score_is_the_explained_variance_of_prepared_rows(X, model):
    prepared = oracles.unit_rows(X)
    expected = oracles.explained_variance(prepared, model.inverse_transform(model.transform(X)))
    assert model.score(X) == pytest.approx(expected, abs=1e-6)
    plain = icfl.ICFL(**OPTIONS, unit_norm_inputs=False).fit(X)
    assert plain.score(X) == pytest.approx(
        oracles.explained_variance(X, plain.reconstruct(X)), abs=1e-6
    )
    assert plain.score(X) > 0.5


def test_dense_output_is_the_same(X, model):
    dense = icfl.ICFL(**OPTIONS, sparse_output=False).fit(X)
    np.testing.assert_array_equal(dense.transform(X), model.transform(X).toarray())


@pytest.mark.parametrize("estimator", ["icfl", *ALGORITHMS])
def test_memory_maps_are_read_block_by_block(estimator, X, model, tmp_path, monkeypatch):
    coder = (
        model
        if estimator == "icfl"
        else icfl.SparseCoder(model.components_, algorithm=estimator, n_nonzero=3)
    )
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    whole = coder.transform(X), coder.reconstruct(X), coder.score(X)
    monkeypatch.setattr("icfl._validation.CHUNK_ROWS", 77)
    Z, Xhat, score = coder.transform(mapped), coder.reconstruct(mapped), coder.score(mapped)
    # Products of other heights may be rounded otherwise.
    np.testing.assert_allclose(Z.toarray(), whole[0].toarray(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(Xhat, whole[1], rtol=1e-4, atol=1e-4)
    assert score == pytest.approx(whole[2], abs=1e-6)


def test_transform_does_not_depend_on_what_came_before(X):
    first, second = (icfl.ICFL(**OPTIONS).fit(X) for _ in range(2))
    first.transform(X[:1])
    first.reconstruct(X)
    assert first.transform(X).data.tobytes() == second.transform(X).data.tobytes()


def test_another_dictionary_takes_effect(X):
    model = icfl.ICFL(**OPTIONS).fit(X)
    model.transform(X)
    with pytest.raises(ValueError, match="read-only"):
        model.components_[0] = 0
    model.components_ = np.ascontiguousarray(model.components_[::-1])
    expected = icfl.ICFL(**OPTIONS).fit(X).transform(X).toarray()[:, ::-1]
    np.testing.assert_allclose(model.transform(X).toarray(), expected, rtol=1e-4, atol=1e-5)


def test_other_scale_is_warned_of(X, model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.transform(3 * X)
        model.transform(X / 3)
    for factor in (5, 0.2):
        with pytest.warns(InputScaleWarning, match="preprocessing"):
            model.transform(factor * X)
    assert model.input_norm_ == pytest.approx(np.linalg.norm(X, axis=1).mean(), rel=1e-6)


def test_other_width_is_refused(X, model):
    with pytest.raises(InputError, match="X has 11 features, but ICFL is expecting 12"):
        model.transform(X[:, :11])
    with pytest.raises(InputError, match="Z has 23 components, the dictionary has 24"):
        model.inverse_transform(np.zeros((2, 23)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "reconstruct", "score"])
def test_bad_values_are_named_by_row(method, value, X, model, monkeypatch):
    monkeypatch.setattr("icfl._validation.CHUNK_ROWS", 50)
    bad = X.copy()
    bad[123, 4] = value
    owner = icfl.ICFL(**OPTIONS) if "fit" in method else model
    with pytest.raises(InputError, match=r"NaN.*row 123\b"):
        getattr(owner, method)(bad)
    with pytest.raises(InputError, match="Z contains NaN"):
        model.inverse_transform(np.full((1, 24), value))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components"),
        ({"n_components": "many"}, "n_components"),
        ({"n_iterations": 0}, "n_iterations"),
        ({"atoms_per_iteration": 1.5}, "atoms_per_iteration"),
        ({"threshold": np.nan}, "threshold"),
        ({"selection": "largest"}, "selection"),
        ({"update": "sgd"}, "update"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"atom_norm": "none"}, "atom_norm"),
        ({"coherence_limit": 1.5}, "coherence_limit"),
        ({"unit_norm_inputs": "yes"}, "unit_norm_inputs"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_iter": 0}, "max_iter"),
        ({"max_iter": None}, "max_iter and max_steps"),
        ({"max_steps": -1}, "max_steps"),
        ({"init": "pca"}, "init"),
        ({"init": np.ones((3, 12))}, r"init.*\(24, 12\).*\(3, 12\)"),
        ({"init": np.full((24, 12), np.nan)}, "init contains NaN"),
        ({"sparse_output": 1}, "sparse_output"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"backend": "cuda"}, "backend"),
        ({"backend": "rust", "device": "cuda:0"}, "device"),
        ({"tol": "small"}, "tol"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"checkpoint_interval": -1.0}, "checkpoint_interval"),
        ({"checkpoint": "/no/such/folder/c"}, "no folder"),
    ],
)
def test_bad_parameters_are_refused(parameters, message, X):
    with pytest.raises((InputError, InputTypeError), match=message):
        icfl.ICFL(**OPTIONS | parameters).fit(X)


def test_auto_is_eight_atoms_per_feature(X):
    assert icfl.ICFL(max_iter=1).fit(X).components_.shape == (96, 12)
    assert icfl.ICFL(max_iter=1, init=np.eye(12)[:5]).fit(X).components_.shape == (5, 12)


def test_paper_settings():
    model = icfl.ICFL.paper(max_steps=7, n_jobs=2)
    expected = {
        "n_components": 8192,
        "n_iterations": 20,
        "atoms_per_iteration": 5,
        "threshold": -np.inf,
        "selection": "positive",
        "update": "adam",
        "learning_rate": 5e-5,
        "coherence_limit": 0.9,
        "batch_size": 8192,
        "max_iter": None,
        "max_steps": 7,
        "init": "linear",
        "n_jobs": 2,
    }
    assert {name: model.get_params()[name] for name in expected} == expected
    assert icfl.ICFL.paper().max_steps == 300_000


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sparse_coder_is_the_stateless_call(algorithm, X):
    D = np.random.default_rng(1).standard_normal((30, 12))
    bias = X.mean(axis=0)
    calls = {
        "topk": lambda: icfl.encode_topk(X, D, 4, bias=bias),
        "icfl": lambda: icfl.encode_icfl(
            X, D, n_iterations=2, atoms_per_iteration=3, threshold=0.1, bias=bias
        ),
        "mp": lambda: icfl.encode_mp(X, D, 4, threshold=0.1, bias=bias),
        "omp": lambda: icfl.encode_omp(X, D, 4, threshold=0.1, bias=bias),
    }
    coder = icfl.SparseCoder(
        D,
        algorithm=algorithm,
        n_nonzero=4,
        n_iterations=2,
        atoms_per_iteration=3,
        threshold=0.1,
        bias=bias,
    )
    assert (coder.transform(X) != calls[algorithm]()).nnz == 0
    assert coder.fit(X).score(X) == pytest.approx(
        oracles.explained_variance(X, coder.reconstruct(X)), abs=1e-6
    )


@pytest.mark.parametrize(
    ("refit", "options"),
    [
        ("block", {"algorithm": "icfl", "n_iterations": 3, "atoms_per_iteration": 2}),
        ("joint", {"algorithm": "omp", "n_nonzero": 6, "selection": "positive"}),
    ],
)
def test_sparse_coder_encodes_as_the_model_it_came_from(X, refit, options):
    model = icfl.ICFL(**(OPTIONS_OF_BLOCKS | {"refit": refit})).fit(X)
    coder = icfl.SparseCoder(model.components_, bias=model.bias_, unit_norm_inputs=True, **options)
    assert (coder.transform(X) != model.transform(X)).nnz == 0
    assert coder.reconstruct(X).tobytes() == model.reconstruct(X).tobytes()


def test_sparse_coder_copies_its_dictionary():
    D = np.eye(3, dtype=np.float32)
    coder = icfl.SparseCoder(D)
    before = coder.transform([[1.0, 2.0, 3.0]]).toarray()
    D[:] = 0
    np.testing.assert_array_equal(coder.transform([[1.0, 2.0, 3.0]]).toarray(), before)
    assert coder.set_params(components=D.copy()).transform([[1.0, 2.0, 3.0]]).nnz == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"algorithm": "lars"}, "algorithm"),
        ({"n_nonzero": 0}, "n_nonzero"),
        ({"algorithm": "icfl", "n_iterations": 0}, "n_iterations"),
        ({"algorithm": "omp", "selection": "up"}, "selection"),
        ({"bias": [1.0]}, "bias"),
        ({"components": [[np.nan, 1.0]]}, "components contains NaN"),
        ({"components": [1.0, 2.0]}, "2D array"),
        ({"unit_norm_inputs": None}, "unit_norm_inputs"),
    ],
)
def test_sparse_coder_refuses_bad_parameters(parameters, message):
    with pytest.raises((InputError, InputTypeError), match=message):
        icfl.SparseCoder(**{"components": np.eye(2), **parameters}).fit(np.ones((3, 2)))


def test_save_and_load_keep_everything_but_the_update(X, model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    copy = icfl.load(tmp_path / "model.safetensors")
    assert copy.get_params() == model.get_params()
    assert (copy.transform(X) != model.transform(X)).nnz == 0
    for name in ("n_steps_", "n_iter_", "n_samples_seen_", "input_norm_", "history_"):
        assert getattr(copy, name) == getattr(model, name)
    copy.partial_fit(X)
    assert copy.n_steps_ == model.n_steps_ + 5
    with pytest.warns(InputScaleWarning):
        copy.transform(9 * X)


class OwnUpdate(icfl.updates.Online):
    """An update that a model file cannot name."""


@pytest.mark.parametrize("update", ["adam", icfl.updates.Online(memory=7), OwnUpdate()])
def test_save_and_load_with_any_update(update, X, tmp_path):
    model = icfl.ICFL(**OPTIONS | {"update": update}).fit(X)
    model.save(tmp_path / "model.safetensors")
    copy = icfl.load(tmp_path / "model.safetensors")
    assert (copy.transform(X) != model.transform(X)).nnz == 0
    if isinstance(update, OwnUpdate):
        with pytest.raises(InputError, match=r"update.*OwnUpdate"):
            copy.partial_fit(X)
    else:
        assert copy.update == update
        copy.partial_fit(X)


def test_save_and_load_with_an_initial_dictionary(X, tmp_path):
    init = np.random.default_rng(0).standard_normal((5, 12))
    random_state = np.random.RandomState(0)
    options = {"max_iter": 1, "refit": "block", "threshold": -np.inf}
    model = icfl.ICFL(init=init, random_state=random_state, **options).fit(X)
    model.save(tmp_path / "model.safetensors")
    copy = icfl.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(copy.init, init)
    assert copy.random_state is None
    assert copy.threshold == -np.inf


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("components", lambda a: a[:-1]),
        ("components", lambda a: a[:, :-1]),
        ("components", lambda a: a.astype(np.int32)),
        ("components", lambda a: np.where(a > 0, np.nan, a)),
        ("bias", lambda a: a[:-1]),
        ("last_active", lambda a: a[:-1]),
        ("window_mean", lambda a: a[:-1]),
    ],
)
def test_inconsistent_state_is_refused(name, damage, model):
    config, tensors = model.get_state()
    with pytest.raises(InputError):
        icfl.ICFL.from_state(config, tensors | {name: damage(tensors[name])})


def test_sparse_coder_survives_a_file(X, tmp_path):
    D = np.random.default_rng(1).standard_normal((30, 12))
    for coder in (icfl.SparseCoder(D, algorithm="omp", n_nonzero=2), icfl.SparseCoder(D).fit(X)):
        coder.save(tmp_path / "coder.safetensors")
        copy = icfl.load(tmp_path / "coder.safetensors")
        assert (copy.transform(X) != coder.transform(X)).nnz == 0
        assert hasattr(copy, "n_features_in_") == hasattr(coder, "n_features_in_")
