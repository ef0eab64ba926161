"""Print how many samples each learner needs to find planted features, as a Markdown table.

Samples are sparse positive combinations of 512 unit atoms in 128 dimensions, 10 active on average,
firing by a Zipf law. A fit of p passes is planned as such, so every length is a fit of its own.
Learnt atoms are matched one to one with the planted ones; what is needed is the shortest of the
lengths tried whose mean cosine is 0.95 or more on every seed.

    python benches/recovery.py                       all learners, three seeds, about 20 minutes
    python benches/recovery.py --only TopKSAE --seeds 1 --zipf 1.0
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np

import icfl
from icfl.datasets import make_planted
from icfl.metrics import dictionary_similarity

N, D, M = 204_800, 128, 512
GOAL = 0.95
PASSES = (1, 2, 3, 5, 10, 20)
SEED_OF_FIT = 1000
"""Added to the seed of the data: drawn from the same one, first atoms would be the planted ones."""

LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ICFL, 10 x 1": ("ICFL", {"n_iterations": 10, "atoms_per_iteration": 1}),
    "TopKSAE, 10": ("TopKSAE", {"n_nonzero": 10}),
    "TopKSAE, 16": ("TopKSAE", {"n_nonzero": 16}),
    "TopKSAE, 32": ("TopKSAE", {}),
    "BatchTopKSAE, 16": ("BatchTopKSAE", {"n_nonzero": 16}),
    "BatchTopKSAE, 32": ("BatchTopKSAE", {}),
    "MatryoshkaSAE, 10": ("MatryoshkaSAE", {"n_nonzero": 10}),
    "AbsTopKSAE, 10": ("AbsTopKSAE", {"n_nonzero": 10}),
    "AbsTopKSAE, 16": ("AbsTopKSAE", {"n_nonzero": 16}),
    "AbsTopKSAE, 32": ("AbsTopKSAE", {}),
    "JumpReLUSAE, 10": ("JumpReLUSAE", {"n_nonzero": 10}),
    "MatchingPursuitSAE, 10": ("MatchingPursuitSAE", {"n_nonzero": 10}),
}


class Fit(NamedTuple):
    """What one fit found."""

    cosine: float
    dead: float
    explained_variance: float


def main() -> None:
    """Fit and print."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--only", nargs="+", default=[], help="beginnings of learners' names")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--zipf", type=float, default=0.6, help="exponent of the firing law")
    arguments.add_argument("--signed", action="store_true", help="give codes random signs")
    arguments.add_argument("--passes", type=int, nargs="+", default=PASSES)
    options = arguments.parse_args()
    chosen = [name for name in LEARNERS if name.startswith(tuple(options.only) or "")]
    print(
        f"| learner, non-zeros | {GOAL} with | cosine after {max(options.passes)} | dead | e.v. |"
    )
    print("|---|---|---|---|---|")
    for name in chosen:
        fits = {p: _fits(name, p, options) for p in sorted(options.passes)}
        enough = [p for p, found in fits.items() if min(fit.cosine for fit in found) >= GOAL]
        needed = f"{enough[0] * N:,} samples" if enough else "more than tried"
        last = fits[max(fits)]
        cosines = ", ".join(f"{fit.cosine:.3f}" for fit in last)
        dead = max(fit.dead for fit in last)
        variance = np.mean([fit.explained_variance for fit in last])
        print(f"| {name} | {needed} | {cosines} | {dead:.2%} | {variance:.3f} |", flush=True)


def _fits(name: str, passes: int, options: argparse.Namespace) -> list[Fit]:
    return [_fit(name, passes, seed, options) for seed in range(options.seeds)]


def _fit(name: str, passes: int, seed: int, options: argparse.Namespace) -> Fit:
    data = make_planted(N, D, M, noise=0.02, zipf_exponent=options.zipf, random_state=seed)
    X = data.X
    if options.signed:
        codes = data.codes.copy()
        codes.data *= np.random.default_rng(seed).choice(np.float32([-1, 1]), codes.nnz)
        X = X + (codes - data.codes) @ data.components
    cls, parameters = LEARNERS[name]
    model = getattr(icfl, cls)(
        M, **parameters, max_iter=passes, random_state=SEED_OF_FIT + seed
    ).fit(X)
    last = model.history_[-1]
    # Codes of either sign find an atom or its negative.
    sign: Any = "absolute" if cls == "AbsTopKSAE" or options.signed else "signed"
    cosine = dictionary_similarity(model.components_, data.components, sign=sign)
    return Fit(cosine, last["dead"], last["explained_variance"])


if __name__ == "__main__":
    main()
