"""Absorption and splitting on dictionaries that absorb and split by construction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from icfl.datasets import Trees, make_planted
from icfl.exceptions import InputError
from icfl.metrics import absorption, feature_absorption, feature_splitting

D = 128


@pytest.fixture(scope="module")
def planted():
    trees = Trees(6, branching=3, depth=1)
    return make_planted(
        6000, D, 30, n_active=5, hierarchy=trees, sampler="sparse", noise=0.0,
        components=np.linalg.qr(np.random.default_rng(0).normal(size=(D, 30)))[0].T,
        random_state=0,
    )  # fmt: skip


def absorbing(planted, children, *, silent=True, lean=True):
    """Codes and atoms in which these children stand for their parents too."""
    Z, atoms = planted.codes.toarray().astype(np.float64), planted.components.astype(np.float64)
    for child in children:
        parent = planted.parents[child]
        if silent:
            Z[planted.codes[:, [child]].toarray()[:, 0] > 0, parent] = 0.0
        if lean:
            atoms[child] = (planted.components[parent] + planted.components[child]) / np.sqrt(2)
    return sparse.csr_array(Z), atoms


def measure(planted, Z, atoms, **options):
    return feature_absorption(
        Z, atoms, planted.codes, planted.components, planted.parents, **options
    )


def test_the_true_dictionary_absorbs_nothing(planted):
    found = measure(planted, planted.codes, planted.components)
    assert found.mean == 0.0
    assert found.n_missing == 0
    assert found.features.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(found.children, np.arange(6, 24))
    np.testing.assert_array_equal(found.parents, np.repeat(np.arange(6), 3))
    np.testing.assert_array_equal(found.absorbed, 0.0)
    np.testing.assert_array_equal(found.silent, 0.0)
    # Float32 atoms; the leaning of a true child is over its own cosine, and so exactly nothing.
    np.testing.assert_array_equal(found.leaning, 0.0)
    active = (planted.codes != 0).toarray()
    np.testing.assert_array_equal(found.n_together, active[:, 6:24].sum(axis=0))


def test_children_that_stand_for_their_parents_absorb_them(planted):
    children = np.arange(6, 24)
    found = measure(planted, *absorbing(planted, children))
    np.testing.assert_array_equal(found.rate, 1.0)
    np.testing.assert_array_equal(found.absorbed, 1.0)
    np.testing.assert_array_equal(found.silent, 1.0)
    np.testing.assert_array_equal(found.silent_alone, 0.0)
    np.testing.assert_allclose(found.leaning, np.sqrt(0.5), atol=1e-6)
    assert found.mean == 1.0


def test_as_frame(planted):
    pytest.importorskip("pandas")
    frame = measure(planted, *absorbing(planted, [6])).to_frame()
    assert frame["absorbed"].tolist() == [1.0] + [0.0] * 17
    assert frame["child"].tolist() == list(range(6, 24))


def test_only_those_children_that_absorb_count(planted):
    found = measure(planted, *absorbing(planted, [6, 9]))
    expected = np.zeros(18)
    expected[[0, 3]] = 1.0
    np.testing.assert_array_equal(found.absorbed, expected)
    # Siblings exclude each other, so a parent's rate is the share of that child among them.
    n = found.n_together.reshape(6, 3)
    np.testing.assert_allclose(found.rate[:2], n[:2, 0] / n[:2].sum(axis=1))
    np.testing.assert_array_equal(found.rate[2:], 0.0)


def test_silence_alone_or_leaning_alone_is_no_absorption(planted):
    children = np.arange(6, 24)
    quiet = measure(planted, *absorbing(planted, children, lean=False))
    assert quiet.mean == 0.0
    np.testing.assert_array_equal(quiet.silent, 1.0)
    leaning = measure(planted, *absorbing(planted, children, silent=False))
    assert leaning.mean == 0.0
    np.testing.assert_array_equal(leaning.silent, 0.0)


def test_the_chance_level_decides_what_leans(planted):
    Z, atoms = absorbing(planted, [6])
    limit = np.sqrt(0.5) * np.sqrt(D)  # 8.0 times the chance level
    assert measure(planted, Z, atoms, chance=limit - 0.01).absorbed[0] == 1.0
    assert measure(planted, Z, atoms, chance=limit + 0.01).absorbed[0] == 0.0


def test_features_without_a_latent_are_left_out(planted):
    keep = np.delete(np.arange(30), [0, 9])  # a parent of three, and another one's child
    Z, atoms = absorbing(planted, np.arange(9, 24))
    found = measure(planted, Z[:, keep], atoms[keep])
    assert found.n_missing == 4
    assert found.features.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(found.rate, 1.0)
    # An atom that leans has a cosine of 0.71 with its child.
    strict = measure(planted, Z[:, keep], atoms[keep], min_cosine=0.72)
    assert strict.n_missing == 18
    assert np.isnan(strict.mean)


def dense_absorption(Z, A, T, B, parents, latent, chance):
    """The definition, sample by sample."""
    A, B = (M / np.linalg.norm(M, axis=1, keepdims=True) for M in (A, B))
    children = [c for c in range(len(B)) if parents[c] >= 0]
    edges = [c for c in children if min(latent[c], latent[parents[c]]) >= 0]
    by_edge = np.zeros((len(edges), 3))
    hit, seen = np.zeros(len(B)), np.zeros(len(B))
    alone = np.zeros((len(B), 2))
    for z, t in zip(Z, T, strict=True):
        some, absorbed = set(), set()
        for e, c in enumerate(edges):
            f = parents[c]
            if t[f] > 0 and t[c] > 0:
                silent = z[latent[f]] == 0
                lean = A[latent[c]] @ B[f] > B[c] @ B[f] + chance / np.sqrt(A.shape[1])
                by_edge[e] += 1, silent, silent and lean and z[latent[c]] > 0
                some.add(f)
                if silent and lean and z[latent[c]] > 0:
                    absorbed.add(f)
        seen[list(some)] += 1
        hit[list(absorbed)] += 1
        for f in {parents[c] for c in edges}:
            if t[f] > 0 and not any(t[c] > 0 for c in children if parents[c] == f):
                alone[f] += 1, z[latent[f]] == 0
    features = sorted({parents[c] for c in edges})
    with np.errstate(invalid="ignore"):
        shares = by_edge[:, 1:] / by_edge[:, :1]
        return edges, by_edge[:, 0], shares, (hit / seen)[features], alone[:, 1] / alone[:, 0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.sampled_from([(8, 8), (5, 8), (11, 8)]))
def test_rates_are_those_of_a_loop_over_samples(seed, sizes):
    rng = np.random.default_rng(seed)
    n_latents, n_true = sizes
    T = (rng.random((50, n_true)) < 0.5) * rng.random((50, n_true))
    Z = (rng.random((50, n_latents)) < 0.4) * rng.random((50, n_latents))
    B = rng.normal(size=(n_true, 6))
    A = B[rng.integers(0, n_true, n_latents)] + 0.7 * rng.normal(size=(n_latents, 6))
    parents = np.array([-1, 0, 0, 1, 1, -1, 5, 5])
    monkey = pytest.MonkeyPatch()
    monkey.setattr(absorption, "_BLOCK_ROWS", 7)
    found = feature_absorption(Z, A, T, B, parents, chance=0.5)
    monkey.undo()
    from icfl.metrics import match_atoms

    indices, cosines = match_atoms(A, B)
    latent = np.where(cosines >= 0.5, indices, -1)
    edges, together, shares, rate, alone = dense_absorption(Z, A, T, B, parents, latent, 0.5)
    np.testing.assert_array_equal(found.children, edges)
    np.testing.assert_array_equal(found.n_together, together)
    np.testing.assert_array_equal(found.silent, shares[:, 0])
    np.testing.assert_array_equal(found.absorbed, shares[:, 1])
    np.testing.assert_array_equal(found.rate, rate)
    np.testing.assert_array_equal(found.silent_alone, alone[parents[edges]])
    assert found.n_missing == 6 - len(edges)


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ([-1, -1], "at least one feature"),
        ([-1, 2], "from 0 to 1"),
        ([-2, 0], "from 0 to 1"),
        ([0, 0], "other features"),
        ([-1], r"shape \(2,\)"),
        ([-1.0, 0.0], "integers"),
    ],
)
def test_bad_parents_are_named(parents, message):
    with pytest.raises(InputError, match=message):
        feature_absorption(np.eye(2), np.eye(2), np.eye(2), np.eye(2), parents)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"chance": -1}, "chance"), ({"min_cosine": 2}, "min_cosine"), ({"sign": "no"}, "sign")],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        feature_absorption(np.eye(2), np.eye(2), np.eye(2), np.eye(2), [-1, 0], **options)


# --- splitting --------------------------------------------------------------------------------


def split(planted, Z, atoms, **options):
    return feature_splitting(Z, atoms, planted.codes, planted.components, **options)


def test_the_true_dictionary_splits_nothing(planted):
    found = split(planted, planted.codes, planted.components)
    np.testing.assert_array_equal(found.n_latents, 1)
    np.testing.assert_array_equal(found.coverage, 1.0)
    np.testing.assert_array_equal(found.overlap, 0.0)
    assert (found.split, found.mean) == (0.0, 1.0)


def test_a_feature_divided_among_latents_is_split(planted):
    Z = planted.codes.toarray()
    part = np.random.default_rng(0).integers(0, 3, len(Z))
    thirds = [np.where(part == i, Z[:, 7], 0.0) for i in range(3)]
    codes = np.column_stack([np.delete(Z, 7, axis=1), *thirds])
    atoms = np.vstack([np.delete(planted.components, 7, axis=0), *[planted.components[7:8]] * 3])
    found = split(planted, codes, atoms)
    assert found.n_latents.tolist() == [1] * 7 + [3] + [1] * 22
    assert found.n_candidates[7] == 3
    assert found.coverage[7] == 1.0
    assert found.overlap[7] == 0.0
    assert found.split == pytest.approx(1 / 30)
    assert found.mean == pytest.approx(32 / 30)


def test_copies_that_fire_together_are_no_split(planted):
    codes = sparse.hstack([planted.codes, planted.codes]).tocsr()
    found = split(planted, codes, np.vstack([planted.components] * 2))
    np.testing.assert_array_equal(found.n_latents, 1)
    np.testing.assert_array_equal(found.n_candidates, 2)


def test_missed_features_need_none_and_unseen_ones_are_not_judged(planted):
    Z, truth = planted.codes[:, 1:], planted.codes.toarray()
    truth[:, 5] = 0.0
    found = feature_splitting(Z, planted.components[1:], truth, planted.components)
    assert found.n_latents[0] == 0
    assert found.coverage[0] == 0.0
    assert np.isnan(found.overlap[0])
    assert found.n_latents[5] == -1
    assert np.isnan(found.coverage[5])
    assert found.split == 0.0
    silent = feature_splitting(0 * Z, planted.components[1:], truth, planted.components)
    assert np.isnan(silent.split)
    assert np.isnan(silent.mean)


def test_gain_and_overlap_by_hand():
    truth = np.ones((10, 1))
    Z = np.zeros((10, 3))
    Z[:6, 0], Z[4:9, 1], Z[9, 2] = 1, 1, 1
    atoms = np.ones((3, 1))
    found = feature_splitting(Z, atoms, truth, np.ones((1, 1)), gain=0.2)
    assert (found.n_latents[0], found.coverage[0]) == (2, 0.9)
    assert found.overlap[0] == pytest.approx(2 / 9)
    found = feature_splitting(Z, atoms, truth, np.ones((1, 1)), gain=0.1)
    assert (found.n_latents[0], found.coverage[0]) == (3, 1.0)
    assert feature_splitting(Z, atoms, truth, np.ones((1, 1)), gain=0.7).n_latents[0] == 0


def test_absorbed_parents_are_split_too(planted):
    found = split(planted, *absorbing(planted, np.arange(6, 24)))
    np.testing.assert_array_equal(found.n_latents[:6] > 1, True)
    np.testing.assert_array_equal(found.coverage, 1.0)
    np.testing.assert_array_equal(found.n_latents[6:24], 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"gain": 0}, "gain"), ({"gain": 1.5}, "gain"), ({"min_cosine": -2}, "min_cosine")],
)
def test_bad_options_of_splitting(options, message):
    with pytest.raises(InputError, match=message):
        feature_splitting(np.eye(2), np.eye(2), np.eye(2), np.eye(2), **options)
