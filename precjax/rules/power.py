"""Powers: of one number, of two, polynomials; and the angle of two numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import _jax_compat as compat
from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball, sign_bit, subnormal
from precjax._registry import complex_rule, find, refusal, rule
from precjax._rounding import (
    dtype_of,
    equal,
    error_dtype,
    format_of,
    is_inexact,
    less,
    maximum,
    minus,
    opaque,
    plus,
    ratio,
    times,
    where,
)
from precjax.rules.accuracy import quotient_rounding
from precjax.rules.integer import combine_integers


@rule("square")
def square(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """|x'^2 - x*^2| <= |x' - x*| |x' + x*|."""
    return [power_error(model, model.ball(operands[0], error_dtype(outs[0].dtype)), 2, outs[0])]


@rule("one_minus_square")
def one_minus_square(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """1 - x^2, perhaps as (1 - x)(1 + x): the square's error, and a rounding of each of its terms."""
    a = model.ball(operands[0], error_dtype(outs[0].dtype))
    rounding = times(plus(times(a.far, a.far), 1.0), 2 * model.unit(outs[0].dtype))
    return [model.total(outs[0], slope_square(a), rounding, ulps=2, flushed=3)]


def slope_square(a: Ball) -> Any:
    """|x' - x*| (|x'| + |x*|), both within the reach."""
    if a.linear:
        return times(a.absorbed, a.size, 2.0)
    return times(a.absorbed, plus(times(a.size, 2.0), a.reach, a.error))


@rule("integer_pow")
def integer_pow(model: Any, operands: Sequence[Annotated], outs: Sequence[Any], *, y: int) -> list[Any]:
    """Repeated products, n - 1 roundings in whatever tree; a reciprocal for a negative power."""
    out = outs[0]
    if not is_inexact(out.dtype):
        return [_integer_power_error(model, operands, y, out)]
    return [power_error(model, model.ball(operands[0], error_dtype(out.dtype)), y, out)]


def _integer_power_error(model: Any, operands: Sequence[Annotated], y: int, out: Any) -> Any:
    """The mean value theorem, far from where the integers end."""
    far = Ball(operands[0], error_dtype(out.dtype)).far
    return combine_integers(model, operands, out, lambda e: times(e, float(y), *[far] * (y - 1)))


@refusal("integer_pow")
def _unknown_quotient(eqn: Any) -> str | None:
    return platforms.current().reason_against("div", compat.dtypes(eqn)) if eqn.params["y"] < 0 else None


def power_error(model: Any, a: Ball, y: int, out: Any, product: float = 1.0, quotient: float | None = None) -> Any:
    """Mean value theorem: |y| |x|^(y-1) e, at the far end of the reach for y > 1, at the near end for y < 0."""
    if y == 0:
        return None
    if y == 1:
        return a.error
    if y == 2:
        return model.total(_squared_again(a, out), slope_square(a), ulps=product, flushed=2)
    if y > 2:
        slope = None if a.absorbed is None else times(lax.integer_pow(a.far, y - 1), float(y))
        return model.total(out, times(slope, a.absorbed), ulps=product * (y - 1), steps=y + 8, flushed=3 * y)
    near = a.size if a.exact else a.near
    ulps = product * (-y - 1) + (2 + quotient_rounding(model, out.dtype) if quotient is None else quotient)
    if isinstance(near, float):
        return model.total(out, ulps=ulps)
    # |y| near**y (e / near): the power may overflow only where the result may, too.
    farthest = ratio(1.0, lax.integer_pow(near, -y))
    moved = times(farthest, ratio(0.0 if a.absorbed is None else a.absorbed, near), -y)
    return model.total(out, moved, 1.01 / format_of(out.dtype).largest, ulps=ulps, steps=10 - y, flushed=2)


def _squared_again(a: Ball, out: Any) -> Any:
    """The square of an inexact number, made apart from the program's own.

    XLA:CPU hands a sum of squares to a library as it is, but stores them first if anything else reads them. Narrow
    formats may be squared in a wider one, where nothing overflows.
    """
    if a.exact or out.dtype != a.dtype:
        return out
    x = opaque(a.operand.value)
    return lax.mul(x, x)


@rule("pow")
def pow_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """x**y = exp(y log x): with t the error of y log |x|, |out| (exp(t) - 1).

    A negative base has an integer exponent, which must be certain. Small integer exponents may be computed by two
    products.
    """
    out = outs[0]
    x, y = (model.ball(o, error_dtype(out.dtype)) for o in operands)
    size = lax.abs(out).astype(x.dtype)
    t = _logarithmic_error(x, y, out)
    moved = None if t is None else grown(size, t, False)
    if y.error is not None:
        certain = lax.bitwise_or(_over(less(0.0, _lowest(x)), out), _over(lax.eq(y.error, jnp.zeros((), y.dtype)), out))
        moved = where(certain, moved, math.inf)
    ulps = max(model.accuracy("pow", out.dtype).factor, 2.5)
    return [model.total(out, moved, ulps=ulps, steps=64, flushed=2)]


def grown(size: Any, t: Any, linear: bool) -> Any:
    """size (exp(t) - 1), for a size that is itself uncertain by exp(t)."""
    if linear:
        return times(size, t)
    small = times(size, t, plus(times(t, 0.6), 1.0), plus(times(t, 1.3), 1.0))
    large = times(plus(size, format_of(t.dtype).smallest_normal), lax.exp(times(t, 2.02)))
    return where(less(t, 0.5), small, large)


def _lowest(x: Ball) -> Any:
    """The lowest value of the base."""
    return jnp.asarray(x.value if x.exact else x.low, x.dtype)


def _over(x: Any, out: Any) -> Any:
    return jnp.broadcast_to(x, out.shape)


def _logarithmic_error(x: Ball, y: Ball, out: Any) -> Any:
    """Error of y log |x|, over the reach of both."""
    spread = _log_spread(x)
    exponent = plus(y.error, _exponent_rounding(y, out))
    if spread is None and exponent is None:
        return None
    t = None if spread is None else times(spread, jnp.asarray(y.far, y.dtype))
    if exponent is not None:
        logarithm = times(lax.abs(lax.log(jnp.asarray(x.size, x.dtype))), 1.001)
        # Next to 1 the logarithm is of the order of what the size may be rounded by.
        turned = times(_over(plus(logarithm, spread, 4 * x.eps), out), _over(exponent, out))
        t = plus(None if t is None else _over(t, out), where(equal(_over(exponent, out), 0.0), 0.0, turned))
    return _over(t, out)


def _log_spread(x: Ball) -> Any:
    """Radius of log |x|: e / near; an exact subnormal may be read as 0."""
    if not x.exact:
        return ratio(plus(x.error, format_of(x.dtype).smallest_normal), x.near)
    return None if x.absorbed is None else where(x.subnormal, math.inf, jnp.zeros((), x.dtype))


def _exponent_rounding(y: Ball, out: Any) -> Any:
    """An integer exponent is converted to the format of the base."""
    if (
        is_inexact(dtype_of(y.operand.value))
        or max(-y.operand.known.low, y.operand.known.high) <= 2.0 ** format_of(out.dtype).digits
    ):
        return None
    rounded = less(2.0 ** format_of(out.dtype).digits, jnp.asarray(y.size, y.dtype))
    return where(
        rounded, times(jnp.asarray(y.size, y.dtype), format_of(out.dtype).unit_roundoff), jnp.zeros((), y.dtype)
    )


@rule("atan2")
def atan2(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Points no nearer than r to the origin, d apart: their angle is 2 asin(t / 2) <= t + t**3 / 20, t = d / r <= 1.

    Beyond that, and where the ball meets the cut (x < 0, y = 0), by anything up to 2 pi; so, too, where zeros have
    signs that real arithmetic does not know.
    """
    out = outs[0]
    y, x = (model.ball(o, error_dtype(out.dtype)) for o in operands)
    ulps = model.accuracy("atan2", out.dtype).factor
    if y.absorbed is None and x.absorbed is None:
        return [model.total(out, where(_signed_zeros(y, x, out), 2 * math.pi, 0.0), ulps=ulps)]
    moved = hypotenuse(_filled(y.absorbed, out), _filled(x.absorbed, out))
    reach = moved if y.operand.known.settled and x.operand.known.settled else times(moved, 2.0)
    distance = hypotenuse(_filled(y.size, out), _filled(x.size, out))
    room = maximum(minus(times(distance, 1 - 16 * x.eps), times(reach, 1 + 16 * x.eps)), 0.0)
    t = ratio(moved, room)
    angle = where(less(t, 1.0), times(t, plus(times(t, t, 0.05), 1.0)), 2 * math.pi)
    certain = lax.bitwise_and(equal(_full(y.error, out), 0.0), equal(_full(x.error, out), 0.0))
    cut = lax.bitwise_and(
        less(_full(y.size, out), times(_full(y.absorbed, out), 2.5)),
        less(_full(x.value, out), times(_full(x.absorbed, out), 2.0)),
    )
    cut = lax.bitwise_or(lax.bitwise_and(cut, lax.bitwise_not(certain)), _signed_zeros(y, x, out))
    angle = where(cut, 2 * math.pi, angle)
    return [model.total(out, where(less(angle, 2 * math.pi), angle, 2 * math.pi), ulps=ulps, steps=48)]


def _signed_zeros(y: Ball, x: Ball, out: Any) -> Any:
    """Where y may be read as 0, and the angle hangs on the sign of a zero: y's beside a negative x, or that of x."""
    y, x = (jnp.broadcast_to(jnp.asarray(v.operand.value, out.dtype), out.shape) for v in (y, x))
    zero = lax.full_like(out, 0)
    unknown = lax.bitwise_or(lax.bitwise_or(sign_bit(y), subnormal(y)), lax.eq(x, zero))
    return lax.bitwise_and(lax.eq(y, zero), lax.bitwise_and(sign_bit(x), unknown))


def _filled(x: Any, out: Any) -> Any:
    """A quarter of it, so that no hypotenuse overflows: angles do not mind."""
    return times(_full(x, out), 0.25)


def _full(x: Any, out: Any) -> Any:
    return jnp.broadcast_to(jnp.asarray(0.0 if x is None else x, error_dtype(out.dtype)), out.shape)


def hypotenuse(a: Any, b: Any) -> Any:
    """sqrt(a**2 + b**2) without overflow."""
    large, small = lax.max(a, b), lax.min(a, b)
    slope = ratio(small, large)
    slope = where(less(slope, 1.0), slope, jnp.ones_like(slope))
    return times(large, lax.sqrt(plus(times(slope, slope), 1.0)))


@rule("polynomial")
def polynomial(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Horner's rule written out: multiply by x, add the next coefficient, from the last operand to the second."""
    return [_horner(model, operands, outs[0], find)]


@complex_rule("polynomial")
def complex_polynomial(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """As of real numbers."""
    return [_horner(model, operands, outs[0], functools.partial(find, complex_numbers=True))]


def _horner(model: Any, operands: Sequence[Annotated], out: Any, find_rule: Any) -> Any:
    x, *coefficients = operands
    result = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        product = _step(model, find_rule("mul"), lax.mul, [result, x], out)
        result = _step(model, find_rule("add"), lax.add, [product, coefficient], out)
    return jnp.broadcast_to(model.explicit(result).error, out.shape)


def _step(model: Any, rule_: Any, function: Any, operands: Sequence[Annotated], out: Any) -> Annotated:
    """One operation of Horner's rule, by the rule of that operation."""
    value = function(*(jnp.broadcast_to(jnp.asarray(x.value, out.dtype), out.shape) for x in operands))
    operands = [x._replace(value=jnp.broadcast_to(jnp.asarray(x.value), out.shape), origin=None) for x in operands]
    (error,) = rule_(model, operands, [value])
    return Annotated(value, error)
