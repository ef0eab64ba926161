"""Plain float64 definitions of what the package computes, one row and one step at a time.

Besides its answer every encoder here says how safe each row is: the smallest gap at any of its
decisions (best atom left out against worst atom taken, score against threshold, pivot against its
limit), divided by a bound on what float32 arithmetic may move it. Where that *clearance* exceeds 1
a float32 implementation has to take the same atoms; where it does not, either answer is right.

The bounds. u = 2⁻²⁴ is float32's rounding unit. Rounding errors are taken as independent and of
mean zero: k of them then add up to no more than γ(k) = 4 √k u in relative terms, but for a
probability below 1e-3 (Higham & Mary, SIAM J. Sci. Comput. 41, 2019); the guaranteed k u is used
where it is smaller. With D the largest norm of an atom, an inner product of d terms is off by
γ(d) D ‖r‖. A score that n subtractions led to is off by e = γ(d + n) D A, A² = ‖x − b‖² + Σ(a D)²
over all coefficients a so far. A least-squares step turns errors e of its L scores and γ(d) D² of
its Gram entries into a change of the residual of at most √L (e + γ(d) D² ‖a‖) / σ, σ the smallest
singular value of the L atoms (at least 2 √ridge with a ridge). Changes of the residual in earlier
steps do not grow, since the exact step is a contraction, and add up in squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

U = 2.0**-24
RIDGE = 1e-6
DEPENDENT = 1e-6
TINY = 1e-300
FLOOR = 8 * float(np.finfo(np.float32).eps)


@dataclass
class Oracle:
    """Codes (n, M); per row the clearance, and bounds on the error of x̂ and of a coefficient."""

    codes: np.ndarray
    clearance: np.ndarray
    residual_error: np.ndarray
    coefficient_error: np.ndarray

    @property
    def clear(self) -> np.ndarray:
        return self.clearance > 1


def gamma(k: float) -> float:
    return min(k, 4 * np.sqrt(k)) * U


def rank(scores: np.ndarray, selection: str) -> np.ndarray:
    return scores if selection == "positive" else np.abs(scores)


def entry_score(threshold: float, r0: np.ndarray, D: np.ndarray) -> float:
    """What a score must exceed: with a threshold of 0 or more also the rounding of the residual."""
    if threshold < 0:
        return threshold
    return max(threshold, FLOOR * np.linalg.norm(r0) * largest_norm(D))


def largest_norm(D: np.ndarray) -> float:
    return float(np.linalg.norm(D, axis=1).max())


def best(ranks: np.ndarray, count: int, entry: float, error: float) -> tuple[np.ndarray, float]:
    """The `count` largest ranks above `entry`, ties to the lower index, and how clear that was."""
    order = np.argsort(-ranks, kind="stable")
    eligible = order[ranks[order] > entry]
    chosen, left = eligible[:count], eligible[count:]
    gaps = [np.abs(ranks - entry).min() / error if np.isfinite(entry) else np.inf]
    if len(chosen) == count:  # then what lies at the threshold does not matter, what is next does
        gaps = [(ranks[chosen[-1]] - entry) / error]
        if len(left):
            gaps.append((ranks[chosen[-1]] - ranks[left[0]]) / (2 * error))
    return chosen, float(min(gaps))


def encode_topk(X, D, n_nonzero, bias=None) -> Oracle:
    X, D, bias = _float64(X, D, bias)
    out = _empty(X, D)
    for i, r in enumerate(X - bias):
        error = gamma(D.shape[1] + 2) * largest_norm(D) * np.linalg.norm(r) + TINY
        scores = D @ r
        # A zero atom scores exactly zero in any arithmetic and is never taken.
        live = np.flatnonzero(np.linalg.norm(D, axis=1) > 0)
        chosen, out.clearance[i] = (
            best(scores[live], n_nonzero, 0.0, error) if len(live) else (live, np.inf)
        )
        out.codes[i, live[chosen]] = scores[live[chosen]]
        out.coefficient_error[i] = error
        out.residual_error[i] = error * np.sqrt(len(chosen)) * largest_norm(D) * len(chosen)
    return out


def encode_icfl(
    X,
    D,
    n_iterations=20,
    atoms_per_iteration=5,
    threshold=0.0,
    bias=None,
    selection="positive",
) -> Oracle:
    """Algorithm 1 of the paper with the project's threshold and ridge."""
    X, D, bias = _float64(X, D, bias)
    out = _empty(X, D)
    norm, d = largest_norm(D), D.shape[1]
    for i, r in enumerate(X - bias):
        entry = entry_score(threshold, r, D)
        magnitude, noise, terms, clearance, coefficient = np.linalg.norm(r), 0.0, 0, np.inf, 0.0
        for _ in range(n_iterations):
            rounding = gamma(d + terms + 2) * norm * magnitude + TINY
            scores = D @ r
            S, clear = best(
                rank(scores, selection), atoms_per_iteration, entry, rounding + norm * noise
            )
            clearance = min(clearance, clear)
            if not len(S):
                break
            G = D[S] @ D[S].T
            ridge = RIDGE * G.diagonal().max()
            if ridge == 0:  # nothing but zero atoms: they explain nothing
                break
            a = np.linalg.solve(G + ridge * np.eye(len(S)), scores[S])
            out.codes[i, S] += a
            r = r - a @ D[S]
            terms += len(S)
            magnitude = np.hypot(magnitude, np.linalg.norm(a) * norm)
            smallest = np.sqrt(max(np.linalg.eigvalsh(G)[0], 0.0))
            amplified = np.sqrt(len(S)) * (rounding + gamma(d) * norm**2 * np.linalg.norm(a))
            in_residual = amplified / (smallest if smallest**2 > ridge else 2 * np.sqrt(ridge))
            noise = np.hypot(noise, in_residual + 2 * U * np.linalg.norm(a) * norm)
            coefficient += (amplified + norm * noise) / (smallest**2 + ridge) + 2 * U * abs(a).max()
        out.clearance[i], out.residual_error[i] = clearance, noise
        out.coefficient_error[i] = coefficient
    return out


def encode_mp(X, D, n_nonzero, threshold=0.0, bias=None, selection="absolute") -> Oracle:
    """Matching pursuit [Mallat & Zhang 1993], the coefficient shrunk by `encode_icfl`'s ridge."""
    X, D, bias = _float64(X, D, bias)
    out = _empty(X, D)
    norm, d = largest_norm(D), D.shape[1]
    for i, r in enumerate(X - bias):
        entry = entry_score(threshold, r, D)
        magnitude, noise, clearance = np.linalg.norm(r), 0.0, np.inf
        for step in range(n_nonzero):
            rounding = gamma(d + step + 2) * norm * magnitude + TINY
            scores = D @ r
            ranks = rank(scores, selection)
            chosen, clear = best(ranks, 1, entry, rounding + norm * noise)
            clearance = min(clearance, clear)
            if not len(chosen) or not D[chosen[0]].any():
                break
            m = chosen[0]
            own = D[m] @ D[m]
            a = scores[m] / (own * (1 + RIDGE))
            out.codes[i, m] += a
            r = r - a * D[m]
            magnitude = np.hypot(magnitude, abs(a) * norm)
            amplified = rounding + gamma(d) * norm**2 * abs(a)
            noise = np.hypot(noise, amplified / np.sqrt(own) + 2 * U * abs(a) * norm)
            out.coefficient_error[i] += (amplified + norm * noise) / own + 2 * U * abs(a)
        out.clearance[i], out.residual_error[i] = clearance, noise
    return out


def encode_omp(X, D, n_nonzero, threshold=0.0, bias=None, selection="absolute") -> Oracle:
    """Textbook orthogonal matching pursuit, by a full least-squares fit in every step."""
    X, D, bias = _float64(X, D, bias)
    out = _empty(X, D)
    norm, d = largest_norm(D), D.shape[1]
    for i, x in enumerate(X - bias):
        entry = entry_score(threshold, x, D)
        S: list[int] = []
        a, r, noise, clearance = np.zeros(0), x, 0.0, np.inf
        # An atom more than dimensions is dependent; the last pivots there are pure rounding.
        for _ in range(min(n_nonzero, *D.shape)):
            magnitude = np.hypot(np.linalg.norm(x), np.linalg.norm(a) * norm)
            rounding = gamma(d + len(S) + 2) * norm * magnitude + TINY
            ranks = rank(D @ r, selection)
            ranks[S] = -np.inf
            chosen, clear = best(ranks, 1, entry, rounding + norm * noise)
            clearance = min(clearance, clear)
            if not len(chosen):
                break
            pivot, pivot_error = _pivot(D, S, chosen[0])
            limit = DEPENDENT * (D[chosen[0]] @ D[chosen[0]])
            if pivot_error > 0:
                clearance = min(clearance, abs(pivot - limit) / pivot_error)
            if pivot <= limit:
                break
            S.append(int(chosen[0]))
            a = np.linalg.lstsq(D[S].T, x, rcond=None)[0]
            r = x - a @ D[S]
            smallest = np.linalg.svd(D[S], compute_uv=False)[-1]
            amplified = np.sqrt(len(S)) * (rounding + gamma(d) * norm**2 * np.linalg.norm(a))
            noise = amplified / smallest + 2 * U * np.linalg.norm(a) * norm
            out.coefficient_error[i] = amplified / smallest**2 + 2 * U * np.abs(a).max()
        out.codes[i, S] = a
        out.clearance[i], out.residual_error[i] = clearance, noise
    return out


def _pivot(D, S, m) -> tuple[float, float]:
    """Squared distance of an atom from the span of those in S, and a bound on its error."""
    own, g = D[m] @ D[m], gamma(D.shape[1])
    if not S:
        return own, g * own
    weights = np.linalg.lstsq(D[S].T, D[m], rcond=None)[0]
    rest = D[m] - weights @ D[S]
    # pivot = G_mm − 2 w G_Sm + w G_SS w at the optimal w: each entry is off by at most γ max‖D‖².
    return rest @ rest, g * largest_norm(D) ** 2 * (1 + np.linalg.norm(weights)) ** 2


def adam_step(X, codes, D, bias, moments, t, learning_rate, unit_norm):
    """One step of Adam [Kingma & Ba 2015] on mean ‖x − z D − b‖², as PyTorch takes it."""
    residual = X - codes @ D - bias
    gradient = np.vstack([-2 * codes.T @ residual, -2 * residual.sum(axis=0)]) / len(X)
    first = 0.9 * moments[0] + 0.1 * gradient
    second = 0.999 * moments[1] + 0.001 * gradient**2
    step = (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    moved = np.vstack([D, bias]) - learning_rate * step
    D, bias = moved[:-1], moved[-1]
    if unit_norm:
        D = D / np.linalg.norm(D, axis=1, keepdims=True)
    return D, bias, (first, second)


def online_statistics(X, codes, statistics, forgetting):
    """A = Σ zzᵀ, B = Σ zxᵀ, s = Σ z, t = Σ x, n = Σ 1, older samples weighted by `forgetting`."""
    new = (codes.T @ codes, codes.T @ X, codes.sum(axis=0), X.sum(axis=0), float(len(X)))
    return tuple(forgetting * old + fresh for old, fresh in zip(statistics, new, strict=True))


def online_sweep(D, statistics, unit_norm):
    """One pass of block coordinate descent over atoms [Mairal et al. 2010]; the bias is mean x."""
    A, B, s, t, n = statistics
    D, bias = D.copy(), t / n
    for m in np.flatnonzero(A.diagonal() > 0):
        D[m] += (B[m] - s[m] * bias - A[m] @ D) / A[m, m]
        if unit_norm:
            D[m] /= np.linalg.norm(D[m])
    return D, bias


def explained_variance(X, Xhat) -> float:
    X, Xhat = np.asarray(X, np.float64), np.asarray(Xhat, np.float64)
    return 1 - ((X - Xhat) ** 2).sum() / ((X - X.mean(axis=0)) ** 2).sum()


def unit_rows(X) -> np.ndarray:
    X = np.asarray(X, np.float64)
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    return np.divide(X, norms, out=np.zeros_like(X), where=norms > 0)


def _float64(X, D, bias):
    X, D = np.asarray(X, np.float64), np.asarray(D, np.float64)
    return X, D, np.zeros(X.shape[1]) if bias is None else np.asarray(bias, np.float64)


def _empty(X, D) -> Oracle:
    n = len(X)
    return Oracle(np.zeros((n, len(D))), np.full(n, np.inf), np.zeros(n), np.zeros(n))
