"""Mean average precision and recall against loops over queries and pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import average_precision_score

from icfl.datasets import load_cell_lines
from icfl.exceptions import InputError
from icfl.metrics import _profiles, mean_average_precision

EPS = np.finfo(np.float64).eps


def cosine(x, y):
    norms = np.linalg.norm(x) * np.linalg.norm(y)
    return x @ y / norms if norms else 0.0


def ap_of_orders(positives, negatives):
    """Mean over all orders of ties, by trying them all."""
    items = [(s, True) for s in positives] + [(s, False) for s in negatives]
    found = []
    for order in itertools.permutations(items):
        if all(a[0] >= b[0] for a, b in itertools.pairwise(order)):
            ranks = [k for k, item in enumerate(order, 1) if item[1]]
            found.append(np.mean([i / k for i, k in enumerate(ranks, 1)]))
    return np.mean(found)


def by_definition(X, labels, control=None, pos_diffby=None, neg_sameby=None, neg_diffby=None):
    """AP of every profile, with scikit-learn's, which needs cosines that do not tie."""
    n = len(X)
    found, sizes = np.full(n, np.nan), np.zeros((n, 2), int)
    for q in range(n):
        if labels[q] is None or (control is not None and control[q]):
            continue
        scores, relevant = [], []
        for i in range(n):
            is_control = control is not None and control[i]
            if i == q or (labels[i] is None and not is_control):
                continue
            same = labels[i] == labels[q] and not is_control
            positive = same and (pos_diffby is None or pos_diffby[i] != pos_diffby[q])
            negative = is_control if control is not None else not same
            negative &= neg_sameby is None or neg_sameby[i] == neg_sameby[q]
            negative &= neg_diffby is None or neg_diffby[i] != neg_diffby[q]
            if positive or negative:
                scores.append(cosine(X[i], X[q]))
                relevant.append(positive)
        sizes[q] = sum(relevant), len(relevant) - sum(relevant)
        if sizes[q].all():
            found[q] = average_precision_score(relevant, scores)
    return found, sizes


@st.composite
def profiles_and_labels(draw):
    n = draw(st.integers(6, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.array(["a", "b", "c", None], dtype=object)[rng.integers(0, 4, n)]
    labels[:3] = ["a", "a", "b"]
    columns = {
        "control": draw(st.sampled_from([None, np.arange(n) >= n - 3])),
        "pos_diffby": draw(st.sampled_from([None, rng.integers(0, 3, n)])),
        "neg_sameby": draw(st.sampled_from([None, rng.integers(0, 2, n)])),
        "neg_diffby": draw(st.sampled_from([None, rng.integers(0, 4, n)])),
    }
    return rng.normal(size=(n, 6)), labels, columns


@settings(max_examples=60, deadline=None)
@given(case=profiles_and_labels())
def test_average_precision_is_that_of_scikit_learn(case):
    X, labels, columns = case
    expected, sizes = by_definition(X, labels, **columns)
    if np.isnan(expected).all():
        with pytest.raises(InputError, match="both positives and negatives"):
            mean_average_precision(X, labels, null_size=1, **columns)
        return
    for profiles in (X, sparse.csr_array(X)):
        result = mean_average_precision(profiles, labels, null_size=9, random_state=0, **columns)
        # Means of at most 24 quotients up to 1.
        np.testing.assert_allclose(result.average_precision, expected, rtol=0, atol=32 * EPS)
        np.testing.assert_array_equal(result.n_positive, sizes[:, 0])
        np.testing.assert_array_equal(result.n_negative, sizes[:, 1])
        for label, value, n_queries in zip(
            result.labels, result.values, result.n_queries, strict=True
        ):
            own = expected[(labels == label) & ~np.isnan(expected)]
            assert len(own) == n_queries
            assert np.isnan(value) if len(own) == 0 else abs(value - own.mean()) <= 32 * EPS


@pytest.mark.parametrize(
    "scores",
    [
        ([1, 1], [1]),
        ([0, 0], [0, 0, 0]),
        ([2, 1, 1], [1, 1, 0]),
        ([1, 0, 0], [2, 1, 0, 0]),
        ([3, 1], [2, 2, 1]),
    ],
)
def test_ties_count_as_the_mean_over_their_orders(scores):
    """A plane has room for any cosines: query (1, 0), others at the angles that give them."""
    positives, negatives = scores
    angles = np.array([np.nan, *positives, *negatives]) / 4
    X = np.stack([angles, np.sqrt(1 - angles**2)], axis=1)
    X[0] = [1.0, 0.0]
    # Cosines with the query are entries, the same numbers for equal scores.
    labels = np.array(["q"] * (1 + len(positives)) + ["n"] * len(negatives))
    result = mean_average_precision(X, labels, null_size=1)
    assert abs(result.average_precision[0] - ap_of_orders(positives, negatives)) <= 16 * EPS


def test_profiles_that_say_nothing_are_at_the_mean_of_random_rankings():
    """Here copairs, with positives first among ties, gives 1."""
    for X in (np.zeros((12, 3)), sparse.csr_array(np.eye(12))):
        result = mean_average_precision(X, np.repeat(["a", "b", "c"], 4), random_state=0)
        np.testing.assert_allclose(result.normalized, 0.0, rtol=0, atol=32 * EPS)
        assert (result.p_values > 0.2).all()
        # The mean over all places of 3 positives among 11.
        every = [
            np.mean([i / (k + 1) for i, k in enumerate(places, 1)])
            for places in itertools.combinations(range(11), 3)
        ]
        np.testing.assert_allclose(result.values, np.mean(every), rtol=0, atol=32 * EPS)


def test_replicates_that_agree_are_found_and_others_are_not():
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(40), 5)
    centres = np.where(np.arange(40) < 10, 2.0, 0.0)[:, None] * rng.normal(size=(40, 20))
    X = centres[labels] + rng.normal(size=(200, 20))
    result = mean_average_precision(X, labels, null_size=2000, random_state=1)
    assert (result.q_values[:10] < 0.01).all()
    assert result.recall(0.05) == np.mean(result.q_values <= 0.05)
    # 30 p-values under the null: at most 7 below 0.05 but with probability 2e-4.
    assert (result.p_values[10:] <= 0.05).sum() <= 7
    assert (result.normalized[:10] > 0.3).all()
    assert abs(result.normalized[10:].mean()) < 0.1


def test_p_values_are_shares_of_random_rankings():
    """One positive and three negatives: AP is 1, 1/2, 1/3 or 1/4, each with probability 1/4."""
    X = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.1], [-1.0, -0.2]])
    labels = ["a", "a", "b", "c", "d"]
    result = mean_average_precision(X, labels, null_size=4000, random_state=0)
    assert result.values[0] == 1.0
    # Both queries share their rankings: 1/4, within four standard deviations of 4,000 draws.
    assert abs(result.p_values[0] - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    assert np.isnan(result.p_values[1:]).all()
    assert np.isnan(result.q_values[1:]).all()
    again = mean_average_precision(X, labels, null_size=4000, random_state=0)
    np.testing.assert_array_equal(again.p_values, result.p_values)
    # What else is in the data does not change a label's null.
    more = mean_average_precision(
        np.vstack([X, X]), np.array(labels + [None] * 5), null_size=4000, random_state=0
    )
    assert more.p_values[0] == result.p_values[0]


def test_controls_need_no_label_and_are_no_queries():
    rng = np.random.default_rng(0)
    X, control = rng.normal(size=(12, 4)), np.arange(12) >= 8
    labels = np.array(["a", "b"] * 4 + [None, "", "dmso", "a"], dtype=object)
    result = mean_average_precision(X, labels, control=control, null_size=9)
    assert result.labels.tolist() == ["a", "b"]
    assert result.n_positive.tolist() == [3] * 8 + [0] * 4
    assert result.n_negative.tolist() == [4] * 8 + [0] * 4


def test_scale_blocks_and_tensors_do_not_matter(monkeypatch):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    X = rng.normal(size=(40, 6)).astype(np.float32)
    X[rng.random((40, 6)) < 0.5] = 0.0
    labels = rng.integers(0, 5, 40)
    whole = mean_average_precision(sparse.csr_array(X), labels, null_size=9, random_state=0)
    monkeypatch.setattr(_profiles, "_BLOCK_COSINES", 100)
    scaled = X.astype(np.float64) * 2.0 ** rng.integers(-600, 600, 40)[:, None]
    for profiles in (sparse.csr_array(scaled), torch.from_numpy(X).to_sparse_csr()):
        found = mean_average_precision(profiles, labels, null_size=9, random_state=0)
        np.testing.assert_array_equal(found.average_precision, whole.average_precision)
        np.testing.assert_array_equal(found.p_values, whole.p_values)


def test_wells_of_the_screen():
    pytest.importorskip("pandas")
    screen = load_cell_lines()
    result = mean_average_precision(
        screen.data,
        screen.labels.cell_line,
        pos_diffby=screen.labels.plate,
        neg_sameby=screen.labels.plate,
        null_size=500,
        random_state=0,
    )
    frame = result.to_frame()
    assert frame.mean_average_precision.is_monotonic_decreasing
    assert result.mean > 0.2
    assert np.asarray(result) is result.values
    assert "n_labels=17" in repr(result)


def test_errors_name_what_is_wrong():
    X, labels = np.eye(4), ["a", "a", "b", "b"]
    with pytest.raises(InputError, match="both positives and negatives"):
        mean_average_precision(X, ["a", "b", "c", "d"])
    with pytest.raises(InputError, match="both positives and negatives"):
        mean_average_precision(X, labels, control=[False] * 4)
    with pytest.raises(InputError, match="control must be boolean"):
        mean_average_precision(X, labels, control=[0, 1, 0, 1])
    with pytest.raises(InputError, match="control must be boolean"):
        mean_average_precision(X, labels, control=[True])
    with pytest.raises(InputError, match=r"pos_diffby must be known for every .* row, 1 are"):
        mean_average_precision(X, labels, pos_diffby=["x", None, "y", "y"])
    with pytest.raises(InputError, match="plate must have one entry"):
        mean_average_precision(X, labels, neg_sameby={"plate": ["x"]})
    with pytest.raises(InputError, match="profiles must be finite"):
        mean_average_precision(np.full((4, 2), np.inf), labels)
    with pytest.raises(InputError, match="null_size"):
        mean_average_precision(X, labels, null_size=0)
