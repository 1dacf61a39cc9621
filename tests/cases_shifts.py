"""Rows of shifts of integers with errors, by numbers of bits with errors."""

import jax.numpy as jnp
from cases import Case, Drawn
from jax import lax

N = 24


def shifted(x, n):
    return lax.shift_left(x, n), lax.shift_right_arithmetic(x, n), lax.shift_right_logical(x, n)


def integers(dtype, low, high, bits):
    """None of which loses a bit on the left."""

    def inputs(draw):
        x, n = draw.integers(N, low=low, high=high, dtype=dtype), draw.integers(N, low=0, high=bits, dtype=dtype)
        return Drawn(x.value, low, high), Drawn(n.value, 0, bits)

    return inputs


def of_floats(x, y):
    """Integers that another execution may compute differently."""
    return shifted(jnp.floor(x * 20).astype(jnp.int32), jnp.round(jnp.abs(jnp.sin(y)) * 2.6).astype(jnp.int32))


ROWS = {
    "shifts": integers("int32", -999, 999, 9),
    "shifts in 8 bits": integers("int8", -8, 7, 3),
    "shifts without signs": integers("uint8", 0, 15, 3),
    "shifts of anything": lambda draw: (draw.integers(N, low=-(2**31), high=2**31 - 1), draw.integers(N, low=-1, high=40)),
}
CASES = [Case(name, shifted, inputs, ("float32",), unbounded=name != "shifts without signs", rare=("float32",)) for name, inputs in ROWS.items()]
CASES.append(Case("shifts of computed integers", of_floats, lambda d: (d.numbers(N, wide=False), d.numbers(N, wide=False)), ("float32",), unbounded=True, rare=("float32",)))
