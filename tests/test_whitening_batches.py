"""Batch corrections against step-by-step oracles made of scikit-learn's parts, and their labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from icfl.exceptions import InputError, InputTypeError
from icfl.whitening import ControlWhitener
from icfl.whitening.batch_correction import encode_labels

EPS = float(np.finfo(np.float64).eps)
KINDS = ["center-scale", "coral"]


def screen(n=600, d=7, offset=0.0, seed=0):
    """Four plates with their own shift and mixing; a third of the rows are controls."""
    rng = np.random.default_rng(seed)
    batch = rng.choice(["p1", "p10", "p2", "p3"], size=n)
    X = rng.normal(size=(n, d)) * np.geomspace(1, 0.2, d)
    for i, plate in enumerate(np.unique(batch)):
        rows = batch == plate
        mixing = np.eye(d) + 0.3 * rng.normal(size=(d, d))
        X[rows] = X[rows] @ mixing + 0.5 * i
    return X + offset, rng.random(n) < 0.33, batch


def center_scale_oracle(X, control, batch):
    """PCA on all controls, then per batch a StandardScaler fitted on that batch's controls."""
    Z = PCA(svd_solver="full").fit(X[control]).transform(X)
    for plate in np.unique(batch):
        rows = batch == plate
        Z[rows] = StandardScaler().fit(Z[rows & control]).transform(Z[rows])
    return Z


def tvn_oracle(X, control, batch):
    """Scale, rotate, scale on all controls, then (cov + I / 2)^(-1/2) per batch."""
    Z = StandardScaler().fit(X[control]).transform(X)
    Z = PCA(svd_solver="full").fit(Z[control]).transform(Z)
    Z = StandardScaler().fit(Z[control]).transform(Z)
    for plate in np.unique(batch):
        rows = batch == plate
        covariance = np.cov(Z[rows & control], rowvar=False) + 0.5 * np.eye(Z.shape[1])
        Z[rows] = Z[rows] @ fractional_matrix_power(covariance, -0.5)
    return Z


ORACLES = {"center-scale": center_scale_oracle, "coral": tvn_oracle}


def same_up_to_sign(Z, expected, tolerance):
    signs = np.sign(np.sum(Z * expected, axis=0))
    np.testing.assert_allclose(Z, signs * expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_agrees_with_the_recipe_step_by_step(kind, offset):
    X, control, batch = screen(offset=offset)
    whitener = ControlWhitener(eps=0.0, batch_correction=kind)
    Z = whitener.fit_transform(X, control=control, batch=batch)
    # A covariance of condition below 1e3, gaps between its eigenvalues above 1 / 100 of them, and
    # data and oracle that hold the offset to `offset` eps: 1e5 (1 + offset) eps.
    same_up_to_sign(Z, ORACLES[kind](X, control, batch), 1e5 * EPS * (1 + offset))


@pytest.mark.parametrize("kind", KINDS)
def test_zca_is_the_same_turned_back(kind):
    X, control, batch = screen()
    pca = ControlWhitener(batch_correction=kind).fit(X, control=control, batch=batch)
    zca = ControlWhitener(batch_correction=kind, method="zca").fit(X, control=control, batch=batch)
    np.testing.assert_allclose(
        zca.transform(X, batch), pca.transform(X, batch) @ pca.components_, atol=1e-12
    )


def test_center_scale_standardises_every_batch():
    X, control, batch = screen()
    Z = ControlWhitener(eps=0.0, batch_correction="center-scale").fit_transform(
        X, control=control, batch=batch
    )
    for plate in np.unique(batch):
        rows = Z[(batch == plate) & control]
        np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-12)
        np.testing.assert_allclose(rows.std(axis=0), 1.0, atol=1e-12)


def test_coral_draws_the_covariances_of_batches_together():
    X, control, batch = screen(n=2_000)
    plain = ControlWhitener().fit_transform(X, control=control)
    coral = ControlWhitener(batch_correction="coral").fit_transform(X, control=control, batch=batch)

    def spread(Z):
        covariances = [np.cov(Z[(batch == plate) & control].T) for plate in np.unique(batch)]
        return max(np.linalg.norm(C / np.trace(C) - np.eye(7) / 7) for C in covariances)

    assert spread(coral) < 0.7 * spread(plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["pca", "zca"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_undoes(kind, method, dtype):
    X, control, batch = screen(offset=50.0)
    X = X.astype(dtype)
    whitener = ControlWhitener(batch_correction=kind, method=method)
    Z = whitener.fit_transform(X, control=control, batch=batch)
    back = whitener.inverse_transform(Z, batch)
    assert back.dtype == Z.dtype == np.dtype(dtype)
    # Seven coordinates below 20 spreads, a condition below 100, values of about 50.
    assert np.abs(back - X).max() <= np.finfo(dtype).eps * (7 * 20 + 2 * 60 + 100)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_and_merges_equal_the_whole(kind):
    X, control, batch = screen()
    whole = ControlWhitener(batch_correction=kind, method="zca").fit(
        X, control=control, batch=batch
    )
    streamed, merged = (ControlWhitener(batch_correction=kind, method="zca") for _ in range(2))
    for rows in np.array_split(np.argsort(batch, kind="stable"), 9):
        piece = {"control": control[rows], "batch": batch[rows]}
        streamed.partial_fit(X[rows], **piece)
        part = ControlWhitener(batch_correction=kind, method="zca").partial_fit(X[rows], **piece)
        merged = merged.merge(part) if hasattr(merged, "n_controls_") else part
    for other in (streamed, merged):
        assert other.batches_ == whole.batches_ == ["p1", "p10", "p2", "p3"]
        np.testing.assert_allclose(
            other.transform(X, batch), whole.transform(X, batch), atol=1e5 * EPS
        )


@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_come_in_any_order_and_company(kind):
    X, control, batch = screen()
    whitener = ControlWhitener(batch_correction=kind).fit(X, control=control, batch=batch)
    Z = whitener.transform(X, batch)
    order = np.random.default_rng(0).permutation(len(X))[:100]
    np.testing.assert_allclose(whitener.transform(X[order], batch[order]), Z[order], atol=1e-12)
    np.testing.assert_allclose(whitener.transform(X[7:8], batch[7:8]), Z[7:8], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_few_controls_per_batch_and_constant_columns_do_not_blow_up(kind):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(40, 6)), np.full(40, 1e9 / 3)])
    batch = np.repeat(np.arange(20), 2)
    for shrinkage in (None, 0.2):
        whitener = ControlWhitener(batch_correction=kind, shrinkage=shrinkage)
        Z = whitener.fit_transform(X, batch=batch)
        assert np.isfinite(Z).all()
        moved = X + np.array([0, 0, 0, 0, 0, 0, 1.0])
        limit = 1e-9 if shrinkage is None else 10.0
        assert np.abs(whitener.transform(moved, batch) - Z).max() <= limit


def test_coordinate_in_which_a_batch_does_not_vary_keeps_the_global_scale():
    rng = np.random.default_rng(0)
    X = np.diag([3.0, 1.0]) @ rng.normal(size=(2, 100))
    X, batch = X.T, np.repeat([1, 2], 50)
    X[:50] = X[0]  # all controls of batch 1 agree
    whitener = ControlWhitener(eps=0.0, batch_correction="center-scale").fit(X, batch=batch)
    step = np.array([[0.3, -0.2]])
    before, after = whitener.transform(np.vstack([X[:1], X[:1] + step]), [1, 1])
    expected = step @ whitener.components_.T / np.sqrt(whitener.explained_variance_)
    np.testing.assert_allclose(before, 0.0, atol=1e-12)
    np.testing.assert_allclose(after - before, expected[0], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_cannot_be_used_are_named(kind):
    X, control, batch = screen()
    whitener = ControlWhitener(batch_correction=kind).fit(X, control=control, batch=batch)
    unknown = batch.copy()
    unknown[3] = "p9"
    with pytest.raises(InputError, match="not seen in fit: 'p9'"):
        whitener.transform(X, unknown)
    with pytest.raises(InputError, match="not seen in fit: 1"):
        whitener.inverse_transform(X[:2], [1, 1])
    with pytest.raises(InputError, match=f"batch_correction='{kind}' needs batch="):
        whitener.transform(X)
    with pytest.raises(InputError, match=r"shape \(600,\), got \(599,\)"):
        whitener.transform(X, batch[1:])
    for missing in (None, np.nan, float("nan")):
        labels = batch.astype(object)
        labels[5] = missing
        with pytest.raises(InputError, match="no label in row 5"):
            whitener.transform(X, labels)
        with pytest.raises(InputError, match="no label in row 5"):
            whitener.fit(X, control=control, batch=labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0, 1])
def test_batches_without_enough_controls_are_named(kind, kept):
    X, control, batch = screen()
    poor = np.flatnonzero((batch == "p10") & control)
    control[poor[kept:]] = False
    whitener = ControlWhitener(batch_correction=kind)
    with pytest.raises(InputError, match=f"at least 2 controls .* batch 'p10' has {kept}"):
        whitener.fit(X, control=control, batch=batch)
    # A stream may still bring them: only using that batch is an error.
    whitener.partial_fit(X, control=control, batch=batch)
    rows = batch == "p2"
    assert np.isfinite(whitener.transform(X[rows], batch[rows])).all()
    with pytest.raises(InputError, match=f"batch 'p10' has {kept}"):
        whitener.transform(X, batch)
    whitener.partial_fit(X[poor], batch=batch[poor])
    assert "p10" in whitener.batches_
    assert np.isfinite(whitener.transform(X, batch)).all()


def test_statistics_with_and_without_batches_do_not_mix():
    X, _, batch = screen()
    plain = ControlWhitener().partial_fit(X)
    apart = ControlWhitener(batch_correction="coral").partial_fit(X, batch=batch)
    with pytest.raises(InputError, match="with and without a batch_correction"):
        plain.merge(apart)
    with pytest.raises(InputError, match="was set after fitting began"):
        plain.set_params(batch_correction="coral").transform(X, batch)
    with pytest.raises(AttributeError, match="only with a batch_correction"):
        _ = ControlWhitener().fit(X).batches_
    assert not hasattr(ControlWhitener().fit(X), "batches_")


def test_without_correction_labels_are_ignored():
    X, control, batch = screen()
    whitener = ControlWhitener().fit(X, control=control, batch=batch)
    np.testing.assert_array_equal(whitener.transform(X, ["nowhere"] * 600), whitener.transform(X))


@pytest.mark.parametrize(
    ("batch", "labels", "codes"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        (np.array([10, 2, 10], np.uint8), [2, 10], [1, 0, 1]),
        ([2.0, 1.0, 2.0], [1, 2], [1, 0, 1]),
        (np.array([2, "2", 1], object), [1, 2, "2"], [1, 2, 0]),
        (np.array([2, 2.0, np.int64(2)], object), [2], [0, 0, 0]),
        (np.array(["x", np.str_("x"), "y"], object), ["x", "y"], [0, 0, 1]),
    ],
)
def test_labels_are_strings_or_integers(batch, labels, codes):
    found, places = encode_labels(batch, 3)
    assert found == labels
    assert [type(label) for label in found] == [type(label) for label in labels]
    assert places.tolist() == codes


def test_labels_from_pandas():
    pandas = pytest.importorskip("pandas")
    for column in (
        pandas.Series(["b", "a", "b"], dtype="category"),
        pandas.Series(["b", "a", "b"], dtype="string"),
        pandas.Series(["b", "a", "b"]),
    ):
        found, places = encode_labels(column, 3)
        assert (found, places.tolist()) == (["a", "b"], [1, 0, 1])
    for missing in (
        pandas.Series([1, 2, None], dtype="Int64"),
        pandas.Series([1, 2, None]),
        pandas.Series(["a", "b", None], dtype="category"),
        pandas.Series(["a", "b", pandas.NA], dtype="string"),
        pandas.Series([pandas.Timestamp(0), pandas.Timestamp(1), pandas.NaT], dtype=object)[
            [2, 2, 2]
        ],
    ):
        with pytest.raises(InputError, match="no label in row"):
            encode_labels(missing, 3)


@pytest.mark.parametrize(
    "batch", [[0.5, 1.0], [True, False], [b"a", b"b"], [["a"], {"b": 1}], [1j, 2]]
)
def test_other_labels_are_refused(batch):
    array = np.empty(2, object)
    array[:] = batch
    with pytest.raises(InputTypeError, match="batch labels must be strings or integers"):
        encode_labels(array, 2)
