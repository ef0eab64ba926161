"""Seconds until planted features are found: beside the published algorithm and a TopK autoencoder.

All learners start from the same kind of atoms and see the same data. Ours runs with its defaults;
each peer has chosen learning rate and mini-batch on the data of another seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import count, product
from typing import Any, NamedTuple

from icfl import ICFL
from speed.case import OURS, Case, Contender, Row, Run, Size, Target, require
from speed.race import Data, Entrant, Learner, Outcome, Setting, choose

__all__ = ["ROW"]


class Race(NamedTuple):
    """Samples, features, atoms; the matched cosine to reach; seconds that a contender may take."""

    n: int
    d: int
    M: int
    goal: float
    limit: float


SIZES = {
    "quick": Race(20_480, 16, 32, 0.53, 2.0),
    "standard": Race(204_800, 128, 512, 0.9, 30.0),
    "full": Race(204_800, 128, 512, 0.9, 180.0),
}
LITERAL, SAE = "PyTorch literal ICFL, Adam", "PyTorch TopK autoencoder, AuxK"

# 2e-4 / √(M / 2¹⁴), with which the field trains autoencoders, is 1.1e-3 here.
SAE_RATES, SAE_SIZES = (3e-2, 1e-2, 3e-3, 1.1e-3), (1024, 256)
SAE_NONZERO = 10  # as many as are planted on average; with 16 twice as many steps are needed
LITERAL_RATES, LITERAL_SIZES = (2e-2, 1e-2, 5e-3), (1024, 4096)
LITERAL_SHAPE = {"J": 10, "L": 1}  # the published 20 x 5 finds features later, if at all


def build(size: Size) -> Case:
    race = SIZES[size]
    data = cache(lambda seed: Data(race.n, race.d, race.M, seed))

    def setup(make: Callable[[Data, Setting], Learner], settings: list[Setting]) -> Run:
        """Choose a setting on seed 0, which is the first answer; go on with seeds 1, 2, …."""
        entrants = [Entrant(make, data(0), setting, race.goal) for setting in settings]
        first = choose(entrants, race.limit, patient=size == "full")
        del entrants
        seeds = count()

        def run() -> Outcome:
            seed = next(seeds)
            if seed == 0:
                return first
            return Entrant(make, data(seed), first.setting, race.goal).run(race.limit).outcome()

        return run

    def check(found: Mapping[str, Outcome]) -> list[str]:
        ours = found[OURS]
        require(ours.reached, f"{OURS}: {ours.cut_short}")
        return [
            f"{name}: cosine {outcome.cosine:.3f} after {outcome.n_steps:,} steps in "
            f"{outcome.seconds:.2f} s on the data its setting was chosen on ({outcome.setting}; "
            f"{len(outcome.tried)} tried)"
            for name, outcome in found.items()
        ]

    def contender(name: str, *arguments: Any, **options: Any) -> Contender:
        return Contender(
            name,
            lambda: setup(*arguments),
            1,
            seconds=lambda outcome: outcome.seconds,
            cut_short=lambda outcome: outcome.cut_short,
            details=lambda outcome: {"tried": list(outcome.tried)},
            **options,
        )

    literal = [Setting(n, {"learning_rate": r}) for n, r in product(LITERAL_SIZES, LITERAL_RATES)]
    sae = [Setting(n, {"learning_rate": r}) for n, r in product(SAE_SIZES, SAE_RATES)]
    if size == "quick":
        literal, sae = literal[:1], sae[:1]
    peers = [
        contender(LITERAL, _literal, literal, package="torch", target=Target(ratio=15)),
        contender(SAE, _autoencoder, sae, package="torch", target=Target(ratio=50)),
    ]
    sizes = {"d": race.d, "M": race.M, "cosine": str(race.goal)}
    ours = contender(OURS, _ours, [Setting(1024)], note="defaults")
    return Case(sizes, ours, peers, check)


class _Ours:
    """`ICFL` with its defaults."""

    def __init__(self, data: Data, setting: Setting) -> None:
        self.model = ICFL(len(data.truth), batch_size=setting.batch_size, random_state=data.seed)

    def step(self, X: Any) -> None:
        self.model.partial_fit(X)

    @property
    def components(self) -> Any:
        return self.model.components_


def _ours(data: Data, setting: Setting) -> Learner:
    return _Ours(data, setting)


def _literal(data: Data, setting: Setting) -> Learner:
    from speed.peers.literal_icfl import LiteralLearner

    return LiteralLearner(data.start, seed=data.seed, **LITERAL_SHAPE, **setting.options)


def _autoencoder(data: Data, setting: Setting) -> Learner:
    from speed.peers.topk_sae import TopKAutoencoder

    return TopKAutoencoder(data.start, SAE_NONZERO, **setting.options)


ROW = Row("planted", "planted features found", build, unit="s", memory=False)
