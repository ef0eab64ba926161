"""Files that mean harm or are damaged, writes that fail, and models that no layout can say."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import icfl
from exchange_models import TAKES, models, sae_lens_folder
from icfl import autoencoders
from icfl.exceptions import InputError, InputTypeError, MissingDependencyError, ModelFileError

MODELS = models()


# Files that mean harm, and writes that fail


class Harm:
    """An object whose unpickling would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", ["dictionary_learning", "openai", "saev"])
def test_nothing_in_a_torch_file_is_executed(tmp_path: Path, layout: str, zipped: bool) -> None:
    import torch

    path, harm = tmp_path / "ae.pt", tmp_path / "harm"
    state = {"encoder.weight": torch.zeros(3, 2), "pre_bias": Harm(harm)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)
    assert harm.exists(), "the file does no harm even where it is allowed to"
    harm.unlink()
    if layout == "saev":
        path.write_bytes(b'{"d_vit": 2}\n' + path.read_bytes())
    for name in (layout, "auto"):
        with pytest.raises(ModelFileError, match="nothing in it was executed") as caught:
            icfl.load_external(path, name)
        assert "\n" not in str(caught.value)
    assert not harm.exists()


@pytest.mark.parametrize("layout", TAKES)
@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_files_cut_short(tmp_path: Path, layout: str, cut: int) -> None:
    path = tmp_path / "m.pt"
    icfl.save_external(MODELS[TAKES[layout][-1]], path, layout)
    files = [path] if path.is_file() else list(path.iterdir())
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[:cut])
        if file.suffix == ".json" and cut == -1:
            continue  # but the final line break
        with pytest.raises(ModelFileError):
            icfl.load_external(path, layout)
        file.write_bytes(whole)


@pytest.mark.parametrize("layout", TAKES)
def test_files_with_flipped_bytes(tmp_path: Path, layout: str) -> None:
    """They have no checksums: what comes is a model of other numbers, or a ModelFileError."""
    path, rng = tmp_path / "m.pt", random.Random(0)
    icfl.save_external(MODELS[TAKES[layout][-1]], path, layout)
    for file in [path] if path.is_file() else list(path.iterdir()):
        whole = file.read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(rng.choice((1, 3, 20))):
                data[rng.randrange(min(len(data), rng.choice((300, 10**6))))] = rng.randrange(256)
            file.write_bytes(data)
            with contextlib.suppress(ModelFileError):
                icfl.load_external(path, rng.choice((layout, "auto")))
        file.write_bytes(whole)


def torch_file(folder: Path, name: str, **changes: Any) -> Path:
    """Write a dictionary_learning folder: that of a model, changed."""
    import torch

    icfl.save_external(MODELS[name], folder, "dictionary_learning")
    state = torch.load(folder / "ae.pt", weights_only=True)
    torch.save(state | changes, folder / "ae.pt")
    return folder


def test_tensors_that_claim_more_than_the_file_has(tmp_path: Path) -> None:
    """By strides of zero, 16 TB of them; or without any numbers; or with a sign aside."""
    import torch

    one, huge = torch.zeros(1, 1), (1 << 21, 1 << 21)
    for weight, message in (
        (one.expand(huge), r"shape \(2097152, 2097152\) has 4398046511104 numbers, the file 1"),
        (one.to(torch.float16).expand(huge), r"shape .* the file 1"),
        (torch.zeros(12, 5, device="meta"), "expected a dense real tensor, got .*'meta'"),
        (torch._neg_view(torch.zeros(12, 5)), "expected a dense real tensor"),
    ):
        folder = torch_file(tmp_path / "m", "topk", **{"encoder.weight": weight})
        with pytest.raises(ModelFileError, match=rf"ae\.pt: encoder\.weight: {message}"):
            icfl.load_external(folder)


def test_sizes_that_overflow_or_exceed_the_model(tmp_path: Path) -> None:
    import torch

    # In 64 bits these add up to 12, by way of -2.
    sizes = torch.tensor([2**63 - 1, 2**63 - 1, 14])
    with pytest.raises(ModelFileError, match=r"group_sizes .* they add up to 18446744073709551628"):
        icfl.load_external(torch_file(tmp_path / "sizes", "matryoshka", group_sizes=sizes))
    for k in (13, 2**62):
        with pytest.raises(ModelFileError, match=f"k is {k}, expected at most the 12 latents"):
            icfl.load_external(torch_file(tmp_path / "k", "topk", k=torch.tensor(k)))
    with pytest.raises(ModelFileError, match="k is -3: expected a positive integer"):
        icfl.load_external(torch_file(tmp_path / "k", "topk", k=torch.tensor(-3)))


def test_numbers_of_which_products_overflow(tmp_path: Path) -> None:
    import torch

    large = np.full((5, 12), 1e30, np.float32)
    tensors = {"W_enc": large, "b_dec": large[:, 0].copy()}
    folder = sae_lens_folder(tmp_path / "a", tensors, {"apply_b_dec_to_input": False})
    with pytest.raises(ModelFileError, match=rf"{folder.name}: weights: too large for float32"):
        icfl.load_external(folder)
    folder = torch_file(tmp_path / "b", "topk", **{"decoder.weight": torch.zeros(5, 12)})
    (folder / "config.json").write_text('{"trainer": {"dict_class": "AutoEncoder"}}')
    state = torch.load(folder / "ae.pt", weights_only=True)
    relu = {name: value for name, value in state.items() if name not in ("k", "threshold")}
    torch.save(relu, folder / "ae.pt")
    with pytest.raises(ModelFileError, match=r"ae\.pt: decoder\.weight .* a column is zero"):
        icfl.load_external(folder)


def test_damaged_compression_is_not_recognised(tmp_path: Path) -> None:
    path = tmp_path / "ae.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("archive/data.pkl", random.Random(0).randbytes(2000))
    data = bytearray(path.read_bytes())
    data[60:300] = bytes(240)
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="not recognised"):
        icfl.load_external(path)


def test_what_stands_in_the_way_of_one_file_keeps_all_as_they_were(tmp_path: Path) -> None:
    icfl.save_external(MODELS["topk"], tmp_path / "m", "sae_lens")
    before = (tmp_path / "m" / "sae_weights.safetensors").read_bytes()
    (tmp_path / "m" / "cfg.json").unlink()
    (tmp_path / "m" / "cfg.json").mkdir()
    with pytest.raises(IsADirectoryError, match=r"cannot replace a folder by a file.*cfg\.json"):
        icfl.save_external(MODELS["abs_topk"], tmp_path / "m", "sae_lens")
    assert (tmp_path / "m" / "sae_weights.safetensors").read_bytes() == before
    assert len(list((tmp_path / "m").iterdir())) == 2
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"cannot write sae\.safetensors: this is a file"):
        icfl.save_external(MODELS["topk"], tmp_path / "file", "sparsify")


@pytest.mark.parametrize("layout", TAKES)
@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failed_write_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: Any, layout: str, failing: str, existing: bool
) -> None:
    path = tmp_path / "m.pt"
    old, new = TAKES[layout][0], TAKES[layout][-1]
    if existing:
        icfl.save_external(MODELS[old], path, layout)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(KeyboardInterrupt):
            icfl.save_external(MODELS[new], path, layout)
    after = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert after == before
    assert path.exists() == existing


# What cannot be written, and what is missing


@pytest.mark.parametrize("layout", ["sparsify", "dictionary_learning", "saev"])
def test_unit_norm_has_no_place_in_most_layouts(tmp_path: Path, layout: str) -> None:
    with pytest.raises(InputError, match=r"scales rows to unit norm.*format='sae_lens'"):
        icfl.save_external(MODELS["unit_norm"], tmp_path / "m", layout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("layout", "name", "message"),
    [
        ("sparsify", "batch_topk", "layout of sparsify has topk codes, got batch_topk"),
        ("openai", "batch_topk", "no threshold"),
        ("openai", "abs_topk", "got abs_topk"),
        ("saev", "abs_topk", "got abs_topk"),
        ("dictionary_learning", "abs_topk", "got abs_topk"),
        ("safetensors", "topk", "format must be one of 'sae_lens'"),
        ("auto", "topk", "format must be one of 'sae_lens'"),
    ],
)
def test_models_a_layout_cannot_say(tmp_path: Path, layout: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        icfl.save_external(MODELS[name], tmp_path / "m", layout)
    assert list(tmp_path.iterdir()) == []


def test_only_fitted_autoencoders_are_written(tmp_path: Path) -> None:
    for other in (icfl.ICFL(), icfl.SparseCoder(np.eye(3)), make_pipeline(MODELS["topk"]), None):
        kind = type(other).__name__
        with pytest.raises(InputTypeError, match=rf"got {kind}.*icfl\.save keeps it"):
            icfl.save_external(other, tmp_path / "m", "sae_lens")
    with pytest.raises(NotFittedError):
        icfl.save_external(autoencoders.TopKSAE(4), tmp_path / "m", "sae_lens")


def test_without_torch(tmp_path: Path, monkeypatch: Any) -> None:
    for layout in TAKES:
        icfl.save_external(MODELS[TAKES[layout][-1]], tmp_path / f"{layout}.pt", layout)
    monkeypatch.setitem(sys.modules, "torch", None)
    for layout in ("sae_lens", "sparsify"):
        icfl.load_external(tmp_path / f"{layout}.pt")
        icfl.save_external(MODELS["topk"], tmp_path / "again", layout)
    for layout in ("dictionary_learning", "openai", "saev"):
        with pytest.raises(MissingDependencyError, match=r'pip install "icfl\[torch\]"'):
            icfl.load_external(tmp_path / f"{layout}.pt")
        with pytest.raises(MissingDependencyError, match=r'pip install "icfl\[torch\]"'):
            icfl.save_external(MODELS[TAKES[layout][-1]], tmp_path / "new", layout)
    assert not (tmp_path / "new").exists()
