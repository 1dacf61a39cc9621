"""Places among sorted numbers, and interpolation between them.

Theorem: the place of v among sorted numbers a_j is how many of them are below it. Those whose balls are apart from that
of v are counted by all, so that two places differ by no more than the number of the others.

A piecewise linear function of exact knots has the Lipschitz constant L = max |f_j - f_(j-1)| / (x_j - x_(j-1)), and
changes by at most e_f if its values do. It is computed on the segment in which a computed x lies, perhaps from another
computed x, no more than twice the reach away, and is continued beyond the knots. So it differs from the exact one by
    3 L reach + e_f,
and the roundings of f_(j-1) + (x - x_(j-1)) / (x_j - x_(j-1)) (f_j - f_(j-1)). Whether x is left of a knot or right of
it in doubt, as the steps ask, does not matter.
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
    dtype_of,
    enlarged,
    error_dtype,
    format_of,
    is_inexact,
    minimum,
    never_nan,
    plus,
    times,
    where,
)


@rule("searchsorted")
def searchsorted(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, steps: Sequence[Annotated], **_: Any
) -> list[Any]:
    """How many numbers may be on either side; any place if the numbers may be in another order."""
    a, v = operands
    if not all(is_inexact(dtype_of(x.value)) for x in operands) or (a.error is None and v.error is None):
        return [steps[0].error]
    low, high = _ends(Ball(a, error_dtype(dtype_of(a.value))))
    first, last = _ends(Ball(v, error_dtype(dtype_of(v.value))))
    between = jnp.searchsorted(low, last, side="right") - jnp.searchsorted(high, first, side="left")
    n = low.shape[0]
    in_order = jnp.all(a.value[:-1] <= a.value[1:]) if a.error is None else jnp.all(high[:-1] <= low[1:])
    error = where(in_order, jnp.clip(between, 0, n), n).astype(jnp.float32)
    return [minimum(error, never_nan(model.explicit(steps[0]).error))]


def _ends(x: Ball) -> tuple[Any, Any]:
    """The smallest and the largest number that each may be; what is read as 0 is."""
    tiny = 2 * format_of(x.dtype).smallest_normal
    return lax.neg(never_nan(plus(lax.neg(x.low), tiny))), never_nan(plus(x.high, tiny))


@rule("interp")
def interp(
    model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, steps: Sequence[Annotated], **_: Any
) -> list[Any]:
    """What its steps say, or the Lipschitz constant times the error, if the knots are exact and increase."""
    x, knots, values = operands
    out, dtype = outs[0], error_dtype(outs[0].dtype)
    if x.error is None or knots.error is not None or any(dtype_of(o.value) != out.dtype for o in operands):
        return [steps[0].error]
    x, f = Ball(x, dtype), Ball(values, dtype)
    moved = jnp.max(never_nan(f.reach)) if f.reach is not None else None
    steps_of_f = plus(lax.abs(f.value[1:] - f.value[:-1]), times(moved, 2.0))
    knots = knots.value.astype(dtype)
    gaps = knots[1:] - knots[:-1]
    increase = jnp.all(gaps > 4 * float(jnp.finfo(out.dtype).eps) ** 2)  # what jnp.interp takes for no gap, and more
    slope = jnp.max(never_nan(steps_of_f / gaps))
    reach = never_nan(x.reach)
    turned = plus(jnp.max(steps_of_f), times(slope, reach, 2.0))
    bound = plus(times(slope, reach, 3.0), moved, times(turned, 8 * format_of(out.dtype).unit_roundoff))
    bound = where(increase, model.total(out, enlarged(bound, 16, dtype, flushed=4), steps=24, flushed=4), np.inf)
    return [minimum(never_nan(bound), never_nan(model.explicit(steps[0]).error))]
