"""Odds ratios and p-values, one table at a time."""

from __future__ import annotations

import math

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
    return [(on & inside).sum(), (~on & inside).sum(), (on & ~inside).sum(), (~on & ~inside).sum()]


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
    p_values = []
    for m, z in enumerate(Z.T):
        for column, label in enumerate(result.labels):
            cells = np.array(table(z, labels == label))
            a, b, c, d = cells + 0.5
            log_odds, error = math.log(a * d / (b * c)), math.sqrt((1 / (cells + 0.5)).sum())
            width = stats.norm.ppf(0.95) * error
            found = [part[m, column] for part in (result.log_odds, result.low, result.high)]
            # Four logarithms up to log 51, then sums with numbers of the size of the width.
            bound = 16 * EPS * (4 * math.log(51) + width)
            expected = [log_odds, log_odds - width, log_odds + width]
            np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
            p = stats.fisher_exact(cells.reshape(2, 2), alternative="greater").pvalue
            p_values.append(p)
            # Sums of at most 50 probabilities, each a product of factorials up to 50!.
            assert math.isclose(result.p_values[m, column], p, rel_tol=1e4 * EPS)
            assert result.n_active[m, column] == cells[0]
    q = stats.false_discovery_control(p_values).reshape(result.p_values.shape)
    np.testing.assert_allclose(result.q_values, q, rtol=2e4 * EPS)


def mantel_haenszel(tables, level):
    """Common log odds ratio with its interval, and the test, as R's mantelhaen.test has them."""
    r = s = pr = psqr = qs = excess = variance = 0.0
    for a, b, c, d in tables:
        n = float(a + b + c + d)
        r, s = r + a * d / n, s + b * c / n
        pr += (a + d) * a * d / n**2
        psqr += ((a + d) * b * c + (b + c) * a * d) / n**2
        qs += (b + c) * b * c / n**2
        excess += a - (a + b) * (a + c) / n
        if n > 1:
            variance += (a + b) * (c + d) * (a + c) * (b + d) / (n**2 * (n - 1))
    p = 1.0
    if variance > 0:
        corrected = math.copysign(abs(excess) - min(0.5, abs(excess)), excess)
        p = stats.norm.sf(corrected / math.sqrt(variance))
    if r == 0 or s == 0:
        log_odds = math.nan if r == s else math.log(r) if r and not s else -math.inf
        return (math.inf if r and not s else log_odds), math.nan, math.nan, p
    error = math.sqrt(pr / (2 * r * r) + psqr / (2 * r * s) + qs / (2 * s * s))
    width = stats.norm.ppf((1 + level) / 2) * error
    return math.log(r / s), math.log(r / s) - width, math.log(r / s) + width, p


@settings(max_examples=60, deadline=None)
@given(case=codes_and_labels())
def test_groups_are_compared_within_themselves(case):
    Z, labels, groups = case
    result = enrichment(Z, labels, groups=groups)
    assert result.test == "cmh"
    for m, z in enumerate(Z.T):
        for column, label in enumerate(result.labels):
            tables = [table(z[groups == g], labels[groups == g] == label) for g in set(groups)]
            expected = mantel_haenszel(tables, 0.95)
            found = (result.log_odds, result.low, result.high, result.p_values)
            # Sums over at most four groups of quotients, logarithms up to log 50^2; in p, z moves
            # by as much relative to excess, a difference of numbers up to 50.
            np.testing.assert_allclose(
                [part[m, column] for part in found], expected, rtol=1e4 * EPS, atol=1e3 * EPS
            )


def test_one_group_is_the_plain_odds_ratio():
    rng = np.random.default_rng(1)
    Z, labels = rng.random((300, 4)) < 0.4, rng.integers(0, 3, 300)
    result = enrichment(Z, labels, groups=np.zeros(300))
    for m, z in enumerate(Z.T):
        a, b, c, d = table(z, labels == 1)
        assert math.isclose(result.odds_ratios[m, 1], a * d / (b * c), rel_tol=64 * EPS)
        # With one group, the variance is Woolf's [Robins et al. 1986].
        woolf = math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
        width = (result.high - result.low)[m, 1] / (2 * stats.norm.ppf(0.975))
        assert math.isclose(width, woolf, rel_tol=1e3 * EPS)


def test_a_plate_that_explains_everything():
    """Simpson: active on plate 1 alone, which has most of label "a"."""
    # Active is 4 of 5 on plate 1, where 80 of 100 are "a", and 1 of 10 on plate 2, where 20 are.
    plate, place = np.repeat([1, 2], 100), np.tile(np.arange(100), 2)
    labels = np.where(place < np.where(plate == 1, 80, 20), "a", "b")
    Z = np.where(plate == 1, place % 5 > 0, place % 10 == 0).astype(float)[:, None]
    assert enrichment(Z, labels).p_values[0, 0] < 1e-6
    within = enrichment(Z, labels, groups=plate)
    assert within.p_values[0].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(within.log_odds[0], 0.0, rtol=0, atol=16 * EPS)


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
