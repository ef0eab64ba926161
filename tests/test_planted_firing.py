"""Planted features drawn sparsely: what fires, how often and together, and how strongly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icfl.datasets import Trees, make_planted
from icfl.exceptions import InputError
from icfl.metrics import density
from planted_samples import TREES, N, assert_binomial, sparse_planted

OPTIONS = [
    {},
    {"zipf_exponent": 1.0, "max_frequency": 0.9},
    {"correlation": 0.5},
    {"correlation": 0.9, "n_factors": 2},
    {"hierarchy": 0.4},
    {"hierarchy": 0.4, "correlation": 0.5},
    {"hierarchy": TREES},
    {"hierarchy": Trees(5, branching=3, depth=2, exclusive=False), "correlation": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_features_fire_as_often_as_stated(options):
    planted = sparse_planted(**options)
    # Each of 200 additions rounds once; the thresholds of contexts are solved to 1e-13.
    assert planted.frequency.sum() == pytest.approx(8, rel=1e-12)
    assert_binomial(density(planted.codes), planted.frequency, N)
    given_context = planted.model.firing.given_context
    roots = planted.frequency[planted.parents < 0]
    np.testing.assert_allclose(given_context.mean(axis=0), roots, rtol=1e-12)
    assert planted.codes.has_canonical_format
    assert (planted.codes.data > 0).all()


def test_without_options_features_fire_independently():
    planted = sparse_planted(n_components=64)
    active = (planted.codes[:, :12] != 0).toarray().astype(np.float64)
    p = planted.frequency[:12]
    upper = np.triu_indices(12, k=1)
    assert_binomial((active.T @ active / N)[upper], np.outer(p, p)[upper], N)
    # And samples are independent too: what fires on one says nothing of the next.
    following = active[:-1].T @ active[1:] / (N - 1)
    assert_binomial(following.ravel(), np.outer(p, p).ravel(), N - 1)


def test_correlated_features_cofire_as_the_contexts_say():
    planted = sparse_planted(n_components=64, correlation=0.9, n_factors=4)
    firing, p = planted.model.firing, planted.frequency
    given_context = firing.given_context
    together = given_context.T @ given_context / len(given_context)
    active = (planted.codes != 0).toarray().astype(np.float64)
    upper = tuple(np.array(np.triu_indices(12, k=1)))
    assert_binomial((active.T @ active / N)[upper], together[upper], N)
    # Their sign is that of the latent correlation, where that is not too small for 256 contexts.
    latent = (firing.loadings @ firing.loadings.T)[upper]
    lift = (together / np.outer(p, p))[upper] - 1
    strong = np.abs(latent) > 0.3
    assert (latent[strong] > 0).any()
    assert (latent[strong] < 0).any()
    np.testing.assert_array_equal(np.sign(lift[strong]), np.sign(latent[strong]))
    assert np.corrcoef(latent, lift)[0, 1] > 0.8


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_children_fire_only_with_their_parents(exclusive, correlation):
    trees = Trees(6, branching=4, depth=2, exclusive=exclusive, largest_share=0.9)
    planted = sparse_planted(hierarchy=trees, correlation=correlation)
    parents, p = planted.parents, planted.frequency
    children = np.flatnonzero(parents >= 0)
    assert len(children) == trees.n_components - 6 == 6 * (4 + 16)
    active = (planted.codes != 0).toarray()
    assert not (active[:, children] & ~active[:, parents[children]]).any()
    n_parent = active[:, parents[children]].sum(axis=0)
    assert_binomial(
        active[:, children].sum(axis=0) / n_parent, p[children] / p[parents[children]], n_parent
    )
    siblings = np.flatnonzero(parents == 0)
    number = active[:, siblings].sum(axis=1)
    if exclusive:
        assert number.max() == 1
        for parent in np.unique(parents[children]):
            assert active[:, parents == parent].sum(axis=1).max() == 1
            assert p[parents == parent].sum() <= 0.9 * p[parent] * (1 + 1e-12)
    else:
        own = p[siblings] / p[0]
        pairs = active[:, siblings[0]] & active[:, siblings[1]]
        assert_binomial(pairs[active[:, 0]].mean(), own[0] * own[1], active[:, 0].sum())


@settings(max_examples=40, deadline=None)
@given(
    n_trees=st.integers(1, 5),
    branching=st.integers(1, 4),
    depth=st.integers(1, 3),
    exclusive=st.booleans(),
    share=st.floats(0.05, 0.99),
    seed=st.integers(0, 1000),
)
def test_trees_give_children_the_law_or_what_the_parent_leaves(
    n_trees, branching, depth, exclusive, share, seed
):
    trees = Trees(n_trees, branching, depth, exclusive, share)
    n = trees.n_components + 7
    law = -np.sort(-np.random.default_rng(seed).uniform(0.001, 0.5, n))
    parents, frequency = trees.parents(n), trees.frequencies(law)
    np.testing.assert_array_equal(frequency[parents < 0], law[parents < 0])
    level = np.zeros(n, dtype=int)
    for child in np.flatnonzero(parents >= 0):
        level[child] = level[parents[child]] + 1
    for lower in range(1, depth + 1):
        assert np.count_nonzero(level == lower) == n_trees * branching**lower
    for parent in np.unique(parents[parents >= 0]):
        children = np.flatnonzero(parents == parent)
        assert len(children) == branching
        room = share * frequency[parent]
        if exclusive:
            expected = law[children] * min(1.0, room / law[children].sum())
        else:
            expected = np.minimum(law[children], room)
        np.testing.assert_allclose(frequency[children], expected, rtol=1e-12)


@pytest.mark.parametrize("sampler", ["dense", "sparse"])
def test_every_feature_has_its_own_values(sampler):
    mean, sd = np.linspace(3, 1, 40), np.linspace(0, 0.2, 40)
    planted = make_planted(
        20_000, 8, 40, n_active=8, coefficient_mean=mean, coefficient_sd=sd, sampler=sampler,
        random_state=0,
    )  # fmt: skip
    codes = planted.codes.tocsc()
    for j in range(40):
        values = codes.data[codes.indptr[j] : codes.indptr[j + 1]].astype(np.float64)
        # float32 rounds each value by up to 6e-8 of itself.
        allowed = 5 * sd[j] / np.sqrt(len(values)) + 1e-7 * mean[j]
        assert abs(values.mean() - mean[j]) < allowed
        # The sd of an estimated sd is sd / sqrt(2 n).
        assert abs(values.std() - sd[j]) < 5 * sd[j] / np.sqrt(2 * len(values)) + 1e-6


def test_children_in_proportion_to_their_parents():
    trees = Trees(3, branching=2, depth=3, scale_by_parent=True)
    mean = np.linspace(2.0, 1.0, 60)
    sd = np.where(trees.parents(60) >= 0, 0.0, 0.3)  # all that varies is inherited
    planted = sparse_planted(
        5000, 60, hierarchy=trees, coefficient_mean=mean, coefficient_sd=sd, n_active=6
    )
    values = planted.codes.toarray().astype(np.float64) / mean
    for child in np.flatnonzero(planted.parents >= 0):
        rows = np.flatnonzero(values[:, child])
        # Three roundings on the way of either.
        np.testing.assert_allclose(
            values[rows, child], values[rows, planted.parents[child]], rtol=8 * 2.0**-24
        )
    assert values[values > 0].std() > 0.1


def test_samples_are_codes_times_atoms_plus_noise():
    planted = sparse_planted(4000, 64, noise=0.0)
    exact = planted.codes.astype(np.float64) @ planted.components.astype(np.float64)
    # About 8 float32 products and additions of numbers of size 1.
    np.testing.assert_allclose(planted.X, exact, atol=64 * 2.0**-24)
    noisy = sparse_planted(4000, 64, noise=0.5)
    noise = noisy.X - noisy.codes @ noisy.components
    assert np.mean(noise.astype(np.float64) ** 2) == pytest.approx(0.25, rel=5 * np.sqrt(2 / 32000))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hierarchy": TREES, "sampler": "dense"}, "needs sampler='sparse'"),
        ({"sampler": "fast"}, "sampler"),
        ({"hierarchy": Trees(0)}, "n_trees"),
        ({"hierarchy": Trees(1, depth=0)}, "depth"),
        ({"hierarchy": Trees(1, largest_share=1.0)}, "largest_share"),
        ({"hierarchy": Trees(10)}, "hierarchy takes 850 features"),
        ({"hierarchy": TREES, "n_active": 60}, "n_active must be at most"),
        ({"n_factors": 0, "correlation": 0.5}, "n_factors"),
        ({"coefficient_mean": np.ones(3)}, "coefficient_mean must have shape"),
        ({"coefficient_mean": np.zeros(100)}, "coefficient_mean must be finite and above 0"),
        ({"coefficient_sd": np.full(100, np.nan)}, "coefficient_sd must be finite"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        make_planted(
            10, 8, 100, **{"sampler": "sparse", "n_active": 5, "random_state": 0} | options
        )
