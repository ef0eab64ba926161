"""When planted features fire: Zipf frequencies, co-firing by common factors, parents and children.

Feature j has a latent variable g_j, uniform or Gaussian, and fires if g_j is in a tail of
probability q_j (and its parent, if it has one, fires too):

    no parent    q_j = p_j
    child        q_j = p_j / p_parent, with g_j independent of everything else

so that P(j fires) is p_j exactly, with or without correlation and hierarchy. `Firing` draws all of
these variables; `SparseFiring` has the same distribution at a cost of what fires.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from icfl._validation import check_count, check_number, seeded_generator
from icfl.datasets._sparse_firing import SparseFiring, draw_contexts
from icfl.datasets._trees import Trees, scaled_to_sum
from icfl.exceptions import InputError, InputTypeError

RandomState: TypeAlias = int | np.random.Generator | np.random.RandomState | None

N_FACTORS = 8
N_CONTEXTS = 256
"""Values that the common factors take where features are drawn sparsely."""

_PARENT_RATIO = 2.0  # a child with the frequency of its parent could not be told from it

# 2**22 float32 latent values, 16 MiB: what sampling needs beside its result.
_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True, eq=False)
class Firing:
    """Joint distribution of which features are active.

    Attributes
    ----------
    frequency : ndarray of shape (n_components,), float64
        P(feature active), falling.
    parents : ndarray of shape (n_components,), intp
        Index of the parent, -1 where there is none. Parents have no parents themselves.
    loadings : ndarray of shape (n_components, n_factors), float64
        Of the latent Gaussian variables on common factors: the latent correlation of two features
        is the inner product of their rows. No columns if features fire independently.
    """

    frequency: npt.NDArray[np.float64]
    parents: npt.NDArray[np.intp]
    loadings: npt.NDArray[np.float64]

    def draw(
        self, n_samples: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        """Draw active sets: how many features each sample has, and their indices, row by row."""
        step = max(1, _BLOCK_VALUES // len(self.frequency))
        counts, columns = [], []
        for start in range(0, n_samples, step):
            active = self._draw_block(min(step, n_samples - start), rng)
            # Three times as fast as np.nonzero on the two-dimensional mask (3 against 10 ms for
            # 8,192 x 512 at 2 %).
            rows, places = np.divmod(np.flatnonzero(active), len(self.frequency))
            counts.append(np.bincount(rows, minlength=len(active)))
            columns.append(places)
        return np.concatenate(counts), np.concatenate(columns)

    def _draw_block(self, n_samples: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        own = self._own_probability()
        shape = (n_samples, len(own))
        if self.loadings.shape[1] == 0:
            active = rng.random(shape, dtype=np.float32) < own.astype(np.float32)
        else:
            active = self._latent(shape, rng) > norm.isf(own).astype(np.float32)
        children = np.flatnonzero(self.parents >= 0)
        active[:, children] &= active[:, self.parents[children]]
        return active

    def _own_probability(self) -> npt.NDArray[np.float64]:
        """Return P(fires | its parent fires), and P(fires) where there is no parent."""
        own = self.frequency.copy()
        children = np.flatnonzero(self.parents >= 0)
        own[children] /= self.frequency[self.parents[children]]
        return own

    def _latent(self, shape: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Draw standard normal variables, correlated across features as the loadings say."""
        unique = np.sqrt(1.0 - np.einsum("ij,ij->i", self.loadings, self.loadings))
        factors = rng.standard_normal((shape[0], self.loadings.shape[1]), dtype=np.float32)
        latent = rng.standard_normal(shape, dtype=np.float32)
        latent *= unique.astype(np.float32)
        latent += factors @ self.loadings.T.astype(np.float32)
        return latent


def plant_firing(
    n_components: int,
    *,
    n_active: float,
    zipf_exponent: float,
    max_frequency: float,
    correlation: float,
    n_factors: int,
    hierarchy: float | Trees,
    rng: np.random.Generator,
) -> Firing:
    """Return a joint distribution with the properties that `make_planted` documents."""
    if isinstance(hierarchy, Trees):
        raise InputError("hierarchy=Trees(...) needs sampler='sparse', got sampler='dense'")
    _check_share(correlation, "correlation")
    _check_share(hierarchy, "hierarchy")
    frequency = _capped_zipf(n_components, n_active, zipf_exponent, max_frequency)
    parents = _draw_parents(frequency, round(hierarchy * n_components), rng)
    return Firing(frequency, parents, draw_loadings(parents, correlation, n_factors, rng))


def plant_sparse_firing(
    n_components: int,
    *,
    n_active: float,
    zipf_exponent: float,
    max_frequency: float,
    correlation: float,
    n_factors: int,
    hierarchy: float | Trees,
    rng: np.random.Generator,
) -> SparseFiring:
    """Return the same as `plant_firing`, or with trees, in a form that is drawn sparsely."""
    _check_share(correlation, "correlation")
    if isinstance(hierarchy, Trees):
        hierarchy.check(n_components)
        weights = _zipf(n_components, zipf_exponent)
        check_number(n_active, "n_active", low=0.0, closed=False)
        check_number(max_frequency, "max_frequency", low=0.0, high=1.0)
        frequency = scaled_to_sum(
            lambda s: hierarchy.frequencies(np.minimum(max_frequency, s * weights)), n_active
        )
        return sparse_firing(
            frequency, hierarchy.parents(n_components), hierarchy.exclusive,
            correlation=correlation, n_factors=n_factors, rng=rng,
        )  # fmt: skip
    _check_share(hierarchy, "hierarchy")
    frequency = _capped_zipf(n_components, n_active, zipf_exponent, max_frequency)
    parents = _draw_parents(frequency, round(hierarchy * n_components), rng)
    return sparse_firing(
        frequency, parents, False, correlation=correlation, n_factors=n_factors, rng=rng
    )


def sparse_firing(
    frequency: npt.NDArray[np.float64],
    parents: npt.NDArray[np.intp],
    exclusive: bool,
    *,
    correlation: float,
    n_factors: int,
    rng: np.random.Generator,
) -> SparseFiring:
    """Return the joint distribution of features that fire so often and have these parents."""
    loadings = draw_loadings(parents, correlation, n_factors, rng)
    n_contexts = N_CONTEXTS if correlation > 0 else 1
    contexts = draw_contexts(n_contexts, loadings.shape[1], rng)
    return SparseFiring(frequency, parents, exclusive, loadings, contexts)


def draw_loadings(
    parents: npt.NDArray[np.intp], correlation: float, n_factors: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return loadings of norm sqrt(correlation) in random directions, zero for children."""
    check_count(n_factors, "n_factors")
    if correlation == 0:
        return np.zeros((len(parents), 0))
    loadings = rng.standard_normal((len(parents), n_factors))
    loadings *= np.sqrt(correlation) / np.linalg.norm(loadings, axis=1, keepdims=True)
    loadings[parents >= 0] = 0.0
    return loadings


def _check_share(value: object, name: str) -> None:
    if check_number(value, name, low=0.0, high=1.0) == 1.0:
        raise InputError(f"{name} must be below 1, got {value!r}")


def _zipf(n_components: int, exponent: float) -> npt.NDArray[np.float64]:
    check_number(exponent, "zipf_exponent", low=0.0)
    weights: npt.NDArray[np.float64] = np.arange(1, n_components + 1, dtype=np.float64)
    return weights ** -float(exponent)


def _capped_zipf(
    n_components: int, n_active: float, exponent: float, cap: float
) -> npt.NDArray[np.float64]:
    """Return min(cap, s (j + 1)^-exponent), with s such that the sum is `n_active`."""
    check_number(n_active, "n_active", low=0.0, closed=False)
    weight = _zipf(n_components, exponent)
    if check_number(cap, "max_frequency", low=0.0, high=1.0) * n_components < n_active:
        limit = cap * n_components
        raise InputError(
            f"n_active must be at most n_components * max_frequency = {limit:g}, got {n_active!r}"
        )
    # Weights fall, so the capped features are the first ones; find how many, from none upwards.
    tail = np.cumsum(weight[::-1])[::-1]
    n_capped = np.arange(n_components)
    scale = (n_active - cap * n_capped) / tail
    fits = scale * weight <= cap
    fits[-1] = True  # by the check above; rounding may deny it
    first = int(np.argmax(fits))
    return np.minimum(cap, np.where(n_capped < first, cap, scale[first] * weight))


def _draw_parents(
    frequency: npt.NDArray[np.float64], n_children: int, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    parents = np.full(len(frequency), -1, dtype=np.intp)
    eligible = np.flatnonzero(frequency * _PARENT_RATIO <= frequency[0])
    if n_children > len(eligible):
        raise InputError(
            f"hierarchy asks for {n_children} children, but only {len(eligible)} features are at "
            "most half as frequent as the first; lower it, or raise zipf_exponent"
        )
    children = np.sort(rng.choice(eligible, n_children, replace=False))
    roots = np.setdiff1d(np.arange(len(frequency)), children)
    # Frequencies fall, so the roots that are frequent enough come first.
    n_fit = np.searchsorted(-frequency[roots], -_PARENT_RATIO * frequency[children], side="right")
    parents[children] = roots[rng.integers(0, n_fit)] if n_children else children
    return parents


def as_generator(random_state: RandomState) -> np.random.Generator:
    """Return a NumPy Generator: the one given, or a new one seeded by `random_state`."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return seeded_generator(random_state)
    if random_state is None or isinstance(random_state, int | np.integer):
        if random_state is not None and random_state < 0:
            raise InputError(f"random_state must not be negative, got {random_state}")
        return np.random.default_rng(random_state)
    raise InputTypeError(
        "random_state must be None, an integer, a Generator or a RandomState, "
        f"got {type(random_state).__name__}"
    )
