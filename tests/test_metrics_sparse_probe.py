"""Sparse probes against dense scikit-learn pipelines, and what must not leak into the choice."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from icfl.exceptions import InputError
from icfl.metrics import compare_probes, sparse_probe
from icfl.metrics._few_features import _auroc
from icfl.metrics._ranking import best_features

EPS = np.finfo(np.float64).eps


def codes(n=300, width=30, n_labels=3, n_groups=5, seed=0):
    """Sparse codes in which features 0, 1, 2 fire more for the label of that number."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_labels, n)
    active = rng.random((n, width)) < 0.2
    active[np.arange(n), y] |= rng.random(n) < 0.7
    Z = np.where(active, rng.gamma(2.0, size=(n, width)), 0.0)
    return sparse.csr_array(Z), y, rng.permutation(np.arange(n) % n_groups)


def chosen_by_definition(Z, positive, k, ranking):
    one, rest = Z[positive], Z[~positive]
    apart = np.abs(one.mean(axis=0) - rest.mean(axis=0))
    if ranking == "standardized":
        squares = ((one - one.mean(axis=0)) ** 2).sum(axis=0)
        squares = squares + ((rest - rest.mean(axis=0)) ** 2).sum(axis=0)
        apart = apart / np.sqrt(squares / len(Z))
    return np.argsort(-apart, kind="stable")[:k]


@pytest.mark.parametrize("ranking", ["standardized", "difference"])
@pytest.mark.parametrize("stored", ["csr", "dense"])
def test_scores_are_those_of_a_plain_pipeline(ranking, stored):
    sparse_codes, y, groups = codes()
    Z = sparse_codes.toarray()
    result = sparse_probe(
        sparse_codes if stored == "csr" else Z,
        y, n_features=(1, 3, 8), groups=groups, ranking=ranking, tol=1e-10,
    )  # fmt: skip
    for fold, (train, test) in enumerate(LeaveOneGroupOut().split(Z, y, groups)):
        for label in range(3):
            best = chosen_by_definition(Z[train], y[train] == label, 8, ranking)
            np.testing.assert_array_equal(result.features[label, fold], best)
            for i, k in enumerate((1, 3, 8)):
                logistic = LogisticRegression(
                    C=0.1, class_weight="balanced", solver="newton-cg", tol=1e-10, max_iter=1000
                )
                model = make_pipeline(StandardScaler(), logistic)
                model.fit(Z[train][:, best[:k]], y[train] == label)
                decision = model.decision_function(Z[test][:, best[:k]])
                # Both optima are good to 1e-9 or so: what is apart by more, and not the same row,
                # has the same order in both.
                levels = np.unique(decision.round(12))
                assert (np.diff(levels) > 1e-8).all()
                truth = y[test] == label
                auroc = roc_auc_score(truth, decision.round(12))
                # Sums of at most 60 shares.
                assert result.auroc[label, i, fold] == pytest.approx(auroc, abs=60 * EPS)
                accuracy = balanced_accuracy_score(truth, decision > 0)
                assert np.abs(decision).min() > 1e-8
                assert result.balanced_accuracy[label, i, fold] == pytest.approx(
                    accuracy, abs=4 * EPS
                )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dense=st.booleans(), blocks=st.sampled_from([1, 7, 1 << 20]))
def test_ranking_is_the_definition(seed, dense, blocks):
    rng = np.random.default_rng(seed)
    n, width, n_labels = (
        int(rng.integers(10, 80)),
        int(rng.integers(1, 12)),
        int(rng.integers(2, 4)),
    )
    Z = np.where(rng.random((n, width)) < 0.5, rng.normal(size=(n, width)), 0.0)
    y = rng.permutation(np.arange(n) % n_labels)
    train = np.sort(rng.permutation(n)[: int(rng.integers(8, n + 1))])
    assume(len(set(y[train].tolist())) == n_labels)
    for ranking in ("standardized", "difference"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("icfl.metrics._ranking._BLOCK_NONZEROS", blocks)
            found = best_features(
                Z if dense else sparse.csr_array(Z), y, train, n_labels, width, ranking
            )
        for label in range(n_labels):
            one = (y == label)[train]
            with np.errstate(invalid="ignore", divide="ignore"):
                expected = chosen_by_definition(Z[train], one, width, ranking)
            constant = Z[train].std(axis=0) == 0
            keep = ~np.isin(found[label], np.flatnonzero(constant))
            theirs = expected[~np.isin(expected, np.flatnonzero(constant))]
            np.testing.assert_array_equal(found[label][keep], theirs)
            # What never changes says nothing: it comes last.
            assert keep[: keep.sum()].all()


def test_standardized_is_the_order_of_the_f_statistic_in_any_units_and_place():
    rng = np.random.default_rng(1)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 20)) + y[:, None] * rng.normal(size=20)
    expected = np.argsort(-f_classif(X, y)[0])
    everything = np.arange(200)
    for shown in (X, X * np.geomspace(1e-6, 1e6, 20), X + 1e6, -X):
        found = best_features(shown, y, everything, 2, 20, "standardized")
        np.testing.assert_array_equal(found[0], expected)
        np.testing.assert_array_equal(found[1], expected)
    # By differences alone the units decide.
    units = np.geomspace(1, 1e9, 20)
    apart = np.abs(X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0)) * units
    found = best_features(X * units, y, everything, 2, 20, "difference")
    np.testing.assert_array_equal(found[0], np.argsort(-apart))


def test_constant_features_are_never_preferred():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    Z = np.hstack([np.full((90, 1), 0.1), np.zeros((90, 1)), rng.normal(size=(90, 1)) + 0.01])
    for ranking in ("standardized", "difference"):
        for stored in (Z, sparse.csr_array(Z), Z + 1e5):
            best = best_features(stored, y, np.arange(90), 3, 3, ranking)
            assert best[:, 0].tolist() == [2, 2, 2]
    perfect = np.hstack([Z, (y == 1)[:, None] * 2.0])
    assert best_features(perfect, y, np.arange(90), 3, 3, "standardized")[1, 0] == 3


def test_held_out_labels_turn_the_score_and_nothing_else():
    Z, y, groups = codes(n_labels=2)
    before = sparse_probe(Z, y, groups=groups)
    for fold in range(5):
        turned = np.where(groups == fold, 1 - y, y)
        after = sparse_probe(Z, turned, groups=groups)
        np.testing.assert_array_equal(after.features[:, fold], before.features[:, fold])
        # The same decisions for the same rows, with the classes exchanged: 1 - AUROC but for the
        # rounding of one division.
        np.testing.assert_allclose(
            after.auroc[:, :, fold], 1 - before.auroc[:, :, fold], rtol=0, atol=2 * EPS
        )
        np.testing.assert_allclose(
            after.balanced_accuracy[:, :, fold],
            1 - before.balanced_accuracy[:, :, fold],
            rtol=0, atol=2 * EPS,
        )  # fmt: skip
        others = np.arange(5) != fold
        assert (after.auroc[:, :, others] != before.auroc[:, :, others]).any()


def test_held_out_codes_change_neither_choice_nor_scales():
    Z, y, groups = codes()
    before = sparse_probe(Z, y, groups=groups)
    rows = np.where((groups == 2) & (np.arange(300) % 2 == 0), 1e3, 1.0)
    after = sparse_probe(sparse.csr_array(Z.multiply(rows[:, None])), y, groups=groups)
    np.testing.assert_array_equal(after.features[:, 2], before.features[:, 2])
    assert (after.features[:, [0, 1, 3, 4]] != before.features[:, [0, 1, 3, 4]]).any()


def test_the_planted_feature_is_the_best_one():
    Z, y, groups = codes(n=1500)
    result = sparse_probe(Z, y, groups=groups)
    np.testing.assert_array_equal(result.features[:, :, 0], np.arange(3)[:, None].repeat(5, axis=1))
    # Active on 0.7 + 0.3 * 0.2 of the label's rows and 0.2 of the others: at least as good as
    # activity alone, (1 + 0.76 - 0.2) / 2 = 0.78.
    assert (result.by_label()[:, 0] > 0.75).all()
    assert result.mean()[0] < result.mean()[2] + 0.01


def test_noise_is_at_chance():
    Z, y, groups = codes(n=2000)
    shuffled = np.random.default_rng(5).permutation(y)
    result = sparse_probe(Z, shuffled, groups=groups)
    # AUROC of 667 against 1,333 rows: sd sqrt(2001 / (12 * 667 * 1333)) = 0.0137, for the mean of
    # the folds as for all rows; the three labels are not independent. Four of them.
    assert np.abs(result.by_label() - 0.5).max() < 0.055


def test_any_storage_gives_the_same_and_codes_stay_as_they_are():
    Z, y, groups = codes()
    expected = sparse_probe(Z, y, groups=groups)
    entries = sparse.coo_array(Z)
    twice = sparse.csr_array(
        (
            np.repeat(entries.data / 2, 2),
            (np.repeat(entries.row, 2), np.repeat(entries.col, 2)),
        ),
        shape=Z.shape,
    )
    doubled = sparse.csr_array(Z)
    doubled.indptr, doubled.indices = Z.indptr * 2, np.repeat(Z.indices, 2)
    doubled.data = np.repeat(Z.data / 2, 2)
    before = doubled.data.copy()
    zeros = sparse.csr_array(Z.toarray() + 1.0)
    zeros.data -= 1.0  # every zero stored
    for stored in (sparse.csc_array(Z), twice, doubled, zeros):
        result = sparse_probe(stored, y, groups=groups)
        np.testing.assert_array_equal(result.features, expected.features)
        np.testing.assert_array_equal(result.auroc, expected.auroc)
    np.testing.assert_array_equal(doubled.data, before)
    assert doubled.nnz == 2 * Z.nnz


def test_folds_are_those_of_compare_probes():
    Z, y, groups = codes(n_groups=20)
    options = {"groups": groups, "random_state": 4}
    result = sparse_probe(Z, y, n_features=1, **options)
    assert result.groups == compare_probes({"codes": Z}, y, **options).groups
    assert result.auroc.shape == (3, 1, 10)


def test_memory_is_never_that_of_dense_codes():
    n, width = 4_000, 20_000
    Z = sparse.random_array((n, width), density=5e-4, format="csr", rng=np.random.default_rng(0))
    y = np.arange(n) % 2
    tracemalloc.start()
    sparse_probe(Z, y, groups=np.arange(n) // 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < n * width * 8 / 10


def test_labels_that_a_fold_lacks():
    Z, y, groups = codes()
    y[(groups == 0) & (y == 1)] = 0  # not asked there
    y[y == 2] = np.where(groups[y == 2] == 3, 2, 0)  # only there
    with pytest.warns(UserWarning, match=r"\[2\] are missing .* scores 0.5 there") as record:
        result = sparse_probe(Z, y, groups=groups)
    assert record[0].filename == __file__
    assert np.isnan(result.auroc[1, :, 0]).all()
    assert (result.auroc[2, :, 3] == 0.5).all()
    assert (result.balanced_accuracy[2, :, 3] == 0.5).all()
    assert np.isnan(result.auroc[2, :, [0, 1, 2, 4]]).all()
    np.testing.assert_allclose(
        result.by_label(), np.nanmean(result.auroc, axis=2), rtol=0, atol=4 * EPS
    )
    np.testing.assert_allclose(
        result.mean("balanced_accuracy"),
        np.nanmean(np.nanmean(result.balanced_accuracy, axis=2), axis=0),
        rtol=0, atol=4 * EPS,
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_weighted_auroc_is_that_of_the_rows(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    decision = rng.integers(0, 6, n).astype(float)
    counts = rng.integers(0, 5, n).astype(float)
    positive = rng.random(n) < 0.5
    assume(counts[positive].sum() and counts[~positive].sum())
    rows = np.repeat(np.arange(n), counts.astype(int))
    expected = roc_auc_score(positive[rows], decision[rows])
    assert _auroc(decision, positive, counts) == pytest.approx(expected, abs=100 * EPS)


def test_table():
    pytest.importorskip("pandas")
    Z, y, groups = codes()
    names = np.array(["A549", "HeLa", "U2OS"])[y]
    result = sparse_probe(Z, names, n_features=(1, 4), groups=groups)
    table = result.to_frame()
    assert table["label"].tolist() == ["A549", "A549", "HeLa", "HeLa", "U2OS", "U2OS"]
    assert table["n_features"].tolist() == [1, 4] * 3
    np.testing.assert_array_equal(table["auroc"], result.by_label().ravel())
    assert (table["n_folds"] == 5).all()
    assert "k=1: 0." in repr(result)


def test_errors_name_what_is_wrong():
    Z, y, groups = codes()
    with pytest.raises(InputError, match="n_features must be from 1 to the 30"):
        sparse_probe(Z, y, n_features=(1, 31))
    with pytest.raises(InputError, match="n_features"):
        sparse_probe(Z, y, n_features=())
    with pytest.raises(InputError, match="n_features"):
        sparse_probe(Z, y, n_features=0)
    with pytest.raises(InputError, match="Z must be finite"):
        sparse_probe(Z * np.inf, y)
    with pytest.raises(InputError, match="one entry per row"):
        sparse_probe(Z, y[:-1])
    with pytest.raises(InputError, match="nested in groups"):
        sparse_probe(Z, groups, groups=groups)
    for option in ({"C": 0.0}, {"tol": 0.0}, {"ranking": "lasso"}, {"max_iter": 0}):
        with pytest.raises(InputError, match=next(iter(option))):
            sparse_probe(Z, y, **option)
    with pytest.raises(InputError, match="measure"):
        sparse_probe(Z, y, groups=groups).mean("f1")
