"""What the operands of a function of two or three numbers may be, as intervals of the result's shape.

Theorem: every computed and every exact value of an operand lies between `low` and `high`; where an inexact array has
the error 0, both are the value itself. Logarithms are those of the smallest normal number, below that.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax._ball import Ball
from precjax._rounding import equal, format_of, less, maximum, where


class Interval(NamedTuple):
    """What an operand may be: everything within its reach, as arrays of the result's shape.

    Attributes:
        value: the tracked value.
        low: the smallest number in reach; -inf for an exact subnormal, which may be read as 0.
        high: the largest.
        error: its error, None if exact.
        reach: radius of the reach, None if exact.
    """

    value: Any
    low: Any
    high: Any
    error: Any
    reach: Any


def interval(x: Ball, out: Any) -> Interval:
    """The operand of an elementwise function."""
    fill = functools.partial(jnp.broadcast_to, shape=out.shape)
    value = fill(jnp.asarray(x.value, x.dtype))
    if x.exact:
        low = value if x.absorbed is None else where(fill(x.subnormal), -jnp.inf, value)
        return Interval(value, low, value, None, None)
    certain = equal(fill(x.error), 0.0)
    low, high = (where(certain, value, fill(end)) for end in (x.low, x.high))
    return Interval(value, low, high, fill(x.error), fill(x.reach))


def touches(low: Any, high: Any) -> Any:
    """Where an interval starts at 0 and is more than that."""
    return lax.bitwise_and(lax.le(low, jnp.zeros_like(low)), less(0.0, high))


def log_size(x: Interval) -> Any:
    """Largest |log x|."""
    return lax.max(lax.abs(log(x.low)), lax.abs(log(x.high)))


def log(x: Any) -> Any:
    """The logarithm of a number that is not 0, or of the smallest normal number."""
    return lax.log(maximum(x, format_of(x.dtype).smallest_normal))
