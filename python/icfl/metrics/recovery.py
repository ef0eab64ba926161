r"""How much of a known dictionary was learnt: atoms, and when they fire.

Learnt latents m are paired with true features f. On n samples let TP be those on which both are
active, n_m and n_f those on which the one or the other is. For each pair

    precision  = TP / n_m                recall = TP / n_f
    F1         = 2 TP / (n_m + n_f)      AUROC  = P(z on f > z off f) + P(equal) / 2
    best F1    = max over c of the F1 of "z >= c"
    shrinkage  = sum of z |a_m| / sum of t |a_f|, over the samples on which both are active

with z the learnt and t the true code. A latent that never fires has precision, recall and F1 of 0.
Where the feature never fires in the sample nothing can be said: such pairs are NaN and left out of
means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl import _core
from icfl._frames import data_frame
from icfl._validation import check_choice, check_matrix, check_number
from icfl.exceptions import InputError
from icfl.metrics._inputs import row_blocks
from icfl.metrics._matching import Sign
from icfl.metrics._true_codes import (
    Entries,
    Match,
    Truth,
    active_counts,
    check_truth,
    match_latents,
    pair_cosines,
    paired_entries,
)
from icfl.metrics.reconstruction import ReconstructionStats

Over = Literal["pairs", "latents", "features"]
_Vector = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]

_SCORES = ("cosine", "precision", "recall", "f1", "auroc", "best_f1", "shrinkage")


@dataclass(frozen=True, eq=False)
class Recovery:
    """What `recovery` returns. P is the number of pairs, M of latents, F of true features.

    Attributes
    ----------
    match : {"cosine", "activation", "nearest"}
    n_samples : int
    latents, features : ndarray of shape (P,), intp
        The pairs.
    cosine : ndarray of shape (P,), float64
        Of the learnt atom with the true one.
    precision, recall, f1, auroc : ndarray of shape (P,), float64
        Of the latent being active as a sign of the feature being so; NaN where the feature never
        fires in the sample (AUROC also where it always does).
    best_f1 : ndarray of shape (P,), float64
        F1 at the threshold on the code that makes it largest *on these samples*: an upper limit.
    best_threshold : ndarray of shape (P,), float64
        Smallest code that counts as active there; NaN for latents that never fire.
    shrinkage : ndarray of shape (P,), float64
        Size of the learnt codes over that of the true ones; NaN where they never fire together.
    frequency : ndarray of shape (F,), float64
        Share of the samples on which each true feature is active.
    density : ndarray of shape (M,), float64
        Share of the samples on which each latent is active.
    duplicates : float
        Share of latents whose atom has a larger cosine than `duplicate_limit` with that of a latent
        before it.
    explained_variance : float
        Of the inputs by the learnt codes; NaN if `X` was not given.
    """

    match: Match
    n_samples: int
    latents: _Indices
    features: _Indices
    cosine: _Vector
    precision: _Vector
    recall: _Vector
    f1: _Vector
    auroc: _Vector
    best_f1: _Vector
    best_threshold: _Vector
    shrinkage: _Vector
    frequency: _Vector
    density: _Vector
    duplicates: float
    explained_variance: float

    @property
    def dead(self) -> float:
        """Share of latents that never fire."""
        return float(np.mean(self.density == 0))

    @property
    def uniqueness(self) -> float:
        """Number of different features in pairs over the number of latents."""
        return len(np.unique(self.features)) / len(self.density)

    def mean(self, score: str, *, over: Over = "pairs", weighted: bool = False) -> float:
        """Return a mean of one of the scores.

        Parameters
        ----------
        score : str
            "cosine", "precision", "recall", "f1", "auroc", "best_f1" or "shrinkage".
        over : {"pairs", "latents", "features"}, default="pairs"
            Over all latents, or over all features, those without a partner count as 0. Left out
            are pairs whose score is NaN and, but for the cosine, features that never fire.
        weighted : bool, default=False
            By how often the feature fires (the latent, for "latents").

        Returns
        -------
        float
            NaN if nothing is left to average.

        Raises
        ------
        InputError
            If `score` or `over` is unknown, or a mean over features is asked for where a feature
            can have several latents.
        """
        check_choice(score, "score", _SCORES)
        check_choice(over, "over", ("pairs", "latents", "features"))
        values: _Vector = getattr(self, score)
        weights = self.frequency[self.features]
        defined = ~np.isnan(values)
        if over != "pairs":
            known = (self.frequency > 0) | (score == "cosine")
            values, weights, defined = self._spread(values, defined, known, over)
        weights = weights if weighted else np.ones(len(values))
        total = weights[defined].sum()
        return float(weights[defined] @ values[defined] / total) if total > 0 else float("nan")

    def _spread(
        self,
        values: _Vector,
        defined: npt.NDArray[np.bool_],
        known: npt.NDArray[np.bool_],
        over: Over,
    ) -> tuple[_Vector, _Vector, npt.NDArray[np.bool_]]:
        """Return scores of all latents or features, their weights, and which ones count."""
        if over == "features" and self.match == "nearest":
            raise InputError("over='features' needs pairs one to one, got match='nearest'")
        weights = self.density if over == "latents" else self.frequency
        places = self.latents if over == "latents" else self.features
        everywhere = np.zeros(len(weights))
        counts = known.copy() if over == "features" else np.ones(len(weights), dtype=bool)
        everywhere[places], counts[places] = values, defined
        return everywhere, weights, counts

    def summary(self) -> dict[str, float]:
        """Return the numbers by which dictionaries are compared, by name."""
        found = {name: self.mean(name) for name in _SCORES}
        found |= {f"{name}_latents": self.mean(name, over="latents") for name in ("cosine", "f1")}
        if self.match != "nearest":
            for name in ("cosine", "f1"):
                found[f"{name}_features"] = self.mean(name, over="features")
                found[f"{name}_weighted"] = self.mean(name, over="features", weighted=True)
        return found | {
            "explained_variance": self.explained_variance,
            "dead": self.dead,
            "duplicates": self.duplicates,
            "uniqueness": self.uniqueness,
        }

    def to_frame(self) -> Any:
        """Return the pairs as a pandas DataFrame, one a row.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        columns: dict[str, Any] = {"feature": self.features, "latent": self.latents}
        columns |= {name: getattr(self, name) for name in (*_SCORES, "best_threshold")}
        columns["frequency"] = self.frequency[self.features]
        columns["density"] = self.density[self.latents]
        return data_frame(columns)

    def __repr__(self) -> str:
        sizes = f"{len(self.latents)} pairs of {len(self.density)} latents"
        return (
            f"Recovery({sizes} with {len(self.frequency)} features, match={self.match!r}, "
            f"cosine={self.mean('cosine'):.3f}, f1={self.mean('f1'):.3f})"
        )


def recovery(
    Z: Any,
    components: npt.ArrayLike,
    Z_true: Any,
    components_true: npt.ArrayLike,
    *,
    match: Match = "cosine",
    sign: Sign = "signed",
    X: npt.ArrayLike | None = None,
    bias: npt.ArrayLike | None = None,
    duplicate_limit: float = 0.9,
) -> Recovery:
    """How much of a true dictionary was learnt, and whether latents fire when features do.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_latents)
        Learnt codes of samples that were not learnt from. Never made dense.
    components : array-like of shape (n_latents, n_features)
        Learnt atoms.
    Z_true : array-like or scipy.sparse matrix of shape (n_samples, n_true)
        True codes of the same samples.
    components_true : array-like of shape (n_true, n_features)
        True atoms. There may be more or fewer of them than learnt ones.
    match : {"cosine", "activation", "nearest"}, default="cosine"
        "cosine" pairs atoms one to one at the largest total cosine, as `match_atoms`. "activation"
        pairs latents and features one to one at the largest total F1, whatever their atoms; pairs
        that never fire together are dropped. "nearest" pairs every latent with the feature of the
        largest cosine, several with the same one if need be, as SynthSAEBench does for its F1.
    sign : {"signed", "absolute"}, default="signed"
        "signed": a latent is active where its code is positive. "absolute": where it is not zero,
        and an atom and its negative are the same.
    X : array-like of shape (n_samples, n_features), optional
        The inputs that `Z` encodes, as the dictionary sees them, for the explained variance.
    bias : array-like of shape (n_features,), optional
        Added to the reconstructions.
    duplicate_limit : float, default=0.9
        Cosine of two learnt atoms, in (0, 1), above which one is a duplicate.

    Returns
    -------
    Recovery
        Scores of every pair, with ``mean``, ``summary`` and ``to_frame``.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, a value is not a finite real number, or an option is unknown.

    See Also
    --------
    feature_absorption, feature_splitting : what goes wrong where features form trees.

    Notes
    -----
    Codes are in units of the rows as the dictionary saw them. Where those were scaled, to unit norm
    or by a learner's ``input_scale_``, multiply the codes back before reading the shrinkage.

    An assignment needs the (n_latents, n_true) matrix in float64, twice: 1.1 GB for 4,096 latents
    and 16,384 features. "nearest" takes it in blocks.

    References
    ----------
    .. [1] Chanin and Garriga-Alonso (2026), "SynthSAEBench", arXiv:2602.14687.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import recovery
    >>> Z_true = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 3.0]])
    >>> Z = np.array([[0.0, 0.5, 0.2], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.5, 0.0]])
    >>> found = recovery(Z, [[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]], Z_true, np.eye(2))
    >>> found.latents.tolist(), found.cosine.tolist(), found.f1.tolist()
    ([1, 0], [1.0, 1.0], [1.0, 1.0])
    >>> found.shrinkage.tolist(), round(found.mean("f1", over="latents"), 3)
    ([1.0, 1.0], 0.667)
    """
    check_choice(match, "match", ("cosine", "activation", "nearest"))
    check_choice(sign, "sign", ("signed", "absolute"))
    check_number(duplicate_limit, "duplicate_limit", low=0.0, high=1.0, closed=False)
    truth = check_truth(Z, components, Z_true, components_true, sign)
    latents, features = match_latents(truth, match, sign)
    n = truth.Z.shape[0]
    atoms = np.ascontiguousarray(truth.atoms, dtype=np.float32)
    _, copies = _core.coherent_atoms(atoms, duplicate_limit, None)
    return Recovery(
        match=match,
        n_samples=n,
        latents=latents,
        features=features,
        cosine=pair_cosines(truth, latents, features, sign),
        **_scores(truth, latents, features),
        frequency=active_counts(truth.Z_true) / n,
        density=active_counts(truth.Z) / n,
        duplicates=len(np.unique(copies)) / len(truth.atoms),
        explained_variance=float("nan") if X is None else _explained(Z, truth, X, bias),
    )


def _scores(truth: Truth, latents: _Indices, features: _Indices) -> dict[str, Any]:
    """Return the scores of pairs by the names of their fields."""
    n = truth.Z.shape[0]
    n_latent = active_counts(truth.Z)[latents].astype(np.float64)
    n_feature = active_counts(truth.Z_true)[features].astype(np.float64)
    names = ("tp", "learnt", "true", "auroc", "best_f1", "best_threshold")
    sums = {name: np.zeros(len(latents)) for name in names}
    for entries in paired_entries(truth, latents, features):
        found = _of_entries(entries, n, n_feature[entries.pairs])
        for name in names:
            sums[name][entries.pairs] = found[name]
    seen = np.where(n_feature > 0, 1.0, np.nan)
    scale = _norms(truth.atoms)[latents], _norms(truth.atoms_true)[features]
    return {
        "precision": seen * _ratio(sums["tp"], n_latent, 0.0),
        "recall": seen * _ratio(sums["tp"], n_feature, 0.0),
        "f1": seen * _ratio(2.0 * sums["tp"], n_latent + n_feature, 0.0),
        "auroc": sums["auroc"],
        "best_f1": seen * sums["best_f1"],
        "best_threshold": sums["best_threshold"],
        "shrinkage": _ratio(sums["learnt"] * scale[0], sums["true"] * scale[1], np.nan),
    }


def _of_entries(entries: Entries, n_samples: int, n_feature: _Vector) -> dict[str, Any]:
    """Return what is summed and found over the entries of each pair."""
    _, pair, value, true_value = entries
    both, count = true_value > 0, len(n_feature)
    total = np.bincount(pair, minlength=count).astype(np.float64)
    tp = np.bincount(pair, weights=both, minlength=count)
    # Ties are one step: a threshold takes all of them, and to each other they are equal.
    order = np.lexsort((-value, pair))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(pair[order]) != 0) | (np.diff(value[order]) != 0)
    steps = np.flatnonzero(new)
    owner, threshold = pair[order][steps], value[order][steps]
    size = np.diff(np.append(steps, len(order)))
    hits = np.add.reduceat(both[order], steps, dtype=np.float64) if len(steps) else np.zeros(0)
    passed = np.cumsum(size) - np.repeat(np.cumsum(total) - total, _counts(owner, count))
    caught = np.cumsum(hits) - np.repeat(np.cumsum(tp) - tp, _counts(owner, count))
    best, best_threshold = _best_f1(owner, threshold, passed, caught, n_feature)
    below = (n_samples - n_feature)[owner] - (passed - caught) + 0.5 * (size - hits)
    silent = (n_feature - tp) * 0.5 * ((n_samples - n_feature) - (total - tp))
    pairs = n_feature * (n_samples - n_feature)
    wins = np.bincount(owner, weights=hits * below, minlength=count) + silent
    return {
        "tp": tp,
        "learnt": np.bincount(pair[both], weights=value[both], minlength=count),
        "true": np.bincount(pair[both], weights=true_value[both], minlength=count),
        "auroc": _ratio(wins, pairs, np.nan),
        "best_f1": best,
        "best_threshold": best_threshold,
    }


def _best_f1(
    owner: _Indices, threshold: _Vector, passed: _Vector, caught: _Vector, n_feature: _Vector
) -> tuple[_Vector, _Vector]:
    """Return the largest F1 of each pair over its thresholds, and the highest that gives it."""
    best, at = np.zeros(len(n_feature)), np.full(len(n_feature), np.nan)
    f1 = 2.0 * caught / (passed + n_feature[owner])
    # Later entries overwrite earlier ones: sorted by F1, and then by threshold, the best is last.
    order = np.lexsort((threshold, f1))
    best[owner[order]], at[owner[order]] = f1[order], threshold[order]
    return best, at


def _counts(owner: _Indices, count: int) -> npt.NDArray[np.intp]:
    return np.bincount(owner, minlength=count)


def _ratio(above: _Vector, below: _Vector, otherwise: float) -> _Vector:
    quotient: _Vector = np.full(len(above), otherwise)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _norms(atoms: npt.NDArray[Any]) -> _Vector:
    return np.asarray(np.linalg.norm(atoms.astype(np.float64), axis=1))


def _explained(Z: Any, truth: Truth, X: npt.ArrayLike, bias: npt.ArrayLike | None) -> float:
    """Return the explained variance of X by all codes, negative ones too."""
    rows = check_matrix(X, "X", minimum_rows=1)
    shape = (truth.Z.shape[0], truth.atoms.shape[1])
    if rows.shape != shape:
        raise InputError(f"X must have shape {shape}, got {rows.shape}")
    offset = np.zeros(shape[1]) if bias is None else np.asarray(bias, dtype=np.float64)
    if offset.shape != shape[1:]:
        raise InputError(f"bias must have shape {shape[1:]}, got {offset.shape}")
    codes, atoms = sparse.csr_array(Z), truth.atoms.astype(np.float64)
    stats = ReconstructionStats()
    for place in row_blocks(shape):
        stats.update(rows[place], codes[place].astype(np.float64) @ atoms + offset)
    return stats.explained_variance
