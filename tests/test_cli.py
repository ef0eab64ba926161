"""The command line, run in this process: results, exit codes, messages, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import load_npz, save_npz

import icfl
from icfl.cli import main
from icfl.report.progress import Progress

N_SAMPLES, N_FEATURES, N_ATOMS = 180, 8, 24
FIT = ["--n-components", str(N_ATOMS), "--n-iterations", "2", "--atoms-per-iteration", "2"]
FIT += ["--max-iter", "3", "--seed", "0"]


def wells():
    """Activations in three clusters on three plates, with a shared offset, and their labels."""
    rng = np.random.default_rng(0)
    cell_type = np.tile(["HeLa", "U2OS", "A549"], N_SAMPLES // 3)
    plate = np.repeat(["P1", "P2", "P3"], N_SAMPLES // 3)
    centres = {name: 4 * rng.standard_normal(N_FEATURES) for name in ("HeLa", "U2OS", "A549")}
    X = np.array([centres[name] for name in cell_type]) + rng.standard_normal((N_SAMPLES, 8)) + 50
    control = (cell_type == "U2OS") & (np.arange(N_SAMPLES) % 2 == 0)
    dose = np.arange(N_SAMPLES) % 5
    labels = {"cell_type": cell_type, "plate": plate, "control": control, "dose": dose}
    return X.astype(np.float32), labels


def write_table(path, columns):
    names = list(columns)
    rows = zip(*[columns[name].tolist() for name in names], strict=True)
    lines = [",".join(names), *[",".join(map(repr_of, row)) for row in rows]]
    path.write_text("\n".join(lines) + "\n")


def repr_of(value):
    return value if isinstance(value, str) else repr(value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same data in every format, and a model fitted on it."""
    path = tmp_path_factory.mktemp("cli")
    X, labels = wells()
    features = {f"f{i}": X[:, i] for i in range(N_FEATURES)}
    np.save(path / "X.npy", X)
    write_table(path / "meta.csv", labels)
    np.savez(path / "X.npz", X=X, **labels)
    write_table(path / "X.csv", {**labels, **features})
    model = path / "model.safetensors"
    assert (
        main(["fit", *source(path, "npy"), *CONTROL, *FIT, "--output", str(model), "--json"]) == 0
    )
    return path


CONTROL = ["--control", "control"]


def source(folder, kind):
    """Return the words that name the data in one of the formats."""
    if kind == "npy":
        return [str(folder / "X.npy"), "--metadata", str(folder / "meta.csv")]
    if kind == "npz":
        return [str(folder / "X.npz")]
    return [str(folder / f"X.{kind}"), "--features", "f?"]


def run_json(capsys, *arguments):
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\n") == 1
    return json.loads(captured.out)


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


BAD = {
    "no command": ("", "required"),
    "unknown command": ("fitt X.npy", "invalid choice: 'fitt'"),
    "misspelt option": (
        "encode X.npy --model model.safetensors --output o.npz --metdata meta.csv",
        "unrecognized argument '--metdata' .did you mean '--metadata'",
    ),
    "abbreviated option": ("fit X.npy --output o --contr control", "'--contr'.*'--control'"),
    "missing option": ("fit X.npy", "--output"),
    "no number": ("fit X.npy --output o --n-components many", "whole number, got 'many'"),
    "zero atoms": ("fit X.npy --output o --n-components 0", "at least 1, got '0'"),
    "no threshold": ("fit X.npy --output o --threshold nan", "expected a number, got 'nan'"),
    "no threads": ("fit X.npy --output o --n-jobs 0", "other than 0"),
    "unknown whitening": ("fit X.npy --output o --whiten ica", "invalid choice: 'ica'"),
    "bad shrinkage": ("fit X.npy --output o --shrinkage 2", "from 0 to 1"),
    "missing file": ("fit none.npy --output o", "No such file or directory: .*none.npy"),
    "folder as file": ("fit folder --output o", "unknown format"),
    "unknown format": ("fit X.xlsx --output o", "unknown format, expected one of"),
    "missing metadata": ("fit X.npy --metadata none.csv --output o", "No such file.*none.csv"),
    "metadata of other length": (
        "fit X.npy --metadata short.csv --control control --output o",
        "short.csv has 3 rows, X.npy has 180",
    ),
    "unknown column": (
        "fit X.npy --metadata meta.csv --control cell_typ=U2OS --output o",
        "meta.csv has no column 'cell_typ' .did you mean 'cell_type'",
    ),
    "no controls": (
        "fit X.npy --metadata meta.csv --control cell_type=DMSO --output o",
        "no row of meta.csv has cell_type = 'DMSO'.*A549, HeLa, U2OS",
    ),
    "control without metadata": (
        "fit X.npy --control control --output o",
        "X.npy has no column 'control'; it holds no metadata",
    ),
    "text as boolean": (
        "fit X.npy --metadata meta.csv --control cell_type --output o",
        "cell_type = 'true'",
    ),
    "batch correction without batch": (
        "fit X.npy --batch-correction coral --output o",
        "--batch-correction needs --batch",
    ),
    "control without whitening": (
        "fit X.npz --whiten none --control control --output o",
        "--control needs --whiten",
    ),
    "resume without checkpoint": ("fit X.npy --resume --output o", "--resume needs --checkpoint"),
    "damaged checkpoint": (
        "fit X.npy --checkpoint meta.csv --resume --output o",
        "meta.csv",
    ),
    "output in no folder": ("fit X.npy --output none/o", "does not exist: .*none"),
    "output is a folder": ("fit X.npy --output folder", "is a folder.*folder"),
    "NaN": ("fit nan.npy --output o", "nan.npy holds nan in row 7, feature 2"),
    "words": ("fit words.npy --output o", "expected numbers"),
    "one dimension": ("fit flat.npy --output o", "expected two dimensions"),
    "empty": ("fit empty.npy --output o", "no activations"),
    "garbled npz": ("fit garbled.npz --output o", "garbled.npz is not a readable .npz"),
    "pickled npz": ("fit pickled.npz --output o", "pickled.npz is not a readable .npz"),
    "ragged csv": ("fit ragged.csv --output o", "ragged.csv line 3 has 1 cells"),
    "unmatched features": ("fit X.csv --features g* --output o", "matches the features 'g"),
    "unknown array": ("fit X.npz --array Y --output o", "no array 'Y'"),
    "missing model": ("encode X.npy --model none --output o.npz", "No such file.*none"),
    "no model": ("encode X.npy --model meta.csv --output o.npz", "meta.csv"),
    "wrong width": (
        "encode wide.npy --model model.safetensors --output o.npz",
        "wide.npy has 9 features, the model was fitted on 8",
    ),
    "codes not npz": ("encode X.npy --model model.safetensors --output o.csv", "end in .npz"),
    "unknown label": (
        "evaluate X.npz --model model.safetensors --labels cel_type",
        "no column 'cel_type'",
    ),
    "constant label": (
        "evaluate constant.npz --model model.safetensors --labels one",
        "label 'one' has one value only",
    ),
    "unknown groups": (
        "evaluate X.npz --model model.safetensors --labels cell_type --groups donor",
        "no column 'donor'",
    ),
    "codes of other data": (
        "evaluate X.npz --model model.safetensors --codes other.npz",
        "the codes have shape",
    ),
    "no codes": (
        "evaluate X.npz --model model.safetensors --codes X.npz",
        "X.npz does not hold sparse codes",
    ),
    "existing folder": ("demo --output folder", "folder' exists already.*--force"),
    "file as folder": ("demo --output meta.csv --force", "is not a folder"),
    "negative seed": ("demo --seed -1", "--seed"),
}


@pytest.fixture(scope="module")
def bad_folder(folder):
    """The data, and beside it everything that is wrong with other people's data."""
    X, labels = wells()
    (folder / "folder").mkdir()
    (folder / "X.xlsx").write_text("")
    write_table(folder / "short.csv", {name: column[:3] for name, column in labels.items()})
    broken = X.copy()
    broken[7, 2] = np.nan
    np.save(folder / "nan.npy", broken)
    np.save(folder / "words.npy", np.array([["a"]]))
    np.save(folder / "flat.npy", X[0])
    np.save(folder / "empty.npy", X[:0])
    np.save(folder / "wide.npy", np.hstack([X, X[:, :1]]))
    (folder / "garbled.npz").write_bytes((folder / "X.npz").read_bytes()[:200])
    np.savez(folder / "pickled.npz", X=X, y=np.array([{}] * N_SAMPLES))
    (folder / "ragged.csv").write_text("a,b\n1,2\n3\n")
    np.savez(folder / "constant.npz", X=X, one=np.array(["same"] * N_SAMPLES))
    save_npz(folder / "other.npz", icfl.load(folder / "model.safetensors").transform(X)[:5])
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_code_2(bad_folder, monkeypatch, capsys, case):
    words, message = BAD[case]
    monkeypatch.chdir(bad_folder)
    before = sorted(os.listdir())
    capsys.readouterr()
    assert main([*words.split(), *(["--json"] if words else [])]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("icfl: error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    assert re.search(message, captured.err), captured.err
    assert sorted(os.listdir()) == before


def test_notes_and_results_go_to_their_streams(folder, capsys):
    words = ["encode", str(folder / "X.npy"), "--model", str(folder / "model.safetensors")]
    words += ["--output", str(folder / "codes.npz")]
    capsys.readouterr()
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "180 samples x 8 features" in captured.err
    assert "180 samples x 24 features" in captured.out
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_evaluate_prints_tables(folder, capsys):
    words = [str(folder / "X.npz"), "--model", str(folder / "model.safetensors")]
    assert main(["evaluate", *words, "--labels", "cell_type,plate", "--groups", "plate"]) == 0
    out = capsys.readouterr().out
    for word in ("cosine similarity", "dead share", "Selective features", "cell_type", "codes"):
        assert word in out
    assert out.endswith("Not probed, each value lies within one group: plate\n")


def test_evaluate_without_labels_needs_none(folder, capsys):
    words = ["evaluate", folder / "X.npy", "--model", folder / "model.safetensors"]
    results = run_json(capsys, *words)
    assert results["selectivity"] == results["probes"] == {}
    assert 0 < results["cosine_similarity"] <= 1


def test_a_change_of_scale_is_a_warning(folder, tmp_path, capsys):
    # Rows ten times as far from the controls: whitened norms grow tenfold, the model warns at four.
    X, _ = wells()
    np.save(tmp_path / "scaled.npy", 50 + 10 * (X - 50))
    words = ["encode", tmp_path / "scaled.npy", "--model", folder / "model.safetensors"]
    capsys.readouterr()
    assert main([*map(str, words), "--output", str(tmp_path / "z.npz"), "--json"]) == 0
    assert capsys.readouterr().err.startswith("icfl: warning: the mean norm")


def test_interrupt_is_130_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(icfl.ICFL, "fit", interrupted)
    words = ["fit", str(folder / "X.npy"), "--output", str(tmp_path / "m")]
    capsys.readouterr()
    assert main([*words, "--quiet"]) == 130
    assert capsys.readouterr().err == "icfl: interrupted; no output was written\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("command", ["", "demo", "fit", "encode", "evaluate"])
def test_help_shows_examples(capsys, command):
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: icfl" in out
    assert "examples:" in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"icfl {icfl.__version__}\n"


def test_a_closed_pipe_is_no_traceback(folder):
    command = [sys.executable, "-m", "icfl.cli", "evaluate", str(folder / "X.npy"), "--quiet"]
    command += ["--model", str(folder / "model.safetensors")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_as_a_process(tmp_path):
    """The exit code reaches the shell."""
    command = [sys.executable, "-m", "icfl.cli", "encode", "none.npy", "--model", "m"]
    done = subprocess.run(
        [*command, "--output", "z.npz"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "icfl: error: No such file or directory: m\n"
