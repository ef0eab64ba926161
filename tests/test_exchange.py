"""Sparse autoencoders of other libraries: their codes, both ways, or one clear error."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import icfl
from exchange_models import (
    N_COMPONENTS,
    N_FEATURES,
    N_NONZERO,
    X,
    assert_same_codes,
    defined_codes,
    model_of,
    models,
)
from icfl import autoencoders
from icfl.exceptions import InputError, InputTypeError, MissingDependencyError, ModelFileError
from icfl.exchange.estimators import to_estimator, to_weights
from icfl.exchange.layouts import LAYOUTS, detected
from icfl.exchange.weights import Weights

DATA = Path(__file__).parent / "data" / "exchange"
MADE = sorted(folder for folder in DATA.iterdir() if folder.is_dir())
MODELS = models()
TAKES = {
    "sae_lens": tuple(MODELS),
    "sparsify": ("topk",),
    "dictionary_learning": ("topk", "batch_topk", "relu", "matryoshka"),
    "openai": ("relu",),
    "saev": ("topk", "batch_topk", "relu"),
}
PAIRS = [(layout, name) for layout, names in TAKES.items() for name in names]


def jump_relu() -> Weights:
    """Return weights with a threshold for every latent."""
    w = to_weights(MODELS["batch_topk"], "raw")
    threshold = np.linspace(0, 2, N_COMPONENTS, dtype=np.float32)
    return Weights(
        "jump_relu", w.encoder, w.encoder_bias, w.components, w.bias, threshold=threshold
    )


# What the libraries wrote and computed


@pytest.mark.parametrize("folder", MADE, ids=lambda folder: folder.name)
def test_files_of_the_libraries_give_the_codes_of_the_libraries(folder: Path) -> None:
    expected = np.load(folder / "expected.npz")
    weights = detected(folder).read(folder)
    assert_same_codes(defined_codes(weights, expected["X"]), expected["codes"])
    if weights.activation == "jump_relu" and not hasattr(autoencoders, "JumpReLUSAE"):
        with pytest.raises(ModelFileError, match=r"threshold differs between latents"):
            icfl.load_external(folder)
        return
    model = icfl.load_external(folder)
    assert_same_codes(model.transform(expected["X"]), expected["codes"])
    scale = np.abs(expected["reconstruction"]).max()
    found = model.reconstruct(expected["X"])
    np.testing.assert_allclose(found, expected["reconstruction"], rtol=0, atol=1e-6 * scale)


def test_all_that_were_made_are_here() -> None:
    assert len(MADE) == (DATA / "make.py").read_text().count('\n    sae_lens("') + 9
    assert all(file.stat().st_size < 20_000 for file in DATA.rglob("*"))


# There and back


@pytest.mark.parametrize(("layout", "name"), PAIRS)
def test_what_is_written_is_read_again(tmp_path: Path, layout: str, name: str) -> None:
    model = MODELS[name]
    path = tmp_path / "model.pt"
    icfl.save_external(model, path, layout)
    loaded = icfl.load_external(path)
    assert_same_codes(loaded.transform(X), model.transform(X).toarray())
    expected = model.reconstruct(X)
    limit = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(loaded.reconstruct(X), expected, rtol=0, atol=limit)
    # SAELens keeps BatchTopK as JumpReLU: of Matryoshka it has no more than the codes.
    lost = layout == "sae_lens" and name == "matryoshka"
    assert type(loaded).__name__ == ("BatchTopKSAE" if lost else type(model).__name__)
    if name == "matryoshka" and not lost:
        assert tuple(loaded.widths) == model.widths


@pytest.mark.parametrize("layout", ["sae_lens", "dictionary_learning"])
def test_jump_relu_there_and_back(tmp_path: Path, layout: str) -> None:
    weights = jump_relu()
    LAYOUTS[layout].write(weights, tmp_path / "m")
    back = detected(tmp_path / "m").read(tmp_path / "m")
    assert back.activation == "jump_relu"
    np.testing.assert_array_equal(back.threshold, weights.threshold)
    assert_same_codes(defined_codes(back, X), defined_codes(weights, X))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("scale", [1.0, 0.01, 30.0])
def test_the_input_scale_can_be_any(name: str, scale: float) -> None:
    weights = to_weights(MODELS[name], "raw")
    other = to_estimator(weights.rescaled(scale))
    assert other.input_scale_ == scale
    assert_same_codes(other.transform(X), MODELS[name].transform(X).toarray())
    np.testing.assert_allclose(other.reconstruct(X), MODELS[name].reconstruct(X), atol=1e-4)


def test_loaded_models_are_fitted_and_can_be_saved(tmp_path: Path) -> None:
    icfl.save_external(MODELS["topk"], tmp_path / "m", "sparsify")
    model = icfl.load_external(tmp_path / "m")
    assert (model.n_features_in_, model.n_components, model.n_nonzero) == (
        N_FEATURES,
        N_COMPONENTS,
        N_NONZERO,
    )
    assert (model.history_, model.n_steps_, model.unit_norm_inputs) == ([], 0, False)
    assert model.components_.dtype == np.float32
    assert not model.components_.flags.writeable
    model.save(tmp_path / "m.safetensors")
    again = icfl.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.transform(X).toarray(), model.transform(X).toarray())


def test_a_loaded_model_encodes_by_the_definition(tmp_path: Path) -> None:
    """The compiled kernel picks what float64 picks, but where two p are equal to rounding."""
    rng = np.random.default_rng(0)
    d, m, k = 64, 512, 16
    weights = Weights(
        "topk",
        rng.normal(size=(m, d)).astype(np.float32),
        rng.normal(size=m).astype(np.float32),
        rng.normal(size=(m, d)).astype(np.float32),
        rng.normal(size=d).astype(np.float32),
        k,
    )
    LAYOUTS["sae_lens"].write(weights, tmp_path / "m")
    rows = rng.normal(size=(400, d)).astype(np.float32)
    found = icfl.load_external(tmp_path / "m").transform(rows).toarray()
    expected = defined_codes(weights, rows)
    # Sums of d products of about one: their rounding is below 2⁻²⁴ · d · largest product.
    rounding = 2.0**-24 * d * np.abs(expected).max()
    smallest = np.where(expected > 0, expected, np.inf).min(axis=1, keepdims=True)
    differs = (found != 0) != (expected != 0)
    assert np.all(np.abs(np.maximum(found, expected) - smallest)[differs] <= rounding)
    np.testing.assert_allclose(found[~differs], expected[~differs], rtol=0, atol=rounding)
    assert differs.sum() <= 4


# The layouts, as documented by their libraries


def test_sae_lens_on_disk(tmp_path: Path) -> None:
    icfl.save_external(MODELS["batch_topk"], tmp_path, "sae_lens")
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    config = json.loads((tmp_path / "cfg.json").read_text())
    d, m = N_FEATURES, N_COMPONENTS
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes == {
        "W_enc": (d, m), "b_enc": (m,), "W_dec": (m, d), "b_dec": (d,), "threshold": (m,)
    }  # fmt: skip
    assert config["architecture"] == "jumprelu"
    assert (config["d_in"], config["d_sae"], config["apply_b_dec_to_input"]) == (d, m, True)
    icfl.save_external(MODELS["unit_norm"], tmp_path, "sae_lens")
    assert "constant_norm_rescale" in (tmp_path / "cfg.json").read_text()


def test_torch_layouts_on_disk(tmp_path: Path) -> None:
    import torch

    d, m = N_FEATURES, N_COMPONENTS

    def shapes(path: Path) -> dict[str, tuple[int, ...]]:
        state = torch.load(path, weights_only=True)
        return {k: tuple(v.shape) for k, v in state.items() if isinstance(v, torch.Tensor)}

    icfl.save_external(MODELS["topk"], tmp_path / "dl", "dictionary_learning")
    assert shapes(tmp_path / "dl" / "ae.pt") == {
        "encoder.weight": (m, d), "encoder.bias": (m,), "decoder.weight": (d, m),
        "b_dec": (d,), "k": (), "threshold": (),
    }  # fmt: skip
    icfl.save_external(MODELS["relu"], tmp_path / "o.pt", "openai")
    assert shapes(tmp_path / "o.pt").items() >= {
        "pre_bias": (d,), "encoder.weight": (m, d), "latent_bias": (m,), "decoder.weight": (d, m)
    }.items()  # fmt: skip
    icfl.save_external(MODELS["topk"], tmp_path / "v.pt", "saev")
    line = json.loads((tmp_path / "v.pt").read_bytes().split(b"\n", 1)[0])
    assert line["schema"] == 5
    assert line["cfg"]["activation"]["params"]["top_k"] == N_NONZERO


def sae_lens_folder(folder: Path, tensors: dict[str, Any], config: dict[str, Any]) -> Path:
    """Write a SAELens folder: that of the TopK model, changed; None takes a value away."""
    icfl.save_external(MODELS["topk"], folder, "sae_lens")
    known = load_file(folder / "sae_weights.safetensors") | tensors
    kept = {k: np.ascontiguousarray(v) for k, v in known.items() if v is not None}
    save_file(kept, folder / "sae_weights.safetensors")
    told = json.loads((folder / "cfg.json").read_text()) | config
    told = {k: v for k, v in told.items() if v != "absent"}
    (folder / "cfg.json").write_text(json.dumps(told))
    return folder


def test_a_bias_that_is_not_subtracted_is_folded(tmp_path: Path) -> None:
    """p = x W + b_enc, and x̂ = z D + b_dec all the same."""
    model = icfl.load_external(sae_lens_folder(tmp_path, {}, {"apply_b_dec_to_input": False}))
    weights = to_weights(MODELS["topk"], "raw").rescaled(1.0)
    p = X.astype(np.float64) @ weights.encoder.T + weights.encoder_bias
    smallest = np.sort(p, axis=1)[:, -N_NONZERO][:, None]
    expected = np.where((p >= smallest) & (p > 0), p, 0)
    assert_same_codes(model.transform(X), expected)
    expected = expected @ weights.components + weights.bias
    np.testing.assert_allclose(model.reconstruct(X), expected, atol=1e-4)


def test_sae_lens_of_before_version_6(tmp_path: Path) -> None:
    old = {"architecture": "absent", "k": "absent", "metadata": "absent"}
    new = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": N_NONZERO}}
    ones = {"scaling_factor": np.ones(N_COMPONENTS, np.float32)}
    folder = sae_lens_folder(tmp_path, ones, old | new | {"normalize_activations": False})
    assert_same_codes(
        icfl.load_external(folder).transform(X), MODELS["topk"].transform(X).toarray()
    )


@pytest.mark.parametrize(
    "header",
    [
        {"d_vit": N_FEATURES, "exp_factor": 2, "sparsity_coeff": 4e-4},
        {"schema": 1, "cls": "TopK", "cfg": {"top_k": N_NONZERO}},
        {"schema": 1, "cls": "SparseAutoencoderConfig",
         "cfg": {"activation": {"cls": "TopK", "params": {"top_k": N_NONZERO}}}},
        {"schema": 2, "cfg": {"activation": {"cls": "TopK", "params": {"top_k": N_NONZERO}}}},
        {"schema": 4, "cfg": {"activation": {"cls": "TopK", "params": {"top_k": N_NONZERO}}}},
    ],
)  # fmt: skip
def test_saev_of_every_schema(tmp_path: Path, header: dict[str, Any]) -> None:
    path = tmp_path / "sae.pt"
    icfl.save_external(MODELS["topk"], path, "saev")
    _, data = path.read_bytes().split(b"\n", 1)
    path.write_bytes(json.dumps(header).encode() + b"\n" + data)
    weights = detected(path).read(path)
    own = to_weights(MODELS["topk"], "raw").rescaled(1.0)
    # What was written takes x; the early versions subtract b_dec from it first.
    rows = X - own.bias if header.get("schema", 0) < 2 else X
    relu = "schema" not in header
    p = rows.astype(np.float64) @ own.encoder.T + (own.encoder_bias - own.encoder @ own.bias)
    smallest = np.full((len(p), 1), 0.0) if relu else np.sort(p, axis=1)[:, -N_NONZERO][:, None]
    assert_same_codes(defined_codes(weights, X), np.where((p >= smallest) & (p > 0), p, 0))


def interplm_folder(folder: Path, trainer: str, **changes: Any) -> Path:
    import torch

    icfl.save_external(MODELS["batch_topk"], folder, "dictionary_learning")
    (folder / "config.json").unlink()
    if trainer:
        line = f"trainer_cfg: !!python/object:interplm.train.trainers.x.{trainer}TrainerConfig\n"
        (folder / "config.yaml").write_text(f"!!python/object:interplm.C\n{line}  lr: 0.0\n")
    state = torch.load(folder / "ae.pt", weights_only=True)
    tensors = {k: torch.tensor(v) for k, v in changes.items() if v is not None}
    kept = {k: v for k, v in (state | tensors).items() if changes.get(k, 0) is not None}
    torch.save(kept, folder / "ae.pt")
    return folder


def test_interplm_normalises_and_names_its_class_in_yaml(tmp_path: Path) -> None:
    extra = {"normalize_to_sqrt_d": True, "activation_rescale_factor": np.full(N_COMPONENTS, 3.0)}
    model = icfl.load_external(interplm_folder(tmp_path / "b", "BatchTopK", **extra))
    assert type(model).__name__ == "BatchTopKSAE"
    assert model.unit_norm_inputs
    assert model.input_scale_ == pytest.approx(np.sqrt(N_FEATURES))
    plain = MODELS["batch_topk"]
    rows = X * np.sqrt(N_FEATURES) / np.linalg.norm(X, axis=1, keepdims=True)
    assert_same_codes(model.transform(X), plain.transform(rows).toarray())
    loaded = icfl.load_external(interplm_folder(tmp_path / "t", "TopK"))
    assert type(loaded).__name__ == "TopKSAE"


def test_topk_or_batch_topk_is_asked_where_nothing_tells(tmp_path: Path) -> None:
    folder = interplm_folder(tmp_path, "")
    with pytest.raises(ModelFileError, match=r"ae\.pt: k is .*pass activation='topk' or"):
        icfl.load_external(folder)
    model = icfl.load_external(folder, activation="batch_topk")
    assert_same_codes(model.transform(X), MODELS["batch_topk"].transform(X).toarray())
    assert type(icfl.load_external(folder, activation="topk")).__name__ == "TopKSAE"


def test_an_activation_that_contradicts_the_file(tmp_path: Path) -> None:
    icfl.save_external(MODELS["topk"], tmp_path, "sparsify")
    with pytest.raises(InputError, match=r"activation is 'batch_topk', but .* holds 'topk'"):
        icfl.load_external(tmp_path, activation="batch_topk")


def test_openai_topk_is_for_rows_that_the_caller_standardises(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with pytest.raises(InputError, match=r"fitted on such rows pass inputs='normalised'"):
        icfl.save_external(MODELS["topk"], path, "openai")
    icfl.save_external(MODELS["topk"], path, "openai", inputs="normalised")
    with pytest.raises(ModelFileError, match=r"std with n - 1.* pass inputs='normalised'"):
        icfl.load_external(path)
    model = icfl.load_external(path, inputs="normalised")
    assert_same_codes(model.transform(X), MODELS["topk"].transform(X).toarray())


@pytest.mark.parametrize("layout", TAKES)
def test_rows_that_need_no_normalisation(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "m.pt"
    icfl.save_external(MODELS[TAKES[layout][-1]], path, layout)
    with pytest.raises(InputError, match=r"inputs is 'normalised', but .* no normalisation left"):
        icfl.load_external(path, inputs="normalised")


def test_thresholds_below_zero_are_those_of_a_relu(tmp_path: Path) -> None:
    """The libraries multiply what a ReLU let pass; BatchTopK begins with a threshold of −1."""
    icfl.save_external(MODELS["batch_topk"], tmp_path / "b", "sae_lens")
    file = tmp_path / "b" / "sae_weights.safetensors"
    tensors = load_file(file) | {"threshold": np.full(N_COMPONENTS, -1, np.float32)}
    save_file(tensors, file)
    expected = model_of("BatchTopKSAE", threshold=0.0, scale=0.5).transform(X).toarray()
    model = icfl.load_external(tmp_path / "b")
    assert model.threshold_ == 0
    assert_same_codes(model.transform(X), expected)
    folder = interplm_folder(tmp_path / "d", "BatchTopK", threshold=np.float32(-1))
    assert_same_codes(icfl.load_external(folder).transform(X), expected)


# Shapes and orientation


def test_a_transposed_decoder_is_seen_by_its_shape(tmp_path: Path) -> None:
    stored = to_weights(MODELS["topk"], "raw").rescaled(1.0).components.T
    model = icfl.load_external(sae_lens_folder(tmp_path, {"W_dec": stored}, {}))
    np.testing.assert_array_equal(model.components_, stored.T)


def test_a_square_decoder_is_taken_as_documented(tmp_path: Path) -> None:
    """W_dec (d_sae, d_in) has atoms in rows, decoder.weight (d, n) has them in columns."""
    rng = np.random.default_rng(3)
    square = [rng.normal(size=(6, 6)).astype(np.float32) for _ in range(2)]
    zero = np.zeros(6, np.float32)
    weights = Weights("topk", square[0], zero, square[1], zero, 2)
    for layout in ("sae_lens", "sparsify", "dictionary_learning", "saev"):
        path = tmp_path / layout
        LAYOUTS[layout].write(weights, path)
        model = icfl.load_external(path, layout)
        np.testing.assert_array_equal(model.components_, square[1])
        np.testing.assert_array_equal(model.encoder_, square[0])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"W_enc": np.zeros((12, 5), np.float32)}, r"W_enc is shape \(12, 5\).*\(d_in, d_sae\)"),
        ({"W_dec": np.zeros((11, 5), np.float32)}, r"W_dec is shape .*\(d_sae, d_in\) = \(12, 5\)"),
        (
            {"b_dec": np.zeros(12, np.float32)},
            r"b_dec is shape \(12,\): expected \(d_in\) = \(5,\)",
        ),
        ({"b_enc": np.zeros((12, 1), np.float32)}, r"b_enc is shape \(12, 1\)"),
        ({"b_enc": None}, "has no b_enc"),
        ({"b_enc": np.zeros(12, np.int64)}, "b_enc is .*expected floats, got int64"),
        ({"b_enc": np.full(12, np.nan, np.float32)}, "b_enc is .*has NaN or infinity"),
        ({"W_dec": np.full((12, 5), 1e39)}, "W_dec is .*has NaN or infinity"),
        ({"r_mag": np.zeros(12, np.float32)}, "has r_mag, which this layout does not know"),
        ({"scaling_factor": np.full(12, 2, np.float32)}, "fine-tuned scales"),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, tensors: dict[str, Any], message: str) -> None:
    folder = sae_lens_folder(tmp_path, tensors, {})
    with pytest.raises(ModelFileError, match=message) as caught:
        icfl.load_external(folder)
    assert str(folder / "sae_weights.safetensors") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "gated"}, "architecture is 'gated': expected one of 'standard'"),
        ({"architecture": "skip_transcoder"}, "architecture is 'skip_transcoder'"),
        ({"architecture": "matching_pursuit"}, "architecture is 'matching_pursuit'"),
        ({"architecture": "standard", "activation_fn": "tanh-relu"}, "standard with tanh-relu"),
        ({"normalize_activations": "layer_norm"}, "pass inputs='normalised'"),
        ({"normalize_activations": "expected_average_only_in"}, "√d_in / their mean norm"),
        ({"normalize_activations": "l2"}, "normalize_activations is 'l2'"),
        ({"k": 0}, "k is 0: expected a positive integer"),
        ({"k": True}, "k is True"),
        ({"k": "absent"}, "has no k"),
        ({"d_in": 4}, r"W_enc is shape .*expected \(d_in, d_sae\) = \(4, 12\)|b_dec"),
        ({"apply_b_dec_to_input": 1}, "expected true or false"),
        ({"finetuning_scaling_factor": True}, "fine-tuned scales"),
    ],
)
def test_configurations_that_are_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    folder = sae_lens_folder(tmp_path, {}, config)
    with pytest.raises(ModelFileError, match=message):
        icfl.load_external(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("transcode", True), ("skip_connection", True), ("signed", True), ("activation", "groupmax")],
)
def test_sparsify_models_that_are_no_autoencoders(tmp_path: Path, key: str, value: object) -> None:
    icfl.save_external(MODELS["topk"], tmp_path, "sparsify")
    config = json.loads((tmp_path / "cfg.json").read_text()) | {key: value}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match=rf"cfg\.json: {key} is {value!r}"):
        icfl.load_external(tmp_path)


def test_gated_and_tied_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="has r_mag: gated"):
        icfl.load_external(interplm_folder(tmp_path / "g", "TopK", r_mag=np.zeros(12)))
    import torch

    icfl.save_external(MODELS["relu"], tmp_path / "o.pt", "openai")
    state = torch.load(tmp_path / "o.pt", weights_only=True)
    state["decoder.linear.weight"] = state.pop("decoder.weight").T
    torch.save(state, tmp_path / "o.pt")
    with pytest.raises(ModelFileError, match=r"decoder\.linear\.weight: a tied decoder"):
        icfl.load_external(tmp_path / "o.pt")


@pytest.mark.parametrize("text", ['{"k": 3, "k": 4}', '{"k": NaN}', "[]", "", "{", "\xff"])
def test_settings_that_are_no_strict_json(tmp_path: Path, text: str) -> None:
    icfl.save_external(MODELS["topk"], tmp_path, "sparsify")
    (tmp_path / "cfg.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelFileError, match=r"cfg\.json: (not strict JSON|expected a JSON obj)"):
        icfl.load_external(tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_precisions(tmp_path: Path, dtype: str) -> None:
    """bfloat16 of safetensors is read without torch; all are exact in float32 but float64."""
    import torch
    from safetensors.torch import load_file as load_tensors
    from safetensors.torch import save_file as save_tensors

    icfl.save_external(MODELS["topk"], tmp_path, "sparsify")
    file = tmp_path / "sae.safetensors"
    tensors = {k: v.to(getattr(torch, dtype)) for k, v in load_tensors(file).items()}
    save_tensors(tensors, file)
    model = icfl.load_external(tmp_path)
    np.testing.assert_array_equal(model.components_, tensors["W_dec"].float().numpy())


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


# Which layout it is


@pytest.mark.parametrize(("layout", "name"), PAIRS)
def test_layouts_are_told_apart(tmp_path: Path, layout: str, name: str) -> None:
    path = tmp_path / "m.pt"
    icfl.save_external(MODELS[name], path, layout)
    weights = [f for f in path.rglob("*") if f.suffix != ".json"] if path.is_dir() else [path]
    for candidate in (path, *weights, tmp_path if path.is_file() else path):
        recognised = [known for known, face in LAYOUTS.items() if face.recognises(candidate)]
        assert recognised == [layout]
        assert icfl.load_external(candidate).n_features_in_ == N_FEATURES


def test_what_is_not_recognised(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not recognised as any of sae_lens, sparsify"):
        icfl.load_external(tmp_path)
    own = tmp_path / "own.safetensors"
    MODELS["topk"].save(own)
    with pytest.raises(ModelFileError, match="not recognised"):
        icfl.load_external(own)
    with pytest.raises(FileNotFoundError, match="no such file"):
        icfl.load_external(tmp_path / "gone")
    for layout in LAYOUTS:
        with pytest.raises(OSError, match="gone"):
            icfl.load_external(tmp_path / "gone", layout)


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


# Given weights


def test_weights_that_are_given_are_checked() -> None:
    weights = to_weights(MODELS["topk"], "raw")
    arrays = MODELS["topk"]._fitted_arrays()
    from icfl.autoencoders.given import given

    for name, wrong, message in (
        ("components", np.zeros(3), "components must have shape"),
        ("encoder", weights.encoder.T, "encoder must be finite and of shape"),
        ("bias", np.full(N_FEATURES, np.inf), "bias must be finite"),
        ("threshold", np.zeros(()), "arrays must be bias, components, encoder, encoder_bias"),
    ):
        with pytest.raises(InputError, match=message):
            given(autoencoders.TopKSAE(), arrays | {name: wrong})
    copied = given(autoencoders.TopKSAE(), arrays)
    assert copied.components_ is not arrays["components"]


def test_equal_thresholds_make_one(tmp_path: Path) -> None:
    model = model_of("BatchTopKSAE", threshold=0.25)
    icfl.save_external(model, tmp_path, "sae_lens")
    assert load_file(tmp_path / "sae_weights.safetensors")["threshold"].shape == (N_COMPONENTS,)
    assert icfl.load_external(tmp_path).threshold_ == np.float32(0.25)
