"""Dictionaries of two halves of the data, as a comparison has them by default."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.base import BaseEstimator

import icfl
from icfl.exceptions import InputError
from icfl.metrics import dictionary_similarity

RNG = np.random.default_rng(0)
N, D = 120, 6
GROUPS = np.repeat(["p1", "p2", "p3", "p4"], N // 4)
LABELS = np.tile(["a", "b", "c"], N // 3)
X = RNG.standard_normal((N, D)) + 2 * np.eye(D)[np.tile([0, 1, 2], N // 3)]
CONTROL = np.arange(N) % 5 == 0

FITS: list[tuple[np.ndarray, int]] = []


class Recorder(BaseEstimator):
    """Its dictionary is the first two rows that it sees; notes rows and seeds."""

    def __init__(self, least=0, n_jobs=None, random_state=None):
        self.least = least
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X):
        if len(X) < self.least:
            raise InputError(f"X must have at least {self.least} rows, got {len(X)}")
        FITS.append((np.array(X), self.random_state))
        self.components_ = np.array(X[:2], dtype=np.float32)
        return self

    def transform(self, X):
        return np.asarray(X, dtype=np.float32)

    def inverse_transform(self, Z):
        return Z


@pytest.fixture(autouse=True)
def fresh():
    FITS.clear()


def run(groups=GROUPS, learner=None, **options):
    learners = {"recorder": Recorder() if learner is None else learner}
    return icfl.compare(learners, X, LABELS, groups, **{"n_seeds": 2} | options)


def places(rows, of=X):
    """Which rows of the data these are."""
    return [int(np.flatnonzero((of == row).all(axis=1))[0]) for row in rows]


def test_halves_are_whole_groups_and_start_from_two_seeds():
    found = run()
    halves = FITS[-2:]
    assert len(FITS) == 4 * 2 + 2
    assert [seed for _, seed in halves] == [0, 1]
    first, second = (places(rows) for rows, _ in halves)
    assert sorted(first + second) == list(range(N))
    assert not set(GROUPS[first]) & set(GROUPS[second])
    assert len(first) == len(second) == N // 2
    cosine = dictionary_similarity(halves[0][0][:2], halves[1][0][:2])
    # float32 rounds each entry of an atom by 2^-24 of itself, twice in a cosine.
    assert found.values("recorder", "stability_halves") == {
        ("", -1): pytest.approx(cosine, abs=4 * 2.0**-24)
    }
    value = found.interval("recorder", "stability_halves")
    assert value.n_groups == 1
    assert math.isnan(value.low)


def test_of_three_groups_rows_are_halved():
    run(np.repeat(["p1", "p2", "p3"], N // 3))
    first, second = (places(rows) for rows, _ in FITS[-2:])
    assert sorted(first + second) == list(range(N))
    assert len(first) == len(second) == N // 2
    assert len(set(first) & set(range(N // 3))) not in (0, N // 3)  # a group is cut


def test_both_halves_are_whitened_by_all_controls():
    run(control=CONTROL, whitening=("control",))
    whitener = icfl.ControlWhitener(shrinkage="ledoit-wolf").fit(X, control=CONTROL)
    white = whitener.transform(X)
    first, second = (places(rows, white) for rows, _ in FITS[-2:])
    assert sorted(first + second) == list(range(N))


def test_every_learner_and_whitening_has_one_number():
    found = icfl.compare(
        ["icfl", "random", "raw"],
        X,
        LABELS,
        GROUPS,
        control=CONTROL,
        n_components=12,
        n_nonzero=4,
        n_seeds=2,
    )
    for whitening in ("none", "control"):
        for learner in ("icfl", "random"):
            (value,) = found.values(learner, "stability_halves", whitening=whitening).values()
            assert 0 < value < 1
            assert len(found.values(learner, "stability", whitening=whitening)) == 4


def test_one_seed_makes_no_further_fits():
    found = run(n_seeds=1)
    assert len(FITS) == 4
    with pytest.raises(InputError, match="nothing was measured"):
        found.values("recorder", "stability_halves")


def test_a_learner_that_needs_more_rows_than_a_half_has_no_number():
    found = run(learner=Recorder(least=N // 2 + 1))
    assert len(FITS) == 8
    assert len(found.values("recorder", "stability")) == 4
    with pytest.raises(InputError, match="nothing was measured"):
        found.values("recorder", "stability_halves")


def test_halves_are_kept_and_are_not_taken_for_folds(tmp_path):
    # Two folds of two groups each hold out what a half leaves out.
    options = {"n_splits": 2, "cache": tmp_path / "kept"}
    first = run(**options)
    assert len(FITS) == len(list((tmp_path / "kept").glob("*.json"))) == 2 * 2 + 2
    assert run(**options).records == first.records
    assert len(FITS) == 6
