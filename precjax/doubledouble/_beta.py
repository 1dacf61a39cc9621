"""The regularized incomplete beta function of pairs: the distribution function I of the beta distribution.

With D = x**a (1 - x)**b / B(a, b) and w = x / (1 - x), up to x = (a + 1) / (a + b + 2)

    I = D / (a (1 - x) s_0),  1 / s_0 = 2F1(1, 1 - b; a + 1; -w),

and 1 - I beyond, by the same with a, b and 1 - x in place of b, a and x. Gauss' fraction of this function is

    t_0 = 1 + q_0 / (1 + p_1 / (1 + q_1 / (1 + p_2 / ...))),
    q_m = w (a + m) (1 - b + m) / ((a + 2 m) (a + 2 m + 1)),  p_m = w m (a + b + m - 1) / ((a + 2 m - 1) (a + 2 m)),

and its even part s_m = t_m + p_m = b_m - c_(m + 1) / s_(m + 1) with b_m = 1 + p_m + q_m and c_(m + 1) = q_m p_(m + 1).
All p are positive, and q_m from m = b - 1 on: then t_m >= 1 and s_m >= 1 + p_m. Before that c_(m + 1) < 0, and
s_m >= b_m, which is positive: w <= (a + 1) / (b + 1) gives b_0 >= 2 / (b + 1), and for m >= 1

    (b_m - 1) / w >= -b (a - 1) / ((a + 2 m - 1) (a + 2 m + 1)), more than -(b + 1) / (a + 1).

So for all m

    s_m >= l_m = min(b_m, 1 + p_m),  s_m <= b_m + max(-c_(m + 1), 0) / l_(m + 1).

What it errs is bounded while it runs, see `_fractions`, in units of u**2 = 2**-106, and the result is NaN where that is
more than the bound of `BOUNDS`, or a parameter is not between 2**-100 and 2**22. Some 10 min(a, b)**(1/3) + 14 sqrt(w)
steps were enough for all that was tried.

References:
    DLMF 8.17.7, 15.7.5, 3.10(ii).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from precjax.doubledouble._arithmetic import add, div, mul, select, sub
from precjax.doubledouble._bounds import BOUNDS
from precjax.doubledouble._exponential import exp, log
from precjax.doubledouble._fractions import Level, Start, between, fraction
from precjax.doubledouble._gamma import _lgamma as lgamma
from precjax.doubledouble._incomplete import LARGEST, SMALLEST, one_of, whole
from precjax.doubledouble._pairs import DD, elementary, settle, stored

UNITS = BOUNDS["regularized_incomplete_beta"].units
_LARGE = 2.0**12  # beyond it the fraction errs by more than that, and the rule says nothing


class Point(NamedTuple):
    """Parameters, x and 1 - x; or, to compute 1 - I, the same the other way around."""

    a: DD
    b: DD
    x: DD
    rest: DD


def _power_term(point: Point) -> DD:
    """D, which errs by what its exponent does: see `rules.exponents`."""
    a, b, x, rest = point
    log_x, log_rest = _apart(stored(log(_together(x, rest))))
    of_a, of_b, of_sum = _apart(lgamma(_together(a, b, add(a, b))))
    powers = stored(add(mul(a, log_x), mul(b, log_rest)))
    return stored(exp(stored(add(powers, sub(sub(of_sum, of_a), of_b)))))


def _together(*pairs: DD) -> DD:
    return DD(*map(jnp.stack, zip(*pairs, strict=True)))


def _apart(pairs: DD) -> list[DD]:
    return [DD(*both) for both in zip(*pairs, strict=True)]


def _elements(point: Point, w: DD, m: Any) -> tuple[DD, DD]:
    """p_m and q_m for whole m >= 0, each to 74.1: sums of positive numbers, and m + 1 - b, to 6.02, w to 16.02."""
    a, b = point.a, point.b
    middle = add(a, whole(a, 2 * m))
    above, below = add(a, whole(a, 2 * m + 1)), add(a, whole(a, jnp.maximum(2 * m - 1, 1.0)))
    upper = mul(whole(a, m), add(add(a, b), whole(a, jnp.maximum(m - 1, 0.0))))
    p = mul(w, div(upper, mul(below, middle)))
    return p, mul(w, div(mul(add(a, whole(a, m)), sub(whole(a, m + 1), b)), mul(middle, above)))


def _level(point: Point, w: DD, k: Any) -> Level:
    """The coefficients b_(k - 1) and c_k."""
    p, q = _elements(point, w, k - 1)
    after, _ = _elements(point, w, k)
    b = add(one_of(p), add(p, q))
    return Level(b, mul(q, after), 77.2 * (p.hi + lax.abs(q.hi)) + 3.1 * lax.abs(b.hi), 159.3)


def _start(point: Point, w: DD, n: Any) -> Start:
    (p, q), (p_after, q_after) = (_elements(point, w, m) for m in (n, n + 1))
    b, c = 1 + p.hi + q.hi, q.hi * p_after.hi
    low, low_after = (1 + u.hi + jnp.minimum(v.hi, 0.0) for u, v in ((p, q), (p_after, q_after)))
    return between(low, b + jnp.maximum(-c, 0.0) / low_after, c >= 0)


def _fraction(point: Point) -> Start:
    """s_0, and how far it errs."""
    w = stored(div(point.x, point.rest))
    smaller = jnp.minimum(point.a.hi, point.b.hi)
    count = jnp.max(25 + 11 * lax.cbrt(smaller) + 16 * lax.sqrt(w.hi), initial=0.0).astype(jnp.int32)
    n = jnp.zeros_like(w.hi) + count.astype(w.hi.dtype)
    return fraction(lambda k: _level(point, w, k), _start(point, w, n), count)


def _is_direct(a: Any, b: Any, x: DD, rest: DD) -> Any:
    """Where I is computed, and not 1 - I: decided on the smaller one of x and 1 - x, as the rule does."""
    total = a + b + 2
    return jnp.where(x.hi > 0.5, rest.hi >= (b + 1) / total, x.hi < (a + 1) / total)


@elementary
def regularized_incomplete_beta(a: DD, b: DD, x: DD) -> DD:
    """I of the beta distribution."""
    rest = sub(one_of(x), x)
    positive = (a.hi > 0) & (a.hi < jnp.inf) & (b.hi > 0) & (b.hi < jnp.inf)
    known = [(v.hi > SMALLEST) & (v.hi <= LARGEST) for v in (a, b)]
    inside = known[0] & known[1] & (x.hi > 0) & (rest.hi > 0)
    half = whole(x, 0.5)
    a, b, u, v = (select(inside, value, half) for value in (a, b, x, rest))
    direct = _is_direct(a.hi, b.hi, u, v)
    point = Point(*(stored(select(direct, *both)) for both in ((a, b), (b, a), (u, v), (v, u))))
    last, errs = _fraction(point)
    y = stored(div(_power_term(point), mul(mul(point.a, point.rest), last)))
    y = select(direct, y, sub(one_of(y), y))
    sound = inside & (errs <= UNITS * jnp.maximum(jnp.maximum(a.hi, b.hi) / _LARGE, 1.0))
    at_end = jnp.where(x.hi == 0, 0.0, jnp.where(rest.hi == 0, 1.0, jnp.nan))
    return settle(sound, jnp.where(positive, at_end, jnp.nan), *y)
