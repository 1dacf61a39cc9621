"""Rows of Pallas kernels in interpret mode: elementwise, and a product that accumulates over a third axis of its grid."""

import jax
import jax.numpy as jnp
from cases import Case
from cases_arrays import numbers
from jax.experimental import pallas as pl


def softplus(x_ref, o_ref):
    x = x_ref[...]
    o_ref[...] = jnp.log1p(jnp.exp(-jnp.abs(x))) + jnp.maximum(x, 0) * (pl.program_id(0) + 1)


@jax.jit
def elementwise(x):
    """Blocks of two rows, the last of which sticks out."""
    block = pl.BlockSpec((2, 4), lambda i: (i, 0))
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return pl.pallas_call(softplus, out_shape=shape, grid=(3,), in_specs=[block], out_specs=block, interpret=True)(x)


def product(a_ref, b_ref, o_ref):
    @pl.when(pl.program_id(2) == 0)
    def _():
        o_ref[...] = jnp.zeros_like(o_ref)

    o_ref[...] += a_ref[...] @ b_ref[...]


@jax.jit
def matmul(a, b):
    specs = [pl.BlockSpec((2, 2), lambda i, j, k: (i, k)), pl.BlockSpec((2, 2), lambda i, j, k: (k, j))]
    shape, out = jax.ShapeDtypeStruct((4, 4), a.dtype), pl.BlockSpec((2, 2), lambda i, j, k: (i, j))
    return pl.pallas_call(product, out_shape=shape, grid=(2, 2, 3), in_specs=specs, out_specs=out, interpret=True)(a, b)


CASES = [
    Case("kernel", elementwise, numbers((5, 4), wide=False), ("float32",), rare=("float32",)),
    Case("kernel of a product", matmul, numbers((4, 6), (6, 4), wide=False), ("float32", "float64"), rare=("float32", "float64")),
]
