"""Parents whose atoms hold a child: which are found, what becomes of them, and what is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import icfl
import oracles
from entangled import DIMENSIONS, features, fires, rewritten, statistics
from icfl.updates import Online
from icfl.updates.hedging import LARGEST_SINE, LEAST_COSINE, hedges, released
from icfl.updates.online import SETTLE
from oracles import U
from update_steps import advance, begin, bits

ROWS = 8000
WITH_PARENT = 800
"""Samples of a parent: as many of each child as of the parent alone."""


def hedged(sine, n_others=3, *, extra=1):
    """Atoms of a parent that holds a child, of its other children and of one more feature.

    Codes are those by which the atoms reproduce all rows but those of the parent alone.
    """
    parent, child, *others = features(2 + n_others)
    cosine = np.sqrt(1 - sine**2)
    shared = sine * parent - cosine * child
    tilted = np.stack(others) + sine * shared
    length = np.sqrt(1 + sine**2)
    rest = features(2 + n_others + extra)[2 + n_others :]
    atoms = np.concatenate([[cosine * parent + sine * child], tilted / length, rest])
    Z = np.zeros((ROWS, len(atoms)))
    # parent + f_i = cos θ d + (f_i + sin θ u), as p = cos θ d + sin θ u.
    Z[:WITH_PARENT, 0] = cosine
    each = WITH_PARENT // (n_others + 2)
    for i in range(n_others):
        Z[i * each : (i + 1) * each, 1 + i] = length
    Z[WITH_PARENT : WITH_PARENT + 40, 1 + n_others :] = 0.5
    return atoms, Z, (parent, child, np.stack(others))


def run(atoms, Z, norms=1.0):
    given = (norms * np.asarray(atoms)).astype(np.float32)
    before = given.tobytes()
    out, partings, places = released(given, *statistics(Z))
    assert given.tobytes() == before
    changed = np.flatnonzero(np.any(out != given, axis=1))
    assert set(changed) <= {one.atom for one in partings} | set(places.tolist())
    return out, partings, places.tolist()


@pytest.mark.parametrize("sine", [0.66, 0.7])
@pytest.mark.parametrize("n_others", [3, 6])
def test_parent_and_child_come_apart(sine, n_others):
    atoms, Z, (parent, child, _) = hedged(sine, n_others)
    out, _, places = run(atoms, Z)
    assert places == [n_others + 1]  # of the feature that explains least
    # The children's own directions are part of their mean: of u it has ρ, of these sqrt(1 - ρ²).
    rho = sine * np.sqrt(n_others / (1 + n_others * sine**2))
    cosine = np.sqrt(1 - sine**2)
    assert out[0] @ parent == pytest.approx(cosine**2 + sine**2 * rho, abs=16 * U)
    assert out[-1] @ child == pytest.approx(sine**2 + cosine**2 * rho, abs=16 * U)
    assert out[0] @ child == pytest.approx(cosine * sine * (1 - rho), abs=16 * U)
    assert out[0] @ parent > atoms[0] @ parent + 0.1
    # What the children have in common is gone, and their parent's atom with it.
    assert np.abs(out[1:-1].sum(axis=0)).max() < 32 * U
    shared = np.sum(atoms[1:-1], axis=0)
    assert np.abs(out[[0, -1]] @ np.linalg.svd(out[1:-1])[2][: n_others - 1].T).max() < 32 * U
    assert abs(out[0] @ shared) > 0.5


def test_too_small_a_cosine_tells_nothing():
    # sin² / (1 + sin²) of three pairs in 64 dimensions: 3.67 deviations.
    atoms, Z, _ = hedged(0.6)
    assert run(atoms, Z)[1:] == ([], [])


def test_codes_are_rewritten_with_the_atoms():
    atoms, Z, (parent, _, others) = hedged(0.66)
    out, partings, places = run(atoms, Z)
    Z[:, places] = 0
    after = rewritten(Z, partings)
    np.testing.assert_allclose(after @ out, Z @ atoms, rtol=0, atol=64 * U)
    expected = parent + np.repeat(others, WITH_PARENT // 5, axis=0)
    found = (after @ out)[: len(expected)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * U)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n_others=st.integers(3, 6),
    n_families=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_rewritten_codes_stand_for_the_same_rows(n_others, n_families, seed):
    rng = np.random.default_rng(seed)
    size, d = n_others + 1, 96
    atoms, Z = [], np.zeros((4000, n_families * size + n_families))
    for family in range(n_families):
        parent, child, *others = oracles.unit_rows(rng.standard_normal((n_others + 2, d)))
        atoms += [parent + child, *(other + 0.5 * (parent - child) for other in others)]
        there = rng.random(len(Z)) < 0.3
        which = rng.integers(0, n_others + 2, len(Z))
        first = family * size
        Z[:, first] = there * rng.uniform(1, 2, len(Z))
        for i in range(n_others):
            Z[:, first + 1 + i] = there * (which == i) * rng.uniform(1, 2, len(Z))
    atoms += list(rng.standard_normal((n_families, d)))
    Z[:, -n_families:] = 0.1 * (rng.random((len(Z), n_families)) < 0.1)
    norms = rng.uniform(0.5, 2.0, (len(atoms), 1))
    atoms = (norms * oracles.unit_rows(np.stack(atoms))).astype(np.float32)
    Z = Z.astype(np.float32)
    out, partings, places = released(atoms, *statistics(Z))
    kept = np.linalg.norm(out, axis=1) / np.linalg.norm(atoms, axis=1)
    np.testing.assert_allclose(np.delete(kept, places), 1.0, rtol=8 * U)
    Z[:, places] = 0
    after, before = rewritten(Z, partings), Z.astype(np.float64) @ atoms
    bound = np.abs(after) @ np.linalg.norm(out, axis=1) + np.abs(Z) @ np.linalg.norm(atoms, axis=1)
    error = np.linalg.norm(after @ out - before, axis=1)
    assert np.all(error <= (len(partings) + 2) * 8 * U * bound)


def test_two_children_or_an_unused_third_tell_too_little():
    atoms, Z, _ = hedged(0.7, n_others=2)
    assert run(atoms, Z)[2] == []
    atoms, Z, _ = hedged(0.7)
    Z[:, 3] = 0
    assert run(atoms, Z)[2] == []


def test_children_that_have_nothing_in_common_are_left_alone():
    rng = np.random.default_rng(0)
    for n_others in (3, 5, 8):
        Z = fires((0.0, 0.5), *((0.5 * i / 8, 0.5 * (i + 1) / 8) for i in range(n_others)))
        found = 0
        for _ in range(200):
            atoms = oracles.unit_rows(rng.standard_normal((1 + n_others, DIMENSIONS)))
            found += len(hedges(atoms, *statistics(Z)))
        assert found == 0, n_others


def test_a_small_share_is_not_worth_a_place():
    # 28 pairs tell that eight children have something in common; it is too little.
    enough = np.sqrt(LEAST_COSINE / (1 - LEAST_COSINE))
    for sine, found in [(0.97 * enough, 0), (1.03 * enough, 1)]:
        parent, child, *others = features(10)
        shared = sine * parent - np.sqrt(1 - sine**2) * child
        held = np.sqrt(1 - sine**2) * parent + sine * child
        atoms = oracles.unit_rows(np.stack([held, *(other + sine * shared for other in others)]))
        Z = fires((0.0, 0.9), *((0.1 * i, 0.1 * (i + 1)) for i in range(8)))
        assert len(hedges(atoms, *statistics(Z))) == found


def test_the_sine_is_that_of_the_mean_cosine_and_no_more_than_the_largest():
    for sine, expected in [(0.7, 0.7), (0.9, LARGEST_SINE)]:
        atoms, Z, _ = hedged(sine)
        (found,) = hedges(atoms, *statistics(Z))
        assert found.sine == pytest.approx(expected, rel=1e-6)
        assert found.atom == 0
        assert found.children.tolist() == [1, 2, 3]
        assert abs(found.shared @ atoms[0]) < 1e-12


def test_no_place_is_taken_from_what_explains_more_than_the_child_will():
    atoms, Z, _ = hedged(0.66)
    for size, places in [(0.9, [4]), (1.1, [])]:
        Z[:, 4] = size * (np.arange(ROWS) % 5 == 0) * explained_by_child(atoms, Z)
        assert run(atoms, Z)[2] == places


def explained_by_child(atoms, Z):
    """Code that fires on a fifth of all rows and explains as much as the child will."""
    quiet = Z.copy()
    quiet[:, 4] = 0
    _, partings, (place,) = run(atoms, quiet)
    return np.sqrt(np.square(rewritten(quiet, partings)[:, place]).sum() / (ROWS / 5))


def test_norms_are_kept_and_the_child_has_its_parents():
    atoms, Z, _ = hedged(0.7)
    norms = np.array([[2.0], [0.5], [3.0], [1.0], [7.0]])
    # Codes by atoms of these norms: what they explain is as before, and so is what comes out.
    out, partings, places = run(atoms, Z / norms[:, 0], norms)
    directions, _, same = run(atoms, Z)
    assert places == same == [4]
    kept = np.array([2.0, 0.5, 3.0, 1.0, 2.0])
    np.testing.assert_allclose(out / kept[:, None], directions, rtol=0, atol=8 * U)
    scaled = (Z / norms[:, 0]) * [1, 1, 1, 1, 0]
    after = rewritten(scaled, partings)
    np.testing.assert_allclose(after @ out, scaled @ (norms * atoms), rtol=0, atol=200 * U)


N_OTHERS = 40
"""Features that fire by themselves. With fewer atoms, children that share too much with one another
would be taken apart before."""


def among_others(atoms, Z, rng):
    """Atoms and codes with those of features of their own, the last of which fires seldom."""
    own = oracles.unit_rows(rng.standard_normal((N_OTHERS, DIMENSIONS)))
    fire = rng.random((len(Z), N_OTHERS)) < np.append(np.full(N_OTHERS - 1, 0.03), 0.002)
    atoms, Z = np.concatenate([atoms, own]), np.concatenate([Z, 1.5 * fire], axis=1)
    return atoms.astype(np.float32), Z.astype(np.float32)


def rows_of(family, own, n, rng):
    """Rows of a parent with one of its children, or alone, or of none; and of other features."""
    parent, child, others = family
    families = np.zeros((40, DIMENSIONS))
    families[: len(others) + 1] = [*others, child]
    families[: len(others) + 2] += parent
    X = rng.uniform(1, 2, (n, 1)) * families[rng.integers(0, len(families), n)]
    Z = among_others(np.empty((0, DIMENSIONS)), np.empty((n, 0)), rng)[1]
    return (X + Z @ own + 0.02 * rng.standard_normal(X.shape)).astype(np.float32)


def test_learnt_dictionaries_hold_parents_and_children_apart():
    rng = np.random.default_rng(0)
    atoms, Z, family = hedged(0.7, extra=0)
    init, _ = among_others(atoms, Z, rng)

    def learnt(disentangle):
        update = Online(first_atoms=None, disentangle=disentangle)
        state = begin(update, init, coherence_limit=0.9)
        for step in range(60):
            X = rows_of(family, init[len(atoms) :], 2048, rng)
            codes = icfl.encode_omp(
                X - state.bias, state.components, 6, threshold=0.5, selection="positive"
            )
            state = advance(state, X, codes.toarray(), step)
        parent, child, others = family
        return (state.components @ np.stack([parent, *others, child]).T).max(axis=0)

    assert learnt(1.0).min() > 0.99
    assert learnt(0.0)[[0, -1]].max() < 0.85


@pytest.mark.parametrize("atom_norm", ["unit", "free"])
@pytest.mark.parametrize(
    ("disentangle", "progress", "coherence_limit", "n_replaced"),
    [(1.0, 0.5, 0.9, 1), (0.0, 0.5, 0.9, 0), (1.0, 0.5, None, 0), (1.0, SETTLE, 0.9, 0)],
)
def test_the_update_releases_children_until_it_settles(
    atom_norm, disentangle, progress, coherence_limit, n_replaced
):
    atoms, Z = among_others(*hedged(0.7, extra=0)[:2], np.random.default_rng(1))
    X = (Z @ atoms).astype(np.float32)
    update = Online(replace_every=1, first_atoms=None, disentangle=disentangle)
    state = begin(update, atoms, coherence_limit=coherence_limit, atom_norm=atom_norm)
    before = bits(state)
    after = advance(state, X, Z, progress=progress)
    assert after.n_replaced == n_replaced
    assert bits(state) == before
