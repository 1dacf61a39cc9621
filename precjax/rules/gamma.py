"""Bounds of digamma and trigamma by logarithms and quotients, for the slopes of everything around Gamma.

Theorem. For t > 0
    log(t + 1/2) - 1/t <= digamma(t) <= log(t + exp(-euler)) - 1/t,
    1/t + 1/(2 t**2) <= trigamma(t) <= 1/t**2 + 1/(t + 1/2),
the last because trigamma(t) = 1/t**2 + sum over k >= 1 of 1/(t + k)**2, and each of these convex terms is at most its
integral over an interval of length 1 around it. Digamma increases between its poles. Left of 0, with n < x < n + 1,
t = x - n and s = 1 - t,
    digamma(x) = digamma(1 - x) - pi cot(pi t), pi cot(pi t) = 1/t - 1/s + c (s - t) with c in [0.93, 1],
    trigamma(x) <= (pi / sin(pi t))**2 <= 1/t**2 + 1/s**2 + 8/3,
because pi cot(pi t) is the sum of 1/(t + k) over all integers k, in pairs, and (s - t) / ((t + k)(s + k)) for k >= 1
lies between its values at t = 0, which add up to s - t, and at t = 1/2, which add up to (pi**2 / 2 - 4) (s - t).

References:
    Elezovic, Giordano, Pecaric, The best bounds in Gautschi's inequality, Math. Inequal. Appl. 3 (2000).
    DLMF 5.5.4, 5.15.1, 4.22.3.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._ball import Ball
from precjax._rounding import equal, format_of, less, maximum, plus, ratio, times, where

_EXP_MINUS_EULER = 0.56146  # rounded up
# A logarithm rounds in the last places, a difference once.
_SLACK = 16.0


def reciprocal(t: Any) -> Any:
    """1 / t, or a little more; inf at 0."""
    return ratio(0.0, t) if isinstance(t, float) else ratio(jnp.ones_like(t), t)


def digamma_bounds(low: Any, high: Any) -> tuple[Any, Any]:
    """(lower bound at the positive number low, upper bound at high), rounded outwards."""
    eps = 2 * format_of(low.dtype).unit_roundoff
    below, above = lax.log(plus(low, 0.5)), lax.log(plus(high, _EXP_MINUS_EULER))
    pole, nearer = reciprocal(low), reciprocal(high)
    lower = lax.sub(lax.sub(below, pole), times(plus(lax.abs(below), pole, 1.0), _SLACK * eps))
    upper = lax.sub(above, nearer)
    return lower, plus(upper, times(plus(lax.abs(above), nearer, 1.0), _SLACK * eps))


def trigamma_bound(low: Any) -> Any:
    """Upper bound of trigamma from a positive number on."""
    pole = reciprocal(low)
    return plus(times(pole, pole), reciprocal(plus(low, 0.5)))


def trigamma_lower(high: Any) -> Any:
    """Lower bound of trigamma up to a number, rounded to nearest."""
    pole = lax.div(jnp.ones_like(high), high)
    return plus(pole, times(pole, pole, 0.5))


def digamma_slope(x: Ball) -> Any:
    """Upper bound of |digamma| over the reach, inf where a pole may be in it."""
    low, high = maximum(x.low, 0.0), maximum(x.high, 0.0)
    lower, upper = digamma_bounds(low, high)
    right = maximum(lax.max(upper, lax.neg(lower)), 0.0)
    return where(less(0.0, x.low), right, _left(x, _digamma_left))


def trigamma_slope(x: Ball) -> Any:
    """Upper bound of trigamma over the reach, inf where a pole may be in it."""
    return where(less(0.0, x.low), trigamma_bound(maximum(x.low, 0.0)), _left(x, _trigamma_left))


def _left(x: Ball, bound: Any) -> Any:
    """A bound left of 0, for a reach between two poles, t to the right of one and s to the left of the next."""
    pole = lax.floor(x.low)
    t, s = lax.sub(x.low, pole), lax.sub(plus(pole, 1.0), x.high)
    inside = lax.bitwise_and(lax.bitwise_and(less(0.0, t), less(0.0, s)), less(x.high, 0.0))
    return where(inside, bound(x, t, s), jnp.inf)


def _digamma_left(x: Ball, t: Any, s: Any) -> Any:
    """max(digamma(high), -digamma(low)), from the values at 1 - high and 1 - low."""
    eps = 2 * format_of(t.dtype).unit_roundoff
    lower, upper = digamma_bounds(lax.sub(jnp.ones_like(t), x.low), lax.sub(jnp.ones_like(s), x.high))
    rise, fall = plus(upper, _minus_cotangent(s)), lax.sub(_minus_cotangent(t), lower)
    slack = plus(reciprocal(t), reciprocal(s), lax.log1p(lax.abs(x.low)), 4.0)
    return plus(maximum(lax.max(rise, fall), 0.0), times(slack, _SLACK * eps))


def _minus_cotangent(s: Any) -> Any:
    """Upper bound of -pi cot(pi (1 - s)) = pi cot(pi s), rounded to nearest."""
    ones = jnp.ones_like(s)
    rest = lax.sub(ones, times(s, 2.0))
    return plus(lax.sub(reciprocal(s), lax.div(ones, lax.sub(ones, s))), lax.max(rest, times(rest, 0.93)))


def _trigamma_left(x: Ball, t: Any, s: Any) -> Any:
    a, b = reciprocal(t), reciprocal(s)
    return plus(times(a, a), times(b, b), 2.67)


def moved(x: Ball, slope: Any) -> Any:
    """slope times error; nothing where there is no error, even next to a pole."""
    return times(where(equal(x.error, 0.0), 0.0, slope), x.error)


def exponential(terms: list[Any], more: Any = None) -> Any:
    """Upper bound of exp(sum of terms), each of them a product with a logarithm that rounds in its last places.

    Args:
        terms: arrays of one dtype, of any sign.
        more: what else the exponent may lack.

    Returns:
        The bound, never 0.
    """
    fmt = format_of(terms[0].dtype)
    size = plus(*(lax.abs(t) for t in terms))
    exponent = plus(*terms, times(size, 2 * _SLACK * fmt.unit_roundoff), more)
    return plus(times(lax.exp(exponent), 1 + 2.0**-10), fmt.smallest_normal)


def log_gamma(model: Any, t: Any) -> tuple[Any, Any]:
    """(lgamma, how far off it may be) for numbers t > 0 of a dtype of errors."""
    value = lax.lgamma(t)
    factor = model.accuracy("lgamma", t.dtype).factor * format_of(t.dtype).unit_roundoff
    return value, times(plus(lax.abs(value), 2.0), factor)
