"""Certified: state that is carried from step to step keeps its reference."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from test_certified import X

from precjax import Tracked, track
from precjax.testing import assert_encloses, exact


def training(optimizer):
    random = np.random.default_rng(0)

    def loss(p, x):
        return jnp.mean((jnp.tanh(x @ p["w"]) @ p["v"] - 1) ** 2)

    def step(state, x):
        parameters, rest = state
        updates, rest = optimizer.update(jax.grad(loss)(parameters, x), rest, parameters)
        return optax.apply_updates(parameters, updates), rest

    parameters = {"w": random.normal(size=(4, 6)).astype(np.float32), "v": random.normal(size=6).astype(np.float32)}
    return step, (parameters, optimizer.init(parameters)), random.normal(size=(8, 4)).astype(np.float32)


# Constants that float32 holds, so that the same code is the reference in float64.
OPTIMIZERS = {
    "sgd": lambda: optax.sgd(2.0**-6, momentum=0.875),
    "adam": lambda: optax.adam(2.0**-6, b1=0.875, b2=0.96875, eps=2.0**-20),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bounds_stay_tight_over_training(name):
    step, state, x = training(OPTIMIZERS[name]())
    start = state
    tracked = jax.jit(track(step, model="certified"))
    for _ in range(20):
        state = tracked(state, x)
    with jax.enable_x64(True):
        (truth, wide_x), compiled = jax.tree.map(widened, (start, x)), jax.jit(step)
        for _ in range(20):
            truth = compiled(truth, wide_x)
    for v, e, t in zip(*map(jax.tree.leaves, (state.value[0], state.error[0], truth[0])), strict=True):
        deviation = np.abs(np.asarray(v, np.float64) - np.asarray(t))
        assert np.all(deviation <= e) and np.median(e / deviation) < 1.05


def widened(x):
    return jnp.asarray(x, np.float64) if x.dtype == np.float32 else x


def test_the_returned_value_is_the_compared_one():
    """XLA would compute the moments of Adam twice, in two fusions, and round them differently."""
    step, state, x = training(OPTIMIZERS["adam"]())
    tracked = jax.jit(track(step, model="certified"))
    for _ in range(2):
        state = tracked(state, x)
    again = jax.tree.map(lambda v, o: np.asarray(v, np.float64) - np.asarray(o), state.value, state.offset)
    truth = exact(lambda s: step(step(s, x), x), training(OPTIMIZERS["adam"]())[1])
    assert_encloses((again, state.radius), truth)


def test_state_is_a_tree():
    step = track(lambda x: (x * 1.1, jnp.round(x).astype(jnp.int32)), model="certified")
    state = step(X)
    copies = [pickle.loads(pickle.dumps(state)), copy.deepcopy(state), jax.tree.map(lambda a: a, state), jax.jit(lambda a: a)(state)]
    for other in copies:
        value, error = other
        assert type(other) is type(state) and len(other) == 2
        np.testing.assert_array_equal(error[0], state.error[0])
        np.testing.assert_array_equal(other.offset[0], state.offset[0])
    assert type(state._replace(error=state.error)) is Tracked
    assert all(x.dtype != np.float64 for x in jax.tree.leaves(state))
    assert "?" in repr(state) and state.exact_bits[0].shape == (3,)


def test_state_in_a_scan():
    step = track(lambda x: jnp.sin(x * 1.1), model="certified")
    state = step(X)
    looped, _ = lax.scan(lambda s, _: (step(s), None), state, None, length=5)
    for _ in range(5):
        state = step(state)
    np.testing.assert_allclose(looped.error, state.error, rtol=1e-3)


def test_integers_and_bools_in_state():
    def step(s):
        i, b, x = s
        return jnp.where(x * 3 > 1, i + 2, i), x * 3 < 1, x

    state = Tracked((np.int32([5, 7]), np.array([True, False]), np.float32([0.4, 1 / 3])), (np.float32([0, 1]), np.zeros(2), np.float32([0, 1e-6])))
    for _ in range(3):
        state = track(step, model="certified")(state)
    np.testing.assert_array_equal(state.error[0][0], 0)
    assert state.error[0][1] >= 2 and state.error[1][0] == 0 and state.error[1][1] >= 1
