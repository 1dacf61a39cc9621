"""The modified Bessel functions I0 and I1 of pairs, times exp(-|x|).

For |x| <= 48 their power series, of positive terms; what 82 of them leave out is 2**-120 of the sum. Beyond,

    exp(-x) I0(x) = 1 / (pi sqrt(2)) times the integral over t from 0 to 2 of exp(-x t) t**(-1/2) (1 - t / 2)**(-1/2),

and exp(-x) I1(x) has a factor 1 - t besides. The last root is the sum of c_k t**k, c_k = (1/2)_k / (k! 2**k), where
(a)_k is a (a + 1) ... (a + k - 1). Its first n = 60 terms, integrated to infinity, give the asymptotic series

    exp(-x) I0(x) = 1 / sqrt(2 pi x) times the sum of c_k (1/2)_k / x**k,

with c_k - c_(k - 1) in place of c_k for I1. The integral itself is about sqrt(pi / x). Left out are

- the rest of the sum, at most (t / 2)**n (1 - t / 2)**(-1/2), since (1/2)_k / k! falls: integrated up to t = 1 at most
  1.42 Gamma(n + 1/2) 2**-n x**(-n - 1/2), beyond at most 2.83 2**-n times the largest t**(n - 1/2) exp(-x t);
- integrals beyond t = 2, each of at most exp(-2 x) 1.42 / (2 x - n), because c_k <= 2**-k.

For x >= 48 that is 2**-123 of the integral together, and three times as much for I1.

The counts below are in u**2 = 2**-106; they use 3.01 for a sum, 11 for a product and 13 for a quotient.

References:
    DLMF 10.25.2, 10.32.1, 10.32.2.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import jax.numpy as jnp

from precjax.doubledouble._arithmetic import abs as absolute
from precjax.doubledouble._arithmetic import div, mul, neg, rsqrt, scale, select, square
from precjax.doubledouble._constants import DIGITS, pair, pi
from precjax.doubledouble._exponential import constant, exact, exp
from precjax.doubledouble._pairs import DD, elementary, settle
from precjax.doubledouble._series import series, table

SERIES = 48.0  # up to here
TERMS = 82
ASYMPTOTIC = 60


@functools.cache
def series_table(order: int) -> DD:
    """Coefficients 1 / (k! (k + order)!) in x**2 / 4."""
    return table([Fraction(1, math.factorial(k) * math.factorial(k + order)) for k in range(TERMS)])


@functools.cache
def asymptotic_table(order: int) -> DD:
    """Coefficients c_k (1/2)_k, or (c_k - c_(k - 1)) (1/2)_k, in 1 / x."""
    rising = [Fraction(1)]
    for k in range(ASYMPTOTIC):
        rising.append(rising[-1] * Fraction(2 * k + 1, 2))
    root = [r / (math.factorial(k) * 2**k) for k, r in enumerate(rising)]
    before = [Fraction(0), *root] if order else [Fraction(0)] * len(root)
    return table([(c - b) * r for c, b, r in zip(root, before, rising[:ASYMPTOTIC], strict=False)])


def _near(size: DD, order: int) -> DD:
    """For 0 <= x <= SERIES, to 630, or 645 for I1."""
    # Horner, with x**2 to 11: 4.01 + 25.01 k, of which the mean, weighted with positive terms, is at most x / 2.
    size = select(size.hi > SERIES, exact(jnp.full_like(size.hi, SERIES)), size)
    total = mul(exp(neg(size)), series(series_table(order), scale(square(size), 0.25)))
    return mul(total, scale(size, 0.5)) if order else total


def _far(size: DD, order: int) -> DD:
    """For x > SERIES, to 50: 4.2 for the sum, 31 for the root and its constant."""
    size = select(size.hi > SERIES, size, exact(jnp.full_like(size.hi, SERIES)))
    total = series(asymptotic_table(order), div(exact(jnp.ones_like(size.hi)), size))
    root = mul(rsqrt(size), constant(pair(1, DIGITS.multiply(2, pi()).sqrt(DIGITS)), size))
    return mul(root, total)


def _scaled(x: DD, order: int) -> DD:
    size = absolute(x)
    y = select(size.hi > SERIES, _far(size, order), _near(size, order))
    return settle(x.hi == x.hi, x.hi, *select(jnp.isinf(x.hi), exact(jnp.zeros_like(x.hi)), y))


@elementary
def bessel_i0e(x: DD) -> DD:
    """exp(-|x|) I0(x), to 630."""
    return _scaled(x, 0)


@elementary
def bessel_i1e(x: DD) -> DD:
    """exp(-|x|) I1(x), to 645."""
    y = _scaled(x, 1)
    return select(x.hi < 0, neg(y), y)
