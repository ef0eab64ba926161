"""`icfl demo --quick`, end to end: everything is there, and the numbers follow from the files."""

from __future__ import annotations

import json
import struct
import sys

import numpy as np
import pytest
from scipy.sparse import load_npz

import icfl
from icfl.cli import main
from icfl.datasets import load_cell_lines
from icfl.report.names import METHODS

FILES = {"model.safetensors", "codes.npz", "results.json"}
PICTURES = {"overview.png", "selectivity.png", "reconstruction.png", "learning_curve.png"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of a quick demonstration."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--quick", "--output", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def results(demo):
    return json.loads((demo / "results.json").read_text())


def test_every_file_is_there(demo):
    pytest.importorskip("matplotlib")
    assert {path.name for path in demo.iterdir()} == FILES | PICTURES | {"index.html"}
    assert [path.name for path in demo.parent.iterdir()] == ["out"]


def test_codes_are_those_of_the_model(demo):
    screen = load_cell_lines()
    Z = load_npz(demo / "codes.npz")
    expected = icfl.load(demo / "model.safetensors").transform(screen.data)
    np.testing.assert_array_equal(Z.toarray(), expected.toarray())


def test_numbers_of_the_model_follow_from_the_files(demo, results):
    screen = load_cell_lines()
    model = icfl.load(demo / "model.safetensors")
    whitener, learner = (step for _, step in model.steps)
    X = whitener.transform(screen.data).astype(np.float64)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    Z = load_npz(demo / "codes.npz").toarray().astype(np.float64)
    back = Z @ learner.components_ + learner.bias_
    explained = 1 - ((X - back) ** 2).sum() / ((X - X.mean(axis=0)) ** 2).sum()
    cosine = ((X * back).sum(axis=1) / np.linalg.norm(back, axis=1)).mean()
    found = results["model"]
    # 139 float32 numbers of size 0.1 per row, and coefficients of size 1: errors below 1e-5.
    assert found["explained_variance"] == pytest.approx(explained, abs=1e-5)
    assert found["cosine_similarity"] == pytest.approx(cosine, abs=1e-5)
    assert found["l0"] == pytest.approx((Z != 0).sum(axis=1).mean())
    assert found["dead_fraction"] == pytest.approx((~(Z != 0).any(axis=0)).mean())


def test_selectivity_follows_from_the_codes(demo, results):
    active = load_npz(demo / "codes.npz").toarray() != 0
    y = load_cell_lines().labels.cell_type
    rates = np.array([active[y == c].mean(axis=0) for c in np.unique(y)])
    average = np.array(
        [active[y == c].mean(axis=0) - active[y != c].mean(axis=0) for c in np.unique(y)]
    )
    runner_up = np.sort(rates, axis=0)[-2]
    maximum = rates.max(axis=0) - runner_up
    counts = results["selectivity"]["cell_type"]["icfl"]
    for limit in (0.5, 0.2):
        assert counts["average"][str(limit)] == (average.max(axis=0) > limit).sum()
        assert counts["maximum"][str(limit)] == (maximum > limit).sum()
    assert counts["labels_covered"] == (average.max(axis=1) > 0.5).sum()


def test_methods_are_compared_at_equal_sparsity(results):
    methods = results["methods"]
    assert list(methods) == list(METHODS)
    l0 = methods["icfl"]["l0"]
    for name in ("pca", "pca_largest"):
        np.testing.assert_allclose(methods[name]["l0"]["scores"], l0["scores"], atol=0.5)
    assert methods["random_dictionary"]["l0"]["mean"] == pytest.approx(l0["mean"], abs=1)
    assert methods["random_dictionary"]["n_components"] == methods["icfl"]["n_components"]


def test_what_the_demonstration_shows(results):
    """ICFL reconstructs unseen plates better than its rivals, and its features know cell types."""

    def explained(name):
        return results["methods"][name]["explained_variance"]["scores"]

    for rival in ("pca", "pca_largest", "random_dictionary"):
        assert min(np.subtract(explained("icfl"), explained(rival))) > 0
    probe = results["methods"]["icfl"]["probes"]["cell_type"]
    assert probe["codes"]["mean"] > 5 * results["chance"]["cell_type"]
    assert results["selectivity"]["cell_type"]["icfl"]["average"]["0.5"] >= 5


def test_provenance(results):
    assert results["held_out"] == {"by": "plate", "groups": ["BR00147482", "BR00148746"]}
    assert results["seed"] == 0
    assert results["quick"] is True
    assert results["versions"]["icfl"] == icfl.__version__
    assert results["machine"]["cores"] >= 1
    assert set(results["seconds"]) == {"held_out_plates", "model_of_all_wells", "pictures"}
    assert results["history"][-1]["epoch"] == results["settings"]["learner"]["max_iter"]


def test_pictures_are_png_of_a_size_to_look_at(demo):
    pytest.importorskip("matplotlib")
    for name in PICTURES:
        content = (demo / name).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert width >= 900
        assert height >= 400
        assert len(content) < 300_000


def test_page_refers_to_what_is_there(demo):
    pytest.importorskip("matplotlib")
    page = (demo / "index.html").read_text(encoding="utf-8")
    for name in PICTURES | FILES:
        assert f'"{name}"' in page
    assert "http" not in page


def test_without_matplotlib_one_line_says_so(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("icfl.report.demo.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    capsys.readouterr()
    folder = tmp_path / "out"
    assert main(["demo", "--quick", "--output", str(folder)]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("icfl[report]") == 1
    assert {path.name for path in folder.iterdir()} == FILES
    for name in ("explained variance", "cell type", "random dictionary", "maximum > 0.5"):
        assert name in captured.out
    # The same seed, the same numbers.
    again = json.loads((folder / "results.json").read_text())
    first = json.loads((demo / "results.json").read_text())
    assert again["methods"] == first["methods"]
    assert (folder / "codes.npz").read_bytes() == (demo / "codes.npz").read_bytes()
