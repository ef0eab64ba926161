"""When features fire, drawn at a cost of what fires and not of how many features there are.

A sample has a *context* k, one of K equally likely ones. Given it, features without a parent fire
independently with probabilities

    P(j | k) = Phi((l_j . u_k - t_j) / sqrt(1 - |l_j|^2)),    mean over k of P(j | k) = p_j

where u_k are K points of a standard normal in as many dimensions as there are factors, l_j are the
loadings of feature j and t_j solves the second equation: a Gaussian copula of low rank whose
factors take K values. Features fire as often as stated, exactly, and together on a share

    P(i and j) = mean over k of P(i | k) P(j | k)

of the samples. A child fires on a share p_child / p_parent of its parent's samples, whatever the
context; exclusive siblings divide them.

Independent Bernoulli variables of many small probabilities P are drawn as the cells that a Poisson
process of rates -log(1 - P) hits at all, which takes as many points as there are hits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtr, ndtri

_Vector = npt.NDArray[np.float64]
_Places = npt.NDArray[np.int64]

# Of a frequency of 1 the rate would be infinite; features of frequency 1 fire but for 1 of 1e12.
_LARGEST = 1.0 - 1e-12
_NEWTON_STEPS = 50


class Fired(NamedTuple):
    """Active features, each parent before its children.

    Attributes
    ----------
    rows, columns : ndarray of shape (n_active,), int64
        Sample and feature.
    sources : ndarray of shape (n_active,), int64
        Where in these arrays the parent is, -1 for features without one.
    """

    rows: _Places
    columns: _Places
    sources: _Places


@dataclass(frozen=True, eq=False)
class SparseFiring:
    """Joint distribution of which features are active, for very many features.

    Attributes
    ----------
    frequency : ndarray of shape (n_components,), float64
        P(feature active).
    parents : ndarray of shape (n_components,), intp
        Index of the parent, -1 where there is none.
    exclusive : bool
        Whether siblings never fire together.
    loadings : ndarray of shape (n_components, n_factors), float64
        On common factors; no columns if features fire independently.
    contexts : ndarray of shape (n_contexts, n_factors), float64
        Values of the factors, equally likely.
    """

    frequency: _Vector
    parents: npt.NDArray[np.intp]
    exclusive: bool
    loadings: _Vector
    contexts: _Vector

    @cached_property
    def free(self) -> npt.NDArray[np.intp]:
        """Features without a parent, (n_free,)."""
        return np.flatnonzero(self.parents < 0)

    @cached_property
    def given_context(self) -> _Vector:
        """P(feature active | context) of features without a parent, (n_contexts, n_free)."""
        p = np.minimum(self.frequency[self.free], _LARGEST)
        if not self.loadings.shape[1]:
            return np.broadcast_to(p, (len(self.contexts), len(p)))
        loadings = self.loadings[self.free]
        unique = np.sqrt(1.0 - np.einsum("ij,ij->i", loadings, loadings))
        shifts = self.contexts @ loadings.T / unique
        given = ndtr(shifts - _thresholds(shifts, p, unique))
        return cast("_Vector", np.minimum(given, _LARGEST))

    def draw(self, n_samples: int, rng: np.random.Generator) -> Fired:
        """Draw the active features of `n_samples` samples."""
        rows, columns = self._draw_free(n_samples, rng)
        levels = [Fired(rows, columns, np.full(len(rows), -1))]
        first = 0
        while len(levels[-1].rows):
            above = levels[-1]
            sources, columns = self._draw_children(above.columns, rng)
            levels.append(Fired(above.rows[sources], columns, sources + first))
            first += len(above.rows)
        return Fired(*map(np.concatenate, zip(*levels, strict=True)))

    def _draw_free(self, n_samples: int, rng: np.random.Generator) -> tuple[_Places, _Places]:
        totals, places = self._poisson
        context = rng.integers(len(totals), size=n_samples)
        order, sizes = np.argsort(context, kind="stable"), np.bincount(context, None, len(totals))
        n_points = rng.poisson(sizes * totals)
        which = np.repeat(np.arange(len(totals)), n_points)
        # Sorted, they are found in a third of the time, and the samples of a context are
        # exchangeable.
        at = which + rng.random(len(which))
        at.sort()
        found = np.searchsorted(places, at, side="right")
        # A number that rounds up to the next whole one belongs to the last feature.
        feature = np.minimum(found - which * len(self.free), len(self.free) - 1)
        within = (rng.random(len(which)) * sizes[which]).astype(np.int64)
        row = order[(np.cumsum(sizes) - sizes)[which] + within]
        cells = np.sort(row * len(self.frequency) + self.free[feature])
        hit = np.ones(len(cells), dtype=bool)
        np.not_equal(cells[1:], cells[:-1], out=hit[1:])
        rows, columns = np.divmod(cells[hit], len(self.frequency))
        return rows, columns

    def _draw_children(self, columns: _Places, rng: np.random.Generator) -> tuple[_Places, _Places]:
        """Return which of the active features have an active child, and that child."""
        children, starts, own = self._children
        n_children = starts[columns + 1] - starts[columns]
        if not self.exclusive:
            source = np.repeat(np.arange(len(columns)), n_children)
            before = np.repeat(np.cumsum(n_children) - n_children, n_children)
            place = starts[columns[source]] + np.arange(len(source)) - before
            hit = rng.random(len(source)) < own[place]
            return source[hit], children[place[hit]]
        source = np.flatnonzero(n_children)
        parent = columns[source]
        # Children of parent j have the sums of their shares, plus j: j + u is found among them, or
        # beyond the last one if no child fires.
        place = np.searchsorted(self._ends, parent + rng.random(len(parent)), side="right")
        hit = place < starts[parent + 1]
        return source[hit], children[place[hit]]

    @cached_property
    def _poisson(self) -> tuple[_Vector, _Vector]:
        """Points per sample in each context; and k + share of the features up to each, flat."""
        rates = -np.log1p(-self.given_context)
        totals = rates.sum(axis=1)
        places = np.cumsum(rates, axis=1) / totals[:, None]
        places[:, -1] = 1.0
        places += np.arange(len(totals))[:, None]
        return totals, places.ravel()

    @cached_property
    def _children(self) -> tuple[_Places, _Places, _Vector]:
        """Children side by side, where each parent's begin, P(child | parent) of each."""
        order = np.argsort(self.parents, kind="stable")
        children = order[np.searchsorted(self.parents[order], 0) :]
        parents = self.parents[children]
        starts = np.searchsorted(parents, np.arange(len(self.parents) + 1))
        return children, starts, self.frequency[children] / self.frequency[parents]

    @cached_property
    def _ends(self) -> _Vector:
        """Number of the parent + sum of the shares of its children up to each."""
        children, starts, own = self._children
        sums = np.cumsum(own)
        parents = self.parents[children]
        before = np.concatenate([[0.0], sums])[starts[parents]]
        return cast("_Vector", parents + np.minimum(sums - before, 1.0))


def draw_contexts(n_contexts: int, n_factors: int, rng: np.random.Generator) -> _Vector:
    """Return points of a standard normal, half of them the negatives of the others.

    So that their mean is zero and negative correlations are as strong as positive ones.
    """
    half = rng.standard_normal(((n_contexts + 1) // 2, n_factors))
    return np.concatenate([half, -half])[:n_contexts]


def _thresholds(shifts: _Vector, p: _Vector, unique: _Vector) -> _Vector:
    """Return t with mean over k of Phi(shift_kj - t_j) = p_j, by Newton's method on the logarithm.

    log Phi is concave, so from the left of the solution (where the mean is too large) steps do not
    overshoot by much; they are held to 1, which is a factor of many in frequency.
    """
    t = -ndtri(p) / unique
    for _ in range(_NEWTON_STEPS):
        logs = log_ndtr(shifts - t)
        mean = np.exp(logs).mean(axis=0)
        density = np.exp(-0.5 * np.square(shifts - t)).mean(axis=0) / np.sqrt(2.0 * np.pi)
        move = np.clip(mean * np.log(mean / p) / density, -1.0, 1.0)
        t += move
        if np.abs(move).max() < 1e-13:
            break
    return cast("_Vector", t)
