"""Shadow: the observed error equals that against float64 runs which share no code with the library."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from precjax import MissingRuleError, Shadow, Tracked, track

RANDOM = np.random.default_rng(1)
X = np.float32([1.0, -2.0, 0.3])


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def widened(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def in_float64(f, *args):
    """The function itself on float64 inputs; its constants must be numbers of the narrow format."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(f)(*widened(args)))


def assert_observed(tracked, truth, tolerance=1e-3):
    """The root mean square of what the errors miss is a thousandth of that of the errors."""
    assert not jax.config.jax_enable_x64
    for value, error, exact in zip(*map(jax.tree.leaves, (*tracked, truth)), strict=True):
        assert error.dtype == np.float32 and error.shape == value.shape
        observed = np.asarray(value, np.float64) - np.asarray(exact, np.float64)
        missed = np.asarray(error, np.float64) - observed
        assert np.linalg.norm(missed) <= tolerance * np.linalg.norm(observed)


# ---------------------------------------------------------------------------------------------- independent float64 runs


def test_network_against_numpy():
    weights, x = [normal(64, 64) / 8 for _ in range(4)], normal(16, 64)

    def mlp(weights, x):
        for w in weights:
            x = jnp.maximum(x @ w, 0) - 0.25
        return x

    truth = x.astype(np.float64)
    for w in weights:
        truth = np.maximum(truth @ w.astype(np.float64), 0) - 0.25
    tracked = track(mlp, model="shadow")(weights, x)
    assert_observed(tracked, truth)
    np.testing.assert_array_equal(tracked.value, jax.jit(mlp)(weights, x))


class Convolutions(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.tanh(nn.Conv(8, (3, 3), param_dtype=x.dtype)(x)), (2, 2), (2, 2))
        x = nn.avg_pool(nn.Conv(8, (3, 3), strides=2, param_dtype=x.dtype)(x), (2, 2))
        return jax.nn.softmax(nn.Dense(5, param_dtype=x.dtype)(x.reshape(len(x), -1)))


def random_parameters(model, x):
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.tree.map(lambda s: normal(*s.shape) / 4, shapes)


def test_convolutions():
    model, x = Convolutions(), normal(2, 16, 16, 3)
    parameters = random_parameters(model, x)
    assert_observed(track(model.apply, model="shadow")(parameters, x), in_float64(model.apply, parameters, x))


# Constants that float32 holds, so that the same code is the reference in float64.
OPTIMIZERS = {
    "sgd": lambda: optax.sgd(2.0**-4, momentum=0.875),
    "adam": lambda: optax.adam(2.0**-6, b1=0.875, b2=0.96875, eps=2.0**-20),
}


def dense(parameters, x):
    w, v = parameters
    return jax.nn.log_softmax(jnp.tanh(x @ w) @ v)


def training(name):
    optimizer, x = OPTIMIZERS[name](), normal(8, 4)

    def step(state, x):
        gradients = jax.grad(lambda p: -dense(p, x)[:, 0].mean())(state[0])
        updates, rest = optimizer.update(gradients, state[1], state[0])
        return optax.apply_updates(state[0], updates), rest

    parameters = normal(4, 16), normal(16, 5)
    return step, (parameters, optimizer.init(parameters)), x


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_of_training(name):
    """Errors are carried: value - error is where the reference goes on."""
    step, state, x = training(name)
    tracked = jax.jit(track(step, model="shadow"))
    with jax.enable_x64(True):
        reference, wide_x, truths = jax.jit(step), widened(x), [widened(state)]
        for _ in range(20):
            truths.append(reference(truths[-1], wide_x))
    for number in range(20):
        state = tracked(state, x)
        if number in (0, 19):
            assert_observed(parameters_of(state), truths[number + 1][0])


def parameters_of(state):
    return Tracked(state.value[0], state.error[0])


def test_state_in_a_scan():
    step = track(lambda x: x * 1.25 - x**3 / 3, model="shadow")
    state = Tracked(X, np.zeros(3, np.float32))
    looped = jax.jit(lambda s: lax.scan(lambda s, _: (step(s), None), s, None, length=10)[0])(state)
    for _ in range(10):
        state = step(state)
    np.testing.assert_allclose(looped.value - looped.error, state.value - state.error, rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------- compositions


def f(w, x):
    h, sums = lax.scan(lambda h, row: (jnp.tanh(h @ w + row), h.sum()), x[0], x)
    h = lax.fori_loop(0, 3, lambda i, h: h * 0.5 + jnp.sin(h), h)
    return lax.cond(sums.sum() > 0, lambda h: jax.nn.softmax(h), lambda h: h**3 / 2, h)


W, ROWS = normal(4, 4), normal(5, 4)
WAYS = {
    "track": lambda: track(f, model="shadow")(W, ROWS),
    "jit of track": lambda: jax.jit(track(f, model="shadow"))(W, ROWS),
    "track of jit": lambda: track(jax.jit(f), model="shadow")(W, ROWS),
    "track of checkpoint": lambda: track(jax.checkpoint(f), model="shadow")(W, ROWS),
    "vmap of track": lambda: first(jax.vmap(track(f, model="shadow"), (None, 0))(W, np.stack([ROWS, -ROWS]))),
    "vmap of jit of track": lambda: first(jax.vmap(jax.jit(track(f, model="shadow")), (None, 0))(W, np.stack([ROWS, -ROWS]))),
    "vmap of vmap": lambda: first(
        jax.vmap(jax.vmap(jax.jit(track(f, model="shadow")), (None, 0)), (0, None))(W[None], np.stack([ROWS, -ROWS])), 2
    ),
    "track of vmap": lambda: first(track(jax.vmap(f, (None, 0)), model="shadow")(W, np.stack([ROWS, -ROWS]))),
    "in a scan": lambda: first(lax.scan(lambda c, x: (c, track(f, model="shadow")(W, x)), 0, np.stack([ROWS, -ROWS]))[1]),
    "in a checkpoint": lambda: jax.checkpoint(track(f, model="shadow"))(W, ROWS),
}


def first(tree, times=1):
    return tree if times == 0 else first(jax.tree.map(lambda x: x[0], tree), times - 1)


@pytest.mark.parametrize("way", WAYS)
def test_compositions(way):
    assert_observed(WAYS[way](), in_float64(f, W, ROWS))


def test_gradients():
    gradient = jax.jit(jax.grad(lambda w, x: f(w, x)[0]))
    assert_observed(track(gradient, model="shadow")(W, ROWS), in_float64(gradient, W, ROWS))
    for correct in (False, True):
        tracked = track(lambda w: f(w, ROWS)[0], model=Shadow(correct=correct))
        through = jax.jit(jax.grad(lambda w, tracked=tracked: tracked(w).value))
        np.testing.assert_allclose(through(W), gradient(W, ROWS), rtol=1e-5, atol=1e-7)


def test_gradients_outside_of_jit():
    def g(x):
        return (jnp.sin(x) * x).sum()

    tracked = track(g, model="shadow")
    np.testing.assert_allclose(jax.grad(lambda x: tracked(x).value)(X), jax.grad(g)(X), rtol=1e-5)
    assert not np.any(jax.grad(lambda x: tracked(x).error)(X))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("jit", [False, True])
def test_narrow_formats(dtype, jit):
    w, x = (jnp.asarray(a, dtype) for a in (W, ROWS))
    tracked = track(f, model="shadow")
    tracked = (jax.jit(tracked) if jit else tracked)(w, x)
    assert tracked.value.dtype == dtype and np.any(np.abs(tracked.error) > 1e-4)
    assert_observed(tracked, in_float64(f, w, x))


# --------------------------------------------------------------------------------------------------- what a reference is


def test_each_run_takes_its_own_branch():
    def g(x, one):
        return lax.cond(one + x - one > 0, lambda: 10.0, lambda: 20.0), lax.while_loop(
            lambda n: (one + n * x - one <= 0) & (n < 9), lambda n: n + 1, 1
        )

    value, error = track(g, model="shadow")(jnp.float32(1e-9), jnp.float32(1))
    np.testing.assert_array_equal(value, [20, 9])
    np.testing.assert_array_equal(error, [10, 8])


def test_pairs_see_what_float64_loses():
    def g(a, x):
        return (a + x) - a

    arguments = np.float32([2.0**60, 2.0**30]), np.float32(1 / 3)
    _, of_float64 = track(g, model="shadow")(*arguments)
    in_pairs = Shadow(reference="pairs")
    value, error = track(g, model=in_pairs)(*arguments)
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_allclose(of_float64, [0, -1 / 3], rtol=1e-6)
    np.testing.assert_allclose(error, [-1 / 3, -1 / 3], rtol=1e-6)
    with pytest.raises(MissingRuleError, match="schur.*reference='wider'"):
        track(jax.scipy.linalg.schur, model=in_pairs)(W)


def test_nan_and_infinity():
    x, y = np.float32([-1, 0, np.inf, np.nan, 60]), np.float32(1e30)
    _, (of_log, of_exp, of_large) = track(lambda x, y: (jnp.log(x), jnp.exp(2 * x), x * y * y), model="shadow")(x, y)
    np.testing.assert_array_equal(of_log[:4], 0)
    np.testing.assert_array_equal(of_exp[1:], [0, 0, 0, np.inf])
    np.testing.assert_array_equal(of_large, [-np.inf, 0, 0, 0, np.inf])


def test_integers_bools_and_keys():
    def g(key, x):
        y = x * jnp.float32(1 / 3)
        return jax.random.split(key), jax.random.bits(key, (3,)), jnp.floor(y * 3).astype(jnp.int32), y * 3 < x, (x * 0.1).astype(jnp.int8)

    value, error = track(g, model="shadow")(jax.random.key(0), np.float32([3, 5, 7]))
    assert not np.any(error[0]) and not np.any(error[1])
    np.testing.assert_array_equal(error[2], value[2] - np.floor(np.float64(np.float32(1 / 3)) * 3 * np.float64([3, 5, 7])))
    assert set(np.ravel(error[3])) <= {-1.0, 0.0, 1.0}


def test_casts_and_bits():
    def g(x):
        return x.astype(jnp.bfloat16).astype(jnp.float32) * 1, lax.reduce_precision(x, 5, 2), lax.bitcast_convert_type(x, jnp.int32)

    x = np.float32([0.1, 1e-40, -0.0, 3e38])
    (rounded, reduced, bits), error = track(g, model="shadow")(x)
    np.testing.assert_allclose(error[0], np.float64(rounded) - np.float64(x), rtol=1e-6, atol=1e-38)
    np.testing.assert_allclose(error[1][:3], (np.float64(reduced) - np.float64(x))[:3], rtol=1e-6, atol=1e-38)
    np.testing.assert_array_equal(bits, x.view(np.int32))
    assert not np.any(error[2])


def test_every_number_is_widened_exactly():
    """Subnormals too, which XLA's casts take for 0."""
    words = np.concatenate([np.arange(2**16, dtype=np.uint32) << 16, RANDOM.integers(0, 2**32, 2**16, np.uint32)])
    cases = [words.view(np.float32), *(np.arange(2**16, dtype=np.uint16).view(d) for d in (np.float16, jnp.bfloat16))]
    for x in cases:
        value, error = track(lambda x: x, model="shadow")(x)
        assert not np.any(error)
        value, error = track(lambda x: x * 0, model="shadow")(x)
        assert not np.any(error)


def test_corrected_value_is_the_rounded_reference():
    x = np.float32([1e-4, 1e-3, 1e-2])
    value, error = track(lambda x: 1 - jnp.cos(x), model=Shadow(correct=True))(x)
    truth = 2 * np.sin(x.astype(np.float64) / 2) ** 2
    np.testing.assert_allclose(value, truth, rtol=1e-7)
    assert np.all(np.abs(error) <= 2.0**-24 * np.abs(truth))


def test_programs_without_rules():
    a = normal(5, 5) + 5 * np.eye(5, dtype=np.float32)
    value, error = track(jnp.linalg.solve, model="shadow")(a, a[0] * 2)
    np.testing.assert_allclose(value - error, np.linalg.solve(a.astype(np.float64), a[0] * 2.0), atol=1e-7)
    value, error = track(lambda a: jnp.fft.fft(a), model="shadow")(a[0])
    np.testing.assert_allclose(error, np.abs(np.asarray(value) - np.fft.fft(a[0].astype(np.float64))), rtol=1e-3, atol=1e-12)
    callback = lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x) * 3  # noqa: E731
    assert np.all(np.abs(track(callback, model="shadow")(X).error) < 1e-6)


def test_effects_happen_once():
    seen = []

    def g(x):
        jax.debug.callback(lambda v: seen.append(float(v)), x[0])
        return lax.scan(lambda c, v: (c + v, jax.debug.callback(lambda v: seen.append(float(v)), v)), 0.0, x)[0]

    jax.block_until_ready(track(g, model="shadow")(X))
    jax.effects_barrier()
    assert len(seen) == 4


def test_static_arguments_and_trees():
    def g(x, shape, *, kind, **more):
        return {"a": jnp.broadcast_to(x, shape) * 1.1 if kind == "times" else x, "b": None, "c": [more["y"] / 3, ()]}

    tracked = track(g, model="shadow", static_argnums=1, static_argnames="kind")
    value, error = tracked(X, (2, 3), kind="times", y=2.0)
    assert value["a"].shape == error["a"].shape == (2, 3) and value["b"] is None and error["c"][0] != 0
    assert track(lambda: {}, model="shadow")() == ({}, {})


def test_a_signed_error_of_an_argument():
    value, error = track(lambda x: x * 2, model="shadow")(Tracked(X, np.float32([1e-3, -1e-3, 0])))
    np.testing.assert_allclose(error, [2e-3, -2e-3, 0], rtol=1e-6)
    out = Tracked(value, error)
    assert np.all(out.relative_error >= 0) and "?" in repr(out)


# --------------------------------------------------------------------------------------------------------------- refusals

BAD = {
    "reference": (lambda: Shadow(reference="float64"), "reference='float64'.*'wider', 'pairs'"),
    "strict": (lambda: Shadow(strict=True), "strict=True.*Certified"),
    "strict in track": (lambda: track(jnp.sin, model="shadow", strict=True), "strict=True.*Certified"),
    "NaN error": (lambda: track(jnp.sin, model="shadow")(Tracked(X, X * np.nan)), "argument.*not NaN"),
    "structure": (lambda: track(jnp.sin, model="shadow")(Tracked({"a": X}, X)), "argument.*structure"),
    "shape": (lambda: track(jnp.sin, model="shadow")(Tracked(X, X[:2])), "argument.*shape"),
    "complex error": (lambda: track(jnp.sin, model="shadow")(Tracked(np.complex64(1j), 0.1)), "complex.*pass the value alone"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
