"""Elementary functions of a complex number, on their principal branches.

Theorem: where the disc of the reach meets no branch cut, |f(z') - f(z*)| <= sup |f'| |z' - z*| over it, as in
`elementary`; it is convex, so that the segment between both points lies in it. Where it meets the cut of a logarithm or
of a root, the jump is added: 2 pi for log, 2 sqrt |z| for sqrt, 2 / sqrt |z| for rsqrt. Where it meets another cut, the
error is inf. The computed result differs from f by at most the platform's table.

On a cut, real arithmetic has no signed zeros: an imaginary part of 0 counts as one above the cut. XLA takes -0 as below
it, so that an exact number there whose imaginary part is -0 meets the cut, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from precjax._annotated import Annotated
from precjax._ball import Ball, sign_bit
from precjax._registry import complex_rule
from precjax._rounding import (
    error_dtype,
    format_of,
    less,
    magnitude,
    maximum,
    minimum,
    minus,
    plus,
    ratio,
    times,
    typed,
    where,
)
from precjax.rules.accuracy import row
from precjax.rules.power import grown

Spread = Callable[[Ball, Any], Any]


def defcomplex(name: str, spread: Spread, cut: Callable[[Ball], Any] | None = None, jump: Spread | None = None) -> None:
    """Registers an elementary function of a complex number.

    Args:
        name: the primitive, with a row in the platform's table.
        spread: ``spread(z, y)``: upper bound of |f(z') - f(z*)| off the cuts for a disc z and y = |value|, in the dtype
            of errors. An exact z that may be subnormal has its reading for an error.
        cut: ``cut(z)``: where the disc meets a branch cut.
        jump: the spread where it does; inf if not given.
    """

    @complex_rule(name)
    def elementary(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
        out = outs[0]
        z = _read(model, operands[0], error_dtype(out.dtype))
        y = magnitude(out, z.dtype)
        found = row(model, name, out.dtype)
        moved = None if z.exact else spread(z, y)
        if cut is not None:
            over = np.inf if jump is None else jump(z, y)
            moved = where(cut(z), over, jnp.zeros((), z.dtype) if moved is None else moved)
        more = _SCALES[found.scale](z, y, found.unit)
        return [model.total(out, moved, more, ulps=found.ulps, steps=32, flushed=4)]


def _read(model: Any, x: Annotated, dtype: Any) -> Ball:
    """The operand; an exact one that may be subnormal with the error of being read as 0."""
    z = model.ball(x, dtype)
    return z if z.absorbed is None or not z.exact else model.ball(model.explicit(x), dtype)


def _real(z: Ball) -> Any:
    return lax.real(jnp.asarray(z.operand.value))


def _imag(z: Ball) -> Any:
    return lax.imag(jnp.asarray(z.operand.value))


def _radius(z: Ball) -> Any:
    """The reach as an array, rounded up."""
    return times(jnp.zeros_like(_real(z)) if z.reach is None else jnp.asarray(z.reach), 1 + 8 * z.eps)


def _outer(part: Any, z: Ball) -> Any:
    """Upper bound of |part| over the reach."""
    return times(plus(lax.abs(part), z.reach), 1 + 4 * z.eps)


# What the factor k of a row, times u, multiplies besides |f| = y.
def _growth(z: Ball, y: Any, k: float) -> Any:
    """exp |Re z| (1 + |Re z|): XLA takes exponentials apart."""
    x = _outer(_real(z), z)
    return times(lax.exp(x), plus(x, 1.0), 1.01 * k)


def _polar(near_zero: float) -> Callable[[Ball, Any, float], Any]:
    """t + |f|**2, t what is lost at a root: first order, and inf where the pole is too near to tell."""

    def scale(z: Ball, y: Any, k: float) -> Any:
        lost = times(plus(near_zero, times(y, y), y), k)
        return where(less(times(y, k), 0.125), times(lost, 2.0), np.inf)

    return scale


_SCALES: dict[str, Callable[[Ball, Any, float], Any]] = {
    "value": lambda z, y, k: None,
    # Next to the root of acos and acosh, which is a branch point, what underflows is lost under a square root.
    "branch": lambda z, y, k: where(less(y, 0.5), 4 * math.sqrt(format_of(z.dtype).smallest_normal), jnp.zeros_like(y)),
    "value_x": lambda z, y, k: times(y, z.far, k),
    "growth": _growth,
    "conditioned": lambda z, y, k: times(z.far, lax.exp(_upper_real(z)), 1.01 * k),
    "tangent": _polar(1.0),
    "pole": _polar(0.0),
}


def _upper_real(z: Ball) -> Any:
    x = _real(z)
    return plus(x, z.reach, times(lax.abs(x), 4 * z.eps))


def _exp_spread(z: Ball, y: Any) -> Any:
    """|exp z*| |exp(d) - 1| <= |exp z| exp(e) (exp(e) - 1); polynomials bound that for e <= 1/2."""
    return grown(y, z.error, z.linear)


def _expm1_spread(z: Ball, y: Any) -> Any:
    return _exp_spread(z, times(lax.exp(_real(z)), 1.01))


def _distance(z: Ball, point: complex) -> Any:
    """Lower bound of the distance from a point, over the reach."""
    value = jnp.asarray(z.operand.value)
    apart = magnitude(lax.sub(value, lax.full_like(value, point)), z.dtype)
    apart = lax.min(*typed(apart, format_of(z.dtype).largest))  # the modulus of a finite number may overflow
    return maximum(minus(times(apart, 1 - 4 * z.eps), _radius(z)), 0.0)


def _over_distance(*points: complex) -> Spread:
    """e / the product of distances from the points."""

    def spread(z: Ball, y: Any) -> Any:
        result = z.error
        for point in points:
            result = ratio(result, _near(z) if point == 0 else _distance(z, point))
        return result

    return spread


def _log2_spread(z: Ball, y: Any) -> Any:
    return times(ratio(z.error, _near(z)), 1.4427)


def _near(z: Ball) -> Any:
    return jnp.asarray(z.near, z.dtype)


def _over_root_distance(a: complex, b: complex) -> Spread:
    """e / sqrt(|z - a| |z - b|): the inverse sines and cosines."""

    def spread(z: Ball, y: Any) -> Any:
        return ratio(ratio(z.error, lax.sqrt(_distance(z, a))), lax.sqrt(_distance(z, b)))

    return spread


def _sqrt_spread(z: Ball, y: Any) -> Any:
    """e / (2 sqrt near); at most sqrt e, as both roots are less than a right angle apart."""
    return minimum(ratio(times(z.error, 0.5), lax.sqrt(_near(z))), lax.sqrt(z.error))


def _rsqrt_spread(z: Ball, y: Any) -> Any:
    near = _near(z)
    return ratio(ratio(times(z.error, 0.5), near), lax.sqrt(near))


def _bounded_slope(part: Callable[[Ball], Any]) -> Spread:
    """e cosh(part at the far end)."""
    return lambda z, y: times(lax.cosh(_outer(part(z), z)), z.error, 1.001)


def _tan_spread(z: Ball, y: Any) -> Any:
    """(1 + |f|**2) t / (1 - |f| t), t = tan |d| <= 1.1 |d| for |d| <= 1/2, as for real numbers."""
    t = times(_radius(z), 1.1)
    room = maximum(minus(1.0, times(y, t, 1.001)), 0.0)
    room = where(less(_radius(z), 0.5), times(room, room), 0.0)
    return ratio(times(z.error, plus(times(y, y), 1.0), plus(times(t, t), 1.0), 1.001), room)


def _logistic_spread(z: Ball, y: Any) -> Any:
    """f' = f (1 - f), and f = 1/2 + tanh(z / 2) / 2: |f (1 - f)| (exp(e) - 1) / (1 - |f| (exp(r) - 1))**2."""
    t = times(_radius(z), plus(times(_radius(z), 0.6), 1.0))
    room = maximum(minus(1.0, times(y, t, 1.001)), 0.0)
    room = where(less(_radius(z), 0.5), times(room, room), 0.0)
    moved = times(z.error, plus(times(z.error, 0.6), 1.0), plus(t, 1.0))
    return ratio(times(moved, y, plus(y, 1.0), 1.001), room)


def negative_axis(z: Ball, shift: float = 0.0) -> Any:
    """Where the disc meets the cut of log and sqrt, shifted by a real number; an exact number, where it is below."""
    x, y, radius = lax.abs(_imag(z)), plus(_real(z), shift), _radius(z)
    margin = times(plus(lax.abs(_real(z)), abs(shift)), 4 * z.eps) if shift else 0.0
    on = lax.bitwise_and(less(y, plus(radius, margin)), lax.bitwise_not(less(radius, x)))
    above = lax.bitwise_and(lax.eq(radius, jnp.zeros_like(radius)), lax.bitwise_not(sign_bit(_imag(z))))
    return lax.bitwise_and(on, lax.bitwise_not(above))


def _outside(along: Callable[[Ball], Any], across: Callable[[Ball], Any]) -> Callable[[Ball], Any]:
    """The two rays of an axis beyond -1 and 1."""

    def cut(z: Ball) -> Any:
        far = _outer(along(z), z)
        return lax.bitwise_not(lax.bitwise_or(less(far, 1.0), less(_radius(z), lax.abs(across(z)))))

    return cut


def _below_one(z: Ball) -> Any:
    """The real axis below 1: the cut of acosh."""
    low = minus(_real(z), plus(_radius(z), times(z.size, 4 * z.eps)))
    return lax.bitwise_not(lax.bitwise_or(less(1.0, low), less(_radius(z), lax.abs(_imag(z)))))


def _turned(spread: Spread, turn: float = 2 * math.pi) -> Spread:
    """A logarithm across its cut: any angle more."""
    return lambda z, y: plus(turn * 1.001, None if z.error is None else spread(z, y))


defcomplex("exp", _exp_spread)
defcomplex("exp2", lambda z, y: grown(y, times(z.error, math.log(2) * 1.0001), z.linear))
defcomplex("expm1", _expm1_spread)
defcomplex("log", _over_distance(0), negative_axis, _turned(_over_distance(0)))
defcomplex("log2", _log2_spread, negative_axis, _turned(_log2_spread, 2 * math.pi / math.log(2)))
defcomplex("log1p", _over_distance(-1), lambda z: negative_axis(z, 1.0), _turned(_over_distance(-1)))
defcomplex("sqrt", _sqrt_spread, negative_axis, lambda z, y: times(lax.sqrt(z.far), 2.01))
defcomplex("rsqrt", _rsqrt_spread, negative_axis, lambda z, y: ratio(jnp.full_like(y, 2.01), lax.sqrt(_near(z))))
defcomplex("sin", _bounded_slope(_imag))
defcomplex("cos", _bounded_slope(_imag))
defcomplex("sinh", _bounded_slope(_real))
defcomplex("cosh", _bounded_slope(_real))
defcomplex("tan", _tan_spread)
defcomplex("tanh", _tan_spread)
defcomplex("logistic", _logistic_spread)
defcomplex("asin", _over_root_distance(1, -1), _outside(_real, _imag))
defcomplex("acos", _over_root_distance(1, -1), _outside(_real, _imag))
defcomplex("acosh", _over_root_distance(1, -1), _below_one)
defcomplex("asinh", _over_root_distance(1j, -1j), _outside(_imag, _real))
defcomplex("atan", _over_distance(1j, -1j), _outside(_imag, _real))
defcomplex("atanh", _over_distance(1, -1), _outside(_real, _imag))


@complex_rule("pow")
def pow_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """z**w = exp(w log z): with t the error of w log z, |out| (exp(t) - 1); inf where the base meets the cut.

    XLA multiplies powers of the modulus and of the angle, each of which may overflow on its own.
    """
    out = outs[0]
    z, w = (_read(model, x, error_dtype(out.dtype)) for x in operands)
    accuracy = model.accuracy("pow", out.dtype)
    logarithm = times(magnitude(lax.log(jnp.asarray(z.operand.value, out.dtype)), z.dtype), 1.01)
    spread = None if z.error is None else ratio(z.error, _near(z))
    exponent = jnp.asarray(w.far, z.dtype)
    rounding = times(exponent, plus(logarithm, 1.0), accuracy.factor * model.unit(out.dtype))
    t = plus(times(spread, exponent), times(w.error, plus(logarithm, spread)), rounding)
    moved = grown(magnitude(out, z.dtype), jnp.broadcast_to(t, out.shape), False)
    fits = less(times(exponent, logarithm), 0.97 * math.log(format_of(out.dtype).largest))
    moved = where(lax.bitwise_and(fits, lax.bitwise_not(negative_axis(z))), moved, np.inf)
    return [model.total(out, moved, ulps=accuracy.factor, steps=64, flushed=4)]
