"""Layouts of other libraries as they document them, and what of them is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import icfl
from exchange_models import (
    N_COMPONENTS,
    N_FEATURES,
    N_NONZERO,
    TAKES,
    X,
    assert_same_codes,
    defined_codes,
    interplm_folder,
    model_of,
    models,
    sae_lens_folder,
)
from icfl.exceptions import InputError, ModelFileError
from icfl.exchange.estimators import to_weights
from icfl.exchange.layouts import LAYOUTS, detected
from icfl.exchange.weights import Weights

MODELS = models()


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


@pytest.mark.parametrize("schema", [None, 0, 6, True, "5"])
def test_saev_of_no_known_schema(tmp_path: Path, schema: Any) -> None:
    path = tmp_path / "sae.pt"
    icfl.save_external(MODELS["topk"], path, "saev")
    line, data = path.read_bytes().split(b"\n", 1)
    path.write_bytes(json.dumps(json.loads(line) | {"schema": schema}).encode() + b"\n" + data)
    with pytest.raises(ModelFileError, match=f"schema is {schema!r}, expected 1 to 5"):
        icfl.load_external(path)


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
