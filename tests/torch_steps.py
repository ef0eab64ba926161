"""What the tests of the PyTorch backend share: autoencoders small enough to be computed twice."""

from __future__ import annotations

import numpy as np
import torch

import oracles
import sae_oracle
from icfl.autoencoders.jump_relu import Gated, JumpReLURecipe
from icfl.autoencoders.recipe import PursuitRecipe, Recipe
from icfl.coding.coders import Above, BlockPursuit, TopK
from icfl.learning.stepper import Moment
from icfl.torch import TorchBackend
from icfl.torch.autoencoder import TorchAutoencoderStepper

ACTIVATIONS = ("topk", "abs_topk", "batch_topk", "nested", "jump_relu", "matching_pursuit")
"""Every activation; "nested" is "batch_topk" with nested widths."""

N, D, M, K = 40, 8, 24, 3
DEAD = np.array([2, 5, 11, 17])

torch.set_num_threads(1)


def recipe_for(activation, *, aux_coefficient=0.5, n_nonzero=K, rate=1e-3):
    """A recipe whose auxiliary loss is large enough to matter."""
    widths = (5, 11, M) if activation == "nested" else (M,)
    name = "batch_topk" if activation == "nested" else activation
    plain = (name, n_nonzero, widths, rate, aux_coefficient, 2)
    if activation == "jump_relu":
        return JumpReLURecipe(*plain, bandwidth=0.2, sparsity_coefficient=0.7)
    if activation == "matching_pursuit":
        return PursuitRecipe(*plain, n_features=D)
    return Recipe(*plain)


def arrays_for(activation, seed=0):
    """Fitted arrays somewhere on the way: the encoder is not the decoder any more."""
    rng = np.random.default_rng(seed)
    atoms = oracles.unit_rows(rng.standard_normal((M, D)))
    arrays = {"components": atoms, "bias": 0.1 * rng.standard_normal(D)}
    if activation != "matching_pursuit":
        arrays["encoder"] = atoms + 0.1 * rng.standard_normal((M, D))
        arrays["encoder_bias"] = 0.1 * rng.standard_normal(M)
    if activation in ("batch_topk", "nested"):
        arrays["threshold"] = np.zeros(())
    if activation == "jump_relu":
        arrays["threshold"] = rng.uniform(0.2, 0.8, M)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def rows(seed=1, n=N):
    return np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)


def parameters_of(arrays):
    """The parameters of the oracle, float64, of fitted arrays."""
    found = {name: array.astype(np.float64) for name, array in arrays.items()}
    threshold = found.pop("threshold", np.zeros(()))
    return found | ({"log_threshold": np.log(threshold)} if threshold.ndim else {})


def moment(step=0, dead=DEAD, planned=None):
    """A step at which `dead` have been silent for too long."""
    silent = np.zeros(M, dtype=np.int64)
    silent[dead] = 100
    return Moment(step, planned, np.random.default_rng(step), silent, 100)


def coder_of(activation, n_nonzero=K):
    return {
        "topk": lambda fitted: TopK(n_nonzero),
        "abs_topk": lambda fitted: TopK(n_nonzero, "absolute"),
        "batch_topk": lambda fitted: Above(float(fitted["threshold"])),
        "nested": lambda fitted: Above(float(fitted["threshold"])),
        "jump_relu": lambda fitted: Gated(fitted["threshold"]),
        "matching_pursuit": lambda fitted: BlockPursuit(n_nonzero, 1, 0.0, "positive"),
    }[activation]


def stepper_for(activation, backend=None, *, arrays=None, **options):
    return TorchAutoencoderStepper(
        recipe_for(activation, **options),
        arrays_for(activation) if arrays is None else arrays,
        coder_of(activation),
        TorchBackend() if backend is None else backend,
    )


def oracle_steps(activation, batches, dead=DEAD, **options):
    """Parameters and running threshold after steps by the oracle, and what each step found."""
    recipe, params = recipe_for(activation, **options), parameters_of(arrays_for(activation))
    moments, threshold, found = sae_oracle.beginning(params), 0.0, []
    for step, X in enumerate(batches):
        found.append(sae_oracle.look(recipe, params, X, dead))
        rate = recipe.rate(moment(step))
        params, moments = sae_oracle.move(params, found[-1].gradients, moments, step + 1, rate)
        threshold = sae_oracle.threshold_after(threshold, found[-1].smallest, step + 1)
    return params, threshold, found
