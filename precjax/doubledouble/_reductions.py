"""Sums, products and extrema of pairs over axes, and running along them.

With n terms, in any order: a sum errs by 3.01 (n - 1) u**2 of the sum of the magnitudes, a product by 11 (n - 1) u**2
of itself; extrema are exact.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from precjax.doubledouble import _arithmetic as arithmetic
from precjax.doubledouble._exponential import logaddexp
from precjax.doubledouble._pairs import DD


def _over(operation: Callable[[DD, DD], DD], neutral: float, doc: str) -> Callable[..., DD]:
    @functools.partial(jax.jit, static_argnames="axes")
    def reduce(x: DD, axes: Sequence[int]) -> DD:
        start = DD(jnp.full((), neutral, x.hi.dtype), jnp.zeros((), x.hi.dtype))
        return DD(*lax.reduce(x, start, lambda a, b: operation(DD(*a), DD(*b)), axes))

    reduce.__doc__ = doc
    return reduce


reduce_sum = _over(arithmetic.add, 0.0, "Sum over axes, to 3.01 (n - 1) u**2 of the sum of the magnitudes.")
reduce_prod = _over(arithmetic.mul, 1.0, "Product over axes, to 11 (n - 1) u**2, if no partial product underflows.")
reduce_max = _over(arithmetic.max, -math.inf, "The largest element over axes, exactly; NaN if there is one.")
reduce_min = _over(arithmetic.min, math.inf, "The smallest element over axes, exactly; NaN if there is one.")


@functools.partial(jax.jit, static_argnames=("axis", "index_dtype"))
def argmax(x: DD, axis: int, index_dtype: Any = jnp.int64) -> Any:
    """Index of the first largest element along an axis; a NaN counts as larger than all numbers."""
    unknown = x.hi != x.hi
    largest = jnp.max(jnp.where(unknown, -jnp.inf, x.hi), axis=axis, keepdims=True)
    rank = jnp.where(unknown, jnp.inf, jnp.where(x.hi == largest, x.lo, -jnp.inf))
    return lax.argmax(rank, axis, index_dtype)


def argmin(x: DD, axis: int, index_dtype: Any = jnp.int64) -> Any:
    """Index of the first smallest element along an axis; a NaN counts as smaller than all numbers."""
    return argmax(arithmetic.neg(x), axis, index_dtype)


def _along(operation: Callable[[DD, DD], DD], neutral: float, doc: str) -> Callable[..., DD]:
    @functools.partial(jax.jit, static_argnames=("axis", "reverse"))
    def cumulative(x: DD, axis: int = 0, reverse: bool = False) -> DD:
        if x.hi.size == 0:
            return x
        first = DD(*(jnp.moveaxis(jnp.flip(v, axis) if reverse else v, axis, 0) for v in x))
        total = DD(*(jnp.moveaxis(v, 0, axis) for v in _running(operation, neutral, first)))
        return DD(*(jnp.flip(v, axis) for v in total)) if reverse else total

    cumulative.__doc__ = doc
    return cumulative


def _running(operation: Callable[[DD, DD], DD], neutral: float, x: DD) -> DD:
    """Running results along the first axis: within about sqrt(n) rows side by side, then from row to row."""
    terms, *shape = x.hi.shape
    width = math.isqrt(terms - 1) + 1
    rows = -(-terms // width)
    missing = [(0, rows * width - terms)] + [(0, 0)] * len(shape)
    padded = (jnp.pad(x.hi, missing, constant_values=neutral), jnp.pad(x.lo, missing))
    columns = DD(*(jnp.swapaxes(jnp.reshape(v, (rows, width, *shape)), 0, 1) for v in padded))

    def step(carry: DD, term: DD) -> tuple[DD, DD]:
        carry = operation(carry, term)
        return carry, carry

    def start(size: tuple[int, ...]) -> DD:
        return DD(jnp.full(size, neutral, x.hi.dtype), jnp.zeros(size, x.hi.dtype))

    last, within = lax.scan(step, start((rows, *shape)), columns)
    _, before = lax.scan(lambda carry, term: (operation(carry, term), carry), start(tuple(shape)), last)
    total = operation(DD(*(v[None] for v in before)), within)
    return DD(*(jnp.reshape(jnp.swapaxes(v, 0, 1), (rows * width, *shape))[:terms] for v in total))


cumsum = _along(arithmetic.add, 0.0, "Running sum, to 3.01 (2 sqrt(n) + 2) u**2 of the running sum of the magnitudes.")
cumprod = _along(arithmetic.mul, 1.0, "Running product, to 11 n u**2, while no partial product underflows.")
cummax = _along(arithmetic.max, -math.inf, "Running maximum, exactly; NaN from the first NaN on.")
cummin = _along(arithmetic.min, math.inf, "Running minimum, exactly; NaN from the first NaN on.")
cumlogsumexp = _along(logaddexp, -math.inf, "Running log of the sum of exponentials, 2 sqrt(n) + 2 times `logaddexp`.")
