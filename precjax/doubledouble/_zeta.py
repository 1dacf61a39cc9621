"""Hurwitz's zeta function and the polygamma functions of pairs, for s > 1 and q > 0.

zeta(s, q) is the sum of (q + k)**-s over k < N = 20 and the formula of Euler and Maclaurin at y = q + N,

    y**(1 - s) / (s - 1) + y**-s / 2 + sum over j of T_j,  T_j = B_2j / (2 j)! (s)_(2 j - 1) y**(1 - s - 2 j),

where (s)_p is s (s + 1) ... (s + p - 1). As all derivatives of t**-s alternate in sign, what the first M = 18 terms
leave out is smaller than T_(M + 1). With p = 2 j - 1, |B_2j| / (2 j)! < 3.3 / (2 pi)**(p + 1), and zeta(s, q) > q**-s,

    |T_j| / zeta < 0.53 (s)_p / (2 pi)**p q**s / y**(s + p) <= 0.53 (p / (2 pi e N))**p,

because q**s / (q + N)**(s + p) is largest at q = s N / p, and (s)_p s**s / (s + p)**(s + p) <= exp(-p), which follows
from Stirling's formula. For j = M + 1 that is 2**-119, and all T_j together are less than 0.002 of zeta, for all s and
q: their own roundings hardly count.

The counts below are in u**2 = 2**-106; they use 3.01 for a sum, 11 for a product, 13 for a quotient, 60 for a
logarithm.

References:
    DLMF 25.11.28, 2.10(i), 5.15.1; 24.9.8 for the numbers of Bernoulli.
"""

from __future__ import annotations

import functools
import math
from decimal import Decimal
from typing import Any

import jax.numpy as jnp
from jax import lax

from precjax.doubledouble._arithmetic import add, div, mul, neg, scale, select, square, sub
from precjax.doubledouble._constants import DIGITS, entry
from precjax.doubledouble._exponential import exact, exp, log
from precjax.doubledouble._gamma import bernoulli, digamma
from precjax.doubledouble._pairs import DD, elementary, settle
from precjax.doubledouble._series import table

SUMMED = 20
TERMS = 18
LARGEST = 2.0**12  # of s; beyond it, powers of s overflow
ORDERS = 171  # 171! overflows in float64


@functools.cache
def euler_maclaurin_table() -> DD:
    """B_2j / (2 j)!, j = 1, ..., TERMS."""
    return table([bernoulli(2 * TERMS + 1)[n] / math.factorial(n) for n in range(2, 2 * TERMS + 1, 2)])


@functools.cache
def log_factorial_table() -> DD:
    """log(0!), log(1!), ..., log(170!)."""
    return table([Decimal(math.factorial(n)).ln(DIGITS) for n in range(ORDERS)])


def _power(base: DD, s: DD, size: DD) -> DD:
    """exp(size) base**-s, to 13 + s (3.01 + 75 |log base|) + 4.01 |size|, for a base to 3.01 and a size to 1."""
    return exp(sub(size, mul(s, log(base))))


def _zeta(s: DD, q: DD, size: DD) -> DD:
    """exp(size) zeta(s, q) to 360 s (1 + |log q|) + 4.01 |size|, for 1 < s <= LARGEST and q > 0."""
    # All but the sum of T_j is positive. Each power errs by 13 + s (3.01 + 75 (|log q| + 3.05)), as |log(q + k)|
    # exceeds |log q| by log(1 + N) at most; products, quotients and sums by 110.

    def step(k: Any, total: DD) -> DD:
        return add(total, _power(add(q, exact(jnp.zeros_like(q.hi) + k)), s, size))

    nothing, one = exact(jnp.zeros_like(q.hi)), exact(jnp.ones_like(q.hi))
    summed = lax.fori_loop(0, SUMMED, step, nothing)
    y = add(q, exact(jnp.full_like(q.hi, SUMMED)))
    # y**-s times y / (s - 1) + 1/2 + sum
    rest = add(div(y, sub(s, one)), add(scale(one, 0.5), _tail(s, div(one, y))))
    return add(summed, mul(_power(y, s, size), rest))


def _tail(s: DD, inverse: DD) -> DD:
    """The sum of T_j y**s, given 1 / y: (s / y) (b_1 + (s + 1) (s + 2) / y**2 (b_2 + ...))."""
    z = square(inverse)

    def step(value: DD, level: tuple[DD, Any]) -> tuple[DD, None]:
        b, j = level
        first, second = (add(s, exact(jnp.zeros_like(s.hi) + (2 * j + n))) for n in (1, 2))
        nested = mul(mul(mul(first, second), z), value)
        return add(DD(*(jnp.broadcast_to(v, s.hi.shape) for v in b)), nested), None

    levels = DD(*map(jnp.asarray, euler_maclaurin_table())), jnp.arange(TERMS, dtype=s.hi.dtype)
    value, _ = lax.scan(step, exact(jnp.zeros_like(s.hi)), levels, reverse=True)
    return mul(mul(s, inverse), value)


@elementary
def zeta(s: DD, q: DD) -> DD:
    """zeta(s, q), to 360 s (1 + |log q|) for 1 < s <= 2**12 and q > 0; elsewhere NaN, or infinite as float64 is."""
    above = (s.hi > 1) | ((s.hi == 1) & (s.lo > 0))
    inside = above & (s.hi <= LARGEST) & (q.hi > 0)
    s_inside, q_inside = (select(inside, v, exact(jnp.full_like(v.hi, 2.0))) for v in (s, q))
    y = _zeta(s_inside, q_inside, exact(jnp.zeros_like(q.hi)))
    return _known(inside & lax.is_finite(y.hi), lax.zeta(s.hi, q.hi), y)


def _known(sound: Any, plain: Any, y: DD) -> DD:
    """The pair where it is sound; elsewhere an infinity of float64, or NaN."""
    return settle(sound, jnp.where(lax.is_finite(plain), jnp.nan, plain), *y)


@elementary
def polygamma(m: DD, x: DD) -> DD:
    """m! zeta(m + 1, x) with its sign, to 385 (m + 1) (1 + |log x|), for whole 0 <= m <= 170 and x > 0; else NaN."""
    # log(m!) <= (m + 1) 5.14, and 4.01 of that. For m = 0, digamma.
    whole = (m.lo == 0) & (lax.floor(m.hi) == m.hi)
    inside = whole & (m.hi >= 0) & (m.hi < ORDERS) & (x.hi > 0)
    order = exact(jnp.where(inside, jnp.maximum(m.hi, 1.0), 1.0))
    one = exact(jnp.ones_like(x.hi))
    argument = select(inside, x, one)
    size = _zeta(add(order, one), argument, entry(log_factorial_table(), order.hi.astype(jnp.int32)))
    y = select(lax.rem(order.hi, jnp.full_like(order.hi, 2.0)) == 0, neg(size), size)
    y = select(m.hi == 0, digamma(argument), y)
    return _known(inside & lax.is_finite(y.hi), lax.polygamma(m.hi, x.hi), y)
