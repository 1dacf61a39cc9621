"""The larger and the smaller of two numbers.

Theorem: max and min are nonexpansive: |max(x', y') - max(x*, y*)| <= max(|x' - x*|, |y' - y*|). Where one of the two
wins over the whole reach of both, the other's error does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball, read_error
from precjax._registry import rule
from precjax._rounding import dtype_of, error_dtype, format_of, is_inexact, reordered, where
from precjax.rules.decision import above


@rule("max")
def max_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The winner's error where the winner is decided, else the larger of the two: max is nonexpansive."""
    return [_extremum(model, operands, outs[0], True)]


@rule("min")
def min_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """As max."""
    return [_extremum(model, operands, outs[0], False)]


def _extremum(model: Any, operands: Sequence[Annotated], out: Any, first_wins: bool) -> Any:
    """first_wins: whether the first operand is the result where it is above the second."""
    a, b = (Ball(x, error_dtype(out.dtype)) for x in operands)
    ea, eb = read_error(a), read_error(b)
    if ea is None and eb is None:
        return None
    for x, other in ((a, b), (b, a)):
        if _distinct(x.operand) and not other.exact:
            pair = (x, other) if first_wins else (other, x)
            decided = where(above(*pair, out.shape), 0.0, jnp.broadcast_to(other.error, out.shape))
            return where(lax.eq(out, out), decided, np.inf)
    larger, smaller = (ea, eb) if first_wins else (eb, ea)
    zero = jnp.zeros((), a.dtype)
    larger, smaller = (zero if e is None else e for e in (larger, smaller))
    decided = where(
        above(a, b, out.shape), larger, where(above(b, a, out.shape), smaller, lax.max(*_same(ea, eb, out)))
    )
    return where(lax.eq(out, out), reordered(decided), np.inf)


def _distinct(x: Annotated) -> bool:
    """A constant that no comparison takes for another number: 0, for which subnormals are read anyway, or a normal."""
    low, dtype = x.known.low, dtype_of(x.value)
    if x.error is not None or low != x.known.high:
        return False
    return low == 0 or not is_inexact(dtype) or abs(low) >= format_of(dtype).smallest_normal


def _same(ea: Any, eb: Any, out: Any) -> tuple[Any, Any]:
    dtype = error_dtype(out.dtype)
    return tuple(jnp.broadcast_to(jnp.asarray(0.0 if e is None else e, dtype), out.shape) for e in (ea, eb))


@rule("clamp")
def clamp(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """clamp(low, x, high) = min(max(x, low), high)."""
    low, x, high = operands
    inner = lax.max(x.value, jnp.broadcast_to(low.value, outs[0].shape))
    lower = max_(model, [x, low], [inner])[0]
    return min_(model, [Annotated(inner, lower), high], outs)
