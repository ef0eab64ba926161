"""The compiled training of sparse autoencoders, and what a fitted one does.

A step is compared with `sae_oracle`, the same in float64, whose own gradients are held against
finite differences and autograd in `test_torch_autoencoder.py`.
"""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from scipy.sparse import issparse

import icfl
import oracles
import sae_oracle
from icfl import _core
from icfl.autoencoders.compiled import CompiledStepper
from icfl.autoencoders.recipe import Recipe
from icfl.exceptions import DeadFeaturesWarning, InputError
from icfl.learning.stepper import Moment
from training_runs import planted

CLASSES = [icfl.TopKSAE, icfl.AbsTopKSAE, icfl.BatchTopKSAE, icfl.MatryoshkaSAE]
OPTIONS = {"n_components": 20, "n_nonzero": 3, "batch_size": 50, "max_iter": 4, "random_state": 3}
NAMES = ("encoder", "components", "encoder_bias", "bias")
RATE = 1e-3
# Values and gradients here are of order one or less: float32 rounds sums of n terms to a few times
# γ(n) = 4 √n u of their size, u = 2⁻²⁴; gradients are divided by the largest of them. Most sums
# here have a few hundred terms.
TOLERANCE = oracles.gamma(300)


@pytest.fixture(scope="module", name="X")
def rows():
    return planted()


def recipe(activation="topk", widths=(60,), k=5, k_aux=3, aux=0.5):
    return Recipe(activation, k, widths, RATE, aux, k_aux)


class Steps:
    """A compiled stepper and its float64 twin, taking the same steps."""

    def __init__(self, recipe, n=37, d=40, seed=0):
        rng = np.random.default_rng(seed)
        m = recipe.widths[-1]
        D = oracles.unit_rows(rng.standard_normal((m, d)))
        fitted = {
            "components": D,
            "bias": 0.3 * rng.standard_normal(d),
            "encoder": D + 0.1 * rng.standard_normal((m, d)),
            "encoder_bias": 0.05 * rng.standard_normal(m),
        }
        self.fitted = {name: array.astype(np.float32) for name, array in fitted.items()}
        self.recipe, self.rng, self.n, self.d = recipe, rng, n, d
        self.stepper = CompiledStepper(recipe, self.fitted, None, None)
        self.params = {name: array.astype(np.float64) for name, array in self.fitted.items()}
        self.moments = sae_oracle.beginning(self.params)
        self.taken = 0

    def batch(self):
        return self.rng.standard_normal((self.n, self.d)).astype(np.float32)

    def step(self, X, dead=(), number=10**6):
        """Take step `number` of a run on both sides; return the outcome and what float64 found."""
        silent = np.zeros(self.recipe.widths[-1], np.int64)
        silent[list(dead)] = 10**6
        moment = Moment(number, None, self.rng, silent, 10**6)
        outcome = self.stepper.advance(X, moment)
        self.stepper.commit()
        self.taken += 1
        found = sae_oracle.look(self.recipe, self.params, X, dead)
        self.params, self.moments = sae_oracle.move(
            self.params, found.gradients, self.moments, self.taken, self.recipe.rate(moment)
        )
        return outcome, found

    def moment(self, name, which="first"):
        return self.stepper.arrays()[f"{name}_{which}"].reshape(self.fitted[name].shape)


RECIPES = {
    "topk": (recipe(), ()),
    "topk with dead latents": (recipe(), (3, 10, 11, 30, 59)),
    "abs_topk": (recipe("abs_topk"), (0, 7)),
    "abs_topk, many dead": (recipe("abs_topk", k=12, k_aux=20), tuple(range(0, 60, 4))),
    "batch_topk": (recipe("batch_topk"), ()),
    "nested": (recipe("batch_topk", widths=(7, 20, 60)), ()),
    "nested with dead latents": (recipe("topk", widths=(1, 30, 60)), tuple(range(20, 45))),
    "few features": (Recipe("topk", 2, (9,), RATE, 0.5, 1), (4,)),
    "many rows": (recipe(widths=(400,), k_aux=20), tuple(range(0, 400, 2))),
}
SHAPES = {"few features": {"d": 7}, "many rows": {"n": 1500}}


@pytest.mark.parametrize("name", RECIPES)
def test_gradients_are_those_of_the_loss(name):
    options, dead = RECIPES[name]
    steps = Steps(options, **SHAPES.get(name, {}))
    _, found = steps.step(steps.batch(), dead)
    limited = sae_oracle.limited(
        {k: v.astype(float) for k, v in steps.fitted.items()}, found.gradients
    )
    for part in NAMES:
        # After one step from zero Adam's first moment is a tenth of the gradient.
        gradient = 10 * steps.moment(part)
        scale = abs(limited[part]).max()
        tolerance = max(TOLERANCE, oracles.gamma(2 * steps.n))
        np.testing.assert_allclose(gradient, limited[part], rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", RECIPES)
def test_steps_follow_float64(name):
    options, dead = RECIPES[name]
    steps = Steps(options, **SHAPES.get(name, {}))
    for _ in range(5):
        X = steps.batch()
        outcome, found = steps.step(X, dead)
        residual, _, mean, centred = outcome.sums
        assert residual == pytest.approx(np.square(found.residual).sum(), rel=1e-4)
        assert outcome.n_nonzero == np.count_nonzero(found.codes)
        assert sorted(set(outcome.active)) == sorted(set(np.nonzero(found.codes)[1]))
        np.testing.assert_allclose(mean, X.mean(axis=0, dtype=float), atol=1e-12)
        np.testing.assert_allclose(centred, X.var(axis=0, dtype=float) * len(X), rtol=1e-10)
        # Adam divides a gradient by its own size, rounding included: where one is near zero, a step
        # may go the other way, and the parameters are apart by up to two steps.
        for part in NAMES:
            ours, theirs = steps.stepper.fitted()[part], steps.params[part]
            assert np.mean(abs(ours - theirs) > 1e-3 * RATE) < 0.02
            assert abs(ours - theirs).max() < 2.5 * RATE * steps.taken
        norms = np.linalg.norm(steps.stepper.fitted()["components"], axis=1)
        np.testing.assert_allclose(norms, 1, atol=4 * oracles.U)


def test_the_running_threshold_is_a_mean_of_smallest_codes_then_forgets():
    steps = Steps(recipe("batch_topk"))
    steps.stepper._names += ("threshold",)
    expected = 0.0
    for number in (0, 1, 7, 30, 700, 5000):
        _, found = steps.step(steps.batch(), number=number)
        expected = sae_oracle.threshold_after(expected, found.smallest, number + 1)
        assert steps.stepper.fitted()["threshold"] == pytest.approx(expected, rel=1e-4)


def test_the_auxiliary_loss_moves_dead_latents_and_never_adds_the_bias():
    dead = [4, 17, 33]
    found = {}
    for bias in (0.0, 100.0):
        for coefficient in (0.0, 0.5):
            steps = Steps(recipe(aux=coefficient))
            for fitted in (steps.fitted, steps.params):
                fitted["bias"] = np.full(40, bias, fitted["bias"].dtype)
                fitted["encoder_bias"] = fitted["encoder_bias"] * 0
                # Dead latents are never among the five best, but positive on some rows.
                fitted["encoder"][dead] *= 0.02
            steps.stepper = CompiledStepper(steps.recipe, steps.fitted, None, None)
            X = steps.batch() + np.float32(bias)
            steps.step(X, dead)
            found[bias, coefficient] = {name: steps.moment(name)[dead] for name in NAMES[:3]}
    for name in NAMES[:3]:
        assert np.all(found[0.0, 0.0][name] == 0)
        assert np.all(abs(found[0.0, 0.5][name]).reshape(3, -1).max(axis=1) > 0)
        # If the bias were in ê, a hundred times larger one would show; rows of a size of 100 are
        # rounded to 100 u.
        scale = abs(found[0.0, 0.5][name]).max()
        np.testing.assert_allclose(
            found[100.0, 0.5][name], found[0.0, 0.5][name], rtol=0, atol=100 * TOLERANCE * scale
        )


def test_a_chosen_zero_has_not_fired():
    D = np.eye(4, dtype=np.float32)
    core = _core.Autoencoder(4, 4, "topk", [4], 0.5, 1.0)
    zeros = np.zeros(4, np.float32)
    core.set_parameters({"encoder": D, "components": D, "encoder_bias": zeros, "bias": zeros})
    codes, _ = core.advance(
        np.eye(2, 4, dtype=np.float32), 3, RATE, np.zeros(0, np.int64), 2, 1.0, None
    )
    assert codes[1].tolist() == [0, 1]


def test_one_row_alone_is_a_mini_batch():
    steps = Steps(recipe(), n=1)
    steps.step(steps.batch(), (1, 2))
    assert np.isfinite(steps.stepper.fitted()["components"]).all()


@pytest.mark.parametrize("cls", CLASSES)
def test_same_bits_for_any_n_jobs(cls, X):
    expected = bits(cls(**OPTIONS).fit(X))
    for n_jobs in (1, 2, 5):
        assert bits(cls(**OPTIONS, n_jobs=n_jobs).fit(X)) == expected


def bits(model):
    """Everything about a fitted autoencoder that has to be reproducible."""
    arrays = {**model._fitted_arrays(), **model._stepper.arrays()}
    history = [{k: v for k, v in entry.items() if k != "seconds"} for entry in model.history_]
    return {name: np.asarray(array).tobytes() for name, array in arrays.items()}, history


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("step", [1, 10, 31])
def test_resumed_fit_has_the_bits_of_an_uninterrupted_one(cls, step, X, tmp_path):
    def interrupt(progress):
        if progress.step == step:
            raise KeyboardInterrupt

    expected = cls(**OPTIONS).fit(X)
    options = OPTIONS | {"checkpoint": tmp_path / "checkpoint"}
    with pytest.raises(KeyboardInterrupt):
        cls(**options).fit(X, callback=interrupt)
    assert bits(cls(**options).fit(X, resume=True)) == bits(expected)


def test_a_fit_does_not_end_early_while_non_zeros_grow(X):
    options = OPTIONS | {"n_nonzero": 12, "max_iter": 20, "tol": 10.0}
    grown = icfl.TopKSAE(**options).fit(X)
    few = icfl.TopKSAE(**options | {"n_nonzero": 3}).fit(X)
    assert few.n_iter_ < 10  # as soon as five looks saw no improvement by 10
    assert grown.n_iter_ > 18


@pytest.mark.parametrize("cls", CLASSES)
def test_partial_fit_goes_on_after_copies_and_files(cls, X, tmp_path):
    model = cls(**OPTIONS).fit(X)
    copy = pickle.loads(pickle.dumps(model))
    model.save(tmp_path / "model")
    loaded = icfl.load(tmp_path / "model")
    assert bits(copy.partial_fit(X)) == bits(model.partial_fit(X))
    before = loaded.components_.copy()
    loaded.partial_fit(X)
    assert loaded.n_steps_ == model.n_steps_
    assert not np.array_equal(loaded.components_, before)


@pytest.mark.parametrize("cls", CLASSES)
def test_codes_are_the_definition(cls, X):
    model = cls(**OPTIONS).fit(X)
    params = {name: array.astype(np.float64) for name, array in model._fitted_arrays().items()}
    rows = oracles.unit_rows(X.astype(np.float64))
    pre = sae_oracle.pre_activations(params, rows)
    Z = model.transform(X)
    assert issparse(Z)
    if cls in (icfl.TopKSAE, icfl.AbsTopKSAE):
        activation = "topk" if cls is icfl.TopKSAE else "abs_topk"
        mask = sae_oracle.selected(pre, activation, 3)
    else:
        mask = pre > float(model.threshold_)
    found = Z.toarray()
    # Scores are off by a few u of the norms, about one each; ties that close may go either way.
    assert np.mean((found != 0) != mask) < 1e-3
    both = (found != 0) & mask
    np.testing.assert_allclose(found[both], pre[both], rtol=0, atol=1e-6)
    Xhat = model.inverse_transform(Z)
    np.testing.assert_allclose(Xhat, found @ params["components"] + params["bias"], atol=1e-6)


@pytest.mark.parametrize("cls", [icfl.BatchTopKSAE, icfl.MatryoshkaSAE])
def test_a_row_alone_has_the_code_it_has_in_company(cls, X):
    model = cls(**OPTIONS).fit(X)
    together = model.transform(X[:40])
    alone = [model.transform(row[None]) for row in X[:40]]
    for i, one in enumerate(alone):
        np.testing.assert_array_equal(one.toarray()[0], together[[i]].toarray()[0])
    # On average as many non-zeros as asked for, as far as the last hundred mini-batches tell.
    assert model.transform(X).nnz / len(X) == pytest.approx(3, rel=0.25)


def test_inputs_that_are_not_scaled_to_unit_norm_have_a_stored_scale(X):
    model = icfl.TopKSAE(**OPTIONS, unit_norm_inputs=False).fit(7 * X)
    assert model.input_scale_ == pytest.approx(1 / np.linalg.norm(7 * X, axis=1).mean(), rel=1e-6)
    twin = icfl.TopKSAE(**OPTIONS, unit_norm_inputs=False).fit(X)
    np.testing.assert_allclose(model.components_, twin.components_, atol=1e-3)
    np.testing.assert_allclose(model.reconstruct(7 * X), 7 * twin.reconstruct(X), atol=2e-2)
    assert model.score(7 * X) == pytest.approx(twin.score(X), abs=1e-3)
    residual = 7 * X - model.reconstruct(7 * X)
    score = 1 - np.square(residual).sum() / np.square(7 * (X - X.mean(axis=0))).sum()
    assert model.score(7 * X) == pytest.approx(score, abs=1e-5)


def test_nested_dictionaries_learn_with_fewer_atoms(X):
    model = icfl.MatryoshkaSAE(**OPTIONS, widths=(5,)).fit(X)
    assert model._widths(20) == (5, 20)
    assert icfl.MatryoshkaSAE()._widths(512) == (32, 64, 128, 256, 512)
    assert icfl.MatryoshkaSAE()._widths(3) == (1, 3)


def test_a_mean_far_from_the_first_bias_is_warned_of_and_foretells_dead_latents():
    X = planted(n=2000, d=20, M=40)
    offset = 12 * X.std(axis=0).max() * np.sqrt(20) * oracles.unit_rows(np.ones((1, 20)))
    X = X - X.mean(axis=0) + offset.astype(np.float32)
    assert icfl.metrics.anisotropy(X) > 8
    options = {"n_components": 40, "n_nonzero": 4, "max_iter": 10, "random_state": 0}
    with pytest.warns(DeadFeaturesWarning, match="ControlWhitener"):
        warned = icfl.TopKSAE(**options, init="linear").fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine = icfl.TopKSAE(**options).fit(X)
        icfl.TopKSAE(**options, init="linear").fit(X - X.mean(axis=0))
    dead, dead_from_the_mean = (model.history_[-1]["dead"] for model in (warned, fine))
    assert dead > 0.3
    assert dead_from_the_mean < dead / 10


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n_nonzero": 0}, "n_nonzero"),
        ({"aux_coefficient": -1}, "aux_coefficient"),
        ({"aux_coefficient": float("nan")}, "aux_coefficient"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"backend": "cuda"}, "backend"),
        ({"unit_norm_inputs": 1}, "unit_norm_inputs"),
    ],
)
def test_parameters_out_of_range_are_named(options, name, X):
    with pytest.raises((InputError, TypeError), match=name):
        icfl.TopKSAE(**OPTIONS | options).fit(X)


@pytest.mark.parametrize("widths", [(), (5, 5), (7, 3), (30,), (0, 5)])
def test_widths_must_increase_to_the_whole(widths, X):
    with pytest.raises(InputError, match="widths"):
        icfl.MatryoshkaSAE(**OPTIONS, widths=widths).fit(X)


def test_a_rate_that_is_too_large_is_said(X):
    with pytest.raises(InputError, match="learning_rate"):
        icfl.TopKSAE(**OPTIONS, learning_rate=1e38).fit(X)
