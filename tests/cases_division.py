"""Rows of quotients and remainders of integers, whose errors keep the divisor away from 0, or do not."""

import jax.numpy as jnp
import numpy as np
from cases import Case, Drawn
from jax import lax

N = 24


def divided(a, b):
    return lax.div(a, b), lax.rem(a, b), a // b, a % b


def away_from_zero(draw):
    a, b = draw.integers(N, low=-999, high=999), draw.integers(N, low=4, high=40)
    sign = draw.random.choice([-1, 1], N)
    return a, Drawn(b.value * np.int32(sign[0]), *((1, b.high) if sign[0] > 0 else (b.low, -1)))


def anything(dtype, low, high):
    def inputs(draw):
        a, b = draw.integers(N, low=low, high=high, dtype=dtype), draw.integers(N, low=low, high=high, dtype=dtype)
        b.value[::2] = np.sign(b.value[::2]) * (np.abs(b.value[::2]) % 5)
        return a, b

    return inputs


def of_floats(x, y):
    """Integers that another execution may compute differently: the divisor is 3 or 4, or 4 or 5."""
    a, b = jnp.floor(x * 20).astype(jnp.int32), jnp.round(2 + jnp.abs(jnp.sin(y)) * 2.6).astype(jnp.int32)
    return divided(a, b)


def division():
    """Only in the first and the last do divisors keep away from 0."""
    yield Case("division of integers", divided, away_from_zero, ("float32",))
    yield Case("division in 8 bits", divided, anything("int8", -128, 127), ("float32",), unbounded=True, rare=("float32",))
    yield Case("division without signs", divided, anything("uint8", 0, 255), ("float32",), unbounded=True, rare=("float32",))
    yield Case("division of large integers", divided, anything("int32", -(2**31), 2**31 - 1), ("float32",), unbounded=True, rare=("float32",))
    yield Case("division of computed integers", of_floats, lambda d: (d.numbers(N, wide=False), d.numbers(N, wide=False)), ("float32",), unbounded=True, rare=("float32",))


CASES = list(division())
