"""Quotients and remainders of integers.

Theorem. trunc(a / b) is monotone in a, and in b on either side of 0: over a box that keeps b away from 0 it takes its
extremes at the corners, where integer arithmetic gives them exactly. Truncation moves no two numbers further apart than
the next whole number: for |a' - a*| <= e, |b' - b*| <= f and |a' / b'| <= q,
    |trunc(a' / b') - trunc(a* / b*)| <= ceil(t),   t = (e + q f) / |b*|.
The remainder a - b trunc(a / b) is linear while the quotient is one number n, and moves by e + |n| f; anyhow it has the
sign of a, and is at most |a|, and at most |b| - 1, in size.

What every execution computes is at its own distance from the exact result; other results are at most as far from it as
the extremes are from each other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._rounding import enlarged, error_dtype, less, magnitude, minimum, plus, ratio, times, where
from precjax.rules.integer import unsure


class _Ends(NamedTuple):
    """The smallest and the largest of the integers within reach, and where both are integers of the dtype."""

    low: Any
    high: Any
    inside: Any


def integer_quotient(model: Any, operands: Sequence[Annotated], out: Any) -> Any:
    """The error of a truncated quotient; inf where the divisor may be 0."""
    doubt = unsure(model, operands, out.shape)
    if doubt is None:
        return None
    a, b = (_ends(x, out) for x in operands)
    low, high = _extremes(a, b)
    spread = _spread(operands, out, low, high)
    steps = plus(lax.floor(_quotient_moves(operands, out, b, low, high)), 1.0)
    return _certain(doubt, _divisible(a, b), minimum(spread, steps))


def integer_remainder(model: Any, operands: Sequence[Annotated], out: Any) -> Any:
    """The error of a remainder; inf where the divisor may be 0."""
    doubt = unsure(model, operands, out.shape)
    if doubt is None:
        return None
    a, b = (_ends(x, out) for x in operands)
    low, high = _extremes(a, b)
    e, f = (_error(x, out) for x in operands)
    moved = enlarged(plus(e, times(magnitude(low, error_dtype(out.dtype)), f)), 4, error_dtype(out.dtype), flushed=0)
    zero, one = jnp.zeros_like(out), jnp.ones_like(out)
    size = lambda x: lax.max(_negated(x.low), x.high)  # noqa: E731
    most = lax.min(lax.sub(lax.max(size(b), one), one), lax.max(size(a), zero))
    bottom = where(lax.lt(a.low, zero), _negated(most), zero)
    spread = _spread(operands, out, bottom, where(lax.gt(a.high, zero), most, zero))
    error = where(lax.eq(low, high), minimum(moved, spread), spread)
    return _certain(doubt, _divisible(a, b), error)


def _certain(doubt: Any, divisible: Any, error: Any) -> Any:
    return where(doubt, where(divisible, error, np.inf), jnp.zeros((), error.dtype))


def _error(x: Annotated, out: Any) -> Any:
    error = Ball(x, error_dtype(out.dtype)).error
    return None if error is None else jnp.broadcast_to(error, out.shape)


def _ends(x: Annotated, out: Any) -> _Ends:
    """The reach, if it stays away from the ends of the dtype, whose negative one has no opposite."""
    value, ball, limits = jnp.broadcast_to(x.value, out.shape), Ball(x, error_dtype(out.dtype)), jnp.iinfo(out.dtype)
    size = lax.abs(lax.convert_element_type(value, ball.dtype))
    radius = jnp.zeros_like(size) if ball.exact else lax.ceil(jnp.broadcast_to(ball.reach, out.shape))
    inside = less(times(plus(size, radius), 1 + 4 * ball.eps), float(limits.max))
    if limits.min == 0:
        inside = lax.bitwise_and(inside, lax.le(radius, times(size, 1 - 4 * ball.eps)))
    whole = lax.convert_element_type(where(inside, radius, 0.0), out.dtype)
    return _Ends(lax.sub(value, whole), lax.add(value, whole), inside)


def _divisible(a: _Ends, b: _Ends) -> Any:
    """Where nothing overflows and the divisor keeps its sign."""
    zero = jnp.zeros_like(b.low)
    signed = lax.bitwise_or(lax.gt(b.low, zero), lax.lt(b.high, zero))
    return functools.reduce(lax.bitwise_and, (a.inside, b.inside, signed))


def _extremes(a: _Ends, b: _Ends) -> tuple[Any, Any]:
    """The smallest and the largest quotient, where the divisor keeps its sign."""
    zero, one = jnp.zeros_like(b.low), jnp.ones_like(b.low)
    divisors = [where(lax.eq(end, zero), one, end) for end in (b.low, b.high)]
    quotients = [lax.div(x, y) for x in (a.low, a.high) for y in divisors]
    return functools.reduce(lax.min, quotients), functools.reduce(lax.max, quotients)


def _quotient_moves(operands: Sequence[Annotated], out: Any, b: _Ends, low: Any, high: Any) -> Any:
    """t, with the quotient as large as it may be, and one more for what was truncated."""
    dtype = error_dtype(out.dtype)
    e, f = (_error(x, out) for x in operands)
    largest = plus(lax.max(magnitude(low, dtype), magnitude(high, dtype)), 1.0)
    near = times(lax.min(magnitude(b.low, dtype), magnitude(b.high, dtype)), 1 - 4 * Ball(operands[1], dtype).eps)
    return enlarged(ratio(plus(e, times(largest, f)), near), 8, dtype, flushed=0)


def _spread(operands: Sequence[Annotated], out: Any, low: Any, high: Any) -> Any:
    """How far the result is from the extremes; where it may be another one, how far they are apart."""
    dtype = error_dtype(out.dtype)
    if all(x.error is None or x.known.settled for x in operands):
        apart = lax.max(lax.sub(high, out), lax.sub(out, low))
    else:
        apart = lax.sub(high, low)
    # Beyond half of the integers, a difference may wrap around.
    wide = magnitude(low, dtype) + magnitude(high, dtype)
    eps = 4 * Ball(operands[0], dtype).eps
    return where(less(wide, 0.4 * jnp.iinfo(out.dtype).max), times(magnitude(apart, dtype), 1 + eps), times(wide, 1.01))


def _negated(x: Any) -> Any:
    return lax.neg(x) if jnp.issubdtype(x.dtype, jnp.signedinteger) else jnp.zeros_like(x)
