"""Recovery of a known dictionary against dense loops, scikit-learn and cases worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from icfl.datasets import make_planted
from icfl.exceptions import InputError
from icfl.metrics import _true_codes, explained_variance, match_atoms, recovery

EPS = np.finfo(np.float64).eps
SCORES = ("precision", "recall", "f1", "auroc", "best_f1", "shrinkage")


def draw(seed, n=60, n_latents=5, n_true=4, d=6, signed=False):
    """Codes with ties, silent latents and features, and latents that follow features."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 4, (n, n_true)) * (rng.random((n, n_true)) < 0.3)
    Z = rng.integers(1, 5, (n, n_latents)) * (rng.random((n, n_latents)) < 0.2)
    for m in range(min(n_latents, n_true)):
        follows = rng.random(n) < 0.7
        Z[follows, m] = truth[follows, m] * 2
    Z, truth = Z * 0.5, truth * 0.25
    if seed % 3 == 0:
        Z[:, 0] = 0
    if seed % 4 == 0:
        truth[:, -1] = 0
    if seed % 5 == 0:
        truth[:, 0] = 1
    if signed:
        Z *= rng.choice([-1, 1], Z.shape)
    return Z, rng.normal(size=(n_latents, d)), truth, rng.normal(size=(n_true, d))


def dense_scores(z, t, learnt_norm, true_norm):
    """Scores of one pair, by scikit-learn and by trying every threshold."""
    active, there = z > 0, t > 0
    both = active & there
    shrinkage = np.nan
    if both.any():
        shrinkage = (z[both].sum() * learnt_norm) / (t[both].sum() * true_norm)
    if not there.any():
        return dict.fromkeys(SCORES, np.nan)
    thresholds = np.unique(z[active])
    return {
        "precision": precision_score(there, active, zero_division=0),
        "recall": recall_score(there, active),
        "f1": f1_score(there, active),
        "auroc": np.nan if there.all() else roc_auc_score(there, z),
        "best_f1": max([f1_score(there, z >= c) for c in thresholds], default=0.0),
        "shrinkage": shrinkage,
    }


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    match=st.sampled_from(["cosine", "activation", "nearest"]),
    sizes=st.sampled_from([(5, 4), (3, 7), (4, 4), (1, 3), (3, 1)]),
    sign=st.sampled_from(["signed", "absolute"]),
    as_sparse=st.booleans(),
)
def test_scores_are_those_of_dense_definitions(seed, match, sizes, sign, as_sparse):
    Z, A, T, B = draw(seed, n_latents=sizes[0], n_true=sizes[1], signed=True)
    wrap = sparse.csr_matrix if as_sparse else np.asarray
    found = recovery(wrap(Z), A, wrap(T), B, match=match, sign=sign)
    codes = np.abs(Z) if sign == "absolute" else np.maximum(Z, 0)
    cosines = (A / np.linalg.norm(A, axis=1, keepdims=True)) @ (
        B / np.linalg.norm(B, axis=1, keepdims=True)
    ).T
    if sign == "absolute":
        cosines = np.abs(cosines)
    np.testing.assert_allclose(found.cosine, cosines[found.latents, found.features], atol=20 * EPS)
    for p, (m, f) in enumerate(zip(found.latents, found.features, strict=True)):
        norms = np.linalg.norm(A[m]), np.linalg.norm(B[f])
        expected = dense_scores(codes[:, m], T[:, f], *norms)
        for name in SCORES:
            # Counts are exact; a handful of roundings in quotients and sums of 60.
            np.testing.assert_allclose(
                getattr(found, name)[p], expected[name], rtol=100 * EPS, err_msg=name
            )
        if found.best_f1[p] > 0:
            at = codes[:, m] >= found.best_threshold[p]
            assert f1_score(T[:, f] > 0, at) == pytest.approx(found.best_f1[p], rel=10 * EPS)
    np.testing.assert_array_equal(found.density, (codes > 0).mean(axis=0))
    np.testing.assert_array_equal(found.frequency, (T > 0).mean(axis=0))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.sampled_from([(4, 3), (3, 4), (4, 4), (1, 3), (3, 1)]))
def test_pairs_by_activation_have_the_largest_total_f1(seed, sizes):
    Z, A, T, B = draw(seed, n=25, n_latents=sizes[0], n_true=sizes[1])
    found = recovery(Z, A, T, B, match="activation")
    f1 = np.array([[f1_score(t > 0, z > 0, zero_division=0) for t in T.T] for z in Z.T])
    few = f1 if sizes[0] <= sizes[1] else f1.T
    choices = itertools.permutations(range(few.shape[1]), len(few))
    best = max(few[range(len(few)), chosen].sum() for chosen in choices)
    assert np.nansum(found.f1) == pytest.approx(best, rel=20 * EPS)
    assert (np.diff(found.features) > 0).all()
    assert len(np.unique(found.latents)) == len(found.latents)
    assert (found.f1 > 0).all()


def test_pairs_by_cosine_are_those_of_match_atoms_and_nearest_is_the_largest_cosine():
    for sizes in ((7, 4), (4, 7)):
        Z, A, T, B = draw(1, n_latents=sizes[0], n_true=sizes[1])
        indices, cosines = match_atoms(A, B)
        found = recovery(Z, A, T, B)
        np.testing.assert_array_equal(found.features, np.flatnonzero(indices >= 0))
        np.testing.assert_array_equal(found.latents, indices[indices >= 0])
        np.testing.assert_allclose(found.cosine, cosines[indices >= 0], atol=20 * EPS)
        assert found.mean("cosine", over="features") == pytest.approx(cosines.mean())
        nearest = recovery(Z, A, T, B, match="nearest")
        np.testing.assert_array_equal(nearest.latents, np.arange(sizes[0]))
        unit = B / np.linalg.norm(B, axis=1, keepdims=True)
        np.testing.assert_array_equal(nearest.features, (A @ unit.T).argmax(axis=1))
        assert nearest.uniqueness == len(set(nearest.features.tolist())) / sizes[0]


def test_results_do_not_depend_on_blocks(monkeypatch):
    planted = make_planted(3000, 12, 40, n_active=4, random_state=0)
    noisy = planted.codes.copy()
    noisy.data *= np.random.default_rng(0).random(noisy.nnz) > 0.3
    whole = {
        match: recovery(noisy, planted.components, planted.codes, planted.components, match=match)
        for match in ("cosine", "activation", "nearest")
    }
    monkeypatch.setattr(_true_codes, "_BLOCK_ENTRIES", 500)
    monkeypatch.setattr(_true_codes, "_COUNT_ROWS", 100)
    for match, expected in whole.items():
        found = recovery(noisy, planted.components, planted.codes, planted.components, match=match)
        for name in (*SCORES, "latents", "features", "best_threshold"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("match", ["cosine", "activation", "nearest"])
def test_the_truth_recovers_itself(match):
    planted = make_planted(4000, 32, 60, n_active=5, noise=0.01, random_state=0)
    order = np.random.default_rng(0).permutation(60)
    scale = 2.0 ** np.arange(60)[:, None] / 2.0**30
    codes = planted.codes[:, order].astype(np.float64) @ sparse.diags_array(1 / scale[:, 0])
    found = recovery(
        codes, planted.components[order].astype(np.float64) * scale, planted.codes,
        planted.components, match=match, X=planted.X,
    )  # fmt: skip
    np.testing.assert_array_equal(order[found.latents], found.features)
    for name in ("precision", "recall", "f1", "best_f1", "auroc"):
        np.testing.assert_array_equal(getattr(found, name), 1.0)
    # Sums of up to 4,000 float32 codes, whose roundings are of float64 and cancel or not.
    np.testing.assert_allclose(found.shrinkage, 1.0, rtol=4000 * EPS)
    for name, value in found.summary().items():
        if name not in ("explained_variance", "dead", "duplicates"):
            assert value == pytest.approx(1.0, abs=1e-6), name
    exact = planted.codes.astype(np.float64) @ planted.components.astype(np.float64)
    assert found.explained_variance == pytest.approx(explained_variance(planted.X, exact))
    assert (found.dead, found.duplicates) == (0.0, 0.0)


def test_means_by_hand():
    Z = np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]])
    T = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    found = recovery(Z, np.eye(4)[[0, 1, 3]], T, np.eye(4))
    # Latent 0: TP 1 of n_m 2, n_f 3. Latent 1 fires without feature 1. Latent 2 is dead, and
    # feature 3, its own, never fires; feature 2 has no latent and never fires either.
    assert found.latents.tolist() == [0, 1, 2]
    assert found.features.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(found.precision, [0.5, 0.0, np.nan])
    np.testing.assert_allclose(found.recall, [1 / 3, 0.0, np.nan])
    np.testing.assert_allclose(found.f1, [0.4, 0.0, np.nan])
    assert found.mean("f1") == pytest.approx(0.2)
    assert found.mean("f1", weighted=True) == pytest.approx((3 * 0.4 + 1 * 0.0) / 4)
    assert found.mean("f1", over="features") == pytest.approx(0.2)
    assert found.mean("f1", over="latents") == pytest.approx(0.2)
    assert found.mean("cosine", over="features") == pytest.approx(3 / 4)
    assert found.mean("cosine", over="features", weighted=True) == pytest.approx(1.0)
    assert found.dead == pytest.approx(1 / 3)
    assert np.isnan(found.explained_variance)
    assert "3 pairs of 3 latents with 4 features" in repr(found)


def test_latents_and_features_without_a_partner_count_as_zero():
    T = np.eye(3)
    found = recovery(T[:, :1], np.eye(3)[:1], T, np.eye(3))
    assert found.mean("f1") == 1.0
    assert found.mean("f1", over="features") == pytest.approx(1 / 3)
    assert found.mean("f1", over="latents") == 1.0
    found = recovery(np.hstack([T, T]), np.vstack([np.eye(3)] * 2), T, np.eye(3))
    assert found.mean("f1", over="latents") == pytest.approx(1 / 2)
    assert found.duplicates == pytest.approx(1 / 2)
    nearest = recovery(np.hstack([T, T]), np.vstack([np.eye(3)] * 2), T, np.eye(3), match="nearest")
    assert nearest.mean("f1") == 1.0
    assert nearest.uniqueness == pytest.approx(1 / 2)


def test_repeated_and_zero_entries_are_understood_and_left_alone():
    Z = sparse.csr_array(([1.0, 2.0, 0.0, -1.0, 1.0], [1, 1, 0, 2, 2], [0, 3, 5]), shape=(2, 3))
    before = Z.copy()
    found = recovery(Z, np.eye(3), [[0, 1, 0], [0, 0, 1.0]], np.eye(3))
    assert found.density.tolist() == [0.0, 0.5, 0.0]
    np.testing.assert_array_equal(Z.data, before.data)
    np.testing.assert_array_equal(Z.indices, before.indices)


def test_nothing_in_common():
    found = recovery(np.zeros((3, 2)), np.eye(2), np.zeros((3, 2)), np.eye(2), match="activation")
    assert len(found.latents) == 0
    assert np.isnan(found.mean("f1"))
    found = recovery(np.zeros((3, 2)), np.eye(2), np.zeros((3, 2)), np.eye(2))
    assert np.isnan(found.f1).all()
    assert found.mean("cosine") == 1.0


def test_as_frame():
    pytest.importorskip("pandas")
    Z, A, T, B = draw(1)
    frame = recovery(Z, A, T, B).to_frame()
    assert len(frame) == 4
    assert {"feature", "latent", "cosine", "f1", "best_threshold", "density"} <= set(frame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"match": "best"}, "match"),
        ({"sign": "both"}, "sign"),
        ({"duplicate_limit": 1.0}, "duplicate_limit"),
        ({"Z": np.ones((3, 2))}, "same number of rows, got 3 and 2"),
        ({"Z": np.ones((2, 3))}, "Z must have a column for each of 2 atoms, got 3"),
        ({"Z_true": np.ones((2, 3))}, "Z_true must have a column for each of 2"),
        ({"components_true": np.ones((2, 3))}, "same n_features, got 2 and 3"),
        ({"Z": np.full((2, 2), np.nan)}, "Z must be finite"),
        ({"Z_true": sparse.csr_array(np.full((2, 2), np.inf))}, "Z_true must be finite"),
        ({"components": np.full((2, 2), np.nan)}, "finite"),
        ({"Z": sparse.csr_array((0, 2))}, "at least one row"),
        ({"X": np.ones((2, 3))}, r"X must have shape \(2, 2\)"),
        ({"X": np.ones((2, 2)), "bias": np.ones(3)}, r"bias must have shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    given = {"Z": np.eye(2), "components": np.eye(2), "Z_true": np.eye(2)}
    given |= {"components_true": np.eye(2)} | options
    first = [given.pop(name) for name in ("Z", "components", "Z_true", "components_true")]
    with pytest.raises(InputError, match=message):
        recovery(*first, **given)


def test_means_that_cannot_be_had_are_refused():
    found = recovery(np.eye(2), np.eye(2), np.eye(2), np.eye(2), match="nearest")
    with pytest.raises(InputError, match="one to one"):
        found.mean("f1", over="features")
    with pytest.raises(InputError, match="score"):
        found.mean("accuracy")
    with pytest.raises(InputError, match="over"):
        found.mean("f1", over="samples")
