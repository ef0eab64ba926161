"""Coders: how a row becomes a sparse code, as small immutable values.

A coder knows its own options and how to call the compiled encoder; it knows neither data nor
dictionary. The stateless calls, `SparseCoder` and the learners all take their coder from here.
Adding one is a class with the face of `Coder` and a row in `CODERS`.

Pursuit needs, in every round, the inner products of all atoms with all residuals. They come either
from a product with the dictionary, n·M·d multiplications a round, or from the Gram matrix
D Dᵀ of M² bytes, which costs M²·d/2 multiplications once and then only a few of its rows per
sample and round. Both only screen: what is chosen, and its codes, are the same to the bit.
`gram_fits` and `gram_pays` decide.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from icfl import _core
from icfl._validation import Floats, check_choice, check_count, check_number
from icfl.exceptions import InputError

__all__ = [
    "CODERS",
    "GRAM_BUDGET",
    "Above",
    "BlockPursuit",
    "Coder",
    "Codes",
    "OrthogonalPursuit",
    "OwnThresholds",
    "Pursuit",
    "TopK",
    "cached_dictionary",
    "codes_of",
    "compiled",
    "gram_fits",
    "gram_pays",
    "input_error",
    "join_codes",
]

Codes: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
"""Rows in compressed form: indptr (n + 1,) int64, indices (nnz,) int32, data (nnz,) float32."""

GRAM_BUDGET = 1 << 30
"""Largest Gram matrix in bytes, 1 GiB or 32,768 atoms; the environment's ICFL_GRAM_BUDGET wins."""

_SELECTIONS = ("positive", "absolute")


class Coder(Protocol):
    """What a coder is: its number of rounds, and the encoding itself."""

    @property
    def rounds(self) -> int:
        """Number of times the inner products with the residual are needed."""

    def encode(
        self,
        dictionary: _core.Dictionary,
        X: Floats,
        bias: NDArray[np.float32] | None,
        *,
        use_gram: bool,
        n_jobs: int | None,
    ) -> Codes:
        """Encode the rows of `X`, shape (n, d), with the atoms of `dictionary`."""


@dataclass(frozen=True)
class TopK:
    """The `n_nonzero` largest scores: positive ones, or by magnitude with their signs."""

    n_nonzero: int
    selection: str = "positive"
    rounds = 1

    def __post_init__(self) -> None:
        check_count(self.n_nonzero, "n_nonzero")
        check_choice(self.selection, "selection", _SELECTIONS)

    def encode(
        self,
        dictionary: _core.Dictionary,
        X: Floats,
        bias: NDArray[np.float32] | None,
        *,
        use_gram: bool,
        n_jobs: int | None,
    ) -> Codes:
        """Encode in one round; the Gram matrix is of no use."""
        n_nonzero = min(self.n_nonzero, dictionary.n_components)
        return dictionary.encode_topk(X, bias, n_nonzero, _selection(self.selection), n_jobs)


@dataclass(frozen=True)
class Above:
    """All scores above a positive threshold."""

    threshold: float
    rounds = 1

    def __post_init__(self) -> None:
        check_number(self.threshold, "threshold", low=0.0)

    def encode(
        self,
        dictionary: _core.Dictionary,
        X: Floats,
        bias: NDArray[np.float32] | None,
        *,
        use_gram: bool,
        n_jobs: int | None,
    ) -> Codes:
        """Encode in one round; the Gram matrix is of no use."""
        return dictionary.encode_above(X, bias, float(self.threshold), n_jobs)


@dataclass(frozen=True)
class BlockPursuit:
    """Algorithm 1 of the paper; with one atom per iteration it is matching pursuit."""

    n_iterations: int
    atoms_per_iteration: int
    threshold: float
    selection: str

    def __post_init__(self) -> None:
        check_count(self.n_iterations, "n_iterations")
        check_count(self.atoms_per_iteration, "atoms_per_iteration")
        check_number(self.threshold, "threshold")
        check_choice(self.selection, "selection", _SELECTIONS)

    @property
    def rounds(self) -> int:
        """One per iteration."""
        return self.n_iterations

    def shortened(self, rounds: Callable[[int, int], int]) -> BlockPursuit:
        """Return the same with rounds(n_iterations, atoms_per_iteration) iterations."""
        return replace(self, n_iterations=rounds(self.n_iterations, self.atoms_per_iteration))

    def encode(
        self,
        dictionary: _core.Dictionary,
        X: Floats,
        bias: NDArray[np.float32] | None,
        *,
        use_gram: bool,
        n_jobs: int | None,
    ) -> Codes:
        """Encode by `n_iterations` rounds of `atoms_per_iteration` atoms."""
        return dictionary.encode_icfl(
            X,
            bias,
            int(self.n_iterations),
            min(int(self.atoms_per_iteration), dictionary.n_components),
            float(self.threshold),
            _selection(self.selection),
            use_gram,
            n_jobs,
        )


@dataclass(frozen=True)
class OrthogonalPursuit:
    """Orthogonal matching pursuit: all coefficients are refitted after every new atom.

    With a slope, atoms that are too weak for what is left of a row go again: see `encode_omp`.
    """

    n_nonzero: int
    threshold: float
    selection: str
    threshold_slope: float = 0.0

    def __post_init__(self) -> None:
        check_count(self.n_nonzero, "n_nonzero")
        check_number(self.threshold, "threshold")
        check_number(self.threshold_slope, "threshold_slope", low=0.0)
        check_choice(self.selection, "selection", _SELECTIONS)

    @property
    def rounds(self) -> int:
        """One per atom."""
        return self.n_nonzero

    def shortened(self, rounds: Callable[[int, int], int]) -> OrthogonalPursuit:
        """Return the same with rounds(n_nonzero, 1) atoms."""
        return replace(self, n_nonzero=rounds(self.n_nonzero, 1))

    def encode(
        self,
        dictionary: _core.Dictionary,
        X: Floats,
        bias: NDArray[np.float32] | None,
        *,
        use_gram: bool,
        n_jobs: int | None,
    ) -> Codes:
        """Encode by at most `n_nonzero` atoms, each chosen once."""
        n_nonzero = min(int(self.n_nonzero), dictionary.n_components)
        return dictionary.encode_omp(
            X,
            bias,
            n_nonzero,
            float(self.threshold),
            float(self.threshold_slope),
            _selection(self.selection),
            use_gram,
            n_jobs,
        )


Pursuit: TypeAlias = BlockPursuit | OrthogonalPursuit
"""Coders that take atoms by what is left of a row, as long as it exceeds their threshold."""


@dataclass(frozen=True, eq=False)
class OwnThresholds:
    """A pursuit in which every atom has a threshold of its own.

    An atom joins only while its inner product with the residual exceeds its threshold, and the one
    goes first whose inner product is the largest multiple of it. That is the pursuit with one
    threshold for all, of atoms divided by what their own is beside it: `compiled` gives such a
    dictionary, and what it finds is turned into codes of the atoms as they are.

    Attributes
    ----------
    pursuit : BlockPursuit or OrthogonalPursuit
        With the largest threshold.
    relative : ndarray of shape (M,), float32
        Threshold of each atom over the largest.
    """

    pursuit: Pursuit
    relative: NDArray[np.float32]

    @classmethod
    def of(cls, pursuit: Pursuit, thresholds: NDArray[np.float32]) -> OwnThresholds:
        """Return the pursuit with thresholds (M,), all positive or all zero."""
        if not thresholds.any():
            return cls(replace(pursuit, threshold=0.0), np.ones_like(thresholds))
        if not np.all(thresholds > 0.0):
            lowest = int(np.argmin(thresholds))
            raise InputError(
                "threshold must be positive for every atom, "
                f"got {float(thresholds[lowest])!r} for atom {lowest}"
            )
        common = float(thresholds.max())
        relative = thresholds / np.float32(common)
        return cls(replace(pursuit, threshold=common), relative)

    @property
    def rounds(self) -> int:
        """As many as the pursuit has."""
        return self.pursuit.rounds

    @property
    def atoms_per_iteration(self) -> int:
        """Of a block; 1 where atoms join one at a time."""
        return getattr(self.pursuit, "atoms_per_iteration", 1)

    def compiled(self, atoms: NDArray[np.float32]) -> _core.Dictionary:
        """Return the dictionary that `encode` takes, of the first atoms or all."""
        return _core.Dictionary(atoms / self.relative[: len(atoms), None])

    def encode(
        self,
        dictionary: _core.Dictionary,
        X: Floats,
        bias: NDArray[np.float32] | None,
        *,
        use_gram: bool,
        n_jobs: int | None,
    ) -> Codes:
        """Encode with what `compiled` gave."""
        starts, atoms, values = self.pursuit.encode(
            dictionary, X, bias, use_gram=use_gram, n_jobs=n_jobs
        )
        return starts, atoms, values / self.relative[atoms]


CODERS: Mapping[str, Callable[[Mapping[str, Any]], Coder]] = {
    "topk": lambda o: TopK(o["n_nonzero"]),
    "icfl": lambda o: BlockPursuit(
        o["n_iterations"], o["atoms_per_iteration"], o["threshold"], o["selection"] or "positive"
    ),
    "mp": lambda o: BlockPursuit(
        check_count(o["n_nonzero"], "n_nonzero"), 1, o["threshold"], o["selection"] or "absolute"
    ),
    "omp": lambda o: OrthogonalPursuit(
        o["n_nonzero"], o["threshold"], o["selection"] or "absolute", o["threshold_slope"]
    ),
}
"""Algorithm name to coder, given the options of `SparseCoder`."""


def compiled(coder: Coder, atoms: NDArray[np.float32]) -> _core.Dictionary:
    """Return the dictionary that the coder takes for these atoms, of shape (M, d)."""
    return coder.compiled(atoms) if isinstance(coder, OwnThresholds) else _core.Dictionary(atoms)


def gram_fits(n_components: int) -> bool:
    """Whether the Gram matrix stays within the budget, read anew at every call."""
    text = os.environ.get("ICFL_GRAM_BUDGET", str(GRAM_BUDGET))
    try:
        budget = int(text)
    except ValueError:
        raise InputError(f"ICFL_GRAM_BUDGET must be a number of bytes, got {text!r}") from None
    return n_components * n_components <= budget


def gram_pays(n_components: int, n_samples: int, rounds: int) -> bool:
    """Whether the Gram matrix is within the budget and worth its cost for `n_samples` rows.

    It costs M²·d/2 multiplications and saves n·M·d of the same kind in every round but the first.
    """
    return n_samples * (rounds - 1) > n_components // 2 and gram_fits(n_components)


def codes_of(Z: csr_array) -> Codes:
    """Return the arrays of a CSR matrix in the types that the compiled code takes."""
    return (
        np.ascontiguousarray(Z.indptr, dtype=np.int64),
        np.ascontiguousarray(Z.indices, dtype=np.int32),
        np.ascontiguousarray(Z.data, dtype=np.float32),
    )


def join_codes(parts: list[Codes], n_components: int) -> csr_array:
    """Stack codes row-wise as one CSR array, with int32 indices where they fit."""
    indptr, indices, data = parts[0] if len(parts) == 1 else _concatenate(parts)
    narrow = indptr[-1] <= np.iinfo(np.int32).max
    index = np.int32 if narrow else np.int64
    Z = csr_array(
        (data, indices.astype(index, copy=False), indptr.astype(index, copy=False)),
        shape=(len(indptr) - 1, n_components),
    )
    Z.has_sorted_indices = True
    Z.has_canonical_format = True
    return Z


def _concatenate(parts: list[Codes]) -> Codes:
    indptr = np.zeros(1 + sum(len(part[0]) - 1 for part in parts), dtype=np.int64)
    row = 0
    for starts, _, _ in parts:
        indptr[row + 1 : row + len(starts)] = indptr[row] + starts[1:]
        row += len(starts) - 1
    indices = np.concatenate([part[1] for part in parts] or [np.zeros(0, dtype=np.int32)])
    data = np.concatenate([part[2] for part in parts] or [np.zeros(0, dtype=np.float32)])
    return indptr, indices, data


def input_error(error: ValueError, first_row: int) -> InputError:
    """Turn a refusal of a block of rows into one that names the row in the caller's whole array."""
    message = re.sub(r"\brow (\d+)", lambda m: f"row {int(m[1]) + first_row}", str(error))
    return InputError(message)


_dictionaries: weakref.WeakKeyDictionary[object, tuple[object, object, _core.Dictionary]] = (
    weakref.WeakKeyDictionary()
)
_dictionaries_lock = threading.Lock()


def cached_dictionary(
    owner: object,
    components: NDArray[np.float32],
    own: NDArray[np.float32] | None = None,
    make: Callable[..., _core.Dictionary] = _core.Dictionary,
) -> _core.Dictionary:
    """Return the compiled dictionary (with its Gram matrix) that belongs to an estimator.

    It lives beside the estimator rather than in it: pickles, copies and comparisons of estimators
    do not see it, several threads share it, and it goes when the estimator goes or holds another
    `components` array, or another one, `own`, of what atoms have beside: offsets or thresholds.
    """
    with _dictionaries_lock:
        known = _dictionaries.get(owner)
        if known is not None and known[0] is components and known[1] is own:
            return known[2]
        dictionary = make(components, own)
        _dictionaries[owner] = (components, own, dictionary)
        return dictionary


def _selection(name: str) -> Literal["positive", "absolute"]:
    return cast("Literal['positive', 'absolute']", name)


def _renew_lock() -> None:
    """Give a forked child its own lock: the parent's may have been held by another thread."""
    global _dictionaries_lock
    _dictionaries_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
