"""Tables, progress, rivals, and the comparison on held-out groups."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.sparse import csr_array

import icfl
from icfl.baselines import RandomAtoms
from icfl.datasets import make_planted
from icfl.metrics import Selectivity, explained_variance, linear_probe
from icfl.metrics.probe import probe_on
from icfl.report.comparison import Recipe, compare, folds, summary
from icfl.report.evaluation import selectivity_counts
from icfl.report.names import METHODS
from icfl.report.panels import heat_map_order
from icfl.report.progress import Progress
from icfl.report.rivals import principal_components, pursuit, represent
from icfl.report.tables import text_table


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_drawn_on_a_terminal_and_wiped(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("icfl.report.progress.SECONDS_BETWEEN_DRAWINGS", 0)
    with Progress("encode", total=2000) as progress:
        progress.advance(1000)
    assert " 50 %  1,000/2,000 samples" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\033[K")


@pytest.mark.parametrize(("stream", "enabled"), [(io.StringIO(), True), (Terminal(), False)])
def test_progress_is_silent_elsewhere(monkeypatch, stream, enabled):
    monkeypatch.setattr("sys.stderr", stream)
    with Progress("encode", total=3, enabled=enabled) as progress:
        progress.advance(3)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("total", [0, 1, 7, 10**9])
def test_progress_bar_has_one_width(total):
    progress = Progress("fit", total, enabled=False)
    for done in (0, total // 3, total, total + 5):
        progress.move_to(done)
        bar = progress.line().split()[1]
        assert len(bar) == 30
        assert bar.count("━") == 30 * min(done, progress.total) // progress.total


def test_text_table_aligns_columns():
    lines = text_table(["name", "n"], [["a", "1"], ["long name", "1,000"]]).splitlines()
    assert lines == [
        "name           n",
        "---------  -----",
        "a              1",
        "long name  1,000",
    ]


@pytest.mark.parametrize("k", [1, 4, 6, 7])
def test_principal_components_are_the_best_there_are(k):
    """Even for more components than the 6 features have."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 6)).astype(np.float32)
    _, singular, axes = np.linalg.svd(X - X.mean(axis=0, dtype=np.float64), full_matrices=False)
    scores = (X - X.mean(axis=0, dtype=np.float64)) @ axes.T
    fitted = principal_components(X, k)
    first, largest = (represent(fitted[name], X) for name in ("pca", "pca_largest"))
    assert first.codes.shape == (50, min(k, 6))
    assert set(np.diff(largest.codes.indptr)) == {min(k, 6)}
    # Eckart-Young: what k directions leave is the energy of the other singular values; what k of
    # the scores of a row leave is that of the others. Float32 reconstructions of 300 numbers of
    # size 1: 1e-7 each.
    left = (singular[k:] ** 2).sum()
    assert ((X - first.reconstructions) ** 2).sum() == pytest.approx(left, abs=1e-4)
    left = np.sort(scores**2, axis=1)[:, : max(6 - k, 0)].sum()
    assert ((X - largest.reconstructions) ** 2).sum() == pytest.approx(left, abs=1e-4)


def test_probe_on_is_the_fold_of_the_probe():
    rng = np.random.default_rng(0)
    y = np.tile(["a", "b", "c"], 40)
    X = rng.standard_normal((120, 4)) + 2 * (y == "b")[:, None] - 2 * (y == "c")[:, None]
    groups = np.repeat(["P1", "P2", "P3"], 40)
    whole = linear_probe(X, y, groups=groups)
    for score, (name,) in zip(whole.scores, whole.groups, strict=True):
        assert probe_on(X, y, groups == name) == pytest.approx(score)


def test_probe_on_judges_labels_that_the_rest_lacks():
    y = np.array(["a", "b"] * 20 + ["c", "a"] * 5)
    X = (y == "a").astype(float)[:, None]
    held_out = np.arange(50) >= 40
    assert probe_on(X, y, held_out) == 0.5  # "a" is found, "c" cannot be


def test_selectivity_counts_by_hand():
    Z = csr_array(np.array([[1, 0, 1], [2, 0, 1], [0, 0, 1], [0, -1, 1]], dtype=np.float32))
    counts = selectivity_counts(Z, np.array(["x", "x", "y", "y"]))
    # Feature 0: 1 for x. Feature 1: 0.5 for y, which is not above 0.5. Feature 2: 0 for both.
    assert counts == {
        "n_labels": 2,
        "average": {"0.5": 1, "0.2": 2},
        "maximum": {"0.5": 1, "0.2": 2},
        "labels_covered": 1,
    }


def test_heat_map_shows_each_label_its_own_best_features():
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (40, 5))
    found = Selectivity(values, np.array(list("abcde")), "average", np.ones(5, np.int64))
    features, labels = heat_map_order(found, per_label=2)
    assert sorted(labels) == list(range(5))
    own = values.argmax(axis=1)
    shown = [list(own[features]).index(label) for label in labels]
    assert shown == sorted(shown)
    for label in labels:
        mine = [feature for feature in features if own[feature] == label]
        best = sorted(np.flatnonzero(own == label), key=lambda f: -values[f, label])[:2]
        assert mine == best


@pytest.fixture(scope="module")
def fold():
    """One plate of four held out, with a small dictionary fitted on the others."""
    rng = np.random.default_rng(0)
    plate = np.repeat(["P1", "P2", "P3", "P4"], 50)
    X = rng.standard_normal((200, 10)) * np.linspace(1, 5, 10) + 100
    recipe = Recipe(
        lambda: icfl.ControlWhitener(),
        lambda: icfl.ICFL(30, n_iterations=3, atoms_per_iteration=2, max_iter=5, random_state=0),
    )
    [found] = folds(X, np.arange(200) % 2 == 0, plate, ["P3"], recipe)
    return found, X, recipe


def test_a_fold_knows_nothing_of_the_held_out_group(fold):
    found, X, recipe = fold
    changed = X.copy()
    changed[found.held_out] += 1000 * np.random.default_rng(1).standard_normal((50, 10))
    control = np.arange(200) % 2 == 0
    plate = np.repeat(["P1", "P2", "P3", "P4"], 50)
    [again] = folds(changed, control, plate, ["P3"], recipe)
    np.testing.assert_array_equal(again.model.components_, found.model.components_)
    np.testing.assert_array_equal(again.inputs[~found.held_out], found.inputs[~found.held_out])
    # Unit rows of 10 entries in float32.
    np.testing.assert_allclose(np.linalg.norm(found.inputs, axis=1), 1, atol=1e-6)


def test_the_same_atoms_give_the_codes_of_the_model(fold):
    found = fold[0]
    again = represent(pursuit(found.model.components_, found.model), found.inputs)
    expected = found.model.transform(found.inputs)
    # transform scales the unit rows once more, which moves last bits; where two atoms score alike
    # to rounding, another one may then be taken.
    close = np.isclose(again.codes.toarray(), expected.toarray(), atol=1e-5).all(axis=1)
    assert close.mean() > 0.98
    back = again.codes.toarray() @ found.model.components_ + found.model.bias_
    np.testing.assert_allclose(again.reconstructions, back, atol=1e-6)


def test_other_atoms_get_the_threshold_of_those_that_fire_seldom():
    rows = make_planted(800, 16, 24, n_active=2, random_state=0).X
    options = {"n_iterations": 4, "atoms_per_iteration": 1, "random_state": 0, "max_iter": 3}
    model = icfl.ICFL(24, threshold="auto", **options).fit(rows)
    assert model.threshold_.min() < 0.9 * model.threshold_.max()
    other = pursuit(model.components_[:3], model)
    assert other.threshold == model.threshold_.max()
    assert other.threshold_slope == model.threshold_slope_ > 0.0
    paper = icfl.ICFL(24, refit="block", threshold=-np.inf, **options).fit(rows)
    assert pursuit(paper.components_, paper).threshold == -np.inf


def test_the_random_dictionary_is_encoded_as_the_model_encodes(fold):
    found = fold[0]
    results = compare(found, {"y": np.tile(["a", "b"], 100)}, [2], seed=1)
    drawn = RandomAtoms(30, random_state=1).fit(found.inputs[~found.held_out])
    X, bias = found.inputs[found.held_out], found.model.bias_
    for n_iterations, numbers in (
        (3, results["random_dictionary"]),
        (2, results["random_dictionary"]["curve"][0]),
    ):
        Z = icfl.encode_omp(X, drawn.components_, 2 * n_iterations, bias=bias, selection="positive")
        expected = explained_variance(X, Z @ drawn.components_ + bias)
        # 500 float32 numbers, off by 1e-7 of their size, against a sum of squares.
        assert numbers["explained_variance"] == pytest.approx(expected, abs=1e-5)
        assert numbers["l0"] == Z.nnz / len(X)


def test_comparison_measures_held_out_rows_only(fold):
    found = fold[0]
    y = np.tile(["a", "b"], 100)
    results = compare(found, {"y": y}, [1, 2], seed=1)
    assert list(results) == list(METHODS)
    assert results["inputs"]["explained_variance"] == 1
    raw = linear_probe(fold[1], y, groups=found.held_out)
    assert results["raw"]["probes"]["y"]["codes"] == raw.scores[raw.groups.index((True,))]
    X = found.inputs[found.held_out].astype(np.float64)
    train = found.inputs[~found.held_out].astype(np.float64)
    k = round(results["icfl"]["l0"])
    axes = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)[2][:k]
    residual = X - train.mean(axis=0)
    residual = residual - residual @ axes.T @ axes
    total = ((X - X.mean(axis=0)) ** 2).sum()
    explained = 1 - (residual**2).sum() / total
    assert results["pca"]["explained_variance"] == pytest.approx(explained, abs=1e-5)
    assert results["pca"]["l0"] == k
    assert len(results["icfl"]["curve"]) == 2
    assert results["icfl"]["curve"][0]["l0"] <= 2
    merged = summary([results, results])
    assert merged["icfl"]["explained_variance"]["std"] == 0
    assert merged["icfl"]["probes"]["y"]["codes"]["scores"] == 2 * [
        results["icfl"]["probes"]["y"]["codes"]
    ]
