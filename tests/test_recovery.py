"""Whether learning finds features that are known to be there, which reconstruction does not tell.

All data are planted: sparse combinations of 512 unit atoms in 128 dimensions, positive unless said
otherwise, 10 active in a sample on average, with noise of 0.02 a dimension. The measure is the
matched cosine: learnt atoms are assigned one to one to the planted ones, and the cosines averaged
over all that were planted. A random dictionary reaches 0.3.

Thresholds are what the package promises; beside them stands what was measured (AVX-512).
"""

from __future__ import annotations

import numpy as np
import pytest

import icfl
from icfl.datasets import make_planted
from icfl.metrics import dictionary_similarity, match_atoms

pytestmark = pytest.mark.slow

N_SAMPLES = 204_800  # 200 mini-batches of the default size
TRUE = 512
SMALL = {"n_iterations": 10, "atoms_per_iteration": 1}


class Planted:
    """Samples, the atoms they are made of, and what was learnt from them."""

    def __init__(self, seed, zipf_exponent, either_sign):
        planted = make_planted(
            N_SAMPLES, 128, TRUE, noise=0.02, zipf_exponent=zipf_exponent, random_state=seed
        )
        self.X, self.truth, self._seed = planted.X, planted.components, seed
        if either_sign:
            # A sign turned takes twice the part away, and leaves the noise as it is.
            turned = planted.codes.copy()
            turned.data *= -2 * np.random.default_rng(seed).integers(2, size=turned.nnz)
            self.X = self.X + turned.astype(np.float32) @ self.truth
        self._learnt = {}

    def learn(self, max_steps=400, **options):
        """Atoms after so many steps; every model is fitted once."""
        options = {"n_components": TRUE, "max_steps": max_steps, **options}
        key = tuple(sorted(options.items()))
        if key not in self._learnt:
            model = icfl.ICFL(max_iter=None, random_state=self._seed, **options)
            self._learnt[key] = model.fit(self.X).components_
        return self._learnt[key]

    def autoencoder(self, cls, **options):
        """An autoencoder with its default training."""
        return cls(TRUE, random_state=self._seed, **options).fit(self.X)

    def matched_cosine(self, max_steps=400, **options):
        return dictionary_similarity(self.learn(max_steps, **options), self.truth)

    def cosines(self, **options):
        """Cosines of all matches, for dictionaries of another size than the planted one."""
        indices, cosines = match_atoms(self.learn(**options), self.truth)
        return cosines[indices >= 0]


@pytest.fixture(scope="session")
def planted(request):
    """Data by the arguments of `Planted`; pytest runs the tests that share them one by one."""
    return Planted(*request.param)


def on_seeds(seeds, zipf_exponent=0.6, either_sign=False):
    values = [(seed, zipf_exponent, either_sign) for seed in seeds]
    kind = "-either-sign" if either_sign else ""
    names = [f"seed{seed}-zipf{zipf_exponent}{kind}" for seed in seeds]
    return pytest.mark.parametrize("planted", values, ids=names, indirect=True, scope="session")


@on_seeds(range(10))
def test_planted_features_are_found_with_every_seed(planted):
    assert planted.matched_cosine(**SMALL) >= 0.98  # 0.9904 to 0.9943


@on_seeds([0, 1])
def test_planted_features_are_found_without_unit_norm_inputs(planted):
    assert planted.matched_cosine(unit_norm_inputs=False, **SMALL) >= 0.98  # 0.9958 to 0.9960


@on_seeds(range(3))
def test_planted_features_are_found_with_defaults(planted):
    assert planted.matched_cosine() >= 0.98  # 0.9930 to 0.9939


@on_seeds([0, 1], zipf_exponent=1.0)
def test_planted_features_are_found_under_zipfs_law(planted):
    # Three features fire in half of all samples, the rarest in one of 300. Features in no hierarchy
    # pay for being taken apart: 0.983 and 0.978 by default, 0.986 and 0.989 without.
    flat = icfl.updates.Online(disentangle=0.0)
    assert planted.matched_cosine(1000, update=flat, **SMALL) >= 0.98
    assert planted.matched_cosine(1000, **SMALL) >= 0.97


@on_seeds([0])
def test_twice_as_many_atoms_as_features_find_them_all(planted):
    assert np.sum(planted.cosines(n_components=2 * TRUE, **SMALL) > 0.9) > 0.97 * TRUE  # all 512


@on_seeds([0])
def test_half_as_many_atoms_as_features_each_find_one(planted):
    cosines = planted.cosines(n_components=TRUE // 2, **SMALL)
    assert len(cosines) == TRUE // 2
    assert np.mean(cosines > 0.9) > 0.9  # 0.94 to 0.97


@on_seeds([0])
def test_long_runs_do_not_drift(planted):
    long, short = planted.matched_cosine(1200, **SMALL), planted.matched_cosine(**SMALL)
    assert long >= short - 0.01  # 0.9958 after 0.9934


@on_seeds([0])
def test_default_update_finds_more_than_adam_in_as_many_steps(planted):
    adam = planted.matched_cosine(update="adam", learning_rate=1e-3, **SMALL)
    assert planted.matched_cosine(**SMALL) > adam + 0.1  # 0.993 and 0.750


@on_seeds(range(3))
def test_a_topk_autoencoder_finds_planted_features_with_defaults(planted):
    # With 32 non-zeros, three times as many as there are: 0.965 to 0.967.
    model = planted.autoencoder(icfl.TopKSAE)
    assert dictionary_similarity(model.components_, planted.truth) >= 0.95
    assert model.history_[-1]["dead"] < 0.02


@on_seeds([0])
@pytest.mark.parametrize(
    ("cls", "n_nonzero"),
    [
        (icfl.TopKSAE, 10),
        (icfl.TopKSAE, 16),
        (icfl.BatchTopKSAE, 16),
        (icfl.MatryoshkaSAE, 10),  # its loss asks for more than what is planted: 0.95 with 16
    ],
)
def test_autoencoders_find_planted_features(planted, cls, n_nonzero):
    model = planted.autoencoder(cls, n_nonzero=n_nonzero)
    assert dictionary_similarity(model.components_, planted.truth) >= 0.95
    assert model.history_[-1]["dead"] < 0.02


@pytest.mark.parametrize("seed", range(2))
def test_a_matching_pursuit_autoencoder_finds_planted_features(seed):
    # A quarter of the latents and a tenth of the rows, as PyTorch takes minutes for all: 0.988 and
    # 0.983. Trained as other autoencoders are, 0.912 and 0.915.
    torch = pytest.importorskip("torch")
    planted = make_planted(20_480, 64, 128, n_active=5, noise=0.02, random_state=seed)
    model = icfl.MatchingPursuitSAE(128, n_nonzero=5, batch_size=256, random_state=1000 + seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more take longer for matrices so small
    try:
        model.fit(planted.X)
    finally:
        torch.set_num_threads(threads)
    assert dictionary_similarity(model.components_, planted.components) >= 0.95
    assert model.history_[-1]["dead"] < 0.02


@on_seeds([0], either_sign=True)
def test_features_with_codes_of_either_sign_are_found(planted):
    # 0.84, and 15 % of the latents dead, with the auxiliary loss of the learners of positive codes.
    model = planted.autoencoder(icfl.AbsTopKSAE, n_nonzero=10)
    assert dictionary_similarity(model.components_, planted.truth, sign="absolute") >= 0.95
    assert model.history_[-1]["dead"] < 0.02


@pytest.mark.parametrize(
    "cls", [icfl.TopKSAE, icfl.BatchTopKSAE, icfl.MatryoshkaSAE, icfl.AbsTopKSAE]
)
@pytest.mark.parametrize("n_components", [512, "auto"])
def test_few_latents_are_dead_on_real_wells(cls, n_components):
    wells = icfl.datasets.load_cell_lines()
    whitener = icfl.ControlWhitener(shrinkage="ledoit-wolf").fit(wells.data, control=wells.control)
    X = whitener.transform(wells.data)
    model = cls(n_components, random_state=0).fit(X)
    active = np.unique(model.transform(X).indices)
    assert 1 - len(active) / len(model.components_) < 0.02
    assert model.score(X) > 0.85
