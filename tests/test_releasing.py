"""Parents whose atoms hold a child, and how atoms give way to features that only others hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import icfl
import oracles
from entangled import (
    DIMENSIONS,
    N_OWN,
    ROWS,
    WITH_PARENT,
    features,
    known_of,
    own_features,
    rewritten,
    run_release,
    statistics,
)
from icfl.updates import Online
from icfl.updates.absorption import absorbed
from icfl.updates.families import MOST_CHILDREN
from icfl.updates.hedging import LARGEST_SINE, LEAST_COSINE, hedges
from icfl.updates.online import SETTLE
from icfl.updates.releasing import released
from oracles import U
from update_steps import advance, begin, bits


def family_of(n_others):
    """Directions of a parent, of the child that it holds, and of its other children."""
    parent, child, *others = features(2 + n_others)
    return parent, child, np.stack(others)


def hedged(sine, n_others=3):
    """Atoms of a parent that holds a child, of its other children and of N_OWN features.

    Codes are those by which the atoms reproduce all rows but those of the parent alone.
    """
    parent, child, others = family_of(n_others)
    cosine, length = np.sqrt(1 - sine**2), np.sqrt(1 + sine**2)
    shared = sine * parent - cosine * child
    rng = np.random.default_rng(0)
    own, rates = own_features(rng)
    held = cosine * parent + sine * child
    atoms = np.concatenate([[held], (others + sine * shared) / length, own])
    Z = np.zeros((ROWS, len(atoms)))
    # parent + f_i = cos θ d + (f_i + sin θ u), as p = cos θ d + sin θ u.
    Z[:WITH_PARENT, 0] = cosine
    each = WITH_PARENT // (n_others + 2)
    for i in range(n_others):
        Z[i * each : (i + 1) * each, 1 + i] = length
    Z[:, 1 + n_others :] = rng.random((ROWS, N_OWN)) < rates
    return atoms, Z, (parent, child, others)


@pytest.mark.parametrize("sine", [0.7, 0.74])
@pytest.mark.parametrize("n_others", [3, 6])
def test_parent_and_child_come_apart(sine, n_others):
    atoms, Z, (parent, child, _) = hedged(sine, n_others)
    out, _, places = run_release(atoms, Z)
    assert places == [len(atoms) - 1]  # of the feature that explains least
    # The children's own directions are part of their mean: of u it has ρ, of these sqrt(1 - ρ²).
    rho = sine * np.sqrt(n_others / (1 + n_others * sine**2))
    cosine = np.sqrt(1 - sine**2)
    assert out[0] @ parent == pytest.approx(cosine**2 + sine**2 * rho, abs=16 * U)
    assert out[-1] @ child == pytest.approx(sine**2 + cosine**2 * rho, abs=16 * U)
    assert out[0] @ child == pytest.approx(cosine * sine * (1 - rho), abs=16 * U)
    assert out[0] @ parent > atoms[0] @ parent + 0.1
    # What the children had in common is gone from them, and is in the other two.
    children = slice(1, 1 + n_others)
    shared = atoms[children].sum(axis=0)
    assert np.abs(out[children] @ shared).max() < 64 * U
    assert out[0] @ shared > 0.5
    assert out[-1] @ shared < -0.5


def test_too_small_a_cosine_tells_nothing():
    # sin² / (1 + sin²) of three pairs in 64 dimensions: 3.67 deviations of unrelated directions.
    atoms, Z, _ = hedged(0.6)
    assert run_release(atoms, Z)[1:] == ([], [])


def test_codes_are_rewritten_with_the_atoms():
    atoms, Z, (parent, _, others) = hedged(0.7)
    out, partings, places = run_release(atoms, Z)
    Z[:, places] = 0
    after = rewritten(Z, partings)
    np.testing.assert_allclose(after @ out, Z @ atoms, rtol=0, atol=64 * U)
    family = np.r_[:4, places]
    expected = parent + np.repeat(others, WITH_PARENT // 5, axis=0)
    found = (after[:, family] @ out[family])[: len(expected)]
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
    atoms, Z = [], np.zeros((4000, n_families * size + N_OWN))
    for family in range(n_families):
        parent, child, *others = oracles.unit_rows(rng.standard_normal((n_others + 2, d)))
        atoms += [parent + child, *(other + 0.5 * (parent - child) for other in others)]
        there = rng.random(len(Z)) < 0.3
        which = rng.integers(0, n_others + 2, len(Z))
        first = family * size
        Z[:, first] = there * rng.uniform(1, 2, len(Z))
        for i in range(n_others):
            Z[:, first + 1 + i] = there * (which == i) * rng.uniform(1, 2, len(Z))
    atoms += list(rng.standard_normal((N_OWN, d)))
    Z[:, -N_OWN:] = 0.1 * (rng.random((len(Z), N_OWN)) < 0.1)
    norms = rng.uniform(0.5, 2.0, (len(atoms), 1))
    atoms = (norms * oracles.unit_rows(np.stack(atoms))).astype(np.float32)
    Z = Z.astype(np.float32)
    out, partings, places = released(atoms, statistics(Z))
    assume(len(places) > 0)  # of random directions a few are not found
    assert len(places) <= n_families
    kept = np.linalg.norm(out, axis=1) / np.linalg.norm(atoms, axis=1)
    np.testing.assert_allclose(np.delete(kept, places), 1.0, rtol=8 * U)
    Z[:, places] = 0
    after, before = rewritten(Z, partings), Z.astype(np.float64) @ atoms
    bound = np.abs(after) @ np.linalg.norm(out, axis=1) + np.abs(Z) @ np.linalg.norm(atoms, axis=1)
    error = np.linalg.norm(after @ out - before, axis=1)
    assert np.all(error <= (len(partings) + 2) * 8 * U * bound)


def test_two_children_or_an_unused_third_tell_too_little():
    atoms, Z, _ = hedged(0.74, n_others=2)
    assert run_release(atoms, Z)[2] == []
    atoms, Z, _ = hedged(0.74)
    Z[:, 3] = 0
    assert run_release(atoms, Z)[2] == []


def test_children_that_have_nothing_in_common_are_left_alone():
    rng = np.random.default_rng(0)
    for n_others in (3, 5, 8):
        atoms, Z, _ = hedged(0.7, n_others)
        found = 0
        for _ in range(200):
            atoms = oracles.unit_rows(rng.standard_normal(atoms.shape))
            known = known_of(atoms, Z)
            found += len(hedges(known)) + len(absorbed(known))
        assert found == 0, n_others


def test_atoms_that_all_have_something_in_common_are_left_alone():
    # Each has a cosine of 0.45 with one direction, 0.2 with one another.
    common = features(3)[2]
    for n_others in (3, 6):
        _, Z, _ = hedged(0.7, n_others)
        rng = np.random.default_rng(n_others)
        for _ in range(100):
            atoms = oracles.unit_rows(rng.standard_normal((Z.shape[1], DIMENSIONS)))
            atoms = oracles.unit_rows(atoms + 0.5 * common)
            known = known_of(atoms, Z)
            assert hedges(known) == absorbed(known) == []


def test_a_small_share_is_not_worth_a_place():
    # 28 pairs tell that eight children have something in common; it is too little.
    enough = np.sqrt(LEAST_COSINE / (1 - LEAST_COSINE))
    for sine, found in [(0.97 * enough, 0), (1.03 * enough, 1)]:
        atoms, Z, _ = hedged(sine, 8)
        assert len(hedges(known_of(atoms, Z))) == found


def test_the_sine_is_that_of_the_mean_cosine_and_no_more_than_the_largest():
    for sine, expected in [(0.7, 0.7), (0.9, LARGEST_SINE)]:
        atoms, Z, _ = hedged(sine)
        (found,) = hedges(known_of(atoms, Z))
        assert found.sine == pytest.approx(expected, rel=1e-6)
        assert found.parent == 0
        assert found.children.tolist() == [1, 2, 3]
        assert abs(found.shared @ atoms[0]) < 1e-12


def test_no_place_is_taken_from_what_explains_more_than_the_child_will():
    atoms, Z, _ = hedged(0.7)
    Z[:, -1] = 0
    _, partings, (place,) = run_release(atoms, Z)
    assert place == len(atoms) - 1
    explained = np.square(rewritten(Z, partings)[:, place]).sum()
    # Others explain 240 each, the child 85 or so; it fires on a fifth of 800 samples, and of the
    # parent alone it takes a part away.
    assert 50 < explained < 150
    for size, places in [(0.99, [place]), (1.01, [])]:
        Z[:, place] = np.sqrt(size * explained / ROWS)
        assert run_release(atoms, Z)[2] == places


@pytest.mark.parametrize("n_atoms", [1, 2, 6])
def test_unused_atoms_zero_atoms_and_negative_codes_do_no_harm(n_atoms):
    rng = np.random.default_rng(0)
    atoms = oracles.unit_rows(rng.standard_normal((n_atoms, DIMENSIONS)))
    atoms[-1] = 0
    for Z in (np.zeros((10, n_atoms)), -np.ones((10, n_atoms)), np.ones((10, n_atoms))):
        with np.errstate(all="raise"):
            out, partings, places = run_release(atoms, Z)
        np.testing.assert_array_equal(out, atoms.astype(np.float32))
        assert (partings, places) == ([], [])


def test_of_large_families_the_most_used_children_are_looked_at():
    n = MOST_CHILDREN + 30
    rng = np.random.default_rng(0)
    atoms = oracles.unit_rows(rng.standard_normal((1 + n, DIMENSIONS)))
    Z = np.zeros((8 * n, 1 + n))
    Z[: 4 * n, 0] = 1.0
    for i in range(n):
        Z[3 * i : 3 * i + (3 if i >= 30 else 2), 1 + i] = 1.0
    (family,) = known_of(atoms, Z).each
    assert family.parent == 0
    np.testing.assert_array_equal(family.children, np.arange(31, 1 + n))
    cosines = family.turned @ family.turned.T
    np.testing.assert_array_equal(family.cosines, cosines)
    assert np.abs(family.turned @ atoms[0]).max() < 1e-12


def test_norms_are_kept_and_the_child_has_its_parents():
    atoms, Z, _ = hedged(0.7)
    norms = np.random.default_rng(1).uniform(0.5, 7.0, (len(atoms), 1))
    # Codes by atoms of these norms: what they explain is as before, and so is what comes out.
    out, partings, places = run_release(atoms, Z / norms[:, 0], norms)
    directions, _, same = run_release(atoms, Z)
    assert places == same == [len(atoms) - 1]
    kept = norms.copy()
    kept[-1] = norms[0]
    np.testing.assert_allclose(out / kept, directions, rtol=0, atol=16 * U)
    scaled = Z / norms[:, 0]
    scaled[:, places] = 0
    after = rewritten(scaled, partings)
    np.testing.assert_allclose(after @ out, scaled @ (norms * atoms), rtol=0, atol=200 * U)


def rows_of(family, own, rates, n, rng):
    """Rows of a parent with one of its children, or alone, or of none; and of other features."""
    parent, child, others = family
    families = np.zeros((40, DIMENSIONS))
    families[: len(others) + 1] = [*others, child]
    families[: len(others) + 2] += parent
    X = rng.uniform(1, 2, (n, 1)) * families[rng.integers(0, len(families), n)]
    X += 1.5 * (rng.random((n, N_OWN)) < rates) @ own
    return (X + 0.02 * rng.standard_normal(X.shape)).astype(np.float32)


def test_learnt_dictionaries_hold_parents_and_children_apart():
    atoms, _, family = hedged(0.7)
    own, rates = own_features(np.random.default_rng(0))
    rng = np.random.default_rng(1)

    def learnt(release):
        update = Online(first_atoms=None, release=release)
        state = begin(update, atoms.astype(np.float32), coherence_limit=0.9)
        for step in range(60):
            X = rows_of(family, own, rates, 2048, rng)
            codes = icfl.encode_omp(
                X - state.bias, state.components, 6, threshold=0.5, selection="positive"
            )
            state = advance(state, X, codes.toarray(), step)
        parent, child, others = family
        return (state.components @ np.stack([parent, *others, child]).T).max(axis=0)

    assert learnt(release=True).min() > 0.99
    assert learnt(release=False)[[0, -1]].max() < 0.85


def test_pytorch_releases_the_same_children():
    pytest.importorskip("torch")
    atoms, _, family = hedged(0.7)
    own, rates = own_features(np.random.default_rng(0))
    rng = np.random.default_rng(2)
    batches = [rows_of(family, own, rates, 2048, rng) for _ in range(20)]

    def learnt(**options):
        model = icfl.ICFL(
            init=atoms.astype(np.float32),
            n_iterations=6,
            atoms_per_iteration=1,
            threshold=0.5,
            unit_norm_inputs=False,
            update=Online(memory=1, first_atoms=None, release=True),
            random_state=0,
            **options,
        )
        for X in batches:
            model.partial_fit(X)
        return model

    compiled, device = learnt(), learnt(backend="torch")
    # 20 steps, each of which may add a few roundings of 6e-8 to atoms of norm 1.
    np.testing.assert_allclose(device.components_, compiled.components_, rtol=0, atol=1e-5)
    parent, child, _ = family
    assert (compiled.components_ @ np.stack([parent, child]).T).max(axis=0).min() > 0.95


@pytest.mark.parametrize("atom_norm", ["unit", "free"])
@pytest.mark.parametrize(
    ("release", "disentangle", "progress", "coherence_limit", "n_replaced"),
    [
        (True, 1.0, 0.5, 0.9, 1),
        (True, 1.0, None, 0.9, 1),
        (True, 0.4, 0.5, 0.9, 0),
        (True, 1.0, 0.5, None, 0),
        (True, 1.0, SETTLE, 0.9, 0),
        (False, 1.0, 0.5, 0.9, 0),
        (None, 1.0, 0.5, 0.9, 0),
    ],
)
def test_the_update_releases_children_until_it_settles(
    atom_norm, release, disentangle, progress, coherence_limit, n_replaced
):
    atoms, Z, _ = hedged(0.74)
    Z = Z.astype(np.float32)
    X = (Z @ atoms).astype(np.float32)
    update = Online(
        memory=1, replace_every=1, first_atoms=None, disentangle=disentangle, release=release
    )
    state = begin(
        update, atoms.astype(np.float32), coherence_limit=coherence_limit, atom_norm=atom_norm
    )
    before = bits(state)
    after = advance(state, X, Z, progress=progress)
    assert after.n_replaced == n_replaced
    assert bits(state) == before


@pytest.mark.parametrize(
    ("threshold", "release", "expected"),
    [("auto", None, True), (0.5, None, False), (0.5, True, True), ("auto", False, False)],
)
def test_thresholds_that_set_themselves_bring_it_along(threshold, release, expected, monkeypatch):
    seen = []
    start = Online.start

    def spy(self, *args, **options):
        seen.append(self.release)
        return start(self, *args, **options)

    monkeypatch.setattr(Online, "start", spy)
    X = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    icfl.ICFL(8, threshold=threshold, update=Online(release=release), max_steps=1).fit(X)
    assert seen == [expected]
