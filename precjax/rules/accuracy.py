"""How far XLA's result may be from the function: rows of the platform's table, and what their factors multiply.

Theorem: none. These are figures that were measured, each with its source in the table: an error is at most
factor * u * (|f| + scale). Where a function has roots, or poles that its formula meets term by term (the reflection of
lgamma and digamma left of 1/2), no multiple of |f| alone is true; the scale then has the size of these terms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax import platforms
from precjax._ball import Ball
from precjax._registry import MissingRuleError
from precjax._rounding import Format, format_of, less, maximum, plus, times, where


class Rounding(NamedTuple):
    """What a row says of results in a format.

    Attributes:
        ulps: factor of |f|, in units of the unit roundoff of the result.
        unit: factor times the unit roundoff of the arithmetic inside: what the scale is multiplied by.
        scale: name of the scale.
        inner: the format of the arithmetic inside.
        roundoff: the unit roundoff of that arithmetic.
    """

    ulps: float
    unit: float
    scale: str
    inner: Format
    roundoff: float


def row(model: Any, name: str, dtype: Any) -> Rounding:
    """The row of a primitive; a narrow format that has none computes in float32, and rounds once more.

    Raises:
        MissingRuleError: if nobody measured the primitive.
    """
    accuracy, unit = model.accuracy(name, dtype), model.unit(dtype)
    if accuracy is not None:
        return Rounding(accuracy.factor, accuracy.factor * unit, accuracy.scale, format_of(dtype), unit)
    accuracy = model.accuracy(name, jnp.float32) if format_of(dtype).digits < 24 else None
    if accuracy is None:
        raise MissingRuleError(
            f"no row of ulps for {name!r} in {dtype} on platform {platforms.current().name!r}; supply a rule with "
            f"precjax.defrule"
        )
    roundoff = model.unit(jnp.float32)
    inner = accuracy.factor * roundoff
    # Rounded twice, or kept wider: half a unit and a little.
    return Rounding(1.02 + inner / unit, inner, accuracy.scale, format_of(jnp.float32), roundoff)


def quotient_rounding(model: Any, dtype: Any) -> float:
    """How often a quotient is rounded, in units of u: once, where it is rounded correctly."""
    return max(row(model, "div", dtype).ulps, 1.0)


def rounding(model: Any, name: str, x: Ball, y: Any, out: Any) -> tuple[float, Any]:
    """(factor of |f|, further error) of a function of one number; y is |f|."""
    found = row(model, name, out.dtype)
    return found.ulps, _SCALES[found.scale](x, y, found.unit, found.inner)


# What the factor k of a row, times u, multiplies besides |f| = y.
_SCALES: dict[str, Callable[[Ball, Any, float, Format], Any]] = {
    "value": lambda x, y, k, fmt: None,
    "value_x": lambda x, y, k, fmt: times(y, x.far, k),
    "upper_tail": lambda x, y, k, fmt: times(y, lax.square(maximum(x.high, 0.0)), k),
    "value_log": lambda x, y, k, fmt: times(y, _log_size(x), k),
    "conditioned": lambda x, y, k, fmt: times(lax.exp(times(y, y, 1.01)), x.far, k),
    "near_largest": lambda x, y, k, fmt: times(where(less(y, fmt.largest / 4), 0.0, y), 3 * k),
    "reciprocal": lambda x, y, k, fmt: 1.01 / fmt.largest,  # 1 / t is 0 where t overflows
    "lgamma": lambda x, y, k, fmt: times(plus(_reflected(x, lambda t: times(t, lax.log1p(t))), 1.0), k),
    "digamma": lambda x, y, k, fmt: times(plus(_reflected(x, lax.log1p), 1.0), k),
}


def _log_size(x: Ball) -> Any:
    """|log |x||, not smaller over the reach than 1 - the near end would have it; 0 counts as its own result is 0."""
    size = lax.max(jnp.asarray(x.size, x.dtype), jnp.asarray(format_of(x.dtype).smallest_normal, x.dtype))
    return plus(times(lax.abs(lax.log(size)), 1.01), 1.0)


def _reflected(x: Ball, function: Callable[[Any], Any]) -> Any:
    """A function of |x| where f(x) may be computed from f(1 - x), left of 1/2; it bounds f(1 + |x|) - f(1) there."""
    far = jnp.asarray(x.far, x.dtype)
    return where(less(x.low, 0.5), times(function(far), 1.01), jnp.zeros_like(far))
