"""scikit-learn's own checks of an estimator, and the company scikit-learn users keep."""

from __future__ import annotations

import pickle
import re
import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import icfl
from icfl import baselines

SMALL = {"n_components": 6, "n_iterations": 2, "atoms_per_iteration": 2, "max_iter": 2}


@parametrize_with_checks(
    [
        icfl.ICFL(),
        icfl.ICFL(**SMALL, sparse_output=False),
        icfl.ICFL(**SMALL, update="adam", init="random", tol=1e-3, batch_size=16),
    ]
)
def test_icfl_passes(estimator, check):
    check(estimator)


FEW = {"n_components": 6, "n_nonzero": 2, "max_iter": 2}


@parametrize_with_checks(
    [
        icfl.TopKSAE(),
        icfl.TopKSAE(**FEW, sparse_output=False, unit_norm_inputs=False),
        icfl.AbsTopKSAE(**FEW, init="random", tol=1e-3, batch_size=16),
        icfl.BatchTopKSAE(**FEW, aux_coefficient=0.0),
        icfl.MatryoshkaSAE(**FEW),
        icfl.JumpReLUSAE(**FEW),
        icfl.MatchingPursuitSAE(**FEW),
        icfl.TopKSAE(**FEW, backend="torch"),
    ]
)
def test_autoencoders_pass(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        baselines.PCA(),
        baselines.PCA(n_nonzero=1, sparse_output=False),
        baselines.ICA(),
        baselines.NMF(),
        baselines.NMF(2, n_nonzero=1, sparse_output=False),
        baselines.KMeans(),
        baselines.KMeans(2, sparse_output=False),
        baselines.RandomAtoms(),
        baselines.RandomAtoms(kind="data", sparse_output=False),
        baselines.RawInputs(),
        baselines.RawInputs(n_nonzero=2, sparse_output=False),
    ]
)
def test_baselines_pass(estimator, check):
    check(estimator)


def sparse_coder(width):
    components = np.random.default_rng(0).standard_normal((4, width))
    return icfl.SparseCoder(components, n_nonzero=2, sparse_output=False)


@pytest.mark.parametrize(
    "name", [check.func.__name__ for _, check in estimator_checks_generator(sparse_coder(3))]
)
def test_sparse_coder_passes(name):
    # The checks bring data of various widths, and a coder's dictionary has one: as scikit-learn
    # does for its own SparseCoder, each check gets a dictionary of the width it asks for.
    width, tried = 3, set()
    while width not in tried:
        tried.add(width)
        checks = estimator_checks_generator(sparse_coder(width))
        estimator, check = next(pair for pair in checks if pair[1].func.__name__ == name)
        try:
            check(estimator)
        except Exception as error:
            asked = re.search(r"X has (\d+) features, components has", _messages(error))
            if asked is None or int(asked[1]) in tried:
                raise
            width = int(asked[1])
        else:
            return
    pytest.fail("no width served")


def _messages(error: BaseException | None) -> str:
    return "" if error is None else f"{error} {_messages(error.__cause__ or error.__context__)}"


@pytest.fixture(scope="module", name="X")
def rows():
    return np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)


@pytest.fixture
def model(X):
    return icfl.ICFL(**SMALL, random_state=0).fit(X)


def test_pipeline_and_grid_search(X):
    pipeline = make_pipeline(StandardScaler(), icfl.ICFL(**SMALL, random_state=0))
    search = GridSearchCV(pipeline, {"icfl__n_iterations": [1, 3]}, cv=2, error_score="raise")
    search.fit(X)
    assert search.best_params_ == {"icfl__n_iterations": 3}  # more atoms explain more
    assert search.best_estimator_.transform(X).shape == (200, 6)
    assert pipeline.fit(X).get_feature_names_out().tolist() == [f"icfl{i}" for i in range(6)]


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(X, model, backend):
    expected = model.transform(X)
    with joblib.parallel_config(backend, n_jobs=2):
        results = joblib.Parallel()(joblib.delayed(model.transform)(X) for _ in range(4))
    assert all((expected != Z).nnz == 0 for Z in results)
    with joblib.parallel_config(backend, n_jobs=2):
        fits = joblib.Parallel()(joblib.delayed(clone(model).fit)(X) for _ in range(2))
    assert all(fit.components_.tobytes() == model.components_.tobytes() for fit in fits)


def test_clone_has_the_parameters_only(X, model):
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "components_")


def test_pickle_goes_on_to_the_same_bits(X, model):
    copy = pickle.loads(pickle.dumps(model))
    assert (copy.transform(X) != model.transform(X)).nnz == 0
    assert copy.partial_fit(X).components_.tobytes() == model.partial_fit(X).components_.tobytes()
    assert copy.n_steps_ == model.n_steps_


@pytest.mark.parametrize(
    "estimator",
    [
        icfl.ICFL(**SMALL, sparse_output=False),
        sparse_coder(8),
        baselines.PCA(3, sparse_output=False),
    ],
)
def test_dense_codes_as_data_frame(X, estimator):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"f{i}" for i in range(8)], index=np.arange(200) + 7)
    codes = clone(estimator).set_output(transform="pandas").fit(frame).transform(frame)
    name = type(estimator).__name__.lower()
    assert codes.columns.tolist() == [f"{name}{i}" for i in range(codes.shape[1])]
    assert codes.index.equals(frame.index)


def test_feature_names_are_kept(X):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"f{i}" for i in range(8)])
    model = icfl.ICFL(**SMALL, random_state=0).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.transform(frame)
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame[frame.columns[::-1]])
