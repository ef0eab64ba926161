"""Stability of dictionaries: matchings against the Hungarian method, chance against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from icfl._validation import seeded_generator
from icfl.exceptions import InputError
from icfl.metrics import dictionary_similarity, match_atoms, stability
from icfl.metrics._matching import match_rows
from icfl.metrics.stability import _random_like

EPS = np.finfo(np.float64).eps


def unit(atoms):
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    return np.divide(atoms, norms, out=np.zeros_like(atoms), where=norms > 0)


def random_atoms(rng, n, d):
    return unit(rng.normal(size=(n, d)))


def best_total(few, many, sign):
    cosines = few @ many.T
    cosines = np.abs(cosines) if sign == "absolute" else cosines
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return cosines, cosines[rows, columns].mean()


@st.composite
def two_dictionaries(draw):
    """Unit rows, the second not shorter; some rows repeated, zero, or common to both."""
    n_few = draw(st.integers(1, 25))
    n_many, d = n_few + draw(st.integers(0, 10)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    few, many = random_atoms(rng, n_few, d), random_atoms(rng, n_many, d)
    few[rng.random(n_few) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = few[0]
    few[rng.random(n_few) < draw(st.sampled_from([0.0, 0.3]))] = 0.0
    shared = rng.random(n_few) < draw(st.sampled_from([0.0, 0.5]))
    many[:n_few][shared] = few[shared]
    return few, rng.permutation(many)


@settings(max_examples=150, deadline=None)
@given(
    case=two_dictionaries(),
    sign=st.sampled_from(["signed", "absolute"]),
    n_candidates=st.integers(1, 8),
    max_bytes=st.sampled_from([0, 200, 1 << 20]),
    block=st.sampled_from([1, 40, 1 << 24]),
)
def test_matching_loses_no_more_than_it_says(case, sign, n_candidates, max_bytes, block):
    few, many = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("icfl.metrics._matching._BLOCK_VALUES", block)
        found = match_rows(few, many, sign, max_bytes=max_bytes, n_candidates=n_candidates)
    cosines, best = best_total(few, many, sign)
    # Cosines of 6-vectors are good to 10 eps; means of them are not worse. The sparse assignment
    # adds and takes off 2.
    tolerance = 20 * EPS
    assert len(set(found.indices.tolist())) == len(few)
    matched = cosines[np.arange(len(few)), found.indices]
    np.testing.assert_allclose(found.cosines, matched, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.nearest_few, cosines.max(axis=1), rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.nearest_many, cosines.max(axis=0), rtol=0, atol=tolerance)
    lost = best - found.cosines.mean()
    assert -tolerance <= lost <= found.max_loss + tolerance
    if 8 * cosines.size <= max_bytes or n_candidates >= len(many):
        assert found.max_loss == 0.0


def pair(kind, n, d, rng):
    spread = np.linspace(3.0, 0.1, d) if kind == "few directions" else np.ones(d)
    A, B = unit(rng.normal(size=(n, d)) * spread), unit(rng.normal(size=(n, d)) * spread)
    if kind == "half shared":
        B[: n // 2] = unit(A[: n // 2] + 0.05 * rng.normal(size=(n // 2, d)))
        B = rng.permutation(B)
    return A, B


@pytest.mark.parametrize("kind", ["random", "half shared", "few directions"])
def test_candidates_lose_less_than_a_thousandth(kind):
    A, B = pair(kind, 1500, 64, np.random.default_rng(0))
    found = match_rows(A, B, "signed", max_bytes=0, n_candidates=32)
    _, best = best_total(A, B, "signed")
    assert best - found.cosines.mean() <= found.max_loss + 100 * EPS
    assert found.max_loss < 1e-3


def test_more_candidates_lose_less_and_all_of_them_nothing():
    A, B = pair("few directions", 300, 16, np.random.default_rng(1))
    _, best = best_total(A, B, "signed")
    found = [match_rows(A, B, "signed", max_bytes=0, n_candidates=k) for k in (1, 8, 64, 300)]
    assert found[0].max_loss > found[1].max_loss > found[2].max_loss
    assert found[3].max_loss == 0.0
    assert found[3].cosines.mean() == pytest.approx(best, abs=100 * EPS)


def test_the_same_atoms_in_another_order():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(60, 8))
    order = rng.permutation(60)
    for max_bytes in (0, 1 << 20):
        result = stability([A, 3.0 * A[order], A], n_draws=0, max_bytes=max_bytes, n_candidates=4)
        assert result.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
        np.testing.assert_allclose(result.observed.matched_cosine, 1.0, rtol=0, atol=20 * EPS)
        np.testing.assert_allclose(result.observed.nearest_cosine, 1.0, rtol=0, atol=20 * EPS)
        np.testing.assert_array_equal(result.observed.shares, 1.0)
        for cosines in result.atom_cosines:
            np.testing.assert_allclose(cosines, 1.0, rtol=0, atol=20 * EPS)
        assert result.chance == {}
        assert np.isnan(result.mean_by_chance)


@pytest.mark.parametrize("max_bytes", [0, 1 << 20])
def test_different_numbers_of_atoms_worked_out_by_hand(max_bytes):
    A = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0]])
    B = np.array([[0.0, 0.0, 1.0], [2.0, 0.0, 0.0], [0.0, 0.0, -5.0]])
    for given_pair, flipped in (([A, B], False), ([B, A], True)):
        result = stability(
            given_pair, n_draws=0, max_bytes=max_bytes, n_candidates=1, thresholds=(0.0, 0.9)
        )
        # (1, 0, 0) has its copy; (0.8, 0.6, 0) has a cosine of 0 with what is left.
        assert result.observed.matched_cosine.tolist() == pytest.approx([0.5], abs=4 * EPS)
        assert result.observed.shares.tolist() == [[1.0, 0.5]]
        nearest = result.observed.nearest_cosine[0].tolist()
        # From A: 1 and 0.8; from B: 0, 1 and 0.
        nearest = nearest[::-1] if flipped else nearest
        assert nearest == pytest.approx([0.9, 1 / 3], abs=4 * EPS)
        of_a, of_b = result.atom_cosines[::-1] if flipped else result.atom_cosines
        assert of_a.tolist() == pytest.approx([1.0, 0.0], abs=4 * EPS)
        assert of_b.tolist() == pytest.approx([0.0, 1.0, 0.0], abs=4 * EPS)
        assert result.n_atoms.tolist() == ([3, 2] if flipped else [2, 3])


def test_sign():
    A = random_atoms(np.random.default_rng(0), 20, 30)
    assert stability([A, -A], sign="absolute", n_draws=0).mean == pytest.approx(1.0, abs=20 * EPS)
    assert stability([A, -A], n_draws=0).mean < 0.7


def test_means_are_those_of_dictionary_similarity():
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(40, 6)), rng.normal(size=(25, 6))
    result = stability([A, B], n_draws=0)
    assert result.mean == pytest.approx(dictionary_similarity(A, B), abs=20 * EPS)
    _, cosines = match_atoms(A, B)
    np.testing.assert_allclose(result.atom_cosines[1], cosines, rtol=0, atol=20 * EPS)


# Chance


def test_random_dictionaries_are_at_chance():
    rng = np.random.default_rng(0)
    A, B = random_atoms(rng, 200, 24), random_atoms(rng, 160, 24)
    result = stability([A, B], n_draws=20, random_state=1)
    for null in ("uniform", "covariance"):
        drawn = result.chance[null]
        assert drawn.matched_cosine.shape == (1, 20)
        assert drawn.nearest_cosine.shape == (1, 20, 2)
        assert drawn.shares.shape == (1, 20, 2)
        # The observed pair is one more draw; the covariance of 200 atoms is not quite the sphere's,
        # which moves the second null by less than a spread. Five spreads.
        spread = drawn.matched_cosine.std()
        assert abs(result.mean - drawn.matched_cosine.mean()) < 5 * spread
        np.testing.assert_allclose(
            drawn.nearest_cosine.mean(axis=1), result.observed.nearest_cosine, rtol=0, atol=0.02
        )


def test_the_stricter_null_knows_what_atoms_share():
    # Atoms around one direction in a plane of a high-dimensional space: any two are alike.
    rng = np.random.default_rng(0)

    def draw(n):
        plane = np.zeros((n, 40))
        plane[:, 0] = 5.0
        plane[:, 1:6] = rng.normal(size=(n, 5))
        return plane

    result = stability([draw(80), draw(80)], random_state=0, n_draws=5)
    assert result.chance["uniform"].matched_cosine.mean() < 0.5
    assert result.mean > 0.9
    assert abs(result.mean - result.mean_by_chance) < 0.02


@pytest.mark.parametrize(("n", "d"), [(300, 5), (4, 9)])
def test_null_atoms_have_the_mean_and_covariance_of_the_dictionary(n, d):
    # Before they are put back on the sphere, so the atoms here are large against their spread:
    # then scaling to unit norm is a projection, the same for both.
    rng = np.random.default_rng(0)
    centre = np.eye(d)[0]
    atoms = unit(centre + 1e-4 * rng.normal(size=(n, d)) @ rng.normal(size=(d, d)))
    drawn = np.vstack([_random_like(atoms, "covariance", rng) for _ in range(60_000 // n)])
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(1.0, abs=10 * EPS)
    size = np.linalg.norm(np.cov(atoms.T, bias=True), 2)
    # 60,000 normal draws: entries of a covariance have standard errors below sqrt(2 / n) of the
    # largest variance, 0.6 %; means below sqrt(1 / n). Five of each; curvature of the sphere adds
    # 1e-4 of it.
    np.testing.assert_allclose(
        np.cov(drawn.T, bias=True), np.cov(atoms.T, bias=True), rtol=0, atol=5 * 0.006 * size
    )
    np.testing.assert_allclose(
        drawn.mean(axis=0), atoms.mean(axis=0), rtol=0, atol=5 * np.sqrt(size / 60_000) + 1e-6 * 10
    )


def test_dead_atoms_are_dead_by_chance_too():
    rng = np.random.default_rng(0)
    A = random_atoms(rng, 30, 8)
    A[::3] = 0.0
    for null in ("uniform", "covariance"):
        np.testing.assert_array_equal(_random_like(A, null, rng).any(axis=1), A.any(axis=1))
        assert not _random_like(np.zeros((3, 2)), null, rng).any()
    result = stability([A, A], random_state=0)
    assert result.observed.shares[0].tolist() == [2 / 3, 2 / 3]
    assert result.mean == pytest.approx(2 / 3, abs=10 * EPS)


# What it says


def test_the_seed_decides_and_nothing_else():
    rng = np.random.default_rng(0)
    A, B, C = (rng.normal(size=(n, 6)) for n in (20, 30, 25))
    first, again = (stability([A, B, C], random_state=3, n_draws=2) for _ in range(2))
    for null in ("uniform", "covariance"):
        np.testing.assert_array_equal(
            first.chance[null].matched_cosine, again.chance[null].matched_cosine
        )
    other = stability([A, B, C], random_state=4, n_draws=2)
    assert (other.chance["uniform"].matched_cosine != first.chance["uniform"].matched_cosine).all()
    np.testing.assert_array_equal(other.observed.matched_cosine, first.observed.matched_cosine)


def test_table():
    pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    result = stability([rng.normal(size=(n, 6)) for n in (20, 30, 25)], random_state=0, n_draws=2)
    table = result.to_frame()
    assert table["first"].tolist() == [0, 0, 1]
    assert table["n_atoms_second"].tolist() == [30, 25, 25]
    np.testing.assert_array_equal(table["share_0.7"], result.observed.shares[:, 0])
    np.testing.assert_array_equal(
        table["matched_cosine_covariance"],
        result.chance["covariance"].matched_cosine.mean(axis=1),
    )
    assert (table["max_loss"] == 0.0).all()
    assert "over 3 pairs" in repr(result)


def test_errors_name_what_is_wrong():
    A = np.eye(3)
    with pytest.raises(InputError, match="at least two, got 1"):
        stability([A])
    with pytest.raises(InputError, match="same n_features, got"):
        stability([A, np.eye(2)])
    with pytest.raises(InputError, match=r"dictionaries\[1\] must be finite"):
        stability([A, A * np.nan])
    for option in (
        {"sign": "both"}, {"n_draws": -1}, {"max_bytes": -1}, {"n_candidates": 0},
        {"thresholds": (2.0,)},
    ):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(option))):
            stability([A, A], **option)


def test_chance_is_not_drawn_with_the_numbers_of_the_data():
    """A seed of 0 here and `default_rng(0)` at the caller's are two streams."""
    own = np.random.default_rng(0).standard_normal(8)
    first, again = (seeded_generator(0).standard_normal(8) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.isin(first, own).any()
    moving = np.random.RandomState(0)
    np.testing.assert_array_equal(seeded_generator(moving).standard_normal(8), first)
    assert not np.isin(seeded_generator(moving).standard_normal(8), first).any()


@pytest.mark.parametrize("bad", [-1, 2**32, "a", 0.5, np.random.default_rng(0)])
def test_random_states_of_other_kinds_are_refused(bad):
    with pytest.raises(InputError, match="random_state must be None, an integer"):
        stability(np.eye(4)[None].repeat(2, axis=0), random_state=bad)
