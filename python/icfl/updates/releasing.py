"""Features that only other atoms hold get an atom of their own.

`icfl.updates.hedging` and `icfl.updates.absorption` find them and say what the new atom is, and
what is left of those that held it. It takes the place of the atom that explains least, if that
explains less than the new one will. Codes are rewritten as when atoms are taken apart
(`icfl.updates.disentangling`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from icfl.updates.absorption import Absorbed, absorbed
from icfl.updates.companions import CodeSums
from icfl.updates.disentangling import Parting
from icfl.updates.families import families
from icfl.updates.hedging import FEWEST_CHILDREN, Hedge, hedges

__all__ = ["released"]


def released(
    components: NDArray[np.float32], sums: CodeSums
) -> tuple[NDArray[np.float32], list[Parting], NDArray[np.int64]]:
    """Return atoms with new ones among them, as far as there are places for these.

    Parameters
    ----------
    components : ndarray of shape (M, d), float32
        Atoms, of any norm, which they keep.
    sums : CodeSums
        Of their codes.

    Returns
    -------
    components : ndarray of shape (M, d), float32
        The atoms; a new array.
    partings : list of Parting
        What was done, in this order, once the statistics of `places` are cleared.
    places : ndarray of int64
        Atoms that gave way.
    """
    norms = np.linalg.norm(components.astype(np.float64), axis=1)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    atoms = components * scale[:, None]
    explained = np.square(norms) * sums.products.diagonal()
    least_first = np.argsort(explained, kind="stable").tolist()
    known = families(atoms, sums, FEWEST_CHILDREN)
    result, partings, places = components.copy(), list[Parting](), list[int]()
    touched = set[int]()
    found: list[Hedge | Absorbed] = [*hedges(known), *absorbed(known)]
    for one in found:
        members = set(one.members)
        place = next((i for i in least_first if i not in touched | members), None)
        if place is None or touched & members:
            continue
        directions, own = one.parted(atoms, place)
        if explained[place] >= _explained(own, norms, sums):
            continue
        touched |= {place, *members}
        places.append(place)
        norms[place] = norms[one.members[0]]
        moved = list(directions)
        result[moved] = norms[moved, None] * np.stack(list(directions.values()))
        # Of unit atoms so far.
        for parting in own:
            weights = parting.weights * (norms[parting.atom] / norms[parting.others])
            partings.append(parting._replace(weights=weights.astype(np.float32)))
    return result, partings, np.array(places, dtype=np.int64)


def _explained(partings: list[Parting], norms: NDArray[np.float64], sums: CodeSums) -> float:
    """Return Σ of the squared codes that the new atom, the last of all others, will have."""
    atoms = [one.atom for one in partings]
    shares = norms[atoms] * [float(one.weights[-1]) for one in partings]
    return float(shares @ sums.products[np.ix_(atoms, atoms)] @ shares)
