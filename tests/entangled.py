"""What the tests of entangled atoms share: directions, codes and what is known of these."""

from __future__ import annotations

import numpy as np

import oracles
from icfl.updates.companions import CodeSums
from icfl.updates.families import families
from icfl.updates.releasing import released

DIMENSIONS = 64
ROWS = 8000
WITH_PARENT = 800
"""Samples of a parent: as many of each child as of the parent alone."""
N_OWN = 40
"""Features that fire by themselves, as what is usual among atoms is read from them."""


def features(n, seed=0):
    """Orthonormal directions."""
    square = np.random.default_rng(seed).standard_normal((DIMENSIONS, DIMENSIONS))
    return np.linalg.qr(square)[0][:n]


def statistics(Z):
    """What is known of codes (n, M)."""
    Z = np.asarray(Z, dtype=np.float32)
    return CodeSums(Z.T @ Z, Z.sum(axis=0), float(len(Z)))


def rewritten(Z, partings):
    """Codes by the atoms after partings, in float64."""
    Z = Z.astype(np.float64)
    for atom, others, weights, left in partings:
        Z[:, others] += np.outer(Z[:, atom], weights.astype(np.float64))
        Z[:, atom] *= left
    return Z


def fires(*shares, n=1000):
    """Codes of 2 that fire on given [from, to) shares of n samples."""
    Z = np.zeros((n, len(shares)))
    for m, (start, stop) in enumerate(shares):
        Z[int(start * n) : int(stop * n), m] = 2.0
    return Z


def own_features(rng):
    """Directions of these, and how often they fire; the last seldom does."""
    rates = np.append(np.full(N_OWN - 1, 0.03), 0.002)
    return oracles.unit_rows(rng.standard_normal((N_OWN, DIMENSIONS))), rates


def known_of(atoms, Z):
    """The families of atoms, from three children on."""
    return families(np.asarray(atoms, dtype=np.float64), statistics(Z), 3)


def run_release(atoms, Z, norms=1.0):
    """What `released` makes of atoms times norms; what it changes is what it says."""
    given = (norms * np.asarray(atoms)).astype(np.float32)
    before = given.tobytes()
    out, partings, places = released(given, statistics(Z))
    assert given.tobytes() == before
    changed = np.flatnonzero(np.any(out != given, axis=1))
    assert set(changed) <= {one.atom for one in partings} | set(places.tolist())
    return out, partings, places.tolist()
