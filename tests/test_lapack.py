"""LAPACK calls on stacks, of which a tracked program makes more than its own: they must not wait for each other."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import precjax
from precjax import _lapack
from precjax._tracked import values_of

TURNS = """
import jax, jax.numpy as jnp, numpy as np, precjax
a = np.random.default_rng(0).normal(size=(6, 40, 12, 12)).astype(np.float32)
a = np.einsum("...ij,...kj", a, a) + 12 * np.eye(12, dtype=np.float32)

def f(a):
    return *map(jnp.linalg.cholesky, a[:3]), *map(jnp.linalg.eigvalsh, a[3:]), jnp.linalg.solve(a[0], a[1])

for g in (jax.vmap(precjax.track(f), in_axes=1), precjax.track(f, model="probabilistic")):
    g = jax.jit(g)
    for _ in range(40):
        jax.block_until_ready(g(a))
"""


@pytest.mark.slow
def test_many_calls_at_once_come_to_an_end():
    subprocess.run([sys.executable, "-c", TURNS], check=True, timeout=600)


def first_and_second_derivative(loss, a):
    """The gradient, and how it moves with a."""
    return jax.jit(lambda a: jax.jvp(jax.grad(loss), (a,), (a,)))(a)


@pytest.mark.parametrize("name", ["cholesky", "inv", "eigh", "qr", "det"])
def test_values_and_derivatives_are_those_of_the_function(name):
    f = jax.vmap(getattr(jnp.linalg, name))
    a = np.random.default_rng(1).normal(size=(5, 4, 4)).astype(np.float32)
    a = np.matmul(a, np.swapaxes(a, -1, -2)) + 4 * np.eye(4, dtype=np.float32)

    def loss(g):
        return lambda a: sum(jnp.sum(x * x) for x in jax.tree.leaves(g(a)))

    def values(a):
        return values_of(precjax.track(f)(a))

    plain, tracked = jax.jit(f)(a), jax.jit(values)(a)
    assert all(map(np.array_equal, jax.tree.leaves(tracked), jax.tree.leaves(plain)))
    for g, h in zip(*(first_and_second_derivative(loss(g), a) for g in (values, f)), strict=True):
        np.testing.assert_allclose(g, h, rtol=1e-4, atol=1e-4 * np.max(np.abs(h)))


def test_stacks_of_stacks_and_none(monkeypatch):
    monkeypatch.setattr(_lapack, "_wait", lambda: True)
    for shape in ((3, 3), (2, 3, 3), (2, 4, 3, 3), (0, 3, 3), (2, 0, 0)):
        a = jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32)
        for one_by_one, at_once in zip(_lapack.lu(a), jax.lax.linalg.lu(a), strict=True):
            np.testing.assert_array_equal(one_by_one, at_once)
