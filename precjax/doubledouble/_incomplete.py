"""The incomplete gamma functions of pairs, F and Q = 1 - F, for 2**-100 < a <= 2**22; elsewhere NaN.

With E = exp(a log(x) - x - lgamma(a)), up to x = max(a, 1)

    F = E / a times the sum of t_k = x**k / ((a + 1) ... (a + k)),

whose terms are positive, and beyond, by Legendre's continued fraction,

    Q = E / s_0,  s_(k - 1) = b_(k - 1) - c_k / s_k,  b_k = x - a + 2 k + 1,  c_k = k (k - a).

What either errs is bounded while it runs, in units of u**2 = 2**-106, and the result is NaN where the bound of `BOUNDS`
is exceeded (it is not, where this was tried: see the tests):

- Term k errs by 27.01 k, each sum by 3.01; what follows term n is at most t_n r / (1 - r), r = x / (a + n + 1).
- For the fraction see `_fractions`. It is the even part of a fraction of Stieltjes' whose elements are positive from
  k = a on: s_k >= x + k for k >= a - 1. For k < a - 1, s_k >= b_k > 0, since c_(k + 1) < 0. So for all k

    s_k >= m_k = min(b_k, x + k),  s_k <= b_k + max(-c_(k + 1), 0) / m_(k + 1).

Some 12.4 sqrt(a) terms are enough. Of the fraction 15.3 a**(1/3) steps are next to x = a, where s_k is not much more
than sqrt(k a), and fewer beyond; where a is small, exp(-4 sqrt(k x)) is left after k of them.

References:
    DLMF 8.7.1, 8.9.1, 8.9.2, 3.10(ii).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from precjax.doubledouble._arithmetic import add, div, mul, select, sub
from precjax.doubledouble._bounds import BOUNDS
from precjax.doubledouble._exponential import exact, exp, log
from precjax.doubledouble._fractions import UNIT, Level, Start, between, fraction
from precjax.doubledouble._gamma import _lgamma as lgamma
from precjax.doubledouble._pairs import DD, elementary, settle, stored

SMALLEST, LARGEST = 2.0**-100, 2.0**22  # of a
UNITS = BOUNDS["igamma"].units  # what the sum or the fraction may err, times sqrt(a) + 1, and 24 / x for the fraction


def one_of(x: DD) -> DD:
    """1, in the shape of x."""
    return exact(jnp.ones_like(x.hi))


def whole(x: DD, number: Any) -> DD:
    """A whole number, in the shape of x."""
    return exact(jnp.zeros_like(x.hi) + number)


def factor(a: DD, x: DD) -> DD:
    """E, which errs by what its exponent does: see `rules.exponents`."""
    return stored(exp(stored(sub(sub(mul(a, stored(log(x))), x), lgamma(a)))))


def summed(step: Callable[[Any, Any], Any], start: Any, counts: Any) -> Any:
    """The state of a sum after so many terms; each with a number of its own, lest the others' roundings count."""

    def guarded(k: Any, state: Any) -> Any:
        k = k.astype(counts.dtype)
        return jax.tree.map(functools.partial(jnp.where, k <= counts), step(k, state), state)

    return lax.fori_loop(1, jnp.max(counts, initial=0.0).astype(jnp.int32) + 1, guarded, start)


def terms(a: DD) -> Any:
    """How many terms of the sum are enough."""
    return lax.floor(40 + 14 * lax.sqrt(a.hi))


def _sum(a: DD, x: DD) -> tuple[DD, Any]:
    """The sum of t_k, and how far it errs."""

    def step(k: Any, state: tuple[DD, DD, Any]) -> tuple[DD, DD, Any]:
        term, total, weighted = state
        term = mul(term, div(x, add(a, whole(a, k))))
        return term, add(total, term), weighted + k * term.hi

    start = one_of(x), one_of(x), jnp.zeros_like(x.hi)
    count = terms(a)
    term, total, weighted = summed(step, start, count)
    ratio = x.hi / (a.hi + count + 1)
    rest = term.hi * ratio / (1 - ratio) / UNIT
    errs = (27.1 * weighted + 1.01 * rest) / total.hi + 3.1 * count
    return total, jnp.where(ratio < 1 - 2.0**-20, errs, jnp.inf)


def steps(a: DD, x: DD, roots: float, inverses: float) -> Any:
    """How many steps of the fraction are enough for all."""
    return jnp.max(25 + roots * lax.cbrt(a.hi) + inverses / x.hi, initial=0.0).astype(jnp.int32)


def legendre(a: DD, x: DD, count: Any) -> tuple[Any, Start]:
    """The coefficients of a step, and s_n; for x > a."""
    first = add(sub(x, a), one_of(x))

    def level(k: Any) -> Level:
        b = add(first, whole(x, 2 * (k - 1)))
        return Level(b, mul(sub(whole(a, k), a), whole(a, k)), 9.1 * b.hi, 14.1)

    n = count.astype(x.hi.dtype)
    b, after, c = (first.hi + 2 * n, first.hi + 2 * (n + 1), (n + 1) * (n + 1 - a.hi))
    low, low_after = jnp.minimum(b, x.hi + n), jnp.minimum(after, x.hi + n + 1)
    return level, between(low, b + jnp.maximum(-c, 0.0) / low_after, c >= 0)


def _fraction(a: DD, x: DD) -> Start:
    """s_0, and how far it errs."""
    count = steps(a, x, 16.5, 450.0)
    return fraction(*legendre(a, x, count), count)


def is_beyond(a: DD, x: DD) -> Any:
    """Where the fraction is used."""
    return x.hi > jnp.maximum(a.hi, 1.0)


def _lower_and_upper(a: DD, x: DD) -> tuple[Any, DD, Any]:
    """Whether it is Q that is computed, and not F; the one that is; whether it is to be trusted."""
    inside, beyond = (a.hi > SMALLEST) & (a.hi <= LARGEST) & (x.hi > 0) & (x.hi < jnp.inf), is_beyond(a, x)
    a, x = (select(inside, v, one_of(x)) for v in (a, x))
    front = factor(a, x)
    total, sum_errs = _sum(a, select(inside & beyond, a, x))
    last, errs = _fraction(a, select(inside & beyond, x, add(a, one_of(x))))
    y = stored(select(beyond, div(front, last), div(mul(front, total), a)))
    allowed = UNITS * (lax.sqrt(a.hi) + 1)
    return beyond, y, inside & jnp.where(beyond, errs <= allowed + 24 * UNITS / x.hi, sum_errs <= allowed)


def _settled(y: DD, sound: Any, a: DD, x: DD, ends: tuple[float, float]) -> DD:
    """With the values at 0 and at infinity."""
    inner = (a.hi > 0) & (a.hi < jnp.inf)
    at_end = jnp.where(x.hi == 0, ends[0], jnp.where(x.hi == jnp.inf, ends[1], jnp.nan))
    return settle(sound, jnp.where(inner, at_end, jnp.nan), *y)


@elementary
def igamma(a: DD, x: DD) -> DD:
    """F of the gamma distribution."""
    beyond, y, sound = _lower_and_upper(a, x)
    return _settled(select(beyond, sub(one_of(y), y), y), sound, a, x, (0.0, 1.0))


@elementary
def igammac(a: DD, x: DD) -> DD:
    """1 - F of the gamma distribution."""
    beyond, y, sound = _lower_and_upper(a, x)
    return _settled(select(beyond, y, sub(one_of(y), y)), sound, a, x, (1.0, 0.0))
