"""Hurwitz's zeta function and the polygamma functions, for x > 1 and q > 0.

Theorem. zeta(x, q) = sum over k >= 0 of (q + k)**-x. In q it falls and is convex:
    -d/dq zeta(x, q) = x zeta(x + 1, q) <= x q**-(x + 1) + (q + 1/2)**-x,
since each convex term is at most its integral over an interval of length 1 around it. In x, with h(t) = log(t) t**-x,
    |d/dx zeta(x, q)| <= |log q| q**-x + integral of h from q + 1 on + max h,
because h rises up to log t = 1 / x and then falls: max h is h(a), a = q + 1, beyond that, else at most 1 / (e x); the
integral is a**(1 - x) (log(a) / (x - 1) + 1 / (x - 1)**2). For m >= 1, polygamma(m, x) is (-1)**(m + 1) m!
zeta(m + 1, x); for m = 0 it is digamma(x).

XLA adds ten terms and an Euler-Maclaurin tail. Terms that underflow are lost, and so may be q / (x - 1) times as much
of the tail. Outside x <= 2**10 and 2**-99 < q < 2**99, where nothing was measured, the error is inf.

References:
    DLMF 25.11.1, 25.11.17, 5.15.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax._annotated import Annotated
from precjax._registry import rule
from precjax._rounding import equal, error_dtype, format_of, less, maximum, minus, plus, ratio, times, where
from precjax.rules.accuracy import row
from precjax.rules.gamma import exponential, log_gamma, reciprocal
from precjax.rules.interval import Interval, interval, log

_TERMS = 32.0  # more than XLA adds, in sum and tail
# Where XLA was measured.
_LARGEST, _SIZES = 2.0**10, (2.0**-99, 2.0**99)


@rule("zeta")
def zeta(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """Slopes in both arguments, where the reach keeps to x > 1 and q > 0; inf elsewhere."""
    out = outs[0]
    x, q = (interval(model.ball(o, error_dtype(out.dtype)), out) for o in operands)
    found = row(model, "zeta", out.dtype)
    beyond = maximum(minus(x.low, 1.0), 0.0)
    lost = times(plus(times(ratio(q.high, beyond), 4.0), _TERMS), found.inner.smallest_normal)
    rounding = times(lax.abs(out).astype(x.low.dtype), found.unit)
    moved = None if q.error is None else times(_slope_in_q(x, q), q.error)
    turned = None if x.error is None else times(_slope_in_x(x, q, beyond), x.error)
    error = model.total(out, moved, turned, plus(rounding, lost), ulps=1.02, steps=64, flushed=4)
    domain = lax.bitwise_and(lax.bitwise_and(less(0.0, beyond), less(x.high, _LARGEST)), _measured(q))
    return [where(domain, error, jnp.inf)]


def _measured(q: Interval) -> Any:
    """Where all of the reach is positive, and was measured."""
    return lax.bitwise_and(less(_SIZES[0], q.low), less(q.high, _SIZES[1]))


def _power(base: Any, low: Any, high: Any, factor: Any = None) -> Any:
    """Upper bound of factor * base**-x for x between low and high; base is rounded once."""
    logarithm = log(base)
    terms = [lax.neg(lax.mul(lax.select(less(0.0, logarithm), low, high), logarithm))]
    more = times(high, 4 * format_of(base.dtype).unit_roundoff)
    return exponential(terms if factor is None else [*terms, log(factor)], more)


def _slope_in_q(x: Interval, q: Interval) -> Any:
    first = _power(q.low, plus(x.low, 1.0), plus(x.high, 1.0), x.high)
    return plus(first, _power(plus(q.low, 0.5), x.low, x.high))


def _slope_in_x(x: Interval, q: Interval, beyond: Any) -> Any:
    """Three terms; beyond is how far x is above 1, at least."""
    size = lax.max(lax.abs(log(q.low)), lax.abs(log(q.high)))
    above, inverse = plus(q.low, 1.0), reciprocal(beyond)
    logarithm, top = log(above), reciprocal(x.low)
    tail = times(_power(above, beyond, minus(x.high, 1.0)), inverse, plus(logarithm, inverse))
    largest = where(less(top, logarithm), times(logarithm, _power(above, x.low, x.high)), times(top, 1.001 / math.e))
    return plus(times(_power(q.low, x.low, x.high), size), tail, largest)


@rule("polygamma")
def polygamma(model: Any, operands: Sequence[Annotated], outs: Sequence[Any]) -> list[Any]:
    """The slope is the next polygamma; m must be certain."""
    out = outs[0]
    m, x = (interval(model.ball(o, error_dtype(out.dtype)), out) for o in operands)
    found = row(model, "polygamma", out.dtype)
    factorial, more = log_gamma(model, plus(m.value, 1.0))
    # As zeta's, times m!; and digamma's, next to its root.
    lost = times(plus(ratio(times(x.high, 4.0), maximum(m.value, 0.5)), _TERMS), found.inner.smallest_normal)
    lost = times(exponential([factorial], more), lost)
    size = lax.abs(out).astype(x.low.dtype)
    root = where(equal(m.value, 0.0), times(plus(size, 2.0), row(model, "digamma", out.dtype).unit), 0.0)
    rounding = times(size, plus(times(m.value, lax.log1p(m.value)), 1.0), found.unit)
    moved = None if x.error is None else times(_next(m, x, factorial, more), x.error)
    error = model.total(out, moved, plus(rounding, lost, root), ulps=1.02, steps=64, flushed=4)
    certain = lax.bitwise_and(lax.bitwise_and(less(-0.5, m.low), less(m.high, _LARGEST)), _measured(x))
    if m.error is not None:
        certain = lax.bitwise_and(certain, equal(m.error, 0.0))
    return [where(certain, error, jnp.inf)]


def _next(m: Interval, x: Interval, factorial: Any, more: Any) -> Any:
    """m! ((m + 1) x**-(m + 2) + (x + 1/2)**-(m + 1)) at the low end of x."""
    order, middle = plus(m.value, 1.0), plus(x.low, 0.5)
    more = plus(more, times(order, 4 * format_of(middle.dtype).unit_roundoff))
    pole = [factorial, log(order), lax.neg(lax.mul(plus(order, 1.0), log(x.low)))]
    return plus(exponential(pole, more), exponential([factorial, lax.neg(lax.mul(order, log(middle)))], more))
