"""Synthetic activations with a known dictionary: x = sum_m z_m atom_m + noise.

The true features fire rarely and unevenly (Zipf), like those of real representations, and may
co-fire or form parents and children. As the truth is known, it can be measured how much of it a
learnt dictionary recovers, which reconstruction does not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils import Bunch

from icfl import _core
from icfl._validation import check_choice, check_count, check_matrix, check_n_jobs, check_number
from icfl.datasets._codes import Coefficient, check_coefficient, draw_dense, draw_sparse
from icfl.datasets._firing import (
    N_FACTORS,
    Firing,
    RandomState,
    as_generator,
    plant_firing,
    plant_sparse_firing,
)
from icfl.datasets._sparse_firing import SparseFiring
from icfl.datasets._trees import Trees
from icfl.datasets.stream import PlantedStream
from icfl.exceptions import InputError

Sampler = Literal["dense", "sparse"]


@dataclass(frozen=True, eq=False)
class PlantedModel:
    """A planted dictionary and how its features fire; draws as many samples as are asked for.

    `make_planted` returns one as ``.model``. Fresh samples of the same dictionary, for held-out
    data or endless streams, come from `sample` and `batches`.

    Attributes
    ----------
    components : ndarray of shape (n_components, n_features), float32
        True atoms, unit norm.
    firing : Firing or SparseFiring
        Marginal frequencies, parents and factor loadings of the features.
    noise : float
        Standard deviation of the noise on each input dimension.
    coefficient_mean, coefficient_sd : float or ndarray of shape (n_components,), float32
        Of the normal distribution, cut off at zero, that active features draw their values from.
    scale_by_parent : bool
        Whether the values of children are in proportion to those of their parents.
    """

    components: npt.NDArray[np.float32]
    firing: Firing | SparseFiring
    noise: float
    coefficient_mean: Coefficient
    coefficient_sd: Coefficient
    scale_by_parent: bool = False

    def sample(self, n_samples: int, *, random_state: RandomState = None) -> Bunch:
        """Draw `n_samples` independent samples.

        Parameters
        ----------
        n_samples : int
        random_state : int, numpy.random.Generator, RandomState or None
            An integer gives the same samples every time. Give another one than to `make_planted`
            for samples that are new.

        Returns
        -------
        sklearn.utils.Bunch
            As from `make_planted`.

        Examples
        --------
        >>> from icfl.datasets import make_planted
        >>> train = make_planted(1000, random_state=0)
        >>> test = train.model.sample(200, random_state=1)
        >>> test.X.shape, bool((test.components == train.components).all())
        ((200, 128), True)
        """
        check_count(n_samples, "n_samples")
        rng = as_generator(random_state)
        codes = self._codes(n_samples, rng)
        return Bunch(
            X=self._rows(codes, rng),
            codes=codes,
            components=self.components,
            frequency=self.firing.frequency,
            parents=self.firing.parents,
            model=self,
        )

    def batches(
        self, n_samples: int, *, batch_size: int, random_state: RandomState = None
    ) -> Iterator[Bunch]:
        """Yield `n_samples` samples in batches, one batch in memory at a time.

        Parameters
        ----------
        n_samples : int
            In total; the last batch may be smaller.
        batch_size : int
        random_state : int, numpy.random.Generator, RandomState or None

        Yields
        ------
        sklearn.utils.Bunch
            As from `sample`.
        """
        check_count(n_samples, "n_samples")
        check_count(batch_size, "batch_size")
        rng = as_generator(random_state)
        for start in range(0, n_samples, batch_size):
            yield self.sample(min(batch_size, n_samples - start), random_state=rng)

    def stream(
        self,
        n_samples: int,
        *,
        chunk_size: int = 8192,
        random_state: RandomState = None,
        n_jobs: int | None = None,
    ) -> PlantedStream:
        """Return a stream of samples that learners are fitted on and that is never held whole.

        Parameters
        ----------
        n_samples : int
        chunk_size : int, default=8192
            Samples drawn at once, and so the memory that is needed.
        random_state : int, numpy.random.Generator, RandomState or None
            An integer gives the same samples every time; another one, samples that are new.
        n_jobs : int, optional
            Threads that multiply codes with atoms; None takes all cores. Same bits for any number.

        Returns
        -------
        PlantedStream

        Examples
        --------
        >>> from icfl.datasets import make_planted
        >>> model = make_planted(1, 32, 100, n_active=5, random_state=0).model
        >>> model.stream(10_000_000, random_state=1).chunk(1000).X.shape
        (8192, 32)
        """
        check_count(n_samples, "n_samples")
        check_count(chunk_size, "chunk_size")
        check_n_jobs(n_jobs)
        seed = as_generator(random_state).integers(2**63, size=2).tolist()
        return PlantedStream(self, n_samples, chunk_size, tuple(seed), n_jobs)

    def _rows(
        self, codes: sparse.csr_array, rng: np.random.Generator, n_jobs: int | None = None
    ) -> npt.NDArray[np.float32]:
        if self.noise == 0 and not isinstance(self.firing, Firing):
            return self._decoded(codes, n_jobs)
        shape = (codes.shape[0], self.components.shape[1])
        X = rng.standard_normal(shape, dtype=np.float32)
        X *= np.float32(self.noise)
        X += self._decoded(codes, n_jobs)
        return X

    def _codes(self, n_samples: int, rng: np.random.Generator) -> sparse.csr_array:
        mean, sd = self.coefficient_mean, self.coefficient_sd
        if isinstance(self.firing, Firing):
            return draw_dense(self.firing, n_samples, mean, sd, rng)
        scale = self.scale_by_parent
        return draw_sparse(self.firing, n_samples, mean, sd, rng, scale_by_parent=scale)

    def _decoded(self, codes: sparse.csr_array, n_jobs: int | None) -> npt.NDArray[np.float32]:
        if isinstance(self.firing, Firing):
            return np.asarray(codes @ self.components)
        parts = codes.indptr.astype(np.int64), codes.indices.astype(np.int32), codes.data
        return _core.decode(parts, self.components, None, check_n_jobs(n_jobs))


def make_planted(
    n_samples: int,
    n_features: int = 128,
    n_components: int = 512,
    *,
    n_active: float = 10.0,
    zipf_exponent: float = 0.6,
    max_frequency: float = 0.5,
    noise: float = 0.02,
    coefficient_mean: float | npt.ArrayLike = 1.0,
    coefficient_sd: float | npt.ArrayLike = 0.25,
    correlation: float = 0.0,
    n_factors: int = N_FACTORS,
    hierarchy: float | Trees = 0.0,
    sampler: Sampler = "dense",
    components: npt.ArrayLike | None = None,
    random_state: RandomState = None,
) -> Bunch:
    """Draw samples from a planted dictionary.

    Parameters
    ----------
    n_samples : int
    n_features : int, default=128
        Dimension of the inputs. Ignored if `components` is given.
    n_components : int, default=512
        Number of true features. Ignored if `components` is given.
    n_active : float, default=10
        Expected number of active features per sample.
    zipf_exponent : float, default=0.6
        Feature j fires with a probability proportional to (j + 1)^-zipf_exponent; 0 makes all
        equally frequent. 1 is Zipf's law proper, and harder: the three most frequent features
        then fire in half of all samples, and their combinations look like features.
    max_frequency : float, default=0.5
        Upper limit of that probability; what it cuts off is spread over the other features in
        proportion.
    noise : float, default=0.02
        Standard deviation of the Gaussian noise on each input dimension.
    coefficient_mean, coefficient_sd : float or array-like, default=1 and 0.25
        Active features have values from this normal distribution, conditioned on being positive.
        An array of shape (n_components,) gives every feature its own.
    correlation : float, default=0
        Strength of co-firing, in [0, 1). Features load on common Gaussian factors (a Gaussian
        copula); the latent correlation of two of them is `correlation` times the cosine of their
        loadings, positive or negative. How often each one fires does not change.
    n_factors : int, default=8
        Number of these factors: with many, most pairs of features are nearly uncorrelated.
    hierarchy : float or Trees, default=0
        Share of features, in [0, 1), that are children: a child fires only if its parent, a feature
        at least twice as frequent, does. How often each one fires does not change. Children follow
        their parents, not the common factors. `Trees` makes trees of the most frequent features,
        several levels deep, whose siblings may exclude each other; features then fire as often as
        the law says or as their parents allow, and `n_active` in all.
    sampler : {"dense", "sparse"}, default="dense"
        "dense" draws a latent variable for every sample and feature. "sparse" draws only what
        fires, and is needed for `Trees`: 6 times as fast with 10 of 512 features active on a
        sample, 44 times with 31 of 16,384. The distribution is the same, but that the common
        factors take 256 values, drawn once.
    components : array-like of shape (n_components, n_features), optional
        True atoms, most frequent first; scaled to unit norm. By default uniform on the sphere.
    random_state : int, numpy.random.Generator, RandomState or None

    Returns
    -------
    sklearn.utils.Bunch
        - ``X``: ndarray of shape (n_samples, n_features), float32
        - ``codes``: csr_array of shape (n_samples, n_components), float32, sorted indices
        - ``components``: ndarray of shape (n_components, n_features), float32, unit rows
        - ``frequency``: ndarray of shape (n_components,), float64, P(feature active)
        - ``parents``: ndarray of shape (n_components,), int, -1 where there is none
        - ``model``: PlantedModel, to draw more samples of the same dictionary

    Raises
    ------
    InputError, InputTypeError
        If an option is out of range, `n_active` cannot be reached under `max_frequency`, or there
        are too few features rarer than half of the most frequent one to be children.

    See Also
    --------
    icfl.metrics.dictionary_similarity : how much of ``components`` was recovered.

    References
    ----------
    SynthSAEBench (arXiv 2602.14687), for Zipf firing, correlation and hierarchy.

    Examples
    --------
    >>> from icfl.datasets import make_planted
    >>> planted = make_planted(1000, n_features=32, n_components=100, random_state=0)
    >>> planted.X.shape, planted.codes.shape, round(float(planted.frequency.sum()), 6)
    ((1000, 32), (1000, 100), 10.0)
    """
    check_number(noise, "noise", low=0.0)
    check_choice(sampler, "sampler", ("dense", "sparse"))
    rng = as_generator(random_state)
    atoms = unit_atoms(components, n_components, n_features, rng)
    mean = check_coefficient(coefficient_mean, "coefficient_mean", len(atoms), closed=False)
    sd = check_coefficient(coefficient_sd, "coefficient_sd", len(atoms), closed=True)
    firing = (plant_firing if sampler == "dense" else plant_sparse_firing)(
        len(atoms),
        n_active=n_active,
        zipf_exponent=zipf_exponent,
        max_frequency=max_frequency,
        correlation=correlation,
        n_factors=n_factors,
        hierarchy=hierarchy,
        rng=rng,
    )
    scale = isinstance(hierarchy, Trees) and hierarchy.scale_by_parent
    model = PlantedModel(atoms, firing, noise, mean, sd, scale)
    return model.sample(n_samples, random_state=rng)


def unit_atoms(
    components: npt.ArrayLike | None,
    n_components: int,
    n_features: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Return the given atoms at unit norm, or as many uniform on the sphere."""
    if components is None:
        check_count(n_components, "n_components")
        check_count(n_features, "n_features")
        atoms = rng.standard_normal((n_components, n_features))
    else:
        atoms = check_matrix(components, "components", minimum_rows=1).astype(np.float64)
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise InputError("components must be finite and have no zero rows")
    return np.ascontiguousarray(atoms / norms, dtype=np.float32)
