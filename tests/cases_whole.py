"""Rows of whole numbers in floating point, and of constants: counts, lengths, frequencies, and tests whether they are 0."""

import jax.numpy as jnp
import numpy as np
from cases import FLOATS, FULL, Case
from jax import lax


def counts(draw):
    """Rows of whole numbers, of which one has a half, one leaves the whole numbers of the format, one holds a subnormal."""
    x = draw.random.integers(0, 3, (6, 5)).astype(draw.dtype)
    x[0] = 0
    x[1, 2] = 0.5
    x[2, :3] = 2.0 ** (draw.info.nmant + 1)
    x[3, 0] = draw.info.smallest_subnormal
    return x, draw.numbers(6, 5, wide=False)


def lengths(mask, x):
    """What is done with a mask: counted, compared with 0, divided by."""
    count = mask.sum(1)
    return count, count.astype(jnp.int32), lax.cumsum(mask, 1), jnp.where(count == 0, 0, (x * mask).sum(1) / count)


def frequencies(x):
    """As a Poisson equation is solved: a division where a square of constants is not 0."""
    k = jnp.fft.fftfreq(6).astype(x.dtype) * 6
    square = k[:, None] ** 2 + k[:4] ** 2
    return jnp.where(square == 0, 0, x / jnp.where(square == 0, 1, square))


def grid(x):
    """Distances of constants, of which some are 0, by every operation that keeps that; others that are not exact."""
    t = (jnp.arange(-2, 2, dtype=x.dtype) + 1) / 4
    zero = (t - 0.25 == 0.25, t * 3 == 0, jnp.sqrt(t * t) == 0, t / 3 == 0, t**3 + t == 0, (t * 1j) * (2 + 1j) == 0)
    inexact = (t / 3, t / 3 * 0.7, t / 3 + 0.7, t * 0.3 - t, (t * 0.3) ** 2)
    return inexact, tuple(jnp.where(z, x[0], 1 / x[0]) for z in zero)


def around(draw):
    return np.array([90, 105, 127], np.int8), draw.numbers(3, wide=False), draw.numbers(3, wide=False)


def wrapped(n, x, y):
    """Integers in a known range whose sums and negatives leave their formats."""
    total = jnp.clip(n, np.int8(100), np.int8(120)) + np.int8(100)
    negative = -jnp.clip(n.astype(np.uint8), np.uint8(5), np.uint8(9))
    one = x.dtype.type(1)
    return jnp.where(total > 120, one, x * x) * y, jnp.where(negative < 100, one, x * x) * y


CASES = [
    Case("integers that wrap around", wrapped, around, ("float32",)),
    Case("sums of whole numbers", lengths, counts, FLOATS, unbounded=True),
    Case("frequencies", frequencies, lambda draw: (draw.numbers(6, 4, wide=False),), FULL),
    Case("distances of constants", grid, lambda draw: (draw.numbers(6, 4, wide=False),), FULL),
]
