"""A synthetic benchmark in the manner of SynthSAEBench: a large planted dictionary, few latents.

At full size 16,384 features in 768 dimensions fire by a Zipf law, two thirds of them in trees of
four levels, with correlated firing, values of varying size, and fewer latents to be learnt than
there are features, as must be supposed of real representations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from icfl._validation import check_choice, check_number
from icfl.datasets._firing import RandomState, as_generator, sparse_firing
from icfl.datasets._trees import Trees
from icfl.datasets.planted import PlantedModel, unit_atoms
from icfl.datasets.stream import PlantedStream

__all__ = ["SyntheticBenchmark", "make_synthetic_benchmark"]

Scale = Literal["full", "tenth"]

_SHARES = {"full": 1.0, "tenth": 0.1}
_LEAST = 0.02  # 15 dimensions and two trees; below that, rounding decides
_N_FEATURES, _N_DIMENSIONS, _N_TREES, _N_LATENTS = 16_384, 768, 128, 4_096
_HIGHEST, _LOWEST, _EXPONENT = 0.4, 5e-4, 0.5
_LARGEST_SHARE = 0.9  # 31 features are then active on a sample; with 0.8, 28, and with 0.99, 35


@dataclass(frozen=True, eq=False)
class SyntheticBenchmark:
    """What `make_synthetic_benchmark` returns.

    Attributes
    ----------
    model : PlantedModel
        The planted dictionary: ``model.components``, ``model.firing.frequency`` and
        ``model.firing.parents`` are the truth.
    n_latents : int
        Size of the dictionary that is to be learnt.
    seeds : tuple of int
        Of the training and the test samples.
    """

    model: PlantedModel
    n_latents: int
    seeds: tuple[int, int]

    def train(self, n_samples: int, *, n_jobs: int | None = None) -> PlantedStream:
        """Return a stream of training samples, always the same ones.

        Parameters
        ----------
        n_samples : int
        n_jobs : int, optional
            Threads; None takes all cores.
        """
        return self.model.stream(n_samples, random_state=self.seeds[0], n_jobs=n_jobs)

    def test(self, n_samples: int, *, n_jobs: int | None = None) -> PlantedStream:
        """Return a stream of samples that are not among the training ones.

        Parameters
        ----------
        n_samples : int
        n_jobs : int, optional
            Threads; None takes all cores.
        """
        return self.model.stream(n_samples, random_state=self.seeds[1], n_jobs=n_jobs)


def make_synthetic_benchmark(
    scale: Scale | float = "full",
    *,
    n_features: int | None = None,
    correlation: float = 0.25,
    noise: float = 0.0,
    exclusive: bool = True,
    scale_by_parent: bool = True,
    random_state: RandomState = 0,
) -> SyntheticBenchmark:
    """Make a planted dictionary after SynthSAEBench-16k, or a smaller one like it.

    Parameters
    ----------
    scale : {"full", "tenth"} or float from 0.02 to 1, default="full"
        Full size: 16,384 features in 768 dimensions, 128 trees, 4,096 latents. A smaller one has
        this share of each, and each of its features fires as often as the features of that rank
        among the full ones: every tenth feature in a tenth of the dimensions. So what does not
        grow with size stays: features per dimension (21.3), active features per dimension, and
        with it the interference of the others with one feature, latents per feature, and the
        distribution of frequencies. The number of active features shrinks too: 31 of a sample at
        full size, 3.1 at a tenth.
    n_features : int, optional
        Dimensions, where others are wanted: the fewer, the more superposition.
    correlation : float, default=0.25
        As in `make_planted`, on 25 common factors.
    noise : float, default=0
        Standard deviation of Gaussian noise on each dimension.
    exclusive : bool, default=True
        Whether siblings in trees exclude each other.
    scale_by_parent : bool, default=True
        Whether strong parents have strong children.
    random_state : int, numpy.random.Generator, RandomState or None
        Of the dictionary, and of the samples.

    Returns
    -------
    SyntheticBenchmark
        With ``train(n_samples)`` and ``test(n_samples)``, streams that `fit` takes.

    Raises
    ------
    InputError, InputTypeError
        If an option is out of range.

    Notes
    -----
    With r the rank of a feature at full size and M = 16,384, the law of frequencies is

        p_r = 0.0005 + 0.3995 (r^-0.5 - M^-0.5) / (1 - M^-0.5).

    Trees have three levels of four children below their roots, taken from the most frequent
    features; where a parent leaves less, its children fire less often (see `Trees`), and
    ``model.firing.frequency`` is what is left. Values are normal around a mean that falls from 5,
    for the most frequent feature, to 4, with a standard deviation of |N(0.5, 0.5)| drawn once for
    each feature.

    Unlike SynthSAEBench: frequencies are exact, so that siblings that exclude each other lose in
    frequency (31 active features rather than 34); the common factors take 256 values; atoms are
    uniform on the sphere without steps towards orthogonality (the squared cosines of 16,384 in 768
    dimensions sum to within d / M = 5 % of the least possible); there is no bias. Numbers are
    therefore comparable between learners here, and not with those published.

    References
    ----------
    Chanin and Garriga-Alonso (2026), "SynthSAEBench: Evaluating sparse autoencoders on scalable
    realistic synthetic data", arXiv:2602.14687.

    Examples
    --------
    >>> from icfl.datasets import make_synthetic_benchmark
    >>> tenth = make_synthetic_benchmark("tenth")
    >>> tenth.model.components.shape, tenth.n_latents
    ((1638, 77), 410)
    >>> tenth.train(1_000_000).chunk(3).codes.shape
    (8192, 1638)
    """
    share = _share_of(scale)
    rng = as_generator(random_state)
    width = _scaled(_N_DIMENSIONS, share) if n_features is None else n_features
    atoms = unit_atoms(None, _scaled(_N_FEATURES, share), width, rng)
    trees = Trees(
        _scaled(_N_TREES, share),
        exclusive=exclusive,
        largest_share=_LARGEST_SHARE,
        scale_by_parent=scale_by_parent,
    )
    trees.check(len(atoms))
    firing = sparse_firing(
        trees.frequencies(_law(len(atoms), share)),
        trees.parents(len(atoms)),
        exclusive,
        correlation=_checked(correlation, "correlation", below=1.0),
        n_factors=25,
        rng=rng,
    )
    mean = np.linspace(5.0, 4.0, len(atoms), dtype=np.float32)
    sd = np.abs(rng.normal(0.5, 0.5, len(atoms))).astype(np.float32)
    model = PlantedModel(atoms, firing, _checked(noise, "noise"), mean, sd, scale_by_parent)
    first, second = rng.integers(2**63, size=2).tolist()
    return SyntheticBenchmark(model, _scaled(_N_LATENTS, share), (first, second))


def _law(n: int, share: float) -> npt.NDArray[np.float64]:
    """Return the frequencies of n features that stand for all of the full size."""
    ranks = (np.arange(n) + 0.5) / share + 0.5
    last = _N_FEATURES**-_EXPONENT
    fall = np.maximum((ranks**-_EXPONENT - last) / (1.0 - last), 0.0)
    law: npt.NDArray[np.float64] = _LOWEST + (_HIGHEST - _LOWEST) * fall
    return law


def _share_of(scale: object) -> float:
    if isinstance(scale, str):
        return _SHARES[check_choice(scale, "scale", tuple(_SHARES))]
    return check_number(scale, "scale", low=_LEAST, high=1.0)


def _scaled(count: int, share: float) -> int:
    return max(1, round(count * share))


def _checked(value: object, name: str, *, below: float = np.inf) -> float:
    number = check_number(value, name, low=0.0, high=below)
    if number == below:
        check_number(value, name, low=0.0, high=below, closed=False)
    return number
