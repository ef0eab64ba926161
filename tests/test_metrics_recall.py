"""Recall of pairs against a loop over all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from icfl.exceptions import InputError
from icfl.metrics import _profiles, perturbation_recall


def by_definition(X, labels, pairs=None, diffby=None, low=0.05, high=0.95):
    """As EFAAR counts: ranks of known pairs among the cosines of all others."""
    norms = np.linalg.norm(X, axis=1)
    U = X / np.where(norms == 0, 1, norms)[:, None]
    null, known = [], {}
    for i, j in itertools.combinations(range(len(X)), 2):
        if labels[i] is None or labels[j] is None:
            continue
        if diffby is not None and diffby[i] == diffby[j]:
            continue
        if labels[i] != labels[j]:
            null.append(U[i] @ U[j])
        related = labels[i] == labels[j]
        if pairs is not None:
            related = {labels[i], labels[j]} in [set(pair) for pair in pairs if len(set(pair)) > 1]
        if related:
            known[i, j] = U[i] @ U[j]
    null = np.sort(null)
    query = np.array(list(known.values()))
    below = np.searchsorted(null, query, side="right") / max(len(null), 1) <= low
    above = np.searchsorted(null, query, side="left") / max(len(null), 1) >= high
    by_label = {}
    for (i, j), hit in zip(known, (below & (low > 0)) | above, strict=True):
        for label in {labels[i], labels[j]}:
            by_label.setdefault(label, []).append(hit)
    return below & (low > 0), above, by_label, null


@st.composite
def profiles_and_labels(draw):
    n = draw(st.integers(4, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.normal(size=(n, 5))
    if draw(st.booleans()):  # cosines of -1, 0 and 1 alone, exactly: many ties
        X = np.eye(5)[rng.integers(0, 5, n)] * rng.choice([-1.0, 0.0, 2.0], size=(n, 1))
    labels = np.array(["a", "b", "c", "d", None], dtype=object)[rng.integers(0, 5, n)]
    labels[:4] = ["a", "a", "b", "b"]
    quantiles = draw(st.sampled_from([(0.05, 0.95), (0.0, 0.9), (0.25, 0.5), (0.5, 0.55)]))
    diffby = draw(st.sampled_from([None, rng.integers(0, 4, n)]))
    pairs = draw(st.sampled_from([None, [("a", "b"), ("c", "a"), ("b", "a"), ("a", "z")]]))
    return X, labels, quantiles, diffby, pairs


@settings(max_examples=80, deadline=None)
@given(case=profiles_and_labels())
def test_pairs_are_counted_as_efaar_does(case):
    X, labels, (low, high), diffby, pairs = case
    below, above, by_label, null = by_definition(X, labels, pairs, diffby, low, high)
    for profiles in (X, sparse.csr_array(X)):
        options = {"pairs": pairs, "diffby": diffby, "low": low, "high": high}
        if len(null) == 0 or len(below) == 0:
            with pytest.raises(InputError, match="pair"):
                perturbation_recall(profiles, labels, **options)
            continue
        result = perturbation_recall(profiles, labels, **options)
        assert (result.n_pairs, result.n_null) == (len(below), len(null))
        assert result.low_tail == below.mean()
        assert result.high_tail == above.mean()
        both = below.sum() + above.sum()
        assert float(result) == result.value == both / len(below)
        assert result.labels.tolist() == sorted(by_label)
        assert result.by_label.tolist() == [np.mean(by_label[y]) for y in sorted(by_label)]
        assert result.n_pairs_by_label.tolist() == [len(by_label[y]) for y in sorted(by_label)]
        assert result.chance == low + 1.0 - high


def test_unrelated_pairs_reach_chance():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 5)
    result = perturbation_recall(rng.normal(size=(300, 40)), labels)
    assert result.n_pairs == 600
    # Binomial of 600 at 0.1: four standard deviations are 0.049.
    assert abs(result.value - 0.1) < 0.049
    assert abs(result.low_tail - 0.05) < 0.036


def test_codes_with_nothing_in_common_are_not_recalled():
    result = perturbation_recall(sparse.csr_array(np.eye(30)), np.arange(30) // 3)
    assert (result.value, result.low, result.high) == (0.0, 0.0, 0.0)


def test_related_labels_are_found_in_both_directions():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(20, 30))
    X = np.concatenate([shared, shared, -shared]) + 0.3 * rng.normal(size=(60, 30))
    genes = [f"{kind}{i}" for kind in "xyz" for i in range(20)]
    alike = perturbation_recall(X, genes, pairs=[(f"x{i}", f"y{i}") for i in range(20)])
    assert (alike.high_tail, alike.low_tail) == (1.0, 0.0)
    opposed = perturbation_recall(X, genes, pairs=np.array([(f"z{i}", f"x{i}") for i in range(20)]))
    assert (opposed.high_tail, opposed.low_tail) == (0.0, 1.0)
    upper = perturbation_recall(X, genes, pairs=[("x0", "z0")], low=0.0)
    assert (upper.value, upper.low, upper.labels.tolist()) == (0.0, -np.inf, ["x0", "z0"])


def test_a_drawn_null_is_near_the_whole_one_and_repeats(monkeypatch):
    rng = np.random.default_rng(2)
    labels, plates = np.repeat(np.arange(100), 6), np.tile([0, 1], 300)
    X = rng.normal(size=(100, 20))[labels] + rng.normal(size=(600, 20))
    whole = perturbation_recall(X, labels, diffby=plates)
    drawn = perturbation_recall(X, labels, diffby=plates, n_null=500, random_state=3)
    assert drawn.n_null < 500 * 500 / 2 + 5_000
    assert abs(drawn.low - whole.low) < 0.03
    assert abs(drawn.high - whole.high) < 0.03
    monkeypatch.setattr(_profiles, "_BLOCK_COSINES", 5000)
    again = perturbation_recall(
        sparse.csr_array(X), labels, diffby=plates, n_null=500, random_state=3
    )
    assert (again.n_null, again.n_pairs) == (drawn.n_null, drawn.n_pairs)
    # Sparse products add in another order.
    assert abs(again.high - drawn.high) <= 64 * np.finfo(np.float64).eps


def test_what_the_result_tells():
    pytest.importorskip("pandas")
    result = perturbation_recall(np.eye(4)[[0, 0, 1, 2]], ["a", "a", "b", "b"])
    assert result.to_frame().label.tolist() == ["a", "b"]
    assert result.to_frame().recall.tolist() == [1.0, 0.0]
    assert "n_pairs=2" in repr(result)


def test_errors_name_what_is_wrong():
    X, labels = np.eye(4), ["a", "a", "b", "b"]
    with pytest.raises(InputError, match="at least two"):
        perturbation_recall(X, ["a", "a", "a", None])
    with pytest.raises(InputError, match="belongs together, got none"):
        perturbation_recall(X, ["a", "b", "c", "d"])
    with pytest.raises(InputError, match="belongs together, got none"):
        perturbation_recall(X, labels, pairs=[("a", "unknown"), ("b", "b")])
    with pytest.raises(InputError, match="null, got none"):
        perturbation_recall(X, labels, diffby=["p"] * 4)
    with pytest.raises(InputError, match="pairs must be of shape"):
        perturbation_recall(X, labels, pairs=["a", "b"])
    with pytest.raises(InputError, match="diffby must be known"):
        perturbation_recall(X, labels, diffby=["p", "", "p", "q"])
    with pytest.raises(InputError, match="low must be below high"):
        perturbation_recall(X, labels, low=0.5, high=0.5)
    for options in ({"low": -0.1}, {"high": 1.5}):
        with pytest.raises(InputError, match="must be a number"):
            perturbation_recall(X, labels, **options)
    with pytest.raises(InputError, match="profiles must be finite"):
        perturbation_recall(np.full((4, 2), np.nan), labels)
    with pytest.raises(InputError, match="n_null"):
        perturbation_recall(X, labels, n_null=0)
