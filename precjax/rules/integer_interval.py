"""What integers may be, as the smallest and the largest of them, and how far a result is from its own extremes.

What every execution computes is at its own distance from the exact result; other results are at most as far from it as
the extremes are from each other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._rounding import error_dtype, less, magnitude, plus, times, where


class Ends(NamedTuple):
    """The smallest and the largest of the integers within reach, and where both are integers of the dtype."""

    low: Any
    high: Any
    inside: Any


def ends(x: Annotated, out: Any) -> Ends:
    """The reach, if it stays away from the ends of the dtype, whose negative one has no opposite."""
    value, ball, limits = jnp.broadcast_to(x.value, out.shape), Ball(x, error_dtype(out.dtype)), jnp.iinfo(out.dtype)
    size = lax.abs(lax.convert_element_type(value, ball.dtype))
    radius = jnp.zeros_like(size) if ball.exact else lax.ceil(jnp.broadcast_to(ball.reach, out.shape))
    inside = less(times(plus(size, radius), 1 + 4 * ball.eps), float(limits.max))
    if limits.min == 0:
        below = where(less(size, 2.0**20), size, times(size, 1 - 4 * ball.eps))  # small integers are floats
        inside = lax.bitwise_and(inside, lax.le(radius, below))
    whole = lax.convert_element_type(where(inside, radius, 0.0), out.dtype)
    return Ends(lax.sub(value, whole), lax.add(value, whole), inside)


def spread(operands: Sequence[Annotated], out: Any, low: Any, high: Any) -> Any:
    """How far the result is from the extremes; where it may be another one, how far they are apart."""
    dtype = error_dtype(out.dtype)
    settled = all(x.error is None or x.known.settled for x in operands)
    distances = [lax.sub(high, out), lax.sub(out, low)] if settled else [lax.sub(high, low)]
    apart = functools.reduce(lax.max, distances)
    # None is negative, unless it has left the dtype.
    wrapped = lax.lt(functools.reduce(lax.min, distances), jnp.zeros_like(apart))
    # The smallest integer has no modulus in its own dtype.
    wide = plus(*(lax.abs(lax.convert_element_type(x, dtype)) for x in (low, high)))
    return times(where(wrapped, wide, magnitude(apart, dtype)), 1 + 4 * Ball(operands[0], dtype).eps)


def certain(doubt: Any, known: Any, error: Any) -> Any:
    """The error where an operand is in doubt, inf where nothing is known of the result."""
    return where(doubt, where(known, error, jnp.inf), jnp.zeros((), error.dtype))
