"""How alike two dictionaries are: cosines between atoms matched one to one.

Matching atoms one to one (rather than each to its nearest) keeps many copies of one true atom from
counting as many recoveries. The assignment maximises the summed cosine (Hungarian method).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from icfl._validation import check_choice, check_matrix
from icfl.exceptions import InputError
from icfl.metrics._inputs import require_finite
from icfl.metrics._matching import Sign, match_all


def match_atoms(
    A: npt.ArrayLike, B: npt.ArrayLike, *, sign: Sign = "signed"
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Match the atoms of B one to one with atoms of A, at the largest total cosine.

    Parameters
    ----------
    A : array-like of shape (n_atoms_a, n_features)
        Learnt dictionary. Rows are scaled to unit norm; a zero row has cosine 0 with everything.
    B : array-like of shape (n_atoms_b, n_features)
        Dictionary to be found, such as planted atoms.
    sign : {"signed", "absolute"}, default="signed"
        Whether an atom and its negative are opposite (features that fire positively) or the same
        (codes of either sign).

    Returns
    -------
    indices : ndarray of shape (n_atoms_b,)
        Row of A for each row of B, -1 for the rows left over when A is the smaller.
    cosines : ndarray of shape (n_atoms_b,), float64
        Their cosines (absolute values for sign="absolute"), 0 where there is no match.

    Raises
    ------
    InputError, InputTypeError
        If the widths differ, or a value is not a finite real number.

    Notes
    -----
    The matrix of all cosines is held in float64: 8,192 atoms on both sides take 0.5 GB.

    Examples
    --------
    >>> from icfl.metrics import match_atoms
    >>> indices, cosines = match_atoms([[0.0, 2.0], [1.0, 0.0]], [[3.0, 0.0], [0.0, 1.0]])
    >>> indices.tolist(), cosines.tolist()
    ([1, 0], [1.0, 1.0])
    """
    check_choice(sign, "sign", ("signed", "absolute"))
    first, second = check_matrix(A, "A", minimum_rows=1), check_matrix(B, "B", minimum_rows=1)
    if first.shape[1] != second.shape[1]:
        widths = f"{first.shape[1]} and {second.shape[1]}"
        raise InputError(f"A and B must have the same n_features, got {widths}")
    rows, others = unit_rows(first, "A"), unit_rows(second, "B")
    indices = np.full(len(others), -1, dtype=np.intp)
    cosines = np.zeros(len(others))
    if len(rows) < len(others):
        found = match_all(rows, others, sign)
        indices[found.indices], cosines[found.indices] = np.arange(len(rows)), found.cosines
    else:
        found = match_all(others, rows, sign)
        indices, cosines = found.indices, found.cosines
    return indices, cosines


def dictionary_similarity(A: npt.ArrayLike, B: npt.ArrayLike, *, sign: Sign = "signed") -> float:
    """Mean cosine between the atoms of B and the atoms of A matched to them one to one.

    The mean is over the rows of B, the truth. If A has fewer atoms, those of B without a partner
    count as 0; if A has more, the spare ones are ignored. 1 means that every atom of B was found.

    Parameters
    ----------
    A : array-like of shape (n_atoms_a, n_features)
        Learnt dictionary; rows are scaled to unit norm.
    B : array-like of shape (n_atoms_b, n_features)
        Dictionary to be found.
    sign : {"signed", "absolute"}, default="signed"
        Whether an atom and its negative are opposite or the same.

    Returns
    -------
    float
        Between -1 and 1; between 0 and 1 for sign="absolute".

    Raises
    ------
    InputError, InputTypeError
        If the widths differ, or a value is not a finite real number.

    See Also
    --------
    match_atoms : the assignment and the cosine of each atom.

    Notes
    -----
    Chance is not 0: between random dictionaries of M atoms in d dimensions the best partner has a
    cosine of about sqrt(2 log(M) / d), 0.31 for M = 512 and d = 128.

    Examples
    --------
    >>> from icfl.metrics import dictionary_similarity
    >>> dictionary_similarity([[0.0, 2.0]], [[3.0, 0.0], [0.0, 1.0]])
    0.5
    """
    _, cosines = match_atoms(A, B, sign=sign)
    return float(cosines.mean())


def unit_rows(atoms: npt.NDArray[Any], name: str) -> npt.NDArray[np.float64]:
    """Return finite `atoms` as float64 of unit norm; zero rows stay zero."""
    rows = np.asarray(atoms, dtype=np.float64)
    require_finite(rows, name)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.zeros_like(rows)
    np.divide(rows, norms, out=unit, where=norms > 0)
    return unit
