"""Functions of two numbers: pow and atan2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax import platforms
from precjax._annotated import Annotated
from precjax._ball import Ball
from precjax._registry import rule
from precjax._rounding import divide, dtype_of, error_dtype, format_of, is_inexact, minimum, plus, times, where


@rule("pow")
def pow_(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """x**y = exp(y log x): with t the error of y log |x|, |out| (exp(t) - 1).

    A negative base has an integer exponent, which must be certain. Small integer exponents may be computed by two products.
    """
    out = outs[0]
    x, y = (Ball(o, error_dtype(out.dtype)) for o in operands)
    size = lax.abs(out).astype(x.dtype)
    t = _logarithmic_error(x, y, out)
    moved = None
    if t is not None:
        small = times(size, t, plus(times(t, 0.6), 1.0), plus(times(t, 1.3), 1.0))
        large = times(plus(size, format_of(x.dtype).smallest_normal), lax.exp(times(t, 2.02)))
        moved = where(lax.lt(t, jnp.full_like(t, 0.5)), small, large)
    if y.error is not None:
        certain = lax.bitwise_or(_over(lax.gt(_lowest(x), 0.0), out), _over(lax.eq(y.error, jnp.zeros((), y.dtype)), out))
        moved = where(certain, moved, math.inf)
    ulps = max(platforms.current().accuracy("pow", out.dtype).factor, 2.5)
    return [model.total(out, moved, ulps=ulps, steps=64, flushed=2)]


def y_free(x: Ball) -> Any:
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
        turned = times(_over(plus(logarithm, spread), out), _over(exponent, out))
        t = plus(None if t is None else _over(t, out), where(lax.eq(_over(exponent, out), 0.0), 0.0, turned))
    t = _over(t, out)
    return where(lax.eq(t, t), t, math.inf)


def _log_spread(x: Ball) -> Any:
    """Radius of log |x|: e / near; an exact subnormal may be read as 0."""
    if not x.exact:
        return divide(plus(x.error, format_of(x.dtype).smallest_normal), x.near)
    return None if x.absorbed is None else where(x.subnormal, math.inf, jnp.zeros((), x.dtype))


def _exponent_rounding(y: Ball, out: Any) -> Any:
    """An integer exponent is converted to the format of the base."""
    if is_inexact(dtype_of(y.operand.value)) or max(-y.operand.known.low, y.operand.known.high) <= 2.0 ** format_of(out.dtype).digits:
        return None
    rounded = lax.gt(jnp.asarray(y.size, y.dtype), 2.0 ** format_of(out.dtype).digits)
    return where(rounded, times(jnp.asarray(y.size, y.dtype), format_of(out.dtype).unit_roundoff), jnp.zeros((), y.dtype))


@rule("atan2")
def atan2(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The angle of a point moved by at most e = e_y + e_x at distance r is moved by at most asin(e / r) <= pi/2 e / r.

    Beyond that, and where the ball meets the cut (x < 0, y = 0), by anything up to 2 pi.
    """
    out = outs[0]
    y, x = (Ball(o, error_dtype(out.dtype)) for o in operands)
    ulps = platforms.current().accuracy("atan2", out.dtype).factor
    if y.absorbed is None and x.absorbed is None:
        return [model.total(out, ulps=ulps)]
    zero = jnp.zeros((), y.dtype)
    shape = out.shape
    ey, ex = (jnp.broadcast_to(jnp.asarray(0.0 if b.absorbed is None else b.absorbed, y.dtype), shape) for b in (y, x))
    moved = times(lax.add(ey, ex), 2.0)
    size = lax.max(*(jnp.broadcast_to(jnp.asarray(b.size, y.dtype), shape) for b in (y, x)))
    angle = times(divide(moved, lax.max(lax.sub(size, moved), zero)), math.pi / 2 * 1.001)
    cut = lax.bitwise_and(
        lax.le(jnp.broadcast_to(jnp.asarray(y.size, y.dtype), shape), times(ey, 2.0)),
        lax.lt(lax.sub(jnp.broadcast_to(jnp.asarray(x.value, y.dtype), shape), times(ex, 2.0)), zero),
    )
    exact_cut = lax.bitwise_and(lax.eq(ey, zero), lax.eq(ex, zero))
    cut = lax.bitwise_and(cut, lax.bitwise_not(exact_cut))
    return [model.total(out, minimum(where(cut, 2 * math.pi, angle), jnp.asarray(2 * math.pi, y.dtype)), ulps=ulps, steps=16)]
