"""Rows of sparse arrays: their elements are gathered, multiplied and scattered as JAX defines it."""

import jax
import jax.numpy as jnp
import numpy as np
from cases import Case
from jax.experimental.sparse import BCOO

PLACES = np.array([[0, 0], [0, 2], [2, 1], [0, 2], [1, 3]])  # one of them twice


def product(data, x):
    return BCOO((data, jnp.asarray(PLACES)), shape=(3, 4)) @ x


def dense(data, x):
    a = BCOO((data, jnp.asarray(PLACES)), shape=(3, 4))
    return a.todense(), a.T @ x[:3]


ROWS = {"sparse product": product, "sparse to dense": dense, "sparse gradient": jax.grad(lambda data, x: (product(data, x) ** 2).sum(), (0, 1))}
CASES = [Case(name, f, lambda d: (d.numbers(5, wide=False), d.numbers(4, 2, wide=False)), ("float32", "float64"), rare=("float64",)) for name, f in ROWS.items()]
