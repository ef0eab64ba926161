"""Features that tell the plate, against scikit-learn's mutual information."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from icfl.datasets import load_cell_lines
from icfl.exceptions import InputError
from icfl.metrics import batch_leakage


def information(active, tells, given_labels):
    """I(active; tells | given), what chance makes of it, and what is possible, in nats a sample."""
    observed = chance = possible = 0.0
    for value in np.unique(given_labels):
        rows = given_labels == value
        a, b = active[rows], tells[rows]
        table = contingency_matrix(a, b, sparse=True, dtype=np.int64)
        expected = expected_mutual_information(table, len(a)) if table.shape[0] > 1 else 0.0
        share = len(a) / len(active)
        observed += share * mutual_info_score(a, b)
        chance += share * expected
        if len(set(b)) > 1:
            possible += share * mutual_info_score(a, a)
    return observed, chance, possible


@st.composite
def screens(draw):
    n = draw(st.integers(8, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Z = rng.random((n, 2)) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    labels = np.r_[0, 1, rng.integers(0, draw(st.integers(2, 4)), n - 2)]
    return Z, np.r_[0, 1, rng.integers(0, draw(st.integers(2, 4)), n - 2)], labels


@settings(max_examples=20, deadline=None)
@given(case=screens())
def test_values_are_those_of_scikit_learn(case):
    Z, batch, labels = case
    result = batch_leakage(sparse.csr_array(Z.astype(np.float32)), batch, labels)
    everything = np.zeros(len(Z), dtype=int)
    for m, active in enumerate(Z.T):
        found = {}
        for name, tells, conditions in (
            ("batch", batch, labels),
            ("label", labels, batch),
            ("alone", batch, everything),
        ):
            observed, chance, possible = information(active, tells, conditions)
            found[name] = observed - chance
            ratio = (observed - chance) / (possible - chance) if possible - chance > 1e-9 else 0.0
            if name != "alone":
                # Both expectations are sums of fewer than 1e3 terms of gamma functions; the
                # quotient makes errors larger by 1 / (possible - chance).
                bound = 1e-11 / max(possible - chance, 1e-3)
                assert getattr(result, name)[m] == pytest.approx(ratio, abs=bound)
        entropy = mutual_info_score(active, active)
        shared = (found["alone"] - found["batch"]) / entropy if entropy > 0 else 0.0
        assert result.shared[m] == pytest.approx(shared, abs=1e-9)
    assert result.density.tolist() == Z.mean(axis=0).tolist()


def screen(rng, confounded, n=3000):
    """Six plates and three labels, of which one may be found mostly on two of the plates."""
    plate = rng.integers(0, 6, n)
    common = np.array([0.8, 0.1, 0.1]) if confounded else np.full(3, 1 / 3)
    shares = np.where((plate < 2)[:, None], common, np.full(3, 1 / 3))
    label = (rng.random(n)[:, None] > shares.cumsum(axis=1)[:, :2]).sum(axis=1)
    density = np.full((n, 60), 0.05)
    density[:, :10] += 0.4 * (plate[:, None] == np.arange(10) % 6)  # tell a plate
    density[:, 10:20] += 0.4 * (label[:, None] == np.arange(10) % 3)  # tell a label
    Z = sparse.csr_array((rng.random((n, 60)) < density).astype(np.float32))
    return Z, np.array([f"plate {p}" for p in plate]), label


@pytest.mark.parametrize("confounded", [False, True])
def test_plate_features_are_flagged_and_biological_ones_cleared(confounded):
    Z, plate, label = screen(np.random.default_rng(0), confounded)
    result = batch_leakage(Z, plate, label)
    np.testing.assert_array_equal(result.flagged(), np.arange(60) < 10)
    assert (result.score[:10] > 0.1).all()
    assert (result.score[10:20] < -0.1).all()
    # 3,000 samples of 40 features: 2 N I is about chi2 with 15 degrees of freedom, whose deviation
    # is 5.5, and H(A) is 0.2 nats: 0.005 of it, of which 4.
    assert np.abs(result.score[20:]).max() < 4 * 0.005 * 1.5
    assert np.abs(result.batch[10:20]).max() < 0.02
    assert np.abs(result.label[:10]).max() < 0.02
    assert result.identifiable == (1.0, 1.0)
    if confounded:  # what the batch alone says accuses the label that two plates are full of
        marginal = batch_leakage(Z, plate, np.random.default_rng(1).integers(0, 2, len(label)))
        assert marginal.batch[10] > 5 * np.abs(result.batch[10])


def test_what_is_wholly_confounded_is_neither_flagged_nor_cleared():
    rng = np.random.default_rng(2)
    plate = rng.integers(0, 4, 800)
    Z = (rng.random((800, 2)) < 0.1 + 0.6 * (plate == 1)[:, None]).astype(float)
    result = batch_leakage(Z, plate, 10 * plate)
    assert result.identifiable == (0.0, 0.0)
    assert (result.batch == 0.0).all()
    assert (result.label == 0.0).all()
    assert (result.shared > 0.2).all()
    # Where one plate has a label of its own and the others share theirs, those decide.
    label = np.where(plate == 1, 9, rng.integers(0, 2, 800))
    partly = batch_leakage(Z, plate, label)
    assert not partly.flagged().any()
    assert partly.identifiable[0] == pytest.approx((plate != 1).mean())
    assert (partly.shared > 0.2).all()


def test_rare_features_are_not_flagged_for_being_rare():
    # Ten active samples over 90 cells: without the correction every feature seems to tell plates.
    rng = np.random.default_rng(3)
    plate, label = rng.integers(0, 30, 900), rng.integers(0, 3, 900)
    Z = np.zeros((900, 200))
    for m in range(200):
        Z[rng.choice(900, 10, replace=False), m] = 1.0
    result = batch_leakage(Z, plate, label)
    assert result.batch.mean() == pytest.approx(0.0, abs=4 * result.batch.std() / np.sqrt(200))
    raw = [information(Z[:, m] != 0, plate, label) for m in range(10)]
    # If each is alone in its cell of 10, 1 - 100 h(0.1) / (900 h(1 / 90)) = 0.41.
    shares = [observed / possible for observed, _, possible in raw]
    assert np.mean(shares) == pytest.approx(0.41, abs=0.05)


def test_degenerate_features_and_missing_labels():
    plate, label = np.array([0, 0, 1, 1, None]), np.array(["a", "b", "a", "b", None])
    Z = np.array([[0, 1], [0, 1], [0, 1], [0, 1], [1, 1]], dtype=float)
    result = batch_leakage(Z, plate, label)
    assert result.score.tolist() == [0.0, 0.0]
    assert result.shared.tolist() == [0.0, 0.0]
    assert result.density.tolist() == [0.0, 1.0]
    assert not result.flagged(0.0).any()


def test_blocks_threads_and_the_shipped_screen(monkeypatch):
    data = load_cell_lines()
    Z = sparse.csr_array(np.where(np.abs(data.data) > 1.5, data.data, 0.0))
    whole = batch_leakage(Z, data.labels.plate, data.labels.cell_type, n_jobs=1)
    monkeypatch.setattr("icfl.metrics._design._SPAN_VALUES", 2000)
    parts = batch_leakage(Z, data.labels.plate, data.labels.cell_type, n_jobs=3)
    for name in ("batch", "label", "shared", "density"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    # Features of cell lines tell the cell type: plates were standardised by the source.
    assert np.median(whole.score) < 0
    pytest.importorskip("pandas")
    assert whole.to_frame().shape == (139, 6)
    assert "of 139 features" in repr(whole)


def test_errors_name_what_is_wrong():
    Z = np.eye(4)
    with pytest.raises(InputError, match="batch must have at least two"):
        batch_leakage(Z, [1, 1, 1, 1], [0, 1, 0, 1])
    with pytest.raises(InputError, match="labels must have at least two"):
        batch_leakage(Z, [0, 1, 0, 1], [1, 1, 1, 1])
    with pytest.raises(InputError, match="batch must be known"):
        batch_leakage(Z, [0, 1, None, 1], [1, 0, 1, 0])
    with pytest.raises(InputError, match="threshold"):
        batch_leakage(Z, [0, 0, 1, 1], [0, 1, 0, 1]).flagged(2.0)
