"""Tests of selectivity against SciPy's distributions, all permutations, and simulated nulls."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, special, stats

from icfl.exceptions import InputError
from icfl.metrics import matched_density_null, selectivity, selectivity_test

EPS = np.finfo(np.float64).eps


def exact_tail(active, is_label, groups):
    """P(active samples with the label >= observed), mean and variance, by SciPy."""
    pmf = count_law(active, is_label, groups)
    numbers = np.arange(len(pmf))
    mean = numbers @ pmf
    return pmf[(active & is_label).sum() :].sum(), mean, (numbers - mean) ** 2 @ pmf


def ln_choose(n, k):
    return special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)


def count_law(active, is_label, groups):
    """Probabilities of the numbers of active samples with the label."""
    pmf = np.ones(1)
    for group in np.unique(groups):
        rows = groups == group
        drawn, marked = active[rows].sum(), is_label[rows].sum()
        found = np.arange(max(0, drawn + marked - rows.sum()), min(drawn, marked) + 1)
        ways = ln_choose(drawn, found) + ln_choose(rows.sum() - drawn, marked - found)
        law = np.zeros(found[-1] + 1)
        law[found] = np.exp(ways - ln_choose(rows.sum(), marked))
        pmf = np.convolve(pmf, law)
    return pmf


@st.composite
def small_data(draw):
    n, width = draw(st.integers(6, 60)), draw(st.integers(1, 6))
    n_labels, n_groups = draw(st.integers(2, 4)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])
    Z = rng.random((n, width)) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    return Z, rng.permutation(labels), rng.integers(0, n_groups, n)


@settings(max_examples=40, deadline=None)
@given(case=small_data())
def test_exact_values_are_those_of_scipy(case):
    Z, labels, groups = case
    result = selectivity_test(
        sparse.csr_array(Z.astype(float)), labels, groups=groups, method="exact"
    )
    n = len(labels)
    for column, label in enumerate(result.labels):
        is_label = labels == label
        scale = 1 / is_label.sum() + 1 / (n - is_label.sum())
        for m in range(Z.shape[1]):
            p, mean, variance = exact_tail(Z[:, m], is_label, groups)
            # The bound: nine logarithms, each good to 1 eps of at most ln 60! = 189, in each
            # of four groups. Sums of positive multiples of them have the same relative error.
            bound = 4 * 9 * 189 * EPS
            assert result.p_values[m, column] == pytest.approx(p, rel=bound, abs=0)
            shift = Z[:, m].sum() / (n - is_label.sum())
            assert result.null_mean[m, column] == pytest.approx(
                mean * scale - shift, abs=bound * mean * scale + 20 * EPS
            )
            expected = np.sqrt(variance) * scale
            # A variance of zero is at most (bound x 60)^2 here.
            assert result.null_std[m, column] == pytest.approx(
                expected, rel=bound, abs=60 * bound * scale
            )
    np.testing.assert_array_equal(result.values, np.asarray(selectivity(Z, labels)))


def test_exact_values_far_in_the_tail():
    labels = np.repeat([0, 1], 500)
    Z = (labels == 1).astype(float)[:, None]
    found = selectivity_test(Z, labels, method="exact").p_values[0, 1]
    # One way of C(1000, 500); logarithms of factorials are good to 1e3 ln(1e3) eps.
    log = stats.hypergeom(1000, 500, 500).logpmf(500)
    assert np.log(found) == pytest.approx(log, abs=1e-10)
    assert found < 1e-299


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_permutation_values_are_those_of_all_permutations(kind):
    # Two groups of five: 5!/(2! 2!) x 5!/(3! 2!) orders, all taken.
    labels = np.array([0, 0, 1, 1, 2, 0, 0, 0, 1, 1])
    groups = np.repeat(["x", "y"], 5)
    rng = np.random.default_rng(3)
    Z = (rng.random((10, 4)) < 0.5).astype(float)
    Z[:, 3] = 0.0
    observed = np.asarray(selectivity(Z, labels, kind))
    everything = np.array(
        [
            np.asarray(selectivity(Z, np.array(a + b), kind))
            for a in set(itertools.permutations(labels[:5].tolist()))
            for b in set(itertools.permutations(labels[5:].tolist()))
        ]
    )
    P = 20_000
    result = selectivity_test(Z, labels, groups=groups, kind=kind, n_permutations=P, random_state=1)
    p = (everything >= observed - 4 * EPS).mean(axis=0)
    # Five standard deviations of a share of P, and that of 1 / (1 + P).
    bound = 5 * np.sqrt(p * (1 - p) / P) + 1 / P
    assert (np.abs(result.p_values - p) <= bound).all()
    std = everything.std(axis=0)
    assert (np.abs(result.null_mean - everything.mean(axis=0)) <= 5 * std / np.sqrt(P) + EPS).all()
    # The variance of a variance is at most (range x std)^2 / P, the range 2.
    assert (np.abs(result.null_std**2 - std**2) <= 5 * 2 * std / np.sqrt(P) + 8 * EPS).all()
    highest = everything.max(axis=1)
    p = (highest >= observed.max(axis=0) - 4 * EPS).mean(axis=0)
    assert (np.abs(result.best.p_values - p) <= 5 * np.sqrt(p * (1 - p) / P) + 1 / P).all()
    spread = 5 * highest.std(axis=0) / np.sqrt(P)
    assert (np.abs(result.best.mean - highest.mean(axis=0)) <= spread + EPS).all()
    assert (result.p_values[3] == 1.0).all()  # never active
    assert (result.null_std[3] == 0.0).all()


def test_permutation_and_exact_values_agree_on_a_screen():
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 6, 2000)
    labels = rng.integers(0, 30, 2000)  # more labels than are compared line by line
    Z = sparse.random_array((2000, 50), density=0.1, format="csr", rng=rng, dtype=np.float32)
    P = 2000
    drawn = selectivity_test(Z, labels, groups=groups, n_permutations=P, random_state=2)
    exact = selectivity_test(Z, labels, groups=groups, method="exact")
    p = exact.p_values
    z = (drawn.p_values - (1 + P * p) / (1 + P)) / np.sqrt(p * (1 - p) / P + 1e-300)
    # Of 1,500 nearly normal numbers none is beyond 5; the mean of their squares is 1 +- 0.2 (they
    # are dependent through the permutations, which widens the sqrt(2 / 1500) of independent ones).
    assert np.abs(z[p < 1]).max() < 5
    assert (z[p < 1] ** 2).mean() == pytest.approx(1.0, abs=0.2)


def test_same_bits_for_any_number_of_threads_and_any_form_of_codes():
    rng = np.random.default_rng(7)
    Z = (rng.random((400, 30)) < 0.2) * rng.normal(size=(400, 30))
    labels = np.where(rng.random(400) < 0.1, None, rng.integers(0, 40, 400).astype(str))
    groups = rng.integers(0, 3, 400)
    rows = sparse.csr_array(Z)
    twice = sparse.csr_array(
        (np.repeat(rows.data / 2, 2), np.repeat(rows.indices, 2), 2 * rows.indptr), shape=Z.shape
    )
    for kind in ("average", "maximum"):
        options = {"groups": groups, "kind": kind, "n_permutations": 70, "random_state": 4}
        first = selectivity_test(Z, labels, n_jobs=1, **options)
        for codes in (rows, sparse.csc_array(Z), twice, Z.astype(np.float32)):
            other = selectivity_test(codes, labels, n_jobs=3, **options)
            for name in ("values", "null_mean", "null_std", "p_values", "q_values"):
                np.testing.assert_array_equal(getattr(first, name), getattr(other, name))
            np.testing.assert_array_equal(first.best.null, other.best.null)
        alone = matched_density_null(Z, labels, **options)
        np.testing.assert_array_equal(alone.null, first.best.null)
        np.testing.assert_array_equal(alone.p_values, first.best.p_values)
    assert twice.nnz == 2 * rows.nnz  # what was given is as it was
    reseeded = selectivity_test(Z, labels, **{**options, "random_state": 5})
    assert (reseeded.p_values != first.p_values).any()


def plates(rng, n=3000, n_plates=3):
    """Labels whose shares differ between plates, and plates."""
    groups = rng.integers(0, n_plates, n)
    shares = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]])
    return (rng.random(n)[:, None] > shares[groups].cumsum(axis=1)).sum(axis=1), groups


def test_p_values_are_uniform_under_the_null_within_groups_and_not_without():
    # 1,000 features that know their plate (densities 0.1, 0.3, 0.5) and nothing else.
    rng = np.random.default_rng(11)
    labels, groups = plates(rng)
    densities = np.array([0.1, 0.3, 0.5])[groups]
    Z = sparse.csr_array((rng.random((3000, 1000)) < densities[:, None]).astype(np.float32))
    # Ties have weight: p is made uniform by a draw between P(A > a) and P(A >= a), as is proper for
    # a discrete law.
    grouped = selectivity_test(Z, labels, groups=groups, method="exact")
    naive = selectivity_test(Z, labels, method="exact")
    for label in range(3):
        assert ks(randomised(Z, labels, groups, label, grouped, rng)) > 0.001
        assert ks(naive.p_values[:, label]) < 1e-20
    drawn = selectivity_test(Z, labels, groups=groups, n_permutations=500, random_state=0)
    # Ties make p larger on average, by half the probability of a count, here up to 0.02; and p has
    # steps of 1 / 501. A shift of 0.02 is within what 1,000 values can tell.
    assert all(ks(drawn.p_values[:, label]) > 0.001 for label in range(3))
    assert drawn.significant(0.05).sum() == 0
    assert naive.significant(0.05).mean() > 0.3


def ks(p_values):
    return stats.kstest(p_values, "uniform").pvalue


def randomised(Z, labels, groups, label, result, rng):
    """Draw between P(A > a) and P(A >= a) for each feature."""
    dense, is_label = Z.toarray() != 0, labels == label
    ties = [count_law(column, is_label, groups)[(column & is_label).sum()] for column in dense.T]
    return result.p_values[:, label] - rng.random(len(ties)) * ties


def test_planted_features_are_found_and_false_discoveries_are_few():
    rng = np.random.default_rng(13)
    false_shares, power = [], []
    for _ in range(20):
        labels, groups = plates(rng, n=1500)
        density = np.array([0.05, 0.1, 0.2])[groups][:, None] * np.ones(300)
        planted = np.zeros((300, 3), dtype=bool)
        for m in range(60):  # more active under one label
            planted[m, m % 3] = True
            density[labels == m % 3, m] += 0.15
        Z = sparse.csr_array((rng.random(density.shape) < density).astype(np.float32))
        found = selectivity_test(Z, labels, groups=groups, method="exact").significant(0.1)
        # A feature for one label is one against the others, so that nulls are its other labels and
        # all of features without any.
        false_shares.append((found & ~planted).sum() / max(1, found.sum()))
        power.append(found[planted].mean())
    assert np.mean(power) > 0.8
    # At most 0.1 in expectation; the mean of 20 has its own error.
    assert np.mean(false_shares) <= 0.1 + 3 * np.std(false_shares) / np.sqrt(20)
    drawn = selectivity_test(Z, labels, groups=groups, kind="maximum", random_state=0)
    assert drawn.p_values[planted].mean() < 0.1 < drawn.p_values[60:].mean()


def test_the_best_by_luck_covers_the_best_of_nothing():
    # Family-wise: without any signal the best of 200 features is significant in 5 % of data sets.
    rng = np.random.default_rng(17)
    labels, groups = plates(rng, n=300)
    p_values = []
    for seed in range(100):
        density = np.array([0.05, 0.1, 0.3])[groups][:, None]
        Z = sparse.csr_array((rng.random((300, 200)) < density).astype(np.float32))
        null = matched_density_null(Z, labels, groups=groups, n_permutations=99, random_state=seed)
        p_values.append(null.p_values)
        assert (null.mean <= null.quantile(0.95)).all()
    # Binomial: of 100, more than 13 have probability 4e-4 at 5 %.
    assert (np.array(p_values) <= 0.05).sum(axis=0).max() <= 13
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.12)
    Z = sparse.csr_array(np.column_stack([Z.toarray(), (labels == 2) & (rng.random(300) < 0.5)]))
    null = matched_density_null(Z, labels, groups=groups, random_state=0)
    assert null.p_values[2] == 1 / 1001
    assert null.features[2] == 200


def test_a_label_that_fills_its_group_says_nothing():
    labels, groups = np.array([0] * 5 + [1, 2] * 5), np.array([0] * 5 + [1] * 10)
    Z = (labels == 0).astype(float)[:, None]
    for method in ("exact", "permutation"):
        result = selectivity_test(Z, labels, groups=groups, method=method, random_state=0)
        assert result.values[0, 0] == 1.0
        assert (result.p_values == 1.0).all()


def test_tables():
    pytest.importorskip("pandas")
    labels, Z = np.tile(["a", "b"], 10), np.eye(20, 3)
    result = selectivity_test(Z, labels, n_permutations=19, random_state=0)
    frame = result.to_frame()
    assert frame.shape == (6, 7)
    row = frame[(frame.feature == 1) & (frame.label == "b")].iloc[0]
    assert row.selectivity == result.values[1, 1]
    assert row.p_value == result.p_values[1, 1]
    assert result.best.to_frame().label.tolist() == ["a", "b"]
    assert "n_labels=2" in repr(result)
    assert "n_labels=2" in repr(result.best)


def test_errors_name_what_is_wrong():
    Z, labels = np.eye(4), [0, 1, 0, 1]
    with pytest.raises(InputError, match="kind"):
        selectivity_test(Z, labels, kind="median")
    with pytest.raises(InputError, match="method"):
        selectivity_test(Z, labels, method="guess")
    with pytest.raises(InputError, match="'permutation' for kind='maximum'"):
        selectivity_test(Z, labels, kind="maximum", method="exact")
    with pytest.raises(InputError, match="n_permutations"):
        selectivity_test(Z, labels, n_permutations=0)
    with pytest.raises(InputError, match="n_jobs"):
        selectivity_test(Z, labels, n_jobs=0)
    with pytest.raises(InputError, match="random_state"):
        selectivity_test(Z, labels, random_state="x")
    with pytest.raises(InputError, match="at least two values"):
        selectivity_test(Z, [1, 1, 1, 1])
    with pytest.raises(InputError, match="3 for 4 rows"):
        selectivity_test(Z, [1, 1, 2])
    with pytest.raises(InputError, match="groups must be known for every row with a label, 1"):
        selectivity_test(Z, labels, groups=[1, 1, None, 1])
    with pytest.raises(InputError, match="finite"):
        matched_density_null([[np.nan], [1.0]], [0, 1])
    # A row without a label needs no group.
    selectivity_test(Z, ["a", "b", "", "b"], groups=[1, 1, None, 1], n_permutations=1)
