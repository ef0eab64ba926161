"""Learners side by side: what is fitted on what, what is kept, and how numbers are put together."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator

import icfl
from icfl.evaluation import learners, plan
from icfl.evaluation.comparison import Comparison, Record, interval
from icfl.evaluation.memory import PeakMemory
from icfl.exceptions import InputError, InputTypeError

RNG = np.random.default_rng(0)
N, D = 120, 12
GROUPS = np.repeat(["p1", "p2", "p3", "p4"], N // 4)
LABELS = np.tile(["a", "b", "c"], N // 3)
X = RNG.standard_normal((N, D)) + 2 * np.eye(D)[np.tile([0, 1, 2], N // 3)]
CONTROL = np.arange(N) % 5 == 0


def run(chosen=("pca",), **options):
    options = {"n_nonzero": 4, "n_components": 16, "n_seeds": 1} | options
    return icfl.compare(chosen, X, LABELS, GROUPS, **options)


def test_every_learner_has_a_number_for_every_fold_and_seed():
    found = run(["icfl", "topk", "pca"], n_seeds=2, control=CONTROL)
    assert found.learners == ["icfl", "topk", "pca"]
    for whitening in ("none", "control"):
        for learner in found.learners:
            values = found.values(learner, "cosine_similarity", whitening=whitening)
            assert sorted(values) == [(g, s) for g in ("p1", "p2", "p3", "p4") for s in (0, 1)]
            assert all(0 < value <= 1 for value in values.values())


def test_learners_are_made_equally_wide_and_sparse():
    found = run(["icfl", "topk", "kmeans", "random", "raw"])
    for learner in ("icfl", "topk", "kmeans", "random"):
        assert set(found.values(learner, "n_components").values()) == {16.0}
    assert set(found.values("raw", "n_components").values()) == {float(D)}
    assert set(found.values("raw", "l0").values()) == {float(D)}
    for learner in ("icfl", "topk", "random"):
        assert max(found.values(learner, "l0").values()) <= 4


@pytest.mark.parametrize(
    ("n_nonzero", "expected"),
    [(100, (20, 5)), (16, (4, 4)), (12, (4, 3)), (7, (7, 1)), (1, (1, 1))],
)
def test_rounds_of_pursuit_make_the_non_zeros_asked_for(n_nonzero, expected):
    model = learners.resolve(["icfl"], None, n_nonzero, None)["icfl"]
    assert (model.n_iterations, model.atoms_per_iteration) == expected


class Spy(BaseEstimator):
    """Notes what it is fitted on; its codes are the rows."""

    seen: list[np.ndarray] = []  # noqa: RUF012  # shared by all copies: that is its use

    def __init__(self, n_jobs=None, random_state=None):
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X):
        Spy.seen.append(np.asarray(X))
        return self

    def transform(self, X):
        return np.asarray(X, dtype=np.float32)

    def inverse_transform(self, Z):
        return Z


class Single(Spy):
    """The same, for an estimator that knows nothing of threads."""

    def __init__(self, random_state=None):
        self.random_state = random_state


def test_estimators_without_threads_are_compared():
    assert set(run({"plain": Single()}).values("plain", "cosine_similarity").values()) == {1.0}


def test_nothing_is_fitted_on_what_is_held_out():
    Spy.seen = []
    found = run({"spy": Spy()})
    held_out = [group == GROUPS for group in np.unique(GROUPS)]
    for test, rows in zip(held_out, Spy.seen, strict=True):
        np.testing.assert_array_equal(rows, X[~test])
    assert set(found.values("spy", "cosine_similarity").values()) == {1.0}


def test_the_whitener_sees_controls_of_the_other_groups_only():
    Spy.seen = []
    run({"spy": Spy()}, control=CONTROL, whitening=("control",))
    for test, rows in zip([g == GROUPS for g in np.unique(GROUPS)], Spy.seen, strict=True):
        whitener = icfl.ControlWhitener(shrinkage="ledoit-wolf")
        whitener.fit(X[~test], control=CONTROL[~test])
        np.testing.assert_array_equal(rows, whitener.transform(X[~test]))


def test_probes_and_selectivity_are_those_of_the_metrics():
    found = run({"spy": Spy()})
    test = GROUPS == "p2"
    Z = X.astype(np.float32)
    probe = icfl.metrics.linear_probe(Z, LABELS, groups=test)
    assert found.values("spy", "probe_codes", label="label")["p2", 0] == probe.scores[1]
    for kind in ("average", "maximum"):
        here = icfl.metrics.selectivity(Z[test], LABELS[test], kind).values
        there = icfl.metrics.selectivity(Z[~test], LABELS[~test], kind).values
        naive = found.values("spy", f"selectivity_{kind}_naive", label="label")["p2", 0]
        assert naive == here.max(axis=0).mean()
        corrected = found.values("spy", f"selectivity_{kind}_corrected", label="label")["p2", 0]
        assert corrected == np.mean([here[there[:, i].argmax(), i] for i in range(3)])
        null = found.values("spy", f"selectivity_{kind}_null", label="label")["p2", 0]
        again = icfl.metrics.matched_density_null(
            Z[test], LABELS[test], kind=kind, n_permutations=100, random_state=0
        )
        assert null == again.mean.mean()
    here, there = (icfl.metrics.feature_auroc(Z[r], LABELS[r]).values for r in (test, ~test))
    assert found.values("spy", "auroc_naive", label="label")["p2", 0] == here.max(axis=0).mean()
    corrected = found.values("spy", "auroc_corrected", label="label")["p2", 0]
    assert corrected == np.mean([here[there[:, i].argmax(), i] for i in range(3)])


def test_labels_are_permuted_within_the_groups_of_a_fold():
    # A feature for each group: within groups of one value each nothing is left to choose from.
    nested = np.where(np.isin(GROUPS, ["p1", "p2"]), "first", "last")
    groups_of = np.unique(GROUPS, return_inverse=True)[1]
    found = icfl.compare(
        {"groups": Spy()}, np.eye(4)[groups_of], nested, GROUPS, n_seeds=1, n_splits=2
    )
    naive = found.values("groups", "selectivity_average_naive", label="label")
    null = found.values("groups", "selectivity_average_null", label="label")
    assert null == pytest.approx(naive)


def test_leakage_is_of_what_is_held_out():
    rng = np.random.default_rng(2)
    marks = (GROUPS == "p3").astype(float)
    for_label = (LABELS == "a").astype(float)
    found = icfl.compare(
        {"spy": Spy()}, np.column_stack([marks, for_label]), LABELS, GROUPS, n_seeds=1
    )
    leakage = found.values("spy", "batch_leakage", label="label")
    flagged = found.values("spy", "flagged_fraction", label="label")
    assert leakage["p3", 0] == pytest.approx(0.5)  # one of two tells all
    # Of the others it tells that it is silent there, as on most rows.
    assert max(leakage[group, 0] for group in ("p1", "p2", "p4")) < 0.15
    # The other one is the label's.
    assert set(flagged.values()) == {0.5}
    # Labels that lie in one group each say nothing about that group.
    nested = icfl.compare({"spy": Spy()}, rng.normal(size=(N, 3)), GROUPS, GROUPS, n_seeds=1)
    with pytest.raises(InputError, match="nothing was measured"):
        nested.values("spy", "batch_leakage", label="label")


def test_the_correction_takes_away_what_chance_gives():
    rng = np.random.default_rng(1)
    noise = np.where(rng.random((N, 400)) < 0.1, 1.0, 0.0)

    class Noise(Spy):
        def transform(self, X):
            return noise.astype(np.float32)

        def inverse_transform(self, Z):
            return X.astype(np.float32)

    found = run({"noise": Noise()})
    naive = found.interval("noise", "selectivity_average_naive", label="label")
    corrected = found.interval("noise", "selectivity_average_corrected", label="label")
    assert naive.mean > 0.3
    # 12 values of differences of shares of 10 and 20 rows at 10 %: sd of each below 0.12.
    assert abs(corrected.mean) < 4 * 0.12 / math.sqrt(12)


def test_labels_that_cannot_be_held_out_have_no_probe():
    nested = np.where(GROUPS == "p1", "only here", LABELS)
    found = icfl.compare(["raw"], X, {"nested": nested}, GROUPS, n_seeds=1)
    groups = {group for group, _ in found.values("raw", "probe_codes", label="nested")}
    assert groups == {"p2", "p3", "p4"}


def test_seeds_are_compared_by_their_dictionaries():
    found = run(["random", "pca"], n_seeds=3)
    assert min(found.values("pca", "stability").values()) > 1 - 1e-6
    assert max(found.values("random", "stability").values()) < 0.9
    with pytest.raises(InputError, match="nothing was measured"):
        run(["pca"]).values("pca", "stability")


def test_what_is_kept_is_not_measured_again(tmp_path):
    folder = tmp_path / "kept"
    Spy.seen = []
    first = run({"spy": Spy(), "pca": icfl.baselines.PCA()}, cache=folder)
    fits = len(Spy.seen)
    again = run({"spy": Spy(n_jobs=2), "pca": icfl.baselines.PCA()}, cache=folder)
    assert len(Spy.seen) == fits == 4
    assert again.records == first.records
    assert len(list(folder.glob("*.json"))) == 8


@pytest.mark.parametrize(
    "change",
    [
        {"X": X + 1e-9},
        {"labels": np.roll(LABELS, 1)},
        {"control": ~CONTROL},
        {"groups": np.roll(GROUPS, 1)},
        {"learner": Spy(random_state=5).set_params(random_state=7)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_is_measured_anew(tmp_path, change):
    def go(**changed):
        options = {"X": X, "labels": LABELS, "groups": GROUPS, "control": CONTROL} | changed
        learner = options.pop("learner", icfl.baselines.PCA())
        arrays = [options.pop(name) for name in ("X", "labels", "groups")]
        return icfl.compare({"l": learner}, *arrays, n_seeds=1, cache=tmp_path / "kept", **options)

    go()
    before = set((tmp_path / "kept").glob("*.json"))
    go(**change)
    assert len(set((tmp_path / "kept").glob("*.json")) - before) == len(before)


def test_a_stopped_run_goes_on(tmp_path):
    class Stopping(Spy):
        left = 3

        def fit(self, X):
            if Stopping.left == 0:
                raise KeyboardInterrupt
            Stopping.left -= 1
            return super().fit(X)

    with pytest.raises(KeyboardInterrupt):
        run({"s": Stopping()}, cache=tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*.json"))) == 3
    Stopping.left = 1
    assert len(run({"s": Stopping()}, cache=tmp_path / "kept").values("s", "l0")) == 4


def test_a_damaged_result_is_measured_again(tmp_path):
    first = run(cache=tmp_path / "kept")
    for file in (tmp_path / "kept").glob("*.json"):
        file.write_text(file.read_text()[:30])
    again = run(cache=tmp_path / "kept")
    assert again.values("pca", "cosine_similarity") == first.values("pca", "cosine_similarity")
    for file in (tmp_path / "kept").glob("*.json"):
        json.loads(file.read_text())


def test_progress_counts_fits():
    told = []

    class Bar:
        def __init__(self, title, total, *, unit):
            told.append((title, total, unit))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            told.append("end")

        def advance(self):
            told.append(1)

    run(progress=Bar, n_seeds=2)
    assert told == [("compare", 10, "fits"), *[1] * 10, "end"]  # the two halves as well


def test_intervals_are_students_over_groups():
    values = {("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 4.0, ("b", 1): 4.0, ("c", 0): 9.0}
    found = interval(values, 0.9)
    means = [2.0, 4.0, 9.0]
    low, high = stats.t.interval(0.9, 2, loc=np.mean(means), scale=stats.sem(means))
    assert found == pytest.approx((5.0, low, high, 3, 1.0), rel=1e-12)
    assert math.isnan(interval({("a", 0): 1.0}).low)


def test_differences_are_paired():
    records = [
        Record(learner, "none", group, 0, "", "score", value + offset)
        for learner, offset in (("one", 0.1), ("two", 0.0))
        for group, value in (("a", 0.2), ("b", 0.9), ("c", 0.4))
    ]
    found = Comparison(tuple(records))
    difference = found.difference("one", "two", "score")
    assert difference.mean == pytest.approx(0.1)
    assert difference.high - difference.low < 1e-12  # what plates differ by has cancelled
    own = found.interval("one", "score")
    assert own.high - own.low > 0.5


def test_tables_hold_every_record():
    found = run(["pca", "raw"])
    frame = found.to_frame()
    assert list(frame.columns) == list(Record._fields)
    assert len(frame) == len(found.records)
    summary = found.summary()
    row = summary[(summary.learner == "pca") & (summary.metric == "l0")].iloc[0]
    assert row["mean"] == found.interval("pca", "l0").mean
    assert len(summary) == len({(r.learner, r.label, r.metric) for r in found.records})


def test_without_pandas_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="need pandas"):
        Comparison(()).to_frame()


def test_peak_memory_sees_what_is_gone_again():
    with PeakMemory() as memory:
        np.ones(8 << 20).sum()  # 64 MiB
    assert math.isnan(memory.mebibytes) or 32 <= memory.mebibytes <= 256


def test_many_groups_are_held_out_a_few_at_a_time():
    groups = np.arange(60).astype(str)
    found = plan.folds(groups, None)
    assert len(found) == plan.MAX_FOLDS
    assert np.sum([fold.test for fold in found], axis=0).tolist() == [1] * 60
    assert len(plan.folds(groups, 3)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["p"] * N}, "groups must have at least two values"),
        ({"groups": [None] + ["p", "q"] * (N // 2 - 1) + ["p"]}, "groups must be known"),
        ({"labels": ["a"] * N}, "at least two values"),
        ({"labels": LABELS[:5]}, "one entry per row"),
        ({"control": CONTROL.astype(int)}, "control must be boolean"),
        ({"control": GROUPS == "p1", "whitening": ["control"]}, "no control is left when p1"),
        ({"whitening": ["control"]}, "needs control"),
        ({"whitening": ["zca"]}, "whitening"),
        ({"n_splits": 9}, "n_splits must be from 2 to the 4 groups"),
        ({"n_seeds": 0}, "n_seeds"),
        ({"learners": ["icl"]}, "learners must be out of icfl"),
        ({"n_components": 0}, "n_components"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_one_clear_error(options, message):
    options = {"learners": ["pca"], "X": X, "labels": LABELS, "groups": GROUPS} | options
    arrays = [options.pop(name) for name in ("learners", "X", "labels", "groups")]
    with pytest.raises(InputError, match=message):
        icfl.compare(*arrays, **options)


@pytest.mark.parametrize("chosen", ["pca", [], {}, {"x": 3}], ids=repr)
def test_learners_are_names_or_estimators(chosen):
    with pytest.raises(InputTypeError, match="learners"):
        run(chosen)


def test_a_cache_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "kept").write_text("")
    with pytest.raises(InputError, match="cache must be a folder"):
        run(cache=tmp_path / "kept")
