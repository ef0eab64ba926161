"""The command line as a program: streams, tables, help, exit codes, interrupts, closed pipes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import icfl
from cli_runs import folder_of_wells, run_json, wells  # noqa: F401 - the fixture `folder`
from icfl.cli import main


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
