"""Elementary functions of one real number.

Theorem: |f(x') - f(x*)| <= sup |f'| |x' - x*| over the reach of x, and the computed result differs from f(x') by at
most the platform's table, factor u scale, plus an underflow. A bound of sup |f'| comes from where |f'| is largest on an
interval (the near end of the reach, if |f'| falls with |x|; the far end, if it grows), or from the value itself and a
bound of f'': |f'| <= |f'(x)| + reach sup |f''|.

To add a function: one row in `platforms/cpu.csv` and one `defelementary` line (see README.md in this folder).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated, Known
from precjax._ball import Ball
from precjax._registry import rule
from precjax._rounding import error_dtype, format_of, less, maximum, minimum, minus, plus, ratio, times, typed, where
from precjax.rules.accuracy import rounding

Spread = Callable[[Ball, Any], Any]
Image = Callable[[Known], tuple[float, float] | None]


def defelementary(
    name: str,
    spread: Spread,
    bounds: tuple[float, float] | None = None,
    image: Image | None = None,
    singular: bool = False,
) -> None:
    """Registers an elementary function.

    Args:
        name: the primitive, with a row in the platform's table.
        spread: ``spread(x, y)``: upper bound of |f(x') - f(x*)| for an inexact `Ball` x and y = |value| in the dtype of
            errors.
        bounds: the range of f, if it is bounded: the error never exceeds the distance to its ends.
        image: ``image(known)``: such a range where it follows from the static range of x, else None.
        singular: whether f or f' is unbounded at 0, so that reading a subnormal as 0 matters.
    """

    @rule(name)
    def elementary(
        model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, accuracy: Any = None
    ) -> list[Any]:
        out = outs[0]
        x = model.ball(operands[0], error_dtype(out.dtype))
        limits = bounds or (image and image(operands[0].known))
        y = lax.abs(out).astype(x.dtype)
        moved = spread(x, y) if not x.exact else _reading(x, singular)
        ulps, more = rounding(model, name, x, y, out)
        allowed = _tolerated(accuracy, y, format_of(out.dtype).unit_roundoff)
        error = model.total(out, moved, more, allowed, ulps=ulps, steps=24, flushed=2)
        return [error if limits is None else inside(error, out, limits)]


def _tolerated(accuracy: Any, y: Any, u: float) -> Any:
    """What a ``lax.Tolerance`` allows an implementation to err more; None for anything else."""
    if not hasattr(accuracy, "rtol"):
        return None
    return plus(times(y, 1.01 * (accuracy.rtol + 2 * accuracy.ulps * u)), float(accuracy.atol))


def _reading(x: Ball, singular: bool) -> Any:
    """An exact subnormal read as 0 moves a smooth function by less than an underflow, a singular one by anything."""
    if x.absorbed is None:
        return None
    return where(x.subnormal, math.inf, jnp.zeros((), x.dtype)) if singular else times(x.absorbed, 2.0)


def inside(error: Any, out: Any, bounds: tuple[float, float]) -> Any:
    """Both the value, but for a little, and the exact result lie within the bounds."""
    value = out.astype(error.dtype)
    widest = lax.max(
        lax.sub(value, jnp.asarray(bounds[0], error.dtype)), lax.sub(jnp.asarray(bounds[1], error.dtype), value)
    )
    widest = plus(times(widest, 1 + 16 * format_of(out.dtype).unit_roundoff), 16 * format_of(error.dtype).unit_roundoff)
    return minimum(error, widest)


# Small errors use a polynomial in e that bounds exp(e) - 1 (0.6 e + 1 >= (exp(e) - 1) / e for e <= 1/2), large ones the
# function at the high end: it is not smaller than the difference, and finite where the product would be inf * 0.
def _exp_spread(x: Ball, y: Any) -> Any:
    if x.linear:
        return times(y, x.error)
    small = times(y, x.error, plus(times(x.error, 0.6), 1.0), plus(times(x.error, 1.3), 1.0))
    return where(less(x.error, 0.5), small, times(lax.exp(x.high), 1.01))


def _exp_image(known: Known) -> tuple[float, float] | None:
    return (0.0, 1.0) if known.high <= 0 else None


def _log_image(known: Known) -> tuple[float, float] | None:
    """log of the sum of a shifted softmax lies between 0 and log n."""
    return (math.log(known.low), math.log(known.high)) if 0 < known.low and known.high < math.inf else None


def _exp2_spread(x: Ball, y: Any) -> Any:
    if x.linear:
        return times(y, x.error, math.log(2))
    small = times(y, x.error, plus(times(x.error, 0.5), 1.0), plus(x.error, 1.0), math.log(2) * 1.0001)
    return where(less(x.error, 0.5), small, times(lax.exp2(x.high), 1.01))


def _expm1_spread(x: Ball, y: Any) -> Any:
    derivative = plus(lax.exp(x.value), 0.0)
    return _exp_spread(x, times(derivative, 1.01))


def _over_low(shift: float = 0.0, factor: float = 1.0) -> Spread:
    """e / (shift + low end): the logarithms."""

    def spread(x: Ball, y: Any) -> Any:
        lowest = plus(x.low, shift) if shift else x.low
        room = times(maximum(lowest, 0.0), 1 - 4 * x.eps)
        return times(ratio(x.error, room), factor)

    return spread


def _sqrt_spread(x: Ball, y: Any) -> Any:
    """|a - b| / (sqrt a + sqrt b), and at most sqrt |a - b|, for exact operands that have a root.

    The ball of a computed sum of squares near 0 holds negative numbers, although the exact one never is: inf there
    would make Adam's and every norm's gradient useless at 0.
    """
    near = lax.sqrt(x.near)
    other = y if x.operand.known.settled else near
    return minimum(ratio(x.error, plus(other, near)), lax.sqrt(x.error))


def _rsqrt_spread(x: Ball, y: Any) -> Any:
    """e / (sqrt a sqrt b (sqrt a + sqrt b)) <= 1 / sqrt near; a range that excludes 0 keeps it finite."""
    near = x.low if x.operand.known.low > 0 else maximum(x.low, 0.0)
    share = lax.min(*typed(times(ratio(x.error, near), 0.5), 1.0))
    return ratio(share, lax.sqrt(near))


def _cbrt_spread(x: Ball, y: Any) -> Any:
    """e / (3 near**(2/3)) on one side of 0; at most cbrt(4 e) anywhere."""
    root = times(lax.cbrt(x.near), 1 - 2e-5)
    slope = ratio(ratio(x.error, times(root, 3.0)), root)
    return minimum(slope, times(lax.cbrt(times(x.error, 4.0)), 1.0001))


def _tanh_spread(x: Ball, y: Any) -> Any:
    """f' = (1 - f)(1 + f) at the value, |f''| <= 0.77, f' <= 1."""
    derivative = times(lax.sub(jnp.ones_like(y), y), plus(y, 1.0))
    slope = plus(derivative, times(x.reach, 0.77), _value_slack(x))
    return times(minimum(slope, 1.0), x.error)


def _logistic_spread(x: Ball, y: Any) -> Any:
    """f' = f (1 - f) at the value, |f''| <= 0.097, f' <= 1/4; on the left f' <= f, which grows by exp(reach)."""
    derivative = times(y, lax.sub(jnp.ones_like(y), y))
    slope = minimum(plus(derivative, times(x.reach, 0.097), _value_slack(x)), jnp.asarray(0.25, x.dtype))
    left = times(plus(y, 2 * format_of(x.dtype).smallest_normal), plus(times(x.reach, 2.0), 1.01))
    near = less(x.reach, 1.0)
    return times(where(near, minimum(slope, left), slope), x.error)


def _value_slack(x: Ball) -> float:
    """What the rounding of the value may hide from a slope that is computed from it."""
    return 32 * format_of(x.operand.value.dtype).unit_roundoff


def _co(y: Any) -> Any:
    """sqrt(1 - y**2), rounded up by what the value's own error may hide."""
    return lax.sqrt(maximum(lax.sub(jnp.ones_like(y), lax.mul(y, y)), 0.0))


def _wave_spread(x: Ball, y: Any) -> Any:
    """sin and cos: |f'| = sqrt(1 - f**2), |f''| <= 1, never more than 2."""
    u = format_of(x.operand.value.dtype).unit_roundoff
    slope = minimum(plus(_co(y), x.reach, math.sqrt(8 * u)), 1.0)
    return times(slope, x.error)


def _tan_spread(x: Ball, y: Any) -> Any:
    """tan(x + d) - tan x = (1 + y**2) t / (1 - y t), t = tan d <= 1.1 d, d <= 1/2: inf where a pole may be in reach."""
    t = times(x.reach, 1.1)
    size = times(y, 1 + 16 * format_of(x.operand.value.dtype).unit_roundoff)
    room = maximum(plus(1.0, times(size, t, -1.0)), 0.0)
    room = where(less(x.reach, 0.5), times(room, room), 0.0)
    return ratio(times(x.error, plus(times(size, size), 1.0), plus(times(t, t), 1.0)), room)


def _over_near(denominator: Callable[[Any], Any], factor: float = 1.0) -> Spread:
    """e factor / denominator(near end): |f'| falls with |x|."""
    return lambda x, y: times(ratio(x.error, times(denominator(x.near), 1 - 8 * x.eps)), factor)


def _one_plus_square(t: Any) -> Any:
    """1 + t**2, which must not overflow: a divisor may be too small, not too large."""
    t = lax.min(*typed(t, 2.0**62))
    return plus(times(t, t), 1.0)


def _hypotenuse(t: Any) -> Any:
    """sqrt(1 + t**2), at least t."""
    return maximum(lax.sqrt(_one_plus_square(t)), t)


def _gauss_spread(x: Ball, y: Any) -> Any:
    """erf, erfc: f' = 2 / sqrt(pi) exp(-x**2) falls with |x|."""
    return times(x.error, lax.exp(times(x.near, x.near, -(1 - 8 * x.eps))), 2 / math.sqrt(math.pi) * 1.001)


def _arc_spread(x: Ball, y: Any) -> Any:
    """1 / sqrt(1 - far**2), and at most pi sqrt(e / 2), the arc at the end of the domain; inf where x may leave it."""
    room = maximum(minus(1.0, x.far), 0.0)
    slope = ratio(x.error, lax.sqrt(times(room, plus(x.far, 1.0), 1 - 8 * x.eps)))
    inside = minimum(slope, times(lax.sqrt(times(x.error, 0.5)), math.pi * 1.0001))
    known = x.operand.known
    if known.low >= -1.0 - 1e-9 and known.high <= 1.0 + 1e-9:
        return inside
    return where(less(minus(1.0, x.size), x.reach), math.inf, inside)


def _acosh_spread(x: Ball, y: Any) -> Any:
    """1 / sqrt(low**2 - 1), and at most acosh(1 + e) <= sqrt(2 e): acosh is concave; inf where x may be below 1."""
    room = maximum(minus(x.low, 1.0), 0.0)
    slope = ratio(x.error, times(lax.sqrt(room), lax.sqrt(plus(x.low, 1.0)), 1 - 8 * x.eps))
    inside = minimum(slope, times(lax.sqrt(times(x.error, 2.0)), 1.0001))
    return inside if x.operand.known.low >= 1.0 - 1e-9 else where(less(minus(x.value, 1.0), x.reach), math.inf, inside)


def _atanh_spread(x: Ball, y: Any) -> Any:
    room = maximum(minus(1.0, x.far), 0.0)
    return ratio(x.error, times(room, plus(x.far, 1.0), 1 - 8 * x.eps))


def _sinh_spread(x: Ball, y: Any) -> Any:
    """|f'| = cosh <= (|sinh| + 1) exp(reach)."""
    return times(plus(y, 1.0), x.error, lax.exp(x.reach), 1.001)


def _cosh_spread(x: Ball, y: Any) -> Any:
    """|f'| = |sinh| <= min(1, |x|) cosh, at the far end."""
    return times(y, x.error, lax.exp(x.reach), minimum(x.far, 1.0), 1.001)


def _erf_inv_spread(x: Ball, y: Any) -> Any:
    """f' = sqrt(pi) / 2 exp(f**2) grows with |x|: taken at the far end, inf where that leaves the domain."""
    end = lax.erf_inv(minimum(x.far, 1.0))
    return times(x.error, lax.exp(times(end, end, 1.001)), math.sqrt(math.pi) / 2 * 1.01)


defelementary("exp", _exp_spread, image=_exp_image)
defelementary("exp2", _exp2_spread)
defelementary("expm1", _expm1_spread)
defelementary("log", _over_low(), image=_log_image, singular=True)
defelementary("log2", _over_low(factor=1.4427), singular=True)
defelementary("log1p", _over_low(shift=1.0))
defelementary("sqrt", _sqrt_spread, singular=True)
defelementary("rsqrt", _rsqrt_spread, singular=True)
defelementary("cbrt", _cbrt_spread, singular=True)
defelementary("logistic", _logistic_spread, (0.0, 1.0))
defelementary("tanh", _tanh_spread, (-1.0, 1.0))
defelementary("sin", _wave_spread, (-1.0, 1.0))
defelementary("cos", _wave_spread, (-1.0, 1.0))
defelementary("tan", _tan_spread)
defelementary("asin", _arc_spread)
defelementary("acos", _arc_spread)
defelementary("atan", _over_near(_one_plus_square), (-math.pi / 2, math.pi / 2))
defelementary("sinh", _sinh_spread)
defelementary("cosh", _cosh_spread)
defelementary("asinh", _over_near(_hypotenuse))
defelementary("acosh", _acosh_spread)
defelementary("atanh", _atanh_spread)
defelementary("erf", _gauss_spread, (-1.0, 1.0))
defelementary("erfc", _gauss_spread, (0.0, 2.0))
defelementary("erf_inv", _erf_inv_spread)
