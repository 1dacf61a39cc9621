"""track with the other transformations of JAX: on a small network, and on a function with scan, while and cond."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import precjax
from precjax import Tracked, track
from precjax.testing import check_rule, exact

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def mlp(parameters, x):
    for w, b in parameters[:-1]:
        x = jax.nn.gelu(x @ w + b)
    w, b = parameters[-1]
    return (jax.nn.log_softmax(x @ w + b) ** 2).mean()


def controlled(x, y):
    """scan, while and cond."""

    def cell(h, row):
        h = jnp.tanh(h * 0.5 + row)
        return h, h.sum()

    h, sums = lax.scan(cell, x, y)
    h = lax.fori_loop(0, 3, lambda i, h: 0.5 * h + jnp.sin(h), h)
    n, h = lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, s[1] * 0.9), (0, h))
    return lax.cond(sums.sum() > 0, lambda h: h.sum() ** 2, lambda h: (h * n).max(), h) + jnp.exp(-jnp.abs(sums)).sum()


MLP = (mlp, [(normal(4, 5), normal(5)), (normal(5, 3), normal(3))], normal(2, 4))
CONTROLLED = (controlled, normal(3), normal(4, 3))
FUNCTIONS = pytest.mark.parametrize(("f", "x", "y"), [MLP, CONTROLLED], ids=["mlp", "controlled"])


def ball(tree, relative=1e-5):
    return Tracked(tree, jax.tree.map(lambda v: abs(v) * np.float32(relative), tree))


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(left, right)


def assert_close_bounds(a, b):
    """Two valid runs: each value lies within the other's error, and the errors are alike."""
    for v, e, w, d in zip(*map(leaves, (a.value, a.error, b.value, b.error)), strict=True):
        assert np.all(np.abs(v - w) <= e + d)
        np.testing.assert_allclose(e, d, rtol=0.2)


tracked_once = functools.cache(track)  # compiled once
COMPOSED = {
    "jit(track(f))": lambda f: jax.jit(track(f)),
    "track(jit(f))": lambda f: track(jax.jit(f)),
    "jit(track(jit(f)))": lambda f: jax.jit(track(jax.jit(f))),
    "track(checkpoint(f))": lambda f: track(jax.checkpoint(f)),
}


@FUNCTIONS
@pytest.mark.parametrize("composed", COMPOSED)
def test_calls(f, x, y, composed):
    assert_close_bounds(COMPOSED[composed](f)(ball(x), y), tracked_once(f)(ball(x), y))


@FUNCTIONS
@pytest.mark.parametrize("model", ["worst_case", precjax.WorstCase(contraction="normwise")], ids=str)
def test_judged(f, x, y, model):
    checked = check_rule(f, ball(x), y, model=model, points=1)
    assert np.isfinite(checked.tracked.error).all()


@FUNCTIONS
def test_vmap(f, x, y):
    ys = np.stack([y, 2 * y, -y])
    outside = jax.vmap(track(f), in_axes=(None, 0))(ball(x), ys)
    inside = track(jax.vmap(f, in_axes=(None, 0)))(ball(x), ys)
    assert outside.error.shape == outside.value.shape == (3,)
    assert_close_bounds(outside, inside)
    truths = jax.vmap(f, in_axes=(None, 0))
    precjax.testing.assert_encloses(inside, exact(truths, x, ys))
    precjax.testing.assert_encloses(outside, exact(truths, x, ys))


def differentiable(x, y):
    """controlled, without the loop that reverse mode cannot differentiate."""
    return lax.scan(lambda h, row: (jnp.tanh(h * 0.5 + row), None), x, y)[0].sum() + lax.cond(
        x.sum() > 0, lambda h: jnp.sin(h).sum(), lambda h: h.prod(), x
    )


GRADIENTS = pytest.mark.parametrize(("f", "x", "y"), [MLP, (differentiable, *CONTROLLED[1:])], ids=["mlp", "controlled"])


@GRADIENTS
def test_track_of_gradient(f, x, y):
    checked = check_rule(jax.grad(f), ball(x), y, modes=("plain",), points=1)
    assert all(np.isfinite(e).all() for e in jax.tree.leaves(checked.tracked.error))
    value, gradient = track(jax.value_and_grad(f))(x, y).value
    assert_close_bounds(Tracked(gradient, checked.tracked.error), checked.tracked)


@GRADIENTS
def test_gradient_through_the_value(f, x, y):
    for left, right in zip(leaves(jax.grad(lambda x: track(f)(x, y).value)(x)), leaves(jax.grad(f)(x, y)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


@GRADIENTS
def test_gradient_through_the_error(f, x, y):
    gradient = jax.grad(lambda x: track(f)(ball(x), y).error)(x)
    assert all(np.isfinite(g).all() for g in leaves(gradient))
    assert any(np.any(g != 0) for g in leaves(gradient))


def test_forward_derivative_of_loops():
    tangents = jax.tree.map(jnp.ones_like, CONTROLLED[1:])
    through = jax.jvp(lambda x, y: track(controlled)(x, y).value, CONTROLLED[1:], tangents)
    plain = jax.jvp(controlled, CONTROLLED[1:], tangents)
    np.testing.assert_allclose(through, plain, rtol=1e-5)


@FUNCTIONS
def test_track_in_a_scan(f, x, y):
    def body(total, scale):
        value, error = track(f)(x, scale * y)
        return total + error, value

    scales, tracked = np.float32([1, 0.5, 2]), track(f)
    total, values = jax.jit(lambda: lax.scan(body, jnp.float32(0), scales))()
    alone = [tracked(x, s * y) for s in scales]
    np.testing.assert_allclose(values, [t.value for t in alone], rtol=1e-4)
    np.testing.assert_allclose(total, sum(t.error for t in alone), rtol=0.2)


def test_state_is_carried_through_a_loop():
    def step(w):
        return w - 0.1 * jax.grad(lambda w: jnp.sum(jnp.cos(w)))(w)

    state, plain = Tracked(normal(3), np.zeros(3, np.float32)), None
    start, tracked = state.value, jax.jit(track(step))
    for _ in range(5):
        state = tracked(state)
    plain = functools.reduce(lambda w, _: step(w), range(5), start)
    precjax.testing.assert_encloses(state, exact(lambda w: functools.reduce(lambda w, _: step(w), range(5), w), start))
    assert np.all(np.abs(plain - state.value) <= 2 * state.error) and np.all(state.error < 1e-5)


@FUNCTIONS
def test_track_of_track(f, x, y):
    twice = track(track(f))(x, y)
    once = track(f)(x, y)
    assert isinstance(twice.value, Tracked) and isinstance(twice.error, Tracked)
    assert np.abs(twice.value.value - once.value) <= once.error
    np.testing.assert_allclose(twice.error.value, once.error, rtol=0.2)
    assert np.isfinite(twice.error.error)  # the bound of the bound


@jax.custom_vjp
def clipped(x):
    return jnp.exp(x)


clipped.defvjp(lambda x: (jnp.exp(x), x), lambda x, g: (jnp.clip(g * x, -1, 1),))


@jax.custom_jvp
def stepped(x):
    return jnp.floor(x)


stepped.defjvp(lambda primals, tangents: (jnp.floor(primals[0]), 3 * tangents[0]))


@pytest.mark.parametrize(("f", "slope"), [(clipped, -1.0), (stepped, 3.0)], ids=["custom_vjp", "custom_jvp"])
def test_custom_derivatives(f, slope):
    x = np.float32(-2.5)
    assert jax.grad(lambda x: track(f)(x).value)(x) == slope
    assert jax.grad(lambda x: track(jax.jit(f))(x).value)(x) == slope
    assert jax.vmap(jax.grad(lambda x: track(f)(x).value))(x[None]) == slope
    value, error = track(jax.grad(f))(x)
    assert value == slope and error <= 1e-6
    assert track(jax.grad(jax.checkpoint(f)))(x).value == slope


def test_rematerialisation_stays():
    def block(x):
        return jnp.sin(jnp.tanh(x)).sum()

    jaxpr = jax.make_jaxpr(jax.grad(lambda x: track(jax.checkpoint(block))(x).value))(normal(4))
    assert "remat" in str(jaxpr) or "checkpoint" in str(jaxpr)


def test_an_inner_jit_is_transformed_once(monkeypatch):
    counted = []
    monkeypatch.setattr(
        "precjax._interpreter._transform",
        lambda *args, original=precjax._interpreter._transform: counted.append(1) or original(*args),
    )

    @jax.jit
    def block(x):
        return jnp.tanh(x @ x.T) @ x

    x = Tracked(normal(3, 3), np.full((3, 3), 1e-6, np.float32))
    track(lambda x: functools.reduce(lambda x, _: block(x), range(12), x))(x)
    assert len(counted) <= 3


def test_platform_and_callbacks(capfd):
    def f(x):
        jax.debug.print("x is {x}", x=x)
        return lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos)

    value, error = track(f)(1.0)
    jax.effects_barrier()
    assert abs(value - np.sin(1.0)) <= error + 1e-7
    assert capfd.readouterr().out.count("x is 1.0") == 1
