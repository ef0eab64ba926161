"""`icfl fit`, `encode` and `evaluate`, run in this process: models, codes and numbers."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.sparse import load_npz

import icfl
from cli_runs import (  # noqa: F401 - the fixture `folder`
    CONTROL,
    FIT,
    N_ATOMS,
    N_FEATURES,
    N_SAMPLES,
    folder_of_wells,
    run_json,
    source,
    wells,
    write_table,
)
from icfl.cli import main
from icfl.report.progress import Progress


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "parquet"])
def test_every_format_gives_the_same_model_and_codes(folder, tmp_path, capsys, kind):
    if kind == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        X, labels = wells()
        features = {f"f{i}": X[:, i] for i in range(N_FEATURES)}
        pq.write_table(pa.table({**labels, **features}), folder / "X.parquet")
    data = source(folder, kind)
    model, codes = tmp_path / "model.safetensors", tmp_path / "codes.npz"
    fitted = run_json(capsys, "fit", *data, *CONTROL, *FIT, "--output", model)
    assert fitted["n_samples"] == N_SAMPLES
    assert fitted["n_components"] == N_ATOMS
    encoded = run_json(capsys, "encode", *data, "--model", model, "--output", codes)
    Z = load_npz(codes)
    assert encoded["l0"] == pytest.approx(Z.nnz / N_SAMPLES)
    assert np.array_equal(
        icfl.load(model).steps[-1][1].components_,
        icfl.load(folder / "model.safetensors").steps[-1][1].components_,
    )
    reference = icfl.load(folder / "model.safetensors").transform(np.load(folder / "X.npy"))
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(Z, name), getattr(reference, name))
    question = ["--labels", "cell_type,plate", "--groups", "plate"]
    results = run_json(capsys, "evaluate", *data, "--model", model, *question)
    known = run_json(capsys, "evaluate", *data, "--model", model, *question, "--codes", codes)
    assert results == known
    check_evaluation(results, icfl.load(model), Z)


def check_evaluation(results, model, Z):
    """Compare with the same numbers in plain NumPy."""
    X, labels = wells()
    whitener = model.steps[0][1]
    white = (X - whitener.mean_) @ whitener.components_.T
    variances = whitener.explained_variance_
    white /= np.sqrt(variances + 1e-6 * variances.max())
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    learner = model.steps[1][1]
    back = Z.toarray().astype(np.float64) @ learner.components_ + learner.bias_
    residual = ((white - back) ** 2).sum()
    explained = 1 - residual / ((white - white.mean(axis=0)) ** 2).sum()
    cosine = ((white * back).sum(axis=1) / np.linalg.norm(back, axis=1)).mean()
    # Rows are float32 of unit norm with 8 entries: errors of some 1e-6 in sums of products.
    assert results["explained_variance"] == pytest.approx(explained, abs=1e-5)
    assert results["cosine_similarity"] == pytest.approx(cosine, abs=1e-5)
    active = Z.toarray() != 0
    assert results["l0"] == pytest.approx(active.sum(axis=1).mean())
    assert results["dead_fraction"] == pytest.approx(1 - active.any(axis=0).mean())
    y = labels["cell_type"]
    average = [active[y == c].mean(axis=0) - active[y != c].mean(axis=0) for c in np.unique(y)]
    for limit in (0.5, 0.2):
        expected = int((np.max(average, axis=0) > limit).sum())
        assert results["selectivity"]["cell_type"]["average"][str(limit)] == expected
    assert list(results["probes"]) == ["cell_type"]  # a plate cannot be read on another plate
    probe = results["probes"]["cell_type"]
    assert probe["chance"] == pytest.approx(1 / 3)
    assert len(probe["inputs"]["scores"]) == 3
    # Clusters 4 standard deviations apart in 8 dimensions: nearly every well is told apart.
    assert probe["inputs"]["mean"] > 0.95


@pytest.mark.parametrize("learner", ["topk", "batch-topk", "matryoshka", "abs-topk"])
def test_fit_learns_autoencoders_too(folder, tmp_path, capsys, learner):
    model = tmp_path / "model.safetensors"
    options = ["--learner", learner, "--n-components", "12", "--n-nonzero", "3", "--max-iter", "2"]
    fitted = run_json(capsys, "fit", *source(folder, "npy"), *CONTROL, *options, "--output", model)
    assert fitted["n_components"] == 12
    question = ["--labels", "cell_type,plate", "--groups", "plate"]
    results = run_json(capsys, "evaluate", *source(folder, "npy"), "--model", model, *question)
    learnt = icfl.load(model)
    name, autoencoder = learnt.steps[-1]
    assert name == learner.replace("-", "_")
    assert autoencoder.n_nonzero == 3
    X = np.load(folder / "X.npy")
    assert results["l0"] == pytest.approx(learnt.transform(X).nnz / len(X))
    white = learnt.steps[0][1].transform(X)
    assert results["explained_variance"] == pytest.approx(autoencoder.score(white), abs=1e-5)


def test_fit_refuses_options_that_a_learner_lacks(folder, tmp_path, capsys):
    model = tmp_path / "model.safetensors"
    words = ["fit", *source(folder, "npy"), "--learner", "topk", "--n-iterations", "2"]
    assert main([*words, "--output", str(model)]) == 2
    assert "--n-iterations is not an option of topk" in capsys.readouterr().err
    assert not model.exists()


def test_fit_without_whitening_saves_the_dictionary_alone(folder, tmp_path, capsys):
    model = tmp_path / "m.safetensors"
    run_json(capsys, "fit", folder / "X.npy", "--whiten", "none", *FIT, "--output", model)
    loaded = icfl.load(model)
    assert isinstance(loaded, icfl.ICFL)
    X = np.load(folder / "X.npy")
    direct = icfl.ICFL(
        N_ATOMS, n_iterations=2, atoms_per_iteration=2, max_iter=3, random_state=0
    ).fit(X)
    np.testing.assert_array_equal(loaded.components_, direct.components_)


def test_fit_hands_over_how_icfl_refits_and_where_it_ends(folder, tmp_path, capsys):
    for refit, threshold in (("block", "0.1"), ("joint", "auto")):
        model = tmp_path / f"{refit}.safetensors"
        words = ["--whiten", "none", *FIT, "--refit", refit, "--threshold", threshold]
        run_json(capsys, "fit", folder / "X.npy", *words, "--output", model)
        learnt = icfl.load(model)
        assert learnt.refit == refit
        assert str(learnt.threshold) == threshold
        assert hasattr(learnt, "threshold_") == (threshold == "auto")


def test_batch_correction_travels_with_the_model(folder, tmp_path, capsys):
    model, codes = tmp_path / "m.safetensors", tmp_path / "z.npz"
    data = [*source(folder, "npz"), "--batch", "plate"]
    correct = ["--batch-correction", "center-scale", "--whiten", "zca", "--shrinkage", "0.1"]
    run_json(capsys, "fit", *data, *CONTROL, *correct, *FIT, "--output", model)
    run_json(capsys, "encode", *data, "--model", model, "--output", codes)
    X, labels = wells()
    whitener = icfl.ControlWhitener(
        method="zca", shrinkage=0.1, batch_correction="center-scale"
    ).fit(X, control=labels["control"], batch=labels["plate"])
    white = whitener.transform(X, batch=labels["plate"]).astype(np.float32)
    expected = icfl.load(model).steps[-1][1].transform(white)
    np.testing.assert_array_equal(load_npz(codes).toarray(), expected.toarray())
    capsys.readouterr()
    missing = ["encode", *source(folder, "npz"), "--model", str(model), "--output", str(codes)]
    assert main(missing) == 2
    assert "corrects for batches" in capsys.readouterr().err


@pytest.mark.parametrize("whiten", ["pca", "none"])
def test_features_of_a_table_are_matched_by_name(folder, tmp_path, capsys, whiten):
    X, labels = wells()
    features = {f"f{i}": X[:, i] for i in range(N_FEATURES)}
    shuffled = {f"f{i}": X[:, i] for i in reversed(range(N_FEATURES))}
    write_table(tmp_path / "plain.csv", features)
    write_table(tmp_path / "mixed.csv", {"more": X[:, 0], **shuffled, **labels})
    write_table(tmp_path / "fewer.csv", {name: features[name] for name in ("f0", "f1", "f3")})
    model = tmp_path / "m"
    run_json(capsys, "fit", tmp_path / "plain.csv", "--whiten", whiten, *FIT, "--output", model)
    for name in ("plain", "mixed"):
        words = [tmp_path / f"{name}.csv", "--model", model, "--output", tmp_path / f"{name}.npz"]
        run_json(capsys, "encode", *words)
    plain, mixed = (load_npz(tmp_path / f"{name}.npz") for name in ("plain", "mixed"))
    np.testing.assert_array_equal(plain.toarray(), mixed.toarray())
    words = ["encode", str(tmp_path / "fewer.csv"), "--model", str(model)]
    assert main([*words, "--output", str(tmp_path / "z.npz")]) == 2
    assert "fewer.csv lacks the features f2, f4" in capsys.readouterr().err


def test_max_steps_alone_is_not_cut_short(folder, tmp_path, capsys):
    few = [*FIT[:6], "--max-steps", "25", "--output", tmp_path / "m.safetensors"]
    assert run_json(capsys, "fit", folder / "X.npy", *few)["n_steps"] == 25


def test_an_interrupted_fit_resumes_to_the_same_model(folder, tmp_path, monkeypatch, capsys):
    base = ["fit", folder / "X.npy", *FIT, "--batch-size", "64"]
    saved = ["--checkpoint", tmp_path / "c.ckpt", "--output", tmp_path / "resumed"]

    def stop_at_step_4(progress, done):
        if progress.unit == "mini-batches" and done == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "move_to", stop_at_step_4)
        assert main([*map(str, [*base, *saved])]) == 130
    assert os.listdir(tmp_path) == ["c.ckpt"]
    assert run_json(capsys, *base, *saved, "--resume")["n_steps"] == 9
    run_json(capsys, *base, "--output", tmp_path / "whole")
    resumed, whole = (icfl.load(tmp_path / name).steps[-1][1] for name in ("resumed", "whole"))
    np.testing.assert_array_equal(resumed.components_, whole.components_)
    assert resumed.n_steps_ == whole.n_steps_
