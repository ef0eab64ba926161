"""Linear probe: reference numbers on the shipped screen, and what must not leak."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from icfl.datasets import load_cell_lines
from icfl.exceptions import InputError
from icfl.metrics import linear_probe


def separable(n=120, d=6, n_groups=4, seed=0):
    rng = np.random.default_rng(seed)
    y = np.array(["control", "treated"])[rng.integers(0, 2, size=n)]
    X = rng.normal(size=(n, d)) + 2.0 * (y == "treated")[:, None]
    return X, y, np.arange(n) % n_groups


@pytest.fixture(scope="module")
def screen():
    return load_cell_lines()


def test_cell_type_reference(screen):
    # Computed once at the optimum by scikit-learn's newton-cholesky (tol 1e-4) and by lbfgs
    # (tol 1e-8), which agree: 0.856 +- 0.081. A test sample on the border moves the third digit.
    result = linear_probe(screen.data, screen.labels.cell_type, groups=screen.labels.plate)
    assert result.mean == pytest.approx(0.856, abs=0.001)
    assert result.std == pytest.approx(0.081, abs=0.001)
    assert result.groups == tuple((plate,) for plate in sorted(set(screen.labels.plate.tolist())))
    assert (len(result.classes), result.n_samples, result.chance) == (14, 1298, 1 / 14)
    assert repr(result) == "ProbeResult(0.856 +- 0.081, 6 folds)"


def test_perturbation_reference(screen):
    y = screen.labels.perturbation.astype(object)
    y[y == "none"] = None  # unlabelled: left out
    result = linear_probe(screen.data, y, groups=screen.labels.plate)
    assert result.mean == pytest.approx(0.751, abs=0.001)
    assert result.std == pytest.approx(0.051, abs=0.001)
    assert result.n_samples == 186 + 120


def test_a_probe_on_noise_is_at_chance(screen):
    noise = np.random.default_rng(0).normal(size=(1298, 20))
    result = linear_probe(noise, screen.labels.condition, groups=screen.labels.well)
    # 1,298 guesses on two classes: a standard deviation of 0.5 / sqrt(1298) = 0.014; four of them.
    assert result.mean == pytest.approx(0.5, abs=0.056)
    assert len(result.scores) == 10


def test_sparse_and_dense_inputs_score_alike():
    X, y, groups = separable()
    X[np.abs(X) < 0.5] = 0.0
    dense = linear_probe(X, y, groups=groups)
    for given_codes in (sparse.csr_array(X), sparse.csc_matrix(X), X.astype(np.float32)):
        scores = linear_probe(given_codes, y, groups=groups).scores
        np.testing.assert_array_equal(scores, dense.scores)


def test_scaling_makes_units_irrelevant():
    X, y, groups = separable()
    units = np.geomspace(1e-4, 1e4, X.shape[1])
    expected = linear_probe(X, y, groups=groups).scores
    np.testing.assert_array_equal(linear_probe(X * units, y, groups=groups).scores, expected)
    unscaled = linear_probe(X * 1e-4, y, groups=groups, scaling="none")
    assert unscaled.mean < expected.mean()  # the penalty wins


def test_a_large_offset_does_no_harm():
    X, y, groups = separable()
    expected = linear_probe(X, y, groups=groups).scores
    np.testing.assert_array_equal(linear_probe(X + 1e6, y, groups=groups).scores, expected)


def test_held_out_groups_do_not_leak():
    # A feature names the group and the label is constant in a group: a probe that had seen the
    # group would be perfect; held out, nothing is known.
    groups = np.repeat(np.arange(8), 10)
    X = np.eye(8)[groups]
    y = groups % 2
    assert linear_probe(X, y).mean == 1.0
    assert linear_probe(X, y, groups=groups).mean <= 0.5


def test_imbalance_is_balanced():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [900, 100])
    X = rng.normal(size=(1000, 1)) + 2.0 * y[:, None]
    # Two unit normals two apart, cut in the middle: Phi(1) = 0.841 of each, whatever the sizes.
    # The shares found have sd 0.037 (100 samples) and 0.012 (900), their mean 0.019; three of them.
    assert linear_probe(X, y, random_state=0).mean == pytest.approx(0.841, abs=0.06)


def test_fold_rules():
    X, y, groups = separable(n=240, n_groups=12)
    assert [len(g) for g in linear_probe(X, y, groups=groups).groups] == [2, 2] + [1] * 8
    few = linear_probe(X, y, groups=groups, n_splits=3)
    assert sorted(name for fold in few.groups for name in fold) == list(range(12))
    assert len(few.scores) == 3
    plain = linear_probe(X, y, random_state=0)
    assert plain.groups is None
    assert len(plain.scores) == 5
    again = linear_probe(X, y, random_state=0)
    np.testing.assert_array_equal(plain.scores, again.scores)
    np.testing.assert_array_equal(plain.std, np.std(plain.scores))


def test_labels_unseen_in_training_count_as_wrong_with_a_warning():
    X, y, groups = separable()
    y = y.astype(object)
    y[groups == 0] = np.where(np.arange(30) % 2, "only here", "control")
    with pytest.warns(UserWarning, match="only here"):
        result = linear_probe(X, y, groups=groups)
    assert result.scores[0] <= 0.5


def test_errors_name_what_is_wrong():
    X, y, groups = separable()
    with pytest.raises(InputError, match="nested in groups"):
        linear_probe(X, groups, groups=groups)
    with pytest.raises(InputError, match="y must have at least two"):
        linear_probe(X, np.zeros(120))
    with pytest.raises(InputError, match="at least two groups"):
        linear_probe(X, y, groups=np.zeros(120))
    with pytest.raises(InputError, match="rarest label"):
        linear_probe(X, np.arange(120) == 0)
    with pytest.raises(InputError, match="n_splits"):
        linear_probe(X, y, groups=groups, n_splits=5)
    with pytest.raises(InputError, match="groups must be known"):
        linear_probe(X, y, groups=np.where(groups == 1, np.nan, groups))
    with pytest.raises(InputError, match="groups must have one entry"):
        linear_probe(X, y, groups=groups[:-1])
    with pytest.raises(InputError, match="X must be finite"):
        linear_probe(np.where(X > 3, np.nan, X), y)
    for option in ({"C": 0.0}, {"tol": 0.0}, {"scaling": "robust"}, {"max_iter": 0}):
        with pytest.raises(InputError, match=next(iter(option))):
            linear_probe(X, y, **option)
