"""A product that only a transpose reads becomes one product; every other stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from precjax import _jax_compat as compat
from precjax import _samples
from precjax._turned_products import with_products_turned

A, B = (np.random.default_rng(seed).normal(size=(3, 4, 5)).astype(np.float32) for seed in (0, 1))
ROWS = lambda a, b: lax.dot_general(a, b, (((2,), (2,)), ((0,), (0,))))  # noqa: E731


def twice(a, b):
    p = ROWS(a, b)
    return p, p.transpose(0, 2, 1)


# How many transposes are left, and the function.
PROGRAMS = {
    "batched": (0, lambda a, b: ROWS(a, b).transpose(0, 2, 1)),
    "several axes": (0, lambda a, b: jnp.tensordot(a, b, (2, 2)).transpose(2, 3, 0, 1)),
    "all axes contracted on one side": (0, lambda a, b: jnp.tensordot(a[0, 0], b, (0, 2)).transpose(0, 1)),
    "precision of both": (0, lambda a, b: jnp.dot(a[0], b[0].T, precision="highest").T),
    "read twice": (1, twice),
    "an axis of the batch moves": (1, lambda a, b: ROWS(a, b).transpose(1, 0, 2)),
    "an operand's own axes change places": (1, lambda a, b: jnp.tensordot(a, b, (2, 2)).transpose(3, 2, 0, 1)),
    "of no product": (1, lambda a, b: (a + b).transpose(0, 2, 1)),
    "two precisions": (1, lambda a, b: lax.dot(a[0], b[0].reshape(5, 4), precision=("high", "highest")).T),
}  # fmt: skip


def names(body):
    return [eqn.primitive.name for eqn in body.eqns]


@pytest.mark.parametrize("name", PROGRAMS)
def test_products(name):
    left, f = PROGRAMS[name]
    closed = jax.make_jaxpr(f)(A, B)
    body = with_products_turned(compat.open_jaxpr(closed))
    before = names(compat.open_jaxpr(closed)).count("transpose")
    operands = 1 if name == "precision of both" else 0  # the transpose of b is no product
    assert names(body).count("transpose") == left + operands and before >= left
    turned = compat.as_function(closed.replace(jaxpr=body))(A, B)
    for mine, theirs in zip(turned, jax.tree.leaves(f(A, B)), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_dense_layer():
    f = jax.grad(lambda w, x: jnp.tanh(x @ w).sum())
    closed = jax.make_jaxpr(f)(A[0].T, B[0])
    assert "transpose" in names(compat.open_jaxpr(closed))
    assert "transpose" not in names(with_products_turned(compat.open_jaxpr(closed)))


@pytest.mark.parametrize(
    ("distances", "root"),
    [([3e-30, 4e-30], 5e-30), ([3e30, 4e30], 5e30), ([0, 0], 0), ([np.inf, 1], np.inf), ([np.nan, 1], np.inf)],
)
def test_root_mean_squares_neither_vanish_nor_overflow(distances, root):
    """Of two runs about a value of 0: the root of the mean, over the root of 2, is half of the hypotenuse."""
    runs = jnp.asarray(distances, jnp.float32)[:, None]
    np.testing.assert_allclose(_samples._error(jnp.zeros(1), runs), root / 2, rtol=1e-6)
