"""One training step of a sparse autoencoder in plain float64: loss, gradients, Adam.

`icfl.autoencoders.recipe` says what is computed; here it is written down once more, with gradients
by hand, for every activation. Parameters are a dict of float64 arrays by the names of the fitted
attributes, without "_"; of "jump_relu" the logarithm of the thresholds is what moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGEST_GRADIENT = 1.0
FLOOR = 8 * float(np.finfo(np.float32).eps)
"""Scores of the pursuit below this share of |x - b| · max ‖d‖ are rounding."""


@dataclass
class Found:
    """What a step finds before anything moves; `dtype` of everything is float64."""

    loss: float
    gradients: dict[str, np.ndarray]
    codes: np.ndarray
    residual: np.ndarray
    smallest: float
    """Smallest selected value of "batch_topk", 0 where positive values are too few."""


def pre_activations(params, X):
    return (X - params["bias"]) @ params["encoder"].T + params["encoder_bias"]


def largest(values, count):
    """Mask of the `count` largest positive entries of a vector, ties to the lower index."""
    order = np.argsort(-values, kind="stable")[:count]
    mask = np.zeros(len(values), bool)
    mask[order] = values[order] > 0
    return mask


def selected(pre, activation, n_nonzero, log_threshold=None):
    """Mask of the pre-activations that are codes."""
    if activation == "jump_relu":
        return pre > np.exp(log_threshold)
    if activation == "batch_topk":
        return largest(pre.ravel(), len(pre) * n_nonzero).reshape(pre.shape)
    ranks = np.abs(pre) if activation == "abs_topk" else pre
    return np.array([largest(row, n_nonzero) for row in ranks])


def look(recipe, params, X, dead=()):
    """Loss and gradients of a mini-batch; `dead` are the latents of the auxiliary loss."""
    X = np.asarray(X, np.float64)
    total = np.square(X - X.mean(axis=0)).sum() or float(len(X))
    if recipe.activation == "matching_pursuit":
        return _pursuit(recipe, params, X, total, dead)
    D, bias = params["components"], params["bias"]
    pre = pre_activations(params, X)
    mask = selected(pre, recipe.activation, recipe.n_nonzero, params.get("log_threshold"))
    Z = np.where(mask, pre, 0.0)
    residual = X - Z @ D - bias
    grad = {name: np.zeros_like(array) for name, array in params.items()}
    loss, dZ = 0.0, np.zeros_like(Z)
    for width in recipe.widths:
        rest = X - Z[:, :width] @ D[:width] - bias
        share = -2 * rest / total / len(recipe.widths)
        loss += np.square(rest).sum() / total / len(recipe.widths)
        dZ[:, :width] += share @ D[:width].T
        grad["components"][:width] += Z[:, :width].T @ share
        grad["bias"] += share.sum(axis=0)
    d_pre = np.where(mask, dZ, 0.0)
    if recipe.activation == "jump_relu":
        loss += _thresholds(recipe, params["log_threshold"], pre, mask, dZ, grad)
    aux, second = auxiliary(recipe, pre, D, residual, dead, grad["components"])
    d_pre += second
    grad["encoder"] += d_pre.T @ (X - bias)
    grad["encoder_bias"] += d_pre.sum(axis=0)
    grad["bias"] -= (d_pre @ params["encoder"]).sum(axis=0)
    full = recipe.activation == "batch_topk" and mask.sum() == len(X) * recipe.n_nonzero
    smallest = float(pre[mask].min()) if full else 0.0
    return Found(loss + aux, grad, Z, residual, smallest)


def auxiliary(recipe, pre, D, residual, dead, grad_of_atoms):
    """The auxiliary loss, and its gradient by the pre-activations; that by D is added in place."""
    second, energy = np.zeros_like(pre), np.square(residual).sum()
    dead = np.asarray(dead, dtype=int)
    if len(dead) == 0 or energy == 0 or recipe.aux_coefficient == 0:
        return 0.0, second
    most = recipe.k_aux
    if recipe.activation == "abs_topk":
        most = min(most, max(1, round(recipe.n_nonzero * len(dead) / len(D))))
    mask = np.array([largest(row, most) for row in pre[:, dead]])
    if not mask.any():
        return 0.0, second
    Z = np.where(mask, pre[:, dead], 0.0)
    rest = residual - Z @ D[dead]
    share = -2 * recipe.aux_coefficient * rest / energy
    grad_of_atoms[dead] += Z.T @ share
    second[:, dead] = np.where(mask, share @ D[dead].T, 0.0)
    return recipe.aux_coefficient * np.square(rest).sum() / energy, second


def _thresholds(recipe, log_threshold, pre, mask, dZ, grad):
    """The penalty on l0; straight-through gradients of the thresholds' logarithms in place."""
    theta, width, target = np.exp(log_threshold), recipe.bandwidth, recipe.n_nonzero
    kernel = (np.abs(pre - theta) < width / 2) / width
    excess = mask.sum() / len(pre) / target - 1
    by_count = 2 * recipe.sparsity_coefficient * excess / target / len(pre)
    grad["log_threshold"] += theta * -(kernel * (theta * dZ + by_count)).sum(axis=0)
    return recipe.sparsity_coefficient * excess**2


def entry_scores(params, X):
    """What an inner product must exceed, row by row, to be more than rounding."""
    norms = np.linalg.norm(X - params["bias"], axis=1)
    return FLOOR * norms * np.linalg.norm(params["components"], axis=1).max()


def pursue(params, X, n_nonzero):
    """Matching pursuit with positive selection: atoms (-1: none) and coefficients by round."""
    D = params["components"]
    r = X - params["bias"]
    entry = entry_scores(params, X)
    atoms, values = [], []
    for _ in range(n_nonzero):
        scores = r @ D.T
        j = scores.argmax(axis=1)
        a = scores[np.arange(len(X)), j]
        j = np.where(a > entry, j, -1)
        a = np.where(a > entry, a, 0.0)
        r = r - a[:, None] * D[j]
        atoms.append(j)
        values.append(a)
    return atoms, values, r


def _pursuit(recipe, params, X, total, dead):
    D = params["components"]
    atoms, values, residual = pursue(params, X, recipe.n_nonzero)
    Z = np.zeros((len(X), len(D)))
    for j, a in zip(atoms, values, strict=True):
        np.add.at(Z, (np.arange(len(X)), j), a)
    grad = {name: np.zeros_like(array) for name, array in params.items()}
    r, g = residual, 2 * residual / total
    for j, a in zip(reversed(atoms), reversed(values), strict=True):
        d = np.where((j >= 0)[:, None], D[j], 0.0)
        r = r + a[:, None] * d
        along = (g * d).sum(axis=1, keepdims=True)
        np.add.at(grad["components"], j, -(a[:, None] * g + along * r) * (j >= 0)[:, None])
        g = g - along * d
    grad["bias"] -= g.sum(axis=0)
    # The auxiliary codes are inner products of what is left, held fixed, with the dead atoms.
    scores = residual @ D.T
    scores[scores <= entry_scores(params, X)[:, None]] = 0.0
    aux, second = auxiliary(recipe, scores, D, residual, dead, grad["components"])
    grad["components"] += second.T @ residual
    return Found(np.square(residual).sum() / total + aux, grad, Z, residual, 0.0)


def limited(params, gradients):
    """Gradients as Adam gets them: that of D orthogonal to its rows, all of norm 1 at most."""
    D, grad = params["components"], dict(gradients)
    along = (grad["components"] * D).sum(axis=1, keepdims=True)
    grad["components"] = grad["components"] - along * D
    norm = np.sqrt(sum(np.square(array).sum() for array in grad.values()))
    scale = min(1.0, LARGEST_GRADIENT / norm) if norm > 0 else 1.0
    return {name: scale * array for name, array in grad.items()}


def beginning(params):
    """Adam's moments before the first step."""
    return {name: (np.zeros_like(array), np.zeros_like(array)) for name, array in params.items()}


def move(params, gradients, moments, t, rate):
    """Parameters and moments after Adam's step number `t`, which counts from 1."""
    moved, after = {}, {}
    for name, gradient in limited(params, gradients).items():
        first = 0.9 * moments[name][0] + 0.1 * gradient
        second = 0.999 * moments[name][1] + 0.001 * gradient**2
        step = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        moved[name], after[name] = params[name] - rate * step, (first, second)
    moved["components"] /= np.linalg.norm(moved["components"], axis=1, keepdims=True)
    return moved, after


def threshold_after(threshold, smallest, t):
    """The running threshold of "batch_topk" after step number `t`, which counts from 1."""
    return threshold + (smallest - threshold) / min(max(t / 20, 1), 100)
