"""What the baselines refuse, and what they make of degenerate data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from baseline_models import NAMES, SAFETY, SMALL, fitted_models, fixed_rows  # noqa: F401 - fixtures
from icfl.baselines import ICA, NMF, PCA, KMeans, RandomAtoms, RawInputs
from icfl.exceptions import InputError, InputTypeError
from oracles import U


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
