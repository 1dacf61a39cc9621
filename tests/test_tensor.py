"""One error per array: `WorstCase(granularity="tensor")`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import precjax
from precjax import _interpreter
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

    def bytes_with(model, shape):
        state = precjax.Tracked(jnp.ones((512, 512)), jnp.ones(shape))
        return bytes_of(precjax.track(lambda m, g: 0.9 * m + 0.1 * g, model=model), state, state)

    plain = 3 * 4 * 512 * 512
    assert bytes_with(TENSOR, (1, 1)) < 1.01 * plain < 1.9 * plain < bytes_with("worst_case", (512, 512))


def deep(weights, x):
    """A loop over layers, one of them rematerialised and one with a loop, a branch and a while loop inside."""

    @jax.checkpoint
    def block(h, w):
        h, sums = lax.scan(lambda h, row: (h + 0.1 * jnp.tanh(row), jnp.sum(h * row)), h, w)
        h = lax.cond(h[0] > 0, lambda h: h * w[0], lambda h: h - w[0], h)
        _, h = lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, jax.jit(jnp.sin)(s[1] + w[1])), (0, h))
        return h, (h, sums)

    h, (states, sums) = lax.scan(block, x[0], weights)
    return jnp.sum(h), states, sums


def states_and_gradient(weights, x):
    """The loops that make the gradient read what the loops of the value have stacked."""
    grad = jax.grad(lambda w: sum(jnp.sum(y) for y in jax.tree.leaves(scan_only(w, x))))(weights)
    return deep(weights, x), grad


def scan_only(weights, x):
    """A loop that may be differentiated in reverse."""
    body = lambda h, w: ((h := jnp.tanh(jax.nn.gelu(w @ h) + h)), h * w[0])  # noqa: E731
    return lax.scan(body, x[0], weights)


def test_loops_store_one_error_for_each_turn():
    """And what they store encloses every number's error, from arguments with one error or many, under grad and vmap."""
    weights, x = np.float32(RNG.normal(size=(5, 4, 4)) / 2), np.float32(RNG.normal(size=(3, 4)))
    for error in (np.full((1, 1, 1), 1e-5), np.full((5, 1, 1), 1e-5)):
        args = precjax.Tracked(weights, np.float32(error)), x
        check_rule(states_and_gradient, *args, model=TENSOR, modes=("jit",), points=1)
        one, each = (precjax.track(states_and_gradient, model=model)(*args) for model in (TENSOR, "worst_case"))
        for a, b in zip(jax.tree.leaves(one.error), jax.tree.leaves(each.error), strict=True):
            assert a.shape == (1,) * b.ndim and a.max() >= b.max()
    batch = jax.vmap(lambda w: precjax.track(scan_only, model=TENSOR)(precjax.Tracked(w, jnp.full((1, 1, 1), 1e-5)), x))
    assert np.isfinite(batch(np.stack([weights, weights])).error[1]).all()


def test_residuals_take_no_memory():
    """What the backward loop reads of the forward loop has one error for each turn."""
    weights, x = jnp.ones((24, 256, 256)) / 256, jnp.ones((256, 512))

    def loss(weights, x):
        h, _ = lax.scan(lambda h, w: (jnp.tanh(w @ h), None), x, weights)
        return jnp.sum(h)

    gradient = jax.grad(loss)
    plain, one, each = (bytes_of(f, weights, x) for f in (gradient, precjax.track(gradient, model=TENSOR), precjax.track(gradient)))
    assert one < 1.15 * plain < 1.5 * plain < each


@pytest.fixture
def all_is_worth_it(monkeypatch):
    monkeypatch.setattr(_interpreter, "_WORTH_SPARING", 0)


@pytest.mark.parametrize("block", [lambda h, w: jnp.tanh(w @ h), jax.jit(lambda h, w: jnp.tanh(w @ h))], ids=["written out", "jitted"])
def test_what_a_gradient_waits_for_takes_no_memory(block, all_is_worth_it):
    """Without a loop: what the backward pass reads of the forward pass has one error."""
    def loss(weights, x):
        for w in weights:
            x = block(x, w) + x
        return jnp.mean(jnp.where(x > 0.1, x, 2 * x) ** 2)

    small = np.float32(RNG.normal(size=(3, 4, 4)) / 4), np.float32(RNG.normal(size=(4, 5)))
    check_rule(jax.value_and_grad(loss), *small, model=TENSOR, modes=("jit",), points=2)

    def errors():
        return [precjax.track(jax.value_and_grad(loss), model=model)(*small).error for model in (TENSOR, "worst_case")]

    one, each = errors()
    assert each[1].max() <= one[1].max() <= 1.5 * each[1].max()
    with jax.disable_jit():  # XLA rounds what it fuses now and then, in one program of the two
        one, each = errors()
    assert one[0] == each[0]

    weights, x = jnp.ones((12, 64, 64)) / 64, jnp.ones((64, 4096))
    one, each = (bytes_of(precjax.track(jax.grad(loss), model=model), weights, x) for model in (TENSOR, "worst_case"))
    assert each - one > 10 * x.nbytes


def bytes_of(f, *args):
    memory = jax.jit(f).lower(*args).compile().memory_analysis()
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes


def products(weights, i, x):
    """Layers that are written out, a weight read from both sides, and a switch that chooses among weights."""
    for w in weights:
        x = jnp.tanh(x @ w) @ w.T
    return lax.switch(i, [lambda: weights[0], lambda: weights[1]]) @ x.T


def test_products_read_one_error():
    """The norm of equal errors takes no array; nor does the choice among arrays that have one error each."""
    normwise = precjax.WorstCase(granularity="tensor", contraction="normwise")
    weights, x = [np.float32(RNG.normal(size=(4, 4))) for _ in range(2)], np.float32(RNG.normal(size=(3, 4)))
    one = [precjax.Tracked(w, np.full((1, 1), 1e-5, np.float32)) for w in weights]
    check_rule(products, one, np.int32(1), x, model=normwise, modes=("jit",), points=2)

    error = precjax.track(jnp.matmul, model=normwise)(np.ones((3, 4), np.float32), one[1]).error
    assert 4e-5 <= error[0, 0] < 4.1e-5  # all of one sign

    def temporaries(error):
        weights = [precjax.Tracked(jnp.ones((512, 512)), error) for _ in range(3)]
        layers = lambda weights, i, x: x @ weights[0] @ weights[1] @ lax.switch(i, [lambda w=w: w for w in weights])  # noqa: E731
        args = weights, 1, jnp.ones((8, 512))
        return jax.jit(precjax.track(layers, model=normwise)).lower(*args).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(jnp.ones((1, 1))) < 1.1 * 4 * 512 * 512 < 2 * 4 * 512 * 512 < temporaries(jnp.ones((512, 512)))


def test_decisions_stay_apart():
    """That one relu is in doubt does not put the others in doubt: the largest error of a gradient stays what it is."""
    weights, x = np.float32(RNG.normal(size=(3, 64, 64)) / 6), np.float32(RNG.normal(size=(64, 8)))
    loss = lambda w, x: jnp.mean(lax.scan(lambda h, w: (jax.nn.relu(w @ h), None), x, w)[0] ** 2)  # noqa: E731
    one, each = (precjax.track(jax.grad(loss), model=model)(weights, x).error for model in (TENSOR, "worst_case"))
    assert each.max() <= one.max() <= 1.5 * each.max()


@pytest.mark.parametrize("f", [lambda x: jnp.sum(jax.nn.softmax(x) * np.float32([1, -2, 3, 4])), jax.nn.logsumexp], ids=["softmax", "logsumexp"])
def test_theorems_know_what_waits_for_a_gradient(f, all_is_worth_it):
    """An array that keeps its largest error is still the array that a softmax was made of."""
    x = precjax.Tracked(np.float32(RNG.normal(size=4)), np.full(4, 1e-5, np.float32))
    gradient = jax.grad(lambda x: jnp.sin(f(x)))
    one, each = (precjax.track(gradient, model=model)(x).error for model in (TENSOR, "worst_case"))
    check_rule(gradient, x, model=TENSOR, modes=("jit",), points=2)
    assert each.max() <= one.max() <= 1.1 * each.max()


def test_small_arrays_keep_the_errors_of_their_numbers():
    """The quotient by a probability of 1e-9 would have no bound with the error of one of 1/2."""
    x = np.float32([20, 20, 0])
    gradient = jax.grad(lambda x: -jnp.log(jax.nn.softmax(x))[2])
    one, each = (precjax.track(gradient, model=model)(x).error for model in (TENSOR, "worst_case"))
    assert one.max() == each.max() < 1e-5
