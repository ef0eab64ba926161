"""Features in trees: a child fires only with its parent, siblings perhaps never together.

Trees are filled breadth first with the most frequent features: n_trees roots, their children, and
so on, each parent's children side by side. How often a feature fires is what the law says, unless
its parent leaves less: with p the frequencies, P the parent and s the largest share,

    exclusive siblings      p_c = law_c min(1, s p_P / sum of law over the siblings)
    independent siblings    p_c = min(law_c, s p_P)

Some of a parent's samples thus always come without children, which is what tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icfl._validation import check_count, check_flag, check_number
from icfl.exceptions import InputError

_Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """Trees of features, for `make_planted`.

    Parameters
    ----------
    n_trees : int
        Number of roots.
    branching : int, default=4
        Children of every feature above the lowest level.
    depth : int, default=3
        Levels below the roots.
    exclusive : bool, default=True
        Whether at most one child of a parent fires on a sample. Otherwise siblings fire
        independently of one another, given their parent.
    largest_share : float, default=0.8
        Most of a parent's samples, in (0, 1), on which its exclusive children together fire; or
        each of its independent ones.
    scale_by_parent : bool, default=False
        Whether the value of a child is multiplied by its parent's value over the parent's mean, so
        that strong parents have strong children.

    Examples
    --------
    >>> from icfl.datasets import Trees, make_planted
    >>> trees = Trees(8, depth=2)
    >>> trees.n_components
    168
    >>> planted = make_planted(100, 64, 500, hierarchy=trees, sampler="sparse", random_state=0)
    >>> planted.parents[:14].tolist()
    [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1]
    """

    n_trees: int
    branching: int = 4
    depth: int = 3
    exclusive: bool = True
    largest_share: float = 0.8
    scale_by_parent: bool = False

    @property
    def n_components(self) -> int:
        """Features in trees, roots included."""
        return self.n_trees * sum(int(self.branching**level) for level in range(self.depth + 1))

    def check(self, n_components: int) -> None:
        """Refuse values out of range, and trees of more than `n_components` features."""
        for name in ("n_trees", "branching", "depth"):
            check_count(getattr(self, name), name)
        check_number(self.largest_share, "largest_share", low=0.0, high=1.0, closed=False)
        check_flag(self.exclusive, "exclusive")
        check_flag(self.scale_by_parent, "scale_by_parent")
        if self.n_components > n_components:
            raise InputError(
                f"hierarchy takes {self.n_components} features, n_components must be at least as "
                f"many, got {n_components}"
            )

    def parents(self, n_components: int) -> npt.NDArray[np.intp]:
        """Return the parent of every feature, -1 where there is none, (n_components,)."""
        parents = np.full(n_components, -1, dtype=np.intp)
        children = np.arange(self.n_trees, self.n_components)
        # Breadth first, the c-th feature after the roots hangs on the (c // branching)-th of all.
        parents[children] = (children - self.n_trees) // self.branching
        return parents

    def frequencies(self, law: _Vector) -> _Vector:
        """Return how often features fire of which `law` says how often they should."""
        frequency = law.copy()
        start, size = 0, self.n_trees
        for _ in range(self.depth):
            children = slice(start + size, start + size + size * self.branching)
            wanted = law[children].reshape(size, self.branching)
            room = self.largest_share * frequency[start : start + size, None]
            if self.exclusive:
                allowed = wanted * np.minimum(1.0, room / wanted.sum(axis=1, keepdims=True))
            else:
                allowed = np.minimum(wanted, room)
            frequency[children] = allowed.ravel()
            start, size = start + size, size * self.branching
        return frequency


def scaled_to_sum(law: Callable[[float], _Vector], wanted: float) -> _Vector:
    """Return law(scale) at the scale where it sums to `wanted`.

    Parameters
    ----------
    law : callable
        Frequencies of a scale in [0, infinity), none of which falls as the scale rises.
    wanted : float
        Their sum.
    """
    high = 1.0
    while law(high).sum() < wanted:
        if high > 1e9:
            raise InputError(
                f"n_active must be at most {law(high).sum():g}, which is all that max_frequency "
                f"and the trees allow, got {wanted!r}"
            )
        high *= 2.0
    low = 0.0
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if law(middle).sum() < wanted else (low, middle)
    return law(high)
