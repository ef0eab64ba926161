"""The least that encoding a sample takes: what it multiplies and reads, against the machine.

Each work has one function here that says what its algorithm does for one sample, the `Cost`. This
is the place to change when an algorithm changes. Divided by what the machine can do (`Peaks`), a
cost becomes seconds, phase by phase: a worker takes a sample through its phases one by one,
so they add up. What a measurement takes beyond that sum is not in the model: small least-squares
problems, sorting, codes, caches shared with others, clock speed. Int16 products are taken at twice
the rate of NumPy's float32 product; as that leaves part of the machine unused (a third, where it
was looked at), a product of ours can come out nearer to its limit than it is, or beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from speed.peaks import Peaks

__all__ = ["COSTS", "PHASES", "Cost", "Shape", "phases"]

Kind = Literal["f32", "int16", "int8"]

# Products a cycle beside float32, by the width of a lane: VNNI's multiply-add of int16 pairs and of
# int8 quadruples has the throughput of a float32 FMA.
LANES: Mapping[Kind, int] = {"f32": 1, "int16": 2, "int8": 4}

FLOAT = 4
GRAM_ENTRY = 1
"""Bytes of an entry of the Gram matrix as rounds read it."""
ATOM_ENTRY = 2
"""Bytes of an entry of the dictionary as screening products read it."""
TILE_ROWS = 252
"""Most samples that share one pass over the dictionary; a thread takes at least `LEAST_ROWS`."""
LEAST_ROWS = 14
WHOLE_SCORES = 1 << 21
"""Scores that a worker keeps; with the Gram matrix they bound the samples of a tile."""


@dataclass(frozen=True)
class Shape:
    """One call: sizes, and whether rounds work on the Gram matrix and who pays for it."""

    d: int
    M: int
    n: int
    rounds: int
    atoms_per_round: int
    gram: Literal["none", "kept", "made"]

    @property
    def steps(self) -> int:
        """Atoms taken in rounds that another round follows."""
        return (self.rounds - 1) * self.atoms_per_round

    def busy(self, threads: int) -> int:
        """Threads that find work."""
        return min(threads, -(-self.n // LEAST_ROWS))


@dataclass(frozen=True)
class Cost:
    """What one sample takes.

    Attributes
    ----------
    operations : mapping of kind to float
        Multiplications and additions of the products with all atoms, by what is multiplied.
    gram_operations : float
        Its share of making the Gram matrix, int16.
    gram_bytes, gram_size : float
        Read from rows of the Gram matrix, and the size of the matrix.
    atom_bytes, atom_size : float
        Read from the dictionary, its pass over it shared by the samples of a tile, and its size.
    exact_bytes, exact_size : float
        Read from the float32 dictionary for exact scores of the atoms it takes, and its size. What
        the screen lets through beside them is not in the model.
    score_bytes, score_size : float
        Read and written in a worker's own scores, and the size they are held at.
    """

    operations: Mapping[Kind, float]
    gram_operations: float = 0.0
    gram_bytes: float = 0.0
    gram_size: float = 0.0
    atom_bytes: float = 0.0
    atom_size: float = 0.0
    exact_bytes: float = 0.0
    exact_size: float = 0.0
    score_bytes: float = 0.0
    score_size: float = 0.0

    @property
    def bytes_read(self) -> float:
        """From matrices that all threads share."""
        return self.gram_bytes + self.atom_bytes + self.exact_bytes

    @property
    def all_operations(self) -> float:
        """Multiplications and additions, of whatever kind, those in rounds included."""
        in_rounds = 2 * self.gram_bytes / GRAM_ENTRY
        return sum(self.operations.values()) + self.gram_operations + in_rounds


def topk(shape: Shape) -> Cost:
    """One product; each panel of scores is written once and looked at once."""
    return Cost(
        {"int16": 2 * shape.d * shape.M},
        **_atoms(shape, passes=1, tile=min(shape.n, TILE_ROWS)),
        **_exact(shape),
        score_bytes=2 * FLOAT * shape.M,
        score_size=FLOAT * 1024 * TILE_ROWS,
    )


def icfl(shape: Shape) -> Cost:
    """One product and then rows of the Gram matrix, or a product in every round."""
    if shape.gram == "none":
        return _by_residuals(shape)
    return Cost(
        {"int16": 2 * shape.d * shape.M},
        **_gram(shape, rows=shape.steps),
        **_atoms(shape, passes=1, tile=_whole_rows(shape)),
        **_exact(shape),
        score_bytes=2 * FLOAT * shape.M * shape.rounds,
        score_size=FLOAT * shape.M,
    )


def omp(shape: Shape) -> Cost:
    """Scores anew in every step from the first ones and the rows of all atoms so far."""
    if shape.gram == "none":
        return _by_residuals(shape)
    k = shape.rounds
    return Cost(
        {"int16": 2 * shape.d * shape.M},
        **_gram(shape, rows=k * (k - 1) // 2),
        **_atoms(shape, passes=1, tile=_whole_rows(shape)),
        **_exact(shape),
        score_bytes=2 * FLOAT * shape.M * k,
        score_size=FLOAT * shape.M,
    )


COSTS: Mapping[str, Callable[[Shape], Cost]] = {"topk": topk, "icfl": icfl, "omp": omp}


def _by_residuals(shape: Shape) -> Cost:
    return Cost(
        {"int16": 2 * shape.d * shape.M * shape.rounds},
        **_atoms(shape, passes=shape.rounds, tile=min(shape.n, TILE_ROWS)),
        **_exact(shape),
        score_bytes=2 * FLOAT * shape.M * shape.rounds,
        score_size=FLOAT * 1024 * TILE_ROWS,
    )


def _gram(shape: Shape, rows: int) -> dict[str, float]:
    made = shape.d * shape.M**2 / shape.n if shape.gram == "made" else 0.0  # one triangle of it
    entries = float(shape.M)
    return {
        "gram_operations": made,
        "gram_bytes": GRAM_ENTRY * entries * rows,
        "gram_size": GRAM_ENTRY * entries * entries,
    }


def _atoms(shape: Shape, passes: int, tile: int) -> dict[str, float]:
    size = float(ATOM_ENTRY * shape.d * shape.M)
    return {"atom_bytes": passes * size / tile, "atom_size": size}


def _exact(shape: Shape) -> dict[str, float]:
    atom = float(FLOAT * shape.d)
    taken = shape.rounds * shape.atoms_per_round
    return {"exact_bytes": atom * taken, "exact_size": atom * shape.M}


def _whole_rows(shape: Shape) -> int:
    return min(shape.n, TILE_ROWS, max(LEAST_ROWS, WHOLE_SCORES // shape.M))


PHASES: Mapping[str, Callable[[Cost, Peaks], float]] = {
    "product": lambda c, p: sum(n / LANES[kind] for kind, n in c.operations.items()) / p.product,
    "making Gram": lambda c, p: c.gram_operations / LANES["int16"] / p.product,
    "Gram rows": lambda c, p: c.gram_bytes / p.bandwidth(c.gram_size),
    "atoms": lambda c, p: c.atom_bytes / p.bandwidth(c.atom_size),
    "exact scores": lambda c, p: c.exact_bytes / p.bandwidth(c.exact_size),
    "scores": lambda c, p: c.score_bytes / p.bandwidth(c.score_size * p.threads),
}
"""Seconds of a sample by phase, on the threads of the peaks."""


def phases(cost: Cost, peaks: Peaks) -> dict[str, float]:
    """Return the least seconds that each phase of a sample takes."""
    return {name: seconds(cost, peaks) for name, seconds in PHASES.items()}
