"""`ControlWhitener` as users of scikit-learn meet it: checks, pipelines, frames, error messages."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from icfl.exceptions import InputError, InputTypeError
from icfl.whitening import ControlWhitener


def gaussian(n, d):
    """Correlated rows with standard deviations from 1 to 1 / 5."""
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return rng.normal(size=(n, d)) @ (np.geomspace(1, 0.2, d)[:, None] * frame)


@parametrize_with_checks(
    [
        ControlWhitener(),
        ControlWhitener(method="zca", shrinkage=0.1),
        ControlWhitener(n_components=0.9, shrinkage="ledoit-wolf"),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_data_frames_and_nullable_masks():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(gaussian(50, 3), columns=["a", "b", "c"])
    control = pandas.Series([True, False] * 25, index=range(100, 150), dtype="boolean")
    whitener = ControlWhitener().set_output(transform="pandas").fit(frame, control=control)
    assert whitener.n_controls_ == 25
    Z = whitener.transform(frame)
    assert list(Z.columns) == ["controlwhitener0", "controlwhitener1", "controlwhitener2"]
    with pytest.raises(InputError, match="feature names"):
        whitener.transform(frame[["b", "a", "c"]])
    other = ControlWhitener().fit(frame.rename(columns={"a": "z"}))
    with pytest.raises(InputError, match="other names"):
        whitener.merge(other)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"method": "cholesky"}, InputError, "method must be one of 'pca', 'zca', got 'cholesky'"),
        ({"eps": -1e-9}, InputError, r"eps must be a number in \[0.0, 1.0\]"),
        ({"eps": np.nan}, InputError, "eps must be"),
        ({"eps": "small"}, InputTypeError, "eps must be a number, got 'small'"),
        ({"n_components": 0}, InputError, "n_components must be an integer >= 1, got 0"),
        ({"n_components": 1.0}, InputError, r"n_components must be .* \(0, 1\), got 1.0"),
        ({"n_components": True}, InputTypeError, "n_components must be .* got True"),
        ({"n_components": "mle"}, InputTypeError, "n_components must be .* got 'mle'"),
        ({"n_components": 5}, InputError, "n_components=5, but .* only 4 directions"),
        ({"shrinkage": 1.5}, InputError, "shrinkage must be None, 'ledoit-wolf' or .* got 1.5"),
        ({"shrinkage": "oas"}, InputTypeError, "shrinkage must be .* got 'oas'"),
        ({"batch_correction": "combat"}, InputError, "batch_correction .*'coral', got 'combat'"),
        ({"batch_correction": "coral"}, InputError, "batch_correction='coral' needs batch="),
        (
            {"batch_correction": "coral", "shrinkage": "ledoit-wolf"},
            InputError,
            "shrinkage='ledoit-wolf' cannot be combined with batch_correction='coral'",
        ),
    ],
)
def test_wrong_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        ControlWhitener(**parameters).fit(gaussian(20, 4))


@pytest.mark.parametrize(
    ("control", "error", "message"),
    [
        (np.zeros(20, bool), InputError, "control marks none of the 20 rows"),
        (np.arange(20) == 3, InputError, "controls are 1 sample so far"),
        (np.ones(19, bool), InputError, r"control must have .* shape \(20,\), got \(19,\)"),
        (np.ones((20, 1), bool), InputError, r"control must have .* got \(20, 1\)"),
        (np.ones(20, int), InputTypeError, "control must be boolean.* got int64"),
        (["DMSO"] * 20, InputTypeError, "control must be boolean"),
        ([True] * 19 + [None], InputTypeError, "control must be boolean"),
    ],
)
def test_wrong_controls_are_named(control, error, message):
    with pytest.raises(error, match=message):
        ControlWhitener().fit(gaussian(20, 4), control=control)


def test_equal_controls_are_an_error():
    with pytest.raises(InputError, match="the 30 controls are all equal"):
        ControlWhitener(shrinkage=0.5).fit(np.full((30, 3), 0.1))


def test_wrong_widths_are_named():
    whitener = ControlWhitener(2).fit(gaussian(20, 4))
    with pytest.raises(InputError, match="X has 3 features, but ControlWhitener is expecting 4"):
        whitener.transform(np.zeros((2, 3)))
    with pytest.raises(InputError, match="X has 4 features, but whitened samples have 2"):
        whitener.inverse_transform(np.zeros((2, 4)))
    with pytest.raises(InputError, match="other was fitted on 5 features, this one on 4"):
        whitener.merge(ControlWhitener().fit(gaussian(20, 5)))
    with pytest.raises(InputTypeError, match="other must be a ControlWhitener, got PCA"):
        whitener.merge(PCA())
    with pytest.raises(InputError, match=r"NaN or infinity .* row 1, column 0"):
        whitener.inverse_transform([[0.0, 0.0], [np.inf, 0.0]])


def test_a_failed_partial_fit_changes_nothing():
    X = gaussian(40, 3)
    whitener = ControlWhitener().partial_fit(X)
    before = whitener.transform(X)
    spoilt = np.vstack([X, np.full((1, 3), np.nan)])
    with pytest.raises(InputError, match="row 40"):
        whitener.partial_fit(spoilt)
    np.testing.assert_array_equal(whitener.transform(X), before)


def test_one_control_is_not_yet_a_result():
    whitener = ControlWhitener()
    assert not hasattr(whitener, "mean_")
    whitener.partial_fit([[1.0, 2.0]])
    assert whitener.n_controls_ == 1
    assert not hasattr(whitener, "components_")
    assert "components_" not in dir(whitener)
    with pytest.raises(NotFittedError, match="needs at least 2"):
        _ = whitener.components_
    with pytest.raises(
        InputError, match="controls are 1 sample so far; whitening needs at least 2"
    ):
        whitener.transform([[1.0, 2.0]])
    assert whitener.partial_fit([[3.0, 1.0]]).components_.shape == (1, 2)


def test_clone_and_pickle():
    X = gaussian(50, 4)
    whitener = ControlWhitener(3, method="zca", eps=1e-3, shrinkage=0.1).partial_fit(X)
    loaded = pickle.loads(pickle.dumps(whitener))
    np.testing.assert_array_equal(loaded.transform(X), whitener.transform(X))
    assert clone(whitener).get_params() == whitener.get_params()


def test_grid_search_in_a_pipeline():
    rng = np.random.default_rng(0)
    X = gaussian(120, 10)
    y = rng.integers(0, 2, 120)
    X[:, 0] += 3 * y
    pipeline = make_pipeline(ControlWhitener(), LogisticRegression())
    grid = {
        "controlwhitener__n_components": [2, 5, 0.99],
        "controlwhitener__method": ["pca", "zca"],
    }
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.8


def test_controls_and_batches_are_routed():
    X = gaussian(60, 4)
    control, batch = np.arange(60) % 2 == 0, np.repeat(["p1", "p2", "p3"], 20)
    with config_context(enable_metadata_routing=True):
        whitener = ControlWhitener(batch_correction="center-scale")
        whitener.set_fit_request(control=True, batch=True).set_transform_request(batch=True)
        pipeline = make_pipeline(whitener, PCA(2)).fit(X, control=control, batch=batch)
        through = pipeline.transform(X, batch=batch)
    alone = ControlWhitener(batch_correction="center-scale").fit(X, control=control, batch=batch)
    white = alone.transform(X, batch)
    assert pipeline[0].n_controls_ == 30
    np.testing.assert_allclose(through, PCA(2).fit(white).transform(white), atol=1e-12)
