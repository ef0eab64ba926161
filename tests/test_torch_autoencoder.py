"""Training of autoencoders on PyTorch, against plain float64 and against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import sae_oracle
from icfl.torch import TorchBackend
from icfl.torch.distributed import Group
from icfl.torch.losses import Products, auxiliary, look
from icfl.torch.matching_pursuit import pursue, unrolled
from icfl.torch.measure import column_moments
from icfl.torch.selection import best_of_batch
from torch_steps import (
    ACTIVATIONS,
    DEAD,
    D,
    M,
    arrays_for,
    moment,
    oracle_steps,
    parameters_of,
    recipe_for,
    rows,
    stepper_for,
)

NONE = np.empty(0, dtype=np.int64)


def double(params):
    return {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}


def looked(activation, params, X, dead=DEAD, **options):
    """The loss of the backend and its gradients, all in float64."""
    recipe, leaves = recipe_for(activation, **options), double(params)
    x = torch.tensor(X.astype(np.float64))
    total = torch.square(x - x.mean(dim=0)).sum()
    found = look(recipe, leaves, x, dead, total, len(x), Group(), Products())
    given = torch.autograd.grad(found.loss, list(leaves.values()), allow_unused=True)
    gradients = {
        name: np.zeros(leaf.shape) if gradient is None else gradient.numpy()
        for (name, leaf), gradient in zip(leaves.items(), given, strict=True)
    }
    return found, gradients


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dead", [NONE, DEAD], ids=["alive", "dead"])
def test_loss_and_gradients_are_those_of_the_recipe(activation, dead):
    params, X = parameters_of(arrays_for(activation)), rows()
    found, gradients = looked(activation, params, X, dead)
    expected = sae_oracle.look(recipe_for(activation), params, X, dead)
    assert float(found.loss.detach()) == pytest.approx(expected.loss, rel=1e-12)
    np.testing.assert_allclose(found.codes, expected.codes, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.residual, expected.residual, rtol=0, atol=1e-12)
    assert float(found.smallest) == pytest.approx(expected.smallest, abs=1e-12)
    assert gradients.keys() == expected.gradients.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected.gradients[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a != "jump_relu"])
def test_gradients_are_those_of_finite_differences(activation):
    """What is selected does not change; the auxiliary loss, with its fixed residual, is below."""
    params, X, h = parameters_of(arrays_for(activation)), rows(), 1e-6
    _, gradients = looked(activation, params, X, NONE)
    rng = np.random.default_rng(0)
    for name, value in params.items():
        direction = rng.standard_normal(value.shape)

        def loss(shift, name=name, value=value, direction=direction):
            moved = params | {name: value + shift * direction}
            return looked(activation, moved, X, NONE)[0].loss.item()

        expected = (gradients[name] * direction).sum()
        # Both are off by some h² and by rounding, 1e-16 / h.
        assert (loss(h) - loss(-h)) / (2 * h) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("activation", ["topk", "abs_topk"])
def test_gradients_of_the_auxiliary_loss_are_those_of_finite_differences(activation):
    params, X, h = parameters_of(arrays_for(activation)), rows(), 1e-6
    recipe = recipe_for(activation)
    left = looked(activation, params, X, NONE)[0].residual

    def loss(params):
        leaves = double(params)
        x = torch.tensor(X.astype(np.float64)) - leaves["bias"]
        before = Products().encode(x, leaves["encoder"], leaves["encoder_bias"])
        atoms = leaves["components"]
        value = auxiliary(recipe, before, atoms, left, DEAD, Group(), Products())
        return value, torch.autograd.grad(value, list(leaves.values()))

    gradients = dict(zip(params, loss(params)[1], strict=True))
    rng = np.random.default_rng(0)
    for name, value in params.items():
        direction = rng.standard_normal(value.shape)
        ends = [loss(params | {name: value + s * direction})[0].item() for s in (h, -h)]
        expected = float((gradients[name].numpy() * direction).sum())
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_gradient_of_the_unrolled_pursuit():
    params, X = parameters_of(arrays_for("matching_pursuit")), rows(n=6)
    atoms = torch.tensor(params["components"], requires_grad=True)
    start = torch.tensor(X.astype(np.float64), requires_grad=True)
    chosen = pursue(start.detach(), atoms.detach(), 4).atoms
    chosen[3, 2] = -1  # nothing was left for this row
    assert torch.autograd.gradcheck(unrolled, (start, atoms, chosen))
    # By the plain operations too.
    r = start
    for atom in chosen:
        d = atoms[atom.clamp_min(0)] * (atom >= 0)[:, None]
        r = r - (d * r).sum(dim=1, keepdim=True) * d
    weights = torch.tensor(np.random.default_rng(2).standard_normal(r.shape))
    expected = torch.autograd.grad((weights * r).sum(), (start, atoms))
    found = torch.autograd.grad((weights * unrolled(start, atoms, chosen)).sum(), (start, atoms))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_thresholds_get_the_straight_through_gradient():
    """By hand: −(θ dz + dH) θ K / ε, by the logarithm of θ."""
    recipe = recipe_for("jump_relu")
    params = parameters_of(arrays_for("jump_relu"))
    X = rows()
    pre = sae_oracle.pre_activations(params, X)
    theta = np.exp(params["log_threshold"])
    near = np.abs(pre - theta) < recipe.bandwidth / 2
    assert 0 < near.sum() < near.size
    found, gradients = looked("jump_relu", params, X, NONE)
    l0 = float((found.codes != 0).sum()) / len(X)
    by_codes = -2 * found.residual.numpy() @ params["components"].T
    total = np.square(X - X.mean(axis=0, dtype=np.float64)).sum()
    by_count = 2 * recipe.sparsity_coefficient * (l0 / recipe.n_nonzero - 1)
    by_count /= recipe.n_nonzero * len(X)
    jump = -(near / recipe.bandwidth) * (theta * by_codes / total + by_count)
    expected = theta * jump.sum(axis=0)
    np.testing.assert_allclose(gradients["log_threshold"], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_steps_agree_with_the_oracle(activation):
    batches = [rows(seed) for seed in (1, 2, 3)]
    stepper = stepper_for(activation)
    outcomes = []
    for step, X in enumerate(batches):
        outcomes.append(stepper.advance(X, moment(step)))
        stepper.commit()
    params, threshold, found = oracle_steps(activation, batches)
    fitted = stepper.fitted()
    if activation == "jump_relu":
        params["threshold"] = np.exp(params.pop("log_threshold"))
    if activation in ("batch_topk", "nested"):
        params["threshold"] = np.array(threshold)
    assert fitted.keys() == params.keys()
    # A step of Adam is of the size of the rate, here 3e-5 in all: what float32 adds to gradients
    # moves it by a share of some 1e-4 where they are small, by 1e-7 of the value in any case.
    for name, expected in params.items():
        assert fitted[name].dtype == np.float32
        np.testing.assert_allclose(fitted[name], expected, rtol=0, atol=1e-6)
    for X, outcome, seen in zip(batches, outcomes, found, strict=True):
        assert outcome.n_rows == len(X)
        assert outcome.n_nonzero == np.count_nonzero(seen.codes)
        assert set(outcome.active) == set(np.flatnonzero(seen.codes.any(axis=0)))
        residual, cosine, mean, centred_ss = outcome.sums
        assert residual == pytest.approx(np.square(seen.residual).sum(), rel=1e-5)
        Xhat = X - seen.residual
        norms = np.linalg.norm(X, axis=1) * np.linalg.norm(Xhat, axis=1)
        assert cosine == pytest.approx(((X * Xhat).sum(axis=1) / norms).sum(), rel=1e-5)
        np.testing.assert_allclose(mean, X.mean(axis=0, dtype=np.float64), atol=1e-12)
        np.testing.assert_allclose(centred_ss, np.square(X - mean).sum(axis=0), rtol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_auxiliary_loss_moves_dead_latents_alone_and_knows_no_bias(activation):
    params, X = parameters_of(arrays_for(activation)), rows()
    _, without = looked(activation, params, X, NONE)
    _, with_dead = looked(activation, params, X, DEAD)
    where = "components" if activation == "matching_pursuit" else "encoder"
    changed = np.flatnonzero(np.abs(with_dead[where] - without[where]).max(axis=1) > 1e-9)
    assert len(changed) > 0
    assert set(changed) <= set(DEAD)
    # ê = z' D: adding the bias to it would put Σ(ê − e) into the gradient of the bias, beyond what
    # comes through x − b in the encoder.
    through = 0.0
    if activation != "matching_pursuit":
        added = with_dead["encoder_bias"] - without["encoder_bias"]
        through = -added @ params["encoder"]
    np.testing.assert_allclose(with_dead["bias"] - without["bias"], through, atol=1e-12)


def test_auxiliary_loss_without_a_positive_latent_moves_nothing():
    arrays = arrays_for("topk")
    arrays["encoder_bias"][DEAD] = -100
    _, without = looked("topk", parameters_of(arrays), rows(), NONE)
    _, found = looked("topk", parameters_of(arrays), rows(), DEAD)
    for name, gradient in found.items():
        np.testing.assert_array_equal(gradient, without[name])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_atoms_keep_unit_norm_and_gradients_are_orthogonal(activation):
    stepper = stepper_for(activation, rate=0.3)
    for step in range(5):
        stepper.advance(rows(step), moment(step))
        stepper.commit()
        norms = np.linalg.norm(stepper.fitted()["components"].astype(np.float64), axis=1)
        np.testing.assert_allclose(norms, 1, rtol=0, atol=4e-7)  # a few roundings of 6e-8


def test_threshold_of_a_batch_is_a_running_mean_then_forgets():
    stepper = stepper_for("batch_topk", rate=1e-12)
    expected = 0.0
    for step in (0, 1, 7, 30, 700, 5000):
        params = parameters_of({**stepper.fitted(), "threshold": np.zeros(())})
        codes = looked("batch_topk", params, rows(step), NONE)[0].codes
        stepper.advance(rows(step), moment(step))
        stepper.commit()
        smallest = float(codes[codes > 0].min())
        expected = sae_oracle.threshold_after(expected, smallest, step + 1)
        assert float(stepper.fitted()["threshold"]) == pytest.approx(expected, rel=1e-6)


def test_ties_of_a_batch_go_to_the_lower_place():
    values = torch.tensor([[1.0, 3.0, 2.0], [2.0, -1.0, 2.0], [0.0, 2.0, 3.0]])
    mask, smallest = best_of_batch(values, 4, Group())
    assert mask.tolist() == [[False, True, True], [True, False, False], [False, False, True]]
    assert smallest == 2


def test_a_constant_column_has_no_variance(monkeypatch):
    """To the bit, also where sums are float32 and its mean is rounded: losses are divided by it."""
    monkeypatch.setattr("icfl.torch.measure.wide", lambda device: torch.float32)
    x = torch.full((1000, 3), 0.1)
    x[:, 1] = torch.arange(1000) / 10
    measured = column_moments(x, Group())
    assert measured.moments.centred_ss[[0, 2]].tolist() == [0, 0]
    assert column_moments(x[:, :1], Group()).total == 1000


def test_threshold_is_zero_where_positive_values_are_too_few():
    arrays = arrays_for("batch_topk")
    arrays["encoder_bias"] -= 100
    stepper = stepper_for("batch_topk", arrays=arrays)
    outcome = stepper.advance(rows(), moment(dead=NONE))
    stepper.commit()
    assert outcome.n_nonzero == 0
    assert stepper.fitted()["threshold"] == 0


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_half_precision_is_near(activation):
    full, half = (
        stepper_for(activation, TorchBackend(precision=precision), rate=1e-2)
        for precision in ("float32", "bfloat16")
    )
    for step in range(10):
        outcomes = [stepper.advance(rows(step), moment(step)) for stepper in (full, half)]
        for stepper in (full, half):
            stepper.commit()
    assert half.fitted()["components"].dtype == np.float32
    # bfloat16 has 8 bits: scores off by some 1/256 change a few choices, not how well they do.
    assert outcomes[1].sums[0] == pytest.approx(outcomes[0].sums[0], rel=0.05)
    if activation != "matching_pursuit":  # which multiplies in float32 but for its dead atoms
        assert not np.array_equal(half.fitted()["encoder"], full.fitted()["encoder"])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_that_is_not_committed_has_changed_nothing(activation):
    stepper = stepper_for(activation)
    stepper.advance(rows(1), moment(0))
    stepper.commit()
    before = {**stepper.fitted(), **stepper.arrays()}
    kept = {name: array.copy() for name, array in before.items()}
    stepper.advance(rows(2), moment(1))
    after = {**stepper.fitted(), **stepper.arrays()}
    assert after.keys() == kept.keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(after[name], array)
    assert all(stepper.fitted()[name] is array for name, array in stepper.fitted().items())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_state_goes_on_from_its_arrays(activation):
    whole = stepper_for(activation)
    for step in range(2):
        whole.advance(rows(step), moment(step))
        whole.commit()
    again = stepper_for(activation, arrays={k: v.copy() for k, v in whole.fitted().items()})
    again.set_arrays(whole.arrays())
    for stepper in (whole, again):
        stepper.advance(rows(7), moment(2))
        stepper.commit()
    for name, array in whole.fitted().items():
        np.testing.assert_array_equal(again.fitted()[name], array)


def coinciding():
    """Atoms 4 and 9 nearly coincide, 2 and 15 do not: the first cosine is 0.99, the other 0.8."""
    arrays = arrays_for("matching_pursuit")
    atoms = np.linalg.qr(np.random.default_rng(5).standard_normal((D, D)))[0]
    atoms = np.concatenate([atoms, -atoms, np.zeros((M - 2 * D, D))])
    atoms[9] = 0.99 * atoms[4] + np.sqrt(1 - 0.99**2) * atoms[5]
    atoms[15] = 0.8 * atoms[2] + 0.6 * atoms[3]
    return arrays | {"components": atoms.astype(np.float32)}


@pytest.mark.parametrize(
    ("step", "planned", "replaced"),
    [
        (99, None, True),
        (98, None, False),
        (199, 300, True),
        (299, 300, False),  # the learning rate falls: all settle
    ],
)
def test_pursuit_replaces_one_of_two_atoms_that_coincide(step, planned, replaced):
    stepper = stepper_for("matching_pursuit", arrays=coinciding(), rate=1e-9)
    before = stepper.fitted()["components"].copy()
    outcome = stepper.advance(rows(), moment(step, NONE, planned))
    np.testing.assert_array_equal(stepper.fitted()["components"], before)  # not committed yet
    stepper.commit()
    atoms = stepper.fitted()["components"]
    moved = np.flatnonzero(np.abs(atoms - before).max(axis=1) > 1e-6)
    assert outcome.n_replaced == len(moved) == int(replaced)
    if replaced:
        assert set(moved) == {9}
        assert np.linalg.norm(atoms[9]) == pytest.approx(1, abs=4e-7)
        assert not stepper.arrays()["components_first"].reshape(M, D)[9].any()
        assert not stepper.arrays()["components_second"].reshape(M, D)[9].any()
        assert stepper.arrays()["components_first"].any()


def test_only_pursuit_replaces_atoms():
    recipes = [recipe_for(activation) for activation in ACTIVATIONS]
    replacing = [recipe.activation for recipe in recipes if recipe.replaces(moment(99))]
    assert replacing == ["matching_pursuit"]


@pytest.mark.parametrize(
    ("n_nonzero", "n_features", "first"),
    [
        (10, 128, 16),  # an eighth of the features
        (10, 1024, 20),  # twice as many as at the end
        (32, 128, 16),
        (5, 16, 5),  # never fewer than other autoencoders begin with
        (40, 64, 10),
    ],
)
def test_rounds_that_pursuit_begins_with(n_nonzero, n_features, first):
    recipe = replace(recipe_for("matching_pursuit", n_nonzero=n_nonzero), n_features=n_features)
    rounds = [recipe.n_nonzero_at(moment(step, planned=1000)) for step in range(1000)]
    assert (rounds[0], rounds[-1]) == (first, n_nonzero)
    assert rounds == sorted(rounds, reverse=first > n_nonzero)
    assert recipe.n_nonzero_at(moment(7)) == n_nonzero  # nothing planned
    stepper = stepper_for("matching_pursuit", n_nonzero=n_nonzero)
    stepper.recipe = recipe
    assert stepper.grows(moment(0, planned=1000)) == (first != n_nonzero)
    assert not stepper.grows(moment(999, planned=1000))


def test_values_that_are_not_finite_end_a_step():
    arrays = arrays_for("topk")
    arrays["encoder"][3, 0] = np.inf
    with pytest.raises(FloatingPointError):
        stepper_for("topk", arrays=arrays).advance(rows(), moment())
    with pytest.raises(FloatingPointError, match="encoder"):
        stepper_for("topk", arrays=arrays).check_finite()


def test_rows_that_are_all_equal_give_a_loss():
    outcome = stepper_for("topk").advance(np.ones((4, 8), np.float32), moment(dead=NONE))
    assert np.isfinite(outcome.sums[0])


def test_loss_is_compiled_where_asked(monkeypatch):
    compiled = []

    def compile_(function):
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    stepper_for("topk")
    assert compiled == []
    stepper_for("topk", TorchBackend(compile=True)).advance(rows(), moment())
    assert compiled == [look]
