"""Synthetic activations with a known dictionary: x = sum_m z_m atom_m + noise.

The true features fire rarely and unevenly (Zipf), like those of real representations, and may
co-fire or form parents and children. As the truth is known, it can be measured how much of it a
learnt dictionary recovers, which reconstruction does not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils import Bunch

from icfl._validation import check_count, check_matrix, check_number
from icfl.datasets._firing import Firing, RandomState, as_generator, plant_firing
from icfl.exceptions import InputError


@dataclass(frozen=True, eq=False)
class PlantedModel:
    """A planted dictionary and how its features fire; draws as many samples as are asked for.

    `make_planted` returns one as ``.model``. Fresh samples of the same dictionary, for held-out
    data or endless streams, come from `sample` and `batches`.

    Attributes
    ----------
    components : ndarray of shape (n_components, n_features), float32
        True atoms, unit norm.
    firing : Firing
        Marginal frequencies, parents and factor loadings of the features.
    noise : float
        Standard deviation of the noise on each input dimension.
    coefficient_mean, coefficient_sd : float
        Of the normal distribution, cut off at zero, that active features draw their values from.
    """

    components: npt.NDArray[np.float32]
    firing: Firing
    noise: float
    coefficient_mean: float
    coefficient_sd: float

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
        X = rng.standard_normal((n_samples, self.components.shape[1]), dtype=np.float32)
        X *= np.float32(self.noise)
        X += codes @ self.components
        return Bunch(
            X=X,
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

    def _codes(self, n_samples: int, rng: np.random.Generator) -> sparse.csr_array:
        counts, columns = self.firing.draw(n_samples, rng)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        # 32-bit indices wherever they suffice, as SciPy itself chooses.
        index_type = np.int32 if indptr[-1] < np.iinfo(np.int32).max else np.int64
        values = _positive_normal(len(columns), self.coefficient_mean, self.coefficient_sd, rng)
        shape = (n_samples, len(self.components))
        parts = (values, columns.astype(index_type), indptr.astype(index_type))
        return sparse.csr_array(parts, shape=shape)


def _positive_normal(
    n: int, mean: float, sd: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Draw from N(mean, sd^2) conditioned on being positive, by drawing again what is not."""
    values = rng.standard_normal(n, dtype=np.float32) * np.float32(sd) + np.float32(mean)
    redo = np.flatnonzero(values <= 0)
    while len(redo):  # at most half of them each time, since mean > 0
        values[redo] = rng.standard_normal(len(redo), dtype=np.float32) * sd + mean
        redo = redo[values[redo] <= 0]
    return values


def make_planted(
    n_samples: int,
    n_features: int = 128,
    n_components: int = 512,
    *,
    n_active: float = 10.0,
    zipf_exponent: float = 0.6,
    max_frequency: float = 0.5,
    noise: float = 0.02,
    coefficient_mean: float = 1.0,
    coefficient_sd: float = 0.25,
    correlation: float = 0.0,
    hierarchy: float = 0.0,
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
    coefficient_mean, coefficient_sd : float, default=1 and 0.25
        Active features have values from this normal distribution, conditioned on being positive.
    correlation : float, default=0
        Strength of co-firing, in [0, 1). Features load on eight common Gaussian factors (a Gaussian
        copula); the latent correlation of two of them is `correlation` times the cosine of their
        loadings, positive or negative. How often each one fires does not change.
    hierarchy : float, default=0
        Share of features, in [0, 1), that are children: a child fires only if its parent, a feature
        at least twice as frequent, does. How often each one fires does not change. Children follow
        their parents, not the common factors.
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
    check_number(coefficient_mean, "coefficient_mean", low=0.0, closed=False)
    check_number(coefficient_sd, "coefficient_sd", low=0.0)
    rng = as_generator(random_state)
    atoms = _unit_atoms(components, n_components, n_features, rng)
    firing = plant_firing(
        len(atoms),
        n_active=n_active,
        zipf_exponent=zipf_exponent,
        max_frequency=max_frequency,
        correlation=correlation,
        hierarchy=hierarchy,
        rng=rng,
    )
    model = PlantedModel(atoms, firing, noise, coefficient_mean, coefficient_sd)
    return model.sample(n_samples, random_state=rng)


def _unit_atoms(
    components: npt.ArrayLike | None,
    n_components: int,
    n_features: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    if components is None:
        check_count(n_components, "n_components")
        check_count(n_features, "n_features")
        atoms = rng.standard_normal((n_components, n_features))
    else:
        atoms = check_matrix(components, "components", minimum_rows=1).astype(np.float64)
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise InputError("components must be finite and have no zero rows")
    return np.asarray(atoms / norms, dtype=np.float32)
