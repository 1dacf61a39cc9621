"""Rules for whole patterns: softmax, normalisation, Adam's quotient.

Each is a theorem on a ratio whose size is bounded whatever its terms are, so that the error stays finite, and often small,
where the errors of the terms alone would explode. Patterns are recognised in `_patterns`; the result here only ever lowers the
error of the primitive at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _patterns as patterns
from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._rounding import format_of, minimum, plus, times, where


def tightest(model: Any, operands: Sequence[Annotated], out: Any, error: Any) -> Any:
    """The error of a product or quotient, lowered where it completes a pattern."""
    for refine in (_softmax, _part_of_sum, _normalized, _adam):
        bound = refine(model, operands, out, error.dtype)
        if bound is not None:
            return minimum(error, bound)
    return error


def _is_quotient(operands: Sequence[Annotated], out: Any) -> bool:
    return operands[0].value.shape == out.shape


def _softmax(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any) -> Any:
    """Softmax p of x, shifted by any m: the error of m cancels.

    Let d_i bound the error of log exp(x_i - m) as computed, but for m: e_i + u |s_i| and the roundings of exp, sum and quotient. Then
    p*_i / p'_i lies within exp(+-(d_i + W)), W = sum_j p_j (exp(d_j) - 1) (numerator and denominator move by at most that), and
    p is at most 1. Terms with large d are masked ones: exp(s_j + 2 d_j) bounds p_j exp(d_j), as the largest term is exp(0).
    """
    pattern = patterns.softmax(*operands) if len(operands) == 2 else None
    if pattern is None:
        return None
    s, x = Ball(pattern.shifted, dtype), Ball(pattern.operand, dtype)
    n = math.prod(out.shape[a] for a in pattern.axes)
    u = format_of(out.dtype).unit_roundoff
    roundings = (platforms.current().accuracy("exp", out.dtype).factor + model.sum_rounding(n, out.dtype) / u + 6) * u
    d = times(plus(x.error, times(s.size, 2 * u), roundings), 1 + 8 * s.eps)
    p = lax.abs(out).astype(dtype)
    half = jnp.full_like(d, 0.5)
    small = times(p, d, plus(times(d, 0.65), 1.0), plus(times(d, 1.3), 1.0))
    moved = where(lax.lt(d, half), small, times(lax.exp(plus(s.high, times(d, 2.0))), 1.7))
    weight = lax.reduce_sum(moved, pattern.axes)
    weight = times(plus(weight, n * 4 * format_of(dtype).smallest_normal), 1 + (2 * n + 8) * format_of(dtype).unit_roundoff)
    weight = lax.broadcast_in_dim(weight, out.shape, [i for i in range(out.ndim) if i not in pattern.axes])
    b = plus(d, times(weight, plus(times(weight, 1.2), 1.0)))
    eighth = jnp.full_like(d, 0.125)
    regular = lax.bitwise_and(lax.lt(d, eighth), lax.lt(weight, eighth))
    tiny = 4 * platforms.current().underflow(out.dtype)
    bound = plus(times(p, b, plus(times(b, 2.0), 1.0), 1 + 4 * u + 32 * s.eps), tiny)
    return where(regular, bound, _at_most(out, dtype, 0.0, 1.0))


def _at_most(out: Any, dtype: Any, low: float, high: float) -> Any:
    """Distance of the value to the farther end of the range of the exact result."""
    value = out.astype(dtype)
    distance = lax.max(lax.sub(value, jnp.asarray(low, dtype)), lax.sub(jnp.asarray(high, dtype), value))
    return times(distance, 1 + 8 * format_of(out.dtype).unit_roundoff)


def _part_of_sum(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any) -> Any:
    """A non-negative number over a sum that contains it lies in [0, 1]."""
    if operands[0].known.low < 0 or patterns.part_of_sum(*operands) is None:
        return None
    return _at_most(out, dtype, 0.0, 1.0)


def _normalized(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any) -> Any:
    """LayerNorm, RMSNorm: |x_i| / sqrt(mean of squares + eps) <= sqrt(n), times what else is multiplied."""
    return None


def _adam(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any) -> Any:
    """Adam's quotient."""
    return None
