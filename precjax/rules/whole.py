"""Sums of whole numbers in floating point: counts that became floats, orders of functions, degrees of freedom.

Theorem: whole numbers up to 2**p, p the digits of the format, are exact in it, and so is their sum while it stays below
2**p, in any order where the sum of their sizes does. Which arrays are whole in exact arithmetic is known from their
making: from integers, or by floor; a computed one is the exact one where its error is 0. Exact ones can be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _patterns as patterns
from precjax._annotated import Annotated
from precjax._ball import Ball, subnormal
from precjax._rounding import dtype_of, equal, format_of, is_inexact, less, where

_DEPTH = 4  # of sums and moves; each sum asks twice


def exact_sum(a: Ball, b: Ball, out: Any, error: Any) -> Any:
    """The error of a sum, 0 where it is a sum of whole numbers that are exact."""
    if not (is_whole(a.operand) and is_whole(b.operand)):
        return error
    limit = 2.0 ** format_of(out.dtype).digits
    kept = less(lax.abs(out), limit)
    for x in (a, b):
        kept = lax.bitwise_and(kept, jnp.broadcast_to(less(jnp.asarray(x.size, x.dtype), limit), out.shape))
        if not x.exact:
            kept = lax.bitwise_and(kept, jnp.broadcast_to(equal(x.error, 0.0), out.shape))
    return where(kept, 0.0, error)


def exact_total(x: Ball, add: Callable[[Any], Any], out: Any, error: Any) -> Any:
    """The error of a sum of many, which `add` sums, 0 where it is one of whole numbers that are exact."""
    if x.is_complex or not (x.exact or is_whole(x.operand)):
        return error
    size = jnp.broadcast_to(jnp.asarray(x.size, x.dtype), np.shape(x.operand.value))
    if not x.exact:
        size = where(equal(x.error, 0.0), size, np.inf)
    elif not is_whole(x.operand):
        size = where(whole_numbers(jnp.asarray(x.operand.value)), size, np.inf)
    return where(less(add(size), 2.0 ** format_of(out.dtype).digits), 0.0, error)


def whole_numbers(value: Any) -> Any:
    """Where a float is a whole number, or infinite."""
    return lax.bitwise_and(lax.eq(value, lax.floor(value)), lax.bitwise_not(subnormal(value)))


def is_whole(x: Annotated, depth: int = _DEPTH) -> bool:
    """Whether the exact values are whole numbers."""
    if not is_inexact(dtype_of(x.value)):
        return True
    if x.known.low == x.known.high:
        return math.isfinite(x.known.low) and x.known.low.is_integer()
    if patterns.made_by(x, "floor", "ceil", "round"):
        return True
    passing = patterns.made_by(x, "convert_element_type", "broadcast_in_dim", "reshape", "squeeze", "add", "sub", "neg")
    return depth > 0 and passing and all(is_whole(y, depth - 1) for y in x.origin.operands)
