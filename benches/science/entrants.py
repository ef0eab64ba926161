"""Learners as the tables name them, with the options that make one differ from its class.

An entry whose class does not have one of its options is left out of a table and said to be: a table
can thus name an option that only other versions have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import icfl


class Entrant(NamedTuple):
    """A row of a table: its name, a class below `icfl`, and options other than the defaults."""

    name: str
    cls: str
    options: Mapping[str, Any] = {}

    @property
    def known(self) -> set[str]:
        """Names of all options of the class."""
        return set(self._class()().get_params(deep=False))

    @property
    def lacks(self) -> list[str]:
        """Return options that the class does not have."""
        return sorted(self.options.keys() - self.known)

    def build(self, **common: Any) -> Any:
        """Return an unfitted estimator.

        Options of its own come before common ones, of which the class gets those that it has; a
        number of passes only if it learns by mini-batches.
        """
        wanted = self.known if "max_steps" in self.known else self.known - {"max_iter"}
        shared = {name: value for name, value in common.items() if name in wanted}
        return self._class()(**(shared | dict(self.options)))

    def _class(self) -> Any:
        return reduce(getattr, self.cls.split("."), icfl)


ICFL = Entrant("ICFL", "ICFL")
AT_ONCE = icfl.updates.Online(first_atoms=None, disentangle=0.0)
BLOCK = Entrant("ICFL, block", "ICFL", {"refit": "block", "update": AT_ONCE})
"""Codes as published; all atoms from the first step on, and none taken apart."""
ALL_AT_ONCE = Entrant(
    "ICFL, all atoms at once", "ICFL", {"update": icfl.updates.Online(first_atoms=None)}
)
TOPK = Entrant("TopKSAE", "TopKSAE")
BATCH_TOPK = Entrant("BatchTopKSAE", "BatchTopKSAE")
MATRYOSHKA = Entrant("MatryoshkaSAE", "MatryoshkaSAE")
PCA = Entrant("PCA", "baselines.PCA")
RAW = Entrant("raw", "baselines.RawInputs")

SPARSE = (ICFL, BLOCK, TOPK, BATCH_TOPK, MATRYOSHKA, PCA)
CLAIMS = (*SPARSE, Entrant("k-means", "baselines.KMeans"), RAW)
CHANCE = (*SPARSE, Entrant("random atoms", "baselines.RandomAtoms"), RAW)

PURSUIT: Mapping[str, Any] = {"n_iterations": 60, "atoms_per_iteration": 1, "threshold": "auto"}
"""Of ICFL on the benchmark: 60 atoms at most, as many as the true atoms are coded with there."""

MERGED = {"update": icfl.updates.Online(disentangle=0.0)}
UNRELEASED = {"update": icfl.updates.Online(release=False)}

PLANTED = (
    Entrant("ICFL", "ICFL", PURSUIT),
    Entrant("ICFL, none released", "ICFL", {**PURSUIT, **UNRELEASED}),
    Entrant("ICFL, nothing apart", "ICFL", {**PURSUIT, **MERGED}),
    Entrant("ICFL, block", "ICFL", {**PURSUIT, **BLOCK.options}),
    TOPK,
    BATCH_TOPK,
    MATRYOSHKA,
)

LATENTS = (ICFL, ALL_AT_ONCE, BLOCK, TOPK, BATCH_TOPK, MATRYOSHKA)

PROBED = (ICFL, BLOCK, TOPK)

TRANSFER = (ICFL, TOPK, PCA)


def available(entrants: Iterable[Entrant]) -> tuple[list[Entrant], list[str]]:
    """Return those that can be built, and a line for each that cannot."""
    there, missing = [], []
    for entrant in entrants:
        if entrant.lacks:
            lacking = ", ".join(entrant.lacks)
            missing.append(f"Left out: {entrant.name} ({entrant.cls} has no option {lacking}).")
        else:
            there.append(entrant)
    return there, missing
