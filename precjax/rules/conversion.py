"""Casts.

Theorem: a cast between float formats is the identity in exact arithmetic, so its error is its rounding: none to a
format that holds every number of the old one, at most u |x| otherwise. A float cast to an integer is truncated: a
decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._registry import rule
from precjax._rounding import (
    as_error,
    dtype_of,
    equal,
    error_dtype,
    format_of,
    is_inexact,
    less,
    maximum,
    minus,
    plus,
    saturates,
    times,
    where,
)
from precjax.rules.structural import explicit


@rule("convert_element_type")
def convert_element_type(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """By the kinds of both dtypes."""
    (x,), out = operands, outs[0]
    before = dtype_of(x.value)
    if before == out.dtype:
        return [x.error]
    if is_inexact(out.dtype):
        return [_to_float(model, x, out, before)]
    if out.dtype == jnp.bool_:
        return [_to_bool(x)]
    if is_inexact(before):
        return [_truncated(x, out)]
    return [_between_integers(x, out, before)]


def _to_float(model: Any, x: Annotated, out: Any, before: Any) -> Any:
    """Rounded to nearest, perhaps twice (float64 and wide integers to bfloat16 go through float32)."""
    if holds(out.dtype, before, x):
        return as_error(x.error, error_dtype(out.dtype))
    error = model.total(out, as_error(x.error, error_dtype(out.dtype)), ulps=1 + 2.0**-8)
    if x.known.masked and is_inexact(before):
        infinite = lax.bitwise_not(lax.is_finite(x.value))
        error = where(lax.bitwise_and(infinite, lax.eq(x.value, x.value)), explicit(model, x, error.dtype), error)
    if saturates(out.dtype):
        size = lax.convert_element_type(lax.abs(x.value), error.dtype)
        error = plus(error, times(maximum(minus(size, format_of(out.dtype).largest), 0.0), 1.001))
    if is_inexact(before):
        return error
    small = less(lax.abs(out).astype(error.dtype), 2.0 ** format_of(out.dtype).digits)
    return where(small, explicit(model, x, error.dtype), error)


def holds(after: Any, before: Any, x: Annotated) -> bool:
    """Whether every number of the old dtype, or of the known range, is one of the new."""
    digits = format_of(after).digits
    if not is_inexact(before):
        return before == jnp.bool_ or max(-x.known.low, x.known.high) <= 2.0**digits
    old, new = format_of(before), format_of(after)
    return old.digits <= new.digits and old.largest <= new.largest and old.smallest_normal >= new.smallest_normal


def _to_bool(x: Annotated) -> Any:
    """x != 0."""
    ball = Ball(x, error_dtype(dtype_of(x.value)))
    if ball.exact:
        return None if ball.absorbed is None else where(ball.subnormal, 1.0, jnp.zeros((), jnp.float32))
    certain = lax.bitwise_or(less(0.0, ball.near), equal(ball.error, 0.0))
    return where(certain, jnp.zeros((), jnp.float32), 1.0)


def _truncated(x: Annotated, out: Any) -> Any:
    """What lies between the truncations of both ends of the reach; inf where they saturate."""
    if x.error is None:
        return None
    ball = Ball(x, error_dtype(dtype_of(x.value)))
    value = lax.convert_element_type(out, ball.dtype)
    low, high = (lax.sign(end) * lax.floor(lax.abs(end)) for end in (ball.low, ball.high))
    spread = lax.max(lax.abs(lax.sub(high, value)), lax.abs(lax.sub(value, low)))
    limits = jnp.iinfo(out.dtype)
    inside = lax.bitwise_and(less(float(limits.min), low), less(high, float(limits.max)))
    certain = equal(ball.error, 0.0)
    return as_error(where(certain, 0.0, where(inside, times(spread, 1 + 4 * ball.eps), np.inf)), jnp.dtype(jnp.float32))


def _between_integers(x: Annotated, out: Any, before: Any) -> Any:
    """The same number, unless its ball leaves the new dtype: then it may wrap around anywhere."""
    if x.error is None or before == jnp.bool_:
        return x.error
    limits, size = jnp.iinfo(out.dtype), lax.convert_element_type(x.value, jnp.float32)
    # Wide integers were rounded to float32.
    slack = times(plus(lax.abs(size), x.error), 2.0**-22)
    low, high = lax.sub(size, plus(x.error, slack)), lax.add(size, plus(x.error, slack))
    inside = lax.bitwise_and(less(limits.min - 1.0, low), less(high, float(limits.max)))
    return where(lax.bitwise_or(inside, equal(x.error, 0.0)), x.error, np.inf)


@rule("reduce_precision")
def reduce_precision(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, exponent_bits: int, mantissa_bits: int
) -> list[Any]:
    """Rounds to fewer bits and flushes to zero below the target's smallest normal number (StableHLO specification)."""
    (x,), out = operands, outs[0]
    dtype, fmt = error_dtype(out.dtype), format_of(out.dtype)
    smallest = 2.0 ** (2 - 2 ** (exponent_bits - 1))
    if mantissa_bits + 1 >= fmt.digits and smallest <= fmt.smallest_normal:
        return [x.error]
    u = 2.0 ** -(mantissa_bits + 1)
    rounding = plus(times(lax.abs(x.value).astype(dtype), 2 * u), smallest)
    finite = lax.is_finite(out)
    return [where(finite, model.total(out, x.error, rounding, ulps=1), np.inf)]


@rule("bitcast_convert_type")
def bitcast_convert_type(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Bits are frozen: the exact program is the one that keeps the bits it reads from an inexact float."""
    (x,), out = operands, outs[0]
    if x.error is None or (is_inexact(dtype_of(x.value)) and not model.strict):
        return [None]
    doubt = model.doubt(x)
    if doubt.shape != out.shape:
        doubt = jnp.broadcast_to(jnp.any(doubt), out.shape)
    return [where(doubt, np.inf, jnp.zeros((), error_dtype(out.dtype)))]
