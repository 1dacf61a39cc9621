"""Rules for whole patterns: softmax, normalisation.

Each is a theorem on a ratio whose size is bounded whatever its terms are, so that the error stays finite, and often
small, where the errors of the terms alone would explode. Patterns are recognised in `_patterns`; the result here only
ever lowers the error of the primitive at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax import _patterns as patterns
from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._rounding import enlarged, equal, format_of, less, maximum, minimum, minus, plus, ratio, times, where
from precjax.rules.adam import adam_bound


def tightest(model: Any, operands: Sequence[Annotated], out: Any, error: Any, quotient: bool) -> Any:
    """The error of a product or quotient, lowered where it completes a pattern."""
    for refine in (_part_of_sum, _normalized, adam_bound) if quotient else (_normalized,):
        bound = refine(model, operands, out, error.dtype, quotient)
        if bound is not None:
            return minimum(error, bound)
    return error


def softmax_error(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any) -> Any:
    """Softmax p of x, shifted by any m: the error of m cancels; None if the quotient is no softmax.

    Let d_i bound the error of the computed log exp(x_i - m), but for that of m: e_i + u |s_i| and the rounding of exp.
    On the way from the exact to the computed logarithms, dp_i = p_i ((1 - p_i) d_i + sum_{j != i} p_j d_j), every p_j
    changing by at most exp(d_j + W), W = sum_j p_j (exp(d_j) - 1) exp(d_j). Sum and quotient round once more. Terms
    with large d are masked ones: exp(s_j + 3 d_j) bounds their part, as the largest term is exp(0). Where d or W is
    large, exact p_i <= p_i exp(d_i) / sum p_j exp(-d_j) <= (p_i + part_i) / (1 - W), and p is at most 1.
    """
    pattern = patterns.softmax(*operands)
    if pattern is None:
        return None
    s, x = model.ball(pattern.shifted, dtype), model.ball(pattern.operand, dtype)
    n = math.prod(out.shape[a] for a in pattern.axes)
    u, own = model.unit(out.dtype), format_of(dtype)
    exp_rounding = 1.02 * model.rounding(model.accuracy("exp", out.dtype).factor) * u  # exp(s) <= 1
    narrow = 1.0 if platforms.current().read_loss(out.dtype) else 5.0  # a cast of the sum; a subnormal reciprocal
    roundings = model.rounding(3.0 if out.dtype == dtype else 3.0 + narrow) * u
    sums = model.sum_rounding(n, pattern.accumulator, pairwise=True)
    last = model.join(*sums, roundings) * (1 + 4 * n * model.unit(pattern.accumulator))
    d = times(model.join(x.error, times(s.size, 1.02 * model.rounding(1.0) * u), exp_rounding + u), 1 + 8 * s.eps)
    if pattern.shifted.known.masked:  # by -inf, which nothing moves: exp(-inf) is 0
        d = where(equal(s.size, np.inf), 0.0 if x.exact else times(x.error, 0.0), d)
    p = lax.abs(out).astype(dtype)
    part = (
        times(p, d)
        if s.linear or x.linear
        else where(
            less(d, 0.5),
            times(p, d, plus(times(d, 0.65), 1.0), plus(times(d, 1.3), 1.0)),
            times(lax.exp(plus(s.high, times(d, 3.0))), 1.7),
        )
    )
    weight = model.accumulate(lambda v: lax.reduce_sum(v, pattern.axes), part)
    weight = enlarged(weight, n, dtype, flushed=4 * n)
    scale = ratio(jnp.ones_like(weight), maximum(minus(1 - 32 * s.eps, times(weight, 1 + 4 * s.eps)), 0.0))
    kept = [i for i in range(out.ndim) if i not in pattern.axes]
    weight, scale = (lax.broadcast_in_dim(row, out.shape, kept) for row in (weight, scale))
    rest = times(weight, 4 * n * own.unit_roundoff)
    others = plus(model.without(weight, part), rest)
    own_share = plus(maximum(minus(1.0, p), 0.0), last + format_of(out.dtype).unit_roundoff)
    moved = model.join(times(plus(own_share, others), d), others)
    if s.linear or x.linear:
        return minimum(
            plus(times(p, model.join(moved, last)), 4 * model.underflow(out.dtype)), _at_most(out, dtype, 0.0, 1.0)
        )
    bent = plus(times(plus(d, weight), 4.0), 1.0 + 32 * s.eps)
    bound = plus(times(p, bent, model.join(moved, last)), 4 * model.underflow(out.dtype))
    regular = lax.bitwise_and(less(d, 0.125), less(weight, 0.125))
    far = times(plus(part, times(p, plus(weight, last)), 4 * model.underflow(out.dtype)), scale)
    return where(regular, bound, minimum(far, _at_most(out, dtype, 0.0, 1.0)))


def _at_most(out: Any, dtype: Any, low: float, high: float) -> Any:
    """Distance of the value to the farther end of the range of the exact result."""
    value = out.astype(dtype)
    distance = lax.max(lax.sub(value, jnp.asarray(low, dtype)), lax.sub(jnp.asarray(high, dtype), value))
    return times(distance, 1 + 8 * format_of(out.dtype).unit_roundoff)


def _part_of_sum(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any, quotient: bool) -> Any:
    """A non-negative number over a sum that contains it lies in [0, 1]."""
    if operands[0].known.low < 0 or patterns.part_of_sum(*operands) is None:
        return None
    return _at_most(out, dtype, 0.0, 1.0)


def _normalized(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any, quotient: bool) -> Any:
    """LayerNorm, BatchNorm, RMSNorm: y_i**2 <= sum of squares = n variance, so |y_i| / sqrt(variance + eps) <= sqrt(n).

    The exact result, times a scale s, lies within sqrt(n) |s*|; so the error is at most |value| + sqrt(n) (|s| + e_s).
    """
    pattern = patterns.normalized(*operands, quotient)
    if pattern is None:
        return None
    size = jnp.asarray(1.0, dtype) if pattern.scale is None else _size(model.ball(pattern.scale, dtype))
    return times(
        plus(lax.abs(out).astype(dtype), times(size, math.sqrt(pattern.count))),
        1 + 16 * format_of(out.dtype).unit_roundoff,
    )


def _size(x: Ball) -> Any:
    return jnp.asarray(plus(x.size, x.error), x.dtype)
