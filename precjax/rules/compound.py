"""Rules for whole patterns: parts of a sum, normalisation, Adam's quotient.

Each is a theorem on a ratio whose size is bounded whatever its terms are, so that the error stays finite, and often
small, where the errors of the terms alone would explode. Patterns are recognised in `_patterns`; the result here only
ever lowers the error of the primitive at hand.
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
from precjax._rounding import format_of, minimum, plus, times
from precjax.rules.adam import adam_bound
from precjax.rules.softmax import at_most

_ROOM = 2.0**-16  # 16 quotients and roots of 16 roundings each, in float32


def tightest(model: Any, operands: Sequence[Annotated], out: Any, error: Any, quotient: bool) -> Any:
    """The error of a product or quotient, lowered where it completes a pattern.

    The theorems on patterns leave room for some roundings of quotients and roots, not for units in the last place.
    """
    if platforms.current().slack > _ROOM:
        return error
    for refine in (_part_of_sum, _normalized, adam_bound) if quotient else (_normalized,):
        bound = refine(model, operands, out, error.dtype, quotient)
        if bound is not None:
            return minimum(error, bound)
    return error


def _part_of_sum(model: Any, operands: Sequence[Annotated], out: Any, dtype: Any, quotient: bool) -> Any:
    """A non-negative number over a sum that contains it lies in [0, 1]."""
    if operands[0].known.low < 0 or patterns.part_of_sum(*operands) is None:
        return None
    return at_most(out, dtype, 0.0, 1.0)


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
