"""One error per array: `WorstCase(granularity="tensor")`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import precjax
from precjax.testing import check_rule

RNG = np.random.default_rng(0)
TENSOR = precjax.WorstCase(granularity="tensor")


def layer(weights, x):
    """Sums, products, a decision, an empty array and an integer."""
    h = jnp.maximum(x @ weights, 0)
    return h, jnp.sum(h), h > 0.5, h[:0], jnp.argmax(h, 1)


def arguments():
    weights, x = RNG.normal(size=(4, 4)), RNG.normal(size=(3, 4))
    return precjax.Tracked(np.float32(weights), np.full((1, 1), 1e-5, np.float32)), np.float32(x)


def test_is_the_largest_error():
    args = arguments()
    one, each = (precjax.track(layer, model=model)(*args) for model in (TENSOR, "worst_case"))
    for a, b, value in zip(one.error, each.error, one.value, strict=True):
        assert a.shape == (1,) * value.ndim and a.dtype == b.dtype
        np.testing.assert_array_equal(a, np.max(b, keepdims=True, initial=0))
    assert one.exact_bits[0].shape == (3, 4) and "?" in repr(one)
    check_rule(layer, *args, model=TENSOR, modes=("jit",), points=1)


def test_nothing_is_lost():
    """An infinite error, or one that is not a number, is the largest."""
    out = precjax.track(lambda x: (jnp.log(x), x - x), model=TENSOR)(precjax.Tracked(np.float32([1, np.inf]), np.float32([2, 0])))
    assert [float(e[0]) for e in out.error] == [np.inf, np.inf]


def step(weights, x):
    """Of gradient descent."""
    return weights - 0.1 * jax.grad(lambda w: jnp.mean(jnp.tanh(x @ w) ** 2))(weights)


def test_training_state():
    """The state keeps its structure through loops and steps, and its error encloses what steps of float64 find."""
    _, x = arguments()
    state = precjax.Tracked(np.float32(RNG.normal(size=(4, 4))), np.zeros((1, 1), np.float32))
    tracked = precjax.track(step, model=TENSOR)
    trained, _ = jax.jit(lambda s: lax.scan(lambda s, _: (tracked(s, x), None), s, None, length=5))(state)
    exact = np.float64(state.value)
    for _ in range(5):
        h = np.tanh(np.float64(x) @ exact)
        exact = exact - np.float64(np.float32(0.1)) * np.float64(x).T @ (2 * h * (1 - h * h)) / h.size
    assert trained.error.shape == (1, 1)
    assert np.abs(np.float64(trained.value) - exact).max() <= trained.error[0, 0] < 1e-4


def test_transformations():
    x = np.float32(RNG.normal(size=(5, 3)))
    assert jax.vmap(precjax.track(jnp.exp, model=TENSOR))(x).error.shape == (5, 1)
    error = lambda model: lambda x: jnp.max(precjax.track(jnp.exp, model=model)(x).error)  # noqa: E731
    np.testing.assert_allclose(*(jax.grad(error(model))(x) for model in (TENSOR, "worst_case")), rtol=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match="granularity='tensor': expected 'element' or 'row'"):
        precjax.Certified(granularity="tensor")
    with pytest.raises(ValueError, match="1 in place of any of its dimensions"):
        precjax.track(jnp.sin)(precjax.Tracked(np.ones((2, 3), np.float32), np.ones((2, 2), np.float32)))


def test_errors_take_no_memory():
    """Of a step from state to state: neither as arguments, nor as results, nor on the way to the largest."""

    def bytes_of(model, shape):
        state = precjax.Tracked(jnp.ones((512, 512)), jnp.ones(shape))
        memory = jax.jit(precjax.track(lambda m, g: 0.9 * m + 0.1 * g, model=model)).lower(state, state).compile().memory_analysis()
        return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes

    plain = 3 * 4 * 512 * 512
    assert bytes_of(TENSOR, (1, 1)) < 1.01 * plain < 1.9 * plain < bytes_of("worst_case", (512, 512))
