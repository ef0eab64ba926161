"""Fits from several seeds and to halves: what is fitted to what, and what comes out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator

import icfl
from icfl.datasets import make_planted
from icfl.evaluation import fit_stability
from icfl.exceptions import InputError

FITS: list[tuple[np.ndarray, int, object]] = []


class Recorder(BaseEstimator):
    """Its dictionary is the first two rows it sees; keeps what it was given."""

    def __init__(self, random_state=None, checkpoint="never.safetensors"):
        self.random_state = random_state
        self.checkpoint = checkpoint

    def fit(self, X, y=None):
        FITS.append((np.array(X), self.random_state, self.checkpoint))
        self.components_ = np.array(X[:2], dtype=np.float32)
        return self


class Nothing(BaseEstimator):
    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        return self


@pytest.fixture(autouse=True)
def fresh():
    FITS.clear()


X = np.random.default_rng(0).normal(size=(41, 3)) + np.arange(41)[:, None]


def test_whole_fits_differ_in_the_seed_and_halves_in_their_samples():
    given = Recorder(random_state=0)
    result = fit_stability(given, X, n_seeds=3, random_state=1)
    assert given.random_state == 0
    assert not hasattr(given, "components_")
    assert len({seed for _, seed, _ in FITS}) == 5
    assert all(checkpoint is None for _, _, checkpoint in FITS)
    for rows, _, _ in FITS[:3]:
        np.testing.assert_array_equal(rows, X)
    first, second = (rows for rows, _, _ in FITS[3:])
    assert sorted((len(first), len(second))) == [20, 21]
    np.testing.assert_array_equal(
        np.unique(np.vstack([first, second]), axis=0), X[X[:, 0].argsort()]
    )
    assert len(result.seeds.pairs) == 3
    assert len(result.halves.pairs) == 1


def test_halves_share_no_group_and_are_even():
    groups = np.repeat(["a", "b", "c", "d", "e"], [15, 3, 10, 6, 7])
    for seed in range(10):
        FITS.clear()
        result = fit_stability(Recorder(), X, groups=groups, n_seeds=0, random_state=seed)
        assert result.seeds is None
        places = [np.flatnonzero(np.isin(X[:, 0], rows[:, 0])) for rows, _, _ in FITS]
        names = [set(groups[rows]) for rows in places]
        assert names[0] | names[1] == set("abcde")
        assert not names[0] & names[1]
        # The largest first, each to the smaller half: off by no more than the largest group.
        assert abs(len(places[0]) - len(places[1])) <= 15


def test_the_seed_decides_everything():
    rng = np.random.default_rng(0)
    learner = icfl.ICFL(12, n_iterations=2, atoms_per_iteration=1, max_iter=1, batch_size=64)
    rows = rng.normal(size=(200, 6))
    found = [fit_stability(learner, rows, n_seeds=2, random_state=s) for s in (0, 0, 1)]
    for name in ("seeds", "halves"):
        cosines = [getattr(result, name).observed.matched_cosine for result in found]
        np.testing.assert_array_equal(cosines[0], cosines[1])
        assert (cosines[0] != cosines[2]).all()


def test_what_is_planted_is_found_again_and_noise_is_not():
    planted = make_planted(4000, 16, 24, n_active=2, random_state=0).X
    noise = np.random.default_rng(0).normal(size=(4000, 16))
    learner = icfl.ICFL(24, n_iterations=2, atoms_per_iteration=1, batch_size=128, max_iter=10)
    found, lost = (
        fit_stability(learner, rows, n_seeds=2, random_state=0, n_draws=3)
        for rows in (planted, noise)
    )
    for name in ("seeds", "halves"):
        good, bad = getattr(found, name), getattr(lost, name)
        # 0.85 to 0.91 and 0.45 to 0.57 over three seeds, chance at 0.5 and 0.43.
        assert good.mean > 0.8 > bad.mean
        assert good.mean - good.mean_by_chance > 0.3
        assert bad.mean - bad.mean_by_chance < 0.2
    # Fits to the same rows find the same accidents in them; fits to others do not.
    excess = [part.mean - part.mean_by_chance for part in (lost.seeds, lost.halves)]
    assert excess[1] < excess[0]


def test_options_reach_the_comparison_and_tables_are_one():
    pytest.importorskip("pandas")
    result = fit_stability(Recorder(), X, n_seeds=2, random_state=0, n_draws=0, thresholds=(0.5,))
    table = result.to_frame()
    assert table["fits"].tolist() == ["seeds", "halves"]
    assert "share_0.5" in table
    assert "matched_cosine_uniform" not in table
    assert fit_stability(Recorder(), X, halves=False).halves is None


def test_data_frames_and_lists_are_halved_too():
    pd = pytest.importorskip("pandas")
    for rows in (pd.DataFrame(X), X.tolist(), icfl.open_activations(X)):
        FITS.clear()
        fit_stability(Recorder(), rows, n_seeds=0, random_state=0)
        assert sorted(len(np.asarray(part)) for part, _, _ in FITS) == [20, 21]


def test_errors_name_what_is_wrong():
    with pytest.raises(InputError, match="n_seeds must be at least 2"):
        fit_stability(Recorder(), X, n_seeds=1)
    with pytest.raises(InputError, match="n_seeds"):
        fit_stability(Recorder(), X, n_seeds=0, halves=False)
    with pytest.raises(InputError, match="random_state to vary"):
        fit_stability(icfl.SparseCoder(np.eye(3)), X)
    with pytest.raises(InputError, match="components_ once fitted"):
        fit_stability(Nothing(), X)
    with pytest.raises(InputError, match="at least two values"):
        fit_stability(Recorder(), X, groups=np.zeros(41))
    with pytest.raises(InputError, match="groups must be known"):
        fit_stability(Recorder(), X, groups=[None] + ["a", "b"] * 20)
    with pytest.raises(InputError, match="at least two rows"):
        fit_stability(Recorder(), X[:1])
