"""Odds ratios and p-values, one table at a time, in rational arithmetic up to the last function.

Bounds count roundings: EPS / 2 an operation and EPS a logarithm, relative to the result of each.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from icfl.datasets import load_cell_lines
from icfl.exceptions import InputError
from icfl.metrics import enrichment
from icfl.metrics import enrichment as function

EPS = np.finfo(np.float64).eps


def table(z, inside):
    on = z != 0
    cells = (on & inside, ~on & inside, on & ~inside, ~on & ~inside)
    return [int(cell.sum()) for cell in cells]


def fisher(a, b, c, d):
    """Chance of `a` or more active samples in the label, all margins given, exactly."""
    most, n_active = min(a + b, a + c), a + c
    ways = (math.comb(a + b, k) * math.comb(c + d, n_active - k) for k in range(a, most + 1))
    return Fraction(sum(ways), math.comb(a + b + c + d, n_active))


def benjamini_hochberg(p_values):
    """Smallest p_j m / j over the j-th smallest p-values from each one on, exactly."""
    p = np.asarray(p_values)
    order, smallest, q = np.argsort(p), Fraction(1), np.empty(len(p))
    for rank in range(len(p), 0, -1):
        place = order[rank - 1]
        smallest = min(smallest, Fraction(p[place]) * len(p) / rank)
        q[place] = float(smallest)
    return q


@st.composite
def codes_and_labels(draw):
    n, width = draw(st.integers(4, 50)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Z = np.where(rng.random((n, width)) < 0.4, rng.normal(size=(n, width)), 0.0)
    labels = np.concatenate([[0, 1], rng.integers(0, 3, n - 2)])
    return Z, rng.permutation(labels), rng.integers(0, 4, n)


@settings(max_examples=50, deadline=None)
@given(case=codes_and_labels())
def test_one_table_at_a_time(case):
    Z, labels, _ = case
    result = enrichment(sparse.csr_array(Z), labels, confidence=0.9)
    quantile = stats.norm.isf(0.05)
    for m, z in enumerate(Z.T):
        for column, label in enumerate(result.labels):
            cells = table(z, labels == label)
            a, b, c, d = (Fraction(2 * cell + 1, 2) for cell in cells)
            log_odds, error = math.log(a * d / (b * c)), math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
            width = quantile * error
            found = [part[m, column] for part in (result.log_odds, result.low, result.high)]
            # Four logarithms up to 4 and three sums up to 16 are 40 EPS, the one here 8, the last
            # sum 4. The width has 3 from its root and, as 0.9 is rounded by EPS / 4 and the density
            # is 0.10, 2 from its quantile, which two evaluations know to 4.
            bound = EPS * (52 + 10 * width)
            expected = [log_odds, log_odds - width, log_odds + width]
            np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
            exact = fisher(*cells)
            # Of nine log factorials, up to log 50! = 149, each may be off by 2 EPS of itself: so a
            # term of the tail; from below the mean it may be the difference to 1.
            below = (cells[0] - 1) * sum(cells) < (cells[0] + cells[1]) * (cells[0] + cells[2])
            off = abs(Fraction(result.p_values[m, column]) - exact)
            assert off <= 9 * 149 * 2 * EPS * (1 if below else exact)
            assert result.n_active[m, column] == cells[0]
    # Two roundings in ours, one here.
    q_values = benjamini_hochberg(result.p_values.ravel())
    np.testing.assert_allclose(result.q_values.ravel(), q_values, rtol=1.5 * EPS)


def mantel_haenszel(tables):
    """Sums over groups as R's mantelhaen.test has them, exactly.

    Returns R and S, of which the common odds ratio is the quotient, the variance of its logarithm,
    a - E(a), its variance, and the sum of what a - E(a) is a difference of.
    """
    r = s = pr = psqr = qs = excess = variance = Fraction(0)
    for a, b, c, d in tables:
        n = a + b + c + d
        r, s = r + Fraction(a * d, n), s + Fraction(b * c, n)
        pr += Fraction((a + d) * a * d, n**2)
        psqr += Fraction((a + d) * b * c + (b + c) * a * d, n**2)
        qs += Fraction((b + c) * b * c, n**2)
        excess += a - Fraction((a + b) * (a + c), n)
        if n > 1:
            variance += Fraction((a + b) * (c + d) * (a + c) * (b + d), n**2 * (n - 1))
    of_log = pr / (2 * r * r) + psqr / (2 * r * s) + qs / (2 * s * s) if r and s else None
    return r, s, of_log, excess, variance, r + s


def check_common_odds(found, r, s, of_log):
    """Compare log odds ratio, low and high."""
    if not (r and s):
        expected = math.nan if r == s else math.inf if r else -math.inf
        np.testing.assert_array_equal(found, [expected, math.nan, math.nan])
        return
    width = stats.norm.isf(0.025) * math.sqrt(of_log)
    log_odds = math.log(r / s)
    # R and S are sums of four terms, 2.5 EPS each, their logarithms are up to 4 and the difference,
    # and the one here, up to 8: 13 + 4 + 8 EPS. Each quotient of the variance has 22 roundings at
    # most, its root 6 EPS; the quantile has 1 from 0.95, rounded where the density is 0.058, and 4
    # from two evaluations, and the root here 1. The last sum rounds numbers up to 8 and the width.
    bound = EPS * (30 + 13 * width)
    expected = [log_odds, log_odds - width, log_odds + width]
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def check_cmh(p, excess, variance, size):
    """Compare the one-sided p-value."""
    if not variance:
        assert p == 1.0
        return
    short, root = max(abs(excess) - Fraction(1, 2), 0), math.sqrt(variance)
    z = math.copysign(float(short) / root, excess)
    # Differences of numbers that add up to `size`, 3 EPS of that; 3.5 of z from the root of a sum
    # of products and its quotient, 1.5 from those here. d log p / dz is at most |z| + 1 (Mills),
    # and each of the two evaluations may add 8 EPS, and z^2 where it squares z.
    dz = EPS * ((3 * float(size) + 0.5) / root + 5 * abs(z))
    relative = (abs(z) + 1) * dz + EPS * (16 + 2 * z * z)
    assert math.isclose(p, math.erfc(z / math.sqrt(2)) / 2, rel_tol=relative)


@settings(max_examples=60, deadline=None)
@given(case=codes_and_labels())
def test_groups_are_compared_within_themselves(case):
    Z, labels, groups = case
    result = enrichment(Z, labels, groups=groups)
    assert result.test == "cmh"
    for m, z in enumerate(Z.T):
        for column, label in enumerate(result.labels):
            tables = [table(z[groups == g], labels[groups == g] == label) for g in set(groups)]
            r, s, of_log, excess, variance, size = mantel_haenszel(tables)
            found = [part[m, column] for part in (result.log_odds, result.low, result.high)]
            check_common_odds(found, r, s, of_log)
            check_cmh(result.p_values[m, column], excess, variance, size)


def test_one_group_is_the_plain_odds_ratio():
    rng = np.random.default_rng(1)
    Z, labels = rng.random((300, 4)) < 0.4, rng.integers(0, 3, 300)
    result = enrichment(Z, labels, groups=np.zeros(300))
    for m, z in enumerate(Z.T):
        a, b, c, d = table(z, labels == 1)
        # R = a d / n and S have 1 EPS each, their logarithms are up to log 300 = 5.7 and differ by
        # up to 8, and the exponential adds 1, the quotient here 0.5.
        assert math.isclose(result.odds_ratios[m, 1], a * d / (b * c), rel_tol=20 * EPS)
        # With one group, the variance is Woolf's [Robins et al. 1986].
        woolf = math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
        width = (result.high - result.low)[m, 1] / (2 * stats.norm.isf(0.025))
        # 13 EPS as above, 3 of the root here, and the two sums with the logarithm, each rounded.
        rounded = (abs(result.log_odds[m, 1]) + 2 * woolf) / 2
        assert math.isclose(width, woolf, rel_tol=0, abs_tol=EPS * (16 * woolf + rounded))


def test_a_plate_that_explains_everything():
    """Simpson: active on plate 1 alone, which has most of label "a"."""
    # Active is 4 of 5 on plate 1, where 80 of 100 are "a", and 1 of 10 on plate 2, where 20 are.
    plate, place = np.repeat([1, 2], 100), np.tile(np.arange(100), 2)
    labels = np.where(place < np.where(plate == 1, 80, 20), "a", "b")
    Z = np.where(plate == 1, place % 5 > 0, place % 10 == 0).astype(float)[:, None]
    assert enrichment(Z, labels).p_values[0, 0] < 1e-6
    within = enrichment(Z, labels, groups=plate)
    assert within.p_values[0].tolist() == [0.5, 0.5]
    # R and S are 4, of two terms of two roundings each: 1.5 EPS, and log 4 = 1.4 each.
    np.testing.assert_allclose(within.log_odds[0], 0.0, rtol=0, atol=6 * EPS)


def test_p_values_are_not_smaller_than_chance_allows():
    rng = np.random.default_rng(3)
    Z = sparse.random_array((400, 3000), density=0.1, format="csr", rng=rng)
    labels, groups = rng.integers(0, 2, 400), rng.integers(0, 5, 400)
    for result in (enrichment(Z, labels), enrichment(Z, labels, groups=groups)):
        below = np.mean(result.p_values[:, 0] <= 0.05)
        # Binomial of 3,000: 0.05 and four standard deviations of 0.004.
        assert below <= 0.05 + 4 * 0.004
        assert result.q_values.min() > 0.01


def test_degenerate_tables():
    Z = np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    plain = enrichment(Z, ["a", "a", "b", "b"])
    assert np.isfinite(plain.log_odds).all()
    assert plain.log_odds[:2].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert plain.p_values[:2].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    grouped = enrichment(Z, ["a", "a", "b", "b"], groups=["x"] * 4)
    assert np.isnan(grouped.log_odds[:2]).all()
    assert grouped.log_odds[2].tolist() == [np.inf, -np.inf]
    assert np.isnan(grouped.high).all()
    assert grouped.p_values[:2].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    nested = enrichment(Z, ["a", "a", "b", "b"], groups=["x", "x", "y", "y"])
    assert (nested.p_values == 1).all()


def test_blocks_of_tables_and_the_frame(monkeypatch):
    pytest.importorskip("pandas")
    screen = load_cell_lines()
    Z = sparse.csr_array(np.where(screen.data > 1, screen.data, 0.0))
    whole = enrichment(Z, screen.labels.cell_type, groups=screen.labels.plate)
    module = __import__(function.__module__, fromlist=["_BLOCK_TABLES"])
    monkeypatch.setattr(module, "_BLOCK_TABLES", 300)
    blocks = enrichment(Z, screen.labels.cell_type, groups=screen.labels.plate)
    np.testing.assert_array_equal(blocks.p_values, whole.p_values)
    frame = whole.to_frame(max_q=0.01)
    assert frame.q_value.is_monotonic_increasing
    assert len(frame) == (whole.q_values <= 0.01).sum() > 10
    assert len(whole.to_frame()) == whole.q_values.size
    top = frame.iloc[0]
    column = whole.labels.tolist().index(top.label)
    assert top.p_value == whole.p_values[top.feature, column]
    assert top.n_active == whole.n_active[top.feature, column]
    assert "cmh" in repr(whole)


def test_rows_without_a_label_are_left_out():
    rng = np.random.default_rng(0)
    Z, labels = rng.random((40, 3)) < 0.5, np.array(["a", "b", None, ""] * 10, dtype=object)
    groups = np.array(["x", "y", None, "x"] * 10, dtype=object)
    kept = np.isin(labels, ["a", "b"])
    for given_groups in (None, np.repeat(["x", "y"], 20), groups):
        found = enrichment(Z, labels, groups=given_groups)
        rest = None if given_groups is None else given_groups[kept]
        expected = enrichment(Z[kept], labels[kept], groups=rest)
        np.testing.assert_array_equal(found.p_values, expected.p_values)
        np.testing.assert_array_equal(found.log_odds, expected.log_odds)


def test_errors_name_what_is_wrong():
    Z = np.ones((4, 2))
    with pytest.raises(InputError, match="at least two"):
        enrichment(Z, ["a"] * 4)
    with pytest.raises(InputError, match="groups must be known for every labelled row, 1 are"):
        enrichment(Z, [0, 1, 0, 1], groups=["x", None, "x", "x"])
    with pytest.raises(InputError, match="groups must have one entry"):
        enrichment(Z, [0, 1, 0, 1], groups=["x"])
    for bad in (0.0, 1.0, 2.0):
        with pytest.raises(InputError, match="confidence"):
            enrichment(Z, [0, 1, 0, 1], confidence=bad)
    with pytest.raises(InputError, match="finite"):
        enrichment(np.full((2, 1), np.nan), [0, 1])
