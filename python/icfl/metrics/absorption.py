r"""Absorption: the latent of a child speaks for the parent as well, whose own latent is silent.

Sparsity is cheaper if the latent of "short" says "starts with s" too and the latent
of "starts with s" stays silent then. Let feature f be the parent of c, m(f) and m(c) the latents
paired with them, z the learnt codes, t the true ones, a the atoms at unit norm. On sample i, f is
absorbed by c if

    t_if > 0 and t_ic > 0        parent and child are there,
    z_im(f) = 0 and z_im(c) > 0  the parent's latent is silent, the child's is not, and
    <a_m(c), a_f> > <a_c, a_f> + k / sqrt(d)

the child's latent points along the parent by more than the child itself does and k times the chance
level: the standard deviation of the cosine of independent directions in d dimensions is 1 / sqrt d.
The absorption of f is the share of samples that are absorbed by some child, among those on which f
and some child are active.

Reference: Chanin et al. (2024), "A is for absorption: studying feature splitting and absorption in
sparse autoencoders", arXiv:2409.14507, who find absorption by probes, as the truth is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icfl._frames import data_frame
from icfl._validation import check_choice, check_number
from icfl.exceptions import InputError
from icfl.metrics._matching import Sign
from icfl.metrics._true_codes import Truth, check_truth, match_latents, pair_cosines

_Vector = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]
_Flags = npt.NDArray[np.bool_]

_BLOCK_ROWS = 8192  # of codes, looked at together


@dataclass(frozen=True, eq=False)
class Absorption:
    """What `feature_absorption` returns. E is the number of edges: children with their parents.

    Attributes
    ----------
    parents, children : ndarray of shape (E,), intp
        True features whose latents were found, with those of their parents.
    n_together : ndarray of shape (E,), int64
        Samples on which parent and child are both active.
    absorbed : ndarray of shape (E,), float64
        Share of them on which the child absorbs the parent; NaN if there are none.
    silent : ndarray of shape (E,), float64
        Share of them on which the parent's latent is silent, for whatever reason.
    silent_alone : ndarray of shape (E,), float64
        The same share among the samples of the parent on which none of its children is active: what
        it misses anyway.
    leaning : ndarray of shape (E,), float64
        Cosine of the child's latent with the parent, less that of the child itself.
    features : ndarray of shape (P,), intp
        The parents, each once.
    rate : ndarray of shape (P,), float64
        Share of the samples with some child on which some child absorbs the parent; NaN if there
        are none.
    n_missing : int
        Edges left out, as the latent of the parent or the child was not found.
    """

    parents: _Indices
    children: _Indices
    n_together: npt.NDArray[np.int64]
    absorbed: _Vector
    silent: _Vector
    silent_alone: _Vector
    leaning: _Vector
    features: _Indices
    rate: _Vector
    n_missing: int

    @property
    def mean(self) -> float:
        """Mean rate over parents; NaN if none could be judged."""
        known = self.rate[~np.isnan(self.rate)]
        return float(known.mean()) if len(known) else float("nan")

    def to_frame(self) -> Any:
        """Return the edges as a pandas DataFrame, one a row.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        columns = {"parent": self.parents, "child": self.children}
        names = ("n_together", "absorbed", "silent", "silent_alone", "leaning")
        return data_frame(columns | {name: getattr(self, name) for name in names})

    def __repr__(self) -> str:
        return (
            f"Absorption(mean={self.mean:.3f} of {len(self.features)} parents, "
            f"n_missing={self.n_missing})"
        )


def feature_absorption(
    Z: Any,
    components: npt.ArrayLike,
    Z_true: Any,
    components_true: npt.ArrayLike,
    parents: npt.ArrayLike,
    *,
    chance: float = 3.0,
    min_cosine: float = 0.5,
    sign: Sign = "signed",
) -> Absorption:
    """How often a parent's latent is silent because a child's latent speaks for both.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_latents)
        Learnt codes.
    components : array-like of shape (n_latents, n_features)
        Learnt atoms.
    Z_true : array-like or scipy.sparse matrix of shape (n_samples, n_true)
        True codes of the same samples.
    components_true : array-like of shape (n_true, n_features)
        True atoms.
    parents : array-like of shape (n_true,), int
        Parent of every true feature, -1 where there is none.
    chance : float, default=3
        The k above. Of a thousand children whose latents do not lean on their parents, about one
        would pass for one that does.
    min_cosine : float, default=0.5
        Smallest cosine of a latent with its feature for the feature to count as found. An atom that
        is parent and child in equal parts has 0.71.
    sign : {"signed", "absolute"}, default="signed"
        As in `recovery`.

    Returns
    -------
    Absorption
        By edge and by parent. Only edges whose parent and child were both found take part.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, a value is not a finite real number, an option is out of range, or
        `parents` holds no edge or something that is not a feature.

    See Also
    --------
    feature_splitting : features that several latents share.

    Notes
    -----
    A dictionary that misses the parent altogether absorbs nothing by this definition: see
    `n_missing`, and the recall of `recovery`.

    References
    ----------
    .. [1] Chanin et al. (2024), "A is for absorption", arXiv:2409.14507.

    Examples
    --------
    Feature 1 is a child of feature 0; latent 1 stands for both, and latent 0 is silent then.

    >>> import numpy as np
    >>> from icfl.metrics import feature_absorption
    >>> Z_true = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    >>> Z = np.array([[1.0, 0.0], [0.0, 1.4], [0.0, 1.4]])
    >>> atoms, true = np.eye(2, 64), np.eye(2, 64)
    >>> atoms[1] = (true[0] + true[1]) / np.sqrt(2)
    >>> feature_absorption(Z, atoms, Z_true, true, [-1, 0]).mean
    1.0
    >>> feature_absorption(Z_true, true, Z_true, true, [-1, 0]).mean
    0.0
    """
    check_choice(sign, "sign", ("signed", "absolute"))
    check_number(chance, "chance", low=0.0)
    check_number(min_cosine, "min_cosine", low=-1.0, high=1.0)
    truth = check_truth(Z, components, Z_true, components_true, sign)
    tree = _check_parents(parents, len(truth.atoms_true))
    latent = _found_latents(truth, min_cosine, sign)
    children = np.flatnonzero(tree >= 0)
    judged = (latent[children] >= 0) & (latent[tree[children]] >= 0)
    n_missing, children = int(np.count_nonzero(~judged)), children[judged]
    leaning = _leaning(truth, latent, children, tree[children], sign)
    leans = leaning > chance / np.sqrt(truth.atoms.shape[1])
    return _count_absorbed(truth, tree, latent, children, leaning, leans, n_missing)


def _check_parents(parents: npt.ArrayLike, n_true: int) -> _Indices:
    tree = np.asarray(parents)
    if tree.shape != (n_true,) or tree.dtype.kind not in "iu":
        raise InputError(
            f"parents must be integers of shape ({n_true},), got {tree.dtype} {tree.shape}"
        )
    tree = tree.astype(np.intp)
    if tree.min() < -1 or tree.max() >= n_true or (tree == np.arange(n_true)).any():
        raise InputError(f"parents must be other features from 0 to {n_true - 1}, or -1")
    if tree.max() < 0:
        raise InputError("parents must give at least one feature a parent, got only -1")
    return tree


def _found_latents(truth: Truth, min_cosine: float, sign: Sign) -> _Indices:
    """Return the latent of each feature, -1 where none is close enough."""
    latents, features = match_latents(truth, "cosine", sign)
    close = pair_cosines(truth, latents, features, sign) >= min_cosine
    latent = np.full(len(truth.atoms_true), -1, dtype=np.intp)
    latent[features[close]] = latents[close]
    return latent


def _leaning(
    truth: Truth, latent: _Indices, children: _Indices, parents: _Indices, sign: Sign
) -> _Vector:
    true = Truth(truth.Z, truth.atoms_true, truth.Z_true, truth.atoms_true)
    learnt = pair_cosines(truth, latent[children], parents, sign)
    return np.asarray(learnt - pair_cosines(true, children, parents, sign))


def _count_absorbed(
    truth: Truth,
    tree: _Indices,
    latent: _Indices,
    children: _Indices,
    leaning: _Vector,
    leans: _Flags,
    n_missing: int,
) -> Absorption:
    """Count, block of rows by block of rows, over the entries of the true codes."""
    n_true, n_edges = len(tree), len(children)
    edge = np.full(n_true, -1)
    edge[children] = np.arange(n_edges)
    is_parent = np.bincount(tree[children], minlength=n_true) > 0
    by_edge = np.zeros((3, n_edges), dtype=np.int64)  # together, silent, absorbed
    by_parent = np.zeros((4, n_true), dtype=np.int64)  # with a child, absorbed, alone, silent then
    for start in range(0, truth.Z.shape[0], _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        fires, is_there = _Lookup(truth.Z[rows]), _Lookup(truth.Z_true[rows])
        row, feature = _cells(truth.Z_true[rows])
        parent = tree[feature]
        # Alone means without any child, also one that was not found.
        is_child = parent >= 0
        has_child = np.unique(row[is_child] * n_true + parent[is_child])
        in_tree = edge[feature] >= 0
        at, of = row[in_tree], parent[in_tree]
        there = is_there(at, of)
        at, of, e = at[there], of[there], edge[feature[in_tree][there]]
        silent = ~fires(at, latent[of])
        absorbed = silent & leans[e] & fires(at, latent[children[e]])
        for total, chosen in zip(by_edge, (slice(None), silent, absorbed), strict=True):
            total += np.bincount(e[chosen], minlength=n_edges)
        cells = at * n_true + of
        for total, chosen in zip(by_parent[:2], (slice(None), absorbed), strict=True):
            total += np.bincount(np.unique(cells[chosen]) % n_true, minlength=n_true)
        alone = is_parent[feature] & ~np.isin(row * n_true + feature, has_child)
        quiet = ~fires(row[alone], latent[feature[alone]])
        by_parent[2] += np.bincount(feature[alone], minlength=n_true)
        by_parent[3] += np.bincount(feature[alone][quiet], minlength=n_true)
    together, alone_share = by_edge[0], _share(by_parent[3], by_parent[2])
    return Absorption(
        parents=tree[children],
        children=children,
        n_together=together,
        absorbed=_share(by_edge[2], together),
        silent=_share(by_edge[1], together),
        silent_alone=alone_share[tree[children]],
        leaning=leaning,
        features=np.flatnonzero(is_parent),
        rate=_share(by_parent[1], by_parent[0])[is_parent],
        n_missing=n_missing,
    )


class _Lookup:
    """Whether latents fire on samples, from the sorted places of sparse codes."""

    def __init__(self, codes: Any) -> None:
        row, column = _cells(codes)
        self._width = codes.shape[1]
        self._places = row * self._width + column

    def __call__(self, rows: _Indices, latents: _Indices) -> _Flags:
        wanted = rows * self._width + latents
        if not len(self._places):
            return np.zeros(len(wanted), dtype=bool)
        at = np.minimum(np.searchsorted(self._places, wanted), len(self._places) - 1)
        return np.asarray(self._places[at] == wanted)


def _cells(codes: Any) -> tuple[_Indices, _Indices]:
    row = np.repeat(np.arange(codes.shape[0]), np.diff(codes.indptr))
    return row, codes.indices.astype(np.intp)


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> _Vector:
    shares: _Vector = np.full(len(whole), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares
