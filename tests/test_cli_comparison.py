"""`icfl evaluate --learners`: what is printed, what is written, what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import icfl
from icfl.cli import main

N, D = 90, 6
LABELS = {"kind": np.tile(["a", "b", "c"], N // 3), "plate": np.repeat(["P1", "P2", "P3"], N // 3)}
CONTROL = np.arange(N) % 4 == 0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Rows with their labels, as one file."""
    path = tmp_path_factory.mktemp("comparison") / "X.npz"
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)) + 3 * np.eye(D)[np.tile([0, 1, 2], N // 3)]
    np.savez(path, X=X.astype(np.float32), control=CONTROL, **LABELS)
    return path


def words(data, *more):
    chosen = ["--learners", "icfl,pca", "--labels", "kind", "--groups", "plate", "--seeds", "2"]
    sizes = ["--n-components", "12", "--n-nonzero", "4"]
    return ["evaluate", str(data), *chosen, *sizes, *map(str, more)]


def test_json_is_what_compare_finds(data, capsys):
    assert main([*words(data), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    arrays = np.load(data)
    found = icfl.compare(
        ["icfl", "pca"],
        arrays["X"],
        {"kind": arrays["kind"]},
        arrays["plate"],
        n_components=12,
        n_nonzero=4,
        n_seeds=2,
    )
    expected = {(r["learner"], r["label"], r["metric"]): r["mean"] for r in found.rows()}
    printed = {(r["learner"], r["label"], r["metric"]): r["mean"] for r in rows}
    assert printed.keys() == expected.keys()
    same = {key for key in expected if not key[2].startswith(("fit_", "encode_"))}
    assert {key: printed[key] for key in same} == {key: expected[key] for key in same}


def test_tables_show_every_learner_with_and_without_whitening(data, capsys):
    assert main(words(data, "--control", "control")) == 0
    out = capsys.readouterr().out
    for whitening in ("none", "control"):
        assert f"kind, whitening: {whitening}\nlearner" in out
    lines = [line.split()[0] for line in out.splitlines() if line]
    assert lines.count("icfl") == lines.count("pca") == 4
    assert "Means over 3 held-out folds, with 95% intervals" in out


def test_stability_is_said_without_being_asked_for(data, capsys):
    assert main([*words(data), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    found = {(row["learner"], row["metric"]): row for row in rows}
    assert main(words(data)) == 0
    out = capsys.readouterr().out
    (header,) = (line for line in out.splitlines() if "stability, seeds" in line)
    end = header.index("halves") + len("halves")
    for learner in ("icfl", "pca"):
        seeds, halves = (found[learner, name] for name in ("stability", "stability_halves"))
        assert (seeds["n_groups"], halves["n_groups"]) == (3, 1)
        assert halves["low"] is None
        line = next(line for line in out.splitlines() if line.startswith(learner))
        assert f"{seeds['mean']:.3f} [{seeds['low']:.3f}, {seeds['high']:.3f}]" in line
        assert line[:end].endswith(f" {halves['mean']:.3f}")  # alone: one pair has no interval


def test_numbers_are_written_and_kept(data, tmp_path, capsys):
    table, kept = tmp_path / "numbers.csv", tmp_path / "kept"
    assert main(words(data, "--table", table, "--cache", kept)) == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["learner"] for row in rows} == {"icfl", "pca"}
    first = table.read_text()
    assert len(list(kept.glob("*.json"))) == 2 * (3 * 2 + 2)  # two halves beside folds and seeds
    assert {"stability", "stability_halves"} <= {row["metric"] for row in rows}
    assert main(words(data, "--table", table, "--cache", kept)) == 0
    assert table.read_text() == first  # times too: nothing was fitted again
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "kind"], "either --model or --learners"),
        (["--learners", "pca", "--model", "m.safetensors"], "either --model or --learners"),
        (["--learners", "pca", "--labels", "kind"], "needs --labels and --groups"),
        (["--model", "m.safetensors", "--seeds", "2"], "--seeds goes with --learners"),
        (
            ["--learners", "pca", "--labels", "kind", "--groups", "plate", "--codes", "c.npz"],
            "--codes goes with --model",
        ),
        (
            ["--learners", "pla", "--labels", "kind", "--groups", "plate"],
            "learners must be out of icfl",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_go_together_is_one_line(data, capsys, arguments, message):
    assert main(["evaluate", str(data), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("icfl: error:") == 1
