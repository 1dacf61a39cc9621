"""Equal blocks become a loop that does what they did; blocks that are not equal, or hand on more, stay."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import precjax
from precjax import Tracked, WorstCase, track
from precjax import _jax_compat as compat
from precjax._rerolled import rerolled
from precjax.models._model import ErrorModel

LAYERS, WIDTH = 4, 6
RNG = np.random.default_rng(0)
WEIGHTS = [(RNG.normal(size=(WIDTH, WIDTH)) / 3).astype(np.float32) for _ in range(2 * LAYERS)]
X = RNG.normal(size=(3, WIDTH)).astype(np.float32)


def norm(x):
    centered = x - x.mean(-1, keepdims=True)
    return centered * lax.rsqrt((centered**2).mean(-1, keepdims=True) + 2.0**-17)


def block(x, w, v, scale=0.5):
    return x + jax.nn.silu(norm(x) @ w) @ v * scale + jnp.cos(x) - jnp.sin(norm(x)) * scale


def layers(step):
    """A network of four layers: step(i, x, first weight, second weight)."""

    def f(x, *weights):
        for i in range(LAYERS):
            x = step(i, x, weights[2 * i], weights[2 * i + 1])
        return jnp.tanh(x)

    return f


def two_streams(x, *weights):
    y = 2 * x
    for i in range(LAYERS):
        x, y = block(y, weights[2 * i], weights[2 * i + 1]), jnp.exp(-(x**2)) + y
    return x - y


def from_before(x, *weights):
    older = old = x
    for i in range(LAYERS):
        older, old, x = old, x, block(x, weights[2 * i], weights[2 * i + 1]) + older
    return x


def with_outputs(x, *weights):
    outs = []
    for i in range(LAYERS):
        x = block(x, weights[2 * i], weights[2 * i + 1])
        outs.append(x.sum())
    return outs


def dropped_out(i, x, w, v):
    kept = jax.random.bernoulli(jax.random.fold_in(jax.random.key(3), i), 0.5, x.shape)
    return jnp.where(kept, block(x, w, v), x)


@functools.partial(jax.jit, static_argnums=3)
def jitted(x, w, v, scale):
    return block(x, w, v, scale)


def printed(i, x, w, v):
    jax.debug.callback(lambda _: None, x)
    return block(x, w, v)


# How many loops there are to be, and the program.
PROGRAMS = {
    "weights of their own": (1, layers(lambda i, x, w, v: block(x, w, v))),
    "the same weights": (1, lambda x, w, v, *_: layers(lambda i, x, *_: block(x, w, v))(x, *WEIGHTS)),
    "one weight of their own": (1, lambda x, w, *more: layers(lambda i, x, _, v: block(x, w, v))(x, w, *more)),
    "numbers of their own": (1, layers(lambda i, x, w, v: block(x, w, v, 2.0**-i))),
    "random masks": (1, layers(dropped_out)),
    "jitted blocks": (1, layers(lambda i, x, w, v: jitted(x, w, v, 0.5))),
    "jitted blocks that differ": (0, layers(lambda i, x, w, v: jitted(x, w, v, 2.0**-i))),
    "a number to begin with": (1, lambda x, *weights: layers(lambda i, y, w, v: block(x + y, w, v))(0.25, *weights)),
    "two carries": (1, two_streams),
    "what the last but one made": (0, from_before),
    "all of them are results": (0, with_outputs),
    "no product": (0, layers(lambda i, x, w, v: jnp.sin(norm(norm(x) + w[0])))),
    "something happens": (0, layers(printed)),
    "the last is another": (1, lambda x, *weights: block(layers(lambda i, x, w, v: block(x, w, v))(x, *weights), *weights[:2]) * 2),
    "two kinds of blocks": (
        2,
        lambda x, *weights: layers(lambda i, x, w, v: jnp.exp(-jnp.abs(block(x, w, v))))(
            layers(lambda i, x, w, v: block(x, w, v))(x, *weights), *weights
        ),
    ),
}  # fmt: skip


def loops(body):
    return sum(eqn.params.get("name") == "equal_blocks" for eqn in body.eqns)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    wanted, f = PROGRAMS[name]
    closed = jax.make_jaxpr(f)(X, *WEIGHTS)
    body = rerolled(compat.open_jaxpr(closed))
    assert loops(body) == wanted
    looped = compat.as_function(closed.replace(jaxpr=body))(X, *WEIGHTS)
    for mine, theirs in zip(looped, jax.tree.leaves(f(X, *WEIGHTS)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


MODELS = {
    "worst case": WorstCase(contraction="normwise"),
    "by row": WorstCase(contraction="normwise", granularity="row"),
    "probabilistic": precjax.Probabilistic(),
    "16 probes": precjax.Probabilistic(probes=16),
    "stochastic": precjax.Stochastic(samples=4),
}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("numbers of their own", "worst case"),
        ("numbers of their own", "probabilistic"),
        *(
            pytest.param(name, model, marks=pytest.mark.long)
            for name in ("weights of their own", "two carries")
            for model in MODELS
        ),
    ],
)
def test_errors_are_those_of_the_blocks(name, model, monkeypatch):
    f, proved = PROGRAMS[name][1], isinstance(MODELS[model], WorstCase)
    inexact = [Tracked(w, 1e-6 * (i % 3) * np.ones_like(w)) for i, w in enumerate(WEIGHTS)]
    for weights in (WEIGHTS, inexact):
        out = jax.jit(track(f, model=MODELS[model]))(X, *weights)
        with monkeypatch.context() as patch:
            patch.setattr(ErrorModel, "loops", False)
            longer = jax.jit(track(lambda *args: f(*args), model=MODELS[model]))(X, *weights)  # noqa: B023
        np.testing.assert_allclose(out.value, longer.value, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(out.error, longer.error, rtol=0.05)
        with jax.enable_x64(True):
            truth = np.asarray(f(*(np.asarray(x, np.float64) for x in (X, *WEIGHTS))))
        assert (np.abs(np.asarray(out.value) - truth) <= out.error).all() or not proved


@pytest.mark.parametrize("model", ["worst_case", pytest.param("certified", marks=pytest.mark.long)])
def test_compositions(model):
    f = PROGRAMS["weights of their own"][1]
    tracked = track(f, model=model)
    out = tracked(X, *WEIGHTS)
    batched = jax.vmap(tracked, (0, *[None] * len(WEIGHTS)))(np.stack([X, 2 * X]), *WEIGHTS)
    np.testing.assert_allclose(batched.value[0], out.value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batched.error[0], out.error, rtol=0.5)
    slopes = jax.grad(lambda x, *w: tracked(x, *w).value.sum(), (0, 1, 8))(X, *WEIGHTS)
    plain = jax.grad(lambda x, *w: f(x, *w).sum(), (0, 1, 8))(X, *WEIGHTS)
    for mine, theirs in zip(slopes, plain, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_hooks_see_every_block():
    seen = []

    class Products(precjax.Hook):
        def trace(self, equation):
            seen.append(equation.site.primitive)

    track(PROGRAMS["weights of their own"][1], hooks=[Products()])(X, *WEIGHTS)
    assert seen.count("dot_general") == 2 * LAYERS


@pytest.mark.parametrize("model", ["worst_case", "certified", "shadow", "probabilistic", "stochastic"])
@pytest.mark.parametrize("inexact", [False, True])
def test_a_switch_that_only_hands_on(model, inexact):
    def f(i, x, y):
        left, right = lax.switch(i, [lambda x, y: (x, y), lambda x, y: (y, x), lambda x, y: (y, y)], x, y)
        return 3 * left + right

    x, y = np.float32([1.1, 2.2]), np.float32([0.3, 0.7])
    tracked = jax.jit(track(f, model=model))
    with jax.enable_x64(model == "shadow"):  # in pairs of float64
        x, y = (v.astype(np.float64) if model == "shadow" else v for v in (x, y))
        for i in (0, 1, 2, 7):
            out = tracked(i, Tracked(x, 1e-3 * x) if inexact else x, y)
            np.testing.assert_allclose(out.value, f(i, x, y), rtol=1e-6)
            if inexact and model != "stochastic":
                slope = {0: 3, 1: 1}.get(i, 0)
                np.testing.assert_allclose(np.abs(out.error), slope * 1e-3 * x, rtol=1e-2, atol=1e-6)
