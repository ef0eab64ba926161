"""How a sparse autoencoder is trained, as one value that every backend follows.

x̂ = z D + b with z = activation((x − b) Wᵀ + c): encoder W (M, d) with its bias c (M,), decoder D
(M, d), whose rows have unit norm, and b (d,). The loss of a mini-batch is

    Σ‖x − x̂‖² / V  +  aux_coefficient · Σ‖e − ê‖² / Σ‖e‖²

with V = Σ‖x − x̄‖², or the number of rows where that is zero. Here e = x − x̂ is what is left, held
fixed, and ê = z' D what the best of the dead latents make of it, `Recipe.k_aux_of` of them a row: a
second chance for those that never fire (AuxK: Gao et al., arXiv:2406.04093). The bias is not added
to ê. With nested widths the first term is the mean over the prefixes of the dictionary (Matryoshka:
Bussmann et al., arXiv:2503.17547).

Adam moves everything: the gradient of the decoder without its part along the rows, all gradients
together scaled to a norm of 1 at most, then rows of D scaled to unit norm.

Matching pursuit has no encoder and is trained otherwise, see `PursuitRecipe`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from icfl.learning.stepper import Moment

__all__ = ["Activation", "PursuitRecipe", "Recipe", "default_learning_rate"]

Activation = Literal["topk", "abs_topk", "batch_topk", "jump_relu", "matching_pursuit"]

WARM_UP = 0.05
"""Share of the planned steps over which the learning rate rises from zero."""
WARM_UP_STEPS = 100
"""Steps of warm-up at most, and where nothing is planned."""
DECAY = 0.2
"""Share of the planned steps, the last ones, over which it falls to zero."""
LARGEST_GRADIENT = 1.0
FIRST_NONZERO = 8
GROWTH = 0.95
"""Share of the planned steps over which non-zeros grow to their full number."""
DEAD_AFTER = 30
"""Times that an average latent fires while one that does not comes to count as dead."""
THRESHOLD_SHARE = 20
"""A running threshold is a mean over a twentieth of the steps taken: those before knew less."""
THRESHOLD_MEMORY = 100
"""Steps that it is a mean over at most."""

FIRST_ROUNDS = 2
"""Most rounds that matching pursuit is first trained with, as a multiple of n_nonzero."""
FIRST_SHARE = 1 / 8
"""Most of them as a share of n_features, as `icfl.updates.online.IDENTIFIABLE`.

A fit of 1,000 steps with 32 non-zeros in 128 dimensions (512 atoms, 10 active) reached a matched
cosine of 0.52 from 64 rounds, 0.64 with 32 throughout, and 0.83 from 16.
"""
REPLACE_EVERY = 100
"""Steps between two looks for latents of matching pursuit that coincide."""
COHERENCE_LIMIT = 0.9
"""Cosine above which they do."""


def default_learning_rate(n_components: int) -> float:
    """Return 2e-4 / √(M / 2¹⁴), the scaling law of Gao et al."""
    return 2e-4 / math.sqrt(n_components / 2**14)


@dataclass(frozen=True)
class Recipe:
    """Options of a training run, resolved for its data.

    Attributes
    ----------
    activation : str
        What makes a code of the M pre-activations (x − b) Wᵀ + c: the `n_nonzero` largest positive
        ones ("topk"); the largest by magnitude, signs kept ("abs_topk"); of a mini-batch of n rows
        the n · `n_nonzero` largest positive ones ("batch_topk"); all above a learnt threshold each
        ("jump_relu"). "matching_pursuit" has no encoder: its codes are those of
        `icfl.encode_mp` with D, and gradients go through the pursuit.
    n_nonzero : int
        Non-zeros of a code.
    widths : tuple of int
        Increasing sizes of the nested dictionaries, the last one M; (M,) where they are not nested.
    learning_rate : float
        Largest step size of Adam.
    aux_coefficient : float
        Weight of the auxiliary loss; 0 leaves it out.
    k_aux : int
        Most dead latents that model what is left of a row, the largest positive ones.
    """

    activation: Activation
    n_nonzero: int
    widths: tuple[int, ...]
    learning_rate: float
    aux_coefficient: float
    k_aux: int

    @property
    def first_nonzero(self) -> int:
        """Non-zeros that a run begins with."""
        return min(self.n_nonzero, max(FIRST_NONZERO, self.n_nonzero // 4))

    def n_nonzero_at(self, moment: Moment) -> int:
        """Return the non-zeros a row is learnt with: few at first, all of them at the end.

        With many, wrong latents reconstruct about as well as right ones, and stay.
        """
        first = self.first_nonzero
        progress = 1.0 if moment.progress is None else min(1.0, moment.progress / GROWTH)
        return round(first + (self.n_nonzero - first) * progress**3)

    def at(self, moment: Moment) -> Recipe:
        """Return the recipe of one step: with as many non-zeros as it has."""
        return replace(self, n_nonzero=self.n_nonzero_at(moment))

    def k_aux_of(self, n_dead: int) -> int:
        """Return how many of so many dead latents model what is left of a row.

        Where codes may be negative, the share of a row's non-zeros that is theirs by their number:
        many at a time are hardly a selection, and on planted codes of random sign stayed dead
        (docs/autoencoders.md of the sources). Still only positive ones take part: those of largest
        magnitude left 6 to 7 % of 1,112 latents dead on the wells of `load_cell_lines`, positive
        ones none.
        """
        most = min(self.k_aux, n_dead)
        if self.activation != "abs_topk":
            return most
        return min(most, max(1, round(self.n_nonzero * n_dead / self.widths[-1])))

    def rate(self, moment: Moment) -> float:
        """Return the step size: warm-up, then constant, at last falling to zero."""
        steps = moment.step + 1
        if moment.planned is None:
            return self.learning_rate * min(1.0, steps / WARM_UP_STEPS)
        warm_up = max(1.0, min(WARM_UP_STEPS, WARM_UP * moment.planned))
        left = (moment.planned - moment.step) / max(1.0, DECAY * moment.planned)
        return self.learning_rate * max(0.0, min(1.0, steps / warm_up, left))

    def dead(self, moment: Moment) -> NDArray[np.int64]:
        """Return the latents that have not fired for as long as an average one fires 30 times.

        Never longer than one pass over the data.
        """
        if self.aux_coefficient == 0:
            return np.empty(0, dtype=np.int64)
        window = min(moment.window, DEAD_AFTER * self.widths[-1] / self.n_nonzero)
        return np.flatnonzero(moment.silent_for >= window)

    def threshold_memory(self, moment: Moment) -> float:
        """Return the steps, this one among them, over which "batch_topk" averages its threshold."""
        return min(max((moment.step + 1) / THRESHOLD_SHARE, 1.0), THRESHOLD_MEMORY)

    def replaces(self, moment: Moment) -> bool:
        """Whether latents that coincide after this step are replaced: never, with an encoder."""
        return False


@dataclass(frozen=True, kw_only=True)
class PursuitRecipe(Recipe):
    """The recipe of "matching_pursuit": more rounds at first, and coinciding latents replaced.

    A greedy pursuit is content with bad dictionaries. A latent for the sum of two features that
    fire together has a larger inner product with such a row than either feature, so it is chosen,
    and the frequent features take the latents of the rare ones, as such sums or twice over. None of
    them is dead, and the auxiliary loss does not see them.

    Matched cosines on planted data (`make_planted`, 20,480 rows, 128 atoms in 64 dimensions, 5
    active, mini-batches of 256, 20 passes, three seeds): 0.905 to 0.915 with neither, 0.936 to
    0.944 with more rounds at first, 0.957 to 0.980 with replacement, 0.983 to 0.990 with both.

    Attributes
    ----------
    n_features : int
        Width of the rows.
    """

    n_features: int

    @property
    def first_nonzero(self) -> int:
        """Rounds that a run begins with, more than it ends with where n_features allow.

        The later rounds are those that reach latents of rare features.
        """
        most = min(FIRST_ROUNDS * self.n_nonzero, int(FIRST_SHARE * self.n_features))
        return max(super().first_nonzero, most)

    def replaces(self, moment: Moment) -> bool:
        """Whether this step is one of those after which latents that coincide are replaced.

        None is while the learning rate falls, so that all settle.
        """
        settled = moment.progress is not None and moment.progress >= 1 - DECAY
        return not settled and (moment.step + 1) % REPLACE_EVERY == 0
