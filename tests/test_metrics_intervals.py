"""Bootstrap intervals against SciPy's, and against resamples written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from icfl.exceptions import InputError
from icfl.metrics import SelectivityIntervalCounts, selectivity, selectivity_intervals
from icfl.metrics._resamples import GroupResamples, scores

EPS = np.finfo(np.float64).eps


def data(rng, n=120, width=3, n_labels=3, n_groups=15):
    labels = np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])
    groups = rng.integers(0, n_groups, n)
    density = 0.2 + 0.4 * (labels[:, None] == np.arange(width)) + 0.1 * (groups % 3)[:, None]
    return (rng.random((n, width)) < density).astype(float), labels, groups


@pytest.mark.parametrize("kind", ["average", "maximum"])
@pytest.mark.parametrize("by", ["rows", "groups"])
def test_intervals_are_those_of_scipy(kind, by):
    rng = np.random.default_rng(0)
    Z, labels, groups = data(rng)
    members = [np.flatnonzero(groups == group) for group in range(15)]

    def statistic(drawn, label):
        rows = drawn if by == "rows" else np.concatenate([members[g] for g in drawn])
        totals = np.bincount(labels[rows], minlength=3)
        active = np.bincount(labels[rows], weights=Z[rows, 0], minlength=3)
        others = np.arange(3) != label
        shares = active / totals
        if kind == "maximum":
            return shares[label] - shares[others].max()
        return shares[label] - active[others].sum() / totals[others].sum()

    n_resamples = 3000
    result = selectivity_intervals(
        Z,
        labels,
        groups=None if by == "rows" else groups,
        kind=kind,
        confidence=0.9,
        n_resamples=n_resamples,
        random_state=1,
    )
    assert result.resampled == by
    units = np.arange(len(Z) if by == "rows" else 15)
    for label in (0, 2):
        reference = stats.bootstrap(
            (units,),
            lambda drawn, label=label: statistic(drawn, label),
            vectorized=False,
            n_resamples=n_resamples,
            confidence_level=0.9,
            method="percentile",
            rng=np.random.default_rng(2),
        )
        # The 5 % quantile of R values of deviation s has one of sqrt(0.05 0.95 / R) / density, the
        # normal density there being 0.103 / s; both sides have it, and 4 of them are allowed.
        error = np.sqrt(2 * 0.05 * 0.95 / n_resamples) / 0.103 * reference.standard_error
        ends = reference.confidence_interval
        assert result.low[0, label] == pytest.approx(ends.low, abs=4 * error)
        assert result.high[0, label] == pytest.approx(ends.high, abs=4 * error)


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_resampled_groups_count_as_often_as_drawn(kind):
    rng = np.random.default_rng(3)
    Z, labels, groups = data(rng, n_groups=6)
    counts = SelectivityIntervalCounts().update(sparse.csr_array(Z), labels, groups)
    resamples = GroupResamples(counts._counted(), 50, np.random.default_rng(4))
    ((columns, active),) = resamples.blocks()
    assert Z[:, columns].shape == Z.shape
    values = scores(active, resamples.totals, kind)
    for r, times in enumerate(resamples.times.astype(int)):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in np.repeat(np.arange(6), times)])
        expected = np.asarray(selectivity(Z[rows], labels[rows], kind))
        np.testing.assert_allclose(values[:, r].T, expected, rtol=0, atol=4 * EPS)


def test_intervals_contain_the_truth_as_often_as_they_say():
    # P(active) is 0.5 and 0.2: selectivity 0.3, its deviation 0.06 with 120 rows of each label.
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 120)
    Z = (rng.random((240, 400)) < np.where(labels == 0, 0.5, 0.2)[:, None]).astype(float)
    result = selectivity_intervals(Z, labels, confidence=0.9, n_resamples=500, random_state=0)
    inside = (result.low[:, 0] <= 0.3) & (result.high[:, 0] >= 0.3)
    # Binomial of 400 at 0.9, 4 deviations, and one hundredth for the bootstrap at this size.
    assert inside.mean() == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 400) + 0.01)


def test_plates_that_differ_make_longer_intervals():
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(20), 50)
    labels = np.tile([0, 1], 500)
    effect = rng.normal(0, 0.2, 20)[groups] * (labels == 0)
    Z = (rng.random(1000) < 0.4 + effect).astype(float)[:, None]
    rows = selectivity_intervals(Z, labels, random_state=0)
    plates = selectivity_intervals(Z, labels, groups=groups, random_state=0)
    assert (plates.high - plates.low > 1.3 * (rows.high - rows.low)).all()
    np.testing.assert_array_equal(rows.values, np.asarray(selectivity(Z, labels)))


def test_blocks_of_features_give_their_own_intervals(monkeypatch):
    rng = np.random.default_rng(7)
    Z, labels, groups = data(rng, width=7)
    Z = sparse.csr_array(Z)
    whole = selectivity_intervals(Z, labels, groups=groups, n_resamples=60, random_state=0)
    monkeypatch.setattr("icfl.metrics._resamples._SPAN_VALUES", 2 * 3 * 60)  # two features a block
    parts = selectivity_intervals(Z, labels, groups=groups, n_resamples=60, random_state=0)
    np.testing.assert_array_equal(whole.low, parts.low)
    np.testing.assert_array_equal(whole.high, parts.high)
    rows = selectivity_intervals(Z, labels, n_resamples=60, random_state=0)
    assert (rows.low <= rows.high).all()


def test_resamples_without_a_label_are_left_out():
    labels, groups = np.array([0, 1, 0, 1, 2, 2]), np.array([0, 0, 1, 1, 2, 2])
    Z = np.array([[1.0], [0.0], [1.0], [0.0], [1.0], [1.0]])
    for kind in ("average", "maximum"):
        result = selectivity_intervals(Z, labels, groups=groups, kind=kind, random_state=0)
        # Group 2 is missing from (2/3)^3 of the resamples, both others from 1/27.
        assert result.n_valid[2] == pytest.approx(1000 * (1 - 8 / 27 - 1 / 27), abs=75)
        assert np.isfinite(result.low).all()
        assert np.isfinite(result.high).all()


def test_table():
    pytest.importorskip("pandas")
    result = selectivity_intervals(np.eye(4, 2), [0, 1, 0, 1], n_resamples=20, random_state=0)
    assert result.to_frame().shape == (4, 5)
    assert "resampled='rows'" in repr(result)


def test_errors_name_what_is_wrong():
    Z, labels = np.eye(4), [0, 1, 0, 1]
    with pytest.raises(InputError, match="kind"):
        selectivity_intervals(Z, labels, kind="median")
    with pytest.raises(InputError, match="n_resamples"):
        selectivity_intervals(Z, labels, n_resamples=0)
    for confidence in (0.0, 1.0, 95.0):
        with pytest.raises(InputError, match="confidence"):
            selectivity_intervals(Z, labels, confidence=confidence)
    with pytest.raises(InputError, match="groups must have at least two"):
        selectivity_intervals(Z, labels, groups=["a"] * 4)
