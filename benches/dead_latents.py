"""Print the shares of dead latents that docs/autoencoders.md shows, as two Markdown tables.

The first is of planted data whose mean is moved away from zero, by where the bias starts; the
second of the wells that ship with the package, whitened by their controls, on three seeds.

    python benches/dead_latents.py     about two minutes, and five more where PyTorch is installed
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np

import icfl
from icfl.datasets import load_cell_lines, make_planted

RATIOS = (0, 0.5, 1, 2, 4, 8, 16)
"""Norm of the mean over that of the standard deviations."""
LEARNERS = ("TopKSAE", "BatchTopKSAE", "MatryoshkaSAE", "AbsTopKSAE")
SEEDS = 3


def main() -> None:
    """Fit and print."""
    warnings.simplefilter("ignore", icfl.exceptions.DeadFeaturesWarning)
    print("| |mean| / |standard deviation| | bias from the mean | random bias |\n|---|---|---|")
    X = make_planted(51_200, noise=0.02, random_state=0).X
    X -= X.mean(axis=0)
    spread = np.sqrt(X.var(axis=0).sum())
    direction = np.random.default_rng(5).standard_normal(X.shape[1])
    direction *= spread / np.linalg.norm(direction)
    for ratio in RATIOS:
        moved = (X + ratio * direction).astype(np.float32)
        dead = [
            _fit("TopKSAE", moved, 512, 1, max_iter=6, init=init) for init in ("auto", "linear")
        ]
        print(f"| {ratio} | {dead[0][0]:.1%} | {dead[1][0]:.1%} |", flush=True)
    print("\n| wells | 512 latents | as many as 8 a feature |\n|---|---|---|")
    wells = load_cell_lines()
    whitener = icfl.ControlWhitener(shrinkage="ledoit-wolf").fit(wells.data, control=wells.control)
    white = whitener.transform(wells.data)
    for name in (*LEARNERS, *(["JumpReLUSAE"] if find_spec("torch") else [])):
        cells = []
        for n_components in (512, "auto"):
            found = [_fit(name, white, n_components, seed) for seed in range(SEEDS)]
            dead, variance = max(f[0] for f in found), np.mean([f[1] for f in found])
            cells.append(f"{dead:.1%}, {variance:.3f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _fit(
    name: str, X: np.ndarray, n_components: int | str, seed: int, **options: object
) -> tuple[float, float]:
    """Return the share of latents without an activation on any row, and explained variance."""
    model = getattr(icfl, name)(n_components, random_state=seed, **options).fit(X)
    active = np.unique(model.transform(X).indices)
    return 1 - len(active) / len(model.components_), model.score(X)


if __name__ == "__main__":
    main()
