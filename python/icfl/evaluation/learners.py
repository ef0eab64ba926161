"""Learners by name, and made alike: as many atoms, as many non-zeros a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from sklearn.base import clone

from icfl.exceptions import InputError, InputTypeError

__all__ = ["LEARNERS", "resolve", "seeded"]


class Named(NamedTuple):
    """Where a class is, and which of its parameters stay as they are."""

    module: str
    cls: str
    keeps: tuple[str, ...] = ()


LEARNERS = {
    "icfl": Named("icfl", "ICFL"),
    "topk": Named("icfl", "TopKSAE"),
    "batch_topk": Named("icfl", "BatchTopKSAE"),
    "matryoshka": Named("icfl", "MatryoshkaSAE"),
    "abs_topk": Named("icfl", "AbsTopKSAE"),
    "jump_relu": Named("icfl", "JumpReLUSAE"),
    "matching_pursuit": Named("icfl", "MatchingPursuitSAE"),
    # No wider than the inputs, and all of that.
    "pca": Named("icfl.baselines", "PCA", ("n_components",)),
    "ica": Named("icfl.baselines", "ICA", ("n_components",)),
    "nmf": Named("icfl.baselines", "NMF"),
    "kmeans": Named("icfl.baselines", "KMeans"),
    "random": Named("icfl.baselines", "RandomAtoms"),
    "raw": Named("icfl.baselines", "RawInputs", ("n_nonzero",)),
}
"""Learners by name; whatever they do not keep is made alike."""


def resolve(
    learners: Any, n_components: int | None, n_nonzero: int | None, n_jobs: int | None
) -> dict[str, Any]:
    """Return an unfitted estimator for each name.

    Parameters
    ----------
    learners : sequence of str, or mapping of str to estimator
        Names out of `LEARNERS`, or estimators under names of their own.
    n_components, n_nonzero : int or None
        Atoms and non-zeros a row that all of them are given, wherever they have such a parameter.
    n_jobs : int or None
        Threads.

    Raises
    ------
    InputError, InputTypeError
        If a name is unknown, or what is given is no estimator.
    """
    if isinstance(learners, str) or not isinstance(learners, (Mapping, Sequence)) or not learners:
        raise InputTypeError(
            "learners must be a list of names or a mapping of names to estimators, "
            f"got {learners!r}"
        )
    wanted = {"n_components": n_components, "n_nonzero": n_nonzero, "n_jobs": n_jobs}
    if isinstance(learners, Mapping):
        return {str(name): _alike(str(name), value, wanted) for name, value in learners.items()}
    return {name: _named(name, wanted) for name in learners}


def _named(name: Any, wanted: dict[str, int | None]) -> Any:
    if name not in LEARNERS:
        raise InputError(f"learners must be out of {', '.join(LEARNERS)}, got {name!r}")
    module, cls, _ = LEARNERS[name]
    return _alike(name, getattr(import_module(module), cls)(), wanted)


def _keeps(estimator: Any) -> tuple[str, ...]:
    """Return the parameters that cannot be as the others have them."""
    cls = type(estimator)
    if cls.__module__.partition(".")[0] != "icfl":
        return ()
    return next((named.keeps for named in LEARNERS.values() if named.cls == cls.__name__), ())


def _alike(name: str, estimator: Any, wanted: dict[str, int | None]) -> Any:
    if not all(hasattr(estimator, face) for face in ("fit", "transform", "get_params")):
        raise InputTypeError(f"learners[{name!r}] must be an estimator, got {estimator!r}")
    known = estimator.get_params(deep=False)
    options: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    if "n_nonzero" in options and "n_iterations" in known and "atoms_per_iteration" in known:
        rounds, atoms = known["n_iterations"], known["atoms_per_iteration"]
        options |= _rounds(options["n_nonzero"], rounds, atoms)
    free = known.keys() - _keeps(estimator)
    return clone(estimator).set_params(**{key: options[key] for key in options if key in free})


def _rounds(n_nonzero: int, n_iterations: int, atoms: int) -> dict[str, int]:
    """Return rounds and atoms a round that make `n_nonzero`; those of the learner if they do."""
    if n_iterations * atoms != n_nonzero:
        # About as many of one as of the other, and no fewer rounds.
        atoms = max(a for a in range(1, math.isqrt(n_nonzero) + 1) if n_nonzero % a == 0)
    return {"n_iterations": n_nonzero // atoms, "atoms_per_iteration": atoms}


def seeded(estimator: Any, seed: int) -> Any:
    """Return an unfitted copy with a seed, if it takes one."""
    copy = clone(estimator)
    if "random_state" in copy.get_params(deep=False):
        copy.set_params(random_state=seed)
    return copy
