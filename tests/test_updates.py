"""The face all dictionary updates share: functional states, bits, schedules, arguments."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
import pytest

import icfl
from icfl.exceptions import InputError
from icfl.updates import Adam, Online
from oracles import U
from update_steps import advance, batch, begin, bits, combinations, unit_atoms

NAMES = ("adam", "online")
RATE = 1e-2


def journey(name, steps, n_jobs=None, interrupt=None):
    """States of a run with replacements, each with its bits when it was new.

    Before step `interrupt` the state is rebuilt from its arrays.
    """
    rng = np.random.default_rng(11)
    D = combinations(30, 8, 6, 0.05, rng)
    update = Online(memory=5, replace_every=4) if name == "online" else Adam(RATE)
    first = 0 if name == "online" else 90  # Adam replaces after its hundredth step
    options = {"atom_norm": "free", "coherence_limit": 0.9}
    state = begin(update, D, **options)
    states = [(state, bits(state))]
    for step in range(first, first + steps):
        if step - first == interrupt:
            arrays = {key: np.array(value) for key, value in state.arrays().items()}
            state = begin(update, state.components, state.bias, **options)
            state.set_arrays(arrays)
        state = advance(state, *batch(40, 8, 30, rng), step, n_jobs)
        states.append((state, bits(state)))
    assert sum(state.n_replaced for state, _ in states) > 0
    return states


@pytest.mark.parametrize("name", NAMES)
def test_steps_leave_the_state_before_as_it_was(name):
    states = journey(name, 14)
    assert all(bits(state) == when_new for state, when_new in states)
    assert len({tuple(when_new.values()) for _, when_new in states}) == 15


@pytest.mark.parametrize("name", NAMES)
def test_same_bits_for_any_number_of_jobs(name):
    one, two, five = (journey(name, 14, n_jobs)[-1][1] for n_jobs in (1, 2, 5))
    assert one == two == five


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("interrupt", [1, 7, 12])
def test_arrays_are_all_that_a_run_goes_on_from(name, interrupt):
    assert journey(name, 14, interrupt=interrupt)[-1][1] == journey(name, 14)[-1][1]


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_another_shape_are_refused(name):
    rng = np.random.default_rng(12)
    state, other = (begin(name, unit_atoms(M, 4, rng)) for M in (5, 6))
    with pytest.raises(ValueError, match=r"must have \d+ values, got \d+"):
        state.set_arrays(other.arrays())
    with pytest.raises(KeyError):
        state.set_arrays({})


def test_online_learns_with_iterations_that_grow_to_what_the_width_allows():
    state = begin("online", np.eye(256, 128, dtype=np.float32))
    full = [state.rounds(n, L, 1.0) for n, L in [(10, 1), (20, 1), (20, 5), (2, 5), (20, 50)]]
    assert full == [10, 16, 3, 2, 1]  # at most n_features / 8 = 16 non-zeros, but always one round
    growth = [state.rounds(16, 1, progress) for progress in np.linspace(0, 1, 101)]
    assert growth[0] == 1
    assert growth[30] == 8  # half of all after half of 60 %
    assert growth[59] < growth[60] or growth[59] == 16
    assert all(rounds == 16 for rounds in growth[60:])
    assert all(0 <= step <= 1 for step in np.diff(growth))
    assert begin("online", np.eye(4, dtype=np.float32)).rounds(20, 5, 1.0) == 1


def test_adam_learns_with_all_iterations():
    state = begin("adam", np.eye(4, dtype=np.float32))
    assert {state.rounds(20, 5, progress) for progress in (None, 0.0, 0.3, 1.0)} == {20}


def test_names_stand_for_values_with_their_defaults():
    rng = np.random.default_rng(13)
    D, (X, Z) = unit_atoms(9, 5, rng), batch(30, 5, 9, rng)
    same = [
        (("adam", {}), (Adam(), {})),
        (("adam", {"learning_rate": RATE}), (Adam(RATE), {})),
        (("online", {}), (Online(), {})),
    ]
    for (name, options), (value, none) in same:
        assert bits(advance(begin(name, D, **options), X, Z)) == bits(
            advance(begin(value, D, **none), X, Z)
        )
    assert bits(advance(begin(Adam(1e-3), D), X, Z)) != bits(advance(begin(Adam(RATE), D), X, Z))


@pytest.mark.parametrize(
    ("update", "learning_rate", "message"),
    [
        ("sgd", None, r"update must be one of 'adam', 'online'.*'sgd'"),
        ("online", 0.1, r"learning_rate must be None for update='online'.*0\.1"),
        (Adam(), 0.1, r"learning_rate must be None when update is a value.*0\.1"),
    ],
)
def test_bad_arguments_are_refused(update, learning_rate, message):
    with pytest.raises(InputError, match=message):
        begin(update, np.eye(3, dtype=np.float32), learning_rate=learning_rate)
    X = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.raises(InputError, match=message):
        icfl.ICFL(4, update=update, learning_rate=learning_rate).fit(X)


@dataclass(frozen=True)
class Drift:
    """An update of a user's own: every step adds a vector to the bias and leaves the atoms."""

    by: float

    def start(self, components, bias, *, unit_norm, coherence_limit):
        return DriftState(self, components, bias)


class DriftState:
    n_replaced = 0

    def __init__(self, options, components, bias):
        self.options, self.components, self.bias = options, components, bias
        self.counts = []

    def rounds(self, n_iterations, atoms_per_iteration, progress):
        return n_iterations

    def step(self, X, codes, *, step, rng, n_jobs, progress=None):
        after = copy(self)
        after.bias = self.bias + np.float32(self.options.by)
        after.counts = [*self.counts, (len(X), len(codes[0]) - 1, step, progress)]
        return after

    def arrays(self):
        return {"counts": np.array(len(self.counts))}

    def set_arrays(self, arrays):
        self.counts = [None] * int(arrays["counts"])


def test_a_learner_takes_any_update():
    X = np.random.default_rng(14).standard_normal((40, 5)).astype(np.float32)
    D = unit_atoms(7, 5, np.random.default_rng(15))
    model = icfl.ICFL(
        7, n_iterations=2, atoms_per_iteration=1, update=Drift(0.25), init=D, batch_size=10,
        max_iter=2, unit_norm_inputs=False,
    ).fit(X)  # fmt: skip
    np.testing.assert_allclose(model.components_, D, rtol=0, atol=2 * U)
    np.testing.assert_allclose(model.bias_, X.mean(axis=0) + 8 * 0.25, rtol=0, atol=1e-5)
    assert model._stepper.update.counts == [(10, 10, step, step / 8) for step in range(8)]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: icfl.updates.Online(memory=0), "memory"),
        (lambda: icfl.updates.Online(replace_every=0), "replace_every"),
        (lambda: icfl.updates.Adam(learning_rate=-1.0), "learning_rate"),
        (lambda: icfl.updates.Adam(learning_rate=float("nan")), "learning_rate"),
    ],
)
def test_options_out_of_range_are_named(make, name):
    with pytest.raises(icfl.exceptions.InputError, match=name):
        make()
