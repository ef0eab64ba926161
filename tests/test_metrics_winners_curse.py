"""The best feature, chosen on one half and scored on the other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from icfl._validation import seeded_generator
from icfl.datasets import load_cell_lines
from icfl.exceptions import InputError
from icfl.metrics import corrected_selectivity, selectivity
from icfl.metrics._design import make_design
from icfl.metrics.winners_curse import _halve_groups, _halve_rows

EPS = np.finfo(np.float64).eps


def nothing(rng, n=600, width=500, n_labels=4, density=0.05):
    """Codes that know nothing of the labels, labels, and groups."""
    Z = sparse.random_array((n, width), density=density, format="csr", rng=rng)
    return Z, rng.integers(0, n_labels, n), rng.integers(0, 8, n)


@pytest.mark.parametrize("with_groups", [False, True])
def test_nothing_is_corrected_to_nothing(with_groups):
    rng = np.random.default_rng(0)
    naive, corrected = [], []
    for seed in range(20):
        Z, labels, groups = nothing(rng)
        result = corrected_selectivity(
            Z, labels, groups=groups if with_groups else None, n_repeats=5, random_state=seed
        )
        naive.append(result.naive.min())
        corrected.append(result.mean)
    # The highest of 500 features, each with a deviation of about 0.02.
    assert min(naive) > 0.03
    assert np.mean(corrected) == pytest.approx(0.0, abs=4 * np.std(corrected) / np.sqrt(20))
    assert np.std(corrected) < 0.01


def test_a_true_feature_keeps_its_selectivity():
    rng = np.random.default_rng(1)
    Z, labels, groups = nothing(rng)
    marks = rng.random((600, 4)) < np.where(labels[:, None] == np.arange(4), 0.7, 0.1)
    Z = sparse.hstack([Z, sparse.csr_array(marks.astype(float))], format="csr")
    result = corrected_selectivity(Z, labels, groups=groups, random_state=0)
    # A share of 150 of 0.7 has a deviation of 0.037; the other side is small against it.
    np.testing.assert_allclose(result.values, 0.6, atol=4 * 0.04)
    assert (result.values <= result.naive + 0.01).all()
    for label in range(4):
        assert result.choices(label) == {500 + label: 1.0}
    assert result.halves == "groups"
    assert (result.std < 0.02).all()


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_values_are_those_of_the_halves(kind):
    rng = np.random.default_rng(2)
    Z, labels, groups = nothing(rng, n=200, width=40)
    result = corrected_selectivity(Z, labels, groups=groups, kind=kind, n_repeats=3, random_state=6)
    design, same_rng = make_design(Z, labels, groups), seeded_generator(6)
    repeats = []
    for repeat in range(3):
        half = _halve_groups(design, same_rng)
        assert all(len(set(half[groups == group])) == 1 for group in range(8))
        assert len(set(groups[half == 0])) == 4
        parts = [np.asarray(selectivity(Z[half == h], labels[half == h], kind)) for h in (0, 1)]
        chosen = [part.argmax(axis=0) for part in parts]
        np.testing.assert_array_equal(result.chosen[repeat], chosen)
        crossed = [parts[1 - h][chosen[h], np.arange(4)] for h in (0, 1)]
        repeats.append(np.mean(crossed, axis=0))
    np.testing.assert_allclose(result.values, np.mean(repeats, axis=0), rtol=0, atol=8 * EPS)
    np.testing.assert_allclose(result.std, np.std(repeats, axis=0), rtol=0, atol=8 * EPS)
    expected = np.asarray(selectivity(Z, labels, kind)).max(axis=0)
    np.testing.assert_array_equal(result.naive, expected)


def test_halves_of_rows_have_all_labels_of_all_groups_alike():
    rng = np.random.default_rng(3)
    labels = np.where(rng.random(301) < 0.1, None, rng.integers(0, 5, 301).astype(str))
    groups = rng.integers(0, 3, 301)
    design = make_design(np.ones((301, 1)), labels, groups)
    halves = np.array([_halve_rows(design, rng) for _ in range(50)])
    for label in "01234":
        for group in range(3):
            members = halves[:, (labels == label) & (groups == group)]
            assert (np.abs(2 * members.sum(axis=1) - members.shape[1]) <= 1).all()
    # Every row is in either half about half of the time: 50 tosses, 5 deviations.
    assert (np.abs(halves[:, design.labels >= 0].mean(axis=0) - 0.5) < 5 * 0.5 / np.sqrt(50)).all()


def test_a_label_on_one_plate_has_no_value():
    rng = np.random.default_rng(4)
    Z, labels, groups = nothing(rng)
    labels = np.where((labels == 3) & (groups > 0), 2, labels)
    result = corrected_selectivity(Z, labels, groups=groups, n_repeats=4, random_state=0)
    assert np.isnan(result.values).tolist() == [False, False, False, True]
    assert np.isnan(result.std[3])
    assert np.isfinite(result.mean)
    assert result.choices(3) == {}
    assert (result.chosen[..., 3] == -1).all()
    pytest.importorskip("pandas")
    assert result.to_frame().feature.iloc[3] == -1


def test_on_a_screen_the_best_features_shrink_between_plates():
    screen = load_cell_lines()
    Z = sparse.csr_array(np.where(np.abs(screen.data) > 1.5, screen.data, 0.0))
    plates = screen.labels.plate
    result = corrected_selectivity(Z, screen.labels.cell_type, groups=plates, random_state=0)
    by_rows = corrected_selectivity(Z, screen.labels.cell_type, random_state=0)
    known = ~np.isnan(result.values)
    assert known.any()
    assert by_rows.halves == "rows"
    assert result.values[known].mean() < result.naive[known].mean()
    assert by_rows.mean < by_rows.naive.mean()
    again = corrected_selectivity(Z, screen.labels.cell_type, groups=plates, random_state=0)
    np.testing.assert_array_equal(again.values, result.values)
    assert "n_repeats=20" in repr(result)


def test_errors_name_what_is_wrong():
    Z, labels = np.eye(4), [0, 1, 0, 1]
    with pytest.raises(InputError, match="kind"):
        corrected_selectivity(Z, labels, kind="median")
    with pytest.raises(InputError, match="n_repeats"):
        corrected_selectivity(Z, labels, n_repeats=0)
    with pytest.raises(InputError, match="groups must be known"):
        corrected_selectivity(Z, labels, groups=[1, 2, 3, None])
    with pytest.raises(InputError, match="label must be one of"):
        corrected_selectivity(Z, labels).choices(7)
