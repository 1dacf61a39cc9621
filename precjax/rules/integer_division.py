"""Quotients and remainders of integers.

Theorem. trunc(a / b) is monotone in a, and in b on either side of 0: over a box that keeps b away from 0 it takes its
extremes at the corners, where integer arithmetic gives them exactly. Truncation moves no two numbers further apart than
the next whole number: for |a' - a*| <= e, |b' - b*| <= f and |a' / b'| <= q,
    |trunc(a' / b') - trunc(a* / b*)| <= ceil(t),   t = (e + q f) / |b*|.
The remainder a - b trunc(a / b) is linear while the quotient is one number n, and moves by e + |n| f; anyhow it has the
sign of a, and is at most |a|, and at most |b| - 1, in size.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._rounding import enlarged, error_dtype, magnitude, minimum, plus, ratio, times, where
from precjax.rules.integer import unsure
from precjax.rules.integer_interval import Ends, certain, ends, spread


def integer_quotient(model: Any, operands: Sequence[Annotated], out: Any) -> Any:
    """The error of a truncated quotient; inf where the divisor may be 0."""
    doubt = unsure(model, operands, out.shape)
    if doubt is None:
        return None
    a, b = (ends(x, out) for x in operands)
    low, high = _extremes(a, b)
    apart = spread(operands, out, low, high)
    steps = plus(lax.floor(_quotient_moves(operands, out, b, low, high)), 1.0)
    return certain(doubt, _divisible(a, b), minimum(apart, steps))


def integer_remainder(model: Any, operands: Sequence[Annotated], out: Any) -> Any:
    """The error of a remainder; inf where the divisor may be 0."""
    doubt = unsure(model, operands, out.shape)
    if doubt is None:
        return None
    a, b = (ends(x, out) for x in operands)
    low, high = _extremes(a, b)
    e, f = (_error(x, out) for x in operands)
    moved = enlarged(plus(e, times(magnitude(low, error_dtype(out.dtype)), f)), 4, error_dtype(out.dtype), flushed=0)
    zero, one = jnp.zeros_like(out), jnp.ones_like(out)
    size = lambda x: lax.max(_negated(x.low), x.high)  # noqa: E731
    most = lax.min(lax.sub(lax.max(size(b), one), one), lax.max(size(a), zero))
    bottom = where(lax.lt(a.low, zero), _negated(most), zero)
    apart = spread(operands, out, bottom, where(lax.gt(a.high, zero), most, zero))
    error = where(lax.eq(low, high), minimum(moved, apart), apart)
    return certain(doubt, _divisible(a, b), error)


def _error(x: Annotated, out: Any) -> Any:
    error = Ball(x, error_dtype(out.dtype)).error
    return None if error is None else jnp.broadcast_to(error, out.shape)


def _divisible(a: Ends, b: Ends) -> Any:
    """Where nothing overflows and the divisor keeps its sign."""
    zero = jnp.zeros_like(b.low)
    signed = lax.bitwise_or(lax.gt(b.low, zero), lax.lt(b.high, zero))
    return functools.reduce(lax.bitwise_and, (a.inside, b.inside, signed))


def _extremes(a: Ends, b: Ends) -> tuple[Any, Any]:
    """The smallest and the largest quotient, where the divisor keeps its sign."""
    zero, one = jnp.zeros_like(b.low), jnp.ones_like(b.low)
    divisors = [where(lax.eq(end, zero), one, end) for end in (b.low, b.high)]
    quotients = [lax.div(x, y) for x in (a.low, a.high) for y in divisors]
    return functools.reduce(lax.min, quotients), functools.reduce(lax.max, quotients)


def _quotient_moves(operands: Sequence[Annotated], out: Any, b: Ends, low: Any, high: Any) -> Any:
    """t, with the quotient as large as it may be, and one more for what was truncated."""
    dtype = error_dtype(out.dtype)
    e, f = (_error(x, out) for x in operands)
    largest = plus(lax.max(magnitude(low, dtype), magnitude(high, dtype)), 1.0)
    near = times(lax.min(magnitude(b.low, dtype), magnitude(b.high, dtype)), 1 - 4 * Ball(operands[1], dtype).eps)
    return enlarged(ratio(plus(e, times(largest, f)), near), 8, dtype, flushed=0)


def _negated(x: Any) -> Any:
    return lax.neg(x) if jnp.issubdtype(x.dtype, jnp.signedinteger) else jnp.zeros_like(x)
