"""The online update: accumulated statistics, block-coordinate sweeps, and places put to use.

After every mini-batch the statistics A = Σ z zᵀ and B = Σ z xᵀ, which forget slowly, take in its
codes, and one sweep moves each atom to its optimum given the others: Mairal, Bach, Ponce & Sapiro,
JMLR 2010, Algorithm 2. There is no step size. The bias is the mean input.

Such sweeps converge to the nearest optimum, and the usual one is bad: several atoms share a
frequent feature, or an atom stands for two features that often fire together, and rarer features
have no atom at all. So every few steps places are freed and given to what is reconstructed worst:

- A *redundant* atom is reproduced by one, two or three others to a cosine above the coherence
  limit. Pairs of near duplicates are one case; the other is the atom for a combination of features
  that have atoms of their own. Of such a group the atom with the least energy (mean z²) goes.
- An *unused* atom was part of fewer than 3 codes among the last 10 · n_components samples or more.
  The count is absolute because a true feature may be rare: one that fires once in n_components
  samples is expected 10 times in that window and is missed by chance once in 360 looks.
- Its place goes to the residual direction of a sample of the mini-batch, drawn with probability
  proportional to ‖r‖², and its statistics start anew; what it explained the others take over.
- Atoms that hold the same feature are then taken apart, and their codes rewritten with them:
  `icfl.updates.disentangling`. Early on, what an atom has left then starts anew: its few codes were
  those of the mixture, and it would have to outweigh them before it could go anywhere else.
- Features that only other atoms hold, a child in its parent's or a parent in its children's, get
  the places of atoms that explain least, where that is wanted: `icfl.updates.releasing`.

Learning starts with a few atoms, and the others come over the first fifth of the planned steps,
each from a residual: what many samples have in common gets its atom before what few have, and what
few have is then found beside it rather than mixed with it.

Encoding starts with one iteration a sample and grows to the full number over the first 60 % of the
planned steps, or without a plan over the first `memory` mini-batches: a dictionary that knows
little yet can only fit noise with more. The number stays below what n_features allow, see
`IDENTIFIABLE`. Over the last tenth of the steps nothing is replaced, so that all atoms settle.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl._validation import check_count, check_flag, check_number
from icfl.updates._protocols import Codes, ReconstructionSums
from icfl.updates.companions import CodeSums
from icfl.updates.disentangling import disentangled
from icfl.updates.releasing import released

__all__ = ["Online"]

REPRODUCED_BY = 3
"""Most atoms whose combination makes another redundant."""
IDENTIFIABLE = 1 / 8
"""Most non-zeros a sample is learnt with, as a share of n_features.

A denser code reconstructs well with many dictionaries, which holds atoms less to the features. On
planted data (`icfl.datasets.make_planted`, 400 steps, seeds 0 and 1) 20 x 5 non-zeros recover a
matched cosine of 0.92 and 0.90 without this limit, 0.99 with it. At d = 1024 it is beyond the 100
non-zeros of the paper.
"""
GROWTH = 0.6
"""Share of the planned steps over which iterations grow to their full number."""
ARRIVAL = 0.2
"""Share of the planned steps over which atoms come, each step by the same factor."""
EARLY = 0.25
"""Share of the planned steps over which an atom that was taken apart starts anew."""
SETTLE = 0.9
"""Share of the planned steps after which nothing is replaced any more."""
FEWEST_USES = 3
USAGE_WINDOW = 10
"""An atom is unused with fewer than `FEWEST_USES` in `USAGE_WINDOW` samples a component."""


@dataclass(frozen=True)
class Online:
    """Accumulated statistics with block-coordinate sweeps and replacement.

    Parameters
    ----------
    memory : int, default=100
        Mini-batches over which statistics are averaged: from the second on, the older ones are
        multiplied by ``1 - 1 / min(t, memory)`` at step t. Without a plan, codes grow over as many.
    replace_every : int, default=10
        Steps between two searches for redundant, unused and entangled atoms.
    first_atoms : int or None, default=8
        Atoms to start with where the number of steps is planned; None starts with all. A dictionary
        that the user gives is always taken whole.
    disentangle : float, default=1.0
        Share of the planned steps, in [0, 1], over which atoms that hold the same feature are taken
        apart; without a plan they are if it is 1, and 0 never takes any apart.
    release : bool or None, default=None
        Whether, as long as atoms are taken apart, children that their parent's atom holds, and
        parents that their children's atoms hold, get atoms of their own. None does so where the
        thresholds of `icfl.ICFL` set themselves: if all samples get the same number of atoms, these
        take what is left over too, and who fires with whom tells less.

    Raises
    ------
    InputError, InputTypeError
        If an option is out of range.

    Notes
    -----
    A holds n_components² float32 numbers, as the Gram matrix does: 256 MiB at 8,192 atoms.

    References
    ----------
    Mairal, Bach, Ponce & Sapiro, "Online learning for matrix factorization and sparse coding",
    JMLR 11 (2010) 19-60.

    Examples
    --------
    >>> import icfl
    >>> model = icfl.ICFL(512, update=icfl.updates.Online(memory=200))
    """

    memory: int = 100
    replace_every: int = 10
    first_atoms: int | None = 8
    disentangle: float = 1.0
    release: bool | None = None

    def __post_init__(self) -> None:
        check_count(self.memory, "memory")
        check_count(self.replace_every, "replace_every")
        if self.first_atoms is not None:
            check_count(self.first_atoms, "first_atoms")
        check_number(self.disentangle, "disentangle", low=0.0, high=1.0)
        if self.release is not None:
            check_flag(self.release, "release")

    def start(
        self,
        components: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        unit_norm: bool,
        coherence_limit: float | None,
    ) -> OnlineState:
        """Begin with this dictionary.

        Parameters
        ----------
        components : ndarray of shape (n_components, n_features), float32
            Atoms to start from.
        bias : ndarray of shape (n_features,), float32
            Bias to start from.
        unit_norm : bool
            Whether atoms are kept at unit norm.
        coherence_limit : float or None
            Cosine above which atoms count as saying the same; None never replaces any.

        Returns
        -------
        UpdateState
            The dictionary, and what moves it.
        """
        return OnlineState(self, components, bias, unit_norm, coherence_limit)


class OnlineState:
    """A dictionary moved by `Online`; its face is `icfl.updates.UpdateState`."""

    def __init__(
        self,
        options: Online,
        components: NDArray[np.float32],
        bias: NDArray[np.float32],
        unit_norm: bool,
        coherence_limit: float | None,
    ) -> None:
        self.components = components
        self.bias = bias
        self.n_replaced = 0
        self.measured: ReconstructionSums | None = None
        self._options = options
        self._unit_norm = unit_norm
        self._coherence_limit = coherence_limit
        self._statistics = _core.OnlineUpdate(*components.shape)
        self._uses = np.zeros(len(components), dtype=np.int64)
        self._counted = 0
        self._n_batches = 0
        self._first = min(options.first_atoms or len(components), len(components))
        self._arrived = self._first

    def active(self, progress: float | None) -> int:
        """Return how many atoms, from the first on, the next mini-batch is encoded with."""
        return len(self.components) if progress is None else self._arrived

    def rounds(self, n_iterations: int, atoms_per_iteration: int, progress: float | None) -> int:
        """Return the iterations to learn with: growing, and not beyond what d can identify."""
        share = growth(self._n_batches, self._options.memory, progress)
        return growing_rounds(n_iterations, atoms_per_iteration, self.components.shape[1], share)

    def step(
        self,
        X: NDArray[np.float32],
        codes: Codes,
        *,
        step: int,
        rng: np.random.Generator,
        n_jobs: int | None,
        progress: float | None = None,
    ) -> OnlineState:
        """Take in a mini-batch, sweep once, and replace atoms when it is time to."""
        after = copy(self)
        after.n_replaced = 0
        after._n_batches += 1
        keep = 1.0 - 1.0 / min(after._n_batches, self._options.memory)
        after._statistics = self._statistics.accumulated(X, codes, keep, n_jobs)
        after.components, after.bias = after._statistics.sweep(
            self.components, self.bias, self._unit_norm, n_jobs
        )
        after._uses = self._uses + np.bincount(codes[1], minlength=len(self._uses))
        after._counted += len(X)
        active = self.active(progress)
        after._arrived = arrived(active, self._first, len(self._uses), progress)
        empty = np.arange(active, after._arrived)
        due = after._n_batches % self._options.replace_every == 0
        if due and (progress is None or progress < SETTLE):
            freed = [after._redundant(active, n_jobs), after._unused(active), empty]
            empty = np.unique(np.concatenate(freed))
        if len(empty):
            after._replace(empty, X, codes, rng, n_jobs)
        if due and within(self._options.disentangle, progress):
            after._disentangle(active, progress, n_jobs)
            if self._options.release and (progress is None or progress < SETTLE):
                after._release(active)
        return after

    def _disentangle(self, active: int, progress: float | None, n_jobs: int | None) -> None:
        if self._coherence_limit is None:
            return
        self.components = self.components.copy()
        self.components[:active], partings, apart = disentangled(
            self.components[:active], self._code_sums(active), self._coherence_limit, n_jobs
        )
        for parting in partings:
            self._statistics.recode(*parting)
        if early(self._n_batches, self._options.memory, progress):
            self._statistics.clear(apart)

    def _release(self, active: int) -> None:
        if self._coherence_limit is None:
            return
        atoms, partings, places = released(self.components[:active], self._code_sums(active))
        if len(places) == 0:
            return
        self.components = self.components.copy()
        self.components[:active] = atoms
        self._statistics.clear(places)
        for parting in partings:
            self._statistics.recode(*parting)
        self._uses[places] = FEWEST_USES
        self.n_replaced += len(places)

    def _code_sums(self, active: int) -> CodeSums:
        known: dict[str, NDArray[Any]] = dict(self._statistics.arrays())
        products = known["code_products"].reshape(len(self._uses), -1)
        weight = float(known["weight"][0])
        return CodeSums(products[:active, :active], known["code_sums"][:active], weight)

    def _replace(
        self,
        freed: NDArray[np.int64],
        X: NDArray[np.float32],
        codes: Codes,
        rng: np.random.Generator,
        n_jobs: int | None,
    ) -> None:
        residuals = X - _core.decode(codes, self.components, self.bias, n_jobs)
        weights = np.square(residuals, dtype=np.float64).sum(axis=1)
        chosen = draw(weights, len(freed), rng)
        freed = rng.permutation(freed)[: len(chosen)]
        if len(freed) == 0:
            return
        self.components = self.components.copy()
        self.components[freed] = residuals[chosen] / np.sqrt(weights[chosen])[:, None]
        self._statistics.clear(freed)
        self.n_replaced = len(freed)

    def _redundant(self, active: int, n_jobs: int | None) -> NDArray[np.int64]:
        if self._coherence_limit is None:
            return np.empty(0, dtype=np.int64)
        energy = self._statistics.energy[:active]
        return redundant(self.components[:active], energy, self._coherence_limit, n_jobs)

    def _unused(self, active: int) -> NDArray[np.int64]:
        if self._counted < USAGE_WINDOW * len(self._uses):
            return np.empty(0, dtype=np.int64)
        unused = np.flatnonzero(self._uses[:active] < FEWEST_USES)
        self._uses = np.zeros_like(self._uses)
        self._counted = 0
        return unused

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the statistics and the counts."""
        counters = np.array([self._counted, self._n_batches, self._arrived], dtype=np.int64)
        return {**self._statistics.arrays(), "uses": self._uses, "counters": counters}

    def set_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take back what `arrays` returned."""
        self._statistics.set_arrays(arrays)
        self._uses = np.array(arrays["uses"], dtype=np.int64)
        counters = (int(count) for count in arrays["counters"])
        self._counted, self._n_batches, self._arrived = counters


def growth(n_batches: int, memory: int, progress: float | None) -> float:
    """Return how much of the growth of codes is done, from 0 to 1."""
    return min(1.0, n_batches / memory if progress is None else progress / GROWTH)


def growing_rounds(
    n_iterations: int, atoms_per_iteration: int, n_features: int, share: float
) -> int:
    """Return the iterations to learn with at a share of the growth."""
    most = int(IDENTIFIABLE * n_features / atoms_per_iteration)
    return max(1, round(min(n_iterations, most) * share))


def within(share: float, progress: float | None) -> bool:
    """Whether a plan is within a share of its steps; without a plan, whether that share is all."""
    return share > 0.0 and (1.0 if progress is None else progress) <= share


def early(n_batches: int, memory: int, progress: float | None) -> bool:
    """Whether codes are still too much of mixtures to be worth keeping for what is left of one."""
    return n_batches < memory if progress is None else progress < EARLY


def arrived(active: int, first: int, n_components: int, progress: float | None) -> int:
    """Return how many atoms there are after a step that began with `active` of them."""
    if progress is None or progress >= ARRIVAL:
        return n_components
    due = first * (n_components / first) ** (progress / ARRIVAL)
    return max(active, min(n_components, int(due)))


def redundant(
    components: NDArray[np.float32],
    energy: NDArray[np.float32],
    limit: float,
    n_jobs: int | None,
) -> NDArray[np.int64]:
    """Return atoms that others reproduce, least energy first, none that another one needs."""
    atoms, starts, others = _core.Dictionary(components).redundant_atoms(
        REPRODUCED_BY, limit, n_jobs
    )
    gone: set[int] = set()
    for i in np.argsort(energy[atoms], kind="stable"):
        if gone.isdisjoint(others[starts[i] : starts[i + 1]].tolist()):
            gone.add(int(atoms[i]))
    return np.array(sorted(gone), dtype=np.int64)


def draw(weights: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most `n` different rows, with probabilities proportional to `weights`."""
    possible = np.flatnonzero(weights > 0)
    n = min(n, len(possible))
    share = weights[possible] / weights[possible].sum() if n else None
    return np.asarray(rng.choice(possible, size=n, replace=False, p=share), dtype=np.int64)
