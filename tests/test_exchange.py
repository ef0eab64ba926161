"""Sparse autoencoders of other libraries: their codes, both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import icfl
from exchange_models import (
    N_COMPONENTS,
    N_FEATURES,
    N_NONZERO,
    TAKES,
    X,
    assert_same_codes,
    defined_codes,
    model_of,
    models,
)
from icfl import autoencoders
from icfl.autoencoders.given import given
from icfl.exceptions import InputError, ModelFileError
from icfl.exchange.estimators import to_estimator, to_weights
from icfl.exchange.layouts import LAYOUTS, detected
from icfl.exchange.weights import Weights

MODELS = models()
PAIRS = [(layout, name) for layout, names in TAKES.items() for name in names]
DATA = Path(__file__).parent / "data" / "exchange"
MADE = sorted(folder for folder in DATA.iterdir() if folder.is_dir())


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


@pytest.mark.parametrize("layout", ["sae_lens", "sparsify", "dictionary_learning", "saev"])
def test_a_trained_model_there_and_on(tmp_path: Path, layout: str) -> None:
    """Training ends with an input scale of its own; what is loaded can be trained on."""
    rows = np.random.default_rng(2).normal(size=(300, N_FEATURES)).astype(np.float32) * 40
    model = icfl.TopKSAE(
        N_COMPONENTS, n_nonzero=N_NONZERO, unit_norm_inputs=False, max_steps=5, random_state=0
    ).fit(rows)
    assert model.input_scale_ < 0.1
    icfl.save_external(model, tmp_path / "m.pt", layout)
    loaded = icfl.load_external(tmp_path / "m.pt")
    assert loaded.input_scale_ == 1
    assert_same_codes(loaded.transform(rows), model.transform(rows).toarray())
    before = loaded.components_
    loaded.partial_fit(rows)
    assert loaded.n_steps_ == 1
    assert not np.array_equal(loaded.components_, before)
    loaded.save(tmp_path / "m.safetensors")


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


# Given weights


def test_weights_that_are_given_are_checked() -> None:
    weights = to_weights(MODELS["topk"], "raw")
    arrays = MODELS["topk"]._fitted_arrays()
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
