"""What the tests of entangled atoms share: directions, codes and what is known of these."""

from __future__ import annotations

import numpy as np

DIMENSIONS = 64


def features(n, seed=0):
    """Orthonormal directions."""
    square = np.random.default_rng(seed).standard_normal((DIMENSIONS, DIMENSIONS))
    return np.linalg.qr(square)[0][:n]


def statistics(Z):
    """A, s and n of codes (n, M)."""
    Z = np.asarray(Z, dtype=np.float32)
    return Z.T @ Z, Z.sum(axis=0), float(len(Z))


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
