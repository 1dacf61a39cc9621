"""Certified: bit for bit the plain program, composed with transformations of JAX, on any device."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax import lax

import precjax
from precjax import Certified, Tracked, track
from precjax.testing import assert_encloses, exact

RANDOM = np.random.default_rng(0)
X = np.float32([1.0, -2.0, 0.3])
PAIRS = Certified(reference="pairs")


def normal(*shape, dtype=np.float32):
    return jnp.asarray(RANDOM.normal(size=shape), dtype)


def same(left, right):
    """Bit for bit."""
    words = [np.asarray(x).view(f"u{np.asarray(x).itemsize}") for x in (left, right)]
    np.testing.assert_array_equal(*words)


def assert_is_plain(f, tracked, *args):
    for left, right in zip(jax.tree.leaves(tracked.value), jax.tree.leaves(jax.jit(f)(*args)), strict=True):
        same(left, right)
    assert not jax.config.jax_enable_x64
    assert all(e.dtype == np.float32 and not np.isnan(e).any() for e in jax.tree.leaves(tracked.error))


# ---------------------------------------------------------------------------------------------------------- compositions


def mlp(w, x):
    for layer in w[:-1]:
        x = jax.nn.gelu(x @ layer)
    return (jax.nn.log_softmax(x @ w[-1]) ** 2).mean()


MLP = [normal(4, 5), normal(5, 5), normal(5, 3)]
BATCH = normal(2, 4)


def controlled(x, y):
    """scan, while and cond."""
    h, sums = lax.scan(lambda h, row: (jnp.tanh(h * 0.5 + row), h.sum()), x, y)
    n, h = lax.while_loop(lambda s: s[1].sum() > -3, lambda s: (s[0] + 1, s[1] * 0.9 - 0.3), (0, h))
    return lax.cond(sums.sum() > 0, lambda h: h.sum() ** 2, lambda h: (h * n).max(), h), n


WAYS = {
    "track": lambda f, a, b: track(f, model="certified")(a, b),
    "jit of track": lambda f, a, b: jax.jit(track(f, model="certified"))(a, b),
    "track of jit": lambda f, a, b: track(jax.jit(f), model="certified")(a, b),
    "track of checkpoint": lambda f, a, b: track(jax.checkpoint(f), model="certified")(a, b),
    "in a scan": lambda f, a, b: first(lax.scan(lambda c, _: (c, track(f, model="certified")(a, b)), 0, None, length=2)[1]),
    "vmap of track": lambda f, a, b: first(jax.vmap(track(f, model="certified"), (None, 0))(a, doubled(b))),
    "vmap of jit of track": lambda f, a, b: first(jax.vmap(jax.jit(track(f, model="certified")), (None, 0))(a, doubled(b))),
    "track of vmap": lambda f, a, b: first(track(jax.vmap(f, (None, 0)), model="certified")(a, doubled(b))),
    "normwise": lambda f, a, b: track(f, model=Certified(contraction="normwise"))(a, b),
    "in pairs": lambda f, a, b: track(f, model=PAIRS)(a, b),
    "vmap of track in pairs": lambda f, a, b: first(jax.vmap(track(f, model=PAIRS), (None, 0))(a, doubled(b))),
}


def doubled(tree):
    return jax.tree.map(lambda x: jnp.stack([x, 2 * x]), tree)


def first(tree):
    return jax.tree.map(lambda x: x[0], tree)


def in_every_way():
    """Control flow in every way; the short run has a network in two of them."""
    for name, *arguments in (("mlp", mlp, MLP, BATCH), ("controlled", controlled, X, normal(4, 3))):
        for way in WAYS:
            short = name == "controlled" or way in ("jit of track", "vmap of track")
            yield pytest.param(*arguments, way, id=f"{name}-{way}", marks=[pytest.mark.long] * (not short))


@pytest.mark.parametrize(("f", "a", "b", "way"), list(in_every_way()))
def test_compositions(f, a, b, way):
    out = WAYS[way](f, a, b)
    tightness = assert_encloses(tuple(out), exact(f, a, b))
    assert np.nanmedian(tightness) < 1.01
    assert not jax.config.jax_enable_x64


def test_gradients():
    gradient = jax.jit(jax.grad(mlp))
    out = track(gradient, model="certified")(MLP, BATCH)
    assert_is_plain(gradient, out, MLP, BATCH)
    assert np.median(assert_encloses(tuple(out), exact(gradient, MLP, BATCH))) < 1.01
    through = jax.jit(jax.grad(lambda w: track(mlp, model="certified")(w, BATCH).value))(MLP)
    for left, right in zip(through, gradient(MLP, BATCH), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_gradients_through_many_layers():
    """Bounded in float64, the reference is worth nothing; in pairs it certifies every parameter's gradient."""
    network = zoo.mlp(9, width=64, batch=1)
    f, args = network.gradients, (network.parameters, network.inputs)
    wider, out = (track(f, model=m)(*args) for m in ("certified", PAIRS))
    assert_is_plain(f, out, *args)
    assert max(np.max(a / b) for a, b in zip(wider.error, out.error, strict=True)) > 100
    tightness = assert_encloses(tuple(out), exact(f, *args))
    assert np.median(tightness[np.isfinite(tightness)]) < 1.01


def test_each_run_takes_its_own_branch():
    """Rounded, 1 + x - 1 is 0; the exact program goes the other way, and the certificate says so."""

    def f(x, one):
        return lax.cond(one + x - one > 0, lambda: 10.0, lambda: 20.0), lax.while_loop(
            lambda n: (one + n * x - one <= 0) & (n < 9), lambda n: n + 1, one
        )

    value, error = track(f, model="certified")(jnp.float32(1e-9), jnp.float32(1))
    np.testing.assert_array_equal(value, [20, 9])
    np.testing.assert_allclose(error, [10, 8], rtol=1e-5)


def test_bits_are_frozen():
    def exponent(x):
        return lax.bitcast_convert_type(x * 3, jnp.int32) >> 23

    def split(x):
        """What library code does: a high part by its bits, and the rest."""
        y = jnp.exp(x)
        high = lax.bitcast_convert_type(lax.bitcast_convert_type(y, jnp.int32) & -4096, jnp.float32)
        return high * high + (y - high) * (y + high)

    out = track(split, model="certified")(X)
    assert_encloses(tuple(out), exact(split, X))
    assert np.all(out.error < 1e-6 * out.value)
    assert not np.any(track(exponent, model="certified")(X).error)
    assert np.all(np.isinf(track(exponent, model="certified", strict=True)(np.float32([0.1, 0.3])).error))
    bits = track(lambda x: lax.bitcast_convert_type(x, jnp.int32), model="certified", strict=True)(np.float32([0.1, 1e-40, -0.0]))
    assert not np.any(bits.error)


def test_infinities_and_nan():
    x = np.float32([0, np.inf, -np.inf, np.nan, 2, 1e-40])
    (moved, exp, large), (of_moved, of_exp, of_large) = track(lambda x: (x, jnp.exp(x), x * 1e30 * 1e30), model="certified")(x)
    np.testing.assert_array_equal(of_moved, [0, 0, 0, np.inf, 0, 0])
    assert np.isinf(of_exp[3]) and of_exp[4] < 1e-6 and moved[5] == x[5]
    assert np.isinf(of_large[4]) and np.isinf(large[4]) and np.isinf(exp[1])


def test_random_numbers():
    def f(key):
        a, b = jax.random.split(key)
        return a, jax.random.normal(a, (50,)), jax.random.randint(b, (9,), 0, 100), jax.random.bernoulli(b, 0.3, (9,))

    out = track(f, model="certified")(jax.random.key(3))
    assert [np.any(e) for e in out.error] == [False, True, False, False]
    np.testing.assert_array_less(out.error[1], 1e-5)


# --------------------------------------------------------------------------------------------------------------- refusals

BAD = {
    "reference": (lambda: Certified(reference="longdouble"), ValueError, "reference='longdouble'.*'wider'"),
    "contraction": (lambda: Certified(contraction="x"), ValueError, "normwise"),
    "negative error": (lambda: track(jnp.sin, model="certified")(Tracked(X, -X)), ValueError, "argument.*non-negative"),
    "NaN error": (lambda: track(jnp.sin, model="certified")(Tracked(X, X * np.nan)), ValueError, "NaN"),
    "no rule": (lambda: track(jax.scipy.linalg.schur, model="certified")(np.eye(2, dtype=np.float32)), precjax.MissingRuleError, "schur.*missing='inf'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


ELSEWHERE = """
import jax, jax.numpy as jnp, numpy as np, precjax
jax.config.update("jax_num_cpu_devices", 2)
here, there = jax.devices()
w = jax.device_put(jnp.linspace(-1, 1, 400).reshape(20, 20), here)
f = lambda x, scale: {"y": jnp.tanh(x @ w) * scale, "n": x.size}
x = precjax.Tracked(jax.device_put(jnp.ones((3, 20)), here), jnp.float32(1e-6))
for model in (precjax.Certified, precjax.Shadow):
    near, far = (precjax.track(f, model=model(device=device))(x, 2.0) for device in (None, there))
    assert all(leaf.devices() == {here} for leaf in jax.tree.leaves(far)), jax.tree.map(lambda leaf: leaf.devices(), far)
    jax.tree.map(np.testing.assert_array_equal, near, far)
state = precjax.track(f, model=precjax.Certified(device="cpu"))(x, 2.0)
again = precjax.track(jnp.sin, model=precjax.Certified(device=there))(precjax.Tracked(state.value["y"], state.error["y"]))
assert np.isfinite(again.error).all()
"""


def test_the_reference_runs_on_another_device():
    subprocess.run([sys.executable, "-c", ELSEWHERE], check=True)


def test_another_device_is_no_part_of_a_program():
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(track(jnp.sin, model=precjax.Certified(device="cpu")))(1.0)
    with pytest.raises(ValueError, match="device=3"):
        precjax.Certified(device=3)


def test_missing_rules():
    assert precjax.missing_rules(mlp, model="certified")(MLP, BATCH) == []
    schur = jax.scipy.linalg.schur
    assert "schur" in precjax.missing_rules(schur, model="certified")(np.eye(2, dtype=np.float32))[0]
    assert np.all(np.isinf(track(schur, model="certified", missing="inf")(np.eye(2, dtype=np.float32)).error[0]))
