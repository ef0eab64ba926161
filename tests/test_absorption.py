"""Parents that only their children's atoms hold: which are found, and what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest

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
)
from icfl.updates import Online
from icfl.updates.absorption import absorbed
from oracles import U
from update_steps import advance, begin


def absorbing(alpha, n_holding=3, n_others=3):
    """Atoms of a companion, of children of it that hold a parent without one, and of others.

    The first fires on a tenth of all samples, children on a fifteenth of these each, one at a time.
    """
    n = n_holding + n_others
    companion, parent, *directions = features(2 + n)
    children = np.stack(directions)
    children[:n_holding] *= np.sqrt(1 - alpha**2)
    children[:n_holding] += alpha * parent
    rng = np.random.default_rng(0)
    own, rates = own_features(rng)
    atoms = np.concatenate([[companion], children, own])
    Z = np.zeros((ROWS, len(atoms)))
    Z[:WITH_PARENT, 0] = 1.5
    each = WITH_PARENT // 15
    for i in range(n):
        Z[i * each : (i + 1) * each, 1 + i] = 1.0
    Z[:, 1 + n :] = rng.random((ROWS, N_OWN)) < rates
    return atoms, Z, (companion, parent, np.stack(directions))


@pytest.mark.parametrize(("alpha", "n_holding"), [(0.7, 3), (0.75, 3), (0.65, 4)])
def test_a_parent_that_only_its_children_hold_gets_an_atom(alpha, n_holding):
    atoms, Z, (_, parent, directions) = absorbing(alpha, n_holding, 5)
    (found,) = absorbed(known_of(atoms, Z))
    assert sorted(found.members) == list(range(1, 1 + n_holding))
    out, partings, places = run_release(atoms, Z)
    assert places == [len(atoms) - 1]
    # What children have of their own is part of their mean direction.
    rest = np.sqrt(1 - alpha**2)
    cosine = np.sqrt(n_holding) * alpha / np.sqrt(n_holding * alpha**2 + rest**2)
    assert out[-1] @ parent == pytest.approx(cosine, abs=16 * U)
    assert cosine > 0.85
    held, left = out[1 : 1 + n_holding], directions[:n_holding]
    assert np.abs(held @ out[-1]).max() < 16 * U
    assert np.abs(held @ parent).max() < 0.3
    assert np.einsum("ij,ij->i", held, left).min() > 0.75
    untouched = np.delete(np.arange(len(atoms)), [*found.members, *places])
    np.testing.assert_array_equal(out[untouched], atoms[untouched].astype(np.float32))
    Z[:, places] = 0
    after = rewritten(Z, partings)
    np.testing.assert_allclose(after @ out, Z @ atoms, rtol=0, atol=64 * U)


def test_what_all_children_share_or_too_few_is_no_parent_of_theirs():
    for n_holding, n_others in [(6, 0), (3, 0), (2, 4)]:
        atoms, Z, _ = absorbing(0.7, n_holding, n_others)
        assert absorbed(known_of(atoms, Z)) == []
    # cos = α² of three pairs in 64 dimensions: 4.3 deviations of unrelated directions.
    atoms, Z, _ = absorbing(np.sqrt(0.31))
    assert absorbed(known_of(atoms, Z)) == []


def test_groups_do_not_overlap_and_others_join():
    rng = np.random.default_rng(0)
    companion, first, second, *directions = features(12)
    children = np.stack(directions)
    children[:4] += first
    children[4:7] += second
    own, rates = own_features(rng)
    atoms = np.concatenate([[companion], oracles.unit_rows(children), own])
    Z = np.concatenate([absorbing(0.7, 3, 6)[1][:, :10], rng.random((ROWS, N_OWN)) < rates], axis=1)
    found = absorbed(known_of(atoms, Z))
    assert sorted(sorted(one.members) for one in found) == [[1, 2, 3, 4], [5, 6, 7]]


def test_learnt_dictionaries_have_an_atom_for_a_parent_that_children_held():
    # Cosines of 0.384, below the 0.4 from which on two are taken apart.
    atoms, _, (companion, parent, directions) = absorbing(0.62, 6, 6)
    own, rates = own_features(np.random.default_rng(0))
    rng = np.random.default_rng(1)

    def rows(n):
        with_companion, which = rng.random(n) < 0.2, rng.integers(0, 15, n)
        X = np.zeros((n, DIMENSIONS))
        X += companion
        X[which < 12] += directions[which[which < 12]]
        X[(which < 6) | (which == 12)] += parent  # once in seven alone
        X *= with_companion[:, None] * rng.uniform(1, 2, (n, 1))
        X += 1.5 * (rng.random((n, N_OWN)) < rates) @ own
        return (X + 0.02 * rng.standard_normal(X.shape)).astype(np.float32)

    def learnt(release):
        update = Online(first_atoms=None, release=release)
        state = begin(update, atoms.astype(np.float32), coherence_limit=0.9)
        for step in range(120):
            X = rows(2048)
            codes = icfl.encode_omp(
                X - state.bias, state.components, 6, threshold=0.5, selection="positive"
            )
            state = advance(state, X, codes.toarray(), step)
        return (state.components @ np.stack([parent, *directions[:6]]).T).max(axis=0)

    with_places, without = learnt(release=True), learnt(release=False)
    assert with_places[0] > 0.95
    assert with_places.min() > 0.85
    # One atom holds the parent and a child.
    assert without[0] < 0.8
    assert without.min() < 0.7
