"""Matching of dictionaries against brute force, and anisotropy against NumPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icfl.exceptions import InputError
from icfl.metrics import anisotropy, dictionary_similarity, match_atoms

EPS = np.finfo(np.float64).eps


def atoms(seed, n, d=5):
    return np.random.default_rng(seed).normal(size=(n, d))


def best_by_brute_force(A, B, sign):
    """Try every one-to-one assignment."""
    unit = [M / np.linalg.norm(M, axis=1, keepdims=True) for M in (A, B)]
    cosines = unit[1] @ unit[0].T
    cosines = np.abs(cosines) if sign == "absolute" else cosines
    if len(A) < len(B):
        cosines = cosines.T
    few, many = cosines.shape
    choices = itertools.permutations(range(many), few)
    return max(cosines[range(few), chosen].sum() for chosen in choices) / len(B)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_a=st.integers(1, 5),
    n_b=st.integers(1, 5),
    sign=st.sampled_from(["signed", "absolute"]),
)
def test_similarity_is_the_best_assignment(seed, n_a, n_b, sign):
    A, B = atoms(seed, n_a), atoms(seed + 1, n_b)
    expected = best_by_brute_force(A, B, sign)
    # Cosines of 5-vectors are good to about 10 eps each.
    assert dictionary_similarity(A, B, sign=sign) == pytest.approx(expected, abs=10 * EPS)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40))
def test_order_and_scale_do_not_matter(seed, n):
    rng = np.random.default_rng(seed)
    B = atoms(seed, n, d=16).astype(np.float32)
    order = rng.permutation(n)
    A = B[order] * rng.uniform(0.1, 10.0, size=(n, 1)).astype(np.float32)
    indices, cosines = match_atoms(A, B)
    np.testing.assert_array_equal(order[indices], np.arange(n))
    # Rescaling in float32 moves each of 16 entries by up to 6e-8 of itself: 1 - cos <= (6e-8)^2.
    np.testing.assert_allclose(cosines, 1.0, rtol=0, atol=32 * EPS)


def test_left_over_truth_counts_as_zero_and_left_over_atoms_do_not():
    B = np.eye(4)
    assert dictionary_similarity(B[:1], B) == 0.25
    indices, cosines = match_atoms(B[2:3], B)
    assert indices.tolist() == [-1, -1, 0, -1]
    assert cosines.tolist() == [0.0, 0.0, 1.0, 0.0]
    assert dictionary_similarity(np.vstack([B, atoms(0, 20, d=4)]), B) == pytest.approx(1.0)


def test_copies_of_one_atom_find_one_atom():
    B = np.eye(4)
    assert dictionary_similarity(np.repeat(B[:1], 4, axis=0), B) == 0.25


def test_sign():
    B = np.eye(3)
    assert dictionary_similarity(-B[:1], B[:1]) == -1.0
    assert dictionary_similarity(-B[:1], B[:1], sign="absolute") == 1.0


def test_zero_atoms_match_nothing():
    assert dictionary_similarity(np.zeros((2, 2)), np.eye(2)) == 0.0


def test_similarity_errors():
    with pytest.raises(InputError, match="same n_features, got 3 and 2"):
        match_atoms(np.eye(3), np.eye(2))
    with pytest.raises(InputError, match="sign"):
        match_atoms(np.eye(2), np.eye(2), sign="unsigned")
    with pytest.raises(InputError, match="B must be finite"):
        match_atoms(np.eye(2), np.full((2, 2), np.nan))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 60),
    d=st.integers(1, 10),
    offset=st.sampled_from([0.0, 2.0, 1e4]),
)
def test_anisotropy_is_norm_of_mean_over_norm_of_deviations(seed, n, d, offset):
    X = np.random.default_rng(seed).normal(size=(n, d)) + offset
    spread = np.linalg.norm(X.std(axis=0))
    expected = np.linalg.norm(X.mean(axis=0)) / spread
    # The mean is good to n eps max |x|, each difference from it to eps |x|; both relative to sigma.
    scale = np.abs(X).max() / spread
    assert anisotropy(X) == pytest.approx(expected, abs=4 * n * EPS * (1 + scale) * (1 + expected))


def test_anisotropy_of_several_blocks_and_float32():
    X = (np.random.default_rng(0).normal(size=(5000, 200)) + 1e3).astype(np.float32)
    wide = X.astype(np.float64)
    expected = np.linalg.norm(wide.mean(axis=0)) / np.linalg.norm(wide.std(axis=0))
    assert anisotropy(X) == pytest.approx(expected, rel=5000 * EPS)


def test_anisotropy_without_spread():
    assert anisotropy(np.full((9, 2), 0.1)) == math.inf
    assert math.isnan(anisotropy(np.zeros((3, 2))))
