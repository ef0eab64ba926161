"""Which dictionary update is the better default: online against Adam at equal wall time.

Planted data (d = 128, 512 true features, about 10 active) are judged by the matched cosine of atoms
and true features, the Cell Painting wells by the explained variance of a plate held out. For each
setting the online update runs a given number of steps; Adam, at each of several learning rates,
then runs as many steps as fit in the same time, measured in the same process, and the best rate is
reported. Codes are those of the published encoder, and the online update starts with all atoms and
takes none apart, so that nothing but the update differs.

    python benches/compare_updates.py [--seeds N] [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import icfl

RATES = (1e-3, 5e-3, 2e-2)
"""Learning rates that Adam may choose from."""


ONLINE = icfl.updates.Online(first_atoms=None, disentangle=0.0)


def fitted(X, seed, steps, size, **options):
    common = {"max_iter": None, "max_steps": steps, "refit": "block", "random_state": seed}
    model = icfl.ICFL(512, **common, **size, **options)
    start = time.perf_counter()
    model.fit(X)
    return model, time.perf_counter() - start


def compare(X, judge: Callable[[icfl.ICFL], float], seed, steps, size):
    """Return the scores of online and of the best Adam, and the steps that Adam had time for."""
    model, seconds = fitted(X, seed, steps, size, update=ONLINE)
    _, probe = fitted(X, seed, max(20, steps // 8), size, update="adam")
    afforded = max(1, round(seconds / (probe / max(20, steps // 8))))
    rivals = [
        judge(fitted(X, seed, afforded, size, update="adam", learning_rate=rate)[0])
        for rate in RATES
    ]
    return judge(model), max(rivals), afforded, RATES[int(np.argmax(rivals))]


def planted(seed, steps, size, exponent, n_samples):
    data = icfl.datasets.make_planted(n_samples, zipf_exponent=exponent, random_state=seed)
    truth = data.components

    def judge(model):
        return icfl.metrics.dictionary_similarity(model.components_, truth)

    return compare(data.X, judge, seed, steps, size)


def wells(plate, steps, size):
    data = icfl.datasets.load_cell_lines()
    held = np.asarray(data.labels["plate"]) == plate
    whitener = icfl.ControlWhitener().fit(data.data[~held], control=data.control[~held])
    train, test = whitener.transform(data.data[~held]), whitener.transform(data.data[held])
    return compare(train, lambda m: m.score(test), 0, steps, size)


def show(name, size, rows):
    online, adam = (np.array([row[i] for row in rows]) for i in (0, 1))
    shape = f"{size['n_iterations']} x {size['atoms_per_iteration']}"
    rates = sorted({row[3] for row in rows})
    print(
        f"| {name} | {shape} | {online.mean():.3f} ± {online.std():.3f} (min {online.min():.3f}) "
        f"| {adam.mean():.3f} ± {adam.std():.3f} (min {adam.min():.3f}) "
        f"| {np.mean([row[2] for row in rows]):.0f} | {', '.join(map(str, rates))} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few steps, to see that it runs")
    options = parser.parse_args()
    steps, n_samples = (20, 4096) if options.quick else (400, 204_800)
    sparse = {"n_iterations": 10, "atoms_per_iteration": 1}
    blocks = {"n_iterations": 5, "atoms_per_iteration": 2}
    dense = {"n_iterations": 5, "atoms_per_iteration": 5}
    print("| data | non-zeros | online | Adam, best rate | its steps | its rate |")
    print("|---|---|---|---|---|---|")
    for exponent in (0.6, 1.0):
        rows = [planted(s, steps, sparse, exponent, n_samples) for s in range(options.seeds)]
        show(f"planted, Zipf {exponent}", sparse, rows)
    plates = np.unique(icfl.datasets.load_cell_lines().labels["plate"])
    for size in (blocks, dense):
        show("wells", size, [wells(plate, steps, size) for plate in plates[: 2 * options.seeds]])


if __name__ == "__main__":
    main()
