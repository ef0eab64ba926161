"""What the command line refuses: exit code 2, one clear line, and nothing left behind."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from scipy.sparse import save_npz

import icfl
from cli_runs import N_SAMPLES, folder_of_wells, wells, write_table  # noqa: F401 - the fixture `folder`
from icfl.cli import main

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
    "no threshold": ("fit X.npy --output o --threshold nan", "auto or a number, got 'nan'"),
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
