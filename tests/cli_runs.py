"""What the tests of the command line share: data in every format, a model, and a way to run it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from icfl.cli import main

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


@pytest.fixture(scope="module", name="folder")
def folder_of_wells(tmp_path_factory):
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
